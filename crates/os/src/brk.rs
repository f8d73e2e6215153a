//! The break. It goes through the C library's `sbrk`: glibc remembers where it left the break and moves it from there, so a
//! break moved behind its back would be moved back, heap and all, by the next `sbrk` of the program. musl refuses every
//! `sbrk` but `sbrk(0)`; the allocator then lives in mapped regions.

use crate::thread::keep_errno;
use core::ffi::c_void;

unsafe extern "C" {
    fn sbrk(increment: isize) -> *mut c_void;
}

/// Moves the break by `bytes` and returns where it was; `None` where it can't be moved. `by(0)` asks.
///
/// # Safety
/// With a negative number, nothing may use the memory above the new break.
pub unsafe fn by(bytes: isize) -> Option<usize> {
    #[cfg(feature = "refusals")]
    if bytes != 0 && crate::refuse::refuses(crate::refuse::BRK) {
        return None;
    }
    // SAFETY: the caller owns the memory given back; growing touches nobody's.
    let old = keep_errno(|| unsafe { sbrk(bytes) }) as usize;
    (old != usize::MAX).then_some(old)
}
