//! The way back from a block's bytes to its calls, one at a time. Nothing is believed: bytes that say what can't be are refused.

use crate::bytes::Cursor;
use crate::calls::Call;
use crate::model::{Model, Place, Side, rule};
use crate::pack::{ADDRESSES, FAILED, ORDER, PLAIN, SHAPES, SPANS, STREAMS, THREADS, TIMES, UNFINISHED};
use crate::{Error, Thread, zstd};
use heapglass_event::record::{Call as Function, Record};

/// A shape's records at most; and of all calls of a block together.
const STEPS_MAX: usize = 1 << 20;
pub const RECORDS_MAX: u64 = 1 << 22;

#[derive(Default)]
pub struct Unpacker {
    model: Model,
    shapes: Vec<Shape>,
    bytes: [Vec<u8>; STREAMS],
    at: [usize; STREAMS],
    run: (usize, u64),
    began: i64,
    records: u64,
}

#[derive(Default)]
struct Shape {
    function: Option<Function>,
    flags: u8,
    steps: Vec<Record>,
    rules: Vec<u8>,
}

impl Unpacker {
    /// Begins with a block's bytes.
    pub fn start(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut cursor = Cursor(bytes);
        let mut head = Vec::new();
        zstd::unpack(&mut cursor, &mut head)?;
        let mut streams = std::mem::take(&mut self.bytes);
        for stream in &mut streams {
            zstd::unpack(&mut cursor, stream)?;
        }
        self.start_with(&head, streams)
    }

    /// The same with what was in the packed pieces.
    pub fn start_with(&mut self, head: &[u8], streams: [Vec<u8>; STREAMS]) -> Result<(), Error> {
        self.model.clear();
        self.shapes.clear();
        (self.at, self.run, self.began, self.records) = ([0; STREAMS], (0, 0), 0, 0);
        self.bytes = streams;
        let mut head = Cursor(head);
        for _ in 0..head.count()? {
            let (pid, tid) = (head.number()? as u32, head.number()? as u32);
            self.model.add_thread(Thread { pid, tid });
        }
        for _ in 0..head.count()? {
            let length = head.count()?;
            self.shapes.push(shape(head.take(length)?)?);
        }
        Ok(())
    }

    /// The next call, written over `call`, and its thread.
    pub fn next(&mut self, call: &mut Call) -> Result<Thread, Error> {
        if self.run.1 == 0 {
            let index = self.number(THREADS)?;
            self.run = (usize::try_from(index).map_err(|_| Error::DAMAGED)?, self.number(THREADS)?);
        }
        self.run.1 = self.run.1.checked_sub(1).ok_or(Error::DAMAGED)?;
        let number = usize::try_from(self.number(SHAPES)?).map_err(|_| Error::DAMAGED)?;
        let gap = self.signed(TIMES)?;
        let span = self.number(SPANS)?;
        self.began = self.began.wrapping_add(gap);
        let shape = self.shapes.get(number).ok_or(Error::DAMAGED)?;
        self.records += shape.steps.len() as u64 + 2;
        if self.records > RECORDS_MAX {
            return Err(Error::DAMAGED);
        }
        call.function = shape.function;
        call.failed = shape.flags & FAILED != 0;
        call.unfinished = shape.flags & UNFINISHED != 0;
        call.began = self.began.cast_unsigned();
        call.ended = call.began.saturating_add(span);
        call.steps.clear();
        call.steps.extend_from_slice(&shape.steps);
        let mut side = Streams { bytes: &self.bytes, at: &mut self.at, rules: shape.rules.iter() };
        self.model.walk(&mut side, self.run.0, call)?;
        self.model.threads.get(self.run.0).copied().ok_or(Error::DAMAGED)
    }

    fn number(&mut self, stream: usize) -> Result<u64, Error> {
        number(&self.bytes, &mut self.at, stream)
    }

    fn signed(&mut self, stream: usize) -> Result<i64, Error> {
        signed(&self.bytes, &mut self.at, stream)
    }
}

fn number(bytes: &[Vec<u8>; STREAMS], at: &mut [usize; STREAMS], stream: usize) -> Result<u64, Error> {
    let mut cursor = Cursor(bytes[stream].get(at[stream]..).ok_or(Error::DAMAGED)?);
    let number = cursor.number()?;
    at[stream] = bytes[stream].len() - cursor.0.len();
    Ok(number)
}

fn signed(bytes: &[Vec<u8>; STREAMS], at: &mut [usize; STREAMS], stream: usize) -> Result<i64, Error> {
    let number = number(bytes, at, stream)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

fn shape(bytes: &[u8]) -> Result<Shape, Error> {
    let mut cursor = Cursor(bytes);
    let small = |number: u64| u16::try_from(number).map_err(|_| Error::DAMAGED);
    let function = Function::from_number(cursor.number()? as u32);
    let flags = cursor.byte()?;
    let count = cursor.count()?;
    if count > STEPS_MAX {
        return Err(Error::DAMAGED);
    }
    let mut steps = Vec::with_capacity(count);
    for _ in 0..count {
        let (kind, outcome, n) = (small(cursor.number()?)?, small(cursor.number()?)?, cursor.number()?);
        steps.push(Record { kind, outcome, n: u32::try_from(n).map_err(|_| Error::DAMAGED)?, ..Record::default() });
    }
    Ok(Shape { function, flags, steps, rules: cursor.0.to_vec() })
}

struct Streams<'a> {
    bytes: &'a [Vec<u8>; STREAMS],
    at: &'a mut [usize; STREAMS],
    rules: std::slice::Iter<'a, u8>,
}

impl Side for Streams<'_> {
    fn number(&mut self, to: &mut u64, place: &Place) -> Result<(), Error> {
        let rule = *self.rules.next().ok_or(Error::DAMAGED)?;
        *to = match rule {
            rule::ZERO => 0,
            rule::EXPECTED => place.expected,
            rule::LAST => place.last,
            rule::PLAIN => number(self.bytes, self.at, PLAIN)?,
            rule::MORE | rule::MORE_UNITS => {
                let base = if place.expected != 0 { place.expected } else { place.last };
                let more = signed(self.bytes, self.at, ADDRESSES)?;
                let unit = if rule == rule::MORE { 1 } else { 16 };
                base.wrapping_add(more.wrapping_mul(unit).cast_unsigned())
            }
            rule::ORDER => {
                let sequence = place.sequence.wrapping_add(signed(self.bytes, self.at, ORDER)?);
                let at = usize::try_from(sequence).map_err(|_| Error::DAMAGED)?;
                *place.order.get(at).ok_or(Error::DAMAGED)?
            }
            shown => {
                let at = shown.checked_sub(rule::SHOWN).ok_or(Error::DAMAGED)?;
                *place.shown.get(usize::from(at)).ok_or(Error::DAMAGED)?
            }
        };
        Ok(())
    }
}
