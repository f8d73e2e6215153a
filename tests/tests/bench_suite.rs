//! `heapglass bench --suite` on a tiny scale: what it runs, what it writes, what becomes of a crash, of other output, of a
//! hang and of what is missing. No time that was measured decides a test.

use heapglass_tests::cli::{Dir, heapglass, library};
use heapglass_tests::{Door, Ran, built, compile, have, run};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Until something that must come has come.
const PATIENCE: Duration = Duration::from_secs(60);

const OWN: [&str; 5] = ["pair", "replace", "tree", "large", "aging"];
/// The items of real programs, with a program that each needs.
const REAL: [(&str, &str); 10] = [
    ("python", "python3"),
    ("lua", "lua5.4"),
    ("perl", "perl"),
    ("ruby", "ruby"),
    ("sqlite", "sqlite3"),
    ("redis", "redis-benchmark"),
    ("gcc", "gcc"),
    ("z3", "z3"),
    ("ghostscript", "gs"),
    ("git", "git"),
];

/// Temporary files go into the directory, so that a test can see what is left of them.
fn suite(dir: &Dir) -> Command {
    // The command looks for it beside itself.
    built("heapglass-workloads");
    let mut command = heapglass();
    command.env("TMPDIR", dir.path()).args(["bench", "--suite"]);
    command
}

/// Runs with an export as JSON, and reads it.
#[track_caller]
fn exported(command: &mut Command, dir: &Dir, names: &[&str]) -> (Ran, Value) {
    let file = dir.path().join("export.json");
    let ran = run(command.arg("--export-json").arg(&file).args(names));
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    (ran, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

fn preload(dir: &Dir, name: &str) -> String {
    let made = compile(&format!("tests/bench/{name}.c"), Door::Libc, &["-shared", "-fPIC"]);
    let path = dir.path().join(format!("lib{name}.so"));
    fs::copy(made, &path).unwrap();
    format!("{name}={}", path.display())
}

#[track_caller]
fn items(export: &Value) -> Vec<&str> {
    export["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[track_caller]
fn row<'a>(export: &'a Value, item: &str, allocator: &str) -> &'a Value {
    let items = export["items"].as_array().unwrap();
    let item = items.iter().find(|one| one["name"] == item).unwrap_or_else(|| panic!("no {item}: {export}"));
    let rows = item["results"].as_array().unwrap();
    rows.iter().find(|row| row["allocator"] == allocator).unwrap_or_else(|| panic!("no {allocator}: {item}"))
}

/// Processes whose directory is below this one.
fn at_work(dir: &Dir) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
    let is_there = |path: &PathBuf| fs::read_link(path.join("cwd")).is_ok_and(|at| at.starts_with(dir.path()));
    let state = |path: PathBuf| fs::read_to_string(path.join("stat")).unwrap_or_default();
    processes.filter(is_there).map(state).collect()
}

/// Nothing is left in the directory but what the test itself has put there, and no process works in it. The kernel may take
/// a moment to end those that it ends for us.
#[track_caller]
fn nothing_is_left(dir: &Dir) {
    for entry in fs::read_dir(dir.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with("heapglass-suite-"), "{name} is left");
    }
    let started = Instant::now();
    while !at_work(dir).is_empty() {
        assert!(started.elapsed() < PATIENCE, "left: {:?}", at_work(dir));
    }
}

#[test]
fn all_items_are_named() {
    let dir = Dir::new("suite-list");
    let listed = run(suite(&dir).arg("--list")).ok().out;
    for name in OWN.into_iter().chain(REAL.map(|(name, _)| name)) {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name} "))), "no {name}: {listed}");
    }
}

