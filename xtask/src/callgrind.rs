//! How many instructions a call of malloc and free takes, by valgrind's callgrind, which counts what was executed and is the
//! same on a busy machine. A program (`tests/counts/pairs.cc`) makes one kind of call N times and 2 N times: the difference, by
//! N, is one round without the start and the end, of the process and of the allocator's caches.
//!
//! Callgrind leaves malloc alone, unlike valgrind's checkers, so no option has to tell it to.

use crate::cargo::output;
use crate::root;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "tests/counts/pairs.cc";
const DIR: &str = "target/counts";
/// A multiple of the frees between two looks at the clock, so that either run has its share of them.
const ROUNDS: u64 = 20_480;
const LIBC: &str = "libc.so.6";
const FAMILY: [&str; 4] = ["malloc", "free", "calloc", "realloc"];

/// What a program repeats, as words for it.
pub struct Kind {
    pub about: &'static str,
    pub call: &'static str,
    pub size: usize,
    /// After another thread has been.
    pub threaded: bool,
}

/// Compiles the program; gives its path.
pub fn program() -> Result<PathBuf, String> {
    let dir = root().join(DIR);
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let program = dir.join("pairs");
    let mut cxx = Command::new("g++");
    // Calls by the table of addresses, filled at the start: nothing stands between the program and the library.
    cxx.args(["-O1", "-fno-builtin", "-fno-plt", "-Wl,-z,now", "-pthread", "-o"])
        .arg(&program)
        .arg(root().join(SOURCE));
    output(&mut cxx)?;
    Ok(program)
}

/// Instructions of a round, all that the calls cause and nothing of the program's own loop. `library` is preloaded; without
/// one it is the C library's malloc.
pub fn per_round(program: &Path, kind: &Kind, library: Option<&Path>) -> Result<f64, String> {
    let once = run(program, kind, library, ROUNDS)?;
    let twice = run(program, kind, library, 2 * ROUNDS)?;
    // A library that couldn't be preloaded leaves the calls to the C library.
    let by_libc = twice.by_libc >= once.by_libc + ROUNDS;
    if by_libc != library.is_none() {
        let library = library.unwrap_or(Path::new(LIBC));
        return Err(format!("{}: {} didn't serve the calls", kind.about, library.display()));
    }
    Ok((twice.caused as f64 - once.caused as f64) / ROUNDS as f64)
}

fn run(program: &Path, kind: &Kind, library: Option<&Path>, rounds: u64) -> Result<Profile, String> {
    let out = root().join(DIR).join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(program).args([kind.call, &kind.size.to_string(), &rounds.to_string()]);
    if kind.threaded {
        valgrind.arg("threaded");
    }
    valgrind.env_remove("HEAPGLASS").env_remove("LD_PRELOAD");
    if let Some(library) = library {
        valgrind.env("LD_PRELOAD", library);
        // Decay goes by the clock, and under callgrind a second passes in a few million calls. Guarded samples go by chance: what
        // finds their moments is counted, but none comes.
        valgrind.env("HEAPGLASS", "decay:-1,guard:1G");
    }
    output(&mut valgrind)?;
    let text = fs::read_to_string(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let ours = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Profile::read(&text, &ours))
}

/// What is wanted of callgrind's figures: <https://valgrind.org/docs/manual/cl-format.html>.
#[derive(Debug, Default, PartialEq)]
struct Profile {
    /// Instructions of all calls that the program's main function made of other objects, with what those called.
    caused: u64,
    /// How often the C library's own malloc and its kin were called from outside of it.
    by_libc: u64,
}

impl Profile {
    /// `program` is the file's name of the object whose calls count.
    fn read(text: &str, program: &str) -> Profile {
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut profile = Profile::default();
        let (mut caller, mut callee) = (String::new(), None);
        let (mut from, mut function) = ("", "");
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            match line.split_once('=') {
                Some(("ob", path)) => caller = name(path),
                Some(("cob", path)) => callee = Some(name(path)),
                Some(("fn", name)) => from = name,
                Some(("cfn", name)) => function = name,
                Some(("calls", rest)) => {
                    // The next line is the place of the call and its cost. Without a name of its own it stays in the object.
                    let cost = lines.next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
                    let Some(callee) = callee.take().filter(|callee| *callee != caller) else { continue };
                    let count: u64 = rest.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0);
                    if callee == LIBC && FAMILY.contains(&function) {
                        profile.by_libc += count;
                    }
                    if caller == program && from == "main" {
                        profile.caused += cost;
                    }
                }
                _ => {}
            }
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
positions: line
events: Ir
ob=/tmp/pairs
fl=pairs.cc
fn=_start
0 3
cob=/lib/libz.so
cfn=start_main
calls=1 242
0 9000

fn=main
0 17
cob=/lib/libx.so
cfi=lib.rs
cfn=malloc
calls=20 106
0 500
cfn=look
calls=20 3
0 40
cob=/lib/libx.so
cfn=free
calls=20 7
0 700

ob=/lib/libx.so
fn=malloc
0 500
cob=/lib/libc.so.6
cfn=memset
calls=5 1
0 90
";

    #[test]
    fn what_the_program_causes_elsewhere_is_summed() {
        let profile = Profile::read(TEXT, "pairs");
        assert_eq!(profile.caused, 1200);
        assert_eq!(profile.by_libc, 0);
        let profile = Profile::read(&TEXT.replace("/lib/libx.so", "/lib/libc.so.6"), "pairs");
        assert_eq!((profile.caused, profile.by_libc), (1200, 40));
    }
}
