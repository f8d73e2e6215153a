//! Threads that come and go and leave their objects to others.

use crate::c::{Block, CBox, CVec, Exchange};
use crate::work::{Outcome, Pareto, Rng, Setup, Tally, timed, together};
use std::thread;

/// Larson and Krishnan, "Memory allocation for long-running server applications" (ISMM 1998): each thread replaces random
/// objects of its table by new ones of random size; after so many it starts a successor, which goes on with the same table,
/// and dies. Objects thus "bleed" from the thread that made them to others, as work does in a server.
pub fn server(setup: &Setup) -> Outcome {
    const GENERATIONS: u64 = 100;
    let slots = setup.live_share(10_000);
    let rounds = (setup.share(50_000_000) / GENERATIONS).max(1);
    let generation = |table: &mut [Block], rng: &mut Rng| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            let size = rng.between(8, 1000);
            table[rng.below(slots)] = Block::new(size);
            tally.count(size as u64);
        }
        tally
    };
    let prepare = |number| {
        let mut rng = setup.rng(number);
        let table: Vec<Block> = (0..slots).map(|_| Block::new(rng.between(8, 1000))).collect();
        (table, rng)
    };
    let work = |_, (mut table, mut rng): (Vec<Block>, Rng)| {
        let mut all = Tally::default();
        for _ in 0..GENERATIONS {
            let successor = || generation(&mut table, &mut rng);
            all += thread::scope(|scope| scope.spawn(successor).join().expect("a successor"));
        }
        all
    };
    together(setup, prepare, work)
}

/// After the description of mimalloc's stress test (Leijen, Zorn, de Moura, 2019): in each phase threads allocate at random,
/// keep some, swap some with others through a shared table, and die; what is in the table outlives them, and half of it is
/// dropped between phases.
pub fn phases(setup: &Setup) -> Outcome {
    const PHASES: u64 = 50;
    const SHARED: usize = 20_000;
    let sizes = Pareto::new(16, 16 * 1024, 1.1);
    let rounds = (setup.share(30_000_000) / PHASES).max(1);
    let shared: Vec<Exchange> = (0..SHARED).map(|_| Exchange::new()).collect();
    let phase = |number: usize| {
        let mut rng = setup.rng(number);
        let mut kept: Vec<Option<Block>> = (0..10_000).map(|_| None).collect();
        let mut tally = Tally::default();
        for round in 0..rounds {
            let size = sizes.draw(&mut rng);
            let mut block = Block::new(size);
            block.write(64, 1);
            tally.count(size as u64);
            if round % 4 == 0 {
                drop(shared[rng.below(SHARED)].swap(Some(block)));
            } else {
                let at = rng.below(kept.len());
                kept[at] = Some(block);
            }
        }
        tally
    };
    timed(|| {
        let mut all = Tally::default();
        for number in 0..PHASES as usize {
            thread::scope(|scope| {
                let phase = &phase;
                let one = |thread| scope.spawn(move || phase(number * 1000 + thread));
                let threads: Vec<_> = (0..setup.threads).map(one).collect();
                threads.into_iter().for_each(|thread| all += thread.join().expect("a thread of the phase"));
            });
            shared.iter().step_by(2).for_each(|place| drop(place.swap(None)));
        }
        shared.iter().for_each(|place| drop(place.swap(None)));
        all
    })
}

/// A server with a thread for each request: thousands of short lives with a handful of objects each. The pattern that
/// thread caches pay for, told of in Berger et al., "Hoard" (ASPLOS 2000), as threadtest with many threads.
pub fn births(setup: &Setup) -> Outcome {
    let lives = setup.share(30_000);
    let life = |mut rng: Rng| {
        let mut tally = Tally::default();
        let mut line = CVec::new();
        let mut objects: [Option<CBox<[u64; 4]>>; 20] = [const { None }; 20];
        for at in 0..100 {
            let value = rng.draw();
            objects[rng.below(20)] = Some(CBox::new([value; 4]));
            line.push(at);
            tally.count(value);
        }
        drop(Block::new(rng.between(100, 4000)));
        tally
    };
    let work = |number: usize, ()| {
        let mut all = Tally::default();
        for at in 0..lives {
            let rng = setup.rng(number * 1_000_000 + at as usize);
            let life = &life;
            all += thread::scope(|scope| scope.spawn(move || life(rng)).join().expect("a short life"));
        }
        all
    };
    together(setup, |_| (), work)
}
