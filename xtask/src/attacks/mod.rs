//! `cargo xtask attacks`: commits every fault of `tests/attacks` under Heapglass, the C library's malloc and the rivals, and
//! writes what came of them into `SECURITY.md`, between two marks.
//!
//! The same cells are a step of `cargo xtask test`: what comes of each under Heapglass has to be what
//! `tests/attacks/expected.tsv` says, neither worse nor better. `cargo xtask attacks expect` writes that file.

mod cells;
mod expected;
mod outcome;
mod tables;

use crate::benchmarks::suite::version;
use crate::cargo::{cargo, output, shown};
use crate::counts::LIBRARY;
use crate::measure::runs::{allocators, table};
use crate::{Outcome, root};
use cells::Under;
use heapglass_bench::rivals::{Allocator, OURS};
use std::fs;
use std::process::Command;
use tables::Column;

pub const USAGE: &str = "\
cargo xtask attacks         run the attacks under all allocators, and write the matrix into SECURITY.md
cargo xtask attacks expect  run them under Heapglass, and write down what the tests expect of them";

/// Heapglass as it comes, and its stricter settings. One that the library doesn't know is left out, and named. Where guarded samples
/// aren't what is looked at they are off: which allocation becomes one is chance. Where they are, there is room for a row of them, and a seed.
const MODES: [Mode; 4] = [
    Mode { name: "default", setting: "", samples: None, is_random: false },
    Mode { name: "park:0", setting: "park:0", samples: None, is_random: false },
    Mode { name: "secure", setting: "secure", samples: None, is_random: true },
    Mode {
        name: "guard:1",
        setting: "guard:1,guard_slots:512,guard_seed:1",
        samples: Some("cached"),
        is_random: false,
    },
];
const NO_SAMPLES: &str = "guard:0";

struct Mode {
    name: &'static str,
    /// The value of `HEAPGLASS`.
    setting: &'static str,
    /// Are there samples, and of chunks of which size?
    samples: Option<&'static str>,
    /// Does it hand out and reuse memory in an order that nobody can tell?
    is_random: bool,
}

/// A mode, and what the library says of it if it doesn't know it.
struct Asked {
    mode: &'static Mode,
    under: Under,
    said: Option<String>,
}

fn modes() -> Result<Vec<Asked>, String> {
    let under = |name: &str, setting: &str, only| {
        let library = Some(root().join(LIBRARY));
        Under { name: name.into(), library, setting: setting.into(), message: "heapglass: ", only }
    };
    // A library without samples has no key for them.
    let has_samples = cells::complaint(&under("", NO_SAMPLES, None))?.is_none();
    MODES
        .iter()
        .map(|mode| {
            let off = if has_samples && mode.samples.is_none() { NO_SAMPLES } else { "" };
            let words: Vec<&str> = [mode.setting, off].into_iter().filter(|word| !word.is_empty()).collect();
            let under = under(mode.name, &words.join(","), mode.samples);
            let said = cells::complaint(&under)?;
            Ok(Asked { mode, under, said })
        })
        .collect()
}

/// Runs of each cell from which the file of expectations is made.
const TIMES: usize = 10;

/// Others' columns of letters in a row.
const ABREAST: usize = 3;

const FILE: &str = "SECURITY.md";
const BEGIN: &str = "<!-- written by cargo xtask attacks: -->\n";
const END: &str = "<!-- end of what it writes -->\n";

pub fn run(words: &[&str]) -> Outcome {
    match words {
        [] => matrix(),
        ["expect"] => expect(),
        _ => Err(format!("attacks takes no such words\n{USAGE}")),
    }
}

