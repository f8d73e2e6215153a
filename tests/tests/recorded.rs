//! What a recording adds to a heap that is looked at: requests and rounding told apart, pins by who allocated them, and of a single chunk
//! its request, its age and its stack. The recording is still growing while it is read.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::held::Held;
use heapglass_tests::{Door, compile, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What `recorded.c` keeps, and the bytes of each: asked for, and of the chunk.
const KEPT: u64 = 200;
const ASKED: u64 = 195;
const CHUNK: u64 = 208;

struct Recorded {
    held: Held,
    file: PathBuf,
    pid: String,
}

#[track_caller]
fn recorded(dir: &Dir, words: &[&str]) -> Recorded {
    let program = compile("tests/inspect/recorded.c", Door::Preload, &[]);
    let file = dir.path().join("it.hg");
    let mut record = heapglass();
    record.arg("record").args(words).arg("-o").arg(&file).arg(program).env("HEAPGLASS", "guard:0");
    let held = Held::start(&mut record);
    let pid = held.told("Process")[0].0.to_string();
    Recorded { held, file, pid }
}

impl Recorded {
    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// The ledger with the recording, once all is in it: what was told is written within a second.
    #[track_caller]
    fn ledger(&self) -> Value {
        let began = Instant::now();
        loop {
            let ran = run(heapglass().args(["ledger", &self.pid, "--json", "--recording", self.file()]));
            let all: Value = serde_json::from_str(&ran.out).unwrap_or_default();
            if all["lines"]["requested"]["chunks"] == KEPT {
                return all;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{ran:#?}");
        }
    }
}

#[track_caller]
fn told(words: &[&str]) -> String {
    run(heapglass().args(words)).ok().out
}

fn names(stack: &Value) -> Vec<String> {
    stack.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn requests_and_rounding_are_told_apart_and_pins_by_who_allocated_them() {
    let dir = Dir::new("recorded");
    let recorded = recorded(&dir, &["-k"]);
    let all = recorded.ledger();
    let bytes = |line: &str| all["lines"][line]["bytes"].as_u64().unwrap();
    assert_eq!((bytes("requested"), bytes("rounding")), (KEPT * ASKED, KEPT * (CHUNK - 8 - ASKED)), "{all}");
    assert_eq!((bytes("in_use"), bytes("headers")), (0, KEPT * 8), "{all}");
    let (sum, rss) = (all["sum"].as_u64().unwrap(), all["rss"].as_u64().unwrap());
    assert!(sum.abs_diff(rss) * 100 <= rss, "{all}");
    // Without it the same bytes are told apart by a mean, which says so, and is exact where all requests were the same.
    let without: Value = serde_json::from_str(&told(&["ledger", &recorded.pid, "--json"])).unwrap();
    assert_eq!(without["requests"]["estimated"]["chunks"], KEPT, "{without}");
    for line in ["requested", "rounding", "in_use"] {
        assert_eq!(without["lines"][line]["bytes"], bytes(line), "{line}: {without}");
    }
    assert!(without["pins_by_stack"].is_null());
    let text = told(&["ledger", &recorded.pid]);
    assert!(text.contains("requested, about") && text.contains("are estimated, by means"), "{text}");

    let pins = all["pins_by_stack"].as_array().unwrap();
    let stack = names(&pins[0]["stack"]);
    assert!(stack[0].starts_with("keep at ") && stack[0].contains("recorded.c:"), "{stack:?}");
    assert!(stack[1].starts_with("main at "), "{stack:?}");
    assert!(pins[0]["sizes"]["208"].as_u64().unwrap() > KEPT / 2, "{pins:?}");
    let by_size: u64 = all["pins"].as_array().unwrap().iter().map(|pin| pin["holds"].as_u64().unwrap()).sum();
    assert!(pins[0]["holds"].as_u64().unwrap() * 10 > by_size * 8, "{all}");
    let text = told(&["ledger", &recorded.pid, "--recording", recorded.file()]);
    assert!(text.contains("by who allocated them") && text.contains("      keep at "), "{text}");

    let text = told(&["map", &recorded.pid, "--recording", recorded.file(), "--chunk", &kept(&recorded.held)]);
    for part in [
        "; 195 were asked for",
        "\n  age         ",
        "\n  born by     call ",
        "malloc(195) ",
        "\n  stack       keep at ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (large, _) = recorded.held.told("Mapped")[0];
    let large = format!("{large:#x}");
    let text = told(&["map", &recorded.pid, "--recording", recorded.file(), "--chunk", &large]);
    assert!(text.contains("; 300,000 were asked for") && text.contains("\n  stack       large at "), "{text}");
    recorded.held.let_go();
    after_its_end(&recorded.file);
}

fn kept(held: &Held) -> String {
    format!("{:#x}", held.told("Kept")[0].0)
}

/// The file alone, closed, and at a call in the middle of it.
fn after_its_end(file: &Path) {
    let file = file.to_str().unwrap();
    let all: Value = serde_json::from_str(&told(&["ledger", file, "--json"])).unwrap();
    let stack = names(&all["pins_by_stack"][0]["stack"]);
    assert!(stack[0].starts_with("keep at "), "{all}");
    assert!(all["pins_by_stack"][0]["sizes"]["208"].as_u64().unwrap() > KEPT / 2, "{all}");
    // Twenty thousand were there before the first was freed, and no page was mostly free.
    let full: Value = serde_json::from_str(&told(&["ledger", file, "--json", "--at", "20002"])).unwrap();
    assert_eq!(full["at"], 20002);
    assert!(full["lines"]["requested"]["bytes"].as_u64().unwrap() >= 20_000 * ASKED, "{full}");
    assert!(full["pins_by_stack"].as_array().unwrap().iter().all(|pin| pin["holds"].as_u64() < Some(8192)), "{full}");
    let text = told(&["ledger", file, "--at", "20002"]);
    assert!(text.contains("what it had after 20,002 calls"), "{text}");
}

#[test]
fn what_a_recording_lacks_is_said() {
    let dir = Dir::new("lacks");
    let recorded = recorded(&dir, &[]);
    recorded.ledger();
    let text = told(&["ledger", &recorded.pid, "--recording", recorded.file()]);
    assert!(text.contains("who allocated them isn't in the recording: `heapglass record -k` keeps it"), "{text}");
    let words = ["map", &recorded.pid, "--recording", recorded.file(), "--chunk", &kept(&recorded.held)];
    let text = told(&words);
    assert!(text.contains("; 195 were asked for") && text.contains("stack       not in the recording"), "{text}");
    // That of another process.
    let program = compile("tests/inspect/recorded.c", Door::Preload, &[]);
    let other = Held::start(&mut heapglass_tests::on_heapglass(program, Door::Preload));
    let ran = run(heapglass().args(["ledger", &other.pid().to_string(), "--recording", recorded.file()]));
    let said = format!("is a recording of process {}, not of {}", recorded.pid, other.pid());
    assert!(ran.code == Some(125) && ran.err.contains(&said), "{ran:#?}");
    let ran = run(heapglass().args(["ledger", &other.pid().to_string(), "--recording", "/etc/passwd"]));
    assert!(ran.code == Some(125) && ran.err.contains("is no recording"), "{ran:#?}");
    let ran = run(heapglass().args(["ledger", &other.pid().to_string(), "--at", "3"]));
    assert!(ran.code == Some(125) && ran.err.contains("--at is for a recording"), "{ran:#?}");
}
