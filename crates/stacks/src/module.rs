//! A file that is mapped to be executed: opened and read once, however many processes have it mapped.

use crate::maps::Mapping;
use framehop::{ExplicitModuleSectionInfo, Module as Tables};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Object, ObjectSection, ReadCache};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of a file of code.
struct Image {
    path: String,
    /// Kept open, since the name may soon mean another file.
    file: File,
    /// Device and inode, which are no other file's as long as it is open.
    identity: (u64, u64),
    build_id: String,
    segments: Vec<Segment>,
    text: Option<Range<u64>>,
    eh_frame: Section,
    eh_frame_hdr: Section,
}

struct Segment {
    offset: u64,
    bytes: u64,
    address: u64,
    is_code: bool,
}

#[derive(Clone, Default)]
struct Section {
    at: Option<Range<u64>>,
    data: Option<Arc<[u8]>>,
}

/// The files that were opened so far. Clones are the same.
#[derive(Clone, Default)]
pub struct Images(Arc<Mutex<Vec<Arc<Image>>>>);

/// Tables of unwinding, as the unwinder has them.
pub type Unwinding = Tables<Arc<[u8]>>;

impl Images {
    /// Opens a file that may be gone when a process's mappings are heard of.
    pub fn keep(&self, path: &Path) {
        // As the kernel will name it.
        let name = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let _ = open(&name).ok().and_then(|file| self.image(file, &name.to_string_lossy()));
    }

    /// Opens what a mapping of the process `pid` is of, as that process sees it. Where it is gone, the newest of that name.
    fn open(&self, pid: u32, mapping: &Mapping) -> Option<Arc<Image>> {
        let range = format!("{:x}-{:x}", mapping.start, mapping.end);
        // A deleted file is still what the kernel has mapped. The last is for a process that has ended.
        let by_map = format!("/proc/{pid}/map_files/{range}");
        let inside = format!("/proc/{pid}/root{}", mapping.path);
        let places = match mapping.is_deleted {
            true => vec![by_map, format!("/proc/{pid}/exe")],
            false => vec![inside, by_map, mapping.path.clone()],
        };
        let there = places.into_iter().find_map(|place| self.image(open(Path::new(&place)).ok()?, &mapping.path));
        let is_it = |image: &&Arc<Image>| image.path == mapping.path;
        there.or_else(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rfind(is_it).cloned())
    }

    fn image(&self, file: File, path: &str) -> Option<Arc<Image>> {
        let of = file.metadata().ok()?;
        let identity = (of.dev(), of.ino());
        let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = images.iter().find(|image| image.identity == identity && image.path == path) {
            return Some(known.clone());
        }
        let image = Arc::new(Image::read(file, path, identity)?);
        images.push(image.clone());
        Some(image)
    }
}

impl Image {
    fn read(file: File, path: &str, identity: (u64, u64)) -> Option<Image> {
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0).ok()?;
        if &magic != b"\x7fELF" {
            return None;
        }
        let cache = ReadCache::new(&file);
        let elf = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
        let build_id = elf.build_id().ok().flatten().unwrap_or_default();
        let build_id = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let endian = elf.endian();
        let loaded = elf.elf_program_headers().iter();
        let loaded = loaded.filter(|header| header.p_type(endian) == object::elf::PT_LOAD);
        let segments = loaded.map(|header| Segment {
            offset: header.p_offset(endian),
            bytes: header.p_filesz(endian),
            address: header.p_vaddr(endian),
            is_code: header.p_flags(endian).0 & object::elf::PF_X.0 != 0,
        });
        let segments = segments.collect();
        let section = |name: &str| {
            let Some(section) = elf.section_by_name(name) else { return Section::default() };
            let at = section.address()..section.address().saturating_add(section.size());
            Section { at: Some(at), data: section.data().ok().map(Arc::from) }
        };
        let text = elf.section_by_name(".text").map(|text| text.address()..text.address().saturating_add(text.size()));
        let (eh_frame, eh_frame_hdr) = (section(".eh_frame"), section(".eh_frame_hdr"));
        drop(cache);
        Some(Image { path: path.to_owned(), file, identity, build_id, segments, text, eh_frame, eh_frame_hdr })
    }

    /// By the segment that the mapping is of: its file offset tells where it was to lie.
    fn bias(&self, mapping: &Mapping) -> Option<u64> {
        let length = mapping.end - mapping.start;
        self.segments.iter().filter(|segment| segment.is_code).find_map(|segment| {
            // Mappings are of whole pages.
            let inside = mapping.offset < segment.offset.checked_add(segment.bytes)?
                && segment.offset < mapping.offset.checked_add(length)?;
            let lies = segment.address.wrapping_add(mapping.offset.wrapping_sub(segment.offset));
            inside.then(|| mapping.start.wrapping_sub(lies))
        })
    }

    fn tables(&self, mapping: &Mapping, bias: u64) -> Unwinding {
        let info = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: self.text.clone(),
            eh_frame_svma: self.eh_frame.at.clone(),
            eh_frame: self.eh_frame.data.clone(),
            eh_frame_hdr_svma: self.eh_frame_hdr.at.clone(),
            eh_frame_hdr: self.eh_frame_hdr.data.clone(),
            ..Default::default()
        };
        Tables::new(mapping.path.clone(), mapping.start..mapping.end, bias, info)
    }
}

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
    /// None where it was gone before anybody could look, or is no program.
    image: Option<Arc<Image>>,
}

impl Module {
    /// Of a mapping of the process `pid`, with its tables where it has any.
    pub fn open(pid: u32, mapping: &Mapping, images: &Images) -> (Module, Option<Unwinding>) {
        Module::of(images.open(pid, mapping), mapping)
    }

    /// Of a file that is said to be mapped there.
    pub(crate) fn of_file(file: File, mapping: &Mapping) -> (Module, Option<Unwinding>) {
        Module::of(Image::read(file, &mapping.path, (0, 0)).map(Arc::new), mapping)
    }

    fn of(image: Option<Arc<Image>>, mapping: &Mapping) -> (Module, Option<Unwinding>) {
        let found = image.and_then(|image| Some((image.bias(mapping)?, image)));
        let tables = found.as_ref().map(|(bias, image)| image.tables(mapping, *bias));
        let module = Module {
            path: mapping.path.clone(),
            build_id: found.as_ref().map_or_else(String::new, |(_, image)| image.build_id.clone()),
            start: mapping.start,
            end: mapping.end,
            offset: mapping.offset,
            // Of a file that nobody knows, places are told as bytes of it.
            bias: found.as_ref().map_or(mapping.start.wrapping_sub(mapping.offset), |(bias, _)| *bias),
            image: found.map(|(_, image)| image),
        };
        (module, tables)
    }

    /// A path that leads to the very file that was mapped, as long as this lives; an empty one where that is gone.
    pub fn place(&self) -> PathBuf {
        let file = self.image.as_ref().map(|image| format!("/proc/self/fd/{}", image.file.as_raw_fd()));
        file.unwrap_or_default().into()
    }

    /// Does the code at this address ask the kernel to go back to what a signal interrupted? It is where a handler returns to.
    pub fn returns_from_signal(&self, address: u64) -> bool {
        // mov $__NR_rt_sigreturn, %rax; syscall
        const CODE: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
        let mut code = [0; CODE.len()];
        let at = address.wrapping_sub(self.start).wrapping_add(self.offset);
        let read = self.image.as_ref().is_some_and(|image| image.file.read_exact_at(&mut code, at).is_ok());
        read && code == CODE
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
