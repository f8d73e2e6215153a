//! `heapglass diff` of recordings: what is in use at one moment and not at another. In one recording that is told chunk by chunk, of two it
//! is what their sums differ by: chunks of two runs aren't the same. Where both know who called, that is told by stack too, as profiles are
//! compared: chunks that came and went in the same place cancel out.

use super::instant::{self, Instant};
use super::{open, said};
use crate::failure::Failure;
use crate::heap::known::Known;
use crate::profile::{self, Look};
use crate::stats::grouped;
use heapglass_capture::{Chunk, Live, State};
use heapglass_profile::model::{Entry, Profile, Which};
use heapglass_profile::tree::{Call, calls};
use heapglass_report::text;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A moment of a recording.
pub struct Moment {
    path: PathBuf,
    known: Known,
    calls: u64,
    nanos: u64,
}

impl Moment {
    pub fn of(path: &Path, instant: Option<Instant>) -> Result<Moment, Failure> {
        let capture = open(path)?;
        let instant = instant.unwrap_or(Instant::End);
        let calls = instant::calls(path, &capture, &instant)?;
        let nanos = instant::nanos(path, &capture, &Instant::Calls(calls))?;
        let state = capture.state_at(calls).map_err(|e| said(path, &e))?;
        let known = Known::of_file(capture, path, state)?;
        Ok(Moment { path: path.to_owned(), known, calls, nanos })
    }

    fn name(&self) -> String {
        let (seconds, micros) = (self.nanos / 1_000_000_000, self.nanos / 1000 % 1_000_000);
        format!("{}, after call {}, {seconds}.{micros:06} s", self.path.display(), grouped(self.calls))
    }

    fn is_of(&self, other: &Moment) -> bool {
        self.path.canonicalize().ok() == other.path.canonicalize().ok()
    }
}

#[derive(Clone, Copy, Default)]
struct Sum {
    bytes: u64,
    chunks: u64,
}

impl Sum {
    fn add(&mut self, chunk: &Chunk) {
        self.bytes = self.bytes.saturating_add(chunk.live.bytes);
        self.chunks += 1;
    }
}

/// Chunks of one request.
#[derive(Clone, Copy, Default)]
struct Row {
    gone: Sum,
    come: Sum,
    /// The first of those that came: its call and thread.
    born: u64,
    tid: u32,
    several: bool,
}

impl Row {
    fn net(&self) -> i64 {
        signed(self.come.bytes) - signed(self.gone.bytes)
    }

    fn net_chunks(&self) -> i64 {
        self.come.chunks.cast_signed() - self.gone.chunks.cast_signed()
    }

    fn come(&mut self, chunk: &Chunk) {
        self.come.add(chunk);
        let live = chunk.live;
        self.several |= self.tid != 0 && self.tid != live.thread.tid;
        if self.tid == 0 || live.born < self.born {
            (self.born, self.tid) = (live.born, live.thread.tid);
        }
    }
}

/// So that two of them can be subtracted.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What two moments differ by.
pub struct Difference {
    before: Moment,
    after: Moment,
    is_one: bool,
    stayed: Sum,
    gone: Sum,
    come: Sum,
    /// By what was asked for, those first that changed most.
    rows: Vec<(u64, Row)>,
    /// By who allocated it, if both know.
    stacks: Option<Profile>,
}

impl Difference {
    pub fn between(before: Moment, after: Moment) -> Result<Difference, Failure> {
        let is_one = before.is_of(&after);
        let [mut stayed, mut gone, mut come] = [Sum::default(); 3];
        let [mut left, mut came]: [Vec<Live>; 2] = Default::default();
        let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
        // A chunk that was handed out by the same call is the same.
        let has = |state: &State, chunk: &Chunk| {
            is_one && state.get(chunk.pid, chunk.pointer).is_some_and(|other| other.born == chunk.live.born)
        };
        for chunk in before.known.state.iter() {
            if has(&after.known.state, &chunk) {
                stayed.add(&chunk);
            } else {
                gone.add(&chunk);
                left.push(chunk.live);
                rows.entry(chunk.live.request).or_default().gone.add(&chunk);
            }
        }
        for chunk in after.known.state.iter().filter(|chunk| !has(&before.known.state, chunk)) {
            come.add(&chunk);
            came.push(chunk.live);
            rows.entry(chunk.live.request).or_default().come(&chunk);
        }
        let mut rows: Vec<(u64, Row)> = rows.into_iter().collect();
        if !is_one {
            rows.retain(|(_, row)| row.net() != 0 || row.net_chunks() != 0);
        }
        rows.sort_by_key(|(request, row)| (std::cmp::Reverse(row.net().unsigned_abs()), *request));
        let stacks = match before.known.has_callers() && after.known.has_callers() {
            true => Some(heapglass_profile::diff::diff(&before.known.profile(&left)?, &after.known.profile(&came)?)),
            false => None,
        };
        Ok(Difference { before, after, is_one, stayed, gone, come, rows, stacks })
    }

