//! What the heap keeps beside its chunks: arenas and their heaps, threads, mapped chunks, and the memory that all of these
//! records take.

use crate::find::{Layout, Target, at};
use crate::memory::{ADDRESS_MAX, AMOUNT_MAX, Memory, Range, bytes, place, u32_in, u64_in, word};
use crate::trouble::{Result, Trouble};
use heapglass_event::root::{Piece, Root};
use std::mem::offset_of;

#[derive(Clone, Debug, Default)]
pub struct Arena {
    pub index: usize,
    pub at: u64,
    /// Somebody is at work on it.
    pub locked: bool,
    /// Threads that it serves.
    pub seats: u32,
    /// The last chunk of its current heap; 0 before there is one.
    pub top: u64,
    /// Newest first: the first is the current one.
    pub heaps: Vec<Heap>,
    pub counters: Counters,
}

/// What an arena counts of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub fast_chunks: u64,
    pub fast_bytes: u64,
    /// In the unsorted, small and large bins.
    pub free_chunks: u64,
    pub free_bytes: u64,
    pub heap_bytes: u64,
    pub heap_peak: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Where its chunks are.
    pub chunks: Range,
    /// Where its reserved addresses end; `committed` of them may be touched.
    pub limit: u64,
    pub committed: u64,
    pub grows_with_break: bool,
    pub closed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Thread {
    /// The kernel's id; 0 for a record that waits for the next thread.
    pub id: u32,
    /// Is there such a thread? In a forked child, those of the parent aren't.
    pub exists: bool,
    pub arena: usize,
    pub record: u64,
}

/// A chunk with a mapping of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub user: u64,
    pub mapping: Range,
    /// What it was asked for, while it is in use; with a canary's room, where there are canaries.
    pub request: u64,
    pub state: MappedState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappedState {
    Live,
    /// Freed, and kept for the next request.
    Kept,
    /// In use, with a header that isn't whole.
    Damaged,
}

/// An allocation that stands between inaccessible pages, by chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub user: u64,
    pub request: u64,
    /// The kernel's id of the thread that allocated it, and its callers' return addresses, the innermost first.
    pub thread: u32,
    pub callers: Vec<u64>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub arenas: Vec<Arena>,
    pub threads: Vec<Thread>,
    pub mapped: Vec<Mapped>,
    /// Mapped heaps that wait, with nothing in them: whose, and where.
    pub spares: Vec<(usize, Range)>,
    /// Samples in use, and the addresses among which all samples stand.
    pub samples: Vec<Sample>,
    pub pool: Range,
    /// Where the heap's own records and tables lie, by address.
    pub metadata: Vec<Range>,
    pub settings: Settings,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub mmap_threshold: u64,
    pub trim_threshold: u64,
    pub top_pad: u64,
    /// Milliseconds; -1 is never.
    pub decay: i64,
}

/// More than there can be: what says so is damaged.
const ARENAS_MAX: u64 = 1 << 16;
const HEAPS_MAX: usize = 1 << 20;
const THREADS_MAX: usize = 1 << 20;
const BLOCKS_MAX: usize = 1 << 20;
const SLOTS_MAX: u64 = 1 << 23;

impl Records {
    pub fn read(target: &Target) -> Result<Records> {
        let (memory, layout) = (&*target.memory, &target.layout);
        let arenas = arenas(memory, layout)?;
        let mut records = Records { arenas, ..Records::default() };
        records.threads = threads(memory, layout, &records.arenas)?;
        records.mapped = mapped(memory, layout)?;
        records.spares = spares(memory, layout, &records.arenas)?;
        (records.pool, records.samples) = samples(memory, layout)?;
        records.metadata = metadata(memory, layout)?;
        let setting = |at: u64| word(memory, at);
        records.settings = Settings {
            mmap_threshold: setting(at!(layout, policy.mmap_threshold))?,
            trim_threshold: setting(at!(layout, policy.trim_threshold))?,
            top_pad: setting(at!(layout, policy.top_pad))?,
            decay: setting(at!(layout, policy.decay))?.cast_signed(),
        };
        Ok(records)
    }

    /// The heap that an address lies in, with its arena.
    pub fn heap_around(&self, address: u64) -> Option<(&Arena, &Heap)> {
        let in_arena = |arena: &'_ Arena| arena.heaps.iter().position(|heap| heap.chunks.holds(address));
        self.arenas.iter().find_map(|arena| Some((arena, arena.heaps.get(in_arena(arena)?)?)))
    }
}

