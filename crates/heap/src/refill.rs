//! The slow half of a thread's cache: filling and emptying its bins, and putting away what is parked.
//!
//! A bin asks its arena for more chunks at a time the more often it asks: one, one, four, eight and so on (slow start), so that
//! small programs keep the textbook's layout, and its magazine grows with the traffic. Bytes are bounded: per class by
//! `CLASS_BYTES`, and for all that is more than the smallest magazines by `THREAD_BYTES`.

use crate::ahead;
use crate::arena;
use crate::cache::{NO_SLOT, SENTINEL};
use crate::chunk::{Chunk, State};
use crate::depot;
use crate::die;
use crate::free;
use crate::magazine::{self, Magazine, proven};
use crate::probe::{self, Kind, Outcome};
use crate::requests;
use crate::secure;
use crate::size::*;
use crate::store::Taken;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::thread::{self, Thread};
use core::ptr;

/// Most bytes that a magazine of one class may hold, if it is to be larger than the smallest.
const CLASS_BYTES: usize = 128 * 1024;
/// Most bytes that the larger magazines of one thread may hold, and those of all threads.
const THREAD_BYTES: usize = 2 * 1024 * 1024;
const ALL_BYTES: usize = 32 * 1024 * 1024;
/// What all threads' larger magazines may hold now.
static GRANTED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of one class above the exact ones: at first, and in demand.
const MEDIUM_BYTES: [usize; 3] = [32 * 1024, 128 * 1024, 128 * 1024];
/// Bytes of such a class that are asked for at a time.
const MEDIUM_BATCH: usize = 16 * 1024;
/// Chunks of such a class that are looked at for a fit.
const MEDIUM_LOOKS: usize = 4;
/// Demand from which requests above the exact classes are rounded up to a class, so that any chunk of it serves them.
const ROUNDED_FROM: u8 = 2;
/// The exact classes keep a spare magazine.
pub const SPARES: usize = SMALL_MAX / ALIGN + 1;

/// Slots of a class's magazine of a given step that are used.
fn room(class: usize, step: usize) -> usize {
    let capacity = magazine::capacity_of(step);
    if class < SPARES {
        return capacity;
    }
    let bytes = MEDIUM_BYTES.get(step).copied().unwrap_or(0);
    bytes.checked_div(class_size(class)).unwrap_or(1).min(capacity).max(1)
}

/// The bytes of a magazine's chunks, in units of 16.
fn units_of(magazine: &mut Magazine, class: usize) -> u32 {
    if class < SPARES {
        return magazine.count * class as u32;
    }
    // SAFETY: the magazine is the caller's, and in no cache.
    let users = unsafe { Magazine::users(magazine) };
    users.iter().map(|&user| (proven(user).size() / ALIGN) as u32).sum()
}

impl Thread {
    /// Filled slots of a class.
    pub fn cached(&self, class: usize) -> &[usize] {
        let (Some(&magazine), Some(bin)) = (self.magazines.get(class), self.cache.bins.get(class)) else { return &[] };
        if magazine.is_null() {
            return &[];
        }
        // SAFETY: the slots from the magazine's start to the bin's position are filled.
        unsafe {
            let start = Magazine::slots(magazine);
            core::slice::from_raw_parts(start, bin.top.offset_from(start) as usize)
        }
    }

    /// Chunks in the class that serves a request.
    pub fn cached_for(&self, request: usize) -> usize {
        chunk_size(request).filter(|&size| size <= CACHED_MAX).map_or(0, |size| self.cached(class_for(size)).len())
    }

    /// A chunk of at least `size` bytes, at most `CACHED_MAX`, out of the cache; live.
    pub fn pop(&mut self, size: usize) -> Option<Chunk> {
        let popped = self.pop_quietly(size);
        // The class that it came out of; a longer one than was asked for may lie in the same class or the next.
        let before = match popped {
            _ if !probe::tells() => 0,
            Some(chunk) => self.cached(class_of(chunk.size().min(CACHED_MAX))).len() + 1,
            None => self.cached(class_of(size)).len(),
        };
        let outcome = if popped.is_some() { Outcome::Taken } else { Outcome::Empty };
        probe::step(Kind::Cache, outcome, [size, before, popped.map_or(0, Chunk::user)]);
        popped
    }

