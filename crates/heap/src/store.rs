//! What an arena's lock guards: its heaps, its top and its bins; and the textbook's two procedures on them.
//!
//! Taking (A6 of the contract): fast bin, small bin, unsorted bin, best fit of the large bins, top, kernel.
//! Giving back (A7): fast bin, or merge with the previous chunk, with the next, with the top, then the unsorted bin or a
//! shorter break.
//!
//! # Safety
//! All of this runs with the arena's lock held: a `&mut Store` is the proof. Chunks reached from the store's own lists and
//! from proven headers are real.

use crate::arena;
use crate::bins::fast::Fast;
use crate::bins::pages::Past;
use crate::bins::{self, Bins};
use crate::chunk::{A, Chunk, P, State};
use crate::decay::{self, Decay};
use crate::depot;
use crate::die;
use crate::list::Span;
use crate::policy::POLICY;
use crate::probe::{self, Kind, Outcome};
use crate::region::Region;
use crate::secure::clear;
use crate::size::*;
use crate::sync::atomic::Ordering::Relaxed;
use crate::top::{self, Spare};
use core::mem::offset_of;
use heapglass_event::root::StoreAt;

/// Merged chunks from this size on are worth a look at the fast bins and at the top (glibc's figure).
const CONSOLIDATE_FROM: usize = 64 * 1024;

#[repr(C)]
pub struct Store {
    pub arena: usize,
    /// The current heap's last chunk; 0 before there is a heap. Its end is the end of `regions`' first.
    pub top: usize,
    /// In the current heap, memory from here on was never touched since it came from the kernel.
    pub fresh_from: usize,
    /// A top from here on has its next pages made ready by one call.
    pub populate_from: usize,
    pub regions: *mut Region,
    pub span: Span,
    pub fast: Fast,
    pub bins: Bins,
    pub decay: Decay,
    /// The top was trimmed since it last grew, and what it keeps beyond the threshold because that happened before.
    pub trimmed: bool,
    pub trim_slack: usize,
    pub spare: Option<Spare>,
    /// Records of heaps that were given back. They serve this store again, and no other: those who look an address up walk
    /// the records without the lock.
    pub unused_regions: *mut Region,
    /// Bytes of all heaps, now and at most.
    pub system_bytes: usize,
    pub system_peak: usize,
}

/// A chunk taken from a store, in use, and whether its user area is known to be zero.
#[derive(Clone, Copy)]
pub struct Taken {
    pub chunk: Chunk,
    pub fresh: bool,
}

/// How many pieces of `size` bytes fit into `room`, at most `count`. One is known to.
fn how_many(size: usize, room: usize, count: usize) -> usize {
    // Most calls want one: no division for those, and none by zero.
    if count == 1 { 1 } else { room.checked_div(size).unwrap_or(1).min(count).max(1) }
}

/// How looking for something went.
fn found<T>(taken: Option<T>) -> Outcome {
    if taken.is_some() { Outcome::Taken } else { Outcome::Empty }
}

impl Store {
    pub const fn unset() -> Store {
        Store {
            arena: 0,
            top: 0,
            fresh_from: 0,
            populate_from: usize::MAX,
            regions: core::ptr::null_mut(),
            span: Span { lo: usize::MAX, hi: 0, heads_lo: 0, heads_hi: 0 },
            fast: Fast::new(),
            bins: Bins::unset(),
            decay: Decay::unset(),
            trimmed: false,
            trim_slack: 0,
            spare: None,
            unused_regions: core::ptr::null_mut(),
            system_bytes: 0,
            system_peak: 0,
        }
    }

    /// Makes it usable where it stays.
    pub fn prepare(&mut self, arena: usize) {
        self.arena = arena;
        self.bins.clear();
        self.span.heads_lo = core::ptr::from_ref(self) as usize;
        self.span.heads_hi = self.span.heads_lo + size_of::<Store>();
    }

