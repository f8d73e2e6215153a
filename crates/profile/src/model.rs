//! A profile: places in the code, stacks of them, and what was allocated there.
//!
//! Counts are estimates where not each allocation was sampled: a sample stands for as many allocations like it as there were for
//! each that was sampled. So they are numbers with fractions, and bytes are counts times the bytes asked for.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// What the file says that it is.
const FORM: &str = "heapglass profile 1";
/// More than this isn't unpacked: a few bytes can be made to mean any number of them.
const UNPACKED_MAX: u64 = 1 << 32;

/// Functions on a stack, inlined ones too. Trees are gone through by calls within calls, for which there is room for so many; the
/// deepest stacks of our own have some 512 frames.
const DEPTH_MAX: usize = 4096;

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Profile {
    pub form: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    pub pid: u32,
    /// Bytes between two samples on average; 1: everything was sampled.
    pub interval: u64,
    /// Nanoseconds of the clock on the wall when it began, and that it took.
    pub began: u64,
    pub took: u64,
    /// Nanoseconds after the beginning at which most bytes were in use.
    pub peak_at: u64,
    /// Samples that there was no room for.
    pub dropped: u64,
    /// Frees of chunks that were allocated before it began are in no figure.
    pub modules: Vec<Module>,
    pub frames: Vec<Frame>,
    /// Numbers of frames, the innermost first.
    pub stacks: Vec<Vec<u32>>,
    pub entries: Vec<Entry>,
}

/// A file that code is from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Module {
    pub path: String,
    /// In hexadecimal; empty where it has none.
    pub build_id: String,
    /// Where the piece of it lay in the process, and where that begins in the file.
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    /// What an address in the process differs by from the same in the file.
    pub bias: u64,
}

/// A place in the code.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Frame {
    pub module: Option<u32>,
    /// As the module's file counts addresses; without a module, in the process.
    pub address: u64,
    /// The functions there, the innermost inlined one first. Empty where nobody named them.
    pub lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// Allocations that are alike.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    pub stack: u32,
    /// The kernel's number of the thread.
    pub thread: u32,
    /// Of the chunks; none for mappings.
    pub arena: Option<u32>,
    /// Bytes asked for, and those of the chunk that served it.
    pub bytes: u64,
    pub chunk: u64,
    /// Allocations in all, in use at the end, in use at the peak, and those that were freed again before the same thread's next
    /// sample.
    pub total: f64,
    pub in_use: f64,
    pub peak: f64,
    pub temporary: f64,
    /// Nanoseconds that those lived which were freed, all together.
    pub lived: f64,
}

/// Which allocations are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    InUse,
    Peak,
    Total,
    Temporary,
}

impl Which {
    pub const ALL: [Which; 4] = [Which::InUse, Which::Peak, Which::Total, Which::Temporary];

    pub fn name(self) -> &'static str {
        match self {
            Which::InUse => "in use",
            Which::Peak => "peak",
            Which::Total => "total",
            Which::Temporary => "temporary",
        }
    }
}

impl Entry {
    pub fn count(&self, which: Which) -> f64 {
        match which {
            Which::InUse => self.in_use,
            Which::Peak => self.peak,
            Which::Total => self.total,
            Which::Temporary => self.temporary,
        }
    }

    pub fn size(&self, which: Which) -> f64 {
        self.count(which) * self.bytes as f64
    }
}

/// For how many allocations of this many bytes (of the chunk) a sample stands.
pub fn weight(chunk: u64, interval: u64) -> f64 {
    if interval <= 1 { 1.0 } else { 1.0 / -(-(chunk as f64) / interval as f64).exp_m1() }
}

impl Profile {
    pub fn new() -> Profile {
        Profile { form: FORM.into(), ..Profile::default() }
    }

    /// Allocations and bytes.
    pub fn sum(&self, which: Which) -> (f64, f64) {
        self.entries
            .iter()
            .fold((0.0, 0.0), |(count, bytes), entry| (count + entry.count(which), bytes + entry.size(which)))
    }

    /// The frames of an entry, the innermost first. Numbers that lead nowhere are left out.
    pub fn frames_of(&self, entry: &Entry) -> impl DoubleEndedIterator<Item = &Frame> {
        let stack = self.stacks.get(entry.stack as usize).map_or(&[][..], Vec::as_slice);
        stack.iter().filter_map(|&frame| self.frames.get(frame as usize))
    }

    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut packed = GzEncoder::new(to, Compression::default());
        serde_json::to_writer(&mut packed, self)?;
        packed.finish()?.flush()
    }

    pub fn read(from: impl Read) -> io::Result<Profile> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let unpacked = io::BufReader::new(GzDecoder::new(from).take(UNPACKED_MAX));
        let profile: Profile =
            serde_json::from_reader(unpacked).map_err(|e| wrong(format!("not a profile of Heapglass's: {e}")))?;
        if profile.form != FORM {
            return Err(wrong(format!("a profile of another form: {}", profile.form)));
        }
        let frames_lead = profile.stacks.iter().flatten().all(|&frame| (frame as usize) < profile.frames.len());
        let stacks_lead = profile.entries.iter().all(|entry| (entry.stack as usize) < profile.stacks.len());
        if !frames_lead || !stacks_lead {
            return Err(wrong("a damaged profile: it names what it doesn't contain".into()));
        }
        // What others of them are subtracted from, or written out one by one.
        let is_count = |count: f64| count.is_finite() && count >= 0.0;
        let are_counts = |entry: &Entry| Which::ALL.iter().all(|which| is_count(entry.count(*which)));
        if !profile.entries.iter().all(are_counts) {
            return Err(wrong("a damaged profile: it counts what can't be counted".into()));
        }
        let depth =
            |stack: &Vec<u32>| stack.iter().map(|&frame| profile.frames[frame as usize].lines.len().max(1)).sum();
        if profile.stacks.iter().map(depth).any(|depth: usize| depth > DEPTH_MAX) {
            return Err(wrong("a damaged profile: no stack is that deep".into()));
        }
        Ok(profile)
    }
}