    fn pop_quietly(&mut self, size: usize) -> Option<Chunk> {
        if size > SMALL_MAX {
            return self.pop_medium(size);
        }
        self.shuffle_next(class_of(size));
        let bin = self.cache.bins.get_mut(class_of(size))?;
        // SAFETY: the slot below a bin's position is filled, or the magazine's zero guard.
        let user = unsafe { *bin.top.sub(1) };
        if user == SENTINEL as usize {
            return None;
        }
        let chunk = proven(user);
        if chunk.size() != size {
            die::corrupt_header(chunk, "free, in a cache");
        }
        self.profile_popped(chunk, size);
        let bin = self.cache.bins.get_mut(class_of(size))?;
        // SAFETY: as above.
        bin.top = unsafe { bin.top.sub(1) };
        chunk.set_state(size, State::Live);
        Some(chunk)
    }

    /// Classes above the exact ones hold several sizes: in one all fit, and in the one below perhaps the newest few.
    fn pop_medium(&mut self, size: usize) -> Option<Chunk> {
        let (above, class) = (class_above(size), class_of(size));
        self.shuffle_next(above);
        let (class, back) = if !self.cached(above).is_empty() {
            (above, 0)
        } else {
            let newest = self.cached(class).iter().rev().take(MEDIUM_LOOKS);
            (class, newest.map(|&user| proven(user)).position(|chunk| chunk.size() >= size)?)
        };
        let bin = self.cache.bins.get_mut(class)?;
        // SAFETY: `back + 1` slots below the position are filled.
        let user = unsafe {
            let (newest, chosen) = (bin.top.sub(1), bin.top.sub(1 + back));
            let user = *chosen;
            *chosen = *newest;
            bin.top = newest;
            user
        };
        let chunk = proven(user);
        self.profile_popped(chunk, chunk.size());
        chunk.set_state(chunk.size(), State::Live);
        Some(chunk)
    }

    /// Puts a freed chunk, proven, into the cache; `false` where it is too long or there is no room at all.
    pub fn push(&mut self, chunk: Chunk, size: usize) -> bool {
        let class = class_of(size.min(CACHED_MAX));
        let before = if probe::tells() { self.cached(class).len() } else { 0 };
        let told = |outcome| probe::step(Kind::Put, outcome, [size, before, chunk.user()]);
        if size > CACHED_MAX {
            told(Outcome::TooLong);
            return false;
        }
        if self.is_somebody_elses(chunk, class) {
            told(Outcome::Foreign);
            return false;
        }
        let is_full = |thread: &Thread| thread.cache.bins.get(class).is_none_or(|bin| bin.top == bin.limit);
        if is_full(self) {
            self.make_room(class);
            if is_full(self) {
                told(Outcome::Full);
                return false;
            }
        }
        let Some(bin) = self.cache.bins.get_mut(class) else { return false };
        told(Outcome::Taken);
        chunk.set_state(size, State::Cached);
        // SAFETY: the position is below the limit.
        unsafe {
            *bin.top = chunk.user();
            bin.top = bin.top.add(1);
        }
        self.profile_pushed(chunk, size);
        true
    }

    /// An empty magazine; null where there is no memory.
    fn take_empty(&mut self, step: usize) -> *mut Magazine {
        match self.empties.get_mut(step) {
            Some(kept) if !kept.is_null() => core::mem::replace(kept, ptr::null_mut()),
            _ => magazine::take(step),
        }
    }

    /// Puts an empty magazine away: one of each length stays at hand, so that exchanging magazines meets no common lock.
    ///
    /// # Safety
    /// The magazine is the caller's, and from here on nobody's.
    unsafe fn put_empty(&mut self, magazine: *mut Magazine) {
        // SAFETY: as the caller promises.
        let step = unsafe { Magazine::step(magazine) };
        match self.empties.get_mut(step) {
            Some(kept) if kept.is_null() => *kept = magazine,
            // SAFETY: as above.
            _ => unsafe { magazine::put(magazine) },
        }
    }

    #[cold]
    fn make_room(&mut self, class: usize) {
        let is_used = self.magazines.get(class).is_some_and(|magazine| !magazine.is_null());
        if !is_used {
            let empty = self.take_empty(0);
            self.load(class, empty, 0);
        } else if class >= SPARES {
            self.give_half(class);
        } else {
            let full = self.unload(class);
            let spilled = |outcome, magazine: *mut Magazine| {
                if probe::tells() && !magazine.is_null() {
                    // SAFETY: ours, with its count written.
                    let count = unsafe { (*magazine).count } as usize;
                    probe::step(Kind::Spill, outcome, [class_size(class), count, 0]);
                }
            };
            spilled(Outcome::ToSpare, full);
            let spare = self.spares.get_mut(class).map_or(ptr::null_mut(), |cell| core::mem::replace(cell, full));
            if !spare.is_null() {
                spilled(Outcome::ToDepot, spare);
                // SAFETY: a full magazine of ours.
                unsafe { depot::put(spare, self.arena, thread::owner()) };
            }
            let step = self.next_step(class);
            let empty = self.take_empty(step);
            self.load(class, empty, 0);
        }
    }

