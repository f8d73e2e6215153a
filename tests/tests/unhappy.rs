//! Profiles of programs that are hard to profile: stripped, deleted, behind another root, with huge stacks, that fork, handle signals on
//! other stacks or have a thousand threads.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::held::Held;
use heapglass_tests::{Door, compile, on_heapglass, root, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = "tests/profile/unhappy.c";

fn program() -> PathBuf {
    compile(SOURCE, Door::Preload, &[])
}

/// `function file:line` of the line with this comment.
#[track_caller]
fn at(function: &str, comment: &str) -> String {
    let text = std::fs::read_to_string(root().join(SOURCE)).unwrap();
    let comment = format!("/* {comment} */");
    let line = text.lines().position(|line| line.contains(&comment)).unwrap_or_else(|| panic!("{comment}")) + 1;
    format!("{function} unhappy.c:{line}")
}

#[track_caller]
fn rows(profile: &Path) -> Vec<Value> {
    let ran = run(heapglass().arg("export").arg(profile).args(["--to", "jsonl"])).ok();
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn profiled(dir: &Dir, words: &[&str], program: &Path, arguments: &[&str]) -> Vec<Value> {
    let file = dir.path().join("profile.gz");
    let words = [&["profile", "-q", "--interval", "1", "-o"], words].concat();
    let (name, rest) = words.split_at(5);
    run(heapglass().args(name).arg(&file).args(rest).arg("--").arg(program).args(arguments)).ok();
    rows(&file)
}

fn stack(row: &Value) -> Vec<&str> {
    row["stack"].as_array().unwrap().iter().map(|call| call.as_str().unwrap()).collect()
}

/// Allocations of this many bytes, by stack.
fn of_bytes(rows: &[Value], bytes: u64) -> Vec<(f64, Vec<&str>)> {
    let rows = rows.iter().filter(|row| row["bytes"] == bytes);
    rows.map(|row| (row["total"].as_f64().unwrap(), stack(row))).collect()
}

#[test]
fn of_a_stripped_program_places_are_told_and_named_later_by_build_id() {
    let dir = Dir::new("unhappy");
    let debug = dir.path().join("debug");
    let stripped = dir.path().join("stripped");
    let ran = run(Command::new("readelf").arg("-n").arg(program())).ok();
    let id = ran.out.lines().find_map(|line| line.trim().strip_prefix("Build ID: ").map(str::to_owned)).unwrap();
    let store = debug.join(&id[..2]);
    std::fs::create_dir_all(&store).unwrap();
    let symbols = store.join(format!("{}.debug", &id[2..]));
    run(Command::new("objcopy").arg("--only-keep-debug").arg(program()).arg(symbols)).ok();
    run(Command::new("strip").arg("-o").arg(&stripped).arg(program())).ok();

    let found = profiled(&dir, &[], &stripped, &[]);
    let plain = of_bytes(&found, 100);
    assert!(plain.iter().all(|(_, stack)| stack[0].starts_with("stripped+0x")), "{plain:?}");
    assert!(plain.iter().any(|(count, stack)| *count == 100.0 && stack.iter().any(|call| call.contains("libc_start"))));
    let file = dir.path().join("profile.gz");
    run(heapglass().arg("symbolize").arg(&file).arg("--debug").arg(&debug)).ok();
    let named = rows(&file);
    let plain = of_bytes(&named, 100);
    assert!(plain.iter().any(|(count, stack)| *count == 100.0 && stack[0] == at("plain", "plain")), "{plain:?}");
}

#[test]
fn a_program_that_deletes_itself_is_named() {
    let dir = Dir::new("unhappy");
    let gone = dir.path().join("gone");
    // Of what lives for a millisecond, too.
    for _ in 0..3 {
        std::fs::copy(program(), &gone).unwrap();
        let found = profiled(&dir, &[], &gone, &["deleted"]);
        assert!(!gone.exists());
        let plain = of_bytes(&found, 100);
        assert!(plain.iter().any(|(count, stack)| *count == 100.0 && stack[0] == at("plain", "plain")), "{plain:?}");
    }
}

/// A program that serves until its input ends, whose file is deleted or that lives below another root.
#[track_caller]
fn is_named_while_it_runs(command: &mut Command, pid: impl Fn(u32) -> u32, before: impl Fn()) {
    let dir = Dir::new("unhappy");
    let held = Held::start(command);
    before();
    let file = dir.path().join("attached.gz");
    let pid = pid(held.pid()).to_string();
    run(heapglass().args(["profile", "-q", "--interval", "1", "--duration", "0.5", "-p", &pid, "-o"]).arg(&file)).ok();
    let found = rows(&file);
    let plain = of_bytes(&found, 100);
    let named: f64 = plain.iter().filter(|(_, stack)| stack[0] == at("plain", "plain")).map(|(count, _)| count).sum();
    let all: f64 = plain.iter().map(|(count, _)| count).sum();
    assert!(named > 10.0 && named == all, "{named} of {all}: {plain:?}");
    held.let_go();
}

#[test]
fn a_running_program_whose_file_was_deleted_is_named() {
    let dir = Dir::new("unhappy");
    let gone = dir.path().join("deleted");
    std::fs::copy(program(), &gone).unwrap();
    let mut command = on_heapglass(&gone, Door::Preload);
    is_named_while_it_runs(command.arg("serves"), |pid| pid, || std::fs::remove_file(&gone).unwrap());
}

/// The process that has no child, at the end of a chain of them.
fn innermost(mut pid: u32) -> u32 {
    loop {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        match children.split_whitespace().next() {
            Some(child) => pid = child.parse().unwrap(),
            None => return pid,
        }
    }
}

#[test]
fn a_program_in_a_container_is_profiled_from_outside() {
    // As in a container: another root, in which there is no /proc, and other numbers for processes.
    let dir = Dir::new("unhappy");
    let inside = dir.path().join("only/here");
    std::fs::create_dir_all(&inside).unwrap();
    let linked = compile(SOURCE, Door::Static, &["-static"]);
    std::fs::copy(linked, inside.join("program")).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "--pid", "--fork"]);
    let may = unshare.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("left out: no namespaces may be made here");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--pid", "--fork", "chroot"]);
    command.arg(dir.path()).args(["/only/here/program", "serves"]);
    is_named_while_it_runs(&mut command, innermost, || {});
}

