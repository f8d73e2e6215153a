//! The profile's side of the heap: which allocations are sampled, and what is told of them.
//!
//! Each byte that is allocated is as likely to be sampled as any other: a chunk of s bytes with probability 1 - exp(-s / interval).
//! The fast paths take no part in that, not by one instruction. Where every call comes by the slow path, or where a call comes by
//! it anyway, bytes are counted down to the next sample. For chunks that go round in a cache, chance falls when they *enter* it,
//! which comes before each hand-out just once: one that is hit is `Marked` instead of `Cached`, so that the malloc which meets it
//! finds no cookie that it knows, and takes the slow path.
//!
//! - What enters by a slow path (a refill, a free that found no room) is counted by its bytes, one by one or a magazine at a time.
//! - What a fast free pushes is known by `Head::until_look` alone, which counts them. So some of them are *candidates*: each push is
//!   as if it had the bytes of the longest chunk within reach, of which its own are the first. It is drawn which push has the next
//!   byte to be sampled; that one is marked if the byte is its own.
//! - Chunks out of reach aren't marked: the head's `medium_limit` sends those that ask for one by a slow path, and there they are
//!   counted as they leave the cache. The reach ends with the exact classes, for as long as a thread takes few that are somewhat
//!   longer; else with the first class of a page. A wider one would make candidates of too many pushes.
//! - Threads may differ in that. So chunks above the exact classes have their chance anew when they come out of a depot, and when
//!   the reach is widened. A mark on one that is out of reach says nothing.
//!
//! A chunk that was sampled is `Sampled` instead of `Live`, so its free is seen in the same way. Mappings and guarded samples have
//! no such header; each of their frees is told, and the reader knows which it means.
//!
//! What is told: the registers and a piece of the stack as it is. Nothing is unwound here, and no lock is taken but that of the
//! few who have no ring of their own.
//!
//! Tracers may listen to the same samples, by the probes of `usdt`: while they do, a profile is taken, if none is already.
//!
//! Switching it on or off begins an epoch, as decay does: each thread that comes by a slow path sends its cache home and follows.

mod sampler;
mod told;

use crate::arch;
use crate::cache::{self, MEDIUM_LIMIT, PARKED, SENTINEL, SMALL_LIMIT};
use crate::chunk::{Chunk, State};
use crate::decay;
use crate::free;
use crate::guard;
use crate::malloc;
use crate::policy::POLICY;
use crate::probe::Call;
use crate::region;
use crate::size::*;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use crate::thread::{self, Thread};
use crate::usdt;
use heapglass_event::record::NO_ARENA;
use heapglass_event::ring::Control;
pub use sampler::Sampler;
use sampler::{Mode, Reach};
pub use told::{after_fork, at_process_end, is_read, is_shared, let_go, mapping};

/// Odd while a profile is taken. Raised whenever that changes.
static TURN: AtomicU32 = AtomicU32::new(0);
/// Bytes between two samples, on average.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
/// Do tracers listen, as far as slow calls have noticed?
static IS_TRACED: AtomicBool = AtomicBool::new(false);
/// The interval for tracers, who can't ask for another.
const TRACED_INTERVAL: u64 = 512 << 10;
/// Below this interval every call is worth the slow path, where it is taken exactly.
const MARKS_FROM: u64 = 128 << 10;

/// Is a profile being taken?
#[inline(always)]
pub fn is_on() -> bool {
    TURN.load(Relaxed) & 1 != 0
}

/// Begins one, told in this memory.
pub fn begin(control: &'static Control) {
    told::begin(control);
    turn_to(control.interval.load(Relaxed).max(1));
}

/// As `begin`, in the file of a reader outside.
pub fn begin_in_file(control: &'static Control) {
    told::begin_in_file(control);
    turn_to(control.interval.load(Relaxed).max(1));
}

/// From here on a profile is taken with this interval.
fn turn_to(interval: u64) {
    INTERVAL.store(interval, Relaxed);
    let turn = TURN.load(Relaxed);
    TURN.store(turn.wrapping_add(if turn & 1 == 0 { 1 } else { 2 }), Release);
    decay::begin_epoch();
}

/// Nobody reads it any more: it ends, but for tracers.
fn end_reading() {
    if IS_TRACED.load(Relaxed) { turn_to(TRACED_INTERVAL) } else { end() }
}

/// Nobody is to read what is told in this file any more.
pub fn end_of(control: &'static Control) {
    told::forget(control);
}

/// The clock of what is told.
pub fn clock() -> u64 {
    arch::cycles()
}