    /// Takes a class's magazine out, with its count and class written.
    fn unload(&mut self, class: usize) -> *mut Magazine {
        let count = self.cached(class).len();
        self.count_for_samples(-(count as i64));
        let magazine =
            self.magazines.get_mut(class).map_or(ptr::null_mut(), |m| core::mem::replace(m, ptr::null_mut()));
        if let Some(bin) = self.cache.bins.get_mut(class) {
            (bin.top, bin.limit) = (NO_SLOT, NO_SLOT);
        }
        // SAFETY: it is ours, and in no cache now.
        if let Some(magazine) = unsafe { magazine.as_mut() } {
            magazine.count = count as u32;
            magazine.class = class as u32;
            magazine.units = units_of(magazine, class);
        }
        magazine
    }

    /// So many chunks came into the cache. While calls are exact, allocations are counted one by one.
    fn count_for_samples(&mut self, chunks: i64) {
        if !self.exact {
            self.sampler.pass(chunks);
        }
    }

    /// Makes a magazine with `count` filled slots a class's own. Null leaves the class without.
    fn load(&mut self, class: usize, magazine: *mut Magazine, count: usize) {
        if magazine.is_null() {
            return;
        }
        self.count_for_samples(count as i64);
        let (Some(cell), Some(bin)) = (self.magazines.get_mut(class), self.cache.bins.get_mut(class)) else { return };
        *cell = magazine;
        self.stirred.get_mut(class).into_iter().for_each(|stirred| *stirred = true);
        // SAFETY: the magazine is ours; its capacity bounds both positions.
        unsafe {
            let room = self.asker.uneven(class, room(class, Magazine::step(magazine))).max(count);
            let start = Magazine::slots(magazine);
            bin.top = start.add(count);
            bin.limit = start.add(room);
        }
    }

    /// The step of the magazine that a class has earned. Counts one more demand.
    fn next_step(&mut self, class: usize) -> usize {
        let Some(demand) = self.demand.get_mut(class) else { return 0 };
        *demand = demand.saturating_add(1);
        let wanted = match *demand {
            0..4 => 0,
            4..16 => 1,
            _ => 2,
        };
        let bytes = |step| room(class, step) * class_size(class);
        for step in [2, 1] {
            let is_too_long = class < SPARES && bytes(step) > CLASS_BYTES;
            if step > wanted || is_too_long || bytes(step) == bytes(step - 1) {
                continue;
            }
            // Counted at the first demand that can reach the step: it is a bound, not a balance.
            let is_new = *demand == 4 || *demand == 16;
            if is_new {
                let more = bytes(step) - bytes(0);
                let all = GRANTED.load(Relaxed) + more;
                if self.granted_bytes + more > THREAD_BYTES || all > ALL_BYTES {
                    *demand -= 1;
                    return step - 1;
                }
                self.granted_bytes += more;
                GRANTED.fetch_add(more, Relaxed);
            }
            return step;
        }
        0
    }

    /// The older half of a class above the exact ones goes home, and what is left gets the magazine that it has earned.
    fn give_half(&mut self, class: usize) {
        let step = self.next_step(class);
        let old = self.unload(class);
        // SAFETY: a class that is full has a magazine; it may have come from a thread with more demand.
        let larger = self.take_empty(step.max(unsafe { Magazine::step(old) }));
        let (rest, given) = if larger.is_null() { (old, ptr::null_mut()) } else { (larger, old) };
        // SAFETY: two magazines of ours, or one, which then has all; `count` slots of the old one are filled, and the other is
        // at least as large.
        unsafe {
            let count = (*old).count as usize;
            let half = count.div_ceil(2);
            let start = Magazine::slots(old);
            probe::step(Kind::Spill, Outcome::ToDepot, [class_size(class), half, 0]);
            if given.is_null() {
                for index in 0..half {
                    let chunk = proven(*start.add(index));
                    arena::send_home(chunk, chunk.size(), Some(self.arena), thread::owner());
                }
                ptr::copy(start.add(half), start, count - half);
            } else {
                ptr::copy_nonoverlapping(start.add(half), Magazine::slots(rest), count - half);
                (*given).count = half as u32;
                (*given).units = units_of(&mut *given, class);
                depot::put(given, self.arena, thread::owner());
            }
            self.load(class, rest, count - half);
        }
    }

