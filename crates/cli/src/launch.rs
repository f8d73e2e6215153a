//! One measured run. The kernel counts a program's peak memory from before its exec on, so what started it would stand as a
//! floor under that peak. The run is therefore started by a small process of its own: this command again, as
//! `heapglass __launch`, which has done nothing yet, and which forks. A forked process has of its parent's memory only
//! the pages that were written to; how much that is, is measured each time and handed over with the figures.
//!
//! The launcher's words are its parent's number, PRELOAD (may be empty), INPUT, FILE, then `argv`. Its figures go to its
//! standard input, where the other end has given it a pipe to write to; output and errors are the program's alone.
//!
//! # Safety
//! What runs between fork and exec makes two system calls. The one disposition that is changed is changed to the default,
//! which runs no code of ours.

#![allow(unsafe_code)]

use heapglass_bench::report::Sample;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::signal::{SigHandler, SigSet, Signal, killpg, signal};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, memfd_create};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const WORD: &str = "__launch";

/// By which people end programs. Who measures may have blocked them for itself, and a mask is inherited.
pub const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

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
    /// Where it runs, if not here. Then the other paths are absolute.
    pub dir: Option<PathBuf>,
    /// Is standard output kept, or thrown away?
    pub keeps_output: bool,
    /// After so long the program is ended, with all that it has started and that stayed in its process group.
    pub limit: Option<Duration>,
}

/// How a run went.
pub struct Ran {
    pub sample: Sample,
    pub signal: Option<i32>,
    pub floor_bytes: u64,
    /// What it printed, if that is kept.
    pub output: Vec<u8>,
    /// The beginning of what the program said on standard error.
    pub errors: String,
}

/// A run under way.
pub struct Running {
    child: Child,
    figures: PipeReader,
    output: Option<File>,
    errors: File,
    watch: Option<Watch>,
    was_ended: bool,
}

/// Ends the process group when its time is over.
struct Watch {
    done: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Launch {
    pub fn run(&self, preload: Option<&Path>) -> io::Result<Ran> {
        self.start(preload)?.finish()
    }

    pub fn start(&self, preload: Option<&Path>) -> io::Result<Running> {
        let (figures, writing) = io::pipe()?;
        // In memory and without a reader: a program that writes much doesn't wait for us, and nothing waits for its children.
        let in_memory = |name| Ok::<_, io::Error>(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?));
        let errors = in_memory("errors")?;
        let output = self.keeps_output.then(|| in_memory("output")).transpose()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(WORD).arg(std::process::id().to_string());
        command.arg(preload.unwrap_or(Path::new(""))).arg(&self.input).arg(&self.file).args(&self.words);
        command.envs(self.assigned.iter().map(|(name, value)| (name, value)));
        // Nothing is preloaded into the launcher itself, and the program's children inherit what it has.
        command.env_remove("LD_PRELOAD").env_remove("HEAPGLASS_PRELOADED");
        command.stdin(writing).stderr(errors.try_clone()?);
        command.stdout(match &output {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        });
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if self.limit.is_some() {
            command.process_group(0);
        }
        // The command holds our copy of the pipe's end, which would never be closed if it stayed.
        let child = { command }.spawn()?;
        let watch = self.limit.map(|limit| Watch::start(child.id(), limit));
        Ok(Running { child, figures, output, errors, watch, was_ended: false })
    }
}

