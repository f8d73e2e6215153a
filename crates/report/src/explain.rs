//! One call, told step by step: each record is a sentence, under the number that the step has in the textbook's procedure, and
//! then the heap before and after.

use crate::calls::Call;
use crate::picture::{LEGEND, Picture, flags, grouped};
use crate::text;
use heapglass_event::record::{Kind, Outcome, Record};
use std::fmt::Write;

/// Explains calls one after the other.
pub fn explain(calls: &[Call]) -> String {
    let mut out = String::new();
    let mut teller = Teller::default();
    for call in calls {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &teller.tell(call);
    }
    if teller.seen.is_some() {
        out.push('\n');
        out += LEGEND;
    }
    out
}

/// Tells calls as they come: the heap before one is drawn only if it isn't what was drawn last.
#[derive(Default)]
pub struct Teller {
    seen: Option<Picture>,
}

impl Teller {
    pub fn tell(&mut self, call: &Call) -> String {
        let mut out = steps(call);
        let (before, after) = (Picture::of(&call.steps, false), Picture::of(&call.steps, true));
        if let Some(before) = before.as_ref().filter(|before| self.seen.as_ref() != Some(before)) {
            let after = after.as_ref().unwrap_or(before);
            let _ = write!(out, "before\n{}", before.draw(after));
        }
        if let (Some(after), Some(before)) = (&after, &before) {
            let _ = write!(out, "after\n{}", after.draw(before));
        }
        if let (Some(fault), Some(before)) = (call.of(Kind::Fault).find(|fault| fault.a != 0), &before) {
            would_have(&mut out, fault, before);
        }
        self.seen = after.or(before);
        out
    }
}

/// The call and its result, and a line for each step.
pub fn steps(call: &Call) -> String {
    let mut head = Vec::new();
    text::call(&mut head, call.function, call.arguments);
    if call.unfinished {
        head.extend_from_slice(b" never returned");
    } else {
        head.extend_from_slice(b" = ");
        text::result(&mut head, call.function, call.result, call.failed);
    }
    let mut out = String::from_utf8_lossy(&head).into_owned() + "\n";
    // What remains of a split is put away as step 6 of taking, what was merged as step 8 of giving back.
    let mut is_merged = false;
    for step in &call.steps {
        is_merged = step.is(Kind::MergeNext) || is_merged && !step.is(Kind::Split);
        if let Some((number, name, said)) = sentence(step, is_merged) {
            let number = if number == 0 { " ".into() } else { number.to_string() };
            let _ = writeln!(out, "  {number:>2}  {name:<14} {said}");
        }
    }
    out
}

