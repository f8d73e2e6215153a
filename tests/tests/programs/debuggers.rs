//! gdb with a child on Heapglass, and valgrind beside it.

use crate::trial::{LIMIT, Trial, compiled_once};
use heapglass_tests::{Ran, have, run, run_within};
use std::process::Command;

const GDB_STEPS: [&str; 10] = [
    "set pagination off",
    "set confirm off",
    "set startup-with-shell off",
    // Needs a permission that containers take away, and nothing here depends on addresses.
    "set disable-randomization off",
    "set print entry-values no",
    "break deep",
    "run",
    "info sharedlibrary",
    "backtrace",
    "continue",
];

fn debug(mut gdb: Command, before: &[String], program: &str) -> Ran {
    gdb.args(["-nx", "-batch"]).env("DEBUGINFOD_URLS", "");
    for step in before.iter().map(String::as_str).chain(GDB_STEPS) {
        gdb.args(["-ex", step]);
    }
    let ran = run_within(gdb.arg(program), LIMIT).ok();
    assert!(!ran.out.contains("heapglass: ") && !ran.err.contains("heapglass: "), "{ran:#?}");
    for expected in [
        "libheapglass.so",
        "#0  deep (",
        "length=40",
        "#1  ",
        " middle (",
        "#2  ",
        " main ()",
        "answer 41",
        "exited normally",
    ] {
        assert!(ran.out.contains(expected), "{expected:?} is missing: {ran:#?}");
    }
    ran
}

#[test]
fn gdb_of_a_child() {
    if !have("gdb") {
        return;
    }
    let trial = Trial::new("gdb, child");
    let program = compiled_once("tests/programs/stops.c", &[]);
    let before = [
        format!("set environment LD_PRELOAD {}", trial.preload()),
        format!("set environment HEAPGLASS_AUDIT {}", trial.audit_file().display()),
    ];
    debug(trial.plain("gdb"), &before, program.to_str().unwrap());
    let exe = program.file_name().unwrap().to_str().unwrap();
    assert!(trial.notes().iter().all(|note| note.exe == exe), "gdb itself was to be without: {:?}", trial.notes());
    trial.proved(&[exe]);
}

#[test]
fn gdb_itself() {
    if !have("gdb") {
        return;
    }
    let trial = Trial::new("gdb, itself too");
    let program = compiled_once("tests/programs/stops.c", &[]);
    debug(trial.on("gdb"), &[], program.to_str().unwrap());
    trial.proved(&["gdb", program.file_name().unwrap().to_str().unwrap()]);
}

/// Runs `loses.c` on Heapglass under valgrind and returns what valgrind said.
fn under_valgrind(trial: &Trial, options: &[&str]) -> Ran {
    let program = compiled_once("tests/programs/loses.c", &[]);
    let mut command = trial.on("valgrind");
    command.args(options).arg(&program);
    let ran = run_within(&mut command, LIMIT).ok();
    assert_eq!(ran.out, "wrong 0\n", "{ran:#?}");
    assert!(!ran.err.contains("heapglass: "), "Heapglass complained: {ran:#?}");
    ran
}

/// The name that valgrind knows our library by: the one recorded in it, or `NONE`.
fn soname(trial: &Trial) -> String {
    let listed = run(trial.plain("readelf").arg("-dW").arg(trial.library())).ok();
    let line = listed.out.lines().find(|line| line.contains("(SONAME)"));
    line.map_or("NONE", |line| line.split(['[', ']']).nth(1).unwrap()).to_string()
}

/// valgrind puts its own malloc in the place of ours, by itself or told to, and so knows which blocks were lost.
#[test]
fn valgrind_takes_over() {
    if !have("valgrind") {
        return;
    }
    let trial = Trial::new("valgrind's malloc");
    let told = format!("--soname-synonyms=somalloc={}", soname(&trial));
    for options in [&["--leak-check=full"][..], &["--leak-check=full", &told]] {
        let ran = under_valgrind(&trial, options);
        // Seven blocks of 1,001 bytes; a stale register or stack slot may still point at the last.
        let lost = [7, 6].map(|blocks| format!("definitely lost: {} bytes in {blocks} blocks", group(1001 * blocks)));
        assert!(lost.iter().any(|line| ran.err.contains(line)), "{options:?} {ran:#?}");
        assert!(ran.err.contains("ERROR SUMMARY: 1 errors from 1 contexts"), "the leak and nothing else: {ran:#?}");
    }
    trial.proved(&["tests_programs_loses_c_dynamic"]);
}

/// valgrind leaves our malloc in place: it only runs the program, and still finds no fault in it.
#[test]
fn valgrind_leaves_ours() {
    if !have("valgrind") {
        return;
    }
    let trial = Trial::new("valgrind, our malloc");
    let none = "--soname-synonyms=somalloc=nouserintercepts";
    under_valgrind(&trial, &["--tool=none", none]);
    let ran = under_valgrind(&trial, &["--leak-check=summary", none]);
    assert!(ran.err.contains("total heap usage: 0 allocs, 0 frees"), "valgrind's malloc was in use: {ran:#?}");
    assert!(!ran.err.contains("Invalid read") && !ran.err.contains("Invalid write"), "{ran:#?}");
    trial.proved(&["tests_programs_loses_c_dynamic"]);
}

/// As valgrind writes numbers.
fn group(n: u32) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}
