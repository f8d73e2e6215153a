//! Chrome's trace form, which Perfetto's page opens too: the tree of calls laid out as if bytes were time, a thread of it for each
//! thread of the program.

use crate::model::{Profile, Which};
use crate::tree::{From, Node, tree};
use serde_json::{Value, json};

pub fn write(profile: &Profile, which: Which) -> String {
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": profile.pid, "tid": 0,
        "args": { "name": format!("{}: {}, 1 µs is 1 byte", profile.words.join(" "), which.name()) },
    })];
    let mut threads: Vec<u32> = profile.entries.iter().map(|entry| entry.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    for thread in threads {
        let entries = profile.entries.iter().filter(|entry| entry.thread == thread).cloned().collect();
        let own = Profile { entries, ..profile.clone() };
        lay(&tree(&own, which, From::Outside, false), 0.0, (profile.pid, thread), &mut events);
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

fn lay(node: &Node, start: f64, (pid, tid): (u32, u32), events: &mut Vec<Value>) {
    let mut at = start;
    for (name, below) in node.below.iter().filter(|(_, node)| node.bytes > 0.0) {
        events.push(json!({
            "ph": "X", "name": name, "pid": pid, "tid": tid, "ts": at, "dur": below.bytes,
            "args": { "allocations": below.count },
        }));
        lay(below, at, (pid, tid), events);
        at += below.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn what_was_called_lies_inside_of_what_called() {
        let text: Value = serde_json::from_str(&write(&sample(), Which::InUse)).unwrap();
        let events = text["traceEvents"].as_array().unwrap();
        let span = |name: &str| {
            let event = events.iter().find(|event| event["ph"] == "X" && event["name"] == name).unwrap();
            let start = event["ts"].as_f64().unwrap();
            (start, start + event["dur"].as_f64().unwrap())
        };
        let ((a, b), (c, d)) = (span("main"), span("h"));
        assert!(a <= c && d <= b && d - c == 1000.0 && b - a == 1200.0);
    }
}
