//! The README, ARCHITECTURE.md and SECURITY.md say what is so: commands give the output that stands below them, the table of settings
//! has the keys that the allocator reads, the lines for Rust are those of the example, the code map has every file, and the
//! tests that are named exist.
//!
//! `LEARN.md`'s sessions too. What a session is, and how its output is written anew, stands in `tests/src/session.rs`.

use heapglass_tests::session::{self, text};
use heapglass_tests::{have, root, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The fenced blocks of the README with this mark.
fn blocks(mark: &str) -> Vec<String> {
    session::blocks("README.md", mark)
}

#[test]
fn commands_give_the_output_below_them() {
    if !have("gcc") || !have("g++") {
        return;
    }
    assert!(blocks("console").len() >= 6, "the blocks were not found");
    let programs = session::check("README.md");
    // What was only linked above must also run, on Heapglass and without any preload.
    for program in programs.iter().filter(|name| name.ends_with("-linked") || name.ends_with("-shared")) {
        let ran = run(Command::new(root().join(program)).env("HEAPGLASS", "bogus_key:1")).ok();
        assert!(!ran.out.is_empty() && ran.err.contains("bogus_key"), "{program}: {ran:#?}");
    }
    for program in programs {
        fs::remove_file(root().join(program)).unwrap();
    }
}

#[test]
fn the_lessons_give_the_output_below_them() {
    if !have("gcc") {
        return;
    }
    assert!(session::blocks("LEARN.md", "console").len() >= 6, "the blocks were not found");
    for program in session::check("LEARN.md") {
        fs::remove_file(root().join(program)).unwrap();
    }
}

#[test]
fn the_main_command_runs_the_real_program() {
    let line = "cargo run --release -- run -- ls -l";
    assert!(blocks("sh").iter().any(|block| block.trim_end() == line), "not in the README: {line}");
    let plain = run(Command::new("ls").current_dir(root()).arg("-l")).ok();
    // Cargo's own progress goes to standard error.
    let ours = run(Command::new(env!("CARGO")).current_dir(root()).args(line.split(' ').skip(1))).ok();
    // Dates and sizes may change meanwhile: other tests write into the tree.
    let names = |out: &str| out.lines().filter_map(|line| line.split(' ').next_back().map(str::to_string)).collect();
    let (plain, ours): (Vec<String>, Vec<String>) = (names(&plain.out), names(&ours.out));
    assert_eq!(ours[1..], plain[1..]);
    assert!(ours.contains(&"README.md".to_string()));
}

/// The first column of the table of settings.
fn keys_of_the_table() -> BTreeSet<String> {
    let readme = text("README.md");
    let table = readme.split("\n| key |").nth(1).expect("the table of settings").split("\n\n").next().unwrap();
    table.lines().filter_map(|row| Some(row.strip_prefix("| `")?.split('`').next()?.to_string())).collect()
}

#[test]
fn the_table_has_the_keys_that_the_allocator_reads() {
    let config = text("crates/heap/src/config.rs");
    let set = config.split("\nfn set(").nth(1).expect("the function that sets").split("\n}\n").next().unwrap();
    let read: BTreeSet<String> = set
        .lines()
        .filter_map(|arm| Some(arm.trim_start().strip_prefix("b\"")?.split_once("\" =>")?.0.to_string()))
        .collect();
    assert!(read.contains("tcache"), "the keys were not found");
    assert_eq!(keys_of_the_table(), read);

    // The variables and tunables of glibc, each in the row of its key.
    let readme = text("README.md");
    for line in config.lines().filter(|line| line.trim_start().starts_with("(\"MALLOC_")) {
        let words: Vec<&str> = line.split('"').collect();
        let row = readme.lines().find(|row| row.starts_with(&format!("| `{}`", words[3]))).expect(words[3]);
        assert!(row.contains(&format!("`{}` |", words[1])), "{} is not in {row}", words[1]);
    }
}

/// Each key is taken as it stands in the table, with its default.
#[test]
fn every_default_of_the_table_is_taken() {
    for row in text("README.md").lines().filter(|row| row.starts_with("| `") && row.matches('|').count() == 6) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        if cells[2].is_empty() {
            continue;
        }
        let mut command = heapglass_tests::cli::heapglass();
        let ran = run(command.env("HEAPGLASS", format!("{}:{}", cells[1], cells[2])).args(["run", "--", "true"])).ok();
        assert_eq!(ran.err, "", "{row}");
    }
}

#[test]
fn the_lines_for_rust_are_those_of_examples_that_are_compiled() {
    // The documentation's are tests of the crate.
    let documented = text("crates/heapglass/src/usage.rs").replace("/// ", "");
    let examples = [text("examples/rust-vec/src/main.rs"), text("examples/rust-axum/src/main.rs"), documented];
    let blocks = blocks("rust");
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(examples.iter().any(|example| example.contains(&block)), "{block}");
    }
}

/// Rust files below a directory, by their paths from there.
fn sources(dir: &Path, from: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, from, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path.strip_prefix(from).unwrap().to_str().unwrap().to_string());
        }
    }
}

#[test]
fn the_code_map_has_every_file() {
    let architecture = text("ARCHITECTURE.md");
    let map = architecture.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut places: Vec<_> = fs::read_dir(root().join("crates")).unwrap().map(|e| e.unwrap().path()).collect();
    places.push(root().join("xtask"));
    for place in places {
        let name = place.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
        let part =
            map.split("\n\n").find(|part| part.contains(&format!("`{name}"))).unwrap_or_else(|| panic!("{name}"));
        let mut files = Vec::new();
        sources(&place.join("src"), &place.join("src"), &mut files);
        assert!(!files.is_empty());
        for file in files.iter().filter(|file| !file.starts_with("arch/")) {
            assert!(part.contains(file.as_str()), "{name}: {file} is not in the code map");
        }
    }
}

/// Whatever the allocator says when it stops a program stands in the tables of SECURITY.md.
#[test]
fn the_last_lines_are_documented() {
    let security = text("SECURITY.md");
    let said = text("crates/heap/src/die.rs");
    let code = said.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    // Every second piece between quotes is a text.
    let texts: Vec<&str> = code.flat_map(|line| line.split('"').skip(1).step_by(2)).collect();
    assert!(texts.len() > 30, "the texts were not found");
    for piece in texts.iter().map(|piece| piece.trim_matches([' ', '(', ')', ':', ';', ','])) {
        assert!(security.contains(piece), "SECURITY.md doesn't have the words: {piece}");
    }
}

#[test]
fn the_tests_that_cover_the_traps_exist() {
    let mut files = Vec::new();
    sources(&root().join("tests"), &root().join("tests"), &mut files);
    let all: String = files.iter().map(|file| text(&format!("tests/{file}"))).collect();
    let architecture = text("ARCHITECTURE.md");
    let table = architecture.split("| trap |").nth(1).expect("the table of traps").split("\n\n").next().unwrap();
    let cells = table.lines().skip(2).map(|row| row.trim_end_matches(" |").rsplit(" | ").next().unwrap());
    let names: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 20, "the table was not found");
    for name in names {
        assert!(all.contains(name), "there is no test {name}");
    }
}
