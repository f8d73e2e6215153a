//! Which chunks in use the program can still get at: a conservative scan. Any word that looks like an address in a chunk is taken for
//! a pointer to it, as the leak checkers do; so what is called unreachable is, and something unreachable may be missed.
//!
//! Roots are all that may be written to and isn't the heap's: variables of programs and libraries, stacks, thread-local storage,
//! memory that the program mapped itself, and registers. The heap's own records aren't: they know every chunk.

use crate::find::Target;
use crate::lists::Holders;
use crate::memory::{Memory, Range, u64_in};
use crate::records::{MappedState, Records};
use crate::trouble::Result;
use crate::walk::{self, What};
use heapglass_event::root::Root;
use std::mem::offset_of;

/// How the program gets at a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    Reachable,
    /// Nothing leads there, or only a ring of chunks to which nothing leads.
    Lost,
    /// Only chunks that are lost themselves lead there.
    ByLost,
}

/// A chunk in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    pub user: u64,
    /// Bytes that the program may use.
    pub bytes: u64,
    pub reach: Reach,
}

/// What a thread had when it was stopped.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    pub sp: u64,
    pub words: Vec<u64>,
}

/// Read at a time.
const PIECE: u64 = 1 << 20;
/// Bytes below the stack pointer that may be in use (the ABI's red zone).
const RED_ZONE: u64 = 128;

struct Scan<'a> {
    memory: &'a dyn Memory,
    blocks: Vec<Block>,
    seen: Vec<bool>,
    all: Range,
    buffer: Vec<u8>,
}

/// All chunks in use, by address.
pub fn scan(target: &Target, registers: &[Registers]) -> Result<Vec<Block>> {
    let records = Records::read(target)?;
    let holders = Holders::read(target, &records)?;
    let mut blocks = Vec::new();
    let block = |user, bytes| Block { user, bytes, reach: Reach::Lost };
    let word = |offset| target.layout.word(offset);
    let header = word(offset_of!(Root, chunk.header));
    let overhead = word(offset_of!(Root, chunk.overhead));
    for arena in &records.arenas {
        walk::arena(target, arena, &holders, &mut |chunk| {
            if chunk.what == What::Live {
                blocks.push(block(chunk.at + header, chunk.size.saturating_sub(overhead)));
            }
        })?;
    }
    for mapped in records.mapped.iter().filter(|mapped| mapped.state != MappedState::Kept) {
        blocks.push(block(mapped.user, mapped.mapping.end.saturating_sub(mapped.user)));
    }
    blocks.extend(records.samples.iter().map(|sample| block(sample.user, sample.request)));
    blocks.sort_unstable_by_key(|block| block.user);
    let all = match (blocks.first(), blocks.last()) {
        (Some(first), Some(last)) => Range::new(first.user, last.user + last.bytes.max(1)),
        _ => return Ok(blocks),
    };
    let seen = vec![false; blocks.len()];
    let mut scan = Scan { memory: &*target.memory, blocks, seen, all, buffer: vec![0; PIECE as usize] };
    let mut found = Vec::new();
    for registers in registers {
        registers.words.iter().for_each(|&word| scan.meet(word, &mut found));
    }
    for range in roots(target, &records, registers)? {
        scan.words(range, |scan, word| scan.meet(word, &mut found));
    }
    scan.spread(found, Reach::Reachable);
    scan.tell_lost();
    Ok(scan.blocks)
}

