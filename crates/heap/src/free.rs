//! free: the fast path parks the pointer; everything else is here, and exact: a pointer is looked up before its header is
//! read, and its header is proven before the chunk is believed to be one.

use crate::arch;
use crate::arena;
use crate::cache::{self, CHECKED, PARKED, SENTINEL};
use crate::chunk::{Chunk, State, cookie_by};
use crate::die;
use crate::guard;
use crate::mapped::{self, Known};
use crate::policy::POLICY;
use crate::probe::{self, Call, Kind, Outcome};
use crate::profile;
use crate::region;
use crate::secure;
use crate::size::*;
use crate::sync::atomic::Ordering::Relaxed;
use crate::thread::{self, Thread};
use core::ptr;

/// Frees what malloc and its kin returned; null is nothing. Keeps `errno`.
///
/// # Safety
/// The pointer is nobody's afterwards.
#[inline(always)]
pub unsafe fn free(user: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { free_by(Call::Free, user) }
}

/// As `free`, for a function of another name.
///
/// # Safety
/// As `free`.
#[inline(always)]
pub unsafe fn free_by(call: Call, user: *mut u8) {
    // SAFETY: as the caller promises.
    if !unsafe { cache::park(user) } {
        free_slow(user, call);
    }
}

/// Frees a chunk whose size the caller knows, and checks that: `size` is what was asked for, or any size that the chunk
/// could have been asked for with.
///
/// # Safety
/// As `free`.
#[inline(always)]
pub unsafe fn free_sized(call: Call, user: *mut u8, size: usize) {
    // SAFETY: as the caller promises.
    if !unsafe { cache::push_sized(user, size) } {
        free_sized_slow(user, size, call);
    }
}

#[cold]
#[inline(never)]
fn free_sized_slow(user: *mut u8, size: usize, call: Call) {
    if user.is_null() {
        return free_slow(user, call);
    }
    let told = probe::begin(call, [user as usize, size]);
    // SAFETY: the thread's own head, and as the caller of `free_sized` promises. Observed, the fast path's very steps come
    // first.
    let pushed = thread::observed().is_some_and(|head| unsafe { push_sized_observed(head, user, size) });
    if !pushed {
        free_checked(call, user, size);
    }
    probe::end(told, call, 0);
}

/// # Safety
/// As `cache::push_sized_in`.
unsafe fn push_sized_observed(head: *mut cache::Head, user: *mut u8, size: usize) -> bool {
    // SAFETY: as the caller promises; the head is the one of the record.
    unsafe {
        let before = (*(*head).thread).cached_for(size);
        let pushed = cache::push_sized_in(head, user, size);
        if pushed {
            probe::step(Kind::Put, Outcome::Taken, [rounded(size), before, user as usize]);
            probe::freed(|| rounded(size));
        }
        pushed
    }
}

fn free_checked(call: Call, user: *mut u8, size: usize) {
    if profile::free_sized(user, size) {
        return;
    }
    let chunk = Chunk::from_user(user as usize);
    let is_right = || home_of(user as usize).is_some() && chunk.is(State::Live) && could_be(size, chunk.size());
    if !thread::is_on_fast_path() || !is_right() {
        check_size(call.name(), user, size);
        // A guarded sample isn't parked here, so that it is known who freed it.
        if guard::holds(user as usize) {
            return free_slow(user, call);
        }
    }
    // SAFETY: as the caller of `free_sized` promises.
    unsafe { free_by(call, user) }
}

/// Could a chunk of this many bytes have been made for a request of `size`? It may be longer than the request needs by a
/// remainder too small to cut off, and, above the exact classes, by what the cache's classes span.
fn could_be(size: usize, length: usize) -> bool {
    let Some(needs) = chunk_size(size) else { return false };
    let slack = if length <= SMALL_MAX { ALIGN } else { length / 4 };
    needs <= length && length - needs <= slack
}

fn check_size(call: &'static str, user: *mut u8, size: usize) {
    let (usable, right) = match live(call, user as usize) {
        _ if secure::has(secure::CANARY) => {
            let asked = usable(call, user);
            (asked, size == asked)
        }
        Live::Heap(chunk) => (chunk.size() - OVERHEAD, could_be(size, chunk.size())),
        Live::Mapped { base, length } => {
            let usable = mapped::usable(user as usize, base, length);
            (usable, size <= usable && usable - size <= heapglass_os::page_size())
        }
        Live::Guarded { usable } => (usable, size == usable),
    };
    if !right {
        die::wrong_size(call, user as usize, size, usable);
    }
}

