//! The cells of the matrix: compiling the programs of `tests/attacks`, asking them what cells they have, running those.

use super::outcome::{Ended, Outcome};
use crate::cargo::output;
use crate::root;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const SOURCES: [&str; 3] = ["frees.c", "writes.c", "sizes.cc"];
const C: [&str; 2] = ["gcc", "-std=gnu17"];
const CXX: [&str; 2] = ["g++", "-std=gnu++17"];
/// No optimiser may reason about malloc, free, or what is written to memory that is free.
const WORDS: [&str; 6] = ["-g", "-O1", "-Wall", "-fno-builtin", "-pthread", "-D_GNU_SOURCE"];
/// Programs that run side by side.
const WORKERS: usize = 2;

/// One attack: a program and its words.
#[derive(Clone, Debug)]
pub struct Cell {
    program: PathBuf,
    pub kind: String,
    pub size: String,
    pub thread: String,
    pub delay: String,
    /// Is what it attacks a chunk that was freed?
    pub is_freed: bool,
}

impl Cell {
    pub fn words(&self) -> [&str; 4] {
        [&self.kind, &self.size, &self.thread, &self.delay]
    }
}

/// What a cell runs on.
#[derive(Clone, Debug)]
pub struct Under {
    /// As tables name it.
    pub name: String,
    pub library: Option<PathBuf>,
    /// The value of `HEAPGLASS`, for ours.
    pub setting: String,
    /// How its messages begin.
    pub message: &'static str,
    /// The only size that there is in a mode; others are as they are without it.
    pub only: Option<&'static str>,
}

/// Compiles the programs and lists their cells in order.
pub fn all() -> Result<Vec<Cell>, String> {
    let dir = root().join("target/attacks");
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut cells = Vec::new();
    for source in SOURCES {
        let (name, extension) = source.split_once('.').unwrap_or((source, ""));
        let program = dir.join(name);
        // Aside first: a program that is running can't be written to.
        let fresh = dir.join(format!("{name}.{}", std::process::id()));
        let [compiler, standard] = if extension == "cc" { CXX } else { C };
        let mut command = Command::new(compiler);
        command.arg(standard).args(WORDS).arg("-o").arg(&fresh).arg(root().join("tests/attacks").join(source));
        output(&mut command)?;
        fs::rename(&fresh, &program).map_err(|e| e.to_string())?;
        for line in output(Command::new(&program).arg("list"))?.lines() {
            let [kind, size, thread, delay, state] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(format!("{source} lists a cell of other than five words: {line}"));
            };
            let is_freed = state == "freed";
            let [kind, size, thread, delay] = [kind, size, thread, delay].map(str::to_owned);
            cells.push(Cell { program: program.clone(), kind, size, thread, delay, is_freed });
        }
    }
    Ok(cells)
}

fn run(cell: &Cell, under: &Under) -> Result<Output, String> {
    let mut command = Command::new(&cell.program);
    command.args(cell.words()).stdin(Stdio::null());
    command.env_remove("HEAPGLASS").env_remove("LD_PRELOAD");
    if let Some(library) = &under.library {
        command.env("LD_PRELOAD", library);
    }
    if !under.setting.is_empty() {
        command.env("HEAPGLASS", &under.setting);
    }
    command.output().map_err(|e| format!("{}: {e}", cell.program.display()))
}

fn outcome(cell: &Cell, under: &Under) -> Result<Outcome, String> {
    if under.only.is_some_and(|size| size != cell.size) {
        return Ok(Outcome::Absent);
    }
    let ran = run(cell, under)?;
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let ended = Ended { status: ran.status.code(), signal: ran.status.signal(), out: &out, err: &err };
    ended
        .outcome(under.message)
        .map_err(|why| format!("{} under {}: {}", cell.words().join(" "), under.name, why.trim()))
}

/// Every cell once; as many outcomes as cells.
pub fn outcomes(cells: &[Cell], under: &Under) -> Result<Vec<Outcome>, String> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(cells.len()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((at, cell)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, cells.get(at)?)))
                {
                    let one = outcome(cell, under);
                    found.lock().expect("no worker panics").push((at, one));
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no worker panics");
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, one)| one).collect()
}

/// What the library says of a setting that it doesn't know; nothing if it does.
pub fn complaint(under: &Under) -> Result<Option<String>, String> {
    let mut command = Command::new("true");
    command.env_remove("LD_PRELOAD").env("HEAPGLASS", &under.setting);
    if let Some(library) = &under.library {
        command.env("LD_PRELOAD", library);
    }
    let ran = command.output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    Ok(Some(said).filter(|said| !said.is_empty()))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A cell by its four words.
    pub fn cell(words: &str) -> Cell {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let [kind, size, thread, delay] = <[String; 4]>::try_from(words).unwrap();
        Cell { program: PathBuf::from("none"), kind, size, thread, delay, is_freed: false }
    }
}
