//! Programs that the tests run: checked by looking for them, installed with apt-get where that can be done.

use crate::cargo::{output, shown};
use crate::{Outcome, root};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program and the Debian package that brings it.
const NEEDS: [(&str, &str); 38] = [
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("nm", "binutils"),
    ("make", "make"),
    ("git", "git"),
    ("bash", "bash"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("perl", "perl"),
    ("strace", "strace"),
    ("gdb", "gdb"),
    ("valgrind", "valgrind"),
    ("setcap", "libcap2-bin"),
    ("xmllint", "libxml2-utils"),
    ("musl-gcc", "musl-tools"),
    ("sqlite3", "sqlite3"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("nginx", "nginx"),
    ("wrk", "wrk"),
    ("initdb", "postgresql"),
    ("pgbench", "postgresql"),
    ("node", "nodejs"),
    ("javac", "default-jdk-headless"),
    ("lua5.4", "lua5.4"),
    ("ruby", "ruby"),
    ("z3", "z3"),
    ("gs", "ghostscript"),
    ("vim", "vim"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("chromium", "chromium"),
    ("tsc", "node-typescript"),
    ("bpftrace", "bpftrace"),
    ("heaptrack_print", "heaptrack"),
    ("go", "golang-go"),
    (PYTHON, "python3"),
];

/// The distribution's own, since that is what its test modules are packaged for.
const PYTHON: &str = "/usr/bin/python3";
/// Says which package has them: that of its own version, since the one that would lead there from any version isn't everywhere.
const PYTHON_TESTS: &str = "import sys; print('libpython%d.%d-testsuite' % sys.version_info[:2])";

/// Tells the tests that they may leave themselves out where a program is missing.
const LEAVE_OUT: &str = "HEAPGLASS_LEAVE_OUT";

/// Readers that packages of other registries bring, by the directory below `target/readers` and the command that fetches them there.
/// Tests that need one which isn't there leave themselves out.
const READERS: [(&str, &str); 2] = [
    ("speedscope", "npm pack --silent speedscope@1.25.0 && tar -xzf speedscope-*.tgz"),
    ("python", "python3 -m pip install --quiet --target . perfetto==0.59.1 protobuf==6.33.1"),
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

pub fn check() -> Outcome {
    let done = check_programs();
    fetch_readers();
    done
}

/// A registry that can't be reached is no failure.
fn fetch_readers() {
    for (name, fetch) in READERS {
        let place = root().join("target/readers").join(name);
        if place.exists() {
            continue;
        }
        let aside = place.with_extension("new");
        let _ = fs::remove_dir_all(&aside);
        let made = fs::create_dir_all(&aside).map_err(|e| e.to_string());
        let done = made.and_then(|()| output(Command::new("sh").current_dir(&aside).args(["-c", fetch])));
        if let Err(why) = done.and_then(|_| fs::rename(&aside, &place).map_err(|e| e.to_string())) {
            println!("left out: {name} can't be fetched: {}", why.lines().next().unwrap_or_default());
        }
    }
}

fn check_programs() -> Outcome {
    let mut missing = missing();
    if missing.is_empty() {
        println!("all there");
    }
    if !missing.is_empty() && !can_install() {
        let programs = missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ");
        println!("missing: {programs}. Each test that runs one leaves itself out and says so. To have them, type:");
        println!("  sudo apt-get install -y --no-install-recommends {}", packages(&missing).join(" "));
        return Ok(());
    }
    // Which package Python's tests are in, only an installed Python knows.
    for _ in 0..2 {
        if missing.is_empty() {
            return Ok(());
        }
        let packages = packages(&missing);
        println!("installing with apt-get: {}", packages.join(" "));
        install(&packages)?;
        missing = self::missing();
    }
    match missing.as_slice() {
        [] => Ok(()),
        [(program, package), ..] => Err(format!("{package} is installed, but {program} is still not found")),
    }
}

fn packages<'a>(missing: &'a [(&str, String)]) -> Vec<&'a str> {
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| package.as_str()).collect();
    packages.dedup();
    packages
}

/// Lets the tests that a command starts leave themselves out where a program is missing, if it can't be installed.
pub fn allow(command: &mut Command) -> &mut Command {
    if can_install() { command } else { command.env(LEAVE_OUT, "1") }
}

/// Is it missing where it can't be installed?
pub fn left_out(program: &str) -> bool {
    find(program).is_none() && !can_install()
}

fn can_install() -> bool {
    fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0) && find("apt-get").is_some()
}

/// What is missing, and the package that brings it.
fn missing() -> Vec<(&'static str, String)> {
    let programs = NEEDS.into_iter().filter(|(program, _)| find(program).is_none());
    let mut missing: Vec<_> = programs.map(|(program, package)| (program, package.to_owned())).collect();
    let python = |says: &str| output(Command::new(PYTHON).args(["-c", says]));
    if let (Err(_), Ok(package)) = (python("import test.test_list"), python(PYTHON_TESTS)) {
        missing.push(("python3's own tests", package.trim().to_owned()));
    }
    missing
}

/// On the PATH, where servers lie, and where the distribution keeps the versions of postgres.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        dirs.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    // A program given by its whole path replaces the directory it is joined to.
    dirs.into_iter().map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn install(packages: &[&str]) -> Outcome {
    let _quiet = NoServices::begin(Path::new(POLICY));
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").arg("-qq");
        command
    };
    shown(apt().arg("update"))?;
    shown(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// While this lives, installing a server doesn't start it. A policy that is already there is left alone.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn begin(policy: &Path) -> NoServices {
        let text =
            b"#!/bin/sh\n# Made while tests install what they need, and removed after: start no service.\nexit 101\n";
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(policy);
        let written = made.and_then(|mut file| file.write_all(text));
        NoServices { ours: written.is_ok().then(|| policy.to_owned()) }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.ours {
            let _ = fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_made_and_removed_but_never_replaced() {
        let policy = std::env::temp_dir().join(format!("policy.{}", std::process::id()));
        let quiet = NoServices::begin(&policy);
        assert_eq!(fs::metadata(&policy).unwrap().mode() & 0o111, 0o111);
        drop(NoServices::begin(&policy));
        assert!(policy.exists());
        drop(quiet);
        assert!(!policy.exists());
    }
}
