//! Decay: what the program freed and doesn't come back to goes to the kernel after a while, without being asked for.
//!
//! There is no thread for it. The slow paths look at the clock now and then while anything is waiting, and do a bounded piece of
//! work: on every arena whose lock is free, so that a thread's traffic also serves those that sleep or ended. The longer nobody
//! came by, the larger the piece, so that little traffic gets as far as much.
//!
//! An epoch is half a decay. When a store enters one, it looks back at the last:
//! - a thread that comes by sends its cache home;
//! - magazines that a depot never needed in it are merged, a few at a time;
//! - pages inside free chunks that were dirty for a decay are released (`bins::pages`);
//! - the part of the top that was never cut is trimmed, but for the pad;
//! - a spare heap or a kept mapping that nobody took goes.
//!
//! An epoch isn't left before its work is done.

use crate::arch;
use crate::arena;
use crate::depot;
use crate::mapped;
use crate::policy::POLICY;
use crate::store::Store;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use crate::sync::lock::Owner;
use crate::thread;
use crate::top;
use core::ops::ControlFlow;
use heapglass_os as os;

/// A top that is longer than the pad by less isn't worth a call.
pub const TOP_MIN: usize = 256 * 1024;
/// Cycles between two looks at the clock: about a millisecond.
const CYCLES: u64 = 1 << 21;
/// Bytes of pages that may be released for each millisecond since the last time, at least, and in one call at most.
const BYTES_PER_MS: usize = 1 << 20;
const BYTES_MAX: usize = 64 << 20;
/// Milliseconds in which all that waits would be done.
const DONE_IN_MS: usize = 256;
/// Epochs for which the chunks of an idle magazine have been free, as far as is known.
pub const IDLE_EPOCHS: usize = 2;
/// What merging one chunk of a magazine costs, in bytes of pages released.
const CHUNK_BYTES: usize = 2048;
/// Arenas that one call looks at.
const ARENAS: usize = 16;

/// Something may be waiting. Off, the slow paths pay one load.
static WAITING: AtomicBool = AtomicBool::new(false);
/// The counter of cycles when the clock was last read.
static LOOKED: AtomicU64 = AtomicU64::new(0);
/// Milliseconds when work was last done.
static WORKED: AtomicU64 = AtomicU64::new(0);
/// What waited in the arenas when each was last looked at, as bytes of pages.
static BACKLOG: AtomicUsize = AtomicUsize::new(0);
/// One thread at a time.
static BUSY: AtomicBool = AtomicBool::new(false);
static EPOCH: AtomicU32 = AtomicU32::new(0);
/// When it began, in milliseconds.
static BEGAN: AtomicU64 = AtomicU64::new(0);
/// When the depots' epoch began.
static DEPOTS_BEGAN: AtomicU64 = AtomicU64::new(0);
/// The arena that is looked at next.
static HAND: AtomicU32 = AtomicU32::new(0);

/// What one store remembers between epochs.
pub struct Decay {
    /// When the epoch began, in milliseconds; 0 before the first.
    began: u64,
    /// The shortest top since then, and in the epoch before.
    pub top_low: usize,
    top_low_before: usize,
    /// Bytes at the top's end that wait to be trimmed.
    top_idle: usize,
    /// Epochs that memory which is merged now has lain idle.
    pub idle_epochs: usize,
    /// The fast bins have been full for an epoch.
    fast_idle: bool,
}

impl Decay {
    pub const fn unset() -> Decay {
        Decay { began: 0, top_low: 0, top_low_before: 0, top_idle: 0, idle_epochs: 0, fast_idle: false }
    }
}

/// Something was freed that may be given back later.
#[inline]
pub fn raise() {
    if !WAITING.load(Relaxed) {
        WAITING.store(true, Relaxed);
    }
}

/// Called on the slow paths, with no lock held. Returns the process's epoch.
#[inline]
pub fn tick() -> u32 {
    if WAITING.load(Relaxed) && arch::cycles().wrapping_sub(LOOKED.load(Relaxed)) >= CYCLES {
        tick_slow();
    }
    epoch()
}

/// Half decays in which something waited. Threads send their caches home when it changes.
#[inline]
pub fn epoch() -> u32 {
    EPOCH.load(Relaxed)
}

/// Threads come by anew: each sends its cache home and asks what else has changed.
pub fn begin_epoch() {
    EPOCH.fetch_add(1, Release);
}

#[cold]
#[inline(never)]
fn tick_slow() {
    let Some(decay) = POLICY.decay_ms() else { return WAITING.store(false, Relaxed) };
    if BUSY.swap(true, Acquire) {
        return;
    }
    LOOKED.store(arch::cycles(), Relaxed);
    let now = os::clock_nanos() / 1_000_000;
    let passed = now.saturating_sub(WORKED.swap(now, Relaxed));
    if passed > 0 {
        if now.saturating_sub(BEGAN.load(Relaxed)) >= period(decay) {
            BEGAN.store(now, Relaxed);
            EPOCH.fetch_add(1, Relaxed);
        }
        let rate = (BACKLOG.swap(0, Relaxed) / DONE_IN_MS).max(BYTES_PER_MS);
        let mut budget = (passed as usize).saturating_mul(rate).min(BYTES_MAX);
        // What is freed meanwhile raises it again.
        WAITING.store(false, Relaxed);
        if work(now, decay, &mut budget) {
            raise();
        }
    }
    BUSY.store(false, Release);
}

