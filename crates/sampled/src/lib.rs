//! From what a profiled program tells to a profile, wherever the reader is: in another process (the command) or in the program itself
//! (the crate for Rust).
//!
//! 1. `ears`: records of the rings become samples, which are unwound at once, and a profile.
//! 2. `names`: places of a profile get the names of functions, files and lines.

#![forbid(unsafe_code)]

pub mod ears;
pub mod names;
