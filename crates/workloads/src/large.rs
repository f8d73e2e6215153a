//! Long objects: those that every allocator takes from the kernel, and those that get long by growing.

use crate::c::{Block, CVec};
use crate::work::{Outcome, Pareto, Rng, Setup, Tally, together};

/// After the description of mimalloc-bench's malloc-large: twenty blocks of 5 to 25 MiB, replaced by turns. Every page is
/// written, as by whoever needs so much.
pub fn cycle(setup: &Setup) -> Outcome {
    const SLOTS: usize = 20;
    const MIB: usize = 1 << 20;
    const PAGE: usize = 4096;
    let rounds = setup.share(1_700);
    let prepare = |number| (setup.rng(number), (0..SLOTS).map(|_| None).collect());
    together(setup, prepare, |_, (mut rng, mut table): (Rng, Vec<Option<Block>>)| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            let slot = rng.below(SLOTS);
            // Freed first: a program that cycles blocks of this length can't afford both.
            table[slot] = None;
            let size = rng.between(5 * MIB, 25 * MIB);
            let mut block = Block::new(size);
            block.write(PAGE, 1);
            table[slot] = Some(block);
            tally.count(size as u64);
        }
        tally
    })
}

/// What std::vector and Vec do: many vectors that double by realloc, side by side, until each has reached a length that
/// follows Pareto's law. One in eight is a buffer that grows by small steps instead.
pub fn vectors(setup: &Setup) -> Outcome {
    const VECTORS: usize = 200;
    let lengths = Pareto::new(8, 200_000, 0.9);
    let rounds = setup.share(12_000_000);
    let prepare = |number| {
        let mut rng = setup.rng(number);
        let vectors = (0..VECTORS).map(|_| (CVec::new(), lengths.draw(&mut rng))).collect();
        let buffers = (0..VECTORS / 8).map(|_| Block::new(16)).collect();
        (rng, vectors, buffers)
    };
    type Vectors = Vec<(CVec<u64>, usize)>;
    together(setup, prepare, |_, (mut rng, mut vectors, mut buffers): (Rng, Vectors, Vec<Block>)| {
        let mut tally = Tally::default();
        for round in 0..rounds {
            let (vector, length) = &mut vectors[rng.below(VECTORS)];
            for _ in 0..8 {
                vector.push(round);
            }
            if vector.len() >= *length {
                tally.count(vector.iter().sum());
                *vector = CVec::new();
                *length = lengths.draw(&mut rng);
            }
            if round % 8 == 0 {
                let at = rng.below(buffers.len());
                let buffer = &mut buffers[at];
                let size = if buffer.size() > 60_000 { 16 } else { buffer.size() + rng.between(1, 200) };
                buffer.resize(size);
                tally.count(size as u64);
            }
        }
        tally
    })
}
