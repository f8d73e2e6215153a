//! Which allocations are sampled. No fast path counts for it: how many allocations went by is known from what the slow paths see
//! anyway. What a thread took out of its cache is what came in, by frees (`Head::until_look` counts them) and by magazines that
//! were loaded, less what went out in magazines; what is in it now evens out. So a thread has a number of allocations to go, drawn at
//! random; each slow path takes off what passed. When none are left, the head's limit becomes 0, which sends the next malloc by
//! the slow path, where it is the sample.
//!
//! While every call is exact, all are seen, and are counted one by one.

use crate::arch;
use crate::cache::LOOKED;
use crate::chunk::SECRET;
use crate::policy::POLICY;
use crate::sync::atomic::Ordering::Relaxed;

/// For ever.
const NEVER: i64 = i64::MAX / 2;
/// Nearer than the next look.
const NEAR: i64 = LOOKED as i64;
/// Unless a rate was asked for, samples of a thread lie so many cycles apart at least: twenty milliseconds or so. A sample costs
/// ten to thirty microseconds, most of them system calls and cold memory, so that bounds its share of the time where a thread does
/// nothing but allocate.
const APART: u64 = 1 << 26;
/// Such a thread looks for the time to come at up to so many doublings of the rate, which it keeps until the next sample.
const EARLY_MAX: u32 = 4;

#[derive(Clone, Copy)]
pub struct Sampler {
    /// Allocations to go.
    left: i64,
    /// Fewer to go than this: the next sample is near.
    near: i64,
    /// What `Head::until_look` was set to.
    look_from: u32,
    random: u64,
    /// The counter of cycles at the last sample.
    last: u64,
    /// Times in a row that one was due too early.
    early: u32,
    /// Times in a row that one was due and no malloc came, and looks until that is tried again.
    misses: u32,
    quiet: u32,
}

impl Sampler {
    /// For the `index`th thread.
    pub fn new(index: u32) -> Sampler {
        let seed = POLICY.guard_seed().unwrap_or(SECRET.load(Relaxed) as usize);
        let random = (seed as u64 ^ u64::from(index).wrapping_add(1) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut sampler =
            Sampler { left: 0, near: NEAR, look_from: LOOKED, random, last: 0, early: 0, misses: 0, quiet: 0 };
        sampler.draw();
        sampler
    }

    /// As another thread left it.
    pub fn resumed(self) -> Sampler {
        Sampler { look_from: LOOKED, near: NEAR, ..self }
    }

    /// Is every look one that matters, because a profile is taken too?
    pub fn look_closely(&mut self, closely: bool) {
        self.near = if closely { i64::MAX } else { NEAR };
    }

    /// xorshift64* (Vigna 2016).
    fn next(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// How many go by before the next: any number up to nearly twice the rate, each as likely.
    fn draw(&mut self) {
        let rate = POLICY.guard_rate() as u64;
        let spread = (2 * rate).saturating_sub(1);
        // The upper half is the better one.
        self.left = (self.next() >> 20).checked_rem(spread).map_or(NEVER, |value| value as i64 + 1);
    }

    /// So many allocations went by; less than 0 where chunks left the cache.
    #[inline]
    pub fn pass(&mut self, count: i64) {
        self.left -= count;
    }

    /// A thread's slow path came by, `until_look` frees before it had to. Is the next sample nearer than the next look?
    #[inline]
    pub fn look(&mut self, until_look: u32) -> bool {
        self.pass(i64::from(self.look_from.wrapping_sub(until_look)));
        self.look_from = LOOKED;
        self.left < self.near
    }

    /// Then this is the number of frees to the next look. It is never 1: the free that comes by may go on to the fast path, which
    /// must not count down to 0 at once.
    pub fn look_soon(&mut self) -> u32 {
        if !self.is_due() {
            self.look_from = self.left.clamp(2, i64::from(LOOKED)) as u32;
        }
        self.look_from
    }

    /// As `look` and `look_soon` together.
    pub fn look_at(&mut self, until_look: u32) -> u32 {
        self.look(until_look);
        self.look_soon()
    }

    /// `until_look` was set to this instead.
    pub fn looks_from(&mut self, until_look: u32) {
        self.look_from = until_look;
    }

    #[inline]
    pub fn is_due(&self) -> bool {
        self.left <= 0
    }

    /// One is due. May it be now? If it is too early, another number is drawn, each time from twice as many. `was_due` is said where it was before, and no malloc
    /// came: the thread does nothing but free. Then it is left alone for some looks, each time for twice as many.
    #[cold]
    pub fn allow(&mut self, is_warm: bool, was_due: bool) -> bool {
        // The number to go was drawn while there were samples. There may be some again later.
        if POLICY.guard_rate() == 0 {
            self.left = 64 * NEAR;
            return false;
        }
        let is_early = || !is_warm || arch::cycles().wrapping_sub(self.last) < APART;
        if !POLICY.guard_asked() && is_early() {
            self.draw();
            self.left <<= self.early;
            self.early = (self.early + 1).min(EARLY_MAX);
            return false;
        }
        if was_due {
            self.quiet = 1 << self.misses;
            self.misses = (self.misses + 1).min(20);
        }
        let is_quiet = self.quiet > 0;
        self.quiet = self.quiet.saturating_sub(1);
        !is_quiet
    }

    /// The next allocation is a sample. Returns a number for its chances.
    pub fn take(&mut self) -> u64 {
        // What passed beyond it, all at once in a magazine, counts for the next.
        let beyond = self.left;
        self.draw();
        self.left = (self.left + beyond).max(1);
        (self.early, self.misses, self.quiet) = (0, 0, 0);
        self.last = arch::cycles();
        self.next()
    }
}
