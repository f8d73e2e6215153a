//! The fuzzers, one program for all: `HEAPGLASS_TARGET` names which. `cargo xtask fuzz` builds and starts it.
//!
//! Targets that work in a forked child leave the marks of the code that ran in the child's memory, where the fuzzer doesn't see
//! them. So the child copies them to memory that both share, and the parent takes them from there.
#![no_main]

use heapglass_fuzzed::{child, target};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};

static SHARED: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// The marks of all code, and how many there are.
fn marks() -> (*mut u8, usize) {
    let (first, last): (*mut u8, *mut u8);
    // SAFETY: two addresses of the linker's. In assembly, because the compiler declares the same names for itself, and a second
    // declaration would be given another name.
    unsafe {
        core::arch::asm!(
            "lea {0}, [rip + __start___sancov_cntrs]",
            "lea {1}, [rip + __stop___sancov_cntrs]",
            out(reg) first,
            out(reg) last,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    (first, last as usize - first as usize)
}

extern "C" fn on_end() {
    let (first, length) = marks();
    // SAFETY: the shared memory is as long as the marks are.
    unsafe { std::ptr::copy_nonoverlapping(first, SHARED.load(SeqCst), length) }
}

extern "C" fn on_return() {
    let (first, length) = marks();
    // SAFETY: as above.
    unsafe { std::ptr::copy_nonoverlapping(SHARED.load(SeqCst), first, length) }
}

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("HEAPGLASS_TARGET").unwrap_or_default();
    let chosen = target(&name).unwrap_or_else(|| panic!("HEAPGLASS_TARGET={name}: there is no such target"));
    let (first, length) = marks();
    unsafe extern "C" {
        fn mmap(at: *mut u8, bytes: usize, access: i32, flags: i32, file: i32, from: i64) -> *mut u8;
    }
    const READ_WRITE: i32 = 3;
    const SHARED_ANONYMOUS: i32 = 0x21;
    // SAFETY: new memory, as long as the marks are.
    unsafe {
        let shared = mmap(std::ptr::null_mut(), length, READ_WRITE, SHARED_ANONYMOUS, -1, 0);
        assert!(shared as isize != -1, "no memory to share");
        std::ptr::copy_nonoverlapping(first, shared, length);
        SHARED.store(shared, SeqCst);
    }
    child::carry_over(on_end, on_return);
    chosen
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    CHOSEN.get_or_init(chosen)(bytes);
});