    /// The cache has no chunk for this size, of at most `CACHED_MAX`: takes one from the spare magazine, the depot or the arena, and more
    /// for later. The one returned is live. `None` where the arena can't be had or has no memory.
    pub fn refill(&mut self, size: usize, request: usize) -> Option<Taken> {
        let class = class_for(size);
        let spare =
            self.spares.get_mut(class).map_or(ptr::null_mut(), |cell| core::mem::replace(cell, ptr::null_mut()));
        if !spare.is_null() {
            return self.exchange(class, size, spare, Outcome::FromSpare);
        }
        self.refill_from_others(class, size, request)
    }

    #[inline(never)]
    fn refill_from_others(&mut self, class: usize, size: usize, request: usize) -> Option<Taken> {
        let demand = self.demand.get(class).copied().unwrap_or(0);
        let step = self.next_step(class);
        let (step, demand) = secure::batches(step, demand);
        let me = thread::owner();
        if let Some(full) = depot::take(class, me) {
            // SAFETY: taken, so ours, and not empty.
            let (newest, count) = unsafe {
                let count = (*full).count as usize;
                (*Magazine::slots(full).add(count).sub(1), count)
            };
            self.asker.see(Chunk::from_user(newest), request, count);
            return self.exchange(class, size, full, Outcome::FromDepot);
        }
        if demand < ROUNDED_FROM {
            let taken = arena::take(self.arena, me, |store, may_grow| store.take(size, may_grow))?;
            requests::one_came(taken.chunk, request, Some(self));
            return Some(taken);
        }
        self.refill_many(class, class_room(size), step, demand, request)
    }

    /// A bin that is empty but for what is parked sends every malloc here. Where that happens again and again, the class
    /// gets a few chunks more, so that parking and popping no longer meet.
    pub fn thicken(&mut self, request: usize) {
        const OFTEN: u8 = 16;
        if self.cache.head.parked.iter().all(|&user| self.cache.is_nobody(user)) || request > CACHED_MAX - OVERHEAD {
            return;
        }
        let Some(size) = chunk_size(request) else { return };
        let class = class_for(size);
        let size = class_room(size);
        let Some(thin) = self.thin.get_mut(class) else { return };
        *thin += 1;
        if *thin < OFTEN {
            return;
        }
        *thin = 0;
        let mut extra = [0; 2];
        let mut filled = 0;
        let first = arena::take(self.arena, thread::owner(), |store, may_grow| {
            store.take_many(size, 1 + extra.len(), may_grow, &mut |chunk| {
                if let Some(cell) = extra.get_mut(filled) {
                    *cell = chunk.user();
                    filled += 1;
                }
            })
        });
        probe::step(Kind::Refill, Outcome::FromArena, [size, filled + usize::from(first.is_some()), 0]);
        if let Some(Taken { chunk, .. }) = &first {
            self.brought(class, *chunk, filled, request);
        }
        let extra = extra.iter().take(filled).map(|&user| Chunk::from_user(user));
        for chunk in first.map(|taken| taken.chunk).into_iter().chain(extra) {
            self.keep(chunk);
        }
    }

    fn refill_many(&mut self, class: usize, size: usize, step: usize, demand: u8, request: usize) -> Option<Taken> {
        let old = self.unload(class);
        // SAFETY: an empty magazine of ours, or none.
        let keeps = unsafe { !old.is_null() && Magazine::step(old) >= step };
        let magazine = if keeps { old } else { self.take_empty(step) };
        let magazine = if magazine.is_null() { old } else { magazine };
        if magazine.is_null() {
            let taken = arena::take(self.arena, thread::owner(), |store, may_grow| store.take(size, may_grow))?;
            requests::one_came(taken.chunk, request, Some(self));
            return Some(taken);
        }
        // SAFETY: ours, and empty; `filled` stays below its capacity because no more than that is asked for.
        unsafe {
            let slots = Magazine::slots(magazine);
            let batch = if class < SPARES { usize::MAX } else { MEDIUM_BATCH.checked_div(size).unwrap_or(1).max(1) };
            let wanted = (1usize << demand.min(7)).min(batch);
            let count = self.asker.uneven(class, wanted.min(room(class, Magazine::step(magazine))));
            let mut filled = 0;
            let taken = arena::take(self.arena, thread::owner(), |store, may_grow| {
                store.take_many(size, count, may_grow, &mut |chunk| {
                    *slots.add(filled) = chunk.user();
                    filled += 1;
                })
            });
            // Popped from the end: so the lowest address comes first.
            let rest = core::slice::from_raw_parts_mut(slots, filled);
            rest.reverse();
            let taken = self.shuffle_refill(taken, rest).or(taken);
            self.profile_entering(size, rest);
            probe::step(Kind::Refill, Outcome::FromArena, [size, filled, 0]);
            self.load(class, magazine, filled);
            if magazine != old && !old.is_null() {
                self.put_empty(old);
            }
            if let Some(Taken { chunk, .. }) = &taken {
                self.brought(class, *chunk, filled, request);
            }
            taken
        }
    }

