//! fork in a program with threads: before it, the forking thread takes every lock, so that the child finds no heap in the
//! middle of a change; after it, the parent gives them back and the child makes them new, because their sleepers and other
//! owners no longer exist there.
//!
//! A signal handler may fork on top of an interrupted malloc. Locks know their owners, so those that the interrupted call
//! holds are left alone on both sides: it goes on holding them when the handler returns, in parent and child. Such a fork
//! must not wait for long: another that waits for the very lock that it holds would wait for ever. It tries each lock for a
//! short while; an arena that it couldn't get is given up in the child, where its owner doesn't exist.

use crate::arena::{self, ARENAS_MAX};
use crate::decay;
use crate::depot::{self, DEPOTS};
use crate::kernel;
use crate::mapped;
use crate::meta;
use crate::policy::POLICY;
use crate::secure;
use crate::sync::atomic::{AtomicU32, Ordering::*};
use crate::sync::lock::{Lock, Owner};
use crate::thread::{self, Thread};

/// The locks beside the arenas': taken first, and last.
const CREATION: usize = ARENAS_MAX;
const RECORDS: usize = ARENAS_MAX + 1;
const MAPPINGS: usize = ARENAS_MAX + 2;
const DEPOT: usize = ARENAS_MAX + 3;
const WORDS: usize = (DEPOT + DEPOTS).div_ceil(32);

/// One fork under way: the C library runs the handlers of concurrent forks side by side.
struct Forking {
    lock: Lock,
    /// The locks that were taken for it, one bit each.
    taken: [AtomicU32; WORDS],
}

impl Forking {
    const fn new() -> Forking {
        Forking { lock: Lock::new(), taken: [const { AtomicU32::new(0) }; WORDS] }
    }

    fn note(&self, bit: usize, taken: bool) {
        if let Some(word) = self.taken.get(bit / 32) {
            let mask = 1 << (bit % 32);
            if taken {
                word.fetch_or(mask, Relaxed)
            } else {
                word.fetch_and(!mask, Relaxed)
            };
        }
    }

    fn took(&self, bit: usize) -> bool {
        self.taken.get(bit / 32).is_some_and(|word| word.load(Relaxed) & 1 << (bit % 32) != 0)
    }
}

/// A fork by a thread that holds none of our locks.
static USUAL: Forking = Forking::new();
/// A fork in a handler on top of malloc, or on top of another fork.
static INTERRUPTING: Forking = Forking::new();

/// All locks, with their bits, in the order in which they are taken.
fn locks() -> impl Iterator<Item = (usize, &'static Lock)> {
    let arenas = arena::all().enumerate().map(|(index, arena)| (index, &arena.lock));
    let depots = depot::locks().enumerate().map(|(class, lock)| (DEPOT + class, lock));
    [(CREATION, &arena::CREATION)]
        .into_iter()
        .chain(arenas)
        .chain(depots)
        .chain([(RECORDS, &meta::META), (MAPPINGS, &mapped::LOCK)])
}

fn holds_any(me: Owner) -> bool {
    USUAL.lock.is_owned_by(me) || locks().any(|(_, lock)| lock.is_owned_by(me))
}

/// The fork that this thread is in, as `prepare` began it.
fn under_way(me: Owner) -> Option<&'static Forking> {
    [&INTERRUPTING, &USUAL].into_iter().find(|forking| forking.lock.is_owned_by(me))
}

pub extern "C" fn prepare() {
    let me = thread::owner();
    let interrupts = holds_any(me);
    let forking = if interrupts { &INTERRUPTING } else { &USUAL };
    if !forking.lock.lock(me) {
        // A handler's fork on top of a handler's fork: what the lower one took serves both.
        return;
    }
    for (bit, lock) in locks() {
        forking.note(bit, if interrupts { lock.lock_briefly(me) } else { lock.lock(me) });
    }
}

pub extern "C" fn parent() {
    if let Some(forking) = under_way(thread::owner()) {
        for (bit, lock) in locks() {
            if forking.took(bit) {
                forking.note(bit, false);
                lock.unlock();
            }
        }
        forking.lock.unlock();
    }
}

pub extern "C" fn child() {
    let me = thread::owner();
    if POLICY.observed.load(Relaxed) {
        kernel::count_privately();
    }
    decay::reset();
    Thread::after_fork(thread::existing());
    secure::after_fork();
    let Some(forking) = under_way(me) else { return };
    for (bit, lock) in locks() {
        if forking.took(bit) {
            forking.note(bit, false);
            lock.reset();
        } else if !lock.is_owned_by(me) {
            lock.declare_dead();
        }
    }
    for arena in arena::all() {
        let mine = thread::existing().is_some_and(|thread| core::ptr::eq(arena, thread.arena));
        // A dead arena looks full, so that nobody is sent there.
        arena.seats.reset(if arena.lock.is_dead() { u32::MAX / 2 } else { u32::from(mine) });
    }
    for other in [&USUAL, &INTERRUPTING] {
        if core::ptr::eq(other, forking) || !other.lock.is_owned_by(me) {
            other.lock.reset();
        }
    }
}
