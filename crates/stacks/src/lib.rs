//! Who called: stacks are unwound outside of the process that they are from, out of copies of them, and named from the files that
//! the process has loaded.
//!
//! 1. `maps`: the mappings of a process, as the kernel lists them.
//! 2. `module`: a file that is mapped to be executed: where, its build id, its tables of unwinding. Files are opened at once and kept
//!    open, so a program may be deleted, replaced, or end.
//! 3. `unwind`: from registers and a piece of stack to return addresses. By the tables where there are any, else by frame
//!    pointers.
//! 4. `symbols`: from an address in a module to functions, inlined ones too, with files and lines.
//! 5. `trial`: any bytes as such a file, for the fuzzer.
//!
//! Nothing here asks the process for anything; what it was when it was sampled is all that is needed.

#![forbid(unsafe_code)]

pub mod maps;
pub mod module;
pub mod symbols;
pub mod trial;
pub mod unwind;
