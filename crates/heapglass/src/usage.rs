//! What a piece of a program asks of the heap: for tests that say how much that may be.

use heapglass_heap::usage as heap_usage;
pub use heapglass_heap::usage::Usage;

/// Runs `work`, and tells what the calling thread allocated and freed meanwhile. Every call is counted; what other threads do, also those
/// that `work` starts, isn't in it.
///
/// Bytes are those of chunks: what is asked for and 8, in whole multiples of 16, at least 32; of large ones, the mapping's. A chunk may be 16
/// bytes longer where what was left over was too short for another, and above 1 KiB up to an eighth, so say what is allowed rather than what is.
///
/// ```
/// #[global_allocator]
/// static A: heapglass::Heapglass = heapglass::Heapglass;
///
/// let (numbers, usage) = heapglass::usage(|| (0..1000u64).collect::<Vec<_>>());
/// assert_eq!((usage.allocations, usage.kept_allocations), (1, 1));
/// assert!((8008..9100).contains(&usage.peak_bytes));
/// let ((), freed) = heapglass::usage(|| drop(numbers));
/// assert_eq!((freed.allocations, freed.kept_bytes), (0, -usage.kept_bytes));
/// ```
///
/// Within `work` it may be called again; the outer one tells all.
pub fn usage<R>(work: impl FnOnce() -> R) -> (R, Usage) {
    let scope = Scope(heap_usage::begin());
    let result = work();
    (result, scope.end())
}

/// Counting ends with it, also where `work` panics.
struct Scope(heap_usage::Counting);

impl Scope {
    fn end(self) -> Usage {
        let usage = heap_usage::so_far(&self.0);
        drop(self);
        usage
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        heap_usage::end(&self.0);
    }
}
