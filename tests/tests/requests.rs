//! What the ledger says of requests, by process and by core file, against what the program knows that it asked for: an estimate within its
//! bound, and exact where it says so.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::held::Held;
use heapglass_tests::{Door, compile, have, left_out, on_heapglass, run};
use serde_json::Value;
use std::process::Command;

/// Calls that a class's mean is of at least, and the most chunks that one stands for (see the heap's `requests.rs`).
const FEWEST: f64 = 16.0;
const STANDS_FOR: f64 = 640.0;
/// What the C library keeps for itself: a few chunks.
const OWN: (u64, u64) = (8, 4096);

fn start(way: &str, settings: &str) -> Held {
    let program = compile("tests/inspect/requests.c", Door::Preload, &["-pthread"]);
    // No sample, and nothing that a clock decides: the same calls are noted each time.
    let settings = format!("guard:0,decay:-1{settings}");
    Held::start(on_heapglass(program, Door::Preload).arg(way).env("HEAPGLASS", settings))
}

#[track_caller]
fn ledger(of: &str) -> Value {
    serde_json::from_str(&run(heapglass().args(["ledger", of, "--json"])).ok().out).unwrap()
}

/// What the program said of itself.
#[track_caller]
fn truth(held: &Held, word: &str) -> u64 {
    let find = |line: &String| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok();
    held.said.iter().find_map(find).unwrap_or_else(|| panic!("no {word}: {:?}", held.said))
}

fn of(all: &Value, how: &str, what: &str) -> u64 {
    all["requests"][how][what].as_u64().unwrap()
}

/// Four standard deviations of the estimate, if the calls that were noted are as any other. What chunks of a class have beyond their
/// requests varies by no more than the distance to the class below, and so deviates by no more than half of that (Popoviciu).
fn bound(all: &Value) -> f64 {
    let variance = |class: &Value| {
        let figure = |key: &str| class[key].as_f64().unwrap();
        let deviation = if figure("from") > 1024.0 { figure("from") / 16.0 } else { 8.0 };
        let calls = figure("calls").min((figure("chunks") / STANDS_FOR).max(FEWEST));
        (figure("chunks") * deviation).powi(2) / calls
    };
    4.0 * all["requests"]["classes"].as_array().unwrap().iter().map(variance).sum::<f64>().sqrt()
}

#[track_caller]
fn is_near(all: &Value, held: &Held, what: &str) {
    let (asked, estimate) = (truth(held, "asked"), of(all, "estimated", "requested"));
    let more = of(all, "estimated", "chunks") - truth(held, "chunks");
    assert!(more <= OWN.0, "{what}: {more} more chunks than the program's: {}", all["requests"]);
    let (off, bound) = (estimate.abs_diff(asked), bound(all));
    assert!(off as f64 <= bound + OWN.1 as f64, "{what}: {estimate} for {asked}: off by {off}, not by {bound} at most");
    assert!(bound < asked as f64 / 4.0, "{what}: {bound} is no bound for {asked}");
    assert_eq!((of(all, "exact", "chunks"), of(all, "unseen", "chunks")), (0, 0), "{what}: {}", all["requests"]);
    let line = |key: &str, of: &str| all["lines"][key][of].as_u64().unwrap();
    assert_eq!(line("requested", "bytes"), estimate, "{what}");
    assert_eq!(line("rounding", "bytes"), of(all, "estimated", "rounding"), "{what}");
    // Mapped chunks keep their requests, those that were resized the last.
    assert_eq!(of(all, "mapped", "requested"), truth(held, "mapped"), "{what}");
}

/// Half of these ways are traps for who sees only some of the calls: loops whose every refill is the same of two requests, what
/// was asked for long ago, classes of a single call, sizes that change in place.
#[test]
fn an_estimate_is_near_what_was_asked_for() {
    let ways = ["same", "varied", "turns", "turns-again", "phases", "few", "resized", "aligned", "threads"];
    for (way, settings) in ways.map(|way| (way, "")).into_iter().chain(ways.map(|way| (way, ",tcache:0"))) {
        let held = start(way, settings);
        let all = ledger(&held.pid().to_string());
        is_near(&all, &held, &format!("{way}{settings}"));
        assert!(all["requests"]["calls"].as_u64().unwrap() > 50, "{all}");
        if way == "same" {
            // One request in each class: any call says it.
            assert_eq!(of(&all, "estimated", "requested"), truth(&held, "asked"));
        }
        held.let_go();
    }
}

/// What comes and goes within a thread's magazines is never seen; without them, each call has its chance.
#[test]
fn what_is_replaced_one_by_one_is_seen_without_caches() {
    let held = start("replaced", ",tcache:0");
    is_near(&ledger(&held.pid().to_string()), &held, "replaced");
    held.let_go();
}

#[test]
fn a_core_says_what_the_process_does() {
    if !have("gcore") {
        return left_out("there is no gcore here");
    }
    let dir = Dir::new("requests");
    for way in ["same", "varied"] {
        let held = start(way, "");
        let pid = held.pid().to_string();
        run(Command::new("gcore").args(["-o"]).arg(dir.path().join(way)).arg(&pid)).ok();
        let core = dir.path().join(format!("{way}.{pid}"));
        let (live, core) = (ledger(&pid), ledger(core.to_str().unwrap()));
        assert_eq!(core["requests"], live["requests"], "{way}");
        is_near(&core, &held, way);
        held.let_go();
    }
}

/// Canaries keep each request, of mapped chunks too.
#[test]
fn canaries_are_exact() {
    for settings in [",canary:1", ",secure"] {
        let held = start("varied", settings);
        let all = ledger(&held.pid().to_string());
        let more = of(&all, "exact", "chunks") - truth(&held, "chunks");
        let bytes = of(&all, "exact", "requested") - truth(&held, "asked");
        assert!(more <= OWN.0 && bytes <= OWN.1, "{settings}: {}", all["requests"]);
        assert_eq!((of(&all, "estimated", "chunks"), of(&all, "unseen", "chunks")), (0, 0), "{settings}");
        assert_eq!(of(&all, "mapped", "requested"), truth(&held, "mapped"), "{settings}");
        held.let_go();
    }
}

#[test]
fn the_text_says_what_is_an_estimate() {
    let held = start("few", "");
    let text = run(heapglass().args(["ledger", &held.pid().to_string()])).ok().out;
    assert!(text.contains("  requested, about ") && text.contains("  rounding, about "), "{text}");
    assert!(text.contains("chunks are estimated, by means that the heap made from "), "{text}");
    assert!(text.contains("\nasked for, exactly: ") && text.contains(" bytes in mapped chunks"), "{text}");
    held.let_go();
    let held = start("few", ",canary:1");
    let text = run(heapglass().args(["ledger", &held.pid().to_string()])).ok().out;
    assert!(text.contains("  requested   ") && !text.contains("about   "), "{text}");
    held.let_go();
}
