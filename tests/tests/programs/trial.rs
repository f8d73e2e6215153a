//! A trial: one program's work in a directory of its own, with the proof that Heapglass was under it.
//!
//! Beside Heapglass a small auditor (`tests/programs/audit.c`) is preloaded. As each process ends it notes whose malloc the
//! process called and what `heapglass_check` says of its heaps. [`Trial::proved`] reads these notes.

use heapglass_tests::{Door, Ran, built, compile, run_within};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer than any single run here takes on a busy machine; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(300);

/// How every program of these tests gets Heapglass: `heapglass run -f`, or the preload set by hand.
const THROUGH_COMMAND: bool = true;

pub struct Trial {
    name: &'static str,
    dir: PathBuf,
    tmp: PathBuf,
    began: Instant,
    tools: Tools,
}

/// The files that a run on Heapglass needs.
#[derive(Clone)]
struct Tools {
    command: PathBuf,
    library: PathBuf,
    auditor: PathBuf,
}

/// What the auditor noted of one process.
#[derive(Debug, PartialEq)]
pub struct Note {
    pub exe: String,
    pub pid: u32,
    pub library: String,
    pub threads: i32,
    pub faults: i32,
}

impl Trial {
    /// A trial in a new directory under `target/test-work`.
    pub fn new(name: &'static str) -> Trial {
        Trial::within(name, &heapglass_tests::root().join("target/test-work"))
    }

    /// A trial in a new directory under `parent`.
    pub fn within(name: &'static str, parent: &Path) -> Trial {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("heapglass-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let tmp = short_directory(number);
        let command = if THROUGH_COMMAND { built("heapglass") } else { PathBuf::new() };
        let tools = Tools { command, library: built("libheapglass.so").canonicalize().unwrap(), auditor: auditor() };
        Trial { name, dir, tmp, began: Instant::now(), tools }
    }