    pub fn render(&self, look: &Look) -> Result<String, Failure> {
        let rows = look.rows();
        let mut out = format!("from  {}\nto    {}\n\n", self.before.name(), self.after.name());
        let line = |out: &mut String, name: &str, bytes: u64, chunks: u64| {
            let plural = if chunks == 1 { "" } else { "s" };
            let _ = writeln!(out, "  {name:<24}{:>17} bytes  {:>12} chunk{plural}", grouped(bytes), grouped(chunks));
        };
        let (before, after) = (&self.before.known.state, &self.after.known.state);
        line(&mut out, "in use before", before.bytes, before.chunks() as u64);
        line(&mut out, "in use after", after.bytes, after.chunks() as u64);
        if self.is_one {
            line(&mut out, "there at both", self.stayed.bytes, self.stayed.chunks);
            line(&mut out, "gone", self.gone.bytes, self.gone.chunks);
            line(&mut out, "come", self.come.bytes, self.come.chunks);
        }
        if self.rows.is_empty() {
            out += "\nno chunk is in use at one of them only\n";
            return Ok(out);
        }
        let [left, right] = if self.is_one { ["gone", "come"] } else { ["before", "after"] };
        let head = ["more bytes", left, right, "asked for", "the first that came"];
        let [bytes, left, right, asked, who] = head;
        let _ = writeln!(out, "\n{bytes:>17} {left:>12} {right:>12} {asked:>12}  {who}");
        for (request, row) in self.rows.iter().take(rows) {
            let sign = if row.net() < 0 { "-" } else { "+" };
            let _ = writeln!(
                out,
                "{:>17} {:>12} {:>12} {:>12}  {}",
                format!("{sign}{}", grouped(row.net().unsigned_abs())),
                grouped(row.gone.chunks),
                grouped(row.come.chunks),
                grouped(*request),
                self.who(row)?
            );
        }
        let left = self.rows.len().saturating_sub(rows);
        if left > 0 {
            let _ = writeln!(out, "and {} more sizes", grouped(left as u64));
        }
        match &self.stacks {
            Some(stacks) if stacks.entries.is_empty() => out += "\nno place in the program has more or fewer of them\n",
            Some(stacks) => out += &format!("\n{}", profile::table_and_tree(stacks, look, Which::InUse)),
            None => {}
        }
        Ok(out)
    }

    /// The call that handed out the first chunk, which `explain` tells more of.
    fn who(&self, row: &Row) -> Result<String, Failure> {
        if row.born == 0 {
            return Ok(String::new());
        }
        let event = self.after.known.capture.event(row.born).map_err(|e| said(&self.after.path, &e))?;
        let Some(event) = event else { return Ok(String::new()) };
        let mut call = Vec::new();
        text::call(&mut call, event.call.function, event.call.arguments);
        let others = if row.several { ", others in other threads" } else { "" };
        let call = String::from_utf8_lossy(&call).into_owned();
        Ok(format!("call {}, {call}, thread {}{others}", grouped(row.born), row.tid))
    }

    pub fn json(&self) -> String {
        let moment = |moment: &Moment| {
            json!({
                "of": moment.path.to_string_lossy(), "calls": moment.calls, "nanos": moment.nanos,
                "bytes": moment.known.state.bytes, "requested": moment.known.state.requested, "chunks": moment.known.state.chunks(),
            })
        };
        let sum = |sum: &Sum| json!({ "bytes": sum.bytes, "chunks": sum.chunks });
        let row = |(request, row): &(u64, Row)| {
            let call = if row.born == 0 { Value::Null } else { json!(row.born) };
            json!({
                "requested": request, "more_bytes": row.net(), "gone": sum(&row.gone), "come": sum(&row.come), "first_call": call,
            })
        };
        let mut all = json!({
            "version": 1,
            "one_recording": self.is_one,
            "before": moment(&self.before),
            "after": moment(&self.after),
            "stayed": sum(&self.stayed),
            "gone": sum(&self.gone),
            "come": sum(&self.come),
            "sizes": self.rows.iter().map(row).collect::<Vec<_>>(),
        });
        if let Some(stacks) = &self.stacks {
            all["stacks"] = by_stack(stacks);
        }
        all.to_string() + "\n"
    }
}

/// The stacks of a difference, those first that changed most, with what each has more.
fn by_stack(profile: &Profile) -> Value {
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for entry in &profile.entries {
        let sum = sums.entry(entry.stack).or_default();
        *sum = (sum.0 + entry.size(Which::InUse), sum.1 + entry.count(Which::InUse));
    }
    let named = |stack| -> Vec<String> {
        let name = |call: Call| match call.file.is_empty() {
            true => call.function,
            false => format!("{} at {}:{}", call.function, call.file, call.line),
        };
        calls(profile, &Entry { stack, ..Entry::default() }).into_iter().map(name).collect()
    };
    let mut rows: Vec<(f64, f64, Vec<String>)> =
        sums.into_iter().map(|(stack, (bytes, chunks))| (bytes, chunks, named(stack))).collect();
    rows.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then_with(|| a.2.cmp(&b.2)));
    let one =
        |(bytes, chunks, stack)| json!({ "more_bytes": bytes as i64, "more_chunks": chunks as i64, "stack": stack });
    rows.into_iter().map(one).collect()
}