/// The calling thread is in no profile, or is again. Returns what held before.
pub fn leave_out(is_out: bool) -> bool {
    let Some(thread) = thread::current() else { return false };
    let was_out = core::mem::replace(&mut thread.profiler.is_left_out, is_out);
    if was_out != is_out {
        // What the cache holds had its chance, or had none.
        thread.flush_and_forget();
        thread.profiler.turn = TURN.load(Relaxed).wrapping_sub(1);
        thread.follow_profile();
        thread::settings_changed();
    }
    was_out
}

/// Ends it: chunks that have an eye on them lose it as they come by.
fn end() {
    let turn = TURN.load(Relaxed);
    if turn & 1 != 0 {
        TURN.store(turn.wrapping_add(1), Release);
        decay::begin_epoch();
    }
}

/// A slow call came by: have tracers come or gone?
#[inline]
pub fn look_for_tracers() {
    if usdt::has_changed() {
        follow_tracers();
    }
}

#[cold]
#[inline(never)]
fn follow_tracers() {
    let is_heard = usdt::is_heard();
    if IS_TRACED.swap(is_heard, Relaxed) == is_heard || told::is_read() {
        return;
    }
    if is_heard { turn_to(TRACED_INTERVAL) } else { end() }
}

/// A call returns a chunk that it got by the slow path. `from_cache`: as the fast path would have done.
#[inline]
pub fn allocated(user: usize, request: usize, call: Call, from_cache: bool) {
    if is_on() && is_sampled(user, request, from_cache) {
        sample(user, request, call);
    }
}

#[inline(never)]
fn is_sampled(user: usize, request: usize, from_cache: bool) -> bool {
    let Some(thread) = thread::existing() else { return false };
    let sampler = &mut thread.profiler;
    match (sampler.mode(), sampler.popped.take()) {
        (Mode::Marks, Some(marked)) => marked,
        (Mode::Off, _) => false,
        (Mode::Marks, None) if from_cache => false,
        _ => is_counted(sampler, user, request),
    }
}

#[inline(never)]
fn is_counted(sampler: &mut Sampler, user: usize, request: usize) -> bool {
    sampler.count(bytes_of(user, request).0)
}

/// As `cache::take_medium_from`, for chunks that are counted as they leave the cache: null where the next sample is due, or there is
/// nothing.
#[inline(never)]
pub fn take_medium(request: usize) -> *mut u8 {
    let head = arch::word();
    // SAFETY: the thread's own head, and where it isn't one that refuses, the thread's record.
    unsafe {
        if (*head).limit != SMALL_LIMIT || request >= MEDIUM_LIMIT as usize || !malloc::is_medium(request) {
            return core::ptr::null_mut();
        }
        let thread = &mut *(*head).thread;
        let sampler = &mut thread.profiler;
        // Without a profile, all are within reach.
        if request < sampler.reach.medium_limit as usize || sampler.is_due_within(2 * request) {
            return core::ptr::null_mut();
        }
        if sampler.counts_many(request) {
            return thread.take_wider(request);
        }
        let user = cache::take_medium_below(head, request);
        if !user.is_null() {
            sampler.count(Chunk::from_user(user as usize).size());
        }
        user
    }
}

/// Bytes that a request takes, by which its chance is reckoned.
fn bytes_for(request: usize) -> usize {
    chunk_size(request).unwrap_or(request)
}

/// Bytes of a chunk that was allocated for this request, by which its chance is reckoned, and its arena.
fn bytes_of(user: usize, request: usize) -> (usize, u64) {
    match free::home_of(user).filter(|_| !guard::holds(user)) {
        Some(home) => (Chunk::from_user(user).size(), home as u64),
        None => (bytes_for(request), NO_ARENA),
    }
}

/// This chunk, just allocated, is in the profile.
#[cold]
#[inline(never)]
fn sample(user: usize, request: usize, call: Call) {
    let (bytes, arena) = bytes_of(user, request);
    let is_traced = trace(user, request, bytes);
    if (told::allocation(user, request, bytes, arena, call) || is_traced) && arena != NO_ARENA {
        Chunk::from_user(user).set_state(bytes, State::Sampled);
    }
}

/// Tells tracers of a sample, with the bytes that it stands for. `true` where there are any.
fn trace(user: usize, request: usize, bytes: usize) -> bool {
    let is_traced = IS_TRACED.load(Relaxed);
    if is_traced {
        let chance = sampler::chance(bytes as u64, INTERVAL.load(Relaxed));
        usdt::allocated(user, request, (request as f64 / chance) as u64);
    }
    is_traced
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
    if is_on() && thread.may_have_marked(request) { thread.take_profiled(request, call) } else { None }
}

impl Thread {
    /// The head's limits, when nothing else sends calls by the slow path.
    #[inline]
    pub fn open(&mut self) {
        self.cache.head.limit = SMALL_LIMIT;
        self.cache.head.medium_limit = self.profiler.reach.medium_limit;
    }

