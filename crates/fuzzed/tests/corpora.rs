//! Every input in `fuzz/corpora` is given to its target once more.

use heapglass_fuzzed::{TARGETS, target};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// The targets fork, and move descriptors: one at a time.
static ALONE: Mutex<()> = Mutex::new(());
/// Of one target; they are to stay small.
const BYTES_MAX: u64 = 64 << 10;

fn replay(name: &str) {
    let _alone = ALONE.lock();
    let target = target(name).expect("there is such a target");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpora").join(name);
    let mut bytes = 0;
    let mut inputs: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{}: nothing there", dir.display());
    for path in inputs {
        let input = fs::read(&path).unwrap();
        bytes += input.len() as u64;
        println!("{}", path.display());
        target(&input);
    }
    assert!(bytes <= BYTES_MAX, "{name}: {bytes} bytes; make the corpus smaller");
}

#[test]
fn every_target_has_a_corpus_here() {
    assert_eq!(TARGETS, ["heap", "damage", "settings", "readers", "captures"]);
}

#[test]
fn sequences_of_calls() {
    replay("heap");
}

#[test]
fn sequences_with_damage() {
    replay("damage");
}

#[test]
fn settings() {
    replay("settings");
}

#[test]
fn what_the_command_reads() {
    replay("readers");
}

#[test]
fn recordings() {
    replay("captures");
}
