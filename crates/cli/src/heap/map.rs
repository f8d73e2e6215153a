//! `heapglass map`: the heap as it is, in letters and colours.

use super::known::Known;
use super::text::{self, Colour, plural, size};
use super::{Subject, Whose, bins, chunk, launch, live, notes, said, title};
use crate::failure::Failure;
use heapglass_inspect::Target;
use heapglass_inspect::records::MappedState;
use heapglass_inspect::walk::Damage;
use heapglass_report::map::{self, Cell, HeapPart, Map, SHADES, Shade, Wanted};
use heapglass_report::resident;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Draw the heap of a process, of a core file, or of a program as it ends
///
/// Each letter stands for as many bytes as the scale says: what most of them are, a capital where all of them are. Under rows
/// that aren't wholly resident, `#` marks what is in memory, `+` what is in part, `-` what isn't.
#[derive(clap::Args)]
pub struct MapCommand {
    #[command(flatten)]
    whose: Whose,

    /// Only this arena
    #[arg(long, value_name = "N")]
    arena: Option<usize>,

    /// Only what lies around this address, 16 bytes a letter
    #[arg(long, value_name = "ADDR", value_parser = address)]
    zoom: Option<u64>,

    /// The chunk that holds this address: its header, its neighbours, and where it is kept
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with_all = ["zoom", "bins"])]
    chunk: Option<u64>,

    /// With --chunk: a recording of the same process (`heapglass record -k`), which knows what was asked for, when, and who called
    #[arg(long, value_name = "FILE", requires = "chunk", conflicts_with = "program")]
    recording: Option<PathBuf>,

    /// Every list of free chunks, with its chunks
    #[arg(long, conflicts_with = "zoom")]
    bins: bool,

    /// On the whole terminal, again every second, with keys to look around
    #[arg(short, long, conflicts_with_all = ["zoom", "chunk", "bins", "json", "arena", "program"])]
    live: bool,

    /// For machines
    #[arg(long)]
    json: bool,

    /// With --json: every chunk, as `[address, size, letter]`
    #[arg(long, requires = "json")]
    chunks: bool,

    /// Letters of a row
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(8..=4096))]
    width: u64,

    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Colour,
}

/// Rows of the whole picture, more or less.
const ROWS: u64 = 40;
/// Mapped chunks that are told one by one.
const MAPPED: usize = 20;

/// An address as debuggers write it, with or without `0x`.
pub fn address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| "is not an address; give it as 0x55d0c0a012a0".into())
}

impl MapCommand {
    pub fn carry_out(&self) -> Result<ExitCode, Failure> {
        if self.live {
            return live::shown(&self.whose);
        }
        match self.whose.subject() {
            Subject::Program(words) => launch::to_the_end(words, |pid| self.show(&super::open(pid, false)?)),
            subject => self.show(&self.whose.open(&subject)?).map(|()| ExitCode::SUCCESS),
        }
    }

    fn show(&self, target: &Target) -> Result<(), Failure> {
        let text = if let Some(address) = self.chunk {
            let known = self.recording.as_deref().map(|path| Known::open(path, target.pid, None)).transpose()?;
            chunk::told(target, address, self.json, known.as_ref())?
        } else if self.bins {
            bins::told(target, self.arena, self.json)?
        } else {
            self.drawn(target)?
        };
        // A reader who has seen enough is no failure.
        match io::stdout().write_all(text.as_bytes()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::ours(e.to_string())),
            _ => Ok(()),
        }
    }

    fn drawn(&self, target: &Target) -> Result<String, Failure> {
        let rows = if self.zoom.is_some() { 16 } else { ROWS };
        let wanted = Wanted { arena: self.arena, zoom: self.zoom, scale: None, width: self.width, rows };
        let mut chunks = Vec::new();
        let map = map::of(target, wanted, &mut |arena, chunk| {
            if self.chunks {
                chunks.push((arena.index, chunk.at, chunk.size, Shade::of(chunk.what).letter()));
            }
        })
        .map_err(|e| said(&target.name, &e))?;
        if let Some(index) = self.arena.filter(|index| *index >= map.records.arenas.len()) {
            return Err(Failure::ours(format!("there is no arena {index}; there are {}", map.records.arenas.len())));
        }
        if let Some(at) = self.zoom.filter(|_| map.heaps.is_empty()) {
            return Err(Failure::ours(format!("{at:#x} is in no heap; --chunk tells what is known of an address")));
        }
        let mapped = mapped(target, &map)?;
        if self.json {
            return Ok(as_json(target, &map, &mapped, &chunks));
        }
        let mut text = heading(target, &map, self.color.is_on());
        for part in &map.heaps {
            heap_rows(&mut text, &map, part, self.color.is_on(), self.zoom);
        }
        if self.zoom.is_none() && self.arena.is_none_or(|index| index == 0) {
            mapped_rows(&mut text, &mapped, self.color.is_on());
        }
        damages(&mut text, &map.damages, map.more_damage);
        if !map.steady {
            text +=
                "the program went on while it was read, so the picture isn't of one instant; --stop holds it still\n";
        }
        for note in notes(target) {
            let _ = writeln!(text, "{note}");
        }
        Ok(text)
    }
}

