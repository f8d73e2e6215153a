//! What one thread allocates and frees in a piece of its work, exactly. While anybody counts, the process is observed: every call comes by
//! the slow path, where `probe` tells of it.

use crate::kernel;
use crate::policy::POLICY;
use crate::sync::atomic::{AtomicU32, Ordering::*};
use crate::tell;
use crate::thread;

/// What was allocated and freed. Bytes are those of chunks, with headers and rounding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Chunks that were handed out. One that was resized where it is isn't another.
    pub allocations: u64,
    /// Their bytes, and what chunks grew by where they are.
    pub bytes: u64,
    /// Chunks handed out less those given back, which may have been there before.
    pub kept_allocations: i64,
    /// Their bytes.
    pub kept_bytes: i64,
    /// The most that `kept_bytes` ever was; 0 where it was never above.
    pub peak_bytes: u64,
}

/// A piece of work that is counted; what the pieces around it have counted waits here.
pub struct Counting {
    before: Option<Usage>,
}

/// Pieces that are counted now, of all threads.
static COUNTED: AtomicU32 = AtomicU32::new(0);

/// Begins to count what the calling thread does.
pub fn begin() -> Counting {
    COUNTED.fetch_add(1, AcqRel);
    POLICY.observed.store(true, Relaxed);
    let before = thread::current().and_then(|thread| thread.usage.replace(Usage::default()));
    thread::settings_changed();
    Counting { before }
}

/// What it did since.
pub fn so_far(_: &Counting) -> Usage {
    thread::existing().and_then(|thread| thread.usage).unwrap_or_default()
}

/// Ends it. What the piece around counts goes on with what this one saw.
pub fn end(counting: &Counting) {
    if let Some(thread) = thread::existing() {
        let inner = thread.usage.take().unwrap_or_default();
        thread.usage = counting.before.map(|outer| outer.followed_by(inner));
    }
    let is_last = COUNTED.fetch_sub(1, AcqRel) == 1;
    if is_last && !tell::is_on() && !kernel::counts_for_others() {
        POLICY.observed.store(false, Relaxed);
    }
    thread::settings_changed();
}

/// Does anybody count?
pub fn is_counted() -> bool {
    COUNTED.load(Relaxed) != 0
}

impl Usage {
    fn followed_by(self, inner: Usage) -> Usage {
        let peak = self.kept_bytes + inner.peak_bytes as i64;
        Usage {
            allocations: self.allocations + inner.allocations,
            bytes: self.bytes + inner.bytes,
            kept_allocations: self.kept_allocations + inner.kept_allocations,
            kept_bytes: self.kept_bytes + inner.kept_bytes,
            peak_bytes: self.peak_bytes.max(peak.max(0) as u64),
        }
    }
}

/// The calling thread got chunks and bytes, or gave them back where they are negative.
pub fn changed(chunks: i64, bytes: i64) {
    if let Some(usage) = thread::existing().and_then(|thread| thread.usage.as_mut()) {
        usage.allocations += chunks.max(0) as u64;
        usage.bytes += bytes.max(0) as u64;
        usage.kept_allocations += chunks;
        usage.kept_bytes += bytes;
        usage.peak_bytes = usage.peak_bytes.max(usage.kept_bytes.max(0) as u64);
    }
}
