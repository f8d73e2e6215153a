//! An ELF core file, from the kernel or from gdb's gcore: its segments are the memory, its notes tell the names of mapped files
//! and the threads.

use crate::maps::Mapping;
use crate::memory::{Memory, Range, u32_in, u64_in};
use crate::reach::Registers;
use crate::trouble::{Result, Trouble};
use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NT_FILE: u32 = 0x4649_4c45;
const NT_PRSTATUS: u32 = 1;
const NT_AUXV: u32 = 6;
/// Where a thread's id stands in its status, on 64-bit machines: behind a signal's details, a short and two masks.
const STATUS_PID: usize = 32;
const AT_PAGESZ: u64 = 6;
/// Lengths of pages that there are.
const PAGES: std::ops::RangeInclusive<u64> = 4096..=1 << 20;
/// Where its registers stand there, in the kernel's order, on x86-64: r15 to rdi, the call's number, pc, cs, flags, sp, ss, fs, gs.
const STATUS_REGISTERS: usize = 112;
const GENERAL: usize = 16;
const SP: usize = 19;
const FS: usize = 21;

struct Segment {
    memory: Range,
    /// Where in the file it begins, and how much of it is there.
    offset: u64,
    bytes: u64,
}

/// Where the bytes are.
enum Source {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    fn read(&self, into: &mut [u8], offset: u64) -> Option<()> {
        match self {
            Source::File(file) => file.read_exact_at(into, offset).ok(),
            Source::Memory(bytes) => {
                let start = usize::try_from(offset).ok()?;
                into.copy_from_slice(bytes.get(start..start.checked_add(into.len())?)?);
                Some(())
            }
        }
    }
}

pub struct Core {
    source: Source,
    segments: Vec<Segment>,
    mappings: Vec<Mapping>,
    threads: Vec<u32>,
    registers: Vec<Registers>,
    is_x86_64: bool,
    page: u64,
    /// Bytes that the file should have and hasn't: it was cut off.
    missing: u64,
}

impl Core {
    pub fn open(path: &Path) -> Result<Core> {
        let named = |what: &str| Trouble::File(format!("{}: {what}", path.display()));
        let file = File::open(path).map_err(|e| named(&e.to_string()))?;
        let length = file.metadata().map_err(|e| named(&e.to_string()))?.len();
        let cache = ReadCache::new(file.try_clone().map_err(|e| named(&e.to_string()))?);
        let mut core = Core::of(Source::File(file));
        core.parse(&cache, length).map_err(named)?;
        Ok(core)
    }

    /// A core file's bytes, whatever they are.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Core> {
        let mut core = Core::of(Source::Memory(Vec::new()));
        core.parse(bytes.as_slice(), bytes.len() as u64).map_err(|what| Trouble::File(what.into()))?;
        core.source = Source::Memory(bytes);
        Ok(core)
    }

    fn of(source: Source) -> Core {
        Core {
            source,
            segments: Vec::new(),
            mappings: Vec::new(),
            threads: Vec::new(),
            registers: Vec::new(),
            is_x86_64: false,
            page: 4096,
            missing: 0,
        }
    }

    /// What each thread had, where that is known.
    pub fn registers(&self) -> &[Registers] {
        &self.registers
    }

    /// Bytes by which the file was cut short.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    fn parse<'data, R: ReadRef<'data>>(&mut self, data: R, length: u64) -> std::result::Result<(), &'static str> {
        let ident = data.read_bytes_at(0, 20).map_err(|()| "is not a core file")?;
        if !ident.starts_with(b"\x7fELF") {
            return Err("is not a core file");
        }
        if ident.get(4) == Some(&1) {
            return Err("is a core file of a 32-bit program, and Heapglass is for 64-bit programs");
        }
        let header = FileHeader64::<Endianness>::parse(data).map_err(|_| "is not a core file")?;
        let endian = header.endian().map_err(|_| "is not a core file of this machine")?;
        if header.e_type(endian) != elf::ET_CORE {
            return Err("is an ELF file, but not a core; give the process's id, or a core file of it");
        }
        self.is_x86_64 = header.e_machine(endian) == elf::EM_X86_64;
        let headers = header.program_headers(endian, data).map_err(|_| "is a core file whose headers are damaged")?;
        for part in headers.iter().filter(|part| part.p_type(endian) == elf::PT_LOAD) {
            let start = part.p_vaddr(endian);
            // What lies beyond, the kernel's page of calls, is nobody's memory.
            let memory = Range::told(start, part.p_memsz(endian));
            let (offset, whole) = (part.p_offset(endian), part.p_filesz(endian).min(memory.bytes()));
            let bytes = whole.min(length.saturating_sub(offset));
            self.missing = self.missing.saturating_add(whole - bytes);
            self.segments.push(Segment { memory, offset, bytes });
            let flags = part.p_flags(endian);
            self.mappings.push(Mapping {
                range: memory,
                readable: bytes > 0,
                writable: flags.0 & elf::PF_W.0 != 0,
                executable: flags.0 & elf::PF_X.0 != 0,
                ..Mapping::default()
            });
        }
        self.segments.sort_by_key(|segment| segment.memory.start);
        self.mappings.sort_by_key(|mapping| mapping.range.start);
        self.part();
        for part in headers {
            let Ok(Some(mut notes)) = part.notes(endian, data) else { continue };
            while let Ok(Some(note)) = notes.next() {
                self.note(note.n_type(endian).0, note.desc());
            }
        }
        self.threads.sort_unstable();
        Ok(())
    }

    /// No two segments are of the same addresses; where a damaged file says so, each begins where the one before it ends.
    fn part(&mut self) {
        let mut end = 0;
        for Segment { memory, offset, bytes } in &mut self.segments {
            let start = memory.start.max(end);
            let less = start - memory.start;
            (*offset, *bytes) = (offset.saturating_add(less), bytes.saturating_sub(less));
            *memory = Range::new(start, memory.end);
            end = memory.end;
        }
        end = 0;
        for Mapping { range, .. } in &mut self.mappings {
            *range = Range::new(range.start.max(end), range.end);
            end = range.end;
        }
    }

    fn note(&mut self, kind: u32, bytes: &[u8]) {
        match kind {
            NT_PRSTATUS => {
                self.threads.push(u32_in(bytes, STATUS_PID));
                if self.is_x86_64 && bytes.len() >= STATUS_REGISTERS + (FS + 1) * 8 {
                    let register = |number: usize| u64_in(bytes, STATUS_REGISTERS + number * 8);
                    let words = (0..GENERAL).map(register).collect();
                    self.registers.push(Registers { sp: register(SP), thread: register(FS), words });
                }
            }
            NT_AUXV => {
                let (pairs, _) = bytes.as_chunks::<16>();
                let page = pairs.iter().find(|pair| u64_in(*pair, 0) == AT_PAGESZ).map(|pair| u64_in(pair, 8));
                self.page = page.filter(|page| page.is_power_of_two() && PAGES.contains(page)).unwrap_or(self.page);
            }
            NT_FILE => self.names(bytes),
            _ => {}
        }
    }

    /// A count, a page size, three words for each mapping of a file, then their names with a NUL behind each.
    fn names(&mut self, bytes: &[u8]) {
        let count = u64_in(bytes, 0).min(bytes.len() as u64 / 24) as usize;
        let mut names = bytes.get(16 + count * 24..).unwrap_or_default().split(|byte| *byte == 0);
        for index in 0..count {
            let at = 16 + index * 24;
            let file = Range::new(u64_in(bytes, at), u64_in(bytes, at + 8));
            let name = String::from_utf8_lossy(names.next().unwrap_or_default()).into_owned();
            for mapping in self.mappings.iter_mut().filter(|m| m.range.meets(file).bytes() > 0) {
                mapping.name.clone_from(&name);
            }
        }
    }

    fn segment(&self, at: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.memory.start <= at);
        self.segments.get(after.checked_sub(1)?).filter(|segment| segment.memory.holds(at))
    }
}

