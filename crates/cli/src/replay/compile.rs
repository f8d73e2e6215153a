//! A recording becomes a plan: pointers become slots, threads get streams, and what must wait for what is written down. Memory is needed
//! for the chunks in use and a block of each thread that lives, however long the recording is.
//!
//! *Epochs.* Where several threads live, an epoch ends before the calls in it, in whatever order they are made, could change the bytes in
//! use by more than a hundredth of the recorded peak: each thread may be ahead by the most that it adds there, or behind by the most
//! that it takes away. A call that changes more than half of that by itself has an epoch to itself. A thread that ends, or makes another
//! one, ends the epoch. While only one lives, it needs no epochs.

use super::plan::{EPOCH_CALLS, SIZE_MAX, TURN, TURNS, op};
use super::streams::Streams;
use crate::capture::progress::Progress;
use heapglass_capture::hash::Map;
use heapglass_capture::{Call, Capture, Error, Event, Thread};
use heapglass_event::record::Call as Function;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;

/// An epoch's calls change the bytes in use by this part of the peak at most, or by so many bytes.
const DRIFT: u64 = 100;
const DRIFT_MIN: u64 = 1024;
/// With times: gaps that are shorter aren't waited for.
const GAP_NS: u64 = 20_000;

/// What was compiled.
pub struct Plan {
    pub file: File,
    pub told: Told,
}

/// What is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub pid: u32,
    pub calls: u64,
    pub threads: u64,
    /// Bytes of chunks in use at most, and of what was asked for then at most.
    pub peak_bytes: u64,
    pub peak_requested: u64,
    /// Left out: calls that failed, never returned or had nothing to do; frees of what was never seen; calls of other processes, by their
    /// numbers.
    pub void: u64,
    pub strangers: u64,
    pub others: BTreeMap<u32, u64>,
    /// The number of the call before which the recording is damaged, if it is.
    pub damaged_at: Option<u64>,
}

/// How to play it.
#[derive(Clone, Copy, Default)]
pub struct Wishes {
    pub timing: bool,
    /// The process that is played; the first where none is named.
    pub pid: Option<u32>,
}

pub enum Fault {
    Recording(Error),
    Plan(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Plan(error)
    }
}

/// A slot, as the player will find it.
#[derive(Clone, Copy, Default)]
struct Slot {
    turn: u64,
    thread: u32,
    epoch: u64,
    bytes: u64,
    request: u64,
}

/// A thread that lives.
#[derive(Default)]
struct Living {
    number: u32,
    tid: u32,
    seat: u32,
    takes_part: bool,
    /// Slots that it freed in this epoch: only it may use them again before the next.
    freed: Vec<u32>,
    /// Bytes that it added in this epoch, and the most and the least that this was.
    net: i64,
    most: i64,
    least: i64,
    time_ns: u64,
}

struct Compiler {
    wishes: Wishes,
    streams: Streams,
    /// The first one stays first.
    threads: Vec<Living>,
    places: Map<u32, usize>,
    last: u32,
    seats: Vec<u32>,
    seats_count: u32,
    /// Seats whose threads ended, and for which nobody has waited yet.
    ended: Vec<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: Map<u64, u32>,
    owed: Map<u64, VecDeque<u32>>,
    epoch: u64,
    /// Who takes part in it, by their places.
    part: Vec<usize>,
    epoch_calls: u64,
    epoch_range: u64,
    /// Who alone took part in the epoch before, if it was one.
    alone: Option<u32>,
    drift: u64,
    bytes: u64,
    requested: u64,
    told: Told,
}

/// Compiles a recording into a file that nobody else knows of.
pub fn compile(capture: &Capture, file: File, wishes: Wishes) -> Result<Plan, Fault> {
    let mut compiler = Compiler::new(file, wishes, (capture.summary().peak_bytes / DRIFT).max(DRIFT_MIN));
    let mut progress = Progress::new(capture.calls());
    let mut events = capture.events(1);
    let mut last = 0;
    loop {
        match events.next() {
            Ok(Some(event)) => {
                progress.at(event.number);
                last = event.number;
                compiler.take(event, capture.nanos(event.call.began))?;
            }
            Ok(None) => break,
            Err(error) if compiler.told.calls == 0 => return Err(Fault::Recording(error)),
            Err(_) => {
                compiler.told.damaged_at = Some(last + 1);
                break;
            }
        }
    }
    compiler.finish()
}

impl Compiler {
    fn new(file: File, wishes: Wishes, drift: u64) -> Compiler {
        Compiler {
            wishes,
            streams: Streams::new(file),
            threads: Vec::new(),
            places: Map::default(),
            last: 0,
            seats: Vec::new(),
            seats_count: 0,
            ended: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            live: Map::default(),
            owed: Map::default(),
            epoch: 0,
            part: Vec::new(),
            epoch_calls: 0,
            epoch_range: 0,
            alone: None,
            drift,
            bytes: 0,
            requested: 0,
            told: Told::default(),
        }
    }

