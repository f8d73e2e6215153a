//! Calls of several threads in the order of time. Each ring is read in its own order, one after the other; so what was read of one may be
//! younger than what another still holds. A call is handed on once nothing older can come: it lies before the moment at which the
//! last round of reading ended, and before the begin of every call under way.
//!
//! What counts of a call that frees is its begin, of any other its end: so a pointer's free comes before it is handed out anew.

use crate::calls::{Call, Thread};

/// Calls that are held back at most, whatever is under way.
const HELD_MAX: usize = 1 << 16;

#[derive(Default)]
pub struct Order {
    held: Vec<(u64, Thread, Call)>,
    /// Calls that were handed on, for their room.
    spare: Vec<Call>,
    before: u64,
}

impl Order {
    pub fn hold(&mut self, thread: Thread, call: &Call) {
        let frees = call.function.is_some_and(|function| function.gives_back());
        let time = if frees || call.unfinished { call.began } else { call.ended };
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.copy_from(call);
        self.held.push((time, thread, copy));
    }

    /// A round of reading ended at `now`; the oldest call under way began at `under_way`.
    pub fn round(&mut self, now: u64, under_way: Option<u64>, see: impl FnMut(Thread, &mut Call)) {
        let horizon = self.before.min(under_way.unwrap_or(u64::MAX));
        self.before = now;
        let all = self.held.len() > HELD_MAX;
        self.hand_on(if all { u64::MAX } else { horizon }, see);
    }

    /// Nothing more will come.
    pub fn finish(&mut self, see: impl FnMut(Thread, &mut Call)) {
        self.hand_on(u64::MAX, see);
    }

    fn hand_on(&mut self, horizon: u64, mut see: impl FnMut(Thread, &mut Call)) {
        if !self.held.is_sorted_by_key(|held| held.0) {
            self.held.sort_by_key(|held| held.0);
        }
        let count = self.held.partition_point(|held| held.0 <= horizon);
        for (_, thread, mut call) in self.held.drain(..count) {
            see(thread, &mut call);
            self.spare.push(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::Call as Function;

    #[test]
    fn calls_are_handed_on_by_time_and_only_when_nothing_older_can_come() {
        let mut order = Order::default();
        let one = Thread { pid: 1, tid: 1 };
        let call = |function, began, ended| Call { function: Some(function), began, ended, ..Call::default() };
        let mut seen = Vec::new();
        order.hold(one, &call(Function::Malloc, 10, 50));
        order.hold(one, &call(Function::Free, 30, 60));
        order.round(100, None, |_, call| seen.push(call.began));
        assert_eq!(seen, [], "another ring may hold calls from before this round");
        order.round(200, Some(40), |_, call| seen.push(call.began));
        assert_eq!(seen, [30], "a call under way may be a free");
        order.round(300, None, |_, call| seen.push(call.began));
        assert_eq!(seen, [30, 10]);
        order.hold(one, &call(Function::Malloc, 310, 320));
        order.finish(|_, call| seen.push(call.began));
        assert_eq!(seen, [30, 10, 310]);
    }
}
