//! The seam: what the heap tells the outside about its calls, from the places where its steps are decided. Nothing is told
//! unless the program is observed: then its threads stand behind their facades, every call comes by the slow path, and that
//! takes the fast path's very steps before its own. So nothing observed changes what the heap does.
//!
//! Two things are told: figures, which are counted up in a page (`kernel`), and records, one for each step (`tell`).

use crate::kernel;
use crate::policy::POLICY;
use crate::sync::atomic::Ordering::Relaxed;
use crate::tell;
pub use crate::tell::{Begun, Told, fall_silent};
use heapglass_event::record::Record;
pub use heapglass_event::record::{Call, Kernel, Kind, Outcome};

/// Does anybody want to know of each step?
#[inline(always)]
pub fn tells() -> bool {
    tell::is_on()
}

/// A step was taken. What the numbers mean stands at the kind.
#[inline(always)]
pub fn step(kind: Kind, outcome: Outcome, numbers: [usize; 3]) {
    step_of(kind, outcome, 0, numbers);
}

/// As `step`, with the small number too.
#[inline(always)]
pub fn step_of(kind: Kind, outcome: Outcome, n: usize, numbers: [usize; 3]) {
    if tells() {
        tell::put(Record::new(kind, outcome, n as u32, numbers));
    }
}

/// The program called: what is told from here to `end` is what came of it.
#[inline]
pub fn begin(call: Call, arguments: [usize; 2]) -> Told {
    if tells() { tell::begin(call, arguments) } else { Told::No }
}

/// The call that `begin` told of returns. Null says that there was no memory, where the call hands some out.
#[inline]
pub fn end(told: Told, call: Call, result: usize) {
    if told != Told::No {
        let failed = result == 0 && !call.gives_back();
        tell::end(told, call, result, failed);
    }
}

/// A call that fails for what it asks, before any step.
pub fn refused(call: Call, arguments: [usize; 2]) {
    end(begin(call, arguments), call, 0);
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
            Call::Calloc => &figures.calloc_calls,
            Call::Realloc => &figures.realloc_calls,
            Call::Malloc | Call::New | Call::NewArray => &figures.malloc_calls,
            _ => &figures.aligned_calls,
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
