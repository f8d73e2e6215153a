//! The proof: walks every heap from its first chunk to its end and holds it against the bins, the depots and the figures.
//!
//! What is proven, arena by arena, under its lock:
//! - chunks tile each heap exactly, each with a header that proves itself;
//! - P says whether the previous chunk is in a bin, and then `prev_size` is its size;
//! - no two neighbours are in bins (unless too long to be one chunk);
//! - every free chunk is in exactly one list, and lists hold nothing else; lists are consistent both ways; a list that its
//!   bitmap calls empty is, and the other way round; small bins hold their size, large bins their range in rising order;
//! - what a free chunk says of the pages inside it is possible, and it is in the list of its age or has none left to release;
//! - every cached chunk of a depot is marked so, and all counters add up.

use crate::arena;
use crate::bins::{fast::Fast, large, pages};
use crate::chunk::{A, Chunk, State};
use crate::depot;
use crate::guard;
use crate::line::Line;
use crate::list::{self, Link, Span};
use crate::mapped;
use crate::region::{self, Region};
use crate::secure::{self, clear};
use crate::size::*;
use crate::store::Store;
use crate::thread;

/// What a walk counted.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Walked {
    pub heaps: usize,
    pub bytes: usize,
    pub live: usize,
    pub cached: usize,
    pub fast: usize,
    pub free: usize,
    pub free_bytes: usize,
    pub fast_bytes: usize,
    pub faults: usize,
}

/// Counts that a check takes again while others are at work.
const RECOUNTS: usize = 8;

struct Checker<'a> {
    store: &'a mut Store,
    walked: Walked,
    /// Free chunks that say they are in a list by age, and bytes of clean runs.
    aged: usize,
    released: usize,
    silent: bool,
}

/// Checks everything; the number of faults found, 0 for a sound heap. The first few are told on standard error, unless
/// `silent`.
pub fn check(silent: bool) -> usize {
    if let Some(thread) = thread::existing() {
        thread.unpark();
    }
    let mut faults = 0;
    for arena in arena::all() {
        if let Some(mut guard) = arena.lock(thread::owner()) {
            faults += check_store(&mut guard, silent).faults;
        }
    }
    mapped::each(|user, base, length| {
        let chunk = Chunk::from_user(user);
        if !chunk.is(State::Mapped) || user < base + HEADER || user > base + length {
            faults += 1;
            if !silent {
                Line::new().text("check: the mapped chunk at ").hex(user).text(" has a broken header").warn();
            }
        }
    });
    faults + guard::check(silent)
}

/// Checks one store, whose lock the caller has.
pub fn check_store(store: &mut Store, silent: bool) -> Walked {
    let mut checker = Checker { store, walked: Walked::default(), aged: 0, released: 0, silent };
    checker.heaps();
    checker.lists();
    checker.counters();
    checker.walked
}

