//! C++'s replaceable operators new and delete, all of them, under their mangled names. new(0) is unique, a failing new asks
//! the program's new handler until there is memory or no handler, and the throwing forms throw `std::bad_alloc` by the C++
//! library's own hand. A program without that library can't catch anything, so there they stop.

use crate::arch::{self, heapglass_new_nothrow, heapglass_new_slow};
use core::ffi::c_void;
use heapglass_heap::{aligned, cache, free as heap_free, line, malloc as heap_malloc};

/// One try, for the slow path of the throwing forms; `align` 0 is the usual one.
pub extern "C" fn attempt(size: usize, align: usize) -> *mut c_void {
    if align == 0 { heap_malloc::malloc(size).cast() } else { aligned::allocate_or_errno(align, size).cast() }
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
fn plain(size: usize) -> *mut c_void {
    let user = cache::take(size);
    // SAFETY: no precondition; it may throw past this frame, which holds nothing.
    if !user.is_null() { user.cast() } else { unsafe { heapglass_new_slow(size, 0) } }
}

/// A nothrow form that found no memory: asks the handler, and catches what that throws.
#[cold]
fn without_throwing(size: usize, align: usize) -> *mut c_void {
    if arch::throw_bad_alloc().is_none() {
        return core::ptr::null_mut();
    }
    // SAFETY: no precondition; nothing is thrown past it.
    unsafe { heapglass_new_nothrow(size, align) }
}

macro_rules! delete {
    ($name:ident $(, $extra:ident: $kind:ty)*) => {
        /// # Safety
        /// C++'s operator delete.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "heapglass_text")]
        pub unsafe extern "C" fn $name(user: *mut c_void $(, $extra: $kind)*) {
            $(let _ = $extra;)*
            // SAFETY: as the caller promises.
            unsafe { heap_free::free(user.cast()) }
        }
    };
}

macro_rules! delete_sized {
    ($name:ident $(, $extra:ident: $kind:ty)*) => {
        /// # Safety
        /// C++'s operator delete.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "heapglass_text")]
        pub unsafe extern "C" fn $name(user: *mut c_void, size: usize $(, $extra: $kind)*) {
            $(let _ = $extra;)*
            // SAFETY: as the caller promises.
            unsafe { heap_free::free_sized("operator delete", user.cast(), size) }
        }
    };
}

macro_rules! operators {
    ($($new:ident $new_nothrow:ident $new_aligned:ident $new_aligned_nothrow:ident
       $delete:ident $delete_nothrow:ident $delete_sized:ident $delete_aligned:ident $delete_aligned_nothrow:ident
       $delete_sized_aligned:ident),*) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $new(size: usize) -> *mut c_void {
            plain(size)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $new_nothrow(size: usize, _: *const c_void) -> *mut c_void {
            let user: *mut c_void = heap_malloc::malloc(size).cast();
            if !user.is_null() {
                return user;
            }
            without_throwing(size, 0)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $new_aligned(size: usize, align: usize) -> *mut c_void {
            // SAFETY: no precondition; it may throw past this frame, which holds nothing.
            unsafe { heapglass_new_slow(size, align) }
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $new_aligned_nothrow(size: usize, align: usize, _: *const c_void) -> *mut c_void {
            let user: *mut c_void = aligned::allocate_or_errno(align, size).cast();
            if !user.is_null() {
                return user;
            }
            without_throwing(size, align)
        }

        delete!($delete);
        delete!($delete_nothrow, tag: *const c_void);
        delete!($delete_aligned, align: usize);
        delete!($delete_aligned_nothrow, align: usize, tag: *const c_void);
        delete_sized!($delete_sized);
        delete_sized!($delete_sized_aligned, align: usize);
    )*};
}

operators! {
    _Znwm _ZnwmRKSt9nothrow_t _ZnwmSt11align_val_t _ZnwmSt11align_val_tRKSt9nothrow_t
    _ZdlPv _ZdlPvRKSt9nothrow_t _ZdlPvm _ZdlPvSt11align_val_t _ZdlPvSt11align_val_tRKSt9nothrow_t
    _ZdlPvmSt11align_val_t,
    _Znam _ZnamRKSt9nothrow_t _ZnamSt11align_val_t _ZnamSt11align_val_tRKSt9nothrow_t
    _ZdaPv _ZdaPvRKSt9nothrow_t _ZdaPvm _ZdaPvSt11align_val_t _ZdaPvSt11align_val_tRKSt9nothrow_t
    _ZdaPvmSt11align_val_t
}
