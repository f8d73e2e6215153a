//! Depots: whole magazines of freed chunks, by class, that wait at their arena. Their chunks count as in use for their
//! neighbours: nothing is merged before memory is wanted. Some are merged when the arena would otherwise ask the kernel and
//! they hold more than an eighth of it, and with each magazine that comes when they hold much; those that nobody wanted for a
//! while by decay, and all by `malloc_trim`.
//!
//! # Safety
//! As in `store`, of which this is a part.

use crate::chunk::{Chunk, State};
use crate::decay;
use crate::die;
use crate::magazine::{self, Magazine};
use crate::policy::POLICY;
use crate::size::*;
use crate::store::Store;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::inbox::Item;
use crate::top;

/// Classes that have one: the exact ones.
pub const DEPOTS: usize = SMALL_MAX / ALIGN + 1;
/// Depots below this many bytes are never merged just because they are a large part of a small arena.
const DEPOT_KEEP: usize = 4 * 1024 * 1024;
/// Above this many bytes they are merged however large the arena is: more couldn't be merged in time once it is idle.
const DEPOT_MAX: usize = 8 * 1024 * 1024;
/// Magazines that are merged when one comes too many: one more than comes, so that the depots get shorter.
const THINNED: usize = 2;
/// Magazines that are merged before the arena asks the kernel.
const BEFORE_GROWTH: usize = 24;

impl Store {
    /// Merges what the fast bins hold and some magazines: a bounded piece of work, done again before the next growth.
    pub fn consolidate_some(&mut self) {
        self.consolidate_fast();
        for _ in 0..BEFORE_GROWTH {
            if !self.merge_magazine() {
                break;
            }
        }
    }

    /// Merges one magazine of the depots, class after class, so that neighbours meet; `false` where there is none.
    pub fn merge_magazine(&mut self) -> bool {
        let next = (0..DEPOTS).map(|step| (self.depot_hand + step) % DEPOTS).find(|&class| self.has_depot(class));
        let Some(class) = next else { return false };
        self.depot_hand = class;
        if let Some(magazine) = self.depot_take(class) {
            // SAFETY: taken out just now.
            unsafe { self.empty(magazine) };
        }
        true
    }

    fn has_depot(&self, class: usize) -> bool {
        self.depots.get(class).is_some_and(|head| !head.is_null())
    }

    /// Merges the chunks of a magazine and puts the magazine away.
    ///
    /// # Safety
    /// The magazine is out of its depot, and from here on nobody's.
    pub unsafe fn empty(&mut self, magazine: *mut Magazine) {
        // SAFETY: the magazine is in no cache and ours; each chunk is proven before it is believed.
        unsafe {
            for &mut user in Magazine::users(magazine) {
                let chunk = Chunk::from_user(user);
                if !chunk.is(State::Cached) {
                    die::corrupt_header(chunk, "free, in a cache");
                }
                self.merge(chunk, chunk.size(), true);
            }
            magazine::put(magazine);
        }
    }

    /// Takes a magazine of this class from the depot.
    pub fn depot_take(&mut self, class: usize) -> Option<*mut Magazine> {
        let head = self.depots.get_mut(class)?;
        if head.is_null() {
            return None;
        }
        let magazine = *head;
        // SAFETY: depots hold whole magazines that are nobody else's.
        unsafe {
            *head = *<Magazine as Item>::next(magazine);
            self.depot_chunks -= (*magazine).count as usize;
            self.depot_bytes -= (*magazine).count as usize * class * ALIGN;
        }
        self.decay.note(class, false);
        Some(magazine)
    }

    /// Takes in a magazine whose chunks are all this arena's: into the depot of its class, or, where there is none, into the
    /// bins.
    ///
    /// # Safety
    /// The magazine is the caller's, and from here on the store's.
    pub unsafe fn depot_put(&mut self, magazine: *mut Magazine) {
        // SAFETY: as the caller promises.
        let (class, count) = unsafe { ((*magazine).class as usize, (*magazine).count as usize) };
        let Some(head) = self.depots.get_mut(class) else {
            return self.empty_unsorted(magazine);
        };
        // SAFETY: as above.
        unsafe { *<Magazine as Item>::next(magazine) = *head };
        *head = magazine;
        self.depot_chunks += count;
        self.depot_bytes += count * class * ALIGN;
        self.decay.note(class, true);
        decay::raise();
        if POLICY.decay.load(Relaxed) == 0 {
            self.merge_magazine();
            top::trim_beyond(self);
        } else if self.depot_bytes > (self.system_bytes / 2).clamp(DEPOT_KEEP, DEPOT_MAX) {
            for _ in 0..THINNED {
                self.merge_magazine();
            }
            top::trim_beyond(self);
        }
    }

    /// Gives each chunk of a magazine back as if it had been freed by itself.
    fn empty_unsorted(&mut self, magazine: *mut Magazine) {
        // SAFETY: as in `empty`.
        unsafe {
            for &mut user in Magazine::users(magazine) {
                let chunk = Chunk::from_user(user);
                if !chunk.is(State::Cached) {
                    die::corrupt_header(chunk, "free, on its way home");
                }
                self.give(chunk, chunk.size());
            }
            magazine::put(magazine);
        }
    }
}
