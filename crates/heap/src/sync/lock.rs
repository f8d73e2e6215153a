//! A futex lock that knows its owner.
//!
//! The word is 0 when free, else the owner's mark in the middle bits and, in bit 0, whether somebody sleeps. Taking it is one
//! compare-and-swap and giving it back one swap. Owner and lock are one word, so a signal handler that interrupts the
//! owner at any instruction can see that waiting would be waiting for itself: `fork` in a handler needs that.
//!
//! The highest bit says that the owner has the lock only so that a fork finds at rest what it guards, and changes nothing. The
//! C library's fork goes on to wait for locks of its own (of its streams, of its name service), whose owner may be waiting for
//! ours. So such a lock isn't waited for without end: after a while it is taken away from the fork, which doesn't mind but in
//! the child, where a lock that somebody else has at that moment is nobody's any more.

use super::atomic::{AtomicU32, Ordering::*};
use super::futex;

const SLEEPERS: u32 = 1;
const SPINS: u32 = 60;
/// Held for a fork.
const RESTS: u32 = 1 << 31;
/// For how long a lock that is held for a fork is waited for. Forks that wait for nobody are done long before, or keep the
/// whole process from writing to its memory meanwhile.
const PATIENCE_NANOS: u32 = 100_000_000;
/// The word of a lock whose owner will never give it back.
const DEAD: u32 = !SLEEPERS;

/// Who asks for a lock: the lowest and the highest bit are taken by the lock itself, so a mark has neither, and is never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(u32);

impl Owner {
    /// A mark from any number that differs between threads.
    pub const fn new(number: u32) -> Owner {
        let mark = number << 1 & !RESTS;
        Owner(if mark == 0 { 2 } else { mark })
    }
}

/// The lock. It guards whatever stands beside it; see the types that hold one.
pub struct Lock(AtomicU32);

impl Lock {
    #[cfg(not(loom))]
    pub const fn new() -> Lock {
        Lock(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> Lock {
        Lock(AtomicU32::new(0))
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub fn try_lock(&self, me: Owner) -> bool {
        self.0.compare_exchange(0, me.0, Acquire, Relaxed).is_ok()
    }

    /// Takes the lock, waiting for it. `false`, and nothing taken, where the caller has it already: then a signal handler
    /// runs on top of the owner, and waiting would never end.
    #[inline]
    #[must_use]
    pub fn lock(&self, me: Owner) -> bool {
        self.try_lock(me) || self.lock_slow(me)
    }

    #[cold]
    fn lock_slow(&self, me: Owner) -> bool {
        if self.is_owned_by(me) || self.is_dead() {
            return false;
        }
        for _ in 0..if cfg!(loom) { 1 } else { SPINS } {
            if self.0.load(Relaxed) == 0 && self.try_lock(me) {
                return true;
            }
            #[cfg(not(loom))]
            core::hint::spin_loop();
        }
        let mut waits_since = None;
        loop {
            let word = self.0.load(Relaxed);
            if word == 0 {
                // Others may still sleep: taking it with the bit set passes the next wake-up on.
                if self.0.compare_exchange(0, me.0 | SLEEPERS, Acquire, Relaxed).is_ok() {
                    return true;
                }
                continue;
            }
            if word & SLEEPERS == 0 && self.0.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_err() {
                continue;
            }
            if word & RESTS == 0 {
                futex::wait(&self.0, word | SLEEPERS);
                continue;
            }
            let waited_since = *waits_since.get_or_insert_with(futex::now);
            futex::wait_for(&self.0, word | SLEEPERS, PATIENCE_NANOS);
            // Signals may end the wait early, so the clock decides.
            let is_over = futex::now().wrapping_sub(waited_since) >= u64::from(PATIENCE_NANOS);
            if is_over && self.0.compare_exchange(word | SLEEPERS, me.0 | SLEEPERS, Acquire, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// The caller, who has the lock, will only hold it while a fork is made: see the head of this file.
    pub fn let_rest(&self) {
        self.0.fetch_or(RESTS, Relaxed);
    }

    /// The fork is made, this is the parent: gives the lock back, unless somebody took it away meanwhile.
    pub fn end_rest(&self, me: Owner) {
        let mut word = self.0.load(Relaxed);
        while word & !SLEEPERS == me.0 | RESTS {
            match self.0.compare_exchange_weak(word, 0, Release, Relaxed) {
                Ok(_) if word & SLEEPERS != 0 => return futex::wake_one(&self.0),
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// In a forked child, where only the calling thread exists: was nobody at work on what it guards?
    pub fn is_at_rest(&self) -> bool {
        let word = self.0.load(Relaxed);
        word == 0 || word & RESTS != 0 && !self.is_dead()
    }

    /// Gives the lock back.
    #[inline]
    pub fn unlock(&self) {
        if self.0.swap(0, Release) & SLEEPERS != 0 {
            futex::wake_one(&self.0);
        }
    }

    /// Does this thread have it?
    pub fn is_owned_by(&self, me: Owner) -> bool {
        let word = self.0.load(Relaxed) & !SLEEPERS;
        word & !RESTS == me.0 && word != DEAD
    }

    /// Has anybody it?
    pub fn is_locked(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Takes the lock if it comes free within a short while.
    pub fn lock_briefly(&self, me: Owner) -> bool {
        const TRIES: u32 = if cfg!(loom) { 2 } else { 50 };
        !self.is_owned_by(me)
            && (0..TRIES).any(|_| {
                let taken = self.try_lock(me);
                if !taken {
                    futex::pause();
                }
                taken
            })
    }

    /// Gives up on it: its owner doesn't exist in this process, and left what it guards in the middle of a change. Nobody
    /// gets it any more.
    pub fn declare_dead(&self) {
        self.0.store(DEAD, Release);
    }

    pub fn is_dead(&self) -> bool {
        self.0.load(Relaxed) & !SLEEPERS == DEAD
    }

    /// Makes it free, whoever had it: in a forked child, where the sleepers and perhaps the owner no longer exist.
    pub fn reset(&self) {
        self.0.store(0, Release);
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}
