//! What comes out of the rings when a program writes anything at all into them: given to everybody who listens, and what they kept
//! read again.

use crate::capture::{explain, record, stats};
use crate::explain::Collected;
use crate::feed::{Feed, Wishes};
use crate::heap::watch::calls::Ear;
use crate::output::{Known, Output};
use crate::trace::{self, Listener};
use heapglass_capture::{About, Capture, Writer};
use heapglass_event::record::{RECORD_BYTES, Record};
use heapglass_report::explain::explain as explained;
use heapglass_sampled::ears::Ears;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Rings that are written to, of so many processes. No process has such a number.
const RINGS: u32 = 3;
const NOBODY: u32 = 0x7000_0000;
/// A record of this kind doesn't go into a ring: its outcome says what else the program does.
const ACT: u16 = 0x7777;
/// Records that a ring claims to have more than were written, at most.
const CLAIMED: u32 = 10_000;
/// Calls of a recording that are explained.
const EXPLAINED: u64 = 3;

pub fn hear_all(bytes: &[u8]) {
    if bytes.len() < RECORD_BYTES {
        return;
    }
    let Ok(feed) = Feed::create(Wishes::default()) else { return };
    for counts_only in [false, true] {
        heard(&feed, bytes, trace::to_nowhere(counts_only)).finish("ended");
    }
    let _ = heard(&feed, bytes, Ear::default());
    let _ = explained(&heard(&feed, bytes, Collected::default()).drawn());
    let _ = heard(&feed, bytes, Ears::new(1 << 19)).finish();
    recorded(&feed, bytes);
}

/// Writes as the bytes say, and lets the listener hear what there is whenever they say so, and in the end.
fn heard<L: Listener>(feed: &Feed, bytes: &[u8], mut listener: L) -> L {
    let mut ring = 0;
    feed.forge(ring, |ring| ring.take(NOBODY, NOBODY));
    for piece in bytes.chunks_exact(RECORD_BYTES) {
        let mut words = piece.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let record = Record::of_words(std::array::from_fn(|_| words.next().unwrap_or(0)));
        if record.kind != ACT {
            feed.forge_record(ring, record);
            continue;
        }
        match record.outcome % 4 {
            0 => {
                ring = record.n % RINGS;
                feed.forge(ring, |ring| ring.take(NOBODY + record.n % RINGS, NOBODY.wrapping_add(record.n)));
            }
            1 => feed.forge(ring, |ring| ring.leave()),
            2 => feed.forge_head(ring, u64::from(record.n % CLAIMED)),
            _ => round(feed, &mut listener),
        }
    }
    for _ in 0..CLAIMED {
        round(feed, &mut listener);
        if feed.is_read() {
            break;
        }
    }
    listener
}

fn round<L: Listener>(feed: &Feed, listener: &mut L) {
    feed.read(|ring, thread, records| listener.hear(ring, thread, records));
    feed.reclaim(true, |ring| listener.leave(ring));
    listener.pause(feed);
}

/// What is recorded of it is a recording: all of it is read again, and told.
fn recorded(feed: &Feed, bytes: &[u8]) {
    let Ok(file) = memfd_create("heapglass-trial", MemfdFlags::CLOEXEC) else { return };
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let kept = File::from(file);
    let writing = kept.try_clone().and_then(|file| Writer::create(file, 0, &About::default()));
    let Ok(writer) = writing else { return };
    let Ok(output) = Output::new(&path, Known::of_program("given".as_ref()), true) else { return };
    let mut recorder = heard(feed, bytes, record::Recorder::new(writer, 1, output));
    let written = recorder.finish(&About::default());
    assert!(written.is_ok(), "what was told can't be written: {written:?}");
    let capture = Capture::open(&path).expect("what was written can be read");
    assert_eq!(capture.calls(), recorder.calls(), "calls are lost");
    stats::told(&capture, &path).expect("all calls can be read");
    for number in 1..=EXPLAINED.min(capture.calls()) {
        explain::told(&path, number).expect("a call that is there is told");
    }
}
