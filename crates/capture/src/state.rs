//! The chunks that are in use at one moment: what the calls before it handed out and nobody freed. Each process has addresses of
//! its own.
//!
//! Calls of several threads stand in the order of the clock, which each of them reads a moment before or after its deed. Should a
//! pointer be handed out anew before its free was seen, the free that is still owed takes nothing away.

use crate::bytes::{Cursor, put, put_signed};
use crate::calls::{Call, Thread};
use crate::hash::Map;
use crate::{Error, zstd};
use heapglass_event::record::{Kernel, Kind, Outcome, Record};

/// Bits of an address within a page.
const PAGE: u32 = 12;

/// A chunk in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Live {
    /// What the program asked for.
    pub request: u64,
    /// The chunk's bytes; a mapping's whole length.
    pub bytes: u64,
    /// The number of the call that handed it out.
    pub born: u64,
    pub thread: Thread,
}

/// A chunk in use, with its user pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub pid: u32,
    pub pointer: u64,
    pub live: Live,
}

#[derive(Clone, Default)]
pub struct State {
    /// What a keyframe had, sorted, and which of it is gone by now: a map of a million would take longer to fill than to read.
    base: Vec<Chunk>,
    gone: Vec<bool>,
    base_chunks: usize,
    /// Where in it each page begins and ends: to search all of it would be a cache miss for each halving.
    pages: Map<(u32, u64), (usize, usize)>,
    /// What came since.
    live: Map<(u32, u64), Live>,
    owed: Map<(u32, u64), u32>,
    /// Bytes of all chunks in use, and what was asked for.
    pub bytes: u64,
    pub requested: u64,
    /// Bytes that the kernel gave for heaps and mappings, less those that it took back.
    pub kernel_bytes: i64,
    /// Frees of pointers that nobody was seen to be given.
    pub strangers: u64,
    /// Calls that led here.
    pub calls: u64,
}

/// What a call changed.
#[derive(Clone, Copy, Default)]
pub struct Change {
    pub gone: Option<Live>,
    pub come: Option<Live>,
}

impl State {
    /// The next call is made.
    pub fn apply(&mut self, thread: Thread, call: &Call) -> Change {
        self.calls += 1;
        let mut change = Change::default();
        let pointer = call.gives_up();
        if pointer != 0 {
            change.gone = self.take((thread.pid, pointer));
        }
        let pointer = call.hands_out();
        if can_be(pointer, call.bytes) {
            let request = call.requested().unwrap_or(0);
            let live = Live { request, bytes: call.bytes, born: self.calls, thread };
            self.put((thread.pid, pointer), live);
            change.come = Some(live);
        }
        for step in call.steps.iter().filter(|step| step.is(Kind::Kernel)) {
            self.kernel_bytes = self.kernel_bytes.saturating_add(gained(step));
        }
        change
    }

    fn take(&mut self, place: (u32, u64)) -> Option<Live> {
        if let Some(owed) = self.owed.get_mut(&place) {
            *owed -= 1;
            if *owed == 0 {
                self.owed.remove(&place);
            }
            return None;
        }
        let gone = self.live.remove(&place).or_else(|| self.take_from_base(place));
        match &gone {
            Some(live) => self.count_out(live),
            None => self.strangers = self.strangers.saturating_add(1),
        }
        gone
    }

    fn put(&mut self, place: (u32, u64), live: Live) {
        self.count_in(&live);
        if let Some(before) = self.live.insert(place, live).or_else(|| self.take_from_base(place)) {
            self.count_out(&before);
            let owed = self.owed.entry(place).or_default();
            *owed = owed.saturating_add(1);
        }
    }

    fn in_base(&self, place: (u32, u64)) -> Option<usize> {
        let &(start, end) = self.pages.get(&(place.0, place.1 >> PAGE))?;
        let page = self.base.get(start..end)?;
        let index = start + page.binary_search_by_key(&place.1, |chunk| chunk.pointer).ok()?;
        (!self.gone.get(index)?).then_some(index)
    }

    fn take_from_base(&mut self, place: (u32, u64)) -> Option<Live> {
        let index = self.in_base(place)?;
        *self.gone.get_mut(index)? = true;
        self.base_chunks -= 1;
        self.base.get(index).map(|chunk| chunk.live)
    }

    fn count_in(&mut self, live: &Live) {
        self.bytes = self.bytes.saturating_add(live.bytes);
        self.requested = self.requested.saturating_add(live.request);
    }

    fn count_out(&mut self, live: &Live) {
        self.bytes = self.bytes.saturating_sub(live.bytes);
        self.requested = self.requested.saturating_sub(live.request);
    }

    pub fn chunks(&self) -> usize {
        self.live.len() + self.base_chunks
    }

