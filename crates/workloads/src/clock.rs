//! A clock for single calls: the processor's own counter where there is one, since asking the system costs more than the
//! call that is timed.
//!
//! # Safety
//! Both instructions are part of every x86-64 processor and touch no memory.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// In units of its own, after all that stands before it was done.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: see the head.
    unsafe {
        _mm_lfence();
        let ticks = _rdtsc();
        _mm_lfence();
        ticks
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Nanoseconds of a tick, found once by comparing with the system's clock for a while.
pub fn tick() -> f64 {
    static TICK: LazyLock<f64> = LazyLock::new(|| {
        const WHILE: Duration = Duration::from_millis(20);
        let (start, first) = (Instant::now(), ticks());
        while start.elapsed() < WHILE {}
        let (elapsed, last) = (start.elapsed(), ticks());
        elapsed.as_nanos() as f64 / (last - first).max(1) as f64
    });
    *TICK
}