fn arenas(memory: &dyn Memory, layout: &Layout) -> Result<Vec<Arena>> {
    let count = word(memory, at!(layout, arenas.count))?;
    if count > at!(layout, arenas.most).min(ARENAS_MAX) {
        return Err(Trouble::Records(format!("{count} arenas")));
    }
    let table = bytes(memory, at!(layout, arenas.all), count * 8)?;
    let mut left = Addresses::default();
    let mut all = Vec::new();
    for index in 0..count as usize {
        let arena = arena(memory, layout, index, u64_in(&table, index * 8))?;
        for heap in &arena.heaps {
            left.take(heap.chunks.start, heap.limit.max(heap.chunks.end) - heap.chunks.start);
        }
        if left.0 == 0 {
            return Err(Trouble::Records("the heaps are longer than all addresses".into()));
        }
        all.push(arena);
    }
    Ok(all)
}

/// All addresses that there are, for what lies beside each other: what a damaged record says too much is cut off, so that sums over
/// records are numbers too.
struct Addresses(u64);

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses(ADDRESS_MAX)
    }
}

impl Addresses {
    fn take(&mut self, start: u64, length: u64) -> Range {
        let range = Range::told(start, length.min(self.0));
        self.0 -= range.bytes();
        range
    }
}

/// One arena as it is now.
pub fn arena(memory: &dyn Memory, layout: &Layout, index: usize, place: u64) -> Result<Arena> {
    if place >= ADDRESS_MAX {
        return Err(Trouble::Records(format!("arena {index} at {place:#x}")));
    }
    let record = bytes(memory, place, at!(layout, arena.bytes))?;
    let store = at!(layout, arena.store) as usize;
    let in_store = |offset: u64| u64_in(&record, store + offset as usize);
    let amount = |offset: u64| in_store(offset).min(AMOUNT_MAX);
    let mut arena = Arena {
        index,
        at: place,
        locked: u32_in(&record, at!(layout, arena.lock) as usize) != 0,
        seats: u32_in(&record, at!(layout, arena.seats) as usize),
        top: in_store(at!(layout, store.top)),
        heaps: Vec::new(),
        counters: Counters {
            fast_chunks: amount(at!(layout, store.fast_count)),
            fast_bytes: amount(at!(layout, store.fast_bytes)),
            free_chunks: amount(at!(layout, store.free_count)),
            free_bytes: amount(at!(layout, store.free_bytes)),
            heap_bytes: amount(at!(layout, store.system_bytes)),
            heap_peak: amount(at!(layout, store.system_peak)),
        },
    };
    let length = [at!(layout, heap.next), at!(layout, heap.start), at!(layout, heap.end), at!(layout, heap.limit)]
        .into_iter()
        .chain([at!(layout, heap.committed), at!(layout, heap.kind), at!(layout, heap.closed)])
        .max()
        .unwrap_or(0)
        + 8;
    let mut next = in_store(at!(layout, store.heaps));
    let mut left = AMOUNT_MAX;
    while next != 0 {
        let record = bytes(memory, next, length)?;
        let word_at = |offset: u64| u64_in(&record, offset as usize);
        let (start, end) = (word_at(at!(layout, heap.start)), word_at(at!(layout, heap.end)));
        let is_heap = start <= end && end < ADDRESS_MAX && start.is_multiple_of(16) && end.is_multiple_of(16);
        let limit = word_at(at!(layout, heap.limit));
        // Each by itself, and all of an arena's together.
        let rest = left.checked_sub(limit.max(end).saturating_sub(start)).filter(|_| is_heap && limit < ADDRESS_MAX);
        let Some(rest) = rest else {
            return Err(Trouble::Records(format!("a heap of arena {index} from {start:#x} to {end:#x}")));
        };
        left = rest;
        let chunks = Range::new(start, end);
        arena.heaps.push(Heap {
            chunks,
            limit,
            committed: word_at(at!(layout, heap.committed)).min(ADDRESS_MAX),
            grows_with_break: u64::from(u32_in(&record, at!(layout, heap.kind) as usize))
                == at!(layout, heap.kind_break),
            closed: u32_in(&record, at!(layout, heap.closed) as usize) != 0,
        });
        next = word_at(at!(layout, heap.next));
        if arena.heaps.len() > HEAPS_MAX {
            return Err(Trouble::Records(format!("the heaps of arena {index} are linked in a circle")));
        }
    }
    Ok(arena)
}

