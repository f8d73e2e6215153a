//! False sharing, after Berger et al., "Hoard: a scalable memory allocator for multithreaded applications" (ASPLOS 2000):
//! an allocator that gives parts of one cache line to two threads makes them wait for each other at every write.

use crate::c::CBox;
use crate::work::{Outcome, Setup, Tally, together};
use std::hint::black_box;
use std::sync::Mutex;

/// Objects of a thread at a time, and writes to each.
const OBJECTS: usize = 8;
const WRITES: u64 = 1_000;

type Objects = [Option<CBox<u64>>; OBJECTS];

/// The first thread allocates some objects for each, by turns, so that every line holds several threads' objects. They free
/// them, and then go on with objects of their own, which should not be those lines again.
pub fn passive(setup: &Setup) -> Outcome {
    let mut gifts: Vec<Objects> = (0..setup.threads).map(|_| Objects::default()).collect();
    for object in 0..OBJECTS {
        gifts.iter_mut().for_each(|gift| gift[object] = Some(CBox::new(0)));
    }
    let gifts: Vec<_> = gifts.into_iter().map(Mutex::new).collect();
    let prepare = |number: usize| std::mem::take(&mut *gifts[number].lock().expect("a gift"));
    together(setup, prepare, |number, gift| {
        drop(gift);
        // An allocator that fails at this takes several nanoseconds for each write.
        cycle(setup, number, 800_000)
    })
}

/// Each thread allocates for itself, side by side in time.
pub fn active(setup: &Setup) -> Outcome {
    together(setup, |_| (), |number, ()| cycle(setup, number, 3_000_000))
}

fn cycle(setup: &Setup, number: usize, objects: u64) -> Tally {
    let mut tally = Tally::default();
    let mut rng = setup.rng(number);
    for _ in 0..setup.share(objects).div_ceil(OBJECTS as u64) {
        let mut held: Objects = std::array::from_fn(|_| Some(CBox::new(rng.draw())));
        // By turns, so that whichever line is shared, it is fought for all the time.
        for _ in 0..WRITES {
            for object in held.iter_mut().flatten() {
                *black_box(&mut **object) += 1;
            }
        }
        held.iter().flatten().for_each(|object| tally.count(**object));
    }
    tally
}