/// `true` where something still waits.
fn work(now: u64, decay: u64, budget: &mut usize) -> bool {
    let (count, me) = (arena::count(), thread::owner());
    let mut waits = count > ARENAS;
    let first = HAND.load(Relaxed) as usize;
    for step in 0..count.min(ARENAS) {
        let index = (first + step).checked_rem(count).unwrap_or(0);
        waits |= match arena::get(index).try_lock(me) {
            Some(mut guard) => guard.decay(now, decay, budget),
            None => true,
        };
        if *budget == 0 {
            HAND.store(index as u32, Relaxed);
            return true;
        }
    }
    HAND.store((first + ARENAS.min(count)).checked_rem(count).unwrap_or(0) as u32, Relaxed);
    mapped::decay(now, decay) | decay_depots(now, decay, budget, me) | waits
}

/// The depots' part of the work.
fn decay_depots(now: u64, decay: u64, budget: &mut usize, me: Owner) -> bool {
    if now.saturating_sub(DEPOTS_BEGAN.load(Relaxed)) >= period(decay) && depot::is_settled() {
        DEPOTS_BEGAN.store(now, Relaxed);
        depot::enter_epoch();
    }
    *budget = depot::settle(*budget / CHUNK_BYTES, me) * CHUNK_BYTES;
    let (chunks, _) = depot::held();
    BACKLOG.fetch_add(chunks * CHUNK_BYTES, Relaxed);
    chunks > 0
}

/// The length of an epoch.
pub fn period(decay: u64) -> u64 {
    (decay / 2).max(1)
}

/// In a forked child nobody else is at work.
pub fn reset() {
    BUSY.store(false, Relaxed);
}

impl Store {
    /// One bounded piece of work; `true` where something still waits.
    fn decay(&mut self, now: u64, decay: u64, budget: &mut usize) -> bool {
        if now.saturating_sub(self.decay.began) >= period(decay) && self.is_settled() {
            // A silence counts as one epoch, however long: what was freed at its end may be wanted again.
            self.decay.began = now;
            self.enter_epoch();
        }
        self.settle(budget);
        BACKLOG.fetch_add(self.bins.pages.dirty, Relaxed);
        let top_waits = self.top_size() > POLICY.top_pad.load(Relaxed) + TOP_MIN;
        self.bins.pages.count > 0 || self.fast.count > 0 || top_waits || self.spare.is_some()
    }

    /// Is the epoch's work done?
    fn is_settled(&mut self) -> bool {
        !self.bins.pages.is_due() && self.decay.top_idle == 0 && !self.decay.fast_idle
    }

    fn enter_epoch(&mut self) {
        self.bins.pages.epoch += 1;
        let top = self.top_size();
        let decay = &mut self.decay;
        let low = decay.top_low.min(decay.top_low_before);
        (decay.top_low_before, decay.top_low) = (decay.top_low, top);
        let pad = POLICY.top_pad.load(Relaxed);
        decay.top_idle = if low > pad + TOP_MIN { low - pad } else { 0 };
        if decay.top_idle > 0 {
            self.trim_slack = 0;
        }
        decay.fast_idle = self.fast.count > 0;
        top::drop_spare(self);
    }

    fn settle(&mut self, budget: &mut usize) {
        if self.decay.fast_idle {
            self.consolidate_fast();
            self.decay.fast_idle = false;
        }
        let span = self.span;
        // SAFETY: the store is locked.
        unsafe { self.bins.pages.release_due(&span, budget) };
        if self.decay.top_idle > 0 && *budget > 0 {
            let bytes = self.decay.top_idle.min(*budget);
            let keep = self.top_size().saturating_sub(bytes).max(POLICY.top_pad.load(Relaxed));
            let gave = top::trim(self, keep);
            self.decay.top_idle = if gave { self.decay.top_idle - bytes } else { 0 };
            *budget -= bytes;
        }
    }
}

/// Gives back now what can be given back of all arenas, a bounded piece at a time, between which others get their turn.
/// Leaves `pad` bytes of each top. `true` where the kernel got anything.
pub fn all_now(pad: usize, me: Owner) -> bool {
    let mut gave = mapped::drop_kept();
    // What others free meanwhile is theirs to give back: what there is is counted beforehand.
    let (mut chunks, _) = depot::held();
    while chunks > 0 {
        let merged = depot::merge(PIECE_CHUNKS, None, me);
        chunks = if merged > 0 { chunks.saturating_sub(merged) } else { 0 };
    }
    for arena in arena::all() {
        let Some(mut pieces) = arena.lock(me).map(|guard| guard.pieces()) else { continue };
        while pieces > 0
            && let Some(mut guard) = arena.lock(me)
        {
            pieces -= 1;
            let more = guard.give_back_some(pad, &mut gave);
            drop(guard);
            if more.is_break() {
                break;
            }
        }
    }
    gave
}

/// Bytes of pages that one piece of `malloc_trim` releases.
const PIECE_BYTES: usize = 8 << 20;
/// Chunks that it merges.
const PIECE_CHUNKS: usize = 8192;

impl Store {
    /// Pieces that are enough for all that is there, and some more.
    fn pieces(&self) -> usize {
        4 + self.bins.pages.count / 64 + self.system_bytes / (PIECE_BYTES / 4)
    }

    /// One piece: the top, then pages inside chunks.
    fn give_back_some(&mut self, pad: usize, gave: &mut bool) -> ControlFlow<()> {
        self.consolidate_fast();
        *gave |= top::drop_spare_now(self);
        *gave |= top::trim(self, pad);
        let (span, mut budget) = (self.span, PIECE_BYTES);
        // SAFETY: the store is locked.
        *gave |= unsafe { self.bins.pages.release_any(&span, &mut budget) } > 0;
        if self.bins.pages.count > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
