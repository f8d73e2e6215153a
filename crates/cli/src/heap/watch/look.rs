//! One reading of a heap for the page: the ledger and every chunk, from the same walk.
//!
//! ```text
//!  0       4            8                    8 + length
//!  | HGLK  | JSON length | JSON, and blanks  | words of 32 bits, little-endian ...
//! ```
//!
//! A chunk is one word: its size in units of 16 bytes above 4 bits of its state; where it lies is told by the sizes before it. A
//! size of more than 28 bits goes on in the next word, whose state is `MORE`. Behind the chunks of all heaps stand the resident
//! runs of each: pages from the heap's first on, and how many. The JSON says which words are whose. So a million chunks
//! are 4 MB, and the page draws from them as they are.

use super::super::{ledger, map};
use heapglass_inspect::counters;
use heapglass_inspect::records::{Arena, Records};
use heapglass_inspect::trouble::Result;
use heapglass_inspect::walk::Chunk;
use heapglass_inspect::{Range, Target};
use heapglass_report::ledger::{Ledger, Seen};
use heapglass_report::map::{SHADES, Shade};
use serde_json::{Value, json};

/// The word before has only the lower 28 bits of the size.
const MORE: u32 = 15;
const SIZE_BITS: u32 = 28;
/// Mapped chunks that are told one by one, the largest.
const MAPPED: usize = 10_000;

/// What is told beside what was read.
pub struct Beside {
    pub seconds: f64,
    /// The last call that was heard of before it was read.
    pub calls: u64,
    /// What was handed out since the page's last look; `None` where nobody listens.
    pub born: Option<(Vec<u64>, bool)>,
}

#[derive(Default)]
pub struct Words {
    pub words: Vec<u32>,
    pub chunks: u64,
    heaps: Vec<HeapWords>,
    /// The arena that is being read, and what there was before it.
    arena: Option<(Arena, usize, usize)>,
}

struct HeapWords {
    arena: usize,
    whole: Range,
    first: u64,
    grows_with_break: bool,
    from: usize,
    chunks: u64,
    end: usize,
}

impl Words {
    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Arena(arena) => self.begin(arena),
            Seen::Chunk(chunk) => self.put(chunk),
        }
    }

    fn begin(&mut self, arena: &Arena) {
        if let Some((before, words, heaps)) = &self.arena
            && before.index == arena.index
        {
            self.words.truncate(*words);
            self.heaps.truncate(*heaps);
        }
        self.arena = Some((arena.clone(), self.words.len(), self.heaps.len()));
    }

    fn put(&mut self, chunk: &Chunk) {
        let goes_on = self.heaps.last().is_some_and(|heap| heap.whole.holds(chunk.at) && heap.end == self.words.len());
        if !goes_on {
            let Some((arena, ..)) = &self.arena else { return };
            // While it was read it may have grown, or be gone.
            let Some(heap) = arena
                .heaps
                .iter()
                .find(|heap| chunk.at >= heap.chunks.start && chunk.at < heap.limit.max(heap.chunks.end))
            else {
                return;
            };
            self.heaps.push(HeapWords {
                arena: arena.index,
                whole: Range::new(heap.chunks.start, heap.limit.max(heap.chunks.end)),
                first: chunk.at,
                grows_with_break: heap.grows_with_break,
                from: self.words.len(),
                chunks: 0,
                end: self.words.len(),
            });
        }
        self.push(chunk.size, Shade::of(chunk.what) as u32);
        if let Some(heap) = self.heaps.last_mut() {
            heap.chunks += 1;
            heap.end = self.words.len();
        }
    }

    /// A chunk's word, or words.
    pub fn push(&mut self, size: u64, shade: u32) {
        let units = size / 16;
        self.words.push(((units as u32) & ((1 << SIZE_BITS) - 1)) << 4 | shade);
        if units >> SIZE_BITS != 0 {
            self.words.push(((units >> SIZE_BITS) as u32) << 4 | MORE);
        }
    }

    /// Puts the resident runs behind the chunks, and tells which words are whose.
    fn finish(&mut self, target: &Target) -> Result<Vec<Value>> {
        let page = target.memory.page();
        let mut told = Vec::new();
        for heap in &self.heaps {
            // How far its chunks came, which may be less than there is now.
            let bytes: u64 = bytes_of(self.words.get(heap.from..heap.end).unwrap_or_default());
            let range = Range::new(heap.first, heap.first + bytes);
            let base = range.start & !(page - 1);
            let runs = target.memory.resident(range)?;
            let from = self.words.len();
            for run in &runs {
                let pages = [(run.start.max(base) - base) / page, run.end.saturating_sub(run.start.max(base)) / page];
                self.words.extend(pages.map(|pages| pages as u32));
            }
            self.chunks += heap.chunks;
            told.push(json!({
                "arena": heap.arena, "start": range.start, "end": range.end, "break": heap.grows_with_break,
                "chunks": heap.chunks, "words": [heap.from, heap.end - heap.from], "base": base, "runs": [from, runs.len()],
            }));
        }
        Ok(told)
    }
}

