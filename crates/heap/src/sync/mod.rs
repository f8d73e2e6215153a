//! What threads share: atomics, the lock, the inbox through which chunks go home, the choice of an arena, and a depot's figures. All of it
//! imports its atomics from here, so that the model checker (`--cfg loom`) can put its own in their place.

pub mod inbox;
pub mod lock;
pub mod seats;
#[cfg(feature = "scheduled")]
pub mod turns;
pub mod waiting;

#[cfg(not(any(loom, feature = "scheduled")))]
pub use core::sync::atomic;
#[cfg(loom)]
pub use loom::sync::atomic;
#[cfg(feature = "scheduled")]
pub use turns::atomic;

/// Sleep and wake on a word: the kernel's futex, or a model of it in which a wake-up that comes too early is lost, so that the
/// model checker finds a sleeper whom nobody wakes.
#[cfg(not(any(loom, feature = "scheduled")))]
pub(crate) mod futex {
    use crate::sync::atomic::AtomicU32;
    pub use heapglass_os::thread::pause;
    pub use heapglass_os::{clock_nanos as now, futex_wait_for as wait_for, futex_wake_one as wake_one};

    /// No wait is without end: a wake-up may reach a thread that is just led away into a signal handler, where it forks, and so
    /// waits for one who sleeps here. Then that one must look for himself.
    pub fn wait(word: &AtomicU32, expected: u32) {
        crate::kernel::waits_for_lock();
        wait_for(word, expected, 50_000_000);
    }
}
/// Under a test's scheduler nobody sleeps: who would wait lets another thread go first, and looks again.
#[cfg(feature = "scheduled")]
pub(crate) mod futex {
    use crate::sync::turns::{Step, atomic::AtomicU32, step};
    pub use heapglass_os::clock_nanos as now;

    pub fn wait(_: &AtomicU32, _: u32) {
        step(Step::Wait);
    }

    pub fn wait_for(_: &AtomicU32, _: u32, _: u32) {
        step(Step::Wait);
    }

    pub fn wake_one(_: &AtomicU32) {}

    pub fn pause() {
        step(Step::Wait);
    }
}
#[cfg(loom)]
pub(crate) mod futex {
    use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use loom::sync::{Condvar, Mutex};

    /// The kernel's queue of sleepers. One for all words: a model may have its threads sleep on one lock only.
    struct Queue {
        compare: Mutex<()>,
        sleepers: Condvar,
    }

    loom::lazy_static! {
        static ref QUEUE: Queue = Queue { compare: Mutex::new(()), sleepers: Condvar::new() };
    }

    pub fn wait(word: &AtomicU32, expected: u32) {
        let Ok(compare) = QUEUE.compare.lock() else { return };
        if word.load(Relaxed) == expected {
            drop(QUEUE.sleepers.wait(compare));
        }
    }

    /// In a model, a wait with an end has always come to it: whether the lock is given back before is for the schedule to say.
    pub fn wait_for(_: &AtomicU32, _: u32, _: u32) {
        loom::thread::yield_now();
    }

    /// A clock that runs fast enough.
    pub fn now() -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NOW: AtomicU64 = AtomicU64::new(0);
        NOW.fetch_add(1 << 32, Ordering::Relaxed)
    }

    pub fn wake_one(_: &AtomicU32) {
        let compare = QUEUE.compare.lock();
        QUEUE.sleepers.notify_one();
        drop(compare);
    }

    pub fn pause() {
        loom::thread::yield_now();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::lock::Lock;
    use crate::{kernel, thread};
    use core::sync::atomic::Ordering::Relaxed;

    #[test]
    fn who_sleeps_for_a_lock_is_counted() {
        static LOCK: Lock = Lock::new();
        let waits = || kernel::counters().lock_waits.load(Relaxed);
        let before = waits();
        assert!(LOCK.lock(thread::owner()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(LOCK.lock(thread::owner()));
                LOCK.unlock();
            });
            while waits() == before {
                std::thread::yield_now();
            }
            LOCK.unlock();
        });
    }
}
