//! C's malloc family, behind owners that free when they are dropped, so that the workloads themselves are safe code and
//! leave nothing behind. The functions are C's by name: whatever allocator is preloaded gets the calls.
//!
//! # Safety
//!
//! Every owner here holds a pointer that came from malloc, calloc or realloc, was never given to anybody else, and is freed
//! exactly once, by `drop`. `seen` keeps the compiler, which knows malloc, from removing pairs.

use std::arch::asm;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

// SAFETY: the C library's own declarations; asking for memory needs nothing of the caller.
unsafe extern "C" {
    safe fn malloc(size: usize) -> *mut u8;
    safe fn calloc(count: usize, size: usize) -> *mut u8;
    fn realloc(p: *mut u8, size: usize) -> *mut u8;
    fn free(p: *mut u8);
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
}

/// Processor time that this process has used.
pub fn cpu_time() -> Duration {
    const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
    let mut time = [0; 2];
    // SAFETY: a timespec is two words on 64-bit Linux. The call can't fail for this clock.
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time[0] as u64, time[1] as u32)
}

fn held(p: *mut u8) -> NonNull<u8> {
    #[cfg(test)]
    live::COUNT.fetch_add(1, Ordering::Relaxed);
    there(p)
}

fn there(p: *mut u8) -> NonNull<u8> {
    NonNull::new(seen(p)).unwrap_or_else(|| {
        eprintln!("heapglass-workloads: no memory");
        std::process::exit(1)
    })
}

/// The same pointer, but the compiler must believe that somebody has seen it. Stays in its register, where
/// `std::hint::black_box` would go through memory, which takes as long as half of a fast malloc.
#[inline(always)]
fn seen(mut p: *mut u8) -> *mut u8 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) p, options(nostack, preserves_flags)) };
    p
}

/// # Safety
///
/// `p` came from `held`, and its owner goes away with this call.
unsafe fn let_go(p: NonNull<u8>) {
    #[cfg(test)]
    live::COUNT.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { free(p.as_ptr()) };
}

/// malloc and free of one size with nothing between.
#[inline]
pub fn pair(size: usize) -> u64 {
    let p = held(malloc(size));
    // SAFETY: it was obtained in the line above.
    unsafe { let_go(p) };
    1
}

/// Some bytes, of which the first word holds their number. One word wide, as in the tables of programs in C.
pub struct Block(NonNull<u8>);

// SAFETY: it owns its bytes alone.
unsafe impl Send for Block {}

impl Block {
    const WORD: usize = size_of::<usize>();

    /// The first word and the last byte are written.
    #[inline]
    pub fn new(size: usize) -> Block {
        let size = size.max(Block::WORD);
        Block::fresh(malloc(size), size)
    }

    /// As `new`, with the time right before malloc and right after.
    #[inline]
    pub fn new_between<T>(size: usize, now: impl Fn() -> T) -> (Block, [T; 2]) {
        let size = size.max(Block::WORD);
        let before = now();
        let p = malloc(size);
        let after = now();
        (Block::fresh(p, size), [before, after])
    }

    /// Frees, with the time right before and right after.
    #[inline]
    pub fn free_between<T>(self, now: impl Fn() -> T) -> [T; 2] {
        let before = now();
        drop(self);
        [before, now()]
    }

    #[inline]
    fn fresh(p: *mut u8, size: usize) -> Block {
        let p = held(p);
        // SAFETY: there are `size` bytes, at least a word, aligned to it.
        unsafe {
            p.as_ptr().add(size - 1).write(0);
            p.cast::<usize>().write(size);
        }
        Block(p)
    }

    #[inline]
    pub fn size(&self) -> usize {
        // SAFETY: `new` and `resize` wrote it, nothing overwrites it.
        unsafe { self.0.cast::<usize>().read() }
    }

    /// Writes what `new` writes, once more.
    #[inline]
    pub fn rewrite(&mut self) {
        let size = self.size();
        // SAFETY: as in `new`; volatile, since nothing changes by it.
        unsafe {
            self.0.add(size - 1).write_volatile(0);
            self.0.cast::<usize>().write_volatile(size);
        }
    }

    /// Writes behind the first word, one byte each `stride`.
    pub fn write(&mut self, stride: usize, value: u8) {
        for at in (Block::WORD..self.size()).step_by(stride) {
            // SAFETY: below the size, above the word; volatile, since nobody may read it.
            unsafe { self.0.add(at).write_volatile(value) };
        }
    }

