//! `heapglass ledger`: lines that add up to what the kernel says, and what is said of fragmentation, pins and trimming.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::held::Held;
use heapglass_tests::{DOORS, Door, compile, have, on_heapglass, root, run};
use serde_json::Value;
use std::process::Command;

#[track_caller]
fn ledger(pid: u32, words: &[&str]) -> Value {
    let ran = run(heapglass().args(["ledger", &pid.to_string(), "--json"]).args(words)).ok();
    serde_json::from_str(&ran.out).unwrap()
}

/// The kernel's figure, as of now.
fn rss(pid: u32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let kib =
        smaps.lines().filter_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.sum::<u64>() * 1024
}

#[track_caller]
fn adds_up(pid: u32) -> Value {
    let all = ledger(pid, &[]);
    let lines = all["lines"].as_object().unwrap();
    let sum: u64 = lines.values().map(|line| line["resident"].as_u64().unwrap()).sum();
    assert_eq!(all["sum"], sum);
    let rss = rss(pid);
    assert!(sum.abs_diff(rss) * 100 <= rss, "the lines come to {sum}, the kernel says {rss}: {all}");
    assert!(lines.values().all(|line| line["resident"].as_u64() <= line["bytes"].as_u64()), "{all}");
    assert!(all["damages"].as_array().unwrap().is_empty() && all["steady"] == true, "{all}");
    all
}

fn line(all: &Value, key: &str, of: &str) -> u64 {
    all["lines"][key][of].as_u64().unwrap()
}

fn states(mode: &str, door: Door, settings: &str) -> Held {
    let program = compile("tests/inspect/states.c", door, &[]);
    // What is told by address stands in a heap, not between guards.
    let settings = [settings, "guard:0"].into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>().join(",");
    Held::start(on_heapglass(program, door).arg(mode).env("HEAPGLASS", settings))
}

#[test]
fn lines_add_up_to_the_kernels_figure() {
    for door in DOORS {
        let held = states("textbook", door, "tcache:0");
        let all = adds_up(held.pid());
        for (key, word) in
            [("small_bins", "Small"), ("large_bins", "Large"), ("unsorted_bin", "Unsorted"), ("fast_bins", "Fast")]
        {
            assert_eq!(line(&all, key, "chunks"), held.told(word).len() as u64, "{key}: {all}");
        }
        assert_eq!(line(&all, "mapped_chunks", "bytes"), 303_104, "{all}");
        let held = states("caches", door, "");
        let all = adds_up(held.pid());
        assert!(line(&all, "depots", "chunks") > 0 && line(&all, "parked", "chunks") == 2, "{all}");
    }
}

#[test]
fn samples_add_up() {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    let held = Held::start(on_heapglass(program, Door::Preload).arg("textbook").env("HEAPGLASS", "guard:1"));
    let all = adds_up(held.pid());
    assert!(line(&all, "samples", "chunks") > 0 && line(&all, "samples", "resident") >= 4096, "{all}");
}

/// With canaries the heap itself has each request.
#[test]
fn canaries_tell_requests_from_rounding() {
    for (settings, knows) in [("canary:1", true), ("secure", true), ("clear:1", false)] {
        let held = states("secure", Door::Preload, settings);
        let all = adds_up(held.pid());
        let chunks = |how: &str| all["requests"][how]["chunks"].as_u64().unwrap();
        assert_eq!((chunks("exact") > 0, chunks("estimated") == 0), (knows, knows), "{settings}: {all}");
        assert_eq!((chunks("unseen"), line(&all, "in_use", "chunks")), (0, 0), "{settings}: {all}");
        let (user, request) = held.told("Live")[0];
        let words = ["map", &held.pid().to_string(), "--json", "--chunk", &format!("{user:#x}")];
        let chunk: Value = serde_json::from_str(&run(heapglass().args(words)).ok().out).unwrap();
        let expected = if knows { Value::from(request) } else { Value::Null };
        assert_eq!(chunk["request"], expected, "{settings}: {chunk}");
    }
}

#[test]
fn mapped_heaps_add_up() {
    let held = Held::start(&mut on_heapglass(compile("tests/inspect/busy.c", Door::Preload, &[]), Door::Preload));
    let all = ledger(held.pid(), &["--stop"]);
    let (sum, rss) = (all["sum"].as_u64().unwrap(), all["rss"].as_u64().unwrap());
    assert!(sum.abs_diff(rss) * 100 <= rss, "{all}");
    assert!(all["arenas"].as_array().unwrap().len() >= 5 && line(&all, "other", "resident") * 10 < rss, "{all}");
    held.let_go();
}

