//! What `malloc_info` and `malloc_stats` write is in glibc's own form, and adds up.

use crate::{keeps, made, through, xml};
use heapglass_tests::{Door, have};
use std::process::Command;

through! { [libc preload archive]
    malloc_info_is_what_glibcs_readers_parse
    malloc_stats_has_glibcs_shape
}

fn malloc_info_is_what_glibcs_readers_parse(door: Door) {
    let ran = keeps("extras/malloc_info.c", door, &[], &[]);
    if have("xmllint") {
        let file = made(&format!("malloc_info_{door:?}.xml"), |aside| {
            std::fs::write(aside, &ran.out).unwrap();
            let mut lint = Command::new("xmllint");
            lint.args(["--noout", "--nonet"]).arg(aside);
            lint
        });
        assert!(file.exists());
    }
    check_malloc_info(&xml::parse(&ran.out));
}

const TOTALS: [(&str, &str); 2] = [("total", "fast"), ("total", "rest")];
const SPACES: [(&str, &str); 4] =
    [("system", "current"), ("system", "max"), ("aspace", "total"), ("aspace", "mprotect")];

#[track_caller]
fn check_malloc_info(document: &xml::Element) {
    assert_eq!((document.name.as_str(), document.text("version")), ("malloc", "1"));
    let heaps: Vec<&xml::Element> = document.children.iter().filter(|c| c.name == "heap").collect();
    assert!(heaps.len() > 1, "five threads share {} heap", heaps.len());
    for (nr, heap) in heaps.iter().enumerate() {
        assert_eq!(heap.number("nr"), nr as u64);
        check_heap(heap);
    }
    assert!(heaps[0].one("total", "rest").number("size") > 500_000, "a megabyte was freed in the first heap");

    // What follows the heaps is their sum, in the order that glibc writes.
    let order: Vec<(&str, &str)> =
        document.children[heaps.len()..].iter().map(|c| (&*c.name, c.text("type"))).collect();
    let expected: Vec<(&str, &str)> = TOTALS.into_iter().chain([("total", "mmap")]).chain(SPACES).collect();
    assert_eq!(order, expected);
    for (name, kind) in TOTALS {
        for attribute in ["count", "size"] {
            let sum: u64 = heaps.iter().map(|h| h.one(name, kind).number(attribute)).sum();
            assert_eq!(document.one(name, kind).number(attribute), sum, "{attribute} of {name} {kind}");
        }
    }
    let sum: u64 = heaps.iter().map(|h| h.one("system", "current").number("size")).sum();
    assert_eq!(document.one("system", "current").number("size"), sum);
    assert!(document.one("system", "max").number("size") >= sum);
    let mapped = document.one("total", "mmap");
    assert_eq!((mapped.number("count"), mapped.number("size")), (3, 3 * ((5 << 20) + 4096)));
}

#[track_caller]
fn check_heap(heap: &xml::Element) {
    let sizes = &heap.children[0];
    assert_eq!(sizes.name, "sizes");
    for (name, kind) in TOTALS.into_iter().chain(SPACES) {
        heap.one(name, kind).number("size");
    }
    let mut listed = 0;
    let mut bytes = 0;
    for size in &sizes.children {
        assert!(size.name == "size" || size.name == "unsorted", "<{}> among the sizes", size.name);
        let [from, to, total, count] = ["from", "to", "total", "count"].map(|a| size.number(a));
        assert!(count > 0 && from <= to && count * from <= total && total <= count * to, "{size:?}");
        listed += count;
        bytes += total;
    }
    // The sizes are all free chunks but the top.
    let [fast, rest] = TOTALS.map(|(name, kind)| heap.one(name, kind));
    let free = fast.number("count") + rest.number("count");
    assert!(free == listed || free == listed + 1, "{listed} chunks by size, {free} in all: {heap:#?}");
    let free_bytes = fast.number("size") + rest.number("size");
    // glibc's sizes carry the flag of the chunk before.
    assert!(bytes <= free_bytes + listed, "{bytes} bytes by size, {free_bytes} in all: {heap:#?}");
    let current = heap.one("system", "current").number("size");
    assert!(free_bytes <= current && current <= heap.one("system", "max").number("size"), "{heap:#?}");
}

fn malloc_stats_has_glibcs_shape(door: Door) {
    let ran = keeps("extras/malloc_stats.c", door, &[], &[]);
    let lines: Vec<&str> = ran.err.lines().collect();
    let number = |line: usize, label: &str| -> u64 {
        let (name, value) = lines[line].split_once('=').unwrap_or_else(|| panic!("{}", ran.err));
        assert_eq!(name, label, "line {line} of:\n{}", ran.err);
        assert!(value.starts_with(' ') && value.len() >= 11, "a column of ten, line {line} of:\n{}", ran.err);
        value.trim().parse().unwrap()
    };
    let total = lines.iter().position(|l| *l == "Total (incl. mmap):").expect("a total");
    assert!(total >= 6 && total % 3 == 0, "two arenas at least:\n{}", ran.err);
    let mut system = 0;
    let mut used = 0;
    for arena in 0..total / 3 {
        assert_eq!(lines[3 * arena], format!("Arena {arena}:"));
        let [s, u] = [number(3 * arena + 1, "system bytes     "), number(3 * arena + 2, "in use bytes     ")];
        assert!(u <= s, "more in use than there is:\n{}", ran.err);
        system += s;
        used += u;
    }
    // Of two mappings, of 3 and 2 MiB, the larger is gone.
    let mapped = (2 << 20) + 4096;
    assert_eq!(number(total + 1, "system bytes     "), system + mapped, "{}", ran.err);
    assert_eq!(number(total + 2, "in use bytes     "), used + mapped, "{}", ran.err);
    assert_eq!(number(total + 3, "max mmap regions "), 2, "{}", ran.err);
    assert_eq!(number(total + 4, "max mmap bytes   "), (5 << 20) + 2 * 4096, "{}", ran.err);
    assert_eq!(lines.len(), total + 5, "{}", ran.err);
    assert!(used > 50_000, "{}", ran.err);
}
