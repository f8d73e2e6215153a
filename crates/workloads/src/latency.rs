//! How long single calls take: random replacement in a table, with each malloc and each free timed for itself, and beside them
//! the timing of nothing, which says what the clock costs and what other programs on the machine do to any call.

use crate::c::{Block, leave};
use crate::clock::{tick, ticks};
use crate::work::{Outcome, Pareto, Rng, Setup, Tally, together};
use hdrhistogram::Histogram;
use std::sync::Mutex;

const KINDS: [&str; 3] = ["malloc", "free", "nothing"];
const PERCENTILES: [f64; 4] = [50.0, 99.0, 99.9, 99.99];
/// In ticks. The longest is minutes on any processor, and a value above it counts as the longest.
const LONGEST: u64 = 1 << 40;

type Times = [Histogram<u64>; KINDS.len()];

/// Their memory is asked for here, before anything is timed.
fn times() -> Times {
    KINDS.map(|_| Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that a histogram can have"))
}

/// Counters of two cores may differ by a few ticks.
fn record(times: &mut Histogram<u64>, [before, after]: [u64; 2]) {
    times.saturating_record(after.saturating_sub(before));
}

pub fn run(setup: &Setup) -> Outcome {
    let sizes = Pareto::new(16, 64 * 1024, 1.0);
    let rounds = setup.share(5_000_000);
    let slots = setup.live_share(50_000);
    let all = Mutex::new(times());
    let prepare = |thread| {
        let mut rng = setup.rng(thread);
        let table: Vec<Block> = (0..slots).map(|_| Block::new(sizes.draw(&mut rng))).collect();
        (table, rng, times())
    };
    let work = |_, (mut table, mut rng, mut times): (Vec<Block>, Rng, Times)| {
        let mut tally = Tally::default();
        let [mallocs, frees, nothings] = &mut times;
        for _ in 0..rounds {
            let size = sizes.draw(&mut rng);
            let (new, took) = Block::new_between(size, ticks);
            record(mallocs, took);
            let old = std::mem::replace(&mut table[rng.below(slots)], new);
            record(frees, old.free_between(ticks));
            record(nothings, [ticks(), ticks()]);
            tally.count(size as u64);
        }
        let mut all = all.lock().expect("no thread stops while it adds");
        all.iter_mut().zip(&times).for_each(|(all, one)| all.add(one).expect("the same bounds"));
        leave(table);
        tally
    };
    let mut outcome = together(setup, prepare, work);
    let all = all.into_inner().expect("no thread stopped while it added");
    outcome.notes = KINDS.iter().zip(&all).map(|(kind, times)| line(kind, times, tick())).collect();
    outcome
}

/// All in nanoseconds.
fn line(kind: &str, times: &Histogram<u64>, tick: f64) -> String {
    let scaled = |ticks: u64| (ticks as f64 * tick).round();
    let at = |percent: f64| format!(" p{percent}={}", scaled(times.value_at_percentile(percent)));
    let percentiles: String = PERCENTILES.into_iter().map(at).collect();
    format!("{kind} count={}{percentiles} max={}", times.len(), scaled(times.max()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c::live::ONE;

    #[test]
    fn percentiles_of_known_times() {
        let [mut times, ..] = times();
        for value in 1..=500 {
            record(&mut times, [5, 5 + value]);
        }
        assert_eq!(line("x", &times, 2.0), "x count=500 p50=500 p99=990 p99.9=1000 p99.99=1000 max=1000");
    }

    #[test]
    fn times_beyond_all_bounds_are_counted() {
        let [mut times, ..] = times();
        record(&mut times, [0, u64::MAX]);
        record(&mut times, [9, 8]);
        assert_eq!((times.len(), times.min()), (2, 0));
        assert!(times.max() >= LONGEST);
    }

    #[test]
    fn every_call_of_every_thread_is_timed() {
        let _alone = ONE.lock().unwrap();
        let setup = Setup { threads: 2, seed: 1, scale: 0.001, live: Some(100), size: None };
        let outcome = run(&setup);
        assert_eq!(outcome.notes.len(), 3);
        for note in &outcome.notes {
            assert!(note.contains(&format!(" count={} p50=", outcome.tally.operations)), "{note}");
        }
    }

    #[test]
    fn a_tick_is_of_some_length() {
        assert!((0.01..=10.0).contains(&tick()), "{}", tick());
    }
}
