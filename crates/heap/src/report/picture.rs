//! The heap around an address, chunk by chunk, as far as headers prove themselves, and past one that doesn't to the next that does.

use super::text::Text;
use crate::arena;
use crate::chunk::{A, Chunk, M, P, State};
use crate::die::place;
use crate::guard;
use crate::line::Line;
use crate::mapped::{self, Known};
use crate::size::{ALIGN, HEADER};

/// Chunks that are drawn on each side.
const BESIDE: usize = 4;
/// Bytes that are searched for a header, behind one that was overwritten.
const SEARCHED: usize = 1 << 20;

/// A piece of a heap: a chunk, or what lies between a broken header and the next whole one.
#[derive(Clone, Copy)]
struct Piece {
    chunk: Chunk,
    end: usize,
    state: Option<State>,
}

/// The piece that begins at a chunk's place.
fn piece(chunk: Chunk, end: usize) -> Piece {
    let state = chunk.state();
    let next = match state {
        Some(State::Top | State::Fence) => end,
        Some(_) => chunk.next().address(),
        None => (chunk.address() + ALIGN..end.min(chunk.address() + SEARCHED))
            .step_by(ALIGN)
            .find(|&at| at + HEADER <= end && Chunk::at(at).state().is_some())
            .unwrap_or(end),
    };
    // A header that proves itself may still be a forged one's copy.
    let sound = chunk.address() < next && next <= end;
    Piece { chunk, end: if sound { next } else { end }, state }
}

fn draw(text: &mut Text, piece: &Piece, user: usize) {
    let chunk = piece.chunk;
    let line =
        Line::bare().text("    ").hex(chunk.address()).number_padded(piece.end - chunk.address(), 10).text(" bytes  ");
    let line = match piece.state {
        Some(state) => {
            let flags = chunk.flags();
            let flag = |flag: u32, letter: &'static str| if flags & flag != 0 { letter } else { "-" };
            line.text(flag(P, "P")).text(flag(M, "M")).text(flag(A, "A")).text("  ").text(place(state))
        }
        None => {
            // SAFETY: inside a heap: there is memory.
            let word = unsafe { *((chunk.address() + size_of::<usize>()) as *const usize) };
            line.text("???  no chunk: its header reads ").hex(word)
        }
    };
    let holds = (chunk.address() + HEADER..piece.end + HEADER).contains(&user);
    text.add(if holds { line.text("  <- ").hex(user) } else { line });
}

/// Draws what is around a user pointer.
pub fn around(text: &mut Text, user: usize) {
    if guard::holds(user) {
        return;
    }
    let at = user.wrapping_sub(HEADER) & !(ALIGN - 1);
    let Some((start, end)) = arena::bounds_around(at) else {
        return text.add(match mapped::look_up(user) {
            Known::Live { base, length } => Line::bare()
                .text("  the pointer is a mapped chunk's, of ")
                .number(length)
                .text(" bytes from ")
                .hex(base),
            _ => Line::bare().text("  the pointer leads into no heap, and no mapping of the heap's"),
        });
    };
    text.add(
        Line::bare()
            .text("  the heap from ")
            .hex(start)
            .text(" to ")
            .hex(end)
            .text(", around the pointer: chunks with their flags"),
    );
    let mut before: [Option<Piece>; BESIDE] = [None; BESIDE];
    let mut next = piece(Chunk::at(start), end);
    let mut skipped = false;
    while next.end <= at && next.end + HEADER <= end {
        skipped |= before[0].is_some();
        before.rotate_left(1);
        if let Some(last) = before.last_mut() {
            *last = Some(next);
        }
        next = piece(Chunk::at(next.end), end);
    }
    if skipped {
        text.add(Line::bare().text("    ..."));
    }
    before.iter().flatten().for_each(|piece| draw(text, piece, user));
    for _ in 0..=BESIDE {
        draw(text, &next, user);
        if next.end + HEADER > end {
            return;
        }
        next = piece(Chunk::at(next.end), end);
    }
    text.add(Line::bare().text("    ..."));
}
