//! Reading a capture: its blocks, its calls from any one on, the chunks in use at any moment. One block is in memory at a time.

use crate::block::{Block, CONTAINER, END_BYTES, END_MAGIC, HEAD_BYTES, Kind, MAGIC, START_BYTES};
use crate::bytes::Cursor;
use crate::calls::{Call, Thread};
use crate::hash::checksum;
use crate::state::State;
use crate::unpack::Unpacker;
use crate::{About, Error, TICK_SHIFT, zstd};
use heapglass_event::record::SCHEMA;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub struct Capture {
    source: Source,
    /// Blocks of calls.
    blocks: Vec<Block>,
    keyframes: Vec<Block>,
    pub about: About,
    /// Its end is there: nothing of the recording is missing.
    pub is_closed: bool,
    /// Nanoseconds since 1970 at its start, and the processor's clock then.
    pub started: u64,
    pub tick: u64,
    nanos_per_tick: f64,
}

enum Source {
    File(File, u64),
    Bytes(Vec<u8>),
}

/// A call of a capture.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Calls are numbered from 1.
    pub number: u64,
    pub thread: Thread,
    /// Its clock is the capture's: see `Capture::nanos`.
    pub call: Call,
}

/// What a capture holds, as far as its blocks' heads tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    pub calls: u64,
    pub records: u64,
    /// Bytes of the file.
    pub length: u64,
    pub nanos: u64,
    /// Bytes of chunks in use at most, and at the end.
    pub peak_bytes: u64,
    pub bytes: u64,
    pub chunks: u64,
    pub requested: u64,
    pub kernel_bytes: i64,
}

/// More calls than any program makes, with room for what is added to a number of one.
const CALLS_MAX: u64 = 1 << 60;

impl Capture {
    pub fn open(path: &Path) -> Result<Capture, Error> {
        let file = File::open(path).map_err(Error::Io)?;
        let about = file.metadata().map_err(Error::Io)?;
        if !about.is_file() {
            return Err(Error::NotACapture);
        }
        Capture::of(Source::File(file, about.len()))
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Result<Capture, Error> {
        Capture::of(Source::Bytes(bytes))
    }

    fn of(source: Source) -> Result<Capture, Error> {
        let start = source.read(0, START_BYTES as u64).map_err(|_| Error::NotACapture)?;
        let mut cursor = Cursor(&start);
        if cursor.word()? != MAGIC {
            return Err(Error::NotACapture);
        }
        let versions = cursor.word()?;
        let (container, schema) = (versions as u32, (versions >> 32) as u32);
        if container != CONTAINER || schema != SCHEMA {
            return Err(Error::Version { container, schema });
        }
        let (tick, started) = (cursor.word()?, cursor.word()?);
        let (blocks, is_closed) = match source.index() {
            Some(blocks) => (blocks, true),
            None => (source.scan(), false),
        };
        let last = blocks.last().filter(|block| block.ticks > 0);
        let nanos_per_tick = last.map_or(1.0, |block| block.nanos as f64 / block.ticks as f64);
        let mut about = About::default();
        for block in blocks.iter().filter(|block| block.kind == Kind::About) {
            if let Ok(content) = source.content(block) {
                about.read(&content)?;
            }
        }
        let of = |kind: Kind| blocks.iter().filter(|block| block.kind == kind).copied().collect();
        let (calls, keyframes): (Vec<Block>, Vec<Block>) = (of(Kind::Calls), of(Kind::Keyframe));
        // Each block goes on where the one before it ended.
        let mut next = 0;
        for block in &calls {
            if block.first != next {
                return Err(Error::DAMAGED);
            }
            next = block.first.checked_add(block.calls).filter(|next| *next < CALLS_MAX).ok_or(Error::DAMAGED)?;
        }
        Ok(Capture { source, blocks: calls, keyframes, about, is_closed, started, tick, nanos_per_tick })
    }

    /// Blocks of calls, with figures of the heap after each.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub fn calls(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.first + block.calls)
    }

    pub fn summary(&self) -> Summary {
        let last = self.blocks.last();
        Summary {
            calls: self.calls(),
            records: self.blocks.iter().fold(0, |sum: u64, block| sum.saturating_add(block.records)),
            length: self.source.length(),
            nanos: last.map_or(0, |block| self.nanos(block.ended)),
            peak_bytes: self.blocks.iter().map(|block| block.peak_bytes).max().unwrap_or(0),
            bytes: last.map_or(0, |block| block.bytes),
            chunks: last.map_or(0, |block| block.chunks),
            requested: last.map_or(0, |block| block.requested),
            kernel_bytes: last.map_or(0, |block| block.kernel_bytes),
        }
    }

    /// Nanoseconds from the start to a tick of the capture's clock.
    pub fn nanos(&self, tick: u64) -> u64 {
        (tick as f64 * self.nanos_per_tick) as u64
    }

