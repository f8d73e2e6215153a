//! The comparison for a terminal: a table of times and one of memory, and what the figures mean.

use crate::report::{Metric, Report, Row};
use crate::spread::RUNS_FOR_VERDICT;
use std::fmt::Write;

const MEBIBYTE: f64 = (1 << 20) as f64;

/// How figures of one table are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Seconds,
    Mebibytes,
    Count,
    Ratio,
}

impl Unit {
    /// One unit for all times of a report, by its longest.
    pub(crate) fn of_times(report: &Report) -> Unit {
        let longest = report.rows.iter().filter_map(|row| row.spread(Metric::Wall)).map(|s| s.high).fold(0.0, f64::max);
        if longest < 10.0 { Unit::Milliseconds } else { Unit::Seconds }
    }

    pub(crate) fn of(metric: Metric, times: Unit) -> Unit {
        match metric {
            Metric::Wall | Metric::User | Metric::System | Metric::Cpu => times,
            Metric::Peak => Unit::Mebibytes,
            Metric::MinorFaults | Metric::MajorFaults => Unit::Count,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Mebibytes => "MiB",
            Unit::Count | Unit::Ratio => "",
        }
    }

    pub(crate) fn scaled(self, value: f64) -> f64 {
        match self {
            Unit::Milliseconds => value * 1e3,
            Unit::Mebibytes => value / MEBIBYTE,
            Unit::Seconds | Unit::Count | Unit::Ratio => value,
        }
    }

    pub(crate) fn text(self, value: f64) -> String {
        let value = self.scaled(value);
        match self {
            Unit::Milliseconds => format!("{value:.1}"),
            Unit::Seconds | Unit::Mebibytes | Unit::Ratio => format!("{value:.2}"),
            Unit::Count => grouped(value.round() as u64),
        }
    }
}

/// 1234567 as 1,234,567.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub fn render(report: &Report) -> String {
    let times = Unit::of_times(report);
    let (runs, warmup) = (report.runs(), report.warmup);
    let plural = if runs == 1 { "" } else { "s" };
    let mut out = format!("{}: {runs} run{plural} each, in turn, after {warmup} to warm up\n\n", report.name);
    let time = [("wall", Metric::Wall), ("user", Metric::User), ("system", Metric::System)];
    out += &grid(&lines(report, &format!("time, {}", times.name()), &time, times));
    let memory = [("peak", Metric::Peak), ("minor faults", Metric::MinorFaults), ("major faults", Metric::MajorFaults)];
    out.push('\n');
    out += &grid(&lines(report, "memory, MiB", &memory, times));
    let cut = if runs >= 10 { ", without the lowest and the highest tenth" } else { "" };
    let reference = report.rows.first().map_or("the first", |row| &row.allocator.name);
    let floor = Unit::Mebibytes.text(report.floor_bytes as f64);
    let _ = write!(
        out,
        "\n\
         Figures are medians, with the spread behind them{cut}.\n\
         Ratios are to {reference}. A verdict needs {RUNS_FOR_VERDICT} runs and spreads that don't overlap.\n\
         Peak is the resident memory of the largest process; the least that can be seen is {floor} MiB.\n"
    );
    out
}

enum Line {
    /// Every second one from the second on is a figure, with its spread behind it.
    Cells(Vec<String>),
    Fault(String, String),
}

/// The first metric is the one that is compared.
fn lines(report: &Report, corner: &str, metrics: &[(&str, Metric)], times: Unit) -> Vec<Line> {
    let mut head = vec![corner.to_owned()];
    for (name, _) in metrics {
        head.extend([(*name).to_owned(), String::new()]);
    }
    head.extend(["ratio".to_owned(), String::new()]);
    let line = |row: &Row| {
        let mut cells = vec![row.allocator.name.clone()];
        for (_, metric) in metrics {
            let Some(spread) = row.spread(*metric) else {
                // It may be a long line; once is enough.
                let why = if metrics[0].1 == Metric::Wall { row.fault() } else { "as above" };
                return Line::Fault(row.allocator.name.clone(), why.to_owned());
            };
            let unit = Unit::of(*metric, times);
            cells.push(unit.text(spread.median));
            cells.push(format!("{}..{}", unit.text(spread.low), unit.text(spread.high)));
        }
        let (ratio, word) = report.ratio_and_word(row, metrics[0].1);
        cells.extend([ratio, word.to_owned()]);
        Line::Cells(cells)
    };
    std::iter::once(Line::Cells(head)).chain(report.rows.iter().map(line)).collect()
}

fn grid(lines: &[Line]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        let cells: Vec<&String> = match line {
            Line::Cells(cells) => cells.iter().collect(),
            Line::Fault(name, _) => vec![name],
        };
        widths.resize(widths.len().max(cells.len()), 0);
        cells.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let mut out = String::new();
    for line in lines {
        let text = match line {
            Line::Fault(name, why) => format!("{name:<0$}  {why}", widths[0]),
            Line::Cells(cells) => {
                let mut text = String::new();
                for (at, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
                    match at {
                        0 => text += &format!("{cell:<width$}"),
                        _ if at % 2 == 1 => text += &format!("  {cell:>width$}"),
                        _ => text += &format!(" {cell:<width$}"),
                    }
                }
                text
            }
        };
        out += text.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let expect = "\
an <example> | \"quoted\": 5 runs each, in turn, after 1 to warm up

time, ms    wall                user               system             ratio
libc       204.0 200.0..208.0  153.0 150.0..156.0    51.0 50.0..52.0   1.00
heapglass  102.0 100.0..104.0   76.5 75.0..78.0      25.5 25.0..26.0   0.50 faster
bro<k>en   killed by signal 6 (SIGABRT): \"out | of\" <luck> & hope

memory, MiB   peak               minor faults                 major faults       ratio
libc         10.00 10.00..10.00        10,000 10,000..10,000             0 0..0   1.00
heapglass    20.00 20.00..20.00        20,000 20,000..20,000             0 0..0   2.00 more
bro<k>en     as above

Figures are medians, with the spread behind them.
Ratios are to libc. A verdict needs 5 runs and spreads that don't overlap.
Peak is the resident memory of the largest process; the least that can be seen is 0.29 MiB.
";
        assert_eq!(render(&crate::report::example()), expect);
    }

    #[test]
    fn numbers_are_grouped() {
        let check = |value: u64, expect: &str| assert_eq!(grouped(value), expect);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
    }
}
