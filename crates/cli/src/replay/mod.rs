//! `heapglass replay`: a recording's calls, made again by a player on other settings or another allocator, side by side.
//!
//! `compile` makes a plan of the recording (`plan`, written by `streams`), `player` plays it, `table` has what is told.

mod compile;
#[cfg(test)]
mod decode;
mod plan;
pub mod player;
mod streams;
mod table;

use crate::capture;
use crate::failure::Failure;
use crate::launch::Launch;
use crate::stats::{Page, Peaks, grouped};
use crate::{bench, find};
use compile::{Fault, Plan, Told, Wishes};
use heapglass_bench::plan::order;
use heapglass_bench::report::Row;
use heapglass_bench::rivals::{self, Allocator};
use heapglass_capture::Capture;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Play a recording's calls again on other settings or another allocator
///
/// Takes a FILE that `heapglass record` made, and makes its calls again: the same sizes and alignments, in as many threads, each of which
/// has its calls in their order; a chunk is freed after it was handed out, by whichever thread. Heapglass comes first, with the
/// settings of the recording; then a row for each --set and each allocator of --with. They take turns.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Replay {
    /// A recording
    file: PathBuf,

    /// Other allocators: NAME of one that `bench` finds (libc too), or NAME=PATH of a library
    #[arg(long, value_delimiter = ',', value_name = "NAME[=PATH],...")]
    with: Vec<String>,

    /// Heapglass with these settings as well; each --set is a row of its own
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = settings)]
    set: Vec<String>,

    /// Runs of each, after one to warm up
    #[arg(short, long, default_value_t = 5, value_parser = bench::at_least_one)]
    runs: usize,

    /// Write to all memory that is asked for
    #[arg(long)]
    touch: bool,

    /// Also prove that it is still as it was written when it is freed or resized, and that calloc's is zero
    #[arg(long)]
    check: bool,

    /// Make each call no sooner after the start than it was recorded
    #[arg(long)]
    timing: bool,

    /// The process that is played, of a recording of several; the first where none is named
    #[arg(short, long, value_name = "PID")]
    pid: Option<u32>,

    /// All figures as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
The player calls malloc, calloc, realloc, posix_memalign, free and malloc_trim; C++'s operators are played by the first and the \
last two. Resident memory is what a run has more than one that asks no allocator. Without --touch nothing but the allocator writes to it.

Exit status: 0; 1 if the player failed under an allocator, or one couldn't be preloaded; 125 if this command failed.";

/// Other processes of a recording that are named.
const OTHERS: usize = 5;

/// As the library reads them.
fn settings(text: &str) -> Result<String, String> {
    let items = text.split(',').map(|item| match item.split_once(['=', ':']) {
        _ if item.is_empty() => Err("KEY=VALUE is missing".to_owned()),
        Some(("stats" | "events" | "report", _)) => Err(format!("{item}: is this command's own")),
        Some((key, value)) => Ok(format!("{key}:{value}")),
        None => Ok(item.to_owned()),
    });
    items.collect::<Result<Vec<_>, _>>().map(|items| items.join(","))
}

/// What is played on.
struct Line {
    row: Row,
    settings: String,
    how: String,
    /// What Heapglass says of itself, from the run before the measured ones.
    peaks: Option<Peaks>,
}

struct Report {
    path: PathBuf,
    program: String,
    told: Told,
    runs: usize,
    how: String,
    timing: bool,
    /// A run without an allocator.
    alone: Line,
    lines: Vec<Line>,
}

impl Replay {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let capture = capture::open(&self.file)?;
        self.refuse_samples(&capture)?;
        let library = find::library()?;
        let lines = self.lines(&capture, &library)?;
        let wishes = Wishes { timing: self.timing, pid: self.pid };
        bench::warn_of_preload();
        let plan = compile::compile(&capture, scratch()?, wishes).map_err(|fault| match fault {
            Fault::Recording(error) => capture::said(&self.file, &error),
            Fault::Plan(error) => no_place(&error),
        })?;
        self.say(&plan.told)?;
        let report = Report {
            path: self.file.clone(),
            program: capture.about.get("program").unwrap_or("a program").to_owned(),
            told: plan.told.clone(),
            runs: self.runs,
            how: self.how(),
            timing: self.timing,
            alone: line(
                Allocator { name: "player alone".into(), library: None },
                "",
                char::from(plan::how::ALONE).into(),
            ),
            lines,
        };
        drop(capture);
        let report = measure(report, &plan)?;
        let text = if self.json { table::json(&report) } else { table::render(&report) };
        // A reader who has gone away has seen what they wanted.
        let _ = io::stdout().write_all(text.as_bytes());
        let failed = report.lines.iter().chain([&report.alone]).any(|line| line.row.fault.is_some());
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn refuse_samples(&self, capture: &Capture) -> Result<(), Failure> {
        match capture.about.get("interval") {
            None | Some("1") => Ok(()),
            Some(interval) => Err(Failure::ours(format!(
                "{}: has only samples, one for {interval} bytes on average, so it can't be played; record without --interval",
                self.file.display()
            ))),
        }
    }

    fn how(&self) -> String {
        let mut how = String::from("-");
        if self.touch || self.check {
            how.push(plan::how::TOUCH.into());
        }
        if self.check {
            how.push(plan::how::CHECK.into());
        }
        how
    }

