//! Everything that is taken from a file of code, given any bytes at all: for fuzzers and the tests that replay what they found.
//! Bytes may be refused; nothing may stop the process.

use crate::maps::{self, Mapping};
use crate::module::Module;
use crate::symbols::Names;
use crate::unwind::{Process, Sample};
use framehop::Unwinder;
use std::fs::File;
use std::path::Path;

/// Where the file is said to be mapped, and what of it.
const START: u64 = 0x40_0000;
const BYTES: u64 = 0x1_0000;
/// No process has it.
const NOBODY: u32 = u32::MAX;

/// `file` holds the bytes, and can be opened at `place`.
pub fn read_all(file: &File, place: &Path, bytes: &[u8]) {
    let _ = maps::parse(&String::from_utf8_lossy(bytes));
    let names = Names::open(place, "", &[]);
    for address in (0..64).chain((0..0x200).map(|at| START + at)).chain((0..BYTES).step_by(0x1011)) {
        let _ = names.at(address);
    }
    for offset in [0, 0x1000] {
        let mapping = Mapping { start: START, end: START + BYTES, offset, path: "/given".into(), is_deleted: false };
        let Ok(file) = file.try_clone() else { continue };
        let (module, tables) = Module::of_file(file, &mapping);
        let mut process = Process::new(NOBODY);
        tables.into_iter().for_each(|tables| process.unwinder.add_module(tables));
        process.modules.push(module);
        for pc in (0..32).chain((0..BYTES).step_by(0x223)).map(|at| START + at) {
            unwind(&mut process, pc, bytes);
        }
    }
}

/// From a place in the file, on a stack of its own bytes, at the very end of the addresses too.
fn unwind(process: &mut Process, pc: u64, stack: &[u8]) {
    for sp in [0x7fff_0000, u64::MAX - 64, 0] {
        let _ = process.unwind(&Sample { pc, sp, bp: sp.wrapping_add(32), stack }, true);
    }
}
