//! Threads that take turns: the whole allocator under a scheduler that decides at each step of what threads share who goes next.
//! Needs the feature `scheduled`; each schedule is repeated by its seed, as other properties are.
#![cfg(all(not(loom), feature = "scheduled"))]

mod model;
mod runs;
mod schedule;
mod world;

use heapglass_heap::sync::turns::atomic::AtomicUsize;
use model::{op, property};
use proptest::collection::vec;
use proptest::prelude::*;
use runs::rounds_of_threads;
use schedule::{Plan, SWITCHES};
use std::sync::atomic::Ordering::Relaxed;
use world::Mode;

fn plan() -> impl Strategy<Value = Plan> {
    prop_oneof![
        proptest::sample::select(vec![2u32, 8, 40, 300]).prop_map(Plan::Chance),
        (1..6u32).prop_map(|falls| Plan::Order { falls, among: 2000 }),
    ]
}

fn by_turns(name: &str, cases: u32, mode: Mode, threads: usize) {
    let before = SWITCHES.load(Relaxed);
    let rounds = vec(vec(vec(op(), 0..60), threads), 1..4);
    property(name, cases, (plan(), any::<u64>(), rounds), |(plan, seed, rounds)| {
        let begin = |threads| schedule::begin(plan, seed, threads);
        rounds_of_threads(mode, &rounds, begin, schedule::enter, || {});
    });
    assert!(SWITCHES.load(Relaxed) - before > u64::from(cases), "threads hardly took turns");
}

#[test]
fn two_threads_by_turns() {
    by_turns("turns-2", 120, Mode::Default, 2);
}

#[test]
fn four_threads_by_turns() {
    by_turns("turns-4", 120, Mode::Default, 4);
}

#[test]
fn three_threads_by_turns_in_classic_mode() {
    by_turns("turns-classic", 60, Mode::Classic, 3);
}

/// Two threads each read a number and write one more: what one adds is lost where the other stands between the two. Some
/// schedules show it, and some don't, so the scheduler really decides; a seed repeats itself.
#[test]
fn a_lost_update_is_met() {
    fn count(plan: Plan, seed: u64) -> usize {
        let sum = AtomicUsize::new(0);
        schedule::begin(plan, seed, 2);
        std::thread::scope(|scope| {
            for me in 0..2 {
                let sum = &sum;
                scope.spawn(move || {
                    let _entered = schedule::enter(me);
                    for _ in 0..10 {
                        let now = sum.load(Relaxed);
                        sum.store(now + 1, Relaxed);
                    }
                });
            }
        });
        sum.load(Relaxed)
    }
    let _alone = world::alone();
    for plan in [Plan::Chance(8), Plan::Order { falls: 2, among: 40 }] {
        let sums: Vec<usize> = (1..200).map(|seed| count(plan, seed)).collect();
        assert!(sums.contains(&20) && sums.iter().any(|&sum| sum < 20), "{plan:?}: {sums:?}");
        assert_eq!(sums, (1..200).map(|seed| count(plan, seed)).collect::<Vec<_>>());
    }
}
