//! The one line before the end: what was found, where, in which state the chunk is, and how to see more.

use crate::chunk::{Chunk, State};
use crate::draw;
use crate::line::Line;
use crate::probe::{self, Kind, Outcome};
use crate::size::class_of;
use crate::usdt;

pub fn place(state: State) -> &'static str {
    match state {
        State::Live | State::Sampled => "in use",
        State::Cached | State::Marked => "in a cache",
        State::Fast => "in a fast bin",
        State::Free => "in a bin",
        State::Top => "the top of its heap",
        State::Fence => "the end of its heap",
        State::Mapped => "a mapping of its own",
        State::Quarantined => "in quarantine",
    }
}

/// A pointer was given to `call` that is no live chunk's. `chunk` says what its header decodes to.
#[cold]
pub fn not_live(call: &'static str, user: usize, state: Option<State>) -> ! {
    let chunk = Chunk::from_user(user);
    let size = if state.is_some() { chunk.size() } else { 0 };
    if state == Some(State::Cached) {
        usdt::double_free(user, class_of(size));
    }
    probe::step(Kind::Fault, state.map_or(Outcome::Broken, draw::name_of), [user, size, 0]);
    let line = Line::new().text(call).text("(").hex(user).text("): ");
    match state {
        Some(State::Cached | State::Quarantined | State::Fast | State::Free) => line
            .text(if call == "free" { "double free: " } else { "use after free: " })
            .text("the chunk of ")
            .number(chunk.size())
            .text(" bytes is free already, ")
            .text(state.map_or("", place)),
        Some(State::Top) => line
            .text(if call == "free" { "double free: " } else { "use after free: " })
            .text("the chunk was freed before, and is now part of the top of its heap"),
        Some(state) => line.text("invalid pointer: this is ").text(place(state)),
        None => line.text("invalid pointer or corrupted header: no chunk starts here, or a write ran over its header"),
    }
    .die_about(user)
}

/// A pointer that was freed already, with nothing left to describe it.
#[cold]
pub fn freed_before(call: &'static str, user: usize, how: &'static str) -> ! {
    let kind = if call == "free" { "double free: " } else { "use after free: " };
    Line::new().text(call).text("(").hex(user).text("): ").text(kind).text(how).die_about(user)
}

/// A chunk was freed, and before it reached its bin its first word changed.
#[cold]
pub fn changed_since_freed(user: usize, size: usize) -> ! {
    Line::new()
        .text("free(")
        .hex(user)
        .text("): double free or write after free: the chunk of ")
        .number(size)
        .text(" bytes was freed, and then freed and handed out once more, or written to")
        .die_about(user)
}

/// A pointer that can't be one of ours.
#[cold]
pub fn invalid(call: &'static str, user: usize, why: &'static str) -> ! {
    Line::new().text(call).text("(").hex(user).text("): invalid pointer: ").text(why).die_about(user)
}

/// A pointer into the middle of a chunk.
#[cold]
pub fn interior(call: &'static str, user: usize, chunk: Chunk, state: State) -> ! {
    Line::new()
        .text(call)
        .text("(")
        .hex(user)
        .text("): invalid pointer: it lies ")
        .number(user - chunk.user())
        .text(" bytes inside the chunk of ")
        .number(chunk.size())
        .text(" bytes at ")
        .hex(chunk.user())
        .text(", which is ")
        .text(place(state))
        .die_about(user)
}

/// A size given to a sized free isn't the chunk's.
#[cold]
pub fn wrong_size(call: &'static str, user: usize, given: usize, usable: usize) -> ! {
    Line::new()
        .text(call)
        .text("(")
        .hex(user)
        .text("): wrong size: ")
        .number(given)
        .text(" bytes given, the chunk in use holds ")
        .number(usable)
        .die_about(user)
}

/// A header that the heap relies on is broken.
#[cold]
pub fn corrupt_header(chunk: Chunk, what: &'static str) -> ! {
    Line::new()
        .text("corrupted heap: the header of the chunk at ")
        .hex(chunk.user())
        .text(" (")
        .text(what)
        .text(") was overwritten, most likely from the chunk below")
        .die_about(chunk.user())
}

/// Links of a free chunk are broken: its own, or those of the one that it leads to.
#[cold]
pub fn corrupt_list(at: usize, other: usize) -> ! {
    let line = Line::new().text("corrupted heap: the links of the free chunk at ").hex(at).text(" (in a bin)");
    if other == at {
        line.text(" were overwritten").die_about(at);
    }
    line.text(" or of its neighbour at ")
        .hex(other)
        .text(" were overwritten: they don't point at each other")
        .die_about(at)
}

/// A size at a free chunk's end isn't the one in its header.
#[cold]
pub fn corrupt_prev_size(chunk: Chunk) -> ! {
    Line::new()
        .text("corrupted heap: the free chunk below ")
        .hex(chunk.user())
        .text(" (in a bin) doesn't have the size that stands at its end")
        .die_about(chunk.user())
}

/// A pointer whose header isn't there to be read.
#[cold]
pub fn unmapped(call: &'static str, user: usize) -> ! {
    invalid(call, user, "no memory of a heap is there; if it was a chunk, its heap went back to the kernel")
}

/// What a canary shows: the bytes that were asked for, and the first byte behind them that was written to, as far as both can
/// still be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overrun {
    pub request: Option<usize>,
    pub at: Option<usize>,
}

/// A write ran past the end of what was asked for. `room` is what the chunk holds in all.
#[cold]
pub fn overrun(call: &'static str, user: usize, room: usize, found: Overrun) -> ! {
    let line = Line::new().text(call).text("(").hex(user).text("): overflow: a write ran past the end of ");
    let line = match found.request {
        Some(request) => line.text("the ").number(request).text(" bytes that were asked for"),
        None => line.text("what was asked for, of a chunk that holds ").number(room).text(" bytes"),
    };
    match found.at {
        Some(at) => line.text(", first seen at byte ").number(at).die_about(user),
        None => line.text(", and over its length").die_about(user),
    }
}

/// A freed chunk isn't as it was left: `at` is the first byte that was written to, of `room`.
#[cold]
pub fn written_after_free(user: usize, room: usize, at: usize, when: &'static str) -> ! {
    Line::new()
        .text("write after free: the chunk at ")
        .hex(user)
        .text(", free, was written to at byte ")
        .number(at)
        .text(" of ")
        .number(room)
        .text("; seen when it was ")
        .text(when)
        .die_about(user)
}

/// The program moved the break down into a heap.
#[cold]
pub fn break_moved_down(now: usize) -> ! {
    Line::new()
        .text("corrupted heap: the program moved the break down to ")
        .hex(now)
        .text(", into memory of the heap")
        .die()
}
