//! What the heap told, as people read it. Pure functions from records to text: nothing here touches a process or a file, and
//! nothing knows how the heap works beyond what the records say.
//!
//! `calls` puts the records of one ring together to calls. From a call, `line` makes the line of a trace, `path` names what
//! served it, `summary` counts by that, `filter` chooses, and `explain` tells it step by step, with `picture` for the heap
//! before and after it.

#![forbid(unsafe_code)]

pub mod calls;
pub mod explain;
pub mod filter;
pub mod line;
pub mod path;
pub mod picture;
pub mod summary;
pub mod text;