    /// Nanoseconds that a tick of the capture lasts.
    pub fn nanos_per_tick(&self) -> f64 {
        self.nanos_per_tick
    }

    /// The calls from this number on.
    pub fn events(&self, from: u64) -> Events<'_> {
        let next = from.max(1);
        let block = self.blocks.partition_point(|block| block.first + block.calls < next);
        Events { capture: self, unpacker: Unpacker::default(), block, left: 0, wanted: next, event: Event::default() }
    }

    /// One call.
    pub fn event(&self, number: u64) -> Result<Option<Event>, Error> {
        Ok(self.events(number).next()?.cloned())
    }

    /// The chunks in use after so many calls.
    pub fn state_at(&self, calls: u64) -> Result<State, Error> {
        let calls = calls.min(self.calls());
        let keyframe = self.keyframes.iter().rev().find(|keyframe| keyframe.first <= calls);
        let mut state = match keyframe {
            Some(keyframe) => State::unpack(&self.source.content(keyframe)?)?,
            None => State::default(),
        };
        if keyframe.is_some_and(|keyframe| keyframe.first != state.calls) {
            return Err(Error::DAMAGED);
        }
        let mut events = self.events(state.calls + 1);
        while state.calls < calls {
            let Some(event) = events.next()? else { break };
            state.apply(event.thread, &event.call);
        }
        Ok(state)
    }
}

/// Calls, one after the other.
pub struct Events<'a> {
    capture: &'a Capture,
    unpacker: Unpacker,
    /// The next block, and what is left of the one before.
    block: usize,
    left: u64,
    wanted: u64,
    event: Event,
}

impl Events<'_> {
    /// The next call, until the one after it is asked for; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "what it returns is lent")]
    pub fn next(&mut self) -> Result<Option<&Event>, Error> {
        loop {
            if self.left == 0 {
                let Some(block) = self.capture.blocks.get(self.block) else { return Ok(None) };
                self.unpacker.start(&self.capture.source.content(block)?)?;
                self.block += 1;
                self.left = block.calls;
                self.event.number = block.first;
                continue;
            }
            self.event.thread = self.unpacker.next(&mut self.event.call)?;
            self.event.number += 1;
            self.left -= 1;
            if self.event.number >= self.wanted {
                return Ok(Some(&self.event));
            }
        }
    }
}

impl Source {
    fn length(&self) -> u64 {
        match self {
            Source::File(_, length) => *length,
            Source::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        if offset.checked_add(length).is_none_or(|end| end > self.length()) {
            return Err(Error::DAMAGED);
        }
        match self {
            Source::File(file, _) => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, offset).map_err(Error::Io)?;
                Ok(bytes)
            }
            Source::Bytes(bytes) => Ok(bytes[offset as usize..(offset + length) as usize].to_vec()),
        }
    }

    fn head(&self, offset: u64) -> Result<Block, Error> {
        let block = Block::from_bytes(&self.read(offset, HEAD_BYTES as u64)?, offset)?;
        if block.end() <= self.length() { Ok(block) } else { Err(Error::DAMAGED) }
    }

    fn content(&self, block: &Block) -> Result<Vec<u8>, Error> {
        let content = self.read(block.offset + HEAD_BYTES as u64, block.length)?;
        if checksum(&content) == block.sum { Ok(content) } else { Err(Error::DAMAGED) }
    }

    /// All blocks by the index at the end; `None` where there is none that fits.
    fn index(&self) -> Option<Vec<Block>> {
        let end = self.read(self.length().checked_sub(END_BYTES as u64)?, END_BYTES as u64).ok()?;
        let mut end = Cursor(&end);
        let (place, magic) = (end.word().ok()?, end.word().ok()?);
        if magic != END_MAGIC {
            return None;
        }
        let index = self.head(place).ok().filter(|block| block.kind == Kind::Index)?;
        let content = self.content(&index).ok()?;
        let mut heads = Vec::new();
        zstd::unpack(&mut Cursor(&content), &mut heads).ok()?;
        let mut cursor = Cursor(&heads);
        let mut blocks = Vec::new();
        while !cursor.is_empty() {
            let offset = cursor.word().ok()?;
            let block = Block::from_bytes(cursor.take(HEAD_BYTES).ok()?, offset).ok()?;
            if block.end() > place {
                return None;
            }
            blocks.push(block);
        }
        Some(blocks)
    }

    /// All whole blocks, from head to head.
    fn scan(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut offset = START_BYTES as u64;
        while let Ok(block) = self.head(offset) {
            offset = block.end();
            blocks.push(block);
        }
        // Of the last one, the content may have been lost with the machine.
        while blocks.last().is_some_and(|block| self.content(block).is_err()) {
            blocks.pop();
        }
        blocks
    }
}

/// The processor's clock at a tick of the capture.
impl Capture {
    pub fn processor_tick(&self, tick: u64) -> u64 {
        self.tick.wrapping_add(tick << TICK_SHIFT)
    }
}
