//! A file that is mapped to be executed.

use crate::maps::Mapping;
use framehop::{ExplicitModuleSectionInfo, Module as Tables};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Object, ObjectSection, ReadCache, ReadRef};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A module as it lies in a process.
pub struct Module {
    pub path: String,
    /// In hexadecimal; empty where it has none.
    pub build_id: String,
    pub start: u64,
    pub end: u64,
    /// Where `start` lies in the file.
    pub offset: u64,
    /// What an address in the process differs by from the same in the file.
    pub bias: u64,
    /// Kept open, since the name may soon mean another file.
    file: File,
}

impl Module {
    /// Opens what a mapping of the process `pid` is of, as that process sees it. `None` where it can't be had or is no program.
    pub fn open(pid: u32, mapping: &Mapping) -> Option<(Module, Tables<Vec<u8>>)> {
        let range = format!("{:x}-{:x}", mapping.start, mapping.end);
        // A deleted file is still what the kernel has mapped. The last is for a process that has ended.
        let by_map = format!("/proc/{pid}/map_files/{range}");
        let inside = format!("/proc/{pid}/root{}", mapping.path);
        let places = match mapping.is_deleted {
            true => vec![by_map, format!("/proc/{pid}/exe")],
            false => vec![inside, by_map, mapping.path.clone()],
        };
        places.into_iter().find_map(|place| Module::read(open(Path::new(&place)).ok()?, mapping))
    }

    pub(crate) fn read(file: File, mapping: &Mapping) -> Option<(Module, Tables<Vec<u8>>)> {
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0).ok()?;
        if &magic != b"\x7fELF" {
            return None;
        }
        let cache = ReadCache::new(file.try_clone().ok()?);
        let elf = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
        let bias = bias(&elf, mapping)?;
        let build_id = elf.build_id().ok().flatten().unwrap_or_default();
        let build_id = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let tables = tables(&elf, mapping, bias);
        let module = Module {
            path: mapping.path.clone(),
            build_id,
            start: mapping.start,
            end: mapping.end,
            offset: mapping.offset,
            bias,
            file,
        };
        Some((module, tables))
    }

    /// A path that leads to the very file that was mapped, as long as this lives.
    pub fn place(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// Opens a file of code by a path that somebody told. A pipe or a device there would be waited for, or do something.
pub fn open(path: &Path) -> io::Result<File> {
    const NONBLOCK: i32 = 0o4000;
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// By the segment that the mapping is of: its file offset tells where it was to lie.
fn bias<'a, R: ReadRef<'a>>(elf: &ElfFile64<'a, object::Endianness, R>, mapping: &Mapping) -> Option<u64> {
    let endian = elf.endian();
    let length = mapping.end - mapping.start;
    elf.elf_program_headers().iter().filter(|header| header.p_type(endian) == object::elf::PT_LOAD).find_map(|header| {
        let (offset, bytes) = (header.p_offset(endian), header.p_filesz(endian));
        // Mappings are of whole pages.
        let inside = mapping.offset < offset.saturating_add(bytes) && offset < mapping.offset.saturating_add(length);
        let is_code = header.p_flags(endian).0 & object::elf::PF_X.0 != 0;
        let lies = header.p_vaddr(endian).wrapping_add(mapping.offset.wrapping_sub(offset));
        (inside && is_code).then(|| mapping.start.wrapping_sub(lies))
    })
}

fn tables<'a, R: ReadRef<'a>>(
    elf: &ElfFile64<'a, object::Endianness, R>,
    mapping: &Mapping,
    bias: u64,
) -> Tables<Vec<u8>> {
    let section = |name: &str| elf.section_by_name(name);
    let range =
        |name: &str| section(name).map(|section| section.address()..section.address().saturating_add(section.size()));
    let data = |name: &str| section(name).and_then(|section| section.data().ok().map(<[u8]>::to_vec));
    let info = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: range(".text"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        ..Default::default()
    };
    Tables::new(mapping.path.clone(), mapping.start..mapping.end, bias, info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_isnt_opened() {
        assert!(open(Path::new("/proc/self/exe")).is_ok());
        for other in ["/dev/null", "/proc/self/fd", "/no/such/file"] {
            assert!(open(Path::new(other)).is_err(), "{other}");
        }
    }
}
