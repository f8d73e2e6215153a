//! `heapglass bench`: a program under every allocator of the machine, in turn.

use crate::exports::Exports;
use crate::failure::Failure;
use crate::launch::Launch;
use crate::{find, program, script, shell, suite};
use heapglass_bench::plan::{self, Runs};
use heapglass_bench::report::{Report, Row};
use heapglass_bench::rivals::{self, Allocator};
use heapglass_bench::{csv, json, markdown, svg, table};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run a program under every allocator of this machine and compare
///
/// Measures PROGRAM under the C library's own allocator, Heapglass, and jemalloc, mimalloc, tcmalloc, snmalloc and rpmalloc
/// where they are found, in turn, and prints time, peak memory and page faults of each.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Bench {
    /// Run each allocator exactly so often
    #[arg(short, long, value_parser = at_least_one, conflicts_with_all = ["min_runs", "max_runs"])]
    runs: Option<usize>,

    /// At least so often (10)
    #[arg(short, long, value_parser = at_least_one)]
    min_runs: Option<usize>,

    /// At most so often
    #[arg(short = 'M', long, value_parser = at_least_one)]
    max_runs: Option<usize>,

    /// Rounds before the measurement (1; 0 with --suite)
    #[arg(short, long)]
    warmup: Option<usize>,

    /// Only these, beside the C library's: NAME of one that is found, or NAME=PATH of a library
    #[arg(long, value_delimiter = ',', value_name = "NAME[=PATH],...")]
    with: Vec<String>,

    /// A shell command to run once, before everything
    #[arg(short, long, value_name = "CMD")]
    setup: Option<String>,

    /// A shell command to run before each run
    #[arg(short, long, value_name = "CMD")]
    prepare: Option<String>,

    /// A shell command to run once, after everything
    #[arg(short, long, value_name = "CMD")]
    cleanup: Option<String>,

    /// No shell for those three: they are cut at blanks. PROGRAM is never run by a shell
    #[arg(short = 'N')]
    no_shell: bool,

    /// Count runs that exit with another status than 0; a run that a signal ended never counts
    #[arg(short, long)]
    ignore_failure: bool,

    /// What to call it in tables and exports
    #[arg(short = 'n', long, value_name = "NAME")]
    command_name: Option<String>,

    /// What PROGRAM reads from standard input
    #[arg(long, default_value = "/dev/null", value_name = "FILE")]
    input: PathBuf,

    #[command(flatten)]
    exports: Exports,

    /// Our own workloads and real programs in the place of PROGRAM: those named, or all
    #[arg(long, conflicts_with_all = SINGLE)]
    suite: bool,

    /// Name what --suite runs, and what of it is missing here
    #[arg(long, requires = "suite")]
    list: bool,

    /// Times the work of each item of the suite
    #[arg(long, requires = "suite", value_parser = above_zero, default_value_t = 1.0, value_name = "F")]
    scale: f64,

    /// The program, found as a shell finds it, and its arguments. The first word that is no flag ends the flags of `bench`
    #[arg(required_unless_present = "suite", num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

/// What is about one program only.
const SINGLE: [&str; 9] =
    ["min_runs", "max_runs", "setup", "prepare", "cleanup", "no_shell", "ignore_failure", "command_name", "input"];

const AFTER_HELP: &str = "\
Unlike under `run`, children inherit the allocator: a script is measured with all that it starts. Peak memory is that of \
the largest single process. User and system time of short runs are what the kernel saw at its ticks. What PROGRAM prints is thrown away; if it fails, the end of its errors is shown.

Without -r, as many rounds as three seconds per allocator allow, at least 10. Every round begins with another allocator. \
A program that fails under one is shown as failed there and runs on under the others.

Found are: libheapglass.so of this command; every lib*.so in a directory `rivals` beside this command's directory; known \
libraries in the system's directories. LD_PRELOAD of the caller is left out.

With --suite [NAME...] (flags before names) each item runs 5 times or -r times under each allocator, after one run under \
the C library, whose output the others are compared with. Time is user and system time there. Programs that are missing are \
named and left out.

Exit status: 0; 1 if PROGRAM failed, or an allocator couldn't be preloaded, in any row; 125 if this command failed, 126 if \
PROGRAM can't be executed or preloaded into, 127 if it wasn't found.";

pub fn at_least_one(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(0) => Err("must be 1 or more".into()),
        Ok(number) => Ok(number),
        Err(e) => Err(format!("{e}")),
    }
}

fn above_zero(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("must be a number above 0".into()),
    }
}

