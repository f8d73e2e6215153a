//! The heap as a raster: each cell stands for so many bytes, and says which states share them and how much of it is resident.
//! Cells are a power of two long and rows begin at multiples of their length, so columns line up. Memory is in proportion to
//! cells, not to chunks.

use crate::resident;
use heapglass_inspect::aside;
use heapglass_inspect::lists::Holders;
use heapglass_inspect::records::{Arena, Records};
use heapglass_inspect::trouble::Result;
use heapglass_inspect::walk::{Chunk, Damage, What};
use heapglass_inspect::{Range, Target};

/// What a byte of a heap is to someone who looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Shade {
    InUse,
    Cached,
    Fast,
    Unsorted,
    Small,
    Large,
    Top,
    /// Free, on pages that aren't there.
    Released,
    Quarantined,
    Damaged,
    Mapped,
}

pub const SHADES: [Shade; 11] = [
    Shade::InUse,
    Shade::Cached,
    Shade::Fast,
    Shade::Unsorted,
    Shade::Small,
    Shade::Large,
    Shade::Top,
    Shade::Released,
    Shade::Quarantined,
    Shade::Damaged,
    Shade::Mapped,
];

impl Shade {
    pub fn letter(self) -> char {
        match self {
            Shade::InUse => 'U',
            Shade::Cached => 'C',
            Shade::Fast => 'F',
            Shade::Unsorted => 'N',
            Shade::Small => 'S',
            Shade::Large => 'L',
            Shade::Top => 'T',
            Shade::Released => 'R',
            Shade::Quarantined => 'Q',
            Shade::Damaged => 'X',
            Shade::Mapped => 'M',
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Shade::InUse => "in use",
            Shade::Cached => "cached",
            Shade::Fast => "fast",
            Shade::Unsorted => "unsorted",
            Shade::Small => "small",
            Shade::Large => "large",
            Shade::Top => "top",
            Shade::Released => "released",
            Shade::Quarantined => "quarantined",
            Shade::Damaged => "damaged",
            Shade::Mapped => "mapped",
        }
    }

    pub fn of(what: What) -> Shade {
        match what {
            What::Live | What::Fence => Shade::InUse,
            What::Parked | What::Cached => Shade::Cached,
            What::Fast => Shade::Fast,
            What::Unsorted => Shade::Unsorted,
            What::Small => Shade::Small,
            What::Large => Shade::Large,
            What::Top => Shade::Top,
            What::Quarantined => Shade::Quarantined,
            What::Damaged => Shade::Damaged,
        }
    }