#[test]
fn huge_stacks_are_told_as_far_as_they_were_copied() {
    let dir = Dir::new("unhappy");
    let (far_down, goes_on) = (at("far_down", "far down"), "[the stack goes on]");
    for (word, function) in [("deep", "deep"), ("wide", "wide")] {
        let found = profiled(&dir, &[], &program(), &[word]);
        let rows = of_bytes(&found, 500);
        let [(count, stack)] = rows.as_slice() else { panic!("{rows:?}") };
        assert!(*count == 1.0 && stack[0] == far_down && stack.last() == Some(&goes_on), "{stack:?}");
        assert!(stack[1].starts_with(&format!("{function} ")), "{stack:?}");
        // With room for all of it, it is whole.
        let whole = profiled(&dir, &["--stack", "100K"], &program(), &[word]);
        let depth = of_bytes(&whole, 500)[0].1.len();
        assert!(word == "wide" || depth > 20, "{depth}");
    }
}

#[test]
fn children_made_in_the_middle_of_samples_are_sound_and_named() {
    let dir = Dir::new("unhappy");
    let found = profiled(&dir, &[], &program(), &["forks"]);
    assert!(of_bytes(&found, 700).is_empty(), "children aren't asked for");
    assert!(of_bytes(&found, 300).iter().all(|(_, stack)| stack[0] == at("beside", "beside")));
    // Each child lives for a millisecond, and makes ten.
    let found = profiled(&dir, &["-f"], &program(), &["forks"]);
    let children = of_bytes(&found, 700);
    let named = children.iter().filter(|(_, stack)| stack[0] == at("of_child", "child"));
    let named: f64 = named.map(|(count, _)| count).sum();
    assert_eq!(named, 1000.0, "{children:?}");
}

#[test]
fn signals_are_told_as_such_also_on_other_stacks() {
    let dir = Dir::new("unhappy");
    let (handled, raised) = (at("for_signal", "signal"), at("raises", "raises"));
    for (word, is_whole) in [("signals", false), ("signals here", true)] {
        let found = profiled(&dir, &[], &program(), &word.split(' ').collect::<Vec<_>>());
        let rows = of_bytes(&found, 900);
        let [(count, stack)] = rows.as_slice() else { panic!("{rows:?}") };
        assert!(*count == 100.0 && stack[0] == handled && stack[2] == "[a signal came]", "{stack:?}");
        assert!(stack[1].starts_with("on_signal "), "{stack:?}");
        // What the signal interrupted is known; its callers only where their stack came along.
        assert!(stack.len() > 3 && !stack.iter().any(|call| call.contains("[unknown]")), "{stack:?}");
        assert_eq!(stack.iter().any(|call| *call == raised), is_whole, "{stack:?}");
        assert_eq!(stack.last() == Some(&"[the stack goes on]"), !is_whole, "{stack:?}");
    }
}

#[test]
fn a_thousand_threads_are_each_heard() {
    let dir = Dir::new("unhappy");
    let found = profiled(&dir, &[], &program(), &["threads"]);
    let own = of_bytes(&found, 1100);
    let heard: f64 = own.iter().filter(|(_, stack)| stack[0] == at("of_thread", "of a thread")).map(|(n, _)| n).sum();
    assert_eq!((heard, own.len()), (1000.0, 1000), "one row for each thread");
}
