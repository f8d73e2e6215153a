//! `cargo xtask fuzz TARGET SECONDS` searches for inputs, `cargo xtask soak MINUTES` runs the soak for longer than the tests do.
//! The fuzzer's marks are put in by the compiler that builds everything else, so no other one is needed.

use crate::cargo::{cargo, shown};
use crate::{Outcome, root};
use std::fs;
use std::process::Command;

pub const USAGE: &str = "\
cargo xtask fuzz TARGET SECONDS   search for inputs: heap, damage, settings, readers or captures
cargo xtask fuzz TARGET FILE...   try these inputs
cargo xtask soak MINUTES          threads, forks, signals and trims at once";

const MACHINE: &str = "x86_64-unknown-linux-gnu";
/// What the fuzzer steers by: a counter for each piece of code, and what was compared with what.
const MARKS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// New inputs are collected in `target/corpora`, beside those of `fuzz/corpora`; what fails is left in `target/found`.
pub fn run(words: &[&str]) -> Outcome {
    let [target, what @ ..] = words else { return Err(USAGE.into()) };
    let mut build = cargo();
    build.current_dir(root().join("fuzz")).env("RUSTFLAGS", MARKS);
    // With a target named, the flags don't reach what is run while building.
    shown(build.args(["build", "--release", "--target", MACHINE, "--target-dir", "../target/fuzz"]))?;
    let dir = |name: &str| {
        let dir = root().join("target").join(name).join(target);
        fs::create_dir_all(&dir).map(|()| dir.clone()).map_err(|e| format!("{}: {e}", dir.display()))
    };
    let mut fuzzer = Command::new(root().join("target/fuzz").join(MACHINE).join("release/target"));
    fuzzer.env("HEAPGLASS_TARGET", target).arg("-timeout=200").arg("-rss_limit_mb=0");
    fuzzer.arg(format!("-artifact_prefix={}/", dir("found")?.display()));
    match what {
        [seconds] if seconds.parse::<u64>().is_ok() => {
            fuzzer
                .arg(format!("-max_total_time={seconds}"))
                .arg("-print_final_stats=1")
                .arg(format!("-max_len={}", longest(target)));
            fuzzer.arg(dir("corpora")?).arg(root().join("fuzz/corpora").join(target));
        }
        [] => return Err(USAGE.into()),
        files => drop(fuzzer.args(files)),
    }
    shown(&mut fuzzer)
}

/// Bytes of an input at most: files of code need some before they have anything in them.
fn longest(target: &str) -> usize {
    if target == "readers" { 4000 } else { 2000 }
}

pub fn soak(words: &[&str]) -> Outcome {
    let minutes = match words {
        [minutes] => minutes.parse::<u64>().map_err(|_| USAGE.to_owned())?,
        _ => return Err(USAGE.into()),
    };
    shown(cargo().args(["build", "--quiet", "--release"]))?;
    let words = ["test", "--quiet", "--release", "-p", "heapglass-tests", "--test", "soak", "--", "--nocapture"];
    shown(cargo().args(words).env("HEAPGLASS_SOAK_SECONDS", (minutes * 60).to_string()))
}
