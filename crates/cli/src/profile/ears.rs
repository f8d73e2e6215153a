//! What a profiled program tells, as it comes out of the rings: samples are unwound at once, while the program's mappings are what they
//! were, and put in the order of the clock.

use crate::feed::{Feed, Thread};
use crate::trace::Listener;
use heapglass_event::record::{Kind, NO_ARENA, Record, SAMPLED_RECORDS, Sampled};
use heapglass_profile::collect::{Collector, Key};
use heapglass_profile::model::{CUT, Frame, Profile};
use heapglass_stacks::unwind::{Place, Process, Sample, Stack};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The library's file: its own frames aren't the program's.
const LIBRARY: &str = "libheapglass";

pub struct Ears {
    pub collector: Collector,
    processes: Vec<Process>,
    /// Where each process's modules begin among all.
    modules: HashMap<(usize, usize), u32>,
    module_count: u32,
    rings: HashMap<usize, Voice>,
    pending: Vec<Event>,
    /// What the clock showed when all had been read that was told before.
    horizon: u64,
    began: Instant,
    began_at: SystemTime,
    first_tick: u64,
    nanos_per_tick: f64,
    dropped: u64,
    /// Stacks by a digest of all that their unwinding could depend on.
    known: HashMap<(u32, u64, u64), u32>,
    known_modules: usize,
    pub samples: u64,
    pub was_taken: bool,
}

/// More of them aren't kept.
const KNOWN_MAX: usize = 1 << 16;

/// Twice: the registers, and the words of the stack that lead into code or into the stack itself, with their places. Unwinding looks at no
/// others.
fn digest(process: &Process, sample: &Sample<'_>) -> [u64; 2] {
    let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
    let mut add = |word: u64| {
        one.write_u64(word);
        other.write_u64(!word.rotate_left(32));
    };
    [sample.pc, sample.sp, sample.bp].into_iter().for_each(&mut add);
    let stack = sample.sp..sample.sp.saturating_add(1 << 20);
    let code = process.code();
    for (place, word) in sample.stack.chunks_exact(8).enumerate() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        if stack.contains(&word) || code.iter().any(|range| range.contains(&word)) {
            add(place as u64);
            add(word);
        }
    }
    [one.finish(), other.finish()]
}

/// One ring's half-read record.
#[derive(Default)]
struct Voice {
    head: Option<Record>,
    body: Vec<Record>,
    maps: Vec<u8>,
}

struct Event {
    clock: u64,
    address: u64,
    /// Of a free, none.
    key: Option<Key>,
}

impl Ears {
    pub fn new(interval: u64) -> Ears {
        Ears {
            collector: Collector::new(interval),
            processes: Vec::new(),
            modules: HashMap::new(),
            module_count: 0,
            rings: HashMap::new(),
            pending: Vec::new(),
            horizon: 0,
            began: Instant::now(),
            began_at: SystemTime::now(),
            first_tick: 0,
            nanos_per_tick: 1.0,
            dropped: 0,
            known: HashMap::new(),
            known_modules: 0,
            samples: 0,
            was_taken: false,
        }
    }

    fn process(&mut self, pid: u32) -> usize {
        if let Some(index) = self.processes.iter().position(|process| process.pid == pid) {
            return index;
        }
        let mut process = Process::new(pid);
        process.look();
        self.processes.push(process);
        self.processes.len() - 1
    }

    fn take(&mut self, thread: Thread, head: Record, body: &[Record], maps: &mut Vec<u8>) {
        let words = |records: &[Record]| -> Vec<u8> {
            records.iter().flat_map(Record::words).flat_map(u64::to_le_bytes).collect()
        };
        match head.kind() {
            Some(Kind::Maps) => {
                let text = words(body);
                maps.extend_from_slice(text.get(..head.a as usize).unwrap_or(&text));
                if head.b == 1 {
                    let index = self.process(thread.pid);
                    let text = String::from_utf8_lossy(&std::mem::take(maps)).into_owned();
                    if let Some(process) = self.processes.get_mut(index) {
                        process.learn(&text);
                    }
                }
            }
            Some(Kind::Profiled) => {
                let (Some(&first), Some(&second)) = (body.first(), body.get(1)) else { return };
                let sampled = Sampled::from_records([first, second]);
                let stack = words(body.get(SAMPLED_RECORDS as usize..).unwrap_or_default());
                let stack = self.unwound(thread.pid, &sampled, &stack);
                self.samples += 1;
                let key = Key {
                    stack,
                    thread: thread.tid,
                    arena: u32::try_from(sampled.arena).ok().filter(|_| sampled.arena != NO_ARENA),
                    bytes: head.b,
                    chunk: sampled.chunk_bytes,
                };
                self.pending.push(Event { clock: head.c, address: head.a, key: Some(key) });
            }
            _ => {}
        }
    }

