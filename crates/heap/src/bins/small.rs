//! Small bins: one list for each size below `SMALL_MAX`, oldest first, and a bitmap of those that aren't empty.

use super::{chunk_of, link_of};
use crate::arch;
use crate::chunk::{Chunk, State};
use crate::die;
use crate::list::{self, Link, Span};
use crate::size::{ALIGN, SMALL_MAX};

pub const BINS: usize = SMALL_MAX / ALIGN;
const _: () = assert!(BINS == 64);

#[repr(C)]
pub struct Small {
    /// Bit n: the list of size 16 n holds something.
    pub map: u64,
    pub heads: [Link; BINS],
}

impl Small {
    pub const fn unset() -> Small {
        Small { map: 0, heads: [const { Link::unset() }; BINS] }
    }

    pub fn clear(&mut self) {
        self.map = 0;
        self.heads.iter_mut().for_each(Link::clear);
    }

    /// # Safety
    /// The chunk is Free, below `SMALL_MAX`, and in no list; the arena's lock is held.
    pub unsafe fn put(&mut self, span: &Span, chunk: Chunk) {
        let index = chunk.size() / ALIGN;
        if let Some(head) = self.heads.get_mut(index) {
            // SAFETY: as the caller promises.
            unsafe { list::insert(span, head, link_of(chunk)) };
            self.map |= 1 << index;
        }
    }

    /// A list became empty when a chunk of this size left it: was it one of ours?
    pub fn note_empty(&mut self, emptied: *mut Link, size: usize) {
        let index = size / ALIGN;
        if self.heads.get_mut(index).is_some_and(|head| core::ptr::eq(head, emptied)) {
            self.map &= !(1 << index);
        }
    }

    /// The oldest chunk of this size.
    pub fn oldest(&mut self, size: usize) -> Option<Chunk> {
        if size >= SMALL_MAX || self.map & (1 << (size / ALIGN)) == 0 {
            return None;
        }
        self.oldest_at(size / ALIGN)
    }

    /// Chunks are often taken in a row: what taking the next one will touch is asked for: the header behind it and the item
    /// after it in the list.
    ///
    /// # Safety
    /// The arena's lock is held, and something was just taken from this size's list.
    pub unsafe fn look_ahead(&mut self, size: usize) {
        if let Some(head) = self.heads.get_mut(size / ALIGN) {
            // SAFETY: one of our heads, and the item there was proven and written as its neighbour left the list.
            unsafe {
                let next = list::bk(head);
                arch::prefetch((next as usize).wrapping_add(size - 8));
                arch::prefetch(list::bk(next) as usize);
            }
        }
    }

    /// The oldest chunk of the smallest size from `size` on.
    pub fn oldest_from(&mut self, size: usize) -> Option<Chunk> {
        if size >= SMALL_MAX {
            return None;
        }
        let rest = self.map & (u64::MAX << (size / ALIGN));
        if rest == 0 {
            return None;
        }
        self.oldest_at(rest.trailing_zeros() as usize)
    }

    fn oldest_at(&mut self, index: usize) -> Option<Chunk> {
        let head = self.heads.get_mut(index)?;
        if head.is_empty() {
            return None;
        }
        // The head is the arena's own memory; the chunk behind it is proven here and its links when it leaves.
        // SAFETY: one of our heads.
        let chunk = chunk_of(unsafe { list::bk(head) });
        if !chunk.is(State::Free) || chunk.size() != index * ALIGN {
            die::corrupt_header(chunk, "free, in a small bin");
        }
        Some(chunk)
    }
}
