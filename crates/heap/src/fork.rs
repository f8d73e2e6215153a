//! fork in a program with threads: before it, the forking thread takes every lock, so that the child finds no heap in the
//! middle of a change; after it, the parent gives them back and the child makes them new, because their sleepers and other
//! owners no longer exist there.
//!
//! A signal handler may fork on top of an interrupted malloc. Locks know their owners, so those that the interrupted call
//! holds are left alone on both sides: it goes on holding them when the handler returns, in parent and child. Such a fork
//! must not wait for long: another that waits for the very lock that it holds would wait for ever. It tries each lock for a
//! short while. An arena that somebody is in when the fork is made is given up in the child, where that one doesn't exist; so
//! is a depot. The records and the table of mappings are whole at every instant, and go on.
//!
//! Between our handlers and the fork itself the C library waits for locks of its own, and the program's handlers for theirs.
//! Whoever has one of those may be waiting for one of ours; so ours are held as `Lock::let_rest` says, and given up rather
//! than waited for without end.

use crate::arena::{self, ARENAS_MAX};
use crate::decay;
use crate::depot::{self, DEPOTS};
use crate::guard;
use crate::kernel;
use crate::mapped;
use crate::meta;
use crate::policy::POLICY;
use crate::profile;
use crate::secure;
use crate::sync::atomic::{AtomicU32, Ordering::*};
use crate::sync::lock::{Lock, Owner};
use crate::tell;
use crate::thread::{self, Thread};

/// The locks beside the arenas': taken first, and last.
const CREATION: usize = ARENAS_MAX;
const RECORDS: usize = ARENAS_MAX + 1;
const MAPPINGS: usize = ARENAS_MAX + 2;
const SAMPLES: usize = ARENAS_MAX + 3;
const DEPOT: usize = ARENAS_MAX + 4;
const WORDS: usize = (DEPOT + DEPOTS).div_ceil(32);

/// One fork under way: the C library runs the handlers of concurrent forks side by side.
struct Forking {
    lock: Lock,
    /// The locks that were taken for it, one bit each.
    taken: [AtomicU32; WORDS],
    /// Forks on top of this one by the same thread, in handlers.
    above: AtomicU32,
}

impl Forking {
    const fn new() -> Forking {
        Forking { lock: Lock::new(), taken: [const { AtomicU32::new(0) }; WORDS], above: AtomicU32::new(0) }
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

    /// Ends a fork on top of this one; `false` where there is none.
    fn ends_above(&self) -> bool {
        let above = self.above.load(Relaxed);
        self.above.store(above.saturating_sub(1), Relaxed);
        above > 0
    }

    fn took(&self, bit: usize) -> bool {
        self.taken.get(bit / 32).is_some_and(|word| word.load(Relaxed) & 1 << (bit % 32) != 0)
    }
}

/// A fork by a thread that holds none of our locks.
static USUAL: Forking = Forking::new();
/// A fork in a handler on top of malloc, or on top of another fork.
static INTERRUPTING: Forking = Forking::new();

/// All locks, with their bits, in the order in which they are taken. How many arenas there are is asked only when the first
/// lock, without which none is made, has been seen to.
fn locks() -> impl Iterator<Item = (usize, &'static Lock)> {
    let arenas = (0..ARENAS_MAX).take_while(|&index| index < arena::count());
    let arenas = arenas.map(|index| (index, &arena::get(index).lock));
    let depots = depot::locks().enumerate().map(|(class, lock)| (DEPOT + class, lock));
    [(CREATION, &arena::CREATION)].into_iter().chain(arenas).chain(depots).chain([
        (RECORDS, &meta::META),
        (MAPPINGS, &mapped::LOCK),
        (SAMPLES, &guard::LOCK),
    ])
}

/// What these guard can be used wherever a thread stopped that was changing it.
fn is_always_whole(bit: usize) -> bool {
    matches!(bit, CREATION | RECORDS | MAPPINGS)
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
        // A handler's fork on top of a handler's fork: what the lower one took serves both, and is the lower one's.
        forking.above.fetch_add(1, Relaxed);
        return;
    }
    for (bit, lock) in locks() {
        let taken = if interrupts { lock.lock_briefly(me) } else { lock.lock(me) };
        if taken {
            lock.let_rest();
        }
        forking.note(bit, taken);
    }
}

pub extern "C" fn parent() {
    let me = thread::owner();
    if let Some(forking) = under_way(me).filter(|forking| !forking.ends_above()) {
        for (bit, lock) in locks() {
            if forking.took(bit) {
                forking.note(bit, false);
                lock.end_rest(me);
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
    tell::after_fork();
    profile::after_fork();
    decay::reset();
    Thread::after_fork(thread::existing());
    thread::renumber();
    secure::after_fork();
    let Some(forking) = under_way(me) else { return };
    let is_above = forking.ends_above();
    for (bit, lock) in locks() {
        let took = forking.took(bit) && !is_above;
        if !took && lock.is_owned_by(me) {
            // The interrupted call's, or the interrupted fork's.
            continue;
        }
        forking.note(bit, false);
        let is_at_rest = lock.is_at_rest();
        if is_at_rest || is_always_whole(bit) {
            lock.reset();
        } else {
            lock.declare_dead();
        }
        if bit == MAPPINGS && !is_at_rest {
            mapped::count_anew();
        }
    }
    for arena in arena::all() {
        let mine = thread::existing().is_some_and(|thread| core::ptr::eq(arena, thread.arena));
        // A dead arena looks full, so that nobody is sent there.
        arena.seats.reset(if arena.lock.is_dead() { u32::MAX / 2 } else { u32::from(mine) });
    }
    for other in [&USUAL, &INTERRUPTING] {
        if core::ptr::eq(other, forking) && !is_above || !other.lock.is_owned_by(me) {
            other.lock.reset();
        }
    }
}