    pub fn get(&self, pid: u32, pointer: u64) -> Option<&Live> {
        let place = (pid, pointer);
        self.live.get(&place).or_else(|| self.base.get(self.in_base(place)?).map(|chunk| &chunk.live))
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = Chunk> {
        let base = self.base.iter().zip(&self.gone).filter(|(_, gone)| !**gone).map(|(chunk, _)| *chunk);
        base.chain(self.live.iter().map(|(&(pid, pointer), &live)| Chunk { pid, pointer, live }))
    }

    /// By process and address.
    pub fn sorted(&self) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = self.iter().collect();
        chunks.sort_unstable_by_key(|chunk| (chunk.pid, chunk.pointer));
        chunks
    }

    /// As bytes, for a keyframe.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut threads: Vec<Thread> = Vec::new();
        let mut numbers: Map<Thread, u64> = Map::default();
        let mut columns: [Vec<u8>; 6] = Default::default();
        let mut last = Chunk { pid: 0, pointer: 0, live: Live::default() };
        let (mut known, mut run) = (u64::MAX, 0);
        for chunk in self.sorted() {
            let live = chunk.live;
            let number = *numbers.entry(live.thread).or_insert_with(|| {
                threads.push(live.thread);
                threads.len() as u64 - 1
            });
            // Who has chunks side by side often is the same.
            if number != known {
                if run > 0 {
                    put(&mut columns[0], known);
                    put(&mut columns[0], run);
                }
                (known, run) = (number, 0);
            }
            run += 1;
            if chunk.pid != last.pid {
                last.pointer = 0;
            }
            // From the end of the one before: most lie side by side.
            let distance = chunk.pointer.wrapping_sub(last.pointer).wrapping_sub(last.live.bytes);
            put_signed(&mut columns[1], distance.rotate_right(4).cast_signed());
            put_signed(&mut columns[2], live.bytes.wrapping_sub(last.live.bytes).cast_signed());
            put_signed(&mut columns[3], live.bytes.wrapping_sub(live.request).cast_signed());
            put_signed(&mut columns[4], live.born.wrapping_sub(last.live.born).cast_signed());
            last = chunk;
        }
        if run > 0 {
            put(&mut columns[0], known);
            put(&mut columns[0], run);
        }
        for (&(pid, pointer), &count) in &self.owed {
            [u64::from(pid), pointer, count.into()].iter().for_each(|&number| put(&mut columns[5], number));
        }
        let mut head = Vec::new();
        for number in [self.calls, self.kernel_bytes.cast_unsigned(), self.strangers, self.chunks() as u64] {
            put(&mut head, number);
        }
        put(&mut head, threads.len() as u64);
        for thread in &threads {
            put(&mut head, thread.pid.into());
            put(&mut head, thread.tid.into());
        }
        let mut bytes = Vec::new();
        zstd::pack(&head, &mut bytes);
        columns.iter().for_each(|column| zstd::pack(column, &mut bytes));
        bytes
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Result<State, Error> {
        let mut cursor = Cursor(bytes);
        let (mut head, mut columns): (Vec<u8>, [Vec<u8>; 6]) = Default::default();
        zstd::unpack(&mut cursor, &mut head)?;
        for column in &mut columns {
            zstd::unpack(&mut cursor, column)?;
        }
        let mut head = Cursor(&head);
        let mut state = State { calls: head.number()?, ..State::default() };
        state.kernel_bytes = head.number()?.cast_signed();
        state.strangers = head.number()?;
        let count = head.number()?;
        let mut threads = Vec::new();
        for _ in 0..head.count()? {
            threads.push(Thread { pid: head.number()? as u32, tid: head.number()? as u32 });
        }
        let [who, distances, bytes, slack, born, owed] = &columns;
        // Each chunk has a byte at least in each of these.
        if count > distances.len() as u64 {
            return Err(Error::DAMAGED);
        }
        state.base.reserve_exact(count as usize);
        let [mut who, mut distances, mut bytes, mut slack, mut born, mut owed] =
            [who, distances, bytes, slack, born, owed].map(|column| Cursor(column));
        let mut last = Chunk { pid: 0, pointer: 0, live: Live::default() };
        let mut run = 0;
        for _ in 0..count {
            if run == 0 {
                let number = usize::try_from(who.number()?).map_err(|_| Error::DAMAGED)?;
                last.live.thread = *threads.get(number).ok_or(Error::DAMAGED)?;
                run = who.number()?;
            }
            run = run.checked_sub(1).ok_or(Error::DAMAGED)?;
            if last.live.thread.pid != last.pid {
                (last.pid, last.pointer) = (last.live.thread.pid, 0);
            }
            let distance = distances.signed()?.cast_unsigned().rotate_left(4);
            last.pointer = last.pointer.wrapping_add(last.live.bytes).wrapping_add(distance);
            last.live.bytes = last.live.bytes.wrapping_add(bytes.signed()?.cast_unsigned());
            last.live.request = last.live.bytes.wrapping_sub(slack.signed()?.cast_unsigned());
            last.live.born = last.live.born.wrapping_add(born.signed()?.cast_unsigned());
            if !can_be(last.pointer, last.live.bytes) {
                return Err(Error::DAMAGED);
            }
            if state.base.last().is_some_and(|before| (before.pid, before.pointer) >= (last.pid, last.pointer)) {
                return Err(Error::DAMAGED);
            }
            state.count_in(&last.live);
            state.base.push(last);
        }
        for (index, chunk) in state.base.iter().enumerate() {
            state.pages.entry((chunk.pid, chunk.pointer >> PAGE)).or_insert((index, index)).1 = index + 1;
        }
        state.base_chunks = state.base.len();
        state.gone = vec![false; state.base.len()];
        while !owed.is_empty() {
            let (pid, pointer, count) = (owed.number()? as u32, owed.number()?, owed.number()? as u32);
            if count > 0 {
                state.owed.insert((pid, pointer), count);
            }
        }
        Ok(state)
    }
}

