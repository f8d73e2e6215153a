//! `heapglass stats FILE`: what all calls of a recording come to.

use super::progress::Progress;
use super::{marks, open, said};
use crate::failure::Failure;
use crate::heap::ledger::LedgerCommand;
use crate::heap::{Subject, Whose};
use crate::stats::grouped;
use heapglass_capture::Capture;
use heapglass_report::line::Clock;
use heapglass_report::tally::{Sum, Tally, lifetime_name};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Tell what all calls of a recording come to
///
/// Reads a FILE that `heapglass record` made: calls by name, sizes, lifetimes, temporary allocations, the peak, what served the calls,
/// system calls, arenas, sizes of chunks. Of a process or a core file it tells what `heapglass ledger` does.
#[derive(clap::Args)]
pub struct Stats {
    #[command(flatten)]
    whose: Whose,

    /// For machines
    #[arg(long)]
    json: bool,
}

/// Rows of the table of chunks.
const CHUNKS: usize = 12;
/// Characters of a bar.
const BAR: u64 = 30;

impl Stats {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let path = match self.whose.subject() {
            Subject::Core(path) if !is_elf(&path) => path,
            _ => return LedgerCommand::of(self.whose, self.json).carry_out(),
        };
        let capture = open(&path)?;
        let tally = tally(&capture, &path)?;
        let text = match self.json {
            true => as_json(&path, &capture, &tally).to_string() + "\n",
            false => screen(&path, &capture, &tally),
        };
        // A reader who has seen enough has closed it.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

pub fn is_elf(path: &Path) -> bool {
    let mut start = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start == *b"\x7fELF")
}

/// All that is said of a recording, in both forms.
pub fn told(capture: &Capture, path: &Path) -> Result<[String; 2], Failure> {
    let tally = tally(capture, path)?;
    Ok([screen(path, capture, &tally), as_json(path, capture, &tally).to_string()])
}

fn tally(capture: &Capture, path: &Path) -> Result<Tally, Failure> {
    let mut progress = Progress::new(capture.calls());
    let mut tally = Tally::default();
    let mut events = capture.events(1);
    loop {
        match events.next() {
            Ok(Some(event)) => {
                progress.at(event.number);
                tally.add(event, |ticks| capture.nanos(ticks));
            }
            Ok(None) => return Ok(tally),
            Err(error) => return Err(said(path, &error)),
        }
    }
}

fn clock(capture: &Capture) -> Clock {
    Clock { tick: 0, nanos: 0, nanos_per_tick: capture.nanos_per_tick() }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos / 1000 % 1_000_000)
}

fn screen(path: &Path, capture: &Capture, tally: &Tally) -> String {
    let summary = capture.summary();
    let about = |name| capture.about.get(name).unwrap_or("?");
    let mut text = String::new();
    let ended = capture.about.get("ended").unwrap_or("cut off");
    let _ = writeln!(text, "{}: {}, {ended}", path.display(), about("program"));
    let _ = writeln!(
        text,
        "  {} calls with {} records in {}, {} bytes of file: {:.1} a call",
        grouped(summary.calls),
        grouped(summary.records),
        seconds(summary.nanos),
        grouped(summary.length),
        summary.length as f64 / summary.calls.max(1) as f64
    );
    if about("interval") != "1" {
        let bytes = about("interval").parse().map_or_else(|_| about("interval").to_owned(), grouped);
        let _ = writeln!(text, "  samples: one for {bytes} bytes on average; all figures are of these alone");
    }
    if about("dropped") != "0" && capture.is_closed {
        let _ = writeln!(text, "  {} events were dropped", about("dropped"));
    }
    if tally.state.strangers > 0 {
        let _ = writeln!(
            text,
            "  {} frees of what was allocated before the recording, or by a parent",
            grouped(tally.state.strangers)
        );
    }
    memory(&mut text, capture, tally);
    for (name, nanos) in marks::all(path, capture) {
        let _ = writeln!(text, "  mark {name}, {}", seconds(nanos.saturating_sub(capture.started)));
    }
    text.push_str("\ncalls           failed  function\n");
    for (name, row) in &tally.functions {
        let _ = write!(text, "{:>12} {:>9}  {name}", grouped(row.calls), grouped(row.failed));
        text.push_str(if row.unfinished > 0 { ", one never returned\n" } else { "\n" });
    }
    let _ = write!(text, "\n{}", tally.served.table(&clock(capture)));
    sizes(&mut text, tally);
    lifetimes(&mut text, tally);
    arenas(&mut text, tally);
    bins(&mut text, tally);
    chunks(&mut text, tally);
    text
}

