//! Reads a heap from outside, given a process id or a core file: no thread, no signal and no line of code runs in the target.
//!
//! 1. `memory`: what a target is: bytes by address, mappings, resident pages. `live` is a process, `core` a file; `stop` holds
//!    a process still for the moment.
//! 2. `find`: the one structure from which everything else is found (`heapglass_event::root`), or what is there instead.
//! 3. `records`: arenas, heaps, threads, mappings: what the heap keeps beside its chunks. `lists`: its bins and caches. `asked` and `requests`: what the
//!    program asked for, chunk by chunk and as a mean.
//! 4. `counters`: calls of the program's and of the kernel's, as the heap counts them.
//! 5. `walk`: the chunks of a heap from its first to its end, with whatever is wrong with them; `aside`: in a thread of its own.
//! 6. `reach`: which chunks in use the program can still get at.
//!
//! Nothing that was read is believed before it has proven itself: a header by its cookie, a link by its way back, a pointer by
//! where it may lead. What doesn't is read again while the target runs; what stays wrong is damage, and is named.
//!
//! **Bounds.** Chunks are handed to the caller one by one and not kept. What is kept is in proportion to arenas, threads,
//! mapped chunks, and chunks in caches and in the unsorted bin.

#![deny(unsafe_code)]

pub mod aside;
pub mod asked;
pub mod core;
pub mod counters;
pub mod find;
pub mod lists;
pub mod live;
pub mod maps;
pub mod memory;
pub mod pages;
pub mod reach;
pub mod records;
pub mod requests;
pub mod stop;
pub mod trouble;
pub mod walk;
mod window;

pub use find::Target;
pub use memory::{Memory, Range};
pub use trouble::Trouble;
