//! What all calls of a recording come to: kinds of calls, sizes, lifetimes, the peak, what served them, arenas, sizes of chunks.

use crate::bins::Bins;
use crate::path::{self, Path};
use crate::summary::Summary;
use heapglass_capture::{Call, Change, Event, Live, State, Thread};
use heapglass_event::record::{Kind, Outcome};
use std::collections::{BTreeMap, HashMap};

/// Lifetimes are told by powers of ten of nanoseconds, from below a microsecond to above a hundred seconds.
pub const LIFETIMES: usize = 10;
const SHORTEST: u64 = 1_000;

#[derive(Default)]
pub struct Tally {
    pub functions: BTreeMap<&'static str, Calls>,
    /// By the power of two that the request doesn't exceed.
    pub sizes: BTreeMap<u64, Sum>,
    /// Of freed ones, by how long they lived.
    pub lifetimes: [Sum; LIFETIMES],
    /// Freed by their thread before it allocated again.
    pub temporary: Sum,
    /// All that was handed out, by request and by chunk.
    pub allocated: Sum,
    pub allocated_chunks: u64,
    pub peak: Peak,
    pub arenas: BTreeMap<u32, Arena>,
    /// By bytes of the chunk.
    pub chunks: BTreeMap<u64, Length>,
    pub bins: Bins,
    /// What served the calls, and system calls.
    pub served: Summary,
    pub state: State,
    pub faults: u64,
    last: HashMap<Thread, u64>,
    /// When the calls were made whose chunks are in use.
    born: HashMap<u64, u64>,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Sum {
    pub count: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Calls {
    pub calls: u64,
    pub failed: u64,
    pub unfinished: u64,
    pub ticks: u64,
}

/// The moment at which most bytes of chunks were in use.
#[derive(Clone, Copy, Default, Debug)]
pub struct Peak {
    pub bytes: u64,
    pub requested: u64,
    pub chunks: u64,
    pub call: u64,
    pub tick: u64,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Arena {
    /// Calls that locked it.
    pub locked: u64,
    /// Chunks that came home to it, and those of them that came by its inbox.
    pub home: u64,
    pub by_inbox: u64,
    pub kernel_bytes: i64,
}

/// Chunks of one size.
#[derive(Clone, Copy, Default, Debug)]
pub struct Length {
    pub handed_out: u64,
    pub requested: u64,
    /// Served by the thread's cache.
    pub hits: u64,
    pub freed: u64,
    pub in_use: u64,
    pub most_in_use: u64,
}

impl Tally {
    /// The next call. Times stay in the capture's ticks; `nanos` makes a lifetime of them.
    pub fn add(&mut self, event: &Event, nanos: impl Fn(u64) -> u64) {
        let call = &event.call;
        let change = self.state.apply(event.thread, call);
        let Some(function) = call.function else {
            call.steps.iter().for_each(|step| self.served.add_kernel(step));
            return;
        };
        self.served.add(call);
        let row = self.functions.entry(function.name()).or_default();
        row.calls += 1;
        row.failed += u64::from(call.failed);
        row.unfinished += u64::from(call.unfinished);
        row.ticks = row.ticks.saturating_add(call.ended.saturating_sub(call.began));
        self.faults += u64::from(call.has(Kind::Fault));
        self.arena(call);
        self.bins.add(call);
        self.gone(event, &change, nanos);
        self.come(event, &change);
    }

    fn gone(&mut self, event: &Event, change: &Change, nanos: impl Fn(u64) -> u64) {
        let Some(live) = change.gone else { return };
        if let Some(born) = self.born.remove(&live.born) {
            let lived = nanos(event.call.began.saturating_sub(born));
            let place = (0..LIFETIMES - 1).find(|&power| lived < SHORTEST * 10u64.pow(power as u32));
            self.lifetimes[place.unwrap_or(LIFETIMES - 1)].add(live.request);
        }
        // realloc doesn't end a life for a moment's sake.
        let is_freed = change.come.is_none();
        if is_freed && live.thread == event.thread && self.last.get(&event.thread) == Some(&live.born) {
            self.temporary.add(live.request);
        }
        let bin = self.chunks.entry(live.bytes).or_default();
        bin.freed += 1;
        bin.in_use = bin.in_use.saturating_sub(1);
    }

    fn come(&mut self, event: &Event, change: &Change) {
        let Some(live) = change.come else { return };
        self.last.insert(event.thread, live.born);
        self.born.insert(live.born, event.call.ended);
        self.allocated.add(live.request);
        self.allocated_chunks = self.allocated_chunks.saturating_add(live.bytes);
        self.sizes.entry(live.request.checked_next_power_of_two().unwrap_or(u64::MAX)).or_default().add(live.request);
        self.length(&live, &event.call);
        if self.state.bytes > self.peak.bytes {
            self.peak = Peak {
                bytes: self.state.bytes,
                requested: self.state.requested,
                chunks: self.state.chunks() as u64,
                call: event.number,
                tick: event.call.ended,
            };
        }
    }

    fn length(&mut self, live: &Live, call: &Call) {
        let bin = self.chunks.entry(live.bytes).or_default();
        bin.handed_out += 1;
        bin.requested = bin.requested.saturating_add(live.request);
        bin.hits += u64::from(path::of(call) == Path::Cache);
        bin.in_use += 1;
        bin.most_in_use = bin.most_in_use.max(bin.in_use);
    }

    fn arena(&mut self, call: &Call) {
        // System calls are made for the arena that was locked last.
        let mut now = None;
        for step in &call.steps {
            match step.kind() {
                Some(Kind::Arena) => {
                    now = Some(step.n);
                    self.arenas.entry(step.n).or_default().locked += 1;
                }
                Some(Kind::Home) => {
                    let arena = self.arenas.entry(step.n).or_default();
                    arena.home += 1;
                    arena.by_inbox += u64::from(step.went(Outcome::ByInbox));
                }
                Some(Kind::Kernel) => {
                    if let Some(arena) = now.and_then(|number| self.arenas.get_mut(&number)) {
                        arena.kernel_bytes = arena.kernel_bytes.saturating_add(heapglass_capture::state::gained(step));
                    }
                }
                _ => {}
            }
        }
    }
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The upper end of a range of lifetimes, in words.
pub fn lifetime_name(place: usize) -> &'static str {
    ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "longer"].get(place).unwrap_or(&"?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::{Call as Function, Record};

    fn event(number: u64, function: Function, arguments: [u64; 2], result: u64) -> Event {
        let call = Call {
            function: Some(function),
            arguments,
            result,
            bytes: if result == 0 { 0 } else { 48 },
            began: number * 1000,
            ended: number * 1000 + 10,
            ..Call::default()
        };
        Event { number, thread: Thread { pid: 1, tid: 1 }, call }
    }

    #[test]
    fn calls_come_to_sizes_lifetimes_temporaries_and_a_peak() {
        let mut tally = Tally::default();
        let mut grow = event(1, Function::Malloc, [32, 0], 0x1010);
        grow.call.steps = vec![
            Record::new(Kind::Arena, Outcome::Locked, 3, [0; 3]),
            Record::new(Kind::Kernel, Outcome::Done, 1, [0, 135_168, 0]),
        ];
        for event in [
            grow,
            event(2, Function::Free, [0x1010, 0], 0),
            event(3, Function::Malloc, [40, 0], 0x1010),
            event(4, Function::Malloc, [33, 0], 0x2010),
            event(5, Function::Free, [0x1010, 0], 0),
        ] {
            tally.add(&event, |ticks| ticks);
        }
        assert_eq!(tally.functions["malloc"].calls, 3);
        assert_eq!(tally.temporary, Sum { count: 1, bytes: 32 });
        assert_eq!(tally.sizes[&64], Sum { count: 2, bytes: 73 });
        assert_eq!((tally.lifetimes[0].count, tally.lifetimes[1].count), (1, 1));
        assert_eq!((tally.peak.bytes, tally.peak.call, tally.peak.chunks), (96, 4, 2));
        assert_eq!((tally.arenas[&3].locked, tally.arenas[&3].kernel_bytes), (1, 135_168));
        let bin = tally.chunks[&48];
        assert_eq!((bin.handed_out, bin.freed, bin.in_use, bin.most_in_use), (3, 2, 1, 2));
    }
}
