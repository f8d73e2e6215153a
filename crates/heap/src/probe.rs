//! The seam: what the heap tells the outside about its calls. Nothing is told unless the program is observed: then its
//! threads stand behind their facades, every call comes by the slow path, and that takes the fast path's very steps before
//! its own. So nothing observed changes what the heap does.

use crate::kernel;
use crate::policy::POLICY;
use crate::sync::atomic::Ordering::Relaxed;

/// The calls of the C family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Malloc,
    Calloc,
    Realloc,
    Aligned,
}

/// A call returned a chunk of `bytes` bytes (a mapping's whole length).
#[inline]
pub fn allocated(call: Call, bytes: impl FnOnce() -> usize) {
    if POLICY.observed.load(Relaxed) {
        let figures = kernel::counters();
        counted(call);
        figures.in_use_chunks.fetch_add(1, Relaxed);
        kernel::add(&figures.in_use_bytes, &figures.peak_bytes, bytes());
    }
}

/// A call was made that may return nothing new.
#[inline]
pub fn counted(call: Call) {
    if POLICY.observed.load(Relaxed) {
        let figures = kernel::counters();
        match call {
            Call::Malloc => &figures.malloc_calls,
            Call::Calloc => &figures.calloc_calls,
            Call::Realloc => &figures.realloc_calls,
            Call::Aligned => &figures.aligned_calls,
        }
        .fetch_add(1, Relaxed);
    }
}

/// A chunk in use changed its length in place.
#[inline]
pub fn resized(old: usize, new: usize) {
    if POLICY.observed.load(Relaxed) {
        let figures = kernel::counters();
        kernel::sub(&figures.in_use_bytes, old);
        kernel::add(&figures.in_use_bytes, &figures.peak_bytes, new);
    }
}

/// free was called with a live chunk of `bytes` bytes.
#[inline]
pub fn freed(bytes: impl FnOnce() -> usize) {
    if POLICY.observed.load(Relaxed) {
        kernel::counters().free_calls.fetch_add(1, Relaxed);
    }
    given_up(bytes);
}

/// A chunk of `bytes` bytes is no longer in use.
#[inline]
pub fn given_up(bytes: impl FnOnce() -> usize) {
    if POLICY.observed.load(Relaxed) {
        let figures = kernel::counters();
        figures.in_use_chunks.fetch_sub(1, Relaxed);
        kernel::sub(&figures.in_use_bytes, bytes());
    }
}
