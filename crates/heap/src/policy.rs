//! The settings, as plain data. They are written once before the first chunk is made, afterwards by `mallopt` and, while they
//! are dynamic, the two thresholds by freeing mapped chunks; every
//! reader takes the value of the moment.

use crate::cache::CHECKED;
use crate::secure;
use crate::size::{ALIGN, FAST_MAX, OVERHEAD};
use crate::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::Relaxed};
use crate::usdt;

/// Requests at and above this many bytes get a mapping of their own, unless the program moves the threshold.
pub const MMAP_THRESHOLD: usize = 128 * 1024;
/// The dynamic threshold stops here, and a threshold set by hand too.
pub const MMAP_THRESHOLD_MAX: usize = 32 * 1024 * 1024;

/// Of so many allocations about one is a guarded sample.
pub const GUARD_RATE: usize = 4000;
/// Samples that there is room for.
pub const GUARD_SLOTS: usize = 64;

pub struct Policy {
    pub mmap_threshold: AtomicUsize,
    pub trim_threshold: AtomicUsize,
    /// Bytes asked from the kernel beyond what is needed.
    pub top_pad: AtomicUsize,
    /// Mappings that chunks of their own may take at a time.
    pub mmap_max: AtomicUsize,
    /// Freeing a mapped chunk raises the thresholds, until one of them is set by hand.
    pub dynamic: AtomicBool,
    /// Most arenas there may be; 0 is 8 per core.
    pub arena_max: AtomicUsize,
    /// Thread caches off: every call takes the textbook's way.
    pub classic: AtomicBool,
    /// Frees wait for nothing: every fault stops at its own call.
    pub park: AtomicBool,
    /// Every call passes the slow path, where it is counted.
    pub observed: AtomicBool,
    /// Nobody else moves the break: Heapglass is the process's own malloc. Otherwise another allocator may move it between our
    /// look and our move, so it is never moved down.
    pub owns_break: AtomicBool,
    /// The main arena grows with the break. Not beside another allocator that does: neither knows when the other moves it.
    pub uses_break: AtomicBool,
    /// Largest chunk that a fast bin takes.
    pub fast_max: AtomicUsize,
    /// Milliseconds that free pages wait before the kernel gets them; -1 for ever.
    pub decay: AtomicIsize,
    /// Pages of the top are made ready ahead of their first touch.
    pub populate: AtomicBool,
    /// What is asked about huge pages, see `Thp`.
    pub thp: AtomicUsize,
    /// `M_PERTURB`: the byte to fill with, 0 for none.
    pub perturb: AtomicUsize,
    /// One in about so many allocations is a guarded sample, 0 for none; and was that asked for?
    guard: AtomicUsize,
    guard_asked: AtomicBool,
    /// Samples that there is room for.
    pub guard_slots: AtomicUsize,
    /// What they are drawn by, plus one; 0 where they shall differ from run to run.
    guard_seed: AtomicUsize,
}

pub static POLICY: Policy = Policy {
    mmap_threshold: AtomicUsize::new(MMAP_THRESHOLD),
    trim_threshold: AtomicUsize::new(MMAP_THRESHOLD),
    top_pad: AtomicUsize::new(128 * 1024),
    mmap_max: AtomicUsize::new(65536),
    dynamic: AtomicBool::new(true),
    arena_max: AtomicUsize::new(0),
    classic: AtomicBool::new(false),
    park: AtomicBool::new(true),
    observed: AtomicBool::new(false),
    owns_break: AtomicBool::new(false),
    uses_break: AtomicBool::new(true),
    fast_max: AtomicUsize::new(FAST_MAX),
    decay: AtomicIsize::new(1000),
    populate: AtomicBool::new(false),
    thp: AtomicUsize::new(Thp::Kernel as usize),
    perturb: AtomicUsize::new(0),
    guard: AtomicUsize::new(GUARD_RATE),
    guard_asked: AtomicBool::new(false),
    guard_slots: AtomicUsize::new(GUARD_SLOTS),
    guard_seed: AtomicUsize::new(0),
};

/// Who decides about huge pages in heaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thp {
    /// The kernel's own setting.
    Kernel = 0,
    /// None.
    Never,
    /// They are asked for where an arena is large.
    Madvise,
    /// They are asked for everywhere.
    Always,
}

impl Policy {
    /// Sets the mmap threshold by hand; `false` where it is out of range.
    pub fn set_mmap_threshold(&self, bytes: usize) -> bool {
        if bytes > MMAP_THRESHOLD_MAX {
            return false;
        }
        let old = self.mmap_threshold.swap(bytes, Relaxed);
        usdt::mallopt_mmap_threshold(bytes, old, self.dynamic.swap(false, Relaxed));
        true
    }

    pub fn set_trim_threshold(&self, bytes: usize) {
        let old = self.trim_threshold.swap(bytes, Relaxed);
        usdt::mallopt_trim_threshold(bytes, old, self.dynamic.swap(false, Relaxed));
    }