/// The whole heap for machines, with every chunk if asked.
pub fn as_json_of(target: &Target, with_chunks: bool) -> Result<String, Failure> {
    let wanted = Wanted { width: 64, rows: ROWS, ..Wanted::default() };
    let mut chunks = Vec::new();
    let map = map::of(target, wanted, &mut |arena, chunk| {
        if with_chunks {
            chunks.push((arena.index, chunk.at, chunk.size, Shade::of(chunk.what).letter()));
        }
    })
    .map_err(|e| said(&target.name, &e))?;
    let mapped = mapped(target, &map)?;
    Ok(as_json(target, &map, &mapped, &chunks))
}

/// What is wrong with it, one line each.
pub fn damages(text: &mut String, damages: &[Damage], more: u64) {
    if !damages.is_empty() {
        text.push('\n');
    }
    for damage in damages {
        let kind = if damage.racing { "unclear, it may have changed while it was read" } else { "damage" };
        let _ = writeln!(text, "{kind}: {}", damage.what);
    }
    if more > 0 {
        let _ = writeln!(text, "and {} more", text::grouped(more));
    }
}

/// A mapped chunk: user pointer, mapping's length, resident bytes, state.
type Mapped = (u64, u64, u64, MappedState);

/// The largest first.
fn mapped(target: &Target, map: &Map) -> Result<Vec<Mapped>, Failure> {
    let mut all = Vec::new();
    for chunk in &map.records.mapped {
        let runs = target.memory.resident(chunk.mapping).map_err(|e| said(&target.name, &e))?;
        all.push((chunk.user, chunk.mapping.bytes(), resident::bytes(&runs, chunk.mapping), chunk.state));
    }
    all.sort_by_key(|(user, length, ..)| (std::cmp::Reverse(*length), *user));
    Ok(all)
}

pub fn state_name(state: MappedState) -> &'static str {
    match state {
        MappedState::Live => "in use",
        MappedState::Kept => "freed, kept",
        MappedState::Damaged => "in use, its header overwritten",
    }
}

fn painted(shade: Shade, text: &str, colours: bool) -> String {
    match colours {
        true => format!("\x1b[38;5;{}m{text}\x1b[0m", text::colour(shade)),
        false => text.to_owned(),
    }
}

/// One line on all of it.
pub fn summary(target: &Target, map: &Map) -> String {
    let heaps = map.records.arenas.iter().flat_map(|arena| &arena.heaps);
    let bytes: u64 = heaps.clone().map(|heap| heap.chunks.bytes()).sum();
    format!(
        "{}: {}, {} of {}, {}; {}",
        title(target),
        plural(map.records.arenas.len() as u64, "arena", "arenas"),
        plural(heaps.count() as u64, "heap", "heaps"),
        size(bytes),
        plural(map.chunks, "chunk", "chunks"),
        plural(map.records.mapped.len() as u64, "mapped chunk", "mapped chunks"),
    )
}

fn heading(target: &Target, map: &Map, colours: bool) -> String {
    let mut text = summary(target, map) + "\n";
    let _ = writeln!(text, "a letter is {}, a row {}", size(map.scale), size(map.scale * map.width));
    let legend: Vec<String> = SHADES
        .into_iter()
        .filter(|shade| *shade != Shade::Mapped)
        .map(|shade| painted(shade, &format!("{} {}", shade.letter(), shade.name()), colours))
        .collect();
    let _ = writeln!(text, "{}; small letters: others too", legend.join("  "));
    text
}

fn heap_rows(text: &mut String, map: &Map, part: &HeapPart, colours: bool, mark: Option<u64>) {
    let filled: u64 = part.cells.iter().map(Cell::filled).sum();
    let there: u64 = part.cells.iter().map(|cell| cell.resident).sum();
    let _ = writeln!(
        text,
        "\narena {}, {}: heap {:#x} to {:#x}, {}{}, {} resident",
        part.arena,
        plural(u64::from(part.threads), "thread", "threads"),
        part.chunks.start,
        part.chunks.end,
        size(part.chunks.bytes()),
        if part.grows_with_break { ", grows with the break" } else { "" },
        text::percent(there, filled),
    );
    let row_bytes = map.scale * map.width;
    let all: Vec<&[Cell]> = part.cells.chunks(map.width as usize).collect();
    let mut index = 0;
    while index < all.len() {
        let same = all[index..].iter().take_while(|row| looks_like(row, all[index])).count();
        let start = part.start + index as u64 * row_bytes;
        row(text, start, all[index], colours, mark.filter(|at| start <= *at && *at < start + row_bytes).is_some());
        // Rows of one letter say nothing new.
        if same > 2 && all[index].iter().all(|cell| cell.letter() == all[index][0].letter()) {
            let _ = writeln!(text, "{:>16}  {} like it", "", plural(same as u64 - 1, "row", "rows"));
            index += same;
        } else {
            index += 1;
        }
    }
}

