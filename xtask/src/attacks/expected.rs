//! `tests/attacks/expected.tsv`: what comes of each cell under Heapglass, by mode. Outcomes that a cell had by turns are joined
//! by `|`. Modes that hand out and reuse memory in random order have cells marked `chance`: who has the freed chunk by now, or what
//! lies a MiB away, differs from run to run. They may end in any way but a crash without a message later than the faulty access,
//! unless that is written down beside.

use super::cells::Cell;
use super::outcome::{Outcome, Stage};
use crate::root;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

const FILE: &str = "tests/attacks/expected.tsv";
const HEAD: [&str; 4] = ["kind", "size", "thread", "delay"];
/// In the columns of a mode that the library didn't know.
const UNKNOWN: &str = "?";

const CHANCE: &str = "chance";
const ONCE: &str = "once";
/// Handed out again: that happens, or to another chunk, as chance has it.
const REUSE: &str = "reuse";

/// What may come of a cell in a mode.
#[derive(Clone, Debug, PartialEq)]
enum May {
    Unknown,
    Be(Vec<Outcome>),
    /// Any of the usual, or one of these, which were seen too.
    Chance(Vec<Outcome>),
}

/// By a cell's words, what may come of it in each mode.
type Row = Vec<May>;

/// What came of the cells in a mode, in several runs; no runs where the library doesn't know it.
pub struct Found {
    pub mode: &'static str,
    pub is_random: bool,
    pub runs: Vec<Vec<Outcome>>,
}

pub struct Expected {
    modes: Vec<String>,
    rows: BTreeMap<Vec<String>, Row>,
}

fn key(cell: &Cell) -> Vec<String> {
    cell.words().map(str::to_owned).to_vec()
}

pub fn read() -> Result<Expected, String> {
    parse(&fs::read_to_string(root().join(FILE)).map_err(|e| format!("{FILE}: {e}"))?)
}

fn parse(text: &str) -> Result<Expected, String> {
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    if !head.starts_with(&HEAD) {
        return Err(format!("{FILE}: the first line doesn't begin with {}", HEAD.join(", ")));
    }
    let modes: Vec<String> = head[HEAD.len()..].iter().map(|&mode| mode.to_owned()).collect();
    let mut rows = BTreeMap::new();
    for line in lines {
        let wrong = || format!("{FILE}: can't be read: {}", line.join(" "));
        if line.len() != head.len() {
            return Err(wrong());
        }
        let (words, outcomes) = line.split_at(HEAD.len());
        let row: Option<Row> = outcomes.iter().map(|text| May::parse(text)).collect();
        let words = words.iter().map(|&word| word.to_owned()).collect();
        if rows.insert(words, row.ok_or_else(wrong)?).is_some() {
            return Err(format!("twice in {}", wrong()));
        }
    }
    Ok(Expected { modes, rows })
}

impl May {
    fn parse(text: &str) -> Option<May> {
        Some(match text {
            UNKNOWN => May::Unknown,
            _ => {
                let words: Vec<&str> = text.split('|').collect();
                let rest = words.strip_prefix(&[CHANCE]);
                let these = rest.unwrap_or(&words).iter().map(|word| Outcome::parse(word)).collect::<Option<_>>()?;
                if rest.is_some() { May::Chance(these) } else { May::Be(these) }
            }
        })
    }

    fn of(cell: &Cell, found: &Found, at: usize) -> May {
        let mut seen: Vec<Outcome> = found.runs.iter().filter_map(|run| run.get(at).copied()).collect();
        seen.sort();
        seen.dedup();
        if seen.is_empty() {
            return May::Unknown;
        }
        // Memory that was freed some time ago may be anyone's by now, even if it wasn't in any of these runs.
        let is_old = cell.is_freed && cell.delay != ONCE;
        let is_moved = cell.is_freed || cell.delay == REUSE;
        let wavers = is_old || seen.len() > 1 || is_moved && seen != [Outcome::Call];
        if found.is_random && wavers {
            seen.retain(|one| !is_usual(*one));
            return May::Chance(seen);
        }
        May::Be(seen)
    }

    fn holds(&self, outcome: Outcome) -> bool {
        match self {
            May::Unknown => false,
            May::Be(these) => these.contains(&outcome),
            May::Chance(these) => is_usual(outcome) || these.contains(&outcome),
        }
    }
}

/// What chance may make of any cell that it has a hand in.
fn is_usual(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Crashed(stage) => stage == Stage::Fault,
        Outcome::Hung(_) | Outcome::Absent => false,
        _ => true,
    }
}

impl fmt::Display for May {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let (first, these) = match self {
            May::Unknown => (Some(UNKNOWN), &[][..]),
            May::Chance(these) => (Some(CHANCE), &these[..]),
            May::Be(these) => (None, &these[..]),
        };
        let words = first.map(str::to_owned).into_iter().chain(these.iter().map(ToString::to_string));
        to.write_str(&words.collect::<Vec<_>>().join("|"))
    }
}

