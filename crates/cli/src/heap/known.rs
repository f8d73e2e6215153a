//! What a recording knows of chunks beside what the heap itself says: what was asked for, by which call, when, and who called.
//!
//! A heap that is read from outside has a chunk's bytes, not the request's: nobody keeps those. A recording of the same process does,
//! and it may still be growing while it is read: then it lacks at most what happened in the second before.

use crate::callers::Callers;
use crate::capture;
use crate::failure::Failure;
use crate::heap::text::grouped;
use heapglass_capture::{Capture, Event, Live, State};
use heapglass_profile::model::{Entry, Frame, Profile};
use heapglass_report::ledger::Request;
use heapglass_report::line::{Clock, Style, Writer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub struct Known {
    pub capture: Capture,
    pub path: PathBuf,
    /// The process of the recording's that this is about.
    pub pid: u32,
    /// The chunks in use then.
    pub state: State,
    names: Mutex<Option<Callers>>,
}

/// What is known of one chunk.
pub struct Told {
    pub live: Live,
    pub age: String,
    /// The call, as a trace has it.
    pub call: String,
    /// The functions above it, the innermost first; empty where they weren't recorded.
    pub stack: Vec<String>,
}

/// Calls of one stack, with what is counted by the one who asks.
pub struct Group {
    pub calls: Vec<u64>,
    pub stack: Vec<String>,
}

impl Known {
    /// A recording of this process, or of whichever comes first in it; at its end, or after so many calls.
    pub fn open(path: &Path, pid: Option<u32>, at: Option<u64>) -> Result<Known, Failure> {
        let failed = |e| capture::said(path, &e);
        let capture = Capture::open(path).map_err(failed)?;
        let state = capture.state_at(at.unwrap_or(capture.calls())).map_err(failed)?;
        let first = capture.event(1).map_err(failed)?.map(|event| event.thread.pid);
        let pid = match (pid, first) {
            (None, Some(first)) => first,
            (Some(pid), Some(first)) if pid == first || state.iter().any(|chunk| chunk.pid == pid) => pid,
            (Some(pid), Some(first)) => {
                return Err(Failure::ours(format!(
                    "{}: is a recording of process {first}, not of {pid}",
                    path.display()
                )));
            }
            (_, None) => {
                return Err(Failure::ours(format!("{}: has no calls yet; one second later it may", path.display())));
            }
        };
        Ok(Known { capture, path: path.to_owned(), pid, state, names: Mutex::default() })
    }

    /// A recording's first process, with these chunks in use.
    pub fn of_file(capture: Capture, path: &Path, state: State) -> Result<Known, Failure> {
        let first = capture.event(1).map_err(|e| capture::said(path, &e))?;
        let pid = first.map_or(0, |event| event.thread.pid);
        Ok(Known { capture, path: path.to_owned(), pid, state, names: Mutex::default() })
    }

    /// Whether it has who called.
    pub fn has_callers(&self) -> bool {
        self.capture.about.get("callers") == Some("1")
    }

    /// The chunk in use with this user pointer, if it has so many bytes: one that was freed since, and handed out again, mostly has others.
    pub fn of(&self, user: u64, bytes: u64) -> Option<Live> {
        self.state.get(self.pid, user).copied().filter(|live| live.bytes == bytes && live.request <= bytes)
    }

    /// For a ledger.
    pub fn request(&self, user: u64, bytes: u64) -> Option<Request> {
        self.of(user, bytes).map(|live| Request { bytes: live.request, born: live.born })
    }

    fn failed(&self) -> impl Fn(heapglass_capture::Error) -> Failure + use<'_> {
        |e| capture::said(&self.path, &e)
    }

    /// All of one chunk, as it was after so many calls, or, of a process that runs, as of now.
    pub fn told(&self, live: Live, now: Now) -> Result<Option<Told>, Failure> {
        let Some(born) = self.capture.event(live.born).map_err(self.failed())? else { return Ok(None) };
        let since = |tick: u64| Duration::from_nanos(self.capture.nanos(tick));
        let (age, calls) = match now {
            Now::Call(call) => {
                let at = self.capture.event(call).map_err(self.failed())?;
                (at.map(|at| since(at.call.ended).saturating_sub(since(born.call.ended))), call)
            }
            Now::Running => {
                let started = UNIX_EPOCH + Duration::from_nanos(self.capture.started);
                (SystemTime::now().duration_since(started + since(born.call.ended)).ok(), self.capture.calls())
            }
        };
        let seconds = age.unwrap_or_default().as_secs_f64();
        let age = format!("{seconds:.6} s, {} calls", grouped(calls.saturating_sub(live.born)));
        let call = line(&self.capture, &born);
        let stack = self.stack(&born)?;
        Ok(Some(Told { live, age, call, stack }))
    }

    fn stack(&self, born: &Event) -> Result<Vec<String>, Failure> {
        let addresses: Vec<u64> = born.call.callers().collect();
        self.named(born.thread.pid, &addresses)
    }

    /// Names of return addresses, inlined functions too.
    fn named(&self, pid: u32, addresses: &[u64]) -> Result<Vec<String>, Failure> {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        self.with_names(|names| names.at(pid, addresses).concat())
    }

    /// With what is needed to name addresses, which is read when it is needed first.
    fn with_names<T: Default>(&self, with: impl FnOnce(&mut Callers) -> T) -> Result<T, Failure> {
        let mut known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let mut names = Callers::default();
            if self.capture.is_closed {
                self.capture.about.modules().for_each(|(pid, module)| names.add(pid, module));
            } else {
                // What stands at its end isn't there yet.
                let mut events = self.capture.events(1);
                while let Some(event) = events.next().map_err(self.failed())? {
                    names.learn(&event.call, event.thread.pid);
                }
            }
            *known = Some(names);
        }
        Ok(known.as_mut().map(with).unwrap_or_default())
    }

    /// The stacks of these calls, which are in order: those of the same stack together, in no order.
    pub fn stacks(&self, calls: &[u64]) -> Result<Vec<Group>, Failure> {
        let one =
            |((pid, addresses), calls): (Stack, Vec<u64>)| Ok(Group { calls, stack: self.named(pid, &addresses)? });
        self.grouped(calls)?.into_iter().map(one).collect()
    }

    /// These chunks, by who allocated them, as a profile that has them in use. Bytes are those of chunks.
    pub fn profile(&self, chunks: &[Live]) -> Result<Profile, Failure> {
        let bytes: HashMap<u64, u64> = chunks.iter().map(|live| (live.born, live.bytes)).collect();
        let mut calls: Vec<u64> = bytes.keys().copied().collect();
        calls.sort_unstable();
        let mut profile = Profile::new();
        for ((pid, addresses), calls) in self.grouped(&calls)? {
            let with = |names: &mut Callers| -> Vec<Frame> {
                let lines = names.lines_at(pid, &addresses).into_iter();
                lines.map(|lines| Frame { lines: lines.to_vec(), ..Frame::default() }).collect()
            };
            let first = profile.frames.len() as u32;
            profile.frames.extend(self.with_names(with)?);
            let stack = profile.stacks.len() as u32;
            profile.stacks.push((first..profile.frames.len() as u32).collect());
            let mut sizes: BTreeMap<u64, u32> = BTreeMap::new();
            for bytes in calls.iter().filter_map(|call| bytes.get(call)) {
                *sizes.entry(*bytes).or_default() += 1;
            }
            let entry =
                |(bytes, count)| Entry { stack, bytes, chunk: bytes, in_use: f64::from(count), ..Entry::default() };
            profile.entries.extend(sizes.into_iter().map(entry));
        }
        Ok(profile)
    }

    /// These calls, which are in order, by process and callers.
    fn grouped(&self, calls: &[u64]) -> Result<HashMap<Stack, Vec<u64>>, Failure> {
        let mut groups: HashMap<Stack, Vec<u64>> = HashMap::new();
        let mut events = None;
        let mut at = 0;
        for &call in calls {
            // On to the next by reading on, unless its block is another one.
            if events.is_none() || call - at > FAR {
                events = Some(self.capture.events(call));
            }
            let Some(events) = &mut events else { continue };
            while let Some(event) = events.next().map_err(self.failed())? {
                at = event.number;
                if at >= call {
                    groups.entry((event.thread.pid, event.call.callers().collect())).or_default().push(call);
                    break;
                }
            }
        }
        Ok(groups)
    }
}

/// A process, and return addresses in it.
type Stack = (u32, Vec<u64>);

/// Calls that are read to get from one to the next; beyond that, its block is looked up.
const FAR: u64 = 1 << 16;

/// When a chunk's age is counted to.
#[derive(Clone, Copy)]
pub enum Now {
    Running,
    Call(u64),
}

/// A call of a recording as a trace has it.
pub fn line(capture: &Capture, event: &Event) -> String {
    let mut writer = Writer::new(Style::default());
    writer.clock = Clock { tick: 0, nanos: 0, nanos_per_tick: capture.nanos_per_tick() };
    let mut text = Vec::new();
    writer.call(&mut text, "", &event.call);
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

impl Told {
    /// Beside what else is told of the chunk.
    pub fn add_to(&self, all: &mut Value) {
        all["request"] = json!(self.live.request);
        all["age"] = json!(self.age);
        all["number"] = json!(self.live.born);
        all["call"] = json!(self.call);
        all["thread"] = json!(self.live.thread.tid.to_string());
        all["stack"] = json!(self.stack);
    }
}
