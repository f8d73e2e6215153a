//! The pages inside free chunks: which of them hold nothing any more but still cost memory, and since when.
//!
//! A free chunk that has a whole page between its own words and its end remembers, behind its links, one run of pages that
//! the kernel has already (the clean run), and stands in one of four lists by the age of its dirty pages. An epoch is half a decay. What
//! became free in one epoch is due three later, so a page waits between one decay and one and a half.
//!
//! ```text
//!  words of the user area:   0..5  links, ring, role (see `large`)
//!                            5,6   fd, bk    in the list of its age
//!                            7     the list, or `CLEAN` where nothing is left to release
//!                            8,9   start and end of the clean run
//! ```
//!
//! A chunk that is cut or merged hands its age and its clean run on. So what lies idle gets old, however often a
//! neighbour's traffic nibbles at it, and no page is released twice for nothing.

use super::{chunk_of, link_of};
use crate::chunk::{Chunk, State};
use crate::decay;
use crate::die;
use crate::kernel;
use crate::list::{self, Link, Span};
use crate::size::HEADER;
use heapglass_os as os;

/// Lists by age: the current epoch's, two that wait, and the one that is due.
pub const AGES: usize = 4;
/// Shorter chunks have no whole page inside, whatever the page size.
pub const PAGED_MIN: usize = 4096 + 256;
const WORDS: usize = 10;
/// Bytes at a free chunk's start that the heap uses itself.
pub const KEPT_HEAD: usize = HEADER + WORDS * size_of::<usize>();
/// The word at which a clean run is told.
pub const CLEAN_WORD: usize = 8;
const CLEAN: usize = 0x5500_0000_0000_0010;

const _: () = assert!(PAGED_MIN > 4096 + KEPT_HEAD);

#[repr(C)]
pub struct Pages {
    lists: [Link; AGES],
    pub epoch: usize,
    /// Chunks in the lists.
    pub count: usize,
    /// Bytes of the pages in them that aren't clean.
    pub dirty: usize,
    /// Bytes of clean runs in all free chunks.
    pub released: usize,
}

/// What a chunk that left its bin was: handed on to what is made of it.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    age: usize,
    clean: (usize, usize),
    /// Bytes that speak for the age.
    dirty: usize,
}

impl Past {
    /// That of one chunk made of two: the age of most of its dirty bytes, the longer clean run.
    pub fn join(self, other: Past) -> Past {
        let length = |past: Past| past.clean.1 - past.clean.0;
        Past {
            age: if self.dirty >= other.dirty { self.age } else { other.age },
            clean: if length(self) >= length(other) { self.clean } else { other.clean },
            dirty: self.dirty + other.dirty,
        }
    }
}

/// The whole pages inside a free chunk; empty where there are none.
fn inside(chunk: Chunk) -> (usize, usize) {
    let page = os::page_size();
    let start = (chunk.address() + KEPT_HEAD + page - 1) & !(page - 1);
    (start, (chunk.next().address() & !(page - 1)).max(start))
}

fn age_word(chunk: Chunk) -> *mut usize {
    chunk.word(7)
}

fn clean_words(chunk: Chunk) -> *mut (usize, usize) {
    chunk.word(CLEAN_WORD).cast()
}

fn age_link(chunk: Chunk) -> *mut Link {
    chunk.word(5).cast()
}

impl Pages {
    pub const fn unset() -> Pages {
        Pages { lists: [const { Link::unset() }; AGES], epoch: 0, count: 0, dirty: 0, released: 0 }
    }

    pub fn clear(&mut self) {
        self.lists.iter_mut().for_each(Link::clear);
        (self.epoch, self.count, self.dirty, self.released) = (0, 0, 0, 0);
    }

    /// The list whose pages became free so many epochs ago.
    fn list(&mut self, epochs_ago: usize) -> usize {
        self.epoch.wrapping_sub(epochs_ago) % AGES
    }

    /// The past of memory that was in use until so many epochs ago.
    pub fn used(&mut self, epochs_ago: usize, size: usize) -> Past {
        Past { age: self.list(epochs_ago), clean: (0, 0), dirty: size }
    }

