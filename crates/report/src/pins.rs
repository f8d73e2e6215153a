//! What keeps memory from going back. The kernel takes whole pages: one chunk that is in use holds the page it lies on, however
//! much of it is free. And the break comes down only as far as the highest chunk in use.

use heapglass_inspect::Range;
use heapglass_inspect::walk::{Chunk, What};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Chunks of one size that hold pages which are mostly free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pin {
    pub size: u64,
    /// In a thread's cache, not in use: its thread's next activity moves it.
    pub cached: bool,
    pub chunks: u64,
    pub pages: u64,
    /// What is free on those pages.
    pub held: u64,
}

/// A chunk that pins, and what is free on its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Birth {
    pub size: u64,
    pub held: u64,
}

/// The last chunks in use before a heap's top.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopPin {
    pub arena: usize,
    pub chunks: u64,
    pub bytes: u64,
    /// What would join the top without them.
    pub free: u64,
    /// The lowest of them.
    pub at: u64,
    /// The calls that handed them out, as far as those are known.
    pub births: Vec<u64>,
}

/// What `malloc_trim` would give back of the heaps that were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trim {
    /// Pages inside free chunks, with what depots and fast bins hold merged first.
    pub inside: u64,
    /// The ends of the tops.
    pub tops: u64,
}

pub struct Pins {
    page: u64,
    /// What a free chunk keeps at its start.
    kept_head: u64,
    rows: BTreeMap<(u64, bool), Pin>,
    /// Where the chunks of each row lie, as far as there is room.
    places: BTreeMap<(u64, bool), Vec<u64>>,
    room: usize,
    pub tops: Vec<TopPin>,
    pub trim: Trim,
    /// The chunks that pin, by the call that handed each out, where that is known.
    pub births: HashMap<u64, Birth>,
    /// Chunks whose calls are known, but found no room there.
    pub more_births: u64,
    /// The page that is being looked at.
    at: u64,
    free: u64,
    holders: Vec<Pinning>,
    /// The last of them that was counted.
    counted: u64,
    /// The run of memory that trimming would merge.
    run: Range,
    last: VecDeque<Last>,
    free_so_far: u64,
}

/// A chunk that isn't free.
#[derive(Clone, Copy)]
struct Pinning {
    at: u64,
    size: u64,
    cached: bool,
    /// The call that handed it out; 0 where that isn't known.
    born: u64,
}

/// A chunk in use near the top, and the free bytes before it.
struct Last {
    at: u64,
    born: u64,
    bytes: u64,
    free_before: u64,
}

/// A page is pinned if at least this part of it is free: three quarters.
const FREE_PARTS: (u64, u64) = (3, 4);
/// Chunks before the top that are looked at.
const LAST: usize = 64;
/// Calls that are kept of chunks which pin.
const BIRTHS: usize = 1 << 20;
/// Chunks whose places are kept: of each row, and of all.
const PLACES: usize = 4096;
const ALL_PLACES: usize = 1 << 18;

impl Pins {
    pub fn new(page: u64, kept_head: u64) -> Pins {
        Pins {
            page,
            kept_head,
            rows: BTreeMap::new(),
            places: BTreeMap::new(),
            room: ALL_PLACES,
            tops: Vec::new(),
            trim: Trim::default(),
            births: HashMap::new(),
            more_births: 0,
            at: 0,
            free: 0,
            holders: Vec::new(),
            counted: 0,
            run: Range::default(),
            last: VecDeque::new(),
            free_so_far: 0,
        }
    }

    /// The chunk sizes that hold most, most first.
    pub fn rows(&self) -> Vec<Pin> {
        let mut rows: Vec<Pin> = self.rows.values().copied().collect();
        rows.sort_by_key(|pin| std::cmp::Reverse(pin.held));
        rows
    }

    /// Where chunks of a row lie, the first few thousand.
    pub fn places(&self, size: u64, cached: bool) -> &[u64] {
        self.places.get(&(size, cached)).map_or(&[], Vec::as_slice)
    }

    fn place(&mut self, key: (u64, bool), at: u64) {
        let row = self.places.entry(key).or_default();
        if row.len() < PLACES && self.room > 0 {
            row.push(at);
            self.room -= 1;
        }
    }

