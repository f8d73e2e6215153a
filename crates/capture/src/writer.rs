//! Writing a capture: calls become blocks, and now and then a block of all chunks in use, from which a reader can start. A block is
//! written whole by one call of the kernel's; if that fails, the file is cut back to the block before and closed.

use crate::block::{Block, CONTAINER, END_MAGIC, HEAD_BYTES, Kind, MAGIC};
use crate::bytes::put;
use crate::calls::{Call, Thread};
use crate::hash::checksum;
use crate::pack::Packer;
use crate::state::State;
use crate::{About, Error, TICK_SHIFT, zstd};
use heapglass_event::record::{Kind as Step, Outcome, Record, SCHEMA};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::time::{Duration, Instant};

/// Calls and records of a block, and its bytes before compression, about.
const CALLS: u64 = 1 << 16;
const RECORDS: u64 = 1 << 20;
const BYTES: usize = 4 << 20;
/// A call's records at most: what is more is said to be dropped.
const STEPS_MAX: usize = 1 << 19;
/// Calls from one keyframe to the next at least; where many chunks are in use, three for four of them: a chunk takes three to four
/// bytes of a keyframe.
const KEYFRAME: u64 = 1 << 17;
/// What was told longer ago than that is written, though the block isn't full.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Writer {
    /// `None` once it couldn't be written.
    file: Option<File>,
    start: Instant,
    tick: u64,
    end: u64,
    packer: Packer,
    state: State,
    blocks: Vec<Block>,
    open: Block,
    opened: Instant,
    last_keyframe: u64,
    /// Ticks and nanoseconds since the start, read at once.
    clock: (u64, u64),
    pub records: u64,
    pub peak_bytes: u64,
    pub peak_call: u64,
}

impl Writer {
    /// Begins a capture in an empty file. `tick` is the processor's clock now.
    pub fn create(file: File, tick: u64, about: &About) -> io::Result<Writer> {
        let mut writer = Writer {
            file: Some(file),
            start: Instant::now(),
            tick,
            end: 0,
            packer: Packer::default(),
            state: State::default(),
            blocks: Vec::new(),
            open: Block::of(Kind::Calls),
            opened: Instant::now(),
            last_keyframe: 0,
            clock: (0, 0),
            records: 0,
            peak_bytes: 0,
            peak_call: 0,
        };
        let mut start = Vec::new();
        let versions = u64::from(CONTAINER) | u64::from(SCHEMA) << 32;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        for word in [MAGIC, versions, tick, now.as_nanos() as u64] {
            start.extend_from_slice(&word.to_le_bytes());
        }
        writer.write(&start)?;
        writer.about(about)?;
        Ok(writer)
    }

    /// Chunks in use after the last call.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Calls that stand in the file by now.
    pub fn written(&self) -> u64 {
        let calls = self.blocks.iter().filter(|block| block.kind == Kind::Calls);
        calls.map(|block| block.calls).sum()
    }

    /// Takes the next call, which is changed to what a reader will find. Its clock is the processor's.
    pub fn add(&mut self, thread: Thread, call: &mut Call) -> io::Result<()> {
        call.began = call.began.saturating_sub(self.tick) >> TICK_SHIFT;
        call.ended = call.ended.saturating_sub(self.tick) >> TICK_SHIFT;
        if call.steps.len() > STEPS_MAX {
            let left_out = call.steps.len() - STEPS_MAX;
            call.steps.truncate(STEPS_MAX);
            call.steps.push(Record::new(Step::Dropped, Outcome::Done, 0, [left_out, 0, 0]));
        }
        if self.packer.calls == 0 {
            self.open =
                Block { first: self.state.calls, began: call.began, ended: call.began, ..Block::of(Kind::Calls) };
            self.open.peak_bytes = self.state.bytes;
            self.opened = Instant::now();
        }
        self.packer.add(thread, call).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        self.state.apply(thread, call);
        self.open.ended = self.open.ended.max(call.ended);
        self.open.peak_bytes = self.open.peak_bytes.max(self.state.bytes);
        if self.state.bytes > self.peak_bytes {
            (self.peak_bytes, self.peak_call) = (self.state.bytes, self.state.calls);
        }
        let is_full = self.packer.calls >= CALLS || self.packer.records >= RECORDS || self.packer.length() >= BYTES;
        if is_full { self.flush() } else { Ok(()) }
    }