    /// Heapglass as recorded, then what was asked for.
    fn lines(&self, capture: &Capture, library: &Path) -> Result<Vec<Line>, Failure> {
        let recorded = capture.about.get("settings").unwrap_or_default();
        // Files of the recorded run's are none of ours.
        let own = |item: &&str| !["stats:", "events:", "report:"].iter().any(|key| item.starts_with(key));
        let recorded = recorded.split(',').filter(own).collect::<Vec<_>>().join(",");
        let named = |more: &str| match more {
            "" => rivals::OURS.to_owned(),
            more => format!("{} {more}", rivals::OURS),
        };
        let ours =
            |more: &str, settings: String| line(Allocator::preloaded(named(more), library), &settings, self.how());
        let mut lines = vec![ours(&recorded, recorded.clone())];
        for set in &self.set {
            let settings = if recorded.is_empty() { set.clone() } else { format!("{recorded},{set}") };
            lines.push(ours(set, settings));
        }
        if self.with.is_empty() {
            return Ok(lines);
        }
        let asked = |name: &str| self.with.iter().any(|word| word == name);
        for allocator in rivals::chosen(bench::found(library), &self.with).map_err(Failure::ours)? {
            let is_first = allocator.name == rivals::OURS && asked(rivals::OURS);
            if is_first || allocator.library.is_none() && !asked(rivals::REFERENCE) {
                continue;
            }
            lines.push(line(bench::absolute(allocator)?, &recorded, self.how()));
        }
        Ok(lines)
    }

    /// What of the recording isn't played.
    fn say(&self, told: &Told) -> Result<(), Failure> {
        let path = self.file.display();
        if told.calls == 0 {
            let whose = self.pid.map_or(String::new(), |pid| format!(" of process {pid}"));
            return Err(Failure::ours(format!("{path}: has no call{whose} that could be played")));
        }
        if let Some(number) = told.damaged_at {
            eprintln!("heapglass: {path}: is damaged: what comes before call {number} is played");
        }
        if !told.others.is_empty() {
            let mut others: Vec<(u32, u64)> = told.others.iter().map(|(&pid, &calls)| (pid, calls)).collect();
            others.sort_by_key(|&(pid, calls)| (std::cmp::Reverse(calls), pid));
            let named = others.iter().take(OTHERS).map(|(pid, calls)| format!("{pid} with {} calls", grouped(*calls)));
            let more = if others.len() > OTHERS { ", ..." } else { "" };
            let named = named.collect::<Vec<_>>().join(", ") + more;
            eprintln!("heapglass: {path}: process {} is played; --pid plays another one: {named}", told.pid);
        }
        if told.strangers > 0 {
            eprintln!(
                "heapglass: {path}: {} frees of what was never seen to be handed out are left out",
                told.strangers
            );
        }
        Ok(())
    }
}

fn line(allocator: Allocator, settings: &str, how: String) -> Line {
    Line { row: Row::new(allocator), settings: settings.to_owned(), how, peaks: None }
}

/// A file without a name, for the plan.
fn scratch() -> Result<File, Failure> {
    let path = std::env::temp_dir().join(format!("heapglass-plan.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(|e| no_place(&e))?;
    std::fs::remove_file(&path).map_err(|e| no_place(&e))?;
    Ok(file)
}

fn no_place(error: &io::Error) -> Failure {
    Failure::ours(format!(
        "no place for the plan in {}: {error}; TMPDIR names another directory",
        std::env::temp_dir().display()
    ))
}

/// Plays in turn, the player alone among them.
fn measure(mut report: Report, plan: &Plan) -> Result<Report, Failure> {
    let input = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), plan.file.as_raw_fd()));
    let us = std::env::current_exe().map_err(|e| Failure::ours(format!("can't tell where this command lies: {e}")))?;
    let count = report.lines.len() + 1;
    for round in 0..=report.runs {
        for at in order(round, (0..count).collect()) {
            let line = if at == 0 { &mut report.alone } else { &mut report.lines[at - 1] };
            if line.row.fault.is_none() {
                bench::progress(&format!("round {}, {}", round + 1, line.row.allocator.name));
                line.play(&us, &input, round == 0)?;
            }
        }
    }
    bench::clear_progress();
    Ok(report)
}

impl Line {
    /// The first run warms up, and counts: counting would show in the times of others.
    fn play(&mut self, us: &Path, input: &Path, is_first: bool) -> Result<(), Failure> {
        let library = self.row.allocator.library.as_deref();
        let page = if is_first && library.is_some() { Some(Page::in_memory()?) } else { None };
        let mut settings = OsString::from(&self.settings);
        if let Some(page) = &page {
            settings = crate::run::joined(Some(settings), ",", page.item());
        }
        let words =
            [OsString::from("heapglass"), player::WORD.to_string_lossy().into_owned().into(), (&self.how).into()];
        let launch = Launch {
            file: us.to_path_buf(),
            words: words.to_vec(),
            assigned: vec![("HEAPGLASS".into(), settings)],
            input: input.to_path_buf(),
            dir: None,
            keeps_output: false,
            limit: None,
        };
        let ran = launch.run(library).map_err(|e| Failure::refused(us, &e))?;
        self.row.fault = ran.fault(library, false).or_else(|| wrong_setting(&ran.errors));
        if is_first {
            self.peaks = page.and_then(|page| page.peaks());
        } else if self.row.fault.is_none() {
            self.row.samples.push(ran.sample);
        }
        Ok(())
    }
}

/// What the library says of a setting that it doesn't take.
fn wrong_setting(errors: &str) -> Option<String> {
    errors.lines().find(|line| line.contains("in HEAPGLASS, ")).map(|line| {
        line.trim_start_matches("heapglass: ")
            .trim_end_matches(", ignored")
            .trim_end_matches(", the default is used")
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_in_both_forms() {
        assert_eq!(settings("tcache=0").unwrap(), "tcache:0");
        assert_eq!(settings("secure,quarantine:4M").unwrap(), "secure,quarantine:4M");
        assert!(settings("").is_err() && settings("a=1,").is_err() && settings("stats=/tmp/x").is_err());
    }
}
