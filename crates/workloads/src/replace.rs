//! One table and its objects: the hot pair, random replacement, and freeing in the order of a batch.

use crate::c::{Block, pair as malloc_and_free};
use crate::work::{Outcome, Pareto, Setup, Tally, together};

/// The shortest program that asks: what an allocator's fast path costs when all it needs is in the first cache.
pub fn pair(setup: &Setup) -> Outcome {
    let rounds = setup.share(150_000_000);
    let size = setup.size.unwrap_or(32);
    let work = |_, ()| Tally { operations: rounds, checksum: (0..rounds).map(|_| malloc_and_free(size)).sum() };
    together(setup, |_| (), work)
}

/// Random replacement in a table, as in Zorn and Grunwald's synthetic programs ("Evaluating models of memory allocation",
/// 1994): whatever is allocated stays for a random time. Sizes follow Pareto's law, as those of most programs do.
pub fn replace(setup: &Setup) -> Outcome {
    let sizes = Pareto::new(16, 32 * 1024, 1.0);
    let rounds = setup.share(25_000_000);
    let slots = setup.live_share(50_000);
    let prepare = |thread| {
        let mut rng = setup.rng(thread);
        let table: Vec<Block> = (0..slots).map(|_| Block::new(sizes.draw(&mut rng))).collect();
        (table, rng)
    };
    let work = |_, (mut table, mut rng): (Vec<Block>, _)| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            let size = sizes.draw(&mut rng);
            // The old one is freed only after the new one was allocated, and before the next.
            table[rng.below(slots)] = Block::new(size);
            tally.count(size as u64);
        }
        tally
    };
    together(setup, prepare, work)
}

/// The orders of MicroQuill's description of its benchmark for SmartHeap: batches of small objects, smaller ones more often,
/// freed in the order they came, in the reverse order, or only in part, so that the rest lies between later batches.
pub fn mix(setup: &Setup) -> Outcome {
    const BATCH: usize = 5_000;
    const KEPT: usize = 100;
    let batches = setup.share(3_200);
    let prepare = |thread| {
        let kept: Vec<Option<Block>> = (0..KEPT * BATCH / 10).map(|_| None).collect();
        (setup.rng(thread), Vec::<Option<Block>>::with_capacity(BATCH), kept)
    };
    let work = |_, (mut rng, mut batch, mut kept): (crate::work::Rng, Vec<_>, Vec<Option<Block>>)| {
        let mut tally = Tally::default();
        let mut oldest = 0;
        for number in 0..batches {
            for _ in 0..BATCH {
                // The minimum of two draws: small ones are likelier.
                let size = rng.between(8, 1000).min(rng.between(8, 1000));
                batch.push(Some(Block::new(size)));
                tally.count(size as u64);
            }
            match number % 3 {
                0 => batch.iter_mut().for_each(|slot| *slot = None),
                1 => batch.iter_mut().rev().for_each(|slot| *slot = None),
                _ => {
                    for (at, slot) in batch.iter_mut().enumerate() {
                        let block = slot.take();
                        if at % 10 == 0 {
                            kept[oldest] = block;
                            oldest = (oldest + 1) % (KEPT * BATCH / 10);
                        }
                    }
                }
            }
            batch.clear();
        }
        tally
    };
    together(setup, prepare, work)
}
