//! C++'s replaceable operators new and delete, all of them, under their mangled names. new(0) is unique, a failing new asks
//! the program's new handler until there is memory or no handler, and the throwing forms throw `std::bad_alloc` by the C++
//! library's own hand. A program without that library can't catch anything, so there they stop.

use crate::arch::{self, heapglass_new_nothrow, heapglass_new_slow};
use core::ffi::c_void;
use heapglass_heap::probe::Call;
use heapglass_heap::{aligned, cache, free as heap_free, line, malloc as heap_malloc};

/// What the assembly between an operator and `attempt` hands on as one word: the alignment, 0 for the usual one, with the lowest
/// bit, which no alignment has, set for arrays.
const ARRAY: usize = 1;

/// One try, for the slow path of the throwing forms.
pub extern "C" fn attempt(size: usize, how: usize) -> *mut c_void {
    const NEW: u32 = Call::New as u32;
    const NEW_ARRAY: u32 = Call::NewArray as u32;
    match (how & !ARRAY, how & ARRAY != 0) {
        (0, false) => heap_malloc::malloc_by::<NEW>(size).cast(),
        (0, true) => heap_malloc::malloc_by::<NEW_ARRAY>(size).cast(),
        (align, false) => aligned::allocate_by_or_errno(Call::New, align, size).cast(),
        (align, true) => aligned::allocate_by_or_errno(Call::NewArray, align, size).cast(),
    }
}

/// The program's new handler, or null.
pub extern "C" fn new_handler() -> usize {
    arch::get_new_handler().map_or(0, |get| get())
}

/// The function that throws `std::bad_alloc`.
pub extern "C" fn thrower() -> usize {
    match arch::throw_bad_alloc() {
        Some(throw) => throw,
        None => line::Line::new().text("operator new: out of memory, and no C++ library to throw with").die(),
    }
}

#[inline(always)]
fn plain(size: usize, how: usize) -> *mut c_void {
    let user = cache::take(size);
    // SAFETY: no precondition; it may throw past this frame, which holds nothing.
    if !user.is_null() { user.cast() } else { unsafe { heapglass_new_slow(size, how) } }
}

/// A nothrow form that found no memory: asks the handler, and catches what that throws.
#[cold]
fn without_throwing(size: usize, how: usize) -> *mut c_void {
    if arch::throw_bad_alloc().is_none() {
        return core::ptr::null_mut();
    }
    // SAFETY: no precondition; nothing is thrown past it.
    unsafe { heapglass_new_nothrow(size, how) }
}

macro_rules! delete {
    ($call:ident $name:ident $(, $extra:ident: $kind:ty)*) => {
        /// # Safety
        /// C++'s operator delete.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "heapglass_text")]
        pub unsafe extern "C" fn $name(user: *mut c_void $(, $extra: $kind)*) {
            $(let _ = $extra;)*
            // SAFETY: as the caller promises.
            unsafe { heap_free::free_by(Call::$call, user.cast()) }
        }
    };
}

macro_rules! delete_sized {
    ($call:ident $name:ident $(, $extra:ident: $kind:ty)*) => {
        /// # Safety
        /// C++'s operator delete.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "heapglass_text")]
        pub unsafe extern "C" fn $name(user: *mut c_void, size: usize $(, $extra: $kind)*) {
            $(let _ = $extra;)*
            // SAFETY: as the caller promises.
            unsafe { heap_free::free_sized(Call::$call, user.cast(), size) }
        }
    };
}

macro_rules! operators {
    ($(($called:ident, $freed:ident, $freed_sized:ident, $how:expr) $new:ident $new_nothrow:ident $new_aligned:ident $new_aligned_nothrow:ident
       $delete:ident $delete_nothrow:ident $delete_sized:ident $delete_aligned:ident $delete_aligned_nothrow:ident
       $delete_sized_aligned:ident),*) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $new(size: usize) -> *mut c_void {
            plain(size, $how)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $new_nothrow(size: usize, _: *const c_void) -> *mut c_void {
            let user: *mut c_void = heap_malloc::malloc_by::<{ Call::$called as u32 }>(size).cast();
            if !user.is_null() {
                return user;
            }
            without_throwing(size, $how)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $new_aligned(size: usize, align: usize) -> *mut c_void {
            // SAFETY: no precondition; it may throw past this frame, which holds nothing.
            unsafe { heapglass_new_slow(size, align & !ARRAY | $how) }
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $new_aligned_nothrow(size: usize, align: usize, _: *const c_void) -> *mut c_void {
            let user: *mut c_void = aligned::allocate_by_or_errno(Call::$called, align, size).cast();
            if !user.is_null() {
                return user;
            }
            without_throwing(size, align & !ARRAY | $how)
        }

        delete!($freed $delete);
        delete!($freed $delete_nothrow, tag: *const c_void);
        delete!($freed $delete_aligned, align: usize);
        delete!($freed $delete_aligned_nothrow, align: usize, tag: *const c_void);
        delete_sized!($freed_sized $delete_sized);
        delete_sized!($freed_sized $delete_sized_aligned, align: usize);
    )*};
}

operators! {
    (New, Delete, DeleteSized, 0)
    _Znwm _ZnwmRKSt9nothrow_t _ZnwmSt11align_val_t _ZnwmSt11align_val_tRKSt9nothrow_t
    _ZdlPv _ZdlPvRKSt9nothrow_t _ZdlPvm _ZdlPvSt11align_val_t _ZdlPvSt11align_val_tRKSt9nothrow_t
    _ZdlPvmSt11align_val_t,
    (NewArray, DeleteArray, DeleteArraySized, ARRAY)
    _Znam _ZnamRKSt9nothrow_t _ZnamSt11align_val_t _ZnamSt11align_val_tRKSt9nothrow_t
    _ZdaPv _ZdaPvRKSt9nothrow_t _ZdaPvm _ZdaPvSt11align_val_t _ZdaPvSt11align_val_tRKSt9nothrow_t
    _ZdaPvmSt11align_val_t
}
