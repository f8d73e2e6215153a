//! What the allocator asks of the C library's threads: one key whose destructor tells of a thread's end, fork handlers,
//! `errno`, and `abort`. None of it is called on a path where it could come back into malloc unprepared.

use core::ffi::{c_int, c_uint, c_void};

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
    fn pthread_key_create(key: *mut c_uint, at_exit: unsafe extern "C" fn(*mut c_void)) -> c_int;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
    fn pthread_atfork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> c_int;
    safe fn abort() -> !;
}

/// Sets the calling thread's `errno`.
pub fn set_errno(value: i32) {
    // SAFETY: the C library's own cell of this thread.
    unsafe { *__errno_location() = value }
}

/// Runs `work` and leaves `errno` as it was.
pub fn keep_errno<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: as above.
    let cell = unsafe { __errno_location() };
    // SAFETY: as above.
    let kept = unsafe { *cell };
    let value = work();
    // SAFETY: as above.
    unsafe { *cell = kept };
    value
}

/// A thread-specific key; its destructor runs at the end of each thread that set it.
#[derive(Clone, Copy)]
pub struct Key(c_uint);

impl Key {
    /// `pthread_key_create`; `None` where the process has used up its keys.
    pub fn create(at_exit: unsafe extern "C" fn(*mut c_void)) -> Option<Key> {
        let mut key = 0;
        // SAFETY: `key` is ours, and `at_exit` follows the calling convention.
        (unsafe { pthread_key_create(&mut key, at_exit) } == 0).then_some(Key(key))
    }

    /// `pthread_setspecific` for this thread. May allocate: the caller's thread state must be in place before.
    /// The value is only kept, and handed to the destructor.
    pub fn set(self, value: usize) {
        // SAFETY: the key was created above and is never deleted.
        keep_errno(|| unsafe { pthread_setspecific(self.0, value as *const c_void) });
    }

    /// The key as a number, to be kept in an atomic.
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// Back from `to_bits`.
    pub fn from_bits(bits: u32) -> Key {
        Key(bits)
    }
}

/// `pthread_atfork`. May allocate.
pub fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    // SAFETY: plain functions that live as long as the library, which is never unloaded.
    keep_errno(|| unsafe { pthread_atfork(prepare, parent, child) }) == 0
}

/// The C library's `abort`: SIGABRT, whatever the program does with it.
pub fn die() -> ! {
    abort()
}

/// Sends a signal to the calling thread.
pub fn raise(signal: i32) {
    unsafe extern "C" {
        safe fn raise(signal: c_int) -> c_int;
    }
    raise(signal);
}

/// Lets another thread run.
pub fn pause() {
    crate::yield_now();
}
