//! The Java machine: with its own heap for objects, it takes threads, compiler, direct buffers and zlib from malloc.

use crate::trial::{Trial, good, script};
use heapglass_tests::have;

/// Two cores are shared with the other tests, and so is the memory.
const MODEST: &str = "-Xmx256m";

#[test]
fn java_version() {
    if !have("java") {
        return;
    }
    let trial = Trial::new("java -version");
    let ran = trial.same("java", &["-version"]);
    assert!(ran.err.contains(" version \""), "{ran:#?}");
    trial.proved(&["java"]);
}

#[test]
fn java_threads() {
    if !have("javac") {
        return;
    }
    let trial = Trial::new("javac and java");
    let there = trial.path("plain");
    let here = trial.path("ours");
    let source = script("Work.java");
    let compile = |classes: &str| ["-J-Xmx256m", "-d", classes, &source].map(str::to_string);
    heapglass_tests::run(trial.plain("javac").args(compile(there.to_str().unwrap()))).ok();
    good(trial.on("javac").args(compile(here.to_str().unwrap())));
    assert_eq!(trial.get("plain/Work.class"), trial.get("ours/Work.class"));

    let ran = trial.same("java", &[MODEST, "-cp", here.to_str().unwrap(), "Work"]);
    // 24 tasks of 60 rounds; each round has 2000 + 331 * round bytes.
    let bytes = 24 * (60 * 2000 + 331 * (59 * 60 / 2));
    assert!(ran.out.ends_with(&format!(" 1440 {bytes}\n")), "{ran:#?}");
    trial.proved(&["javac", "java"]);
}
