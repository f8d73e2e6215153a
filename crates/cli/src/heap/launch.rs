//! A program that is run on Heapglass and looked at as it ends: stopped by the kernel when it has begun to exit, with its memory
//! still there.
//!
//! # Safety
//! What runs between fork and exec is one system call that asks to be traced.

#![allow(unsafe_code)]

use crate::failure::Failure;
use crate::{find, program, run, script};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Runs it, calls `look` with its id when it is about to end, and ends as it did.
pub fn to_the_end(words: Vec<OsString>, look: impl FnOnce(u32) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    watched(words, None, |_| {}, look)
}

/// As `to_the_end`, with one more item of `HEAPGLASS`; `started` is told the id as soon as there is one.
pub fn watched(
    words: Vec<OsString>,
    item: Option<OsString>,
    started: impl FnOnce(u32),
    look: impl FnOnce(u32) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let library = find::library()?;
    let start = script::follow(words)?;
    program::check(&start.image, &library)?;
    let mut command = Command::new(&start.file);
    command.arg0(&start.words[0]).args(&start.words[1..]).envs(start.assigned);
    run::preload(&mut command, &library, false);
    if let Some(item) = item {
        command.env("HEAPGLASS", run::joined(std::env::var_os("HEAPGLASS"), ",", item));
    }
    // SAFETY: a system call, and nothing else.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.spawn().map_err(|e| Failure::refused(&start.file, &e))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let failed = |e: nix::Error| Failure::ours(format!("the program can't be followed to its end: {e}"));
    // The first stop is that of exec.
    waitpid(pid, None).map_err(failed)?;
    let options = ptrace::Options::PTRACE_O_TRACEEXIT | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).map_err(failed)?;
    started(child.id());
    let mut look = Some(look);
    let mut outcome = Ok(());
    let mut signal: Option<Signal> = None;
    loop {
        match ptrace::cont(pid, signal.take()) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(e) => return Err(failed(e)),
        }
        match waitpid(pid, None).map_err(failed)? {
            WaitStatus::PtraceEvent(_, _, event) if event == ptrace::Event::PTRACE_EVENT_EXIT as i32 => {
                if let Some(look) = look.take() {
                    outcome = look(child.id());
                }
            }
            // An exec of its own, which we didn't ask to hear of otherwise.
            WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => {}
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(_, code) => {
                outcome?;
                return Ok(ExitCode::from(code.to_le_bytes()[0]));
            }
            WaitStatus::Signaled(_, number, _) => {
                outcome?;
                return Ok(ExitCode::from(128 + (number as i32).to_le_bytes()[0]));
            }
            _ => {}
        }
    }
}
