//! Random numbers that can't be told from those before: ChaCha (Bernstein) with 8 rounds, keyed by the process's chance, a
//! stream for each thread. Sixteen numbers to a block, so one costs a few nanoseconds.

use super::keys;
use heapglass_event::root::mix;

const ROUNDS: usize = 8;

pub struct Random {
    stream: u64,
    counter: u64,
    block: [u32; 16],
    used: usize,
}

impl Random {
    pub fn new(stream: u64) -> Random {
        Random { stream, counter: 0, block: [0; 16], used: 16 }
    }

    /// Goes on with another stream.
    pub fn turn(&mut self, by: u64) {
        self.stream = mix(self.stream ^ mix(by));
        self.used = self.block.len();
    }

    #[inline]
    fn number(&mut self) -> u32 {
        if let Some(&number) = self.block.get(self.used) {
            self.used += 1;
            return number;
        }
        self.refill()
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> u32 {
        let key = [0, 1, 2, 3].map(|word| keys::get(keys::RANDOM + word));
        self.block = block(key, self.counter, self.stream);
        self.counter = self.counter.wrapping_add(1);
        self.used = 1;
        self.block[0]
    }

    /// A number below `bound`, which is below 2^32; 0 where that is 0. (By multiplication, after Lemire: for small bounds as
    /// even as makes no difference.)
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.number()) * bound as u64) >> 32) as usize
    }
}

type Row = [u32; 4];

/// One step of a round, for four columns at once: written so that it becomes operations on whole rows.
fn step(to: &mut Row, from: Row, mixed: &mut Row, turn: u32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.wrapping_add(from);
    }
    for (mixed, to) in mixed.iter_mut().zip(*to) {
        *mixed = (*mixed ^ to).rotate_left(turn);
    }
}

fn round(a: &mut Row, b: &mut Row, c: &mut Row, d: &mut Row) {
    step(a, *b, d, 16);
    step(c, *d, b, 12);
    step(a, *b, d, 8);
    step(c, *d, b, 7);
}

/// One block of the cipher, in rows of four columns.
fn block(key: [u64; 4], counter: u64, stream: u64) -> [u32; 16] {
    let halves = |word: u64| [word as u32, (word >> 32) as u32];
    let row = |low: u64, high: u64| {
        let ([a, b], [c, d]) = (halves(low), halves(high));
        [a, b, c, d]
    };
    // "expand 32-byte k"
    let start = [
        [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574],
        row(key[0], key[1]),
        row(key[2], key[3]),
        row(counter, stream),
    ];
    let [mut a, mut b, mut c, mut d] = start;
    for _ in 0..ROUNDS / 2 {
        round(&mut a, &mut b, &mut c, &mut d);
        // The diagonals become columns, and go back.
        let ([b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]) = (b, c, d);
        (b, c, d) = ([b1, b2, b3, b0], [c2, c3, c0, c1], [d3, d0, d1, d2]);
        round(&mut a, &mut b, &mut c, &mut d);
        let ([b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]) = (b, c, d);
        (b, c, d) = ([b3, b0, b1, b2], [c2, c3, c0, c1], [d1, d2, d3, d0]);
    }
    let mut all = [0; 16];
    let sums = [a, b, c, d].into_iter().flatten().zip(start.into_iter().flatten());
    for (word, (mixed, first)) in all.iter_mut().zip(sums) {
        *word = mixed.wrapping_add(first);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the original authors' collection of test vectors (eSTREAM set 1, vector 0, ChaCha8 with 256 bits).
    #[test]
    fn the_cipher_is_chacha8() {
        let bytes: Vec<u8> = block([0; 4], 0, 0).iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = [0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1];
        assert_eq!(bytes[..16], expected);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(7);
        for bound in [1, 2, 3, 100, 1024] {
            let mut seen = vec![0; bound];
            for _ in 0..bound * 50 {
                seen[random.below(bound)] += 1;
            }
            assert!(seen.iter().all(|&times| times > 10), "{bound}: {seen:?}");
        }
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn streams_differ() {
        let (mut one, mut other, mut turned) = (Random::new(1), Random::new(2), Random::new(1));
        turned.turn(9);
        let ten = |random: &mut Random| (0..10).map(|_| random.number()).collect::<Vec<_>>();
        let first = ten(&mut one);
        assert_ne!(first, ten(&mut other));
        assert_ne!(first, ten(&mut turned));
        assert_ne!(first, ten(&mut one));
    }
}
