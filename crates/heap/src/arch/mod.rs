//! The machine-dependent lines of the allocator: one thread-local word, the hint to fetch a line, and a counter
//! that says cheaply whether a look at the clock is due.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use x86_64::{copy_words, cycles, frame, prefetch, registers, set_word, thread_mark, thread_pointer, word};

#[cfg(any(not(target_arch = "x86_64"), miri))]
mod portable;
#[cfg(any(not(target_arch = "x86_64"), miri))]
pub use portable::{copy_words, cycles, frame, prefetch, registers, set_word, thread_mark, thread_pointer, word};
