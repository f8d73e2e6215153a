//! What the heap counts of itself, from its page of counters.

use crate::find::{Target, at};
use crate::memory::{bytes, place, u32_in, u64_in};
use crate::trouble::Result;
use heapglass_event::{COUNTERS_BYTES, Counters, MAGIC, VERSION};
use std::mem::offset_of;

/// A figure with its name.
pub type Figure = (&'static str, u64);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls of the program's, where they are counted: with `HEAPGLASS=stats:FILE`, or `heapglass run --stats`.
    pub operations: Option<[Figure; 5]>,
    pub system_calls: [Figure; 6],
    /// Bytes of pages inside heaps that went back to the kernel.
    pub released_bytes: u64,
    /// Times that a thread slept for a lock of the heap's.
    pub lock_waits: u64,
}

/// `None` where the target counts by another layout.
pub fn read(target: &Target) -> Result<Option<Counted>> {
    let memory = &*target.memory;
    if at!(target.layout, counters_version) != u64::from(VERSION) {
        return Ok(None);
    }
    let page = bytes(memory, place(memory, at!(target.layout, counters))?, COUNTERS_BYTES as u64)?;
    let figure = |offset: usize| u64_in(&page, offset);
    let is_counting = figure(offset_of!(Counters, magic)) == MAGIC
        && u32_in(&page, offset_of!(Counters, version)) == VERSION
        && target.pid.is_none_or(|pid| u32_in(&page, offset_of!(Counters, pid)) == pid);
    let operations = [
        ("malloc", figure(offset_of!(Counters, malloc_calls))),
        ("calloc", figure(offset_of!(Counters, calloc_calls))),
        ("realloc", figure(offset_of!(Counters, realloc_calls))),
        ("aligned", figure(offset_of!(Counters, aligned_calls))),
        ("free", figure(offset_of!(Counters, free_calls))),
    ];
    Ok(Some(Counted {
        operations: is_counting.then_some(operations),
        system_calls: [
            ("brk", figure(offset_of!(Counters, brk_calls))),
            ("mmap", figure(offset_of!(Counters, mmap_calls))),
            ("munmap", figure(offset_of!(Counters, munmap_calls))),
            ("mremap", figure(offset_of!(Counters, mremap_calls))),
            ("madvise", figure(offset_of!(Counters, madvise_calls))),
            ("mprotect", figure(offset_of!(Counters, mprotect_calls))),
        ],
        released_bytes: figure(offset_of!(Counters, released_bytes)),
        lock_waits: figure(offset_of!(Counters, lock_waits)),
    }))
}
