//! Running a workload under one allocator after another, and tables of what it said.

use crate::cargo::{cargo, output};
use crate::counts::LIBRARY;
use crate::root;
use heapglass_bench::plan::order;
use heapglass_bench::rivals::{Allocator, OURS, SYSTEM_DIRS, found};
use heapglass_bench::spread::Spread;
use std::path::PathBuf;
use std::process::Command;

const WORKLOADS: &str = "heapglass-workloads";
const SMALLEST: &str = "heapglass-smallest";

/// Builds the library, the workloads and the yardstick.
pub fn build() -> Result<(), String> {
    output(cargo().args(["build", "--quiet", "--release"]))?;
    output(cargo().args(["build", "--quiet", "--release", "-p", WORKLOADS, "-p", SMALLEST])).map(drop)
}

/// The C library's own, ours, and whatever else is there.
pub fn allocators() -> Vec<Allocator> {
    let mut all = vec![Allocator::reference(), Allocator::preloaded(OURS, root().join(LIBRARY))];
    all.extend(found(&[root().join("target/rivals")], &SYSTEM_DIRS.map(PathBuf::from)));
    all
}

pub fn smallest() -> Allocator {
    Allocator::preloaded("the smallest", root().join("target/release/libheapglass_smallest.so"))
}

/// As many threads as this have a processor each.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// One run: a workload with its threads and options under an allocator.
pub struct Run {
    pub allocator: Allocator,
    pub workload: &'static str,
    pub threads: usize,
    pub options: String,
    /// The value of `HEAPGLASS`.
    pub settings: Option<&'static str>,
}

impl Run {
    pub fn new(allocator: &Allocator, workload: &'static str, threads: usize, options: impl Into<String>) -> Run {
        Run { allocator: allocator.clone(), workload, threads, options: options.into(), settings: None }
    }

    pub fn with(self, settings: &'static str) -> Run {
        Run { settings: Some(settings), ..self }
    }

    fn said(&self) -> Result<Said, String> {
        let mut command = Command::new(root().join("target/release").join(WORKLOADS));
        command.args([self.workload, "--threads", &self.threads.to_string()]).args(self.options.split_whitespace());
        command.env_remove("HEAPGLASS").env_remove("LD_PRELOAD");
        command.envs(self.settings.map(|value| ("HEAPGLASS", value)));
        if let Some(library) = &self.allocator.library {
            command.env("LD_PRELOAD", library);
        }
        let whole = command.output().map_err(|e| format!("{WORKLOADS}: {e}"))?;
        let complaint = String::from_utf8_lossy(&whole.stderr);
        // A loader that can't preload says so and goes on, and then it isn't this allocator that is measured.
        if !whole.status.success() || !complaint.is_empty() {
            return Err(format!("{} under {}: {} {complaint}", self.workload, self.allocator.name, whole.status));
        }
        Ok(Said(String::from_utf8_lossy(&whole.stdout).into_owned()))
    }
}

/// What a workload printed: lines of a name and `key=value`s.
pub struct Said(String);

impl Said {
    pub fn value(&self, line: &str, key: &str) -> Result<f64, String> {
        let of = |text: &str| {
            let line = text.lines().find(|text| text.split(' ').next() == Some(line))?;
            let word = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
            word.parse().ok()
        };
        of(&self.0).ok_or_else(|| format!("no {key} in the line of {line}: {}", self.0.trim()))
    }

    /// Nanoseconds of an operation: processor time where each thread has a processor, or else what the clock says.
    pub fn each(&self, workload: &str, threads: usize) -> Result<f64, String> {
        let time = if threads <= processors() { "cpu" } else { "seconds" };
        Ok(self.value(workload, time)? * 1e9 / self.value(workload, "operations")?)
    }
}

/// Every run once a round, each round beginning with another; what was read from each, by run and round. A run that fails
/// ends the measuring: a table with a hole is no comparison.
pub fn in_turn<T>(
    runs: &[Run],
    rounds: usize,
    read: impl Fn(&Run, &Said) -> Result<T, String>,
) -> Result<Vec<Vec<T>>, String> {
    let mut all: Vec<Vec<T>> = runs.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for at in order(round, (0..runs.len()).collect()) {
            all[at].push(read(&runs[at], &runs[at].said()?)?);
        }
    }
    Ok(all)
}

pub fn spread(values: &[f64]) -> Result<Spread, String> {
    Spread::of(values).ok_or_else(|| "no values".into())
}

/// The median, and the spread behind it.
pub fn cell(spread: &Spread) -> String {
    let whole = [spread.median, spread.low, spread.high].iter().all(|value| value.fract() == 0.0);
    let digits = if spread.median < 100.0 && !whole { 1 } else { 0 };
    format!("{:.digits$} ({:.digits$}..{:.digits$})", spread.median, spread.low, spread.high)
}

/// The first column is names, the others are figures.
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = (0..head.len()).map(|at| if at == 0 { ":---" } else { "---:" }.to_owned()).collect();
    line(head) + &line(&rule) + &rows.iter().map(|row| line(row)).collect::<String>()
}

pub fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_workload_said_is_read() {
        let said = Said(
            "latency threads=1 operations=50 seconds=0.2 cpu=0.1 ns/operation=2\nmalloc count=5 p50=30 p99.9=400\n"
                .into(),
        );
        assert_eq!(said.value("malloc", "p99.9"), Ok(400.0));
        assert_eq!(said.value("latency", "operations"), Ok(50.0));
        assert_eq!(said.each("latency", 1), Ok(2e6));
        assert_eq!(said.each("latency", usize::MAX), Ok(4e6));
        assert!(said.value("malloc", "p9").is_err() && said.value("free", "p50").is_err());
    }

    #[test]
    fn a_table_has_a_rule_and_as_many_cells_in_each_line() {
        let text = table(&words(["a", "b"]), &[words(["x", "1"]), words(["y", "2"])]);
        assert_eq!(text, "| a | b |\n| :--- | ---: |\n| x | 1 |\n| y | 2 |\n");
    }

    #[test]
    fn cells_are_medians_with_their_spread() {
        assert_eq!(cell(&spread(&[1.5, 2.0, 4.0]).unwrap()), "2.0 (1.5..4.0)");
        assert_eq!(cell(&spread(&[1.0, 2.0, 4.0]).unwrap()), "2 (1..4)");
        assert_eq!(cell(&spread(&[120.4, 99.0, 300.0]).unwrap()), "120 (99..300)");
        assert!(spread(&[]).is_err());
    }
}