    pub fn set_top_pad(&self, bytes: usize) {
        let old = self.top_pad.swap(bytes.min(1 << 30), Relaxed);
        usdt::mallopt_top_pad(bytes, old, self.dynamic.swap(false, Relaxed));
    }

    pub fn set_mmap_max(&self, count: usize) {
        let old = self.mmap_max.swap(count, Relaxed);
        usdt::mallopt_mmap_max(count, old, self.dynamic.swap(false, Relaxed));
    }

    /// Chunks for requests up to this many bytes go to the fast bins; 0 turns them off. `false` where it is out of range.
    pub fn set_fast_max(&self, request: usize) -> bool {
        if request > 160 {
            return false;
        }
        let size = if request == 0 { 0 } else { (request + OVERHEAD) & !(ALIGN - 1) };
        self.fast_max.store(size.min(FAST_MAX), Relaxed);
        true
    }

    /// Sets the decay in milliseconds; -1 is for ever.
    pub fn set_decay(&self, milliseconds: Option<usize>) {
        let value = milliseconds.map_or(-1, |value| value.min(1 << 40) as isize);
        self.decay.store(value, Relaxed);
    }

    /// The decay in milliseconds; `None` where nothing decays.
    pub fn decay_ms(&self) -> Option<u64> {
        u64::try_from(self.decay.load(Relaxed)).ok()
    }

    /// Does memory that the program gave up go back at once wherever it can? So in classic mode, where each step is to be
    /// seen, without a decay, and where nothing would give back later what is kept now.
    pub fn keeps_nothing(&self) -> bool {
        self.classic.load(Relaxed) || self.decay.load(Relaxed) <= 0
    }

    pub fn set_thp(&self, thp: Thp) {
        self.thp.store(thp as usize, Relaxed);
    }

    pub fn thp(&self) -> Thp {
        let value = self.thp.load(Relaxed);
        [Thp::Never, Thp::Madvise, Thp::Always].into_iter().find(|&thp| thp as usize == value).unwrap_or(Thp::Kernel)
    }

    pub fn set_arena_max(&self, count: usize) {
        usdt::mallopt_arena_max(count, self.arena_max.swap(count, Relaxed));
    }

    /// Fills memory with a byte when it is freed, and with its complement when it is handed out. 0 turns it off.
    pub fn set_perturb(&self, byte: usize) {
        usdt::mallopt_perturb(byte, self.perturb.swap(byte & 0xff, Relaxed));
    }

    /// A mapped chunk of this length was freed: a program that cycles it shall stop paying for mappings. `true` where the
    /// thresholds rose.
    pub fn mapping_freed(&self, bytes: usize) -> bool {
        let rises =
            self.dynamic.load(Relaxed) && bytes > self.mmap_threshold.load(Relaxed) && bytes <= MMAP_THRESHOLD_MAX;
        if rises {
            self.mmap_threshold.store(bytes, Relaxed);
            self.trim_threshold.store(2 * bytes, Relaxed);
            usdt::thresholds_rose(bytes, 2 * bytes);
        }
        rises
    }

    /// Asks for a guarded sample in so many allocations; 0 is none, 1 each that finds a slot.
    pub fn set_guard(&self, rate: usize) {
        self.guard.store(rate.min(1 << 40), Relaxed);
        self.guard_asked.store(true, Relaxed);
    }

    /// The same program samples the same allocations.
    pub fn set_guard_seed(&self, seed: usize) {
        self.guard_seed.store(seed.wrapping_add(1).max(1), Relaxed);
        self.guard_asked.store(true, Relaxed);
    }

    pub fn guard_seed(&self) -> Option<usize> {
        self.guard_seed.load(Relaxed).checked_sub(1)
    }

    /// Was anything said about samples? Then they begin with the first call, and are as many as was said.
    pub fn guard_asked(&self) -> bool {
        self.guard_asked.load(Relaxed)
    }

    /// One allocation in about so many is a sample; 0 for none. In classic mode addresses are the textbook's.
    pub fn guard_rate(&self) -> usize {
        // Where nothing is checked, nothing tells a sample from a chunk.
        if self.classic.load(Relaxed) || !CHECKED { 0 } else { self.guard.load(Relaxed) }
    }

    /// Are samples to be told one by one: every allocation, or the same ones in each run?
    fn counts_guards(&self) -> bool {
        self.guard_seed.load(Relaxed) != 0 || self.guard.load(Relaxed) == 1
    }

    /// Must every call be taken exactly, with nothing parked and each pointer looked up?
    pub fn is_exact(&self) -> bool {
        let perturbs = self.perturb.load(Relaxed) != 0;
        let is_told = self.classic.load(Relaxed) || !self.park.load(Relaxed) || perturbs;
        is_told || self.counts_guards() || secure::is_on()
    }
}