    /// The A flag of this arena's chunks.
    pub fn flag(&self) -> u32 {
        if self.arena == 0 { 0 } else { A }
    }

    /// A6, steps 3 to 8, for one chunk.
    pub fn take(&mut self, size: usize, may_grow: bool) -> Option<Taken> {
        self.take_many(size, 1, may_grow, &mut |_| {})
    }

    /// A6, steps 3 to 8: one chunk of at least `size` bytes, live, and up to `count - 1` more of exactly `size` that came
    /// easily with it: from the same list, or the same chunk. Those are marked as cached and given to `more`. The last step,
    /// asking the kernel, is taken only if the store `may_grow`.
    pub fn take_many(
        &mut self,
        size: usize,
        count: usize,
        may_grow: bool,
        more: &mut dyn FnMut(Chunk),
    ) -> Option<Taken> {
        if let Some(chunk) = self.take_listed(size, count, more) {
            return Some(Taken { chunk, fresh: false });
        }
        if size >= SMALL_MAX && self.fast.count > 0 {
            self.consolidate_fast();
        }
        if let Some(taken) = self.take_cut(size, count, more) {
            return Some(taken);
        }
        if self.fast.count > 0 {
            self.consolidate_fast();
            if let Some(taken) = self.take_cut(size, count, more) {
                return Some(taken);
            }
        }
        if may_grow && top::grow(self, size) { self.take_top(size, count, more) } else { None }
    }

    /// Steps 3 and 4: the lists that hold this very size.
    fn take_listed(&mut self, size: usize, count: usize, more: &mut dyn FnMut(Chunk)) -> Option<Chunk> {
        let mut first = None;
        for _ in 0..count {
            // SAFETY: the store is locked, see the module's head.
            let next = unsafe { self.take_fast(size) };
            // SAFETY: as above.
            let next = next.or_else(|| unsafe { self.take_small(size) });
            let Some(chunk) = next else { break };
            match first {
                None => {
                    chunk.set_state(size, State::Live);
                    first = Some(chunk);
                }
                Some(_) => {
                    chunk.set_state(size, State::Cached);
                    more(chunk);
                }
            }
        }
        first
    }

    /// # Safety
    /// The store is locked.
    unsafe fn take_fast(&mut self, size: usize) -> Option<Chunk> {
        if size > FAST_MAX {
            probe::step(Kind::Fast, Outcome::TooLong, [size, 0, 0]);
            return None;
        }
        // SAFETY: as the caller promises.
        let taken = unsafe { self.fast.take(size) };
        probe::step(Kind::Fast, found(taken), [size, taken.map_or(0, Chunk::address), 0]);
        taken
    }

    /// # Safety
    /// The store is locked.
    unsafe fn take_small(&mut self, size: usize) -> Option<Chunk> {
        // SAFETY: as the caller promises.
        let taken = unsafe { self.bins.take_small(&self.span, size) };
        taken.inspect(|chunk| chunk.next().set_prev_in_use(true));
        let outcome = if size < SMALL_MAX { found(taken) } else { Outcome::TooLong };
        probe::step(Kind::Small, outcome, [size, taken.map_or(0, Chunk::address), 0]);
        taken
    }

    /// Steps 5 to 7: the unsorted bin, the best fit, the top as it is.
    fn take_cut(&mut self, size: usize, count: usize, more: &mut dyn FnMut(Chunk)) -> Option<Taken> {
        // SAFETY: the store is locked.
        unsafe {
            if let Some(chunk) = self.bins.take_unsorted(&self.span, size) {
                chunk.next().set_prev_in_use(true);
                chunk.set_state(size, State::Live);
                return Some(Taken { chunk, fresh: false });
            }
            let best = self.bins.take_best(&self.span, size);
            if let Some((chunk, past)) = best {
                let bin = if chunk.size() < SMALL_MAX { Outcome::FromSmall } else { Outcome::FromLarge };
                probe::step(Kind::Best, bin, [size, chunk.address(), chunk.size()]);
                self.split(chunk, past, size, count, more);
                return Some(Taken { chunk, fresh: false });
            }
            probe::step(Kind::Best, Outcome::Empty, [size, 0, 0]);
        }
        self.take_top(size, count, more)
    }

