//! `heapglass ledger FILE`: what is in use at a recording's end, and what was at its peak. A recording knows what was asked for, so
//! here requests and rounding are two lines; it doesn't know what is resident.

use super::known::Known;
use super::ledger;
use super::pinned::{self, Stacks};
use super::text::{grouped, percent, size};
use crate::failure::Failure;
use heapglass_capture::Chunk;
use heapglass_inspect::Range;
use heapglass_inspect::walk::{self, What};
use heapglass_report::pins::Pins;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Key, bytes, chunks.
pub type Lines = [(&'static str, u64, u64); 4];

const NAMES: [&str; 4] = ["requested", "rounding", "headers of chunks in use", "not in use, of what the kernel gave"];

/// From bytes of chunks, bytes asked for, chunks, and what the kernel gave.
pub fn lines(bytes: u64, requested: u64, chunks: u64, kernel: i64) -> Lines {
    let headers = chunks.saturating_mul(8).min(bytes);
    let requested = requested.min(bytes - headers);
    let rest = u64::try_from(kernel).unwrap_or(0).saturating_sub(bytes);
    [
        ("requested", requested, chunks),
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

/// Addresses in which nothing is in use part two heaps.
pub const GAP: u64 = 4 << 20;
/// What a recording doesn't say: as it is on the machines that record.
const PAGE: u64 = 4096;

/// Only a mapping of its own is whole pages from a page's start on.
pub fn is_mapping(chunk: &Chunk) -> bool {
    let (at, bytes) = ((chunk.pointer - 16) & !15, chunk.live.bytes);
    at.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE) && bytes > 0
}

/// What keeps pages that are mostly not in use, of chunks by address. What isn't in use may have gone back to the kernel already; that isn't recorded.
pub fn pins(pid: u32, chunks: &[Chunk]) -> Pins {
    let mut pins = Pins::new(PAGE, 0);
    let resident = |range: Range| range.bytes();
    let mut end = 0u64;
    for Chunk { pointer, live, .. } in chunks.iter().filter(|chunk| chunk.pid == pid && !is_mapping(chunk)) {
        let at = (pointer - 16) & !15;
        if end == 0 || at >= end.saturating_add(GAP) {
            pins.end(&resident);
            pins.begin();
        } else if at < end {
            continue;
        } else if at > end {
            let gap = walk::Chunk { at: end, size: at - end, flags: 0, what: What::Large, holder: None };
            pins.see(0, &gap, 0, &resident);
        }
        let size = live.bytes.max(16) & !15;
        let chunk = walk::Chunk { at, size, flags: 0, what: What::Live, holder: None };
        pins.see(0, &chunk, live.born, &resident);
        end = at + size;
    }
    pins.end(&resident);
    pins
}

pub fn told(path: &Path, at: Option<u64>, as_json: bool) -> Result<String, Failure> {
    let known = Known::open(path, None, at)?;
    let summary = known.capture.summary();
    let at = at.unwrap_or(summary.calls).min(summary.calls);
    let state = &known.state;
    let lines = lines(state.bytes, state.requested, state.chunks() as u64, state.kernel_bytes);
    let pins = pins(known.pid, &state.sorted());
    let stacks = Stacks::of(&pins, &known)?;
    let total: u64 = lines.iter().map(|line| line.1).sum();
    if as_json {
        let of: serde_json::Map<String, Value> = lines
            .iter()
            .map(|(key, bytes, chunks)| ((*key).to_owned(), json!({ "chunks": chunks, "bytes": bytes })))
            .collect();
        let mut all = json!({
            "version": 1, "of": path.to_string_lossy(), "calls": summary.calls, "at": at, "lines": of, "sum": total,
            "peak_bytes": summary.peak_bytes, "pins": ledger::pins_json(&pins),
        });
        stacks.add_to(&mut all);
        return Ok(all.to_string() + "\n");
    }
    let program = known.capture.about.get("program").unwrap_or("a program");
    let when = if at == summary.calls { "at its end, after" } else { "after" };
    let mut text = format!("{}: {program}: what it had {when} {} calls\n\n", path.display(), grouped(at));
    let _ = writeln!(text, "  {:<40} {:>12} {:>16}", "", "chunks", "bytes");
    for (name, (_, bytes, chunks)) in NAMES.into_iter().zip(lines) {
        let chunks = if chunks > 0 { grouped(chunks) } else { String::new() };
        let _ = writeln!(text, "  {name:<40} {chunks:>12} {:>16} {:>7}", grouped(bytes), percent(bytes, total));
    }
    let _ = writeln!(text, "  {:<40} {:>12} {:>16}", "sum", "", grouped(total));
    pinned::tell(&mut text, &pins, Some(&stacks));
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
        assert_eq!(told, [("requested", 60, 2), ("rounding", 24, 0), ("headers", 16, 0), ("unused", 200, 0)]);
    }
}
