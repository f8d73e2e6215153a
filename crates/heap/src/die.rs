//! The one line before the end: what was found, where, in which state the chunk is, and how to see more. Built in a buffer
//! on the stack and sent by one write(2); nothing here allocates or takes a lock.

use crate::chunk::{Chunk, State};
use heapglass_os as os;

/// A line under construction. What doesn't fit is cut.
pub struct Line {
    text: [u8; 400],
    len: usize,
}

impl Line {
    pub fn new() -> Line {
        let line = Line { text: [0; 400], len: 0 };
        line.text("heapglass: ")
    }

    /// A line without our name in front: for output whose form is somebody else's.
    pub fn bare() -> Line {
        Line { text: [0; 400], len: 0 }
    }

    pub fn text(mut self, text: &str) -> Line {
        for &byte in text.as_bytes() {
            self = self.byte(byte);
        }
        self
    }

    /// Bytes from outside: whatever isn't printable becomes a question mark.
    pub fn raw(mut self, bytes: &[u8]) -> Line {
        for &byte in bytes.iter().take(100) {
            self = self.byte(if (32..127).contains(&byte) { byte } else { b'?' });
        }
        self
    }

    fn byte(mut self, byte: u8) -> Line {
        if let Some(cell) = self.text.get_mut(self.len) {
            *cell = byte;
            self.len += 1;
        }
        self
    }

    pub fn hex(self, value: usize) -> Line {
        let mut line = self.text("0x");
        let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = (value >> (digit * 4)) as u8 & 15;
            line = line.byte(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
        }
        line
    }

    pub fn number(self, value: usize) -> Line {
        let mut digits = [0u8; 20];
        let mut rest = value;
        let mut line = self;
        for cell in digits.iter_mut().rev() {
            *cell = (rest % 10) as u8;
            rest /= 10;
        }
        let mut leading = true;
        for (index, &digit) in digits.iter().enumerate() {
            leading &= digit == 0 && index != 19;
            if !leading {
                line = line.byte(b'0' + digit);
            }
        }
        line
    }

    /// A number, with blanks before it up to a width.
    pub fn number_padded(self, value: usize, width: usize) -> Line {
        let mut digits = 1;
        let mut rest = value / 10;
        while rest > 0 {
            rest /= 10;
            digits += 1;
        }
        let mut line = self;
        for _ in digits..width {
            line = line.byte(b' ');
        }
        line.number(value)
    }

    /// The line with its end, to be written elsewhere.
    pub fn finish(self) -> Line {
        self.byte(b'\n')
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or(b"")
    }

    /// Sends the line, as a warning.
    pub fn warn(self) {
        os::write_error(self.finish().as_bytes());
    }

    /// Sends the line and ends the process with SIGABRT.
    pub fn die(self) -> ! {
        self.text(" [thread ")
            .number(os::thread_id() as usize)
            .text("; to see who called: gdb -ex run -ex backtrace --args PROGRAM]")
            .warn();
        os::thread::die()
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

fn place(state: State) -> &'static str {
    match state {
        State::Live => "in use",
        State::Cached => "in a cache",
        State::Fast => "in a fast bin",
        State::Free => "in a bin",
        State::Top => "the top of its heap",
        State::Fence => "the end of its heap",
        State::Mapped => "a mapping of its own",
    }
}

/// A pointer was given to `call` that is no live chunk's. `chunk` says what its header decodes to.
#[cold]
pub fn not_live(call: &'static str, user: usize, state: Option<State>) -> ! {
    let chunk = Chunk::from_user(user);
    let line = Line::new().text(call).text("(").hex(user).text("): ");
    match state {
        Some(State::Cached | State::Fast | State::Free) => line
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
    .die()
}

/// A pointer that was freed already, with nothing left to describe it.
#[cold]
pub fn freed_before(call: &'static str, user: usize, how: &'static str) -> ! {
    let kind = if call == "free" { "double free: " } else { "use after free: " };
    Line::new().text(call).text("(").hex(user).text("): ").text(kind).text(how).die()
}

/// A pointer that can't be one of ours.
#[cold]
pub fn invalid(call: &'static str, user: usize, why: &'static str) -> ! {
    Line::new().text(call).text("(").hex(user).text("): invalid pointer: ").text(why).die()
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
        .die()
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
        .die()
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
        .die()
}

/// Links of a free chunk are broken: its own, or those of the one that it leads to.
#[cold]
pub fn corrupt_list(at: usize, other: usize) -> ! {
    let line = Line::new().text("corrupted heap: the links of the free chunk at ").hex(at).text(" (in a bin)");
    if other == at {
        line.text(" were overwritten").die();
    }
    line.text(" or of its neighbour at ").hex(other).text(" were overwritten: they don't point at each other").die()
}

/// A size at a free chunk's end isn't the one in its header.
#[cold]
pub fn corrupt_prev_size(chunk: Chunk) -> ! {
    Line::new()
        .text("corrupted heap: the free chunk below ")
        .hex(chunk.user())
        .text(" (in a bin) doesn't have the size that stands at its end")
        .die()
}

/// A pointer whose header isn't there to be read. `user` is rounded to what the fault tells, or nothing.
#[cold]
pub fn unmapped(call: &'static str, user: Option<usize>) -> ! {
    let line = Line::new().text(call).text("(");
    match user {
        Some(user) => line.hex(user),
        None => line.text("an address that no program can have"),
    }
    .text("): invalid pointer: no memory is mapped there; if it was a chunk, its heap went back to the kernel")
    .die()
}