    /// Cuts a chunk that left its bin: as many pieces as are wanted, the remainder to the unsorted bin.
    fn split(&mut self, chunk: Chunk, past: Past, size: usize, count: usize, more: &mut dyn FnMut(Chunk)) {
        let (total, flags, after) = (chunk.size(), chunk.flags(), chunk.next());
        let mut pieces = how_many(size, total, count);
        if total - pieces * size == ALIGN && pieces > 1 {
            // A remainder too small for a chunk of its own would make one piece longer than its class.
            pieces -= 1;
        }
        let rest = total - pieces * size;
        if rest < MIN_CHUNK && pieces == 1 {
            probe::step_of(Kind::Split, Outcome::Whole, 1, [total, total, 0]);
            after.set_prev_in_use(true);
            chunk.set_state(total, State::Live);
            return;
        }
        let flag = self.flag();
        probe::step_of(Kind::Split, Outcome::Cut, pieces, [size, total, rest]);
        for index in 1..pieces {
            let piece = Chunk::at(chunk.address() + index * size);
            piece.set(size, P | flag, State::Cached);
            more(piece);
        }
        if rest == 0 {
            after.set_prev_in_use(true);
        } else {
            let remainder = Chunk::at(chunk.address() + pieces * size);
            remainder.set(rest, P | flag, State::Free);
            after.set_prev_free(rest);
            probe::step(Kind::Into, Outcome::ToUnsorted, [remainder.address(), rest, 0]);
            // SAFETY: the remainder is free, with its header and end written.
            unsafe { self.bins.put(&self.span, remainder, past) };
        }
        chunk.set(size, flags, State::Live);
    }

    /// Step 7: cut from the top, which keeps at least the smallest chunk.
    fn take_top(&mut self, size: usize, count: usize, more: &mut dyn FnMut(Chunk)) -> Option<Taken> {
        let Some(top) = self.proven_top() else {
            probe::step(Kind::Top, Outcome::Empty, [size, 0, 0]);
            return None;
        };
        let before = self.top_size();
        let room = before.saturating_sub(MIN_CHUNK);
        if room < size {
            probe::step(Kind::Top, Outcome::TooShort, [size, before, before]);
            return None;
        }
        let pieces = how_many(size, room, count);
        let (flags, flag) = (top.flags(), self.flag());
        let fresh = self.top >= self.fresh_from;
        for index in 1..pieces {
            let piece = Chunk::at(top.address() + index * size);
            piece.set(size, P | flag, State::Cached);
            more(piece);
        }
        top.set(size, flags, State::Live);
        self.set_top(Chunk::at(top.address() + pieces * size), P);
        probe::step_of(Kind::Top, Outcome::Taken, pieces, [size, before, self.top_size()]);
        self.touch_top();
        Some(Taken { chunk: top, fresh })
    }

    /// The top, its header proven, where there is one.
    pub fn proven_top(&self) -> Option<Chunk> {
        let top = Chunk::at(self.top);
        if self.top == 0 {
            return None;
        }
        if !top.is(State::Top) {
            die::corrupt_header(top, "the top");
        }
        Some(top)
    }

    /// Bytes in the top.
    pub fn top_size(&self) -> usize {
        if self.top == 0 {
            return 0;
        }
        // SAFETY: where there is a top, there is its heap.
        unsafe { (*self.regions).end - self.top }
    }

    /// Makes the rest of the current heap from here on the top. `prev` is P, or 0 where a free chunk too long to merge lies
    /// before it.
    pub fn set_top(&mut self, chunk: Chunk, prev: u32) {
        self.top = chunk.address();
        let size = self.top_size();
        self.decay.top_low = self.decay.top_low.min(size);
        chunk.set(size, prev | self.flag(), State::Top);
    }

