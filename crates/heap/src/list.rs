//! Doubly linked lists through free chunks: the links lie in what was user data, so bins need no other memory. The head of a
//! list is a link of the same form in the arena.
//!
//! Every step is checked before it is taken: an item's neighbours must lie in the arena and point back at it (safe unlink),
//! or the process stops. A write after free that hits a link is found here, before it moves the heap's hands.

use crate::arena;
use crate::die;

/// Forward and backward pointer; where an item's own links lie is its address.
#[repr(C)]
pub struct Link {
    pub fd: *mut Link,
    pub bk: *mut Link,
}

impl Link {
    pub const fn unset() -> Link {
        Link { fd: core::ptr::null_mut(), bk: core::ptr::null_mut() }
    }

    /// An empty list points at itself.
    pub fn clear(&mut self) {
        self.fd = self;
        self.bk = self;
    }

    pub fn is_empty(&self) -> bool {
        core::ptr::eq(self.fd, self)
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
        let fd = (*after).fd;
        if !span.holds(fd) || (*fd).bk != after {
            die::corrupt_list(after as usize, fd as usize);
        }
        *item = Link { fd, bk: after };
        (*after).fd = item;
        (*fd).bk = item;
    }
}

/// Takes `item` out of whatever list it is in. Returns the head where the list is empty now, else null.
///
/// # Safety
/// `item` is in a list; the arena's lock is held.
pub unsafe fn remove(span: &Span, item: *mut Link) -> *mut Link {
    // SAFETY: both neighbours are checked before they are followed or written.
    unsafe {
        let Link { fd, bk } = *item;
        if !span.holds(fd) || !span.holds(bk) || (*fd).bk != item || (*bk).fd != item {
            let sound = span.holds(fd) && (*fd).bk == item;
            die::corrupt_list(item as usize, if sound { bk } else { fd } as usize);
        }
        (*fd).bk = bk;
        (*bk).fd = fd;
        if fd == bk { fd } else { core::ptr::null_mut() }
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
        let fd = (*link).fd;
        if span.holds(fd) && (*fd).bk == link { Ok(fd) } else { Err(fd as usize) }
    }
}

/// The item before `link`, checked to point at it.
///
/// # Safety
/// As `insert`.
pub unsafe fn prev(span: &Span, link: *mut Link) -> *mut Link {
    // SAFETY: checked before it is followed.
    unsafe {
        let bk = (*link).bk;
        if !span.holds(bk) || (*bk).fd != link {
            die::corrupt_list(link as usize, bk as usize);
        }
        bk
    }
}
