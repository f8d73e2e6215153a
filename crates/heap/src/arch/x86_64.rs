//! x86-64: the thread's word is an initial-exec thread-local, two loads away and never a call. Stable Rust has no way to ask
//! for that model, so the symbol is defined and read in assembly. It is one word, so that the library can be loaded late into
//! the small spare room that the loader keeps for such variables. The linker shortens the access in static programs.
//!
//! # Safety
//! Only this file touches the symbol; it is a plain word of the calling thread.

use crate::cache::{EMPTY, Head};
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .tdata.heapglass,\"awT\",@progbits",
    ".balign 8",
    ".globl heapglass_thread_word",
    ".hidden heapglass_thread_word",
    ".type heapglass_thread_word, @object",
    ".size heapglass_thread_word, 8",
    "heapglass_thread_word:",
    ".quad {empty}",
    ".popsection",
    empty = sym EMPTY,
);

/// The thread's cache, or whatever stands in its place.
#[inline(always)]
pub fn word() -> *mut Head {
    let word: *mut Head;
    // SAFETY: reads this thread's word. `readonly`, not `nomem`: it changes when the thread gets its cache.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + heapglass_thread_word@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) word,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    word
}

/// Puts another cache in place.
pub fn set_word(word: *mut Head) {
    // SAFETY: writes this thread's word.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + heapglass_thread_word@GOTTPOFF]",
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _,
            in(reg) word,
            options(nostack, preserves_flags)
        );
    }
}

/// Where the thread's own storage is, which is also the upper end of a stack that the C library made.
pub fn thread_pointer() -> usize {
    let at: usize;
    // SAFETY: the first word behind the thread pointer is the thread pointer itself, by the ABI.
    unsafe { asm!("mov {}, qword ptr fs:[0]", out(reg) at, options(pure, readonly, nostack, preserves_flags)) };
    at
}

/// A number that no other living thread has: the page of its thread pointer.
pub fn thread_mark() -> u32 {
    (thread_pointer() >> 12) as u32 & 0x3fff_ffff
}

/// Asks for the cache line of an address that will be read soon; harmless for any address.
#[inline(always)]
pub fn prefetch(at: usize) {
    // SAFETY: a prefetch never faults.
    unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at as *const i8) }
}

/// The counter of cycles.
#[inline(always)]
pub fn cycles() -> u64 {
    // SAFETY: no precondition.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The registers that say where a function's frame is and who called it, by their DWARF numbers; those that a call may change are
/// 0. `None` where nobody knows how to read the stack.
#[inline(always)]
pub fn registers() -> Option<[usize; 17]> {
    let mut registers = [0; 17];
    // SAFETY: reads registers, and writes them to memory of ours.
    unsafe {
        asm!(
            "mov [{0} + 3 * 8], rbx",
            "mov [{0} + 6 * 8], rbp",
            "mov [{0} + 7 * 8], rsp",
            "mov [{0} + 12 * 8], r12",
            "mov [{0} + 13 * 8], r13",
            "mov [{0} + 14 * 8], r14",
            "mov [{0} + 15 * 8], r15",
            "lea {1}, [rip]",
            "mov [{0} + 16 * 8], {1}",
            in(reg) &raw mut registers,
            out(reg) _,
            options(nostack, preserves_flags)
        );
    }
    Some(registers)
}

/// Where the calling function is at work: the instruction, the stack pointer and the frame pointer.
#[inline(always)]
pub fn frame() -> Option<[usize; 3]> {
    let (pc, sp, bp): (usize, usize, usize);
    // SAFETY: reads registers.
    unsafe {
        asm!(
            "lea {0}, [rip]",
            "mov {1}, rsp",
            "mov {2}, rbp",
            out(reg) pc,
            out(reg) sp,
            out(reg) bp,
            options(nomem, nostack, preserves_flags)
        );
    }
    Some([pc, sp, bp])
}

/// Copies words as they are, also those that nobody has written yet.
///
/// # Safety
/// So many can be read there, and written here.
#[inline(always)]
pub unsafe fn copy_words(from: *const u64, to: *mut u64, count: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        asm!(
            "rep movsq",
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rcx") count => _,
            options(nostack, preserves_flags)
        );
    }
}
