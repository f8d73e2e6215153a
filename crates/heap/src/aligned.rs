//! The aligned functions' common part: chunks at multiples of any power of two.

use crate::cache;
use crate::malloc::{self, no_memory};
use crate::mapped;
use crate::policy::POLICY;
use crate::probe::{self, Call, Kind, Outcome};
use crate::profile;
use crate::requests;
use crate::secure;
use crate::size::*;
use crate::sync::atomic::Ordering::Relaxed;
use crate::thread;

/// At least `request` bytes at a multiple of `align`, a power of two; null where there are none.
pub fn allocate(align: usize, request: usize) -> *mut u8 {
    allocate_by(Call::Memalign, align, request)
}

/// As `allocate`, for a function of another name.
pub fn allocate_by(call: Call, align: usize, request: usize) -> *mut u8 {
    let told = probe::begin(call, [align, request]);
    let user = take(call, align, request);
    probe::end(told, call, user as usize);
    user
}

fn take(call: Call, align: usize, request: usize) -> *mut u8 {
    if align <= ALIGN {
        return match malloc::allocate(request, call) {
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
        Some(made) => {
            probe::step(Kind::Sample, Outcome::Made, [made.user, request, 0]);
            made.user as *mut u8
        }
        None => fresh(align, request),
    };
    if user.is_null() {
        return user;
    }
    probe::allocated(call, || crate::free::length(user as usize));
    profile::allocated(user as usize, request, call, false);
    user
}

fn fresh(align: usize, request: usize) -> *mut u8 {
    let needed = secure::padded(request);
    let made = steps(align, needed).or_else(|| secure::again(|| steps(align, needed)));
    let Some((user, zero)) = made else { return core::ptr::null_mut() };
    if secure::is_on() {
        secure::hand_out(user as usize, request, zero);
    }
    user
}

/// A chunk, and whether it is known to be zero.
fn steps(align: usize, request: usize) -> Option<(*mut u8, bool)> {
    let with_space = request.saturating_add(align);
    let threshold = POLICY.mmap_threshold.load(Relaxed);
    let maps = with_space >= threshold;
    let side = if maps { Outcome::Above } else { Outcome::Below };
    probe::step(Kind::Threshold, side, [with_space, threshold, 0]);
    if maps && let Some(made) = mapped::allocate(request, align) {
        return Some((made.user as *mut u8, made.zero));
    }
    let chunk = chunk_size(request).and_then(|size| malloc::take_aligned(size, align));
    match chunk {
        Some(chunk) => {
            requests::one_came(chunk, request, thread::existing());
            // What secure mode hands out must be as it was left.
            if !secure::is_on() {
                // SAFETY: allocated just now.
                unsafe { cache::clear(chunk.user()) };
            }
            Some((chunk.user() as *mut u8, false))
        }
        None if !maps => mapped::allocate(request, align).map(|made| (made.user as *mut u8, made.zero)),
        None => None,
    }
}

/// As `allocate`, setting `errno` where it fails.
pub fn allocate_or_errno(align: usize, request: usize) -> *mut u8 {
    allocate_by_or_errno(Call::Memalign, align, request)
}

/// As `allocate_by`, setting `errno` where it fails.
pub fn allocate_by_or_errno(call: Call, align: usize, request: usize) -> *mut u8 {
    let user = allocate_by(call, align, request);
    if user.is_null() { no_memory() } else { user }
}
