//! Depots: whole magazines of freed chunks, by class, that wait at their arena. Their chunks count as in use for their
//! neighbours: nothing is merged before memory is wanted. They are merged when the arena would otherwise ask the kernel and
//! they hold more than an eighth of it, when they hold more than half of a large arena, and by `malloc_trim`.
//!
//! # Safety
//! As in `store`, of which this is a part.

use crate::chunk::{Chunk, State};
use crate::die;
use crate::magazine::{self, Magazine};
use crate::policy::POLICY;
use crate::size::*;
use crate::store::Store;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::inbox::Item;
use crate::top;

/// Chunks longer than this don't wait: merging costs little beside using them, and they may be what keeps a heap.
const LONGEST: usize = 4096;
/// Classes that have a depot.
pub const DEPOTS: usize = class_of(LONGEST);
/// Depots below this many bytes are never merged just because they are a large part of a small arena.
const DEPOT_KEEP: usize = 4 * 1024 * 1024;

impl Store {
    /// Merges what the fast bins and the depots hold.
    pub fn consolidate(&mut self) {
        self.consolidate_fast();
        for class in 0..DEPOTS {
            while let Some(magazine) = self.depot_take(class) {
                self.empty(magazine);
            }
        }
    }

    /// Merges some magazines of the depots, class after class: a bounded piece of work, done again with the next magazine
    /// that comes.
    fn thin_depots(&mut self) {
        const MAGAZINES: usize = 16;
        for _ in 0..MAGAZINES {
            let next = (0..DEPOTS).map(|step| (self.depot_hand + step) % DEPOTS).find(|&class| self.has_depot(class));
            let Some(class) = next else { return };
            self.depot_hand = (class + 1) % DEPOTS;
            if let Some(magazine) = self.depot_take(class) {
                self.empty(magazine);
            }
        }
    }

    fn has_depot(&self, class: usize) -> bool {
        self.depots.get(class).is_some_and(|head| !head.is_null())
    }

    /// Merges the chunks of a magazine and puts the magazine away.
    fn empty(&mut self, magazine: *mut Magazine) {
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
            self.depot_bytes -= (*magazine).units as usize * ALIGN;
        }
        Some(magazine)
    }

    /// Takes in a magazine whose chunks are all this arena's: into the depot of its class, or, where there is none, into the
    /// bins.
    ///
    /// # Safety
    /// The magazine is the caller's, and from here on the store's.
    pub unsafe fn depot_put(&mut self, magazine: *mut Magazine) {
        // SAFETY: as the caller promises.
        let (class, count, bytes) =
            unsafe { ((*magazine).class as usize, (*magazine).count as usize, (*magazine).units as usize * ALIGN) };
        let Some(head) = self.depots.get_mut(class) else {
            return self.empty_unsorted(magazine);
        };
        // SAFETY: as above.
        unsafe { *<Magazine as Item>::next(magazine) = *head };
        *head = magazine;
        self.depot_chunks += count;
        self.depot_bytes += bytes;
        if self.depot_bytes > DEPOT_KEEP && self.depot_bytes > self.system_bytes / 2 {
            self.thin_depots();
            top::trim_beyond(self, POLICY.trim_threshold.load(Relaxed));
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