    /// Sends the next malloc by the slow path.
    pub fn shut(&mut self) {
        self.cache.head.limit = 0;
        self.cache.head.medium_limit = 0;
    }

    /// A slow path came by, `until_look` frees before it had to. What is the head to count down from, if that is `other` for others?
    #[inline(always)]
    pub fn look_for_profile(&mut self, until_look: u32, other: u32) {
        // Most often it just goes on.
        let goes_on = self.profiler.is_awaited && (2..=other).contains(&until_look);
        let next = if goes_on { until_look } else { self.profiler.look(until_look, other) };
        self.look_next(next);
    }

    #[inline(always)]
    fn look_next(&mut self, next: u32) {
        self.cache.head.until_look = next;
        self.sampler.looks_from(next);
    }

    /// As `take_medium`, once that is worth a wider reach.
    #[cold]
    #[inline(never)]
    fn take_wider(&mut self, request: usize) -> *mut u8 {
        self.widen();
        // SAFETY: the thread's own head.
        unsafe { cache::take_medium_from(&raw mut self.cache.head, request) }
    }

    /// From here on chunks somewhat longer than the exact classes are marked, and taken by the fast path.
    fn widen(&mut self) {
        self.set_reach(Reach::WIDE);
        // What is cached entered without a chance.
        for class in class_of(SMALL_MAX) + 1..=class_of(Reach::WIDE.bytes) {
            let users = core::ptr::from_ref(self.cached(class));
            // SAFETY: the cache's slots, which a mark leaves as they are.
            self.profiler.mark_anew(unsafe { &*users });
        }
    }

    #[cold]
    #[inline(never)]
    fn set_reach(&mut self, reach: Reach) {
        self.profiler.set_reach(reach);
        self.begin_counting();
    }

