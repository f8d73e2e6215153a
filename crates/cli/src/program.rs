//! Can this program be preloaded? The loader answers that question silently (it skips what it can't load, or isn't there
//! at all), so it is asked here, before anything runs.

use crate::failure::Failure;
use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::{Endianness, ReadRef};
use rustix::fs::{StatVfsMountFlags, getxattr, statvfs};
use rustix::process::{getgid, getuid};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// What of an ELF file decides.
struct Elf {
    target: Target,
    shape: Option<Shape>,
}

/// The start of every ELF file, of whatever target.
#[derive(PartialEq, Clone, Copy)]
struct Target {
    class: u8,
    order: u8,
    machine: u16,
}

struct Shape {
    is_program: bool,
    /// The loader that the file asks for; a file without one is linked statically.
    interpreter: Option<Vec<u8>>,
    /// The file needs the GNU C library.
    needs_glibc: bool,
}

/// Refuses a program (what is loaded in the end, never a script) that the library can't be preloaded into.
pub fn check(image: &Path, library: &Path) -> Result<(), Failure> {
    let ours = Elf::read(library).map_err(Failure::ours)?;
    let theirs = Elf::read(image).map_err(|line| Failure { status: crate::failure::UNUSABLE, line })?;
    if theirs.target != ours.target {
        let why = format!(
            "is a program for {}, but this Heapglass is built for {}; build Heapglass for that target too and set HEAPGLASS_LIB to it",
            theirs.target.name(),
            ours.target.name()
        );
        return Err(Failure::unusable(image, why));
    }
    let shape = theirs.shape.filter(|shape| shape.is_program);
    let Some(shape) = shape else {
        return Err(Failure::unusable(image, "is an ELF file, but not a program"));
    };
    let Some(interpreter) = shape.interpreter else {
        return Err(Failure::unusable(
            image,
            "is linked statically, so nothing can be preloaded into it; link it with libheapglass.a instead",
        ));
    };
    check_loader(image, &interpreter, ours.shape.is_some_and(|s| s.needs_glibc))?;
    check_privileges(image)
}

/// Does a program bring a malloc of its own that the loader prefers to any preloaded one?
pub fn has_own_malloc(image: &Path) -> bool {
    File::open(image).is_ok_and(|file| defines(&ReadCache::new(file), b"malloc").unwrap_or(false))
}

/// Reads any bytes as a program would be: see `readers`.
pub fn read_bytes(bytes: &[u8]) {
    if let Ok(elf) = Elf::parse(bytes) {
        assert!(!elf.target.name().is_empty());
    }
    let _ = defines(bytes, b"malloc");
}

fn defines<'data, R: ReadRef<'data>>(data: R, name: &[u8]) -> object::Result<bool> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let symbols = header.sections(endian, data)?.symbols(endian, data, elf::SHT_DYNSYM)?;
    let mut defined = symbols.iter().filter(|symbol| !symbol.is_undefined(endian));
    Ok(defined.any(|symbol| symbols.symbol_name(endian, symbol) == Ok(name)))
}

fn check_loader(image: &Path, interpreter: &[u8], library_needs_glibc: bool) -> Result<(), Failure> {
    let interpreter = String::from_utf8_lossy(interpreter);
    if !Path::new(&*interpreter).exists() {
        let why = format!("its loader {interpreter} is not on this system; install the C library it was built for");
        return Err(Failure::not_found(image, why));
    }
    if library_needs_glibc && interpreter.contains("ld-musl") {
        return Err(Failure::unusable(
            image,
            "is linked with musl, and this libheapglass.so needs the GNU C library; link the program with libheapglass.a instead",
        ));
    }
    Ok(())
}

