//! The form of a capture file. All numbers are words of 8 bytes, the low byte first.
//!
//! ```text
//!  magic | container and schema versions | the processor's clock at the start | the time at the start, ns since 1970
//!  block: what was recorded (ABOUT)
//!  block: calls          at most some ten thousand, to be read without any other block
//!  block: calls ...
//!  block: a keyframe     now and then: the chunks in use before the next call
//!  block: calls ...
//!  block: how it ended (ABOUT)
//!  block: an index       the heads of all blocks, with their places
//!  the index's place | magic
//! ```
//!
//! A block is a head of 16 words and its content. The head has a sum over itself and one over the content; a file that was cut off is
//! read up to its last whole block, from head to head. The index saves just that.

use crate::hash::checksum;
use crate::{Error, bytes::Cursor};

pub const MAGIC: u64 = u64::from_le_bytes(*b"HGCAP\r\n\x1a");
pub const END_MAGIC: u64 = u64::from_le_bytes(*b"HGCAPend");
const BLOCK_MAGIC: u64 = u64::from_le_bytes(*b"HGblk\0\0\0");
/// Raised whenever the file's form changes; records have a version of their own.
pub const CONTAINER: u32 = 1;
pub const START_BYTES: usize = 32;
pub const END_BYTES: usize = 16;
pub const HEAD_BYTES: usize = 128;
/// The longest content that a reader makes room for.
pub const CONTENT_MAX: u64 = 1 << 30;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    About = 1,
    Calls = 2,
    Keyframe = 3,
    Index = 4,
    /// A later version's, to be passed over.
    Other = 0,
}

/// A block's head: where it is and what it holds, with figures of the heap when its last call had been made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Block {
    /// Where the head lies in the file. Not written in the head itself.
    pub offset: u64,
    pub kind: Kind,
    pub length: u64,
    pub sum: u64,
    /// Calls before it.
    pub first: u64,
    pub calls: u64,
    pub records: u64,
    /// The clock at its first call's begin and after its last, in the capture's ticks.
    pub began: u64,
    pub ended: u64,
    /// In use after its last call: bytes of chunks, chunks, bytes asked for.
    pub bytes: u64,
    pub chunks: u64,
    pub requested: u64,
    /// The most bytes of chunks in use at any moment of it.
    pub peak_bytes: u64,
    /// What the kernel had given by then.
    pub kernel_bytes: i64,
    /// A reading of both clocks: nanoseconds since the start, and the ticks that passed.
    pub nanos: u64,
    pub ticks: u64,
}

impl Block {
    pub fn of(kind: Kind) -> Block {
        Block {
            offset: 0,
            kind,
            length: 0,
            sum: 0,
            first: 0,
            calls: 0,
            records: 0,
            began: 0,
            ended: 0,
            bytes: 0,
            chunks: 0,
            requested: 0,
            peak_bytes: 0,
            kernel_bytes: 0,
            nanos: 0,
            ticks: 0,
        }
    }

    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let words = [
            BLOCK_MAGIC | (self.kind as u64) << 56,
            self.length,
            self.sum,
            self.first,
            self.calls,
            self.records,
            self.began,
            self.ended,
            self.bytes,
            self.chunks,
            self.requested,
            self.peak_bytes,
            self.kernel_bytes.cast_unsigned(),
            self.nanos,
            self.ticks,
        ];
        let mut bytes = [0; HEAD_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&bytes[..HEAD_BYTES - 8]);
        bytes[HEAD_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// A head that proves itself.
    pub fn from_bytes(bytes: &[u8], offset: u64) -> Result<Block, Error> {
        let whole = bytes.get(..HEAD_BYTES).ok_or(Error::DAMAGED)?;
        let mut cursor = Cursor(whole);
        let magic = cursor.word()?;
        if magic << 8 != BLOCK_MAGIC << 8 {
            return Err(Error::DAMAGED);
        }
        let kind = match magic >> 56 {
            1 => Kind::About,
            2 => Kind::Calls,
            3 => Kind::Keyframe,
            4 => Kind::Index,
            _ => Kind::Other,
        };
        let mut word = || cursor.word();
        let block = Block {
            offset,
            kind,
            length: word()?,
            sum: word()?,
            first: word()?,
            calls: word()?,
            records: word()?,
            began: word()?,
            ended: word()?,
            bytes: word()?,
            chunks: word()?,
            requested: word()?,
            peak_bytes: word()?,
            kernel_bytes: word()?.cast_signed(),
            nanos: word()?,
            ticks: word()?,
        };
        let is_whole = word()? == checksum(&whole[..HEAD_BYTES - 8]);
        if is_whole && block.length <= CONTENT_MAX { Ok(block) } else { Err(Error::DAMAGED) }
    }

    /// Where the next one begins.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(HEAD_BYTES as u64).saturating_add(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_and_proves_itself() {
        let head = Block { offset: 32, length: 77, first: 5, kernel_bytes: -4096, ticks: 9, ..Block::of(Kind::Calls) };
        let mut bytes = head.to_bytes();
        assert_eq!(Block::from_bytes(&bytes, 32).unwrap(), head);
        assert_eq!(head.end(), 32 + 128 + 77);
        bytes[40] ^= 1;
        assert!(Block::from_bytes(&bytes, 32).is_err());
        assert!(Block::from_bytes(&bytes[..100], 32).is_err());
    }
}
