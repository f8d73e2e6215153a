//! Large bins: 16 to each doubling from `SMALL_MAX` on, found by a bitmap. A bin lists its distinct sizes in rising order;
//! the first chunk of a size is in the bin's list and leads a ring of the others of that size. So the best fit is the
//! first leader that is long enough, ties going to the chunk that was freed first, and a thousand chunks of one size cost one step.
//!
//! ```text
//!  bin head <-> leader 1040 <-> leader 1056 <-> ...      words of the user area:
//!                  |  ring           |                      0,1 fd, bk    in the bin's list, or in a ring
//!               peer 1040          (alone)                  2,3 fd, bk    a leader's ring
//!                  |                                        4   the role: unsorted, leader or peer
//!               peer 1040
//! ```

use super::{chunk_of, link_of, proven};
use crate::chunk::Chunk;
use crate::die;
use crate::list::{self, Link, Span};
use crate::size::{MAX_CHUNK, SMALL_MAX, log2};

const STEPS: usize = 16;
const DOUBLINGS: usize = log2(MAX_CHUNK) - log2(SMALL_MAX) + 1;
pub const BINS: usize = STEPS * DOUBLINGS;
const WORDS: usize = BINS.div_ceil(64);

/// Roles differ in every byte: a flipped bit, or a stray byte, doesn't make a leader a peer, whose ring would then hang on memory that is
/// somebody's.
pub const UNSORTED: usize = 0x2d4b_b4d2_1ee1_7887;
pub const LEADER: usize = 0xd2b4_4b2d_e11e_8778;
pub const PEER: usize = 0x69a5_965a_3cc3_5aa5;
const _: () = assert!(all_differ([UNSORTED, LEADER, PEER]));

