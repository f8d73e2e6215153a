//! The thread's own words as an initial-exec thread-local, defined and reached in assembly, since stable Rust has no other way
//! to have one without a call. The instructions are those that a C compiler would choose.
//!
//! # Safety
//! Only this file touches the symbol, which is the calling thread's.

use core::arch::{asm, global_asm};

/// The words of a thread, all zero at its start.
#[derive(Clone, Copy)]
pub struct Words(usize);

/// The first block of the list of freed ones.
pub const FREE_LIST: usize = 0;
/// Memory that was never handed out, and where it ends.
pub const FRESH: usize = 8;
pub const END: usize = 16;

global_asm!(
    ".pushsection .tbss.heapglass_smallest,\"awT\",@nobits",
    ".balign 8",
    ".globl heapglass_smallest_words",
    ".hidden heapglass_smallest_words",
    ".type heapglass_smallest_words, @object",
    ".size heapglass_smallest_words, 24",
    "heapglass_smallest_words:",
    ".zero 24",
    ".popsection",
);

impl Words {
    #[inline(always)]
    pub fn here() -> Words {
        let offset: usize;
        // SAFETY: reads a constant that the loader filled in.
        unsafe {
            asm!(
                "mov {}, qword ptr [rip + heapglass_smallest_words@GOTTPOFF]",
                out(reg) offset,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        Words(offset)
    }

    #[inline(always)]
    pub fn get<const WORD: usize>(self) -> *mut u8 {
        let value: *mut u8;
        // SAFETY: reads a word of this thread.
        unsafe {
            asm!(
                "mov {}, qword ptr fs:[{} + {word}]",
                out(reg) value,
                in(reg) self.0,
                word = const WORD,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        value
    }

    #[inline(always)]
    pub fn set<const WORD: usize>(self, value: *mut u8) {
        // SAFETY: writes a word of this thread.
        unsafe {
            asm!(
                "mov qword ptr fs:[{} + {word}], {}",
                in(reg) self.0,
                in(reg) value,
                word = const WORD,
                options(nostack, preserves_flags)
            );
        }
    }
}

// The core library's own code names its personality routine; nothing here unwinds.
global_asm!(
    ".pushsection .text.rust_eh_personality,\"ax\",@progbits",
    ".weak rust_eh_personality",
    ".hidden rust_eh_personality",
    ".type rust_eh_personality,@function",
    "rust_eh_personality: ud2",
    ".size rust_eh_personality, .-rust_eh_personality",
    ".popsection",
);
