//! Finds Heapglass in a target: the root, in writable data of the program or of a library, known by its first words and proven
//! by its own address. Where there is none, says what the program uses instead.

use crate::core::Core;
use crate::live::Live;
use crate::maps::Mapping;
use crate::memory::{ADDRESS_MAX, Memory, Range, bytes, u64_in};
use crate::stop::Stopped;
use crate::trouble::{Result, Trouble};
pub use heapglass_event::root::Root;
use heapglass_event::root::{self, KINDS, Kind, NO_STATE, ROOT_ALIGN, ROOT_MAGIC, ROOT_VERSION, cookie};
use std::mem::offset_of;
use std::path::Path;

/// Times that a process is stopped anew because a thread was in the middle of a change.
const STOPS: usize = 100;

/// A process or a core file with a Heapglass in it.
pub struct Target {
    pub memory: Box<dyn Memory>,
    pub layout: Layout,
    /// How to name it to the user.
    pub name: String,
    /// The process's id; `None` for a core file.
    pub pid: Option<u32>,
    /// Other Heapglasses in the same process, which aren't looked at: a program that brings one and had one preloaded.
    pub others: usize,
    /// Bytes that a core file lacks.
    pub missing: u64,
    /// Keeps the process still.
    stopped: Option<Stopped>,
}

impl Target {
    /// A live process; held still until the target is dropped, if `stop`.
    pub fn process(pid: u32, stop: bool) -> Result<Target> {
        let mut target = Target::of(Box::new(Live::open(pid)?), format!("process {pid}"))?;
        target.pid = Some(pid);
        for _ in 0..if stop { STOPS } else { 0 } {
            target.stopped = None;
            let stopped = Stopped::new(pid)?;
            target.memory.set_still();
            target.stopped = Some(stopped);
            // Caught in the middle of a change, it would be read as one that is damaged.
            if !crate::records::is_any_locked(&target)? {
                break;
            }
        }
        Ok(target)
    }

    pub fn core(path: &Path) -> Result<Target> {
        Target::of_core(Core::open(path)?, path.display().to_string())
    }

    pub fn of_core(core: Core, name: String) -> Result<Target> {
        let missing = core.missing();
        let mut target = Target::of(Box::new(core), name)?;
        target.missing = missing;
        Ok(target)
    }

    fn of(memory: Box<dyn Memory>, name: String) -> Result<Target> {
        let mappings = memory.mappings()?;
        let mut found = Layout::find(&*memory, &mappings)?;
        let others = found.len().saturating_sub(1);
        // Of several, the one that has grown most: a preloaded one serves what the program's own doesn't.
        found.sort_by_key(|layout| std::cmp::Reverse(layout.arena_bytes(&*memory)));
        let Some(layout) = found.into_iter().next() else { return Err(Trouble::NotHeapglass(instead(&mappings))) };
        Ok(Target { memory, layout, name, pid: None, others, missing: 0, stopped: None })
    }
}

/// A root's words, by the places that its type gives them.
pub struct Layout {
    words: Vec<u8>,
    pub secret: u64,
    pub link_key: u64,
    /// `chunk.header` and `chunk.large_from`, which are asked for at each chunk.
    pub header: u64,
    pub large_from: u64,
    codes: [u64; KINDS.len()],
}

/// A word of the root, by its name in `Root`.
#[macro_export]
macro_rules! at {
    ($layout:expr, $($field:ident).+) => {
        $layout.word(std::mem::offset_of!($crate::find::Root, $($field).+))
    };
}
pub use at;

impl Layout {
    fn find(memory: &dyn Memory, mappings: &[Mapping]) -> Result<Vec<Layout>> {
        let data = |named: bool| {
            mappings
                .iter()
                .filter(move |m| m.readable && m.writable && !m.name.starts_with('[') && m.is_file() == named)
        };
        let mut roots = Vec::new();
        for mapping in data(true) {
            scan(memory, mapping.range, &mut roots);
        }
        // A core may have no names, and a program that was unpacked in memory no file; then it may be anywhere.
        if roots.is_empty() {
            let mut left = SCANNED_MAX;
            for mapping in data(false).take_while(|m| {
                left = left.saturating_sub(m.range.bytes());
                left > 0
            }) {
                scan(memory, mapping.range, &mut roots);
            }
        }
        let mut layouts = Vec::new();
        let mut version = None;
        for at in roots {
            match Layout::read(memory, at) {
                Ok(layout) => layouts.extend(layout),
                Err(other) => version = Some(other),
            }
        }
        match version {
            Some(other) if layouts.is_empty() => Err(other),
            _ => Ok(layouts),
        }
    }

