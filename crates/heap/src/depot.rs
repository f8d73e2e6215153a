//! Depots: whole magazines of freed chunks, by class, that wait for whichever thread wants them next. All arenas share them,
//! and a magazine may hold chunks of several: so what one thread frees another uses, wherever it lies, and both meet at no
//! arena's lock. (The idea is that of tcmalloc's transfer cache.)
//!
//! Chunks in a depot count as in use for their neighbours: nothing is merged before memory is wanted. Then their magazines
//! are taken apart, and each chunk goes home to its arena (`arena::scatter`). That happens when an arena would otherwise ask
//! the kernel and the depots hold a noticeable part of the heaps, with each magazine that comes when they hold much, to those
//! that nobody wanted for a while by decay, and to all by `malloc_trim`.

use crate::arena::{self, Arena};
use crate::decay;
use crate::kernel;
use crate::magazine::Magazine;
use crate::policy::POLICY;
use crate::size::*;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
// A figure that no path depends on.
use crate::sync::inbox::Item;
use crate::sync::lock::{Lock, Owner};
use crate::sync::waiting::Waiting;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::AtomicI32;
use heapglass_event::root::{DepotsAt, Piece, Place};

/// Chunks longer than this don't wait: merging costs little beside using them, and they may be what keeps a heap.
const LONGEST: usize = 4096;
/// Classes that have a depot.
pub const DEPOTS: usize = class_of(LONGEST);
/// Before an arena grows, the depots are merged if they hold more than this part of all heaps.
const PART: usize = 32;
/// Depots below this many bytes are never merged just because they are a large part of small heaps.
const KEEP: usize = 2 * 1024 * 1024;
/// Above this many bytes they are merged however large the heaps are: more couldn't be merged in time once they are idle.
const MOST: usize = 4 * 1024 * 1024;
/// Chunks that are merged when a magazine comes too many: more than it brings, so that the depots get shorter.
const THINNED: usize = 250;

/// One class. The fields beside the lock are written with it held.
#[repr(C, align(64))]
struct Depot {
    lock: Lock,
    waiting: Waiting,
    /// A stack, linked by the magazines.
    head: AtomicPtr<Magazine>,
    chunks: AtomicI32,
}

static ALL: [Depot; DEPOTS] = [const {
    let head = AtomicPtr::new(ptr::null_mut());
    Depot { lock: Lock::new(), waiting: Waiting::new(), head, chunks: AtomicI32::new(0) }
}; DEPOTS];

/// What they hold, all together.
static CHUNKS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// The class that is merged next.
static HAND: AtomicUsize = AtomicUsize::new(0);

/// Their locks, for a fork.
pub fn locks() -> impl Iterator<Item = &'static Lock> {
    ALL.iter().map(|depot| &depot.lock)
}

/// Takes a magazine of this class.
#[inline(always)]
pub fn take(class: usize, me: Owner) -> Option<*mut Magazine> {
    let depot = ALL.get(class)?;
    // A look from outside: most often there is one, or none for a long time.
    if depot.head.load(Relaxed).is_null() || !depot.lock.lock(me) {
        return None;
    }
    let magazine = depot.head.load(Relaxed);
    if !magazine.is_null() {
        // SAFETY: depots hold whole magazines that are nobody else's, and this one's lock is held.
        unsafe {
            depot.head.store(*Magazine::next(magazine), Relaxed);
            depot.chunks.store(depot.chunks.load(Relaxed).wrapping_sub((*magazine).count as i32), Relaxed);
            CHUNKS.fetch_sub((*magazine).count as usize, Relaxed);
            BYTES.fetch_sub((*magazine).units as usize * ALIGN, Relaxed);
        }
        depot.waiting.remove();
    }
    depot.lock.unlock();
    (!magazine.is_null()).then_some(magazine)
}