/// Is anybody at work on an arena, or on the table of mapped chunks?
pub fn is_any_locked(target: &Target) -> Result<bool> {
    let (memory, layout) = (&*target.memory, &target.layout);
    let lock = word(memory, at!(layout, mapped.lock))? as u32;
    Ok(lock != 0 || arenas(memory, layout)?.iter().any(|arena| arena.locked))
}

fn threads(memory: &dyn Memory, layout: &Layout, arenas: &[Arena]) -> Result<Vec<Thread>> {
    let there = memory.threads();
    let mut threads = Vec::new();
    let mut record = place(memory, at!(layout, threads.all))?;
    while record != 0 && threads.len() < THREADS_MAX {
        let mut id = [0; 4];
        memory.read(record + at!(layout, threads.id), &mut id)?;
        let id = u32::from_le_bytes(id);
        let arena = word(memory, record + at!(layout, threads.arena))?;
        threads.push(Thread {
            id,
            exists: id != 0 && (there.is_empty() || there.contains(&id)),
            arena: arenas.iter().position(|known| known.at == arena).unwrap_or(0),
            record,
        });
        record = place(memory, record + at!(layout, threads.older))?;
    }
    threads.reverse();
    Ok(threads)
}

fn mapped(memory: &dyn Memory, layout: &Layout) -> Result<Vec<Mapped>> {
    let mut mapped = Vec::new();
    let mut addresses = Addresses::default();
    let slot_bytes = at!(layout, mapped.slot_bytes);
    let table = place(memory, at!(layout, mapped.table))?;
    if table != 0 {
        let count = word(memory, table + at!(layout, mapped.length))?;
        if count > SLOTS_MAX {
            return Err(Trouble::Records(format!("a table of {count} mapped chunks")));
        }
        let slots = bytes(memory, table + slot_bytes, count * slot_bytes)?;
        for slot in slots.chunks_exact(slot_bytes as usize) {
            let field = |offset: u64| u64_in(slot, offset as usize);
            let entry = field(at!(layout, mapped.entry));
            let (user, base) = (field(at!(layout, mapped.user)).min(ADDRESS_MAX), field(at!(layout, mapped.base)));
            let length = field(at!(layout, mapped.length));
            if entry == at!(layout, mapped.entry_live) {
                let state = if is_whole(memory, layout, user) { MappedState::Live } else { MappedState::Damaged };
                // Of a damaged one, no more than there is of it.
                let request = field(at!(layout, mapped.request)).min(length);
                mapped.push(Mapped { user, mapping: addresses.take(base, length), request, state });
            } else if entry == at!(layout, mapped.entry_kept) {
                mapped.push(Mapped {
                    user,
                    mapping: addresses.take(base, length),
                    request: 0,
                    state: MappedState::Kept,
                });
            }
        }
    }
    let warm_bytes = at!(layout, mapped.warm_bytes);
    let warm = bytes(memory, at!(layout, mapped.warm), at!(layout, mapped.warm_count) * warm_bytes)?;
    for kept in warm.chunks_exact(warm_bytes.max(1) as usize) {
        let base = u64_in(kept, at!(layout, mapped.warm_base) as usize).min(ADDRESS_MAX);
        let length = u64_in(kept, at!(layout, mapped.warm_length) as usize);
        if length != 0 {
            let user = base + at!(layout, chunk.header);
            mapped.push(Mapped { user, mapping: addresses.take(base, length), request: 0, state: MappedState::Kept });
        }
    }
    mapped.sort_by_key(|chunk| chunk.mapping.start);
    Ok(mapped)
}

/// Is this the header of a mapped chunk? One that was unmapped since the table was read is no damage.
fn is_whole(memory: &dyn Memory, layout: &Layout, user: u64) -> bool {
    let chunk = user.wrapping_sub(at!(layout, chunk.header));
    let mut header = [0; 8];
    match memory.read(chunk.wrapping_add(8), &mut header) {
        Ok(()) => {
            let kind = layout.kind(chunk, u32_in(&header, 0), u32_in(&header, 4));
            kind == Some(heapglass_event::root::Kind::Mapped)
        }
        Err(_) => true,
    }
}

