//! The ring under the model checker: every record comes out once and in order, a writer that sleeps for room is woken, and what
//! one thread left is read before the next has the ring. See `crates/heap/tests/loom_lock.rs` for how to run it.
#![cfg(loom)]

use heapglass_event::record::{Kind, Outcome, Record};
use heapglass_event::ring::{LEFT, Phase, RECORDS, Ring};
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::{Acquire, Relaxed};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// The kernel's part: a wake-up that comes before its sleeper is lost.
#[derive(Default)]
struct Futex(Mutex<()>, Condvar);

impl Futex {
    fn wait(&self, word: &AtomicU32, expected: u32) {
        let compare = self.0.lock().unwrap();
        if word.load(Relaxed) == expected {
            drop(self.1.wait(compare).unwrap());
        }
    }

    fn wake(&self) {
        let compare = self.0.lock().unwrap();
        self.1.notify_one();
        drop(compare);
    }
}

fn model(test: impl Fn(Arc<(Ring, Futex)>) + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || test(Arc::new((Ring::new(), Futex::default()))));
}

fn record(number: usize) -> Record {
    Record::new(Kind::Size, Outcome::Done, 0, [number, 0, 0])
}

/// As the allocator writes: it sleeps where there is no room, and for as long as nobody wakes it.
fn write(shared: &(Ring, Futex), number: usize) {
    let (ring, futex) = shared;
    // SAFETY: the caller is the ring's only writer.
    unsafe {
        while ring.room(false) == 0 && ring.room(true) == 0 {
            let (word, turn) = ring.announce_sleep();
            if ring.room(true) > 0 {
                break;
            }
            futex.wait(word, turn);
        }
        ring.write(record(number));
    }
}

fn read(shared: &(Ring, Futex), seen: &mut Vec<u64>) {
    if shared.0.read(usize::MAX, |record| seen.push(record.a)) {
        shared.1.wake();
    }
}

#[test]
fn nothing_is_lost_and_no_writer_sleeps_on() {
    const COUNT: usize = RECORDS as usize + 2;
    model(|shared| {
        assert!(shared.0.take(1, 1));
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || (0..COUNT).for_each(|number| write(&shared, number)))
        };
        let mut seen = Vec::new();
        while seen.len() < COUNT {
            read(&shared, &mut seen);
            thread::yield_now();
        }
        writer.join().unwrap();
        assert!(shared.0.is_read() && seen.into_iter().eq(0..COUNT as u64));
    });
}

/// Times that a thread asks for a ring that may be somebody's.
const TRIES: usize = 3;

#[test]
fn what_one_thread_left_is_read_before_another_has_the_ring() {
    model(|shared| {
        assert!(shared.0.take(1, 1));
        let first = {
            let shared = shared.clone();
            thread::spawn(move || {
                // SAFETY: the writer.
                unsafe { shared.0.set_phase(Phase::Telling) };
                write(&shared, 7);
                shared.0.leave();
            })
        };
        let second = {
            let shared = shared.clone();
            thread::spawn(move || {
                for _ in 0..TRIES {
                    if shared.0.take(2, 2) {
                        // SAFETY: the writer from here on.
                        assert!(unsafe { shared.0.phase() } == Phase::Outside);
                        write(&shared, 8);
                        return true;
                    }
                    thread::yield_now();
                }
                false
            })
        };
        let mut seen = Vec::new();
        read(&shared, &mut seen);
        // Only now is it sure to be left; what was written since is still there.
        first.join().unwrap();
        read(&shared, &mut seen);
        assert!(shared.0.state.load(Acquire) == LEFT && shared.0.is_read() && seen == [7]);
        shared.0.release();
        let took = second.join().unwrap();
        read(&shared, &mut seen);
        assert_eq!(seen, if took { &[7, 8][..] } else { &[7] });
    });
}
