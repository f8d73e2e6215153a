//! `heapglass replay`: that what is played is what was recorded, on whichever allocator, and what is said where that can't be.
//! No time that was measured decides a test.

use heapglass_capture::{Capture, Event};
use heapglass_event::record::Call as Function;
use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, Ran, compile, have, run};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn program(source: &str) -> String {
    compile(source, Door::Preload, &[]).to_str().unwrap().to_owned()
}

fn record(dir: &Dir, flags: &[&str], words: &[&str]) -> PathBuf {
    let file = dir.path().join("recording");
    run(heapglass().args(["record", "--force", "-o"]).arg(&file).args(flags).arg("--").args(words)).ok();
    file
}

fn replay(file: &Path, flags: &[&str]) -> Ran {
    run(heapglass().arg("replay").arg(file).args(flags))
}

fn read(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:#?}"))
}

#[track_caller]
fn played(file: &Path, flags: &[&str]) -> Value {
    read(&replay(file, &[flags, &["--json"]].concat()).ok())
}

/// How far apart, in parts of the second.
fn apart(a: u64, b: u64) -> f64 {
    a.abs_diff(b) as f64 / b as f64
}

/// A line of what `run --stats` prints.
fn figure(screen: &str, name: &str) -> u64 {
    let line = screen.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap();
    line.trim().replace(',', "").parse().unwrap()
}

#[test]
fn on_the_allocator_that_made_it_a_recording_reaches_its_peak() {
    let dir = Dir::new("replay");
    let program = program("tests/trace/steps.c");
    // Decay goes by the clock, samples come by chance, and a trimmed top grows in other steps.
    for settings in ["decay:-1,guard:0", "decay:-1,tcache:0"] {
        let words = ["--", &program, "100000"];
        let own = run(heapglass().env("HEAPGLASS", settings).args(["run", "--stats"]).args(words)).ok().err;
        let file = dir.path().join("recording");
        let mut recorder = heapglass();
        run(recorder.env("HEAPGLASS", settings).args(["record", "--force", "-o"]).arg(&file).args(words)).ok();
        let told = played(&file, &["-r", "1"]);
        let row = &told["rows"][0];
        assert_eq!(row["settings"], settings, "those of the recording are taken");
        let recorded = told["recorded"]["peak_bytes"].as_u64().unwrap();
        let in_use = row["in_use_peak_bytes"].as_u64().unwrap();
        assert!(apart(in_use, recorded) < 0.02, "{in_use} of {recorded}");
        assert!(apart(in_use, figure(&own, "in use at peak, bytes")) < 0.02, "{told:#} {own}");
        // A heap grows by steps of this many bytes at least, one of which is more than 2 % of this one.
        const STEP: u64 = 0x21000;
        for (ours, theirs, step) in
            [("heap_peak_bytes", "heap at peak, bytes", STEP), ("mapped_peak_bytes", "mapped at peak, bytes", 0)]
        {
            let (ours, theirs) = (row[ours].as_u64().unwrap(), figure(&own, theirs));
            assert!(ours.abs_diff(theirs) <= theirs / 50 + step, "{ours} {theirs} {told:#} {own}");
        }
    }
}

#[test]
fn threads_that_run_ahead_would_change_the_peak_and_dont() {
    let dir = Dir::new("replay");
    let file = record(&dir, &[], &[&program("tests/replay/hands.c"), "20000"]);
    let told = played(&file, &["-r", "1"]);
    let (reached, recorded) = (&told["rows"][0]["in_use_peak_bytes"], &told["recorded"]["peak_bytes"]);
    assert_eq!(told["threads"], 104);
    assert!(apart(reached.as_u64().unwrap(), recorded.as_u64().unwrap()) < 0.02, "{told:#}");
}

/// What a thread called, and of what size. Callocs of the C library's for threads that it makes aren't among them.
type Calls = Vec<(char, u64)>;

/// The calls of each thread but the first, sorted by what they are: threads have other numbers in each run.
fn sorted(mut threads: BTreeMap<u64, Calls>, first: u64) -> Vec<Calls> {
    threads.remove(&first);
    let mut all: Vec<Calls> = threads.into_values().collect();
    all.sort();
    all
}