    fn head(&mut self, age: usize) -> *mut Link {
        // SAFETY: the remainder is less than AGES.
        unsafe { self.lists.as_mut_ptr().add(age % AGES) }
    }

    /// A free chunk enters a bin.
    ///
    /// # Safety
    /// Header and end are written, it is in no list; the arena's lock is held.
    pub unsafe fn put(&mut self, span: &Span, chunk: Chunk, past: Past) {
        if chunk.size() < PAGED_MIN {
            return;
        }
        let (start, end) = inside(chunk);
        let clean = (past.clean.0.max(start), past.clean.1.min(end));
        let clean = if clean.0 < clean.1 { clean } else { (start, start) };
        // SAFETY: the user area of a free chunk of this length holds ten words.
        unsafe {
            *clean_words(chunk) = clean;
            self.released += clean.1 - clean.0;
            if clean == (start, end) {
                *age_word(chunk) = CLEAN;
                return;
            }
            *age_word(chunk) = past.age % AGES;
            list::insert(span, self.head(past.age), age_link(chunk));
        }
        self.count += 1;
        self.dirty += (end - start) - (clean.1 - clean.0);
        decay::raise();
    }

    /// A free chunk leaves its bin.
    ///
    /// # Safety
    /// It was put; the arena's lock is held.
    pub unsafe fn take(&mut self, span: &Span, chunk: Chunk) -> Past {
        if chunk.size() < PAGED_MIN {
            return self.used(0, chunk.size());
        }
        let (start, end, clean) = proven_clean(chunk);
        // SAFETY: as the caller promises; links are proven before they are followed.
        let age = unsafe { *age_word(chunk) };
        let length = clean.1 - clean.0;
        self.released -= length;
        if age == CLEAN {
            return Past { age: self.list(0), clean, dirty: chunk.size() - length };
        }
        if age >= AGES {
            die::corrupt_list(chunk.user(), chunk.user());
        }
        // SAFETY: as above.
        unsafe { list::remove(span, age_link(chunk)) };
        self.count -= 1;
        self.dirty -= (end - start) - length;
        Past { age, clean, dirty: chunk.size() - length }
    }

    /// Does the list that is due hold anything?
    pub fn is_due(&mut self) -> bool {
        let head = self.head(self.epoch + 1);
        // SAFETY: one of our heads.
        unsafe { !(*head).is_empty() }
    }

