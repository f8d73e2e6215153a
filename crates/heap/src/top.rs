//! The top and the kernel: how an arena's heaps begin, grow, close, shrink and go.
//!
//! The main arena grows with the break. Where somebody else moved the break, the old heap is closed with a fence and a new
//! one begins behind the foreign memory; where the break is refused, the arena goes on in mapped heaps, as all others do
//! from the start.

use crate::chunk::{Chunk, P, State};
use crate::decay;
use crate::die;
use crate::kernel;
use crate::meta;
use crate::policy::{POLICY, Thp};
use crate::probe;
use crate::region::{self, Kind, Region};
use crate::secure::clear;
use crate::size::*;
use crate::store::Store;
use crate::sync::atomic::{Ordering::*, fence};
use crate::usdt;
use heapglass_os as os;

/// A heap whose top comes and goes keeps so much more of it than the threshold says, or a quarter of itself.
const SLACK: usize = 4 * 1024 * 1024;
/// The first bytes of a spare heap stay as they are, the pages behind them are released.
const SPARE_KEPT: usize = 16 * 1024 * 1024;
/// Pages are made ready ahead by so many bytes, in stores from this size on.
const POPULATED: usize = 64 * 1024;
const POPULATE_FROM: usize = 1024 * 1024;
/// With `thp:madvise`, stores from this size on ask for huge pages, and grow by whole ones.
const HUGE_FROM: usize = 32 * 1024 * 1024;
const HUGE: usize = 2 * 1024 * 1024;

/// Makes room in the top for a chunk of this size and the smallest top behind it. `false` where the kernel gives nothing.
pub fn grow(store: &mut Store, size: usize) -> bool {
    let need = size + MIN_CHUNK;
    let mut pad = POLICY.top_pad.load(Relaxed);
    if POLICY.thp() == Thp::Madvise && store.system_bytes >= HUGE_FROM {
        // A huge page that the heap's end cuts through isn't one.
        pad = pad.max(2 * HUGE);
    }
    if store.trimmed {
        // What was given back is wanted again: next time keep more, and let decay give it back.
        store.trimmed = false;
        store.trim_slack = (2 * store.trim_slack + need).min((store.system_bytes / 4).max(SLACK));
    }
    let before = store.system_bytes;
    let grew = grow_padded(store, need, pad) || pad > 0 && grow_padded(store, need, 0);
    if !grew {
        probe::step(probe::Kind::Grow, probe::Outcome::Failed, [need, store.system_bytes - before, 0]);
    }
    grew
}

fn grow_padded(store: &mut Store, need: usize, pad: usize) -> bool {
    let current = store.regions;
    // SAFETY: a store's heap records stay valid while they are listed.
    let kind = unsafe { current.as_ref() }.map(|region| region.kind);
    if kind == Some(Kind::Mapped) && grow_mapped(store, need, pad) {
        return true;
    }
    let by_break = store.arena == 0 && POLICY.uses_break.load(Relaxed);
    by_break && grow_break(store, need, pad) || begin_mapped(store, need, pad)
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
    region::note_end(store.arena, region.kind, region.start, end);
    extended(store, bytes);
    usdt::heap_more(region.start, end - region.start);
    probe::step(probe::Kind::Grow, probe::Outcome::ByHeap, [need, bytes, 0]);
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
    clear::seam(end - bytes, end);
    account(store, bytes);
    populate_soon(store);
    // SAFETY: as above.
    if unsafe { (*store.regions).kind } == Kind::Break {
        advise(store, end - bytes, end);
    }
}

/// Says about new memory of a heap what the settings say of huge pages.
fn advise(store: &Store, start: usize, end: usize) {
    let wanted = match POLICY.thp() {
        Thp::Kernel => return,
        Thp::Never => false,
        Thp::Madvise if store.system_bytes < HUGE_FROM => return,
        Thp::Madvise | Thp::Always => true,
    };
    let page = os::page_size();
    let (start, end) = (start & !(page - 1), end & !(page - 1));
    if start < end {
        kernel::huge_pages(start, end - start, wanted);
    }
}

/// From some size on, the next pages of the top are made ready together, when it comes to them.
fn populate_soon(store: &mut Store) {
    if store.populate_from == usize::MAX && store.system_bytes >= POPULATE_FROM && POLICY.populate.load(Relaxed) {
        store.populate_from = store.fresh_from;
    }
}

