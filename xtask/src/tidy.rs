//! How files look: every Rust file says at its head what it is and stays readable in length; no file names a machine or
//! leaves work undone.

use crate::cargo::output;
use crate::{Outcome, root};
use std::fs;
use std::process::Command;

const LINES_MAX: usize = 600;

/// Each in two parts, so that this file doesn't contain what it forbids.
const FORBIDDEN: [(&str, &str, &str); 9] = [
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/ho", "me/", "a path of one machine"),
    ("/Us", "ers/", "a path of one machine"),
    ("TO", "DO", "work left undone"),
    ("FIX", "ME", "work left undone"),
    ("XX", "X:", "work left undone"),
    ("#[ign", "ore", "a test that doesn't run"),
    ("dbg", "!(", "a trace left behind"),
];

/// The only place that the lock file may take packages from.
const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

pub fn check() -> Outcome {
    let names = output(Command::new("git").current_dir(root()).args(["ls-files", "-co", "--exclude-standard"]))?;
    let mut faults = Vec::new();
    for name in names.lines() {
        // What isn't text can't be read here; what is listed but deleted has nothing to check.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        faults.extend(faults_of(name, &text));
    }
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() { Ok(()) } else { Err(format!("{} faults", faults.len())) }
}

fn faults_of(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.ends_with(".rs") {
        if !text.starts_with("//! ") {
            faults.push(format!("{name}:1: doesn't begin with a `//!` line that says what the file is"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{name}: {lines} lines; split it ({LINES_MAX} at most)"));
        }
    }
    for (number, line) in (1..).zip(text.lines()) {
        for (start, end, why) in FORBIDDEN {
            if line.match_indices(start).any(|(at, _)| line[at + start.len()..].starts_with(end)) {
                faults.push(format!("{name}:{number}: {start}{end}: {why}"));
            }
        }
        if name == "Cargo.lock" && line.starts_with("source = ") && line != REGISTRY {
            faults.push(format!("{name}:{number}: {line}: not from the registry"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_nothing_else() {
        let count = |name, text: &str| faults_of(name, text).len();
        assert_eq!(count("a.rs", "//! What it is.\nfn main() {}\n"), 0);
        assert_eq!(count("a.rs", "fn main() {}\n"), 1);
        assert_eq!(count("a.rs", &format!("//! Long.\n{}", "\n".repeat(LINES_MAX))), 1);
        assert_eq!(count("a.c", "int main(void) { return 0; }\n"), 0);
        for (start, end, _) in FORBIDDEN {
            assert_eq!(count("a.txt", &format!("first\n a {start}{end} b\n")), 1, "{start}{end}");
        }
        assert_eq!(count("Cargo.lock", REGISTRY), 0);
        assert_eq!(count("Cargo.lock", "source = \"registry+https://elsewhere\""), 1);
    }
}
