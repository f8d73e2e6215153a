//! The comparison as one table in Markdown.

use crate::report::{Metric, Report};
use crate::table::Unit;

const COLUMNS: [(&str, Metric); 6] = [
    ("wall", Metric::Wall),
    ("user", Metric::User),
    ("system", Metric::System),
    ("peak", Metric::Peak),
    ("minor faults", Metric::MinorFaults),
    ("major faults", Metric::MajorFaults),
];

pub fn render(report: &Report) -> String {
    let times = Unit::of_times(report);
    let mut head = vec![escaped(&report.name)];
    head.extend(COLUMNS.map(|(name, metric)| match Unit::of(metric, times).name() {
        "" => name.to_owned(),
        unit => format!("{name}, {unit}"),
    }));
    head.extend(["time".into(), "memory".into()]);
    let mut out = line(&head) + &line(&head.iter().enumerate().map(|(at, _)| rule(at)).collect::<Vec<_>>());
    for row in &report.rows {
        let mut cells = vec![escaped(&row.allocator.name)];
        for (_, metric) in COLUMNS {
            let unit = Unit::of(metric, times);
            cells.push(row.spread(metric).map_or(String::new(), |s| {
                format!("{} ({}..{})", unit.text(s.median), unit.text(s.low), unit.text(s.high))
            }));
        }
        for metric in [Metric::Wall, Metric::Peak] {
            let (ratio, word) = report.ratio_and_word(row, metric);
            cells.push(format!("{ratio} {word}").trim().to_owned());
        }
        if row.spread(Metric::Wall).is_none() {
            cells[1] = escaped(row.fault());
        }
        out += &line(&cells);
    }
    out
}

pub(crate) fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

pub(crate) fn rule(column: usize) -> String {
    if column == 0 { ":---".into() } else { "---:".into() }
}

/// What would end a cell or begin markup.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '&' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_every_cell() {
        let text = render(&crate::report::example());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        for line in &lines {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 10, "{line}");
        }
        assert!(lines[0].contains("\\<example\\> \\|") && lines[0].contains("| wall, ms | user, ms |"), "{}", lines[0]);
        assert!(lines[3].contains("| 102.0 (100.0..104.0) |") && lines[3].ends_with("| 0.50 faster | 2.00 more |"));
        assert!(lines[4].contains("| killed by signal 6 (SIGABRT): "), "{}", lines[4]);
    }
}
