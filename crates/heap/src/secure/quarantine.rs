//! The quarantine: freed chunks wait in it before anybody gets them again. Each thread has one of its own; each chunk that
//! comes in puts out another at random, so nobody can tell when a chunk comes back. They count as in use for their neighbours,
//! and their headers say where they are, so a second free stops at once.
//!
//! Bytes are bounded over all threads, by `quarantine:BYTES`. A thread may have its share: as much as each other would get if
//! there were one thread more. It comes down to that with its next free, not before.

use super::{CLEAR, clear, has};
use crate::arch;
use crate::chunk::{Chunk, State};
use crate::die;
use crate::free;
use crate::meta;
use crate::size::OVERHEAD;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::*, fence};
use crate::thread::Thread;
use core::ptr;

/// What all threads' chunks may take together, unless said otherwise.
const BYTES: usize = 4 << 20;
/// Chunks of one thread.
const CHUNKS: usize = 1024;
/// Most that may be asked for.
const CHUNKS_MAX: usize = 1 << 20;

static BYTES_MAX: AtomicUsize = AtomicUsize::new(BYTES);
static CHUNKS_EACH: AtomicUsize = AtomicUsize::new(CHUNKS);
/// Bytes that wait, over all threads.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// Threads that have slots.
static HOLDERS: AtomicU32 = AtomicU32::new(0);
/// Slots of threads that ended, each block's first leading to the next. Guarded by the records' lock.
static UNUSED: AtomicPtr<usize> = AtomicPtr::new(ptr::null_mut());

/// One thread's.
pub struct Waiting {
    /// `CHUNKS_EACH` user pointers, of which `count` are filled; null before the first.
    slots: *mut usize,
    count: usize,
    bytes: usize,
    /// The one that is put out next, chosen beforehand, so that its header is there by then.
    next: usize,
}

pub fn set_bytes(bytes: usize) {
    BYTES_MAX.store(bytes, Relaxed);
}

/// Sets how many chunks wait in each thread; `false` where that's out of range.
pub fn set_chunks(count: usize) -> bool {
    let fits = (1..=CHUNKS_MAX).contains(&count);
    if fits {
        CHUNKS_EACH.store(count, Relaxed);
    }
    fits
}

/// Bytes that wait, over all threads, and the most that may.
pub fn held() -> (usize, usize) {
    (HELD.load(Relaxed), BYTES_MAX.load(Relaxed))
}

impl Waiting {
    pub const fn new() -> Waiting {
        Waiting { slots: ptr::null_mut(), count: 0, bytes: 0, next: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes sure that there are slots.
    fn begin(&mut self) -> bool {
        if !self.slots.is_null() {
            return true;
        }
        let slots = meta::locked(|| {
            let unused = UNUSED.load(Relaxed);
            if unused.is_null() {
                return meta::take_locked(CHUNKS_EACH.load(Relaxed) * size_of::<usize>()).cast();
            }
            // SAFETY: nobody's slots; the first leads to the next block.
            UNUSED.store(unsafe { *unused } as *mut usize, Relaxed);
            unused
        });
        self.slots = slots.unwrap_or(ptr::null_mut());
        if !self.slots.is_null() {
            HOLDERS.fetch_add(1, Relaxed);
        }
        !self.slots.is_null()
    }

    fn add(&mut self, user: usize, size: usize) {
        // SAFETY: there are more slots than are filled.
        unsafe { *self.slots.add(self.count) = user };
        self.count += 1;
        self.bytes += size;
        HELD.fetch_add(size, Relaxed);
    }

    /// Asks for the header of the one that is put out next.
    fn prefetch(&self) {
        if self.next < self.count {
            // SAFETY: a filled slot.
            arch::prefetch(unsafe { *self.slots.add(self.next) }.wrapping_sub(8));
        }
    }

    /// Takes out the chunk at an index below `count`, and proves it.
    fn take(&mut self, index: usize) -> (Chunk, usize) {
        self.count -= 1;
        // SAFETY: both slots are filled.
        let user = unsafe {
            let user = *self.slots.add(index);
            *self.slots.add(index) = *self.slots.add(self.count);
            user
        };
        let chunk = Chunk::from_user(user);
        if !chunk.is(State::Quarantined) {
            die::corrupt_header(chunk, "free, in quarantine");
        }
        let size = chunk.size();
        if has(CLEAR) {
            clear::prove(user, 0, size - OVERHEAD, "taken out of quarantine");
        }
        self.bytes -= size;
        HELD.fetch_sub(size, Relaxed);
        (chunk, size)
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes that one thread may have.
fn share() -> usize {
    BYTES_MAX.load(Relaxed).checked_div(HOLDERS.load(Relaxed) as usize + 1).unwrap_or(0)
}

/// A freed chunk, proven and cleared, is to wait; `false` where it is too long for that, or there is no memory for slots.
pub fn put(thread: &mut Thread, chunk: Chunk, size: usize) -> bool {
    if !thread.secure.waiting.begin() || size > share() / 2 {
        return false;
    }
    // A checker that finds the state also finds the area clear.
    fence(Release);
    chunk.set_state(size, State::Quarantined);
    if thread.secure.waiting.count >= CHUNKS_EACH.load(Relaxed) {
        put_out(thread);
    }
    thread.secure.waiting.add(chunk.user(), size);
    while thread.secure.waiting.count > 0
        && (thread.secure.waiting.bytes > share() || HELD.load(Relaxed) > BYTES_MAX.load(Relaxed))
    {
        put_out(thread);
    }
    true
}

/// Any chunk that waits goes where it belongs.
fn put_out(thread: &mut Thread) {
    let waiting = &mut thread.secure.waiting;
    let chosen = if waiting.next < waiting.count { waiting.next } else { waiting.count - 1 };
    let (chunk, size) = waiting.take(chosen);
    waiting.next = thread.secure.random.below(waiting.count);
    waiting.prefetch();
    free::put_away_chunk(Some(thread), chunk, size);
}

/// All of a thread's chunks go where they belong.
pub fn flush(thread: &mut Thread) {
    while thread.secure.waiting.count > 0 {
        put_out(thread);
    }
}

/// A thread ends: its chunks go where they belong, its slots to the next thread.
pub fn leave(thread: &mut Thread) {
    flush(thread);
    let slots = core::mem::replace(&mut thread.secure.waiting.slots, ptr::null_mut());
    if slots.is_null() {
        return;
    }
    HOLDERS.fetch_sub(1, Relaxed);
    meta::locked(|| {
        // SAFETY: nobody's from here on.
        unsafe { *slots = UNUSED.load(Relaxed) as usize };
        UNUSED.store(slots, Release);
    });
}

/// In a forked child, what the other threads had is nobody's.
pub fn after_fork(own: usize) {
    HELD.store(own, Relaxed);
    HOLDERS.store(u32::from(own > 0), Relaxed);
}
