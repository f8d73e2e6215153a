//! Everything that a reader of captures takes from a file, given any bytes at all: for fuzzers and the tests that replay what they
//! found. Bytes may be refused; nothing may stop the process.

use crate::block::{Block, CONTAINER, Kind, MAGIC};
use crate::calls::{Call, Thread};
use crate::hash::checksum;
use crate::pack::{Packer, STREAMS};
use crate::unpack::Unpacker;
use crate::{Capture, Error, State};
use heapglass_event::record::SCHEMA;

/// Calls that are read of what claims to have more.
const CALLS: usize = 20_000;

pub fn read_all(bytes: &[u8]) {
    let _ = whole(bytes.to_vec());
    // The sums would keep nearly all bytes from getting any further.
    let _ = whole(framed(Kind::Calls, bytes));
    let _ = whole(framed(Kind::Keyframe, bytes));
    let _ = State::unpack(bytes);
    let _ = streams(bytes);
}

fn whole(bytes: Vec<u8>) -> Result<(), Error> {
    let capture = Capture::from_bytes(bytes)?;
    let summary = capture.summary();
    let mut events = capture.events(1);
    for _ in 0..CALLS {
        if events.next()?.is_none() {
            break;
        }
    }
    capture.state_at(summary.calls.min(CALLS as u64)).map(drop)
}

/// A capture of one block, which has this content.
fn framed(kind: Kind, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [MAGIC, u64::from(CONTAINER) | u64::from(SCHEMA) << 32, 0, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let block = Block {
        length: content.len() as u64,
        sum: checksum(content),
        calls: if kind == Kind::Calls { CALLS as u64 } else { 0 },
        ..Block::of(kind)
    };
    bytes.extend_from_slice(&block.to_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// The streams of a block as they are after unpacking: the table and each of them begin with their length, a byte. What calls they
/// have must come back when they are packed again.
fn streams(bytes: &[u8]) -> Result<(), Error> {
    let mut rest = bytes;
    let mut piece = || {
        let (length, behind) = rest.split_first().unwrap_or((&0, &[]));
        let (piece, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        piece.to_vec()
    };
    let head = piece();
    let streams: [Vec<u8>; STREAMS] = std::array::from_fn(|_| piece());
    let mut unpacker = Unpacker::default();
    unpacker.start_with(&head, streams)?;
    let mut calls: Vec<(Thread, Call)> = Vec::new();
    let mut packer = Packer::default();
    let mut call = Call::default();
    let mut steps = 0;
    while calls.len() < CALLS && steps < CALLS {
        let Ok(thread) = unpacker.next(&mut call) else { break };
        steps += call.steps.len();
        packer.add(thread, &mut call.clone())?;
        calls.push((thread, call.clone()));
    }
    unpacker.start(&packer.finish())?;
    for (thread, known) in &calls {
        assert_eq!(unpacker.next(&mut call)?, *thread);
        assert_eq!(call, *known);
    }
    Ok(())
}
