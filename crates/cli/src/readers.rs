//! Everything that the command reads and hasn't written itself, each reader given the same bytes: for tests that try any bytes
//! at all. A reader may refuse them; it may not stop the command.

mod rings;

use crate::heap::{bins, chunk, ledger, map, watch};
use crate::suite::folder;
use crate::{Heapglass, crash, explain, launch, program, script, stats};
use clap::Parser;
use heapglass_bench::rivals;
use heapglass_inspect::core::Core;
use heapglass_inspect::{Target, Trouble, counters, maps, reach};
use rustix::fs::{MemfdFlags, memfd_create};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Programs and libraries with their symbols and tables, core files, scripts, the page of counters, reports, profiles, suppressions, what
/// programs write into their rings, what browsers send, the kernel's lists of mappings, the launcher's figures, the loader's
/// complaints, the kernel's status, filters, names of allocators, and the command's own words.
pub fn read_all(bytes: &[u8]) {
    let path = Path::new("given");
    program::read_bytes(bytes);
    script::read_bytes(bytes, path);
    look_at_core(bytes);
    code(bytes);
    heapglass_profile::trial::read_all(bytes);
    rings::hear_all(bytes);
    watch::try_bytes(bytes);
    assert!(stats::body(bytes).ends_with('\n'));
    let text = String::from_utf8_lossy(bytes).into_owned();
    crash::named(bytes);
    launch::read_text(&text);
    let _ = maps::parse(&text);
    folder::ignored(&text);
    let _ = explain::parse(&text);
    let _ = heapglass_report::filter::parse(&text);
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let asked: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let found = rivals::Allocator::preloaded("jemalloc", "/j.so");
    if let Ok(all) = rivals::chosen(vec![found], &asked) {
        assert_eq!(all.first(), Some(&rivals::Allocator::reference()));
    }
    let words = words.iter().map(|word| OsStr::from_bytes(word).to_owned());
    let _ = Heapglass::try_parse_from(std::iter::once(OsString::from("heapglass")).chain(words));
}

/// A file of code, by what others have written it for: to be unwound by, and to name places.
fn code(bytes: &[u8]) {
    let Ok(file) = memfd_create("heapglass-trial", MemfdFlags::CLOEXEC) else { return };
    let mut file = File::from(file);
    if file.write_all(bytes).is_ok() {
        let place = format!("/proc/self/fd/{}", file.as_raw_fd());
        heapglass_stacks::trial::read_all(&file, Path::new(&place), bytes);
    }
}

/// A core file, and whatever heap it says that is in it. `true` where there is one.
pub fn look_at_core(bytes: &[u8]) -> bool {
    let target = Core::from_bytes(bytes.to_vec()).and_then(|core| Target::of_core(core, "given".into()));
    target.is_ok_and(|target| {
        let _ = look_at(&target);
        true
    })
}

/// All that is told of a heap. Of one that is damaged, a part may be refused.
fn look_at(target: &Target) -> Result<(), Trouble> {
    let _ = counters::read(target).map(drop);
    let _ = reach::scan(target, &[]).map(drop);
    let _ = map::as_json_of(target, true).map(drop);
    for as_json in [false, true] {
        let _ = bins::told(target, None, as_json).map(drop);
    }
    let ledger = heapglass_report::ledger::of(target)?;
    let _ = (ledger::told(target, &ledger, None), ledger::as_json(target, &ledger), ledger::advice(&ledger));
    let records = heapglass_inspect::records::Records::read(target)?;
    if let Some(heap) = records.arenas.iter().flat_map(|arena| &arena.heaps).next() {
        let _ = chunk::told(target, heap.chunks.start.wrapping_add(48), true, None).map(drop);
    }
    Ok(())
}
