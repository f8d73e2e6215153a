//! Making a process that already runs on Heapglass tell what it does: it is stopped, made to call `heapglass_tell` of its own
//! library, and let go as it was. The function makes a few system calls and changes nothing that the program could have been
//! at work on, so it doesn't matter where the process was stopped.
//!
//! # Safety
//! Registers and a piece of stack that is below everything in use are borrowed for one call. A call that the kernel was
//! asked for and that the stop interrupted begins anew when the registers are back, as after any debugger's visit.

use crate::failure::Failure;
#[cfg(target_arch = "x86_64")]
use nix::errno::Errno;
#[cfg(target_arch = "x86_64")]
use nix::sys::ptrace::{self, Options};
#[cfg(target_arch = "x86_64")]
use nix::sys::signal::Signal;
#[cfg(target_arch = "x86_64")]
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
#[cfg(target_arch = "x86_64")]
use nix::unistd::Pid;
use object::{Object, ObjectSymbol};
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// The function that begins to tell.
const FUNCTION: &str = "heapglass_tell";
/// Bytes below the stack pointer that may be in use (the ABI's red zone), and some more.
const BELOW: u64 = 1024;

/// Where `heapglass_tell` lies in a process.
fn find(pid: i32) -> Result<u64, Failure> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::ours(format!("process {pid}: there is no such process")),
        _ => Failure::ours(format!("process {pid}: {e}")),
    })?;
    let mut seen = Vec::new();
    for line in maps.lines() {
        // start-end rights offset device inode path
        let mut words = line.split_whitespace();
        let (Some(range), Some(offset)) = (words.next(), words.nth(1)) else { continue };
        let Some(path) = words.nth(2).filter(|path| path.starts_with('/') && offset == "00000000") else { continue };
        if seen.contains(&path) {
            continue;
        }
        seen.push(path);
        let Some(start) = range.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok()) else {
            continue;
        };
        // As the process sees it, which may live below another root; as we see it; or the very file, though it was deleted.
        let ways = [format!("/proc/{pid}/root{path}"), path.to_owned(), format!("/proc/{pid}/map_files/{range}")];
        let Some(bytes) = ways.iter().find_map(|way| fs::read(way).ok()) else { continue };
        let Ok(file) = object::File::parse(&*bytes) else { continue };
        let mut symbols = file.dynamic_symbols().chain(file.symbols());
        if let Some(symbol) = symbols.find(|symbol| symbol.name() == Ok(FUNCTION) && symbol.is_definition()) {
            let is_fixed = file.kind() == object::ObjectKind::Executable;
            return Ok(if is_fixed { symbol.address() } else { start + symbol.address() });
        }
    }
    Err(Failure::ours(format!(
        "process {pid} doesn't run on Heapglass, or on one that can't be asked from outside: start it by `heapglass run`"
    )))
}

/// Makes the process tell. It is asked for a file to tell in, since it may see no `/proc` or another one than we: `begin` gets
/// that, or nothing where it could make none, and returns the item (`events:FILE`) of what it listens to.
#[cfg(target_arch = "x86_64")]
pub fn tell(pid: i32, begin: impl FnOnce(Option<OwnedFd>) -> Result<OsString, Failure>) -> Result<(), Failure> {
    let function = find(pid)?;
    let mut visit = Visit::begin(pid)?;
    // From here on, whatever fails, the process goes on: letting go of it is the end of the attempt.
    let done = (|| {
        let number = visit.call(function, None)?;
        let made = fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/fd/{number}"));
        let made = made.ok().filter(|_| number >= 0);
        let is_theirs = made.is_some();
        let item = begin(made.map(OwnedFd::from))?;
        let item = item.to_string_lossy();
        let file = item.strip_prefix("events:").unwrap_or(&item);
        let file = if is_theirs { format!("fd:{number}") } else { file.to_owned() };
        match visit.call(function, Some(&file))? {
            0 => Ok(()),
            _ => {
                Err(Failure::ours(format!("process {pid} can't open {file}: it runs as another user, or in a sandbox")))
            }
        }
    })();
    visit.end();
    done
}

