//! Atomics that ask before each step whether another thread shall go first. With the feature `scheduled`, for tests only: a
//! scheduler in the test lets one thread run at a time and says at each step who is next, so that one number repeats an
//! order of events, and orders come up that real threads meet once in years. Unlike under the model checker the whole
//! allocator runs; but what weakly ordered processors add to the orders isn't seen.

use core::sync::atomic::{AtomicPtr as Cell, Ordering::Relaxed};

/// What a thread is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something that other threads may see.
    Go,
    /// Wait for another thread, who must go first.
    Wait,
}

/// The test's scheduler.
static SCHEDULER: Cell<()> = Cell::new(core::ptr::null_mut());

/// Every step of every thread is told to `call` first, which returns when the step may be made.
pub fn schedule(call: fn(Step)) {
    SCHEDULER.store(call as *mut (), Relaxed);
}

#[inline]
pub fn step(step: Step) {
    let call = SCHEDULER.load(Relaxed);
    if !call.is_null() {
        // SAFETY: only `schedule` writes it, and a function never goes away.
        let call: fn(Step) = unsafe { core::mem::transmute(call) };
        call(step);
    }
}

/// The names of `core::sync::atomic` that the allocator uses.
pub mod atomic {
    use super::{Step, step};
    use core::sync::atomic as real;
    pub use real::Ordering;

    pub fn fence(order: Ordering) {
        step(Step::Go);
        real::fence(order);
    }

    /// A type's operations, each with a step in front of it.
    macro_rules! forward {
        ($($name:ident($($word:ident: $type:ty),*) -> $out:ty;)*) => {$(
            #[inline]
            pub fn $name(&self, $($word: $type),*) -> $out {
                step(Step::Go);
                self.0.$name($($word),*)
            }
        )*};
    }

    macro_rules! atomic {
        ($name:ident<$($param:ident)?>, $value:ty; $($more:tt)*) => {
            #[repr(transparent)]
            pub struct $name$(<$param>)?(real::$name$(<$param>)?);

            impl$(<$param>)? $name$(<$param>)? {
                pub const fn new(value: $value) -> Self {
                    Self(real::$name::new(value))
                }

                pub const fn as_ptr(&self) -> *mut $value {
                    self.0.as_ptr()
                }

                pub fn get_mut(&mut self) -> &mut $value {
                    self.0.get_mut()
                }

                forward! {
                    load(order: Ordering) -> $value;
                    store(value: $value, order: Ordering) -> ();
                    swap(value: $value, order: Ordering) -> $value;
                    compare_exchange(old: $value, new: $value, good: Ordering, bad: Ordering) -> Result<$value, $value>;
                    compare_exchange_weak(old: $value, new: $value, good: Ordering, bad: Ordering) -> Result<$value, $value>;
                    $($more)*
                }
            }
        };
    }

    macro_rules! number {
        ($name:ident, $value:ty) => {
            atomic! { $name<>, $value;
                fetch_add(value: $value, order: Ordering) -> $value;
                fetch_sub(value: $value, order: Ordering) -> $value;
                fetch_and(value: $value, order: Ordering) -> $value;
                fetch_or(value: $value, order: Ordering) -> $value;
                fetch_max(value: $value, order: Ordering) -> $value;
                fetch_min(value: $value, order: Ordering) -> $value;
            }

            impl $name {
                pub fn fetch_update(
                    &self,
                    good: Ordering,
                    bad: Ordering,
                    change: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    step(Step::Go);
                    self.0.fetch_update(good, bad, change)
                }
            }
        };
    }

    number!(AtomicU32, u32);
    number!(AtomicU64, u64);
    number!(AtomicUsize, usize);
    number!(AtomicIsize, isize);
    atomic! { AtomicBool<>, bool;
        fetch_and(value: bool, order: Ordering) -> bool;
        fetch_or(value: bool, order: Ordering) -> bool;
    }
    atomic! { AtomicPtr<T>, *mut T; }
}