    /// What another arena's heaps came to.
    pub fn join(&mut self, other: Pins) {
        for (key, more) in other.rows {
            let row = self.rows.entry(key).or_default();
            (row.size, row.cached) = (more.size, more.cached);
            row.chunks += more.chunks;
            row.pages += more.pages;
            row.held += more.held;
        }
        for (key, row) in other.places {
            row.into_iter().for_each(|at| self.place(key, at));
        }
        self.tops.extend(other.tops);
        other.births.into_iter().for_each(|(born, birth)| self.bear(born, birth));
        self.more_births += other.more_births;
        self.trim.inside += other.trim.inside;
        self.trim.tops += other.trim.tops;
    }

    fn bear(&mut self, born: u64, birth: Birth) {
        let has_room = self.births.len() < BIRTHS;
        match self.births.entry(born) {
            Entry::Occupied(mut known) => known.get_mut().held += birth.held,
            Entry::Vacant(place) if has_room => drop(place.insert(birth)),
            Entry::Vacant(_) => self.more_births += 1,
        }
    }

    /// A heap begins.
    pub fn begin(&mut self) {
        (self.at, self.free, self.run, self.free_so_far) = (0, 0, Range::default(), 0);
        self.counted = 0;
        self.holders.clear();
        self.last.clear();
    }

    /// The next chunk of it, and the call that handed it out, or 0; `resident` tells of a range how much of it is.
    pub fn see(&mut self, arena: usize, chunk: &Chunk, born: u64, resident: &dyn Fn(Range) -> u64) {
        let is_cache = matches!(chunk.holder, Some(heapglass_inspect::lists::Holder::Cache { .. }));
        let is_cached = is_cache || chunk.what == What::Parked;
        let is_free = !is_cached && !matches!(chunk.what, What::Live | What::Damaged | What::Fence);
        self.pages(chunk, is_free, Pinning { at: chunk.at, size: chunk.size, cached: is_cached, born }, resident);
        if is_free {
            self.run = if self.run.end == chunk.at && self.run.bytes() > 0 {
                Range::new(self.run.start, chunk.range().end)
            } else {
                chunk.range()
            };
        }
        if !is_free || chunk.what == What::Top {
            self.end_run(chunk.what == What::Top, resident);
        }
        match chunk.what {
            What::Top => self.top(arena),
            _ if is_free => self.free_so_far += chunk.size,
            _ => {
                if self.last.len() == LAST {
                    self.last.pop_front();
                }
                self.last.push_back(Last { at: chunk.at, born, bytes: chunk.size, free_before: self.free_so_far });
            }
        }
    }

    /// A heap ends.
    pub fn end(&mut self, resident: &dyn Fn(Range) -> u64) {
        self.end_run(false, resident);
        self.close_page(resident);
    }

    fn end_run(&mut self, is_top: bool, resident: &dyn Fn(Range) -> u64) {
        let run = std::mem::take(&mut self.run);
        if run.bytes() == 0 {
            return;
        }
        let page = self.page;
        if is_top {
            // The smallest chunk stays as the top.
            let start = page_from(run.start.saturating_add(32), page);
            self.trim.tops += resident(Range::new(start, run.end));
        } else {
            let start = page_from(run.start.saturating_add(self.kept_head), page);
            self.trim.inside += resident(Range::new(start, run.end & !(page - 1)));
        }
    }

    fn top(&mut self, arena: usize) {
        // As few chunks as possible, unless several times as many free much more.
        let all = self.free_so_far;
        let mut best = TopPin::default();
        let mut bytes = 0;
        for (count, last) in (1..).zip(self.last.iter().rev()) {
            bytes += last.bytes;
            // What lies behind the one before them.
            let before = self.last.iter().rev().nth(count as usize).unwrap_or(last);
            let free = all - before.free_before;
            if free > 4 * best.free && free >= 16 * self.page {
                best = TopPin { arena, chunks: count, bytes, free, at: last.at, births: Vec::new() };
            }
        }
        if best.free > 0 {
            let births = self.last.iter().rev().take(best.chunks as usize).map(|last| last.born);
            best.births = births.filter(|born| *born > 0).collect();
            self.tops.push(best);
        }
    }

    fn pages(&mut self, chunk: &Chunk, is_free: bool, pinning: Pinning, resident: &dyn Fn(Range) -> u64) {
        let range = chunk.range();
        let mut from = range.start;
        while from < range.end {
            let page = from & !(self.page - 1);
            if page != self.at {
                self.close_page(resident);
                self.at = page;
            }
            let to = range.end.min(page + self.page);
            if is_free {
                self.free += to - from;
            } else if chunk.what != What::Damaged && chunk.what != What::Fence {
                self.holders.push(pinning);
            }
            // Whole pages of one long chunk are of no interest: on to its last.
            let last = (range.end - 1) & !(self.page - 1);
            from = if to < last { last } else { to };
        }
    }

