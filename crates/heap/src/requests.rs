//! What the program asks for, class by class: for readers outside, who find chunks in a heap and want to know how much of them is
//! rounding. A header has no room for the request, and the fast paths no instruction to spare. The slow ones know it, and say it here,
//! now and then.
//!
//! ```text
//!            came                           refill, and one call in many is noted
//!   arenas ---------> depots   threads: <------------------------------------------ chunks in use, and those in caches
//!          <---------
//!            left
//! ```
//!
//! A class has the mean of what its chunks have beyond their requests. A call whose class is empty brings chunks from a depot or an
//! arena, and stands for the calls that those will serve, none of which is seen: so it is noted with a chance by how many they are,
//! once for up to `INTERVAL` chunks, and moves the mean by that part of all the class's chunks that threads have. What they freed meanwhile is as any other
//! (nobody knows what it was asked for), so it doesn't move it: what comes weighs against what is left, and a class that was
//! given up as a whole soon speaks of what came then. What a thread frees and takes again within its own magazines is never seen.
//!
//! A loop of two requests in a class, and magazines of 124 chunks, would have every refill at the same of the two. So a magazine is
//! filled to one less as often as not.
//!
//! **Invariant:** at rest, `chunks` is the number of a class's chunks that no arena has: in use, parked, in quarantine, in caches and depots.

use crate::chunk::Chunk;
use crate::depot;
use crate::size::*;
use crate::thread::Thread;
use core::mem::offset_of;
// Nobody's path depends on it: a test's scheduler needn't see it.
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
use heapglass_event::root::{Piece, Place, RequestsAt};

/// Classes of the cache, and one for all that is longer.
const ALL: usize = CLASSES + 1;
/// Bits of the mean below the point.
const FRACTION: u32 = 18;
/// The longest rounding that the mean has room for. No class has as much: its chunks are an eighth longer than the request at most.
const SLACK_MAX: usize = (1 << (u32::BITS - FRACTION)) - 1;
const _: () = assert!(CACHED_MAX / 8 + 2 * MIN_CHUNK < SLACK_MAX);
/// Chunks that a thread brings for each call that is noted, at most; until then one in so many of all that it brought.
const INTERVAL: u32 = 512;
const PART: u32 = 64;
/// A mean is of so many calls at least, once there were as many.
const FEWEST: u32 = 16;
/// So many calls of a class are noted in any case, if its chunks come from an arena.
const FIRST: u32 = 4;

/// One class.
#[repr(C)]
struct Class {
    chunks: AtomicI32,
    /// Their mean rounding. It may be moved by two calls at once; then by one of them.
    mean: AtomicU32,
    /// Calls that were noted.
    calls: AtomicU32,
}

static SEEN: [Class; ALL] =
    [const { Class { chunks: AtomicI32::new(0), mean: AtomicU32::new(0), calls: AtomicU32::new(0) } }; ALL];

fn class(size: usize) -> usize {
    if size <= CACHED_MAX { class_of(size) } else { CLASSES }
}

/// So many chunks of a class go to their arenas.
#[inline]
pub fn left(class: usize, chunks: usize) {
    if let Some(seen) = SEEN.get(class) {
        seen.chunks.fetch_sub(chunks as i32, Relaxed);
    }
}

/// A chunk of this size goes to its arena.
#[inline]
pub fn one_left(size: usize) {
    left(class(size), 1);
}

/// Classes with the number of their chunks that no arena has, where that isn't 0.
pub fn held() -> impl Iterator<Item = (usize, i32)> {
    SEEN.iter().map(|seen| seen.chunks.load(Relaxed)).enumerate().filter(|(_, chunks)| *chunks != 0)
}

/// A chunk comes from its arena for a request.
pub fn one_came(chunk: Chunk, request: usize, thread: Option<&mut Thread>) {
    came(class(chunk.size()), chunk, request, 1, thread);
}

/// A chunk comes from its arena for a request, and more of its class with it: so many in all.
#[inline]
pub fn came(class: usize, chunk: Chunk, request: usize, chunks: usize, thread: Option<&mut Thread>) {
    let Some(seen) = SEEN.get(class) else { return };
    seen.chunks.fetch_add(chunks as i32, Relaxed);
    match thread {
        _ if seen.calls.load(Relaxed) < FIRST => note(chunk.size(), request, chunks as u32),
        Some(thread) => thread.asker.see(chunk, request, chunks),
        None => {}
    }
}

/// A request that stands for so many chunks got one of this size.
#[cold]
#[inline(never)]
fn note(size: usize, request: usize, chunks: u32) {
    let class = class(size);
    let Some(seen) = SEEN.get(class) else { return };
    let all = seen.chunks.load(Relaxed).saturating_sub(depot::held_of(class));
    let slack = (size - OVERHEAD).saturating_sub(request).min(SLACK_MAX) << FRACTION;
    let (mean, calls) = (seen.mean.load(Relaxed), seen.calls.load(Relaxed));
    seen.mean.store(moved(mean, slack as i64, i64::from(chunks), i64::from(all), calls), Relaxed);
    seen.calls.store(calls.saturating_add(1), Relaxed);
}

