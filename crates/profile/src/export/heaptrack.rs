//! heaptrack's form, as `heaptrack_print` and its window read it: strings, places, stacks, and allocations and frees one by one, in
//! hexadecimal.
//!
//! A profile tells no order, so one is made up that has the same sums, the same peak and as many temporary allocations.

use crate::model::Profile;
use crate::tree::calls;
use std::collections::HashMap;
use std::fmt::Write;

/// More events than this aren't written: then each stands for several, with as many bytes.
const EVENTS_MAX: f64 = 2_000_000.0;

#[derive(Default)]
struct Tables {
    text: String,
    strings: HashMap<String, usize>,
    places: HashMap<(String, String, u32), usize>,
    traces: HashMap<(usize, usize), usize>,
}

impl Tables {
    fn string(&mut self, string: &str) -> usize {
        if string.is_empty() {
            return 0;
        }
        if let Some(&number) = self.strings.get(string) {
            return number;
        }
        let number = self.strings.len() + 1;
        self.strings.insert(string.to_owned(), number);
        let line = string.replace(['\n', '\r'], " ");
        let _ = writeln!(self.text, "s {line}");
        number
    }

    fn place(&mut self, function: &str, file: &str, line: u32, module: &str) -> usize {
        let key = (function.to_owned(), file.to_owned(), line);
        if let Some(&number) = self.places.get(&key) {
            return number;
        }
        let (module, function, file) = (self.string(module), self.string(function), self.string(file));
        let number = self.places.len() + 1;
        self.places.insert(key, number);
        // Addresses only tell places apart.
        let _ = match file {
            0 => writeln!(self.text, "i {number:x} {module:x} {function:x}"),
            _ => writeln!(self.text, "i {number:x} {module:x} {function:x} {file:x} {line:x}"),
        };
        number
    }

    fn trace(&mut self, place: usize, parent: usize) -> usize {
        if let Some(&number) = self.traces.get(&(place, parent)) {
            return number;
        }
        let number = self.traces.len() + 1;
        self.traces.insert((place, parent), number);
        let _ = writeln!(self.text, "t {place:x} {parent:x}");
        number
    }
}

pub fn write(profile: &Profile) -> String {
    let mut tables = Tables::default();
    let events: f64 = profile.entries.iter().map(|entry| entry.total).sum::<f64>() * 2.0;
    let scale = (events / EVENTS_MAX).max(1.0);
    let _ = writeln!(tables.text, "v 10500 2\nX {}\nI 1000 0", profile.words.join(" "));
    /// What is to be done with one sort of allocation.
    struct Plan {
        info: usize,
        total: u64,
        peak: u64,
        in_use: u64,
        temporary: u64,
    }
    let mut plans = Vec::new();
    let module = profile.words.first().cloned().unwrap_or_default();
    for entry in &profile.entries {
        let mut trace = 0;
        for call in calls(profile, entry).into_iter().rev() {
            let place = tables.place(&call.function, &call.file, call.line, &module);
            trace = tables.trace(place, trace);
        }
        let times = |count: f64| (count / scale).round().max(0.0) as u64;
        let total = times(entry.total).max(u64::from(entry.total > 0.0));
        let size = if total == 0 { 0.0 } else { entry.total * entry.bytes as f64 / total as f64 };
        let (peak, in_use) = (times(entry.peak).min(total), times(entry.in_use).min(total));
        let temporary = times(entry.temporary).min(total - peak.max(in_use));
        let info = plans.len();
        let _ = writeln!(tables.text, "a {:x} {trace:x}", size.round() as u64);
        plans.push(Plan { info, total, peak, in_use, temporary });
    }
    let mut text = tables.text;
    let mut event = |sign: char, info: usize, times: u64| {
        (0..times).for_each(|_| {
            let _ = writeln!(text, "{sign} {info:x}");
        })
    };
    // What was neither there at the peak nor at the end: freed at once, or after others were allocated.
    for few in plans.chunks(16) {
        let others = |plan: &Plan| plan.total - plan.peak.max(plan.in_use) - plan.temporary;
        for plan in few {
            (0..plan.temporary).for_each(|_| {
                event('+', plan.info, 1);
                event('-', plan.info, 1);
            });
        }
        for round in 0..few.iter().map(others).max().unwrap_or(0) {
            few.iter().filter(|plan| others(plan) > round).for_each(|plan| event('+', plan.info, 1));
            few.iter().filter(|plan| others(plan) > round).for_each(|plan| event('-', plan.info, 1));
        }
    }
    plans.iter().for_each(|plan| event('+', plan.info, plan.peak));
    let milliseconds = |nanos: u64| nanos / 1_000_000;
    let _ = writeln!(text, "c {:x}", milliseconds(profile.peak_at));
    let mut event = |sign: char, info: usize, times: u64| {
        (0..times).for_each(|_| {
            let _ = writeln!(text, "{sign} {info:x}");
        })
    };
    plans.iter().for_each(|plan| event('-', plan.info, plan.peak.saturating_sub(plan.in_use)));
    plans.iter().for_each(|plan| event('+', plan.info, plan.in_use.saturating_sub(plan.peak)));
    let _ = writeln!(text, "c {:x}", milliseconds(profile.took));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn events_add_up() {
        let text = write(&sample());
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        // 3 + 2 + 1 allocations, of which 2 + 1 stay.
        assert_eq!((count("+ "), count("- "), count("a ")), (6, 3, 3));
        assert!(text.contains("\ns main\n") && text.contains("\ns dir/a.c\n"));
    }
}
