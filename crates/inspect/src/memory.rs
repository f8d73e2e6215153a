//! What a target is to the rest: bytes by address, what is mapped, what is resident, which threads there are.

use crate::maps::Mapping;
use crate::trouble::{Result, Trouble};
use std::cell::RefCell;
use std::collections::HashMap;

/// `start..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, PartialOrd, Ord)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    #[inline]
    pub fn new(start: u64, end: u64) -> Range {
        Range { start, end: end.max(start) }
    }

    /// As memory tells of it, which may be damaged: within all addresses.
    pub fn told(start: u64, length: u64) -> Range {
        Range::new(start.min(ADDRESS_MAX), start.saturating_add(length).min(ADDRESS_MAX))
    }

    #[inline]
    pub fn bytes(self) -> u64 {
        self.end - self.start
    }

    #[inline]
    pub fn holds(self, at: u64) -> bool {
        self.start <= at && at < self.end
    }

    #[inline]
    pub fn meets(self, other: Range) -> Range {
        let start = self.start.max(other.start);
        Range::new(start, self.end.min(other.end))
    }
}

pub trait Memory: Sync {
    /// Reads all of `into`, or fails.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()>;
    /// All that is mapped, by address.
    fn mappings(&self) -> Result<Vec<Mapping>>;
    /// As `mappings`, with what the kernel says is resident of each; `None` where there is no kernel to ask.
    fn accounted(&self) -> Result<Option<Vec<Mapping>>> {
        Ok(None)
    }
    /// The parts of a range that are in memory, by address, in whole pages. Of a core, the parts that the
    /// file has.
    fn resident(&self, range: Range) -> Result<Vec<Range>>;
    /// Ids of its threads; empty where nobody knows.
    fn threads(&self) -> Vec<u32>;
    /// May somebody write to it while it is read?
    fn runs(&self) -> bool;
    /// Nobody does from here on.
    fn set_still(&mut self) {}
    fn page(&self) -> u64 {
        4096
    }
}

/// Numbers from memory.
#[inline]
pub fn u64_in(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[inline]
pub fn u32_in(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub fn word(memory: &dyn Memory, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    memory.read(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Addresses of programs stay below this, with room for what is added to them.
pub const ADDRESS_MAX: u64 = 1 << 56;

/// Bytes and chunks that one arena, or one allocation, can have: so many that the sum over all arenas is still a number.
pub const AMOUNT_MAX: u64 = 1 << 47;

/// As `word`, for one that is an address.
pub fn place(memory: &dyn Memory, at: u64) -> Result<u64> {
    match word(memory, at)? {
        place if place < ADDRESS_MAX => Ok(place),
        other => Err(Trouble::Records(format!("the word at {at:#x} should be an address and is {other:#x}"))),
    }
}

pub fn bytes(memory: &dyn Memory, at: u64, length: u64) -> Result<Vec<u8>> {
    // No record of the heap's is longer; a length from damaged memory shall not be ours to allocate.
    if length > 256 << 20 {
        return Err(Trouble::Records(format!("something at {at:#x} would be {length} bytes long")));
    }
    let mut into = vec![0; length as usize];
    memory.read(at, &mut into)?;
    Ok(into)
}

/// Words here and there, as lists lead: pages that were read once are kept, within a bound.
pub struct Pages<'a> {
    memory: &'a dyn Memory,
    kept: RefCell<HashMap<u64, Box<[u8]>>>,
    page: u64,
}

/// Kept at most: 64 MiB.
const KEPT: usize = 16384;

impl<'a> Pages<'a> {
    pub fn new(memory: &'a dyn Memory) -> Pages<'a> {
        Pages { memory, kept: RefCell::default(), page: 4096 }
    }

    /// Forgets everything, so that it is read anew.
    pub fn forget(&self) {
        self.kept.borrow_mut().clear();
    }

    pub fn word(&self, at: u64) -> Result<u64> {
        if !at.is_multiple_of(8) {
            return Err(Trouble::Unreadable(at));
        }
        let (page, within) = (at & !(self.page - 1), (at & (self.page - 1)) as usize);
        let mut kept = self.kept.borrow_mut();
        if let Some(bytes) = kept.get(&page) {
            return Ok(u64_in(bytes, within));
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let mut bytes = vec![0; self.page as usize].into_boxed_slice();
        self.memory.read(page, &mut bytes)?;
        let word = u64_in(&bytes, within);
        kept.insert(page, bytes);
        Ok(word)
    }
}
