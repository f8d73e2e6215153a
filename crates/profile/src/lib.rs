//! Who holds the memory: profiles put together from samples, compared, shown, and written in the forms that others read. Data to
//! data or bytes: no terminal, no process, and nothing here knows where the samples are from.
//!
//! - `model`: a profile, and how it is saved.
//! - `collect`: from allocations and frees, as they come, to a profile.
//! - `tree`: a profile as a tree of calls, from either end. `text` shows it, with tables, in a terminal.
//! - `diff`: what one profile has more than another.
//! - `suppress`: rules by which leaks aren't told, in LeakSanitizer's syntax.
//! - `export`: the forms of others, a file each.
//! - `trial`: any bytes as a profile, for the fuzzer.

#![forbid(unsafe_code)]

pub mod collect;
pub mod diff;
pub mod export;
pub mod model;
pub mod suppress;
pub mod text;
pub mod tree;
pub mod trial;