/// Bytes that the program may use at this pointer: 0 for null, else at least what it asked for, the same until the chunk is
/// freed or resized. Stops the process if the pointer is no live chunk's.
pub fn usable(call: &'static str, user: *mut u8) -> usize {
    if user.is_null() {
        return 0;
    }
    let room = match live(call, user as usize) {
        Live::Heap(chunk) => chunk.size() - OVERHEAD,
        Live::Mapped { base, length } => mapped::usable(user as usize, base, length),
        Live::Guarded { usable } => return usable,
    };
    secure::asked(call, user as usize, room)
}

/// Bytes of a chunk in use, with its header and rounding; of a mapping, all of it. For figures.
pub fn length(user: usize) -> usize {
    if home_of(user).is_some() {
        return Chunk::from_user(user).size();
    }
    if guard::holds(user) {
        return guard::length(user);
    }
    match mapped::look_up(user) {
        Known::Live { length, .. } => length,
        _ => 0,
    }
}

/// A pointer of the program's, proven to be a live chunk's.
pub enum Live {
    Heap(Chunk),
    Mapped { base: usize, length: usize },
    Guarded { usable: usize },
}

/// Looks a pointer up, exactly; stops the process if it isn't a live chunk's.
#[inline(always)]
pub fn live(call: &'static str, user: usize) -> Live {
    match live_at_once(user) {
        Some(chunk) => Live::Heap(chunk),
        None => look_up(call, user),
    }
}

/// A live chunk of a heap, if one look is enough to tell.
#[inline(always)]
pub fn live_at_once(user: usize) -> Option<Chunk> {
    let head = arch::word();
    // SAFETY: the word points at a head.
    let (parked, secret, key) = unsafe { ((*head).parked, (*head).secret, (*head).key) };
    let chunk = Chunk::from_user(user);
    if !user.is_multiple_of(ALIGN) || user == parked[0] as usize || user == parked[1] as usize {
        return None;
    }
    region::holder(chunk.address())?;
    // A head that refuses has no secret, and without one every cookie would be 1, which a program writes easily.
    let is_live = secret != 0 && chunk.cookie() == cookie_by(secret, user, chunk.size());
    // Its free may wait at another thread, which has left its key in it then.
    // SAFETY: a heap's memory, so it can be read.
    (is_live && !(CHECKED && thread::is_like_a_key(unsafe { *chunk.word(0) }, key))).then_some(chunk)
}

/// As `live`, for what one look wasn't enough to tell.
#[inline(never)]
fn look_up(call: &'static str, user: usize) -> Live {
    if let Some(thread) = thread::existing()
        && thread.cache.head.parked.contains(&(user as *mut u8))
    {
        // Freed, only not yet put away. The header may still say live.
        thread.unpark();
    }
    if !user.is_multiple_of(ALIGN) {
        die::invalid(call, user, "not a multiple of 16, as all of ours are");
    }
    match home_of(user) {
        Some(_) => {
            let chunk = Chunk::from_user(user);
            if !chunk.is(State::Live) {
                report_not_live(call, user);
            }
            if PARKED > 0 && CHECKED && thread::is_parked_elsewhere(chunk) {
                die::not_live(call, user, Some(State::Cached));
            }
            Live::Heap(chunk)
        }
        None if guard::holds(user) => Live::Guarded { usable: guard::live(call, user) },
        None => match mapped::look_up(user) {
            Known::Live { base, length } => {
                mapped::prove(user, length);
                Live::Mapped { base, length }
            }
            Known::Freed => report_unmapped(call, user),
            Known::No => report_stray(call, user),
        },
    }
}

/// The arena in whose heaps a user pointer lies, with its header readable.
pub fn home_of(user: usize) -> Option<usize> {
    arena::home_of(Chunk::from_user(user).address())
}

/// A mapped chunk that was freed before.
#[cold]
pub fn report_unmapped(call: &'static str, user: usize) -> ! {
    die::freed_before(call, user, "the chunk was a mapping of its own, and went back to the kernel")
}

#[cold]
fn report_stray(call: &'static str, user: usize) -> ! {
    die::invalid(call, user, "not in any heap, and no mapping of ours")
}

