//! The page that a program counts into for `--stats`, and the screen made of it.

use crate::failure::Failure;
use crate::scratch::Scratch;
use crate::supervise::Ended;
use heapglass_event::{COUNTERS_BYTES, Counters, MAGIC, VERSION};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::mem::offset_of;

macro_rules! figure {
    ($bytes:expr, $field:ident) => {
        u64_at(&$bytes, offset_of!(Counters, $field))
    };
}

/// The most bytes at any time: of chunks in use, of heaps, of mapped chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peaks {
    pub in_use: u64,
    pub heap: u64,
    pub mapped: u64,
}

/// A page for one run.
pub struct Page(Scratch);

impl Page {
    pub fn create() -> Result<Page, Failure> {
        // Written, not only given a length: a page that the file system can't back would kill the program later on.
        Scratch::create("stats", &[0; COUNTERS_BYTES], "the counters").map(Page)
    }

    /// One that is gone when this command is, whatever ends it.
    pub fn in_memory() -> Result<Page, Failure> {
        Scratch::in_memory(&[0; COUNTERS_BYTES]).map(Page)
    }

    /// The item of `HEAPGLASS` that makes the library take the page.
    pub fn item(&self) -> OsString {
        self.0.item("stats:")
    }

    /// What was counted of memory; `None` if nobody did.
    pub fn peaks(&self) -> Option<Peaks> {
        let bytes = self.0.read().ok()?;
        let counts = bytes.len() >= COUNTERS_BYTES
            && figure!(bytes, magic) == MAGIC
            && u32_at(&bytes, offset_of!(Counters, version)) == VERSION;
        counts.then(|| Peaks {
            in_use: figure!(bytes, peak_bytes),
            heap: figure!(bytes, heap_peak_bytes),
            mapped: figure!(bytes, mapped_peak_bytes),
        })
    }

    /// Prints the screen on standard error.
    pub fn report(&self, name: &OsStr, ended: &Ended) {
        let title = format!("heapglass: {}, process {}, {}\n", name.display(), ended.pid, ended.how);
        let screen = match self.0.read() {
            Ok(bytes) => title + &body(&bytes),
            Err(e) => format!("{title}heapglass: no figures: {e}\n"),
        };
        // Standard error may be closed; the program's status still counts.
        let _ = io::stderr().write_all(screen.as_bytes());
    }
}

pub fn body(bytes: &[u8]) -> String {
    if bytes.len() < COUNTERS_BYTES || figure!(bytes, magic) != MAGIC {
        return "heapglass: no figures: the program never allocated through the library; it brings an allocator of its own, \
                or became another program by exec (then use -f)\n"
            .into();
    }
    let version = u32_at(bytes, offset_of!(Counters, version));
    if version != VERSION {
        return format!(
            "heapglass: no figures: the library counts by layout {version}, this command reads layout {VERSION}; use both of one build\n"
        );
    }
    let rows = [
        ("malloc calls", figure!(bytes, malloc_calls)),
        ("calloc calls", figure!(bytes, calloc_calls)),
        ("realloc calls", figure!(bytes, realloc_calls)),
        ("aligned calls", figure!(bytes, aligned_calls)),
        ("free calls", figure!(bytes, free_calls)),
        ("in use at exit, bytes", figure!(bytes, in_use_bytes)),
        ("in use at exit, chunks", figure!(bytes, in_use_chunks)),
        ("in use at peak, bytes", figure!(bytes, peak_bytes)),
        ("arenas", figure!(bytes, arenas)),
        ("heap at exit, bytes", figure!(bytes, heap_bytes)),
        ("heap at peak, bytes", figure!(bytes, heap_peak_bytes)),
        ("mapped at exit, bytes", figure!(bytes, mapped_bytes)),
        ("mapped at peak, bytes", figure!(bytes, mapped_peak_bytes)),
        ("brk calls", figure!(bytes, brk_calls)),
        ("mmap calls", figure!(bytes, mmap_calls)),
        ("munmap calls", figure!(bytes, munmap_calls)),
        ("mremap calls", figure!(bytes, mremap_calls)),
        ("madvise calls", figure!(bytes, madvise_calls)),
        ("mprotect calls", figure!(bytes, mprotect_calls)),
        ("released, bytes", figure!(bytes, released_bytes)),
        ("guarded samples", figure!(bytes, guarded)),
    ];
    let figures = rows.map(|(_, figure)| grouped(figure));
    let width = figures.iter().map(String::len).max().unwrap_or(0).max(15);
    let mut screen = String::new();
    for ((label, _), figure) in rows.iter().zip(&figures) {
        let _ = writeln!(screen, "  {label:<24}{figure:>width$}");
    }
    screen
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// With a comma between thousands.
pub fn grouped(figure: u64) -> String {
    let digits = figure.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn taken() -> Vec<u8> {
        let mut bytes = vec![0; COUNTERS_BYTES];
        put(&mut bytes, offset_of!(Counters, magic), &MAGIC.to_ne_bytes());
        put(&mut bytes, offset_of!(Counters, version), &VERSION.to_ne_bytes());
        bytes
    }

    #[test]
    fn thousands_are_set_apart() {
        for (figure, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (135_168, "135,168"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(figure), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn the_screen_has_every_figure_on_a_line_of_its_own() {
        let mut bytes = taken();
        put(&mut bytes, offset_of!(Counters, malloc_calls), &12_345_u64.to_ne_bytes());
        put(&mut bytes, offset_of!(Counters, peak_bytes), &u64::MAX.to_ne_bytes());
        let screen = body(&bytes);
        assert!(screen.contains("\n  free calls "), "{screen}");
        assert!(screen.starts_with("  malloc calls "), "{screen}");
        assert!(screen.lines().next().unwrap().ends_with(" 12,345"), "{screen}");
        let widths: Vec<usize> = screen.lines().map(str::len).collect();
        assert!(widths.iter().all(|w| *w == widths[0]) && widths.len() <= 22, "{screen}");
    }

    #[test]
    fn a_page_nobody_took_or_of_another_layout_is_said_so() {
        assert!(body(&[0; COUNTERS_BYTES]).contains("never allocated through the library"));
        assert!(body(&[]).contains("never allocated through the library"));
        let mut bytes = taken();
        put(&mut bytes, offset_of!(Counters, version), &(VERSION + 1).to_ne_bytes());
        assert!(body(&bytes).contains("use both of one build"));
    }
}