    /// Memory was cut off the top: it is fresh no longer, and the next pages may be wanted ahead.
    fn touch_top(&mut self) {
        self.fresh_from = self.fresh_from.max(self.top);
        if self.top >= self.populate_from {
            top::populate(self);
        }
    }

    /// A7, steps 5 to 9: a chunk of this arena comes back. Its header was proven, and it is no longer live for anyone.
    pub fn give(&mut self, chunk: Chunk, size: usize) {
        if size <= POLICY.fast_max.load(Relaxed) {
            probe::step(Kind::FastPut, Outcome::Done, [size, chunk.address(), 0]);
            // SAFETY: the store is locked, the chunk is ours and in no list.
            unsafe { self.fast.put(chunk, size) };
            return;
        }
        let merged = self.merge(chunk, size, false);
        if merged >= CONSOLIDATE_FROM {
            if self.fast.count > 0 {
                self.consolidate_fast();
            }
            top::trim_beyond(self);
        }
    }

    /// Steps 6 to 8: merges a chunk with its free neighbours and puts the result into the unsorted bin (`sorted`: at once
    /// into its own), or makes it the top. Returns the size that came of it.
    pub fn merge(&mut self, chunk: Chunk, size: usize, sorted: bool) -> usize {
        chunk.set_state(size, State::Free);
        let (mut start, mut total) = (chunk, size);
        let mut past = self.bins.pages.used(self.decay.idle_epochs, size);
        if chunk.prev_in_use() {
            probe::step(Kind::MergePrev, Outcome::InUse, [0, 0, total]);
        } else {
            let prev = self.prev_of(chunk);
            let prev_size = prev.size();
            let fits = prev_size + total <= MAX_CHUNK;
            let (how, whole) = if fits { (Outcome::Merged, prev_size + total) } else { (Outcome::TooLong, total) };
            probe::step(Kind::MergePrev, how, [prev.address(), prev_size, whole]);
            if fits {
                // SAFETY: a proven free chunk of this store.
                past = past.join(unsafe { self.bins.remove(&self.span, prev) });
                (start, total) = (prev, prev_size + total);
            }
        }
        let flags = start.flags();
        let next = chunk.next();
        if start != chunk {
            clear::header(chunk);
        }
        match next.state() {
            Some(State::Top) => {
                let (top, whole) = (self.top_size(), total + self.top_size());
                probe::step(Kind::MergeNext, Outcome::WithTop, [next.address(), top, whole]);
                return self.merge_into_top(start, whole);
            }
            Some(State::Free) if total + next.size() <= MAX_CHUNK => {
                total += next.size();
                probe::step(Kind::MergeNext, Outcome::Merged, [next.address(), next.size(), total]);
                // SAFETY: a proven free chunk of this store.
                past = past.join(unsafe { self.bins.remove(&self.span, next) });
                clear::header(next);
            }
            Some(State::Free) => {
                probe::step(Kind::MergeNext, Outcome::TooLong, [next.address(), next.size(), total]);
            }
            Some(
                State::Live
                | State::Sampled
                | State::Cached
                | State::Marked
                | State::Quarantined
                | State::Fast
                | State::Fence,
            ) => {
                probe::step(Kind::MergeNext, Outcome::InUse, [next.address(), next.size(), total]);
            }
            Some(State::Mapped) | None => die::corrupt_header(next, "behind a chunk that was freed"),
        }
        let after = Chunk::at(start.address() + total);
        if after.is(State::Fence) && top::give_back_heap(self, start, after) {
            probe::step(Kind::Into, Outcome::HeapGone, [start.address(), total, 0]);
            return total;
        }
        start.set(total, flags, State::Free);
        after.set_prev_free(total);
        let small = if total < SMALL_MAX { Outcome::ToSmall } else { Outcome::ToLarge };
        probe::step(Kind::Into, if sorted { small } else { Outcome::ToUnsorted }, [start.address(), total, 0]);
        // SAFETY: a free chunk with its header and end written, in no list.
        unsafe {
            if sorted {
                self.bins.put_sorted(&self.span, start, past);
            } else {
                self.bins.put(&self.span, start, past);
            }
            if POLICY.decay.load(Relaxed) == 0 {
                self.bins.pages.release(&self.span, start, &mut usize::MAX.clone());
            }
        }
        total
    }

