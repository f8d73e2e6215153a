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
    /// Where its thread-local storage is.
    pub thread: u64,
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
    let ended = Ended::new(target, records, registers);
    let mut roots = Vec::new();
    for mapping in target.memory.mappings()? {
        // Rings that are told in are shared with their reader.
        if !mapping.writable || !mapping.readable || mapping.name.starts_with("/memfd:heapglass") {
            continue;
        }
        let mut range = mapping.range;
        // The structure itself stays in use: the next thread gets it.
        let had = ended.as_ref().filter(|_| mapping.name.is_empty()).and_then(|ended| ended.had(target, range));
        range.start = had.unwrap_or(range.start);
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

/// How to know the stacks of threads that have ended, which the C library keeps for the next: what lies on them is nobody's. The heap's
/// word in a thread's storage says so, at the same distance from the thread's own structure in each.
struct Ended {
    /// From the word up to the structure.
    distance: u64,
    /// What the word leads to.
    mark: u64,
}

/// Thread-local storage and the structure above it are looked for in so many bytes.
const STORAGE: u64 = 256 << 10;

impl Ended {
    /// By a thread that is there.
    fn new(target: &Target, records: &Records, registers: &[Registers]) -> Option<Ended> {
        let mark = target.layout.word(offset_of!(Root, threads.ended));
        let bytes = target.layout.word(offset_of!(Root, threads.bytes));
        let thread = registers.iter().map(|registers| registers.thread).find(|thread| *thread != 0)?;
        let is_record = |word: u64| {
            records.threads.iter().any(|thread| Range::new(thread.record, thread.record + bytes).holds(word))
        };
        let mut distance = 0;
        while distance < STORAGE {
            distance += 8;
            if is_record(crate::memory::word(&*target.memory, thread.checked_sub(distance)?).ok()?) {
                return Some(Ended { distance, mark });
            }
        }
        None
    }

    /// If this is the stack of one: where its thread's structure is, which has its own address in its first and third word.
    fn had(&self, target: &Target, range: Range) -> Option<u64> {
        let last = Range::new(range.start.max(range.end.saturating_sub(STORAGE)), range.end);
        let mut bytes = vec![0; last.bytes() as usize];
        target.memory.read(last.start, &mut bytes).ok()?;
        let mut places = (self.distance as usize..bytes.len().saturating_sub(16)).step_by(8);
        let found = places.find(|&place| {
            let own = last.start + place as u64;
            u64_in(&bytes, place) == own && u64_in(&bytes, place + 16) == own
        })?;
        (u64_in(&bytes, found - self.distance as usize) == self.mark).then_some(last.start + found as u64)
    }
}
