//! The hand that makes the calls which `explain` is asked about: this command again, as `heapglass __hand`, with the library
//! preloaded and the calls on its standard input. It works before `main`, in a constructor, so that the heap it works on is
//! fresh: nothing of the command's own has been allocated yet, and nothing here allocates.
//!
//! A line is a letter and numbers: `m SLOT SIZE`, `c SLOT COUNT SIZE`, `r SLOT FROM SIZE`, `a SLOT ALIGN SIZE`, `f SLOT`, `t PAD`.
//! Slots hold what was returned; slot 0 is null for ever.
//!
//! # Safety
//! The constructor runs before any other thread. Pointers are handed to the allocator as they were got, wrong ones too: what the
//! allocator does then is what is to be seen.

#![allow(unsafe_code)]

use nix::libc;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hint::black_box;

pub const WORD: &CStr = c"__hand";
/// Slots that a script may use, the null one included.
pub const SLOTS: usize = 256;
/// Bytes of instructions.
pub const ROOM: usize = 64 << 10;

/// To be called by the loader.
///
/// # Safety
/// The words are those that the loader hands to constructors.
pub unsafe extern "C" fn at_start(argc: c_int, argv: *const *const c_char) {
    // SAFETY: what the loader hands to constructors: the words that `main` will get.
    unsafe {
        if argc < 2 || CStr::from_ptr(*argv.add(1)) != WORD {
            return;
        }
        let mut text = [0u8; ROOM];
        let mut filled = 0;
        while let Some(room) = text.get_mut(filled..).filter(|room| !room.is_empty()) {
            let count = libc::read(0, room.as_mut_ptr().cast(), room.len());
            match usize::try_from(count) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        // It may well be stopped by the allocator; that is nothing to keep a core of.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        follow(text.get(..filled).unwrap_or(&[]));
        libc::_exit(0);
    }
}

/// # Safety
/// As the module's head says.
unsafe fn follow(text: &[u8]) {
    let mut slots = [std::ptr::null_mut::<c_void>(); SLOTS];
    for line in text.split(|&byte| byte == b'\n') {
        let mut words = line.split(|&byte| byte == b' ');
        let Some(&[letter]) = words.next() else { continue };
        let mut numbers = [0usize; 3];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word.iter().fold(0usize, |sum, byte| sum.wrapping_mul(10).wrapping_add(usize::from(byte - b'0')));
        }
        let [slot, a, b] = numbers;
        let at = |slot: usize| slots.get(slot).copied().unwrap_or(std::ptr::null_mut());
        // SAFETY: see the module's head.
        let made = unsafe {
            match letter {
                b'm' => libc::malloc(a),
                b'c' => libc::calloc(a, b),
                b'r' => libc::realloc(black_box(at(a)), b),
                b'a' => libc::memalign(a, b),
                b'f' => {
                    libc::free(black_box(at(slot)));
                    continue;
                }
                b't' => {
                    libc::malloc_trim(slot);
                    continue;
                }
                _ => continue,
            }
        };
        if let Some(cell) = slots.get_mut(slot).filter(|_| slot > 0) {
            *cell = black_box(made);
        }
    }
}
