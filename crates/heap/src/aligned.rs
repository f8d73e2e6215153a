//! The aligned functions' common part: chunks at multiples of any power of two.

use crate::malloc::{self, no_memory};
use crate::mapped;
use crate::policy::POLICY;
use crate::probe::{self, Call};
use crate::size::*;
use crate::sync::atomic::Ordering::Relaxed;
use crate::thread;

/// At least `request` bytes at a multiple of `align`, a power of two; null where there are none.
pub fn allocate(align: usize, request: usize) -> *mut u8 {
    if align <= ALIGN {
        return match malloc::allocate(request, Call::Aligned) {
            Some(allocated) => allocated.user,
            None => core::ptr::null_mut(),
        };
    }
    if request > MAX_REQUEST || align > MAX_REQUEST / 2 {
        return core::ptr::null_mut();
    }
    let mut sample = None;
    if let Some(thread) = thread::current() {
        thread.unpark();
        thread.count_allocation();
        thread.tick();
        sample = thread.sample(request, align);
    }
    let user = match sample {
        Some(made) => made.user as *mut u8,
        None => steps(align, request),
    };
    if !user.is_null() {
        probe::allocated(Call::Aligned, || crate::free::length(user as usize));
    }
    user
}

fn steps(align: usize, request: usize) -> *mut u8 {
    let with_space = request.saturating_add(align);
    let maps = with_space >= POLICY.mmap_threshold.load(Relaxed);
    if maps && let Some(made) = mapped::allocate(request, align) {
        return made.user as *mut u8;
    }
    let chunk = chunk_size(request).and_then(|size| malloc::take_aligned(size, align));
    match chunk {
        Some(chunk) => {
            // What a free wrote there is no longer true.
            // SAFETY: the chunk holds at least three words.
            unsafe { *chunk.word(0) = 0 };
            chunk.user() as *mut u8
        }
        None if !maps => mapped::allocate(request, align).map_or(core::ptr::null_mut(), |made| made.user as *mut u8),
        None => core::ptr::null_mut(),
    }
}

/// As `allocate`, setting `errno` where it fails.
pub fn allocate_or_errno(align: usize, request: usize) -> *mut u8 {
    let user = allocate(align, request);
    if user.is_null() { no_memory() } else { user }
}
