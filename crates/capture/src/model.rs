//! What both sides know of a block's calls so far, and what they expect of the next: most numbers of a call follow from others,
//! and then nothing of them needs to be kept. The side that packs says for each number by which rule it is had (`Rule`), and keeps
//! only what no rule gives; the one that unpacks applies the rules. Both walk a call in the same way, by `walk`: so the form is
//! described once.

use crate::calls::Call;
use crate::hash::Map;
use crate::{Error, Thread};
use heapglass_event::record::{Call as Function, Kind, Outcome, Record};

/// How a number of a call is had.
pub mod rule {
    pub const ZERO: u8 = 0;
    /// What the place in the code made the sides expect.
    pub const EXPECTED: u8 = 1;
    /// As the number that stood in the same place last.
    pub const LAST: u8 = 2;
    /// Kept as it is.
    pub const PLAIN: u8 = 3;
    /// Kept as what must be added to the number expected or last there.
    pub const MORE: u8 = 4;
    /// As `MORE`, in units of 16.
    pub const MORE_UNITS: u8 = 5;
    /// A pointer of this block, kept as its distance in the order in which pointers were handed out.
    pub const ORDER: u8 = 6;
    /// From here on: one of the numbers that the call has already shown.
    pub const SHOWN: u8 = 8;
}

/// Numbers that later ones of the same call may be equal to.
const SHOWN_MAX: usize = 96;
/// Freed pointers of a thread that may still be parked.
const FREED: usize = 4;
/// Chunks of a class that are remembered in the order in which the cache would give them.
const STACK_MAX: usize = 512;
/// Places in which numbers stand: kinds, and four for each.
const PLACES: usize = 1024;
/// Callers have a place for each of their addresses, behind those of all kinds: most stacks begin as the one before.
const CALLERS: usize = 448;
const CALLERS_MAX: usize = 48;
const _: () = assert!(CALLERS > Kind::Gone as usize * 4 + 3 && CALLERS + CALLERS_MAX + 4 <= 512);
/// A record whose small number is smaller keeps it in the shape of its call.
pub const SHAPED_MAX: u32 = 128;

pub struct Known {
    pub sequence: i64,
    pub bytes: u64,
}

/// What was seen of one thread.
pub struct Seen {
    last: Vec<u64>,
    /// With the bytes of their chunks, as far as those are known.
    freed: [(u64, u64); FREED],
    last_sequence: i64,
    last_result: u64,
    classes: Map<u64, Class>,
}

#[derive(Default)]
struct Class {
    stack: Vec<u64>,
    count: u64,
    last_result: u64,
}

/// All that is known within a block.
#[derive(Default)]
pub struct Model {
    pub threads: Vec<Thread>,
    seen: Vec<Seen>,
    known: Map<u64, Known>,
    order: Vec<u64>,
    shown: Vec<u64>,
}

/// One number, with what is expected of it.
pub struct Place<'a> {
    pub expected: u64,
    pub last: u64,
    pub shown: &'a [u64],
    pub known: &'a Map<u64, Known>,
    pub order: &'a [u64],
    pub sequence: i64,
}

/// The side that packs, or the one that unpacks.
pub trait Side {
    /// A number: written down, or found out.
    fn number(&mut self, number: &mut u64, place: &Place) -> Result<(), Error>;
}

impl Model {
    pub fn clear(&mut self) {
        self.threads.clear();
        self.seen.clear();
        self.known.clear();
        self.order.clear();
    }

    pub fn add_thread(&mut self, thread: Thread) -> usize {
        self.threads.push(thread);
        self.seen.push(Seen {
            last: vec![0; PLACES],
            freed: [(0, 0); FREED],
            last_sequence: 0,
            last_result: 0,
            classes: Map::default(),
        });
        self.threads.len() - 1
    }

