//! The comparison as JSON: everything that was measured. Each result has the fields of hyperfine's exports too, so that
//! scripts which read those read this.

use crate::report::{Metric, Report, Row};
use crate::spread::Spread;
use std::fmt::Write;

pub fn render(report: &Report) -> String {
    object(fields(report)) + "\n"
}

pub(crate) fn fields(report: &Report) -> Vec<(&'static str, String)> {
    let names = |round: &Vec<usize>| array(round.iter().map(|at| string(&report.rows[*at].allocator.name)));
    vec![
        ("name", string(&report.name)),
        ("words", array(report.words.iter().map(|word| string(word)))),
        ("warmup", report.warmup.to_string()),
        ("rounds", array(report.rounds.iter().map(names))),
        ("floor_bytes", report.floor_bytes.to_string()),
        ("results", array(report.rows.iter().map(|row| result(report, row)))),
    ]
}

fn result(report: &Report, row: &Row) -> String {
    let library = row.allocator.library.as_ref().map_or("null".into(), |path| string(&path.to_string_lossy()));
    let mut fields = vec![
        ("command", string(&report.words.join(" "))),
        ("parameters", object([("allocator", string(&row.allocator.name))])),
        ("allocator", string(&row.allocator.name)),
        ("library", library),
        ("fault", row.fault.as_deref().map_or("null".into(), string)),
        ("exit_codes", array(row.samples.iter().map(|sample| sample.exit_code.to_string()))),
    ];
    fields.extend(hyperfine(row));
    for metric in Metric::ALL {
        fields.push((metric.key(), measured(report, row, metric)));
    }
    object(fields)
}

fn hyperfine(row: &Row) -> Vec<(&'static str, String)> {
    let number = |metric, of: fn(&Spread) -> f64| row.spread(metric).map_or("null".into(), |s| of(&s).to_string());
    let values = |metric| array(row.values(metric).iter().map(f64::to_string));
    vec![
        ("mean", number(Metric::Wall, |s| s.mean)),
        ("stddev", number(Metric::Wall, |s| s.standard_deviation)),
        ("median", number(Metric::Wall, |s| s.median)),
        ("user", number(Metric::User, |s| s.mean)),
        ("system", number(Metric::System, |s| s.mean)),
        ("min", number(Metric::Wall, |s| s.min)),
        ("max", number(Metric::Wall, |s| s.max)),
        ("times", values(Metric::Wall)),
        ("memory_usage_byte", values(Metric::Peak)),
    ]
}

fn measured(report: &Report, row: &Row, metric: Metric) -> String {
    let Some(spread) = row.spread(metric) else { return "null".into() };
    let compared = report.compared(row, metric);
    let ratio = compared.and_then(|compared| compared.ratio);
    object([
        ("median", spread.median.to_string()),
        ("low", spread.low.to_string()),
        ("high", spread.high.to_string()),
        ("median_deviation", spread.median_deviation.to_string()),
        ("values", array(row.values(metric).iter().map(f64::to_string))),
        ("ratio", ratio.map_or("null".into(), |ratio| ratio.to_string())),
        ("verdict", compared.map_or("null".into(), |compared| string(metric.word(compared.verdict)))),
    ])
}

pub(crate) fn object<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{}:{value}", string(key))).collect();
    format!("{{{}}}", fields.join(","))
}

pub(crate) fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

pub(crate) fn string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        assert_eq!(string("a\"b\\c\n\u{1}é"), r#""a\"b\\c\u000a\u0001é""#);
    }

    #[test]
    fn order_figures_and_faults_are_there() {
        let text = render(&crate::report::example());
        let all = [
            r#""rounds":[["libc","heapglass","bro<k>en"],["heapglass","libc"],["libc","heapglass"]]"#,
            r#""words":["prog","tab\u0009here","back\\slash \"quote\""]"#,
            r#""library":"/lib/a,\"b\".so","fault":"killed by signal 6 (SIGABRT): \"out | of\" <luck> & hope""#,
            r#""exit_codes":[],"mean":null"#,
            r#""exit_codes":[0,0,0,0,0],"mean":0.2"#,
            r#""ratio":0.5,"verdict":"faster"}"#,
            r#""peak_bytes":{"median":20971520,"low":20971520,"high":20971520,"#,
        ];
        for part in all {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
