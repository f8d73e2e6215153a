//! Freed memory is zero: how it becomes so, how it stays so in spite of the heap's own words, and how a write to it shows.
//!
//! Chunks in a bin hold links, and their size at their end; what is merged leaves headers behind. All of these are cleared as
//! soon as the heap is done with them: when a chunk leaves its bin, and when a header becomes the inside of a chunk. So bins
//! never hold anything but zeroes around their own words, and a chunk that comes out of one needs no clearing, only the proof.

use super::{CLEAR, has};
use crate::chunk::Chunk;
use crate::die;
use crate::size::{HEADER, MIN_CHUNK, SMALL_MAX};
use core::ptr;
use heapglass_os as os;

/// Words that a free chunk of a small bin holds, and one of a large bin (see `bins::large` and `bins::pages`).
const SMALL_WORDS: usize = 2;
const LARGE_WORDS: usize = 10;
const _: () = assert!(SMALL_MAX >= HEADER + (LARGE_WORDS + 1) * size_of::<usize>());

/// Bytes that are looked at together.
const LINE: usize = 64;

/// Clears memory of a chunk that the program just gave up.
pub fn area(user: usize, bytes: usize) {
    // SAFETY: the chunk was proven live, and is the caller's to free.
    unsafe { ptr::write_bytes(user as *mut u8, 0, bytes) };
}

/// The end of a live chunk is about to become a chunk of its own, from `size` bytes on.
pub fn end(chunk: Chunk, size: usize) {
    if has(CLEAR) {
        let at = chunk.address() + size + size_of::<usize>();
        // SAFETY: behind what the shorter chunk keeps, up to the end of the chunk's last word: the program gave it up.
        unsafe { ptr::write_bytes(at as *mut u8, 0, chunk.size() - size) };
    }
}

/// A chunk left its bin: its links go, and its size at its end.
pub fn links(chunk: Chunk) {
    if !has(CLEAR) {
        return;
    }
    let words = if chunk.size() < SMALL_MAX { SMALL_WORDS } else { LARGE_WORDS };
    // SAFETY: the chunk is free and in no list; the arena's lock is held.
    unsafe {
        ptr::write_bytes(chunk.word(0), 0, words);
        *(chunk.next().address() as *mut usize) = 0;
    }
}

/// A chunk left its fast bin.
pub fn words(chunk: Chunk, words: usize) {
    if has(CLEAR) {
        // SAFETY: as in `links`.
        unsafe { ptr::write_bytes(chunk.word(0), 0, words) };
    }
}

/// A header became the inside of a chunk.
pub fn header(chunk: Chunk) {
    if has(CLEAR) {
        // SAFETY: part of a free chunk from here on; the arena's lock is held.
        unsafe { *chunk.word(0).sub(1) = 0 };
    }
}

/// A heap in which nothing is lost its end: the fence goes, which is shorter than the smallest chunk and a header.
pub fn fence_before(end: usize) {
    if has(CLEAR) {
        let most = MIN_CHUNK + HEADER;
        // SAFETY: the end of a heap that nobody uses, which is longer than this.
        unsafe { ptr::write_bytes((end - most) as *mut u8, 0, most) };
    }
}

/// A heap's new memory: its first bytes may lie in a page that was there before, and was perhaps somebody else's.
pub fn seam(start: usize, end: usize) {
    if has(CLEAR) {
        let stop = os::pages_up(start).map_or(end, |page| page.min(end));
        // SAFETY: new memory of a heap, in which no chunk is yet.
        unsafe { ptr::write_bytes(start as *mut u8, 0, stop.saturating_sub(start)) };
    }
}

/// Proves that bytes `from..to` of a chunk that is no longer, or not yet, the program's are zero; stops the process where they
/// aren't.
#[inline]
pub fn prove(user: usize, from: usize, to: usize, when: &'static str) {
    // SAFETY: the chunk is the caller's.
    if let Some(at) = unsafe { first_written(user + from, to.saturating_sub(from)) } {
        die::written_after_free(user, to, from + at, when);
    }
}

/// Where the first byte is that isn't zero.
///
/// # Safety
/// The memory may be read.
#[inline]
pub unsafe fn first_written(at: usize, bytes: usize) -> Option<usize> {
    // SAFETY: as the caller promises.
    if unsafe { is_zero(at, bytes) } { None } else { unsafe { find_written(at, bytes) } }
}

/// # Safety
/// As `first_written`.
#[inline]
unsafe fn is_zero(at: usize, bytes: usize) -> bool {
    // SAFETY: as above, as every read is inside.
    unsafe {
        let (mut at, end) = (at, at + bytes);
        // Without a branch inside, so that it is done by the widest registers there are.
        while end - at >= LINE {
            let line = (at as *const [u64; LINE / 8]).read_unaligned();
            if line.iter().fold(0, |all, &word| all | word) != 0 {
                return false;
            }
            at += LINE;
        }
        let mut all = 0;
        while end - at >= 8 {
            all |= (at as *const u64).read_unaligned();
            at += 8;
        }
        while at < end {
            all |= u64::from(*(at as *const u8));
            at += 1;
        }
        all == 0
    }
}

/// # Safety
/// As `first_written`.
#[cold]
unsafe fn find_written(at: usize, bytes: usize) -> Option<usize> {
    // SAFETY: as above.
    let memory = unsafe { core::slice::from_raw_parts(at as *const u8, bytes) };
    memory.iter().position(|&byte| byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_zero_is_found_wherever_it_is() {
        let mut memory = [0u8; 300];
        for start in 0..9 {
            for length in [0, 1, 7, 8, 9, 24, 63, 64, 65, 200, 280] {
                let at = memory.as_ptr() as usize + start;
                // SAFETY: inside of `memory`.
                assert_eq!(unsafe { first_written(at, length) }, None);
                for place in 0..length {
                    memory[start + place] = 1;
                    memory[start + length] = 1;
                    // SAFETY: as above.
                    assert_eq!(unsafe { first_written(at, length) }, Some(place), "{start} {length}");
                    memory[start + place] = 0;
                    memory[start + length] = 0;
                }
            }
        }
    }
}
