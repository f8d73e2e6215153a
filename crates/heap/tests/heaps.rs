//! Mapped heaps come and go: an arena that fills its heap begins another, and a heap in which nothing is in use any more goes
//! back to the kernel, whatever the order of the frees.
#![cfg(not(loom))]

mod world;

use heapglass_heap::policy::POLICY;
use heapglass_heap::{arena, check, free, malloc, thread, trim};
use world::Mode;

/// Chunks of this length fill a heap of 64 MiB without touching much of it.
const REQUEST: usize = 100_000;
/// More than two of the longest heaps.
const COUNT: usize = 1500;

/// Fills heaps, frees all in some order; the most heaps that the thread's arena had.
fn fill_and_free(order: impl Fn(usize) -> usize) -> usize {
    let users: Vec<*mut u8> = (0..COUNT).map(|_| malloc::malloc(REQUEST)).collect();
    assert!(users.iter().all(|user| !user.is_null()));
    let heaps = (0..arena::count()).map(|index| world::walk(index).heaps).max();
    for step in 0..COUNT {
        // SAFETY: live; an order names each chunk once.
        unsafe { free::free(users[order(step)]) };
    }
    heaps.unwrap_or(0)
}

/// In two threads at a time: only one of them can have the main arena.
fn in_two_arenas(order: fn(usize) -> usize) {
    let _alone = world::alone();
    world::reset(Mode::Default);
    let other = std::thread::spawn(move || {
        (std::ptr::from_ref(thread::current().unwrap().arena) as usize, fill_and_free(order))
    });
    let heaps = fill_and_free(order);
    let (arena, others) = other.join().unwrap();
    assert_ne!(arena, std::ptr::from_ref(thread::arena()) as usize, "two threads alone share no arena");
    assert!(heaps.max(others) >= 2, "no second heap was begun: nothing to see");
    assert_eq!(check::check(false), 0);
    world::assert_empty();
}

#[test]
fn heaps_freed_forward_go_back() {
    in_two_arenas(|step| step);
}

#[test]
fn heaps_freed_in_reverse_go_back() {
    in_two_arenas(|step| COUNT - 1 - step);
}

#[test]
fn heaps_freed_in_no_order_go_back() {
    // 7 has no factor in common with the count.
    in_two_arenas(|step| step * 7 % COUNT);
}

/// Classic mode has no guarded samples, one that was due when it began included: each allocation is on the heap.
#[test]
fn classic_mode_takes_no_sample_that_was_due_before_it() {
    let _alone = world::alone();
    for round in 0..50 {
        world::reset(Mode::Default);
        POLICY.set_guard(20);
        thread::settings_changed();
        for _ in 0..100 + round {
            // SAFETY: live, and freed once.
            unsafe { free::free(malloc::malloc(40)) };
        }
        world::reset(Mode::Classic);
        let index = (0..arena::count()).find(|&index| std::ptr::eq(thread::arena(), arena::get(index))).unwrap();
        trim::trim(0);
        let users: Vec<*mut u8> = (0..200).map(|_| malloc::malloc(40)).collect();
        assert_eq!(world::walk(index).live, users.len(), "round {round}");
        // SAFETY: live until now.
        users.into_iter().for_each(|user| unsafe { free::free(user) });
    }
    POLICY.set_guard(0);
}
