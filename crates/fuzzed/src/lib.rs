//! What the fuzzers do with their bytes. The programs in `fuzz/targets` give them to the functions here, and so does a test,
//! with the inputs in `fuzz/corpora`: so every input that once found something is tried again on each run of the tests.
//!
//! A function returns if all is well, and panics otherwise. Those that use the heap do so in a forked child, since there is one
//! heap in a process and a fault that it finds ends it: see `child`.

pub mod bytes;
pub mod child;
pub mod damage;
pub mod heap;
pub mod image;
pub mod settings;

use child::Ended;

/// A target by its name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    match name {
        "heap" => Some(sequence),
        "damage" => Some(damaged),
        "settings" => Some(settings::try_all),
        "readers" => Some(read),
        "captures" => Some(heapglass_capture::trial::read_all),
        _ => None,
    }
}

pub const TARGETS: [&str; 5] = ["heap", "damage", "settings", "readers", "captures"];

/// Everything that the command reads, and heaps that are read from outside.
pub fn read(bytes: &[u8]) {
    if !image::damaged(bytes) {
        heapglass_cli::readers::read_all(bytes);
    }
}

/// Any sequence of calls, held against a model.
pub fn sequence(bytes: &[u8]) {
    match child::run(|| heap::run(bytes)) {
        Ended::Well => {}
        other => panic!("{other:?}"),
    }
}

/// The same, with damage done in between: the process is stopped with one line, or goes on correctly.
pub fn damaged(bytes: &[u8]) {
    match child::run(|| damage::run(bytes)) {
        Ended::Well | Ended::Stopped(_) => {}
        other => panic!("{other:?}"),
    }
}