    fn close_page(&mut self, resident: &dyn Fn(Range) -> u64) {
        let (free, page) = (std::mem::take(&mut self.free), self.page);
        let is_pinned = !self.holders.is_empty() && free * FREE_PARTS.1 >= page * FREE_PARTS.0;
        if is_pinned && resident(Range::new(self.at, self.at + page)) > 0 {
            // Each has its share of the page.
            let holders = std::mem::take(&mut self.holders);
            let count = holders.len() as u64;
            for (index, Pinning { at, size, cached, born }) in (0..).zip(&holders) {
                let row = self.rows.entry((*size, *cached)).or_default();
                (row.size, row.cached) = (*size, *cached);
                // One that reaches over two pages is still one chunk.
                let is_new = *at != self.counted;
                row.chunks += u64::from(is_new);
                self.counted = *at;
                row.pages += u64::from(index == 0);
                row.held += free / count;
                if is_new {
                    self.place((*size, *cached), *at);
                }
                if *born > 0 {
                    self.bear(*born, Birth { size: *size, held: free / count });
                }
            }
            self.holders = holders;
        }
        self.holders.clear();
    }
}

/// The first page that begins there or later. A damaged heap may lie at the very end of all addresses.
fn page_from(address: u64, page: u64) -> u64 {
    address.saturating_add(page - 1) & !(page - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(at: u64, size: u64, what: What) -> Chunk {
        Chunk { at, size, flags: 1, what, holder: None }
    }

    #[test]
    fn a_chunk_alone_on_its_page_pins_it_and_the_top() {
        let mut pins = Pins::new(4096, 96);
        let resident = |range: Range| range.bytes();
        pins.begin();
        for one in [
            chunk(0x1_0000, 0x1_0000, What::Large),
            chunk(0x2_0000, 48, What::Live),
            chunk(0x2_0030, 0x2_0000 - 48, What::Large),
            chunk(0x4_0000, 64, What::Live),
            chunk(0x4_0040, 0x1_0000 - 64, What::Top),
        ] {
            pins.see(0, &one, one.at, &resident);
        }
        pins.end(&resident);
        let rows = pins.rows();
        assert_eq!(rows.iter().map(|row| (row.size, row.pages)).collect::<Vec<_>>(), [(48, 1), (64, 1)]);
        assert_eq!(rows[0].held, 4096 - 48);
        assert_eq!((pins.places(48, false), pins.places(48, true)), (&[0x2_0000][..], &[][..]));
        // 15 whole pages behind the words of the first free chunk, and 31 of the second.
        assert_eq!(pins.trim.inside, 15 * 4096 + 31 * 4096);
        assert_eq!(pins.trim.tops, 15 * 4096);
        assert_eq!((pins.tops[0].chunks, pins.tops[0].at), (1, 0x4_0000));
        assert_eq!(pins.tops[0].free, 0x2_0000 - 48);
        assert_eq!(pins.tops[0].births, [0x4_0000]);
        assert_eq!(
            pins.births,
            HashMap::from([
                (0x2_0000, Birth { size: 48, held: 4096 - 48 }),
                (0x4_0000, Birth { size: 64, held: rows[1].held }),
            ])
        );
    }

    #[test]
    fn a_chunk_that_reaches_over_two_pages_is_one() {
        let mut pins = Pins::new(4096, 96);
        let resident = |range: Range| range.bytes();
        pins.begin();
        for one in [
            chunk(0x1_0000, 0xfe0, What::Large),
            chunk(0x1_0fe0, 64, What::Live),
            chunk(0x1_1020, 0x1_0000, What::Large),
        ] {
            pins.see(0, &one, 7, &resident);
        }
        pins.end(&resident);
        let [pin] = pins.rows()[..] else { panic!("{:?}", pins.rows()) };
        assert_eq!((pin.chunks, pin.pages, pin.held), (1, 2, 2 * (4096 - 32)));
        assert_eq!(pins.places(64, false), [0x1_1000 - 32]);
        assert_eq!(pins.births, HashMap::from([(7, Birth { size: 64, held: pin.held })]));
    }
}
