//! What a chunk was asked for, where the heap itself keeps that: with canaries, whose last word says it and proves it.

use crate::find::{Target, at};
use crate::memory::{Memory, bytes, u64_in};
use crate::trouble::Result;
use heapglass_event::root::{canary, canary_base, canary_slack};
use std::cell::RefCell;

/// Read at a time: chunks are asked about in the order in which they lie.
const BLOCK: u64 = 64 << 10;
/// A canary's own word.
const TAIL: u64 = 8;

pub struct Asked<'a> {
    memory: &'a dyn Memory,
    /// `None` where there are no canaries.
    keys: Option<[u64; 2]>,
    /// What was read last, and where it begins.
    block: RefCell<(u64, Vec<u8>)>,
}

impl Asked<'_> {
    pub fn read(target: &Target) -> Result<Asked<'_>> {
        let (memory, layout) = (&*target.memory, &target.layout);
        let mut parts = [0; 4];
        memory.read(at!(layout, canary.parts), &mut parts)?;
        let is_on = u64::from(u32::from_le_bytes(parts)) & at!(layout, canary.bit) != 0;
        let keys = match is_on {
            true => {
                let keys = bytes(memory, at!(layout, canary.keys), 16)?;
                Some([u64_in(&keys, 0), u64_in(&keys, 8)])
            }
            false => None,
        };
        Ok(Asked { memory, keys, block: RefCell::default() })
    }

    /// Of a chunk in use with so many bytes for its user, the last of them the canary's; `None` where there is none, or it is damaged.
    pub fn of(&self, user: u64, room: u64) -> Option<u64> {
        let base = canary_base(self.keys?, user);
        let most = room.checked_sub(TAIL)?;
        let last = self.word(user.checked_add(most)?)?;
        let slack = canary_slack(base, last);
        (slack <= most && last == canary(base, slack)).then(|| most - slack)
    }

    fn word(&self, at: u64) -> Option<u64> {
        let mut block = self.block.borrow_mut();
        let (start, bytes) = &mut *block;
        let is_there = at.checked_sub(*start).is_some_and(|within| within.saturating_add(TAIL) <= bytes.len() as u64);
        if !is_there {
            bytes.resize(BLOCK as usize, 0);
            *start = at;
            // Where memory ends, one word may be all.
            if self.memory.read(at, bytes).is_err() {
                bytes.truncate(TAIL as usize);
                if self.memory.read(at, bytes).is_err() {
                    bytes.clear();
                    return None;
                }
            }
        }
        let place = usize::try_from(at - *start).ok()?;
        Some(u64_in(bytes, place))
    }
}
