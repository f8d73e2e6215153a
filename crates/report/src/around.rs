//! What lay around a pointer at one moment of a recording: the chunks that were in use there, and what was between them. Of that a
//! recording doesn't tell whether it was cached, in a bin, or the top.

use crate::picture::{column_bytes, grouped};
use heapglass_capture::{Call, Chunk, State};
use std::fmt::Write;

/// Chunks in use that are shown on each side.
const SIDE: usize = 5;
/// What lies further away isn't its neighbourhood.
const WINDOW: u64 = 1 << 20;
/// From a chunk's start to its user pointer.
const HEADER: u64 = 16;
/// Columns of the bar.
const WIDTH: u64 = 64;

pub const LEGEND: &str = "H header, # in use, - not in use; * changed\n";

/// A piece of memory: a chunk in use, or what is between two.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: u64,
    bytes: u64,
    chunk: Option<Chunk>,
}

/// The neighbourhoods of the pointers that a call is about, as they were before it.
pub struct Around {
    pid: u32,
    places: Vec<(u64, Vec<Piece>)>,
}

impl Around {
    pub fn before(state: &State, pid: u32, call: &Call) -> Around {
        let mut pointers: Vec<u64> = [call.gives_up(), call.hands_out()].into_iter().filter(|&at| at != 0).collect();
        pointers.sort_unstable();
        pointers.dedup_by(|later, first| *later - *first < WINDOW / 2);
        Around { pid, places: pointers.into_iter().map(|pointer| (pointer, pieces(state, pid, pointer))).collect() }
    }

    /// Draws them as they were, and as they are.
    pub fn draw(&self, state: &State) -> String {
        let mut text = String::new();
        for (pointer, old) in &self.places {
            let new = pieces(state, self.pid, *pointer);
            // Both by the same measure.
            let whole = |pieces: &[Piece]| -> u64 {
                let taken = pieces.iter().filter(|piece| piece.chunk.is_some());
                taken.fold(0, |sum, piece| piece.bytes.saturating_add(sum))
            };
            let column = column_bytes(whole(old).max(whole(&new)));
            text += "before\n";
            one(&mut text, old, &new, *pointer, column);
            text += "after\n";
            one(&mut text, &new, old, *pointer, column);
        }
        if !text.is_empty() {
            text.push('\n');
            text += LEGEND;
        }
        text
    }
}

fn pieces(state: &State, pid: u32, pointer: u64) -> Vec<Piece> {
    let is_near = |chunk: &Chunk| chunk.pid == pid && chunk.pointer.abs_diff(pointer) < WINDOW;
    let mut chunks: Vec<Chunk> = state.iter().filter(is_near).collect();
    chunks.sort_unstable_by_key(|chunk| chunk.pointer);
    let middle = chunks.partition_point(|chunk| chunk.pointer < pointer);
    let first = middle.saturating_sub(SIDE);
    let shown = &chunks[first..chunks.len().min(middle + SIDE + 1)];
    let mut pieces: Vec<Piece> = Vec::new();
    for &chunk in shown {
        let start = chunk.pointer.saturating_sub(HEADER);
        if let Some(last) = pieces.last() {
            let end = last.start.saturating_add(last.bytes);
            if end < start {
                pieces.push(Piece { start: end, bytes: start - end, chunk: None });
            }
        }
        pieces.push(Piece { start, bytes: chunk.live.bytes, chunk: Some(chunk) });
    }
    pieces
}

fn one(text: &mut String, pieces: &[Piece], other: &[Piece], pointer: u64, column: u64) {
    if pieces.is_empty() {
        let _ = writeln!(text, "  nothing in use near {pointer:#x}");
        return;
    }
    *text += "    |";
    for piece in pieces {
        let columns = (piece.bytes / column).clamp(1, WIDTH) as usize;
        let cells = match piece.chunk {
            Some(_) => format!("H{}", "#".repeat(columns - 1)),
            None => "-".repeat(columns.min(16)),
        };
        let _ = write!(text, "{cells}|");
    }
    let _ = writeln!(text, "   {column} bytes a column");
    for piece in pieces {
        let mark = if other.contains(piece) { ' ' } else { '*' };
        let _ = write!(text, "  {mark} {:#x} {:>11} bytes  ", piece.start, grouped(piece.bytes));
        let _ = match piece.chunk {
            Some(chunk) => {
                writeln!(text, "in use: {} asked for by call {}", grouped(chunk.live.request), grouped(chunk.live.born))
            }
            None => writeln!(text, "not in use"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_capture::Thread;
    use heapglass_event::record::Call as Function;

    #[test]
    fn a_free_leaves_a_gap_between_its_neighbours() {
        let thread = Thread { pid: 1, tid: 1 };
        let mut state = State::default();
        for number in 0..3u64 {
            let call = Call {
                function: Some(Function::Malloc),
                arguments: [32, 0],
                result: 0x1010 + number * 48,
                bytes: 48,
                ..Call::default()
            };
            state.apply(thread, &call);
        }
        let free = Call { function: Some(Function::Free), arguments: [0x1040, 0], ..Call::default() };
        let around = Around::before(&state, 1, &free);
        state.apply(thread, &free);
        let drawn = around.draw(&state);
        assert!(drawn.contains("    |H##|H##|H##|   16 bytes a column\n"), "{drawn}");
        assert!(drawn.contains("    |H##|---|H##|   16 bytes a column\n"), "{drawn}");
        assert!(drawn.contains("  * 0x1030          48 bytes  not in use\n"), "{drawn}");
        assert!(drawn.contains("    0x1060          48 bytes  in use: 32 asked for by call 3\n"), "{drawn}");
    }
}
