//! Everything that the command reads and hasn't written itself, each reader given the same bytes: for tests that try any bytes
//! at all. A reader may refuse them; it may not stop the command.

use crate::suite::folder;
use crate::{Heapglass, crash, launch, program, script, stats};
use clap::Parser;
use heapglass_bench::rivals;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Programs and libraries, scripts, the page of counters, reports, the launcher's figures, the loader's complaints, the kernel's status,
/// names of allocators, and the command's own words.
pub fn read_all(bytes: &[u8]) {
    let path = Path::new("given");
    program::read_bytes(bytes);
    script::read_bytes(bytes, path);
    assert!(stats::body(bytes).ends_with('\n'));
    let text = String::from_utf8_lossy(bytes).into_owned();
    crash::named(bytes);
    launch::read_text(&text);
    folder::ignored(&text);
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let asked: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let found = rivals::Allocator::preloaded("jemalloc", "/j.so");
    if let Ok(all) = rivals::chosen(vec![found], &asked) {
        assert_eq!(all.first(), Some(&rivals::Allocator::reference()));
    }
    let words = words.iter().map(|word| OsStr::from_bytes(word).to_owned());
    let _ = Heapglass::try_parse_from(std::iter::once(OsString::from("heapglass")).chain(words));
}
