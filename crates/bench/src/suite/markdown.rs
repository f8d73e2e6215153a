//! A suite in Markdown: pieces under headings of the third level, to stand in a document of one's own.

use super::table::{cells, unit};
use super::{BEHIND, COMPARED, SHOWN, Suite};
use crate::markdown::{escaped, line, rule};
use crate::report::Metric;
use std::fmt::Write;

pub fn render(suite: &Suite) -> String {
    let mut out = String::new();
    for (what, metric) in SHOWN {
        let _ = write!(out, "### {}\n\n{}\n{}\n", heading(what), table(suite, metric), means(suite, metric));
    }
    out += &losses(suite);
    out += &spreads(suite);
    out += &programs(suite);
    out
}

fn heading(what: &str) -> String {
    let mut letters = what.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn table(suite: &Suite, metric: Metric) -> String {
    let lines = cells(suite, metric);
    let columns = lines.first().map_or(0, Vec::len);
    let mut out = String::new();
    for (at, cells) in lines.iter().enumerate() {
        out += &line(&cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>());
        if at == 0 {
            out += &line(&(0..columns).map(rule).collect::<Vec<_>>());
        }
    }
    out
}

/// The means with their spread, lowest first.
fn means(suite: &Suite, metric: Metric) -> String {
    let means = suite.means(metric);
    let mut means: Vec<_> = suite.allocators().into_iter().zip(means).filter_map(|(n, m)| Some((n, m?))).collect();
    means.sort_by(|(_, a), (_, b)| a.ratio.total_cmp(&b.ratio));
    let one = |(name, mean): &(&str, super::Mean)| {
        format!("{} {:.3} ({:.3}..{:.3})", escaped(name), mean.ratio, mean.low, mean.high)
    };
    let all = means.iter().map(one).collect::<Vec<_>>().join(", ");
    format!("Geometric means, lowest first, with those of the lowest and the highest round: {all}.\n")
}

/// Written from the figures alone, so that nothing can be passed over.
fn losses(suite: &Suite) -> String {
    let mut out = String::from("### Where Heapglass loses\n\n");
    if !suite.has_verdicts() {
        out += "There were too few runs to tell.\n\n";
        return out;
    }
    let behind = (BEHIND - 1.0) * 100.0;
    for (what, metric) in COMPARED {
        let all = suite.items.iter().filter(|item| item.standing(metric).is_some()).count();
        let losses = suite.losses(metric);
        let count = losses.len();
        let _ = writeln!(
            out,
            "In {what}, more than {behind:.0} % behind the best other allocator, outside the spread, in {count} of {all} items{}\n",
            if count == 0 { "." } else { ":" }
        );
        for (item, standing) in &losses {
            let percent = (standing.ratio - 1.0) * 100.0;
            let _ = writeln!(out, "- {}: {percent:.0} % behind {}", escaped(item.name()), escaped(&standing.best));
        }
        if count > 0 {
            out.push('\n');
        }
        let below = suite.below_ours(metric);
        let names = below.iter().map(|(name, mean)| format!("{} ({:.3})", escaped(name), mean.ratio));
        match names.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => {
                let _ = writeln!(out, "No other allocator has a lower geometric mean of {what}.\n");
            }
            some => {
                let _ = writeln!(out, "A lower geometric mean of {what} have: {some}.\n");
            }
        }
    }
    let faults = suite.faults();
    if !faults.is_empty() {
        out += "### What failed\n\n";
        for (item, allocator, why) in faults {
            let _ = writeln!(out, "- {} under {}: {}", escaped(item), escaped(allocator), escaped(why));
        }
        out.push('\n');
    }
    out
}

/// Half the spread in percent of the median, so that a reader sees how steady the machine was.
fn spreads(suite: &Suite) -> String {
    let mut out = String::from("### Medians and spread\n\n");
    let mut head = vec!["item".to_owned()];
    head.extend(suite.allocators().iter().map(|name| escaped(name)));
    out += &(line(&head) + &line(&(0..head.len()).map(rule).collect::<Vec<_>>()));
    for item in &suite.items {
        let mut cells = vec![escaped(item.name())];
        for row in &item.report.rows {
            let text = |(_, metric)| {
                row.spread(metric).map(|s| {
                    let unit = unit(metric);
                    let half = if s.median > 0.0 { (s.high - s.low) / s.median * 50.0 } else { 0.0 };
                    format!("{} {} ±{half:.1} %", unit.text(s.median), unit.name())
                })
            };
            cells.push(COMPARED.into_iter().filter_map(text).collect::<Vec<_>>().join(", "));
        }
        out += &line(&cells);
    }
    out + "\n"
}

fn programs(suite: &Suite) -> String {
    let mut out = String::from("### What was run\n\n");
    for item in &suite.items {
        let version = if item.version.is_empty() { String::new() } else { format!(" ({})", escaped(&item.version)) };
        let kind = if item.is_own { "our own, " } else { "" };
        let _ = writeln!(out, "- {}: {kind}{}{version}", escaped(item.name()), escaped(&item.about));
    }
    for (name, why) in &suite.left_out {
        let _ = writeln!(out, "- left out: {}: {}", escaped(name), escaped(why));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_written_from_the_figures() {
        let mut suite = super::super::example();
        let text = render(&suite);
        for part in [
            "| one | 0.20 | 1.00 | 0.50 | other | 2.00 | behind |\n",
            "outside the spread, in 1 of 2 items:\n\n- one: 100 % behind other\n\n",
            "A lower geometric mean of memory have: other (0.500).\n",
            "- two under other: prints \\| other output\n",
            "- two: what two does (two 1.0 \\<new\\>)\n",
            "- left out: three: there is no three",
            "| one | 0.20 s ±2.0 %, 10.00 MiB ±0.0 % |",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let row = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(text.lines().filter(|line| line.starts_with("| one | 0.20 | ")).all(|line| row(line) == 8), "{text}");

        suite.items.remove(0);
        let text = render(&suite);
        assert!(text.contains("outside the spread, in 0 of 1 items.\n"), "{text}");
        suite.items[0].report.rows.iter_mut().for_each(|row| row.samples.truncate(2));
        assert!(render(&suite).contains("There were too few runs to tell."));
    }
}