    /// Releases pages of chunks that are due, oldest first, as many bytes as `budget` allows. Returns the bytes released.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn release_due(&mut self, span: &Span, budget: &mut usize) -> usize {
        let due = self.epoch + 1;
        // SAFETY: as the caller promises.
        unsafe { self.release_list(span, due, budget) }
    }

    /// As `release_due`, whatever the age.
    ///
    /// # Safety
    /// As `release_due`.
    pub unsafe fn release_any(&mut self, span: &Span, budget: &mut usize) -> usize {
        // SAFETY: as the caller promises.
        (0..AGES).map(|age| unsafe { self.release_list(span, age, budget) }).sum()
    }

    unsafe fn release_list(&mut self, span: &Span, age: usize, budget: &mut usize) -> usize {
        let head = self.head(age);
        let mut bytes = 0;
        // SAFETY: the lock is held; links are proven as they are followed, chunks before they are believed.
        unsafe {
            while *budget > 0 && !(*head).is_empty() {
                let chunk = chunk_of(list::prev(span, head).cast::<usize>().sub(5).cast());
                if !chunk.is(State::Free) {
                    die::corrupt_header(chunk, "free, in a bin");
                }
                // One that says it has nothing to release would stay here for ever.
                if chunk.size() < PAGED_MIN || *age_word(chunk) >= AGES {
                    die::corrupt_list(chunk.user(), chunk.user());
                }
                bytes += self.release(span, chunk, budget);
            }
        }
        bytes
    }

    /// Releases pages of one chunk, which leaves its list when none is left.
    ///
    /// # Safety
    /// The chunk is in a bin; the arena's lock is held.
    pub unsafe fn release(&mut self, span: &Span, chunk: Chunk, budget: &mut usize) -> usize {
        // SAFETY: as the caller promises.
        if chunk.size() < PAGED_MIN || unsafe { *age_word(chunk) } == CLEAN {
            return 0;
        }
        let (start, end, mut clean) = proven_clean(chunk);
        let before = clean.1 - clean.0;
        let room = *budget & !(os::page_size() - 1);
        if room == 0 {
            *budget = 0;
            return 0;
        }
        let above = (end - clean.1).min(room);
        let below = (clean.0 - start).min(room - above);
        // SAFETY: nothing of a free chunk between its own words and its end is anyone's.
        let refused = unsafe {
            let mut refused = above > 0 && kernel::discard(clean.1, above).is_err();
            if !refused {
                clean.1 += above;
                refused = below > 0 && kernel::discard(clean.0 - below, below).is_err();
            }
            if !refused {
                clean.0 -= below;
            }
            refused
        };
        // A call costs something whatever it releases.
        *budget = budget.saturating_sub((above + below).max(CALL_BYTES));
        // SAFETY: as above.
        unsafe {
            *clean_words(chunk) = clean;
            // What the kernel refuses once (locked pages, a filter) isn't tried again.
            if refused || clean == (start, end) {
                list::remove(span, age_link(chunk));
                *age_word(chunk) = CLEAN;
                self.count -= 1;
                self.dirty -= (end - start) - (clean.1 - clean.0);
            }
        }
        let bytes = clean.1 - clean.0 - before;
        self.released += bytes;
        self.dirty -= bytes;
        kernel::released(bytes);
        bytes
    }

    /// Calls `see` with every chunk in the lists; where a link is broken, the address that it leads to comes back.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn each(&mut self, span: &Span, mut see: impl FnMut(Chunk)) -> Result<(), usize> {
        for age in 0..AGES {
            let head = self.head(age);
            // SAFETY: as the caller promises.
            unsafe {
                let mut at = list::step(span, head)?;
                while at != head {
                    see(chunk_of(at.cast::<usize>().sub(5).cast()));
                    at = list::step(span, at)?;
                }
            }
        }
        Ok(())
    }
}

/// What a call costs, in bytes of pages released.
const CALL_BYTES: usize = 32 * 1024;

/// The pages inside a chunk and its clean run, which must lie among them.
fn proven_clean(chunk: Chunk) -> (usize, usize, (usize, usize)) {
    let (start, end) = inside(chunk);
    // SAFETY: written when the chunk entered its bin.
    let clean = unsafe { *clean_words(chunk) };
    let page = os::page_size();
    let sound = start <= clean.0 && clean.0 <= clean.1 && clean.1 <= end;
    if !sound || !clean.0.is_multiple_of(page) || !clean.1.is_multiple_of(page) {
        die::corrupt_list(chunk.user(), chunk.user());
    }
    (start, end, clean)
}

/// What a free chunk says of its pages: is it in the list of an age, and how many bytes are clean and dirty?
#[derive(Clone, Copy, Default)]
pub struct Said {
    pub listed: bool,
    pub clean: usize,
    pub dirty: usize,
}

/// For the checker; `None` where the words can't be right.
pub fn look(chunk: Chunk) -> Option<Said> {
    if chunk.size() < PAGED_MIN {
        return Some(Said::default());
    }
    debug_assert_eq!(link_of(chunk) as usize, chunk.user());
    let (start, end) = inside(chunk);
    // SAFETY: a free chunk of this length, in a bin.
    let (age, clean) = unsafe { (*age_word(chunk), *clean_words(chunk)) };
    let sound = start <= clean.0 && clean.0 <= clean.1 && clean.1 <= end && (age < AGES || age == CLEAN);
    let length = clean.1.saturating_sub(clean.0);
    sound.then(|| Said { listed: age < AGES, clean: length, dirty: end - start - length })
}
