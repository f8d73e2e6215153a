//! Random numbers that can't be told from those before: ChaCha (Bernstein) with 8 rounds, keyed by the process's chance, a
//! stream for each thread. Sixteen numbers to a block, so one costs a few nanoseconds.

use super::keys;

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
        self.stream = keys::mix(self.stream ^ keys::mix(by));
        self.used = self.block.len();
    }

    fn number(&mut self) -> u32 {
        if self.used >= self.block.len() {
            let key = [0, 1, 2, 3].map(|word| keys::get(keys::RANDOM + word));
            self.block = block(key, self.counter, self.stream);
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block.get(self.used - 1).copied().unwrap_or(0)
    }

    /// A number below `bound`, which is below 2^32; 0 where that is 0. (By multiplication, after Lemire: for small bounds as
    /// even as makes no difference.)
    pub fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.number()) * bound as u64) >> 32) as usize
    }
}

fn quarter([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    let a = a.wrapping_add(b);
    let d = (d ^ a).rotate_left(16);
    let c = c.wrapping_add(d);
    let b = (b ^ c).rotate_left(12);
    let a = a.wrapping_add(b);
    let d = (d ^ a).rotate_left(8);
    let c = c.wrapping_add(d);
    let b = (b ^ c).rotate_left(7);
    [a, b, c, d]
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
    let round = |a: &mut [u32; 4], b: &mut [u32; 4], c: &mut [u32; 4], d: &mut [u32; 4]| {
        for column in 0..4 {
            [a[column], b[column], c[column], d[column]] = quarter([a[column], b[column], c[column], d[column]]);
        }
    };
    for _ in 0..ROUNDS / 2 {
        round(&mut a, &mut b, &mut c, &mut d);
        // The diagonals become columns, and go back.
        let turned = |row: [u32; 4], by: usize| core::array::from_fn(|at| row[(at + by) & 3]);
        (b, c, d) = (turned(b, 1), turned(c, 2), turned(d, 3));
        round(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (turned(b, 3), turned(c, 2), turned(d, 1));
    }
    let rows = [a, b, c, d];
    core::array::from_fn(|at| rows[at / 4 & 3][at & 3].wrapping_add(start[at / 4 & 3][at & 3]))
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
        let mut ten = |random: &mut Random| (0..10).map(|_| random.number()).collect::<Vec<_>>();
        let first = ten(&mut one);
        assert_ne!(first, ten(&mut other));
        assert_ne!(first, ten(&mut turned));
        assert_ne!(first, ten(&mut one));
    }
}
