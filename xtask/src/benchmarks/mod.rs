//! `cargo xtask benchmarks`: measures, and writes `BENCHMARKS.md` with its pictures in `benchmarks/`. Everything in them is
//! made here, so that anybody can make them anew on another machine.
//!
//! A further measurement is one file beside this one, with a function from [`Context`] to what it has to tell, and one line
//! in [`SECTIONS`]. What it draws it puts where [`Context::picture`] says.

mod decisions;
mod machine;
pub mod suite;

use crate::cargo::{cargo, shown};
use crate::{Outcome, measure, rivals, root};
use std::fs;
use std::path::{Path, PathBuf};

pub const USAGE: &str = "\
cargo xtask benchmarks [--runs N] [--scale F] [--to DIR] [ITEM...]
                            measure and write BENCHMARKS.md and benchmarks/, here or in DIR: the whole suite, or
                            these items, N times each (5), F times as long (1)";

const SECTIONS: [Section; 7] = [
    Section { title: "The machine", make: machine::section },
    Section { title: "The suite", make: suite::section },
    Section { title: "The hot pair", make: |_| measured(measure::smallest::section) },
    Section { title: "Instructions", make: |_| measured(measure::counts::section) },
    Section { title: "Growth", make: |_| measured(measure::growth::section) },
    Section { title: "Latency", make: |_| measured(measure::latency::section) },
    Section { title: "Single decisions", make: decisions::section },
];

/// A section of `cargo xtask measure`.
fn measured(section: fn() -> Result<String, String>) -> Result<Told, String> {
    let text = section()?;
    // It brings its own title.
    let text = text.split_once('\n').map_or(text.as_str(), |(_, rest)| rest).to_owned();
    Ok(Told { text, losses: String::new() })
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask benchmarks`, figures, tables, pictures and lists of losses alike; to change it, change
`xtask/src/benchmarks` and run that again. It builds Heapglass, the workloads and the rivals (`cargo xtask rivals`), takes what other
allocators Debian has installed, and measures all of them in turn. Programs that the machine lacks are named and left out.
[Where Heapglass loses](#where-heapglass-loses) is drawn from the same figures, by the same command.
";

struct Section {
    title: &'static str,
    make: fn(&Context) -> Result<Told, String>,
}

/// What a section has to tell, in Markdown with headings from the third level on.
pub struct Told {
    pub text: String,
    /// Where its figures say that Heapglass loses; empty where nothing could be lost.
    pub losses: String,
}

/// What a section may use.
pub struct Context {
    pub runs: usize,
    pub scale: String,
    /// Items of the suite; none means all.
    pub items: Vec<String>,
    /// Where `BENCHMARKS.md` and its pictures go.
    to: PathBuf,
}

impl Context {
    /// The command, release build.
    pub fn heapglass(&self) -> PathBuf {
        root().join("target/release/heapglass")
    }

    /// A place for raw figures and the like, which isn't kept in the repository.
    pub fn scratch(&self, name: &str) -> PathBuf {
        root().join("target/benchmarks").join(name)
    }

    /// Where a picture goes, and how Markdown shows it.
    pub fn picture(&self, name: &str, what: &str) -> (PathBuf, String) {
        (self.to.join("benchmarks").join(name), format!("![{what}](benchmarks/{name})\n"))
    }

    fn parse(words: &[&str]) -> Result<Context, String> {
        let mut context = Context { runs: 5, scale: "1".into(), items: Vec::new(), to: root() };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().copied().ok_or_else(|| format!("{word} wants a value"));
            match *word {
                "--runs" => {
                    let runs = value()?.parse().ok().filter(|runs| *runs > 0);
                    context.runs = runs.ok_or("--runs wants a number of 1 or more")?;
                }
                "--scale" => context.scale = value()?.into(),
                "--to" => context.to = std::path::absolute(value()?).map_err(|e| format!("--to: {e}"))?,
                flag if flag.starts_with('-') => return Err(format!("there is no flag {flag}")),
                item => context.items.push(item.into()),
            }
        }
        Ok(context)
    }
}

pub fn run(words: &[&str]) -> Outcome {
    let context = Context::parse(words).map_err(|why| format!("{why}\n{USAGE}"))?;
    for dir in [context.to.join("benchmarks"), context.scratch("")] {
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    shown(cargo().args(["build", "--quiet", "--release"]))?;
    shown(cargo().args(["build", "--quiet", "--release", "-p", rivals::WORKLOADS]))?;
    println!("== rivals");
    rivals::run()?;
    let mut text = String::from(HEAD);
    let mut losses = String::new();
    let mut failed = Vec::new();
    for section in &SECTIONS {
        println!("== {}", section.title);
        let told = (section.make)(&context).unwrap_or_else(|why| {
            eprintln!("{}: {why}", section.title);
            failed.push(section.title);
            Told { text: format!("Not measured: {why}"), losses: String::new() }
        });
        text += &format!("\n## {}\n\n{}\n", section.title, told.text.trim());
        if !told.losses.is_empty() {
            losses += &format!("\n### {}\n\n{}\n", section.title, told.losses.trim());
        }
    }
    text += &format!("\n## Where Heapglass loses\n{losses}");
    let text = without_places(&text);
    let file = context.to.join("BENCHMARKS.md");
    fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("written: {}", file.display());
    if failed.is_empty() { Ok(()) } else { Err(format!("without figures: {}", failed.join(", "))) }
}

/// Where the checkout lies is nobody's affair.
fn without_places(text: &str) -> String {
    text.replace(&format!("{}/", root().display()), "")
}

/// The first line of a file that begins with this word, without word, colon and blanks.
fn line_of(file: impl AsRef<Path>, word: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    Some(line.trim_start_matches([' ', '\t', ':', '=']).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let context = Context::parse(&["--runs", "2", "--to", "/there", "pair", "lua", "--scale", "0.1"]).ok().unwrap();
        assert_eq!((context.runs, context.scale.as_str(), context.items.len()), (2, "0.1", 2));
        let (path, shown) = context.picture("a.svg", "what it shows");
        assert_eq!(path, Path::new("/there/benchmarks/a.svg"));
        assert_eq!(shown, "![what it shows](benchmarks/a.svg)\n");
        for wrong in [&["--runs"][..], &["--runs", "0"], &["--fast"]] {
            assert!(Context::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn places_of_this_machine_are_left_out() {
        let text = format!("built in {}/target/rivals", root().display());
        assert_eq!(without_places(&text), "built in target/rivals");
    }
}
