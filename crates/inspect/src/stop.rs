//! Holds a process still for a moment: each of its threads is seized and interrupted, and goes on when this is dropped. No
//! signal is sent, so nothing in the program sees that it happened, but the time.

use crate::trouble::{Result, Trouble};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;

pub struct Stopped {
    /// With the signal that was on its way to a thread when it stopped, which it gets when it goes on.
    threads: BTreeMap<i32, Option<Signal>>,
}

/// Threads may start others while we stop them: looked through until nobody new is there.
const ROUNDS: usize = 20;

impl Stopped {
    pub fn new(pid: u32) -> Result<Stopped> {
        let mut stopped = Stopped { threads: BTreeMap::new() };
        for _ in 0..ROUNDS {
            let new: Vec<i32> = threads(pid)?.into_iter().filter(|id| !stopped.threads.contains_key(id)).collect();
            if new.is_empty() {
                return Ok(stopped);
            }
            for id in new {
                stopped.stop(pid, id)?;
            }
        }
        Err(Trouble::Refused(format!(
            "process {pid} starts threads faster than they can be stopped; read it without --stop"
        )))
    }

    fn stop(&mut self, pid: u32, id: i32) -> Result<()> {
        let thread = Pid::from_raw(id);
        match ptrace::seize(thread, ptrace::Options::empty()) {
            Ok(()) => {}
            // It ended in between.
            Err(Errno::ESRCH) => return Ok(()),
            Err(Errno::EPERM) => {
                return Err(Trouble::Refused(format!(
                    "process {pid} can't be stopped: it isn't yours, or a debugger has it already; read it without --stop"
                )));
            }
            Err(e) => return Err(Trouble::Refused(format!("process {pid} can't be stopped: {e}"))),
        }
        self.threads.insert(id, None);
        if ptrace::interrupt(thread).is_err() {
            self.threads.remove(&id);
            return Ok(());
        }
        loop {
            match waitpid(thread, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => continue,
                Ok(WaitStatus::PtraceEvent(..)) => return Ok(()),
                Ok(WaitStatus::Stopped(_, signal)) => {
                    self.threads.insert(id, Some(signal));
                    return Ok(());
                }
                // Ended, or not ours to wait for any more.
                _ => {
                    self.threads.remove(&id);
                    return Ok(());
                }
            }
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for (id, signal) in &self.threads {
            let _ = ptrace::detach(Pid::from_raw(*id), *signal);
        }
    }
}

fn threads(pid: u32) -> Result<Vec<i32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| Trouble::Gone(pid))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
