//! A profile of the program, taken by itself: who holds the memory, by call stack, while it runs.
//!
//! ```
//! #[global_allocator]
//! static A: heapglass::Heapglass = heapglass::Heapglass;
//!
//! // With the first request, or at the program's start: what is allocated from here on is in it.
//! heapglass::profile::start(heapglass::profile::INTERVAL).unwrap();
//! let kept: Vec<Vec<u8>> = (0..100).map(|_| vec![1; 100_000]).collect();
//! let body: Vec<u8> = heapglass::profile::pprof();
//! assert_eq!(body[..2], [0x1f, 0x8b]);
//! # drop(kept);
//! ```
//!
//! A thread of its own reads what is sampled, unwinds and keeps it; the threads that allocate only copy a piece of their stacks, and never
//! wait: what the reader is too slow for is left out. What that thread allocates, and what `pprof` does, isn't in the profile. Each byte
//! allocated is as likely to be sampled as any other, so figures are estimates. With an interval of 1 every allocation is sampled, and
//! waits for the reader where it must: then they are exact.
//!
//! This module is there with the feature `profile`. A forked child is in no profile until it asks for one.
//!
//! # Safety
//! The mapping of the rings is made once for each process and stays. Rings are read with the lock of the ears held.

extern crate std;

use heapglass_event::record::{Record, SCHEMA};
use heapglass_event::ring::{self, CONTROL_BYTES, Control, FILE_BYTES, LAYOUT, MAGIC, RINGS, Ring};
use heapglass_heap::{profile, thread};
use heapglass_os as os;
use heapglass_profile::export::{self, Form};
use heapglass_profile::model::{Line, Profile, Which};
use heapglass_sampled::ears::{Ears, Writer};
use heapglass_sampled::names;
use std::boxed::Box;
use std::io;
use std::string::ToString;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Bytes between two samples on average: what costs next to nothing.
pub const INTERVAL: u64 = 512 << 10;
/// Bytes of stack that a sample brings along, at most.
const STACK: u64 = 16 << 10;
/// Naps between two looks at the rings: after one in which there was something, and after one in which there was nothing.
const NAPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

/// One profile, from its start on.
struct Recorder {
    pid: u32,
    interval: u64,
    memory: usize,
    is_over: AtomicBool,
    state: Mutex<State>,
}

struct State {
    ears: Ears,
    /// What was named already, by the frames' numbers.
    names: Vec<Vec<Line>>,
    began: Instant,
    tick: u64,
}

/// The one of this process, or of the process that it was forked from. Never freed: another thread may be at work on it.
static RECORDER: AtomicPtr<Recorder> = AtomicPtr::new(std::ptr::null_mut());
/// The process that is about to begin or end one.
static CHANGES: Mutex<()> = Mutex::new(());

/// Begins to sample, a byte in `interval` on average; what was sampled before is forgotten. An error says that the kernel gave no
/// memory or no thread. What a profile was read from stays mapped when it ends, since a thread may still be at work there: some
/// hundred KiB for each thread that was sampled.
pub fn start(interval: u64) -> io::Result<()> {
    let _quiet = Quiet::begin();
    let _alone = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    begin(interval.max(1)).map(drop)
}

/// Ends it. `pprof` then begins a new one.
pub fn stop() {
    let _quiet = Quiet::begin();
    let _alone = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(recorder) = current() {
        recorder.end();
        RECORDER.store(std::ptr::null_mut(), Release);
    }
}

/// What is in use, and what was allocated since the start, as a compressed protocol buffer in pprof's form: the body of an answer to
/// `/debug/pprof/heap`, of type `application/octet-stream`. The first call begins a profile if `start` wasn't called; empty where the
/// kernel gives no memory for one.
pub fn pprof() -> Vec<u8> {
    export(Form::Pprof)
}

/// As `pprof`, as lines of folded stacks with bytes in use: `main;work;alloc 4096`.
pub fn folded() -> Vec<u8> {
    export(Form::Folded)
}

/// As `pprof`, as a flame graph (SVG) of what is in use.
pub fn flamegraph() -> Vec<u8> {
    export(Form::Flamegraph)
}

fn export(form: Form) -> Vec<u8> {
    let _quiet = Quiet::begin();
    let recorder = match current() {
        Some(recorder) => recorder,
        None => {
            let _alone = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
            match current().map_or_else(|| begin(INTERVAL), Ok) {
                Ok(recorder) => recorder,
                Err(_) => return Vec::new(),
            }
        }
    };
    export::write(&recorder.profile(), form, Which::InUse)
}

