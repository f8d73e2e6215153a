//! The scheduler: of the threads that entered, one runs at a time, and at each of its steps (`heapglass_heap::sync::turns`) it is
//! decided who runs next, by nothing but a number.

use heapglass_heap::sync::turns::{self, Step};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How turns are given.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// At one of so many steps any thread may be next.
    Chance(u32),
    /// The thread that is first in a random order runs as long as it can. At `falls` steps, drawn among so many, the one that runs
    /// becomes last. Errors that need few switches at just the right steps are met more often by this. (Burckhardt, Kothari,
    /// Musuvathi and Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, 2010.)
    Order { falls: u32, among: u32 },
}

struct State {
    plan: Plan,
    random: u64,
    /// Threads that are awaited, until all are there.
    awaited: usize,
    /// Those that run, the one that goes first in front.
    order: Vec<usize>,
    current: Option<usize>,
    steps: u32,
    switches: u64,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static PASSED: Condvar = Condvar::new();
/// Switches so far, of all schedules.
pub static SWITCHES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The number under which this thread runs.
    static ME: Cell<Option<usize>> = const { Cell::new(None) };
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Xorshift: a number below `end`.
    fn draw(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % end
    }

    /// Who makes the next step, when `me` is about to.
    fn next(&mut self, me: usize, step: Step) -> usize {
        self.steps += 1;
        match self.plan {
            Plan::Chance(_) if step == Step::Wait => {
                let others = self.order.len().saturating_sub(1);
                if others == 0 {
                    return me;
                }
                let drawn = self.draw(others);
                self.order.iter().copied().filter(|&thread| thread != me).nth(drawn).unwrap()
            }
            Plan::Chance(of) => {
                let (is_drawn, place) = (self.draw(of as usize) == 0, self.draw(self.order.len()));
                if is_drawn { self.order[place] } else { me }
            }
            Plan::Order { falls, among } => {
                if step == Step::Wait || self.draw(among as usize) < falls as usize {
                    self.order.retain(|&thread| thread != me);
                    self.order.push(me);
                }
                self.order[0]
            }
        }
    }
}

/// Begins a schedule for so many threads.
pub fn begin(plan: Plan, seed: u64, threads: usize) {
    turns::schedule(take_step);
    let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let order = Vec::with_capacity(threads);
    *state() = Some(State { plan, random, awaited: threads, order, current: None, steps: 0, switches: 0 });
}

/// The calling thread is number `me` of them, and goes on when it is its turn. The thread that the guard ends in gives its turns up.
pub fn enter(me: usize) -> Entered {
    let mut now = state();
    let running = now.as_mut().expect("a schedule was begun");
    running.awaited -= 1;
    running.order.push(me);
    if running.awaited == 0 {
        // In which order they came shall not matter.
        running.order.sort();
        for place in (1..running.order.len()).rev() {
            let other = running.draw(place + 1);
            running.order.swap(place, other);
        }
        running.current = Some(running.order[0]);
        PASSED.notify_all();
    }
    ME.set(Some(me));
    wait_for_turn(now, me);
    Entered
}

pub struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(me) = ME.take() else { return };
        let mut now = state();
        if let Some(running) = now.as_mut() {
            running.order.retain(|&thread| thread != me);
            running.current = running.order.first().copied();
            if running.order.is_empty() {
                SWITCHES.fetch_add(running.switches, Relaxed);
            }
        }
        PASSED.notify_all();
    }
}

fn wait_for_turn(mut now: MutexGuard<'static, Option<State>>, me: usize) {
    while now.as_ref().is_some_and(|running| running.current != Some(me)) {
        now = PASSED.wait(now).unwrap_or_else(PoisonError::into_inner);
    }
}

/// What the allocator calls. Threads that haven't entered, or have left, aren't held up.
fn take_step(step: Step) {
    let Some(me) = ME.get() else {
        if step == Step::Wait {
            std::thread::yield_now();
        }
        return;
    };
    let mut now = state();
    let Some(running) = now.as_mut() else { return };
    let next = running.next(me, step);
    if next != me {
        running.switches += 1;
        running.current = Some(next);
        PASSED.notify_all();
        wait_for_turn(now, me);
    }
}
