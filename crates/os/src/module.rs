//! Which program or library an address of code lies in, from the loader's own table: `_dl_find_object`, which takes no lock and
//! allocates nothing, so that a handler of signals may ask too. glibc has it since 2.35; elsewhere nothing is known.

use crate::{arch, env};
use core::ffi::{CStr, c_char};

/// One loaded program or library.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its addresses.
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// What the addresses in its file are counted from.
    pub base: usize,
    /// Its table of how to unwind, sorted by address (`.eh_frame_hdr`); 0 where it has none.
    pub unwind: usize,
    name: *const c_char,
    /// Its dynamic section.
    dynamic: *const [usize; 2],
}

/// Entries of a dynamic section: where its symbols, their names and the names' hashes are.
const SYMBOLS: usize = 6;
const NAMES: usize = 5;
const HASHES: usize = 0x6fff_fef5;
/// A symbol's kind.
const FUNCTION: u8 = 2;

/// `Elf64_Sym`.
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    bytes: usize,
}

/// `struct dl_find_object`, see glibc's `<dlfcn.h>`.
#[repr(C)]
#[derive(Default)]
struct Found {
    flags: u64,
    start: usize,
    end: usize,
    link_map: usize,
    unwind: usize,
    reserved: [u64; 7],
}

impl Module {
    /// The module at an address.
    pub fn at(address: usize) -> Option<Module> {
        let find = arch::find_object()?;
        let mut found = Found::default();
        // SAFETY: the function's own form of arguments; the record is as long as it says.
        if unsafe { find(address, (&raw mut found).cast()) } != 0 || found.link_map == 0 {
            return None;
        }
        // SAFETY: a `struct link_map` begins with the base and the name, and isn't taken down while its code is in use.
        let (base, name, dynamic) = unsafe {
            let map = found.link_map as *const usize;
            (*map, *map.add(1) as *const c_char, *map.add(2) as *const [usize; 2])
        };
        Some(Module { start: found.start, end: found.end, base, unwind: found.unwind, name, dynamic })
    }

    /// The function at an address, and how far in: of those that the module offers to others. Names of its own are not in memory.
    pub fn function_at(&self, address: usize) -> Option<(&'static [u8], usize)> {
        let (symbols, names) = (self.table(SYMBOLS)? as *const Symbol, self.table(NAMES)?);
        for index in 0..self.symbol_count()? {
            // SAFETY: the module's own table, which has so many.
            let symbol = unsafe { &*symbols.add(index) };
            let start = self.base.wrapping_add(symbol.value);
            if symbol.section != 0 && symbol.info & 15 == FUNCTION && address.wrapping_sub(start) < symbol.bytes {
                // SAFETY: a name of the module's own.
                let name = unsafe { CStr::from_ptr((names + symbol.name as usize) as *const c_char) };
                return Some((name.to_bytes(), address - start));
            }
        }
        None
    }

    /// The table of this kind, inside the module.
    fn table(&self, kind: usize) -> Option<usize> {
        let mut at = self.dynamic;
        if at.is_null() {
            return None;
        }
        // SAFETY: the loader's pointer; the section ends with an entry of kind 0.
        unsafe {
            while (*at)[0] != kind {
                if (*at)[0] == 0 {
                    return None;
                }
                at = at.add(1);
            }
            // The loader has put addresses in the place of distances, but not everywhere.
            let value = (*at)[1];
            let address = if value < self.start { self.base.wrapping_add(value) } else { value };
            (self.start..self.end).contains(&address).then_some(address)
        }
    }

    /// Symbols are told by name only, in lists by the names' hashes; the last entry of the last list is the last symbol.
    fn symbol_count(&self) -> Option<usize> {
        let table = self.table(HASHES)? as *const u32;
        // SAFETY: the module's own table: four numbers, words of 8 bytes, the lists' starts, and the lists.
        unsafe {
            let (lists, first, words) = (*table as usize, *table.add(1) as usize, *table.add(2) as usize);
            let starts = table.add(4 + 2 * words);
            let mut last = (0..lists).map(|list| *starts.add(list) as usize).max()?;
            if last < first {
                return Some(first);
            }
            while *starts.add(lists + last - first) & 1 == 0 {
                last += 1;
            }
            Some(last + 1)
        }
    }

    /// Is it a library, and not the program itself?
    pub fn is_library(&self) -> bool {
        // SAFETY: the loader's string.
        !self.name.is_null() && unsafe { *self.name } != 0
    }

    /// Its file.
    pub fn path(&self) -> &'static [u8] {
        let name = if self.is_library() { self.name } else { env::auxv(env::AT_EXECFN) as *const c_char };
        if name.is_null() {
            return b"?";
        }
        // SAFETY: the loader's or the kernel's string; both stay.
        unsafe { CStr::from_ptr(name) }.to_bytes()
    }
}
