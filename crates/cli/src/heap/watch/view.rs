//! `heapglass view FILE`: the same page over a recording, with a slider over its calls.
//!
//! A recording knows what is in use after each call, with what was asked for and by which call; it doesn't know the lists of free
//! chunks. So the map has chunks in use and what isn't, and the ledger tells requests from rounding.

use super::look::{self, Words};
use super::{Watch, assets, open_browser};
use crate::capture;
use crate::capture::instant::{self, Instant};
use crate::capture::marks;
use crate::capture::record;
use crate::capture::stats::is_elf;
use crate::failure::Failure;
use crate::heap::http::{self, Answer, Door, Request};
use crate::heap::known::{Known, Now};
use crate::heap::pinned::Stacks;
use crate::heap::recorded::{GAP, is_mapping};
use crate::heap::text::grouped;
use crate::heap::{known, ledger, map, recorded};
use heapglass_capture::{Capture, Chunk, Event, State};
use heapglass_report::filter::{self, Filter};
use heapglass_report::map::{SHADES, Shade};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Show a recording on a page in the browser, at any of its calls
///
/// The page of `heapglass watch` over a FILE that `heapglass record` made: a slider goes to any call and back, and the map, the ledger and
/// the list of calls are those of that moment. A core file is shown as by `heapglass watch`.
#[derive(clap::Args)]
pub struct View {
    /// A recording, or a core file
    file: PathBuf,

    /// Don't open a browser
    #[arg(short, long)]
    no_open: bool,

    /// 0 is any that is free
    #[arg(short = 'P', long, value_name = "N", default_value_t = 0)]
    port: u16,
}

impl View {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        if is_elf(&self.file) {
            return Watch::of_core(self.file, self.no_open, self.port).carry_out();
        }
        let recording = Recording::of(capture::open(&self.file)?, &self.file)?;
        let door = Door::personal(self.port)?;
        open_browser(&door, self.no_open);
        door.serve(&|request| recording.answer(request, &door.token));
        Ok(ExitCode::SUCCESS)
    }
}

pub struct Recording {
    /// Of its first process; its children have addresses of their own, and aren't drawn.
    known: Known,
    /// The moment that was asked for last: the next is mostly near.
    last: Mutex<State>,
    /// The process runs, and is watched by the same command.
    is_of_running: bool,
}

/// Calls that a step forward may make one by one; beyond that a keyframe is nearer.
const NEAR: u64 = 20_000;
/// Calls that are looked through for those that pass a filter, and lines that are given.
const SCANNED: u64 = 100_000;
const LINES: usize = 500;
/// What is neither in use nor known to be anything else: the number behind those of `Shade`.
const UNUSED: u32 = SHADES.len() as u32;

impl Recording {
    fn of(capture: Capture, path: &Path) -> Result<Recording, Failure> {
        Ok(Recording {
            known: Known::of_file(capture, path, State::default())?,
            last: Mutex::default(),
            is_of_running: false,
        })
    }

    /// As far as it has come.
    pub fn so_far(path: &Path) -> Result<Recording, Failure> {
        let capture = Capture::open(path).map_err(|e| capture::said(path, &e))?;
        Ok(Recording { is_of_running: true, ..Recording::of(capture, path)? })
    }

    fn answer(&self, request: &Request, token: &str) -> Answer {
        match request.path.strip_prefix('/').and_then(|path| path.strip_prefix(token)) {
            Some(path) => self.answer_at(path, request),
            None => Answer::not_found("there is no such thing here"),
        }
    }

    /// Below the token.
    pub fn answer_at(&self, path: &str, request: &Request) -> Answer {
        if request.is_post {
            return http::no_method();
        }
        let at = request.asked("at").and_then(|call| call.parse().ok()).unwrap_or(self.known.capture.calls());
        let done = match path {
            "/state" => Ok(self.state()),
            "/look" => self.look(at, &marked(request)),
            "/chunk" => self.chunk(at, request),
            "/events" => self.events(at, request),
            "/pins" => self.pins(at, request),
            "/bins" => Err(Failure::ours("a recording doesn't tell lists of free chunks")),
            path => return assets::answer(path),
        };
        done.unwrap_or_else(|failure| Answer::plain("409 Conflict", failure.line))
    }