/// Where exec raises privileges, the loader drops every preload that is given by a path. The rules are the kernel's:
/// ids that change against the caller's real ones, or capabilities for a caller who isn't root; neither counts on a
/// mount without set-user-id nor for a process that may gain no privileges.
fn check_privileges(image: &Path) -> Result<(), Failure> {
    let meta = fs::metadata(image).map_err(|e| Failure::refused(image, &e))?;
    let set_user = meta.mode() & SET_USER_ID != 0 && meta.uid() != getuid().as_raw();
    let set_group_bits = SET_GROUP_ID | GROUP_EXECUTE;
    let set_group = meta.mode() & set_group_bits == set_group_bits && meta.gid() != getgid().as_raw();
    // Only that the attribute is there matters, not what it holds.
    let mut attribute = [0_u8; 64];
    let capable = !getuid().is_root() && getxattr(image, "security.capability", &mut attribute[..]).is_ok();
    let what = match (set_user, set_group, capable) {
        (true, _, _) => "is a set-user-id program",
        (_, true, _) => "is a set-group-id program",
        (_, _, true) => "has file capabilities",
        _ => return Ok(()),
    };
    let without_effect = nix::sys::prctl::get_no_new_privs().unwrap_or(false)
        || statvfs(image).is_ok_and(|v| v.f_flag.contains(StatVfsMountFlags::NOSUID));
    if without_effect {
        return Ok(());
    }
    let why = format!(
        "{what}, and the loader preloads nothing where privileges are raised; run it as the user it changes to, or run a copy without that privilege"
    );
    Err(Failure::unusable(image, why))
}

impl Elf {
    /// The error is a whole line, with the file's name.
    fn read(path: &Path) -> Result<Elf, String> {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Elf::parse(&ReadCache::new(file)).map_err(|()| format!("{}: is a damaged ELF file", path.display()))
    }

    fn parse<'data, R: ReadRef<'data>>(data: R) -> Result<Elf, ()> {
        // The same in both classes: 16 bytes of identity, type, machine.
        let start: &[u8] = data.read_bytes_at(0, 20)?;
        let order = if start[5] == elf::ELFDATA2MSB.0 { u16::from_be_bytes } else { u16::from_le_bytes };
        let target = Target { class: start[4], order: start[5], machine: order([start[18], start[19]]) };
        if target.class != elf::ELFCLASS64.0 {
            return Ok(Elf { target, shape: None });
        }
        let shape = Shape::read(data)?;
        Ok(Elf { target, shape: Some(shape) })
    }
}

impl Shape {
    fn read<'data, R: ReadRef<'data>>(data: R) -> Result<Shape, ()> {
        let header = FileHeader64::<Endianness>::parse(data).map_err(drop)?;
        let endian = header.endian().map_err(drop)?;
        let mut interpreter = None;
        for segment in header.program_headers(endian, data).map_err(drop)? {
            if let Some(path) = segment.interpreter(endian, data).map_err(drop)? {
                interpreter = Some(path.to_vec());
            }
        }
        let sections = header.sections(endian, data).map_err(drop)?;
        let table = sections.dynamic_table(endian, data).map_err(drop)?;
        let needs_glibc = table.dynamics().iter().any(|entry| {
            entry.tag(endian) == elf::DT_NEEDED
                && u32::try_from(entry.val(endian)).is_ok_and(|at| table.strings().get(at) == Ok(b"libc.so.6"))
        });
        let is_program = [elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian));
        Ok(Shape { is_program, interpreter, needs_glibc })
    }
}

impl Target {
    fn name(self) -> String {
        let bits = if self.class == elf::ELFCLASS64.0 { 64 } else { 32 };
        let machine = match elf::Machine(self.machine) {
            elf::EM_386 => "x86",
            elf::EM_X86_64 => "x86-64",
            elf::EM_ARM => "ARM",
            elf::EM_AARCH64 => "AArch64",
            elf::EM_RISCV => "RISC-V",
            elf::EM_PPC64 => "POWER",
            elf::EM_S390 => "S/390",
            elf::Machine(number) => return format!("ELF machine {number} ({bits} bits)"),
        };
        format!("{machine} ({bits} bits)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_program_has_a_loader_and_our_target() {
        let us = Elf::read(&std::env::current_exe().unwrap()).unwrap();
        let shape = us.shape.unwrap();
        assert!(shape.is_program && shape.interpreter.is_some());
        assert_eq!(us.target.name().contains("64 bits"), cfg!(target_pointer_width = "64"));
    }

    #[test]
    fn targets_are_named_by_class_and_machine() {
        let name = |class, machine| Target { class, order: 1, machine }.name();
        assert_eq!(name(1, 3), "x86 (32 bits)");
        assert_eq!(name(1, 62), "x86-64 (32 bits)");
        assert_eq!(name(2, 183), "AArch64 (64 bits)");
        assert_eq!(name(2, 9999), "ELF machine 9999 (64 bits)");
    }
}