    /// By realloc.
    pub fn resize(&mut self, size: usize) {
        let size = size.max(Block::WORD);
        // SAFETY: the old pointer is ours; a failure ends the process before anybody uses it.
        self.0 = there(unsafe { realloc(self.0.as_ptr(), size) });
        // SAFETY: at least a word, as in `new`.
        unsafe { self.0.cast::<usize>().write(size) };
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is its only owner.
        unsafe { let_go(self.0) };
    }
}

/// Leaves blocks to the end of the process, which takes them back faster. A test has no such end.
pub fn leave(blocks: Vec<Block>) {
    if !cfg!(test) {
        std::mem::forget(blocks);
    }
}

/// A place through which threads hand blocks to each other.
pub struct Exchange(AtomicPtr<u8>);

impl Exchange {
    pub const fn new() -> Exchange {
        Exchange(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts a block there (or nothing) and takes what was.
    pub fn swap(&self, block: Option<Block>) -> Option<Block> {
        let new = block.map_or(ptr::null_mut(), |block| {
            let p = block.0.as_ptr();
            std::mem::forget(block);
            p
        });
        NonNull::new(self.0.swap(new, Ordering::AcqRel)).map(Block)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        drop(self.swap(None));
    }
}

/// `Box`, by malloc.
pub struct CBox<T>(NonNull<T>);

// SAFETY: it owns its value alone.
unsafe impl<T: Send> Send for CBox<T> {}

impl<T> CBox<T> {
    #[inline]
    pub fn new(value: T) -> CBox<T> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 8) };
        let p = held(malloc(size_of::<T>())).cast::<T>();
        // SAFETY: it is large and aligned enough.
        unsafe { p.write(value) };
        CBox(p)
    }
}

impl<T> Deref for CBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a value there.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for CBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this is its only owner.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for CBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a value is there, and nobody sees it again.
        unsafe {
            self.0.drop_in_place();
            let_go(self.0.cast());
        }
    }
}

/// `Vec` of plain values, by malloc and realloc; empty ones have no memory.
pub struct CVec<T: Copy> {
    p: Option<NonNull<T>>,
    len: usize,
    capacity: usize,
}

// SAFETY: it owns its values alone.
unsafe impl<T: Copy + Send> Send for CVec<T> {}

impl<T: Copy> CVec<T> {
    pub const fn new() -> CVec<T> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 8) };
        CVec { p: None, len: 0, capacity: 0 }
    }

    #[inline]
    pub fn with_capacity(capacity: usize) -> CVec<T> {
        let p = (capacity > 0).then(|| held(malloc(capacity * size_of::<T>())).cast());
        CVec { p, len: 0, capacity }
    }

    #[inline]
    pub fn from(values: &[T]) -> CVec<T> {
        let mut made = CVec::with_capacity(values.len());
        values.iter().for_each(|value| made.push(*value));
        made
    }

    #[inline]
    pub fn push(&mut self, value: T) {
        if self.len == self.capacity {
            self.grow();
        }
        if let Some(p) = self.p {
            // SAFETY: the capacity is larger than the length.
            unsafe { p.add(self.len).write(value) };
            self.len += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let capacity = (self.capacity * 2).max(4);
        let bytes = capacity * size_of::<T>();
        let p = match self.p {
            None => held(malloc(bytes)),
            // SAFETY: the old pointer is ours; a failure ends the process before anybody uses it.
            Some(old) => there(unsafe { realloc(old.cast().as_ptr(), bytes) }),
        };
        (self.p, self.capacity) = (Some(p.cast()), capacity);
    }

    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl CVec<u32> {
    /// By calloc.
    #[inline]
    pub fn zeroed(len: usize) -> CVec<u32> {
        let p = (len > 0).then(|| held(calloc(len, size_of::<u32>())).cast());
        CVec { p, len, capacity: len }
    }
}

impl<T: Copy> Deref for CVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` values were written there.
        self.p.map_or(&[], |p| unsafe { std::slice::from_raw_parts(p.as_ptr(), self.len) })
    }
}

impl<T: Copy> DerefMut for CVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and this is their only owner.
        self.p.map_or(&mut [], |p| unsafe { std::slice::from_raw_parts_mut(p.as_ptr(), self.len) })
    }
}

impl<T: Copy> Drop for CVec<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(p) = self.p {
            // SAFETY: this is its only owner, and plain values need no drop.
            unsafe { let_go(p.cast()) };
        }
    }
}

/// How many owners hold memory, so that a test sees that a workload frees all.
#[cfg(test)]
pub mod live {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicI64;

    pub static COUNT: AtomicI64 = AtomicI64::new(0);
    /// One test at a time may look at the count.
    pub static ONE: Mutex<()> = Mutex::new(());
}
