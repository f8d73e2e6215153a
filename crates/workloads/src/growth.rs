//! What a malloc and a free cost while more and more objects are alive. Caches miss more often then, whoever hands the memory
//! out, so there are two workloads: one replaces objects at random, the other touches the same memory in the same order
//! without asking any allocator for it. Their ratio is the allocator's doing.

use crate::c::{Block, leave};
use crate::work::{Outcome, Rng, Setup, Tally, together};

const LIVE: usize = 100_000;
const ROUNDS: u64 = 10_000_000;
const SIZES: [usize; 2] = [16, 64];

fn size(rng: &mut Rng) -> usize {
    rng.between(SIZES[0], SIZES[1])
}

fn table(setup: &Setup, thread: usize) -> (Vec<Block>, Rng) {
    let mut rng = setup.rng(thread);
    let table = (0..setup.live_share(LIVE)).map(|_| Block::new(size(&mut rng))).collect();
    (table, rng)
}

/// Each round writes a new object, reads an old one at random, frees that, and keeps the new one in its place.
pub fn growth(setup: &Setup) -> Outcome {
    let rounds = setup.share(ROUNDS);
    let work = |_, (mut table, mut rng): (Vec<Block>, Rng)| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            let new = Block::new(size(&mut rng));
            let at = rng.below(table.len());
            let old = std::mem::replace(&mut table[at], new);
            tally.count(old.size() as u64);
        }
        leave(table);
        tally
    };
    together(setup, |thread| table(setup, thread), work)
}

/// The same rounds, in which what was read last is what is written next.
pub fn touch(setup: &Setup) -> Outcome {
    let rounds = setup.share(ROUNDS);
    let work = |_, (mut table, mut rng, mut spare): (Vec<Block>, Rng, Block)| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            // Drawn as in `growth`, since that takes time too.
            std::hint::black_box(size(&mut rng));
            spare.rewrite();
            let at = rng.below(table.len());
            spare = std::mem::replace(&mut table[at], spare);
            tally.count(spare.size() as u64);
        }
        table.push(spare);
        leave(table);
        tally
    };
    let prepare = |thread| {
        let (mut table, mut rng) = table(setup, thread);
        // Room for the spare, so that the table isn't moved when it comes back.
        table.reserve(1);
        let spare = Block::new(size(&mut rng));
        (table, rng, spare)
    };
    together(setup, prepare, work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c::live::ONE;

    fn small(live: usize) -> Setup {
        Setup { threads: 1, seed: 1, scale: 0.001, live: Some(live), size: None }
    }

    /// The mean of what was read says that both read objects of the sizes that were asked for.
    #[test]
    fn both_read_an_object_in_each_round() {
        let _alone = ONE.lock().unwrap();
        for run in [growth, touch] {
            let tally = run(&small(1000)).tally;
            assert_eq!(tally.operations, ROUNDS / 1000);
            let mean = tally.checksum as f64 / tally.operations as f64;
            assert!((38.0..42.0).contains(&mean), "{mean}");
        }
    }

    /// With one object alive, `touch` reads its two by turns, while `growth` reads each of its new ones.
    #[test]
    fn touching_makes_no_object() {
        let _alone = ONE.lock().unwrap();
        let read = |tally: Tally| tally.checksum as f64 / (tally.operations as f64 / 2.0);
        assert_eq!(read(touch(&small(1)).tally).fract(), 0.0);
        assert_ne!(read(growth(&small(1)).tally).fract(), 0.0);
    }
}
