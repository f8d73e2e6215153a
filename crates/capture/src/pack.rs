//! The calls of a block as bytes. A call's *shape* is its function, its records' kinds and outcomes, and the rule by which each of
//! its numbers is had; a program has few. The shapes stand once in a table; of each call then remain the shape's number, two times
//! and the numbers that no rule gives. What is alike lies side by side, in streams, and each of those is compressed.

use crate::bytes::{put, put_signed};
use crate::calls::Call;
use crate::hash::Map;
use crate::model::{Model, Place, SHAPED_MAX, Side, rule};
use crate::{Error, Thread, zstd};

/// Streams of a block, in their order.
pub const STREAMS: usize = 7;
pub const SHAPES: usize = 0;
pub const THREADS: usize = 1;
pub const TIMES: usize = 2;
pub const SPANS: usize = 3;
pub const PLAIN: usize = 4;
pub const ADDRESSES: usize = 5;
pub const ORDER: usize = 6;

/// What else is said of a call in its shape.
pub const FAILED: u8 = 1;
pub const UNFINISHED: u8 = 2;

#[derive(Default)]
pub struct Packer {
    model: Model,
    threads: Map<Thread, usize>,
    shapes: Map<Box<[u8]>, u64>,
    table: Vec<u8>,
    streams: Streams,
    /// The thread of the last calls, and how many they are.
    run: (usize, u64),
    began: i64,
    pub calls: u64,
    pub records: u64,
}

#[derive(Default)]
struct Streams {
    bytes: [Vec<u8>; STREAMS],
    shape: Vec<u8>,
}

impl Packer {
    /// Takes a call. Its times are in units of the capture.
    pub fn add(&mut self, thread: Thread, call: &mut Call) -> Result<(), Error> {
        let index = match self.threads.get(&thread) {
            Some(index) => *index,
            None => {
                let index = self.model.add_thread(thread);
                self.threads.insert(thread, index);
                index
            }
        };
        let streams = &mut self.streams;
        streams.shape.clear();
        put(&mut streams.shape, call.function.map_or(0, |function| function as u64));
        let flags = if call.failed { FAILED } else { 0 } | if call.unfinished { UNFINISHED } else { 0 };
        streams.shape.push(flags);
        put(&mut streams.shape, call.steps.len() as u64);
        for step in &call.steps {
            put(&mut streams.shape, step.kind.into());
            put(&mut streams.shape, step.outcome.into());
            put(&mut streams.shape, step.n.min(SHAPED_MAX).into());
        }
        self.model.walk(streams, index, call)?;
        let next = self.shapes.len() as u64;
        let number = match self.shapes.get(streams.shape.as_slice()) {
            Some(number) => *number,
            None => {
                put(&mut self.table, streams.shape.len() as u64);
                self.table.extend_from_slice(&streams.shape);
                self.shapes.insert(streams.shape.as_slice().into(), next);
                next
            }
        };
        put(&mut streams.bytes[SHAPES], number);
        let began = call.began.cast_signed();
        put_signed(&mut streams.bytes[TIMES], began.wrapping_sub(self.began));
        put(&mut streams.bytes[SPANS], call.ended.saturating_sub(call.began));
        self.began = began;
        if self.run.0 != index {
            self.end_run();
            self.run = (index, 0);
        }
        self.run.1 += 1;
        self.calls += 1;
        self.records += call.steps.len() as u64 + 2;
        Ok(())
    }

    fn end_run(&mut self) {
        if self.run.1 > 0 {
            put(&mut self.streams.bytes[THREADS], self.run.0 as u64);
            put(&mut self.streams.bytes[THREADS], self.run.1);
        }
    }

    /// Bytes before compression, so far.
    pub fn length(&self) -> usize {
        self.table.len() + self.streams.bytes.iter().map(Vec::len).sum::<usize>()
    }

    /// The block's bytes; the packer is as new.
    pub fn finish(&mut self) -> Vec<u8> {
        self.end_run();
        let mut head = Vec::new();
        put(&mut head, self.model.threads.len() as u64);
        for thread in &self.model.threads {
            put(&mut head, thread.pid.into());
            put(&mut head, thread.tid.into());
        }
        put(&mut head, self.shapes.len() as u64);
        head.append(&mut self.table);
        let mut bytes = Vec::new();
        zstd::pack(&head, &mut bytes);
        for stream in &mut self.streams.bytes {
            zstd::pack(stream, &mut bytes);
            stream.clear();
        }
        self.shapes.clear();
        self.threads.clear();
        self.model.clear();
        (self.run, self.began, self.calls, self.records) = ((0, 0), 0, 0, 0);
        bytes
    }
}

impl Side for Streams {
    fn number(&mut self, number: &mut u64, place: &Place) -> Result<(), Error> {
        let number = *number;
        let how = if number == place.expected && number != 0 {
            rule::EXPECTED
        } else if number == 0 {
            rule::ZERO
        } else if number < 16 {
            rule::PLAIN
        } else if let Some(at) = place.shown.iter().position(|shown| *shown == number) {
            rule::SHOWN + at as u8
        } else if number == place.last {
            rule::LAST
        } else if let Some(known) = place.known.get(&number) {
            put_signed(&mut self.bytes[ORDER], known.sequence - place.sequence);
            rule::ORDER
        } else if number < 1 << 20 {
            rule::PLAIN
        } else {
            let base = if place.expected != 0 { place.expected } else { place.last };
            let more = number.wrapping_sub(base).cast_signed();
            let in_units = more % 16 == 0;
            put_signed(&mut self.bytes[ADDRESSES], if in_units { more / 16 } else { more });
            if in_units { rule::MORE_UNITS } else { rule::MORE }
        };
        if how == rule::PLAIN {
            put(&mut self.bytes[PLAIN], number);
        }
        self.shape.push(how);
        Ok(())
    }
}