/// When a thread's calls are noted, and what else is up to chance here. The next thread with its record goes on where it stopped.
#[derive(Clone, Copy)]
pub struct Asker {
    /// Chunks to go.
    due: i32,
    /// Those that the calls noted so far stood for.
    passed: u32,
    random: u32,
}

impl Asker {
    pub const NEW: Asker = Asker { due: 0, passed: 0, random: 0 };
    /// Shorter magazines come by often enough, and are what a learner counts.
    const LEAST: usize = 29;

    /// A request gets a chunk, and brought so many of its class, itself among them.
    #[inline(always)]
    pub fn see(&mut self, chunk: Chunk, request: usize, chunks: usize) {
        self.due = self.due.wrapping_sub(chunks as i32);
        if self.due < 0 {
            self.note(chunk, request, chunks);
        }
    }

    #[cold]
    #[inline(never)]
    fn note(&mut self, chunk: Chunk, request: usize, chunks: usize) {
        let weight = self.draw().max(chunks as u32);
        self.passed = self.passed.saturating_add(weight);
        note(chunk.size(), request, weight);
    }

    /// How many chunks go by before the next: any number up to twice the interval. Returns what that was.
    fn draw(&mut self) -> u32 {
        let interval = (self.passed / PART).min(INTERVAL);
        // Numerical Recipes' quick generator, whose upper bits are the better ones.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.due = ((u64::from(self.random) * u64::from(2 * interval + 1)) >> u32::BITS) as i32;
        interval
    }

    /// A magazine's length, or one less.
    #[inline]
    pub fn uneven(&self, class: usize, length: usize) -> usize {
        if length < Self::LEAST { length } else { length - (self.random >> (class & 31) & 1) as usize }
    }
}

/// Some of all the chunks have this rounding.
fn moved(mean: u32, slack: i64, some: i64, all: i64, calls: u32) -> u32 {
    let all = all.max(some.saturating_mul(i64::from(calls.saturating_add(1).min(FEWEST))));
    let step = ((slack - i64::from(mean)) * some).checked_div(all).unwrap_or(0);
    mean.wrapping_add(step as u32)
}

/// For `root`.
pub const fn seen() -> (RequestsAt, Piece) {
    let all = Place::of(&raw const SEEN);
    let at = RequestsAt {
        all,
        count: ALL,
        bytes: size_of::<Class>(),
        mean: offset_of!(Class, mean),
        fraction: FRACTION as usize,
        chunks: offset_of!(Class, chunks),
        calls: offset_of!(Class, calls),
        exact_max: SMALL_MAX,
        cached_max: CACHED_MAX,
        steps: STEPS,
    };
    (at, Piece { at: all, bytes: size_of_val(&SEEN) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a mean of 0 becomes by calls of rounding, weight and chunks.
    fn mean_of(calls: impl IntoIterator<Item = (i64, i64, i64)>) -> f64 {
        let mean = calls
            .into_iter()
            .enumerate()
            .fold(0, |mean, (calls, (bytes, some, all))| moved(mean, bytes << FRACTION, some, all, calls as u32));
        f64::from(mean) / f64::from(1 << FRACTION)
    }

    #[test]
    fn a_mean_moves_by_what_came_of_all_there_is() {
        assert_eq!(mean_of([(4, 100, 100)]), 4.0);
        assert_eq!(mean_of([(4, 100, 100), (8, 100, 200)]), 6.0);
        // More went than came (two threads at once): no chunks.
        assert_eq!(mean_of([(5, 1, -7)]), 5.0);
        let long = SLACK_MAX as i64;
        assert_eq!(mean_of([(long, 124, 124)]), SLACK_MAX as f64);
        assert!(mean_of([(0, 1, 1), (long, 124, i64::from(i32::MAX))]) < 0.01);
    }

    /// A class grows, is given up, and grows again with other requests: it speaks of those.
    #[test]
    fn a_class_that_was_given_up_is_forgotten() {
        let grown = |bytes| (1..=400).map(move |times| (bytes, 256, 256 * times));
        let mean = mean_of(grown(3).chain(grown(11)));
        assert!((10.3..11.0).contains(&mean), "{mean}");
        // And where half is given up, of both.
        let mean = mean_of(grown(3).chain((1..=200).map(|times| (11, 256, 256 * (200 + times)))));
        assert!((6.9..7.1).contains(&mean), "{mean}");
    }

    #[test]
    fn noted_calls_fall_on_all_of_a_loop() {
        // It has been at it for a while.
        let mut asker = Asker { passed: INTERVAL * PART, ..Asker::NEW };
        for length in [29, 63, 124] {
            for period in 2..=5 {
                let (mut met, mut at) = ([0; 5], 0);
                for _ in 0..4000 {
                    let chunks = asker.uneven(7, length);
                    asker.due -= chunks as i32;
                    if asker.due < 0 {
                        asker.draw();
                        met[at % period] += 1;
                    }
                    at += chunks;
                }
                let (met, all): (_, usize) = (&met[..period], met.iter().sum());
                assert!(met.iter().all(|&count| count * period * 2 > all), "{length} {period}: {met:?}");
                // Each stands for so many chunks.
                assert!(all * (INTERVAL as usize) < 2 * at && at < all * (INTERVAL as usize + length) * 2);
            }
        }
    }
}