/// As many bytes, with a unit that suits.
pub fn bytes(amount: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = amount;
    let mut unit = 0;
    while amount.abs() >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let unit_name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{amount:.0} {unit_name}") } else { format!("{amount:.1} {unit_name}") }
}

/// A number with its thousands apart.
pub fn number(amount: f64) -> String {
    let whole = format!("{:.0}", amount.abs());
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if amount <= -0.5 { format!("-{text}") } else { text }
}

impl Frame {
    /// What it is called: the functions there, the innermost first, or what is known of the address.
    pub fn names<'a>(&'a self, modules: &'a [Module]) -> Vec<String> {
        if !self.lines.is_empty() {
            return self.lines.iter().map(|line| line.function.clone()).collect();
        }
        vec![match self.module.and_then(|module| modules.get(module as usize)) {
            Some(module) => {
                let name = module.path.rsplit('/').next().unwrap_or(&module.path);
                format!("{name}+{:#x}", self.address)
            }
            None if self.address == CUT => "[the stack goes on]".into(),
            None if self.address == SIGNAL => "[a signal came]".into(),
            None if self.address == 0 => "[unknown]".into(),
            None => format!("[made at run time] {:#x}", self.address),
        }]
    }
}

/// The address of the frame that stands for callers beyond the piece of stack that was copied.
pub const CUT: u64 = 1;
/// The address of the frame that stands between a signal's handler and what it interrupted.
pub const SIGNAL: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut profile = Profile::new();
        profile.words = vec!["a".into(), "b c".into()];
        profile.frames.push(Frame { module: None, address: 7, lines: vec![Line::default()] });
        profile.stacks.push(vec![0, 0]);
        profile.entries.push(Entry { bytes: 3, total: 1.5, ..Entry::default() });
        let mut bytes = Vec::new();
        profile.write(&mut bytes).unwrap();
        assert_eq!(Profile::read(&*bytes).unwrap(), profile);
        for count in [-1.0, -1e308] {
            let mut damaged = profile.clone();
            damaged.entries[0].in_use = count;
            let mut bytes = Vec::new();
            damaged.write(&mut bytes).unwrap();
            assert!(Profile::read(&*bytes).is_err(), "{count}");
        }
        profile.stacks.clear();
        let mut bytes = Vec::new();
        profile.write(&mut bytes).unwrap();
        assert!(Profile::read(&*bytes).is_err());
        assert!(Profile::read(&b"nonsense"[..]).is_err());
        for length in [0, 5, bytes.len() - 1] {
            assert!(Profile::read(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn stacks_as_deep_as_may_be_are_shown_and_deeper_ones_refused() {
        let deep = |depth: usize| {
            let mut profile = Profile::new();
            let frame = |address| Frame { module: None, address, lines: Vec::new() };
            profile.frames = (0..depth as u64).map(frame).collect();
            profile.stacks.push((0..depth as u32).collect());
            profile.entries.push(Entry { bytes: 3, total: 1.0, in_use: 1.0, ..Entry::default() });
            let mut bytes = Vec::new();
            profile.write(&mut bytes).unwrap();
            bytes
        };
        assert!(Profile::read(&*deep(DEPTH_MAX + 1)).is_err());
        // As much stack as a program's first thread has.
        let shown = std::thread::Builder::new().stack_size(8 << 20).spawn(move || {
            let mut text = Vec::new();
            io::Read::read_to_end(&mut GzDecoder::new(&*deep(DEPTH_MAX)), &mut text).unwrap();
            crate::trial::read_all(&text);
        });
        shown.unwrap().join().unwrap();
    }

    #[test]
    fn a_sample_stands_for_as_many_as_its_chance_says() {
        assert_eq!(weight(32, 1), 1.0);
        assert!((weight(512 << 20, 512 << 10) - 1.0).abs() < 1e-9);
        // A small chunk stands for about interval / chunk others.
        assert!((weight(32, 512 << 10) - 16384.5).abs() < 0.1);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!((bytes(0.0), bytes(1023.0), bytes(1536.0)), ("0 B".into(), "1023 B".into(), "1.5 KiB".into()));
        assert_eq!(
            (number(0.0), number(1234567.0), number(-1000.0)),
            ("0".into(), "1,234,567".into(), "-1,000".into())
        );
    }
}