fn looks_like(row: &[Cell], other: &[Cell]) -> bool {
    row.len() == other.len()
        && row.iter().zip(other).all(|(a, b)| (a.letter(), a.resident_mark()) == (b.letter(), b.resident_mark()))
}

fn row(text: &mut String, start: u64, cells: &[Cell], colours: bool, is_marked: bool) {
    let _ = write!(text, "{start:#16x}{} ", if is_marked { '>' } else { ' ' });
    let mut index = 0;
    while index < cells.len() {
        let shade = cells[index].shade().map(|(shade, _)| shade);
        let run = cells[index..].iter().take_while(|cell| cell.shade().map(|(shade, _)| shade) == shade).count();
        let letters: String = cells[index..index + run].iter().map(Cell::letter).collect();
        text.push_str(&shade.map_or(letters.clone(), |shade| painted(shade, &letters, colours)));
        index += run;
    }
    text.push('\n');
    let marks: String = cells.iter().map(Cell::resident_mark).collect();
    if marks.contains(['+', '-']) {
        let _ = writeln!(text, "{:>16}  {}", "", marks.trim_end());
    }
}

fn mapped_rows(text: &mut String, mapped: &[Mapped], colours: bool) {
    if mapped.is_empty() {
        return;
    }
    text.push_str("\nmapped chunks\n");
    for (user, length, there, state) in mapped.iter().take(MAPPED) {
        let letter = painted(Shade::Mapped, "M", colours);
        let _ = writeln!(
            text,
            "{user:#16x}  {letter} {}, {}, {} resident",
            state_name(*state),
            size(*length),
            text::percent(*there, *length)
        );
    }
    let rest = mapped.get(MAPPED..).unwrap_or_default();
    if !rest.is_empty() {
        let bytes = rest.iter().map(|(_, length, ..)| length).sum();
        let _ = writeln!(text, "{:>16}  and {} more, {}", "", text::grouped(rest.len() as u64), size(bytes));
    }
}

fn as_json(target: &Target, map: &Map, mapped: &[Mapped], chunks: &[(usize, u64, u64, char)]) -> String {
    let letters = |cells: &[Cell]| cells.iter().map(Cell::letter).collect::<String>();
    let marks = |cells: &[Cell]| cells.iter().map(Cell::resident_mark).collect::<String>();
    let sums = |cells: &[Cell]| -> Value {
        let sum = |shade: Shade| cells.iter().map(|cell| cell.bytes[shade as usize]).sum::<u64>();
        SHADES
            .into_iter()
            .filter(|shade| sum(*shade) > 0)
            .map(|shade| (shade.name().to_owned(), json!(sum(shade))))
            .collect()
    };
    let heaps: Vec<Value> = map
        .heaps
        .iter()
        .map(|part| {
            json!({
                "arena": part.arena, "threads": part.threads, "start": part.chunks.start, "end": part.chunks.end,
                "grows_with_break": part.grows_with_break, "first_cell": part.start, "cells": letters(&part.cells),
                "resident": marks(&part.cells), "resident_bytes": part.cells.iter().map(|cell| cell.resident).sum::<u64>(),
                "bytes": sums(&part.cells),
            })
        })
        .collect();
    let mapped: Vec<Value> = mapped
        .iter()
        .map(|(user, length, there, state)| json!({ "user": user, "length": length, "resident": there, "state": state_name(*state) }))
        .collect();
    let damages: Vec<Value> = map
        .damages
        .iter()
        .map(|d| json!({ "at": d.at, "arena": d.arena, "what": d.what, "racing": d.racing }))
        .collect();
    let letters: Value = SHADES.into_iter().map(|shade| (shade.letter().to_string(), json!(shade.name()))).collect();
    let mut whole = json!({
        "version": 1, "of": title(target), "pid": target.pid, "arenas": map.records.arenas.len(), "chunk_count": map.chunks,
        "cell_bytes": map.scale, "letters": letters, "heaps": heaps, "mapped": mapped, "damages": damages,
        "more_damage": map.more_damage, "steady": map.steady,
    });
    if !chunks.is_empty() {
        let list: Vec<Value> =
            chunks.iter().map(|(_, at, bytes, letter)| json!([at, bytes, letter.to_string()])).collect();
        whole["chunks"] = Value::Array(list);
    }
    whole.to_string() + "\n"
}
