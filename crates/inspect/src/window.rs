//! The headers of a heap, read in passing: a block at a time where chunks are short, a page where they are long, and never a page
//! that isn't there, since looking at it would bring it into being.

use crate::memory::{Memory, Range};
use crate::trouble::{Result, Trouble};

const LEAST: u64 = 4096;
const MOST: u64 = 1 << 20;

pub struct Window<'a> {
    memory: &'a dyn Memory,
    /// Where the walk may come.
    within: Range,
    resident: Vec<Range>,
    /// The first run that isn't behind us.
    run: usize,
    block: Vec<u8>,
    start: u64,
    length: u64,
}

impl<'a> Window<'a> {
    pub fn new(memory: &'a dyn Memory, within: Range) -> Result<Window<'a>> {
        let resident = memory.resident(within)?;
        Ok(Window { memory, within, resident, run: 0, block: Vec::new(), start: 0, length: LEAST * 16 })
    }

    /// What was read is read anew; the range may have another end.
    pub fn forget(&mut self, within: Range) -> Result<()> {
        self.block.clear();
        (self.within, self.run, self.length) = (within, 0, LEAST);
        self.resident = self.memory.resident(within)?;
        Ok(())
    }

    pub fn resident(&self) -> &[Range] {
        &self.resident
    }

    /// The bytes from here on, `want` of them or as many as there are before the end.
    #[inline]
    pub fn bytes(&mut self, at: u64, want: u64) -> Result<&[u8]> {
        let want = want.min(self.within.end.saturating_sub(at));
        let end = self.start + self.block.len() as u64;
        if at < self.start || at + want > end || self.block.is_empty() {
            self.fill(at, want, end)?;
        }
        let from = (at - self.start) as usize;
        self.block.get(from..from + want as usize).ok_or(Trouble::Unreadable(at))
    }

    #[cold]
    fn fill(&mut self, at: u64, want: u64, end: u64) -> Result<()> {
        let goes_on = !self.block.is_empty() && self.start <= at && at < end + LEAST;
        self.length = if goes_on { (self.length * 2).min(MOST) } else { LEAST };
        // Runs are by address; a step back begins again.
        if self.resident.get(self.run).is_none_or(|run| run.start > at) {
            self.run = self.resident.partition_point(|run| run.end <= at);
        }
        while self.resident.get(self.run).is_some_and(|run| run.end <= at) {
            self.run += 1;
        }
        let page = self.memory.page();
        // A page that came, or was swapped out, since we asked is read by itself.
        let by_itself = (at + want).next_multiple_of(page);
        let stop = match self.resident.get(self.run).filter(|run| run.holds(at)) {
            Some(run) => run.end.min(at + self.length).max(by_itself),
            None => by_itself,
        };
        let stop = stop.min(self.within.end);
        // What it held is read over; only what is longer than that has to be made.
        self.block.resize(stop.saturating_sub(at) as usize, 0);
        self.start = at;
        let read = self.memory.read(at, &mut self.block);
        if read.is_err() {
            self.block.clear();
        }
        read
    }
}