impl Checker<'_> {
    fn fault(&mut self, at: usize, what: &'static str) {
        self.walked.faults += 1;
        if !self.silent && self.walked.faults <= 10 {
            Line::new()
                .text("check: ")
                .text(what)
                .text(" at ")
                .hex(at)
                .text(" in arena ")
                .number(self.store.arena)
                .warn();
        }
    }

    fn heaps(&mut self) {
        let mut record = self.store.regions;
        let mut is_current = self.store.top != 0;
        // SAFETY: the store is locked; its records are whole.
        while let Some(region) = unsafe { record.as_ref() } {
            self.heap(region, is_current);
            is_current = false;
            self.walked.heaps += 1;
            self.walked.bytes += region.end - region.start;
            record = region.next;
        }
    }

    fn heap(&mut self, region: &Region, is_current: bool) {
        let mut chunk = Chunk::at(region.start);
        let mut before: Option<(Chunk, State)> = None;
        loop {
            let Some(state) = chunk.state() else { return self.fault(chunk.address(), "no chunk starts") };
            let last = state == State::Top || state == State::Fence;
            let end = if state == State::Top { region.end } else { chunk.next().address() };
            // Behind any other chunk there is at least a header: the top's or the fence's.
            let room = if last { 0 } else { HEADER };
            if end + room > region.end || end <= chunk.address() || last && end != region.end {
                return self.fault(chunk.address(), "a chunk runs over its heap's end");
            }
            if (chunk.flags() & A != 0) != (self.store.arena != 0) {
                self.fault(chunk.address(), "the A flag is wrong");
            }
            self.neighbours(before, chunk, state);
            match state {
                State::Live | State::Sampled => self.walked.live += 1,
                State::Cached | State::Marked => self.walked.cached += 1,
                State::Quarantined => self.quarantined(chunk),
                State::Fast => {
                    self.walked.fast += 1;
                    self.walked.fast_bytes += chunk.size();
                }
                State::Free => {
                    self.walked.free += 1;
                    self.walked.free_bytes += chunk.size();
                    match pages::look(chunk) {
                        Some(said) => {
                            self.aged += usize::from(said.listed);
                            self.released += said.clean;
                        }
                        None => self.fault(chunk.address(), "a free chunk's words about its pages are wrong"),
                    }
                }
                State::Mapped => self.fault(chunk.address(), "a mapped chunk lies in a heap"),
                State::Top if !is_current || chunk.address() != self.store.top => {
                    self.fault(chunk.address(), "a top that isn't the arena's lies");
                }
                State::Fence if is_current => self.fault(chunk.address(), "the current heap has a fence"),
                State::Top | State::Fence => {}
            }
            if last {
                return;
            }
            before = Some((chunk, state));
            chunk = Chunk::at(end);
        }
    }

    /// A chunk that waits must be clear. Its thread may take it out and hand it out meanwhile: then it no longer says that it
    /// waits.
    fn quarantined(&mut self, chunk: Chunk) {
        self.walked.cached += 1;
        // SAFETY: a proven chunk of a locked heap, whose size can't change.
        let written = unsafe { clear::first_written(chunk.user(), chunk.size() - OVERHEAD) };
        if written.is_some() && secure::has(secure::CLEAR) && chunk.is(State::Quarantined) {
            self.fault(chunk.address(), "a chunk in quarantine was written to");
        }
    }

    fn neighbours(&mut self, before: Option<(Chunk, State)>, chunk: Chunk, state: State) {
        let prev_is_free = matches!(before, Some((_, State::Free)));
        if chunk.prev_in_use() == prev_is_free {
            self.fault(chunk.address(), "P doesn't say what the previous chunk is");
        }
        let Some((prev, State::Free)) = before else { return };
        if !chunk.prev_in_use() && chunk.prev_size() != prev.size() {
            self.fault(chunk.address(), "prev_size isn't the previous chunk's size");
        }
        let fits = prev.size() + chunk.size() <= MAX_CHUNK;
        if fits && matches!(state, State::Free | State::Top) {
            self.fault(chunk.address(), "two neighbours are free");
        }
    }

    fn lists(&mut self) {
        let span = self.store.span;
        let (mut count, mut bytes) = (0, 0);
        let unsorted = &raw mut self.store.bins.unsorted;
        self.list(&span, unsorted, &mut |_, chunk| {
            (count, bytes) = (count + 1, bytes + chunk.size());
            true
        });
        for index in 0..self.store.bins.small.heads.len() {
            let Some(head) = self.store.bins.small.heads.get_mut(index) else { continue };
            let (head, is_empty) = (&raw mut *head, head.is_empty());
            if (self.store.bins.small.map >> index & 1 == 0) != is_empty {
                self.fault(index * ALIGN, "the small bins' bitmap is wrong for the size");
            }
            self.list(&span, head, &mut |_, chunk| {
                (count, bytes) = (count + 1, bytes + chunk.size());
                chunk.size() == index * ALIGN
            });
        }
        for index in 0..large::BINS {
            let (n, b) = self.large(&span, index);
            (count, bytes) = (count + n, bytes + b);
        }
        if (count, bytes) != (self.walked.free, self.walked.free_bytes) {
            self.fault(count, "the bins don't hold exactly the heaps' free chunks; chunks in bins");
        }
        self.ages(&span);
        self.fast_and_depots();
    }

    fn ages(&mut self, span: &Span) {
        let (mut count, mut dirty, mut sound) = (0, 0, true);
        // SAFETY: the store is locked.
        let whole = unsafe {
            self.store.bins.pages.each(span, |chunk| {
                count += 1;
                let said = pages::look(chunk).unwrap_or_default();
                sound &= chunk.is(State::Free) && said.listed;
                dirty += said.dirty;
            })
        };
        if let Err(at) = whole {
            return self.fault(at, "the links of the lists by age don't point at each other");
        }
        let pages = &self.store.bins.pages;
        if !sound || [count, self.aged, dirty, self.released] != [pages.count, pages.count, pages.dirty, pages.released]
        {
            self.fault(count, "the lists by age don't hold exactly the chunks with dirty pages; chunks in them");
        }
    }

    fn large(&mut self, span: &Span, index: usize) -> (usize, usize) {
        let (mut count, mut bytes, mut smallest, mut sound) = (0, 0, 0, true);
        // SAFETY: the store is locked; lists are proven as they are followed.
        let whole = unsafe {
            self.store.bins.large.walk(span, index, |chunk| {
                sound &= chunk.is(State::Free) && large::index_of(chunk.size()) == index && chunk.size() >= smallest;
                smallest = chunk.size();
                (count, bytes) = (count + 1, bytes + chunk.size());
            })
        };
        if let Err((at, _)) = whole {
            self.fault(at, "the links of a large bin don't point at each other");
        }
        let listed = self.store.bins.large.map.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1);
        if !sound || listed != (count > 0) {
            self.fault(index, "a large bin is out of order, holds a wrong chunk or contradicts its bitmap; bin");
        }
        (count, bytes)
    }

    /// Walks one list both ways at once: each step is proven backwards too.
    fn list(&mut self, span: &Span, head: *mut Link, fits: &mut dyn FnMut(&Self, Chunk) -> bool) {
        let mut before = head;
        loop {
            // SAFETY: the store is locked.
            let Ok(at) = (unsafe { list::step(span, before) }) else {
                return self.fault(before as usize, "the links of a bin don't point at each other");
            };
            if at == head {
                return;
            }
            let chunk = Chunk::from_user(at as usize);
            if !chunk.is(State::Free) || !fits(self, chunk) {
                return self.fault(chunk.address(), "a bin holds a chunk that doesn't belong there");
            }
            before = at;
        }
    }

    fn fast_and_depots(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        for index in 0..self.store.fast.heads.len() {
            let mut at = self.store.fast.heads.get(index).copied().unwrap_or(0);
            while at != 0 {
                let chunk = Chunk::at(at);
                if !chunk.is(State::Fast) || chunk.size() != index * ALIGN {
                    return self.fault(at, "a fast bin holds a chunk that doesn't belong there");
                }
                (count, bytes) = (count + 1, bytes + chunk.size());
                // SAFETY: a proven chunk of a fast bin; the store is locked.
                let Some(next) = (unsafe { Fast::step(chunk) }) else {
                    return self.fault(at, "a fast bin's link was overwritten");
                };
                at = next;
            }
        }
        if (count, bytes) != (self.walked.fast, self.walked.fast_bytes) {
            self.fault(count, "the fast bins don't hold exactly the heaps' fast chunks; chunks in bins");
        }
        let mut depot_chunks = self.in_depots();
        // Chunks become cached, and come into depots, without the arena's lock: what came between the two counts is no fault.
        for _ in 0..RECOUNTS {
            if depot_chunks <= self.walked.cached {
                return;
            }
            let mut again =
                Checker { store: self.store, walked: Walked::default(), aged: 0, released: 0, silent: true };
            again.heaps();
            self.walked.cached = again.walked.cached;
            depot_chunks = self.in_depots();
        }
        if depot_chunks > self.walked.cached {
            self.fault(depot_chunks, "the depots hold more chunks than are marked cached; chunks in depots");
        }
    }

    /// Chunks of this store in depots, each proven.
    fn in_depots(&mut self) -> usize {
        let mut count = 0;
        let sound = depot::each(thread::owner(), |class, user| {
            let chunk = Chunk::from_user(user);
            if region::owner(chunk.address()) == Some(self.store.arena) {
                if !chunk.is(State::Cached) || chunk.size() > CACHED_MAX || class_of(chunk.size()) != class {
                    self.fault(chunk.address(), "a depot holds a chunk that doesn't belong there");
                }
                count += 1;
            }
        });
        if !sound {
            self.fault(count, "a depot doesn't hold as many magazines as it says; chunks in depots");
        }
        count
    }

    fn counters(&mut self) {
        let store = &*self.store;
        let right = (store.bins.count, store.bins.bytes) == (self.walked.free, self.walked.free_bytes)
            && (store.fast.count, store.fast.bytes) == (self.walked.fast, self.walked.fast_bytes)
            && store.system_bytes == self.walked.bytes
            && store.system_peak >= store.system_bytes;
        if !right {
            let system = self.store.system_bytes;
            self.fault(system, "the arena's counters don't add up; bytes counted");
        }
    }
}