/// Takes in a magazine, full or not, with its count, class and units written. Magazines of classes without a depot, and all
/// where nothing shall wait, are taken apart at once.
///
/// # Safety
/// The magazine is the caller's, and from here on somebody else's.
pub unsafe fn put(magazine: *mut Magazine, own: &'static Arena, me: Owner) {
    // SAFETY: as the caller promises.
    unsafe {
        let depot = ALL.get((*magazine).class as usize).filter(|_| POLICY.decay.load(Relaxed) != 0);
        let Some(depot) = depot.filter(|depot| (*magazine).count > 0 && depot.lock.lock(me)) else {
            return arena::scatter(magazine, Some(own), 0, me);
        };
        depot.chunks.store(depot.chunks.load(Relaxed).wrapping_add((*magazine).count as i32), Relaxed);
        CHUNKS.fetch_add((*magazine).count as usize, Relaxed);
        BYTES.fetch_add((*magazine).units as usize * ALIGN, Relaxed);
        *Magazine::next(magazine) = depot.head.load(Relaxed);
        depot.head.store(magazine, Relaxed);
        depot.waiting.add();
        depot.lock.unlock();
    }
    decay::raise();
    let heaps = kernel::counters().heap_bytes.load(Relaxed) as usize;
    if BYTES.load(Relaxed) > (heaps / 2).clamp(KEEP, MOST) {
        merge(THINNED, Some(own), me);
    }
}

/// Do they hold so much that it should be merged before the kernel is asked?
pub fn are_full() -> bool {
    BYTES.load(Relaxed) > kernel::counters().heap_bytes.load(Relaxed) as usize / PART
}

/// Sends the chunks of magazines home, class after class so that neighbours meet, until it was so many chunks. Returns how
/// many; 0 where there are none. No arena's lock may be held.
pub fn merge(chunks: usize, own: Option<&'static Arena>, me: Owner) -> usize {
    let mut merged = 0;
    let mut empty = 0;
    while merged < chunks && empty < DEPOTS {
        let class = HAND.load(Relaxed);
        match take(class, me) {
            // SAFETY: taken, so ours.
            Some(magazine) => unsafe {
                merged += (*magazine).count as usize;
                arena::scatter(magazine, own, 0, me);
                empty = 0;
            },
            None => {
                HAND.store(if class + 1 < DEPOTS { class + 1 } else { 0 }, Relaxed);
                empty += 1;
            }
        }
    }
    merged
}

/// Calls `see` for each chunk that waits, with the class whose depot holds it. One depot is locked at a time; arenas may be.
/// `false` where a depot doesn't hold as many magazines as it says.
pub fn each(me: Owner, mut see: impl FnMut(usize, usize)) -> bool {
    let mut sound = true;
    for (class, depot) in ALL.iter().enumerate() {
        if !depot.lock.lock(me) {
            continue;
        }
        let (mut magazine, mut count) = (depot.head.load(Relaxed), 0);
        while !magazine.is_null() {
            count += 1;
            // SAFETY: a depot's magazine, and its lock is held.
            unsafe {
                Magazine::users(magazine).iter().for_each(|&user| see(class, user));
                magazine = *Magazine::next(magazine);
            }
        }
        sound &= count == depot.waiting.count();
        depot.lock.unlock();
    }
    sound
}

/// Chunks and bytes that wait.
pub fn held() -> (usize, usize) {
    (CHUNKS.load(Relaxed), BYTES.load(Relaxed))
}

/// Chunks of a class that wait.
pub fn held_of(class: usize) -> i32 {
    ALL.get(class).map_or(0, |depot| depot.chunks.load(Relaxed))
}

/// An epoch of decay begins: what wasn't wanted in the last one is idle.
pub fn enter_epoch() {
    ALL.iter().for_each(|depot| depot.waiting.enter_epoch());
}

/// Is nothing idle left?
pub fn is_settled() -> bool {
    ALL.iter().all(|depot| depot.waiting.idle() == 0)
}

/// Merges idle magazines, for `budget` chunks. What they held has been free for an epoch at least. Returns the rest of the
/// budget.
pub fn settle(mut budget: usize, me: Owner) -> usize {
    for (class, depot) in ALL.iter().enumerate() {
        while budget > 0 && depot.waiting.claim_idle() {
            let Some(magazine) = take(class, me) else { break };
            // SAFETY: taken, so ours.
            unsafe {
                budget = budget.saturating_sub((*magazine).count as usize);
                arena::scatter(magazine, None, decay::IDLE_EPOCHS, me);
            }
        }
    }
    budget
}

/// For `root`.
pub const fn seen() -> (DepotsAt, Piece) {
    let all = Place::of(&raw const ALL);
    let (bytes, lock, head) = (size_of::<Depot>(), offset_of!(Depot, lock), offset_of!(Depot, head));
    (DepotsAt { all, count: DEPOTS, bytes, lock, head }, Piece { at: all, bytes: size_of_val(&ALL) })
}
