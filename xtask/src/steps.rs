//! The steps of `cargo xtask test`, in the order in which they are run: what is quick first, what needs the built library
//! after the build.

use crate::cargo::{cargo, list, packages, shown, text};
use crate::{Outcome, attacks, counts, edges, no_c, page, rivals, root, symbols, tidy, tools};
use serde_json::Value;
use std::fs;
use std::process::ExitCode;
use std::time::Instant;

/// The tests of the built library. They run in release, on what the build step made.
const BUILT_TESTS: &str = "heapglass-tests";
/// Its tests run once as it is, and once in a world so small that every edge comes up.
const HEAP: &str = "heapglass-heap";
/// It has a ring that two processes share.
const EVENT: &str = "heapglass-event";
const SMALL_WORLD: &str = "small-world";
/// With a seam by which each system call of the heap's can be refused.
const FUZZED: &str = "heapglass-fuzzed";
const REFUSALS: &str = "refusals";
/// The Rust door with the part that is there only if it is asked for.
const DOOR: &str = "heapglass";
const PROFILE: &str = "profile";

pub struct Step {
    pub name: String,
    pub about: String,
    needs_build: bool,
    work: Box<dyn Fn() -> Outcome>,
}

fn step(name: impl Into<String>, about: impl Into<String>, work: impl Fn() -> Outcome + 'static) -> Step {
    Step { name: name.into(), about: about.into(), needs_build: false, work: Box::new(work) }
}

pub fn all() -> Result<Vec<Step>, String> {
    let packages = packages()?;
    let mut steps = vec![
        step("tools", "what the tests need is installed", tools::check),
        step("fmt", "cargo fmt", || shown(cargo().args(["fmt", "--all", "--check"]))),
        step("clippy", "cargo clippy, warnings are errors", || {
            shown(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }),
        step("tidy", "heads and lengths of files, words that don't belong in them", tidy::check),
        step("page", "the page's scripts are what its TypeScript compiles to", page::check),
        step("edges", "which package may depend on which", edges::check),
        step("build", "cargo build --release, and the workloads that tests run", || {
            shown(cargo().args(["build", "--quiet", "--release"]))?;
            shown(cargo().args(["build", "--quiet", "--release", "-p", rivals::WORKLOADS]))
        }),
        Step { needs_build: true, ..step("symbols", "what the library exports and contains", symbols::check) },
        Step { needs_build: true, ..step("counts", "instructions of the hot calls", counts::check) },
        Step { needs_build: true, ..step("attacks", "what comes of every fault of tests/attacks", attacks::check) },
        step("no-c", "the Rust door without a C compiler", no_c::check),
    ];
    steps.extend(packages.iter().filter(|p| is_tested(p)).map(|package| unit(text(package, "name"), &[])));
    steps.push(unit(HEAP, &["--features", SMALL_WORLD]));
    steps.push(unit(FUZZED, &["--release", "--test", REFUSALS, "--features", REFUSALS]));
    steps.push(unit(DOOR, &["--features", PROFILE]));
    steps.push(step("loom", "every interleaving of the concurrent pieces", loom));
    steps.push(step("schedules", "the whole heap under threads that take turns", schedules));
    steps.extend(built_tests()?);
    Ok(steps)
}

fn is_tested(package: &Value) -> bool {
    text(package, "name") != BUILT_TESTS && list(package, "targets").iter().any(|target| target["test"] == true)
}

fn unit(package: &str, extra: &[&'static str]) -> Step {
    let (package, extra) = (package.to_owned(), extra.to_vec());
    let short = package.strip_prefix("heapglass-").unwrap_or(&package);
    let name = std::iter::once("unit").chain([short]).chain(extra.last().copied()).collect::<Vec<_>>().join("-");
    let about = format!("cargo test -p {package} {}", extra.join(" "));
    step(name, about.trim_end(), move || shown(cargo().args(["test", "--quiet", "-p", &package]).args(&extra)))
}

/// The cfg changes every crate, so it has a target directory of its own.
fn loom() -> Outcome {
    let packages = ["-p", HEAP, "-p", EVENT];
    let words = ["--test", "loom*", "--target-dir", "target/loom"];
    shown(cargo().args(["test", "--quiet", "--release"]).args(packages).args(words).env("RUSTFLAGS", "--cfg loom"))
}

fn schedules() -> Outcome {
    let features = format!("scheduled,{SMALL_WORLD}");
    let words = ["test", "--quiet", "--release", "-p", HEAP, "--test", "scheduled", "--features", &features];
    shown(cargo().args(words))
}

fn built_tests() -> Result<Vec<Step>, String> {
    let dir = root().join("tests/tests");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    let one = |name: String| {
        let about = format!("the built library: tests/tests/{name}.rs");
        let work = {
            let name = name.clone();
            move || {
                let words = ["test", "--quiet", "--release", "-p", BUILT_TESTS, "--test", &name];
                shown(tools::allow(cargo().args(words)))
            }
        };
        Step { needs_build: true, ..step(name, about, work) }
    };
    Ok(names.into_iter().map(one).collect())
}

/// Runs the named steps, or all. A step that fails doesn't stop the others, but nothing is said of a library that could
/// not be built.
pub fn run(steps: &[Step], names: &[&str]) -> ExitCode {
    if let Some(unknown) = names.iter().find(|name| !steps.iter().any(|step| step.name == **name)) {
        eprintln!("xtask: there is no step {unknown}; `cargo xtask list` names them");
        return ExitCode::from(2);
    }
    let named = |step: &Step| names.is_empty() || names.contains(&step.name.as_str());
    let build = steps.iter().any(|step| named(step) && step.needs_build);
    let mut built = Ok(());
    let mut lines = Vec::new();
    let mut failed = 0;
    for step in steps.iter().filter(|step| named(step) || build && step.name == "build") {
        println!("\n== {}: {}", step.name, step.about);
        let start = Instant::now();
        let outcome = match &built {
            Err(()) if step.needs_build => Err("not run, since the build failed".into()),
            _ => (step.work)(),
        };
        if step.name == "build" {
            built = outcome.as_ref().map(drop).map_err(drop);
        }
        let seconds = start.elapsed().as_secs_f64();
        lines.push(match outcome {
            Ok(()) => format!("ok      {:<28}{seconds:8.1} s", step.name),
            Err(why) => {
                eprintln!("{}: {why}", step.name);
                failed += 1;
                format!("FAILED  {:<28}{seconds:8.1} s  {}", step.name, why.lines().next().unwrap_or_default())
            }
        });
    }
    println!("\n{}\n{} passed, {failed} failed", lines.join("\n"), lines.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
