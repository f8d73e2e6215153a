//! The chunk: all memory of a heap is a sequence of these, each known by the address where it starts.
//!
//! ```text
//!  chunk start c -> +----------------------+----------------------+
//!                   | prev_size  u64       | only while the previous chunk is free and in a bin;
//!                   |                      | else the last 8 bytes of the previous chunk's user area
//!  c + 8         -> | cookie u32           | size and flags u32   |   the header word
//!  c + 16 = p    -> +----------------------+----------------------+
//!                   | user data ...        | in a bin: fd, bk     |
//!                   |                      |                      |
//!  c + size      -> +----------------------+----------------------+
//!                   | last 8 bytes of c's user area, or c's size again while c is free
//! ```
//!
//! Flags, in the low four bits of the size: P the previous chunk is in use, M the chunk is a mapping of its own, A the chunk
//! belongs to another arena than the main one.
//!
//! The two halves of the header word have two writers. `size|flags` changes only under the arena's lock, also by a
//! neighbour (P). The cookie belongs to whoever holds the chunk: its thread while it is live or cached, the arena's lock
//! while it is free. Each half is an atomic of its own, so the two never race.
//!
//! `cookie = high half of (p + size) * secret, made odd, + state`: it proves that the chunk starts here, that its size is the
//! one it was given and which state it is in, in one compare. The cookie lies first in memory, so whatever runs over from
//! the chunk below hits it first; it is odd, so a stray NUL byte always shows. The state is added, where xor would do as well, since a sum needs no
//! copy made of what goes into it: malloc is an instruction shorter.
//!
//! # Safety
//! A `Chunk` made from an address that the heap itself keeps is a real one. One made from a user's pointer is only a
//! candidate: nothing but `state` may be asked of it until that answers.

use crate::size::*;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use heapglass_event::root::FLAGS;
pub use heapglass_event::root::{A, M, P};

/// What a header's cookie says. The values are far apart, so that no single overwritten byte turns one into another, and
/// even, so that a cookie stays odd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    /// Handed out to the program.
    Live = 0,
    /// Freed, in a magazine: a thread's cache or an arena's depot.
    Cached = 0x5ac3_96a4,
    /// Freed, in a fast bin.
    Fast = 0x3c96_a55a,
    /// Free, in the unsorted, a small or a large bin; its size stands at its end too.
    Free = 0x965a_3cc6,
    /// The last chunk of a heap, from which new ones are cut.
    Top = 0xa569_c33c,
    /// The end of a heap that no longer grows; never handed out.
    Fence = 0xc33c_5a96,
    /// Handed out to the program, in a mapping of its own.
    Mapped = 0x693c_0f78,
    /// Freed, in a thread's quarantine.
    Quarantined = 0x0f96_6996,
    /// Live, and in a profile: whoever frees it takes the slow path. Nobody but `profile` needs to know, so it is told as `Live`.
    Sampled = 0x3369_5ac6,
    /// Cached, and to be in a profile once it is handed out, which takes the slow path. Told as `Cached`.
    Marked = 0x695a_3396,
}

use State::*;
/// In the order in which they are looked for: as often as they are met.
const STATES: [State; 10] = [Live, Cached, Top, Free, Fast, Quarantined, Fence, Mapped, Sampled, Marked];

/// The process's secret: an odd multiplier, drawn before the first chunk is made.
pub static SECRET: AtomicU64 = AtomicU64::new(1);

/// The cookie of a live chunk with this user pointer and size.
#[inline(always)]
pub fn live_cookie(user: usize, size: usize) -> u32 {
    cookie_by(SECRET.load(Relaxed), user, size)
}

/// As `live_cookie`, for those who have the secret at hand.
#[inline(always)]
pub fn cookie_by(secret: u64, user: usize, size: usize) -> u32 {
    heapglass_event::root::cookie(secret, user as u64, size as u64)
}

/// A chunk, by the address where it starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Chunk(usize);

impl Chunk {
    #[inline(always)]
    pub const fn at(address: usize) -> Chunk {
        Chunk(address)
    }

    #[inline(always)]
    pub fn from_user(user: usize) -> Chunk {
        Chunk(user.wrapping_sub(HEADER))
    }

    #[inline(always)]
    pub fn address(self) -> usize {
        self.0
    }

    #[inline(always)]
    pub fn user(self) -> usize {
        self.0 + HEADER
    }

