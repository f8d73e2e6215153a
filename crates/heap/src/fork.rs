//! fork in a program with threads: before it, the forking thread takes every lock, so that the child finds no heap in the
//! middle of a change; after it, the parent gives them back and the child makes them new, because their sleepers and other
//! owners no longer exist there.
//!
//! A signal handler may fork on top of an interrupted malloc. Locks know their owners, so those that the interrupted call
//! holds are left alone on both sides: it goes on holding them when the handler returns, in parent and child.

use crate::arena;
use crate::kernel;
use crate::mapped;
use crate::meta;
use crate::policy::POLICY;
use crate::sync::atomic::{AtomicU32, Ordering::*};
use crate::sync::lock::Lock;
use crate::thread;

/// One fork at a time: the C library runs the handlers of concurrent forks side by side.
static FORKING: Lock = Lock::new();
/// Forks of one thread within each other (a handler that forks while fork is preparing).
static DEPTH: AtomicU32 = AtomicU32::new(0);
/// Locks that the forking thread had already, one bit each: the arenas', and the last two for the records and the mappings.
static HELD: [AtomicU32; arena::ARENAS_MAX / 32 + 1] = [const { AtomicU32::new(0) }; arena::ARENAS_MAX / 32 + 1];
const RECORDS: usize = arena::ARENAS_MAX;
const MAPPINGS: usize = arena::ARENAS_MAX + 1;

/// All locks but `FORKING`, with their bits, in the order in which they are taken: an arena's before the inner two.
fn locks() -> impl Iterator<Item = (usize, &'static Lock)> {
    arena::all()
        .enumerate()
        .map(|(index, arena)| (index, &arena.lock))
        .chain([(RECORDS, &meta::META), (MAPPINGS, &mapped::LOCK)])
}

fn mark(bit: usize, held: bool) {
    if let Some(word) = HELD.get(bit / 32) {
        if held {
            word.fetch_or(1 << (bit % 32), Relaxed);
        } else {
            word.fetch_and(!(1 << (bit % 32)), Relaxed);
        }
    }
}

fn was_held(bit: usize) -> bool {
    HELD.get(bit / 32).is_some_and(|word| word.load(Relaxed) & 1 << (bit % 32) != 0)
}

pub extern "C" fn prepare() {
    let me = thread::owner();
    if !FORKING.lock(me) {
        DEPTH.fetch_add(1, Relaxed);
        return;
    }
    for (bit, lock) in locks() {
        mark(bit, !lock.lock(me));
    }
}

pub extern "C" fn parent() {
    if DEPTH.load(Relaxed) > 0 {
        DEPTH.fetch_sub(1, Relaxed);
        return;
    }
    for (bit, lock) in locks() {
        if !was_held(bit) {
            lock.unlock();
        }
    }
    FORKING.unlock();
}

pub extern "C" fn child() {
    let me = thread::owner();
    if POLICY.observed.load(Relaxed) {
        kernel::count_privately();
    }
    for arena in arena::all() {
        let mine = core::ptr::eq(arena, thread::arena()) && thread::existing().is_some();
        arena.seats.reset(u32::from(mine));
    }
    if DEPTH.load(Relaxed) > 0 {
        DEPTH.fetch_sub(1, Relaxed);
        for (_, lock) in locks() {
            if !lock.is_owned_by(me) {
                lock.reset();
            }
        }
        return;
    }
    for (bit, lock) in locks() {
        if !was_held(bit) {
            lock.reset();
        }
    }
    FORKING.reset();
}
