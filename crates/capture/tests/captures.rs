//! Captures as files: what is written is read, from anywhere, whole or cut off.

use heapglass_capture::{About, Call, Capture, Error, Event, State, Thread, Writer};
use heapglass_event::record::{Call as Function, Kind, Outcome, Record};
use std::fs::{self, File};
use std::path::PathBuf;

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Calls as a program of two threads makes them, with steps of all kinds and now and then numbers of no sense.
struct Program {
    random: Random,
    tick: u64,
    live: Vec<u64>,
    next: u64,
}

impl Program {
    fn new() -> Program {
        Program { random: Random(7), tick: 1 << 40, live: Vec::new(), next: 0x5555_0000_1010 }
    }

    fn call(&mut self) -> (Thread, Call) {
        let random = &mut self.random;
        let thread = Thread { pid: 100, tid: 100 + random.below(2) as u32 };
        self.tick += random.below(5000);
        let mut call = Call { began: self.tick, ended: self.tick + random.below(3000), ..Call::default() };
        let step = |kind, outcome, n, numbers: [u64; 3]| Record::new(kind, outcome, n, numbers.map(|n| n as usize));
        if random.below(2) == 0 && !self.live.is_empty() {
            let pointer = self.live.swap_remove(random.below(self.live.len() as u64) as usize);
            call.function = Some(Function::Free);
            call.arguments[0] = pointer;
            call.steps = vec![
                step(Kind::Proven, Outcome::Live, 1, [pointer - 16, 48, 0]),
                step(Kind::Put, Outcome::Taken, 0, [48, random.below(30), pointer]),
            ];
        } else {
            let size = random.below(200);
            call.function = Some(Function::Malloc);
            call.arguments[0] = size;
            call.bytes = ((size + 23) & !15).max(32);
            call.result = self.next;
            self.next += call.bytes;
            self.live.push(call.result);
            call.steps = vec![
                step(Kind::Size, Outcome::Done, 0, [size, call.bytes, 0]),
                step(Kind::Cache, Outcome::Empty, 0, [call.bytes, 0, 0]),
                step(Kind::Top, Outcome::Taken, 1, [call.bytes, 100_000, 90_000]),
            ];
        }
        // Stacks that begin alike, and now and then a place that no stack has.
        for n in [0, 3, 6] {
            let callers = [0, 1, 2].map(|at| 0x5555_5000_0000 + random.below(1 + n) * 40 + u64::from(at == 0) * 7);
            call.steps.push(step(Kind::Callers, Outcome::Done, n as u32, callers));
        }
        if random.below(50) == 0 {
            call.steps.push(step(
                Kind::Callers,
                Outcome::Done,
                [47, 48, 1000][random.below(3) as usize],
                [1, 0, 1 << 47],
            ));
            let numbers = [random.below(1 << 31) << 33, u64::MAX - random.below(9), random.below(1 << 20)];
            call.steps.push(step(Kind::Arena, Outcome::Done, random.below(1 << 31) as u32, numbers));
            call.steps.push(Record { kind: 999, outcome: 888, n: 127, a: 1, b: 2, c: 3 });
        }
        if random.below(500) == 0 {
            call = Call { function: None, ..call };
        }
        (thread, call)
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{}.hg", std::process::id()))
}

/// Writes so many calls; returns them as they are to be read.
fn write(path: &PathBuf, count: usize, closes: bool) -> Vec<(Thread, Call)> {
    let mut about = About::default();
    about.put("program", "one two");
    let mut writer = Writer::create(File::create(path).unwrap(), 1 << 40, &about).unwrap();
    let mut program = Program::new();
    let mut calls = Vec::new();
    for _ in 0..count {
        let (thread, mut call) = program.call();
        writer.add(thread, &mut call).unwrap();
        calls.push((thread, call));
    }
    about.put("ended", "well");
    if closes {
        // On a slow machine it writes what has waited for a second, which a recording that is cut off shall not have.
        writer.pause(program.tick).unwrap();
        writer.finish(&about).unwrap();
    }
    calls
}

#[track_caller]
fn same(event: &Event, (thread, call): &(Thread, Call)) {
    assert_eq!(event.thread, *thread);
    assert_eq!(event.call, *call, "call {}", event.number);
}

#[test]
fn what_is_written_is_read_from_any_call_on() {
    let path = path("whole");
    let calls = write(&path, 200_000, true);
    let capture = Capture::open(&path).unwrap();
    assert!(capture.is_closed);
    assert_eq!((capture.about.get("program"), capture.about.get("ended")), (Some("one two"), Some("well")));
    assert_eq!(capture.calls(), calls.len() as u64);
    let mut events = capture.events(1);
    for call in &calls {
        same(events.next().unwrap().unwrap(), call);
    }
    assert!(events.next().unwrap().is_none());
    for from in [2, 65_536, 65_537, 140_000, 200_000] {
        let event = capture.event(from).unwrap().unwrap();
        assert_eq!(event.number, from);
        same(&event, &calls[from as usize - 1]);
    }
    assert!(capture.event(200_001).unwrap().is_none());

    let mut state = State::default();
    let stops = [0, 1, 65_535, 131_072, 131_073, 150_000, 200_000];
    for (number, (thread, call)) in (0..).zip(&calls) {
        if stops.contains(&number) {
            let there = capture.state_at(number).unwrap();
            assert_eq!(there.sorted(), state.sorted(), "after {number} calls");
            assert_eq!((there.bytes, there.calls), (state.bytes, state.calls));
        }
        state.apply(*thread, call);
    }
    let summary = capture.summary();
    assert_eq!((summary.bytes, summary.chunks), (state.bytes, state.chunks() as u64));
    assert!(summary.length < 12 * summary.calls, "{} bytes a call", summary.length as f64 / summary.calls as f64);
    fs::remove_file(path).unwrap();
}

#[test]
fn what_was_cut_off_is_read_up_to_its_last_whole_block() {
    let path = path("cut");
    let calls = write(&path, 150_000, false);
    let whole = fs::read(&path).unwrap();
    let capture = Capture::from_bytes(whole.clone()).unwrap();
    assert!(!capture.is_closed);
    assert_eq!(capture.calls(), 131_072, "what wasn't written can't be there");
    let before = capture.blocks()[1].offset;
    for length in [before, before + 1, before + 127, before + 128, before + 5000, capture.blocks()[1].end() - 1] {
        let capture = Capture::from_bytes(whole[..length as usize].to_vec()).unwrap();
        assert_eq!(capture.calls(), 65_536, "{length} bytes");
        same(&capture.event(65_536).unwrap().unwrap(), &calls[65_535]);
        assert_eq!(capture.state_at(u64::MAX).unwrap().calls, 65_536);
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn what_isnt_a_capture_or_is_damaged_is_refused() {
    assert!(matches!(Capture::from_bytes(Vec::new()), Err(Error::NotACapture)));
    assert!(matches!(Capture::from_bytes(vec![7; 1000]), Err(Error::NotACapture)));
    let path = path("damaged");
    write(&path, 1000, true);
    let whole = fs::read(&path).unwrap();
    let mut other = whole.clone();
    other[8] ^= 0xff;
    assert!(matches!(Capture::from_bytes(other), Err(Error::Version { .. })));
    let block = Capture::from_bytes(whole.clone()).unwrap().blocks()[0];
    let mut other = whole.clone();
    other[block.offset as usize + 500] ^= 1;
    let capture = Capture::from_bytes(other).unwrap();
    assert!(matches!(capture.events(1).next(), Err(Error::Damaged)));
    assert!(matches!(capture.state_at(5), Err(Error::Damaged)));
    // Whatever byte changes, nothing stops.
    for at in (0..whole.len()).step_by(7) {
        let mut other = whole.clone();
        other[at] ^= 0x55;
        if let Ok(capture) = Capture::from_bytes(other) {
            let _ = capture.state_at(500);
        }
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn a_full_disk_is_an_error_of_the_first_write() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert!(Writer::create(full, 0, &About::default()).is_err());
}
