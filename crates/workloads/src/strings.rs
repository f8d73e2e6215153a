//! A hash map of strings, as caches and interpreters have: an entry, its key and its value are three objects, of sizes that
//! follow what Atikoglu et al. measured at memcached ("Workload analysis of a large-scale key-value store", SIGMETRICS
//! 2012): keys of 16 to 40 bytes, values mostly small with a long tail.

use crate::c::{CBox, CVec};
use crate::work::{Outcome, Pareto, Rng, Setup, Tally, together};

struct Entry {
    key: CVec<u8>,
    value: CVec<u8>,
    next: Option<CBox<Entry>>,
}

/// With chains; its number of buckets stays.
struct Map(Vec<Option<CBox<Entry>>>);

impl Map {
    /// A power of two.
    fn new(buckets: usize) -> Map {
        Map((0..buckets).map(|_| None).collect())
    }

    fn place(&mut self, key: &[u8]) -> &mut Option<CBox<Entry>> {
        let hash = key
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let bucket = (hash ^ hash >> 32) as usize & (self.0.len() - 1);
        let mut place = &mut self.0[bucket];
        while place.as_ref().is_some_and(|entry| *entry.key != *key) {
            place = match place {
                Some(entry) => &mut entry.next,
                None => unreachable!("the loop ends there"),
            };
        }
        place
    }

    fn set(&mut self, key: &[u8], value: CVec<u8>) {
        let place = self.place(key);
        match place {
            Some(entry) => entry.value = value,
            None => *place = Some(CBox::new(Entry { key: CVec::from(key), value, next: None })),
        }
    }

    fn get(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.place(key).as_ref().map(|entry| &*entry.value)
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let place = self.place(key);
        match place.take() {
            Some(mut entry) => {
                *place = entry.next.take();
                true
            }
            None => false,
        }
    }
}

pub fn run(setup: &Setup) -> Outcome {
    const KEYS: usize = 100_000;
    let rounds = setup.share(6_000_000);
    let lengths = Pareto::new(8, 4096, 0.9);
    let prepare = |number| (setup.rng(number), Map::new(KEYS.next_power_of_two()), Vec::<u8>::with_capacity(64));
    together(setup, prepare, |_, (mut rng, mut map, mut key): (Rng, Map, Vec<u8>)| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            spell(&mut rng, KEYS, &mut key);
            match rng.below(10) {
                0..4 => {
                    let mut value = CVec::with_capacity(lengths.draw(&mut rng));
                    key.iter().take(8).for_each(|byte| value.push(*byte));
                    map.set(&key, value);
                    tally.count(1);
                }
                4..7 => tally.count(u64::from(map.remove(&key))),
                _ => tally.count(map.get(&key).map_or(0, |value| u64::from(value[7]))),
            }
        }
        tally
    })
}

/// One of so many keys; the lower numbers are likelier.
fn spell(rng: &mut Rng, keys: usize, key: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let number = rng.below(keys).min(rng.below(keys));
    key.clear();
    key.extend_from_slice(b"session:");
    let mut rest = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..8 + number % 24 {
        key.push(DIGITS[(rest >> 60) as usize]);
        rest = rest.rotate_left(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c::live::ONE;

    #[test]
    fn a_map_keeps_what_was_put_last() {
        let _alone = ONE.lock().unwrap();
        // Two buckets, so that there are chains.
        let mut map = Map::new(2);
        for round in 0..3 {
            for key in 0..10 {
                map.set(&[key], CVec::from(&[round, key]));
            }
        }
        assert!(map.remove(&[4]) && !map.remove(&[4]));
        for key in 0..10 {
            let expected: Option<&[u8]> = if key == 4 { None } else { Some(&[2, key]) };
            assert_eq!(map.get(&[key]), expected);
        }
    }
}
