//! What the shared library shows and contains: it exports the contract's functions and nothing else, there is nothing
//! of std or of panicking in it, and what few programs run lies apart.

use crate::cargo::output;
use crate::{Outcome, root};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const LIBRARY: &str = "target/release/libheapglass.so";
/// Names every function of ours that is exported.
const HEADER: &str = "include/heapglass.h";
const PREFIX: &str = "heapglass_";

const C: [&str; 20] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "free_sized",
    "free_aligned_sized",
    "cfree",
    "mallopt",
    "mallinfo",
    "mallinfo2",
    "malloc_info",
    "malloc_stats",
    "malloc_trim",
];

/// operator new and new[], delete and delete[]: plain, nothrow, sized, aligned and their combinations.
const CXX: [&str; 20] = [
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
];

/// Sections that `crates/malloc/layout.ld` sets apart, with the least that is in them while its patterns find what they are for.
const SET_APART: [(&str, u64); 2] = [("heapglass_cold", 64 << 10), ("heapglass_tables", 8 << 20)];

pub fn check() -> Outcome {
    let nm = |options: &[&str]| output(Command::new("nm").current_dir(root()).args(options).arg(LIBRARY));
    let header = fs::read_to_string(root().join(HEADER)).map_err(|e| format!("{HEADER}: {e}"))?;
    let declared = declared(&header);
    let expected: BTreeSet<&str> = C.into_iter().chain(CXX).chain(declared.iter().map(String::as_str)).collect();

    let listing = nm(&["-D", "--defined-only", "-P"])?;
    let exported: BTreeSet<&str> = listing.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut faults: Vec<String> = Vec::new();
    faults.extend(exported.difference(&expected).map(|name| format!("{name}: exported, but not promised")));
    faults.extend(expected.difference(&exported).map(|name| format!("{name}: promised, but not exported")));

    let all = nm(&["-C", "--defined-only"])?;
    // A library whose names were stripped would have none of these by not having any.
    if !all.lines().any(|line| line.ends_with(" malloc")) {
        faults.push("malloc is not among the library's own symbols: is it stripped?".into());
    }
    faults.extend(all.lines().filter_map(unwelcome).map(|name| format!("{name}: doesn't belong in an allocator")));

    let sections = output(Command::new("size").current_dir(root()).args(["-A", LIBRARY]))?;
    for (name, least) in SET_APART {
        let bytes = section_bytes(&sections, name).unwrap_or(0);
        if bytes < least {
            faults.push(format!("{name}: {bytes} bytes, at least {least} should be apart"));
        }
    }
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() { Ok(()) } else { Err(format!("{} faults", faults.len())) }
}

/// The functions that a header declares: our prefix, a name, an opening parenthesis.
fn declared(header: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = header.match_indices(PREFIX).filter_map(|(at, _)| {
        let fresh = !header[..at].ends_with(is_name);
        let name: String = header[at..].chars().take_while(|c| is_name(*c)).collect();
        (fresh && header[at + name.len()..].trim_start().starts_with('(')).then_some(name)
    });
    words.collect()
}

/// The length that `size -A` tells of a section.
fn section_bytes(listing: &str, name: &str) -> Option<u64> {
    listing.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// The name on a line of nm, if it belongs to std or to panicking. The C++ operators name types of another std.
fn unwelcome(line: &str) -> Option<&str> {
    let name = line.splitn(3, ' ').nth(2)?;
    let is_operator = name.starts_with("operator ");
    (name.contains("panic") || name.contains("std::") && !is_operator).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_declares_functions_only() {
        let header = "/* heapglass_old is gone */\n#ifndef heapglass_h\nint heapglass_check(void);\nvoid *heapglass_map (int);\n";
        assert_eq!(declared(header).into_iter().collect::<Vec<_>>(), ["heapglass_check", "heapglass_map"]);
    }

    #[test]
    fn a_sections_length_is_found_by_its_whole_name() {
        let listing =
            "lib.so  :\nsection  size  addr\n.text  105370  52496\nheapglass_cold  99556  162064\nTotal  204926\n";
        assert_eq!(section_bytes(listing, "heapglass_cold"), Some(99_556));
        assert_eq!(section_bytes(listing, "heapglass"), None);
    }

    #[test]
    fn unwelcome_symbols_are_known_by_their_path() {
        for bad in ["core::panicking::panic_fmt", "std::io::stdio::_print", "<std::time::Instant as X>::y"] {
            assert_eq!(unwelcome(&format!("0000000000001000 t {bad}")), Some(bad));
        }
        for good in ["malloc", "operator new(unsigned long, std::nothrow_t const&)", "heapglass_heap::free::free_slow"]
        {
            assert_eq!(unwelcome(&format!("0000000000001000 T {good}")), None);
        }
    }
}
