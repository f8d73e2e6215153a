//! The top and the kernel: how an arena's heaps begin, grow, close, shrink and go.
//!
//! The main arena grows with the break. Where somebody else moved the break, the old heap is closed with a fence and a new
//! one begins behind the foreign memory; where the break is refused, the arena goes on in mapped heaps, as all others do
//! from the start.

use crate::chunk::{Chunk, P, State};
use crate::die;
use crate::kernel;
use crate::meta;
use crate::policy::POLICY;
use crate::region::{self, Kind, Region};
use crate::size::*;
use crate::store::Store;
use crate::sync::atomic::{Ordering::*, fence};
use heapglass_os as os;

/// Makes room in the top for a chunk of this size and the smallest top behind it. `false` where the kernel gives nothing.
pub fn grow(store: &mut Store, size: usize) -> bool {
    let need = size + MIN_CHUNK;
    let pad = POLICY.top_pad.load(Relaxed);
    grow_padded(store, need, pad) || pad > 0 && grow_padded(store, need, 0)
}

fn grow_padded(store: &mut Store, need: usize, pad: usize) -> bool {
    let current = store.regions;
    // SAFETY: a store's heap records stay valid while they are listed.
    let kind = unsafe { current.as_ref() }.map(|region| region.kind);
    if kind == Some(Kind::Mapped) && grow_mapped(store, need, pad) {
        return true;
    }
    store.arena == 0 && grow_break(store, need, pad) || begin_mapped(store, need, pad)
}

/// Extends the current mapped heap.
fn grow_mapped(store: &mut Store, need: usize, pad: usize) -> bool {
    let missing = need.saturating_sub(store.top_size());
    // SAFETY: the current heap's record.
    let region = unsafe { &mut *store.regions };
    let Some(wanted) = os::pages_up(missing + pad) else { return false };
    let bytes = wanted.min(region.limit - region.end);
    if bytes < missing {
        return false;
    }
    let end = region.end + bytes;
    if end > region.committed {
        if !region::commit(region.committed, end - region.committed) {
            return false;
        }
        region.committed = end;
    }
    region.end = end;
    extended(store, bytes);
    true
}

/// The current heap's end moved up by so much: so does the top's.
fn extended(store: &mut Store, bytes: usize) {
    // SAFETY: the current heap's record.
    let end = unsafe { (*store.regions).end };
    store.span.hi = store.span.hi.max(end);
    if let Some(top) = store.proven_top() {
        store.set_top(top, top.flags() & P);
    }
    account(store, bytes);
}

fn account(store: &mut Store, bytes: usize) {
    store.system_bytes += bytes;
    store.system_peak = store.system_peak.max(store.system_bytes);
    kernel::heap_grew(bytes);
}

/// Moves the break: on from the current heap's end, or, where that isn't the break, to begin a new heap.
fn grow_break(store: &mut Store, need: usize, pad: usize) -> bool {
    let Some(now) = kernel::current_break() else { return false };
    if region::is_in_break(now) {
        die::break_moved_down(now);
    }
    // SAFETY: the current heap's record, where there is one.
    let joins = unsafe { store.regions.as_ref() }.is_some_and(|r| r.kind == Kind::Break && r.end == now);
    let wanted = if joins {
        os::pages_up(need - store.top_size().min(need) + pad)
    } else {
        let start = (now + ALIGN - 1) & !(ALIGN - 1);
        os::pages_up(start + need + pad).map(|end| end - now)
    };
    let Some(bytes) = wanted.filter(|&bytes| bytes <= isize::MAX as usize) else { return false };
    // SAFETY: growing touches nobody's memory.
    let Some(old) = (unsafe { kernel::move_break(bytes as isize) }) else { return false };
    if joins && old == now {
        // SAFETY: the current heap's record.
        let region = unsafe { &mut *store.regions };
        region.end += bytes;
        (region.limit, region.committed) = (region.end, region.end);
        region::mark_break(region.start, region.end);
        extended(store, bytes);
        return true;
    }
    // A new heap; `old` differs from `now` where another thread moved the break between our two looks.
    let start = (old + ALIGN - 1) & !(ALIGN - 1);
    let end = (old + bytes) & !(ALIGN - 1);
    if end < start + need {
        // Too little after all. The memory is lost to us until somebody moves the break back.
        return false;
    }
    region::mark_break(start, end);
    begin(
        store,
        Region {
            next: core::ptr::null_mut(),
            start,
            end,
            limit: end,
            committed: end,
            kind: Kind::Break,
            closed: 0,
            unused: core::ptr::null_mut(),
        },
    )
}

/// Begins a mapped heap.
fn begin_mapped(store: &mut Store, need: usize, pad: usize) -> bool {
    let Some(least) = os::pages_up(need) else { return false };
    let Some((start, limit)) = region::reserve(store.arena, least) else { return false };
    let bytes = os::pages_up(need + pad).unwrap_or(least).min(limit - start);
    if !region::commit(start, bytes) {
        // SAFETY: reserved a moment ago, unused.
        unsafe { region::unreserve(start, limit) };
        return false;
    }
    let end = start + bytes;
    let began = begin(
        store,
        Region {
            next: core::ptr::null_mut(),
            start,
            end,
            limit,
            committed: end,
            kind: Kind::Mapped,
            closed: 0,
            unused: core::ptr::null_mut(),
        },
    );
    if !began {
        // SAFETY: as above.
        unsafe { region::unreserve(start, limit) };
    }
    began
}

