//! A profile as a tree of calls: from the outermost caller inwards, or from the innermost function outwards.

use crate::model::{Entry, Profile, Which};
use std::collections::{BTreeMap, HashMap};

/// A function among others that the same one called (or, from within, that called the same one).
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub count: f64,
    pub bytes: f64,
    /// By name.
    pub below: BTreeMap<String, Node>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// From the outermost caller.
    Outside,
    /// From the function that allocated.
    Inside,
}

/// One function of a frame, with its place where it is known.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Call {
    pub function: String,
    pub file: String,
    pub line: u32,
}

impl Call {
    /// `function file:line`, with the file's own name only.
    pub fn text(&self) -> String {
        if self.file.is_empty() {
            return self.function.clone();
        }
        let file = self.file.rsplit('/').next().unwrap_or(&self.file);
        format!("{} {file}:{}", self.function, self.line)
    }
}

/// The functions of an entry's stack, the innermost first.
pub fn calls(profile: &Profile, entry: &Entry) -> Vec<Call> {
    let of_frame = |frame: &crate::model::Frame| -> Vec<Call> {
        if frame.lines.is_empty() {
            let names = frame.names(&profile.modules);
            return names.into_iter().map(|function| Call { function, file: String::new(), line: 0 }).collect();
        }
        let lines = frame.lines.iter();
        lines.map(|l| Call { function: l.function.clone(), file: l.file.clone(), line: l.line }).collect()
    };
    profile.frames_of(entry).flat_map(of_frame).collect()
}

/// `with_lines`: calls of one function from two lines are two.
pub fn tree(profile: &Profile, which: Which, from: From, with_lines: bool) -> Node {
    let mut root = Node::default();
    for entry in &profile.entries {
        let (count, bytes) = (entry.count(which), entry.size(which));
        if count == 0.0 {
            continue;
        }
        let mut calls = calls(profile, entry);
        if from == From::Outside {
            calls.reverse();
        }
        let mut node = &mut root;
        node.count += count;
        node.bytes += bytes;
        for call in calls {
            let name = if with_lines { call.text() } else { call.function };
            node = node.below.entry(name).or_default();
            node.count += count;
            node.bytes += bytes;
        }
    }
    root
}

/// A function's figures: what it allocated itself or by its language's own containers, and what was allocated in all that it called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub name: String,
    pub own_count: f64,
    pub own_bytes: f64,
    pub all_count: f64,
    pub all_bytes: f64,
}

/// What stands between a program and its allocator: containers and smart pointers of the languages' own libraries.
const PLUMBING: [&str; 12] = [
    "alloc::",
    "<alloc::",
    "core::",
    "<core::",
    "std::",
    "<std::",
    "<str>::",
    "hashbrown::",
    "<hashbrown::",
    "__gnu_cxx::",
    "void std::",
    "operator new",
];

/// The function that allocated, or had such a one allocate for it.
fn allocating(calls: &[Call]) -> usize {
    let is_plumbing = |call: &Call| PLUMBING.iter().any(|start| call.function.starts_with(start));
    calls.iter().position(|call| !is_plumbing(call)).unwrap_or(0)
}

/// All functions, those that allocated the most bytes themselves first.
pub fn rows(profile: &Profile, which: Which, with_lines: bool) -> Vec<Row> {
    let mut rows: HashMap<String, Row> = HashMap::new();
    for entry in &profile.entries {
        let (count, bytes) = (entry.count(which), entry.size(which));
        if count == 0.0 {
            continue;
        }
        let mut seen = Vec::new();
        let calls = calls(profile, entry);
        let own = allocating(&calls);
        for (index, call) in calls.into_iter().enumerate() {
            let name = if with_lines { call.text() } else { call.function };
            let row = rows.entry(name.clone()).or_insert_with(|| Row { name: name.clone(), ..Row::default() });
            if index == own {
                row.own_count += count;
                row.own_bytes += bytes;
            }
            // One that calls itself counts once.
            if !seen.contains(&name) {
                row.all_count += count;
                row.all_bytes += bytes;
                seen.push(name);
            }
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| {
        let by_bytes = b.own_bytes.abs().total_cmp(&a.own_bytes.abs());
        by_bytes.then(b.all_bytes.abs().total_cmp(&a.all_bytes.abs())).then(a.name.cmp(&b.name))
    });
    rows
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::model::{Frame, Line};

    /// main calls f and g, f calls itself once and allocates; g has an inlined h that allocates.
    pub fn sample() -> Profile {
        let line = |function: &str, line| Line { function: function.into(), file: "dir/a.c".into(), line };
        let mut profile = Profile::new();
        profile.interval = 1;
        profile.words = vec!["program".into()];
        profile.modules.push(crate::model::Module {
            path: "/bin/program".into(),
            build_id: "ab12".into(),
            start: 0x1000,
            end: 0x9000,
            offset: 0,
            bias: 0x1000,
        });
        let frame = |address, lines| Frame { module: Some(0), address, lines };
        profile.frames = vec![
            frame(0x10, vec![line("main", 1)]),
            frame(0x20, vec![line("f", 2)]),
            frame(0x30, vec![line("h", 4), line("g", 3)]),
            frame(0x40, vec![]),
        ];
        profile.stacks = vec![vec![1, 1, 0], vec![2, 0], vec![3]];
        let entry = |stack, bytes, in_use: f64| Entry {
            stack,
            thread: 5,
            arena: Some(0),
            bytes,
            chunk: bytes + 8,
            total: in_use + 1.0,
            in_use,
            peak: in_use,
            temporary: 1.0,
            lived: 5e6,
        };
        profile.entries = vec![entry(0, 100, 2.0), entry(1, 1000, 1.0), entry(2, 8, 0.0)];
        profile
    }

    #[test]
    fn trees_from_either_end_add_up() {
        let profile = sample();
        let outside = tree(&profile, Which::InUse, From::Outside, false);
        assert_eq!((outside.count, outside.bytes), (3.0, 1200.0));
        let main = &outside.below["main"];
        assert_eq!(main.bytes, 1200.0);
        assert_eq!(main.below["f"].below["f"].bytes, 200.0);
        assert_eq!(main.below["g"].below["h"].bytes, 1000.0);
        let inside = tree(&profile, Which::InUse, From::Inside, true);
        assert_eq!(inside.below["h a.c:4"].below["g a.c:3"].below["main a.c:1"].bytes, 1000.0);
        let total = tree(&profile, Which::Total, From::Outside, false);
        assert_eq!(total.below["program+0x40"].count, 1.0);
    }

    #[test]
    fn a_function_that_calls_itself_counts_once() {
        let rows = rows(&sample(), Which::InUse, false);
        let of = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(rows[0].name, "h");
        assert_eq!((of("f").own_bytes, of("f").all_bytes), (200.0, 200.0));
        assert_eq!((of("main").own_bytes, of("main").all_bytes, of("main").all_count), (0.0, 1200.0, 3.0));
    }
}