    /// The root at this address; `None` where it only looks like one, or isn't in use yet.
    fn read(memory: &dyn Memory, at: u64) -> Result<Option<Layout>> {
        let start = bytes(memory, at, offset_of!(Root, ready) as u64)?;
        if u64_in(&start, offset_of!(Root, at)) != at {
            return Ok(None);
        }
        let version = u64_in(&start, offset_of!(Root, version));
        let length = u64_in(&start, offset_of!(Root, bytes));
        if version != ROOT_VERSION as u64 || length != size_of::<Root>() as u64 {
            return Err(Trouble::Version(version));
        }
        let mut layout = Layout {
            words: bytes(memory, at, length)?,
            secret: 0,
            link_key: 0,
            header: 0,
            large_from: 0,
            codes: [NO_STATE as u64; KINDS.len()],
        };
        (layout.header, layout.large_from) = (at!(layout, chunk.header), at!(layout, chunk.large_from));
        if at!(layout, ready) == 0 || !layout.is_plausible() {
            return Ok(None);
        }
        layout.secret = crate::memory::word(memory, at!(layout, secret))?;
        if at!(layout, link_key) != 0 {
            layout.link_key = crate::memory::word(memory, at!(layout, link_key))?;
        }
        for (index, code) in layout.codes.iter_mut().enumerate() {
            *code = u64_in(&layout.words, offset_of!(Root, states) + index * 8);
        }
        Ok(Some(layout))
    }

    /// Distances within records are short, counts are bounded, what is divided by isn't zero: from memory that only looks like a
    /// root nothing worse comes than a wrong picture.
    fn is_plausible(&self) -> bool {
        let near = 1..=1u64 << 20;
        let lengths = [
            at!(self, arena.bytes),
            at!(self, threads.bytes),
            at!(self, depots.bytes),
            at!(self, mapped.slot_bytes),
            at!(self, mapped.warm_bytes),
            at!(self, requests.bytes),
            at!(self, requests.exact_max),
            at!(self, requests.steps),
            at!(self, magazine.slots),
            at!(self, magazine.most),
            at!(self, threads.classes),
            at!(self, chunk.header),
            at!(self, chunk.min),
            at!(self, chunk.large_from),
        ];
        let places = [
            at!(self, arenas.all),
            at!(self, arenas.count),
            at!(self, windows.all),
            at!(self, mapped.lock),
            at!(self, mapped.table),
            at!(self, mapped.warm),
            at!(self, depots.all),
            at!(self, threads.all),
            at!(self, threads.ended),
            at!(self, records.blocks),
            at!(self, counters),
            at!(self, samples.start),
            at!(self, samples.end),
            at!(self, samples.slots),
            at!(self, samples.records),
            at!(self, canary.parts),
            at!(self, canary.keys),
            at!(self, requests.all),
        ];
        let within = |from: usize, words: usize| (0..words).all(|word| self.word(from + word * 8) < 1 << 20);
        lengths.iter().all(|length| near.contains(length))
            && within(offset_of!(Root, chunk), 4)
            && within(offset_of!(Root, arena), size_of::<root::ArenaAt>() / 8)
            && within(offset_of!(Root, store), size_of::<root::StoreAt>() / 8)
            && within(offset_of!(Root, heap), size_of::<root::HeapAt>() / 8)
            && within(offset_of!(Root, magazine), size_of::<root::MagazineAt>() / 8)
            && within(offset_of!(Root, threads.bytes), size_of::<root::ThreadsAt>() / 8 - 2)
            && within(offset_of!(Root, samples.record_bytes), 9)
            && within(offset_of!(Root, depots.count), 4)
            && within(offset_of!(Root, mapped.slot_bytes), 6)
            && within(offset_of!(Root, requests.count), 3)
            && within(offset_of!(Root, requests.chunks), 4)
            && at!(self, requests.fraction) < 32
            && at!(self, requests.steps) <= at!(self, requests.exact_max)
            && at!(self, arenas.most) < 1 << 20
            && places.iter().all(|place| *place < ADDRESS_MAX)
            && at!(self, mapped.warm_count) < 1 << 10
            && at!(self, windows.count) <= 1 << 24
            && (12..40).contains(&at!(self, windows.shift))
            && at!(self, windows.arena_bits) < 32
            && at!(self, chunk.role_word) < 64
            && at!(self, chunk.ring_word) < 64
    }

