//! From allocations and frees, in the order of their clock, to a profile.

use crate::model::{Entry, Frame, Profile, weight};
use std::collections::HashMap;

/// Allocations that are counted together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub stack: u32,
    pub thread: u32,
    pub arena: Option<u32>,
    pub bytes: u64,
    pub chunk: u64,
}

#[derive(Default)]
struct Tally {
    total: f64,
    in_use: f64,
    temporary: f64,
    lived: f64,
    /// In use at the peak of that number.
    peak: f64,
    peak_number: u64,
}

impl Tally {
    /// Before `in_use` changes, or at the end: what it is now is what it was at the last peak, if none came since it changed.
    fn settle(&mut self, peak_number: u64) {
        if self.peak_number != peak_number {
            self.peak_number = peak_number;
            self.peak = self.in_use;
        }
    }
}

/// A sampled chunk in use.
#[derive(Clone, Copy)]
pub struct Live {
    pub entry: u32,
    pub clock: u64,
    thread: u32,
}

pub struct Collector {
    interval: u64,
    keys: HashMap<Key, u32>,
    order: Vec<Key>,
    tallies: Vec<Tally>,
    live: HashMap<u64, Live>,
    /// The sample that each thread made last.
    last: HashMap<u32, u64>,
    bytes: f64,
    peak_bytes: f64,
    peak_number: u64,
    peak_clock: u64,
    stacks: HashMap<Vec<u32>, u32>,
    frames: HashMap<Frame, u32>,
    profile: Profile,
}

impl Collector {
    pub fn new(interval: u64) -> Collector {
        Collector {
            interval,
            keys: HashMap::new(),
            order: Vec::new(),
            tallies: Vec::new(),
            live: HashMap::new(),
            last: HashMap::new(),
            bytes: 0.0,
            peak_bytes: 0.0,
            peak_number: 0,
            peak_clock: 0,
            stacks: HashMap::new(),
            frames: HashMap::new(),
            profile: Profile::new(),
        }
    }

    /// The number of a frame.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        let frames = &mut self.profile.frames;
        *self.frames.entry(frame).or_insert_with_key(|frame| {
            frames.push(frame.clone());
            frames.len() as u32 - 1
        })
    }

    /// The number of a stack, the innermost frame first.
    pub fn stack(&mut self, frames: Vec<u32>) -> u32 {
        let stacks = &mut self.profile.stacks;
        *self.stacks.entry(frames).or_insert_with_key(|frames| {
            stacks.push(frames.clone());
            stacks.len() as u32 - 1
        })
    }

    pub fn allocated(&mut self, clock: u64, address: u64, key: Key) {
        // The free of what was there before got lost: with a process that ended, or while nobody listened.
        self.freed(clock, address);
        let weight = weight(key.chunk, self.interval);
        let (thread, bytes) = (key.thread, key.bytes as f64 * weight);
        let entry = match self.keys.get(&key) {
            Some(&entry) => entry,
            None => {
                let entry = self.tallies.len() as u32;
                self.tallies.push(Tally::default());
                self.order.push(key.clone());
                self.keys.insert(key, entry);
                entry
            }
        };
        if let Some(tally) = self.tallies.get_mut(entry as usize) {
            tally.settle(self.peak_number);
            tally.total += weight;
            tally.in_use += weight;
        }
        self.live.insert(address, Live { entry, clock, thread });
        self.last.insert(thread, address);
        self.bytes += bytes;
        if self.bytes > self.peak_bytes {
            self.peak_bytes = self.bytes;
            self.peak_number += 1;
            self.peak_clock = clock;
        }
    }

    pub fn freed(&mut self, clock: u64, address: u64) {
        let Some(live) = self.live.remove(&address) else { return };
        let (Some(tally), Some(key)) = (self.tallies.get_mut(live.entry as usize), self.order.get(live.entry as usize))
        else {
            return;
        };
        let weight = weight(key.chunk, self.interval);
        tally.settle(self.peak_number);
        // Sums of fractions leave a little over.
        tally.in_use = if tally.in_use - weight < 1e-6 { 0.0 } else { tally.in_use - weight };
        tally.lived += clock.saturating_sub(live.clock) as f64 * weight;
        if self.last.get(&live.thread) == Some(&address) {
            tally.temporary += weight;
        }
        self.bytes -= key.bytes as f64 * weight;
    }

    /// What is in use now, by address.
    pub fn live(&self) -> impl Iterator<Item = (u64, Live, &Key)> {
        self.live.iter().filter_map(|(&address, &live)| Some((address, live, self.order.get(live.entry as usize)?)))
    }

    /// The clock at the peak.
    pub fn peak_clock(&self) -> u64 {
        self.peak_clock
    }

    /// The profile so far, without names. A tick of the clock takes so many nanoseconds.
    pub fn profile(&mut self, tick: f64) -> Profile {
        let mut profile = self.profile.clone();
        profile.interval = self.interval;
        for (key, tally) in self.order.iter().zip(&mut self.tallies) {
            tally.settle(self.peak_number);
            profile.entries.push(Entry {
                stack: key.stack,
                thread: key.thread,
                arena: key.arena,
                bytes: key.bytes,
                chunk: key.chunk,
                total: tally.total,
                in_use: tally.in_use,
                peak: tally.peak,
                temporary: tally.temporary,
                lived: tally.lived * tick,
            });
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Which;

    fn key(stack: u32, bytes: u64) -> Key {
        Key { stack, thread: 1, arena: None, bytes, chunk: bytes }
    }

    #[test]
    fn the_peak_is_the_moment_of_the_highest_total_not_the_sum_of_each_places_own() {
        let mut collector = Collector::new(1);
        let stacks = [collector.stack(vec![]), collector.stack(vec![0])];
        collector.allocated(1, 100, key(stacks[0], 60));
        collector.freed(2, 100);
        collector.allocated(3, 200, key(stacks[1], 50));
        collector.allocated(4, 100, key(stacks[0], 30));
        assert_eq!(collector.peak_clock(), 4);
        collector.freed(5, 200);
        collector.allocated(6, 300, key(stacks[1], 10));
        let profile = collector.profile(1.0);
        assert_eq!(profile.sum(Which::Peak), (2.0, 80.0));
        assert_eq!(profile.sum(Which::InUse), (2.0, 40.0));
        assert_eq!(profile.sum(Which::Total), (4.0, 150.0));
        // The first alone was freed before its thread allocated again.
        assert_eq!(profile.sum(Which::Temporary), (1.0, 60.0));
    }

    #[test]
    fn what_was_all_freed_is_nothing() {
        let mut collector = Collector::new(512 << 10);
        let stack = collector.stack(vec![]);
        for address in 0..1000 {
            collector.allocated(1, address, key(stack, 500));
        }
        for address in (0..1000).rev() {
            collector.freed(2, address);
        }
        assert!(
            collector.profile(1.0).entries.iter().all(|entry| entry.in_use == 0.0 && entry.in_use.is_sign_positive())
        );
    }

    #[test]
    fn a_free_of_the_unknown_and_an_address_that_comes_back_do_no_harm() {
        let mut collector = Collector::new(1);
        let stack = collector.stack(vec![]);
        collector.freed(1, 5);
        collector.allocated(2, 5, key(stack, 8));
        collector.allocated(3, 5, key(stack, 8));
        assert_eq!(collector.profile(1.0).sum(Which::InUse), (1.0, 8.0));
        assert_eq!(collector.live().count(), 1);
    }
}
