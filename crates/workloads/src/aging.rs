//! A heap that fragments for hours, in a second: what Wilson, Johnstone, Neely and Boles call phases in "Dynamic storage
//! allocation: a survey and critical review" (IWMM 1995). The bytes alive stay about the same, but the sizes that are asked
//! for drift from hour to hour, most objects die young, a few stay for hours, and now and then load falls to a half. What
//! remains of one hour lies between the objects of the next. The time counts here, but the peak of memory more.

use crate::c::Block;
use crate::work::{Outcome, Rng, Setup, Tally, together};

/// Bytes alive over all threads.
const ALIVE: usize = 48 << 20;
const SLOTS: usize = 1 << 18;
const HOURS: u64 = 40;

struct Heap {
    rng: Rng,
    /// Those that stay; replaced in a random order.
    old: Vec<Option<Block>>,
    /// Those that die after as many others, all in turn.
    young: Vec<Option<Block>>,
    bytes: usize,
}

pub fn run(setup: &Setup) -> Outcome {
    let rounds = (setup.share(8_000_000) / HOURS).max(1);
    let budget = ALIVE / setup.threads;
    let prepare = |number| Heap {
        rng: setup.rng(number),
        old: (0..SLOTS).map(|_| None).collect(),
        young: (0..64).map(|_| None).collect(),
        bytes: 0,
    };
    together(setup, prepare, |_, mut heap: Heap| {
        let mut tally = Tally::default();
        for hour in 0..HOURS {
            heap.hour(hour, rounds, budget, &mut tally);
        }
        tally
    })
}

impl Heap {
    fn hour(&mut self, hour: u64, rounds: u64, budget: usize, tally: &mut Tally) {
        // From 48 bytes to 3 KiB and back, a little more each hour.
        let step = hour % 16;
        let middle = 48 << (step.min(16 - step) * 3 / 4);
        for round in 0..rounds as usize {
            let size = match self.rng.below(64) {
                // Rows that don't fit between what small ones left.
                0 => self.rng.between(4096, 24 * 1024),
                _ => self.rng.between(middle / 2, middle * 3 / 2),
            };
            let mut block = Block::new(size);
            block.write(64, 1);
            tally.count(size as u64);
            if self.rng.below(4) == 0 {
                self.bytes += size;
                let at = self.rng.below(SLOTS);
                self.put(at, Some(block));
            } else {
                let at = round % self.young.len();
                self.young[at] = Some(block);
            }
            while self.bytes > budget {
                let at = self.rng.below(SLOTS);
                self.put(at, None);
            }
        }
        if hour % 8 == 7 {
            for at in 0..SLOTS {
                if self.rng.below(2) == 0 {
                    self.put(at, None);
                }
            }
        }
    }

    fn put(&mut self, at: usize, block: Option<Block>) {
        let before = std::mem::replace(&mut self.old[at], block);
        self.bytes -= before.map_or(0, |block| block.size());
    }
}
