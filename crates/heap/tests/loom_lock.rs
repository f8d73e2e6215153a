//! The lock under the model checker: every interleaving of a few threads. `RUSTFLAGS="--cfg loom" cargo test --release -p
//! heapglass-heap --test 'loom*' --target-dir target/loom` runs it. A wake-up that is lost leaves a thread asleep for ever,
//! which the checker reports as a deadlock.
#![cfg(loom)]

use heapglass_heap::sync::lock::{Lock, Owner};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A number beside its lock; the model's cell fails on any access that isn't ordered with the others.
struct Guarded {
    lock: Lock,
    number: UnsafeCell<usize>,
}

// SAFETY: the number is reached under the lock only: that is what these tests prove.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded { lock: Lock::new(), number: UnsafeCell::new(0) })
    }

    /// The caller has the lock.
    fn count(&self) {
        self.number.with_mut(|number| {
            // SAFETY: the lock is held.
            unsafe { *number += 1 }
        });
    }

    fn get(&self) -> usize {
        // SAFETY: the lock is held.
        self.number.with(|number| unsafe { *number })
    }
}

fn owner(number: usize) -> Owner {
    Owner::new(number as u32 + 1)
}

/// Every interleaving with at most so many switches away from a thread that could go on.
fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

/// `threads` threads beside the first each take the lock `rounds` times; so does the first.
fn all_count(threads: usize, rounds: usize) {
    let guarded = Guarded::new();
    let work = move |guarded: &Guarded, me: Owner| {
        for _ in 0..rounds {
            assert!(guarded.lock.lock(me));
            guarded.count();
            guarded.lock.unlock();
        }
    };
    let others: Vec<_> = (1..=threads)
        .map(|number| {
            let guarded = guarded.clone();
            thread::spawn(move || work(&guarded, owner(number)))
        })
        .collect();
    work(&guarded, owner(0));
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(guarded.lock.try_lock(owner(0)), "somebody left the lock taken");
    assert_eq!(guarded.get(), (threads + 1) * rounds);
}

#[test]
fn two_threads_exclude_each_other_and_none_sleeps_on() {
    model(4, || all_count(1, 2));
}

#[test]
fn three_threads_pass_the_wake_up_on() {
    model(3, || all_count(2, 1));
}

#[test]
fn the_owner_is_known_and_refused_while_it_has_the_lock() {
    model(4, || {
        let guarded = Guarded::new();
        let other = {
            let guarded = guarded.clone();
            thread::spawn(move || {
                assert!(!guarded.lock.is_owned_by(owner(1)));
                assert!(guarded.lock.lock(owner(1)));
                assert!(guarded.lock.is_owned_by(owner(1)));
                guarded.count();
                guarded.lock.unlock();
                assert!(!guarded.lock.is_owned_by(owner(1)));
            })
        };
        assert!(guarded.lock.lock(owner(0)));
        // Whoever sleeps meanwhile changes the word, but not who has it.
        assert!(guarded.lock.is_owned_by(owner(0)) && !guarded.lock.is_owned_by(owner(1)));
        assert!(!guarded.lock.lock(owner(0)), "a second lock on top of the first must be refused");
        assert!(!guarded.lock.try_lock(owner(0)));
        assert!(!guarded.lock.lock_briefly(owner(0)));
        guarded.count();
        guarded.lock.unlock();
        other.join().unwrap();
        assert!(guarded.lock.try_lock(owner(0)));
        assert_eq!(guarded.get(), 2);
    });
}

#[test]
fn those_who_only_try_never_share_it() {
    model(4, || {
        let guarded = Guarded::new();
        let work = |guarded: &Guarded, taken: bool| {
            if taken {
                guarded.count();
                guarded.lock.unlock();
            }
            usize::from(taken)
        };
        let others: Vec<_> = [false, true]
            .into_iter()
            .enumerate()
            .map(|(index, briefly)| {
                let guarded = guarded.clone();
                thread::spawn(move || {
                    let (lock, me) = (&guarded.lock, owner(index + 1));
                    let taken = if briefly { lock.lock_briefly(me) } else { lock.try_lock(me) };
                    work(&guarded, taken)
                })
            })
            .collect();
        let taken = guarded.lock.lock(owner(0));
        let first = work(&guarded, taken);
        assert_eq!(first, 1, "lock waits until it has it");
        let all = first + others.into_iter().map(|other| other.join().unwrap()).sum::<usize>();
        assert!(guarded.lock.try_lock(owner(0)));
        assert_eq!(guarded.get(), all);
    });
}

#[test]
fn a_lock_that_is_held_for_a_fork_is_taken_away_from_it_or_given_back_once() {
    model(4, || {
        let guarded = Guarded::new();
        let other = {
            let guarded = guarded.clone();
            thread::spawn(move || {
                assert!(guarded.lock.lock(owner(1)));
                guarded.count();
                guarded.lock.unlock();
            })
        };
        // What the fork finds: nobody at work, or the other thread, which took it away.
        assert!(guarded.lock.lock(owner(0)));
        guarded.lock.let_rest();
        if guarded.lock.is_at_rest() {
            guarded.lock.end_rest(owner(0));
        } else {
            assert!(guarded.lock.is_owned_by(owner(1)));
            guarded.lock.end_rest(owner(0));
            assert!(!guarded.lock.is_owned_by(owner(0)));
        }
        other.join().unwrap();
        assert!(guarded.lock.try_lock(owner(0)), "somebody left the lock taken");
        assert_eq!(guarded.get(), 1);
    });
}

#[test]
fn a_thread_that_waits_for_a_forks_owner_waits_no_longer_than_its_patience() {
    model(4, || {
        let guarded = Guarded::new();
        assert!(guarded.lock.lock(owner(0)));
        guarded.count();
        guarded.lock.let_rest();
        // The forking thread waits for something that the other one has: it gives nothing back before that one is done.
        let other = {
            let guarded = guarded.clone();
            thread::spawn(move || {
                assert!(guarded.lock.lock(owner(1)));
                guarded.count();
                guarded.lock.unlock();
            })
        };
        other.join().unwrap();
        guarded.lock.end_rest(owner(0));
        assert!(guarded.lock.is_at_rest() && guarded.lock.try_lock(owner(0)));
        assert_eq!(guarded.get(), 2);
    });
}