    fn can_be_released(self) -> bool {
        matches!(self, Shade::Unsorted | Shade::Small | Shade::Large | Shade::Top)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cell {
    /// By `Shade`.
    pub bytes: [u64; SHADES.len()],
    pub resident: u64,
}

impl Cell {
    pub fn filled(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// The shade with the most bytes, and whether it has all of them; `None` where nothing is.
    pub fn shade(&self) -> Option<(Shade, bool)> {
        // Damage is shown however little there is of it.
        if self.bytes[Shade::Damaged as usize] > 0 {
            return Some((Shade::Damaged, self.filled() == self.bytes[Shade::Damaged as usize]));
        }
        let most = SHADES.into_iter().max_by_key(|shade| (self.bytes[*shade as usize], std::cmp::Reverse(*shade)))?;
        let bytes = self.bytes[most as usize];
        (bytes > 0).then(|| (most, bytes == self.filled()))
    }

    /// Large where it has the cell for itself.
    pub fn letter(&self) -> char {
        match self.shade() {
            None => ' ',
            Some((shade, true)) => shade.letter(),
            Some((shade, false)) => shade.letter().to_ascii_lowercase(),
        }
    }

    /// `#` all of it is resident, `+` some, `-` nothing.
    pub fn resident_mark(&self) -> char {
        match self.filled() {
            0 => ' ',
            filled if self.resident >= filled => '#',
            _ if self.resident > 0 => '+',
            _ => '-',
        }
    }
}

/// One heap, or the part of it that was asked for.
#[derive(Clone, Debug)]
pub struct HeapPart {
    pub arena: usize,
    pub threads: u32,
    pub chunks: Range,
    pub grows_with_break: bool,
    /// Where the first cell begins.
    pub start: u64,
    pub cells: Vec<Cell>,
}

pub struct Map {
    /// Bytes of a cell, a power of two.
    pub scale: u64,
    /// Cells of a row, a power of two.
    pub width: u64,
    pub heaps: Vec<HeapPart>,
    pub damages: Vec<Damage>,
    pub more_damage: u64,
    pub chunks: u64,
    pub steady: bool,
    pub records: Records,
}

/// What to draw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub arena: Option<usize>,
    /// Around this address.
    pub zoom: Option<u64>,
    /// Bytes of a cell, a power of two; else 16 around an address, and as many as make everything fit without one.
    pub scale: Option<u64>,
    /// Cells of a row.
    pub width: u64,
    /// Rows of all heaps together, more or less.
    pub rows: u64,
}

pub const LEAST_SCALE: u64 = 16;
pub const MOST_SCALE: u64 = 1 << 40;

/// Draws it. `also` sees every chunk that is drawn, as it comes.
pub fn of(target: &Target, wanted: Wanted, also: &mut dyn FnMut(&Arena, &Chunk)) -> Result<Map> {
    let records = Records::read(target)?;
    let holders = Holders::read(target, &records)?;
    let width = wanted.width.max(1).next_power_of_two();
    let is_wanted = |arena: &&Arena| wanted.arena.is_none_or(|index| index == arena.index);
    let arenas: Vec<&Arena> = records.arenas.iter().filter(is_wanted).collect();
    let total: u64 = arenas.iter().flat_map(|arena| &arena.heaps).map(|heap| heap.chunks.bytes()).sum();
    let scale = match (wanted.scale, wanted.zoom) {
        (Some(scale), _) => scale.clamp(LEAST_SCALE, MOST_SCALE).next_power_of_two(),
        (None, Some(_)) => LEAST_SCALE,
        (None, None) => total.div_ceil(width * wanted.rows.max(1)).next_power_of_two().max(LEAST_SCALE),
    };
    let row = scale * width;
    let mut map = Map {
        scale,
        width,
        heaps: Vec::new(),
        damages: Vec::new(),
        more_damage: 0,
        chunks: 0,
        steady: true,
        records: Records::default(),
    };
    let window = wanted.zoom.map(|at| {
        let half = wanted.rows.max(2) / 2 * row;
        Range::new((at & !(row - 1)).saturating_sub(half), (at & !(row - 1)).saturating_add(half))
    });
    for arena in arenas {
        if window.is_some_and(|window| !arena.heaps.iter().any(|heap| heap.chunks.meets(window).bytes() > 0)) {
            continue;
        }
        let mut rasters: Vec<Raster> = Vec::new();
        for heap in &arena.heaps {
            let shown = window.map_or(heap.chunks, |window| heap.chunks.meets(window));
            rasters.push(Raster {
                shown,
                scale,
                resident: target.memory.resident(heap.chunks)?,
                near: 0,
                part: HeapPart {
                    arena: arena.index,
                    threads: arena.seats,
                    chunks: heap.chunks,
                    grows_with_break: heap.grows_with_break,
                    start: shown.start & !(row - 1),
                    cells: Vec::new(),
                },
            });
        }
        let mut last = 0;
        let walked = aside::arena(target, arena, &holders, &mut |chunk| {
            if !rasters.get(last).is_some_and(|raster| raster.part.chunks.holds(chunk.at)) {
                last = rasters.iter().position(|raster| raster.part.chunks.holds(chunk.at)).unwrap_or(usize::MAX);
            }
            if let Some(raster) = rasters.get_mut(last) {
                raster.draw(chunk);
                if raster.shown.meets(chunk.range()).bytes() > 0 {
                    also(arena, chunk);
                }
            }
        })?;
        map.chunks += walked.chunks;
        map.steady &= walked.steady;
        map.damages.extend(walked.damages);
        map.more_damage += walked.more_damage;
        map.heaps.extend(rasters.into_iter().map(|raster| raster.part).filter(|part| !part.cells.is_empty()).rev());
    }
    map.records = records;
    Ok(map)
}

struct Raster {
    part: HeapPart,
    shown: Range,
    scale: u64,
    resident: Vec<Range>,
    /// The run that the last cell was in.
    near: usize,
}

impl Raster {
    fn draw(&mut self, chunk: &Chunk) {
        let range = chunk.range().meets(self.shown);
        let shade = Shade::of(chunk.what);
        let mut at = range.start;
        while at < range.end {
            let index = ((at - self.part.start) / self.scale) as usize;
            let end = range.end.min(self.part.start + (index as u64 + 1) * self.scale);
            if self.part.cells.len() <= index {
                self.part.cells.resize(index + 1, Cell::default());
            }
            let there = resident::bytes_near(&self.resident, Range::new(at, end), &mut self.near);
            if let Some(cell) = self.part.cells.get_mut(index) {
                let gone = if shade.can_be_released() { (end - at) - there } else { 0 };
                cell.bytes[shade as usize] += (end - at) - gone;
                cell.bytes[Shade::Released as usize] += gone;
                cell.resident += there;
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_tell_what_has_most_of_them_and_what_is_resident() {
        let whole = Range::new(0x1_0010, 0x1_4000);
        let part = HeapPart {
            arena: 0,
            threads: 1,
            chunks: whole,
            grows_with_break: true,
            start: 0x1_0000,
            cells: Vec::new(),
        };
        let mut raster =
            Raster { part, shown: whole, scale: 0x1000, resident: vec![Range::new(0x1_0000, 0x1_2000)], near: 0 };
        let mut at = 0x1_0010;
        for (size, what) in [(0x7f0, What::Live), (0x200, What::Small), (0x1600, What::Live), (0x2000, What::Top)] {
            raster.draw(&Chunk { at, size, flags: 1, what, holder: None });
            at += size;
        }
        let letters: String = raster.part.cells.iter().map(Cell::letter).collect();
        let marks: String = raster.part.cells.iter().map(Cell::resident_mark).collect();
        assert_eq!((letters.as_str(), marks.as_str()), ("uUR R".replace(' ', "").as_str(), "##--"));
    }
}