    /// Length, and the curve: what each block's end came to.
    fn state(&self) -> Answer {
        let summary = self.known.capture.summary();
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let curve: Vec<Value> = self
            .known
            .capture
            .blocks()
            .iter()
            .map(|block| {
                let lines = recorded::lines(block.bytes, block.requested, block.chunks, block.kernel_bytes);
                json!([
                    seconds(self.known.capture.nanos(block.ended)),
                    block.first + block.calls,
                    lines.map(|line| line.1)
                ])
            })
            .collect();
        // One that can't be placed any more isn't told.
        let marks: Vec<Value> = self.marks().unwrap_or_default();
        Answer::json(
            json!({
                "pid": self.known.pid, "phase": "recorded", "marks": marks, "live": self.is_of_running, "listening": false, "sampling": false, "held": false, "launched": false, "calls": summary.calls,
                "lost": 0, "seconds": seconds(summary.nanos), "kernel": [], "curve": curve, "lines": recorded::names(),
            })
            .to_string(),
        )
    }

    /// Names, seconds and calls of the marks that were set while it was made, or afterwards, in the order of calls.
    fn marks(&self) -> Result<Vec<Value>, Failure> {
        let Known { capture, path, .. } = &self.known;
        let mut all = Vec::new();
        for (name, nanos) in marks::all(path, capture) {
            let nanos = nanos.saturating_sub(capture.started);
            all.push((instant::calls(path, capture, &Instant::Nanos(nanos))?, nanos, name));
        }
        all.sort();
        Ok(all.into_iter().map(|(calls, nanos, name)| json!([name, nanos as f64 / 1e9, calls])).collect())
    }

    /// What is in use after so many calls.
    fn at<T>(&self, calls: u64, see: impl FnOnce(&State) -> T) -> Result<T, Failure> {
        let failed = |e| capture::said(&self.known.path, &e);
        let mut state = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if state.calls > calls || calls - state.calls > NEAR {
            *state = self.known.capture.state_at(calls).map_err(failed)?;
        } else {
            let mut events = self.known.capture.events(state.calls + 1);
            while state.calls < calls {
                let Some(event) = events.next().map_err(failed)? else { break };
                state.apply(event.thread, &event.call);
            }
        }
        Ok(see(&state))
    }

    fn look(&self, at: u64, marks: &[u64]) -> Result<Answer, Failure> {
        let began = std::time::Instant::now();
        let (chunks, others, sums) = self.at(at, |state| {
            let mut chunks = state.sorted();
            let all = chunks.len();
            chunks.retain(|chunk| chunk.pid == self.known.pid);
            let others = all - chunks.len();
            (chunks, others, recorded::lines(state.bytes, state.requested, all as u64, state.kernel_bytes))
        })?;
        let now = self.event(at)?;
        let pins = recorded::pins(self.known.pid, &chunks);
        let drawn = Drawn::of(&chunks, marks);
        let mut told = serde_json::Map::new();
        for (key, bytes, count) in sums {
            told.insert(key.to_owned(), json!({ "chunks": count, "bytes": bytes, "resident": bytes }));
        }
        let total: u64 = sums.iter().map(|line| line.1).sum();
        let mut shades: Vec<Value> =
            SHADES.into_iter().map(|shade| json!([shade.letter().to_string(), shade.name()])).collect();
        shades.push(json!(["-", "not in use"]));
        let name = self.known.capture.about.get("program").unwrap_or_default();
        let mut notes: Vec<String> = Vec::new();
        if others > 0 {
            notes.push(format!("{} chunks of other processes aren't drawn", grouped(others as u64)));
        }
        if self.known.capture.about.get(record::LATER).is_some() {
            notes.push(
                "what the process had allocated before the recording began isn't in it, and is drawn as not in use"
                    .into(),
            );
        }
        let head = json!({
            "page": 4096, "seconds": now.as_ref().map_or(0.0, |event| self.seconds(event.call.ended)), "took": began.elapsed().as_secs_f64(),
            "calls": at, "shades": shades, "chunk_count": drawn.words.chunks, "heaps": drawn.heaps, "mapped": drawn.mapped,
            "more_mapped": 0, "threads": [], "system_calls": null, "released": null, "born": null, "marks": drawn.marks_at,
            "lines": recorded::names(), "advice": "", "notes": notes,
            "ledger": {
                "of": format!("{}: {name}", self.known.path.display()), "lines": told, "sum": total, "rss": null, "swap": 0, "arenas": [],
                "largest_free": 0, "free_sizes": [], "pins": ledger::pins_json(&pins), "damages": [], "more_damage": 0, "steady": true,
            },
        });
        Ok(Answer::of("application/octet-stream", look::joined(&head.to_string(), &drawn.words.words)))
    }

