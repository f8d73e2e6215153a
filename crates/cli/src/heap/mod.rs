//! The commands that look at a heap from outside, and how they are told which: a process id, a core file, or a program to run.

pub mod bins;
pub mod chunk;
mod http;
pub mod known;
pub mod launch;
pub mod ledger;
pub mod live;
pub mod map;
mod peer;
mod pinned;
mod recorded;
pub mod serve;
pub mod text;
pub mod watch;

use crate::failure::Failure;
use heapglass_inspect::{Target, Trouble};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// Whose heap.
#[derive(clap::Args)]
pub struct Whose {
    /// A process id, or a core file
    #[arg(value_name = "PID|CORE", required_unless_present = "program", conflicts_with = "program")]
    whose: Option<OsString>,

    /// Stop the process for the moment, so that nothing changes while it is read
    #[arg(long)]
    stop: bool,

    /// A program and its arguments, behind `--`: it is run on Heapglass and looked at as it ends
    #[arg(last = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

pub enum Subject {
    Process(u32),
    Core(PathBuf),
    Program(Vec<OsString>),
}

impl Whose {
    pub fn subject(&self) -> Subject {
        let Some(whose) = &self.whose else { return Subject::Program(self.program.clone()) };
        match whose.to_str().and_then(|text| text.parse().ok()) {
            Some(pid) => Subject::Process(pid),
            None => Subject::Core(PathBuf::from(whose)),
        }
    }

    /// Opens a process or a core file.
    pub fn open(&self, subject: &Subject) -> Result<Target, Failure> {
        match subject {
            Subject::Process(pid) => open(*pid, self.stop),
            Subject::Core(path) => Target::core(path).map_err(|e| said(&path.display().to_string(), &e)),
            Subject::Program(_) => Err(Failure::ours("a program has to run first")),
        }
    }
}

pub fn open(pid: u32, stop: bool) -> Result<Target, Failure> {
    Target::process(pid, stop).map_err(|e| said(&format!("process {pid}"), &e))
}

/// A trouble as a line; where it doesn't name its subject, that comes first.
pub fn said(name: &str, trouble: &Trouble) -> Failure {
    match trouble {
        Trouble::NotHeapglass(_) | Trouble::Version(_) => Failure::ours(format!("{name} {trouble}")),
        Trouble::Records(_) | Trouble::Unreadable(_) => Failure::ours(format!("{name}: {trouble}")),
        _ => Failure::ours(trouble.to_string()),
    }
}

/// What to call a target in a title: with the program's name, where the kernel tells it.
pub fn title(target: &Target) -> String {
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    match target.pid.and_then(|pid| Some((pid, name(pid)?))) {
        Some((pid, name)) => format!("process {pid} ({})", name.trim_end()),
        None => target.name.clone(),
    }
}

/// What is to be said beside any picture: other Heapglasses, a core cut short.
pub fn notes(target: &Target) -> Vec<String> {
    let mut notes = Vec::new();
    if target.others > 0 {
        notes.push(format!(
            "note: there are {} Heapglasses in this process; this is the one with the larger heap",
            target.others + 1
        ));
    }
    if target.missing > 0 {
        notes.push(format!("note: the core file was cut off: {} bytes are missing", text::grouped(target.missing)));
    }
    notes
}

/// Has it memory of its own? One that is ending loses that a moment before it is gone, and a zombie has none.
pub fn has_memory(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| !maps.is_empty())
}
