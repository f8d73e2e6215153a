//! What threads share: atomics, the lock, the inbox through which chunks go home, and the choice of an arena. All of it
//! imports its atomics from here, so that the model checker (`--cfg loom`) can put its own in their place.

pub mod inbox;
pub mod lock;
pub mod seats;

#[cfg(not(loom))]
pub use core::sync::atomic;
#[cfg(loom)]
pub use loom::sync::atomic;

/// Sleep and wake on a word: the kernel's futex, or the model checker's yield.
#[cfg(not(loom))]
pub(crate) mod futex {
    pub use heapglass_os::{futex_wait as wait, futex_wake_one as wake_one, thread::pause};
}
#[cfg(loom)]
pub(crate) mod futex {
    use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};

    pub fn wait(word: &AtomicU32, expected: u32) {
        if word.load(Relaxed) == expected {
            loom::thread::yield_now();
        }
    }

    pub fn wake_one(_: &AtomicU32) {}

    pub fn pause() {
        loom::thread::yield_now();
    }
}
