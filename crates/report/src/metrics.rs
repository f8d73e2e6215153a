//! Ledgers as OpenMetrics text, for Prometheus: what is now as gauges, what only grows as counters. And in the older form, which knows no
//! units and no end, and names a counter by its samples' name.

use crate::ledger::{LINES, Ledger, Sum};
use crate::requests::{Part, Requests};
use heapglass_inspect::counters::Counted;
use std::fmt::Write as _;

/// One process.
pub struct Process<'a> {
    pub pid: u32,
    pub name: &'a str,
    pub ledger: &'a Ledger,
    pub counted: Option<&'a Counted>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    OpenMetrics,
    Text,
}

struct Text(String, Form);

impl Text {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let is_older = self.1 == Form::Text;
        let end = if is_older && kind == "counter" { "_total" } else { "" };
        let name = format!("{name}{end}");
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() && !is_older {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, process: &Process<'_>, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let pid = process.pid.to_string();
        let mut all = vec![("pid", pid.as_str()), ("process", process.name)];
        all.extend_from_slice(labels);
        let told: Vec<String> = all.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", told.join(","));
    }
}

/// A label's value: a process may be called anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub fn text(all: &[Process<'_>], form: Form) -> String {
    let mut text = Text(String::new(), form);
    text.family("heapglass_rss_bytes", "gauge", "bytes", "What the kernel says is resident.");
    for one in all {
        if let Some(rss) = one.ledger.rss {
            text.sample("heapglass_rss_bytes", one, &[], rss);
        }
    }
    text.family(
        "heapglass_resident_bytes",
        "gauge",
        "bytes",
        "Resident memory by ledger line; the lines add up to the rss. Of requested and rounding, heapglass_request_chunks says how they are known.",
    );
    for one in all {
        for line in LINES {
            let labels = [("line", line.key())];
            text.sample("heapglass_resident_bytes", one, &labels, one.ledger.line(line).resident);
        }
    }
    text.family("heapglass_address_bytes", "gauge", "bytes", "Addresses by ledger line, resident or not.");
    for one in all {
        for line in LINES {
            text.sample("heapglass_address_bytes", one, &[("line", line.key())], one.ledger.line(line).bytes);
        }
    }
    text.family("heapglass_chunks", "gauge", "", "Chunks by ledger line.");
    for one in all {
        for line in LINES.into_iter().filter(|line| one.ledger.line(*line).chunks > 0) {
            text.sample("heapglass_chunks", one, &[("line", line.key())], one.ledger.line(line).chunks);
        }
    }
    requests(&mut text, all);
    arenas(&mut text, all);
    sizes(&mut text, all);
    others(&mut text, all);
    counters(&mut text, all);
    if form == Form::OpenMetrics {
        text.0 += "# EOF\n";
    }
    text.0
}

