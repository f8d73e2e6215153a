//! What is to be said of a heap, as data: no terminal, no file, no process. A heap comes in as `inspect` hands it out, chunk by
//! chunk, and nothing here keeps the chunks.

#![deny(unsafe_code)]

pub mod ledger;
pub mod map;
pub mod metrics;
pub mod pins;
pub mod resident;
