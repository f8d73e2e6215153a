//! What every workload is given and gives back, its random numbers, and threads that start together.

use crate::c::cpu_time;
use std::ops::AddAssign;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub threads: usize,
    pub seed: u64,
    pub scale: f64,
    /// Objects alive at a time, over all threads, where a workload keeps a table of them.
    pub live: Option<usize>,
    /// Bytes of each object, where they are all the same.
    pub size: Option<usize>,
}

impl Setup {
    /// So many operations at scale 1, and at least one.
    pub fn times(&self, at_one: u64) -> u64 {
        ((at_one as f64 * self.scale) as u64).max(1)
    }

    /// One thread's share of such operations.
    pub fn share(&self, at_one: u64) -> u64 {
        (self.times(at_one) / self.threads as u64).max(1)
    }

    /// One thread's share of the objects alive.
    pub fn live_share(&self, default: usize) -> usize {
        (self.live.unwrap_or(default) / self.threads).max(1)
    }

    /// Each thread draws numbers of its own.
    pub fn rng(&self, thread: usize) -> Rng {
        Rng::new(self.seed.wrapping_add((thread as u64) << 32))
    }
}

/// What was done, counted in calls for memory or their like, and a number that depends on all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub operations: u64,
    pub checksum: u64,
}

impl Tally {
    #[inline]
    pub fn count(&mut self, value: u64) {
        self.operations += 1;
        self.checksum = self.checksum.wrapping_add(value);
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.operations += other.operations;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

pub struct Outcome {
    pub tally: Tally,
    pub elapsed: Duration,
    /// Of all threads together, in the same time.
    pub cpu: Duration,
    /// Lines to print below the first.
    pub notes: Vec<String>,
}

pub fn timed(work: impl FnOnce() -> Tally) -> Outcome {
    let begun = Moment::now();
    let tally = work();
    let (elapsed, cpu) = span(std::iter::once((begun, Moment::now())));
    Outcome { tally, elapsed, cpu, notes: Vec::new() }
}

/// The same work by each thread, who prepares first; time runs from when the first one begins until the last one ends. The
/// threads take it themselves: on a busy machine somebody who waits for them would wake up late. One thread alone is the
/// program's first, so that a program without threads is measured as one.
pub fn together<S>(
    setup: &Setup,
    prepare: impl Fn(usize) -> S + Sync,
    work: impl Fn(usize, S) -> Tally + Sync,
) -> Outcome {
    if setup.threads == 1 {
        let state = prepare(0);
        return timed(|| work(0, state));
    }
    let ready = Barrier::new(setup.threads);
    thread::scope(|scope| {
        let (ready, prepare, work) = (&ready, &prepare, &work);
        let threads: Vec<_> = (0..setup.threads)
            .map(|number| {
                scope.spawn(move || {
                    let state = prepare(number);
                    ready.wait();
                    let begun = Moment::now();
                    let tally = work(number, state);
                    (tally, begun, Moment::now())
                })
            })
            .collect();
        let done: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a thread of the workload")).collect();
        let mut tally = Tally::default();
        done.iter().for_each(|(one, ..)| tally += *one);
        let moments = done.iter().map(|(_, begun, ended)| (*begun, *ended));
        let (elapsed, cpu) = span(moments);
        Outcome { tally, elapsed, cpu, notes: Vec::new() }
    })
}

/// What the clock says, and how much processor time the process has used.
#[derive(Clone, Copy)]
struct Moment {
    clock: Instant,
    cpu: Duration,
}

impl Moment {
    fn now() -> Moment {
        Moment { clock: Instant::now(), cpu: cpu_time() }
    }
}

/// From the first beginning to the last end.
fn span(moments: impl Iterator<Item = (Moment, Moment)>) -> (Duration, Duration) {
    let whole = |(from, to): (Moment, Moment), (begun, ended): (Moment, Moment)| {
        let from = Moment { clock: from.clock.min(begun.clock), cpu: from.cpu.min(begun.cpu) };
        let to = Moment { clock: to.clock.max(ended.clock), cpu: to.cpu.max(ended.cpu) };
        (from, to)
    };
    let whole = moments.reduce(whole).map(|(from, to)| (to.clock - from.clock, to.cpu.saturating_sub(from.cpu)));
    whole.unwrap_or_default()
}

/// Marsaglia's xorshift with Vigna's multiplier; the seed goes through splitmix first.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((z ^ (z >> 31)) | 1)
    }

    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below a bound, which isn't zero.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        (((self.draw() >> 32) * bound as u64) >> 32) as usize
    }

    /// From the one to the other, inclusive.
    #[inline]
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

/// Sizes by Pareto's law: many small, few large. Drawn from a table, so that the law costs nothing in the loop.
pub struct Pareto(Vec<u32>);

impl Pareto {
    const ENTRIES: usize = 1 << 14;

    pub fn new(low: usize, high: usize, shape: f64) -> Pareto {
        let size = |entry: usize| {
            let share = (entry as f64 + 0.5) / Pareto::ENTRIES as f64;
            (low as f64 / share.powf(1.0 / shape)).min(high as f64) as u32
        };
        Pareto((0..Pareto::ENTRIES).map(size).collect())
    }

    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> usize {
        self.0[(rng.draw() >> 50) as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_goes_from_the_first_beginning_to_the_last_end() {
        let (start, at) = (Instant::now(), Duration::from_millis);
        let moment = |ms| Moment { clock: start + at(ms), cpu: at(ms / 10) };
        let moments = [(moment(20), moment(60)), (moment(10), moment(40)), (moment(30), moment(90))];
        assert_eq!(span(moments.into_iter()), (at(80), at(8)));
        assert_eq!(span(std::iter::empty()), Default::default());
    }

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut rng = Rng::new(7);
        let drawn: Vec<usize> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
    }

    #[test]
    fn paretos_sizes_are_mostly_small() {
        let (pareto, mut rng) = (Pareto::new(16, 65536, 1.0), Rng::new(1));
        let drawn: Vec<usize> = (0..10_000).map(|_| pareto.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|size| (16..=65536).contains(size)));
        let small = drawn.iter().filter(|size| **size < 32).count();
        assert!((4500..5500).contains(&small), "half are below twice the smallest: {small}");
        assert!(drawn.iter().any(|size| *size > 10_000));
    }
}
