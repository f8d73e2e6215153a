//! Making a process that already runs on Heapglass tell what it does: it is stopped, made to call `heapglass_tell` of its own
//! library, and let go as it was. The function makes a few system calls and changes nothing that the program could have been
//! at work on, so it doesn't matter where the process was stopped. When the reader has had enough, the process is visited once
//! more, and what it had mapped goes.

use crate::failure::Failure;
#[cfg(target_arch = "x86_64")]
use crate::visit;
use object::{Object, ObjectSymbol};
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The function that begins to tell.
const FUNCTION: &str = "heapglass_tell";
/// What it is asked for a file with.
const NEW: &[u8] = b"new";
/// What the file is called in a process's mappings.
const MAPPING: &str = "heapglass-events";
/// How often, and how long after one another, a process is asked to let go of it: a thread may be writing to it.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

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
            return Ok(if is_fixed { symbol.address() } else { start.wrapping_add(symbol.address()) });
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
    // What an earlier reader that was killed left behind.
    leave(pid);
    let function = find(pid)?;
    // From here on, whatever fails, the process goes on: letting go of it is the end of the attempt.
    let mut thread = visit::Stopped::stop(pid, pid)?;
    let number = thread.call(function, Some(NEW))?;
    let made = fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/fd/{number}"));
    let made = made.ok().filter(|_| number >= 0);
    let is_theirs = made.is_some();
    let item = begin(made.map(OwnedFd::from))?;
    let item = item.to_string_lossy();
    let file = item.strip_prefix("events:").unwrap_or(&item);
    let file = if is_theirs { format!("fd:{number}") } else { file.to_owned() };
    match thread.call(function, Some(file.as_bytes()))? {
        0 => Ok(()),
        visit::TAKEN => Err(Failure::ours(format!("process {pid}: somebody else is told already what it does"))),
        _ => Err(Failure::ours(format!("process {pid} can't open {file}: it runs as another user, or in a sandbox"))),
    }
}

/// Lets a process forget the files that nobody reads any more. All its threads are stopped for that: none may be at it. Where that
/// can't be had, the mapping stays, and harms nobody.
#[cfg(target_arch = "x86_64")]
pub fn leave(pid: i32) {
    let has_any = || fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(MAPPING));
    for _ in 0..TRIES {
        if !has_any() {
            return;
        }
        let Ok(function) = find(pid) else { return };
        let Ok(mut threads) = visit::stop_all(pid) else { return };
        let Some(first) = threads.first_mut() else { return };
        match first.call(function, None) {
            Ok(visit::BUSY) => {}
            _ => return,
        }
        drop(threads);
        std::thread::sleep(PAUSE);
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn tell(pid: i32, _: impl FnOnce(Option<OwnedFd>) -> Result<OsString, Failure>) -> Result<(), Failure> {
    find(pid)?;
    Err(Failure::ours("attaching is written for x86-64 only"))
}

#[cfg(not(target_arch = "x86_64"))]
pub fn leave(_: i32) {}
