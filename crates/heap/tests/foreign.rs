//! Somebody else moves the break between our calls: what they took is never touched, the closed heaps below stay usable, and
//! when all is freed each of them is one free chunk and its fence. One test, so that its thread is the process's first here
//! and has the main arena.
#![cfg(not(loom))]

mod model;
mod world;

use heapglass_heap::{arena, check, free, malloc, thread};
use model::{Op, Table, op, property};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ffi::c_void;
use world::Mode;

unsafe extern "C" {
    fn sbrk(bytes: isize) -> *mut c_void;
}

const MARK: u8 = 0xa7;

/// Memory taken from the break behind our back, odd lengths too, and marked.
struct Foreign(Vec<(*mut u8, usize)>);

impl Foreign {
    fn take(&mut self, bytes: usize) {
        // SAFETY: growing the break takes nobody's memory; the C library was given its share before.
        let at = unsafe { sbrk(bytes as isize) }.cast::<u8>();
        assert_ne!(at as isize, -1);
        // SAFETY: fresh, and ours.
        unsafe { at.write_bytes(MARK, bytes) };
        self.0.push((at, bytes));
    }

    fn prove(&self) {
        for &(at, bytes) in &self.0 {
            // SAFETY: as in `take`; it is never given back.
            let bytes = unsafe { std::slice::from_raw_parts(at, bytes) };
            assert!(bytes.iter().all(|&byte| byte == MARK), "foreign memory at {at:?} was written to");
        }
    }
}

/// What is left when nothing is in use: the current heap is a top, each closed one a free chunk and its fence (or, where no
/// chunk fitted before it, nothing but the fence).
fn assert_only_closed_heaps() {
    heapglass_heap::trim::trim(0);
    let walked = world::walk(0);
    let idle = check::Walked { live: 0, cached: 0, fast: 0, faults: 0, ..walked };
    assert_eq!(walked, idle);
    // All heaps but the last are closed. A case that allocated nothing has none, and then no chunk either.
    let closed = walked.heaps.saturating_sub(1);
    assert!(walked.free <= closed, "{walked:?}: more than one chunk in a closed heap");
    // All but the fences is free, or the current top, which the foreign memory above keeps from shrinking.
    let top = heapglass_heap::stats::of_arena(0).top;
    assert!(walked.bytes - walked.free_bytes - top <= walked.heaps * 32, "{walked:?}, top {top}");
}

/// Closed heaps are used again: a chunk that fits one doesn't move the break.
fn assert_closed_heaps_are_used() {
    let walked = world::walk(0);
    if walked.free == 0 {
        return;
    }
    let user = malloc::malloc(100);
    let after = world::walk(0);
    assert_eq!((after.bytes, after.heaps), (walked.bytes, walked.heaps));
    assert!(after.free_bytes < walked.free_bytes, "{walked:?} {after:?}");
    // SAFETY: live until now.
    unsafe { free::free(user) };
}

fn run(mode: Mode, steps: &[(Op, usize)]) {
    world::reset(mode);
    assert!(std::ptr::eq(thread::arena(), arena::get(0)), "this thread has the main arena");
    let table = Table::new();
    let mut foreign = Foreign(Vec::new());
    for (number, &(op, bytes)) in steps.iter().enumerate() {
        if bytes > 0 {
            foreign.take(bytes);
        }
        table.act(op, number as u64);
        assert_eq!(check::check(false), 0, "after {op:?}, call {number}");
    }
    table.prove();
    foreign.prove();
    table.free_all();
    foreign.prove();
    world::reset(Mode::Classic);
    assert_only_closed_heaps();
    assert_closed_heaps_are_used();
    assert_only_closed_heaps();
}

#[test]
fn foreign_moves_of_the_break_are_fenced_off() {
    let bytes = prop_oneof![9 => Just(0usize), 1 => 1..=10_000usize, 1 => Just(4096usize)];
    let mode = proptest::sample::select(vec![Mode::Default, Mode::Classic, Mode::NoMappings]);
    property("foreign", 300, (mode, vec((op(), bytes), 0..60)), |(mode, steps)| run(mode, &steps));
}
