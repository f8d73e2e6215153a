//! The environment and the auxiliary vector, read in place: usable before the C library is initialised, never allocating.

use core::ffi::{CStr, c_char, c_ulong};

/// The page size.
pub const AT_PAGESZ: usize = linux_raw_sys::auxvec::AT_PAGESZ as usize;
/// Address of 16 random bytes.
pub const AT_RANDOM: usize = linux_raw_sys::auxvec::AT_RANDOM as usize;
/// Non-zero where the program runs with privileges its user doesn't have.
pub const AT_SECURE: usize = linux_raw_sys::auxvec::AT_SECURE as usize;
/// Address of the path that the program was started by.
pub const AT_EXECFN: usize = linux_raw_sys::auxvec::AT_EXECFN as usize;

unsafe extern "C" {
    fn getauxval(kind: c_ulong) -> c_ulong;
    static mut environ: *const *const c_char;
}

/// One entry of the auxiliary vector; 0 where there is none.
pub fn auxv(kind: usize) -> usize {
    // SAFETY: reads a table that the loader filled before any other code ran.
    unsafe { getauxval(kind as c_ulong) as usize }
}

/// Where the first thread's stack ends and what the kernel laid behind it begins; 0 where the loader doesn't say.
pub fn stack_end() -> usize {
    crate::arch::initial_environment() as usize
}

/// 64 random bits of this process, from the kernel and without a system call: half `which` (0 or 1) of AT_RANDOM.
pub fn random_bits(which: usize) -> Option<u64> {
    let bytes = auxv(AT_RANDOM) as *const u64;
    // SAFETY: AT_RANDOM, where it is there, names 16 readable bytes.
    (!bytes.is_null()).then(|| unsafe { bytes.add(which & 1).read_unaligned() })
}

/// The environment's entries, as `NAME=value`.
pub fn entries() -> impl Iterator<Item = &'static CStr> {
    // SAFETY: `environ` is null or the C library's table; the loader's own copy at the stack's end serves before that is set.
    // Nobody changes it during the process's first allocation, the only time when we look.
    unsafe {
        let mut at = environ;
        if at.is_null() {
            at = crate::arch::initial_environment();
        }
        core::iter::from_fn(move || {
            if at.is_null() || (*at).is_null() {
                return None;
            }
            let entry = CStr::from_ptr(*at);
            at = at.add(1);
            Some(entry)
        })
    }
}

/// The table that programs started from here inherit, where the C library has set it.
///
/// # Safety
/// Changing it races with every `getenv`: only before the program's `main`.
pub unsafe fn table() -> *mut *mut c_char {
    // SAFETY: reads the C library's pointer.
    unsafe { environ.cast_mut().cast() }
}

/// The value of one variable.
pub fn get(name: &str) -> Option<&'static CStr> {
    entries().find_map(|entry| {
        let value = entry.to_bytes_with_nul().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        // SAFETY: the end of a C string, with its NUL.
        Some(unsafe { CStr::from_bytes_with_nul_unchecked(value) })
    })
}