/// The step of `cargo xtask test`.
pub fn check() -> Outcome {
    let cells = cells::all()?;
    let expected = expected::read()?;
    let mut wrong = Vec::new();
    for Asked { under: mode, said, .. } in modes()? {
        if let Some(said) = said {
            println!("{}: left out, since the library says: {said}", mode.name);
            if expected.has(&mode.name) {
                wrong.push(format!("{}: outcomes are written down of a mode that the library doesn't know", mode.name));
            }
            continue;
        }
        let outcomes = cells::outcomes(&cells, &mode)?;
        println!("{}: {} cells", mode.name, outcomes.len());
        wrong.extend(expected.differences(&mode.name, &cells, &outcomes));
    }
    wrong.iter().for_each(|line| println!("{line}"));
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} differences", wrong.len())) }
}

fn build() -> Outcome {
    shown(cargo().args(["build", "--quiet", "--release"]))
}

fn expect() -> Outcome {
    build()?;
    let cells = cells::all()?;
    let mut found = Vec::new();
    for Asked { mode, under, said } in modes()? {
        let mut runs = Vec::new();
        match said {
            Some(said) => println!("{}: left out, since the library says: {said}", mode.name),
            None => {
                for _ in 0..TIMES {
                    runs.push(cells::outcomes(&cells, &under)?);
                }
            }
        }
        found.push(expected::Found { mode: mode.name, is_random: mode.is_random, runs });
    }
    expected::write(&cells, &found)
}

fn matrix() -> Outcome {
    build()?;
    let cells = cells::all()?;
    let mut left_out = String::new();
    let mut columns = Vec::new();
    for Asked { mode, under, said } in modes()? {
        match said {
            Some(_) => left_out += &format!("`{}` is left out: this library doesn't know it.\n", mode.name),
            None => columns.push(column(format!("heapglass {}", mode.name), &cells, &under)?),
        }
    }
    let ours = columns.len();
    let others: Vec<Allocator> = allocators().into_iter().filter(|one| one.name != OURS).collect();
    for one in &others {
        let under = Under {
            name: one.name.clone(),
            library: one.library.clone(),
            setting: String::new(),
            message: "",
            only: None,
        };
        columns.push(column(one.name.clone(), &cells, &under)?);
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let (ours, others_columns) = columns.split_at(ours);
    let blocks = std::iter::once(ours).chain(others_columns.chunks(ABREAST));
    let text = format!(
        "{} cells, on {}, Linux {}.\n{left_out}\n{}\n{}\n{}",
        cells.len(),
        date.trim(),
        kernel.trim(),
        versions(&others),
        tables::summary(&columns),
        blocks.map(|block| tables::letters(&cells, block)).collect::<Vec<_>>().join("\n"),
    );
    let file = root().join(FILE);
    let old = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    fs::write(&file, between(&old, &text)?).map_err(|e| format!("{}: {e}", file.display()))
}

fn column(name: String, cells: &[cells::Cell], under: &Under) -> Result<Column, String> {
    println!("== {name}");
    Ok(Column { name, outcomes: cells::outcomes(cells, under)? })
}

fn versions(others: &[Allocator]) -> String {
    let rows: Vec<Vec<String>> = others
        .iter()
        .map(|one| {
            let unknown = || ("unknown".into(), "unknown".into());
            let (version, from) = version(&one.name, one.library.as_deref()).unwrap_or_else(unknown);
            vec![one.name.clone(), version, from]
        })
        .collect();
    table(&["beside".into(), "version".into(), "from".into()], &rows)
}

/// The text with something else between its marks.
fn between(old: &str, new: &str) -> Result<String, String> {
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{FILE} lacks the marks {} and {}", BEGIN.trim(), END.trim()))?;
    Ok(format!("{before}{BEGIN}\n{}\n\n{END}{after}", new.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let old = format!("head\n{BEGIN}old\n{END}tail\n");
        let new = between(&old, "new\n").unwrap();
        assert_eq!(new, format!("head\n{BEGIN}\nnew\n\n{END}tail\n"));
        assert_eq!(between(&new, "new\n").unwrap(), new);
        assert!(between("head\n", "new").is_err());
    }
}