fn requests(text: &mut Text, all: &[Process<'_>]) {
    let mut family = |name: &str, unit: &str, help: &str, of: fn(&Part) -> u64| {
        text.family(name, "gauge", unit, help);
        for one in all {
            let Requests { exact, estimated, unseen, .. } = &one.ledger.requests;
            for (known, part) in [("exact", exact), ("estimated", estimated), ("unseen", unseen)] {
                text.sample(name, one, &[("known", known)], of(part));
            }
        }
    };
    let help =
        "Chunks in use in heaps, by how what was asked for is known: exactly, by a mean of their class, or not at all.";
    family("heapglass_request_chunks", "", help, |part| part.chunks);
    let help = "Rounding of those chunks: exactly, about, or at most.";
    family("heapglass_request_rounding_bytes", "bytes", help, |part| part.rounding);
    text.family("heapglass_request_calls", "gauge", "", "Calls that the estimate is from.");
    for one in all {
        text.sample("heapglass_request_calls", one, &[], one.ledger.requests.calls());
    }
}

fn arenas(text: &mut Text, all: &[Process<'_>]) {
    text.family("heapglass_arena_resident_bytes", "gauge", "bytes", "Resident memory of an arena by ledger line.");
    for one in all {
        for part in &one.ledger.arenas {
            let index = part.index.to_string();
            for line in LINES.into_iter().filter(|line| part.sums[*line as usize].bytes > 0) {
                let labels = [("arena", index.as_str()), ("line", line.key())];
                text.sample("heapglass_arena_resident_bytes", one, &labels, part.sums[line as usize].resident);
            }
        }
    }
    text.family("heapglass_arena_threads", "gauge", "", "Threads that an arena serves.");
    for one in all {
        for part in &one.ledger.arenas {
            text.sample("heapglass_arena_threads", one, &[("arena", &part.index.to_string())], part.threads);
        }
    }
}

fn sizes(text: &mut Text, all: &[Process<'_>]) {
    let mut family = |name: &str, unit: &str, what: &str, of: fn(&Sum) -> u64| {
        let help = format!("{what} of a size class, in use, cached or free; a class is named by its smallest chunk.");
        text.family(name, "gauge", unit, &help);
        for one in all {
            let Ledger { live, cached, free, .. } = one.ledger;
            for (state, sizes) in [("in_use", live), ("cached", cached), ("free", free)] {
                for (least, row) in sizes.rows() {
                    text.sample(name, one, &[("state", state), ("class", &least.to_string())], of(row));
                }
            }
        }
    };
    family("heapglass_class_bytes", "bytes", "Bytes of chunks", |row| row.bytes);
    family("heapglass_class_chunks", "", "Chunks", |row| row.chunks);
}

fn others(text: &mut Text, all: &[Process<'_>]) {
    text.family("heapglass_largest_free_bytes", "gauge", "bytes", "The longest free chunk.");
    for one in all {
        text.sample("heapglass_largest_free_bytes", one, &[], one.ledger.largest_free);
    }
    text.family("heapglass_trimmable_bytes", "gauge", "bytes", "What malloc_trim would give back.");
    for one in all {
        text.sample("heapglass_trimmable_bytes", one, &[], one.ledger.trimmable());
    }
    text.family("heapglass_damages", "gauge", "", "Places where the heap was found damaged.");
    for one in all {
        let damages = one.ledger.damages.iter().filter(|damage| !damage.racing).count();
        text.sample("heapglass_damages", one, &[], damages);
    }
    text.family(
        "heapglass_decay_seconds",
        "gauge",
        "seconds",
        "How long free pages wait before they go back; -1 is for ever.",
    );
    for one in all {
        let ms = one.ledger.records.settings.decay;
        let seconds = if ms < 0 { -1.0 } else { ms as f64 / 1000.0 };
        text.sample("heapglass_decay_seconds", one, &[], seconds);
    }
}

fn counters(text: &mut Text, all: &[Process<'_>]) {
    text.family(
        "heapglass_operations",
        "counter",
        "",
        "Calls of the program's, where it counts them (HEAPGLASS=stats:FILE).",
    );
    for one in all {
        for (name, value) in one.counted.and_then(|counted| counted.operations).into_iter().flatten() {
            text.sample("heapglass_operations_total", one, &[("operation", name)], value);
        }
    }
    text.family("heapglass_system_calls", "counter", "", "System calls that the heap made.");
    for one in all {
        for (name, value) in one.counted.map(|counted| counted.system_calls).into_iter().flatten() {
            text.sample("heapglass_system_calls_total", one, &[("call", name)], value);
        }
    }
    text.family("heapglass_released_bytes", "counter", "bytes", "Pages inside heaps that went back to the kernel.");
    for one in all {
        if let Some(counted) = one.counted {
            text.sample("heapglass_released_bytes_total", one, &[], counted.released_bytes);
        }
    }
    text.family("heapglass_lock_waits", "counter", "", "Times that a thread slept for a lock of the heap's.");
    for one in all {
        if let Some(counted) = one.counted {
            text.sample("heapglass_lock_waits_total", one, &[], counted.lock_waits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_is_no_sample_and_the_text_ends() {
        let text = text(&[], Form::OpenMetrics);
        assert!(text.ends_with("# EOF\n"));
        assert!(text.lines().all(|line| line.starts_with("# ")));
    }

    #[test]
    fn a_label_may_hold_anything() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
