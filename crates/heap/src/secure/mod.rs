//! Secure mode: what makes misuse show, and an attack dear, where a program would rather pay for it. All of it hangs at slow
//! paths: with any part of it on, a thread stays behind its facade, so every call comes here.
//!
//! ```text
//!  free                                            malloc
//!   | canary: did a write run past the request?     | shuffle: any of the cached chunks, not the last
//!   | clear: the user area becomes zero             | clear: is it still zero? else somebody wrote to it
//!   v                                               | canary: behind the request, with the request's length
//!  quarantine: takes the place of a random one,     v
//!   | which leaves: is it still zero?              the program
//!   v
//!  cache, depot, bins, top: zero but for the heap's own words, which go when a chunk leaves its bin
//! ```
//!
//! Mapped chunks stand between two pages that can't be touched, and their addresses stay taken for a while after they were
//! freed (`mapping`).
//!
//! **Invariant** of `CLEAR`: the user area of a chunk that the program doesn't have is zero, but for the heap's own words
//! while it is in a bin. So what is handed out is zero, and what isn't was written to.
//!
//! # Safety
//! Parts are chosen before the first chunk is made, and never change: what one writes into a chunk, it finds there later.

pub mod canary;
pub mod clear;
pub mod keys;
pub mod mapping;
pub mod quarantine;
pub mod random;
pub mod resize;

use crate::chunk::{Chunk, M, State};
use crate::die;
use crate::list;
use crate::magazine::proven;
use crate::mapped::{self, Known};
use crate::probe::{self, Kind, Outcome};
use crate::size::OVERHEAD;
use crate::store::Taken;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::thread::{self, Thread};
use heapglass_event::root::{CanaryAt, Place};
use random::Random;

/// Freed chunks wait before they are used again.
pub const QUARANTINE: u32 = 1;
/// Bytes behind each request that only the heap knows.
pub const CANARY: u32 = 2;
/// Freed memory is zero, and stays so until it is handed out.
pub const CLEAR: u32 = 4;
/// Chunks are handed out in no order.
pub const SHUFFLE: u32 = 8;
/// Pages that can't be touched around mapped chunks.
pub const GUARDS: u32 = 16;
/// Links in free chunks are kept under a key.
pub const LINKS: u32 = 32;
/// What is handed out is zero.
pub const ZERO: u32 = 64;
/// The mode as a whole.
pub const ALL: u32 = QUARANTINE | CANARY | CLEAR | SHUFFLE | GUARDS | LINKS;

static PARTS: AtomicU32 = AtomicU32::new(0);

#[inline]
pub fn has(parts: u32) -> bool {
    PARTS.load(Relaxed) & parts != 0
}

/// Where readers find whether there are canaries, and how they are made.
pub const fn canary_seen() -> CanaryAt {
    CanaryAt { parts: Place::of(&raw const PARTS), bit: CANARY as usize, keys: keys::canary_place() }
}

/// Is any part on? Then every call is taken exactly.
#[inline]
pub fn is_on() -> bool {
    PARTS.load(Relaxed) != 0
}

/// Switches parts on or off. Before the first chunk, and before the first list.
pub fn set(parts: u32, on: bool) {
    let before = PARTS.load(Relaxed);
    PARTS.store(if on { before | parts } else { before & !parts }, Relaxed);
    list::set_key(if has(LINKS) { keys::get(keys::LINKS) } else { 0 });
}

/// Sets the bytes that may wait, over all threads; 0 is no quarantine.
pub fn set_quarantine(bytes: usize) {
    quarantine::set_bytes(bytes);
    set(QUARANTINE, bytes > 0);
}

/// The step and the demand that a refill goes by: without a few chunks at a time there is nothing to shuffle.
pub fn batches(step: usize, demand: u8) -> (usize, u8) {
    if has(SHUFFLE) { (step.max(1), demand.max(4)) } else { (step, demand) }
}

/// What a thread has of its own in the mode.
pub struct Local {
    pub random: Random,
    pub waiting: quarantine::Waiting,
}

impl Local {
    /// `key` is different for each thread.
    pub fn new(key: usize) -> Local {
        Local { random: Random::new(key as u64), waiting: quarantine::Waiting::new() }
    }
}

/// Bytes that a request needs.
#[inline]
pub fn padded(request: usize) -> usize {
    if has(CANARY) { request.saturating_add(canary::TAIL) } else { request }
}

