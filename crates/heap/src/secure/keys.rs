//! The mode's keys, and one that is used without it: drawn from the kernel's gift to every process, as the secret of the headers is, and each in a way of its
//! own, so that knowing one, or the secret, tells nothing of another.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapglass_event::root::{Place, mix};

/// What canaries are made with: two words.
pub const CANARY: usize = 0;
/// What links are kept under.
pub const LINKS: usize = 2;
/// What random numbers come from: four words.
pub const RANDOM: usize = 3;
/// What threads mark chunks with whose frees wait: in every mode.
pub const WAITING: usize = 7;
const KEYS: usize = 8;

static ALL: [AtomicU64; KEYS] = [const { AtomicU64::new(0) }; KEYS];

/// Where the keys of canaries stand, for readers.
pub const fn canary_place() -> Place {
    Place::of(&raw const ALL[CANARY])
}

/// Draws all keys from 128 bits of chance. Each takes both halves through two rounds that can't be undone without either.
pub fn draw(a: u64, b: u64) {
    for (number, key) in (1u64..).zip(&ALL) {
        let step = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = mix(a.wrapping_add(step)) ^ mix(b.rotate_left(number as u32 * 9) ^ step);
        key.store(mix(word ^ a.rotate_right(number as u32 * 5)) | 1, Relaxed);
    }
}

pub fn get(key: usize) -> u64 {
    ALL.get(key).map_or(1, |key| key.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_from_each_other_and_with_each_bit() {
        draw(1, 2);
        let first: Vec<u64> = (0..KEYS).map(get).collect();
        assert!(first.iter().all(|&key| first.iter().filter(|&&other| other == key).count() == 1), "{first:x?}");
        draw(1, 3);
        for (key, before) in first.into_iter().enumerate() {
            let changed = (get(key) ^ before).count_ones();
            assert!((12..=52).contains(&changed), "key {key}: {changed} bits");
        }
    }
}
