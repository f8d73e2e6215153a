//! Making a process that already runs on Heapglass tell what it does: it is stopped, made to call `heapglass_tell` of its own
//! library, and let go as it was. The function makes a few system calls and changes nothing that the program could have been
//! at work on, so it doesn't matter where the process was stopped.
//!
//! # Safety
//! Registers and a piece of stack that is below everything in use are borrowed for one call. A call that the kernel was
//! asked for and that the stop interrupted begins anew when the registers are back, as after any debugger's visit.

use crate::failure::Failure;
use object::{Object, ObjectSymbol};
use std::fs;
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
        // As the process sees it, which may live below another root.
        let Ok(bytes) = fs::read(format!("/proc/{pid}/root{path}")) else { continue };
        let Ok(file) = object::File::parse(&*bytes) else { continue };
        let mut symbols = file.dynamic_symbols().chain(file.symbols());
        if let Some(symbol) = symbols.find(|symbol| symbol.name() == Ok(FUNCTION) && symbol.is_definition()) {
            let is_fixed = file.kind() == object::ObjectKind::Executable;
            return Ok(if is_fixed { symbol.address() } else { start.wrapping_add(symbol.address()) });
        }
    }
    Err(Failure::ours(format!(
        "process {pid} doesn't run on Heapglass, or on one that can't be asked from outside: start it by `heapglass run`"
    )))
}

/// Makes the process tell in the file of this item (`events:FILE`).
#[cfg(target_arch = "x86_64")]
pub fn tell(pid: i32, item: &str) -> Result<(), Failure> {
    use nix::errno::Errno;
    use nix::sys::ptrace::{self, Options};
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;

    let function = find(pid)?;
    let file = item.strip_prefix("events:").unwrap_or(item);
    let process = Pid::from_raw(pid);
    let failed = |what: &str, e: Errno| Failure::ours(format!("process {pid}: {what}: {e}"));
    let next = || waitpid(process, Some(WaitPidFlag::__WALL)).map_err(|e| failed("it can't be waited for", e));
    ptrace::seize(process, Options::empty()).map_err(|e| match e {
        Errno::EPERM => Failure::ours(format!(
            "process {pid}: it may not be attached to (it is somebody else's, is traced already, or kernel.yama.ptrace_scope \
             forbids it)"
        )),
        e => failed("it can't be attached to", e),
    })?;
    // From here on, whatever fails, the process goes on: letting go of it is the end of the attempt.
    let mut kept_back = None;
    let done = (|| {
        ptrace::interrupt(process).map_err(|e| failed("it can't be stopped", e))?;
        while !matches!(next()?, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) {}
        let before = ptrace::getregs(process).map_err(|e| failed("its registers", e))?;
        let mut call = before;
        let place = (before.rsp - BELOW) & !15;
        let mut text = file.as_bytes().to_vec();
        text.push(0);
        let stack = place - 512;
        let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
        let written = memory.and_then(|memory| {
            memory.write_all_at(&text, place)?;
            // It returns to nowhere, which stops it.
            memory.write_all_at(&[0; 8], stack - 8)
        });
        written.map_err(|e| Failure::ours(format!("process {pid}: its memory: {e}")))?;
        (call.rip, call.rdi, call.rsp, call.rax) = (function, place, stack - 8, 0);
        // No call of the kernel's is to begin anew in the middle of ours.
        call.orig_rax = u64::MAX;
        ptrace::setregs(process, call).map_err(|e| failed("its registers", e))?;
        let result = loop {
            ptrace::cont(process, None).map_err(|e| failed("it doesn't go on", e))?;
            match next()? {
                WaitStatus::Stopped(_, Signal::SIGSEGV) => {
                    let now = ptrace::getregs(process).map_err(|e| failed("its registers", e))?;
                    if now.rip == 0 {
                        break now.rax as u32;
                    }
                    // A fault of the function's own would come again for ever.
                    ptrace::setregs(process, before).map_err(|e| failed("its registers", e))?;
                    return Err(Failure::ours(format!("process {pid}: the call in it failed")));
                }
                WaitStatus::Stopped(_, signal) => kept_back = Some(signal),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    return Err(Failure::ours(format!("process {pid} ended")));
                }
                _ => {}
            }
        };
        ptrace::setregs(process, before).map_err(|e| failed("its registers", e))?;
        match result {
            0 => Ok(()),
            _ => {
                Err(Failure::ours(format!("process {pid} can't open {file}: it runs as another user, or in a sandbox")))
            }
        }
    })();
    // What came for it meanwhile is handed on.
    let _ = ptrace::detach(process, kept_back);
    done
}

#[cfg(not(target_arch = "x86_64"))]
pub fn tell(pid: i32, _: &str) -> Result<(), Failure> {
    find(pid)?;
    Err(Failure::ours("attaching is written for x86-64 only"))
}
