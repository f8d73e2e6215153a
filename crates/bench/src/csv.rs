//! The comparison as CSV: a line per allocator, quoted as in RFC 4180.

use crate::report::{Metric, Report};

pub fn render(report: &Report) -> String {
    let mut head: Vec<String> = ["allocator", "library", "runs", "fault"].map(String::from).into();
    for metric in Metric::ALL {
        head.extend(["median", "low", "high", "ratio", "verdict"].map(|what| format!("{}_{what}", metric.key())));
    }
    let mut lines = vec![head];
    for row in &report.rows {
        let library = row.allocator.library.as_ref().map(|path| path.to_string_lossy().into_owned());
        let fault = row.fault.clone().unwrap_or_default();
        let mut line =
            vec![row.allocator.name.clone(), library.unwrap_or_default(), row.samples.len().to_string(), fault];
        for metric in Metric::ALL {
            match row.spread(metric) {
                Some(spread) => line.extend([spread.median, spread.low, spread.high].map(|value| value.to_string())),
                None => line.extend([const { String::new() }; 3]),
            }
            let compared = report.compared(row, metric);
            line.push(compared.and_then(|c| c.ratio).map_or(String::new(), |ratio| ratio.to_string()));
            line.push(compared.map_or(String::new(), |c| metric.word(c.verdict).into()));
        }
        lines.push(line);
    }
    written(&lines)
}

pub(crate) fn written(lines: &[Vec<String>]) -> String {
    lines.iter().map(|line| line.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",") + "\r\n").collect()
}

fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_allocator() {
        let text = render(&crate::report::example());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let columns = lines[0].split(',').count();
        assert_eq!(columns, 39);
        assert!(lines[1].starts_with("libc,,5,,0.20400000000000001,0.2,"), "{}", lines[1]);
        assert!(lines[2].starts_with("heapglass,/h.so,5,,0.102") && lines[2].contains(",0.5,faster,"), "{}", lines[2]);
        let fault =
            "bro<k>en,\"/lib/a,\"\"b\"\".so\",0,\"killed by signal 6 (SIGABRT): \"\"out | of\"\" <luck> & hope\"";
        assert_eq!(lines[3], format!("{fault}{}", ",".repeat(columns - 4)));
    }
}