    fn take(&mut self, event: &Event, began_ns: u64) -> io::Result<()> {
        let call = &event.call;
        let Some(function) = call.function else { return Ok(()) };
        let pid = *self.wishes.pid.get_or_insert(event.thread.pid);
        if event.thread.pid != pid {
            *self.told.others.entry(event.thread.pid).or_default() += 1;
            return Ok(());
        }
        self.told.pid = pid;
        if is_void(function, call) {
            self.told.void += 1;
            return Ok(());
        }
        let index = self.thread(event.thread)?;
        if function == Function::ThreadEnd {
            return self.end_thread(index);
        }
        let several = self.threads.len() > 1;
        if several && self.weight(call) > self.drift / 2 {
            self.close()?;
        }
        self.begin(index, began_ns)?;
        if function == Function::Trim {
            self.streams.put(self.threads[index].number, op::TRIM, &[call.arguments[0]])?;
        } else if !self.swap(index, function, call)? {
            return Ok(());
        }
        self.told.calls += 1;
        self.epoch_calls += 1;
        let is_long = self.epoch_calls >= EPOCH_CALLS || self.epoch_range > self.drift;
        if several && is_long { self.close() } else { Ok(()) }
    }

    /// The thread that makes a call, which may be its first.
    fn thread(&mut self, thread: Thread) -> io::Result<usize> {
        let index = match self.places.get(&thread.tid) {
            Some(&index) => index,
            None => self.spawn(thread.tid)?,
        };
        self.last = self.threads[index].number;
        Ok(index)
    }

    /// A thread that wasn't seen before is made by whoever called last; before that, by the order of the recording, those that ended have
    /// ended here too.
    fn spawn(&mut self, tid: u32) -> io::Result<usize> {
        let number = self.told.threads as u32;
        self.told.threads += 1;
        let maker = self.threads.iter().position(|living| living.number == self.last).unwrap_or(0);
        if number > 0 {
            self.begin(maker, 0)?;
            let maker = self.threads[maker].number;
            for seat in std::mem::take(&mut self.ended) {
                self.streams.put(maker, op::JOIN, &[seat.into()])?;
                self.seats.push(seat);
            }
        }
        let seat = self.seats.pop().unwrap_or(self.seats_count);
        self.seats_count = self.seats_count.max(seat + 1);
        if number > 0 {
            self.streams.put(self.threads[maker].number, op::SPAWN, &[number.into(), seat.into()])?;
            self.close()?;
        }
        self.streams.open();
        self.threads.push(Living { number, tid, seat, ..Living::default() });
        self.places.insert(tid, self.threads.len() - 1);
        Ok(self.threads.len() - 1)
    }

    /// A thread's next operation belongs to the epoch that isn't over.
    fn begin(&mut self, index: usize, began_ns: u64) -> io::Result<()> {
        let living = &mut self.threads[index];
        if !living.takes_part {
            living.takes_part = true;
            (living.net, living.most, living.least) = (0, 0, 0);
            self.part.push(index);
            if self.epoch > 0 && self.alone != Some(living.number) {
                self.streams.put(living.number, op::WAIT, &[self.epoch])?;
            }
        }
        if self.wishes.timing && began_ns >= living.time_ns.saturating_add(GAP_NS) {
            self.streams.put(living.number, op::TIME, &[began_ns - living.time_ns])?;
            living.time_ns = began_ns;
        }
        Ok(())
    }

    /// The epoch is over when all who took part have arrived.
    fn close(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        if part.is_empty() {
            return Ok(());
        }
        for &index in &part {
            let living = &mut self.threads[index];
            living.takes_part = false;
            self.free.append(&mut living.freed);
            self.streams.put(living.number, op::ARRIVE, &[part.len() as u64])?;
        }
        self.alone = if let [one] = part[..] { Some(self.threads[one].number) } else { None };
        (self.epoch, self.epoch_calls, self.epoch_range) = (self.epoch + 1, 0, 0);
        Ok(())
    }

    fn end_thread(&mut self, index: usize) -> io::Result<()> {
        let number = self.threads[index].number;
        // The player's first thread is the process; it stays to the end.
        if number == 0 {
            return Ok(());
        }
        self.begin(index, 0)?;
        self.close()?;
        let gone = self.threads.swap_remove(index);
        self.places.remove(&gone.tid);
        if let Some(moved) = self.threads.get(index) {
            self.places.insert(moved.tid, index);
        }
        self.ended.push(gone.seat);
        self.streams.put(number, op::END, &[])?;
        self.streams.close(number)
    }

    /// Bytes that a call changes the bytes in use by, about.
    fn weight(&self, call: &Call) -> u64 {
        let given = self.live.get(&call.gives_up()).map_or(0, |slot| self.slots[*slot as usize].bytes);
        let handed = if call.hands_out() == 0 { 0 } else { call.bytes };
        given.abs_diff(handed)
    }

