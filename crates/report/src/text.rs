//! Text by hand: a trace writes millions of lines a second, which formatting by macros would not.

use heapglass_event::record::{Call as Function, Kernel, Outcome, Record};

/// A line under way, as bytes.
pub trait Text {
    fn text(&mut self, text: &str) -> &mut Self;
    fn number(&mut self, number: u64) -> &mut Self;
    fn grouped(&mut self, number: u64) -> &mut Self;
    fn hex(&mut self, number: u64) -> &mut Self;
    /// A null pointer as C's programs print it.
    fn pointer(&mut self, pointer: u64) -> &mut Self;
    /// Blanks until the line that began at `start` is `width` characters long.
    fn pad(&mut self, start: usize, width: usize) -> &mut Self;
}

impl Text for Vec<u8> {
    fn text(&mut self, text: &str) -> &mut Self {
        self.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.extend_from_slice(&digits[at..]);
        self
    }

    fn grouped(&mut self, number: u64) -> &mut Self {
        let digits = number.to_string();
        for (index, digit) in digits.bytes().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                self.push(b',');
            }
            self.push(digit);
        }
        self
    }

    fn hex(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; 16];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        self.extend_from_slice(b"0x");
        self.extend_from_slice(&digits[at..]);
        self
    }

    fn pointer(&mut self, pointer: u64) -> &mut Self {
        if pointer == 0 { self.text("NULL") } else { self.hex(pointer) }
    }

    fn pad(&mut self, start: usize, width: usize) -> &mut Self {
        let length = self.len() - start;
        for _ in length..width {
            self.push(b' ');
        }
        self
    }
}

/// The call as the program made it: `malloc(32)`.
pub fn call(to: &mut Vec<u8>, function: Option<Function>, arguments: [u64; 2]) {
    use Function::*;
    let [a, b] = arguments;
    to.text(function.map_or("?", Function::name)).text("(");
    match function {
        Some(Calloc | Memalign | AlignedAlloc | PosixMemalign) => to.number(a).text(", ").number(b),
        Some(Realloc | FreeSized | FreeAlignedSized | DeleteSized | DeleteArraySized) => {
            to.pointer(a).text(", ").number(b)
        }
        Some(Free | Cfree | Delete | DeleteArray) => to.pointer(a),
        Some(Valloc | Pvalloc) => to.number(b),
        // An alignment comes first where there is one.
        Some(New | NewArray) if b != 0 => to.number(b).text(", ").number(a),
        Some(Malloc | New | NewArray | Trim) => to.number(a),
        Some(ThreadEnd) | None => to,
    };
    to.text(")");
}

/// What it returned.
pub fn result(to: &mut Vec<u8>, function: Option<Function>, result: u64, failed: bool) {
    use Function::*;
    match function {
        Some(function) if function.frees() => to.text("<void>"),
        Some(Trim) => to.number(result),
        Some(ThreadEnd) => to.text("<void>"),
        // Its result is a number that says what went wrong.
        Some(PosixMemalign) if !failed => to.text("0 [").pointer(result).text("]"),
        _ => to.pointer(result),
    };
}

/// A system call, in the manner of strace, and the bytes that it moved.
pub fn kernel(to: &mut Vec<u8>, record: &Record) {
    let which = Kernel::from_number(record.n);
    let refused = record.went(Outcome::Refused);
    let start = to.len();
    to.text(which.map_or("?", Kernel::name)).text("(");
    match which {
        Some(Kernel::Brk) => to.pointer(record.a),
        Some(Kernel::Mmap) => to.pointer(record.a).text(", ").number(record.b).text(", RW, PRIVATE|ANON"),
        Some(Kernel::Reserve) => {
            to.pointer(record.a).text(", ").number(record.b).text(", NONE, PRIVATE|ANON|NORESERVE")
        }
        Some(Kernel::Munmap) => to.pointer(record.a).text(", ").number(record.b),
        Some(Kernel::Mremap) => to.pointer(record.a).text(", ").number(record.b).text(", MAYMOVE"),
        Some(Kernel::Mprotect) => to.pointer(record.a).text(", ").number(record.b).text(", RW"),
        Some(Kernel::Discard) => to.pointer(record.a).text(", ").number(record.b).text(", DONTNEED"),
        Some(Kernel::Populate) => to.pointer(record.a).text(", ").number(record.b).text(", POPULATE_WRITE"),
        Some(Kernel::Huge) => to.pointer(record.a).text(", ").number(record.b).text(", HUGEPAGE"),
        None => to,
    };
    to.text(")").pad(start, 30).text(" = ");
    match which {
        _ if refused => {
            to.text("-1 (").text(errno(record.c)).text(")");
            return;
        }
        Some(Kernel::Brk | Kernel::Mmap | Kernel::Reserve | Kernel::Mremap) => to.hex(record.c),
        _ => to.number(record.c),
    };
    match which {
        Some(Kernel::Brk) => {
            let moved = record.b as i64;
            to.text(if moved < 0 { "   (−" } else { "   (+" }).grouped(moved.unsigned_abs()).text(" B)");
        }
        Some(Kernel::Mmap) => drop(to.text("   (+").grouped(record.b).text(" B)")),
        Some(Kernel::Munmap | Kernel::Discard) => drop(to.text("   (−").grouped(record.b).text(" B)")),
        _ => {}
    }
}

fn errno(number: u64) -> &'static str {
    match number {
        1 => "EPERM",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        22 => "EINVAL",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_the_macros_would_write_them() {
        for number in [0, 7, 10, 999, 1000, 135_168, u64::MAX] {
            let mut text = Vec::new();
            text.number(number).text(" ").hex(number);
            assert_eq!(String::from_utf8(text).unwrap(), format!("{number} {number:#x}"));
        }
        let mut text = Vec::new();
        text.grouped(1_234_567).text(" ").grouped(999).pad(0, 16).text("|");
        assert_eq!(text, b"1,234,567 999   |");
    }

    #[test]
    fn calls_read_as_the_program_wrote_them() {
        let written = |function, arguments| {
            let mut text = Vec::new();
            call(&mut text, Some(function), arguments);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(written(Function::Malloc, [32, 0]), "malloc(32)");
        assert_eq!(written(Function::Calloc, [3, 8]), "calloc(3, 8)");
        assert_eq!(written(Function::Free, [0x1000, 0]), "free(0x1000)");
        assert_eq!(written(Function::Realloc, [0, 8]), "realloc(NULL, 8)");
        assert_eq!(written(Function::DeleteSized, [0x1000, 8]), "operator delete(0x1000, 8)");
    }
}
