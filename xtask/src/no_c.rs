//! The Rust door must build where there is no C compiler: it is built here with a PATH that holds cargo and rustc alone.

use crate::cargo::{output, shown};
use crate::{Outcome, root};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

const DOOR: &str = "heapglass";

pub fn check() -> Outcome {
    // The real programs: what lies on the PATH may be a front that looks for other things there.
    let sysroot = output(Command::new("rustc").current_dir(root()).args(["--print", "sysroot"]))?;
    let bin = PathBuf::from(sysroot.trim()).join("bin");
    let fresh = root().join("target/no-c");
    let path = fresh.join("path");
    let said = |e: std::io::Error| format!("{}: {e}", fresh.display());
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(said)?;
    }
    fs::create_dir_all(&path).map_err(said)?;
    for program in ["cargo", "rustc"] {
        symlink(bin.join(program), path.join(program)).map_err(said)?;
    }
    let mut build = Command::new(path.join("cargo"));
    build.current_dir(root()).env("PATH", &path);
    for variable in ["CC", "CXX", "CARGO", "RUSTC", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        build.env_remove(variable);
    }
    shown(build.args(["build", "--quiet", "--release", "-p", DOOR, "--lib", "--target-dir"]).arg(fresh.join("target")))
}
