//! A line of text, built in a buffer on the stack and sent by one write(2): nothing here allocates or takes a lock.

use core::ffi::CStr;
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

    /// The text so far as a C string: what isn't written yet is zeros.
    pub fn as_name(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.text).ok()
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
