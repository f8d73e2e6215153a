//! The door for C and C++: malloc and its kin with glibc's semantics at every edge, the C++ operators, glibc's own extras,
//! and what a preloaded library owes its program at start and end.
//!
//! # Safety
//! Every function here is called by foreign code; the C standard's rules for each are its contract, and the heap checks what
//! can be checked.
#![cfg_attr(panic = "abort", no_std)]

mod arch;
mod cxx;
mod fault;
mod info;
mod opt;
mod start;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use heapglass_heap::probe::{self, Begun, Call};
use heapglass_heap::{aligned, check, config, free as heap_free, malloc as heap_malloc, realloc as heap_realloc, tell};
use heapglass_os as os;

/// Nothing here panics; the build needs a place to go all the same.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    os::thread::die()
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "heapglass_malloc")]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    heap_malloc::malloc(size).cast()
}

/// # Safety
/// C's `free`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "heapglass_free")]
pub unsafe extern "C" fn free(user: *mut c_void) {
    // SAFETY: as the caller promises.
    unsafe { heap_free::free(user.cast()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    heap_malloc::calloc(count, size).cast()
}

/// # Safety
/// C's `realloc`; `realloc(p, 0)` frees, as glibc does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(user: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: as the caller promises.
    unsafe { heap_realloc::realloc(user.cast(), size).cast() }
}

/// # Safety
/// As `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(user: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: as the caller promises.
        Some(bytes) => unsafe { realloc(user, bytes) },
        None => {
            probe::refused(Call::Realloc, [user as usize, usize::MAX]);
            heap_malloc::no_memory().cast()
        }
    }
}

fn invalid(call: Call, align: usize, size: usize) -> *mut c_void {
    probe::refused(call, [align, size]);
    os::thread::set_errno(os::EINVAL);
    ptr::null_mut()
}

/// Alignments that aren't a power of two are rounded up to one, as glibc does.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.max(1).checked_next_power_of_two() {
        Some(align) => aligned::allocate_by_or_errno(Call::Memalign, align, size).cast(),
        None => invalid(Call::Memalign, align, size),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return invalid(Call::AlignedAlloc, align, size);
    }
    aligned::allocate_by_or_errno(Call::AlignedAlloc, align, size).cast()
}

/// # Safety
/// `place` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        probe::refused(Call::PosixMemalign, [align, size]);
        return os::EINVAL;
    }
    let user = aligned::allocate_by(Call::PosixMemalign, align, size);
    if user.is_null() {
        return os::ENOMEM;
    }
    // SAFETY: as the caller promises.
    unsafe { *place = user.cast() };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    aligned::allocate_by_or_errno(Call::Valloc, os::page_size(), size).cast()
}

/// As `valloc`, in whole pages.
#[unsafe(no_mangle)]
// See `arch::is_the_malloc`.
#[unsafe(link_section = "heapglass_text")]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match os::pages_up(size) {
        Some(bytes) => aligned::allocate_by_or_errno(Call::Pvalloc, os::page_size(), bytes).cast(),
        None => {
            probe::refused(Call::Pvalloc, [os::page_size(), size]);
            heap_malloc::no_memory().cast()
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn malloc_usable_size(user: *mut c_void) -> usize {
    heap_free::usable("malloc_usable_size", user.cast())
}

/// # Safety
/// C23's `free_sized`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "heapglass_text")]
pub unsafe extern "C" fn free_sized(user: *mut c_void, size: usize) {
    // SAFETY: as the caller promises.
    unsafe { heap_free::free_sized(Call::FreeSized, user.cast(), size) }
}

/// # Safety
/// C23's `free_aligned_sized`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "heapglass_text")]
pub unsafe extern "C" fn free_aligned_sized(user: *mut c_void, align: usize, size: usize) {
    if !user.is_null() && (!align.is_power_of_two() || !(user as usize).is_multiple_of(align)) {
        heapglass_heap::die::invalid("free_aligned_sized", user as usize, "not a multiple of the alignment given");
    }
    // SAFETY: as the caller promises.
    unsafe { heap_free::free_sized(Call::FreeAlignedSized, user.cast(), size) }
}

/// # Safety
/// `free` by its old name.
#[unsafe(no_mangle)]
#[unsafe(link_section = "heapglass_text")]
pub unsafe extern "C" fn cfree(user: *mut c_void) {
    // SAFETY: as the caller promises.
    unsafe { heap_free::free_by(Call::Cfree, user.cast()) }
}

/// Walks and proves every heap: 0 where all is sound, else the number of faults, the first few told on standard error, a line each.
#[unsafe(no_mangle)]
pub extern "C" fn heapglass_check() -> c_int {
    check::check(false).min(c_int::MAX as usize) as c_int
}

/// Begins to tell each step of each call in a file that `heapglass trace -p` made, or that is open by its number (`fd:N`): 0, -1
/// where it isn't one, or -2 where another is told already. `new` asks for a new file: its number, or -1. With null, forgets the
/// files that nobody reads any more: 0, or -1 where a thread is just writing to one. It makes system calls and nothing else, so
/// it may be called wherever the program was stopped.
///
/// # Safety
/// `file` is a NUL-terminated string, or null, where all other threads are stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heapglass_tell(file: *const c_char) -> c_int {
    if file.is_null() {
        // SAFETY: as the caller promises.
        return if unsafe { probe::fall_silent() } { 0 } else { -1 };
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(file) }.to_bytes();
    if name == b"new" {
        return tell::file().unwrap_or(-1);
    }
    match config::tell_into(name) {
        Begun::Yes => 0,
        Begun::No => -1,
        Begun::Taken => -2,
    }
}
