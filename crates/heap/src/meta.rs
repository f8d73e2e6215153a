//! Memory for the heap's own records: arenas, threads, magazines, heaps. None of it lies between chunks, where a program's
//! overflow could reach it. It is cut from a small static block first, then from mapped blocks, and never given back:
//! threads' records and magazines that are done with are kept in lists and used again.
//!
//! `NEXT`, `END` and those lists are whole at every instant, so that a forked child can go on from wherever another thread was:
//! what is linked in is complete before, and between two blocks no room is left in either.

use crate::sync::atomic::{AtomicUsize, Ordering::*};
use crate::sync::lock::Lock;
use crate::thread;
use core::cell::UnsafeCell;
use heapglass_event::root::{Piece, Place, RecordsAt};
use heapglass_os as os;

const FIRST_BYTES: usize = 64 * 1024;
const BLOCK_BYTES: usize = 128 * 1024;
/// A block begins with the address of the one before and its own length, for readers outside.
const BLOCK_HEAD: usize = 64;

#[repr(C, align(64))]
struct First(UnsafeCell<[u8; FIRST_BYTES]>);

// SAFETY: handed out in disjoint pieces under `META`.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; FIRST_BYTES]));

/// Guards `NEXT`, `END` and the lists of records in other modules.
pub static META: Lock = Lock::new();
static NEXT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// The block that was mapped last.
static BLOCKS: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the records take, mapped blocks included.
pub static RECORD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Runs `work` with the records' lock; `None` where this thread holds it already (a signal handler on top of ourselves).
pub fn locked<T>(work: impl FnOnce() -> T) -> Option<T> {
    if !META.lock(thread::owner()) {
        return None;
    }
    let value = work();
    META.unlock();
    Some(value)
}

/// Zeroed memory for a record, aligned to a cache line where it is as long as one; null where the kernel has none left.
/// Call it inside `locked`.
pub fn take_locked(bytes: usize) -> *mut u8 {
    let align = if bytes >= 64 { 64 } else { 16 };
    let bytes = (bytes + align - 1) & !(align - 1);
    if END.load(Relaxed) == 0 {
        let start = FIRST.0.get() as usize;
        NEXT.store(start, Release);
        END.store(start + FIRST_BYTES, Release);
    }
    let mut at = (NEXT.load(Relaxed) + align - 1) & !(align - 1);
    if at + bytes > END.load(Relaxed) {
        let block = (bytes + BLOCK_HEAD).max(BLOCK_BYTES);
        let Some(block) = os::pages_up(block) else { return core::ptr::null_mut() };
        let Ok(start) = crate::kernel::map(0, block, os::Access::ReadWrite) else { return core::ptr::null_mut() };
        os::name(start, block, c"heapglass records");
        // SAFETY: fresh memory, long enough for both words.
        unsafe { (start as *mut [usize; 2]).write([BLOCKS.load(Relaxed), block]) };
        BLOCKS.store(start, Release);
        // An end that leaves no room, then the new block's beginning, then its end.
        at = start + BLOCK_HEAD;
        END.store(1, Release);
        NEXT.store(at, Release);
        END.store(start + block, Release);
    }
    NEXT.store(at + bytes, Release);
    RECORD_BYTES.fetch_add(bytes, Relaxed);
    at as *mut u8
}

/// As `take_locked`, taking the lock.
pub fn take(bytes: usize) -> *mut u8 {
    locked(|| take_locked(bytes)).unwrap_or(core::ptr::null_mut())
}

/// For `root`.
pub const fn seen() -> (RecordsAt, Piece) {
    let first = Piece { at: Place::of(&raw const FIRST), bytes: FIRST_BYTES };
    (RecordsAt { blocks: Place::of(&raw const BLOCKS), used: Place::of(&raw const RECORD_BYTES) }, first)
}
