//! The page of `heapglass watch` is written in TypeScript and shipped as what that compiles to, so that cargo alone builds the
//! command. This compiles it again and compares. It takes the compiler of one version, since others may print the same program
//! differently; with another, types are checked and nothing more, which is said.

use crate::cargo::output;
use crate::{Outcome, root, tools};
use std::fs;
use std::process::Command;

/// Debian 12's (node-typescript).
const VERSION: &str = "4.8.4";
const PAGE: &str = "crates/cli/page";

pub fn check() -> Outcome {
    if tools::left_out("tsc") {
        println!("left out: tsc is not installed");
        return Ok(());
    }
    let page = root().join(PAGE);
    let found = output(Command::new("tsc").arg("--version"))?;
    let is_it = found.split_whitespace().last() == Some(VERSION);
    let made = root().join("target/page-scripts");
    let _ = fs::remove_dir_all(&made);
    let mut tsc = Command::new("tsc");
    tsc.current_dir(&page).args(["-p", "."]);
    match is_it {
        true => tsc.arg("--outDir").arg(&made),
        false => tsc.arg("--noEmit"),
    };
    output(&mut tsc)?;
    if !is_it {
        println!("types checked; not compared: the scripts were made by tsc {VERSION}, and this is {}", found.trim());
        return Ok(());
    }
    let (new, shipped) = (names(&made)?, names(&page.join("js"))?);
    if new != shipped {
        return Err(format!("{PAGE}/js has {shipped:?}, and TypeScript makes {new:?}"));
    }
    for name in new {
        let read = |dir: &std::path::Path| fs::read(dir.join(&name)).map_err(|e| format!("{name}: {e}"));
        if read(&made)? != read(&page.join("js"))? {
            return Err(format!("{PAGE}/js/{name} isn't what its TypeScript compiles to: type `tsc -p {PAGE}`"));
        }
    }
    Ok(())
}

fn names(dir: &std::path::Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