    fn unwound(&mut self, pid: u32, sampled: &Sampled, bytes: &[u8]) -> u32 {
        let sample = Sample { pc: sampled.pc, sp: sampled.sp, bp: sampled.bp, stack: bytes };
        let index = self.process(pid);
        let Some(process) = self.processes.get_mut(index) else { return self.collector.stack(Vec::new()) };
        let digest = digest(process, &sample);
        let digest = (pid, digest[0], digest[1]);
        if let Some(&stack) = self.known.get(&digest).filter(|_| self.known_modules == process.modules.len()) {
            return stack;
        }
        let Stack { places, is_cut } = process.unwind(&sample, sampled.is_cut);
        // What is unknown now may be known later.
        let is_strange = places.iter().any(|place| matches!(place, Place::Nowhere(_)));
        let is_ours = |place: &Place| match place {
            Place::In(module, _) => process
                .modules
                .get(*module)
                .is_some_and(|module| module.path.rsplit('/').next().is_some_and(|name| name.starts_with(LIBRARY))),
            _ => false,
        };
        let own = places.iter().take_while(|place| is_ours(place)).count();
        let mut numbers = Vec::with_capacity(places.len());
        for place in places.into_iter().skip(own) {
            let (module, address) = match place {
                Place::In(module, address) => (Some(self.module(index, module)), address),
                Place::Made(address) => (None, address),
                Place::Nowhere(_) => (None, 0),
            };
            numbers.push(self.collector.frame(Frame { module, address, lines: Vec::new() }));
        }
        if is_cut {
            numbers.push(self.collector.frame(Frame { module: None, address: CUT, lines: Vec::new() }));
        }
        let stack = self.collector.stack(numbers);
        let modules = self.processes.get(index).map_or(0, |process| process.modules.len());
        if modules != self.known_modules || self.known.len() >= KNOWN_MAX {
            self.known_modules = modules;
            self.known.clear();
        }
        if !is_strange {
            self.known.insert(digest, stack);
        }
        stack
    }

    fn module(&mut self, process: usize, module: usize) -> u32 {
        let next = &mut self.module_count;
        *self.modules.entry((process, module)).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    /// Events before this time are in their order: nothing earlier can come any more.
    fn settle(&mut self, before: u64) {
        let (mut now, later): (Vec<Event>, Vec<Event>) =
            std::mem::take(&mut self.pending).into_iter().partition(|event| event.clock < before);
        self.pending = later;
        // A free before what was allocated at the same tick.
        now.sort_by_key(|event| (event.clock, event.key.is_some()));
        for event in now {
            match event.key {
                Some(key) => self.collector.allocated(event.clock, event.address, key),
                None => self.collector.freed(event.clock, event.address),
            }
        }
    }

    /// All was heard: the profile, with nothing named yet, and the files that its modules are.
    pub fn finish(&mut self) -> (Profile, Vec<PathBuf>) {
        self.settle(u64::MAX);
        self.so_far()
    }

    /// As `finish`, while it goes on.
    pub fn so_far(&mut self) -> (Profile, Vec<PathBuf>) {
        let mut profile = self.collector.profile(self.nanos_per_tick);
        profile.began = self.began_at.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        profile.took = self.began.elapsed().as_nanos() as u64;
        let peak = self.collector.peak_clock().saturating_sub(self.first_tick);
        profile.peak_at = ((peak as f64 * self.nanos_per_tick) as u64).min(profile.took);
        profile.dropped = self.dropped;
        profile.pid = self.processes.first().map_or(0, |process| process.pid);
        let mut modules: Vec<_> = self.modules.iter().map(|(&place, &number)| (number, place)).collect();
        modules.sort_unstable();
        let mut files = Vec::new();
        for (_, (process, module)) in modules {
            let module = self.processes.get(process).and_then(|process| process.modules.get(module));
            let Some(module) = module else { continue };
            profile.modules.push(heapglass_profile::model::Module {
                path: module.path.clone(),
                build_id: module.build_id.clone(),
                start: module.start,
                end: module.end,
                offset: module.offset,
                bias: module.bias,
            });
            files.push(module.place());
        }
        (profile, files)
    }
}

impl Listener for Ears {
    fn hear(&mut self, ring: usize, thread: Thread, records: &[Record]) {
        let mut voice = self.rings.remove(&ring).unwrap_or_default();
        for &record in records {
            let head = match voice.head {
                Some(head) => {
                    voice.body.push(record);
                    head
                }
                None if record.is(Kind::Gone) => {
                    self.pending.push(Event { clock: record.c, address: record.a, key: None });
                    continue;
                }
                None => {
                    voice.head = Some(record);
                    record
                }
            };
            if voice.body.len() >= head.n as usize {
                self.take(thread, head, &voice.body, &mut voice.maps);
                voice.head = None;
                voice.body.clear();
            }
        }
        self.rings.insert(ring, voice);
    }

    fn leave(&mut self, ring: usize) {
        self.rings.remove(&ring);
    }

    fn pause(&mut self, feed: &Feed) -> bool {
        let clock = feed.clock();
        if self.first_tick == 0 {
            self.first_tick = clock.tick;
        }
        self.nanos_per_tick = clock.nanos_per_tick;
        self.dropped = feed.lost();
        self.was_taken = feed.first().is_some();
        // All that was told before the last pause has been read since.
        let horizon = std::mem::replace(&mut self.horizon, clock.tick);
        self.settle(horizon);
        true
    }
}