/// Where the textbook's procedure has a step.
fn sentence(step: &Record, is_merged: bool) -> Option<(u32, &'static str, String)> {
    let (kind, outcome) = (step.kind()?, step.outcome()?);
    let Record { n, a, b, c, .. } = *step;
    let many = |count: u64, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let (number, said) = match (kind, outcome) {
        (Kind::Size, _) => (1, format!("{a} + 8 bytes of header, rounded up to a multiple of 16, at least 32: {b}")),
        (Kind::Threshold, Outcome::Above) => {
            (1, format!("{a} bytes are at least the mmap threshold of {b}: a mapping of its own"))
        }
        (Kind::Threshold, _) => (1, format!("{a} bytes are below the mmap threshold of {b}: from a heap")),
        (Kind::Cache, Outcome::Taken) => {
            (2, format!("class {a}: taken, {} before, {} now", many(b, "chunk"), b.saturating_sub(1)))
        }
        (Kind::Cache, Outcome::Empty) if b == 0 => (2, format!("class {a}: empty")),
        (Kind::Cache, Outcome::Empty) => (2, format!("class {a}: none of {b} chunks is long enough")),
        (Kind::Cache, Outcome::Off) => (2, "off: every call goes through the bins".into()),
        (Kind::Cache, Outcome::TooLong) => (2, format!("{a} bytes are longer than any cached chunk")),
        (Kind::Cache, _) => (2, "this thread has none".into()),
        (Kind::Refill, from) => (2, format!("class {a}: {} from the {}", many(b, "chunk"), from.name())),
        (Kind::Arena, _) => (0, format!("number {n}, locked")),
        (Kind::Fast, Outcome::Taken) => (3, format!("{a} bytes: taken, {b:#x}")),
        (Kind::Fast, Outcome::Empty) => (3, format!("{a} bytes: empty")),
        (Kind::Fast, _) => (3, format!("{a} bytes: longer than any fast chunk")),
        (Kind::Small, Outcome::Taken) => (4, format!("{a} bytes: taken, {b:#x}")),
        (Kind::Small, Outcome::Empty) => (4, format!("{a} bytes: empty")),
        (Kind::Small, _) => (4, format!("{a} bytes: longer than any small bin's chunks")),
        (Kind::Look, Outcome::Taken) => (5, format!("{a:#x} of {b} bytes fits exactly")),
        (Kind::Look, to) => (5, format!("{a:#x} of {b} bytes doesn't fit: into its {}", to.name())),
        (Kind::Unsorted, Outcome::Taken) => (5, format!("{} looked at, the last is taken", many(b, "chunk"))),
        (Kind::Unsorted, Outcome::Bounded) => (5, format!("{b} chunks looked at: enough for one call")),
        (Kind::Unsorted, _) if b == 0 => (5, "empty".into()),
        (Kind::Unsorted, _) => (5, format!("{} looked at, none fits", many(b, "chunk"))),
        (Kind::Best, Outcome::Empty) => (6, format!("no chunk of {a} bytes or more in any bin")),
        (Kind::Best, from) => (6, format!("the shortest of {a} bytes or more: {b:#x} of {c}, in a {}", from.name())),
        (Kind::Split, Outcome::Whole) => (6, format!("{b} bytes: taken whole, what is left would be no chunk")),
        (Kind::Split, _) => (6, format!("{b} bytes: {n} × {a} cut off, {c} remain")),
        (Kind::Top, Outcome::Taken) => (7, format!("{b} bytes: {n} × {a} cut off its start, {c} remain")),
        (Kind::Top, Outcome::TooShort) => (7, format!("{b} bytes: too short for {a} and the smallest top")),
        (Kind::Top, _) => (7, "there is none: the arena has no heap yet".into()),
        (Kind::Grow, Outcome::Failed) => (8, "the kernel gives no memory".into()),
        (Kind::Grow, by) => (8, format!("{} bytes gained by {}", grouped(b), by.name())),
        (Kind::Null, _) => (1, "null is nothing: done".into()),
        (Kind::Proven, Outcome::Mapped) => {
            (2, format!("16 bytes back: {a:#x} proves itself, a mapping of {b} bytes, flags {}", flags(n)))
        }
        (Kind::Proven, _) => (2, format!("16 bytes back: {a:#x} proves itself, live, {b} bytes, flags {}", flags(n))),
        (Kind::Mapping, Outcome::Made) => (8, format!("{a:#x}, {} bytes: made for this chunk alone", grouped(b))),
        (Kind::Mapping, Outcome::Reused) => (8, format!("{a:#x}, {} bytes: one that was freed and kept", grouped(b))),
        (Kind::Mapping, Outcome::Kept) => (3, format!("{a:#x}, {} bytes: kept for the next such request", grouped(b))),
        (Kind::Mapping, how) => (3, format!("{a:#x}, {} bytes: {}", grouped(b), how.name())),
        (Kind::Rise, _) => (3, format!("mmap threshold {} now, trim threshold {}", grouped(a), grouped(b))),
        (Kind::Parked, _) => (4, format!("{a:#x} waits for its header, behind two later frees at most")),
        (Kind::Unparked, _) => (4, format!("{a:#x}, which waited, has its turn")),
        (Kind::Put, Outcome::Taken) => {
            (4, format!("class {a}: put in, {} before, {} now", many(b, "chunk"), b.saturating_add(1)))
        }
        (Kind::Put, Outcome::Off) => (4, "off: every chunk goes to its arena".into()),
        (Kind::Put, Outcome::TooLong) => (4, format!("{a} bytes are longer than any cached chunk")),
        (Kind::Put, why) => (4, format!("class {a}: not taken ({})", why.name())),
        (Kind::Spill, to) => (4, format!("class {a}: {} to the {}", many(b, "chunk"), to.name())),
        (Kind::Home, Outcome::ByInbox) => (4, format!("{a:#x}: its arena is busy, so by its inbox")),
        (Kind::Home, _) => (4, format!("{a:#x} of {b} bytes goes home to arena {n}")),
        (Kind::FastPut, _) => (5, format!("{a} bytes: {b:#x} becomes the first; nothing is merged")),
        (Kind::Sample, Outcome::Made) => (2, format!("{a:#x} stands alone, between inaccessible pages")),
        (Kind::Sample, _) => (3, format!("{a:#x}, a guarded sample: its pages are inaccessible now")),
        (Kind::Quarantine, _) => (4, format!("{a:#x} of {b} bytes waits in quarantine")),
        (Kind::Consolidate, _) => (0, format!("{}, {b} bytes, in fast bins: merged", many(a, "chunk"))),
        (Kind::MergePrev, Outcome::Merged) => (6, format!("P is clear: {a:#x} of {b} bytes is free; merged, {c}")),
        (Kind::MergePrev, Outcome::TooLong) => {
            (6, format!("{a:#x} of {b} bytes is free, but together they are too long"))
        }
        (Kind::MergePrev, _) => (6, "P is set: in use".into()),
        (Kind::MergeNext, Outcome::Merged) => (7, format!("{a:#x} of {b} bytes is free; merged, {c}")),
        (Kind::MergeNext, Outcome::WithTop) => (7, format!("it is the top, {b} bytes; merged, {c}")),
        (Kind::MergeNext, Outcome::TooLong) => {
            (7, format!("{a:#x} of {b} bytes is free, but together they are too long"))
        }
        (Kind::MergeNext, _) => (7, format!("{a:#x}: in use, or not to be merged")),
        (Kind::Into, Outcome::ToTop) => (8, format!("{a:#x}, {b} bytes, is the top now")),
        (Kind::Into, Outcome::HeapGone) => (8, "nothing is left in its heap, which is given back".into()),
        (Kind::Into, to) => (if is_merged { 8 } else { 6 }, format!("{a:#x} of {b} bytes goes to the {}", to.name())),
        (Kind::Trim, Outcome::Below) => (9, format!("top of {a} bytes, not above the trim threshold of {b}")),
        (Kind::Trim, Outcome::Shrunk) => {
            (9, format!("top of {a} bytes, above the trim threshold of {b}: {c} given back"))
        }
        (Kind::Trim, _) => (9, format!("top of {a} bytes, above the trim threshold of {b}, but kept")),
        (Kind::Stays, _) => (0, format!("{a} bytes serve for {b}")),
        (Kind::Shorten, _) => (0, format!("{a} bytes: the end is cut off, {b} stay")),
        (Kind::Lengthen, Outcome::IntoTop | Outcome::IntoNext) => {
            (0, format!("{a} bytes become {c}, {}", outcome.name()))
        }
        (Kind::Lengthen, why) => (0, format!("{a} bytes can't become {b} in place: {}", why.name())),
        (Kind::Copy, _) => (0, format!("{c} bytes from {a:#x} to {b:#x}")),
        (Kind::Align, _) => (0, format!("{b} bytes before a multiple of {c}")),
        (Kind::Kernel, _) => {
            let mut said = Vec::new();
            text::kernel(&mut said, step);
            (0, String::from_utf8_lossy(&said).into_owned())
        }
        (Kind::Fault, state) if a != 0 => {
            (2, format!("{a:#x} is no live chunk's: {}. The process is stopped", state.name()))
        }
        _ => return None,
    };
    Some((number, kind.name(), said))
}

