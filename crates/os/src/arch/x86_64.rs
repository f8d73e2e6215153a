//! x86-64: the `syscall` instruction, and the loader's `__libc_stack_end` where the C library has one.
//!
//! # Safety
//! The kernel keeps all registers but rax, rcx and r11.

use core::arch::asm;
use core::ffi::c_char;

/// One system call; the value in the kernel's own form (-4095 to -1 is an error).
///
/// # Safety
/// Whatever the call does to memory is the caller's.
#[inline]
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> usize {
    let value;
    // SAFETY: registers as the kernel's calling convention has them; memory isn't declared untouched.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => value,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    value
}

/// The environment as the kernel laid it on the stack: behind the argument count, the arguments and a null. Null where the
/// loader doesn't say where the stack ends (musl): there the C library sets `environ` before anyone allocates.
pub fn initial_environment() -> *const *const c_char {
    let cell: *const *const usize;
    // SAFETY: the address of a weak symbol; null where nobody defines it.
    unsafe {
        asm!(
            ".weak __libc_stack_end",
            "mov {}, qword ptr [rip + __libc_stack_end@GOTPCREL]",
            out(reg) cell,
            options(pure, readonly, nostack, preserves_flags)
        );
        if cell.is_null() || (*cell).is_null() {
            return core::ptr::null();
        }
        let count = **cell;
        (*cell).add(1 + count + 1).cast()
    }
}

/// The loader's `_dl_find_object`: an address and a record to fill; not 0 where nothing is there.
pub type FindObject = unsafe extern "C" fn(usize, *mut u8) -> i32;

/// `_dl_find_object`, where the C library has it.
pub fn find_object() -> Option<FindObject> {
    let address: usize;
    // SAFETY: the address of a weak symbol; null where nobody defines it.
    unsafe {
        asm!(
            ".weak _dl_find_object",
            "mov {}, qword ptr [rip + _dl_find_object@GOTPCREL]",
            out(reg) address,
            options(pure, readonly, nostack, preserves_flags)
        );
        (address != 0).then(|| core::mem::transmute::<usize, FindObject>(address))
    }
}
