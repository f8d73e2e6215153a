//! What the real programs read: files that lie in `crates/cli/suite` in each program's own language, and a history for git
//! that is drawn from the same random numbers each time.

use super::items::Place;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const PYTHON: &str = include_str!("../../suite/python.py");
pub const LUA: &str = include_str!("../../suite/lua.lua");
pub const PERL: &str = include_str!("../../suite/perl.pl");
pub const RUBY: &str = include_str!("../../suite/ruby.rb");
pub const SQL: &str = include_str!("../../suite/sqlite.sql");
pub const SMT2: &str = include_str!("../../suite/z3.smt2");
pub const POSTSCRIPT: &str = include_str!("../../suite/ghostscript.ps");
pub const C: &str = include_str!("../../suite/gcc.c");
/// What is asked of Redis after the benchmark, a command a line; the answers are compared.
pub const REDIS: &str = include_str!("../../suite/redis.txt");

pub fn write(place: &Place, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = place.dir.join(name);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// The text so often, each time with its number in the place of the mark.
pub fn repeated(text: &str, times: u32) -> String {
    (1..=times).map(|number| text.replace("@N@", &number.to_string())).collect()
}

/// A repository with a history of so many commits.
pub fn repository(git: &Path, dir: &Path, assigned: &[(&'static str, OsString)], commits: u32) -> Result<(), String> {
    let run = |words: &[&str], input: &[u8]| -> io::Result<bool> {
        let mut command = Command::new(git);
        command.arg("-C").arg(dir).args(words).envs(assigned.iter().cloned()).env_remove("LD_PRELOAD");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        // Its end is closed at once, so that git sees the input's.
        child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input))?;
        Ok(child.wait()?.success())
    };
    let made = fs::create_dir_all(dir)
        .and_then(|()| run(&["-c", "init.defaultBranch=main", "init", "-q", "--bare", "--template="], b""))
        .and_then(|is_made| Ok(is_made && run(&["fast-import", "--quiet"], history(commits).as_bytes())?));
    match made {
        Ok(true) => Ok(()),
        Ok(false) => Err("git could not make the repository".into()),
        Err(e) => Err(format!("git: {e}")),
    }
}

/// As `git fast-import` reads it: files of lines, of which some change from commit to commit.
fn history(commits: u32) -> String {
    const FILES: usize = 150;
    const LINES: usize = 200;
    let mut random = Random(1);
    let mut file = |at: usize| -> Vec<String> {
        (0..LINES).map(|_| format!("line {} of file {at}", random.below(1_000_000))).collect()
    };
    let mut files: Vec<Vec<String>> = (0..FILES).map(&mut file).collect();
    let mut out = String::new();
    for commit in 0..commits {
        let message = format!("commit {commit}");
        let seconds = 1_700_000_000 + u64::from(commit) * 60;
        let _ = writeln!(out, "commit refs/heads/main\ncommitter Nobody <nobody@example.org> {seconds} +0000");
        let _ = writeln!(out, "data {}\n{message}", message.len());
        let changed =
            if commit == 0 { (0..FILES).collect() } else { (0..4).map(|_| random.below(FILES)).collect::<Vec<_>>() };
        for at in changed {
            for _ in 0..3 {
                let line = random.below(LINES);
                files[at][line] = format!("line {} changed by commit {commit}", random.below(1_000_000));
            }
            let text = files[at].join("\n");
            let _ = writeln!(out, "M 100644 inline dir{}/file{at}\ndata {}\n{text}", at % 10, text.len());
        }
    }
    out
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A directory with all that is in it, in the place of what is there.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A file's bytes, or names and bytes of all files in a directory.
pub fn contents(path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    if !path.is_dir() {
        return Ok(vec![(OsString::new(), fs::read(path)?)]);
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        all.push((entry.file_name(), fs::read(entry.path())?));
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repetition_has_its_number() {
        assert_eq!(repeated("f@N@(@N@);", 2), "f1(1);f2(2);");
        // Functions of one name in a file would not compile.
        assert!(
            C.lines().filter(|line| line.contains('(') && line.starts_with("static")).all(|line| line.contains("@N@"))
        );
    }

    #[test]
    fn the_history_is_the_same_each_time() {
        assert_eq!(history(3), history(3));
        assert_eq!(history(3).matches("commit refs/heads/main").count(), 3);
        assert!(history(4).starts_with(&history(3)));
    }
}
