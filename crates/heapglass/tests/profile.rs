//! A Rust program that takes a profile of itself.

use flate2::read::GzDecoder;
use heapglass::Heapglass;
use heapglass::profile;
use std::hint::black_box;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static A: Heapglass = Heapglass;

/// There is one profile in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline(never)]
fn holds_much() -> Vec<Vec<u8>> {
    (0..64).map(|_| black_box(vec![1u8; 100_000])).collect()
}

#[inline(never)]
fn gives_all_back() {
    for _ in 0..64 {
        drop(black_box(vec![1u8; 100_000]));
    }
}

/// Bytes in use below a function, by the lines of folded stacks.
fn held_by(function: &str) -> u64 {
    let text = String::from_utf8(profile::folded()).unwrap();
    let lines = text.lines().filter(|line| line.contains(function));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn what_is_held_is_told_by_who_allocated_it() {
    let _alone = alone();
    profile::start(1).unwrap();
    let kept = holds_much();
    gives_all_back();
    let bytes = held_by("profile::holds_much");
    assert!((6_400_000..6_410_000).contains(&bytes), "{bytes}");
    assert_eq!(held_by("profile::gives_all_back"), 0);
    drop(kept);
    assert_eq!(held_by("profile::holds_much"), 0);
    // What the reader needs for itself is nobody's.
    assert_eq!(held_by("heapglass::profile"), 0);
    assert_eq!(held_by("heapglass_sampled"), 0);
    profile::stop();
    assert_eq!(heapglass::check(), 0);
}

#[test]
fn pprofs_form_is_packed_and_names_functions() {
    let _alone = alone();
    profile::start(16 << 10).unwrap();
    let kept = holds_much();
    let mut plain = Vec::new();
    GzDecoder::new(&*profile::pprof()).read_to_end(&mut plain).unwrap();
    for name in ["inuse_space", "alloc_objects", "holds_much", "profile.rs"] {
        assert!(plain.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    let svg = String::from_utf8(profile::flamegraph()).unwrap();
    assert!(svg.contains("holds_much"), "{svg}");
    drop(kept);
    profile::stop();
}

#[test]
fn without_a_start_the_first_call_begins_it_and_a_stop_ends_it() {
    let _alone = alone();
    profile::stop();
    assert!(!profile::pprof().is_empty());
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| (0..200).map(|_| holds_much().len()).sum::<usize>())).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 12_800));
    let mut plain = Vec::new();
    GzDecoder::new(&*profile::pprof()).read_to_end(&mut plain).unwrap();
    assert!(plain.windows(10).any(|window| window == b"holds_much"), "5 GB were allocated, sampled each 512 KiB");
    profile::stop();
    profile::start(1).unwrap();
    assert_eq!(held_by("holds_much"), 0);
    profile::stop();
}
