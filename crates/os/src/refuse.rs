//! System calls that are refused on purpose, for tests only: this is compiled in by the feature `refusals` alone, which no
//! build of the libraries has. The kernel isn't asked; the caller hears ENOMEM.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The break's number, which is no system call of ours: it goes through the C library.
pub const BRK: u32 = linux_raw_sys::general::__NR_brk;

/// Of which kind; `ANY` is of all.
static KIND: AtomicU32 = AtomicU32::new(ANY);
/// Any kind that has a result for the allocator: not the futex, nor the write of a last line.
pub const ANY: u32 = u32::MAX;

/// Calls of that kind so far.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// The first that is refused, from 1 on, and how many are; 0 refuses none.
static FIRST: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
/// The kind of the last one that was refused.
static REFUSED: AtomicU32 = AtomicU32::new(ANY);

/// Begins to count calls of a kind, and refuses `count` of them from the `first` on.
pub fn begin(kind: u32, first: u64, count: u64) {
    KIND.store(kind, Relaxed);
    CALLS.store(0, Relaxed);
    FIRST.store(first, Relaxed);
    COUNT.store(count, Relaxed);
    REFUSED.store(ANY, Relaxed);
}

/// Calls of the kind since then.
pub fn calls() -> u64 {
    CALLS.load(Relaxed)
}

/// The kind of the last one that was refused, if one was.
pub fn refused() -> Option<u32> {
    let kind = REFUSED.load(Relaxed);
    (kind != ANY).then_some(kind)
}

/// Is this call to be refused?
pub(crate) fn refuses(number: u32) -> bool {
    use linux_raw_sys::general as k;
    let kind = KIND.load(Relaxed);
    let is_told = matches!(number, k::__NR_futex | k::__NR_write | k::__NR_sched_yield | k::__NR_gettid);
    if is_told || kind != ANY && kind != number {
        return false;
    }
    let call = CALLS.fetch_add(1, Relaxed) + 1;
    let first = FIRST.load(Relaxed);
    let refuses = first != 0 && call >= first && call - first < COUNT.load(Relaxed);
    if refuses {
        REFUSED.store(number, Relaxed);
    }
    refuses
}