fn recorded_calls(file: &Path) -> Vec<Calls> {
    let capture = Capture::open(file).unwrap();
    let mut events = capture.events(1);
    let mut sizes = HashMap::new();
    let mut threads: BTreeMap<u64, Calls> = BTreeMap::new();
    let mut first = None;
    while let Some(Event { thread, call, .. }) = events.next().unwrap() {
        first.get_or_insert(u64::from(thread.tid));
        let letter = match call.function {
            Some(Function::Malloc) => 'm',
            Some(Function::Calloc) if call.requested() >= Some(7000) => 'c',
            Some(Function::Realloc) => 'r',
            Some(Function::Memalign) => 'a',
            Some(Function::Free) if call.gives_up() != 0 => 'f',
            _ => continue,
        };
        let given = sizes.remove(&call.gives_up());
        let size = call.requested().or(given).unwrap();
        sizes.insert(call.hands_out(), size);
        threads.entry(thread.tid.into()).or_default().push((letter, size));
    }
    sorted(threads, first.unwrap())
}

fn witnessed_calls(log: &Path) -> Vec<Calls> {
    let text = fs::read_to_string(log).unwrap();
    let mut live = HashMap::new();
    let mut threads: BTreeMap<u64, Calls> = BTreeMap::new();
    let mut process = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [pid, tid, size] = [0, 1, 3].map(|at| words[at].parse::<u64>().unwrap());
        let letter = words[2].chars().next().unwrap();
        process = pid;
        match letter {
            'c' if size < 7000 => continue,
            'f' => assert_eq!(live.remove(words[4]), Some(size), "freed, but not handed out: {line}"),
            _ => assert_eq!(live.insert(words[4].to_owned(), size), None),
        }
        threads.entry(tid).or_default().push((letter, size));
    }
    sorted(threads, process)
}

fn witness(extra: &[&str]) -> String {
    compile("tests/replay/witness.c", Door::Libc, &[&["-shared", "-fPIC"], extra].concat()).to_str().unwrap().to_owned()
}

#[test]
fn each_thread_makes_the_calls_that_it_made_and_nothing_is_freed_before_it_was_handed_out() {
    let dir = Dir::new("replay");
    let file = record(&dir, &[], &[&program("tests/replay/hands.c"), "3000"]);
    let expected = recorded_calls(&file);
    assert_eq!(expected.iter().filter(|calls| calls.len() >= 3000).count(), 3);
    let log = dir.path().join("log");
    let with = format!("witness={}", witness(&[]));
    let mut command = heapglass();
    command.env("WITNESS", &log).arg("replay").arg(&file).args(["-r", "1", "--check", "--with", &with]);
    run(&mut command).ok();
    // Each of the two runs has a process of its own.
    let text = fs::read_to_string(&log).unwrap();
    let pids: std::collections::BTreeSet<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        let of: String =
            text.lines().filter(|line| line.split(' ').next() == Some(pid)).map(|l| format!("{l}\n")).collect();
        let one = dir.path().join(pid);
        fs::write(&one, of).unwrap();
        assert!(witnessed_calls(&one) == expected, "other calls than recorded");
    }
}