    #[inline]
    pub fn word(&self, offset: usize) -> u64 {
        u64_in(&self.words, offset)
    }

    /// What a header says: its cookie and the half with the size, at the chunk that starts there. `None` where it proves
    /// nothing.
    #[inline]
    pub fn kind(&self, chunk: u64, found: u32, half: u32) -> Option<Kind> {
        let size = u64::from(half & !heapglass_event::root::FLAGS);
        let user = chunk.wrapping_add(self.header);
        let code = u64::from(found.wrapping_sub(cookie(self.secret, user, size)));
        if code == self.codes[0] {
            return Some(Kind::Live);
        }
        self.codes.iter().position(|&known| known == code).and_then(|index| KINDS.get(index).copied())
    }

    fn arena_bytes(&self, memory: &dyn Memory) -> u64 {
        let main = crate::memory::word(memory, at!(self, arenas.all)).unwrap_or(0);
        let bytes = at!(self, arena.store) + at!(self, store.system_bytes);
        crate::memory::word(memory, main.wrapping_add(bytes)).unwrap_or(0)
    }
}

/// Anonymous memory that is looked through, at most, where no file's data has a root.
const SCANNED_MAX: u64 = 1 << 30;
const BLOCK: u64 = 1 << 20;

/// Adds the places in a range where a root may be.
fn scan(memory: &dyn Memory, range: Range, roots: &mut Vec<u64>) {
    let mut block = vec![0; BLOCK as usize];
    // What isn't resident has never been written to, and a root has.
    for run in memory.resident(range).unwrap_or_else(|_| vec![range]) {
        let mut at = run.start;
        while at < run.end {
            let length = BLOCK.min(run.end - at);
            let Some(part) = block.get_mut(..length as usize) else { return };
            if memory.read(at, part).is_ok() {
                let is_root =
                    |piece: &[u8]| u64_in(piece, 0) == ROOT_MAGIC[0] as u64 && u64_in(piece, 8) == ROOT_MAGIC[1] as u64;
                let hits = part.chunks(ROOT_ALIGN).zip((at..).step_by(ROOT_ALIGN)).filter(|(piece, _)| is_root(piece));
                roots.extend(hits.map(|(_, at)| at));
            }
            at += length;
        }
    }
}

/// Names of allocators as they stand in the names of their libraries.
const OTHERS: [&str; 7] = ["jemalloc", "mimalloc", "tcmalloc", "snmalloc", "rpmalloc", "hardened_malloc", "scudo"];

/// What a program without Heapglass uses.
fn instead(mappings: &[Mapping]) -> String {
    let library = |part: &str| mappings.iter().find(|m| m.is_file() && m.short_name().contains(part));
    if let Some(other) = OTHERS.iter().find_map(|name| library(name)) {
        return format!("it uses {}", other.short_name());
    }
    if library("libheapglass").is_some() {
        return "its libheapglass.so is of an older version, which can't be read from outside".into();
    }
    if let Some(libc) = library("libc.so").or_else(|| library("libc-2.")) {
        return format!("it uses the C library's own malloc ({})", libc.short_name());
    }
    if let Some(libc) = library("ld-musl") {
        return format!("it uses musl's own malloc ({})", libc.short_name());
    }
    "it is linked statically, with an allocator of its own".into()
}
