//! A program of the musl C library, with Heapglass preloaded. musl's loader gives our library its own C library in the
//! place of glibc's, so the preload works as long as every function that we take from glibc is in musl too. Where one is
//! missing, the loader must name it and the program must not start half-way.
//!
//! Linking such a program with `libheapglass.a` needs nothing of this, and is tested with the doors.

use crate::trial::{LIMIT, Trial, script};
use heapglass_tests::{have, run, run_within};
use std::collections::HashSet;
use std::path::Path;

/// The symbols of a library that `nm` lists with these options, without their versions.
fn symbols(trial: &Trial, options: &[&str], library: &Path) -> HashSet<String> {
    let listed = run(trial.plain("nm").arg("-D").args(options).arg(library)).ok();
    // Weak ones (`w`) may stay undefined.
    let strong = listed.out.lines().filter(|line| !line.trim_start().starts_with("w "));
    strong.filter_map(|line| Some(line.split_whitespace().last()?.split('@').next()?.to_string())).collect()
}

#[test]
fn musl() {
    if !have("musl-gcc") {
        return;
    }
    let trial = Trial::new("musl");
    run(trial.plain("musl-gcc").args(["-O1", "-fno-builtin", "-o", "program"]).arg(script("small.c"))).ok();
    let program = trial.path("program");
    let plain = run(&mut trial.plain(&program)).ok();

    let mut command = trial.plain(&program);
    // The auditor is not preloaded here: it is linked for glibc itself.
    let ours = run_within(command.env("LD_PRELOAD", trial.library()).env("HEAPGLASS", "bogus_key:1"), LIMIT);

    let offered =
        symbols(&trial, &["--defined-only"], Path::new(&format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH)));
    assert!(offered.contains("malloc"), "musl's own symbols were not read");
    let wanted = symbols(&trial, &["--undefined-only"], trial.library());
    let mut missing: Vec<&String> = wanted.difference(&offered).collect();
    missing.sort();
    if missing.is_empty() {
        let ours = ours.ok();
        assert_eq!(ours.out, plain.out);
        let told: Vec<&str> = ours.err.lines().collect();
        assert!(told.len() == 1 && told[0].starts_with("heapglass: ") && told[0].contains("bogus_key"), "{ours:#?}");
    } else {
        assert_eq!((ours.code, ours.out.as_str()), (Some(127), ""), "{missing:?} {ours:#?}");
        for symbol in missing {
            assert!(ours.err.contains(&format!("{symbol}: symbol not found")), "{symbol} {ours:#?}");
        }
    }
}
