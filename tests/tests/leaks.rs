//! `heapglass leaks` on programs with known leaks, beside what valgrind and LeakSanitizer say of the same programs.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, compile, have, left_out, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "tests/leaks/leaks.c";

fn library(dir: &Dir) -> PathBuf {
    let path = dir.path().join("libleaks.so");
    run(Command::new("gcc")
        .args(["-g", "-O1", "-fno-builtin", "-shared", "-fPIC", "-o"])
        .arg(&path)
        .arg(root().join("tests/leaks/library.c")))
    .ok();
    path
}

#[track_caller]
fn leaks(words: &[&str], program: &Path, library: &Path) -> heapglass_tests::Ran {
    run(heapglass().arg("leaks").args(words).arg("--").arg(program).arg(library))
}

/// Bytes and chunks behind a name in the sums.
#[track_caller]
fn figure(text: &str, name: &str) -> (u64, u64) {
    let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    let numbers = line.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok()).collect::<Vec<u64>>();
    (numbers[0], numbers[1])
}

/// Of the known leaks: 10 of 100, the head of a list of 5 and of a ring of 3 (64 each), a mapping, one in a thread, one by a library.
const LOST: (u64, u64) = (1000 + 64 + 64 + (1 << 20) + 3000 + 7777, 15);
const BY_LOST: (u64, u64) = (6 * 64, 6);

#[test]
fn known_leaks_are_told_by_stack() {
    let dir = Dir::new("leaks");
    let (program, library) = (compile(SOURCE, Door::Preload, &[]), library(&dir));
    let ran = leaks(&[], &program, &library).ok();
    let text = &ran.err;
    assert_eq!(figure(text, "lost "), LOST, "{text}");
    assert_eq!(figure(text, "lost with those"), BY_LOST, "{text}");
    for told in [
        "1,000 bytes in 10 chunks lost\n    direct at ",
        "64 bytes in 1 chunk lost, 256 bytes in 4 chunks lost with others\n    list_node at ",
        "3,000 bytes in 1 chunk lost\n    thread at ",
        // Its library was closed, perhaps before anybody could look at it.
        "7,777 bytes in 1 chunk lost\n",
        "1,048,576 bytes in 1 chunk lost\n    mapping at ",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("still reachable\n    main"), "{text}");
    let all = leaks(&["--all", "--rows", "1000"], &program, &library).ok().err;
    assert!(all.contains("5,000 bytes in 1 chunk still reachable\n    main at "), "{all}");
    assert!(all.contains("320 bytes in 8 chunks still reachable\n    main at "), "{all}");
}

#[test]
fn the_status_tells_what_was_asked() {
    let dir = Dir::new("leaks");
    let (program, library) = (compile(SOURCE, Door::Preload, &[]), library(&dir));
    for (limit, code) in [("lost", 1), ("allocated", 1), ("1K", 1), ("100M", 0)] {
        let ran = leaks(&["--fail-if", limit], &program, &library);
        assert_eq!(ran.code, Some(code), "{limit}: {ran:?}");
    }
    let ran = run(heapglass().args(["leaks", "--fail-if", "lost", "--", "sh", "-c", "exit 7"]));
    assert!(ran.code == Some(7) || ran.err.contains("lost  "), "{ran:?}");
}

#[test]
fn rules_in_leak_sanitizers_syntax_leave_leaks_out() {
    let dir = Dir::new("leaks");
    let (program, library) = (compile(SOURCE, Door::Preload, &[]), library(&dir));
    let rules = dir.file("rules", b"# known\nleak:^direct$\nleak:list_*\nleak:mapping\nleak:cycle\n", 0o644);
    let ran = leaks(&["--suppressions", rules.to_str().unwrap(), "--fail-if", "1K"], &program, &library);
    assert_eq!(ran.code, Some(1), "the thread's and the library's are left: {ran:?}");
    assert_eq!(figure(&ran.err, "lost "), (3000 + 7777, 2), "{}", ran.err);
    assert_eq!(figure(&ran.err, "by leak:^direct$"), (1000, 10), "{}", ran.err);
    let wrong = dir.file("wrong", b"race:x\n", 0o644);
    let ran = leaks(&["--suppressions", wrong.to_str().unwrap()], &program, &library);
    assert!(ran.code == Some(125) && ran.err.contains("line 1"), "{ran:?}");
}

#[test]
fn valgrind_says_the_same() {
    if !have("valgrind") {
        return;
    }
    let dir = Dir::new("leaks");
    let (program, library) = (compile(SOURCE, Door::Libc, &[]), library(&dir));
    let ran = run(Command::new("valgrind").args(["--leak-check=full"]).arg(program).arg(library));
    assert_eq!(figure(&after_equals(&ran.err), "definitely lost:"), LOST, "{}", ran.err);
    assert_eq!(figure(&after_equals(&ran.err), "indirectly lost:"), BY_LOST, "{}", ran.err);
}

/// Without valgrind's `==PID==` before each line.
fn after_equals(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.rsplit("== ").next().unwrap())).collect()
}

#[test]
fn leak_sanitizer_says_the_same_in_all() {
    let dir = Dir::new("leaks");
    let (program, library) = (compile(SOURCE, Door::Libc, &["-fsanitize=leak"]), library(&dir));
    let ran = run(Command::new(program).arg(library));
    if ran.err.contains("LeakSanitizer has encountered a fatal error") {
        left_out(&format!("LeakSanitizer doesn't work here: {}", ran.err));
        return;
    }
    let line =
        ran.err.lines().find(|line| line.starts_with("SUMMARY: LeakSanitizer:")).unwrap_or_else(|| panic!("{ran:?}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers, [LOST.0 + BY_LOST.0, LOST.1 + BY_LOST.1], "{}", ran.err);
}
