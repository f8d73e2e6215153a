//! What came of playing a recording, as a table and as JSON.

use super::{Line, Report, plan};
use crate::stats::grouped;
use heapglass_bench::report::Metric;
use heapglass_bench::spread::Spread;
use serde_json::{Value, json};
use std::fmt::Write;

const MEBIBYTE: f64 = (1 << 20) as f64;

/// A figure's spread, with what the player needs by itself taken off.
fn net(report: &Report, line: &Line) -> Option<Spread> {
    let own = report.alone.row.spread(Metric::Peak).map_or(0.0, |spread| spread.median);
    let values: Vec<f64> = line.row.values(Metric::Peak).iter().map(|peak| (peak - own).max(0.0)).collect();
    if line.row.fault.is_some() { None } else { Spread::of(&values) }
}

/// How many times what the program asked for was resident at the peak. It says something only where all of that was written to.
fn fragmentation(report: &Report, line: &Line) -> Option<f64> {
    let is_touched = report.how.contains(char::from(plan::how::TOUCH));
    let asked = report.told.peak_requested as f64;
    if is_touched && asked > 0.0 { net(report, line).map(|peak| peak.median / asked) } else { None }
}

fn ratio(of: Option<f64>, to: Option<f64>) -> String {
    match (of, to) {
        (Some(of), Some(to)) if to > 0.0 => format!("{:.2}", of / to),
        _ => "-".into(),
    }
}

fn told(spread: &Spread, unit: f64, digits: usize) -> String {
    let [median, low, high] = [spread.median, spread.low, spread.high].map(|value| value / unit);
    format!("{median:.digits$} {low:.digits$}..{high:.digits$}")
}

pub fn render(report: &Report) -> String {
    let told = &report.told;
    let plural = |count: u64, what: &str| format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" });
    let mut out = format!(
        "{}: {}: {} of {}\nin use at peak {} bytes of chunks, {} asked for; {} each, in turn, after 1 to warm up\n\n",
        report.path.display(),
        report.program,
        plural(told.calls, "call"),
        plural(told.threads, "thread"),
        grouped(told.peak_bytes),
        grouped(told.peak_requested),
        plural(report.runs as u64, "run")
    );
    out += &grid(&times(report));
    out.push('\n');
    out += &grid(&memory(report));
    out += "\nFigures are medians, with the spread behind them. Ratios are to the first allocator.\n";
    let own = report.alone.row.spread(Metric::Peak).map_or(0.0, |spread| spread.median / MEBIBYTE);
    let _ = writeln!(out, "The player's own {own:.2} MiB are taken off the resident memory; its time is in each row.");
    if !report.how.contains(char::from(plan::how::TOUCH)) {
        out += "Only the allocators wrote to memory: with --touch all that was asked for is written to.\n";
    }
    out
}

fn times(report: &Report) -> Vec<Vec<String>> {
    let reference = report.lines.first();
    let cpu = |line: &Line| line.row.spread(Metric::Cpu).map(|spread| spread.median);
    let mut rows = vec![["time, ms", "wall", "user and system", "ratio"].map(str::to_owned).to_vec()];
    for line in [&report.alone].into_iter().chain(&report.lines) {
        let name = line.row.allocator.name.clone();
        rows.push(match (line.row.spread(Metric::Wall), line.row.spread(Metric::Cpu)) {
            (Some(wall), Some(both)) => {
                vec![
                    name,
                    told(&wall, 1e-3, 1),
                    told(&both, 1e-3, 1),
                    ratio(Some(both.median), reference.and_then(cpu)),
                ]
            }
            _ => vec![name, line.row.fault().to_owned()],
        });
    }
    rows
}

fn memory(report: &Report) -> Vec<Vec<String>> {
    let head =
        ["memory, MiB", "resident at peak", "ratio", "of asked", "heaps at peak", "mapped at peak", "in use at peak"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let reference = report.lines.first().and_then(|line| net(report, line)).map(|peak| peak.median);
    for line in &report.lines {
        let name = line.row.allocator.name.clone();
        let Some(peak) = net(report, line) else {
            // It may be a long line; once is enough.
            rows.push(vec![name, "as above".into()]);
            continue;
        };
        let own = |of: fn(&crate::stats::Peaks) -> u64| {
            line.peaks.as_ref().map_or("-".into(), |peaks| format!("{:.2}", of(peaks) as f64 / MEBIBYTE))
        };
        rows.push(vec![
            name,
            told(&peak, MEBIBYTE, 2),
            ratio(Some(peak.median), reference),
            fragmentation(report, line).map_or("-".into(), |times| format!("{times:.2}")),
            own(|peaks| peaks.heap),
            own(|peaks| peaks.mapped),
            own(|peaks| peaks.in_use),
        ]);
    }
    rows
}

/// Columns side by side; a row of two cells is a name and what is said instead of figures.
fn grid(rows: &[Vec<String>]) -> String {
    let mut widths = vec![0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        let counts = if row.len() > 2 { row.len() } else { 1 };
        row.iter().take(counts).zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let mut out = String::new();
    for row in rows {
        let mut text = String::new();
        for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            text += &if at == 0 || row.len() == 2 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

pub fn json(report: &Report) -> String {
    let spread = |spread: Option<Spread>| {
        spread.map_or(Value::Null, |spread| json!({ "median": spread.median, "low": spread.low, "high": spread.high }))
    };
    let row = |line: &Line| {
        json!({
            "name": line.row.allocator.name,
            "library": line.row.allocator.library.as_ref().map(|path| path.to_string_lossy().into_owned()),
            "settings": line.settings,
            "fault": line.row.fault,
            "wall_seconds": spread(line.row.spread(Metric::Wall)),
            "cpu_seconds": spread(line.row.spread(Metric::Cpu)),
            "peak_bytes": spread(net(report, line)),
            "times_asked": fragmentation(report, line),
            "heap_peak_bytes": line.peaks.as_ref().map(|peaks| peaks.heap),
            "mapped_peak_bytes": line.peaks.as_ref().map(|peaks| peaks.mapped),
            "in_use_peak_bytes": line.peaks.as_ref().map(|peaks| peaks.in_use),
        })
    };
    let told = &report.told;
    let has = |letter: u8| report.how.contains(char::from(letter));
    let all = json!({
        "version": 1,
        "of": report.path.to_string_lossy(),
        "program": report.program,
        "pid": told.pid,
        "calls": told.calls,
        "threads": told.threads,
        "recorded": { "peak_bytes": told.peak_bytes, "peak_requested_bytes": told.peak_requested },
        "left_out": {
            "void": told.void, "unknown_frees": told.strangers, "other_processes": told.others.values().sum::<u64>(), "damaged_from": told.damaged_at,
        },
        "runs": report.runs,
        "touch": has(plan::how::TOUCH),
        "check": has(plan::how::CHECK),
        "timing": report.timing,
        "player": {
            "fault": report.alone.row.fault,
            "wall_seconds": spread(report.alone.row.spread(Metric::Wall)),
            "cpu_seconds": spread(report.alone.row.spread(Metric::Cpu)),
            "peak_bytes": spread(report.alone.row.spread(Metric::Peak)),
        },
        "rows": report.lines.iter().map(row).collect::<Vec<_>>(),
    });
    all.to_string() + "\n"
}
