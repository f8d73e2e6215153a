//! False sharing, after Berger et al., "Hoard: a scalable memory allocator for multithreaded applications" (ASPLOS 2000):
//! an allocator that gives parts of one cache line to two threads makes them wait for each other at every write.

use crate::c::CBox;
use crate::work::{Outcome, Setup, Tally, together};
use std::hint::black_box;
use std::sync::Mutex;

const WRITES: u64 = 1_000;

/// The first thread allocates an object for each; they free it, and then go on with objects of their own, which should not
/// be that line again.
pub fn passive(setup: &Setup) -> Outcome {
    let given: Vec<_> = (0..setup.threads).map(|_| Mutex::new(Some(CBox::new(0_u64)))).collect();
    let prepare = |number: usize| given[number].lock().expect("a gift").take();
    together(setup, prepare, |number, gift| {
        drop(gift);
        // An allocator that fails at this takes seven nanoseconds for each write.
        cycle(setup, number, 300_000)
    })
}

/// Each thread allocates for itself, side by side in time.
pub fn active(setup: &Setup) -> Outcome {
    together(setup, |_| (), |number, ()| cycle(setup, number, 5_000_000))
}

fn cycle(setup: &Setup, number: usize, rounds: u64) -> Tally {
    let mut tally = Tally::default();
    let mut rng = setup.rng(number);
    for _ in 0..setup.share(rounds) {
        let mut object = CBox::new(rng.draw());
        for _ in 0..WRITES {
            *black_box(&mut *object) += 1;
        }
        tally.count(*object);
    }
    tally
}
