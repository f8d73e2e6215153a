//! Magazines: small arrays of free chunks' user pointers. A thread's cache pops and pushes at their end, and whole magazines
//! move between a cache, its arena's depot and other arenas' inboxes without a look at the chunks.
//!
//! Below the first slot always lies the sentinel, so popping from an empty magazine reads a pointer to a chunk that is in no
//! state: the test for empty is the proof of the header, which is made anyway.

use crate::cache::SENTINEL;
use crate::chunk::{Chunk, State};
use crate::die;
use crate::meta;
use crate::sync::atomic::{AtomicPtr, Ordering::*};
use crate::sync::inbox::Item;
use core::mem::offset_of;
use heapglass_event::root::MagazineAt;

/// Lengths that a magazine can have.
pub const STEPS: usize = 3;
/// A magazine's capacity in slots comes in three steps; with the four words in front each fills whole cache lines.
pub const CAPACITIES: [usize; STEPS] = if cfg!(feature = "small-world") { [4, 4, 12] } else { [4, 28, 124] };

#[repr(C)]
pub struct Magazine {
    /// The next one in a depot or an inbox.
    next: *mut Magazine,
    /// Filled slots, valid while the magazine is in no cache.
    pub count: u32,
    /// Index into `CAPACITIES`.
    step: u32,
    /// The class of its chunks, valid while the magazine is in no cache.
    pub class: u32,
    /// The bytes of its chunks, in units of 16; valid while the magazine is in no cache.
    pub units: u32,
    /// Always the sentinel.
    guard: *mut u8,
    slots: [usize; 0],
}

const _: () = assert!(core::mem::offset_of!(Magazine, slots) == core::mem::offset_of!(Magazine, guard) + 8);
const _: () = assert!(size_of::<Magazine>() == 32);

// SAFETY: `next` is the magazine's own.
unsafe impl Item for Magazine {
    unsafe fn next(item: *mut Magazine) -> *mut *mut Magazine {
        // SAFETY: only the address is computed.
        unsafe { &raw mut (*item).next }
    }
}

impl Magazine {
    /// The first slot.
    ///
    /// # Safety
    /// `magazine` is a magazine.
    #[inline]
    pub unsafe fn slots(magazine: *mut Magazine) -> *mut usize {
        // SAFETY: slots follow the record in the same piece of memory.
        unsafe { (&raw mut (*magazine).slots).cast() }
    }

    /// # Safety
    /// As `slots`.
    #[inline]
    pub unsafe fn capacity(magazine: *mut Magazine) -> usize {
        // SAFETY: `step` never changes.
        capacity_of(unsafe { (*magazine).step } as usize)
    }

    /// # Safety
    /// As `slots`.
    pub unsafe fn step(magazine: *mut Magazine) -> usize {
        // SAFETY: as above.
        unsafe { (*magazine).step as usize }
    }

    /// The chunks in it.
    ///
    /// # Safety
    /// The magazine is in no cache, and nobody else has it.
    pub unsafe fn users<'a>(magazine: *mut Magazine) -> &'a mut [usize] {
        // SAFETY: `count` slots are filled while the magazine is in no cache.
        unsafe { core::slice::from_raw_parts_mut(Self::slots(magazine), (*magazine).count as usize) }
    }
}

/// Proves a chunk that leaves a magazine.
pub fn proven(user: usize) -> Chunk {
    let chunk = Chunk::from_user(user);
    if !chunk.is(State::Cached) {
        die::corrupt_header(chunk, "free, in a cache");
    }
    chunk
}

/// Slots of a magazine of this step.
pub fn capacity_of(step: usize) -> usize {
    CAPACITIES.get(step).copied().unwrap_or(0)
}

/// Empty magazines by step, guarded by the records' lock.
static EMPTY: [AtomicPtr<Magazine>; STEPS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; STEPS];

/// An empty magazine; null where there is no memory.
pub fn take(step: usize) -> *mut Magazine {
    meta::locked(|| {
        let Some(list) = EMPTY.get(step) else { return core::ptr::null_mut() };
        let magazine = list.load(Relaxed);
        if !magazine.is_null() {
            // SAFETY: listed magazines are whole and nobody's.
            unsafe {
                list.store((*magazine).next, Relaxed);
                (*magazine).next = core::ptr::null_mut();
                (*magazine).count = 0;
            }
            return magazine;
        }
        let magazine: *mut Magazine = meta::take_locked(size_of::<Magazine>() + capacity_of(step) * 8).cast();
        if !magazine.is_null() {
            // SAFETY: fresh zeroed memory of the right size.
            unsafe {
                (*magazine).step = step as u32;
                (*magazine).guard = SENTINEL;
            }
        }
        magazine
    })
    .unwrap_or(core::ptr::null_mut())
}

/// Puts an empty magazine back.
///
/// # Safety
/// The magazine is the caller's, and from here on nobody's.
pub unsafe fn put(magazine: *mut Magazine) {
    meta::locked(|| {
        // SAFETY: as the caller promises.
        unsafe {
            if let Some(list) = EMPTY.get((*magazine).step as usize) {
                (*magazine).next = list.load(Relaxed);
                list.store(magazine, Release);
            }
        }
    });
}

/// For `root`.
pub const fn seen() -> MagazineAt {
    MagazineAt {
        next: offset_of!(Magazine, next),
        count: offset_of!(Magazine, count),
        class: offset_of!(Magazine, class),
        slots: offset_of!(Magazine, slots),
        most: CAPACITIES[STEPS - 1],
    }
}
