//! The heap as it was told at one moment: chunks to scale, a table of their headers, and the lists.

use crate::text::Text;
use heapglass_event::record::{Kind, Outcome, Record};
use std::fmt::Write;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    pub heaps: Vec<Heap>,
    /// Chunks that are mappings of their own.
    pub mapped: Vec<Chunk>,
    pub lists: Vec<List>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Heap {
    pub arena: u32,
    pub start: u64,
    pub end: u64,
    pub chunks: Vec<Chunk>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chunk {
    pub address: u64,
    pub bytes: u64,
    pub flags: u32,
    pub state: Option<Outcome>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub which: Option<Outcome>,
    pub arena: u32,
    /// Bytes of its chunks; 0 where they differ.
    pub bytes: u64,
    /// Where the list's own two links lie; 0 where it has none.
    pub head: u64,
    /// In the order in which they would be taken: chunk, FD, BK.
    pub links: Vec<[u64; 3]>,
}

/// Chunks that are drawn of a heap, around those that matter.
const SHOWN: usize = 20;
/// Columns for chunks.
const WIDTH: u64 = 64;
/// Links that are drawn of a list.
const LINKS: usize = 8;
/// Where in a chunk its links lie, and those of the ring that it leads in a large bin.
const USER: u64 = 16;
const RING: u64 = 32;

impl Picture {
    /// The picture before or after a call, if one was told.
    pub fn of(steps: &[Record], after: bool) -> Option<Picture> {
        let begin = steps.iter().position(|step| step.is(Kind::Draw) && (step.n == 1) == after)?;
        let mut picture = Picture::default();
        for step in &steps[begin + 1..] {
            let chunk = Chunk { address: step.a, bytes: step.b, flags: step.n, state: step.outcome() };
            match step.kind() {
                Some(Kind::Heap) => {
                    picture.heaps.push(Heap { arena: step.n, start: step.a, end: step.b, chunks: Vec::new() });
                }
                Some(Kind::Chunk) if step.went(Outcome::Mapped) => picture.mapped.push(chunk),
                Some(Kind::Chunk) => {
                    if let Some(heap) = picture.heaps.last_mut() {
                        heap.chunks.push(chunk);
                    }
                }
                Some(Kind::List) => picture.lists.push(List {
                    which: step.outcome(),
                    arena: step.n,
                    bytes: step.a,
                    head: step.b,
                    links: Vec::new(),
                }),
                Some(Kind::Link) => {
                    if let Some(list) = picture.lists.last_mut() {
                        list.links.push([step.a, step.b, step.c]);
                    }
                }
                _ => break,
            }
        }
        Some(picture)
    }

    /// The list that holds a chunk.
    pub fn list_of(&self, chunk: u64) -> Option<&List> {
        self.lists.iter().find(|list| list.links.iter().any(|link| link[0] == chunk))
    }

    pub fn chunk(&self, address: u64) -> Option<&Chunk> {
        let in_heaps = self.heaps.iter().flat_map(|heap| &heap.chunks);
        in_heaps.chain(&self.mapped).find(|chunk| chunk.address == address)
    }

    /// Draws what differs from another picture, and what lies around: all of it where it is little.
    pub fn draw(&self, other: &Picture) -> String {
        let mut text = String::new();
        for heap in &self.heaps {
            let same = other.heaps.iter().find(|before| before.start == heap.start);
            if same != Some(heap) || self.heaps.len() == 1 {
                heap.draw(&mut text, same);
            }
        }
        for chunk in &self.mapped {
            let is_new = !other.mapped.contains(chunk);
            if is_new || self.mapped.len() <= 4 {
                let mark = if is_new { '*' } else { ' ' };
                let _ = writeln!(
                    text,
                    "  {mark} mapping   {:#x}  {} bytes, flags {}, a chunk of its own",
                    chunk.address,
                    grouped(chunk.bytes),
                    flags(chunk.flags)
                );
            }
        }
        for list in self.lists.iter().filter(|list| !other.lists.contains(list) || self.lists.len() <= 4) {
            list.draw(&mut text);
        }
        if text.is_empty() {
            text += "  nothing yet\n";
        }
        text
    }
}

impl Heap {
    fn draw(&self, text: &mut String, other: Option<&Heap>) {
        let bytes = grouped(self.end.saturating_sub(self.start));
        let _ = writeln!(text, "  heap of arena {}, {bytes} bytes from {:#x}", self.arena, self.start);
        let is_changed = |chunk: &Chunk| other.is_some_and(|other| !other.chunks.contains(chunk));
        let first = self.chunks.iter().position(is_changed).unwrap_or(0);
        let from = match self.chunks.len() {
            few if few <= SHOWN => 0,
            many => first.saturating_sub(SHOWN / 2).min(many - SHOWN),
        };
        let shown = &self.chunks[from..self.chunks.len().min(from + SHOWN)];
        bar(text, shown);
        if from > 0 {
            let _ = writeln!(text, "    ... {from} chunks before these");
        }
        for chunk in shown {
            let mark = if is_changed(chunk) || other.is_none() { '*' } else { ' ' };
            let state = chunk.state.map_or("?", Outcome::name);
            let _ = writeln!(
                text,
                "  {mark} {:#x} {:>11} bytes  {}  {state}",
                chunk.address,
                grouped(chunk.bytes),
                flags(chunk.flags)
            );
        }
        let behind = self.chunks.len() - from - shown.len();
        if behind > 0 {
            let _ = writeln!(text, "    ... {behind} chunks behind these");
        }
    }
}

/// Bytes that a column stands for, so that all of them have `WIDTH`.
pub fn column_bytes(whole: u64) -> u64 {
    (whole / WIDTH).max(16).div_ceil(16) * 16
}

/// Chunks side by side: `H` a header, then its user's bytes, in columns of so many bytes each.
fn bar(text: &mut String, chunks: &[Chunk]) {
    let longest = |chunk: &&Chunk| chunk.state != Some(Outcome::IsTop);
    let whole: u64 = chunks.iter().filter(longest).fold(0, |sum, chunk| chunk.bytes.saturating_add(sum));
    let column = column_bytes(whole);
    *text += "    |";
    for chunk in chunks {
        let (fill, is_top) = match chunk.state {
            Some(Outcome::Live) => ('#', false),
            Some(Outcome::Cached) => ('c', false),
            Some(Outcome::InFast) => ('f', false),
            Some(Outcome::InBin) => ('.', false),
            Some(Outcome::IsTop) => ('~', true),
            _ => ('?', false),
        };
        // No more than all of them have together, whatever they say.
        let columns = if is_top { 8 } else { (chunk.bytes / column).clamp(1, WIDTH) };
        *text += "H";
        (1..columns).for_each(|_| text.push(fill));
        *text += if is_top { " ..." } else { "|" };
    }
    let _ = writeln!(text, "   {column} bytes a column");
}

/// What the letters of a picture mean.
pub const LEGEND: &str = "H header, # in use, c cached, f fast, . free, ~ top (cut short); P previous in use, M mapping, A another arena's; * changed\n";

impl List {
    pub fn name(&self) -> String {
        let name = self.which.map_or("?", Outcome::name);
        if self.bytes == 0 { name.into() } else { format!("{name} {}", self.bytes) }
    }

    fn draw(&self, text: &mut String) {
        let _ = write!(text, "    {}: ", self.name());
        let shown = &self.links[..self.links.len().min(LINKS)];
        let arrows: Vec<String> = shown.iter().map(|link| format!("{:#x}", link[0])).collect();
        let more =
            if self.links.len() > LINKS { format!(" and {} more", self.links.len() - LINKS) } else { String::new() };
        match self.which {
            Some(Outcome::CacheList | Outcome::DepotList | Outcome::ParkedList) => {
                let _ = writeln!(text, "[{}]{more}, an array outside of the chunks", arrows.join(", "));
            }
            Some(Outcome::FastList) => {
                let _ = writeln!(text, "{}{more} → end", arrows.join(" → "));
            }
            _ => {
                let _ = writeln!(text, "bin ⇄ {}{more} ⇄ bin", self.leaders(shown).join(" ⇄ "));
                for [chunk, fd, bk] in shown {
                    let _ = writeln!(text, "      {chunk:#x}  FD → {}  BK → {}", self.target(*fd), self.target(*bk));
                }
            }
        }
    }

    /// The chunks of the list itself. In a large bin the first of a length leads a ring of the others, which is a list of its own,
    /// linked in the leader's next two words.
    fn leaders(&self, shown: &[[u64; 3]]) -> Vec<String> {
        let mut leaders: Vec<(u64, usize)> = Vec::new();
        let mut peers: Vec<u64> = Vec::new();
        for [chunk, _, bk] in shown {
            match leaders
                .last_mut()
                .filter(|(leader, _)| *bk == leader.wrapping_add(RING) || peers.contains(&bk.wrapping_sub(USER)))
            {
                Some((_, count)) => {
                    *count += 1;
                    peers.push(*chunk);
                }
                None => leaders.push((*chunk, 0)),
            }
        }
        let told = |(leader, count): (u64, usize)| match count {
            0 => format!("{leader:#x}"),
            count => format!("{leader:#x} (and {count} as long)"),
        };
        leaders.into_iter().map(told).collect()
    }

    /// What a link points at: the head of the list, or the chunk whose links lie there.
    fn target(&self, link: u64) -> String {
        let has = |offset: u64| self.links.iter().any(|other| other[0].wrapping_add(offset) == link);
        match (has(USER), self.which == Some(Outcome::LargeList) && has(RING)) {
            (true, _) => format!("{:#x}", link.wrapping_sub(USER)),
            (_, true) => format!("{:#x}'s ring", link.wrapping_sub(RING)),
            _ => "bin".into(),
        }
    }
}

pub fn flags(flags: u32) -> String {
    [(1, 'P'), (2, 'M'), (4, 'A')].iter().map(|&(bit, letter)| if flags & bit == 0 { '-' } else { letter }).collect()
}

pub fn grouped(number: u64) -> String {
    let mut text = Vec::new();
    text.grouped(number);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_from_its_records_and_drawn_to_scale() {
        let put = |kind, outcome, n, numbers| Record::new(kind, outcome, n, numbers);
        let steps = [
            put(Kind::Size, Outcome::Done, 0, [32, 48, 0]),
            put(Kind::Draw, Outcome::Done, 1, [1, 0, 0]),
            put(Kind::Heap, Outcome::Done, 0, [0x1000, 0x2000, 0]),
            put(Kind::Chunk, Outcome::Live, 1, [0x1000, 48, 0]),
            put(Kind::Chunk, Outcome::InBin, 1, [0x1030, 96, 0]),
            put(Kind::Chunk, Outcome::IsTop, 0, [0x1090, 0xf70, 0]),
            put(Kind::List, Outcome::UnsortedList, 0, [0, 0x9000, 0]),
            put(Kind::Link, Outcome::Done, 0, [0x1030, 0x9000, 0x9000]),
            put(Kind::Drawn, Outcome::Done, 0, [0; 3]),
            put(Kind::End, Outcome::Done, 0, [0; 3]),
        ];
        assert_eq!(Picture::of(&steps, false), None);
        let picture = Picture::of(&steps, true).unwrap();
        let drawn = picture.draw(&Picture::default());
        assert!(drawn.contains("    |H##|H.....|H~~~~~~~ ...   16 bytes a column\n"), "{drawn}");
        assert!(drawn.contains("  * 0x1030          96 bytes  P--  free\n"), "{drawn}");
        assert!(drawn.contains("unsorted bin: bin ⇄ 0x1030 ⇄ bin\n      0x1030  FD → bin  BK → bin\n"), "{drawn}");
        assert_eq!(picture.list_of(0x1030).unwrap().name(), "unsorted bin");
    }

    #[test]
    fn chunks_of_one_length_are_a_ring_in_a_large_bin() {
        // Two of one length, and a longer one.
        let links = vec![[0x1000, 0x3010, 0x9000], [0x2000, 0x1020, 0x1020], [0x3000, 0x9000, 0x1010]];
        let list = List { which: Some(Outcome::LargeList), arena: 0, bytes: 0, head: 0, links };
        let mut text = String::new();
        list.draw(&mut text);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "large bin: bin ⇄ 0x1000 (and 1 as long) ⇄ 0x3000 ⇄ bin",
                "0x1000  FD → 0x3000  BK → bin",
                "0x2000  FD → 0x1000's ring  BK → 0x1000's ring",
                "0x3000  FD → bin  BK → 0x1000",
            ]
        );
    }
}
