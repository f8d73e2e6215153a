//! `tests/attacks/expected.tsv`: what comes of each cell under Heapglass, by mode. Where chance decides, the outcomes that
//! there may be are joined by `|`.

use super::cells::Cell;
use super::outcome::Outcome;
use crate::root;
use std::collections::BTreeMap;
use std::fs;

const FILE: &str = "tests/attacks/expected.tsv";
const HEAD: [&str; 4] = ["kind", "size", "thread", "delay"];
/// In the columns of a mode that the library didn't know.
const UNKNOWN: &str = "?";

/// By a cell's words, what may come of it in each mode.
type Row = Vec<Option<Vec<Outcome>>>;

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
        let row: Option<Row> = outcomes.iter().map(|text| cell_of(text)).collect();
        let words = words.iter().map(|&word| word.to_owned()).collect();
        if rows.insert(words, row.ok_or_else(wrong)?).is_some() {
            return Err(format!("twice in {}", wrong()));
        }
    }
    Ok(Expected { modes, rows })
}

/// Nothing where the text is none; nothing inside where it isn't known yet.
fn cell_of(text: &str) -> Option<Option<Vec<Outcome>>> {
    if text == UNKNOWN {
        return Some(None);
    }
    text.split('|').map(Outcome::parse).collect::<Option<Vec<_>>>().map(Some)
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
                Some(Some(may)) if may.contains(outcome) => {}
                Some(Some(may)) => wrong.push(format!("[{mode}] {words}: {outcome}, not {}", joined(may))),
                Some(None) => wrong.push(format!("[{mode}] {words}: {outcome}, which isn't written down")),
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
        column.is_some_and(|column| self.rows.values().any(|row| row.get(column).is_some_and(|cell| cell.is_some())))
    }
}

fn joined(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
}

/// Writes down what came of the cells in each mode, in several runs each; no runs where the library doesn't know a mode.
pub fn write(cells: &[Cell], modes: &[(String, Vec<Vec<Outcome>>)]) -> Result<(), String> {
    let file = root().join(FILE);
    fs::write(&file, text_of(cells, modes)).map_err(|e| format!("{}: {e}", file.display()))
}

fn text_of(cells: &[Cell], modes: &[(String, Vec<Vec<Outcome>>)]) -> String {
    let names = modes.iter().map(|(name, _)| name.as_str());
    let mut text = HEAD.into_iter().chain(names).collect::<Vec<_>>().join("\t") + "\n";
    for (at, cell) in cells.iter().enumerate() {
        let columns = modes.iter().map(|(_, runs)| {
            let mut seen: Vec<Outcome> = runs.iter().filter_map(|run| run.get(at).copied()).collect();
            seen.sort();
            seen.dedup();
            if seen.is_empty() { UNKNOWN.to_owned() } else { joined(&seen) }
        });
        text += &cell.words().into_iter().map(str::to_owned).chain(columns).collect::<Vec<_>>().join("\t");
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::cell;
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let cells = [cell("double cached same once"), cell("over huge other ops")];
        let runs = vec![vec![Outcome::Call, Outcome::Harmless], vec![Outcome::Call, Outcome::Missed]];
        let text = text_of(&cells, &[("default".into(), runs), ("secure".into(), Vec::new())]);
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