    /// A request got this chunk, and brought so many more of its class.
    #[inline]
    fn brought(&mut self, class: usize, chunk: Chunk, more: usize, request: usize) {
        if more == 0 {
            // It may be a little longer than the class, where too little was left to cut off.
            return requests::one_came(chunk, request, Some(self));
        }
        requests::came(class, chunk, request, 1 + more, Some(self));
    }

    /// Loads a full magazine and pops from it; the empty one is put away.
    fn exchange(&mut self, class: usize, size: usize, full: *mut Magazine, from: Outcome) -> Option<Taken> {
        let empty = self.unload(class);
        // SAFETY: both magazines are ours.
        unsafe {
            if !empty.is_null() {
                self.put_empty(empty);
            }
            probe::step(Kind::Refill, from, [class_size(class), (*full).count as usize, 0]);
            self.profile_coming_back(class, Magazine::users(full));
            ahead::headers(Magazine::users(full));
            self.load(class, full, (*full).count as usize);
        }
        self.pop(size).map(|chunk| Taken { chunk, fresh: false })
    }

    /// Pushes what is parked, the older first.
    #[inline]
    pub fn unpark(&mut self) {
        // A thread that is exact never parks.
        if !self.exact || !self.cache.head.parked.iter().all(|&user| self.cache.is_nobody(user)) {
            self.unpark_all();
        }
    }

    fn unpark_all(&mut self) {
        let [newer, older] = self.cache.park_stand_ins();
        self.push_parked(older);
        self.push_parked(newer);
    }

    /// Pushes one pointer that was parked, proving it now.
    pub fn push_parked(&mut self, user: *mut u8) {
        if self.cache.is_nobody(user) {
            return;
        }
        probe::step(Kind::Unparked, Outcome::Done, [user as usize, 0, 0]);
        if let Some(chunk) = free::prove_parked(self, user as usize) {
            self.keep(chunk);
        }
    }

    /// A free chunk goes into the cache, or home where that has no room.
    fn keep(&mut self, chunk: Chunk) {
        let size = chunk.size();
        if !self.push(chunk, size) {
            arena::send_home(chunk, size, Some(self.arena), thread::owner());
        }
    }

    /// An epoch of decay has passed: everything goes home, and what was granted is to be earned again.
    pub fn flush_and_forget(&mut self) {
        self.flush();
        GRANTED.fetch_sub(core::mem::take(&mut self.granted_bytes), Relaxed);
        for demand in &mut self.demand {
            *demand = (*demand).min(3);
        }
    }

    /// In a forked child, the other threads' grants are nobody's.
    pub fn after_fork(thread: Option<&mut Thread>) {
        GRANTED.store(thread.map_or(0, |thread| thread.granted_bytes), Relaxed);
    }

    /// Everything in the cache goes home.
    pub fn flush(&mut self) {
        self.unpark();
        // Class 0 is the stand-ins'.
        for class in 1..CLASSES {
            let spare =
                self.spares.get_mut(class).map_or(ptr::null_mut(), |cell| core::mem::replace(cell, ptr::null_mut()));
            for magazine in [spare, self.unload(class)] {
                if !magazine.is_null() {
                    // SAFETY: ours, with its count and class written.
                    unsafe { depot::put(magazine, self.arena, thread::owner()) };
                }
            }
        }
        for step in 0..magazine::STEPS {
            let kept = self.empties.get_mut(step).map_or(ptr::null_mut(), |m| core::mem::replace(m, ptr::null_mut()));
            if !kept.is_null() {
                // SAFETY: ours, and empty.
                unsafe { magazine::put(kept) };
            }
        }
    }
}
