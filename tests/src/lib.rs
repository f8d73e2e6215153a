//! What the tests of the built library share: where the build lies, how a C program is compiled and linked, how a program
//! is run on Heapglass and what came of it.
//!
//! The tests look at `target/release` (or `$HEAPGLASS_BUILD`), which `cargo xtask test` builds first.

pub mod browser;
pub mod cli;
mod hang;
pub mod held;
pub mod session;
pub mod strace;
pub mod watched;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A file of the release build: `libheapglass.so`, `libheapglass.a`, `heapglass`.
pub fn built(name: &str) -> PathBuf {
    let dir = match std::env::var_os("HEAPGLASS_BUILD") {
        Some(dir) => PathBuf::from(dir),
        None => root().join("target/release"),
    };
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: type `cargo build --release` first", path.display());
    path
}

/// Is this program there? Where it isn't, a test says so and leaves itself out, but only if the runner was told that it
/// may (`HEAPGLASS_LEAVE_OUT=1`, set by `cargo xtask test` where nothing can be installed). Otherwise it fails.
pub fn have(program: &str) -> bool {
    let found = program.contains('/') && Path::new(program).exists()
        || std::env::var_os("PATH").is_some_and(|p| std::env::split_paths(&p).any(|d| d.join(program).is_file()));
    if !found {
        assert!(
            std::env::var_os("HEAPGLASS_LEAVE_OUT").is_some(),
            "{program} is not installed; `cargo xtask test` installs what the tests need"
        );
        left_out(&format!("{program} is not installed"));
    }
    found
}

/// Says that the calling test, or a part of it, leaves itself out, and why. Straight to the descriptor: what a test that passes
/// prints, the harness keeps.
pub fn left_out(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "left out: {test}: {why}");
}

/// How a test program gets Heapglass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Compiled as usual, run with `LD_PRELOAD`.
    Preload,
    /// Linked with `libheapglass.a`.
    Static,
    /// Compiled and run on the C library's own allocator: for comparing.
    Libc,
}

pub const DOORS: [Door; 2] = [Door::Preload, Door::Static];

/// Compiles one C (`.c`) or C++ (`.cc`) file of ours, given relative to the root, and returns the program's path.
/// The compiler may not reason about malloc and free (it would remove whole pairs of them).
pub fn compile(source: &str, door: Door, extra: &[&str]) -> PathBuf {
    let source_path = root().join(source);
    let cxx = source.ends_with(".cc");
    let dir = root().join("target/test-programs");
    std::fs::create_dir_all(&dir).unwrap();
    let mut name = source.replace(['/', '.'], "_");
    name.push_str(match door {
        Door::Static => "_static",
        _ => "_dynamic",
    });
    for word in extra {
        name.push_str(&word.replace(['/', '-', '='], "_"));
    }
    let out = dir.join(&name);
    // Compiled aside and renamed, so that tests that run side by side never see half a program.
    let aside = dir.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    let mut cc = Command::new(if cxx { "g++" } else { "gcc" });
    cc.args(["-g", "-O1", "-Wall", "-fno-builtin", "-pthread", "-D_GNU_SOURCE"]);
    cc.arg(if cxx { "-std=c++17" } else { "-std=gnu17" });
    cc.arg("-I").arg(root().join("include")).arg("-o").arg(&aside).arg(&source_path);
    if door == Door::Static {
        cc.arg(built("libheapglass.a"));
    }
    cc.args(extra);
    let made = cc.output().unwrap_or_else(|e| panic!("the compiler did not start: {e}"));
    assert!(made.status.success(), "{cc:?}\n{}", String::from_utf8_lossy(&made.stderr));
    std::fs::rename(&aside, &out).unwrap();
    out
}

/// A command that will run on Heapglass through the given door.
pub fn on_heapglass(program: impl AsRef<OsStr>, door: Door) -> Command {
    let mut command = Command::new(program);
    if door == Door::Preload {
        command.env("LD_PRELOAD", built("libheapglass.so"));
    }
    command
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert!(self.code == Some(0), "expected exit 0: {self:#?}");
        self
    }
}

/// Runs to the end, with a bound on the time: a hang is a failure, not a wait.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    run_within(command, Duration::from_secs(300))
}

#[track_caller]
pub fn run_within(command: &mut Command, limit: Duration) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?} did not start: {e}"));
    let id = child.id();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    // Output pipes must be drained while we wait, so the clock sits in a thread of its own.
    let watchdog = std::thread::spawn(move || {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            match wait.recv_timeout(Duration::from_millis(200)) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => continue,
                _ => return None,
            }
        }
        Some(hang::end(id))
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    drop(done);
    let hung = watchdog.join().unwrap();
    let ran = Ran {
        code: status.code(),
        signal: status.signal(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    };
    if let Some(stacks) = hung {
        panic!("{command:?} ran over {limit:?}\n{stacks}\n{ran:#?}");
    }
    ran
}
