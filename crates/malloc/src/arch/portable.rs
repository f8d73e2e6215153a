//! Any other machine, not run by us: a failing operator new stops the process instead of throwing, and a free of unmapped
//! memory ends as the kernel's SIGSEGV, without our line.

use core::ffi::{c_int, c_void};

/// Asks for memory; there is no new handler here.
///
/// # Safety
/// None.
pub unsafe fn heapglass_new_slow(size: usize, align: usize) -> *mut c_void {
    let user = crate::cxx::attempt(size, align);
    if user.is_null() {
        crate::cxx::thrower();
    }
    user
}

pub fn get_new_handler() -> Option<extern "C" fn() -> usize> {
    None
}

pub fn throw_bad_alloc() -> Option<usize> {
    None
}

/// As `heapglass_new_slow`, without stopping.
///
/// # Safety
/// None.
pub unsafe fn heapglass_new_nothrow(size: usize, align: usize) -> *mut c_void {
    crate::cxx::attempt(size, align)
}

pub fn take_faults(_: bool) {}

pub fn next_handler(_: usize) -> Option<usize> {
    None
}

pub fn is_newest(_: usize) -> bool {
    true
}

pub fn leave_faults() {}

pub fn on_own_stack<T>(work: extern "C" fn(&T), about: &T) {
    work(about);
}

pub fn is_the_malloc() -> bool {
    false
}

/// # Safety
/// None.
pub unsafe fn read_fault(_: *const u8, _: *const u8) -> (bool, Option<(usize, usize)>) {
    (false, None)
}

/// What a fault was about; not known here.
pub struct Access {
    pub address: usize,
    pub is_write: bool,
    pub registers: [usize; 17],
}

/// # Safety
/// None.
pub unsafe fn read_access(_: *const u8, _: *const u8) -> Option<Access> {
    None
}

pub const SIGSEGV: c_int = 11;