    /// The free chunk before one whose P says that there is one, proven. What lies there may be anything: P isn't covered by the
    /// cookie, and a chunk in use writes where a free one has its size.
    fn prev_of(&self, chunk: Chunk) -> Chunk {
        let prev_size = chunk.prev_size();
        let prev = Chunk::at(chunk.address().wrapping_sub(prev_size));
        let can_be = prev_size.is_multiple_of(ALIGN)
            && (self.span.lo..chunk.address()).contains(&prev.address())
            && arena::home_of(prev.address()).is_some();
        if !can_be || !prev.is(State::Free) || prev.size() != prev_size {
            die::corrupt_prev_size(chunk);
        }
        prev
    }

    /// A chunk before the top becomes part of it, and so do free ones before that: a top may be longer than any chunk, so
    /// those that were too long to merge with each other join it here.
    fn merge_into_top(&mut self, mut start: Chunk, mut whole: usize) -> usize {
        clear::header(Chunk::at(self.top));
        while !start.prev_in_use() {
            let prev = self.prev_of(start);
            // SAFETY: a proven free chunk of this store.
            unsafe { self.bins.remove(&self.span, prev) };
            clear::header(start);
            (start, whole) = (prev, whole + prev.size());
        }
        self.set_top(start, P);
        probe::step(Kind::Into, Outcome::ToTop, [start.address(), whole, 0]);
        if whole > decay::TOP_MIN {
            decay::raise();
        }
        whole
    }

    /// Merges what the fast bins hold.
    pub fn consolidate_fast(&mut self) {
        if self.fast.count > 0 {
            probe::step(Kind::Consolidate, Outcome::Done, [self.fast.count, self.fast.bytes, 0]);
        }
        for index in 0..bins::fast::BINS {
            let size = index * ALIGN;
            // SAFETY: the store is locked.
            while let Some(chunk) = unsafe { self.fast.take(size) } {
                self.merge(chunk, size, true);
            }
        }
    }

    /// A live chunk of this arena gives its end back: it keeps `size` bytes.
    pub fn shorten(&mut self, chunk: Chunk, size: usize) {
        let rest = chunk.size() - size;
        if rest < MIN_CHUNK {
            return;
        }
        probe::step(Kind::Shorten, Outcome::Done, [chunk.size(), size, 0]);
        let tail = Chunk::at(chunk.address() + size);
        tail.set(rest, P | self.flag(), State::Live);
        chunk.set(size, chunk.flags(), State::Live);
        let merged = self.merge(tail, rest, false);
        if merged >= CONSOLIDATE_FROM {
            top::trim_beyond(self);
        }
    }

    /// A live chunk of this arena grows in place to at least `size` bytes, to `roomy` where there is as much, into a free next
    /// chunk or the top; `false`, and nothing changed, where it can't.
    pub fn lengthen(&mut self, chunk: Chunk, size: usize, roomy: usize) -> bool {
        let old = chunk.size();
        let outcome = match chunk.next().state() {
            Some(State::Top) => Outcome::IntoTop,
            Some(State::Free) => Outcome::IntoNext,
            _ => Outcome::InUse,
        };
        let done = self.lengthen_quietly(chunk, size, roomy);
        let outcome = if done || outcome == Outcome::InUse { outcome } else { Outcome::TooShort };
        probe::step(Kind::Lengthen, outcome, [old, size, chunk.size()]);
        done
    }

