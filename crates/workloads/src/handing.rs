//! Objects that one thread allocates and another frees, by design and by chance.

use crate::c::{Block, Exchange};
use crate::work::{Outcome, Rng, Setup, Tally, together};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Asymmetric producers and consumers, after the description of Lever and Boreham's malloc test ("malloc() performance in a
/// multithreaded Linux environment", USENIX 2000): half of the threads only allocate, the other half only free. Batches go
/// through a bounded queue, and come back empty, so that nothing else is allocated.
pub fn producers(setup: &Setup) -> Outcome {
    const BATCH: usize = 500;
    const QUEUED: usize = 16;
    let setup = &Setup { threads: setup.threads.next_multiple_of(2), ..*setup };
    let batches = (setup.share(40_000_000) / BATCH as u64).max(1);
    let ends: Vec<Mutex<Option<End>>> = (0..setup.threads / 2).flat_map(|_| pair_of_ends(BATCH, QUEUED)).collect();
    let prepare = |number: usize| (setup.rng(number), ends[number].lock().expect("ends of a queue").take());
    let work = |_, (mut rng, end): (Rng, Option<End>)| {
        let mut tally = Tally::default();
        match end.expect("each end is taken once") {
            End::Producer { full, empty } => {
                for _ in 0..batches {
                    let Ok(mut batch) = empty.recv() else { break };
                    for _ in 0..BATCH {
                        let size = rng.between(16, 512).min(rng.between(16, 512));
                        batch.push(Block::new(size));
                        tally.count(size as u64);
                    }
                    if full.send(batch).is_err() {
                        break;
                    }
                }
            }
            End::Consumer { full, empty } => {
                while let Ok(mut batch) = full.recv() {
                    batch.iter().for_each(|block| tally.count(block.size() as u64));
                    batch.clear();
                    // The producer may have ended.
                    let _ = empty.send(batch);
                }
            }
        }
        tally
    };
    together(setup, prepare, work)
}

enum End {
    Producer { full: SyncSender<Vec<Block>>, empty: Receiver<Vec<Block>> },
    Consumer { full: Receiver<Vec<Block>>, empty: SyncSender<Vec<Block>> },
}

fn pair_of_ends(batch: usize, queued: usize) -> [Mutex<Option<End>>; 2] {
    let (full, filled) = sync_channel(queued);
    let (empty, emptied) = sync_channel(queued);
    for _ in 0..queued {
        empty.send(Vec::with_capacity(batch)).expect("a new queue has room");
    }
    [End::Producer { full, empty: emptied }, End::Consumer { full: filled, empty }].map(|end| Mutex::new(Some(end)))
}

/// After the description of rpmalloc's benchmark (Jansson, 2017): every thread allocates and frees at random, with sizes up
/// to 64 KiB that are less likely the longer they are, and hands a part of its objects to whichever thread comes by.
pub fn handing(setup: &Setup) -> Outcome {
    const LONGEST: usize = 64 * 1024;
    let slots = setup.live_share(8_000);
    let rounds = setup.share(6_000_000);
    let places: Vec<Exchange> = (0..256).map(|_| Exchange::new()).collect();
    let prepare = |number| {
        let table: Vec<Option<Block>> = (0..slots).map(|_| None).collect();
        (setup.rng(number), table)
    };
    let work = |_, (mut rng, mut table): (Rng, Vec<Option<Block>>)| {
        let mut tally = Tally::default();
        for round in 0..rounds {
            // Two draws: falling linearly up to 4 KiB; one in sixteen up to the longest.
            let longest = if round % 16 == 0 { LONGEST } else { 4096 };
            let size = rng.between(16, longest).min(rng.between(16, longest));
            let mut block = Block::new(size);
            block.write(256, 1);
            tally.count(size as u64);
            let at = rng.below(slots);
            table[at] = match round % 3 {
                0 => places[rng.below(256)].swap(Some(block)),
                _ => Some(block),
            };
        }
        tally
    };
    together(setup, prepare, work)
}