impl Bench {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        if self.suite {
            let Bench { runs, warmup, with, list, scale, exports, words, .. } = self;
            let names = lossy(&words);
            return suite::Asked { names, runs, warmup, with, list, scale, exports }.carry_out();
        }
        if let (Some(min), Some(max)) = (self.min_runs, self.max_runs)
            && min > max
        {
            return Err(Failure::ours(format!("--min-runs {min} is more than --max-runs {max}")));
        }
        let library = find::library()?;
        let allocators = allocators(&library, &self.with)?;
        let words = lossy(&self.words);
        let start = script::follow(self.words.clone())?;
        program::check(&start.image, &library)?;
        let image = start.image;
        let launch = Launch {
            file: start.file,
            words: start.words,
            assigned: start.assigned,
            input: self.input.clone(),
            dir: None,
            keeps_output: false,
            limit: None,
        };
        std::fs::File::open(&launch.input).map_err(|e| Failure::ours(format!("{}: {e}", launch.input.display())))?;
        let files = self.exports.open([json::render, csv::render, markdown::render, svg::render])?;
        warn_of_preload();
        if program::has_own_malloc(&image) {
            eprintln!("heapglass: {}: defines malloc itself, so it never asks what is preloaded", image.display());
        }
        let report = Report {
            name: self.command_name.clone().unwrap_or_else(|| words.join(" ")),
            words,
            warmup: self.warmup.unwrap_or(1),
            rounds: Vec::new(),
            rows: allocators.into_iter().map(Row::new).collect(),
            floor_bytes: 0,
        };
        let report = Measuring { bench: &self, launch, report }.all()?;
        files.write(&report)?;
        // A reader who has gone away has seen what they wanted.
        let _ = io::stdout().write_all(table::render(&report).as_bytes());
        let failed = report.rows.iter().any(|row| row.fault.is_some());
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn lossy(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

pub fn warn_of_preload() {
    if std::env::var_os("LD_PRELOAD").is_some_and(|list| !list.is_empty()) {
        eprintln!("heapglass: LD_PRELOAD is set; it is left out in all runs");
    }
}

/// What to compare: all that are found, or those that were asked for, the C library's own first.
pub fn allocators(library: &Path, with: &[String]) -> Result<Vec<Allocator>, Failure> {
    let chosen = rivals::chosen(found(library), with).map_err(Failure::ours)?;
    chosen.into_iter().map(absolute).collect()
}

pub fn found(library: &Path) -> Vec<Allocator> {
    let us = std::env::current_exe().unwrap_or_default();
    // Beside `target/release/heapglass` as Cargo builds it, and beside `bin/heapglass` below a prefix.
    let rivals: Vec<PathBuf> = us.parent().and_then(Path::parent).map(|dir| dir.join("rivals")).into_iter().collect();
    let mut all = vec![Allocator::preloaded(rivals::OURS, library)];
    all.extend(rivals::found(&rivals, &rivals::SYSTEM_DIRS.map(PathBuf::from)));
    all
}

/// As `LD_PRELOAD` can carry it. A file that isn't there is left to the loader, whose answer becomes the row.
pub fn absolute(mut allocator: Allocator) -> Result<Allocator, Failure> {
    if let Some(library) = &mut allocator.library {
        let path = std::path::absolute(&library).map_err(|e| Failure::ours(format!("{}: {e}", library.display())))?;
        *library = std::fs::canonicalize(&path).unwrap_or(path);
        find::check_entry(library)?;
    }
    Ok(allocator)
}

struct Measuring<'a> {
    bench: &'a Bench,
    launch: Launch,
    report: Report,
}

impl Measuring<'_> {
    fn all(mut self) -> Result<Report, Failure> {
        self.shell(self.bench.setup.as_ref())?;
        let first = self.report.warmup;
        // Until the first measured round has told how long a run takes.
        let mut last = first + 1;
        let mut round = 0;
        while round < last {
            self.round(round)?;
            if round == first {
                last = first + self.runs();
            }
            round += 1;
        }
        self.shell(self.bench.cleanup.as_ref())?;
        clear_progress();
        Ok(self.report)
    }

    fn runs(&self) -> usize {
        let first = self.report.rows.iter().filter(|row| row.fault.is_none()).flat_map(|row| row.samples.first());
        let seconds: Vec<f64> = first.map(|sample| sample.wall_seconds).collect();
        if seconds.is_empty() {
            return 1;
        }
        let asked = Runs { exactly: self.bench.runs, min: self.bench.min_runs, max: self.bench.max_runs };
        asked.count(seconds.iter().sum::<f64>() / seconds.len() as f64)
    }

    fn round(&mut self, round: usize) -> Result<(), Failure> {
        let all = 0..self.report.rows.len();
        let order = plan::order(round, all.filter(|at| self.report.rows[*at].fault.is_none()).collect());
        for at in &order {
            progress(&format!("round {}, {}", round + 1, self.report.rows[*at].allocator.name));
            self.shell(self.bench.prepare.as_ref())?;
            self.run(*at, round >= self.report.warmup)?;
        }
        self.report.rounds.push(order);
        Ok(())
    }

    fn run(&mut self, at: usize, counts: bool) -> Result<(), Failure> {
        let row = &mut self.report.rows[at];
        let ran =
            self.launch.run(row.allocator.library.as_deref()).map_err(|e| Failure::refused(&self.launch.file, &e))?;
        self.report.floor_bytes = self.report.floor_bytes.max(ran.floor_bytes);
        row.fault = ran.fault(row.allocator.library.as_deref(), self.bench.ignore_failure);
        if row.fault.is_none() && counts {
            row.samples.push(ran.sample);
        }
        Ok(())
    }

    fn shell(&self, text: Option<&String>) -> Result<(), Failure> {
        text.map_or(Ok(()), |text| shell::run(text, self.bench.no_shell))
    }
}

/// One line on a terminal, written over again and again.
pub fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

pub fn clear_progress() {
    progress("");
}
