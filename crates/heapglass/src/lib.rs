//! Heapglass in a Rust program:
//!
//! ```
//! #[global_allocator]
//! static A: heapglass::Heapglass = heapglass::Heapglass;
//!
//! let numbers: Vec<u64> = (0..1000).collect();
//! assert_eq!(numbers.len(), 1000);
//! assert!(heapglass::stats().in_use_bytes >= 8000);
//! assert_eq!(heapglass::check(), 0);
//! ```
//!
//! `usage` tells what a piece of the program asked of it, for tests; with the feature `profile`, the module of that name tells who holds
//! the memory, by call stack.
//!
//! The same heap as in `libheapglass.so`, with nothing of C built for it. The settings come from the environment variable
//! `HEAPGLASS`, read at the first allocation. The calls beside the allocator are safe; each looks at every arena under its
//! lock, one after the other.
#![no_std]
#![warn(missing_docs)]

#[cfg(feature = "profile")]
pub mod profile;
mod usage;

use core::alloc::{GlobalAlloc, Layout};
use heapglass_heap::{
    aligned, check as heap_check, free, malloc, realloc, size, stats as heap_stats, thread, trim as heap_trim,
};

pub use usage::{Usage, usage};

/// The allocator. It has no state of its own: all values of it are the one heap of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heapglass;

// SAFETY: malloc returns chunks that nobody else has, aligned to 16, and the aligned form for more; both are null where there
// is no memory; neither unwinds.
unsafe impl GlobalAlloc for Heapglass {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= size::ALIGN {
            malloc::malloc(layout.size())
        } else {
            aligned::allocate(layout.align(), layout.size())
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= size::ALIGN {
            return malloc::calloc(1, layout.size());
        }
        let user = aligned::allocate(layout.align(), layout.size());
        if !user.is_null() {
            // SAFETY: the chunk holds the layout's size.
            unsafe { user.write_bytes(0, layout.size()) };
        }
        user
    }

    #[inline]
    unsafe fn dealloc(&self, user: *mut u8, _: Layout) {
        // SAFETY: as `GlobalAlloc` promises.
        unsafe { free::free(user) }
    }

    #[inline]
    unsafe fn realloc(&self, user: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= size::ALIGN && new_size != 0 {
            // SAFETY: as `GlobalAlloc` promises.
            return unsafe { realloc::realloc(user, new_size) };
        }
        // SAFETY: as `GlobalAlloc` promises. In place, the address and so its alignment stay.
        unsafe {
            if new_size != 0 && realloc::in_place(user, new_size) {
                return user;
            }
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                user.copy_to_nonoverlapping(new, layout.size().min(new_size));
                self.dealloc(user, layout);
            }
            new
        }
    }
}

/// Figures of the heap, in bytes of chunks: each request with its rounding and its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// In use by the program or kept in a thread's cache, mapped chunks included.
    pub in_use_bytes: usize,
    /// Free, in bins, depots and tops.
    pub free_bytes: usize,
    /// Heaps' memory obtained from the kernel, mapped chunks not included.
    pub heap_bytes: usize,
    /// Mapped chunks.
    pub mapped_chunks: usize,
    /// The bytes of their mappings.
    pub mapped_bytes: usize,
    /// Arenas in existence.
    pub arenas: usize,
}

/// The figures now.
pub fn stats() -> Stats {
    thread::ensure_set_up();
    let all = heap_stats::all();
    Stats {
        in_use_bytes: all.in_use() + all.mapped_bytes,
        free_bytes: all.fast_bytes + all.free_bytes + all.top,
        heap_bytes: all.system,
        mapped_chunks: all.mapped_chunks,
        mapped_bytes: all.mapped_bytes,
        arenas: all.arenas,
    }
}

/// Gives as much memory back to the kernel as can be had, leaving `pad` bytes of each arena's top. The calling thread's cache
/// is emptied, other threads' caches aren't. `true` where memory went.
pub fn trim(pad: usize) -> bool {
    thread::ensure_set_up();
    heap_trim::trim(pad)
}

/// Walks and proves every heap: the number of faults found, 0 where all is sound. Faults are told on standard error.
pub fn check() -> usize {
    heap_check::check(false)
}

/// Bytes that may be used at a pointer that this allocator returned, at least what was asked for.
///
/// # Safety
/// `user` is a live pointer of this allocator.
pub unsafe fn usable_size(user: *const u8) -> usize {
    free::usable("usable_size", user.cast_mut())
}

/// Frees that were parked at the program's end are put away, so that their faults are found.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_end() {
    thread::at_process_end();
}
