//! Doubly linked lists through free chunks: the links lie in what was user data, so bins need no other memory. The head of a
//! list is a link of the same form in the arena.
//!
//! Every step is checked before it is taken: an item's neighbours must lie in the arena and point back at it (safe unlink),
//! or the process stops. A write after free that hits a link is found here, before it moves the heap's hands.

use crate::arena;
use crate::die;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use heapglass_event::root::{Place, link_mask};

/// Forward and backward pointer; where an item's own links lie is its address. They are read and written by the functions
/// below alone: in secure mode each is kept under a mask of its place, which nobody knows who doesn't know the key.
#[repr(C)]
pub struct Link {
    fd: usize,
    bk: usize,
}

/// What links are kept under; 0 for nothing.
static KEY: AtomicUsize = AtomicUsize::new(0);

/// Sets the key. Before the first list.
pub fn set_key(key: u64) {
    KEY.store(key as usize, Relaxed);
}

/// For `root`.
pub const fn key_place() -> Place {
    Place::of(&raw const KEY)
}

/// The mask of a place.
#[inline]
fn mask(place: *const usize) -> usize {
    link_mask(KEY.load(Relaxed) as u64, place as u64) as usize
}

/// The item behind, not checked.
///
/// # Safety
/// The link may be read.
#[inline]
pub unsafe fn fd(link: *const Link) -> *mut Link {
    // SAFETY: as the caller promises.
    unsafe { ((*link).fd ^ mask(&raw const (*link).fd)) as *mut Link }
}

/// The item before, not checked.
///
/// # Safety
/// As `fd`.
#[inline]
pub unsafe fn bk(link: *const Link) -> *mut Link {
    // SAFETY: as the caller promises.
    unsafe { ((*link).bk ^ mask(&raw const (*link).bk)) as *mut Link }
}

#[inline]
unsafe fn set_fd(link: *mut Link, fd: *mut Link) {
    // SAFETY: the caller may write the link.
    unsafe { (*link).fd = fd as usize ^ mask(&raw const (*link).fd) };
}

#[inline]
unsafe fn set_bk(link: *mut Link, bk: *mut Link) {
    // SAFETY: as above.
    unsafe { (*link).bk = bk as usize ^ mask(&raw const (*link).bk) };
}

impl Link {
    pub const fn unset() -> Link {
        Link { fd: 0, bk: 0 }
    }

    /// An empty list points at itself.
    pub fn clear(&mut self) {
        let head: *mut Link = self;
        // SAFETY: our own.
        unsafe {
            set_fd(head, head);
            set_bk(head, head);
        }
    }

    pub fn is_empty(&self) -> bool {
        // SAFETY: our own.
        core::ptr::eq(unsafe { fd(self) }, self)
    }
}

/// Where links of one arena may lie: `lo..hi` spans its heaps, and the arena itself holds the heads.
#[derive(Clone, Copy)]
pub struct Span {
    pub lo: usize,
    pub hi: usize,
    pub heads_lo: usize,
    pub heads_hi: usize,
}

impl Span {
    /// Can a link lie there? Asked before a pointer found in free memory is followed. Between heaps, and behind the part of
    /// one that is in use, there may be no memory.
    #[inline]
    fn holds(&self, link: *mut Link) -> bool {
        let at = link as usize;
        let is_in_heap = || self.lo <= at && at < self.hi && arena::home_of(at).is_some();
        at.is_multiple_of(8) && (self.heads_lo <= at && at < self.heads_hi || is_in_heap())
    }
}

/// Puts `item` behind `after`.
///
/// # Safety
/// `after` is a list's head or a checked item of it, `item` lies in a free chunk; the arena's lock is held.
pub unsafe fn insert(span: &Span, after: *mut Link, item: *mut Link) {
    // SAFETY: as the caller promises; the successor is checked before it is written.
    unsafe {
        let next = fd(after);
        if !span.holds(next) || bk(next) != after {
            die::corrupt_list(after as usize, next as usize);
        }
        set_fd(item, next);
        set_bk(item, after);
        set_fd(after, item);
        set_bk(next, item);
    }
}

/// Takes `item` out of whatever list it is in. Returns the head where the list is empty now, else null.
///
/// # Safety
/// `item` is in a list; the arena's lock is held.
pub unsafe fn remove(span: &Span, item: *mut Link) -> *mut Link {
    // SAFETY: both neighbours are checked before they are followed or written.
    unsafe {
        let (next, prev) = (fd(item), bk(item));
        if !span.holds(next) || !span.holds(prev) || bk(next) != item || fd(prev) != item {
            let sound = span.holds(next) && bk(next) == item;
            die::corrupt_list(item as usize, if sound { prev } else { next } as usize);
        }
        set_bk(next, prev);
        set_fd(prev, next);
        if next == prev { next } else { core::ptr::null_mut() }
    }
}

/// The item behind `link`, checked to point back at it.
///
/// # Safety
/// As `insert`.
pub unsafe fn next(span: &Span, link: *mut Link) -> *mut Link {
    // SAFETY: as the caller promises.
    match unsafe { step(span, link) } {
        Ok(fd) => fd,
        Err(other) => die::corrupt_list(link as usize, other),
    }
}

/// As `next`, for those who want to hear of a broken link: the address that it leads to.
///
/// # Safety
/// As `insert`.
pub unsafe fn step(span: &Span, link: *mut Link) -> Result<*mut Link, usize> {
    // SAFETY: checked before it is followed.
    unsafe {
        let next = fd(link);
        if span.holds(next) && bk(next) == link { Ok(next) } else { Err(next as usize) }
    }
}

/// The item before `link`, checked to point at it.
///
/// # Safety
/// As `insert`.
pub unsafe fn prev(span: &Span, link: *mut Link) -> *mut Link {
    // SAFETY: checked before it is followed.
    unsafe {
        let prev = bk(link);
        if !span.holds(prev) || fd(prev) != link {
            die::corrupt_list(link as usize, prev as usize);
        }
        prev
    }
}
