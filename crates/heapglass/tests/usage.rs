//! Tests of a program's own that say how much its functions ask of the heap, as a user of the crate would write them.

use heapglass::{Heapglass, usage};
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[global_allocator]
static A: Heapglass = Heapglass;

/// Words by their first letter.
fn sorted(words: &str) -> Vec<Vec<&str>> {
    let mut lists: Vec<Vec<&str>> = (0..26).map(|_| Vec::with_capacity(4)).collect();
    for word in words.split(' ') {
        lists[usize::from(word.as_bytes()[0] - b'a')].push(word);
    }
    lists
}

/// A chunk for a request of so many bytes.
fn chunk(request: u64) -> u64 {
    ((request + 8 + 15) & !15).max(32)
}

/// What so many such chunks may have: each is 16 bytes longer where what was left was too short for a chunk of its own.
fn chunks(count: u64, request: u64) -> RangeInclusive<u64> {
    count * chunk(request)..=count * (chunk(request) + 16)
}

#[test]
fn a_function_asks_for_what_it_says() {
    let (lists, seen) = usage(|| sorted("chunk arena bin cache top"));
    let (outer, inner) = (chunks(1, 26 * 24), chunks(26, 4 * 16));
    // One list for all, and one for each letter.
    assert_eq!((seen.allocations, seen.kept_allocations), (27, 27));
    assert!((outer.start() + inner.start()..=outer.end() + inner.end()).contains(&seen.bytes), "{seen:?}");
    assert_eq!((seen.peak_bytes, seen.kept_bytes), (seen.bytes, seen.bytes as i64));
    let ((), freed) = usage(|| drop(lists));
    assert_eq!((freed.allocations, freed.bytes, freed.peak_bytes), (0, 0, 0));
    assert_eq!((freed.kept_allocations, freed.kept_bytes), (-27, -seen.kept_bytes));
}

#[test]
fn a_loop_holds_no_more_than_one_of_its_buffers() {
    let ((), seen) = usage(|| {
        for round in 0..1000u32 {
            black_box(vec![round as u8; 5000]);
        }
    });
    assert_eq!((seen.allocations, seen.kept_allocations, seen.kept_bytes), (1000, 0, 0));
    // What a chunk is longer by may differ with what lies free, up to its class.
    assert!((5000..6000).contains(&seen.peak_bytes), "{seen:?}");
    assert!((5_000_000..6_000_000).contains(&seen.bytes), "{seen:?}");
}

#[test]
fn what_reuses_its_buffer_asks_for_nothing() {
    let mut buffer = Vec::with_capacity(1000);
    let (sum, seen) = usage(|| {
        (0..100u64).fold(0, |sum, round| {
            buffer.clear();
            buffer.extend((0..100).map(|number| number * round));
            sum + buffer.iter().sum::<u64>()
        })
    });
    assert_eq!(sum, 4950 * 4950);
    assert_eq!(seen, heapglass::Usage::default());
}

#[test]
fn figures_are_the_threads_own_and_the_same_each_time() {
    let work = || (0..500usize).map(|number| vec![1u8; number % 700]).collect::<Vec<_>>();
    let busy = std::thread::spawn(|| (0..200_000usize).map(|number| vec![2u8; number % 90].len()).sum::<usize>());
    let first = usage(|| drop(work())).1;
    let (_, again) = usage(|| drop(work()));
    busy.join().unwrap();
    assert_eq!((first.allocations, first.kept_bytes), (again.allocations, 0));
    // 500 vectors, of which one is empty, and the vector of them, whose length is known.
    assert_eq!(first.allocations, 500);
    let elsewhere = usage(|| std::thread::spawn(work).join().unwrap().len());
    assert!(elsewhere.1.allocations < 100, "{:?}", elsewhere.1);
}

#[test]
fn large_chunks_and_growth_in_place_count() {
    let ((), seen) = usage(|| drop(black_box(vec![1u8; 64 << 20])));
    assert_eq!((seen.allocations, seen.kept_bytes), (1, 0));
    assert!((64 << 20..(64 << 20) + 8192).contains(&seen.peak_bytes), "{seen:?}");
    let (numbers, seen) = usage(|| {
        let mut numbers = Vec::new();
        (0..100_000u64).for_each(|number| numbers.push(number));
        numbers
    });
    assert_eq!(seen.kept_allocations, 1);
    assert!(seen.kept_bytes as usize >= numbers.capacity() * 8, "{seen:?}");
}

#[test]
fn a_piece_within_a_piece_is_in_both_and_a_panic_ends_both() {
    let (inner, outer) = usage(|| {
        let kept = black_box(vec![1u8; 100]);
        let inner = usage(|| drop(black_box(vec![1u8; 300]))).1;
        drop(kept);
        inner
    });
    assert!(inner.allocations == 1 && chunks(1, 300).contains(&inner.peak_bytes), "{inner:?}");
    let both = inner.peak_bytes + chunks(1, 100).start()..=inner.peak_bytes + chunks(1, 100).end();
    assert!(outer.allocations == 2 && both.contains(&outer.peak_bytes), "{outer:?}");
    let failed = catch_unwind(AssertUnwindSafe(|| usage(|| usage(|| panic!("on purpose")))));
    assert!(failed.is_err());
    let (_, seen) = usage(|| black_box(Box::new(1u64)));
    assert!(seen.allocations == 1 && chunks(1, 8).contains(&seen.bytes), "{seen:?}");
    assert_eq!(heapglass::check(), 0);
}
