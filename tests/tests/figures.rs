//! What a program is told of its own heap, by mallinfo2, malloc_info and the Rust API, is what the ledger says from outside.

use heapglass_tests::cli::heapglass;
use heapglass_tests::held::Held;
use heapglass_tests::{DOORS, built, compile, on_heapglass, root, run};
use serde_json::Value;
use std::process::Command;

/// What the ledger says, in the words of glibc's figures.
struct Outside {
    lines: Value,
    system: u64,
    arenas: u64,
}

impl Outside {
    #[track_caller]
    fn of(held: &Held) -> Outside {
        let told = |words: &[&str]| -> Value {
            let ran = run(heapglass().args(words).args([&held.pid().to_string(), "--json"])).ok();
            serde_json::from_str(&ran.out).unwrap()
        };
        let (mut ledger, map) = (told(&["ledger"]), told(&["map"]));
        assert_eq!((&ledger["steady"], &map["steady"]), (&true.into(), &true.into()));
        let end = |heap: &Value| heap["end"].as_u64().unwrap() - heap["start"].as_u64().unwrap();
        let system = map["heaps"].as_array().unwrap().iter().map(end).sum();
        Outside { lines: ledger["lines"].take(), system, arenas: ledger["arenas"].as_array().unwrap().len() as u64 }
    }

    fn sum(&self, of: &str, lines: &[&str]) -> u64 {
        lines.iter().map(|line| self.lines[line][of].as_u64().unwrap()).sum()
    }

    fn in_use(&self) -> u64 {
        let lines = ["requested", "rounding", "in_use", "headers", "parked", "thread_caches", "inboxes", "quarantine"];
        self.sum("bytes", &lines)
    }

    fn fast(&self, of: &str) -> u64 {
        self.sum(of, &["fast_bins", "depots"])
    }

    fn bins(&self, of: &str) -> u64 {
        self.sum(of, &["unsorted_bin", "small_bins", "large_bins"])
    }

    fn top(&self) -> u64 {
        self.sum("bytes", &["top"])
    }
}

/// The number behind a word, at the start of a line.
#[track_caller]
fn said(held: &Held, word: &str) -> u64 {
    let find = |line: &String| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok();
    held.said.iter().find_map(find).unwrap_or_else(|| panic!("no {word}: {:?}", held.said))
}

/// Count and size of the last row of this kind, which is that of all arenas.
#[track_caller]
fn total(held: &Held, row: &str) -> (u64, u64) {
    let line = held.said.iter().rev().find(|line| line.trim_start().starts_with(row)).unwrap();
    let of = |name: &str| line.split(&format!("{name}=\"")).nth(1).map_or("0", |rest| rest.split('"').next().unwrap());
    (of("count").parse().unwrap(), of("size").parse().unwrap())
}

#[test]
fn mallinfo2_and_malloc_info_say_what_the_ledger_says() {
    for door in DOORS {
        for settings in ["guard:0", "guard:0,tcache:0"] {
            let mut program = on_heapglass(compile("tests/inspect/figures.c", door, &[]), door);
            let held = Held::start(program.env("HEAPGLASS", settings));
            let all = Outside::of(&held);
            assert!(all.arenas == 2 && all.bins("chunks") > 0, "{}", all.lines);
            let figure = |word: &str| said(&held, word);
            assert_eq!(figure("arena"), all.system, "{settings}");
            assert_eq!(figure("ordblks"), all.bins("chunks") + all.arenas, "{settings}: {}", all.lines);
            assert_eq!((figure("smblks"), figure("fsmblks")), (all.fast("chunks"), all.fast("bytes")), "{settings}");
            let mapped = (all.sum("chunks", &["mapped_chunks"]), all.sum("bytes", &["mapped_chunks"]));
            assert_eq!((figure("hblks"), figure("hblkhd")), mapped, "{settings}");
            assert_eq!(figure("uordblks"), all.in_use(), "{settings}: {}", all.lines);
            assert_eq!(figure("fordblks"), all.fast("bytes") + all.bins("bytes") + all.top(), "{settings}");

            assert_eq!(total(&held, "<total type=\"fast\""), (all.fast("chunks"), all.fast("bytes")), "{settings}");
            let rest = (all.bins("chunks") + all.arenas, all.bins("bytes") + all.top());
            assert_eq!(total(&held, "<total type=\"rest\""), rest, "{settings}");
            assert_eq!(total(&held, "<total type=\"mmap\""), mapped, "{settings}");
            assert_eq!(total(&held, "<system type=\"current\"").1, all.system, "{settings}");
            held.let_go();
        }
    }
}

#[test]
fn the_rust_api_says_what_the_ledger_says() {
    run(Command::new(env!("CARGO")).current_dir(root()).args(["build", "--quiet", "--release", "-p", "rust-vec"])).ok();
    let held = Held::start(Command::new(built("figures")).env("HEAPGLASS", "guard:0"));
    let all = Outside::of(&held);
    let mapped = (all.sum("chunks", &["mapped_chunks"]), all.sum("bytes", &["mapped_chunks"]));
    assert_eq!((said(&held, "mapped_chunks"), said(&held, "mapped_bytes")), mapped, "{}", all.lines);
    assert_eq!(said(&held, "in_use_bytes"), all.in_use() + mapped.1, "{}", all.lines);
    assert_eq!(said(&held, "free_bytes"), all.fast("bytes") + all.bins("bytes") + all.top(), "{}", all.lines);
    assert_eq!((said(&held, "heap_bytes"), said(&held, "arenas")), (all.system, all.arenas));
    held.let_go();
}
