//! What a profile at the usual interval costs: programs under `heapglass run` and under `heapglass profile`, in turn. Each tells its own
//! processor time, so what unwinds and names isn't in it: that is another process. Where a machine is busy, times of a few hundredths more
//! can't be told from none; instructions can, so valgrind's callgrind counts those, too. They leave out what caches and the kernel take.

use super::runs::{build, cell, spread, table, words};
use crate::root;
use heapglass_bench::plan::order;
use std::process::Command;

const ROUNDS: usize = 5;
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
        // Decay goes by the clock, and samples by chance: neither is what is asked here.
        heapglass.current_dir(root()).env("HEAPGLASS", "decay:-1,guard:0").arg(how);
        heapglass.args(["-f", "--", "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        heapglass.args([workloads, name, "--scale", &format!("{}", scale * part)]);
        let whole = heapglass.output().map_err(|e| format!("heapglass: {e}"))?;
        let said = String::from_utf8_lossy(&whole.stderr).into_owned();
        let line = said.lines().find_map(|line| line.split_once("Collected : "));
        let value = line.and_then(|(_, count)| count.trim().parse::<f64>().ok());
        value.ok_or_else(|| format!("{name} under callgrind: {} {said}", whole.status))
    };
    Ok(counted(COUNTED[1])? - counted(COUNTED[0])?)
}

pub fn section() -> Result<String, String> {
    build()?;
    let workloads = root().join("target/release/heapglass-workloads").to_string_lossy().into_owned();
    let mut all: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, scale) in WORK {
        all.push((name, [&workloads, name, "--scale", scale].map(str::to_owned).to_vec()));
    }
    for (program, option, code, script, argument) in PROGRAMS {
        let mut command = [program, option, code].map(str::to_owned).to_vec();
        if !script.is_empty() {
            command.extend([format!("crates/cli/suite/{script}"), argument.to_owned()]);
        }
        all.push((program, command));
    }
    let hows: [&[&str]; 2] = [&["profile", "--quiet"], &["run"]];
    let mut rows = Vec::new();
    let mut logs: [Vec<f64>; 3] = Default::default();
    for (name, command) in &all {
        let mut values = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for at in order(round, vec![0, 1]) {
                values[at].push(cpu(hows[at], name, command)?);
            }
        }
        let [with, without] = &values;
        let percents: Vec<f64> = with.iter().zip(without).map(|(with, without)| 100.0 * with / without).collect();
        let ratios = spread(&percents)?;
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = 100.0 * least(with) / least(without);
        logs[0].push(ratios.median.ln());
        logs[1].push(fastest.ln());
        let mut counted = String::new();
        if let Some((_, scale)) = WORK.iter().find(|(workload, _)| workload == name) {
            let scale = scale.parse().map_err(|e| format!("{scale}: {e}"))?;
            let count = |how| instructions(how, name, &workloads, scale);
            let ratio = 100.0 * count("profile")? / count("run")?;
            logs[2].push(ratio.ln());
            counted = format!("{ratio:.1}");
        }
        rows.push(vec![
            (*name).to_owned(),
            format!("{:.2}", least(without)),
            cell(&ratios),
            format!("{fastest:.1}"),
            counted,
        ]);
    }
    let means = logs.iter().map(|logs| format!("{:.1}", (logs.iter().sum::<f64>() / logs.len() as f64).exp()));
    rows.push(["geometric mean".to_owned(), String::new()].into_iter().chain(means).collect());
    let head =
        words(["", "seconds without", "profiled, % of without", "fastest of each, %", "instructions, % of without"]);
    Ok(format!(
        "## Profiles\n\nProcessor time of programs under `heapglass profile` against `heapglass run`: {ROUNDS} pairs of runs in turn, the \
         median of their ratios with its spread, and the ratio of the fastest run of each; and instructions, as callgrind counts them.\n\n{}",
        table(&head, &rows)
    ))
}