/// A process that is stopped, and is made to call functions of its own.
#[cfg(target_arch = "x86_64")]
struct Visit {
    process: Pid,
    before: nix::libc::user_regs_struct,
    /// What came for it meanwhile.
    kept_back: Option<Signal>,
}

#[cfg(target_arch = "x86_64")]
impl Visit {
    fn begin(pid: i32) -> Result<Visit, Failure> {
        let process = Pid::from_raw(pid);
        ptrace::seize(process, Options::empty()).map_err(|e| match e {
            Errno::EPERM => Failure::ours(format!(
                "process {pid}: it may not be attached to (it is somebody else's, is traced already, or \
                 kernel.yama.ptrace_scope forbids it)"
            )),
            e => failed(process, "it can't be attached to", e),
        })?;
        let stopped = (|| {
            ptrace::interrupt(process).map_err(|e| failed(process, "it can't be stopped", e))?;
            while !matches!(next(process)?, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) {}
            ptrace::getregs(process).map_err(|e| failed(process, "its registers", e))
        })();
        match stopped {
            Ok(before) => Ok(Visit { process, before, kept_back: None }),
            Err(e) => {
                let _ = ptrace::detach(process, None);
                Err(e)
            }
        }
    }

    /// What a function returns that takes a string, or null.
    fn call(&mut self, function: u64, text: Option<&str>) -> Result<i32, Failure> {
        let (process, before) = (self.process, self.before);
        let place = (before.rsp - BELOW) & !15;
        let stack = place - 512;
        let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{process}/mem"));
        let written = memory.and_then(|memory| {
            let text = text.unwrap_or_default().as_bytes();
            memory.write_all_at(&[text, &[0]].concat(), place)?;
            // It returns to nowhere, which stops it.
            memory.write_all_at(&[0; 8], stack - 8)
        });
        written.map_err(|e| Failure::ours(format!("process {process}: its memory: {e}")))?;
        let mut call = before;
        (call.rip, call.rdi, call.rsp, call.rax) = (function, text.map_or(0, |_| place), stack - 8, 0);
        // No call of the kernel's is to begin anew in the middle of ours.
        call.orig_rax = u64::MAX;
        let set = |registers| ptrace::setregs(process, registers).map_err(|e| failed(process, "its registers", e));
        set(call)?;
        let result = loop {
            ptrace::cont(process, None).map_err(|e| failed(process, "it doesn't go on", e))?;
            match next(process)? {
                WaitStatus::Stopped(_, Signal::SIGSEGV) => {
                    let now = ptrace::getregs(process).map_err(|e| failed(process, "its registers", e))?;
                    if now.rip == 0 {
                        break now.rax as i32;
                    }
                    // A fault of the function's own would come again for ever.
                    set(before)?;
                    return Err(Failure::ours(format!("process {process}: the call in it failed")));
                }
                WaitStatus::Stopped(_, signal) => self.kept_back = Some(signal),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    return Err(Failure::ours(format!("process {process} ended")));
                }
                _ => {}
            }
        };
        set(before)?;
        Ok(result)
    }

    /// Lets it go on as it was. What came for it meanwhile is handed on.
    fn end(self) {
        let _ = ptrace::detach(self.process, self.kept_back);
    }
}

#[cfg(target_arch = "x86_64")]
fn next(process: Pid) -> Result<WaitStatus, Failure> {
    waitpid(process, Some(WaitPidFlag::__WALL)).map_err(|e| failed(process, "it can't be waited for", e))
}

#[cfg(target_arch = "x86_64")]
fn failed(process: Pid, what: &str, e: Errno) -> Failure {
    Failure::ours(format!("process {process}: {what}: {e}"))
}

#[cfg(not(target_arch = "x86_64"))]
pub fn tell(pid: i32, _: impl FnOnce(Option<OwnedFd>) -> Result<OsString, Failure>) -> Result<(), Failure> {
    find(pid)?;
    Err(Failure::ours("attaching is written for x86-64 only"))
}
