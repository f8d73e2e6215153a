//! The bins: where an arena keeps its free chunks.
//!
//! | bin | sizes | order | neighbours merged |
//! |---|---|---|---|
//! | fast | each multiple of 16 from 32 to 128 | last in, first out | no |
//! | unsorted | any, freed lately | newest first | yes |
//! | small | each multiple of 16 below 1,024 | oldest first | yes |
//! | large | 16 steps to a doubling | by size | yes |
//!
//! Fast chunks count as in use for their neighbours. All others are in state Free, carry their size at their end and have
//! no free neighbour (except where the two together would be longer than a header can say).

pub mod fast;
pub mod large;
pub mod pages;
pub mod small;

use crate::chunk::{Chunk, State};
use crate::die;
use crate::list::{self, Link, Span};
use crate::probe::{self, Kind, Outcome};
use crate::secure;
use crate::size::SMALL_MAX;
use large::Large;
use pages::{Pages, Past};
use small::Small;

/// The bins of one arena but the fast ones.
#[repr(C)]
pub struct Bins {
    pub unsorted: Link,
    pub small: Small,
    pub large: Large,
    /// The whole pages inside the chunks of these three.
    pub pages: Pages,
    /// Chunks and bytes in these three.
    pub count: usize,
    pub bytes: usize,
}

/// Steps of one call through the unsorted bin, at most.
pub const UNSORTED_STEPS: usize = 512;

/// The link of a chunk in a bin.
pub fn link_of(chunk: Chunk) -> *mut Link {
    chunk.user() as *mut Link
}

/// The chunk of a link.
pub fn chunk_of(link: *mut Link) -> Chunk {
    Chunk::from_user(link as usize)
}

/// The chunk of a link found in a bin, its header proven.
fn proven(link: *mut Link) -> Chunk {
    let chunk = chunk_of(link);
    if !chunk.is(State::Free) {
        die::corrupt_header(chunk, "free, in a bin");
    }
    chunk
}

impl Bins {
    pub const fn unset() -> Bins {
        Bins {
            unsorted: Link::unset(),
            small: Small::unset(),
            large: Large::unset(),
            pages: Pages::unset(),
            count: 0,
            bytes: 0,
        }
    }

    /// Makes all lists empty. Heads point at themselves, so it is done where they stay.
    pub fn clear(&mut self) {
        self.unsorted.clear();
        self.small.clear();
        self.large.clear();
        self.pages.clear();
        (self.count, self.bytes) = (0, 0);
    }

    /// Puts a free chunk, whose header and end are written, into the unsorted bin.
    ///
    /// # Safety
    /// The chunk is in no list; the arena's lock is held.
    pub unsafe fn put(&mut self, span: &Span, chunk: Chunk, past: Past) {
        // SAFETY: as the caller promises.
        unsafe {
            large::mark_unsorted(chunk);
            list::insert(span, &mut self.unsorted, link_of(chunk));
            self.pages.put(span, chunk, past);
        }
        self.count += 1;
        self.bytes += chunk.size();
    }

    /// Puts a free chunk into its own bin at once.
    ///
    /// # Safety
    /// As `put`.
    pub unsafe fn put_sorted(&mut self, span: &Span, chunk: Chunk, past: Past) {
        // SAFETY: as the caller promises.
        unsafe {
            self.pages.put(span, chunk, past);
            if chunk.size() < SMALL_MAX {
                self.small.put(span, chunk);
            } else {
                self.large.put(span, chunk);
            }
        }
        self.count += 1;
        self.bytes += chunk.size();
    }

    /// Takes a free chunk out of whatever bin it is in.
    ///
    /// # Safety
    /// The chunk is Free; the arena's lock is held.
    pub unsafe fn remove(&mut self, span: &Span, chunk: Chunk) -> Past {
        // SAFETY: as the caller promises.
        let past = unsafe {
            if chunk.size() >= SMALL_MAX {
                self.large.remove(span, chunk);
            } else {
                let emptied = list::remove(span, link_of(chunk));
                self.small.note_empty(emptied, chunk.size());
            }
            self.pages.take(span, chunk)
        };
        secure::clear::links(chunk);
        self.count -= 1;
        self.bytes -= chunk.size();
        past
    }

    /// A6 step 4: the small bin of exactly this size.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn take_small(&mut self, span: &Span, size: usize) -> Option<Chunk> {
        // SAFETY: as the caller promises.
        unsafe {
            let chunk = self.small.oldest(size)?;
            self.remove(span, chunk);
            self.small.look_ahead(size);
            Some(chunk)
        }
    }

    /// A6 step 5: the unsorted bin. Looks at the chunks freed lately, oldest first; an exact fit is taken, every other is
    /// sorted into its bin.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn take_unsorted(&mut self, span: &Span, size: usize) -> Option<Chunk> {
        // SAFETY: as the caller promises; each chunk is proven before it is believed.
        unsafe {
            let told = |outcome, looked| probe::step(Kind::Unsorted, outcome, [size, looked, 0]);
            for looked in 0..UNSORTED_STEPS {
                if self.unsorted.is_empty() {
                    told(Outcome::Empty, looked);
                    return None;
                }
                let chunk = proven(list::bk(&self.unsorted));
                list::remove(span, link_of(chunk));
                let look = |outcome| probe::step(Kind::Look, outcome, [chunk.address(), chunk.size(), 0]);
                if chunk.size() == size {
                    look(Outcome::Taken);
                    told(Outcome::Taken, looked + 1);
                    self.pages.take(span, chunk);
                    secure::clear::links(chunk);
                    self.count -= 1;
                    self.bytes -= size;
                    return Some(chunk);
                }
                if chunk.size() < SMALL_MAX {
                    look(Outcome::ToSmall);
                    self.small.put(span, chunk);
                } else {
                    look(Outcome::ToLarge);
                    self.large.put(span, chunk);
                }
            }
            told(Outcome::Bounded, UNSORTED_STEPS);
            None
        }
    }

    /// A6 step 6: the best fitting chunk of the bins, of any size above, and its past for the remainder.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn take_best(&mut self, span: &Span, size: usize) -> Option<(Chunk, Past)> {
        // SAFETY: as the caller promises.
        unsafe {
            let chunk = match self.small.oldest_from(size) {
                Some(chunk) => chunk,
                None => self.large.best(span, size)?,
            };
            let past = self.remove(span, chunk);
            Some((chunk, past))
        }
    }
}
