//! The profile's side of the heap: which allocations are sampled, and what is told of them.
//!
//! Each byte that is allocated is as likely to be sampled as any other: a chunk of s bytes with probability 1 - exp(-s / interval).
//! The fast paths take no part in that, not by one instruction. Where every call comes by the slow path, or where a call comes by
//! it anyway, bytes are counted down to the next sample. For chunks that go round in a cache, chance falls when they *enter* it,
//! which comes before each hand-out just once: one that is hit is `Marked` instead of `Cached`, so that the malloc which meets it
//! finds no cookie that it knows, and takes the slow path.
//!
//! - What enters by a slow path (a refill, a free that found no room) is counted by its bytes, one by one or a magazine at a time.
//! - What a fast free pushes is known by `Head::until_look` alone, which counts them. So some of them are *candidates*: the
//!   distance between two is drawn as if each had the bytes of the longest exact class, and one of s bytes is marked with
//!   probability s over that.
//! - Chunks above the exact classes come by the slow path while a profile is taken: the head's limit is one below its usual
//!   value, which is all that `cache::take_medium_from` asks.
//!
//! A chunk that was sampled is `Sampled` instead of `Live`, so its free is seen in the same way. Mappings and guarded samples have
//! no such header; each of their frees is told, and the reader knows which it means.
//!
//! What is told: the registers and a piece of the stack as it is. Nothing is unwound here, and no lock is taken but that of the
//! few who have no ring of their own.
//!
//! Switching it on or off begins an epoch, as decay does: each thread that comes by a slow path sends its cache home and follows.

mod sampler;
mod told;

use crate::arch;
use crate::cache::{self, PARKED, SMALL_LIMIT};
use crate::chunk::{Chunk, State};
use crate::decay;
use crate::free;
use crate::guard;
use crate::malloc;
use crate::policy::POLICY;
use crate::probe::Call;
use crate::region;
use crate::size::*;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use crate::thread::{self, Thread};
use heapglass_event::record::NO_ARENA;
use heapglass_event::ring::Control;
use sampler::Mode;
pub use sampler::Sampler;
pub use told::{after_fork, at_process_end, forget, is_shared, mapping};

/// Odd while a profile is taken. Raised whenever that changes.
static TURN: AtomicU32 = AtomicU32::new(0);
/// Bytes between two samples, on average.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
/// Below this interval every call is worth the slow path, where it is taken exactly.
const MARKS_FROM: u64 = 128 << 10;

/// Is a profile being taken?
#[inline(always)]
pub fn is_on() -> bool {
    TURN.load(Relaxed) & 1 != 0
}

/// Begins one, told in this file.
pub fn begin(control: &'static Control) {
    told::begin(control);
    INTERVAL.store(control.interval.load(Relaxed).max(1), Relaxed);
    let turn = TURN.load(Relaxed);
    TURN.store(turn.wrapping_add(if turn & 1 == 0 { 1 } else { 2 }), Release);
    decay::begin_epoch();
}

/// Ends it: chunks that have an eye on them lose it as they come by.
fn end() {
    let turn = TURN.load(Relaxed);
    if turn & 1 != 0 {
        TURN.store(turn.wrapping_add(1), Release);
        decay::begin_epoch();
    }
}

/// A call returns a chunk that it got by the slow path. `from_cache`: as the fast path would have done.
#[inline]
pub fn allocated(user: usize, request: usize, call: Call, from_cache: bool) {
    if is_on() {
        note_allocated(user, request, call, from_cache);
    }
}

#[cold]
#[inline(never)]
fn note_allocated(user: usize, request: usize, call: Call, from_cache: bool) {
    let Some(thread) = thread::existing() else { return };
    let sampler = &mut thread.profiler;
    let popped = sampler.popped.take();
    let is_due = match (sampler.mode(), popped) {
        (Mode::Off, _) => false,
        (Mode::Marks, Some(marked)) => marked,
        (Mode::Marks, None) if from_cache && request < SMALL_LIMIT => false,
        _ => sampler.count(bytes_for(request)),
    };
    if is_due {
        sample(user, request, call);
    }
}

/// As `cache::take_medium_from` where a profile has taken its limit away: null where the next sample is due, or there is nothing.
#[inline(never)]
pub fn take_medium(request: usize) -> *mut u8 {
    let head = arch::word();
    // SAFETY: the thread's own head, and where it isn't one that refuses, the thread's record; its limit is what it would be
    // without a profile, for the moment.
    unsafe {
        if (*head).limit != SMALL_LIMIT - 1 || (*(*head).thread).profiler.is_due_within(2 * request) {
            return core::ptr::null_mut();
        }
        (*head).limit = SMALL_LIMIT;
        let user = cache::take_medium_from(head, request);
        (*head).limit = SMALL_LIMIT - 1;
        if !user.is_null() {
            (*(*head).thread).profiler.count(Chunk::from_user(user as usize).size());
        }
        user
    }
}