    /// The chunks of one size that pin memory, and whose they are.
    fn pins(&self, at: u64, request: &Request) -> Result<Answer, Failure> {
        let (size, cached) = super::pins_asked(request)?;
        let chunks = self.at(at, State::sorted)?;
        let pins = recorded::pins(self.known.pid, &chunks);
        let stacks = Stacks::of_size(&pins, &self.known, size)?;
        Ok(Answer::json(
            json!({ "places": pins.places(size, cached), "stacks": stacks, "knows_callers": self.known.has_callers() })
                .to_string(),
        ))
    }

    fn event(&self, number: u64) -> Result<Option<Event>, Failure> {
        if number == 0 {
            return Ok(None);
        }
        self.known.capture.event(number).map_err(|e| capture::said(&self.known.path, &e))
    }

    fn seconds(&self, tick: u64) -> f64 {
        self.known.capture.nanos(tick) as f64 / 1e9
    }

    fn chunk(&self, at: u64, request: &Request) -> Result<Answer, Failure> {
        let place = request.asked("address").ok_or_else(|| Failure::ours("say which chunk"))?;
        let place = map::address(&place).map_err(Failure::ours)?;
        let holds = |chunk: &Chunk| {
            chunk.pid == self.known.pid
                && chunk.pointer - 16 <= place
                && place < chunk.pointer - 16 + chunk.live.bytes.max(32)
        };
        let found = self.at(at, |state| state.iter().find(holds))?;
        let Some(Chunk { pointer, live, .. }) = found else {
            return Err(Failure::ours(format!("{place:#x} is in no chunk that was in use after call {at}")));
        };
        let mut all = json!({
            "state": "in use", "at": pointer - 16, "size": live.bytes, "user": pointer, "usable": live.bytes.saturating_sub(8),
        });
        if let Some(told) = self.known.told(live, Now::Call(at))? {
            told.add_to(&mut all);
        }
        Ok(Answer::json(all.to_string()))
    }

    /// Lines up to a moment, which is the last of them if it passes.
    fn events(&self, at: u64, request: &Request) -> Result<Answer, Failure> {
        let filters: Vec<Filter> = match super::filters(request) {
            Ok(filters) => filters,
            Err(why) => return Ok(Answer::json(json!({ "refused": why }).to_string())),
        };
        let failed = |e| capture::said(&self.known.path, &e);
        // Without a filter each call is a line.
        let from = at.saturating_sub(if filters.is_empty() { LINES as u64 } else { SCANNED }) + 1;
        let mut shown = std::collections::VecDeque::new();
        let mut events = self.known.capture.events(from);
        while let Some(event) = events.next().map_err(failed)? {
            if event.number > at {
                break;
            }
            if filters.iter().all(|one: &filter::Filter| one.passes(&event.call, event.thread.tid)) {
                shown.push_back(event.clone());
                if shown.len() > LINES {
                    shown.pop_front();
                }
            }
        }
        let lines: Vec<Value> = shown
            .iter()
            .map(|event| {
                let place = if event.call.result == 0 { event.call.arguments[0] } else { event.call.result };
                json!({
                    "call": event.number, "thread": event.thread.tid, "seconds": self.seconds(event.call.began), "at": place,
                    "text": known::line(&self.known.capture, event),
                })
            })
            .collect();
        Ok(Answer::json(json!({ "calls": at, "kept_from": from, "lines": lines, "lost": 0 }).to_string()))
    }
}

