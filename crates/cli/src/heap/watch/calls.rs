//! The calls that a watched program tells of: the last of them, whole, so that any filter can be asked later, and what was handed
//! out lately, so that the page can tell new chunks from old ones.

use crate::capture::record::Recorder;
use crate::feed::{Feed, Thread};
use crate::heap::text::grouped;
use crate::trace::Listener;
use heapglass_event::record::{Kernel, Kind, Outcome, Record};
use heapglass_report::calls::{Call, Collector, Found};
use heapglass_report::filter::Filter;
use heapglass_report::line::{Clock, Style, Writer};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls, births and system calls that are kept.
const CALLS: usize = 20_000;
const BIRTHS: usize = 1 << 20;
const KERNEL: usize = 10_000;
/// Lines that are given at a time.
const LINES: usize = 500;

/// What was heard, shared by the thread that hears and those that answer.
#[derive(Default)]
pub struct Heard {
    all: Mutex<All>,
    more: Condvar,
}

#[derive(Default)]
struct All {
    /// Calls so far; the last of `calls` has this number.
    count: u64,
    calls: VecDeque<(u64, u32, Call)>,
    /// Number of the call, and what it handed out.
    births: VecDeque<(u64, u64)>,
    /// Where they are kept, or were.
    file: Option<PathBuf>,
    /// Number of the call, and what it asked of the kernel.
    kernel: VecDeque<(u64, u64, Record)>,
    clock: Clock,
    /// The moment of `clock.tick`.
    at: Option<Instant>,
    lost: u64,
}