    #[inline(always)]
    fn cookie_cell(self) -> &'static AtomicU32 {
        // SAFETY: a chunk has its header, see the module's head; atomics accept any initial bytes.
        unsafe { &*((self.0 + 8) as *const AtomicU32) }
    }

    #[inline(always)]
    fn size_cell(self) -> &'static AtomicU32 {
        // SAFETY: as above.
        unsafe { &*((self.0 + 12) as *const AtomicU32) }
    }

    #[inline(always)]
    pub fn cookie(self) -> u32 {
        self.cookie_cell().load(Relaxed)
    }

    /// As `cookie`, by a plain load, which a comparison can take as its operand.
    ///
    /// # Safety
    /// Nobody else changes the header: the chunk is the caller's, or in the caller's cache.
    #[inline(always)]
    pub unsafe fn own_cookie(self) -> u32 {
        // SAFETY: a chunk has its header, see the module's head.
        unsafe { *((self.0 + 8) as *const u32) }
    }

    #[inline(always)]
    pub fn set_cookie(self, cookie: u32) {
        self.cookie_cell().store(cookie, Relaxed);
    }

    #[inline(always)]
    pub fn size(self) -> usize {
        (self.size_cell().load(Relaxed) & !FLAGS) as usize
    }

    #[inline(always)]
    pub fn flags(self) -> u32 {
        self.size_cell().load(Relaxed) & FLAGS
    }

    #[inline(always)]
    pub fn next(self) -> Chunk {
        Chunk(self.0 + self.size())
    }

    /// Writes the whole header. The size of a top beyond what a header can say is cut; a top's end is its heap's.
    pub fn set(self, size: usize, flags: u32, state: State) {
        let size = size.min(MAX_CHUNK);
        self.size_cell().store(size as u32 | flags, Relaxed);
        self.set_state(size, state);
    }

    /// Writes the state of a chunk whose size is known.
    #[inline]
    pub fn set_state(self, size: usize, state: State) {
        self.set_cookie(live_cookie(self.user(), size).wrapping_add(state as u32));
    }

    /// The state, or `None` where this is no chunk's start or its header was overwritten.
    #[inline]
    pub fn state(self) -> Option<State> {
        let code = self.code();
        STATES.into_iter().find(|&state| state as u32 == code).map(|state| match state {
            Sampled => Live,
            Marked => Cached,
            other => other,
        })
    }

    #[inline]
    fn code(self) -> u32 {
        self.cookie().wrapping_sub(live_cookie(self.user(), self.size()))
    }

    /// Is it in that state, with its header whole?
    #[inline]
    pub fn is(self, state: State) -> bool {
        let code = self.code();
        code == state as u32 || state == Live && code == Sampled as u32 || state == Cached && code == Marked as u32
    }

    /// Is it in that very state? What a profile has an eye on is neither `Live` nor `Cached` then.
    #[inline]
    pub fn is_exactly(self, state: State) -> bool {
        self.code() == state as u32
    }

    #[inline]
    pub fn prev_in_use(self) -> bool {
        self.flags() & P != 0
    }

    pub fn set_prev_in_use(self, in_use: bool) {
        let word = self.size_cell().load(Relaxed);
        self.size_cell().store(if in_use { word | P } else { word & !P }, Relaxed);
    }

    /// The size of the previous chunk. Only while that is free and in a bin.
    pub fn prev_size(self) -> usize {
        // SAFETY: the word before the header is the heap's own while the previous chunk is free (arena lock held).
        unsafe { *(self.0 as *const usize) }
    }

    /// Says that the previous chunk is free, and how long it is.
    pub fn set_prev_free(self, prev_size: usize) {
        // SAFETY: as above.
        unsafe { *(self.0 as *mut usize) = prev_size };
        self.set_prev_in_use(false);
    }

    /// A word of the user area, by index: the heap's own while the chunk is free.
    pub fn word(self, index: usize) -> *mut usize {
        (self.user() + index * size_of::<usize>()) as *mut usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Memory([u8; 256]);

    #[test]
    fn a_header_tells_its_state_and_nothing_else_does() {
        SECRET.store(0x9e37_79b9_7f4a_7c15, Relaxed);
        let mut memory = Memory([0; 256]);
        let chunk = Chunk::at(memory.0.as_mut_ptr() as usize);
        for state in STATES {
            chunk.set(48, P | A, state);
            let told = match state {
                Sampled => Live,
                Marked => Cached,
                other => other,
            };
            assert_eq!((chunk.size(), chunk.flags(), chunk.state()), (48, P | A, Some(told)));
            assert!(chunk.is_exactly(state) && chunk.is(told));
            for byte in 8..16 {
                let kept = memory.0[byte];
                for value in [0, !kept, kept.wrapping_add(16)] {
                    memory.0[byte] = value;
                    // The flags (low half of byte 12) aren't covered: neighbours change P.
                    let flags_only = byte == 12 && (value ^ kept) & 0xf0 == 0;
                    assert_eq!(chunk.state().is_some(), value == kept || flags_only, "byte {byte}: {kept} to {value}");
                }
                memory.0[byte] = kept;
            }
        }
    }

    #[test]
    fn no_byte_turns_a_state_into_another() {
        for (state, other) in STATES.into_iter().flat_map(|state| STATES.map(|other| (state, other))) {
            let apart = (state as u32).wrapping_sub(other as u32);
            let is_one_byte = |apart: u32| (0..4).any(|byte| apart & !(0xff << (8 * byte)) == 0);
            assert!(state == other || !is_one_byte(apart) && !is_one_byte(apart.wrapping_neg()), "{state:?} {other:?}");
        }
    }

    #[test]
    fn no_cookie_starts_with_a_zero_byte() {
        for at in (0x5000..0x9000usize).step_by(16) {
            for state in STATES {
                assert_ne!(live_cookie(at, 48).wrapping_add(state as u32) & 0xff, 0);
            }
        }
    }
}
