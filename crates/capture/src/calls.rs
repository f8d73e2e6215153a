//! From records to calls. Each ring has a collector of its own: what lies between a `Begin` and its `End` is one call.

use heapglass_event::record::{Call as Function, Kind, Record};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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

/// A file with code, and where it lies in a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    pub start: u64,
    pub end: u64,
    /// What addresses in the file are counted from.
    pub base: u64,
    pub path: PathBuf,
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

    /// Return addresses above the call, the innermost first; none where nobody asked for them.
    pub fn callers(&self) -> impl Iterator<Item = u64> {
        self.of(Kind::Callers).flat_map(|step| [step.a, step.b, step.c]).filter(|&address| address != 0)
    }

    /// The modules that were told with the call, before the first address of each.
    pub fn modules(&self) -> Vec<Module> {
        let mut modules = Vec::new();
        let mut steps = self.steps.iter();
        while let Some(step) = steps.next() {
            if !step.is(Kind::Module) {
                continue;
            }
            let pieces = steps.clone().take_while(|step| step.is(Kind::Path));
            let mut path: Vec<u8> =
                pieces.flat_map(|step| [step.a, step.b, step.c]).flat_map(u64::to_le_bytes).collect();
            path.truncate(step.n as usize);
            let path = PathBuf::from(OsStr::from_bytes(&path));
            modules.push(Module { start: step.a, end: step.b, base: step.c, path });
        }
        modules
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

    #[test]
    fn callers_and_modules_come_out_of_the_steps() {
        let path = b"/usr/lib/a-name-of-more-than-24-bytes.so";
        let word = |at: usize| path.iter().skip(at).take(8).rev().fold(0, |word, byte| word << 8 | usize::from(*byte));
        let piece = |at: usize| Record::new(Kind::Path, Outcome::Done, 0, [word(at), word(at + 8), word(at + 16)]);
        let call = Call {
            steps: vec![
                Record::new(Kind::Module, Outcome::Done, path.len() as u32, [0x1000, 0x3000, 0x800]),
                piece(0),
                piece(24),
                Record::new(Kind::Callers, Outcome::Done, 0, [0x1100, 0x1200, 0x1300]),
                Record::new(Kind::Callers, Outcome::Done, 3, [0x1400, 0, 0]),
                record(Kind::Size, 0, 32),
            ],
            ..Call::default()
        };
        assert_eq!(call.callers().collect::<Vec<_>>(), [0x1100, 0x1200, 0x1300, 0x1400]);
        let path = PathBuf::from(OsStr::from_bytes(path));
        assert_eq!(call.modules(), [Module { start: 0x1000, end: 0x3000, base: 0x800, path }]);
    }
}