fn memory(text: &mut String, capture: &Capture, tally: &Tally) {
    let row = |text: &mut String, name: &str, bytes: u64, more: String| {
        let _ = writeln!(text, "  {name:<24}{:>17} bytes  {more}", grouped(bytes));
    };
    let Sum { count, bytes } = tally.allocated;
    text.push('\n');
    row(text, "allocated", bytes, format!("in {} calls", grouped(count)));
    let over = tally.allocated_chunks.saturating_sub(bytes);
    row(text, "rounding and headers", over, format!("{:.1} % of it", percent(over, bytes)));
    let temporary = tally.temporary;
    row(
        text,
        "temporary",
        temporary.bytes,
        format!("{} calls, {:.1} %: freed before the next", grouped(temporary.count), percent(temporary.count, count)),
    );
    let peak = tally.peak;
    row(
        text,
        "in use at peak",
        peak.bytes,
        format!(
            "{} chunks, at call {}, {}",
            grouped(peak.chunks),
            grouped(peak.call),
            seconds(capture.nanos(peak.tick))
        ),
    );
    row(text, "in use at the end", tally.state.bytes, format!("{} chunks", grouped(tally.state.chunks() as u64)));
    let kernel = tally.state.kernel_bytes;
    row(text, "from the kernel", u64::try_from(kernel).unwrap_or(0), "less what went back".into());
}

fn bar(part: u64, most: u64) -> String {
    let length =
        if part == 0 { 0 } else { (u128::from(part) * u128::from(BAR) / u128::from(most.max(1))).max(1) as u64 };
    "#".repeat(length as usize)
}

fn sizes(text: &mut String, tally: &Tally) {
    let most = tally.sizes.values().map(|sum| sum.count).max().unwrap_or(0);
    text.push_str("\n   allocations            bytes  up to bytes each\n");
    for (&size, sum) in &tally.sizes {
        let size = if size == u64::MAX { "more".into() } else { grouped(size) };
        let _ = writeln!(
            text,
            "{:>14} {:>16}  {size:>15}  {}",
            grouped(sum.count),
            grouped(sum.bytes),
            bar(sum.count, most)
        );
    }
}

fn lifetimes(text: &mut String, tally: &Tally) {
    let left = tally.state.chunks() as u64;
    let most = tally.lifetimes.iter().map(|sum| sum.count).max().unwrap_or(0).max(left);
    text.push_str("\n   allocations            bytes  lived for less than\n");
    for (place, sum) in tally.lifetimes.iter().enumerate().filter(|(_, sum)| sum.count > 0) {
        let _ = writeln!(
            text,
            "{:>14} {:>16}  {:>15}  {}",
            grouped(sum.count),
            grouped(sum.bytes),
            lifetime_name(place),
            bar(sum.count, most)
        );
    }
    if left > 0 {
        let bytes = grouped(tally.state.requested);
        let _ = writeln!(text, "{:>14} {bytes:>16}  {:>15}  {}", grouped(left), "never freed", bar(left, most));
    }
}

fn arenas(text: &mut String, tally: &Tally) {
    if tally.arenas.is_empty() {
        return;
    }
    text.push_str("\narena    times locked  chunks sent home  by its inbox  from the kernel\n");
    for (number, arena) in &tally.arenas {
        let _ = writeln!(
            text,
            "{number:>5} {:>15} {:>17} {:>13} {:>16}",
            grouped(arena.locked),
            grouped(arena.home),
            grouped(arena.by_inbox),
            arena.kernel_bytes
        );
    }
}

fn bins(text: &mut String, tally: &Tally) {
    let kinds = tally.bins.kinds();
    if kinds.is_empty() {
        return;
    }
    text.push_str("\nbins            chunks put in      taken out  which\n");
    for (place, (count, flow)) in kinds {
        let which = if count > 1 { format!("{}, {count} lengths", place.name()) } else { place.name().into() };
        let _ = writeln!(text, "{:>29} {:>14}  {which}", grouped(flow.put), grouped(flow.taken));
    }
    if tally.bins.merged > 0 {
        let _ = writeln!(text, "{:>44}  out of a bin to be merged with a neighbour", grouped(tally.bins.merged));
    }
}

