//! What a profile at the usual interval costs: programs under `heapglass run` and under `heapglass profile`, in turn. Each tells its own
//! processor time, so what unwinds and names isn't in it: that is another process. Where a machine is busy, times of a few hundredths more
//! can't be told from none; instructions can, so valgrind's callgrind counts those, too. They leave out what caches and the kernel take.
//!
//! Where threads meet, instructions differ from run to run, too: who comes first decides whose chunks are merged. So they are counted
//! several times in turn, and the medians compared. What is done is said on standard error, since it takes some minutes.

use super::runs::{build, cell, spread, table, words};
use crate::root;
use crate::tools;
use heapglass_bench::plan::order;
use heapglass_bench::spread::Spread;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;
/// Pairs of runs under callgrind.
const COUNTS: usize = 3;
/// What callgrind runs: the difference of two amounts of work, without start and end, as parts of that of the times.
const COUNTED: [f64; 2] = [0.1, 0.3];

/// Workloads, and how much of their usual work takes some tenths of a second.
const WORK: [(&str, &str); 19] = [
    ("pair", "0.2"),
    ("replace", "0.3"),
    ("replace2", "0.3"),
    ("mix", "0.4"),
    ("server", "0.2"),
    ("phases", "0.2"),
    ("births", "0.2"),
    ("producers", "0.3"),
    ("handing", "0.3"),
    ("passive", "0.2"),
    ("active", "0.2"),
    ("large", "0.3"),
    ("vectors", "0.2"),
    ("bignum", "0.2"),
    ("tree", "0.2"),
    ("tree2", "0.2"),
    ("strings", "0.2"),
    ("strings2", "0.2"),
    ("aging", "0.2"),
];

/// Real programs of the suite that can tell their processor time: the command, what it is told to do with a script of the suite, and that
/// script's argument.
const PROGRAMS: [(&str, &str, &str, &str, &str); 3] = [
    (
        "python3",
        "-c",
        "import runpy, sys, time; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); \
         print('python3 cpu=%f' % time.process_time())",
        "python.py",
        "20",
    ),
    (
        "lua5.4",
        "-e",
        "arg = { [0] = 'crates/cli/suite/lua.lua', '15' } dofile(arg[0]) print('lua5.4 cpu=' .. os.clock())",
        "",
        "",
    ),
    (
        "perl",
        "-e",
        "my $file = shift; do \"./$file\"; my @t = times; print \"\\nperl cpu=\", $t[0] + $t[1], \"\\n\"",
        "perl.pl",
        "15",
    ),
];

/// `run` or `profile`, and what follows.
fn cpu(how: &[&str], name: &str, command: &[String]) -> Result<f64, String> {
    let mut heapglass = Command::new(root().join("target/release/heapglass"));
    heapglass.current_dir(root()).env("PYTHONMALLOC", "malloc").env("PYTHONHASHSEED", "0").env_remove("HEAPGLASS");
    let whole = heapglass.args(how).arg("--").args(command).output().map_err(|e| format!("heapglass: {e}"))?;
    let (out, complaint) = (String::from_utf8_lossy(&whole.stdout), String::from_utf8_lossy(&whole.stderr));
    let line = out.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("cpu=")?.parse().ok()));
    value.ok_or_else(|| format!("{name} {how:?}: {} {complaint}", whole.status))
}

/// Instructions that a workload executes for the difference of two amounts of work.
fn instructions(how: &str, name: &str, workloads: &str, scale: f64) -> Result<f64, String> {
    let counted = |part: f64| {
        let mut heapglass = Command::new(root().join("target/release/heapglass"));
        // Decay goes by the clock, and guarded samples by chance: neither is what is asked here.
        heapglass.current_dir(root()).env("HEAPGLASS", "decay:-1,guard:0").arg(how);
        heapglass.args([
            "-f",
            "--",
            "valgrind",
            "--tool=callgrind",
            "--fair-sched=yes",
            "--callgrind-out-file=/dev/null",
        ]);
        heapglass.args([workloads, name, "--scale", &format!("{}", scale * part)]);
        let whole = heapglass.output().map_err(|e| format!("heapglass: {e}"))?;
        let said = String::from_utf8_lossy(&whole.stderr).into_owned();
        let line = said.lines().find_map(|line| line.split_once("Collected : "));
        let value = line.and_then(|(_, count)| count.trim().parse::<f64>().ok());
        value.ok_or_else(|| format!("{name} under callgrind: {} {said}", whole.status))
    };
    Ok(counted(COUNTED[1])? - counted(COUNTED[0])?)
}