/// Bytes behind the user pointer of a live chunk, all that there are; 0 where there is none.
fn room(user: usize) -> usize {
    let chunk = Chunk::from_user(user);
    if chunk.flags() & M == 0 {
        return chunk.size() - OVERHEAD;
    }
    match mapped::look_up(user) {
        Known::Live { base, length } => mapped::usable(user, base, length),
        _ => 0,
    }
}

/// A chunk is about to be handed out. `fresh`: it came from the kernel, all zero. Returns whether it is zero.
pub fn hand_out(user: usize, request: usize, fresh: bool) -> bool {
    let room = room(user);
    let mut zero = fresh;
    if has(CLEAR) && !fresh {
        clear::prove(user, 0, room, "handed out again");
        zero = true;
    }
    if has(ZERO) && !zero {
        // SAFETY: the chunk holds the request.
        unsafe { core::ptr::write_bytes(user as *mut u8, 0, request) };
        zero = true;
    }
    if has(CANARY) {
        canary::put(user, room, request);
    }
    zero
}

/// The bytes that the program may use of a live chunk that has `room`: what it asked for, where that is known.
pub fn asked(call: &'static str, user: usize, room: usize) -> usize {
    if !has(CANARY) {
        return room;
    }
    match canary::look(user, room) {
        Ok(request) => request,
        Err(found) => die::overrun(call, user, room, found),
    }
}

/// A live chunk of a heap is freed: put where it waits, or where it belongs.
pub fn take_back(mut thread: Option<&mut Thread>, chunk: Chunk, size: usize) {
    if has(CLEAR) {
        clear::area(chunk.user(), size - OVERHEAD);
    }
    if has(QUARANTINE)
        && let Some(thread) = &mut thread
        && quarantine::put(thread, chunk, size)
    {
        probe::step(Kind::Quarantine, Outcome::Kept, [chunk.user(), size, 0]);
        return;
    }
    crate::free::put_away_chunk(thread, chunk, size);
}

/// Where memory is wanted: everything that waits goes where it belongs. `None` where nothing waited, or the call doesn't
/// succeed after all.
#[cold]
pub fn again<T>(call: impl FnOnce() -> Option<T>) -> Option<T> {
    if !is_on() {
        return None;
    }
    release();
    call()
}

/// What waits of the calling thread's, and the addresses of mapped chunks, waits no longer.
pub fn release() {
    if let Some(thread) = thread::existing() {
        quarantine::flush(thread);
    }
    mapping::flush();
}

/// In a forked child.
pub fn after_fork() {
    if !is_on() {
        return;
    }
    let mut own = 0;
    if let Some(thread) = thread::existing() {
        // Parent and child shall not choose alike.
        thread.secure.random.turn(u64::from(heapglass_os::process_id()));
        own = thread.secure.waiting.bytes();
    }
    quarantine::after_fork(own);
}

impl Thread {
    /// Any of a class's cached chunks becomes the one that is handed out next.
    pub fn shuffle_next(&mut self, class: usize) {
        if !has(SHUFFLE) {
            return;
        }
        let count = self.cached(class).len();
        let chosen = self.secure.random.below(count);
        let Some(bin) = self.cache.bins.get_mut(class).filter(|_| count > 1) else { return };
        // SAFETY: `count` slots below the position are filled.
        unsafe { core::ptr::swap(bin.top.sub(1), bin.top.sub(1 + chosen)) };
    }

    /// Chunks cut together lose their order, and the one that is handed out at once is any of them: `None` where it stays
    /// the first.
    pub fn shuffle_refill(&mut self, taken: Option<Taken>, rest: &mut [usize]) -> Option<Taken> {
        let first = taken.filter(|_| has(SHUFFLE))?;
        let random = &mut self.secure.random;
        for left in (2..=rest.len()).rev() {
            if let Some((last, others)) = rest.get_mut(..left).and_then(|part| part.split_last_mut())
                && let Some(other) = others.get_mut(random.below(left))
            {
                core::mem::swap(last, other);
            }
        }
        let place = rest.get_mut(random.below(rest.len() + 1))?;
        let chunk = proven(core::mem::replace(place, first.chunk.user()));
        first.chunk.set_state(first.chunk.size(), State::Cached);
        chunk.set_state(chunk.size(), State::Live);
        Some(Taken { chunk, ..first })
    }
}