    fn lengthen_quietly(&mut self, chunk: Chunk, size: usize, roomy: usize) -> bool {
        let old = chunk.size();
        let next = chunk.next();
        match next.state() {
            Some(State::Top) => {
                let need = size - old;
                if self.top_size() < need + MIN_CHUNK {
                    // Where there is something to merge, moving finds room without the kernel.
                    let may_grow =
                        self.fast.count == 0 && !depot::are_full() && size < POLICY.mmap_threshold.load(Relaxed);
                    let fits = may_grow && top::grow(self, need);
                    // Growing may have closed the heap and begun another elsewhere.
                    if !fits || self.top != next.address() || self.top_size() < need + MIN_CHUNK {
                        return false;
                    }
                }
                let size = if self.top_size() < roomy - old + MIN_CHUNK { size } else { roomy };
                self.set_top(Chunk::at(self.top + (size - old)), P);
                clear::header(next);
                self.touch_top();
                chunk.set(size, chunk.flags(), State::Live);
                true
            }
            Some(State::Free) if old + next.size() >= size && old + next.size() <= MAX_CHUNK => {
                let total = old + next.size();
                // SAFETY: a proven free chunk of this store.
                let past = unsafe { self.bins.remove(&self.span, next) };
                clear::header(next);
                let after = Chunk::at(chunk.address() + total);
                let size = size.max(roomy.min(total));
                let rest = total - size;
                if rest < MIN_CHUNK {
                    after.set_prev_in_use(true);
                    chunk.set(total, chunk.flags(), State::Live);
                } else {
                    let remainder = Chunk::at(chunk.address() + size);
                    remainder.set(rest, P | self.flag(), State::Free);
                    after.set_prev_free(rest);
                    // SAFETY: free, with its header and end written.
                    unsafe { self.bins.put(&self.span, remainder, past) };
                    chunk.set(size, chunk.flags(), State::Live);
                }
                true
            }
            Some(State::Mapped) | None => die::corrupt_header(next, "behind a chunk that was resized"),
            Some(_) => false,
        }
    }

    /// A chunk whose user pointer is a multiple of `align`: cut out of a longer one, with the space before and behind it
    /// given back.
    pub fn take_aligned(&mut self, size: usize, align: usize, may_grow: bool) -> Option<Chunk> {
        let whole = size.checked_add(align)?.checked_add(MIN_CHUNK)?;
        if whole > MAX_CHUNK {
            return None;
        }
        let chunk = self.take(whole, may_grow)?.chunk;
        let (total, flags) = (chunk.size(), chunk.flags());
        let mut user = (chunk.user() + align - 1) & !(align - 1);
        if user != chunk.user() && user - chunk.user() < MIN_CHUNK {
            user += align.max(MIN_CHUNK);
            user &= !(align - 1);
        }
        let lead = user - chunk.user();
        probe::step(Kind::Align, Outcome::Done, [chunk.address(), lead, align]);
        if lead == 0 {
            self.shorten(chunk, size);
            return Some(chunk);
        }
        let aligned = Chunk::from_user(user);
        aligned.set(total - lead, P | self.flag(), State::Live);
        chunk.set(lead, flags, State::Live);
        self.merge(chunk, lead, false);
        self.shorten(aligned, size);
        Some(aligned)
    }
}

/// For `root`.
pub const fn seen() -> StoreAt {
    StoreAt {
        top: offset_of!(Store, top),
        heaps: offset_of!(Store, regions),
        fast: offset_of!(Store, fast.heads),
        fast_bins: bins::fast::BINS,
        fast_count: offset_of!(Store, fast.count),
        fast_bytes: offset_of!(Store, fast.bytes),
        unsorted: offset_of!(Store, bins.unsorted),
        small: offset_of!(Store, bins.small.heads),
        small_bins: bins::small::BINS,
        large: offset_of!(Store, bins.large.heads),
        large_bins: bins::large::BINS,
        free_count: offset_of!(Store, bins.count),
        free_bytes: offset_of!(Store, bins.bytes),
        system_bytes: offset_of!(Store, system_bytes),
        system_peak: offset_of!(Store, system_peak),
    }
}