    /// A call that hands out or takes back; false if there is nothing that it could be made on.
    fn swap(&mut self, index: usize, function: Function, call: &Call) -> io::Result<bool> {
        let (given, handed) = (call.gives_up(), call.hands_out());
        let before = if given == 0 { None } else { self.take_slot(given) };
        if given != 0 && before.is_none() {
            self.told.strangers += 1;
        }
        if handed == 0 {
            let Some(slot) = before else { return Ok(false) };
            let kind = if function == Function::Realloc { op::REALLOC_FREE } else { op::FREE };
            self.put(index, kind, slot, &[])?;
            self.resize(index, slot, 0, 0);
            self.threads[index].freed.push(slot);
            return Ok(true);
        }
        let size = call.requested().unwrap_or(0);
        let slot = before.unwrap_or_else(|| self.new_slot(index));
        let power = u64::from(alignment(function, call).next_power_of_two().trailing_zeros());
        match function {
            Function::Calloc => self.put(index, op::CALLOC, slot, &[size])?,
            // One whose chunk was never seen begins anew.
            Function::Realloc => self.put(index, op::REALLOC, slot, &[size])?,
            _ if power > 4 => self.put(index, op::ALIGNED, slot, &[size, power])?,
            _ => self.put(index, op::MALLOC, slot, &[size])?,
        }
        self.resize(index, slot, call.bytes, size);
        if let Some(other) = self.live.insert(handed, slot) {
            self.owed.entry(handed).or_default().push_back(other);
        }
        Ok(true)
    }

    /// The slot of a pointer that is given up: the oldest one, if the pointer was handed out again before its free was seen.
    fn take_slot(&mut self, pointer: u64) -> Option<u32> {
        if let Some(owed) = self.owed.get_mut(&pointer) {
            let slot = owed.pop_front();
            if owed.is_empty() {
                self.owed.remove(&pointer);
            }
            return slot;
        }
        self.live.remove(&pointer)
    }

    fn new_slot(&mut self, index: usize) -> u32 {
        if let Some(slot) = self.threads[index].freed.pop().or_else(|| self.free.pop()) {
            return slot;
        }
        self.slots.push(Slot { thread: self.threads[index].number, epoch: self.epoch, ..Slot::default() });
        self.slots.len() as u32 - 1
    }

    /// An operation on a slot, which waits for its turn where another thread used the slot in the same epoch.
    fn put(&mut self, index: usize, kind: u8, number: u32, more: &[u64]) -> io::Result<()> {
        let thread = self.threads[index].number;
        let slot = &mut self.slots[number as usize];
        let mut numbers = [0; 4];
        let waits = slot.thread != thread && slot.epoch == self.epoch;
        numbers[0] = slot.turn;
        numbers[1] = number.into();
        numbers[2..2 + more.len()].copy_from_slice(more);
        let kind = if waits { kind | TURN } else { kind };
        *slot = Slot { turn: (slot.turn + 1) % TURNS, thread, epoch: self.epoch, ..*slot };
        self.streams.put(thread, kind, &numbers[usize::from(!waits)..2 + more.len()])
    }

    fn resize(&mut self, index: usize, number: u32, bytes: u64, request: u64) {
        let slot = &mut self.slots[number as usize];
        self.bytes = self.bytes.saturating_sub(slot.bytes).saturating_add(bytes);
        self.requested = self.requested.saturating_sub(slot.request).saturating_add(request);
        let more = bytes.cast_signed() - slot.bytes.cast_signed();
        (slot.bytes, slot.request) = (bytes, request);
        self.told.peak_bytes = self.told.peak_bytes.max(self.bytes);
        self.told.peak_requested = self.told.peak_requested.max(self.requested);
        let living = &mut self.threads[index];
        let range = living.most.abs_diff(living.least);
        living.net = living.net.saturating_add(more);
        (living.most, living.least) = (living.most.max(living.net), living.least.min(living.net));
        self.epoch_range = self.epoch_range.saturating_add(living.most.abs_diff(living.least) - range);
    }

    fn finish(mut self) -> Result<Plan, Fault> {
        self.close()?;
        if self.epoch > 0 {
            self.streams.put(0, op::WAIT, &[self.epoch])?;
        }
        let numbers: Vec<u32> = self.threads.iter().map(|living| living.number).collect();
        for number in numbers {
            self.streams.put(number, op::STOP, &[])?;
            self.streams.close(number)?;
        }
        let file = self.streams.finish(self.slots.len() as u64, u64::from(self.seats_count))?;
        Ok(Plan { file, told: self.told })
    }
}

/// Nothing that could be made again: it failed, never returned, or was a free of null.
fn is_void(function: Function, call: &Call) -> bool {
    let does = match function {
        Function::Trim | Function::ThreadEnd => true,
        _ => call.gives_up() != 0 || call.hands_out() != 0,
    };
    let is_absurd = call.bytes >= SIZE_MAX || call.requested().is_some_and(|size| size >= SIZE_MAX);
    call.unfinished || !does || is_absurd
}

/// What the program asked for; 1 where it didn't.
fn alignment(function: Function, call: &Call) -> u64 {
    use Function::*;
    let [first, second] = call.arguments;
    match function {
        Memalign | AlignedAlloc | PosixMemalign => first.clamp(1, SIZE_MAX),
        Valloc | Pvalloc => 4096,
        New | NewArray if second != 0 => first.clamp(1, SIZE_MAX),
        _ => 1,
    }
}
