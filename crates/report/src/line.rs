//! The line of a trace. Left of `;` stands what ltrace would print, and right of it what served the call; under it each system
//! call that it caused.
//!
//! ```text
//! malloc(1000)            = 0x55d0c0a01730   ; large bin 2080 → cut 1008, rest 1072 → unsorted
//! free(0x55d0c0b00010)    = <void>           ; cache off, next top → top 139264 → trim
//!                         └ brk(0x55d0c0b22000)           = 0x55d0c0b22000   (−135,168 B)
//! ```

use crate::calls::Call;
use crate::path::{self, Path};
use crate::text::{self, Text};
use heapglass_event::record::{Kind, Outcome, Record};

/// Where the result, the comment and a system call stand.
const RESULT: usize = 24;
const COMMENT: usize = 42;

/// How lines are written.
#[derive(Clone, Copy, Default)]
pub struct Style {
    pub time: Time,
    /// Seconds that the call took.
    pub takes: bool,
    /// What ltrace prints, and nothing else.
    pub bare: bool,
    pub colour: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Time {
    #[default]
    None,
    /// The time of day, to the second.
    OfDay,
    /// To the microsecond.
    OfDayExact,
    /// Since the line before.
    Relative,
}

/// From ticks of the clock to time.
#[derive(Clone, Copy, Default)]
pub struct Clock {
    /// A tick, and the nanoseconds since midnight at it.
    pub tick: u64,
    pub nanos: u64,
    pub nanos_per_tick: f64,
}

const DAY: u64 = 86_400_000_000_000;

impl Clock {
    pub fn nanos_between(&self, from: u64, to: u64) -> u64 {
        (to.saturating_sub(from) as f64 * self.nanos_per_tick) as u64
    }

    fn of_day(&self, tick: u64) -> u64 {
        let passed = (tick.wrapping_sub(self.tick) as i64 as f64 * self.nanos_per_tick) as i64;
        self.nanos.wrapping_add_signed(passed) % DAY
    }
}

/// Writes lines.
#[derive(Default)]
pub struct Writer {
    pub style: Style,
    pub clock: Clock,
    last: Option<u64>,
}

impl Writer {
    pub fn new(style: Style) -> Writer {
        Writer { style, ..Writer::default() }
    }

    /// A call, with what stands before it: `[pid 1.2] `, or nothing.
    pub fn call(&mut self, to: &mut Vec<u8>, prefix: &str, call: &Call) {
        let style = self.style;
        let start = to.len();
        to.text(prefix);
        self.time(to, call.began);
        let body = to.len();
        text::call(to, call.function, call.arguments);
        if call.unfinished {
            to.text(" <unfinished ...>");
        } else {
            to.pad(body, RESULT).text(" = ");
            text::result(to, call.function, call.result, call.failed);
        }
        if style.takes && !call.unfinished {
            to.text(" <");
            seconds(to, self.clock.nanos_between(call.began, call.ended));
            to.text(">");
        }
        if style.bare {
            to.push(b'\n');
            return;
        }
        to.pad(body, COMMENT).text(" ; ");
        if style.colour {
            let colour = match path::of(call) {
                Path::Cache | Path::ToCache | Path::Null => "\x1b[2m",
                Path::Kernel | Path::ToKernel | Path::Failed => "\x1b[31m",
                Path::Large => "\x1b[33m",
                _ => "\x1b[32m",
            };
            to.text(colour);
        }
        served(to, call);
        if style.colour {
            to.text("\x1b[0m");
        }
        to.push(b'\n');
        for step in call.of(Kind::Kernel) {
            for _ in 0..body - start + RESULT {
                to.push(b' ');
            }
            to.text("└ ");
            text::kernel(to, step);
            to.push(b'\n');
        }
    }

    /// A system call that no call of the program's caused directly: for the heap's own records.
    pub fn outside(&mut self, to: &mut Vec<u8>, prefix: &str, record: &Record) {
        if record.is(Kind::Kernel) && !self.style.bare {
            to.text(prefix).text("; for its own records: ");
            text::kernel(to, record);
            to.push(b'\n');
        }
    }

    fn time(&mut self, to: &mut Vec<u8>, tick: u64) {
        match self.style.time {
            Time::None => return,
            Time::OfDay | Time::OfDayExact => {
                let nanos = self.clock.of_day(tick);
                let second = nanos / 1_000_000_000;
                for (index, part) in [second / 3600, second / 60 % 60, second % 60].into_iter().enumerate() {
                    if index > 0 {
                        to.push(b':');
                    }
                    digits(to, part, 2);
                }
                if self.style.time == Time::OfDayExact {
                    to.push(b'.');
                    digits(to, nanos / 1000 % 1_000_000, 6);
                }
            }
            Time::Relative => {
                let since = self.last.map_or(0, |last| self.clock.nanos_between(last, tick));
                self.last = Some(tick);
                seconds(to, since);
            }
        }
        to.push(b' ');
    }
}

fn digits(to: &mut Vec<u8>, number: u64, width: u32) {
    for place in (0..width).rev() {
        to.push(b'0' + (number / 10u64.pow(place) % 10) as u8);
    }
}

fn seconds(to: &mut Vec<u8>, nanos: u64) {
    to.number(nanos / 1_000_000_000).push(b'.');
    digits(to, nanos / 1000 % 1_000_000, 6);
}

/// Sets the parts of a comment apart.
struct Parts<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl Parts<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if self.to.len() > self.start {
            self.to.text(" → ");
        }
        self.to
    }
}

