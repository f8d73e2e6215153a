//! A depot's figures under the model checker: threads that take magazines, decay that claims idle ones, an epoch that begins.
//! See `loom_lock.rs` for how to run it.
#![cfg(loom)]

use heapglass_heap::sync::waiting::Waiting;
use loom::sync::{Arc, Mutex};
use loom::thread;

const MAGAZINES: u32 = 2;

/// A depot whose magazines nobody wanted for an epoch.
fn idle_depot() -> Arc<(Mutex<()>, Waiting)> {
    let depot = Arc::new((Mutex::new(()), Waiting::new()));
    for _ in 0..MAGAZINES {
        depot.1.add();
    }
    depot.1.enter_epoch();
    depot.1.enter_epoch();
    assert_eq!((depot.1.count(), depot.1.idle()), (MAGAZINES, MAGAZINES));
    depot
}

/// Every interleaving with at most three switches away from a thread that could go on.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn take(depot: &(Mutex<()>, Waiting)) {
    let _locked = depot.0.lock().unwrap();
    if depot.1.count() > 0 {
        depot.1.remove();
    }
}

#[test]
fn what_is_idle_never_exceeds_what_there_was() {
    model(|| {
        let depot = idle_depot();
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let depot = depot.clone();
                thread::spawn(move || take(&depot))
            })
            .collect();
        let mut claimed = 0;
        while depot.1.claim_idle() {
            claimed += 1;
            assert!(claimed <= MAGAZINES + 2, "each taker can make a claim of one be forgotten, no more");
        }
        assert!(depot.1.idle() <= MAGAZINES);
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert_eq!(depot.1.count(), 0);
        assert!(depot.1.idle() <= MAGAZINES);
        // What an epoch finds idle is what is there.
        depot.1.enter_epoch();
        assert_eq!(depot.1.idle(), 0);
    });
}

#[test]
fn an_epoch_that_begins_beside_a_taker_counts_no_more_than_there_was() {
    model(|| {
        let depot = idle_depot();
        let taker = {
            let depot = depot.clone();
            thread::spawn(move || take(&depot))
        };
        depot.1.enter_epoch();
        assert!(depot.1.idle() <= MAGAZINES);
        depot.1.claim_idle();
        assert!(depot.1.idle() <= MAGAZINES);
        taker.join().unwrap();
        assert!(depot.1.idle() <= MAGAZINES && depot.1.count() == MAGAZINES - 1);
    });
}
