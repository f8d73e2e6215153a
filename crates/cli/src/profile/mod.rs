//! `heapglass profile`: who allocates, by call stack, sampled; and what is done with profiles afterwards: `show`, `diff`, `export`,
//! `symbolize`. `leaks` is told in its own file.

pub mod files;
pub mod leaks;
pub mod scrape;

use crate::failure::Failure;
use crate::feed::{Feed, Thread, Wishes};
use crate::own_file;
use crate::script;
use crate::trace::{Listener, observe, observe_running};
use heapglass_event::record::Record;
use heapglass_profile::export::{self, Form};
use heapglass_profile::model::{self, Which};
use heapglass_profile::text::{self, View};
use heapglass_profile::tree::From;
use heapglass_sampled::ears::{Ears, Writer};
use heapglass_sampled::names;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Show who allocates, by call stack
///
/// Runs PROGRAM on Heapglass and samples its allocations, each byte as likely as any other. Samples bring a copy of the stack along;
/// this command unwinds and names them. At the end it tells what was in use at the peak, by function and as a tree.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Profile {
    /// Keep the profile in FILE, for `heapglass show`, `diff`, `export` and `symbolize`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Bytes between two samples on average, perhaps with K or M behind; 1 samples every allocation
    #[arg(long, value_name = "BYTES", default_value = "512K", value_parser = bytes)]
    interval: u64,

    /// Bytes of stack that a sample brings along, at most
    #[arg(long, value_name = "BYTES", default_value = "16K", value_parser = bytes)]
    stack: u64,

    /// Write a flame graph
    #[arg(long, value_name = "FILE.svg")]
    flamegraph: Option<PathBuf>,

    /// Write folded stacks
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,

    /// Write pprof's form
    #[arg(long, value_name = "FILE.pb.gz")]
    pprof: Option<PathBuf>,

    /// Leave places without names; `heapglass symbolize` names them, also elsewhere
    #[arg(long)]
    no_names: bool,

    /// Print nothing at the end
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    look: Look,

    /// Children too
    #[arg(short, long)]
    follow_forks: bool,

    /// Leave samples out rather than let the program wait
    #[arg(long)]
    lossy: bool,

    /// A process that already runs on Heapglass; it goes on when the profile ends, by Ctrl-C or with it
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["words", "follow_forks"])]
    pid: Option<i32>,

    /// With --pid: for so many seconds
    #[arg(long, value_name = "SECONDS", requires = "pid")]
    duration: Option<f64>,

    /// The program, found as a shell finds it, and its arguments
    #[arg(required_unless_present = "pid", num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

/// How a profile is shown.
#[derive(clap::Args, Clone)]
pub struct Look {
    /// Which allocations the table and the tree are about
    #[arg(long, value_enum, default_value_t = Sort::Peak)]
    by: Sort,

    /// Functions of the table
    #[arg(long, value_name = "N", default_value_t = 15)]
    rows: usize,

    /// Branches of the tree below this share, in percent, aren't shown
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    least: f64,

    /// The tree from the functions that allocated, outwards
    #[arg(long)]
    inverted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// What was in use at the end
    InUse,
    /// What was in use when most was
    Peak,
    /// All that was allocated
    Total,
    /// What was freed again before its thread's next sample
    Temporary,
}

impl Sort {
    pub fn which(self) -> Which {
        match self {
            Sort::InUse => Which::InUse,
            Sort::Peak => Which::Peak,
            Sort::Total => Which::Total,
            Sort::Temporary => Which::Temporary,
        }
    }
}

impl Listener for Ears {
    fn hear(&mut self, ring: usize, thread: Thread, records: &[Record]) {
        Ears::hear(self, ring, Writer { pid: thread.pid, tid: thread.tid }, records);
    }

    fn leave(&mut self, ring: usize) {
        Ears::leave(self, ring);
    }

    fn pause(&mut self, feed: &Feed) -> bool {
        let clock = feed.clock();
        Ears::pause(self, clock.tick, clock.nanos_per_tick, feed.lost());
        self.was_taken = feed.first().is_some();
        true
    }
}

const AFTER_HELP: &str = "\
Exit status: PROGRAM's own, as with `heapglass run`. Figures are estimates: a sample stands for as many allocations like it as \
there were for each that was sampled. With --interval 1 they are exact.";

