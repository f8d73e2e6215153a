//! Chunks of other arenas in a thread's cache: which of them go home at once, and how those are found that have gone round for a while.

use crate::arena;
use crate::cache::SENTINEL;
use crate::chunk::{Chunk, State};
use crate::free;
use crate::magazine::proven;
use crate::profile;
use crate::region;
use crate::size::class_of;
use crate::thread::{self, Thread};
use core::ptr;

impl Thread {
    /// A cache doesn't begin a class with another arena's chunk: handed out here, it would share its cache line with what that
    /// arena's threads use. A thread that goes on freeing such chunks does cache them, after the first few.
    pub fn is_somebody_elses(&mut self, chunk: Chunk, class: usize) -> bool {
        const FEW: u8 = 16;
        let begins = self.magazines.get(class).is_some_and(|magazine| magazine.is_null());
        let Some(foreign) = self.foreign.get_mut(class).filter(|foreign| begins && **foreign < FEW) else {
            return false;
        };
        let is_own = region::owner(chunk.address()).is_none_or(|home| ptr::eq(arena::get(home), self.arena));
        *foreign += u8::from(!is_own);
        !is_own
    }

    /// Called at a look at the clock. Where a class neither got nor gave away a magazine for a while, the same few chunks go
    /// round. Those among them that are another arena's share cache lines with what that arena's threads use, and would do so for
    /// ever: they go home, and chunks of the thread's own arena take their place. (Emery Berger calls this passive false sharing.)
    pub fn look_for_strays(&mut self) {
        /// A class is searched at one look of so many: searching costs as much as a few frees. A prime, too.
        const SELDOM: u32 = 17;
        self.looks = self.looks.wrapping_add(1);
        if !self.looks.is_multiple_of(SELDOM) {
            return;
        }
        profile::look_for_tracers();
        if arena::count() < 2 {
            return;
        }
        let older = self.cache.head.parked[1] as usize;
        if free::home_of(older).is_none() || !Chunk::from_user(older).is(State::Live) {
            return;
        }
        let class = class_of(Chunk::from_user(older).size());
        if !self.stirred.get_mut(class).is_none_or(core::mem::take) && self.send_strays_home(class) {
            // The next look searches again: others were in the program's hands just now.
            self.looks = self.looks.wrapping_sub(1);
        }
    }

    /// Returns whether there were any.
    #[cold]
    fn send_strays_home(&mut self, class: usize) -> bool {
        /// The newest, which are those that go round.
        const NEWEST: usize = 16;
        let Some(bin) = self.cache.bins.get_mut(class) else { return false };
        let (me, own) = (thread::owner(), self.arena);
        let is_stray = |user: usize| {
            region::owner(Chunk::from_user(user).address()).is_some_and(|home| !ptr::eq(arena::get(home), own))
        };
        let (mut slot, mut found) = (bin.top, false);
        for _ in 0..NEWEST {
            // SAFETY: down to the zero guard of a magazine, or the sentinel's, the slots below the position are filled; what is
            // taken out of the middle is replaced by the newest.
            unsafe {
                slot = slot.sub(1);
                let user = *slot;
                if user == SENTINEL as usize {
                    break;
                }
                if is_stray(user) {
                    found = true;
                    let chunk = proven(user);
                    bin.top = bin.top.sub(1);
                    *slot = *bin.top;
                    arena::send_home(chunk, chunk.size(), Some(own), me);
                }
            }
        }
        found
    }
}