impl Scan<'_> {
    /// The block that an address lies in. Its end counts as another's.
    fn block_at(&self, address: u64) -> Option<usize> {
        if !self.all.holds(address) {
            return None;
        }
        let index = self.blocks.partition_point(|block| block.user <= address).checked_sub(1)?;
        let block = self.blocks.get(index)?;
        // A chunk of no bytes has an address too.
        (address - block.user < block.bytes.max(1)).then_some(index)
    }

    fn meet(&mut self, word: u64, found: &mut Vec<usize>) {
        if let Some(index) = self.block_at(word)
            && let Some(seen) = self.seen.get_mut(index)
            && !*seen
        {
            *seen = true;
            found.push(index);
        }
    }

    /// Each word of a range that can be read.
    fn words(&mut self, range: Range, mut see: impl FnMut(&mut Self, u64)) {
        let start = range.start.next_multiple_of(8);
        // Pages that were never touched hold nothing, and aren't brought into being by looking.
        let parts = self.memory.resident(Range::new(start & !4095, range.end)).unwrap_or_default();
        for part in parts {
            let part = part.meets(Range::new(start, range.end));
            let mut at = part.start;
            while at < part.end {
                let bytes = PIECE.min(part.end - at);
                let mut buffer = std::mem::take(&mut self.buffer);
                let is_read = buffer.get_mut(..bytes as usize).is_some_and(|into| self.memory.read(at, into).is_ok());
                if is_read {
                    for place in (0..bytes as usize & !7).step_by(8) {
                        see(self, u64_in(&buffer, place));
                    }
                }
                self.buffer = buffer;
                at += bytes;
            }
        }
    }

    /// From these blocks on, all that they lead to is of this sort.
    fn spread(&mut self, mut found: Vec<usize>, reach: Reach) {
        while let Some(index) = found.pop() {
            let Some(block) = self.blocks.get_mut(index) else { continue };
            block.reach = reach;
            let range = Range::new(block.user, block.user + block.bytes);
            self.words(range, |scan, word| scan.meet(word, &mut found));
        }
    }

    /// Of what nothing leads to: which lead to which? A ring has a head, as valgrind says: its first by address.
    fn tell_lost(&mut self) {
        let lost: Vec<usize> =
            self.seen.iter().enumerate().filter(|(_, seen)| !**seen).map(|(index, _)| index).collect();
        let mut is_led_to = vec![false; self.blocks.len()];
        for &index in &lost {
            let Some(&block) = self.blocks.get(index) else { continue };
            let range = Range::new(block.user, block.user + block.bytes);
            self.words(range, |scan, word| {
                if let Some(other) = scan.block_at(word).filter(|&other| other != index)
                    && let Some(led) = is_led_to.get_mut(other)
                {
                    *led = true;
                }
            });
        }
        let (rings, heads): (Vec<usize>, Vec<usize>) =
            lost.into_iter().partition(|&index| is_led_to.get(index) == Some(&true));
        for head in heads.into_iter().chain(rings) {
            let is_new = self.seen.get_mut(head).is_some_and(|seen| !std::mem::replace(seen, true));
            if is_new {
                // It stays what it is, and what it leads to is lost by it.
                self.spread(vec![head], Reach::ByLost);
                if let Some(block) = self.blocks.get_mut(head) {
                    block.reach = Reach::Lost;
                }
            }
        }
    }
}

/// Writable memory that isn't the heap's.
fn roots(target: &Target, records: &Records, registers: &[Registers]) -> Result<Vec<Range>> {
    let heaps = records.arenas.iter().flat_map(|arena| &arena.heaps);
    let mut without: Vec<Range> =
        heaps.map(|heap| Range::new(heap.chunks.start, heap.limit.max(heap.chunks.end))).collect();
    without.extend(records.mapped.iter().map(|mapped| mapped.mapping));
    without.extend(records.spares.iter().map(|(_, range)| *range));
    without.extend(&records.metadata);
    without.push(records.pool);
    without.retain(|range| range.bytes() > 0);
    without.sort_unstable();
    let mut roots = Vec::new();
    for mapping in target.memory.mappings()? {
        // Rings that are told in are shared with their reader.
        if !mapping.writable || !mapping.readable || mapping.name.starts_with("/memfd:heapglass") {
            continue;
        }
        let mut range = mapping.range;
        // Of a stack, what is above its thread.
        if let Some(thread) = registers.iter().find(|registers| range.holds(registers.sp)) {
            range.start = thread.sp.saturating_sub(RED_ZONE).max(range.start);
        }
        for &gap in &without {
            let meets = gap.meets(range);
            if meets.bytes() > 0 {
                roots.push(Range::new(range.start, meets.start));
                range.start = meets.end;
            }
        }
        roots.push(range);
    }
    roots.retain(|range| range.bytes() > 0);
    Ok(roots)
}
