//! What the allocator says of itself, laid out as plain memory that both sides of a process boundary read.
//!
//! `Counters` is the page that a running program fills when it was started with `HEAPGLASS=stats:FILE`: the allocator maps
//! FILE shared and counts into it, so the figures outlive the program however it ends. Every field is its own relaxed
//! atomic; a reader sees each figure whole, but not all of them at one instant.
//!
//! `record` says what the allocator tells of each call, and `ring` where a reader finds it; `root` says where in the process the
//! heap itself is to be found.
#![cfg_attr(not(loom), no_std)]

pub mod record;
pub mod ring;
pub mod root;

use core::sync::atomic::{AtomicU32, AtomicU64};

/// First word of the page: "HGCOUNT\0" read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HGCOUNT\0");
/// Raised whenever a field changes its meaning or its place.
pub const VERSION: u32 = 4;

/// Figures of one process since its start. Bytes are bytes of chunks (the request, its rounding and its header); mapped
/// chunks count with the whole length of their mapping.
#[repr(C)]
pub struct Counters {
    /// `MAGIC` once the allocator has taken the page; zero before.
    pub magic: AtomicU64,
    pub version: AtomicU32,
    /// The process that counts here. The first to take the page owns it; others count privately.
    pub pid: AtomicU32,

    pub malloc_calls: AtomicU64,
    pub calloc_calls: AtomicU64,
    pub realloc_calls: AtomicU64,
    /// memalign, aligned_alloc, posix_memalign, valloc, pvalloc.
    pub aligned_calls: AtomicU64,
    pub free_calls: AtomicU64,

    pub in_use_bytes: AtomicU64,
    pub in_use_chunks: AtomicU64,
    pub peak_bytes: AtomicU64,

    /// Arenas in existence, the main one included.
    pub arenas: AtomicU64,
    /// Bytes of heap obtained from the kernel (break and mapped heaps), now and at most.
    pub heap_bytes: AtomicU64,
    pub heap_peak_bytes: AtomicU64,
    /// Bytes in mapped chunks, now and at most.
    pub mapped_bytes: AtomicU64,
    pub mapped_peak_bytes: AtomicU64,

    pub brk_calls: AtomicU64,
    pub mmap_calls: AtomicU64,
    pub munmap_calls: AtomicU64,
    pub mremap_calls: AtomicU64,
    pub madvise_calls: AtomicU64,
    pub mprotect_calls: AtomicU64,

    /// Bytes of free pages inside heaps that went back to the kernel, in all.
    pub released_bytes: AtomicU64,
    /// Allocations that were guarded samples.
    pub guarded: AtomicU64,
    /// Times that a thread slept for a lock of the heap's.
    pub lock_waits: AtomicU64,
}

/// Length of the page in bytes; a file given to `stats:` is at least this long.
pub const COUNTERS_BYTES: usize = core::mem::size_of::<Counters>();
const _: () = assert!(COUNTERS_BYTES <= 4096);

impl Counters {
    pub const fn new() -> Counters {
        Counters {
            magic: AtomicU64::new(0),
            version: AtomicU32::new(0),
            pid: AtomicU32::new(0),
            malloc_calls: AtomicU64::new(0),
            calloc_calls: AtomicU64::new(0),
            realloc_calls: AtomicU64::new(0),
            aligned_calls: AtomicU64::new(0),
            free_calls: AtomicU64::new(0),
            in_use_bytes: AtomicU64::new(0),
            in_use_chunks: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            arenas: AtomicU64::new(0),
            heap_bytes: AtomicU64::new(0),
            heap_peak_bytes: AtomicU64::new(0),
            mapped_bytes: AtomicU64::new(0),
            mapped_peak_bytes: AtomicU64::new(0),
            brk_calls: AtomicU64::new(0),
            mmap_calls: AtomicU64::new(0),
            munmap_calls: AtomicU64::new(0),
            mremap_calls: AtomicU64::new(0),
            madvise_calls: AtomicU64::new(0),
            mprotect_calls: AtomicU64::new(0),
            released_bytes: AtomicU64::new(0),
            guarded: AtomicU64::new(0),
            lock_waits: AtomicU64::new(0),
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}