fn bytes_of(words: &[u32]) -> u64 {
    let size = |word: &u32| match word & 15 {
        MORE => u64::from(word >> 4) << (SIZE_BITS + 4),
        _ => u64::from(word >> 4) << 4,
    };
    words.iter().map(size).sum()
}

/// Reads a heap.
pub fn read(target: &Target, beside: Beside) -> Result<Vec<u8>> {
    let began = std::time::Instant::now();
    let mut words = Words::default();
    let ledger = heapglass_report::ledger::of_seeing(target, &|_, _| None, &mut |seen| words.see(seen))?;
    let heaps = words.finish(target)?;
    let counted = counters::read(target)?;
    let born = words.words.len();
    if let Some((births, _)) = &beside.born {
        words.words.extend(births.iter().flat_map(|user| [*user as u32, (*user >> 32) as u32]));
    }
    let (mapped, more) = mapped(target, &ledger.records)?;
    let system_calls: Value = counted.as_ref().map_or(Value::Null, |counted| {
        counted.system_calls.iter().map(|(name, calls)| ((*name).to_owned(), json!(calls))).collect()
    });
    let shades: Vec<Value> =
        SHADES.into_iter().map(|shade| json!([shade.letter().to_string(), shade.name()])).collect();
    let notes: Vec<String> = ledger::requests(&ledger).into_iter().chain(super::super::notes(target)).collect();
    let head = json!({
        "page": target.memory.page(), "seconds": beside.seconds, "took": began.elapsed().as_secs_f64(), "calls": beside.calls,
        "shades": shades, "chunk_count": words.chunks, "heaps": heaps, "mapped": mapped, "more_mapped": more,
        "threads": threads(&ledger), "system_calls": system_calls, "released": counted.map(|counted| counted.released_bytes),
        "born": beside.born.as_ref().map(|(births, all)| json!([born, births.len(), all])),
        "lines": ledger::lines(&ledger), "ledger": ledger::as_json(target, &ledger), "advice": ledger::advice(&ledger),
        "notes": notes,
    });
    Ok(joined(&head.to_string(), &words.words))
}

pub fn joined(head: &str, words: &[u32]) -> Vec<u8> {
    let length = head.len().next_multiple_of(8);
    let mut bytes = Vec::with_capacity(8 + length + words.len() * 4);
    bytes.extend_from_slice(b"HGLK");
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(head.as_bytes());
    bytes.resize(8 + length, b' ');
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

fn threads(ledger: &Ledger) -> Vec<Value> {
    let known = ledger.records.threads.iter().filter(|thread| thread.id != 0);
    known.map(|thread| json!([thread.id, thread.arena, thread.exists])).collect()
}

/// User pointer, length, resident bytes, state; how many more there are.
fn mapped(target: &Target, records: &Records) -> Result<(Vec<Value>, usize)> {
    let mut all: Vec<_> = records.mapped.iter().collect();
    all.sort_by_key(|chunk| (std::cmp::Reverse(chunk.mapping.bytes()), chunk.user));
    let more = all.len().saturating_sub(MAPPED);
    all.truncate(MAPPED);
    let one = |chunk: &&heapglass_inspect::records::Mapped| {
        let runs = target.memory.resident(chunk.mapping)?;
        let there = heapglass_report::resident::bytes(&runs, chunk.mapping);
        Ok(json!([chunk.user, chunk.mapping.bytes(), there, map::state_name(chunk.state)]))
    };
    Ok((all.iter().map(one).collect::<Result<Vec<Value>>>()?, more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_inspect::records::Heap;
    use heapglass_inspect::walk::What;

    fn arena() -> Arena {
        let heap = |start: u64| Heap { chunks: Range::new(start, start + (1 << 40)), ..Heap::default() };
        Arena {
            index: 0,
            at: 0,
            locked: false,
            seats: 1,
            top: 0,
            heaps: vec![heap(0x1000), heap(1 << 44)],
            counters: Default::default(),
        }
    }

    fn chunk(at: u64, size: u64, what: What) -> Chunk {
        Chunk { at, size, flags: 1, what, holder: None }
    }

    #[test]
    fn a_chunk_is_a_word_unless_it_is_very_long() {
        let mut words = Words::default();
        words.see(Seen::Arena(&arena()));
        words.see(Seen::Chunk(&chunk(0x1000, 48, What::Live)));
        // It changed meanwhile: once more.
        words.see(Seen::Arena(&arena()));
        words.see(Seen::Chunk(&chunk(0x1000, 32, What::Live)));
        words.see(Seen::Chunk(&chunk(0x1020, 5 << 32, What::Top)));
        words.see(Seen::Chunk(&chunk(1 << 44, 64, What::Small)));
        assert_eq!(words.words, [2 << 4, Shade::Top as u32, 5 << 4 | MORE, 4 << 4 | Shade::Small as u32]);
        assert_eq!(bytes_of(&words.words), 32 + (5 << 32) + 64);
        assert_eq!(words.heaps.iter().map(|heap| (heap.from, heap.end)).collect::<Vec<_>>(), [(0, 3), (3, 4)]);
    }
}