/// Of a call that puts away more chunks than this, only how many is told: an arena may merge thousands before it grows.
const PUT_AWAY: usize = 4;

/// What served the call, in as few words as tell it.
pub fn served(to: &mut Vec<u8>, call: &Call) {
    let start = to.len();
    let put_away = call.of(Kind::Into).count();
    let mut is_crowd_told = false;
    let mut parts = Parts { to, start };
    let is_free = call.function.is_some_and(|function| function.gives_back());
    for step in &call.steps {
        let (Some(kind), Some(outcome)) = (step.kind(), step.outcome()) else { continue };
        let Record { n, a, b, c, .. } = *step;
        if put_away > PUT_AWAY && matches!(kind, Kind::MergePrev | Kind::MergeNext | Kind::Into) {
            if !std::mem::replace(&mut is_crowd_told, true) {
                parts.next().number(put_away as u64).text(" put into bins, ").number(merges(call)).text(" merges");
            }
            continue;
        }
        match (kind, outcome) {
            (Kind::Threshold, Outcome::Above) => drop(parts.next().text("≥ mmap_threshold ").number(b)),
            (Kind::Cache, Outcome::Taken) => {
                parts.next().text("cache[").number(a).text("] hit ").number(b).text("→").number(b.saturating_sub(1));
            }
            (Kind::Cache, Outcome::Off) => drop(parts.next().text("cache off")),
            (Kind::Refill, from) => drop(parts.next().number(b).text(" from the ").text(from.name())),
            (Kind::Fast, Outcome::Taken) => drop(parts.next().text("fast[").number(a).text("]")),
            (Kind::Small, Outcome::Taken) => drop(parts.next().text("small[").number(a).text("]")),
            (Kind::Unsorted, Outcome::Taken) => {
                parts.next().text("unsorted[").number(a).text("], ").number(b).text(" looked at");
            }
            (Kind::Unsorted, _) if b > 0 => drop(parts.next().text("unsorted: ").number(b).text(" sorted")),
            (Kind::Best, Outcome::FromSmall) => drop(parts.next().text("small bin ").number(c)),
            (Kind::Best, Outcome::FromLarge) => drop(parts.next().text("large bin ").number(c)),
            (Kind::Split, Outcome::Cut) => {
                times(parts.next().text("cut "), n, a);
                if c > 0 {
                    parts.to.text(", rest ").number(c);
                }
            }
            (Kind::Split, Outcome::Whole) => drop(parts.next().text("taken whole")),
            (Kind::Grow, Outcome::Failed) => drop(parts.next().text("no memory")),
            (Kind::Grow, by) => drop(parts.next().text("grown by ").text(by.name())),
            (Kind::Top, Outcome::Taken) => {
                times(parts.next().text("top ").number(b).text(" → cut "), n, a);
            }
            (Kind::Mapping, how) => drop(parts.next().text("mapping ").number(b).text(" ").text(how.name())),
            (Kind::Rise, _) => drop(parts.next().text("thresholds ").number(a).text(", ").number(b)),
            (Kind::Stays, _) => drop(parts.next().text("stays: ").number(b).text(" fit in ").number(a)),
            (Kind::Shorten, _) => drop(parts.next().text("shortened ").number(a).text("→").number(b)),
            (Kind::Lengthen, Outcome::IntoTop | Outcome::IntoNext) => {
                parts.next().text("grown in place ").number(a).text("→").number(c).text(" ").text(outcome.name());
            }
            (Kind::Copy, _) => drop(parts.next().number(c).text(" bytes copied")),
            (Kind::Align, _) if b > 0 => drop(parts.next().text("aligned, ").number(b).text(" before it given back")),
            (Kind::Null, _) => drop(parts.next().text("nothing")),
            (Kind::Parked, _) => drop(parts.next().text("parked")),
            (Kind::Put, Outcome::Taken) => {
                parts.next().text("cache[").number(a).text("] put ").number(b).text("→").number(b.saturating_add(1));
            }
            (Kind::Put, Outcome::Off) => drop(parts.next().text("cache off")),
            (Kind::Put, why) => drop(parts.next().text("not cached: ").text(why.name())),
            (Kind::Spill, to) => drop(parts.next().number(b).text(" to the ").text(to.name())),
            (Kind::Home, Outcome::ByInbox) => drop(parts.next().text("by inbox")),
            (Kind::FastPut, _) => drop(parts.next().text("fast[").number(a).text("] put")),
            (Kind::Sample, Outcome::Made) => drop(parts.next().text("guarded sample")),
            (Kind::Sample, _) => drop(parts.next().text("guarded sample, inaccessible now")),
            (Kind::Quarantine, _) => drop(parts.next().text("quarantine")),
            (Kind::Consolidate, _) => drop(parts.next().number(a).text(" fast chunks merged")),
            (Kind::MergePrev, Outcome::Merged) => drop(parts.next().text("merge prev ").number(b)),
            (Kind::MergeNext, Outcome::Merged) => drop(parts.next().text("merge next ").number(b)),
            (Kind::MergeNext, Outcome::WithTop) => drop(parts.next().text("next top")),
            (Kind::Into, Outcome::HeapGone) => drop(parts.next().text("heap given back")),
            (Kind::Into, place) if is_free || place == Outcome::ToTop => {
                parts.next().text(place.name()).text(" ").number(b);
            }
            (Kind::Into, place) => drop(parts.next().text(place.name())),
            (Kind::Trim, Outcome::Shrunk) => drop(parts.next().text("trim ").number(c)),
            (Kind::Fault, _) => drop(parts.next().text("FAULT")),
            _ => {}
        }
    }
}