fn current() -> Option<&'static Recorder> {
    // SAFETY: null, or leaked.
    let recorder = unsafe { RECORDER.load(Acquire).as_ref() };
    recorder.filter(|recorder| recorder.pid == os::process_id())
}

/// With `CHANGES` held.
fn begin(interval: u64) -> io::Result<&'static Recorder> {
    if let Some(before) = current() {
        before.end();
    }
    thread::ensure_set_up();
    let refused = |e: os::Errno| io::Error::from_raw_os_error(e.0);
    // Pages that no ring uses cost nothing.
    let memory = os::map(0, FILE_BYTES, os::Access::ReadWrite).map_err(refused)?;
    let tick = profile::clock();
    let ears = Ears::new(interval);
    let state = State { ears, names: Vec::new(), began: Instant::now(), tick };
    let recorder: &'static Recorder = Box::leak(Box::new(Recorder {
        pid: os::process_id(),
        interval,
        memory,
        is_over: AtomicBool::new(false),
        state: Mutex::new(state),
    }));
    let control = recorder.control();
    control.layout.store(LAYOUT, Relaxed);
    control.schema.store(SCHEMA, Relaxed);
    control.lossy.store(u32::from(interval > 1), Relaxed);
    control.interval.store(interval, Relaxed);
    control.stack.store(STACK, Relaxed);
    control.pid.store(recorder.pid, Relaxed);
    control.magic.store(MAGIC, Release);
    std::thread::Builder::new().name("heapglass".to_string()).spawn(move || recorder.listen())?;
    profile::begin(control);
    RECORDER.store(std::ptr::from_ref(recorder).cast_mut(), Release);
    Ok(recorder)
}

impl Recorder {
    fn control(&self) -> &'static Control {
        // SAFETY: a mapping that stays; zeros are a control page.
        unsafe { &*(self.memory as *const Control) }
    }

    fn rings(&self) -> &'static [Ring] {
        let used = (self.control().rings.load(Acquire) as usize).min(RINGS);
        // SAFETY: they follow the control page.
        unsafe { std::slice::from_raw_parts((self.memory + CONTROL_BYTES) as *const Ring, used) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader's thread.
    fn listen(&self) {
        let _quiet = Quiet::begin();
        // However this ends: nobody shall wait for it any more.
        let _last = Last(self);
        while !self.is_over.load(Relaxed) {
            let any = self.read(&mut self.state());
            std::thread::sleep(NAPS[usize::from(!any)]);
        }
    }

    /// Takes in what there is. `true` where there was something.
    fn read(&self, state: &mut State) -> bool {
        let mut any = false;
        let mut records: Vec<Record> = Vec::new();
        for (index, ring) in self.rings().iter().enumerate() {
            let writer = Writer { pid: ring.pid.load(Relaxed), tid: ring.tid.load(Acquire) };
            records.clear();
            if ring.read(usize::MAX, |record| records.push(record)) {
                os::futex_wake_shared(ring.turn());
            }
            if !records.is_empty() {
                any = true;
                state.ears.hear(index, writer, &records);
            }
            if ring.state.load(Acquire) == ring::LEFT && ring.is_read() {
                state.ears.leave(index);
                ring.release();
            }
        }
        let tick = profile::clock();
        let ticks = tick.saturating_sub(state.tick).max(1);
        let lost = self.rings().iter().map(|ring| ring.dropped.load(Relaxed)).sum::<u64>();
        let lost = lost + self.control().unheard.load(Relaxed);
        state.ears.pause(tick, state.began.elapsed().as_nanos() as f64 / ticks as f64, lost);
        any
    }

    fn end(&self) {
        self.control().off.store(1, Release);
        profile::end_of(self.control());
        self.is_over.store(true, Relaxed);
    }

    /// All since the start, with names.
    fn profile(&self) -> Profile {
        let mut state = self.state();
        // Twice: what was told before the first is in order after the second.
        self.read(&mut state);
        self.read(&mut state);
        let (mut profile, files) = state.ears.so_far();
        profile.interval = self.interval;
        profile.words = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        for (frame, lines) in profile.frames.iter_mut().zip(&state.names) {
            frame.lines.clone_from(lines);
        }
        names::name(&mut profile, &files, &[]);
        state.names = profile.frames.iter().map(|frame| frame.lines.clone()).collect();
        profile
    }
}

struct Last<'a>(&'a Recorder);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.control().off.store(1, Release);
    }
}

/// What the calling thread allocates while this lives isn't in the profile.
struct Quiet {
    was_left_out: bool,
}

impl Quiet {
    fn begin() -> Quiet {
        Quiet { was_left_out: profile::leave_out(true) }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        profile::leave_out(self.was_left_out);
    }
}
