//! The project's own commands: `cargo xtask test` runs everything that is checked, `cargo xtask test NAME...` some steps of
//! it, `cargo xtask list` names them; `cargo xtask rivals` builds other allocators to measure beside, `cargo xtask measure` does so.

#![deny(unsafe_code)]

mod attacks;
mod benchmarks;
mod callgrind;
mod cargo;
mod counts;
mod edges;
mod fuzz;
mod measure;
mod no_c;
mod page;
mod rivals;
mod steps;
mod symbols;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test            run every step
cargo xtask test NAME...    run these steps (and the build, where they need it)
cargo xtask list            name the steps
cargo xtask rivals          build other allocators into target/rivals
cargo xtask measure         name what can be measured beside other allocators
cargo xtask measure NAME... measure it, and print it in Markdown";

/// What a step says when it fails; what it ran has printed the rest.
type Outcome = Result<(), String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

fn ended(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let steps = match steps::all() {
        Ok(steps) => steps,
        Err(why) => {
            eprintln!("xtask: {why}");
            return ExitCode::FAILURE;
        }
    };
    match words.as_slice() {
        ["test", names @ ..] => steps::run(&steps, names),
        ["list"] => {
            steps.iter().for_each(|step| println!("{:<28}{}", step.name, step.about));
            ExitCode::SUCCESS
        }
        ["rivals"] => ended(rivals::run()),
        ["measure", names @ ..] => ended(measure::run(names)),
        ["fuzz", words @ ..] => ended(fuzz::run(words)),
        ["soak", words @ ..] => ended(fuzz::soak(words)),
        ["benchmarks", words @ ..] => ended(benchmarks::run(words)),
        ["attacks", words @ ..] => ended(attacks::run(words)),
        ["help" | "--help" | "-h"] => {
            println!("{}", usage());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{}", usage());
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    [USAGE, benchmarks::USAGE, attacks::USAGE, fuzz::USAGE].join("\n")
}
