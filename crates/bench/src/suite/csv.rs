//! All runs of a suite as CSV: a line each, and one for every allocator that failed.

use super::Suite;
use crate::csv::written;
use crate::report::Metric;

pub fn render(suite: &Suite) -> String {
    let mut head: Vec<String> = ["item", "allocator", "library", "run", "fault"].map(String::from).into();
    head.extend(Metric::ALL.map(|metric| metric.key().to_owned()));
    let mut lines = vec![head];
    for item in &suite.items {
        for row in &item.report.rows {
            let library = row.allocator.library.as_ref().map(|path| path.to_string_lossy().into_owned());
            let start = [item.name().to_owned(), row.allocator.name.clone(), library.unwrap_or_default()];
            for (run, sample) in (1..).zip(&row.samples) {
                let figures = Metric::ALL.map(|metric| metric.of(sample).to_string());
                lines.push([&start[..], &[run.to_string(), String::new()], &figures].concat());
            }
            if let Some(fault) = &row.fault {
                let rest = [const { String::new() }; Metric::ALL.len()];
                lines.push([&start[..], &[String::new(), fault.clone()], &rest].concat());
            }
        }
    }
    written(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_run_and_per_fault() {
        let text = render(&super::super::example());
        assert_eq!(text.lines().count(), 1 + 6 * 5 + 1);
        let columns = |line: &str| line.split(',').count();
        assert!(text.lines().all(|line| columns(line) == 12), "{text}");
        assert!(text.contains("one,other,/libother.so,1,,0.2,"), "{text}");
        assert!(text.contains("two,other,/libother.so,,prints | other output,,"), "{text}");
    }
}