/// Finds out what a heap pointer is that isn't live: a freed chunk, the inside of one, or a broken header.
#[cold]
fn report_not_live(call: &'static str, user: usize) -> ! {
    let state = Chunk::from_user(user).state();
    if state.is_none()
        && let Some((chunk, state)) = arena::chunk_around(user)
    {
        die::interior(call, user, chunk, state);
    }
    die::not_live(call, user, state)
}

#[cold]
#[inline(never)]
fn free_slow(user: *mut u8, call: Call) {
    if probe::tells() {
        return free_told(user, call);
    }
    // SAFETY: the word points at a head, and its thread, where it has one, is the calling thread's own record.
    let (until_look, thread) = unsafe { ((*arch::word()).until_look, (*arch::word()).thread.as_mut()) };
    if until_look == 0 && thread.is_some_and(|thread| thread.free_awaited(user) || look(thread, user, false)) {
        return;
    }
    if !user.is_null() {
        free_steps(thread::for_free(), user, false);
    }
}

#[cold]
#[inline(never)]
fn free_told(user: *mut u8, call: Call) {
    let thread = if user.is_null() { None } else { thread::for_free() };
    let told = probe::begin(call, [user as usize, 0]);
    if user.is_null() {
        probe::step(Kind::Null, Outcome::Done, [0; 3]);
    } else {
        free_steps(thread, user, true);
    }
    probe::end(told, call, 0);
}

#[inline(always)]
fn free_steps(thread: Option<&'static mut Thread>, user: *mut u8, is_told: bool) {
    let perturb = POLICY.perturb.load(Relaxed) as u8;
    if perturb != 0 {
        // SAFETY: `usable` proves the chunk; its bytes are nobody's now.
        unsafe { ptr::write_bytes(user, perturb, usable("free", user)) };
    }
    probe::freed(|| length(user as usize));
    let Some(thread) = thread else { return put_away(None, user as usize) };
    let exact = thread.exact;
    let is_observed = !exact && thread.is_facing();
    // SAFETY: the thread's own head. Observed, the fast path's very steps come first, so that addresses stay what they
    // would be.
    if is_observed && unsafe { thread.park_observed(user) } {
        return;
    }
    if exact || thread.cache.head.until_look != 0 {
        thread.tick();
    } else if look(thread, user, is_told) {
        return;
    }
    let head = &mut thread.cache.head;
    let is_sound = || home_of(user as usize).is_some() && Chunk::from_user(user as usize).is(State::Live);
    let is_parked = head.parked.contains(&user);
    if exact || PARKED == 0 || is_parked || !is_sound() {
        // A guarded sample leaves the cache as it is.
        if is_parked || !guard::holds(user as usize) {
            thread.unpark();
        }
        return put_away(Some(thread), user as usize);
    }
    // The fast path stopped at a full bin, an empty place or a fault of the chunk that was parked before.
    let [newer, older] = head.parked;
    let (kept, away) = if PARKED > 1 { (newer, older) } else { (SENTINEL, newer) };
    // Out of its place first: pushing it may need memory.
    head.parked = [kept, SENTINEL];
    thread.push_parked(away);
    let head = &mut thread.cache.head;
    // SAFETY: a chunk of a heap, freed: nobody's but the parking thread's.
    unsafe { *user.cast::<usize>() = head.key };
    head.parked = [user, kept];
    probe::step(Kind::Parked, Outcome::Done, [user as usize, 0, 0]);
}

impl Thread {
    /// # Safety
    /// As `cache::park_in`.
    #[inline(always)]
    unsafe fn park(&mut self, user: *mut u8) -> bool {
        // SAFETY: as the caller promises, and the thread's own head.
        unsafe { cache::park_in(&raw mut self.cache.head, user) }
    }

    /// The fast path's steps on the cache, told.
    ///
    /// # Safety
    /// The pointer is the caller's to free.
    #[cold]
    #[inline(never)]
    pub unsafe fn park_observed(&mut self, user: *mut u8) -> bool {
        let [newer, older] = self.cache.head.parked;
        let away = if PARKED > 1 { older } else { newer };
        let waited = probe::tells() && !self.cache.is_nobody(away);
        // SAFETY: one that is parked is a chunk's, or the process is about to stop at it.
        let size = if waited { Chunk::from_user(away as usize).size() } else { 0 };
        let before = if waited { self.cached(class_of(size.min(CACHED_MAX))).len() } else { 0 };
        // SAFETY: as the caller promises, and the thread's own head.
        let parked = unsafe { self.park(user) };
        if parked {
            if waited {
                probe::step(Kind::Unparked, Outcome::Done, [away as usize, 0, 0]);
                probe::step(Kind::Put, Outcome::Taken, [size, before, away as usize]);
            }
            probe::step(Kind::Parked, Outcome::Done, [user as usize, 0, 0]);
        }
        parked
    }
}

