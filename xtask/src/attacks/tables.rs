//! The matrix in Markdown: how many cells ended how under each allocator, and every cell as a letter.

use super::cells::Cell;
use super::outcome::Outcome;
use crate::measure::runs::table;

/// What came of all cells under one allocator, in one mode.
pub struct Column {
    pub name: String,
    pub outcomes: Vec<Outcome>,
}

const SIZES: [&str; 4] = ["cached", "binned", "mapped", "huge"];
const THREADS: [&str; 2] = ["same", "other"];
const DELAYS: [&str; 3] = ["once", "ops", "reuse"];

/// A row for each column: of how many cells, how many.
pub fn summary(columns: &[Column]) -> String {
    let head = [
        "under",
        "at the call",
        "later",
        "harmless",
        "not caught",
        "crashed at the call",
        "crashed later",
        "hung",
        "of",
    ];
    let row = |column: &Column| std::iter::once(column.name.clone()).chain(counts(column)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = columns.iter().map(row).collect();
    table(&head.map(str::to_owned), &rows)
}

fn counts(column: &Column) -> Vec<String> {
    use super::outcome::Stage::Fault;
    let count = |what: fn(&Outcome) -> bool| column.outcomes.iter().filter(|one| what(one)).count();
    [
        count(|one| matches!(one, Outcome::Call)),
        count(|one| matches!(one, Outcome::Later(_))),
        count(|one| matches!(one, Outcome::Harmless)),
        count(|one| matches!(one, Outcome::Missed)),
        count(|one| matches!(one, Outcome::Crashed(Fault))),
        count(|one| matches!(one, Outcome::Crashed(stage) if *stage != Fault)),
        count(|one| matches!(one, Outcome::Hung(_))),
        count(|one| !matches!(one, Outcome::Absent)),
    ]
    .map(|number| number.to_string())
    .to_vec()
}

/// A line for each kind, and under each allocator a letter for each cell.
pub fn letters(cells: &[Cell], columns: &[Column]) -> String {
    let mut kinds: Vec<&str> = cells.iter().map(|cell| cell.kind.as_str()).collect();
    kinds.dedup();
    let wide = kinds.iter().map(|kind| kind.len()).max().unwrap_or(0);
    let groups = SIZES.map(|size| format!("{size:<6}")).join(" ");
    let line = |first: &str, rest: Vec<String>| {
        let text = std::iter::once(format!("{first:<wide$}")).chain(rest).collect::<Vec<_>>().join("  ");
        text.trim_end().to_owned() + "\n"
    };
    let mut text =
        line("", columns.iter().map(|column| format!("{:<width$}", column.name, width = groups.len())).collect());
    text += &line("", columns.iter().map(|_| groups.clone()).collect());
    for kind in kinds {
        text += &line(kind, columns.iter().map(|column| letters_of(kind, cells, column)).collect());
    }
    format!("```text\n{text}```\n")
}

/// A blank where there is no such cell.
fn letters_of(kind: &str, cells: &[Cell], column: &Column) -> String {
    let letter = |words: [&str; 4]| {
        let at = cells.iter().position(|cell| cell.words() == words);
        at.and_then(|at| column.outcomes.get(at)).map_or(' ', |one| one.letter())
    };
    let group = |size: &str| -> String {
        THREADS.iter().flat_map(|thread| DELAYS.map(|delay| letter([kind, size, thread, delay]))).collect()
    };
    SIZES.map(group).join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::cell;
    use super::super::outcome::Stage;
    use super::*;

    #[test]
    fn every_cell_is_counted_and_has_its_letter() {
        let words = ["a cached same once", "a cached other reuse", "a huge same ops", "bb cached same once"];
        let cells = words.map(cell);
        let outcomes = vec![Outcome::Call, Outcome::Missed, Outcome::Absent, Outcome::Crashed(Stage::Fault)];
        let columns = [Column { name: "libc".into(), outcomes }];
        assert_eq!(summary(&columns).lines().nth(2), Some("| libc | 1 | 0 | 0 | 1 | 1 | 0 | 0 | 3 |"));
        assert_eq!(
            letters(&cells, &columns),
            "```text\n    libc\n    cached binned mapped huge\na   C    !                -\nbb  x\n```\n"
        );
    }
}
