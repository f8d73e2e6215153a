//! The smallest malloc that can stand in for another, to measure fast paths against: malloc pops and free pushes one list of
//! the thread, and that is all. `cargo build --release -p heapglass-smallest` makes `libheapglass_smallest.so`, to be
//! preloaded. It is no allocator to use: memory is never merged or given back, and what was
//! freed never serves a long request again.
//!
//! ```text
//!                 +----------+---------------------------+
//!   capacity u64  | (unused) | user data, `SLOT` or more |     free: the first word leads to the next
//!                 +----------+---------------------------+
//!   p - 16                    p
//! ```
//!
//! What lets one list do: every block holds at least `SLOT` bytes, so whatever is freed can serve any request up to `SLOT`,
//! and free needs to know nothing of what it is given. Longer requests are cut from fresh memory, always. A block's capacity
//! is written when it is cut; only realloc reads it.
//!
//! # Safety
//! Blocks on a list were freed, so their first word is ours. A list and the fresh memory beside it are their thread's alone.
//! Nothing is checked: the callers are C programs that keep C's rules.
#![cfg_attr(panic = "abort", no_std)]

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64::{END, FREE_LIST, FRESH, Words};

use core::ffi::{c_int, c_long, c_void};
use core::ptr;

// Anything but an initial-exec thread-local would cost a call, and then this would not be the smallest.
#[cfg(not(target_arch = "x86_64"))]
compile_error!("the yardstick's thread-local is written for x86-64 only");

/// Nothing here panics; the build needs a place to go all the same.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no precondition.
    unsafe { abort() }
}

/// The longest request that the list serves.
const SLOT: usize = 64;
const HEADER: usize = 16;
/// What is asked of the kernel at a time, at least.
const REGION: usize = 1 << 20;

const PROT_READ_WRITE: c_int = 3;
const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;
const ENOMEM: c_int = 12;
const EINVAL: c_int = 22;

unsafe extern "C" {
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
    #[cfg(panic = "abort")]
    fn abort() -> !;
}

#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    if size > SLOT {
        return cut(size, HEADER);
    }
    let words = Words::here();
    let first = words.get::<FREE_LIST>();
    if first.is_null() {
        return cut(size, HEADER);
    }
    // SAFETY: a freed block's first word is the list's.
    words.set::<FREE_LIST>(unsafe { first.cast::<*mut u8>().read() });
    first.cast()
}

/// # Safety
/// C's `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(user: *mut c_void) {
    if user.is_null() {
        return;
    }
    let words = Words::here();
    // SAFETY: the block is nobody's any more, and has room for a word.
    unsafe { user.cast::<*mut u8>().write(words.get::<FREE_LIST>()) };
    words.set::<FREE_LIST>(user.cast());
}

/// A block of fresh memory at a multiple of `align`, which is a power of two and 16 or more.
#[cold]
#[inline(never)]
fn cut(size: usize, align: usize) -> *mut c_void {
    let capacity = size.max(SLOT).checked_next_multiple_of(HEADER);
    let needs = capacity.and_then(|capacity| capacity.checked_add(align)?.checked_add(HEADER));
    let (Some(capacity), Some(needs)) = (capacity, needs) else { return no_memory() };
    let words = Words::here();
    if words.get::<END>() as usize - (words.get::<FRESH>() as usize) < needs {
        let Some(length) = needs.checked_next_multiple_of(REGION) else { return no_memory() };
        // SAFETY: a fresh mapping takes nothing from anybody.
        let region = unsafe { mmap(ptr::null_mut(), length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0) };
        if region.addr() == usize::MAX {
            return no_memory();
        }
        words.set::<FRESH>(region.cast());
        words.set::<END>(region.cast::<u8>().wrapping_add(length));
    }
    let user = words.get::<FRESH>().map_addr(|at| (at + HEADER).next_multiple_of(align));
    // SAFETY: what lies from `FRESH` to `END` is this thread's, mapped and unused, and the block fits there.
    unsafe { user.sub(HEADER).cast::<usize>().write(capacity) };
    words.set::<FRESH>(user.wrapping_add(capacity));
    user.cast()
}

#[cold]
fn no_memory() -> *mut c_void {
    // SAFETY: the C library's own word of this thread.
    unsafe { *__errno_location() = ENOMEM };
    ptr::null_mut()
}

/// # Safety
/// A block of ours.
unsafe fn capacity(user: *mut c_void) -> usize {
    // SAFETY: `cut` wrote it, and nobody else does.
    unsafe { user.byte_sub(HEADER).cast::<usize>().read() }
}

#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else { return no_memory() };
    let user = malloc(bytes);
    // What was cut for a long request has never been written.
    if !user.is_null() && bytes <= SLOT {
        // SAFETY: it holds so many bytes.
        unsafe { user.write_bytes(0, bytes) };
    }
    user
}

/// # Safety
/// C's `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(user: *mut c_void, size: usize) -> *mut c_void {
    if user.is_null() {
        return malloc(size);
    }
    // SAFETY: the caller's block; the new one is another, and holds more.
    unsafe {
        if size == 0 {
            free(user);
            return ptr::null_mut();
        }
        let old = capacity(user);
        if size <= old {
            return user;
        }
        // With room to grow, since what is left behind never serves a long request again.
        let new = cut(size.saturating_mul(2), HEADER);
        if !new.is_null() {
            ptr::copy_nonoverlapping(user.cast::<u8>(), new.cast::<u8>(), old);
            free(user);
        }
        new
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.max(HEADER).checked_next_power_of_two() {
        Some(align) => cut(size, align),
        None => no_memory(),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    memalign(align, size)
}

/// # Safety
/// `place` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || align < size_of::<usize>() {
        return EINVAL;
    }
    let user = memalign(align, size);
    if user.is_null() {
        return ENOMEM;
    }
    // SAFETY: as the caller promises.
    unsafe { place.write(user) };
    0
}

/// # Safety
/// Null or a block of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(user: *mut c_void) -> usize {
    // SAFETY: as the caller promises.
    if user.is_null() { 0 } else { unsafe { capacity(user) } }
}
