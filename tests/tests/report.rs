//! What a fault leaves behind beside its line: a report in a file, told with names by `heapglass run --explain-crash`, and a core
//! file that holds the same.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{DOORS, Door, Ran, compile, have, on_heapglass, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

const SIGABRT: i32 = 6;
/// The size of the chunk that the faults are about, and of those beside it.
const CHUNKS: [&str; 3] = [" 48 bytes", " 112 bytes", " 70016 bytes"];

fn program(door: Door) -> PathBuf {
    compile("tests/report/faults.c", door, &[])
}

fn address(ran: &Ran) -> &str {
    ran.out.lines().find_map(|line| line.strip_prefix("address ")).unwrap_or_else(|| panic!("no address: {ran:#?}"))
}

/// The lines of chunks around the pointer: size and state of each, and which one it leads into.
fn drawn(report: &str, address: &str) -> Vec<String> {
    let heap = report.lines().skip_while(|line| !line.starts_with("  the heap from ")).skip(1);
    let lines = heap.take_while(|line| line.starts_with("    ")).map(|line| {
        let is_here = line.ends_with(&format!("<- {address}"));
        let line = line.split("  <- ").next().unwrap();
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        format!("{}{}", if is_here { "here " } else { "" }, words.join(" "))
    });
    lines.collect()
}

#[test]
fn the_file_tells_who_called_and_what_lies_around() {
    let faults = [
        ("double", "double free", "here 112 bytes P-- in a cache"),
        (
            "overflow",
            "invalid pointer or corrupted header",
            "here 112 bytes ??? no chunk: its header reads 0x4141414141414141",
        ),
        ("inside", "it lies 16 bytes inside", "112 bytes P-- in use"),
    ];
    for door in DOORS {
        for (kind, says, here) in faults {
            let dir = Dir::new("report");
            let file = dir.path().join("report");
            let ran =
                run(on_heapglass(program(door), door).arg(kind).env("HEAPGLASS", format!("report:{}", file.display())));
            assert_eq!(ran.signal, Some(SIGABRT), "{door:?} {kind}: {ran:#?}");
            assert_eq!(ran.err.lines().count(), 1, "{door:?} {kind}: {ran:#?}");
            let report = fs::read_to_string(&file).unwrap();
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(report.lines().next(), ran.err.lines().next());
            assert!(report.contains(says), "{door:?} {kind}: {report}");
            let name = program(door).file_name().unwrap().to_string_lossy().into_owned() + "+0x";
            // last, act and main.
            assert!(report.lines().filter(|line| line.contains(&name)).count() >= 3, "{door:?} {kind}: {report}");
            let shown =
                if kind == "inside" { format!("{:#x}", parse(address(&ran)) + 16) } else { address(&ran).to_owned() };
            let drawn = drawn(&report, &shown);
            let at = drawn
                .iter()
                .position(|line| line.ends_with(here))
                .unwrap_or_else(|| panic!("{door:?} {kind}: {report}"));
            assert!(drawn[at].starts_with("here "), "{door:?} {kind}: {report}");
            for (line, size) in drawn[at - 1..].iter().zip(CHUNKS) {
                assert!(
                    format!(" {}", line.trim_start_matches("here ")).starts_with(size),
                    "{door:?} {kind}: {report}"
                );
            }
        }
    }
}

fn parse(address: &str) -> usize {
    usize::from_str_radix(address.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn a_mapped_chunk_and_no_heap_are_told() {
    let dir = Dir::new("report-mapped");
    let file = dir.path().join("report");
    let setting = format!("report:{}", file.display());
    let ran = run(on_heapglass(program(Door::Preload), Door::Preload).arg("mapped").env("HEAPGLASS", setting));
    assert_eq!(ran.signal, Some(SIGABRT), "{ran:#?}");
    let report = fs::read_to_string(&file).unwrap();
    assert!(report.contains("no heap, and no mapping of the heap's"), "{report}");
}

#[test]
fn the_command_adds_names_and_lines() {
    let ran = run(heapglass().args(["run", "--explain-crash", "--"]).arg(program(Door::Preload)).arg("double"));
    assert_eq!(ran.signal, Some(SIGABRT), "{ran:#?}");
    let names: Vec<&str> = ran.err.lines().filter_map(|line| line.strip_prefix("        ")).collect();
    for (name, line) in names.iter().zip(["last", "act", "main"]) {
        assert!(name.starts_with(&format!("{line} at ")) && name.contains("faults.c:"), "{ran:#?}");
    }
    assert_eq!(ran.err.matches("double free").count(), 1, "{ran:#?}");
    assert!(ran.err.contains("<- "), "{ran:#?}");
}

#[test]
fn a_sample_is_explained_with_names_of_all_three() {
    let command = &mut heapglass();
    command.args(["run", "--explain-crash", "--"]).arg(program(Door::Preload)).arg("double");
    let ran = run(command.env("HEAPGLASS", "guard:1"));
    assert_eq!(ran.signal, Some(SIGABRT), "{ran:#?}");
    // Once by the library, as it is, and once with names.
    let named = ran.err.rsplit_once("  what lies there").expect("a picture").1;
    for title in ["  called by", "  freed by", "  allocated by"] {
        let part = named.split_once(title).unwrap_or_else(|| panic!("{title}: {ran:#?}")).1;
        let first = part.lines().find_map(|line| line.strip_prefix("        ")).expect("a name");
        let name = if title == "  allocated by" { "get at " } else { "last at " };
        assert!(first.starts_with(name), "{title} {first}: {ran:#?}");
    }
}

#[test]
fn what_ends_well_has_no_report_and_children_know_nothing_of_it() {
    let dir = Dir::new("report-well");
    let ran =
        run(heapglass().args(["run", "--explain-crash", "--"]).arg(program(Door::Preload)).args(["none", "exec"])).ok();
    assert_eq!((ran.out.lines().next_back(), ran.err.as_str()), (Some("HEAPGLASS="), ""), "{ran:#?}");
    let mut own = heapglass();
    own.args(["run", "--explain-crash", "--stats", "--"]).arg(program(Door::Preload)).args(["none", "exec"]);
    let ran = run(own.env("HEAPGLASS", "decay:100,park:1")).ok();
    assert_eq!(ran.out.lines().next_back(), Some("HEAPGLASS=decay:100,park:1"), "{ran:#?}");
    drop(dir);
}

#[test]
fn a_report_that_cant_be_written_is_said() {
    let mut command = on_heapglass(program(Door::Preload), Door::Preload);
    let ran = run(command.arg("double").env("HEAPGLASS", "report:/no/such/folder/report"));
    assert_eq!(ran.signal, Some(SIGABRT), "{ran:#?}");
    assert!(ran.err.contains("double free") && ran.err.contains("couldn't be written"), "{ran:#?}");
}

#[test]
fn a_core_file_holds_the_line_and_the_report() {
    if !have("gdb") {
        return;
    }
    let dir = Dir::new("report-core");
    let (core, file) = (dir.path().join("core"), dir.path().join("report"));
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set environment LD_PRELOAD"]);
    gdb.arg("-ex").arg(format!("set environment HEAPGLASS report:{}", file.display()));
    gdb.args(["-ex", "run", "-ex"]).arg(format!("generate-core-file {}", core.display()));
    let ran = run(gdb.arg("--args").arg(program(Door::Static)).arg("overflow")).ok();
    let bytes = fs::read(&core).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("heapglass: free(0x") && text.contains("its header reads 0x4141414141414141"), "{ran:#?}");
}
