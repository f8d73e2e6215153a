//! Comparing allocators under one program: which are there ([`rivals`]), in what order they run ([`plan`]), what the figures
//! say ([`spread`], [`report`]), and how that is written down: for a reader ([`table`], [`markdown`], [`svg`]) and for other
//! programs ([`json`], [`csv`]). [`suite`] is the same for many programs at once.
//!
//! Nothing here starts a program or reads a clock; the command does that and hands over [`report::Sample`]s.

#![forbid(unsafe_code)]

pub mod csv;
pub mod json;
pub mod markdown;
pub mod plan;
pub mod report;
pub mod rivals;
pub mod spread;
pub mod suite;
pub mod svg;
pub mod table;
