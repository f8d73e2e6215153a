//! What the heap told, and what was read of it, as people want to know it. Pure functions from data to data or text: no terminal,
//! no file, no process, and nothing here knows how the heap works beyond what the records say.
//!
//! Of what it told: `calls` puts the records of one ring together to calls. From a call, `line` makes the line of a trace, `path`
//! names what served it, `summary` counts by that, `filter` chooses, and `explain` tells it step by step, with `picture` for
//! the heap before and after it and `paint` for colour.
//!
//! Of what was read: a heap comes in as `inspect` hands it out, chunk by chunk, and `ledger`, `pins`, `map` and `metrics` keep
//! none of them.

#![forbid(unsafe_code)]

pub mod around;
pub mod bins;
pub mod classes;
pub use heapglass_capture::calls;
pub mod explain;
pub mod filter;
pub mod ledger;
pub mod line;
pub mod lines;
pub mod map;
pub mod metrics;
pub mod paint;
pub mod path;
pub mod picture;
pub mod pins;
pub mod requests;
pub mod resident;
pub mod summary;
pub mod tally;
pub mod text;