/// Windows of addresses that belong to an arena, but to none of its heaps: a heap that waits.
fn spares(memory: &dyn Memory, layout: &Layout, arenas: &[Arena]) -> Result<Vec<(usize, Range)>> {
    let (table, shift) = (at!(layout, windows.all), at!(layout, windows.shift));
    let whole = Range::new(table, table + at!(layout, windows.count) * 4);
    let bits = at!(layout, windows.arena_bits);
    let mappings = memory.mappings()?;
    let mut spares = Vec::new();
    for run in memory.resident(whole)? {
        let run = run.meets(whole);
        let marks = bytes(memory, run.start, run.bytes())?;
        for (mark, at) in marks.as_chunks::<4>().0.iter().zip((run.start..).step_by(4)) {
            let arena = (u64::from(u32::from_le_bytes(*mark)) & ((1 << bits) - 1)) as usize;
            let window = ((at - table) / 4) << shift;
            let window = Range::told(window, 1 << shift);
            let is_used =
                |heap: &Heap| Range::new(heap.chunks.start, heap.limit.max(heap.chunks.end)).meets(window).bytes() > 0;
            if arena == 0 || arenas.iter().any(|arena| arena.heaps.iter().any(is_used)) {
                continue;
            }
            // It begins with the window, and ends where its mappings do.
            let mut end = window.start;
            for mapping in mappings.iter().filter(|m| m.range.meets(window).bytes() > 0) {
                if mapping.range.start <= end {
                    end = mapping.range.end.min(window.end);
                }
            }
            // Where the break was once, there is nothing any more.
            if end > window.start {
                spares.push((arena - 1, Range::new(window.start, end)));
            }
        }
    }
    Ok(spares)
}

fn samples(memory: &dyn Memory, layout: &Layout) -> Result<(Range, Vec<Sample>)> {
    let (start, end) = (word(memory, at!(layout, samples.start))?, word(memory, at!(layout, samples.end))?);
    let (slots, records) = (word(memory, at!(layout, samples.slots))?, place(memory, at!(layout, samples.records))?);
    let length = at!(layout, samples.record_bytes);
    if records == 0 || start > end || end >= ADDRESS_MAX || slots > SLOTS_MAX {
        return Ok((Range::default(), Vec::new()));
    }
    let all = bytes(memory, records, slots * length)?;
    let live = all
        .chunks_exact(length.max(1) as usize)
        .filter(|slot| u64::from(u32_in(slot, at!(layout, samples.state) as usize)) == at!(layout, samples.state_live));
    let sample = |slot: &[u8]| {
        let count = u32_in(slot, at!(layout, samples.made_count) as usize) & 0xffff;
        let frames = at!(layout, samples.made_frames) as usize;
        let callers = (0..u64::from(count).min(at!(layout, samples.frames_max)))
            .map(|index| u64_in(slot, frames + index as usize * 8))
            .collect();
        Sample {
            user: u64_in(slot, at!(layout, samples.user) as usize).min(ADDRESS_MAX),
            request: u64_in(slot, at!(layout, samples.request) as usize).min(AMOUNT_MAX),
            thread: u32_in(slot, at!(layout, samples.made_thread) as usize),
            callers,
        }
    };
    Ok((Range::new(start, end), live.map(sample).collect()))
}

fn metadata(memory: &dyn Memory, layout: &Layout) -> Result<Vec<Range>> {
    let mut pieces = Vec::new();
    let mut addresses = Addresses::default();
    let statics = offset_of!(Root, statics);
    for index in 0..size_of::<[Piece; 8]>() / size_of::<Piece>() {
        let piece = statics + index * size_of::<Piece>();
        let (start, length) = (layout.word(piece), layout.word(piece + offset_of!(Piece, bytes)));
        pieces.push(addresses.take(start, length));
    }
    let mut block = place(memory, at!(layout, records.blocks))?;
    for _ in 0..BLOCKS_MAX {
        if block == 0 {
            break;
        }
        pieces.push(addresses.take(block, word(memory, block + 8)?));
        block = place(memory, block)?;
    }
    // A table that has outgrown the first lies in a mapping of its own.
    let table = place(memory, at!(layout, mapped.table))?;
    let slot = at!(layout, mapped.slot_bytes);
    if table != 0 && !pieces.iter().any(|piece| piece.holds(table)) {
        let count = word(memory, table + at!(layout, mapped.length))?;
        let length = ((1 + count.min(SLOTS_MAX)) * slot).next_multiple_of(memory.page());
        pieces.push(addresses.take(table, length));
    }
    pieces.retain(|piece| piece.bytes() > 0);
    pieces.sort_unstable();
    Ok(pieces)
}
