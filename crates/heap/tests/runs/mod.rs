//! Sequences of calls against the model, by one thread and by several: what tests in one mode or another have in common.
#![allow(dead_code)]

use crate::model::{Op, Table};
use crate::world::{self, Mode};
use heapglass_heap::check;
use std::sync::Barrier;
use std::thread;

/// One thread; `check_each` looks through the whole heap after every call, which also puts away what is parked.
pub fn one_thread(mode: Mode, ops: &[Op], check_each: bool) {
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

/// Rounds of several threads each over one table: what one allocated another resizes and frees, also when the first has ended.
pub fn many_threads(mode: Mode, rounds: &[Vec<Vec<Op>>], at_thread_end: impl Fn() + Sync) {
    rounds_of_threads(mode, rounds, |_| {}, |_| (), at_thread_end);
}

/// Before each round `begin` is told how many threads there will be; each thread holds what `enter` gives it for its number.
pub fn rounds_of_threads<Entered>(
    mode: Mode,
    rounds: &[Vec<Vec<Op>>],
    begin: impl Fn(usize),
    enter: impl Fn(usize) -> Entered + Sync,
    at_thread_end: impl Fn() + Sync,
) {
    world::reset(mode);
    let table = Table::new();
    for (round, scripts) in rounds.iter().enumerate() {
        let start = Barrier::new(scripts.len());
        begin(scripts.len());
        thread::scope(|scope| {
            let spawn = |(number, script): (usize, &'_ Vec<Op>)| {
                let (table, start, script) = (&table, &start, script.clone());
                let (enter, at_thread_end) = (&enter, &at_thread_end);
                scope.spawn(move || {
                    start.wait();
                    let _entered = enter(number);
                    for (step, &op) in script.iter().enumerate() {
                        table.act(op, (round << 40 | number << 32 | step) as u64);
                    }
                    at_thread_end();
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
