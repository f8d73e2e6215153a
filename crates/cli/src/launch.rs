//! One measured run. The kernel counts a program's peak memory from before its exec on, so what started it would stand as a
//! floor under that peak. The run is therefore started by a small process of its own: this command again, as
//! `heapglass __launch`, which has done nothing yet, and which forks. A forked process has of its parent's memory only
//! the pages that were written to; how much that is, is measured each time and handed over with the figures.
//!
//! The launcher's words are PRELOAD (may be empty), INPUT, FILE, then `argv`. Its figures go to its standard input, where
//! the other end has given it a pipe to write to; output and errors are the program's alone.
//!
//! # Safety
//! What runs between fork and exec makes one system call. The one disposition that is changed is changed to the default,
//! which runs no code of ours.

#![allow(unsafe_code)]

use heapglass_bench::report::Sample;
use nix::sys::prctl;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

pub const WORD: &str = "__launch";

/// A file that exec refuses, so that what was forked ends without having become anything.
const NO_PROGRAM: &str = "/proc/self/no-such-program";

/// What the program says on standard error is kept for the reader up to here.
const ERRORS_BYTES: u64 = 64 << 10;

/// What to run, for all allocators.
pub struct Launch {
    pub file: PathBuf,
    pub words: Vec<OsString>,
    pub assigned: Vec<(OsString, OsString)>,
    pub input: PathBuf,
}

/// How a run went.
pub struct Ran {
    pub sample: Sample,
    pub signal: Option<i32>,
    pub floor_bytes: u64,
    /// The beginning of what the program said on standard error.
    pub errors: String,
}

impl Launch {
    pub fn run(&self, preload: Option<&Path>) -> io::Result<Ran> {
        let (mut figures, writing) = io::pipe()?;
        // In memory and without a reader: a program that writes much doesn't wait for us, and nothing waits for its children.
        let mut errors = File::from(rustix::fs::memfd_create("errors", rustix::fs::MemfdFlags::CLOEXEC)?);
        let mut command = Command::new("/proc/self/exe");
        command.arg(WORD).arg(preload.unwrap_or(Path::new(""))).arg(&self.input).arg(&self.file).args(&self.words);
        command.envs(self.assigned.iter().map(|(name, value)| (name, value)));
        // Nothing is preloaded into the launcher itself, and the program's children inherit what it has.
        command.env_remove("LD_PRELOAD").env_remove("HEAPGLASS_PRELOADED");
        command.stdin(writing).stdout(Stdio::null()).stderr(errors.try_clone()?);
        let mut child = command.spawn()?;
        // It holds our copy of the pipe's end, which would never be closed.
        drop(command);
        let mut line = String::new();
        figures.read_to_string(&mut line)?;
        child.wait()?;
        let mut said = Vec::new();
        errors.seek(SeekFrom::Start(0))?;
        errors.take(ERRORS_BYTES).read_to_end(&mut said)?;
        let errors = String::from_utf8_lossy(&said).into_owned();
        parse(&line, errors).ok_or_else(|| io::Error::other(format!("the launcher failed: {}", line.trim_end())))
    }
}

fn parse(line: &str, errors: String) -> Option<Ran> {
    let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [wall_ns, user_us, system_us, peak_bytes, minor_faults, major_faults, floor_bytes, code, signal] = numbers[..]
    else {
        return None;
    };
    let signal = i32::try_from(signal).ok().filter(|number| *number != 0);
    let sample = Sample {
        wall_seconds: wall_ns as f64 / 1e9,
        user_seconds: user_us as f64 / 1e6,
        system_seconds: system_us as f64 / 1e6,
        peak_bytes,
        minor_faults,
        major_faults,
        exit_code: i32::try_from(code).ok()?,
    };
    Some(Ran { sample, signal, floor_bytes, errors })
}

/// The launcher's own `main`.
pub fn main() -> ExitCode {
    let line = match measure(std::env::args_os().skip(2).collect()) {
        Ok(numbers) => numbers.map(|number| number.to_string()).join(" "),
        Err(e) => e.to_string(),
    };
    let told = io::stdin().as_fd().try_clone_to_owned().and_then(|pipe| writeln!(File::from(pipe), "{line}"));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(words: Vec<OsString>) -> io::Result<[u64; 9]> {
    let [preload, input, file, name, arguments @ ..] = words.as_slice() else {
        return Err(io::Error::other("it is started by `heapglass bench` only"));
    };
    // With SIGCHLD ignored, as the caller may have left it, the kernel would keep neither status nor figures.
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let command = |file: &OsString| -> io::Result<Command> {
        let mut command = Command::new(file);
        command.arg0(name).args(arguments).stdin(File::open(input)?);
        if !preload.is_empty() {
            command.env("LD_PRELOAD", preload);
        }
        // Having it, std forks instead of starting the program in our own memory, of which all would count.
        // SAFETY: a system call only.
        unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        Ok(command)
    };
    if command(&NO_PROGRAM.into())?.spawn().is_ok() {
        return Err(io::Error::other(format!("{NO_PROGRAM} is a program")));
    }
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let mut command = command(file)?;
    let start = Instant::now();
    let status = command.spawn()?.wait()?;
    let wall = start.elapsed();
    let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let more = |of: fn(&Usage) -> i64| (of(&after) - of(&before)).cast_unsigned();
    Ok([
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        more(|usage| microseconds(usage.user_time())),
        more(|usage| microseconds(usage.system_time())),
        after.max_rss().cast_unsigned() * 1024,
        more(Usage::minor_page_faults),
        more(Usage::major_page_faults),
        before.max_rss().cast_unsigned() * 1024,
        u64::from(status.code().unwrap_or(0).cast_unsigned()),
        u64::from(status.signal().unwrap_or(0).cast_unsigned()),
    ])
}

fn microseconds(time: nix::sys::time::TimeVal) -> i64 {
    time.tv_sec() * 1_000_000 + time.tv_usec()
}