fn merges(call: &Call) -> u64 {
    let merging = call.of(Kind::MergePrev).chain(call.of(Kind::MergeNext));
    merging.filter(|step| step.went(Outcome::Merged) || step.went(Outcome::WithTop)).count() as u64
}

fn times(to: &mut Vec<u8>, pieces: u32, bytes: u64) {
    if pieces > 1 {
        to.number(pieces.into()).text(" × ");
    }
    to.number(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::Call as Function;

    fn step(kind: Kind, outcome: Outcome, n: u32, numbers: [usize; 3]) -> Record {
        Record::new(kind, outcome, n, numbers)
    }

    fn written(style: Style, call: &Call) -> String {
        let mut to = Vec::new();
        let clock = Clock { tick: 0, nanos: 3_600_000_000_000, nanos_per_tick: 0.5 };
        Writer { style, clock, last: None }.call(&mut to, "", call);
        String::from_utf8(to).unwrap()
    }

    fn first() -> Call {
        Call {
            function: Some(Function::Malloc),
            arguments: [32, 0],
            began: 2000,
            ended: 5000,
            result: 0x5000_0010,
            bytes: 48,
            steps: vec![
                step(Kind::Size, Outcome::Done, 0, [32, 48, 0]),
                step(Kind::Cache, Outcome::Empty, 0, [48, 0, 0]),
                step(Kind::Kernel, Outcome::Done, 1, [0x5002_1000, 135_168, 0x5002_1000]),
                step(Kind::Grow, Outcome::NewBreak, 0, [80, 135_168, 0]),
                step(Kind::Top, Outcome::Taken, 1, [48, 135_168, 135_120]),
            ],
            ..Call::default()
        }
    }

    #[test]
    fn a_line_tells_what_served_the_call_and_what_it_asked_of_the_kernel() {
        let line = written(Style::default(), &first());
        let (call, below) = line.split_once('\n').unwrap();
        let (left, right) = call.split_once(';').unwrap();
        assert_eq!(left.trim_end(), "malloc(32)               = 0x50000010");
        assert_eq!(right, " grown by a new heap at the break → top 135168 → cut 48");
        assert_eq!(below.trim_start(), "└ brk(0x50021000)                = 0x50021000   (+135,168 B)\n");
    }

    #[test]
    fn what_is_put_away_by_the_dozen_is_counted() {
        let told = |chunks: usize| {
            let into = step(Kind::Into, Outcome::ToSmall, 0, [0x5000_0000, 64, 0]);
            let merge = step(Kind::MergeNext, Outcome::Merged, 0, [0x5000_0040, 64, 128]);
            let steps = [merge, into].repeat(chunks);
            let mut to = Vec::new();
            served(&mut to, &Call { steps, ..first() });
            String::from_utf8(to).unwrap()
        };
        assert_eq!(told(1), "merge next 64 → small bin");
        assert_eq!(told(50), "50 put into bins, 50 merges");
    }

    #[test]
    fn times_are_those_of_strace() {
        let style = |time, takes| Style { time, takes, bare: true, ..Style::default() };
        assert!(written(style(Time::OfDay, false), &first()).starts_with("01:00:00 malloc(32)"));
        assert!(written(style(Time::OfDayExact, false), &first()).starts_with("01:00:00.000001 malloc(32)"));
        assert!(written(style(Time::Relative, false), &first()).starts_with("0.000000 malloc(32)"));
        assert!(written(style(Time::None, true), &first()).ends_with(" = 0x50000010 <0.000001>\n"));
    }
}
