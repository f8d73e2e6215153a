//! Who sits where: how many threads each arena serves. A thread takes a seat at its first allocation, in the arena with the
//! fewest, and keeps it to its end. A seat is taken by one increment that is valid at once, so two threads that choose at
//! the same moment may end up side by side, but no count is ever lost.

use super::atomic::{AtomicU32, Ordering::*};

pub struct Seats(AtomicU32);

#[cfg(not(loom))]
impl Default for Seats {
    fn default() -> Self {
        Self::new()
    }
}

impl Seats {
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Seats {
        Seats(AtomicU32::new(0))
    }

    #[cfg(loom)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Seats {
        Seats(AtomicU32::new(0))
    }

    pub fn taken(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Takes the first seat of an arena that serves nobody; `false` where somebody was faster.
    pub fn take_first(&self) -> bool {
        self.0.compare_exchange(0, 1, AcqRel, Relaxed).is_ok()
    }

    pub fn take(&self) {
        self.0.fetch_add(1, AcqRel);
    }

    pub fn leave(&self) {
        self.0.fetch_sub(1, AcqRel);
    }

    /// In a forked child only the calling thread is left.
    pub fn reset(&self, taken: u32) {
        self.0.store(taken, Release);
    }
}

/// Chooses among arenas by their seats, and takes the seat: an arena that serves nobody, else a new one where `may_grow`
/// allows (`None`), else the one with the fewest threads.
pub fn choose<'a>(seats: impl Iterator<Item = &'a Seats> + Clone, may_grow: bool) -> Option<usize> {
    for (index, seat) in seats.clone().enumerate() {
        if seat.taken() == 0 && seat.take_first() {
            return Some(index);
        }
    }
    if may_grow {
        return None;
    }
    let (index, fewest) = seats.enumerate().min_by_key(|(_, seat)| seat.taken())?;
    fewest.take();
    Some(index)
}
