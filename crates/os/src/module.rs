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
        let (base, name) = unsafe {
            let map = found.link_map as *const usize;
            (*map, *map.add(1) as *const c_char)
        };
        Some(Module { start: found.start, end: found.end, base, unwind: found.unwind, name })
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