/// Calls after which marks were set, in their order.
fn marked(request: &Request) -> Vec<u64> {
    let mut marks: Vec<u64> = request.all("mark").filter_map(|call| call.parse().ok()).collect();
    marks.sort_unstable();
    marks
}

/// Chunks in use as words, with what lies between.
#[derive(Default)]
struct Drawn {
    words: Words,
    heaps: Vec<Value>,
    mapped: Vec<Value>,
    /// Where the number of each chunk's last mark stands, word for word; `None` without marks.
    marks_at: Option<usize>,
}

impl Drawn {
    fn of(chunks: &[Chunk], marks: &[u64]) -> Drawn {
        let mut drawn = Drawn::default();
        let mut born = Vec::new();
        let mut heap: Option<(u64, u64, usize, u64)> = None;
        for chunk in chunks {
            let Chunk { pointer, live, .. } = chunk;
            let at = (pointer - 16) & !15;
            if is_mapping(chunk) {
                drawn.mapped.push(json!([pointer, live.bytes, live.bytes, "in use"]));
                continue;
            }
            let size = live.bytes.max(16) & !15;
            if heap.is_none_or(|(_, end, ..)| at >= end.saturating_add(GAP)) {
                drawn.end_heap(heap.take());
                heap = Some((at, at, drawn.words.words.len(), 0));
            }
            let Some((_, end, _, count)) = &mut heap else { continue };
            if at < *end {
                // A race of the recording's: two threads' calls in the wrong order.
                continue;
            }
            if at > *end {
                drawn.words.push(at - *end, UNUSED);
            }
            born.resize(drawn.words.words.len(), 0);
            drawn.words.push(size, Shade::InUse as u32);
            born.resize(drawn.words.words.len(), marks.partition_point(|mark| *mark < live.born) as u32);
            (*end, *count) = (at + size, *count + 1);
        }
        drawn.end_heap(heap);
        drawn.mapped.sort_by_key(|one| std::cmp::Reverse(one[1].as_u64()));
        if !marks.is_empty() {
            drawn.marks_at = Some(drawn.words.words.len());
            drawn.words.words.extend(born);
        }
        drawn
    }

    fn end_heap(&mut self, heap: Option<(u64, u64, usize, u64)>) {
        let Some((start, end, from, chunks)) = heap else { return };
        self.words.chunks += chunks;
        self.heaps.push(json!({
            "arena": 0, "start": start, "end": end, "break": false, "chunks": chunks, "words": [from, self.words.words.len() - from],
            "base": start & !4095, "runs": [0, 0],
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_capture::Live;

    #[test]
    fn chunks_in_use_are_drawn_with_what_lies_between() {
        let chunk = |at: u64, bytes: u64, born: u64| {
            let live = Live { request: bytes - 8, bytes, born, ..Live::default() };
            Chunk { pid: 1, pointer: at + 16, live }
        };
        let far = 0x1000 + (8 << 20);
        let chunks = [chunk(0x1000, 32, 1), chunk(0x1040, 48, 9), chunk(far, 64, 2), chunk(1 << 40, 266_240, 3)];
        let drawn = Drawn::of(&chunks, &[5]);
        let words = [2 << 4, 2 << 4 | UNUSED, 3 << 4, 4 << 4];
        assert_eq!(drawn.words.words, [&words[..], &[0, 0, 1, 0]].concat());
        assert_eq!((drawn.heaps.len(), drawn.mapped.len(), drawn.marks_at), (2, 1, Some(4)));
    }
}