/// Bytes that a request takes, by which its chance is reckoned.
fn bytes_for(request: usize) -> usize {
    chunk_size(request).unwrap_or(request)
}

/// This chunk, just allocated, is in the profile.
#[cold]
#[inline(never)]
fn sample(user: usize, request: usize, call: Call) {
    let (mut bytes, mut arena) = (bytes_for(request), NO_ARENA);
    if let Some(home) = free::home_of(user).filter(|_| !guard::holds(user)) {
        let chunk = Chunk::from_user(user);
        (bytes, arena) = (chunk.size(), home as u64);
        if told::allocation(user, request, bytes, arena, call) {
            chunk.set_state(bytes, State::Sampled);
        }
        return;
    }
    told::allocation(user, request, bytes, arena, call);
}

/// A chunk in use is given up, or is about to become another. If it is in a profile, that is told, and it is a chunk as any other.
#[inline]
pub fn given_up(chunk: Chunk) {
    if chunk.is_exactly(State::Sampled) {
        told::gone(chunk.user());
        chunk.set_state(chunk.size(), State::Live);
    }
}

/// As `given_up`, for what has no header that would say so.
#[inline]
pub fn given_up_elsewhere(user: usize) {
    if is_on() {
        told::gone(user);
    }
}

/// As `given_up`, for any user pointer in use.
pub fn given_up_by(user: usize) {
    match free::home_of(user) {
        Some(_) => given_up(Chunk::from_user(user)),
        None => given_up_elsewhere(user),
    }
}

/// A sized free that the fast path left to us for a reason of the profile's; `true` where it is done.
#[inline]
pub fn free_sized(user: *mut u8, request: usize) -> bool {
    is_on() && thread::existing().is_some_and(|thread| thread.push_profiled(user, request))
}

/// The malloc of a thread with a profile, before anything else of the slow path's is done: what the fast path would have given.
#[inline]
pub fn quickly(thread: &mut Thread, request: usize, call: Call) -> Option<*mut u8> {
    if is_on() { thread.take_profiled(request, call) } else { None }
}

impl Thread {
    /// What the head's limit is, when nothing else sends calls by the slow path.
    #[inline]
    pub fn limit(&self) -> usize {
        match self.profiler.mode() {
            Mode::Off | Mode::Exact => SMALL_LIMIT,
            Mode::Marks => SMALL_LIMIT - 1,
        }
    }

    /// A slow path came by, `until_look` frees before it had to.
    #[inline]
    pub fn look_for_profile(&mut self, until_look: u32) {
        if self.profiler.mode() == Mode::Marks {
            self.profiler.pushed(until_look);
            self.look_next(self.cache.head.until_look);
        }
    }

    /// Is every call to be taken exactly, for the profile's sake?
    #[inline]
    pub fn is_profiled_exactly(&self) -> bool {
        self.profiler.mode() == Mode::Exact
    }

    /// A profile may have been begun, or ended. What the cache held before has gone home: all that enters it has its chance.
    #[cold]
    #[inline(never)]
    pub fn follow_profile(&mut self) {
        let turn = TURN.load(Acquire);
        if self.profiler.turn == turn {
            return;
        }
        let interval = INTERVAL.load(Relaxed);
        let mode = match turn & 1 {
            0 => Mode::Off,
            _ if interval < MARKS_FROM || POLICY.is_exact() => Mode::Exact,
            _ => Mode::Marks,
        };
        self.profiler.begin(turn, mode, interval);
        self.sampler.look_closely(mode == Mode::Marks);
        self.cache.head.limit = self.limit();
        if mode != Mode::Off {
            told::introduce();
        }
    }

    /// Chunks of an exact class that come from an arena into the cache.
    #[inline]
    pub fn profile_entering(&mut self, size: usize, users: &[usize]) {
        if self.profiler.mode() == Mode::Marks && size <= SMALL_MAX {
            self.profiler.mark_some(size, users);
        }
    }

    /// As `profile_entering`, for one that a slow path has just pushed.
    #[inline]
    pub fn profile_pushed(&mut self, chunk: Chunk, size: usize) {
        if self.profiler.mode() == Mode::Marks && size <= SMALL_MAX && self.profiler.count(size) {
            chunk.set_state(size, State::Marked);
        }
    }

    /// A chunk leaves the cache by a slow path. Before its state changes.
    #[inline]
    pub fn profile_popped(&mut self, chunk: Chunk, size: usize) {
        if self.profiler.mode() == Mode::Marks && size <= SMALL_MAX {
            self.profiler.popped = Some(chunk.is_exactly(State::Marked));
        }
    }

    /// A free was sent by the slow path because what it pushes is a candidate.
    #[inline(always)]
    pub fn has_candidate(&self) -> bool {
        self.profiler.is_candidate
    }