#[test]
fn items_are_measured_in_turn_and_written_in_every_form() {
    let dir = Dir::new("suite-forms");
    let path = |name: &str| dir.path().join(name);
    let mut command = suite(&dir);
    command.args(["-r", "5", "-w", "1", "--scale", "0.001", "--with", "heapglass"]);
    command.arg("--with").arg(format!("same={}", library().display()));
    for form in ["csv", "markdown", "svg"] {
        command.arg(format!("--export-{form}")).arg(path(form));
    }
    let (ran, export) = exported(&mut command, &dir, &["tree", "pair"]);
    let ran = ran.ok();

    assert_eq!(items(&export), ["pair", "tree"]);
    assert_eq!(export["allocators"], json!(["libc", "heapglass", "same"]));
    assert_eq!(export["means_of"], json!(["pair", "tree"]));
    assert_eq!((&export["runs"], &export["scale"]), (&json!(5), &json!(0.001)));
    let first = |item: usize, round: usize| &export["items"][item]["rounds"][round][0];
    assert_eq!([first(0, 0), first(0, 1), first(0, 2)], ["libc", "heapglass", "same"]);
    assert_eq!([first(1, 0), first(1, 1), first(1, 2)], ["heapglass", "same", "libc"]);
    assert_eq!(export["items"][0]["rounds"].as_array().unwrap().len(), 6);
    for item in ["pair", "tree"] {
        for allocator in ["libc", "heapglass", "same"] {
            let row = row(&export, item, allocator);
            let values = |key: &str| row[key]["values"].as_array().unwrap().clone();
            assert_eq!(values("cpu_seconds").len(), 5);
            for run in 0..5 {
                let seconds = |key: &str| values(key)[run].as_f64().unwrap();
                assert!((seconds("cpu_seconds") - seconds("user_seconds") - seconds("system_seconds")).abs() < 1e-9);
            }
            assert!(row["peak_bytes"]["median"].as_f64().unwrap() > 1e6, "{row}");
        }
    }
    for metric in ["cpu_seconds", "wall_seconds", "peak_bytes"] {
        let standing = &export["items"][0]["standing"][metric];
        assert!(["libc", "same"].contains(&standing["best"].as_str().unwrap()), "{standing}");
        assert!(["ahead", "behind", "within noise"].contains(&standing["verdict"].as_str().unwrap()), "{standing}");
        let means = &export["means"][metric];
        assert_eq!((means[0]["ratio"].as_f64(), &means[1]["allocator"]), (Some(1.0), &json!("heapglass")));
        assert!(means[1]["low"].as_f64() <= means[1]["ratio"].as_f64(), "{means}");
    }

    assert!(ran.out.starts_with("2 items, 5 runs each, in turn\n\ntime\nitem "), "{}", ran.out);
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("geometric mean of 2 ")).count(), 3, "{}", ran.out);
    let csv = fs::read_to_string(path("csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 3 * 5, "{csv}");
    let markdown = fs::read_to_string(path("markdown")).unwrap();
    for heading in ["Time", "Wall time", "Memory", "Where Heapglass loses", "Medians and spread", "What was run"] {
        assert!(markdown.contains(&format!("### {heading}\n")), "no {heading}: {markdown}");
    }
    run(Command::new("xmllint").arg("--noout").arg(path("svg"))).ok();
    nothing_is_left(&dir);
}

#[test]
fn real_programs_do_the_same_on_heapglass() {
    let names: Vec<&str> = REAL.into_iter().filter(|(_, program)| have(program)).map(|(name, _)| name).collect();
    let dir = Dir::new("suite-real");
    let mut command = suite(&dir);
    command.args(["-r", "1", "--scale", "0.02", "--with", "heapglass"]);
    let (ran, export) = exported(&mut command, &dir, &names);
    let ran = ran.ok();
    assert_eq!(items(&export), names, "{ran:#?}");
    for item in export["items"].as_array().unwrap() {
        assert!(!item["version"].as_str().unwrap().contains("unknown"), "{item}");
        assert_eq!(item["own"], false);
    }
    assert_eq!(export["left_out"], json!([]));
    nothing_is_left(&dir);
}

#[test]
fn a_crash_is_a_row_and_the_others_go_on() {
    let dir = Dir::new("suite-crash");
    let mut command = suite(&dir);
    command.args(["-r", "2", "--scale", "0.001", "--with", &preload(&dir, "aborts"), "--with", "heapglass"]);
    let (ran, export) = exported(&mut command, &dir, &["large", "pair"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let said = "killed by signal 6 (SIGABRT): aborts: too much";
    assert_eq!(row(&export, "large", "aborts")["fault"], said);
    assert_eq!(row(&export, "large", "heapglass")["exit_codes"], json!([0, 0]));
    assert_eq!(row(&export, "pair", "aborts")["exit_codes"], json!([0, 0]));
    assert!(ran.out.contains(&format!("\nfailed: large under aborts: {said}\n")), "{}", ran.out);
    // Means are of what all came through.
    assert_eq!(export["means_of"], json!(["pair"]));
    assert!(ran.out.contains("geometric mean of 1 "), "{}", ran.out);
}

#[test]
fn other_output_is_a_row() {
    if !have("perl") {
        return;
    }
    let dir = Dir::new("suite-output");
    let mut command = suite(&dir);
    command.args(["-r", "1", "--scale", "0.01", "--with", &preload(&dir, "prints"), "--with", "heapglass"]);
    let (ran, export) = exported(&mut command, &dir, &["pair", "perl"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for item in ["pair", "perl"] {
        let fault = "puts out something else than under the C library";
        assert_eq!(row(&export, item, "prints")["fault"], fault);
        assert_eq!(row(&export, item, "heapglass")["fault"], Value::Null);
        assert!(ran.out.contains(&format!("failed: {item} under prints: {fault}\n")), "{}", ran.out);
    }
}

/// It is the compiler proper that hangs, a child of what was started.
#[test]
fn a_hang_is_ended_with_all_that_was_started() {
    let dir = Dir::new("suite-hang");
    let mut command = suite(&dir);
    command.args(["-r", "1", "--scale", "0.05", "--with", &preload(&dir, "hangs")]);
    let (ran, export) = exported(&mut command, &dir, &["gcc"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(row(&export, "gcc", "hangs")["fault"], "stopped, since it took too long");
    nothing_is_left(&dir);
}

#[test]
fn ended_by_a_signal_it_leaves_nothing() {
    let dir = Dir::new("suite-ended");
    let mut command = suite(&dir);
    let mut child = command.args(["-r", "1", "--scale", "10000", "--with", "libc", "pair"]).spawn().unwrap();
    let started = Instant::now();
    let program = loop {
        // The number, and the name in parentheses, cut short.
        if let Some(stat) = at_work(&dir).iter().find(|stat| stat.contains("(heapglass-workl")) {
            break stat.split(' ').next().unwrap().to_string();
        }
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(started.elapsed() < PATIENCE, "no program was started");
    };
    // What the command keeps for itself it doesn't keep from the program.
    let status = fs::read_to_string(format!("/proc/{program}/status")).unwrap();
    assert!(status.contains("\nSigBlk:\t0000000000000000\n"), "{status}");
    run(Command::new("kill").arg(child.id().to_string())).ok();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    nothing_is_left(&dir);
}

#[test]
fn a_server_that_crashes_is_a_row() {
    if !have("redis-benchmark") {
        return;
    }
    let dir = Dir::new("suite-server");
    let mut command = suite(&dir);
    command.args(["-r", "1", "--scale", "0.01", "--with", &preload(&dir, "aborts")]);
    let (ran, export) = exported(&mut command, &dir, &["redis"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let fault = row(&export, "redis", "aborts")["fault"].as_str().unwrap();
    assert!(fault.starts_with("killed by signal "), "{fault}");
    nothing_is_left(&dir);
}

#[test]
fn what_is_missing_is_named_and_left_out() {
    let dir = Dir::new("suite-missing");
    let nowhere = |command: &mut Command| {
        command.env("PATH", dir.path()).args(["-r", "1", "--scale", "0.001", "--with", "heapglass"]);
    };
    let mut command = suite(&dir);
    nowhere(&mut command);
    let (ran, export) = exported(&mut command, &dir, &["pair", "lua", "redis"]);
    let ran = ran.ok();
    assert_eq!(items(&export), ["pair"]);
    let lua = "lua5.4 is not on the PATH; Debian's package lua5.4 brings it";
    assert_eq!(export["left_out"][0], json!({ "name": "lua", "why": lua }));
    assert!(ran.out.contains(&format!("\nleft out: lua: {lua}\n")), "{}", ran.out);
    assert!(ran.out.contains("left out: redis: redis-server is not on the PATH;"), "{}", ran.out);
    assert!(run(suite(&dir).arg("--list").env("PATH", "")).ok().out.contains(&format!("; left out: {lua}\n")));

    // With nothing left there is nothing to say.
    let mut command = suite(&dir);
    nowhere(&mut command);
    assert_eq!(run(command.arg("lua")).code, Some(125));

    // A script that stands in front of a program isn't the program.
    dir.file("lua5.4", b"#!/bin/sh\nexec /usr/bin/lua5.4 \"$@\"\n", 0o755);
    let mut command = suite(&dir);
    nowhere(&mut command);
    let (ran, export) = exported(&mut command, &dir, &["pair", "lua"]);
    ran.ok();
    assert_eq!(export["left_out"][0]["why"], lua);
}

#[test]
fn without_the_workloads_it_says_how_to_build_them() {
    if !have("perl") {
        return;
    }
    let dir = Dir::new("suite-alone");
    let how = "build it with `cargo build --release -p heapglass-workloads`";
    let mut command = dir.heapglass();
    assert!(run(command.args(["bench", "--suite", "--list"])).ok().out.contains(how));
    let ran = run(dir.heapglass().args(["bench", "--suite", "pair"]));
    assert_eq!(ran.code, Some(125), "{ran:#?}");
    assert!(ran.err.contains(how), "{ran:#?}");
    let mut command = dir.heapglass();
    command.env("TMPDIR", dir.path()).args(["bench", "--suite", "-r", "1", "--scale", "0.01", "--with", "heapglass"]);
    let (ran, export) = exported(&mut command, &dir, &["perl"]);
    ran.ok();
    assert_eq!(items(&export), ["perl"]);
}

#[test]
fn wrong_usage_is_refused() {
    let dir = Dir::new("suite-usage");
    let said = |words: &[&str]| {
        let ran = run(suite(&dir).args(words));
        assert_eq!(ran.code, Some(125), "{words:?}: {ran:#?}");
        ran.err
    };
    assert!(said(&["no-such-item"]).contains("--suite --list names all"));
    assert!(said(&["pair", "-r", "1"]).contains("flags go before names"));
    for words in
        [&["--scale", "0"][..], &["--scale", "-1"], &["--scale", "nan"], &["-p", "true"], &["-m", "2"], &["-r", "0"]]
    {
        said(words);
    }
    assert!(said(&["--with", "no-such-allocator"]).contains("not found"));
    assert!(said(&["--export-json", "/no/such/directory/file"]).contains("/no/such/directory"));
    assert_eq!(run(heapglass().args(["bench", "--list"])).code, Some(125));
    assert_eq!(run(heapglass().arg("bench")).code, Some(125));
    nothing_is_left(&dir);
}

#[test]
fn fresh_directories_are_needed_not_taken() {
    let dir = Dir::new("suite-place");
    let missing = dir.path().join("no/such/directory");
    let ran = run(suite(&dir).env("TMPDIR", &missing).args(["-r", "1", "--scale", "0.001", "pair"]));
    assert_eq!(ran.code, Some(125), "{ran:#?}");
    assert!(ran.err.contains(missing.to_str().unwrap()), "{ran:#?}");
    assert!(!PathBuf::from(&missing).exists());
}
