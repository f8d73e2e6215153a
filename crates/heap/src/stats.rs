//! Figures of the heap as it is now, for mallinfo, malloc_info and malloc_stats and for the Rust API.

use crate::arena;
use crate::bins::{fast, large};
use crate::chunk::Chunk;
use crate::depot::{self, DEPOTS};
use crate::guard;
use crate::kernel;
use crate::list;
use crate::mapped;
use crate::region;
use crate::size::ALIGN;
use crate::store::Store;
use crate::sync::atomic::Ordering::Relaxed;
use crate::thread;

/// Figures of one arena, or of all. Bytes of chunks, with headers and rounding.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of heap obtained from the kernel, now and at most.
    pub system: usize,
    pub system_peak: usize,
    /// Chunks and bytes in fast bins and depots: freed, not merged.
    pub fast_chunks: usize,
    pub fast_bytes: usize,
    /// Chunks and bytes in the unsorted, small and large bins.
    pub free_chunks: usize,
    pub free_bytes: usize,
    /// Bytes of the tops.
    pub top: usize,
    /// Mapped chunks and the bytes of their mappings; guarded samples, with their pages, among them.
    pub mapped_chunks: usize,
    pub mapped_bytes: usize,
    /// The most of them that there were at a time.
    pub mapped_chunks_peak: usize,
    pub mapped_peak: usize,
    pub arenas: usize,
}

impl Figures {
    /// Bytes of chunks in use, or in a thread's cache.
    pub fn in_use(&self) -> usize {
        self.system.saturating_sub(self.fast_bytes + self.free_bytes + self.top)
    }

    fn add(&mut self, store: &Store) {
        self.system += store.system_bytes;
        self.system_peak += store.system_peak;
        self.fast_chunks += store.fast.count;
        self.fast_bytes += store.fast.bytes;
        self.free_chunks += store.bins.count;
        self.free_bytes += store.bins.bytes;
        self.top += store.top_size();
        self.arenas += 1;
    }
}

/// One arena's figures.
pub fn of_arena(index: usize) -> Figures {
    let mut figures = Figures::default();
    if let Some(guard) = arena::get(index).lock(thread::owner()) {
        figures.add(&guard);
        depot::each(thread::owner(), |_, user| {
            if region::owner(Chunk::from_user(user).address()) == Some(index) {
                figures.fast_chunks += 1;
                figures.fast_bytes += Chunk::from_user(user).size();
            }
        });
    }
    figures
}

/// All arenas' figures, and the mapped chunks'. Each arena at its own moment.
pub fn all() -> Figures {
    let (samples, sample_bytes) = guard::held();
    let mut figures = Figures {
        mapped_chunks: mapped::CHUNKS.load(Relaxed) + samples,
        mapped_bytes: mapped::BYTES.load(Relaxed) + sample_bytes,
        mapped_chunks_peak: mapped::CHUNKS_PEAK.load(Relaxed),
        mapped_peak: kernel::counters().mapped_peak_bytes.load(Relaxed) as usize,
        ..Figures::default()
    };
    (figures.fast_chunks, figures.fast_bytes) = depot::held();
    for arena in arena::all() {
        if let Some(guard) = arena.lock(thread::owner()) {
            figures.add(&guard);
        }
    }
    figures
}

/// Free chunks of one size range.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub from: usize,
    pub to: usize,
    pub count: usize,
    pub total: usize,
    pub list: List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Fast,
    Bin,
    Unsorted,
}

/// Calls `see` for each list of an arena that holds something: fast bins and depots by size, then small and large bins, then
/// the unsorted bin. The arena is locked meanwhile, so `see` must not allocate.
pub fn each_size(index: usize, mut see: impl FnMut(Sizes)) {
    let Some(mut guard) = arena::get(index).lock(thread::owner()) else { return };
    let store = &mut *guard;
    let span = store.span;
    let mut report = |list, range: Range| {
        if range.count > 0 {
            see(Sizes { from: range.from, to: range.to, count: range.count, total: range.total, list });
        }
    };
    // SAFETY: the store is locked; lists are proven as they are followed.
    unsafe {
        let mut waiting = [Range::default(); DEPOTS];
        depot::each(thread::owner(), |class, user| {
            if region::owner(Chunk::from_user(user).address()) == Some(index)
                && let Some(range) = waiting.get_mut(class)
            {
                range.see(Chunk::from_user(user).size());
            }
        });
        for (class, mut range) in waiting.into_iter().enumerate() {
            let mut at = store.fast.heads.get(class).copied().unwrap_or(0);
            while at != 0 {
                range.see(class * ALIGN);
                at = fast::Fast::next(Chunk::at(at));
            }
            report(List::Fast, range);
        }
        for head in &mut store.bins.small.heads {
            report(List::Bin, range_of(&span, head));
        }
        for bin in 0..large::BINS {
            let mut range = Range::default();
            store.bins.large.each(&span, bin, |chunk| range.see(chunk.size()));
            report(List::Bin, range);
        }
        report(List::Unsorted, range_of(&span, &mut store.bins.unsorted));
    }
}

#[derive(Default, Clone, Copy)]
struct Range {
    from: usize,
    to: usize,
    count: usize,
    total: usize,
}

impl Range {
    fn see(&mut self, size: usize) {
        self.from = if self.count == 0 { size } else { self.from.min(size) };
        self.to = self.to.max(size);
        self.count += 1;
        self.total += size;
    }
}

unsafe fn range_of(span: &list::Span, head: *mut list::Link) -> Range {
    let mut range = Range::default();
    // SAFETY: as in `each_size`.
    unsafe {
        let mut at = list::next(span, head);
        while at != head {
            range.see(Chunk::from_user(at as usize).size());
            at = list::next(span, at);
        }
    }
    range
}