pub fn bytes(text: &str) -> Result<u64, String> {
    heapglass_report::filter::bytes(text)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("'{text}' is no number of bytes above 0"))
}

pub fn failed(path: &Path, e: impl std::fmt::Display) -> Failure {
    Failure::ours(format!("{}: {e}", path.display()))
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path == Path::new("-") {
        return std::io::stdout().write_all(bytes).map_err(|e| failed(path, e));
    }
    own_file::write(path, bytes).map_err(|e| failed(path, e))
}

impl Profile {
    pub fn carry_out(mut self) -> Result<ExitCode, Failure> {
        // Refused before the program runs for hours rather than after.
        for path in [&self.output, &self.flamegraph, &self.folded, &self.pprof].into_iter().flatten() {
            if path != Path::new("-") {
                own_file::create(path).map_err(|e| failed(path, e))?;
            }
        }
        let wishes = Wishes {
            follows: self.follow_forks,
            lossy: self.lossy,
            interval: self.interval,
            stack: self.stack,
            ..Wishes::default()
        };
        let mut ears = Ears::new(self.interval);
        let words = std::mem::take(&mut self.words);
        let told = |word: &OsString| word.to_string_lossy().into_owned();
        if let Some(pid) = self.pid {
            let limit = self.duration.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
            ears.expect(pid.cast_unsigned());
            let (_, ears) = observe_running(pid, wishes, limit, ears)?;
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = line.split(|&byte| byte == 0).filter(|word| !word.is_empty());
            self.finish(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(), ears)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Ok(start) = script::follow(words.clone()) {
            ears.keep(&start.image);
        }
        let (ended, ears) = observe(words.clone(), wishes, None, ears)?;
        self.finish(words.iter().map(told).collect(), ears)?;
        Ok(ended.pass_on())
    }

    fn finish(&self, words: Vec<String>, mut ears: Ears) -> Result<(), Failure> {
        let (mut profile, places) = ears.finish();
        profile.words = words;
        if !self.no_names {
            names::name(&mut profile, &places, &[]);
        }
        if let Some(path) = &self.output {
            let mut bytes = Vec::new();
            profile.write(&mut bytes).map_err(|e| failed(path, e))?;
            write(path, &bytes)?;
        }
        let which = self.look.by.which();
        let forms = [(&self.flamegraph, Form::Flamegraph), (&self.folded, Form::Folded), (&self.pprof, Form::Pprof)];
        for (path, form) in forms {
            if let Some(path) = path {
                write(path, &export::write(&profile, form, which))?;
            }
        }
        if !self.quiet {
            let _ = std::io::stderr().write_all(shown(&profile, &self.look, ears.samples).as_bytes());
        }
        if profile.dropped > 0 {
            eprintln!("heapglass: {} samples were left out, so the figures are too low", profile.dropped);
        }
        if !ears.was_taken {
            eprintln!(
                "heapglass: the program asked Heapglass for nothing: it has an allocator of its own, or is static"
            );
        }
        Ok(())
    }
}

impl Look {
    /// Rows of a table.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn view(&self, which: Which) -> View {
        View {
            which,
            rows: self.rows,
            share: self.least.clamp(0.0, 100.0) / 100.0,
            from: if self.inverted { From::Inside } else { From::Outside },
        }
    }
}

/// Functions and stacks alone.
pub fn table_and_tree(profile: &model::Profile, look: &Look, which: Which) -> String {
    format!("{}\n{}", text::table(profile, look.view(which)), text::branches(profile, look.view(which)))
}

/// A profile as it is shown in a terminal.
pub fn shown(profile: &model::Profile, look: &Look, samples: u64) -> String {
    let how = match (profile.interval, samples) {
        (0 | 1, _) => "every allocation".to_owned(),
        (interval, 0) => format!("sampled every {} on average", model::bytes(interval as f64)),
        (interval, samples) => {
            format!("sampled every {} on average, {samples} samples", model::bytes(interval as f64))
        }
    };
    let name = profile.words.first().map_or("?", String::as_str);
    format!(
        "heapglass: {name}, process {}: {how}\n{}\n{}",
        profile.pid,
        text::sums(profile),
        table_and_tree(profile, look, look.by.which())
    )
}
