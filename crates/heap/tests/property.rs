//! Any sequence of calls against a model: no chunk overlaps another, each is aligned, keeps its contents and its usable size,
//! calloc's is zero, the checker finds nothing, and when all is freed each heap is one top (A8).
//!
//! A run that the allocator itself stops leaves no report; its seed stands in `target/tmp/NAME.seed`, and
//! `PROPTEST_RNG_SEED=seed` repeats it. `PROPTEST_CASES` sets the number of cases.
#![cfg(not(loom))]

mod model;
mod world;

use heapglass_heap::check;
use model::{Op, Table, op, property};
use proptest::collection::vec;
use std::sync::Barrier;
use std::thread;
use world::Mode;

const THREADS: usize = 4;

/// One thread; `check_each` looks through the whole heap after every call, which also puts away what is parked.
fn one_thread(mode: Mode, ops: &[Op], check_each: bool) {
    world::reset(mode);
    let table = Table::new();
    for (number, &op) in ops.iter().enumerate() {
        table.act(op, number as u64);
        if check_each {
            assert_eq!(check::check(false), 0, "after {op:?}, call {number}");
            table.prove();
        }
    }
    table.prove();
    assert_eq!(check::check(false), 0);
    table.free_all();
    world::assert_empty();
}

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

/// Rounds of four threads each over one table: what one allocated another resizes and frees, also when the first has ended.
fn many_threads(mode: Mode, rounds: &[Vec<Vec<Op>>]) {
    world::reset(mode);
    let table = Table::new();
    for (round, scripts) in rounds.iter().enumerate() {
        let start = Barrier::new(scripts.len());
        thread::scope(|scope| {
            let spawn = |(number, script): (usize, &'_ Vec<Op>)| {
                let (table, start, script) = (&table, &start, script.clone());
                scope.spawn(move || {
                    start.wait();
                    for (step, &op) in script.iter().enumerate() {
                        table.act(op, (round << 40 | number << 32 | step) as u64);
                    }
                })
            };
            let threads: Vec<_> = scripts.iter().enumerate().map(spawn).collect();
            // A join waits for the thread's last destructors too, the end of the scope alone doesn't.
            for thread in threads {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
        table.prove();
        assert_eq!(check::check(false), 0);
    }
    table.free_all();
    world::assert_empty();
}

#[test]
fn four_threads_free_what_others_allocated() {
    let rounds = vec(vec(vec(op(), 0..400), THREADS), 1..3);
    property("threads", 60, rounds, |rounds| many_threads(Mode::Default, &rounds));
}

#[test]
fn four_threads_in_classic_mode_free_what_others_allocated() {
    let rounds = vec(vec(vec(op(), 0..400), THREADS), 1..3);
    property("threads-classic", 40, rounds, |rounds| many_threads(Mode::Classic, &rounds));
}
