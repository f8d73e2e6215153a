//! From records to calls. Each ring has a collector of its own: what lies between a `Begin` and its `End` is one call.

use heapglass_event::record::{Call as Function, Kind, Record};

/// The kernel's numbers of a thread and its process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Thread {
    pub pid: u32,
    pub tid: u32,
}

/// One call of the program's, with the records of its steps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Call {
    pub function: Option<Function>,
    pub arguments: [u64; 2],
    /// The clock at its begin and end, in its own ticks.
    pub began: u64,
    pub ended: u64,
    pub result: u64,
    /// Bytes of the chunk returned, 0 for none.
    pub bytes: u64,
    pub failed: bool,
    /// It never returned: the process ended in it.
    pub unfinished: bool,
    pub steps: Vec<Record>,
}

impl Call {
    /// Takes over another's content, and keeps its own room for it.
    pub fn copy_from(&mut self, other: &Call) {
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        steps.extend_from_slice(&other.steps);
        let Call { function, arguments, began, ended, result, bytes, failed, unfinished, .. } = *other;
        *self = Call { function, arguments, began, ended, result, bytes, failed, unfinished, steps };
    }
}

/// What a collector hands out.
pub enum Found<'a> {
    Call(&'a Call),
    /// A record that belongs to no call: a system call for the heap's own records, say.
    Outside(Record),
}

/// Puts the records of one ring together.
#[derive(Default)]
pub struct Collector {
    /// The call under way, kept between calls for its room.
    call: Call,
    is_in_call: bool,
}

impl Collector {
    /// Takes the next record of the ring.
    pub fn take(&mut self, record: Record, mut see: impl FnMut(Found)) {
        match record.kind() {
            Some(Kind::Begin) => {
                self.end_unfinished(&mut see);
                let steps = std::mem::take(&mut self.call.steps);
                self.call = Call { steps, ..Call::default() };
                self.call.steps.clear();
                self.call.function = Function::from_number(record.n);
                self.call.arguments = [record.a, record.b];
                self.call.began = record.c;
                self.is_in_call = true;
            }
            Some(Kind::End) if self.is_in_call => {
                self.call.result = record.a;
                self.call.bytes = record.b;
                self.call.ended = record.c;
                self.call.failed = record.went(heapglass_event::record::Outcome::Failed);
                self.is_in_call = false;
                see(Found::Call(&self.call));
            }
            Some(Kind::End) => {}
            _ if self.is_in_call => self.call.steps.push(record),
            _ => see(Found::Outside(record)),
        }
    }

    /// When the call under way began; `None` between calls.
    pub fn under_way(&self) -> Option<u64> {
        self.is_in_call.then_some(self.call.began)
    }

    /// Hands out the call that was under way when the process, or the thread, ended.
    pub fn end_unfinished(&mut self, see: &mut impl FnMut(Found)) {
        if std::mem::take(&mut self.is_in_call) {
            self.call.unfinished = true;
            see(Found::Call(&self.call));
        }
    }
}

impl Call {
    /// What was asked for, of a sized free what the program says of it.
    pub fn requested(&self) -> Option<u64> {
        use Function::*;
        let [a, b] = self.arguments;
        match self.function? {
            Malloc => Some(a),
            New | NewArray => Some(if b == 0 { a } else { b }),
            Calloc => a.checked_mul(b),
            Realloc | Memalign | AlignedAlloc | PosixMemalign | Valloc | Pvalloc => Some(b),
            FreeSized | FreeAlignedSized | DeleteSized | DeleteArraySized => Some(b),
            Free | Cfree | Delete | DeleteArray | Trim | ThreadEnd => None,
        }
    }

    /// The pointer that the program no longer has once the call returned: null where there is none.
    pub fn gives_up(&self) -> u64 {
        let [pointer, size] = self.arguments;
        match self.function {
            Some(function) if function.frees() => pointer,
            // One that fails leaves it, but for a size of nothing, which frees.
            Some(Function::Realloc) if !self.unfinished && (!self.failed || size == 0) => pointer,
            _ => 0,
        }
    }

    /// The pointer that the program has from then on: null where there is none.
    pub fn hands_out(&self) -> u64 {
        match self.function {
            Some(function) if !function.gives_back() && !self.failed && !self.unfinished => self.result,
            _ => 0,
        }
    }

    /// The records of a kind, in their order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Record> {
        self.steps.iter().filter(move |step| step.is(kind))
    }

    pub fn has(&self, kind: Kind) -> bool {
        self.of(kind).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::Outcome;

    fn record(kind: Kind, n: u32, a: usize) -> Record {
        Record::new(kind, Outcome::Done, n, [a, 0, 7])
    }

    fn collected(records: &[Record]) -> Vec<String> {
        let mut collector = Collector::default();
        let mut seen = Vec::new();
        let mut see = |found: Found| {
            seen.push(match found {
                Found::Call(call) => format!("{:?} {} {}", call.function, call.steps.len(), call.unfinished),
                Found::Outside(record) => format!("outside {}", record.kind),
            });
        };
        for record in records {
            collector.take(*record, &mut see);
        }
        collector.end_unfinished(&mut see);
        seen
    }

    #[test]
    fn what_lies_between_begin_and_end_is_one_call() {
        let malloc = Function::Malloc as u32;
        let records = [
            record(Kind::Kernel, 2, 0),
            record(Kind::Begin, malloc, 32),
            record(Kind::Size, 0, 32),
            record(Kind::End, malloc, 0x1000),
            record(Kind::Begin, malloc, 64),
        ];
        assert_eq!(collected(&records), ["outside 70", "Some(Malloc) 1 false", "Some(Malloc) 0 true"]);
    }
}