#[test]
fn settings_and_allocators_stand_side_by_side() {
    let dir = Dir::new("replay");
    let file = record(&dir, &[], &[&program("tests/trace/threads.cc"), "300"]);
    let with = format!("libc,witness={}", witness(&[]));
    let flags = ["-r", "2", "--check", "--set", "tcache=0", "--set", "arena_max:1,guard=0", "--with", &with];
    let told = played(&file, &flags);
    let rows = told["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["heapglass", "heapglass tcache:0", "heapglass arena_max:1,guard:0", "libc", "witness"]);
    for row in rows {
        assert!(row["fault"].is_null() && row["wall_seconds"]["median"].as_f64().unwrap() > 0.0, "{told:#}");
    }
    let peaks: Vec<f64> = rows.iter().map(|row| row["peak_bytes"]["median"].as_f64().unwrap()).collect();
    // The last one never uses memory again, and all of it was written to: four threads, 300 times 5 and 6 KB.
    assert!(peaks[4] > 12e6 && peaks[..4].iter().all(|peak| *peak < 6e6), "{peaks:?}");
    assert!(rows[4]["times_asked"].as_f64().unwrap() > 100.0, "{told:#}");
    let screen = replay(&file, &flags).ok().out;
    assert!(screen.contains("\nheapglass arena_max:1,guard:0 ") && screen.contains("2 runs each, in turn"), "{screen}");
}

#[test]
fn an_allocator_that_fails_is_a_row_that_says_so() {
    let dir = Dir::new("replay");
    let file = record(&dir, &[], &[&program("tests/replay/hands.c"), "300", "600000"]);
    let aborts = compile("tests/bench/aborts.c", Door::Libc, &["-shared", "-fPIC"]);
    let with = format!("wrong={},gone=/no/such.so,aborts={}", witness(&["-DOVERLAPS"]), aborts.display());
    let ran = replay(&file, &["-r", "1", "--check", "--json", "--set", "nonsense=1", "--with", &with]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let told = read(&ran);
    let fault = |row: usize| told["rows"][row]["fault"].as_str().unwrap_or_default();
    assert!(told["rows"][0]["fault"].is_null(), "{told:#}");
    assert_eq!(fault(1), "unknown key 'nonsense' in HEAPGLASS");
    assert!(
        fault(2).contains("exited with status 3: the ") && fault(2).contains("changed while they were in use"),
        "{told:#}"
    );
    assert_eq!(fault(3), "not preloaded: cannot open shared object file");
    assert!(fault(4).starts_with("killed by signal 6 (SIGABRT): aborts: too much"), "{told:#}");
    let unknown = replay(&file, &["--with", "nobody"]);
    assert!(unknown.code == Some(125) && unknown.err.contains("--with nobody: not found"), "{unknown:#?}");
}

#[test]
fn out_of_memory_is_a_row_that_says_so() {
    if !have("prlimit") {
        return;
    }
    let dir = Dir::new("replay");
    let file = record(&dir, &[], &[&program("tests/replay/hands.c"), "100", "3000000000"]);
    let mut command = Command::new("prlimit");
    command.args(["--as=2000000000", "--"]).arg(heapglass().get_program()).arg("replay").arg(&file);
    let ran = run(command.args(["-r", "1", "--json", "--set", "park=0"]));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let said = "exited with status 3: out of memory: a call for 3000000000 bytes returned null";
    assert_eq!(read(&ran)["rows"][1]["fault"], said, "{ran:#?}");
}

#[test]
fn calls_come_no_sooner_than_they_were_recorded() {
    let dir = Dir::new("replay");
    let script = "sleep 0.3; ls >/dev/null; sleep 0.3; ls > /dev/null; exit 0";
    let file = record(&dir, &[], &["bash", "-c", script]);
    let wall = |told: &Value| told["rows"][0]["wall_seconds"]["median"].as_f64().unwrap();
    assert!(wall(&played(&file, &["-r", "1", "--timing"])) > 0.55);
}

#[test]
fn what_cant_be_played_or_only_in_part_is_said() {
    let dir = Dir::new("replay");
    let steps = program("tests/trace/steps.c");
    let file = record(&dir, &["--interval", "50"], &[&steps, "3000"]);
    let ran = replay(&file, &[]);
    assert!(ran.code == Some(125) && ran.err.contains("has only samples, one for 50 bytes on average"), "{ran:#?}");
    let other = dir.file("other", b"no recording", 0o644);
    let ran = replay(&other, &[]);
    assert!(ran.code == Some(125) && ran.err.contains("is no recording"), "{ran:#?}");
    // Cut off, and then with a byte changed in the middle.
    let file = record(&dir, &[], &[&steps, "300000"]);
    let all = played(&file, &["-r", "1"])["calls"].as_u64().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&other, &bytes[..bytes.len() / 2]).unwrap();
    let ran = replay(&other, &["-r", "1", "--json"]).ok();
    assert!(ran.err.contains("the recording was cut off"), "{ran:#?}");
    assert!((1..all).contains(&read(&ran)["calls"].as_u64().unwrap()), "{ran:#?}");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 0x55;
    fs::write(&other, damaged).unwrap();
    let ran = replay(&other, &["-r", "1", "--json"]).ok();
    assert!(ran.err.contains("is damaged: what comes before call "), "{ran:#?}");
    assert!((1..all).contains(&read(&ran)["calls"].as_u64().unwrap()), "{ran:#?}");
}

#[test]
fn of_several_processes_one_is_played() {
    let dir = Dir::new("replay");
    let file = record(&dir, &["-f"], &[&program("tests/trace/forks.c")]);
    let capture = Capture::open(&file).unwrap();
    let mut events = capture.events(1);
    let mut pids = Vec::new();
    while let Some(event) = events.next().unwrap() {
        if !pids.contains(&event.thread.pid) {
            pids.push(event.thread.pid);
        }
    }
    let [first, child] = pids[..] else { panic!("{pids:?}") };
    let ran = replay(&file, &["-r", "1", "--json"]).ok();
    assert!(
        ran.err.contains(&format!("process {first} is played; --pid plays another one: {child} with 2,0")),
        "{ran:#?}"
    );
    assert!(read(&ran)["left_out"]["other_processes"].as_u64().unwrap() >= 2000, "{ran:#?}");
    let told = played(&file, &["-r", "1", "--pid", &child.to_string()]);
    assert!(told["calls"].as_u64().unwrap() >= 2000, "{told:#}");
    let none = replay(&file, &["--pid", "1"]);
    assert!(none.code == Some(125) && none.err.contains("has no call of process 1 that could be played"), "{none:#?}");
}