const fn all_differ(roles: [usize; 3]) -> bool {
    let [a, b, c] = [roles[0].to_le_bytes(), roles[1].to_le_bytes(), roles[2].to_le_bytes()];
    let mut at = 0;
    while at < a.len() {
        if a[at] == b[at] || b[at] == c[at] || a[at] == c[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[repr(C)]
pub struct Large {
    /// Bit n of all: the list of bin n holds something.
    pub map: [u64; WORDS],
    pub heads: [Link; BINS],
}

/// Words of the user area.
pub const ROLE_WORD: usize = 4;
pub const RING_WORD: usize = 2;

fn role(chunk: Chunk) -> *mut usize {
    chunk.word(ROLE_WORD)
}

fn ring(chunk: Chunk) -> *mut Link {
    chunk.word(RING_WORD).cast()
}

/// A chunk enters the unsorted bin. Small ones have no role and no room for it.
///
/// # Safety
/// The chunk is free and ours.
pub unsafe fn mark_unsorted(chunk: Chunk) {
    if chunk.size() >= SMALL_MAX {
        // SAFETY: the user area of a free chunk of this length holds five words.
        unsafe { *role(chunk) = UNSORTED };
    }
}

/// The bin of a size.
pub fn index_of(size: usize) -> usize {
    let doubling = log2(size);
    (doubling - log2(SMALL_MAX)) * STEPS + (size >> (doubling - 4)) % STEPS
}

impl Large {
    pub const fn unset() -> Large {
        Large { map: [0; WORDS], heads: [const { Link::unset() }; BINS] }
    }

    pub fn clear(&mut self) {
        self.map = [0; WORDS];
        self.heads.iter_mut().for_each(Link::clear);
    }

    fn head(&mut self, index: usize) -> *mut Link {
        // SAFETY: `index` comes from `index_of` or the bitmap; both stay below BINS.
        unsafe { self.heads.as_mut_ptr().add(index) }
    }

    /// # Safety
    /// The chunk is Free, at least `SMALL_MAX` long and in no list; the arena's lock is held.
    pub unsafe fn put(&mut self, span: &Span, chunk: Chunk) {
        let size = chunk.size();
        let index = index_of(size);
        let head = self.head(index);
        // SAFETY: as the caller promises; each leader is proven before its size is believed.
        unsafe {
            let mut before = head;
            loop {
                let at = list::next(span, before);
                if at == head {
                    break;
                }
                let leader = proven(at);
                if leader.size() == size {
                    *role(chunk) = PEER;
                    list::insert(span, list::prev(span, ring(leader)), link_of(chunk));
                    return;
                }
                if leader.size() > size {
                    break;
                }
                before = at;
            }
            *role(chunk) = LEADER;
            (*ring(chunk)).clear();
            list::insert(span, before, link_of(chunk));
        }
        if let Some(word) = self.map.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// # Safety
    /// The chunk is Free, at least `SMALL_MAX` long and in a list; the arena's lock is held.
    pub unsafe fn remove(&mut self, span: &Span, chunk: Chunk) {
        // SAFETY: as the caller promises.
        unsafe {
            match *role(chunk) {
                UNSORTED | PEER => {
                    list::remove(span, link_of(chunk));
                }
                LEADER => self.remove_leader(span, chunk),
                _ => die::corrupt_list(chunk.user(), chunk.user()),
            }
        }
    }

    unsafe fn remove_leader(&mut self, span: &Span, chunk: Chunk) {
        // SAFETY: as in `remove`.
        unsafe {
            let heir = list::next(span, ring(chunk));
            let index = index_of(chunk.size());
            if heir == ring(chunk) {
                let emptied = list::remove(span, link_of(chunk));
                if emptied == self.head(index)
                    && let Some(word) = self.map.get_mut(index / 64)
                {
                    *word &= !(1 << (index % 64));
                }
                return;
            }
            // The heir takes over the ring, then the place in the bin's list.
            let new = proven(heir);
            list::remove(span, heir);
            list::insert(span, ring(chunk), ring(new));
            list::remove(span, ring(chunk));
            *role(new) = LEADER;
            list::insert(span, link_of(chunk), heir);
            list::remove(span, link_of(chunk));
        }
    }

    /// The best fitting chunk: the shortest that is long enough.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn best(&mut self, span: &Span, size: usize) -> Option<Chunk> {
        let first = if size < SMALL_MAX { 0 } else { index_of(size) };
        let mut index = self.next_filled(first)?;
        // SAFETY: as the caller promises.
        unsafe {
            if let Some(chunk) = self.best_in(span, index, size) {
                return Some(chunk);
            }
            // Only the request's own step may hold nothing but shorter ones.
            index = self.next_filled(index + 1)?;
            self.best_in(span, index, size)
        }
    }

    unsafe fn best_in(&mut self, span: &Span, index: usize, size: usize) -> Option<Chunk> {
        let head = self.head(index);
        // SAFETY: as in `best`.
        unsafe {
            let mut at = list::next(span, head);
            while at != head {
                let leader = proven(at);
                if leader.size() >= size {
                    // A peer leaves without moving the leader. The one freed first: chunks are mostly freed in the order
                    // in which they were made, and low addresses in use let the top go back.
                    let peer = list::next(span, ring(leader));
                    return Some(if peer == ring(leader) { leader } else { proven(peer) });
                }
                at = list::next(span, at);
            }
        }
        None
    }

    fn next_filled(&self, from: usize) -> Option<usize> {
        let mut keep = u64::MAX << (from % 64);
        for word in from / 64..WORDS {
            let bits = self.map.get(word)? & keep;
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            keep = u64::MAX;
        }
        None
    }

    /// Calls `see` with every chunk of a bin.
    ///
    /// # Safety
    /// The arena's lock is held.
    pub unsafe fn each(&mut self, span: &Span, index: usize, see: impl FnMut(Chunk)) {
        // SAFETY: as the caller promises.
        if let Err((at, other)) = unsafe { self.walk(span, index, see) } {
            die::corrupt_list(at, other);
        }
    }

    /// As `each`, for those who want to hear of a broken link: where it lies and where it leads.
    ///
    /// # Safety
    /// As `each`.
    pub unsafe fn walk(&mut self, span: &Span, index: usize, mut see: impl FnMut(Chunk)) -> Result<(), (usize, usize)> {
        let head = self.head(index);
        // SAFETY: as the caller promises.
        unsafe {
            let step = |link: *mut Link| list::step(span, link).map_err(|other| (link as usize, other));
            let mut at = step(head)?;
            while at != head {
                let leader = chunk_of(at);
                see(leader);
                let mut peer = step(ring(leader))?;
                while peer != ring(leader) {
                    see(chunk_of(peer));
                    peer = step(peer)?;
                }
                at = step(at)?;
            }
        }
        Ok(())
    }
}
