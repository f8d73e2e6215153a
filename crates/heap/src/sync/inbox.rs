//! The way home for chunks that another arena's threads freed: a stack that anyone pushes to without a lock and that the
//! owner empties in one swap. Nobody pops single items, so the classic ABA fault can't arise.

use super::atomic::{AtomicPtr, Ordering::*};
use core::ptr;

/// What can lie in an inbox: it has room for the link to the one below.
///
/// # Safety
/// `next` is a cell of the item itself, used by nobody else while the item is in an inbox.
pub unsafe trait Item {
    ///
    /// # Safety
    /// `item` is one.
    unsafe fn next(item: *mut Self) -> *mut *mut Self;
}

pub struct Inbox<T: Item>(AtomicPtr<T>);

#[cfg(not(loom))]
impl<T: Item> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Item> Inbox<T> {
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Inbox(AtomicPtr::new(ptr::null_mut()))
    }

    #[cfg(loom)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Inbox(AtomicPtr::new(ptr::null_mut()))
    }

    /// Leaves an item, without waiting for anyone.
    ///
    /// # Safety
    /// The item is the caller's, and from here on the inbox's.
    pub unsafe fn push(&self, item: *mut T) {
        let mut top = self.0.load(Relaxed);
        loop {
            // SAFETY: the item is ours until the exchange below succeeds.
            unsafe { *T::next(item) = top };
            match self.0.compare_exchange_weak(top, item, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all of it: the newest item, with the others behind it by their links; null where it is empty.
    pub fn take_all(&self) -> *mut T {
        if self.0.load(Relaxed).is_null() { ptr::null_mut() } else { self.0.swap(ptr::null_mut(), Acquire) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }
}