    /// Copies what a run on Heapglass needs into the trial's directory, for a user who can't read the build's.
    pub fn bring_tools(&mut self) {
        let bring = |from: &PathBuf| {
            let to = self.dir.join(from.file_name().unwrap());
            std::fs::copy(from, &to).unwrap();
            to
        };
        let library = bring(&self.tools.library);
        let auditor = bring(&self.tools.auditor);
        let command = if THROUGH_COMMAND { bring(&self.tools.command) } else { PathBuf::new() };
        self.tools = Tools { command, library, auditor };
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its programs put what they need for a moment. Its path is short, wherever the project lies.
    pub fn tmp(&self) -> &Path {
        &self.tmp
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file of the trial.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Reads a file of the trial.
    pub fn get(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A command on the C library's own allocator, in the trial's directory and with a plain environment.
    pub fn plain(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.surround(&mut command);
        command
    }

    /// The same command on Heapglass, its children too.
    pub fn on(&self, program: impl AsRef<OsStr>) -> Command {
        let tools = &self.tools;
        let mut command = if THROUGH_COMMAND {
            let mut command = Command::new(&tools.command);
            command.args(["run", "-f", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        self.surround(&mut command);
        // The command puts the library before what is there.
        let preload = if THROUGH_COMMAND { self.tools.auditor.display().to_string() } else { self.preload() };
        command.env("LD_PRELOAD", preload).env("HEAPGLASS_AUDIT", self.audit_file());
        command
    }

    /// What `LD_PRELOAD` holds in a program on Heapglass.
    pub fn preload(&self) -> String {
        format!("{}:{}", self.library().display(), self.tools.auditor.display())
    }

    pub fn library(&self) -> &Path {
        &self.tools.library
    }

    pub fn audit_file(&self) -> PathBuf {
        self.path("audit")
    }

    fn surround(&self, command: &mut Command) {
        for name in ["LD_PRELOAD", "HEAPGLASS", "HEAPGLASS_AUDIT", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "DISPLAY"] {
            command.env_remove(name);
        }
        command.env("HOME", &self.dir).env("TMPDIR", &self.tmp);
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").current_dir(&self.dir);
    }

    /// Runs the program on Heapglass to a good end.
    #[track_caller]
    pub fn good(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Ran {
        good(self.on(program).args(args))
    }

    /// Runs the program on the C library's allocator, then on Heapglass: both must say the same and end well.
    #[track_caller]
    pub fn same(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Ran {
        let plain = run_within(self.plain(&program).args(args), LIMIT).ok();
        let ours = self.good(&program, args);
        assert_eq!(plain.out, ours.out, "standard output differs from that on the C library's allocator");
        assert_eq!(plain.err, ours.err, "standard error differs from that on the C library's allocator");
        ours
    }

    /// The notes of all processes that ended so far.
    pub fn notes(&self) -> Vec<Note> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        text.lines().map(|line| Note::read(line).unwrap_or_else(|| panic!("the auditor wrote {line:?}"))).collect()
    }

    /// Ends the trial: each of the named executables ran on Heapglass, and the heaps of every process were sound.
    #[track_caller]
    pub fn proved(self, executables: &[&str]) {
        let notes = self.notes();
        for exe in executables {
            // Python is `python3.11` here and something else elsewhere.
            let found = notes
                .iter()
                .any(|note| note.exe == *exe || exe.strip_suffix('*').is_some_and(|e| note.exe.starts_with(e)));
            assert!(found, "no {exe} was seen to end on Heapglass: {notes:#?}");
        }
        for note in notes.iter().filter(|note| note.exe != "heapglass") {
            assert_eq!(note.library, "libheapglass.so", "another malloc was in use: {note:?}");
            assert_eq!(note.faults, 0, "the heaps were not sound at the end: {note:?}");
        }
    }
}

impl Note {
    fn read(line: &str) -> Option<Note> {
        let mut words = line.rsplitn(5, ' ');
        let faults = words.next()?.parse().ok()?;
        let threads = words.next()?.parse().ok()?;
        let library = words.next()?.to_string();
        let pid = words.next()?.parse().ok()?;
        Some(Note { exe: words.next()?.to_string(), pid, library, threads, faults })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Straight to the descriptor: the duration is wanted from good tests too, whose prints the harness keeps.
        let _ = writeln!(std::io::stderr(), "{:<24}{:>8.1} s", self.name, self.began.elapsed().as_secs_f64());
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_dir_all(&self.tmp);
    }
}

/// A new directory for a trial's `TMPDIR`. A socket's name in the file system has 107 bytes at most, and Python's tests wait for
/// ever on any malloc when the names they make up in `TMPDIR`, of 32 bytes, don't fit.
fn short_directory(number: u32) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("heapglass-{}-{number}", std::process::id()));
    assert!(dir.as_os_str().len() < 72, "{}: too long for names of sockets in it", dir.display());
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs a command on Heapglass: it ends well, and Heapglass had nothing to say.
#[track_caller]
pub fn good(command: &mut Command) -> Ran {
    let ran = run_within(command, LIMIT).ok();
    assert!(!ran.err.lines().any(|line| line.starts_with("heapglass: ")), "Heapglass complained: {ran:#?}");
    ran
}

/// A script or input of ours under `tests/programs`.
pub fn script(name: &str) -> String {
    heapglass_tests::root().join("tests/programs").join(name).to_str().unwrap().to_string()
}

fn auditor() -> PathBuf {
    compiled_once("tests/programs/audit.c", &["-shared", "-fPIC"])
}

/// A program of ours, compiled by the first test that wants it: no test has its program replaced while it runs.
pub fn compiled_once(source: &'static str, extra: &[&str]) -> PathBuf {
    static COMPILED: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap();
    compiled.entry(source).or_insert_with(|| compile(source, Door::Preload, extra)).clone()
}

/// The preload is really read: a key that Heapglass doesn't know is told on standard error.
#[test]
fn an_ignored_preload_would_be_noticed() {
    let trial = Trial::new("preload");
    let ran = run_within(trial.on("/bin/ls").arg("/").env("HEAPGLASS", "bogus_key:1"), LIMIT).ok();
    let told: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("heapglass: ")).collect();
    assert!(told.len() == 1 && told[0].contains("bogus_key"), "{ran:#?}");

    assert!(trial.notes().iter().any(|note| note.library == "libheapglass.so"));
    let before = trial.notes().len();
    run_within(trial.plain("/bin/ls").env("LD_PRELOAD", auditor()).env("HEAPGLASS_AUDIT", trial.audit_file()), LIMIT)
        .ok();
    let notes = trial.notes();
    let alone = notes.last().unwrap();
    assert!(notes.len() > before && alone.library.starts_with("libc.") && alone.faults == -1, "{alone:?}");
    std::fs::remove_file(trial.audit_file()).unwrap();
}