/// The top came to pages that were never touched: makes the next ones ready.
#[cold]
pub fn populate(store: &mut Store) {
    // SAFETY: where there is a top, there is its heap.
    let end = unsafe { (*store.regions).end } & !(os::page_size() - 1);
    let from = os::pages_up(store.fresh_from).unwrap_or(end);
    let to = from.saturating_add(POPULATED).min(end);
    store.populate_from = if from < to && kernel::populate(from, to - from) { to } else { usize::MAX };
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
    usdt::break_grew(old, bytes);
    if joins && old == now {
        // SAFETY: the current heap's record.
        let region = unsafe { &mut *store.regions };
        region.end += bytes;
        (region.limit, region.committed) = (region.end, region.end);
        region::mark_break(region.start, region.end);
        extended(store, bytes);
        probe::step(probe::Kind::Grow, probe::Outcome::ByBreak, [need, bytes, 0]);
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
    begin(store, Region::new(Kind::Break, start, end, end))
}

/// Begins a mapped heap: the spare one, or one that is reserved for it.
fn begin_mapped(store: &mut Store, need: usize, pad: usize) -> bool {
    let Some(least) = os::pages_up(need) else { return false };
    if let Some(spare) = store.spare.take_if(|spare| spare.limit - spare.start >= least) {
        return begin_spare(store, spare, least, pad);
    }
    let mut reserved = region::reserve(store.arena, least);
    if reserved.is_none() && drop_spare_now(store) {
        reserved = region::reserve(store.arena, least);
    }
    let Some((start, limit)) = reserved else { return false };
    let bytes = os::pages_up(need + pad).unwrap_or(least).min(limit - start);
    if !region::commit(start, bytes) || !begin(store, Region::new(Kind::Mapped, start, start + bytes, limit)) {
        // SAFETY: reserved a moment ago, unused.
        unsafe { region::unreserve(start, limit) };
        return false;
    }
    true
}

fn begin_spare(store: &mut Store, spare: Spare, least: usize, pad: usize) -> bool {
    let Spare { start, limit, committed, dirty, .. } = spare;
    let end = start + os::pages_up(least + pad).unwrap_or(least).min(limit - start);
    let is_short = end > committed;
    let mut region = Region::new(Kind::Mapped, start, end, limit);
    region.committed = committed.max(end);
    if is_short && !region::commit(committed, end - committed) || !begin(store, region) {
        store.spare = Some(spare);
        return false;
    }
    store.fresh_from = dirty;
    true
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
    region::note_end(store.arena, region.kind, start, end);
    // SAFETY: fresh memory of the right size.
    unsafe { record.write(Region { next: store.regions, ..region }) };
    // Those who walk the list without the lock find the record whole.
    fence(Release);
    store.regions = record;
    store.span.lo = store.span.lo.min(start);
    store.span.hi = store.span.hi.max(end);
    clear::seam(start, end);
    store.set_top(Chunk::at(start), P);
    let kind = if region.kind == Kind::Break {
        probe::Outcome::NewBreak
    } else {
        usdt::heap_new(start, end - start);
        probe::Outcome::NewHeap
    };
    probe::step(probe::Kind::Grow, kind, [0, end - start, 0]);
    // The first bytes of a break that didn't stand at a page's start may have been somebody's.
    store.fresh_from = os::pages_up(start).unwrap_or(end);
    account(store, end - start);
    populate_soon(store);
    // A mapped heap's whole range at once, a break's as it grows.
    advise(store, start, if region.kind == Kind::Mapped { region.limit } else { end });
    true
}

/// Closes the current heap: a fence at its end, the rest of its top into the bins.
fn close(store: &mut Store) {
    let Some(top) = store.proven_top() else { return };
    // SAFETY: the current heap's record.
    let region = unsafe { &mut *store.regions };
    let size = store.top_size();
    region.closed = 1;
    region.dirty = region.end.max(store.fresh_from.min(region.limit));
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

/// A closed mapped heap in which nothing is in use becomes the spare one, or goes back to the kernel. Called when the chunk
/// from `start` to the fence was just freed; `true` where the heap is gone, and the chunk with it.
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
                let bytes = region.end - region.start;
                let spare = Spare {
                    start: region.start,
                    limit: region.limit,
                    committed: region.committed,
                    dirty: region.dirty,
                    epochs: 0,
                };
                if !keep_spare(store, spare, region.end) && !region::unreserve(spare.start, spare.limit) {
                    return false;
                }
                usdt::heap_free(region.start, bytes);
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

/// A mapped heap in which nothing is, and that is in no list: kept for a decay, since a program that came to the end of a
/// heap once does so again.
#[derive(Clone, Copy)]
pub struct Spare {
    start: usize,
    limit: usize,
    committed: usize,
    /// Memory from here on is as it came from the kernel.
    dirty: usize,
    /// Epochs since it was kept.
    epochs: u32,
}

/// `end` is where it ended, behind its fence.
fn keep_spare(store: &mut Store, mut spare: Spare, end: usize) -> bool {
    let is_whole = spare.limit - spare.start == region::HEAP_MAX;
    if store.spare.is_some() || !is_whole || POLICY.keeps_nothing() {
        return false;
    }
    let kept = spare.start + SPARE_KEPT;
    if spare.dirty > kept {
        // SAFETY: nothing of the heap is anyone's.
        if unsafe { kernel::discard(kept, spare.dirty - kept) }.is_err() {
            return false;
        }
        spare.dirty = kept;
    }
    clear::fence_before(end.min(spare.dirty));
    store.spare = Some(spare);
    region::note_end(store.arena, Kind::Mapped, spare.start, spare.start);
    decay::raise();
    true
}

/// An epoch has passed: the spare heap goes once it has waited for a decay.
pub fn drop_spare(store: &mut Store) {
    if let Some(spare) = &mut store.spare {
        spare.epochs += 1;
        if spare.epochs > 2 {
            drop_spare_now(store);
        }
    }
}

/// The spare heap goes back to the kernel. `true` where there was one.
pub fn drop_spare_now(store: &mut Store) -> bool {
    // SAFETY: nothing is in it, and nobody knows of it.
    let gone = store.spare.take_if(|spare| unsafe { region::unreserve(spare.start, spare.limit) });
    gone.is_some()
}

/// A7, step 9: gives the end of the top back where it is longer than the trim threshold.
pub fn trim_beyond(store: &mut Store) {
    let threshold = POLICY.trim_threshold.load(Relaxed);
    let before = store.top_size();
    let told = |outcome, bytes| probe::step(probe::Kind::Trim, outcome, [before, threshold, bytes]);
    if before <= threshold {
        return told(probe::Outcome::Below, 0);
    }
    let slack = if POLICY.keeps_nothing() { 0 } else { store.trim_slack };
    if before > threshold.saturating_add(slack) && trim(store, POLICY.top_pad.load(Relaxed).saturating_add(slack)) {
        store.trimmed = true;
        told(probe::Outcome::Shrunk, before - store.top_size());
    } else {
        told(probe::Outcome::Kept, 0);
    }
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
    let (old_end, end) = (region.end, region.end - bytes);
    match region.kind {
        // Somebody else's memory above ours stays where it is.
        Kind::Break if !POLICY.owns_break.load(Relaxed) || kernel::current_break() != Some(region.end) => {
            return release_end(store, end);
        }
        Kind::Break => {
            region::shrink_break(end);
            // SAFETY: nothing but the top lies above `end`.
            if unsafe { kernel::move_break(-(bytes as isize)) }.is_none() {
                region::shrink_break(region.end);
                return false;
            }
            (region.limit, region.committed) = (end, end);
            usdt::break_shrank(end, bytes);
        }
        Kind::Mapped => {
            // SAFETY: as above. Where the kernel refuses, the pages stay dirty, and the heap as it was.
            if unsafe { kernel::discard(end, bytes) }.is_err() {
                return false;
            }
            usdt::heap_less(region.start, end - region.start);
        }
    }
    region.end = end;
    region::note_end(store.arena, region.kind, region.start, end);
    if store.populate_from < usize::MAX {
        store.populate_from = store.populate_from.min(end);
    }
    // Of a page that the new end cuts through, the kernel took nothing back; nor of what lies behind the old end, which isn't zero
    // in a heap that was a spare one and longer.
    if store.fresh_from <= old_end {
        store.fresh_from = store.fresh_from.min(os::pages_up(end).unwrap_or(usize::MAX));
    }
    store.system_bytes -= bytes;
    kernel::heap_shrank(bytes);
    store.set_top(top, top.flags() & P);
    true
}

/// A top that can't get shorter releases its pages from `from` on, and stays.
fn release_end(store: &mut Store, from: usize) -> bool {
    let page = os::page_size();
    // SAFETY: the current heap's record.
    let end = unsafe { (*store.regions).end };
    let (start, stop) = (os::pages_up(from).unwrap_or(end), end & !(page - 1));
    if start >= stop || store.fresh_from <= start {
        return false;
    }
    // SAFETY: nothing but the top lies above `from`.
    if unsafe { kernel::discard(start, stop - start) }.is_err() {
        return false;
    }
    if store.fresh_from > stop {
        // The last page is partly somebody else's: of ours, only what was never touched is known to be zero.
        // SAFETY: the end of the top, which nobody uses.
        unsafe { core::ptr::write_bytes(stop as *mut u8, 0, end - stop) };
    }
    kernel::released(stop - start);
    store.fresh_from = start;
    true
}