impl Memory for Core {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let from = at.wrapping_add(done as u64);
            let segment = self.segment(from).ok_or(Trouble::Unreadable(from))?;
            let within = from - segment.memory.start;
            let there = segment.bytes.saturating_sub(within).min(rest.len() as u64) as usize;
            let part = rest.get_mut(..there).filter(|part| !part.is_empty()).ok_or(Trouble::Unreadable(from))?;
            self.source.read(part, segment.offset.saturating_add(within)).ok_or(Trouble::Unreadable(from))?;
            done += there;
        }
        Ok(())
    }

    fn mappings(&self) -> Result<Vec<Mapping>> {
        Ok(self.mappings.clone())
    }

    fn resident(&self, range: Range) -> Result<Vec<Range>> {
        let there = |segment: &Segment| Range::new(segment.memory.start, segment.memory.start + segment.bytes);
        let parts = self.segments.iter().map(|segment| there(segment).meets(range));
        let mut runs: Vec<Range> = Vec::new();
        for part in parts.filter(|part| part.bytes() > 0) {
            match runs.last_mut() {
                Some(last) if last.end == part.start => last.end = part.end,
                _ => runs.push(part),
            }
        }
        Ok(runs)
    }

    fn threads(&self) -> Vec<u32> {
        self.threads.clone()
    }

    fn runs(&self) -> bool {
        false
    }

    fn page(&self) -> u64 {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core of these segments, by address and length; each has its number in all of its bytes, of which the file has so many.
    fn core(segments: &[(u64, u64, usize)]) -> Core {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        let half = |bytes: &mut Vec<u8>, number: u16| bytes.extend(number.to_le_bytes());
        let words = |bytes: &mut Vec<u8>, all: &[u64]| all.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        half(&mut bytes, 4);
        half(&mut bytes, 62);
        bytes.extend(1u32.to_le_bytes());
        words(&mut bytes, &[0, 64, 0]);
        bytes.extend(0u32.to_le_bytes());
        [64, 56, segments.len() as u16, 0, 0, 0].iter().for_each(|&number| half(&mut bytes, number));
        let mut offset = (64 + 56 * segments.len()) as u64;
        for &(start, length, there) in segments {
            // PT_LOAD, readable and writable.
            words(&mut bytes, &[6 << 32 | 1, offset, start, 0, there as u64, length, 1]);
            offset += there as u64;
        }
        for (number, &(_, _, there)) in (1..).zip(segments) {
            bytes.extend(vec![number; there]);
        }
        Core::from_bytes(bytes).unwrap()
    }

    #[test]
    fn segments_that_overlap_or_lie_beyond_all_addresses_are_cut() {
        let end = u64::MAX;
        let core = core(&[(0x1000, 0x1000, 0x1000), (0x1800, 0x1000, 0x1000), (0xffff_0000_0000_0000, end, 64)]);
        let all = Range::new(0, end);
        assert_eq!(core.resident(all).unwrap(), [Range::new(0x1000, 0x2800)]);
        let bytes: u64 = core.mappings().unwrap().iter().map(|mapping| mapping.range.bytes()).sum();
        assert_eq!(bytes, 0x1800);
        let mut read = [0; 2];
        core.read(0x1fff, &mut read).unwrap();
        assert_eq!(read, [1, 2]);
        assert!(core.read(0xffff_0000_0000_0000, &mut read).is_err());
    }
}
