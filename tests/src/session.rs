//! Sessions in documents: blocks marked `console`, in which lines that begin with `$ ` are commands, run at the root one after
//! the other, and the lines below each are its output and what it says on standard error. Only what differs from run to run
//! may differ: addresses, processes, threads.
//!
//! With `HEAPGLASS_REWRITE=1` the output in the document is written anew instead of compared.

use crate::{built, root, run};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// A file of the checkout.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The fenced blocks of a document with this mark.
pub fn blocks(document: &str, mark: &str) -> Vec<String> {
    let opening = format!("```{mark}\n");
    let text = text(document);
    text.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap().to_string()).collect()
}

/// Every number behind one of the words that go before addresses and ids becomes `N`.
fn masked(line: &str) -> String {
    let mut line = line.to_string();
    for (word, is_digit) in [
        ("0x", (|c| c.is_ascii_hexdigit()) as fn(char) -> bool),
        ("[thread ", |c| c.is_ascii_digit()),
        (", process ", |c| c.is_ascii_digit()),
    ] {
        let mut parts = line.split(word);
        let mut out = parts.next().unwrap().to_string();
        for part in parts {
            let rest = part.trim_start_matches(is_digit);
            out.push_str(word);
            out.push_str(if rest.len() < part.len() { "N" } else { "" });
            out.push_str(rest);
        }
        line = out;
    }
    line
}

/// Runs the commands of all sessions of a document and compares. Returns the programs that they compiled with `-o`.
#[track_caller]
pub fn check(document: &str) -> BTreeSet<String> {
    let target = built("libheapglass.so").parent().unwrap().to_str().unwrap().to_string();
    let rewrites = std::env::var_os("HEAPGLASS_REWRITE").is_some();
    let (mut new, mut programs) = (String::new(), BTreeSet::new());
    let old = text(document);
    let mut lines = old.lines().peekable();
    let mut is_session = false;
    while let Some(line) = lines.next() {
        new.push_str(line);
        new.push('\n');
        is_session = if is_session { line != "```" } else { line == "```console" };
        let Some(command) = line.strip_prefix("$ ").filter(|_| is_session) else { continue };
        let mut expected = String::new();
        while let Some(line) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
            expected.push_str(line);
            expected.push('\n');
        }
        let said = output(command, &target);
        if !rewrites {
            let masked = |text: &str| text.lines().map(|line| masked(line) + "\n").collect::<String>();
            assert_eq!(masked(&said), masked(&expected), "{document}: $ {command}");
        }
        new.push_str(&said);
        if let Some((_, out)) = command.split_once(" -o target/") {
            programs.insert(format!("target/{}", out.split(' ').next().unwrap()));
        }
    }
    if rewrites {
        fs::write(root().join(document), new).unwrap();
    }
    programs
}

fn output(command: &str, target: &str) -> String {
    let mut shell = Command::new("sh");
    for variable in ["LD_PRELOAD", "HEAPGLASS"] {
        shell.env_remove(variable);
    }
    let here = command.replace("$PWD/target/release", target).replace("target/release", target);
    let ran = run(shell.current_dir(root()).arg("-c").arg(format!("{{ {here}; }} 2>&1")));
    // What some shells say of a child that ended by a signal is not the program's.
    ran.out.lines().filter(|line| !line.starts_with("Aborted")).map(|line| line.to_owned() + "\n").collect()
}