    /// Walks over the numbers of a call of a thread. The function and the records' kinds are there already.
    pub fn walk<S: Side>(&mut self, side: &mut S, thread: usize, call: &mut Call) -> Result<(), Error> {
        let Model { seen, known, order, shown, .. } = self;
        let seen = seen.get_mut(thread).ok_or(Error::DAMAGED)?;
        let number = call.function.map_or(0, |function| function as u32);
        let mut walk = Walk { side, seen, known, order, shown, base: 512 + (number as usize & 127) * 4 };
        walk.shown.clear();
        let frees = call.function.is_some_and(|function| function.frees() || function == Function::Realloc);
        let mut arguments = call.arguments;
        let expected = if frees { walk.seen.last_result } else { 0 };
        walk.number(0, &mut arguments[0], expected)?;
        walk.number(1, &mut arguments[1], 0)?;
        call.arguments = arguments;
        let request = call.requested().unwrap_or(0);
        // Always in the same order: where a number was shown is part of a call's shape.
        walk.shown.clear();
        let class = chunk_for(request);
        let freed = if frees { arguments[0] } else { 0 };
        let known_freed = if freed == 0 { None } else { walk.known.get(&freed) };
        let (bytes_freed, sequence) = known_freed.map_or((0, None), |known| (known.bytes, Some(known.sequence)));
        walk.shown.extend([arguments[0], arguments[1], request, class, freed.wrapping_sub(16), bytes_freed]);
        for (parked, bytes) in walk.seen.freed {
            walk.shown.extend([parked, parked.wrapping_sub(16), bytes]);
        }
        let hands_out = call.function.is_some_and(|function| !function.gives_back());
        let expected = if hands_out { class } else { 0 };
        walk.number(2, &mut call.bytes, expected)?;
        let expected = if hands_out { walk.seen.next_of(call.bytes) } else { 0 };
        walk.number(3, &mut call.result, expected)?;
        walk.shown.extend([call.bytes, call.result, call.result.wrapping_sub(16)]);
        for step in &mut call.steps {
            walk.step(step)?;
        }
        if frees && freed != 0 {
            walk.seen.freed.rotate_right(1);
            walk.seen.freed[0] = (freed, bytes_freed);
            walk.seen.last_sequence = sequence.unwrap_or(walk.seen.last_sequence);
        }
        if hands_out && call.result != 0 && !call.failed {
            walk.seen.last_result = call.result;
            walk.seen.classes.entry(call.bytes).or_default().last_result = call.result;
            walk.known
                .insert(call.result, Known { sequence: walk.order.len().cast_signed() as i64, bytes: call.bytes });
            walk.order.push(call.result);
        }
        Ok(())
    }
}

struct Walk<'a, S> {
    side: &'a mut S,
    seen: &'a mut Seen,
    known: &'a mut Map<u64, Known>,
    order: &'a mut Vec<u64>,
    shown: &'a mut Vec<u64>,
    base: usize,
}

impl<S: Side> Walk<'_, S> {
    fn number(&mut self, place: usize, number: &mut u64, expected: u64) -> Result<(), Error> {
        let index = (self.base + place) & (PLACES - 1);
        let last = self.seen.last[index];
        let place = Place {
            expected,
            last,
            shown: self.shown,
            known: self.known,
            order: self.order,
            sequence: self.seen.last_sequence,
        };
        self.side.number(number, &place)?;
        self.seen.last[index] = *number;
        Ok(())
    }

    fn step(&mut self, step: &mut Record) -> Result<(), Error> {
        if step.is(Kind::Callers) && (step.n as usize) < CALLERS_MAX {
            return self.callers(step);
        }
        self.base = (step.kind as usize & 127) * 4;
        if step.n >= SHAPED_MAX {
            let mut n = u64::from(step.n);
            self.number(3, &mut n, 0)?;
            step.n = u32::try_from(n).map_err(|_| Error::DAMAGED)?;
        }
        self.number(0, &mut step.a, 0)?;
        self.show(step.a);
        let kind = step.kind();
        let counts = matches!(kind, Some(Kind::Cache | Kind::Put));
        let expected = match counts {
            true => self.seen.classes.get(&step.a).map_or(0, |class| class.count),
            false => 0,
        };
        self.number(1, &mut step.b, expected)?;
        self.show(step.b);
        self.number(2, &mut step.c, 0)?;
        self.show(step.c);
        if counts {
            self.count(step);
        }
        Ok(())
    }

    /// Three addresses of a stack. They aren't shown to what comes behind: nothing of the heap is equal to one.
    fn callers(&mut self, step: &mut Record) -> Result<(), Error> {
        self.base = CALLERS + step.n as usize;
        self.number(0, &mut step.a, 0)?;
        self.number(1, &mut step.b, 0)?;
        self.number(2, &mut step.c, 0)
    }

    /// A number that was new may come again, and so may what is known of it.
    fn show(&mut self, number: u64) {
        if number >= 1 << 16 && self.shown.len() < SHOWN_MAX && !self.shown.contains(&number) {
            self.shown.push(number);
            if let Some(known) = self.known.get(&number) {
                let bytes = known.bytes;
                self.shown.extend([number - 16, bytes]);
            }
        }
    }

    /// A chunk came out of the cache, or went into it.
    fn count(&mut self, step: &Record) {
        let class = self.seen.classes.entry(step.a).or_default();
        class.count = step.b;
        match (step.kind(), step.outcome()) {
            (Some(Kind::Cache), Some(Outcome::Taken)) => {
                class.count = step.b.saturating_sub(1);
                if class.stack.pop() != Some(step.c) {
                    class.stack.clear();
                }
            }
            (Some(Kind::Put), Some(Outcome::Taken)) => {
                class.count = step.b.saturating_add(1);
                if class.stack.len() < STACK_MAX {
                    class.stack.push(step.c);
                }
            }
            _ => {}
        }
    }
}

impl Seen {
    /// The pointer that a thread gets next of a class: what it freed last, or what lies beside the last one.
    fn next_of(&self, bytes: u64) -> u64 {
        match self.classes.get(&bytes) {
            Some(class) => class.stack.last().copied().unwrap_or(class.last_result.wrapping_sub(bytes)),
            None => self.last_result,
        }
    }
}

/// Bytes of the chunk that a small request takes.
fn chunk_for(request: u64) -> u64 {
    (request.saturating_add(23) & !15).max(32)
}