fn chunks(text: &mut String, tally: &Tally) {
    let mut rows: Vec<_> = tally.chunks.iter().collect();
    rows.sort_by_key(|(bytes, bin)| (std::cmp::Reverse(bin.handed_out), **bytes));
    text.push_str("\nchunk of bytes     handed out  from the cache     most in use       at the end\n");
    for (bytes, bin) in rows.iter().take(CHUNKS) {
        let _ = writeln!(
            text,
            "{:>14} {:>14} {:>13.1} % {:>15} {:>16}",
            grouped(**bytes),
            grouped(bin.handed_out),
            percent(bin.hits, bin.handed_out),
            grouped(bin.most_in_use),
            grouped(bin.in_use)
        );
    }
    if rows.len() > CHUNKS {
        let _ = writeln!(text, "               ... and {} other lengths", rows.len() - CHUNKS);
    }
}

fn as_json(path: &Path, capture: &Capture, tally: &Tally) -> Value {
    let summary = capture.summary();
    let sum = |sum: &Sum| json!({ "count": sum.count, "bytes": sum.bytes });
    let nanos = |ticks| capture.nanos(ticks);
    let about: serde_json::Map<String, Value> =
        capture.about.0.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "file": path.to_string_lossy(),
        "about": about,
        "closed": capture.is_closed,
        "started_unix_ns": capture.started,
        "duration_ns": summary.nanos,
        "file_bytes": summary.length,
        "calls": summary.calls,
        "records": summary.records,
        "functions": tally.functions.iter().map(|(name, row)| json!({
            "name": name, "calls": row.calls, "failed": row.failed, "unfinished": row.unfinished, "ns": nanos(row.ticks),
        })).collect::<Vec<_>>(),
        "allocated": sum(&tally.allocated),
        "allocated_chunk_bytes": tally.allocated_chunks,
        "temporary": sum(&tally.temporary),
        "peak": {
            "bytes": tally.peak.bytes, "requested": tally.peak.requested, "chunks": tally.peak.chunks,
            "call": tally.peak.call, "ns": nanos(tally.peak.tick),
        },
        "end": {
            "bytes": tally.state.bytes, "requested": tally.state.requested, "chunks": tally.state.chunks(),
            "kernel_bytes": tally.state.kernel_bytes,
        },
        "unknown_frees": tally.state.strangers,
        "faults": tally.faults,
        "sizes": tally.sizes.iter().map(|(size, row)| json!({
            "up_to": size, "count": row.count, "bytes": row.bytes,
        })).collect::<Vec<_>>(),
        "lifetimes": tally.lifetimes.iter().enumerate().map(|(place, row)| json!({
            "less_than_ns": if place + 1 == tally.lifetimes.len() { None } else { Some(1000 * 10u64.pow(place as u32)) },
            "count": row.count, "bytes": row.bytes,
        })).collect::<Vec<_>>(),
        "paths": tally.served.paths().map(|(path, row)| json!({
            "name": path.name(), "calls": row.calls, "ns": nanos(row.ticks),
        })).collect::<Vec<_>>(),
        "system_calls": tally.served.kernel().map(|(name, row)| json!({
            "name": name, "calls": row.calls, "refused": row.refused, "bytes_gained": row.gained, "bytes_lost": row.lost,
        })).collect::<Vec<_>>(),
        "arenas": tally.arenas.iter().map(|(number, arena)| json!({
            "number": number, "locked": arena.locked, "sent_home": arena.home, "by_inbox": arena.by_inbox,
            "kernel_bytes": arena.kernel_bytes,
        })).collect::<Vec<_>>(),
        "bins": tally.bins.each().map(|(place, bytes, flow)| json!({
            "name": place.name(), "bytes": if bytes == 0 { None } else { Some(bytes) }, "put": flow.put, "taken": flow.taken,
        })).collect::<Vec<_>>(),
        "merged_out_of_bins": tally.bins.merged,
        "chunks": tally.chunks.iter().map(|(bytes, bin)| json!({
            "bytes": bytes, "handed_out": bin.handed_out, "requested": bin.requested, "from_cache": bin.hits,
            "freed": bin.freed, "in_use": bin.in_use, "most_in_use": bin.most_in_use,
        })).collect::<Vec<_>>(),
    })
}
