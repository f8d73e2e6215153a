//! A long walk in a thread of its own: while one reads and proves chunks, the other draws or counts those that came. Order is kept,
//! and there are never more than a few thousand chunks between the two.

use crate::find::Target;
use crate::lists::Holders;
use crate::records::Arena;
use crate::trouble::Result;
use crate::walk::{self, Chunk, Walked};
use std::sync::mpsc::sync_channel;

/// Chunks handed over at a time, and how often before the first of them is taken.
const BATCH: usize = 8192;
const BATCHES: usize = 4;
/// Bytes of an arena from which a thread is worth its while.
const LONG: u64 = 64 << 20;

/// As `walk::arena`.
pub fn arena(target: &Target, arena: &Arena, holders: &Holders, see: &mut dyn FnMut(&Chunk)) -> Result<Walked> {
    if arena.counters.heap_bytes < LONG {
        return walk::arena(target, arena, holders, see);
    }
    std::thread::scope(|scope| {
        let (to, from) = sync_channel::<Vec<Chunk>>(BATCHES);
        let walker = scope.spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            let walked = walk::arena(target, arena, holders, &mut |chunk| {
                batch.push(*chunk);
                if batch.len() == BATCH {
                    // Who takes them stays to the end.
                    let _ = to.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                }
            });
            let _ = to.send(batch);
            walked
        });
        for batch in from {
            batch.iter().for_each(&mut *see);
        }
        match walker.join() {
            Ok(walked) => walked,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
