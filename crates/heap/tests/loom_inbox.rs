//! The inbox under the model checker: nothing pushed is lost, nothing comes out twice, and what the pusher wrote is seen.
//! See `loom_lock.rs` for how to run it.
#![cfg(loom)]

use heapglass_heap::sync::inbox::{Inbox, Item};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::ptr;

struct Letter {
    next: *mut Letter,
    /// Written by the sender, read by whoever takes the letter out: the model's cell proves that the first comes before.
    text: UnsafeCell<usize>,
}

// SAFETY: `next` is the letter's own.
unsafe impl Item for Letter {
    unsafe fn next(item: *mut Letter) -> *mut *mut Letter {
        // SAFETY: only the address is computed.
        unsafe { &raw mut (*item).next }
    }
}

fn post(inbox: &Inbox<Letter>, text: usize) {
    let letter = Box::into_raw(Box::new(Letter { next: ptr::null_mut(), text: UnsafeCell::new(0) }));
    // SAFETY: a fresh letter, given to the inbox.
    unsafe {
        (*letter).text.with_mut(|place| *place = text);
        inbox.push(letter);
    }
}

/// Takes all letters out; their texts, the newest first.
fn empty(inbox: &Inbox<Letter>) -> Vec<usize> {
    let mut texts = Vec::new();
    let mut letter = inbox.take_all();
    while !letter.is_null() {
        // SAFETY: what came out is ours, made by `post`.
        let owned = unsafe { Box::from_raw(letter) };
        texts.push(owned.text.with(|text| {
            // SAFETY: as above.
            unsafe { *text }
        }));
        letter = owned.next;
    }
    texts
}

/// Each sender posts its letters in order while the first thread empties the inbox twice, and once more at the end.
fn exchange(senders: &'static [&'static [usize]]) {
    let inbox = Arc::new(Inbox::new());
    let threads: Vec<_> = senders
        .iter()
        .map(|texts| {
            let inbox = inbox.clone();
            thread::spawn(move || texts.iter().for_each(|&text| post(&inbox, text)))
        })
        .collect();
    let mut batches = vec![empty(&inbox), empty(&inbox)];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    batches.push(empty(&inbox));
    assert!(inbox.is_empty() && inbox.take_all().is_null());

    let taken: Vec<usize> = batches.into_iter().flat_map(|batch| batch.into_iter().rev()).collect();
    let mut sorted = taken.clone();
    sorted.sort();
    let mut posted: Vec<usize> = senders.concat();
    posted.sort();
    assert_eq!(sorted, posted, "lost or doubled: {taken:?}");
    for texts in senders {
        let own: Vec<usize> = taken.iter().copied().filter(|text| texts.contains(text)).collect();
        assert_eq!(own, *texts, "one sender's letters keep their order");
    }
}

#[test]
fn two_senders_and_a_taker_lose_and_double_nothing() {
    loom::model(|| exchange(&[&[1, 2], &[3]]));
}

#[test]
fn three_senders_at_once_all_arrive() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| exchange(&[&[1], &[2], &[3]]));
}

#[test]
fn two_takers_share_what_there_is() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        post(&inbox, 1);
        let taker = {
            let inbox = inbox.clone();
            thread::spawn(move || empty(&inbox))
        };
        post(&inbox, 2);
        let mut taken = empty(&inbox);
        taken.extend(taker.join().unwrap());
        taken.extend(empty(&inbox));
        taken.sort();
        assert_eq!(taken, [1, 2]);
    });
}
