//! How many magazines wait in a depot, and how many of them nobody wanted lately. The count is written with the depot's lock
//! held; decay looks at the rest and takes from it without, so its figures are guesses. What must hold is that they stay
//! within what there was: a guess that wraps around would wait for ever.

use super::atomic::{AtomicU32, Ordering::Relaxed};

pub struct Waiting {
    count: AtomicU32,
    /// The fewest since the epoch began.
    fewest: AtomicU32,
    /// What nobody wanted in the epoch before.
    idle: AtomicU32,
}

#[cfg(not(loom))]
impl Default for Waiting {
    fn default() -> Self {
        Self::new()
    }
}

impl Waiting {
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Waiting {
        Waiting { count: AtomicU32::new(0), fewest: AtomicU32::new(0), idle: AtomicU32::new(0) }
    }

    #[cfg(loom)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Waiting {
        Waiting { count: AtomicU32::new(0), fewest: AtomicU32::new(0), idle: AtomicU32::new(0) }
    }

    pub fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    pub fn idle(&self) -> u32 {
        self.idle.load(Relaxed)
    }

    /// One more waits. The caller has the depot's lock.
    pub fn add(&self) {
        self.count.store(self.count.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// One was taken. The caller has the depot's lock.
    pub fn remove(&self) {
        let count = self.count.load(Relaxed).saturating_sub(1);
        self.count.store(count, Relaxed);
        for low in [&self.fewest, &self.idle] {
            if low.load(Relaxed) > count {
                low.store(count, Relaxed);
            }
        }
    }

    /// An epoch begins.
    pub fn enter_epoch(&self) {
        self.idle.store(self.fewest.load(Relaxed), Relaxed);
        self.fewest.store(self.count.load(Relaxed), Relaxed);
    }

    /// One of the idle ones shall go; `false` where there is none any more. Somebody may have taken the last since it was looked
    /// for, so this is one step.
    pub fn claim_idle(&self) -> bool {
        self.idle.fetch_update(Relaxed, Relaxed, |idle| idle.checked_sub(1)).is_ok()
    }
}