/// What a double free would have made of the list that the chunk is in.
fn would_have(out: &mut String, fault: &Record, before: &Picture) {
    let chunk = fault.a.wrapping_sub(16);
    let Some(list) = before.list_of(chunk) else { return };
    let links: Vec<String> = list.links.iter().take(6).map(|link| format!("{:#x}", link[0])).collect();
    let _ = writeln!(
        out,
        "had it been believed\n    {}: {chunk:#x} → {} ...\n    the chunk would be in it twice, and two later mallocs would return the same address",
        list.name(),
        links.join(" → ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::Call as Function;

    #[test]
    fn each_step_has_its_number_and_its_figures() {
        let step = |kind, outcome, n, numbers| Record::new(kind, outcome, n, numbers);
        let call = Call {
            function: Some(Function::Malloc),
            arguments: [32, 0],
            result: 0x1010,
            steps: vec![
                step(Kind::Size, Outcome::Done, 0, [32, 48, 0]),
                step(Kind::Cache, Outcome::Off, 0, [48, 0, 0]),
                step(Kind::Fast, Outcome::Empty, 0, [48, 0, 0]),
                step(Kind::Look, Outcome::ToSmall, 0, [0x2000, 64, 0]),
                step(Kind::Unsorted, Outcome::Empty, 0, [48, 1, 0]),
                step(Kind::Top, Outcome::Taken, 1, [48, 4096, 4048]),
            ],
            ..Call::default()
        };
        let told = explain(&[call]);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "malloc(32) = 0x1010");
        assert_eq!(
            lines[1],
            "   1  size           32 + 8 bytes of header, rounded up to a multiple of 16, at least 32: 48"
        );
        assert!(lines[3].starts_with("   3  fast bin       48 bytes: empty"));
        assert!(lines[4].ends_with("0x2000 of 64 bytes doesn't fit: into its small bin"));
        assert!(lines[5].ends_with("1 chunk looked at, none fits"));
        assert!(lines[6].ends_with("4096 bytes: 1 × 48 cut off its start, 4048 remain"));
    }
}
