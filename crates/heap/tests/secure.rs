//! Secure mode against the model, in a process that is in it from its first chunk on: any sequence of calls, by one thread and
//! by several, leaves every chunk whole, the usable size as it was asked for, and in the end nothing but a top. What is
//! freed stays zero, or the process would stop; and the quarantine keeps to its bound.
#![cfg(not(loom))]

mod model;
mod runs;
mod world;

use heapglass_heap::chunk::{Chunk, State};
use heapglass_heap::secure::{self, quarantine};
use heapglass_heap::{aligned, free, malloc, mapped, realloc};
use model::{Op, op, property};
use proptest::collection::vec;
use runs::{many_threads, one_thread};
use world::Mode;

/// Before `main`, and so before the first chunk.
extern "C" fn begin() {
    secure::set(secure::ALL | secure::ZERO, true);
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = begin;

#[test]
fn one_thread_checked_after_every_call() {
    property("secure-checked", 60, vec(op(), 0..120), |ops| one_thread(Mode::Default, &ops, true));
}

#[test]
fn one_thread_unchecked_until_the_end() {
    property("secure-unchecked", 80, vec(op(), 0..1500), |ops| one_thread(Mode::Default, &ops, false));
}

#[test]
fn one_thread_in_the_other_modes() {
    let mode = proptest::sample::select(vec![Mode::Classic, Mode::NoParking, Mode::NoMappings]);
    property("secure-modes", 60, (mode, vec(op(), 0..300)), |(mode, ops)| one_thread(mode, &ops, false));
}

#[test]
fn four_threads_free_what_others_allocated() {
    let rounds = vec(vec(vec(op(), 0..400), 4), 1..3);
    property("secure-threads", 30, rounds, |rounds: Vec<Vec<Vec<Op>>>| {
        many_threads(Mode::Default, &rounds, || {
            let (held, most) = quarantine::held();
            // What each thread is just putting in comes on top.
            assert!(held <= most + (4 << 17), "{held} of {most}");
        });
        assert_eq!(quarantine::held().0, 0);
    });
}

#[test]
fn the_usable_size_is_the_request_and_what_is_given_is_zero() {
    let _alone = world::alone();
    world::reset(Mode::Default);
    let mut users = Vec::new();
    for request in (0..300).chain([1000, 1016, 1017, 4000, 5000, 60_000, 100_000, 131_071, 131_072, 500_001]) {
        for align in [16, 64, 4096] {
            let user = aligned::allocate(align, request);
            assert!(!user.is_null());
            assert_eq!(free::usable("usable", user), request);
            // SAFETY: a live chunk of this length.
            let bytes = unsafe { std::slice::from_raw_parts_mut(user, request) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{request} at {align}");
            bytes.fill(0xa5);
            users.push(user);
            if users.len() % 3 == 0 {
                // SAFETY: live until now.
                users.drain(..2).for_each(|user| unsafe { free::free(user) });
            }
        }
    }
    // SAFETY: as above.
    users.into_iter().for_each(|user| unsafe { free::free(user) });
    world::assert_empty();
}

#[test]
fn realloc_keeps_contents_and_what_it_adds_is_zero() {
    let _alone = world::alone();
    world::reset(Mode::Default);
    let sizes = [1, 15, 16, 17, 24, 40, 100, 1000, 1024, 5000, 70_000, 131_000, 131_072, 200_000, 700_000];
    for from in sizes {
        for to in sizes {
            for blocked in [false, true] {
                let user = malloc::malloc(from);
                // SAFETY: a live chunk of this length.
                unsafe { std::slice::from_raw_parts_mut(user, from) }.fill(0x5a);
                let behind = if blocked { malloc::malloc(24) } else { std::ptr::null_mut() };
                // SAFETY: live; given up where it moves.
                let user = unsafe { realloc::realloc(user, to) };
                assert_eq!(free::usable("usable", user), to);
                // SAFETY: as above.
                let bytes = unsafe { std::slice::from_raw_parts(user, to) };
                let kept = from.min(to);
                assert!(bytes[..kept].iter().all(|&byte| byte == 0x5a), "{from} to {to}");
                assert!(bytes[kept..].iter().all(|&byte| byte == 0), "{from} to {to}");
                // SAFETY: live until now, or null.
                unsafe {
                    free::free(user);
                    free::free(behind);
                }
            }
        }
    }
    world::assert_empty();
}

#[test]
fn a_freed_chunk_waits_and_comes_back_in_no_order() {
    let _alone = world::alone();
    world::reset(Mode::Default);
    let user = malloc::malloc(40);
    // SAFETY: live until now.
    unsafe { free::free(user) };
    assert_eq!(Chunk::from_user(user as usize).state(), Some(State::Quarantined));
    let users: Vec<_> = (0..100).map(|_| malloc::malloc(40)).collect();
    assert!(!users.contains(&user));
    let mut sorted = users.clone();
    sorted.sort();
    assert_ne!(users, sorted, "a hundred chunks in the order of their addresses");
    assert!(quarantine::held().0 >= 48);
    // SAFETY: as above.
    users.into_iter().for_each(|user| unsafe { free::free(user) });
    world::assert_empty();
}

#[test]
fn mapped_chunks_end_near_their_guard() {
    let _alone = world::alone();
    world::reset(Mode::Default);
    for request in [131_072, 131_073, 200_000, 262_144 - 24, 1 << 20] {
        let user = malloc::malloc(request) as usize;
        let mapped::Known::Live { base, length } = mapped::look_up(user) else { panic!("{request} isn't mapped") };
        let rest = base + length - (user + request);
        assert!((8..24).contains(&rest), "{request}: {rest} bytes before the guard");
        // SAFETY: live until now.
        unsafe { free::free(user as *mut u8) };
    }
    world::assert_empty();
}