/// Makes a heap the current one, with nothing in it but its top; closes the one before.
fn begin(store: &mut Store, region: Region) -> bool {
    let mut record = store.unused_regions;
    if record.is_null() {
        record = meta::take(size_of::<Region>()).cast();
    } else {
        // SAFETY: an unused record of this store's.
        store.unused_regions = unsafe { (*record).unused };
    }
    if record.is_null() {
        return false;
    }
    close(store);
    let (start, end) = (region.start, region.end);
    // SAFETY: fresh memory of the right size.
    unsafe { record.write(Region { next: store.regions, ..region }) };
    // Those who walk the list without the lock find the record whole.
    fence(Release);
    store.regions = record;
    store.span.lo = store.span.lo.min(start);
    store.span.hi = store.span.hi.max(end);
    store.set_top(Chunk::at(start), P);
    // The first bytes of a break that didn't stand at a page's start may have been somebody's.
    store.fresh_from = os::pages_up(start).unwrap_or(end);
    account(store, end - start);
    true
}

/// Closes the current heap: a fence at its end, the rest of its top into the bins.
fn close(store: &mut Store) {
    let Some(top) = store.proven_top() else { return };
    // SAFETY: the current heap's record.
    let region = unsafe { &mut *store.regions };
    let size = store.top_size();
    region.closed = 1;
    store.top = 0;
    let flags = top.flags() & P | store.flag();
    let rest = size - HEADER;
    if rest < MIN_CHUNK {
        top.set(size, flags, State::Fence);
        return;
    }
    let fence = Chunk::at(region.end - HEADER);
    fence.set(HEADER, P | store.flag(), State::Fence);
    let mut start = top;
    let mut left = rest;
    // A top may be longer than any chunk: then it is closed as several.
    while left > 0 {
        let piece = if left > MAX_CHUNK { MAX_CHUNK & !0xffff } else { left };
        start.set(piece, if start == top { flags } else { P | store.flag() }, State::Live);
        let next = Chunk::at(start.address() + piece);
        if left > piece {
            next.set(MIN_CHUNK, P | store.flag(), State::Live);
        }
        store.merge(start, piece, true);
        left -= piece;
        start = next;
    }
}

/// A closed mapped heap in which nothing is in use goes back to the kernel. Called when the chunk from `start` to the fence
/// was just freed; `true` where the heap is gone, and the chunk with it.
pub fn give_back_heap(store: &mut Store, start: Chunk, fence: Chunk) -> bool {
    let mut link = &raw mut store.regions;
    // SAFETY: the list of heap records is the store's.
    unsafe {
        while let Some(region) = (*link).as_mut() {
            if region.kind == Kind::Mapped
                && region.closed == 1
                && region.start == start.address()
                && region.end == fence.next().address()
            {
                let (bytes, start, limit) = (region.end - region.start, region.start, region.limit);
                if !region::unreserve(start, limit) {
                    return false;
                }
                *link = region.next;
                // `next` stays as it is, for those who stand on the record.
                region.unused = store.unused_regions;
                store.unused_regions = region;
                store.system_bytes -= bytes;
                kernel::heap_shrank(bytes);
                return true;
            }
            link = &raw mut region.next;
        }
    }
    false
}

/// A7, step 9: gives the end of the top back where it is longer than `threshold`.
pub fn trim_beyond(store: &mut Store, threshold: usize) -> bool {
    store.top_size() > threshold && trim(store, POLICY.top_pad.load(Relaxed))
}

/// Gives the end of the top back but for `pad` bytes: the break moves down, a mapped heap's pages are released. `true` where
/// memory went.
pub fn trim(store: &mut Store, pad: usize) -> bool {
    let Some(top) = store.proven_top() else { return false };
    // SAFETY: the current heap's record.
    let region = unsafe { &mut *store.regions };
    let page = os::page_size();
    let bytes = store.top_size().saturating_sub(MIN_CHUNK).saturating_sub(pad) & !(page - 1);
    if bytes == 0 {
        return false;
    }
    let end = region.end - bytes;
    match region.kind {
        Kind::Break => {
            // Somebody else's memory above ours stays where it is.
            if kernel::current_break() != Some(region.end) {
                return false;
            }
            region::shrink_break(end);
            // SAFETY: nothing but the top lies above `end`.
            if unsafe { kernel::move_break(-(bytes as isize)) }.is_none() {
                region::shrink_break(region.end);
                return false;
            }
            (region.limit, region.committed) = (end, end);
        }
        Kind::Mapped => {
            // SAFETY: as above. Where the kernel refuses, the pages stay dirty, and the heap as it was.
            if unsafe { kernel::discard(end, bytes) }.is_err() {
                return false;
            }
        }
    }
    region.end = end;
    // Of a page that the new end cuts through, the kernel took nothing back.
    store.fresh_from = store.fresh_from.min(os::pages_up(end).unwrap_or(usize::MAX));
    store.system_bytes -= bytes;
    kernel::heap_shrank(bytes);
    store.set_top(top, top.flags() & P);
    true
}