/// Instructions under `profile` as hundredths of those under `run`: the ratio of the medians, and the least and the most that a pair of
/// neighbours came to.
fn counted(name: &str, workloads: &str, scale: f64) -> Result<Spread, String> {
    let mut values = [Vec::new(), Vec::new()];
    for _ in 0..COUNTS {
        for (values, how) in values.iter_mut().zip(["profile", "run"]) {
            values.push(instructions(how, name, workloads, scale)?);
        }
    }
    let [with, without] = &values;
    let pairs: Vec<f64> = with.iter().zip(without).map(|(with, without)| 100.0 * with / without).collect();
    let median = 100.0 * spread(with)?.median / spread(without)?.median;
    Ok(Spread { median, ..spread(&pairs)? })
}

/// Processor time under `profile` as hundredths of that under `run`, pair by pair; that of the fastest runs; and the least without.
fn timed(name: &str, command: &[String]) -> Result<(Spread, f64, f64), String> {
    let hows: [&[&str]; 2] = [&["profile", "--quiet"], &["run"]];
    let mut values = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for at in order(round, vec![0, 1]) {
            values[at].push(cpu(hows[at], name, command)?);
        }
    }
    let [with, without] = &values;
    let percents: Vec<f64> = with.iter().zip(without).map(|(with, without)| 100.0 * with / without).collect();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    Ok((spread(&percents)?, 100.0 * least(with) / least(without), least(without)))
}

/// The geometric mean and the highest of them, with its name.
fn mean_and_worst(all: &[(String, f64)]) -> (String, String) {
    let mean = (all.iter().map(|(_, percent)| percent.ln()).sum::<f64>() / all.len() as f64).exp();
    let worst = all.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    (format!("{mean:.1}"), worst.map_or(String::new(), |(name, percent)| format!("{percent:.1} ({name})")))
}

/// The programs that are there, with what they are told.
fn commands(workloads: &str) -> Vec<(&'static str, Vec<String>, Option<f64>)> {
    let mut all: Vec<(&str, Vec<String>, Option<f64>)> = Vec::new();
    for (name, scale) in WORK {
        all.push((name, [workloads, name, "--scale", scale].map(str::to_owned).to_vec(), scale.parse().ok()));
    }
    for (program, option, code, script, argument) in PROGRAMS {
        if tools::find(program).is_none() {
            eprintln!("left out: {program} isn't there");
            continue;
        }
        let mut command = [program, option, code].map(str::to_owned).to_vec();
        if !script.is_empty() {
            command.extend([format!("crates/cli/suite/{script}"), argument.to_owned()]);
        }
        all.push((program, command, None));
    }
    all
}

pub fn section() -> Result<String, String> {
    build()?;
    let began = Instant::now();
    let workloads = root().join("target/release/heapglass-workloads").to_string_lossy().into_owned();
    let counts = tools::find("valgrind").is_some();
    let (mut rows, mut columns) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for (name, command, scale) in commands(&workloads) {
        eprintln!("{name}, after {} s", began.elapsed().as_secs());
        let (ratios, fastest, seconds) = timed(name, &command)?;
        columns[0].push((name.to_owned(), ratios.median));
        columns[1].push((name.to_owned(), fastest));
        let mut row =
            vec![name.to_owned(), format!("{seconds:.2}"), cell(&ratios), format!("{fastest:.1}"), String::new()];
        if let Some(scale) = scale.filter(|_| counts) {
            let counted = counted(name, &workloads, scale)?;
            columns[2].push((name.to_owned(), counted.median));
            row[4] = format!("{:.1} ({:.1}..{:.1})", counted.median, counted.low, counted.high);
        }
        rows.push(row);
    }
    let (means, worst): (Vec<_>, Vec<_>) = columns.iter().map(|column| mean_and_worst(column)).unzip();
    for (name, figures) in [("geometric mean", means), ("worst", worst)] {
        rows.push([name.to_owned(), String::new()].into_iter().chain(figures).collect());
    }
    let head =
        words(["", "seconds without", "profiled, % of without", "fastest of each, %", "instructions, % of without"]);
    Ok(format!(
        "## Profiles\n\nProcessor time of programs under `heapglass profile` against `heapglass run`: {ROUNDS} pairs of runs in turn, the \
         median of their ratios with its spread, and the ratio of the fastest run of each; and instructions, as callgrind counts them: the \
         ratio of the medians of {COUNTS} runs of each, with the lowest and the highest ratio of two neighbours. All took {} minutes.\n\n{}",
        began.elapsed().as_secs().div_ceil(60),
        table(&head, &rows)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_ratios_and_the_worst_has_a_name() {
        let all = [("fast", 50.0), ("slow", 200.0)].map(|(name, percent)| (name.to_owned(), percent));
        assert_eq!(mean_and_worst(&all), ("100.0".to_owned(), "200.0 (slow)".to_owned()));
    }
}
