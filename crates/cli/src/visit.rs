//! A visit in a stopped process: a function of its own is called there, by one of its threads.
//!
//! Registers, and a piece of stack that is below everything in use, are borrowed for the call. What the kernel was asked for
//! when the stop came begins anew when the registers are back. The thread goes on whatever fails: when `Stopped` is dropped, it is
//! let go.

#![cfg(target_arch = "x86_64")]

use crate::failure::Failure;
use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

/// Answers of `heapglass_tell`.
pub const BUSY: i32 = -1;
pub const TAKEN: i32 = -2;

/// Bytes below the stack pointer that may be in use (the ABI's red zone), and some more.
const BELOW: u64 = 1024;
/// What the kernel's calls return, to itself, where they are to begin anew unless a handler runs (`ERESTARTNOHAND`).
const AGAIN: i64 = -514;

/// One stopped thread.
pub struct Stopped {
    held: Held,
    /// What it goes on with.
    before: user_regs_struct,
}

/// A thread that is ours to stop, until this is dropped.
struct Held {
    pid: i32,
    thread: Pid,
    /// A signal that came for it meanwhile.
    kept_back: Option<Signal>,
}

/// Stops all threads of a process, those too that come while others are stopped.
pub fn stop_all(pid: i32) -> Result<Vec<Stopped>, Failure> {
    let mut stopped: Vec<Stopped> = Vec::new();
    loop {
        let before = stopped.len();
        let listed = fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| said(pid, &e.to_string()))?;
        let numbers = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for number in numbers {
            if stopped.iter().any(|known| known.held.thread.as_raw() == number) {
                continue;
            }
            match Stopped::stop(pid, number) {
                Ok(thread) => stopped.push(thread),
                // It may have ended.
                Err(_) if !is_there(pid, number) => {}
                Err(failure) => return Err(failure),
            }
        }
        if stopped.len() == before {
            return Ok(stopped);
        }
    }
}

fn is_there(pid: i32, thread: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("(zombie)") && !line.contains("(dead)"))
}

fn said(pid: i32, what: &str) -> Failure {
    Failure::ours(format!("process {pid}: {what}"))
}

impl Held {
    fn seize(pid: i32, thread: i32) -> Result<Held, Failure> {
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, Options::empty()).map_err(|e| match e {
            Errno::EPERM => said(
                pid,
                "it may not be attached to (it is somebody else's, is traced already, or kernel.yama.ptrace_scope forbids it)",
            ),
            e => said(pid, &format!("it can't be attached to: {e}")),
        })?;
        Ok(Held { pid, thread, kept_back: None })
    }

    /// Asks the thread to stop, and waits until it has.
    fn stop(&mut self) -> Result<(), Failure> {
        ptrace::interrupt(self.thread).map_err(|e| self.failed("it can't be stopped", e))?;
        loop {
            match self.next()? {
                WaitStatus::PtraceEvent(..) => return Ok(()),
                WaitStatus::Stopped(_, signal) => {
                    self.kept_back = Some(signal);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn next(&self) -> Result<WaitStatus, Failure> {
        let status = waitpid(self.thread, Some(WaitPidFlag::__WALL));
        match status.map_err(|e| self.failed("it can't be waited for", e))? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => Err(said(self.pid, "it ended")),
            other => Ok(other),
        }
    }

    fn registers(&self) -> Result<user_regs_struct, Failure> {
        ptrace::getregs(self.thread).map_err(|e| self.failed("its registers", e))
    }

    fn set_registers(&self, registers: user_regs_struct) -> Result<(), Failure> {
        ptrace::setregs(self.thread, registers).map_err(|e| self.failed("its registers", e))
    }

    /// Lets it run until it returns to nowhere.
    fn run(&mut self) -> Result<i32, Failure> {
        loop {
            ptrace::cont(self.thread, None).map_err(|e| self.failed("it doesn't go on", e))?;
            match self.next()? {
                WaitStatus::Stopped(_, Signal::SIGSEGV) => {
                    let now = self.registers()?;
                    // A fault of the function's own would come again for ever.
                    return if now.rip == 0 {
                        Ok(now.rax as i32)
                    } else {
                        Err(said(self.pid, "the call in it failed"))
                    };
                }
                WaitStatus::Stopped(_, signal) => self.kept_back = Some(signal),
                _ => {}
            }
        }
    }

    fn failed(&self, what: &str, e: Errno) -> Failure {
        said(self.pid, &format!("{what}: {e}"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What came for it meanwhile is handed on.
        let _ = ptrace::detach(self.thread, self.kept_back);
    }
}

impl Stopped {
    pub fn stop(pid: i32, thread: i32) -> Result<Stopped, Failure> {
        let mut held = Held::seize(pid, thread)?;
        held.stop()?;
        let mut before = held.registers()?;
        // Some calls come back from any interruption; to the program there was none.
        let asked_for_something = before.orig_rax.cast_signed() >= 0;
        if asked_for_something && before.rax.cast_signed() == -i64::from(Errno::EINTR as i32) {
            before.rax = AGAIN.cast_unsigned();
            held.set_registers(before)?;
        }
        Ok(Stopped { held, before })
    }

    /// Makes it call a function with a string, or with null. Everything is as before then.
    pub fn call(&mut self, function: u64, argument: Option<&[u8]>) -> Result<i32, Failure> {
        let mut call = self.before;
        let place = (self.before.rsp - BELOW) & !15;
        let stack = place - 512;
        self.write(place, stack - 8, argument).map_err(|e| said(self.held.pid, &format!("its memory: {e}")))?;
        call.rip = function;
        call.rdi = if argument.is_some() { place } else { 0 };
        (call.rsp, call.rax) = (stack - 8, 0);
        // No call of the kernel's is to begin anew in the middle of ours.
        call.orig_rax = u64::MAX;
        self.held.set_registers(call)?;
        let result = self.held.run();
        let back = self.held.set_registers(self.before);
        result.and_then(|result| back.map(|()| result))
    }

    fn write(&self, place: u64, stack: u64, argument: Option<&[u8]>) -> io::Result<()> {
        let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{}/mem", self.held.pid))?;
        if let Some(text) = argument {
            memory.write_all_at(&[text, &[0]].concat(), place)?;
        }
        // It returns to nowhere, which stops it.
        memory.write_all_at(&[0; 8], stack)
    }
}
