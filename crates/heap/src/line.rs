//! A line of text, built in a buffer on the stack and sent by one write(2): nothing here allocates or takes a lock.

use crate::report;
use heapglass_os as os;

/// A line under construction. What doesn't fit is cut.
#[derive(Clone)]
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

    /// All that is written goes through here, so that it is compiled once: what ends a process is called from everywhere, and
    /// would otherwise be a large part of the library.
    #[cold]
    #[inline(never)]
    fn push(&mut self, bytes: &[u8]) {
        for (cell, &byte) in self.text.iter_mut().skip(self.len).zip(bytes) {
            *cell = byte;
            self.len += 1;
        }
    }

    pub fn text(mut self, text: &str) -> Line {
        self.push(text.as_bytes());
        self
    }

    /// Bytes from outside: whatever isn't printable becomes a question mark.
    pub fn raw(mut self, bytes: &[u8]) -> Line {
        for &byte in bytes.iter().take(100) {
            self.push(&[if (32..127).contains(&byte) { byte } else { b'?' }]);
        }
        self
    }

    pub fn hex(mut self, value: usize) -> Line {
        self.push_hex(value);
        self
    }

    #[cold]
    #[inline(never)]
    fn push_hex(&mut self, value: usize) {
        self.push(b"0x");
        let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = (value >> (digit * 4)) as u8 & 15;
            self.push(&[if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }]);
        }
    }

    pub fn number(self, value: usize) -> Line {
        self.number_padded(value, 1)
    }

    /// A number, with blanks before it up to a width.
    pub fn number_padded(mut self, value: usize, width: usize) -> Line {
        self.push_number(value, width);
        self
    }

    #[cold]
    #[inline(never)]
    fn push_number(&mut self, value: usize, width: usize) {
        let mut digits = [b' '; 20];
        let mut rest = value;
        let mut length = 0;
        for cell in digits.iter_mut().rev() {
            if rest == 0 && length > 0 {
                break;
            }
            *cell = b'0' + (rest % 10) as u8;
            rest /= 10;
            length += 1;
        }
        for _ in length..width {
            self.push(b" ");
        }
        self.push(digits.get(20 - length..).unwrap_or(b""));
    }

    /// The line with its end, to be written elsewhere.
    pub fn finish(self) -> Line {
        self.text("\n")
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or(b"")
    }

    /// Sends the line, as a warning.
    pub fn warn(self) {
        os::write_error(self.finish().as_bytes());
    }

    /// Says which thread it is about, and how to see more.
    pub fn with_thread(self) -> Line {
        self.text(" [thread ")
            .number(os::thread_id() as usize)
            .text("; to see who called: gdb -ex run -ex backtrace --args PROGRAM]")
    }

    /// Sends the line and ends the process with SIGABRT.
    pub fn die(self) -> ! {
        report::end(self, None)
    }

    /// As `die`, about a user pointer.
    pub fn die_about(self, user: usize) -> ! {
        report::end(self, Some(user))
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}