/// Looks at the clock, and frees a pointer for which nothing else was in the way.
#[inline(always)]
fn look(thread: &mut Thread, user: *mut u8, is_told: bool) -> bool {
    thread.tick();
    // A pointer that leads nowhere is told of by who looks it up: here, a fault wouldn't be known for a free's.
    if thread.exact || region::holder(Chunk::from_user(user as usize).address()).is_none() {
        return false;
    }
    thread.look_for_strays();
    // SAFETY: the pointer is the program's to free.
    unsafe {
        let is_parked = if is_told { thread.park_observed(user) } else { thread.park(user) };
        // It may be sent here once more, for the profile's sake.
        is_parked || thread.has_candidate() && thread.free_candidate(user, is_told)
    }
}

/// A freed pointer reaches its place: the thread's cache, its arena, or the kernel.
pub fn put_away(thread: Option<&mut Thread>, user: usize) {
    if !user.is_multiple_of(ALIGN) {
        die::invalid("free", user, "not a multiple of 16, as all of ours are");
    }
    if home_of(user).is_none() {
        if guard::holds(user) {
            probe::step(Kind::Sample, Outcome::Kept, [user, guard::length(user), 0]);
            profile::given_up_elsewhere(user);
            return guard::free(user, thread.map_or(0, |thread| thread.cache.head.key));
        }
        profile::given_up_elsewhere(user);
        return match mapped::free(user) {
            Known::Live { .. } => {}
            Known::Freed => report_unmapped("free", user),
            Known::No => report_stray("free", user),
        };
    }
    let chunk = Chunk::from_user(user);
    if !chunk.is(State::Live) {
        report_not_live("free", user);
    }
    profile::given_up(chunk);
    let size = chunk.size();
    secure::asked("free", user, size - OVERHEAD);
    if chunk.next().state().is_none() {
        prove_next(chunk);
    }
    probe::step_of(Kind::Proven, Outcome::Live, chunk.flags() as usize, [chunk.address(), size, 0]);
    if secure::is_on() {
        return secure::take_back(thread, chunk, size);
    }
    put_away_chunk(thread, chunk, size);
}

/// Proves a parked chunk whose time has come. Sound ones are free to be pushed; others that may have a place are put away
/// here, exactly, or stop the process.
pub fn prove_parked(thread: &mut Thread, user: usize) -> Option<Chunk> {
    if !user.is_multiple_of(ALIGN) || home_of(user).is_none() {
        put_away(Some(thread), user);
        return None;
    }
    let chunk = Chunk::from_user(user);
    if !chunk.is(State::Live) {
        report_not_live("free", user);
    }
    // SAFETY: a chunk of a heap has a first word.
    if CHECKED && unsafe { *chunk.word(0) } != thread.cache.head.key {
        die::changed_since_freed(user, chunk.size());
    }
    profile::given_up(chunk);
    Some(chunk)
}

/// The header behind a chunk that is freed doesn't prove itself: was it overwritten, or is somebody just changing it? Under
/// the arena's lock only its cookie may change.
#[cold]
fn prove_next(chunk: Chunk) {
    let home = home_of(chunk.user()).map(arena::get);
    let guard = home.and_then(|home| home.lock(thread::owner()));
    if guard.is_some() && chunk.next().state().is_none() {
        die::corrupt_header(chunk.next(), "behind a chunk that was freed");
    }
}

/// A proven chunk of a heap, live until now.
pub fn put_away_chunk(thread: Option<&mut Thread>, chunk: Chunk, size: usize) {
    let me = thread::owner();
    match thread {
        Some(thread) => {
            if POLICY.classic.load(Relaxed) {
                probe::step(Kind::Put, Outcome::Off, [size, 0, chunk.user()]);
            } else if thread.push(chunk, size) {
                return;
            }
            arena::send_home(chunk, size, Some(thread.arena), me);
        }
        None => {
            probe::step(Kind::Put, Outcome::NoCache, [size, 0, chunk.user()]);
            arena::send_home(chunk, size, None, me);
        }
    }
}