impl Running {
    /// Waits for the program's end. An error of the kind `TimedOut` says that it was ended by us.
    pub fn finish(mut self) -> io::Result<Ran> {
        let mut line = String::new();
        self.figures.read_to_string(&mut line)?;
        // Before its number could belong to another process.
        let was_late = self.watch.take().is_some_and(Watch::stop);
        self.child.wait()?;
        let mut errors = Vec::new();
        self.errors.seek(SeekFrom::Start(0))?;
        self.errors.take(ERRORS_BYTES).read_to_end(&mut errors)?;
        let mut output = Vec::new();
        if let Some(mut file) = self.output {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut output)?;
        }
        let errors = String::from_utf8_lossy(&errors).into_owned();
        parse(&line, output, errors).ok_or_else(|| match self.was_ended || was_late {
            true => io::Error::from(io::ErrorKind::TimedOut),
            false => io::Error::other(format!("the launcher failed: {}", line.trim_end())),
        })
    }

    /// Has the program ended by itself, or by our watch?
    pub fn has_ended(&mut self) -> io::Result<bool> {
        let has_ended = self.child.try_wait()?.is_some();
        if has_ended {
            // It is waited for, so its number may soon be another's.
            self.was_ended |= self.watch.take().is_some_and(Watch::stop);
        }
        Ok(has_ended)
    }

    /// Ends a program that isn't expected to end by itself, unless it does so within this time.
    pub fn end(&mut self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        while !self.has_ended()? {
            if Instant::now() > deadline {
                self.was_ended = true;
                end_group(self.child.id());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Watch {
    fn start(pid: u32, limit: Duration) -> Watch {
        let (done, wait) = mpsc::channel();
        let is_over = move || {
            let is_over = wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if is_over {
                end_group(pid);
            }
            is_over
        };
        Watch { done, thread: std::thread::spawn(is_over) }
    }

    /// Was the time over before?
    fn stop(self) -> bool {
        drop(self.done);
        self.thread.join().unwrap_or(false)
    }
}

fn end_group(leader: u32) {
    // It may have ended by itself in this moment.
    let _ = killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
}

impl Ran {
    /// Why this run doesn't count.
    pub fn fault(&self, library: Option<&Path>, ignore_failure: bool) -> Option<String> {
        if let Some(why) = library.and_then(|library| refusal(&self.errors, library)) {
            return Some(format!("not preloaded: {why}"));
        }
        let how = match (self.signal, self.sample.exit_code) {
            (Some(number), _) => match Signal::try_from(number) {
                Ok(name) => format!("killed by signal {number} ({name})"),
                Err(_) => format!("killed by signal {number}"),
            },
            (None, code) if code != 0 && !ignore_failure => format!("exited with status {code}"),
            _ => return None,
        };
        let last = self.errors.lines().rfind(|line| !line.trim().is_empty());
        Some(last.map_or(how.clone(), |line| format!("{how}: {}", line.trim())))
    }
}

/// What the loader says where it leaves a library out and goes on without.
fn refusal(errors: &str, library: &Path) -> Option<String> {
    let object = format!("object '{}' from LD_PRELOAD cannot be preloaded", library.display());
    let rest = errors.lines().find_map(|line| line.split_once(&object))?.1;
    let why = rest.trim().trim_start_matches('(').split("): ignored").next().unwrap_or_default();
    Some(if why.is_empty() { "the loader doesn't say why".into() } else { why.to_owned() })
}

fn parse(line: &str, output: Vec<u8>, errors: String) -> Option<Ran> {
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
    Some(Ran { sample, signal, floor_bytes, output, errors })
}

/// Reads any text as figures and as a program's last words: see `readers`.
pub fn read_text(text: &str) {
    let library = Path::new("/a.so");
    let _ = refusal(text, library);
    if let Some(ran) = parse(text, Vec::new(), text.to_owned()) {
        let _ = ran.fault(Some(library), false);
    }
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
    let [parent, preload, input, file, name, arguments @ ..] = words.as_slice() else {
        return Err(io::Error::other("it is started by `heapglass bench` only"));
    };
    // With SIGCHLD ignored, as the caller may have left it, the kernel would keep neither status nor figures.
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    SigSet::from_iter(ENDING).thread_unblock()?;
    let parent = parent.to_str().and_then(|number| number.parse().ok()).map(Pid::from_raw);
    end_with(parent.ok_or_else(|| io::Error::other("its parent's number is none"))?)?;
    let us = Pid::this();
    let command = |file: &OsString| -> io::Result<Command> {
        let mut command = Command::new(file);
        command.arg0(name).args(arguments).stdin(File::open(input)?);
        if !preload.is_empty() {
            command.env("LD_PRELOAD", preload);
        }
        // Having it, std forks instead of starting the program in our own memory, of which all would count.
        // SAFETY: system calls only, and an error that is made without allocating.
        unsafe { command.pre_exec(move || end_with(us)) };
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

/// Ends this process with its parent, also with one that has ended before this was asked for.
fn end_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if Pid::parent() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(Errno::ESRCH as i32)) }
}

fn microseconds(time: nix::sys::time::TimeVal) -> i64 {
    time.tv_sec() * 1_000_000 + time.tv_usec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_refusal_is_understood() {
        let line = "ERROR: ld.so: object '/a b.so' from LD_PRELOAD cannot be preloaded (cannot open shared object file): ignored.\n";
        let found = |library: &str| refusal(&format!("first\n{line}last\n"), Path::new(library));
        assert_eq!(found("/a b.so").as_deref(), Some("cannot open shared object file"));
        assert_eq!(found("/b.so"), None);
        assert_eq!(refusal("object '/b.so' is missing", Path::new("/b.so")), None);
    }
}
