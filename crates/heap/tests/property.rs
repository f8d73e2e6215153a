//! Any sequence of calls against a model: no chunk overlaps another, each is aligned, keeps its contents and its usable size,
//! calloc's is zero, the checker finds nothing, and when all is freed each heap is one top (A8).
//!
//! A run that the allocator itself stops leaves no report; its seed stands in `target/tmp/NAME.seed`, and
//! `PROPTEST_RNG_SEED=seed` repeats it. `PROPTEST_CASES` sets the number of cases.
#![cfg(not(loom))]

mod model;
mod runs;
mod world;

use model::{op, property};
use proptest::collection::vec;
use runs::{many_threads, one_thread};
use world::Mode;

const THREADS: usize = 4;

#[test]
fn one_thread_checked_after_every_call() {
    property("checked", 250, vec(op(), 0..120), |ops| one_thread(Mode::Default, &ops, true));
}

#[test]
fn one_thread_in_classic_mode_checked_after_every_call() {
    property("classic", 250, vec(op(), 0..120), |ops| one_thread(Mode::Classic, &ops, true));
}

#[test]
fn one_thread_unchecked_until_the_end() {
    property("unchecked", 120, vec(op(), 0..1500), |ops| one_thread(Mode::Default, &ops, false));
}

#[test]
fn one_thread_in_the_other_modes() {
    let mode = proptest::sample::select(vec![Mode::NoParking, Mode::NoMappings]);
    property("modes", 100, (mode, vec(op(), 0..120)), |(mode, ops)| one_thread(mode, &ops, true));
}

#[test]
fn four_threads_free_what_others_allocated() {
    let rounds = vec(vec(vec(op(), 0..400), THREADS), 1..3);
    property("threads", 60, rounds, |rounds| many_threads(Mode::Default, &rounds, || {}));
}

#[test]
fn four_threads_in_classic_mode_free_what_others_allocated() {
    let rounds = vec(vec(vec(op(), 0..400), THREADS), 1..3);
    property("threads-classic", 40, rounds, |rounds| many_threads(Mode::Classic, &rounds, || {}));
}