    /// Frees it as the fast path does, and marks what is pushed.
    ///
    /// # Safety
    /// As `cache::park_in`.
    #[cold]
    #[inline(never)]
    pub unsafe fn free_candidate(&mut self, user: *mut u8) -> bool {
        self.resume();
        if region::holder(Chunk::from_user(user as usize).address()).is_none() {
            return false;
        }
        let candidate = self.candidate(user);
        // SAFETY: as the caller promises, and the thread's own head.
        let parked = unsafe { cache::park_in(&raw mut self.cache.head, user) };
        if let Some(candidate) = candidate.filter(|_| parked) {
            self.mark(candidate);
        }
        parked
    }

    /// A free was sent by the slow path. Was it for this alone? Then it needs nothing else that is done there: `true` where it is done.
    #[inline(always)]
    pub fn free_awaited(&mut self, user: *mut u8) -> bool {
        self.profiler.is_awaited && self.free_awaited_candidate(user)
    }

    #[cold]
    #[inline(never)]
    fn free_awaited_candidate(&mut self, user: *mut u8) -> bool {
        if self.is_facing() || TURN.load(Relaxed) != self.profiler.turn || user.is_null() {
            return false;
        }
        self.sampler.look(0);
        self.profiler.pushed(0);
        // SAFETY: the thread's own head, and the pointer is the program's to free.
        unsafe { self.free_candidate(user) }
    }

    /// The candidate is seen to: counts down to the next.
    fn resume(&mut self) {
        self.profiler.is_candidate = false;
        let other = self.sampler.look_soon();
        self.look_next(other);
    }

    fn look_next(&mut self, other: u32) {
        let next = self.profiler.look_from(other);
        self.cache.head.until_look = next;
        self.sampler.looks_from(next);
    }

    fn candidate(&mut self, user: *mut u8) -> Option<*mut u8> {
        let [newer, older] = self.cache.head.parked;
        let away = match PARKED {
            0 => user,
            1 => newer,
            _ => older,
        };
        (!self.cache.is_nobody(away)).then_some(away)
    }

    /// Marks it, as its length has it, once it was pushed.
    fn mark(&mut self, candidate: *mut u8) {
        let chunk = Chunk::from_user(candidate as usize);
        let size = chunk.size();
        let is_newest = self.cached(class_of(size.min(CACHED_MAX))).last() == Some(&chunk.user());
        if is_newest && size <= SMALL_MAX && self.profiler.accepts(size) && chunk.is_exactly(State::Cached) {
            chunk.set_state(size, State::Marked);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_profiled(&mut self, request: usize, call: Call) -> Option<*mut u8> {
        let is_behind = self.profiler.turn != TURN.load(Relaxed) || self.profiler.mode() != Mode::Marks;
        if is_behind || self.is_facing() || self.sampler.is_due() {
            return None;
        }
        let is_small = request < SMALL_LIMIT;
        if !is_small && !malloc::is_medium(request) {
            return None;
        }
        let mut is_due = false;
        if is_small {
            let bin = self.cache.bins.get(class_of(rounded(request)))?;
            // SAFETY: the slot below a bin's position is filled, or the magazine's guard, which is in no state.
            let chunk = Chunk::from_user(unsafe { *bin.top.sub(1) });
            is_due = chunk.size() == rounded(request) && chunk.is_exactly(State::Marked);
            if is_due {
                chunk.set_state(chunk.size(), State::Cached);
            }
        }
        let head = &raw mut self.cache.head;
        // SAFETY: the thread's own head. Its limit is what it would be without a profile, for the moment.
        let user = unsafe {
            (*head).limit = SMALL_LIMIT;
            let user = if is_small { cache::take_from(head, request) } else { cache::take_medium_from(head, request) };
            (*head).limit = self.limit();
            user
        };
        if user.is_null() {
            return None;
        }
        if !is_small {
            is_due = self.profiler.count(Chunk::from_user(user as usize).size());
        }
        if is_due {
            sample(user as usize, request, call);
        }
        Some(user)
    }

    #[cold]
    #[inline(never)]
    fn push_profiled(&mut self, user: *mut u8, request: usize) -> bool {
        // A pointer that may be nobody's isn't looked at here.
        let is_sound = || region::holder(Chunk::from_user(user as usize).address()).is_some();
        let is_ours = self.profiler.mode() == Mode::Marks && !self.is_facing() && self.cache.head.until_look <= 1;
        if !is_ours || !is_sound() {
            return false;
        }
        self.tick();
        let is_candidate = self.profiler.is_candidate;
        if is_candidate {
            self.resume();
        }
        // A guarded sample waits for its malloc, or the profile has just ended.
        if self.cache.head.limit == 0 || self.profiler.mode() != Mode::Marks {
            return false;
        }
        let head = &raw mut self.cache.head;
        // SAFETY: the thread's own head, and the pointer is the program's to free.
        let done = unsafe {
            let limit = (*head).limit;
            (*head).limit = SMALL_LIMIT;
            let done = cache::push_sized_in(head, user, request);
            (*head).limit = limit;
            done
        };
        if done && is_candidate {
            self.mark(user);
        }
        done
    }
}
