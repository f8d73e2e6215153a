//! A suite for a terminal: for time and for memory a line per item, with the ratio of each allocator to the reference, the
//! best of the others, and how Heapglass stands to that.

use super::{BEHIND, Item, SHOWN, Suite};
use crate::report::Metric;
use crate::rivals::REFERENCE;
use crate::spread::RUNS_FOR_VERDICT;
use crate::table::Unit;
use std::fmt::Write;

pub fn render(suite: &Suite) -> String {
    let (items, runs) = (suite.items.len(), suite.runs());
    let plural = |count| if count == 1 { "" } else { "s" };
    let mut out = format!("{items} item{}, {runs} run{} each, in turn\n", plural(items), plural(runs));
    for (what, metric) in SHOWN {
        let _ = write!(out, "\n{what}\n{}", grid(&cells(suite, metric)));
    }
    out.push('\n');
    for (item, allocator, why) in suite.faults() {
        let _ = writeln!(out, "failed: {item} under {allocator}: {why}");
    }
    for (name, why) in &suite.left_out {
        let _ = writeln!(out, "left out: {name}: {why}");
    }
    out += &explained();
    out
}

fn explained() -> String {
    let behind = (BEHIND - 1.0) * 100.0;
    format!(
        "Time is user and system time of a run with its children, memory the peak of its largest process; all are medians.\n\
         Ratios are to {REFERENCE}; the last three columns compare Heapglass with the best of all others. A verdict needs\n\
         {RUNS_FOR_VERDICT} runs and spreads that don't overlap; a loss is being behind by more than {behind:.0} %.\n"
    )
}

pub(super) fn unit(metric: Metric) -> Unit {
    if metric == Metric::Peak { Unit::Mebibytes } else { Unit::Seconds }
}

/// Head, a line for each item, and the means.
pub(super) fn cells(suite: &Suite, metric: Metric) -> Vec<Vec<String>> {
    let names = suite.allocators();
    let mut head = vec!["item".to_owned(), format!("{REFERENCE}, {}", unit(metric).name())];
    head.extend(names.iter().skip(1).map(|name| (*name).to_owned()));
    head.extend(["best other", "ours/best", "verdict"].map(String::from));
    let mut lines = vec![head];
    lines.extend(suite.items.iter().map(|item| line(item, metric)));
    let mut means = vec![format!("geometric mean of {}", suite.common().len()), String::new()];
    let text = |mean: &super::Mean| format!("{:.3}", mean.ratio);
    means.extend(suite.means(metric).iter().skip(1).map(|mean| mean.as_ref().map_or("-".into(), text)));
    means.extend([const { String::new() }; 3]);
    lines.push(means);
    lines
}

fn line(item: &Item, metric: Metric) -> Vec<String> {
    let rows = &item.report.rows;
    let reference = rows.first().and_then(|row| row.spread(metric));
    let reference = reference.map_or("failed".into(), |spread| unit(metric).text(spread.median));
    let mut cells = vec![item.name().to_owned(), reference];
    for row in rows.iter().skip(1) {
        let text = match item.ratio(row, metric) {
            Some(ratio) => format!("{ratio:.2}"),
            None if row.fault.is_some() => "failed".into(),
            None => "-".into(),
        };
        cells.push(text);
    }
    match item.standing(metric) {
        Some(one) => cells.extend([one.best.clone(), format!("{:.2}", one.ratio), one.word().into()]),
        None => cells.extend(["-", "-", ""].map(String::from)),
    }
    cells
}

/// The first column and the last to the left, the others to the right.
fn grid(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> =
        (0..columns).map(|at| lines.iter().map(|line| length(&line[at])).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (at, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            text += &match at {
                0 => format!("{cell:<width$}"),
                _ if at + 1 == columns => format!("  {cell}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_whole_table() {
        let expect = "\
2 items, 5 runs each, in turn

time
item                 libc, s  heapglass   other  best other  ours/best  verdict
one                     0.20       1.00    0.50       other       2.00  behind
two                     0.20       0.25  failed        libc       0.25  ahead
geometric mean of 1               1.000   0.500

wall time
item                 libc, s  heapglass   other  best other  ours/best  verdict
one                     0.20       1.00    1.00        libc       1.00  within noise
two                     0.20       1.00  failed        libc       1.00  within noise
geometric mean of 1               1.000   1.000

memory
item                 libc, MiB  heapglass   other  best other  ours/best  verdict
one                      10.00       1.00    0.50       other       2.00  behind
two                      10.00       0.25  failed        libc       0.25  ahead
geometric mean of 1                 1.000   0.500

failed: two under other: prints | other output
left out: three: there is no three; Debian package three
";
        let text = super::render(&super::super::example());
        assert_eq!(text.split("Time is user").next(), Some(expect));
    }
}
