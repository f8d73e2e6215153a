//! Waiting for a program as its parent, and ending as it ended, so that nobody notices that there is a process between
//! the shell and the program.
//!
//! The program stays in our process group, so the terminal's signals reach it without us: those are not passed on a second
//! time. A signal that somebody sent to us is passed on. When the program stops, so do we, and the shell sees its job stop.
//!
//! # Safety
//! Two calls here are unsafe by what could be done with them. What runs between fork and exec makes system calls only, on
//! values made before the fork. The one disposition that is changed is changed to the default, which runs no code of ours.

#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, pthread_sigmask, raise, signal};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit, waitpid};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Signals that are ours to pass on, or that tell of the program.
const HANDLED: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCHLD,
];

/// `si_code` of what the kernel sends of its own accord: a key typed at the terminal, the terminal's hangup.
const SENT_BY_KERNEL: i32 = 0x80;

/// How a program ended.
pub struct Ended {
    pub pid: u32,
    pub how: How,
}

#[derive(Clone, Copy)]
pub enum How {
    Exited(u8),
    Killed(i32),
}

/// Starts the program and waits for its end. An error is that of exec.
pub fn run(command: Command) -> io::Result<Ended> {
    start(command, true)
}

/// As `run`, but the program goes on if this process is killed.
pub fn run_unbound(command: Command) -> io::Result<Ended> {
    start(command, false)
}

fn start(mut command: Command, is_bound: bool) -> io::Result<Ended> {
    let handled = HANDLED.into_iter().collect::<SigSet>();
    // Blocked, not handled: what the caller had set to be ignored is still ignored in the program.
    let before = handled.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // With SIGCHLD ignored, as the caller may have left it, there would be no status to wait for.
    // SAFETY: the default disposition runs no code of ours.
    let child_signal = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    let restore = move || {
        // SAFETY: the disposition is the one found at the start, before which we had set none.
        unsafe { signal(Signal::SIGCHLD, child_signal) }?;
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        // Whoever kills us by force means the program.
        if is_bound {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
        }
        Ok(())
    };
    // SAFETY: `restore` makes system calls only.
    unsafe { command.pre_exec(restore) };
    let signals = SignalFd::new(&handled)?;
    let pid = command.spawn()?.id();
    Ok(Ended { pid, how: wait(pid, &signals)? })
}

fn wait(pid: u32, signals: &SignalFd) -> io::Result<How> {
    let program = Pid::from_raw(pid.cast_signed());
    loop {
        let info = match signals.read_signal() {
            Ok(Some(info)) => info,
            Ok(None) | Err(Errno::EINTR) => continue,
            Err(e) => return Err(e.into()),
        };
        // It may have ended a moment ago; then there is nobody left to tell.
        match Signal::try_from(info.ssi_signo.cast_signed())? {
            Signal::SIGCHLD => {
                if let Some(how) = news_of(pid)? {
                    return Ok(how);
                }
            }
            Signal::SIGCONT => drop(kill(program, Signal::SIGCONT)),
            _ if info.ssi_code == SENT_BY_KERNEL => {}
            other => drop(kill(program, other)),
        }
    }
}

/// Several changes may come as one SIGCHLD.
fn news_of(pid: u32) -> io::Result<Option<How>> {
    let program = rustix::process::Pid::from_raw(pid.cast_signed());
    while let Some((_, status)) = waitpid(program, WaitOptions::UNTRACED | WaitOptions::NOHANG)? {
        if let Some(code) = status.exit_status() {
            return Ok(Some(How::Exited(code.to_le_bytes()[0])));
        }
        if let Some(number) = status.terminating_signal() {
            return Ok(Some(How::Killed(number)));
        }
        if status.stopped() {
            raise(Signal::SIGSTOP)?;
        }
    }
    Ok(None)
}

impl Ended {
    /// Ends this process as the program ended. Returns the status to exit with where that can't be had by a signal.
    pub fn pass_on(&self) -> ExitCode {
        let number = match self.how {
            How::Exited(code) => return ExitCode::from(code),
            How::Killed(number) => number,
        };
        if let Ok(same) = Signal::try_from(number) {
            // The program has left its core already, if it was to leave one.
            let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
            // SAFETY: the default disposition runs no code of ours.
            let _ = unsafe { signal(same, SigHandler::SigDfl) };
            let _ = raise(same);
            let _ = SigSet::from_iter([same]).thread_unblock();
        }
        ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            How::Exited(code) => write!(f, "exited with status {code}"),
            How::Killed(number) => match Signal::try_from(*number) {
                Ok(name) => write!(f, "killed by signal {number} ({name})"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}