    /// The next candidate was drawn: it is counted down to from here.
    fn begin_counting(&mut self) {
        let other = self.sampler.look_at(self.cache.head.until_look);
        let next = self.profiler.look_from(other);
        self.look_next(next);
        self.open();
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
            _ if self.profiler.is_left_out => Mode::Off,
            _ if interval < MARKS_FROM || POLICY.is_exact() => Mode::Exact,
            _ => Mode::Marks,
        };
        self.profiler.begin(turn, mode, interval);
        self.sampler.look_closely(mode == Mode::Marks);
        self.begin_counting();
        if turn & 1 != 0 {
            told::introduce();
        }
    }

    /// Chunks of one size that come from an arena into the cache.
    #[inline]
    pub fn profile_entering(&mut self, size: usize, users: &[usize]) {
        if self.profiler.mode() != Mode::Marks {
            return;
        }
        if size <= SMALL_MAX {
            self.profiler.mark_some(size, users);
        } else if self.profiler.marks(size) {
            self.profiler.mark_anew(users);
        }
    }

    /// Chunks of a class that come out of a depot into the cache. Those of exact classes had their chance when they entered another.
    #[inline]
    pub fn profile_coming_back(&mut self, class: usize, users: &[usize]) {
        if self.profiler.reach == Reach::WIDE && class > class_of(SMALL_MAX) && self.profiler.marks(class_size(class)) {
            self.profiler.mark_anew(users);
        }
    }

    /// As `profile_entering`, for one that a slow path has just pushed.
    #[inline]
    pub fn profile_pushed(&mut self, chunk: Chunk, size: usize) {
        if self.profiler.mode() == Mode::Marks && self.profiler.marks(size) && self.profiler.count(size) {
            chunk.set_state(size, State::Marked);
        }
    }

    /// A chunk leaves the cache by a slow path. Before its state changes.
    #[inline]
    pub fn profile_popped(&mut self, chunk: Chunk, size: usize) {
        if self.profiler.mode() == Mode::Marks && self.profiler.marks(size) {
            self.profiler.popped = Some(chunk.is_exactly(State::Marked));
        }
    }

    /// Is the next push the candidate?
    #[inline(always)]
    pub fn has_candidate(&self) -> bool {
        self.profiler.is_candidate()
    }

    /// Frees the candidate as the fast path does, and marks what is pushed. The pointer was found to be a heap's.
    ///
    /// # Safety
    /// As `cache::park_in`.
    #[cold]
    #[inline(never)]
    pub unsafe fn free_candidate(&mut self, user: *mut u8, is_told: bool) -> bool {
        // SAFETY: as the caller promises.
        unsafe { self.push_candidate(user, is_told) }
    }

    /// # Safety
    /// As `free_candidate`.
    #[inline(always)]
    unsafe fn push_candidate(&mut self, user: *mut u8, is_told: bool) -> bool {
        let [newer, older] = self.cache.head.parked;
        let away = match PARKED {
            0 => user,
            1 => newer,
            _ => older,
        };
        let offset = self.pass_candidate();
        // SAFETY: as the caller promises, and the thread's own head.
        let is_parked =
            unsafe { if is_told { self.park_observed(user) } else { cache::park_in(&raw mut self.cache.head, user) } };
        self.mark(away, offset, is_parked);
        is_parked
    }

    /// A free was sent by the slow path. Was it for this alone? Then it needs nothing else that is done there: `true` where it is done.
    #[inline(always)]
    pub fn free_awaited(&mut self, user: *mut u8) -> bool {
        self.profiler.is_awaited && self.free_awaited_candidate(user)
    }

    #[cold]
    #[inline(never)]
    fn free_awaited_candidate(&mut self, user: *mut u8) -> bool {
        let is_sound = || region::holder(Chunk::from_user(user as usize).address()).is_some();
        if self.is_facing() || TURN.load(Relaxed) != self.profiler.turn || !is_sound() {
            return false;
        }
        self.sampler.look(0);
        // SAFETY: the thread's own head, and the pointer is the program's to free.
        unsafe { self.push_candidate(user, false) }
    }

    /// Counts down to the next candidate. Gives the bytes beyond which this one is hit.
    #[inline(always)]
    fn pass_candidate(&mut self) -> usize {
        let other = self.sampler.look_soon();
        let (next, offset) = self.profiler.candidate(other);
        self.look_next(next);
        offset
    }

    /// Marks the candidate, as its length has it, once it was pushed; where it wasn't, another will be.
    #[inline(always)]
    fn mark(&mut self, away: *mut u8, offset: usize, is_pushed: bool) {
        if !is_pushed {
            let next = self.profiler.postpone(offset);
            return self.look_next(next);
        }
        let chunk = Chunk::from_user(away as usize);
        let size = chunk.size();
        // A stand-in has no size.
        if size > offset && self.profiler.marks(size) && chunk.is_exactly(State::Cached) {
            chunk.set_state(size, State::Marked);
        }
        if !self.profiler.is_worth_its_reach(size) {
            self.set_reach(Reach::NARROW);
        }
    }

    /// Is there a chunk for this request that the fast path may not have been allowed to take?
    #[inline(always)]
    fn may_have_marked(&self, request: usize) -> bool {
        if request >= MEDIUM_LIMIT as usize {
            return false;
        }
        let bin = self.cache.bins.get(class_for(rounded(request)));
        // SAFETY: the slot below a bin's position is filled, or the magazine's guard.
        bin.is_some_and(|bin| unsafe { *bin.top.sub(1) } != SENTINEL as usize)
    }

    #[cold]
    #[inline(never)]
    fn take_profiled(&mut self, request: usize, call: Call) -> Option<*mut u8> {
        let is_behind = self.profiler.turn != TURN.load(Relaxed) || self.profiler.mode() != Mode::Marks;
        let is_small = request < SMALL_LIMIT;
        if is_behind || self.is_facing() || self.sampler.is_due() || !is_small && !malloc::is_medium(request) {
            return None;
        }
        let head = &raw mut self.cache.head;
        if request >= SMALL_LIMIT.max(self.profiler.reach.medium_limit as usize) {
            // SAFETY: the thread's own head; no request of such a length is one of `MEDIUM_LIMIT` or more.
            let user = unsafe { cache::take_medium_below(head, request) };
            if user.is_null() {
                return None;
            }
            if self.profiler.count(Chunk::from_user(user as usize).size()) {
                sample(user as usize, request, call);
            }
            return Some(user);
        }
        // SAFETY: the slot below a bin's position is filled, or the magazine's guard, which is in no state.
        let chunk = Chunk::from_user(unsafe { *self.cache.bins.get(class_for(rounded(request)))?.top.sub(1) });
        let size = chunk.size();
        if size < rounded(request) || !chunk.is_exactly(State::Marked) {
            return None;
        }
        chunk.set_state(size, State::Cached);
        // SAFETY: the thread's own head.
        let user =
            unsafe { if is_small { cache::take_from(head, request) } else { cache::take_medium_below(head, request) } };
        if user.is_null() {
            chunk.set_state(size, State::Marked);
            return None;
        }
        sample(user as usize, request, call);
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
        // A guarded sample waits for its malloc, or the profile has just ended.
        if self.cache.head.limit == 0 || self.profiler.mode() != Mode::Marks {
            return false;
        }
        let offset = self.has_candidate().then(|| self.pass_candidate());
        // SAFETY: the thread's own head, and the pointer is the program's to free.
        let is_pushed = unsafe { cache::push_sized_in(&raw mut self.cache.head, user, request) };
        if let Some(offset) = offset {
            self.mark(user, offset, is_pushed);
        }
        is_pushed
    }
}
