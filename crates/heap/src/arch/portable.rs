//! Any other machine: the thread's word is a value of a POSIX thread-specific key. Slower, and not run by us.
//!
//! # Safety
//! The key is made once, before the first word is set, and never deleted.

use crate::cache::{EMPTY, Head};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use core::ffi::{c_int, c_uint, c_void};

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, at_exit: Option<unsafe extern "C" fn(*mut c_void)>) -> c_int;
    fn pthread_getspecific(key: c_uint) -> *mut c_void;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
    fn pthread_self() -> usize;
}

/// The key plus one; 0 before it is made.
static KEY: AtomicU32 = AtomicU32::new(0);

pub fn word() -> *mut Head {
    let key = KEY.load(Acquire);
    // SAFETY: the key exists where its number is known.
    let word = if key == 0 { core::ptr::null_mut() } else { unsafe { pthread_getspecific(key - 1) } };
    if word.is_null() { &raw const EMPTY.head as *mut Head } else { word.cast() }
}

pub fn set_word(word: *mut Head) {
    if KEY.load(Acquire) == 0 {
        let mut key = 0;
        // SAFETY: `key` is ours. The first caller is the process's set-up, which runs under a lock.
        if unsafe { pthread_key_create(&mut key, None) } != 0 {
            return;
        }
        KEY.store(key + 1, Release);
    }
    // SAFETY: as in `word`.
    unsafe { pthread_setspecific(KEY.load(Acquire) - 1, word.cast()) };
}

pub fn thread_pointer() -> usize {
    // SAFETY: no precondition.
    unsafe { pthread_self() }
}

pub fn thread_mark() -> u32 {
    // SAFETY: no precondition.
    (unsafe { pthread_self() } >> 12) as u32 & 0x3fff_ffff
}

pub fn prefetch(_: usize) {}

/// Calls in place of cycles: the clock is looked at every 64th time.
pub fn cycles() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Relaxed) << 15
}

pub fn registers() -> Option<[usize; 17]> {
    None
}

pub fn frame() -> Option<[usize; 3]> {
    None
}

/// Copies words as they are.
///
/// # Safety
/// So many can be read there, and written here.
pub unsafe fn copy_words(from: *const u64, to: *mut u64, count: usize) {
    for index in 0..count {
        // SAFETY: as the caller promises.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
}
