//! Any other machine: the C library's `syscall`, with its `errno` put back.
//!
//! # Safety
//! As in `x86_64`.

use core::ffi::{c_char, c_int, c_long};

unsafe extern "C" {
    #[link_name = "syscall"]
    fn libc_syscall(number: c_long, ...) -> c_long;
    fn __errno_location() -> *mut c_int;
}

/// One system call; the value in the kernel's own form (-4095 to -1 is an error).
///
/// # Safety
/// Whatever the call does to memory is the caller's.
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> usize {
    let [a, b, c, d, e, f] = args;
    // SAFETY: as the caller promises; `errno` is the C library's own cell of this thread.
    unsafe {
        let cell = __errno_location();
        let kept = *cell;
        let mut value = libc_syscall(number as c_long, a, b, c, d, e, f) as usize;
        if value == usize::MAX {
            value = -(*cell as isize) as usize;
        }
        *cell = kept;
        value
    }
}

/// Not known here; `environ` has to do.
pub fn initial_environment() -> *const *const c_char {
    core::ptr::null()
}

/// The loader's `_dl_find_object`.
pub type FindObject = unsafe extern "C" fn(usize, *mut u8) -> i32;

/// Not looked for here.
pub fn find_object() -> Option<FindObject> {
    None
}