/// Addresses of programs stay below this.
const ADDRESS_MAX: u64 = 1 << 56;

/// Is this a chunk that a heap can hand out? A record that was damaged may tell of any; with these, whoever reads a state may do sums.
fn can_be(pointer: u64, bytes: u64) -> bool {
    (16..ADDRESS_MAX).contains(&pointer) && bytes < ADDRESS_MAX
}

/// Bytes that a system call brought.
pub fn gained(record: &Record) -> i64 {
    if record.went(Outcome::Refused) {
        return 0;
    }
    match Kernel::from_number(record.n) {
        Some(Kernel::Brk) => record.b.cast_signed(),
        Some(Kernel::Mmap) => record.b.cast_signed(),
        Some(Kernel::Munmap) => record.b.cast_signed().wrapping_neg(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::Call as Function;

    fn call(function: Function, arguments: [u64; 2], result: u64) -> Call {
        Call { function: Some(function), arguments, result, bytes: 48, ..Call::default() }
    }

    const ONE: Thread = Thread { pid: 7, tid: 7 };
    const OTHER: Thread = Thread { pid: 8, tid: 9 };

    #[test]
    fn what_is_in_use_is_what_was_handed_out_and_not_freed() {
        let mut state = State::default();
        state.apply(ONE, &call(Function::Malloc, [32, 0], 0x1010));
        state.apply(OTHER, &call(Function::Malloc, [30, 0], 0x1010));
        state.apply(ONE, &call(Function::Realloc, [0x1010, 40], 0x2010));
        assert_eq!((state.chunks(), state.bytes, state.requested), (2, 96, 70));
        let gone = state.apply(OTHER, &call(Function::Free, [0x1010, 0], 0)).gone.unwrap();
        assert_eq!((gone.born, gone.request), (2, 30));
        state.apply(OTHER, &call(Function::Free, [0x9990, 0], 0));
        assert_eq!((state.chunks(), state.strangers), (1, 1));
        let failed = Call { failed: true, ..call(Function::Realloc, [0x2010, 1 << 40], 0) };
        state.apply(ONE, &failed);
        assert!(state.get(7, 0x2010).is_some());
        state.apply(ONE, &Call { failed: true, ..call(Function::Realloc, [0x2010, 0], 0) });
        assert_eq!((state.chunks(), state.bytes), (0, 0));
    }

    #[test]
    fn a_free_that_comes_late_takes_nothing_away() {
        let mut state = State::default();
        state.apply(ONE, &call(Function::Malloc, [32, 0], 0x1010));
        state.apply(ONE, &call(Function::Malloc, [33, 0], 0x1010));
        state.apply(ONE, &call(Function::Free, [0x1010, 0], 0));
        assert_eq!((state.chunks(), state.bytes, state.strangers), (1, 48, 0));
        assert_eq!(state.get(7, 0x1010).unwrap().request, 33);
    }

    #[test]
    fn what_no_heap_can_hand_out_is_no_chunk() {
        let mut state = State::default();
        for pointer in [1, 15, 1 << 56, u64::MAX] {
            assert!(state.apply(ONE, &call(Function::Malloc, [32, 0], pointer)).come.is_none());
        }
        state.apply(ONE, &Call { bytes: u64::MAX, ..call(Function::Malloc, [32, 0], 0x1010) });
        assert_eq!((state.chunks(), state.bytes, state.calls), (0, 0, 5));
        state.put((7, 8), Live { bytes: 48, ..Live::default() });
        assert!(State::unpack(&state.pack()).is_err());
    }

    #[test]
    fn a_state_comes_back_from_its_bytes() {
        let mut state = State::default();
        for number in 0..1000u64 {
            let thread = if number % 3 == 0 { ONE } else { OTHER };
            state.apply(
                thread,
                &call(Function::Malloc, [number % 40, 0], 0x7fff_0000_1010 + number * 4096 + number % 2),
            );
        }
        state.apply(ONE, &call(Function::Malloc, [1, 0], 0x7fff_0000_1010));
        let back = State::unpack(&state.pack()).unwrap();
        assert_eq!(back.sorted(), state.sorted());
        assert_eq!((back.bytes, back.requested, back.calls), (state.bytes, state.requested, state.calls));
        assert_eq!(back.owed, state.owed);
        assert!(State::unpack(&state.pack()[..100]).is_err());
        assert_eq!(State::unpack(&State::default().pack()).unwrap().chunks(), 0);
    }
}
