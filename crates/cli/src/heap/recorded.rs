//! `heapglass ledger FILE`: what is in use at a recording's end, and what was at its peak. A recording knows what was asked for, so
//! here requests and rounding are two lines; it doesn't know what is resident.

use super::text::{grouped, percent, size};
use crate::capture;
use crate::failure::Failure;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Key, bytes, chunks.
pub type Lines = [(&'static str, u64, u64); 4];

const NAMES: [&str; 4] = ["requested", "rounding", "headers of chunks in use", "not in use, of what the kernel gave"];

/// From bytes of chunks, bytes asked for, chunks, and what the kernel gave.
pub fn lines(bytes: u64, requested: u64, chunks: u64, kernel: i64) -> Lines {
    let headers = (chunks * 8).min(bytes);
    let requested = requested.min(bytes - headers);
    let rest = u64::try_from(kernel).unwrap_or(0).saturating_sub(bytes);
    [
        ("in_use", requested, chunks),
        ("rounding", bytes - headers - requested, 0),
        ("headers", headers, 0),
        ("unused", rest, 0),
    ]
}

/// For the page: key, name, and whether it is the heap's.
pub fn names() -> Value {
    let keys = lines(0, 0, 0, 0).map(|line| line.0);
    keys.into_iter().zip(NAMES).map(|(key, name)| json!([key, name, true])).collect()
}

pub fn told(path: &Path, as_json: bool) -> Result<String, Failure> {
    let capture = capture::open(path)?;
    let summary = capture.summary();
    let lines = lines(summary.bytes, summary.requested, summary.chunks, summary.kernel_bytes);
    let total: u64 = lines.iter().map(|line| line.1).sum();
    if as_json {
        let of: serde_json::Map<String, Value> = lines
            .iter()
            .map(|(key, bytes, chunks)| ((*key).to_owned(), json!({ "chunks": chunks, "bytes": bytes })))
            .collect();
        let all = json!({
            "version": 1, "of": path.to_string_lossy(), "calls": summary.calls, "lines": of, "sum": total, "peak_bytes": summary.peak_bytes,
        });
        return Ok(all.to_string() + "\n");
    }
    let program = capture.about.get("program").unwrap_or("a program");
    let mut text =
        format!("{}: {program}: what it had at its end, after {} calls\n\n", path.display(), grouped(summary.calls));
    let _ = writeln!(text, "  {:<40} {:>12} {:>16}", "", "chunks", "bytes");
    for (name, (_, bytes, chunks)) in NAMES.into_iter().zip(lines) {
        let chunks = if chunks > 0 { grouped(chunks) } else { String::new() };
        let _ = writeln!(text, "  {name:<40} {chunks:>12} {:>16} {:>7}", grouped(bytes), percent(bytes, total));
    }
    let _ = writeln!(text, "  {:<40} {:>12} {:>16}", "sum", "", grouped(total));
    let _ = writeln!(
        text,
        "\nat its peak {} were in use; `heapglass stats` tells of all calls, `heapglass view` shows any moment",
        size(summary.peak_bytes)
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_rounding_and_headers_add_up() {
        let told = lines(100, 60, 2, 300);
        assert_eq!(told, [("in_use", 60, 2), ("rounding", 24, 0), ("headers", 16, 0), ("unused", 200, 0)]);
    }
}