impl Heard {
    /// The recording that they go into.
    pub fn file(&self) -> Option<PathBuf> {
        self.lock().file.clone()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // What a thread that failed left behind is whole: each change is one call's.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// Calls of which nothing will be heard.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits until there are more calls than these.
    pub fn wait_for_more(&self, than: u64, patience: Duration) -> bool {
        let waited = self.more.wait_timeout_while(self.lock(), patience, |all| all.count <= than);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// What was handed out by calls after this one, and whether that is all of it.
    pub fn births_after(&self, call: u64) -> (Vec<u64>, bool) {
        let all = self.lock();
        let from = all.births.partition_point(|(number, _)| *number <= call);
        let is_all = from > 0 || all.births.len() < BIRTHS;
        (all.births.range(from..).map(|(_, user)| *user).collect(), is_all)
    }

    /// System calls of calls after this one: seconds since `epoch`, name, bytes gained or given back.
    pub fn kernel_after(&self, call: u64, epoch: Instant) -> Vec<Value> {
        let all = self.lock();
        let from = all.kernel.partition_point(|(number, ..)| *number <= call);
        let told = all.kernel.range(from..).filter_map(|(number, tick, record)| {
            let kernel = Kernel::from_number(record.n).filter(|_| !record.went(Outcome::Refused))?;
            let bytes = match kernel {
                Kernel::Munmap | Kernel::Discard => record.b.cast_signed().wrapping_neg(),
                _ => record.b.cast_signed(),
            };
            Some(json!([all.seconds(*tick, epoch), kernel.name(), bytes, number]))
        });
        told.collect()
    }

    /// Lines of calls that pass all filters: the last ones, or those after a call. As in a trace.
    pub fn lines(&self, after: u64, filters: &[Filter], epoch: Instant) -> Value {
        let all = self.lock();
        let from = all.calls.partition_point(|(number, ..)| *number <= after);
        let passes = |(_, thread, call): &&(u64, u32, Call)| filters.iter().all(|filter| filter.passes(call, *thread));
        let mut shown: Vec<_> = all.calls.range(from..).rev().filter(passes).take(LINES).collect();
        shown.reverse();
        let mut writer = Writer::new(Style::default());
        let lines: Vec<Value> = shown
            .into_iter()
            .map(|(number, thread, call)| {
                let mut text = Vec::new();
                writer.call(&mut text, "", call);
                let place = if call.result == 0 { call.arguments[0] } else { call.result };
                json!({
                    "call": number, "thread": thread, "seconds": all.seconds(call.began, epoch), "at": place,
                    "text": String::from_utf8_lossy(&text).trim_end(),
                })
            })
            .collect();
        let kept_from = all.calls.front().map_or(all.count + 1, |(number, ..)| *number);
        json!({ "calls": all.count, "kept_from": kept_from, "lines": lines, "lost": all.lost })
    }

    /// Of the last call that handed out this pointer, if it is among those that are kept: what was asked for, when, and by whom.
    pub fn born(&self, user: u64) -> Option<[(&'static str, Value); 5]> {
        let all = self.lock();
        let (number, thread, call) = all.calls.iter().rev().find(|(_, _, call)| call.hands_out() == user)?;
        let mut text = Vec::new();
        Writer::new(Style::default()).call(&mut text, "", call);
        let ago = all.at.map_or(0.0, |at| {
            at.elapsed().as_secs_f64() + all.clock.nanos_between(call.ended, all.clock.tick) as f64 / 1e9
        });
        let calls = grouped(all.count - number);
        Some([
            ("request", json!(call.requested())),
            ("age", json!(format!("{ago:.3} s, {calls} calls"))),
            ("thread", json!(thread.to_string())),
            ("number", json!(number)),
            ("call", json!(String::from_utf8_lossy(&text).trim_end())),
        ])
    }

    /// What was heard of an earlier stretch says nothing of the next.
    pub fn forget_births(&self) {
        self.lock().births.clear();
    }
}

impl All {
    fn seconds(&self, tick: u64, epoch: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let ago = self.clock.nanos_between(tick, self.clock.tick) as f64 / 1e9;
        at.saturating_duration_since(epoch).as_secs_f64() - ago
    }

    fn take(&mut self, found: Found, thread: u32) {
        match found {
            Found::Call(call) => {
                self.count += 1;
                let returns = call.function.is_some_and(|function| !function.gives_back());
                if returns && !call.failed && call.result != 0 {
                    bounded(&mut self.births, BIRTHS, (self.count, call.result));
                }
                for step in call.of(Kind::Kernel) {
                    bounded(&mut self.kernel, KERNEL, (self.count, call.began, *step));
                }
                bounded(&mut self.calls, CALLS, (self.count, thread, call.clone()));
            }
            Found::Outside(record) if record.is(Kind::Kernel) => {
                let now = self.clock.tick;
                bounded(&mut self.kernel, KERNEL, (self.count, now, record));
            }
            Found::Outside(_) => {}
        }
    }
}

fn bounded<T>(queue: &mut VecDeque<T>, most: usize, item: T) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Hears one stretch, until it is told to stop, and keeps it in a file where one is wanted.
#[derive(Default)]
pub struct Ear {
    heard: Arc<Heard>,
    file: Option<Recorder>,
    rings: HashMap<usize, (Collector, u32)>,
    threads: HashMap<Thread, u32>,
}

impl Ear {
    pub fn new(heard: Arc<Heard>, file: Option<Recorder>) -> Ear {
        heard.lock().file = file.as_ref().map(|file| file.path().to_owned());
        Ear { heard, file, ..Ear::default() }
    }

    /// Nothing more comes.
    pub fn close(mut self, ended: &str) {
        if let Some(mut file) = self.file.take() {
            file.close(ended);
        }
    }
}

impl Listener for Ear {
    fn hear(&mut self, ring: usize, thread: Thread, records: &[Record]) {
        let next = self.threads.len() as u32 + 1;
        let number = *self.threads.entry(thread).or_insert(next);
        let (collector, owner) = self.rings.entry(ring).or_default();
        *owner = number;
        let mut all = self.heard.lock();
        for record in records {
            collector.take(*record, |found| all.take(found, number));
        }
        drop(all);
        self.heard.more.notify_all();
        if let Some(file) = &mut self.file {
            file.hear(ring, thread, records);
        }
    }

    fn leave(&mut self, ring: usize) {
        if let Some((mut collector, number)) = self.rings.remove(&ring) {
            let mut all = self.heard.lock();
            collector.end_unfinished(&mut |found| all.take(found, number));
        }
        if let Some(file) = &mut self.file {
            file.leave(ring);
        }
    }

    fn pause(&mut self, feed: &Feed) -> bool {
        // A disk that is full is no reason not to listen.
        if let Some(mut file) = self.file.take() {
            match file.pause(feed) {
                true => {
                    self.heard.lock().file = Some(file.path().to_owned());
                    self.file = Some(file);
                }
                false => file.close("early"),
            }
        }
        let mut all = self.heard.lock();
        all.clock = feed.clock();
        all.at = Some(Instant::now());
        all.lost = feed.lost();
        true
    }
}
