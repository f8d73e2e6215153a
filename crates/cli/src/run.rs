//! `heapglass run`: starts a program with the library preloaded.
//!
//! # The protocol between this command and the library
//! The command hands over by environment variables. A process can't have its environment changed from outside after exec,
//! so the library itself takes out what its children shall not inherit, in its constructor, before the program's `main`.
//!
//! | variable | value | given |
//! |---|---|---|
//! | `LD_PRELOAD` | `ENTRY` or `ENTRY:what was there before` | always |
//! | `HEAPGLASS` | what was there before, and `park:0,report:FILE` | with `--explain-crash` |
//! | `HEAPGLASS` | what was there before, and `stats:FILE` | with `--stats` |
//! | `HEAPGLASS` | what was there before, and `events:FILE` | by `heapglass trace`, `record` and `explain` |
//! | `HEAPGLASS_PRELOADED` | `ENTRY`, byte for byte | without `-f` |
//!
//! ENTRY is the absolute path of the library, without spaces and colons; FILE is the absolute path of a file of at least
//! `COUNTERS_BYTES` zeros, shorter than 255 bytes, without commas and colons; for `events:` it is one that `feed` made.
//!
//! Where `HEAPGLASS_PRELOADED` is set, the constructor (after it has read `HEAPGLASS`), in place in the strings of `environ`:
//! 1. takes the first entry of `LD_PRELOAD` that equals ENTRY out of it, with the colon (or space) that set it apart; an
//!    `LD_PRELOAD` that becomes empty is removed from `environ`;
//! 2. takes the last item of `HEAPGLASS` out if that starts with `stats:` or `events:`, with the comma before it; then the last if that
//!    starts with `report:`, and with that a `park:` before it; a `HEAPGLASS` that becomes empty is removed;
//! 3. removes `HEAPGLASS_PRELOADED`.
//!
//! Where it isn't set (`-f`, or a preload by hand) nothing is changed: children inherit all of it. Of all processes that
//! are then given the same FILE, the first to take it counts there; the others count privately. A `stats:` of ours comes
//! last, so it wins over one that the caller has set.

use crate::capture::record;
use crate::failure::Failure;
use crate::{crash, find, program, script, stats, supervise};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Run a program on Heapglass
///
/// Runs PROGRAM with libheapglass.so preloaded and ends as PROGRAM ends. Without --stats, PROGRAM takes the place of this
/// command, with its process id.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Run {
    /// After PROGRAM has ended, print what it did to its heap on standard error
    #[arg(long)]
    stats: bool,

    /// If the heap stops PROGRAM, or a guarded sample faults, tell on standard error who called and what lies around
    #[arg(long)]
    explain_crash: bool,

    /// Keep every call, with its steps, in a file: as `heapglass record`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stats", "explain_crash"])]
    record: Option<PathBuf>,

    /// With --record: one that is there already is overwritten
    #[arg(long, requires = "record")]
    force: bool,

    /// With --record: only samples, one for so many bytes allocated on average
    #[arg(long, value_name = "BYTES", requires = "record", default_value = "1", value_parser = crate::profile::bytes)]
    interval: u64,

    /// Children too; also what PROGRAM itself becomes by exec
    #[arg(short, long)]
    follow_forks: bool,

    /// The program, found as a shell finds it, and its arguments. The first word that is no flag ends the flags of `run`
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Without -f only PROGRAM itself runs on Heapglass. A launcher (env, nice, a shell script that starts the real program) \
needs -f.

Exit status: PROGRAM's own, 128+N seen from a shell if signal N killed it; 125 if this command failed, 126 if PROGRAM \
can't be executed or preloaded, 127 if it wasn't found.

Environment: HEAPGLASS=key:value,... configures the allocator. HEAPGLASS_LIB names another libheapglass.so than the one \
that belongs to this command.";

impl Run {
    pub fn plain(words: Vec<OsString>) -> Run {
        Run { stats: false, explain_crash: false, record: None, force: false, interval: 1, follow_forks: false, words }
    }

    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        if let Some(file) = self.record {
            return record::Record::into_file(file, self.force, self.interval, self.follow_forks, self.words)
                .carry_out();
        }
        let name = self.words[0].clone();
        let library = find::library()?;
        let start = script::follow(self.words)?;
        program::check(&start.image, &library)?;

        let mut command = Command::new(&start.file);
        command.arg0(&start.words[0]).args(&start.words[1..]).envs(start.assigned);
        preload(&mut command, &library, self.follow_forks);
        if self.stats || self.explain_crash {
            let page = if self.stats { Some(stats::Page::create()?) } else { None };
            let crash = if self.explain_crash { Some(crash::Crash::create()?) } else { None };
            let mut ours = std::env::var_os("HEAPGLASS");
            for item in crash.iter().map(crash::Crash::items).chain(page.iter().map(stats::Page::item)) {
                ours = Some(joined(ours, ",", item));
            }
            command.env("HEAPGLASS", ours.unwrap_or_default());
            let ended = supervise::run(command).map_err(|e| Failure::refused(&start.file, &e))?;
            if let Some(crash) = crash {
                crash.report();
            }
            if let Some(page) = page {
                page.report(&name, &ended);
            }
            // The files are gone by now: what stands in for the program's end may be a signal, after which nothing is
            // cleaned up.
            return Ok(ended.pass_on());
        }
        // Returns only if the kernel refuses.
        Err(Failure::refused(&start.file, &command.exec()))
    }
}

pub fn preload(command: &mut Command, library: &Path, follow_forks: bool) {
    let entry = library.as_os_str();
    let mut list = entry.to_owned();
    if let Some(before) = std::env::var_os("LD_PRELOAD").filter(|list| !list.is_empty()) {
        list = joined(Some(list), ":", before);
    }
    command.env("LD_PRELOAD", list);
    match follow_forks {
        true => command.env_remove("HEAPGLASS_PRELOADED"),
        false => command.env("HEAPGLASS_PRELOADED", entry),
    };
}

pub fn joined(before: Option<OsString>, separator: &str, last: impl AsRef<OsStr>) -> OsString {
    let mut list = before.unwrap_or_default();
    if !list.is_empty() {
        list.push(separator);
    }
    list.push(last);
    list
}
