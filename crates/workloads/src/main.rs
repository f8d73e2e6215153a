//! Workloads of plain malloc and free, for measuring allocators: `heapglass-workloads list` names them,
//! `heapglass-workloads NAME` runs one and prints one line. Each is written from a published description, which its file
//! names. What a workload asks for depends on the seed alone, never on time or on the allocator.

#![deny(unsafe_code)]

mod aging;
mod bignum;
#[allow(unsafe_code)]
mod c;
#[allow(unsafe_code)]
mod clock;
mod growth;
mod handing;
mod large;
mod latency;
mod replace;
mod server;
mod sharing;
mod strings;
mod tree;
mod work;

use std::process::ExitCode;
use work::{Outcome, Setup};

const USAGE: &str = "\
heapglass-workloads list
heapglass-workloads NAME [--threads N] [--seed S] [--scale F] [--live N] [--size N]

  --threads  in place of the workload's own number
  --seed     of the random numbers (1)
  --scale    times the operations (1)
  --live     objects alive at a time, where the workload keeps a table (replace, server, handing, growth, touch, latency)
  --size     bytes of each object, of pair alone (32)";

struct Workload {
    name: &'static str,
    about: &'static str,
    threads: usize,
    run: fn(&Setup) -> Outcome,
}

const fn workload(name: &'static str, threads: usize, run: fn(&Setup) -> Outcome, about: &'static str) -> Workload {
    Workload { name, about, threads, run }
}

const ALL: [Workload; 22] = [
    workload("pair", 1, replace::pair, "malloc and free of 32 bytes, nothing between"),
    workload("replace", 1, replace::replace, "random replacement in a table, Pareto sizes"),
    workload("replace2", 2, replace::replace, "the same by two threads"),
    workload("growth", 1, growth::growth, "random replacement of 16 to 64 bytes, for tables of any length"),
    workload("touch", 1, growth::touch, "the memory that growth touches, without malloc and free"),
    workload("latency", 1, latency::run, "how long each malloc and each free takes, as percentiles"),
    workload("mix", 1, replace::mix, "batches freed first in, last in, or in part"),
    workload("server", 2, server::server, "threads replace at random and pass their tables on"),
    workload("phases", 2, server::phases, "threads die and leave objects to the next phase"),
    workload("births", 2, server::births, "threads by the thousand, few objects each"),
    workload("producers", 2, handing::producers, "who allocates never frees, who frees never allocates"),
    workload("handing", 2, handing::handing, "random handing between threads, up to 64 KiB"),
    workload("passive", 2, sharing::passive, "false sharing by objects handed over"),
    workload("active", 2, sharing::active, "false sharing by objects allocated side by side"),
    workload("large", 1, large::cycle, "blocks of 5 to 25 MiB by turns"),
    workload("vectors", 1, large::vectors, "vectors growing by realloc"),
    workload("bignum", 1, bignum::run, "small natural numbers: fractions and series"),
    workload("tree", 1, tree::run, "parse trees, built, folded and torn down"),
    workload("tree2", 2, tree::run, "the same by two threads"),
    workload("strings", 1, strings::run, "a hash map of strings"),
    workload("strings2", 2, strings::run, "a map each for two threads"),
    workload("aging", 1, aging::run, "a heap whose sizes drift, as in a server that runs for days"),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            ALL.iter().for_each(|w| println!("{:<12}{} threads  {}", w.name, w.threads, w.about));
            ExitCode::SUCCESS
        }
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        [name, options @ ..] => match parse(name, options) {
            Ok((workload, setup)) => {
                let outcome = (workload.run)(&setup);
                println!("{}", line(workload.name, &setup, &outcome));
                outcome.notes.iter().for_each(|note| println!("{note}"));
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("heapglass-workloads: {why}");
                ExitCode::from(2)
            }
        },
        [] => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(name: &str, options: &[&str]) -> Result<(&'static Workload, Setup), String> {
    let unknown = || format!("there is no workload {name}; `heapglass-workloads list` names them");
    let workload = ALL.iter().find(|w| w.name == name).ok_or_else(unknown)?;
    let mut setup = Setup { threads: workload.threads, seed: 1, scale: 1.0, live: None, size: None };
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{option} wants a value\n{USAGE}"))?;
        let wrong = || format!("{option} {value}: not a number that fits here");
        match *option {
            "--threads" => setup.threads = value.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?,
            "--seed" => setup.seed = value.parse().map_err(|_| wrong())?,
            "--scale" => setup.scale = value.parse().ok().filter(|f| *f > 0.0).ok_or_else(wrong)?,
            "--size" => setup.size = Some(value.parse().map_err(|_| wrong())?),
            "--live" => setup.live = Some(value.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?),
            _ => return Err(format!("there is no option {option}\n{USAGE}")),
        }
    }
    Ok((workload, setup))
}

fn line(name: &str, setup: &Setup, outcome: &Outcome) -> String {
    let (operations, seconds) = (outcome.tally.operations, outcome.elapsed.as_secs_f64());
    let cpu = outcome.cpu.as_secs_f64();
    let each = seconds * 1e9 / operations.max(1) as f64;
    let (threads, checksum) = (setup.threads, outcome.tally.checksum);
    format!(
        "{name} threads={threads} operations={operations} seconds={seconds:.4} cpu={cpu:.4} ns/operation={each:.2} checksum={checksum:016x}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c::live::{COUNT, ONE};
    use std::sync::atomic::Ordering;

    /// Each runs small, with its own number of threads and with three, frees everything, and does the same twice.
    #[test]
    fn every_workload_frees_everything_and_repeats_itself() {
        let _alone = ONE.lock().unwrap();
        for workload in &ALL {
            for threads in [workload.threads, 3] {
                let run = |seed| {
                    let setup = Setup { threads, seed, scale: 0.001, live: None, size: None };
                    let tally = (workload.run)(&setup).tally;
                    assert_eq!(COUNT.load(Ordering::SeqCst), 0, "{}: objects are left", workload.name);
                    assert!(tally.operations > 0, "{}", workload.name);
                    tally
                };
                assert_eq!(run(1), run(1), "{}", workload.name);
                if workload.name != "pair" {
                    assert_ne!(run(1).checksum, run(2).checksum, "{}: the seed changes nothing", workload.name);
                }
            }
        }
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let (workload, setup) = parse("replace", &["--threads", "4", "--live", "1000", "--scale", "0.5"]).ok().unwrap();
        assert_eq!((workload.name, setup.threads, setup.live, setup.seed), ("replace", 4, Some(1000), 1));
        assert_eq!(setup.share(8000), 1000);
        assert_eq!(setup.live_share(5), 250);
        for wrong in [&["--threads", "0"][..], &["--scale", "-1"], &["--seed"], &["--sed", "1"], &["--live", "x"]] {
            assert!(parse("replace", wrong).is_err(), "{wrong:?}");
        }
        assert!(parse("nothing", &[]).is_err());
    }
}