impl Expected {
    /// What differs between the file and what came of the cells in a mode.
    pub fn differences(&self, mode: &str, cells: &[Cell], outcomes: &[Outcome]) -> Vec<String> {
        let Some(column) = self.modes.iter().position(|one| one == mode) else {
            return vec![format!("{FILE} has no column {mode}")];
        };
        let mut wrong = Vec::new();
        for (cell, outcome) in cells.iter().zip(outcomes) {
            let words = cell.words().join(" ");
            match self.rows.get(&key(cell)).and_then(|row| row.get(column)) {
                Some(may) if may.holds(*outcome) => {}
                Some(may) => wrong.push(format!("[{mode}] {words}: {outcome}, where {may} is written down")),
                None => wrong.push(format!("[{mode}] {words}: {outcome}, a cell that isn't written down")),
            }
        }
        for words in self.rows.keys().filter(|words| !cells.iter().any(|cell| key(cell) == **words)) {
            wrong.push(format!("{}: is written down, but there is no such cell", words.join(" ")));
        }
        wrong
    }

    /// Is anything written down of a mode? A library that doesn't know it has lost it then.
    pub fn has(&self, mode: &str) -> bool {
        let column = self.modes.iter().position(|one| one == mode);
        column
            .is_some_and(|column| self.rows.values().any(|row| row.get(column).is_some_and(|may| *may != May::Unknown)))
    }
}

/// Writes down what came of the cells in each mode.
pub fn write(cells: &[Cell], found: &[Found]) -> Result<(), String> {
    let file = root().join(FILE);
    fs::write(&file, text_of(cells, found)).map_err(|e| format!("{}: {e}", file.display()))
}

fn text_of(cells: &[Cell], found: &[Found]) -> String {
    let mut text = HEAD.into_iter().chain(found.iter().map(|found| found.mode)).collect::<Vec<_>>().join("\t") + "\n";
    for (at, cell) in cells.iter().enumerate() {
        let columns = found.iter().map(|found| May::of(cell, found, at).to_string());
        text += &cell.words().into_iter().map(str::to_owned).chain(columns).collect::<Vec<_>>().join("\t");
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::cell;
    use super::*;

    fn found(mode: &'static str, is_random: bool, runs: Vec<Vec<Outcome>>) -> Found {
        Found { mode, is_random, runs }
    }

    #[test]
    fn chance_has_a_hand_in_random_modes_only() {
        let mut freed = cell("read cached same once");
        freed.is_freed = true;
        let mut old = cell("read cached same ops");
        old.is_freed = true;
        let cells = [freed, old, cell("over cached same once"), cell("over cached same reuse")];
        let once = vec![vec![Outcome::Missed, Outcome::Call, Outcome::Later(Stage::Neighbour), Outcome::Call]];
        let text = text_of(&cells, &[found("default", false, once.clone()), found("secure", true, once)]);
        let tails: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split_once("once\t").map(|(_, t)| t)).collect();
        assert_eq!(tails, ["missed\tchance", "later:neighbour\tlater:neighbour"]);
        assert!(text.contains("ops\tcall\tchance\n"));
        // All runs stopped it at the call, wherever the chunk was.
        assert!(text.ends_with("reuse\tcall\tcall\n"));
        let may = May::parse("chance|crashed:next").unwrap();
        assert_eq!(may.to_string(), "chance|crashed:next");
        assert!(may.holds(Outcome::Crashed(Stage::Next)));
        assert!(may.holds(Outcome::Harmless) && may.holds(Outcome::Crashed(Stage::Fault)));
        assert!(!may.holds(Outcome::Crashed(Stage::Reuse)) && !may.holds(Outcome::Hung(Stage::Fault)));
    }

    #[test]
    fn every_difference_is_told() {
        let cells = [cell("double cached same once"), cell("over huge other ops")];
        let runs = vec![vec![Outcome::Call, Outcome::Harmless], vec![Outcome::Call, Outcome::Missed]];
        let text = text_of(&cells, &[found("default", false, runs), found("secure", true, Vec::new())]);
        assert_eq!(
            text,
            "kind\tsize\tthread\tdelay\tdefault\tsecure\n\
             double\tcached\tsame\tonce\tcall\t?\n\
             over\thuge\tother\tops\tharmless|missed\t?\n"
        );
        let expected = parse(&text).ok().unwrap();
        let told = |mode, outcomes: &[Outcome]| expected.differences(mode, &cells, outcomes).len();
        assert_eq!(told("default", &[Outcome::Call, Outcome::Missed]), 0);
        assert_eq!(told("default", &[Outcome::Missed, Outcome::Harmless]), 1);
        // Better than written down is a difference too.
        assert_eq!(told("default", &[Outcome::Call, Outcome::Call]), 1);
        assert_eq!(told("secure", &[Outcome::Call, Outcome::Call]), 2);
        assert_eq!(told("other", &[Outcome::Call, Outcome::Call]), 1);
        assert_eq!(expected.differences("default", &cells[..1], &[Outcome::Call]).len(), 1);
        assert!(expected.has("default") && !expected.has("secure") && !expected.has("other"));
    }

    #[test]
    fn a_file_that_is_no_table_is_refused() {
        assert!(parse("").is_err());
        assert!(parse("kind\tsize\tthread\tdelay\tdefault\na\tb\tc\td\tnonsense\n").is_err());
        assert!(parse("kind\tsize\tthread\tdelay\tdefault\na\tb\tc\td\n").is_err());
        assert!(parse("kind\tsize\tthread\tdelay\tdefault\na\tb\tc\td\tcall\na\tb\tc\td\tcall\n").is_err());
    }
}