#[test]
fn real_programs_add_up() {
    if have("python3") {
        let script = "l = [str(i) * 9 for i in range(200000)]; del l[::2]; import sys; print('ready', flush=True); sys.stdin.read()";
        let python =
            Held::start(on_heapglass("python3", Door::Preload).args(["-c", script]).env("PYTHONMALLOC", "malloc"));
        let all = adds_up(python.pid());
        assert!(line(&all, "requested", "chunks") > 100_000, "{all}");
    }
    if have("redis-server") {
        let dir = Dir::new("redis");
        let socket = dir.path().join("socket");
        let words = [
            "--port",
            "0",
            "--save",
            "",
            "--unixsocket",
            socket.to_str().unwrap(),
            "--dir",
            dir.path().to_str().unwrap(),
        ];
        let mut redis = on_heapglass("redis-server", Door::Preload);
        let mut child = redis.args(words).stdout(std::process::Stdio::null()).spawn().unwrap();
        let filled = |line: &str| {
            let mut client = Command::new("redis-cli");
            run(client.arg("-s").arg(&socket).args(line.split(' '))).code == Some(0)
        };
        let began = std::time::Instant::now();
        while !filled("ping") && began.elapsed().as_secs() < 60 {
            std::thread::yield_now();
        }
        assert!(
            filled("eval for\u{a0}i=1,100000\u{a0}do\u{a0}redis.call('set','key'..i,'value'..i)\u{a0}end 0")
                || filled("debug populate 100000")
        );
        let ran = run(heapglass().args(["ledger", &child.id().to_string(), "--json", "--stop"])).ok();
        let all: Value = serde_json::from_str(&ran.out).unwrap();
        let (sum, rss) = (all["sum"].as_u64().unwrap(), all["rss"].as_u64().unwrap());
        assert!(sum.abs_diff(rss) * 100 <= rss, "{all}");
        let _ = child.kill();
        child.wait().unwrap();
    }
}

#[test]
fn what_pins_memory_is_named_and_trimming_gives_what_was_said() {
    let mut held = Held::start(
        on_heapglass(compile("tests/inspect/pinned.c", Door::Preload, &[]), Door::Preload)
            .env("HEAPGLASS", "decay:-1,guard:0"),
    );
    let before = adds_up(held.pid());
    let pins = before["pins"].as_array().unwrap();
    let pinned =
        pins.iter().find(|pin| pin["size"] == 208 && pin["cached"] == false).unwrap_or_else(|| panic!("{before}"));
    assert!(pinned["chunks"].as_u64().unwrap() > 1000, "{pins:?}");
    let parts = ["inside", "tops", "kept"].map(|part| before["trim"][part].as_u64().unwrap());
    let told: u64 = parts.iter().sum();
    let text = run(heapglass().args(["ledger", &held.pid().to_string()])).ok().out;
    assert!(text.contains("malloc_trim would give back about ") && text.contains("pinned: "), "{text}");
    let resident = rss(held.pid());
    held.step();
    let given = resident - rss(held.pid());
    // What its thread's cache held went back too, which isn't foreseen.
    assert!(given >= told * 9 / 10 && given <= told * 12 / 10 + (1 << 20), "said {told}, gave {given}: {text}");
    let after = run(heapglass().args(["ledger", &held.pid().to_string()])).ok().out;
    assert!(after.contains("it isn't worth a call"), "{after}");
    held.let_go();
}

#[test]
fn it_is_watched_until_it_ends() {
    let held = states("textbook", Door::Preload, "");
    let mut watch = heapglass();
    let mut child = watch
        .args(["ledger", &held.pid().to_string(), "--watch", "0.05", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    for _ in 0..3 {
        let all: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(all["sum"].as_u64().unwrap() > 0 && all["seconds"].as_f64().is_some());
    }
    held.let_go();
    assert!(lines.all(|line| line.is_ok()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_rust_program_adds_up_as_it_ends() {
    run(Command::new(env!("CARGO")).current_dir(root()).args(["build", "--quiet", "--release", "-p", "rust-vec"])).ok();
    let ran = run(heapglass().args(["ledger", "--", "target/release/rust-vec"]).current_dir(root())).ok();
    assert!(ran.out.contains("the kernel's figure (smaps)") && ran.out.contains("exact"), "{ran:#?}");
}

#[test]
fn stats_is_the_same_command() {
    let held = states("textbook", Door::Preload, "");
    let ran = run(heapglass().args(["stats", &held.pid().to_string()])).ok();
    assert!(ran.out.contains("requested, about") && ran.out.contains("sum "), "{ran:#?}");
}