    /// To be called now and then, and before the end, with the processor's clock: writes what has waited for long.
    pub fn pause(&mut self, tick: u64) -> io::Result<()> {
        self.clock = (tick.saturating_sub(self.tick) >> TICK_SHIFT, self.start.elapsed().as_nanos() as u64);
        let waits = self.packer.calls > 0 && self.opened.elapsed() > PATIENCE;
        if waits { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.packer.calls == 0 {
            return Ok(());
        }
        let mut block = self.open;
        (block.calls, block.records) = (self.packer.calls, self.packer.records);
        self.records += block.records;
        let content = self.packer.finish();
        self.put(block, &content)?;
        if self.state.calls - self.last_keyframe >= KEYFRAME.max(self.state.chunks() as u64 / 4 * 3) {
            self.last_keyframe = self.state.calls;
            let content = self.state.pack();
            self.put(Block { first: self.state.calls, ..Block::of(Kind::Keyframe) }, &content)?;
        }
        Ok(())
    }

    fn about(&mut self, about: &About) -> io::Result<()> {
        let mut pairs = Vec::new();
        for (key, value) in &about.0 {
            for bytes in [key.as_bytes(), value.as_bytes()] {
                put(&mut pairs, bytes.len() as u64);
                pairs.extend_from_slice(bytes);
            }
        }
        let mut content = Vec::new();
        zstd::pack(&pairs, &mut content);
        self.put(Block { first: self.state.calls, ..Block::of(Kind::About) }, &content)
    }

    /// The last of it: how it ended, and the index. Bytes of the whole file. What could be written before a failure gets them all the
    /// same; where there is no room for them, blocks of the end make some.
    pub fn finish(&mut self, about: &About) -> io::Result<u64> {
        let flushed = self.flush();
        let closed = self.close(about);
        let mut is_closed = closed.is_ok();
        while !is_closed && self.give_up_a_block() {
            is_closed = self.close(about).is_ok();
        }
        flushed.and(closed).map(|()| self.end)
    }

    /// Both, or nothing.
    fn close(&mut self, about: &About) -> io::Result<()> {
        let (end, count) = (self.end, self.blocks.len());
        let done = self.about(about).and_then(|()| self.index());
        if done.is_err() {
            self.end = end;
            self.blocks.truncate(count);
            self.cut();
        }
        done
    }

    fn index(&mut self) -> io::Result<()> {
        let mut heads = Vec::new();
        for block in &self.blocks {
            heads.extend_from_slice(&block.offset.to_le_bytes());
            heads.extend_from_slice(&block.to_bytes());
        }
        let mut content = Vec::new();
        zstd::pack(&heads, &mut content);
        let place = self.end;
        self.put(Block { first: self.state.calls, ..Block::of(Kind::Index) }, &content)?;
        let mut end = place.to_le_bytes().to_vec();
        end.extend_from_slice(&END_MAGIC.to_le_bytes());
        self.write(&end)
    }

    /// Takes the last block away, but not the first, which says what was recorded.
    fn give_up_a_block(&mut self) -> bool {
        if self.blocks.len() < 2 {
            return false;
        }
        if let Some(block) = self.blocks.pop() {
            self.end = block.offset;
            self.cut();
        }
        self.file.is_some()
    }

    fn put(&mut self, mut block: Block, content: &[u8]) -> io::Result<()> {
        block.offset = self.end;
        (block.length, block.sum) = (content.len() as u64, checksum(content));
        let state = &self.state;
        (block.bytes, block.chunks, block.requested) = (state.bytes, state.chunks() as u64, state.requested);
        block.kernel_bytes = state.kernel_bytes;
        (block.ticks, block.nanos) = self.clock;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len());
        bytes.extend_from_slice(&block.to_bytes());
        bytes.extend_from_slice(content);
        self.write(&bytes)?;
        self.blocks.push(block);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let written = file.write_all(bytes);
        match &written {
            Ok(()) => self.end += bytes.len() as u64,
            // A part of it may be there.
            Err(_) => self.cut(),
        }
        written
    }

    /// Cuts the file back to the end of what is whole.
    fn cut(&mut self) {
        let Some(file) = &mut self.file else { return };
        let cut = file.set_len(self.end).and_then(|()| file.seek(io::SeekFrom::Start(self.end)));
        if cut.is_err() {
            self.file = None;
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}
