//! realloc in secure mode: the canary is looked at, taken away, and written anew behind the new length. What the program gives
//! up is cleared; what it gains is proven clear, as if it were handed out.

use super::{CANARY, CLEAR, ZERO, asked, canary, clear, has, padded, room};
use crate::free::Live;
use crate::realloc;
use core::ptr;

/// Resizes a live chunk where it is, or moves its pages. Returns the bytes that the program had, and the user pointer where
/// it worked.
pub fn resize(user: usize, live: &Live, request: usize) -> (usize, Option<usize>) {
    // A sample has its own ways, and is resized elsewhere.
    if let Live::Guarded { usable } = *live {
        return (usable, None);
    }
    let before = room(user);
    let old = asked("realloc", user, before);
    if has(CANARY) {
        canary::remove(user, before, old);
    }
    let (resized, fresh) = match *live {
        Live::Heap(chunk) => (realloc::in_heap(chunk, padded(request)), false),
        Live::Mapped { base, length } => (realloc::in_mapping(user, base, length, padded(request)), true),
        Live::Guarded { .. } => (None, false),
    };
    let Some(now) = resized else {
        if has(CANARY) {
            canary::put(user, before, old);
        }
        return (old, None);
    };
    let after = room(now);
    if request < old {
        let given_up = old.min(after).saturating_sub(request);
        // SAFETY: the program's until now, and inside the chunk.
        unsafe { ptr::write_bytes((now + request) as *mut u8, 0, given_up) };
    }
    if after > before && !fresh && has(CLEAR) {
        clear::prove(now, before, after, "handed out again");
    }
    if has(ZERO) && !has(CLEAR) {
        // What came from the kernel is zero.
        let end = if fresh { request.min(before) } else { request };
        // SAFETY: gained, and inside the chunk.
        unsafe { ptr::write_bytes((now + old) as *mut u8, 0, end.saturating_sub(old)) };
    }
    if has(CANARY) {
        canary::put(now, after, request);
    }
    (old, Some(now))
}

/// As `resize`, for callers to whom a chunk elsewhere is of no use; mapped ones stay as they are.
pub fn in_place(live: &Live, request: usize) -> bool {
    match *live {
        Live::Heap(chunk) => resize(chunk.user(), live, request).1.is_some(),
        Live::Mapped { .. } => false,
        Live::Guarded { usable } => request == usable,
    }
}
