//! Which pages of a process are resident: by the kernel's own walk of its page tables (`PAGEMAP_SCAN`, Linux 6.7), or where that
//! isn't there, by reading `/proc/PID/pagemap`. Neither needs a privilege beyond reading the process.
//!
//! The page of zeros, which stands wherever a program only read fresh memory, costs nothing and isn't counted by the kernel. The
//! first way leaves it out. The second takes it for memory.
//!
//! # Safety
//! The unsafe call hands the kernel a structure of the layout that it documents, with a buffer of ours and its length.

#![allow(unsafe_code)]

use crate::memory::Range;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Found {
    start: u64,
    end: u64,
    categories: u64,
}

const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

// SAFETY: the number is `PAGEMAP_SCAN`'s, the structure the kernel's `pm_scan_arg`; what it writes to is `vec`, with its length
// beside it, and the structure itself.
unsafe impl Ioctl for &mut Scan {
    /// How many runs it found.
    type Output = usize;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<Scan>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut **self).cast()
    }

    unsafe fn output_from_ptr(count: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

/// The parts of a range that are in memory, and if `swapped`, those that are swapped out too.
pub fn resident(pagemap: &File, range: Range, swapped: bool, page: u64) -> io::Result<Vec<Range>> {
    let range = Range::new(range.start & !(page - 1), range.end.next_multiple_of(page));
    match scan(pagemap, range, swapped) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOTTY.raw_os_error()) => {
            read(pagemap, range, swapped, page)
        }
        other => other,
    }
}

fn scan(pagemap: &File, range: Range, swapped: bool) -> io::Result<Vec<Range>> {
    let mut runs = Vec::new();
    let mut found = vec![Found::default(); 1024];
    let wanted = if swapped { PRESENT | SWAPPED } else { PRESENT };
    let mut start = range.start;
    while start < range.end {
        let mut ask = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end: range.end,
            vec: found.as_mut_ptr() as u64,
            vec_len: found.len() as u64,
            category_inverted: ZERO,
            category_mask: ZERO,
            category_anyof_mask: wanted,
            return_mask: PRESENT | SWAPPED,
            ..Scan::default()
        };
        // SAFETY: it names a buffer of ours with its length.
        let count = unsafe { ioctl(pagemap, &mut ask) }?;
        for run in found.iter().take(count) {
            push(&mut runs, Range::new(run.start, run.end));
        }
        if ask.walk_end <= start {
            break;
        }
        start = ask.walk_end;
    }
    Ok(runs)
}

fn push(runs: &mut Vec<Range>, run: Range) {
    match runs.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        _ => runs.push(run),
    }
}

fn read(pagemap: &File, range: Range, swapped: bool, page: u64) -> io::Result<Vec<Range>> {
    const IN_MEMORY: u64 = 1 << 63;
    const IN_SWAP: u64 = 1 << 62;
    let wanted = if swapped { IN_MEMORY | IN_SWAP } else { IN_MEMORY };
    let mut runs = Vec::new();
    let mut bytes = vec![0; 8 * 8192];
    let mut at = range.start & !(page - 1);
    while at < range.end {
        let pages = (range.end - at).div_ceil(page).min(8192) as usize;
        let Some(part) = bytes.get_mut(..pages * 8) else { break };
        pagemap.read_exact_at(part, at / page * 8)?;
        for (entry, address) in part.as_chunks::<8>().0.iter().zip((at..).step_by(page as usize)) {
            if u64::from_ne_bytes(*entry) & wanted != 0 {
                push(&mut runs, Range::new(address, address + page));
            }
        }
        at += pages as u64 * page;
    }
    Ok(runs)
}
