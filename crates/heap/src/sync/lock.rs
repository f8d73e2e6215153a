//! A futex lock that knows its owner.
//!
//! The word is 0 when free, else the owner's mark in the upper bits and, in bit 0, whether somebody sleeps. Taking it is one
//! compare-and-swap and giving it back one swap. Owner and lock are one word, so a signal handler that interrupts the
//! owner at any instruction can see that waiting would be waiting for itself: `fork` in a handler needs that.

use super::atomic::{AtomicU32, Ordering::*};
use super::futex;

const SLEEPERS: u32 = 1;
const SPINS: u32 = 60;
/// The word of a lock whose owner will never give it back.
const DEAD: u32 = !SLEEPERS;

/// Who asks for a lock: odd bits are taken by the lock itself, so a mark is even, and never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(u32);

impl Owner {
    /// A mark from any number that differs between threads.
    pub const fn new(number: u32) -> Owner {
        let mark = number << 1;
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
        loop {
            let word = self.0.load(Relaxed);
            if word == 0 {
                // Others may still sleep: taking it with the bit set passes the next wake-up on.
                if self.0.compare_exchange(0, me.0 | SLEEPERS, Acquire, Relaxed).is_ok() {
                    return true;
                }
                continue;
            }
            if word & SLEEPERS != 0 || self.0.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_ok() {
                futex::wait(&self.0, word | SLEEPERS);
            }
        }
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
        self.0.load(Relaxed) & !SLEEPERS == me.0
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
