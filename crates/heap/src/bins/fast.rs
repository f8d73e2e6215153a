//! Fast bins: one stack for each size up to `FAST_MAX`, last in, first out. Nothing is merged here; a chunk goes in and comes
//! out with two writes. A link is stored beside its own proof, and checked before it is followed.

use crate::chunk::{Chunk, SECRET, State};
use crate::die;
use crate::secure;
use crate::size::{ALIGN, FAST_MAX};
use crate::sync::atomic::Ordering::Relaxed;

pub const BINS: usize = FAST_MAX / ALIGN + 1;

#[repr(C)]
pub struct Fast {
    /// The newest chunk of each size (index: size over 16); 0 where there is none.
    pub heads: [usize; BINS],
    pub count: usize,
    pub bytes: usize,
}

fn proof(chunk: Chunk, next: usize) -> usize {
    heapglass_event::root::fast_proof(SECRET.load(Relaxed), chunk.user() as u64, next as u64) as usize
}

impl Fast {
    pub const fn new() -> Fast {
        Fast { heads: [0; BINS], count: 0, bytes: 0 }
    }

    /// # Safety
    /// The chunk is the caller's, `size` long, at most `FAST_MAX`; the arena's lock is held.
    pub unsafe fn put(&mut self, chunk: Chunk, size: usize) {
        let Some(head) = self.heads.get_mut(size / ALIGN) else { return };
        chunk.set_state(size, State::Fast);
        // SAFETY: the chunk is free and holds at least two words.
        unsafe {
            *chunk.word(0) = *head;
            *chunk.word(1) = proof(chunk, *head);
        }
        *head = chunk.address();
        self.count += 1;
        self.bytes += size;
    }

    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn take(&mut self, size: usize) -> Option<Chunk> {
        let head = self.heads.get_mut(size / ALIGN)?;
        if *head == 0 {
            return None;
        }
        let chunk = Chunk::at(*head);
        if !chunk.is(State::Fast) || chunk.size() != size {
            die::corrupt_header(chunk, "free, in a fast bin");
        }
        // SAFETY: the chunk is in our list; its link is proven before it becomes the head.
        unsafe { *head = Self::next(chunk) };
        secure::clear::words(chunk, 2);
        self.count -= 1;
        self.bytes -= size;
        Some(chunk)
    }

    /// The chunk below this one; 0 at the end.
    ///
    /// # Safety
    /// The chunk is in a fast bin; the arena's lock is held.
    pub unsafe fn next(chunk: Chunk) -> usize {
        // SAFETY: as the caller promises.
        match unsafe { Self::step(chunk) } {
            Some(next) => next,
            None => die::corrupt_list(chunk.user(), chunk.user()),
        }
    }

    /// As `next`; `None` where the link doesn't prove itself.
    ///
    /// # Safety
    /// As `next`.
    pub unsafe fn step(chunk: Chunk) -> Option<usize> {
        // SAFETY: as the caller promises.
        let (next, stored) = unsafe { (*chunk.word(0), *chunk.word(1)) };
        (stored == proof(chunk, next)).then_some(next)
    }
}

impl Default for Fast {
    fn default() -> Self {
        Self::new()
    }
}
