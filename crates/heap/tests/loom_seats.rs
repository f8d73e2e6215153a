//! Seats, and a thread's end while others send chunks to its arena, under the model checker. See `loom_lock.rs` for how to
//! run it.
#![cfg(loom)]

use heapglass_heap::sync::inbox::{Inbox, Item};
use heapglass_heap::sync::lock::{Lock, Owner};
use heapglass_heap::sync::seats::{Seats, choose};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::ptr;

fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

fn rows(count: usize) -> Arc<Vec<Seats>> {
    Arc::new((0..count).map(|_| Seats::new()).collect())
}

#[test]
fn one_of_two_gets_the_first_seat() {
    model(4, || {
        let rows = rows(1);
        let other = {
            let rows = rows.clone();
            thread::spawn(move || rows[0].take_first())
        };
        let mine = rows[0].take_first();
        let theirs = other.join().unwrap();
        assert!(mine != theirs, "the first seat went to {} threads", u8::from(mine) + u8::from(theirs));
        assert_eq!(rows[0].taken(), 1);
    });
}

#[test]
fn a_seat_that_is_taken_is_counted_until_it_is_left() {
    model(3, || {
        let rows = rows(2);
        let live = |rows: &[Seats]| {
            let index = choose(rows.iter(), false).unwrap();
            assert!(rows[index].taken() >= 1, "a thread's own seat must count");
            index
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let rows = rows.clone();
                thread::spawn(move || {
                    let index = live(&rows);
                    rows[index].leave();
                })
            })
            .collect();
        let index = live(&rows);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(rows.iter().map(Seats::taken).sum::<u32>(), 1, "only this thread sits");
        rows[index].leave();
        assert!(rows.iter().all(|row| row.taken() == 0));
    });
}

#[test]
fn without_a_free_arena_a_growing_choice_takes_no_seat() {
    model(4, || {
        let rows = rows(1);
        let other = {
            let rows = rows.clone();
            thread::spawn(move || choose(rows.iter(), true))
        };
        let mine = choose(rows.iter(), true);
        let both = [mine, other.join().unwrap()];
        assert_eq!(both.iter().flatten().count(), 1, "{both:?}");
        assert_eq!(rows[0].taken(), 1);
    });
}

/// A magazine of so many chunks.
struct Parcel {
    next: *mut Parcel,
    chunks: usize,
}

// SAFETY: `next` is the parcel's own.
unsafe impl Item for Parcel {
    unsafe fn next(item: *mut Parcel) -> *mut *mut Parcel {
        // SAFETY: only the address is computed.
        unsafe { &raw mut (*item).next }
    }
}

/// What an arena is to its threads: as `arena::Arena`, with a count for a store.
struct Arena {
    lock: Lock,
    seats: Seats,
    inbox: Inbox<Parcel>,
    store: UnsafeCell<usize>,
}

// SAFETY: the store is reached under the lock only.
unsafe impl Sync for Arena {}
// SAFETY: as above.
unsafe impl Send for Arena {}

impl Arena {
    fn new() -> Arc<Arena> {
        Arc::new(Arena { lock: Lock::new(), seats: Seats::new(), inbox: Inbox::new(), store: UnsafeCell::new(0) })
    }

    fn put(&self, chunks: usize) {
        self.store.with_mut(|store| {
            // SAFETY: the caller has the lock.
            unsafe { *store += chunks }
        });
    }

    /// Under the lock: takes in what lies in the inbox, as every taker of an arena's lock does, and adds `chunks`.
    fn locked(&self, chunks: usize) {
        let mut parcel = self.inbox.take_all();
        while !parcel.is_null() {
            // SAFETY: what came out is ours, made by `send`.
            let owned = unsafe { Box::from_raw(parcel) };
            self.put(owned.chunks);
            parcel = owned.next;
        }
        self.put(chunks);
        self.lock.unlock();
    }

    /// The own arena's way: waits for the lock.
    fn give(&self, chunks: usize, me: Owner) {
        assert!(self.lock.lock(me));
        self.locked(chunks);
    }

    /// Another arena's thread: never waits.
    fn send(&self, chunks: usize, me: Owner) {
        if self.lock.try_lock(me) {
            return self.locked(chunks);
        }
        let parcel = Box::into_raw(Box::new(Parcel { next: ptr::null_mut(), chunks }));
        // SAFETY: fresh, and the inbox's from here on.
        unsafe { self.inbox.push(parcel) };
    }
}

/// A thread sits, works, gives home what it cached and leaves, while others send it `parcels` each.
fn exit_while_others_send(others: usize, parcels: usize) {
    let arena = Arena::new();
    assert!(arena.seats.take_first());
    let leaver = {
        let arena = arena.clone();
        thread::spawn(move || {
            arena.give(1, Owner::new(1));
            arena.seats.leave();
        })
    };
    let senders: Vec<_> = (0..others)
        .map(|number| {
            let arena = arena.clone();
            thread::spawn(move || (0..parcels).for_each(|_| arena.send(10, Owner::new(number as u32 + 2))))
        })
        .collect();
    leaver.join().unwrap();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    // The next thread finds the arena free, and everything that was sent to the one before.
    assert_eq!(choose(std::iter::once(&arena.seats), false), Some(0));
    assert_eq!(arena.seats.taken(), 1);
    arena.give(0, Owner::new(9));
    assert!(arena.inbox.is_empty());
    assert!(arena.lock.try_lock(Owner::new(9)));
    // SAFETY: the lock is held.
    let store = arena.store.with(|store| unsafe { *store });
    assert_eq!(store, 1 + others * parcels * 10);
}

#[test]
fn nothing_sent_to_a_leaving_thread_is_lost() {
    model(3, || exit_while_others_send(2, 1));
}

#[test]
fn a_stream_sent_to_a_leaving_thread_arrives_whole() {
    model(4, || exit_while_others_send(1, 3));
}

#[test]
fn the_arena_of_a_leaving_thread_serves_the_next_at_once() {
    model(3, || {
        let arena = Arena::new();
        assert!(arena.seats.take_first());
        let leaver = {
            let arena = arena.clone();
            thread::spawn(move || {
                arena.give(1, Owner::new(1));
                arena.seats.leave();
            })
        };
        let heir = {
            let arena = arena.clone();
            thread::spawn(move || {
                assert_eq!(choose(std::iter::once(&arena.seats), false), Some(0));
                arena.give(2, Owner::new(2));
                arena.seats.leave();
            })
        };
        arena.send(10, Owner::new(3));
        leaver.join().unwrap();
        heir.join().unwrap();
        assert_eq!(arena.seats.taken(), 0);
        arena.give(0, Owner::new(3));
        assert!(arena.lock.try_lock(Owner::new(3)));
        // SAFETY: the lock is held.
        assert_eq!(arena.store.with(|store| unsafe { *store }), 13);
    });
}
