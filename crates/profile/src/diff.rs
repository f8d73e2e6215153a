//! What one profile has more than another: stacks are the same where their functions and lines are.

use crate::model::{Entry, Frame, Line, Profile};
use std::collections::BTreeMap;

/// The functions of a place, each with file and line.
type Named = Vec<(String, String, u32)>;

/// `after` minus `before`, as a profile whose figures may be below zero.
pub fn diff(before: &Profile, after: &Profile) -> Profile {
    /// Total, in use, peak, temporary.
    type Figures = [f64; 4];
    let mut sums: BTreeMap<(Vec<Named>, u64), Figures> = BTreeMap::new();
    for (profile, sign) in [(before, -1.0), (after, 1.0)] {
        for entry in &profile.entries {
            let stack = profile.frames_of(entry).map(|frame| named(frame, profile)).collect();
            let figures = sums.entry((stack, entry.bytes)).or_default();
            let more = [entry.total, entry.in_use, entry.peak, entry.temporary];
            figures.iter_mut().zip(more).for_each(|(sum, more)| *sum += sign * more);
        }
    }
    let mut profile = Profile { modules: Vec::new(), frames: Vec::new(), stacks: Vec::new(), ..after.clone() };
    profile.entries.clear();
    let mut frames = BTreeMap::new();
    for ((stack, bytes), [total, in_use, peak, temporary]) in sums {
        // What remains of a difference of estimates that are the same.
        if [total, in_use, peak, temporary].iter().all(|figure| figure.abs() < 1e-6) {
            continue;
        }
        let numbers = stack.into_iter().map(|lines| {
            *frames.entry(lines).or_insert_with_key(|lines: &Named| {
                let line = |(function, file, line): &(String, String, u32)| Line {
                    function: function.clone(),
                    file: file.clone(),
                    line: *line,
                };
                let lines = lines.iter().map(line).collect();
                profile.frames.push(Frame { module: None, address: 0, lines });
                profile.frames.len() as u32 - 1
            })
        });
        let numbers: Vec<u32> = numbers.collect();
        profile.stacks.push(numbers);
        let stack = profile.stacks.len() as u32 - 1;
        let entry = Entry { stack, bytes, chunk: bytes, total, in_use, peak, temporary, ..Entry::default() };
        profile.entries.push(entry);
    }
    profile
}

fn named(frame: &Frame, profile: &Profile) -> Named {
    if frame.lines.is_empty() {
        return frame.names(&profile.modules).into_iter().map(|name| (name, String::new(), 0)).collect();
    }
    frame.lines.iter().map(|line| (line.function.clone(), line.file.clone(), line.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Which;
    use crate::tree::{rows, tests::sample};

    #[test]
    fn only_what_differs_is_left() {
        let before = sample();
        let mut after = sample();
        assert!(diff(&before, &after).entries.is_empty());
        after.entries[0].in_use += 3.0;
        after.entries[1].in_use -= 1.0;
        let more = diff(&before, &after);
        assert_eq!(more.sum(Which::InUse), (2.0, -700.0));
        let rows = rows(&more, Which::InUse, false);
        assert_eq!((rows[0].name.as_str(), rows[0].own_bytes), ("h", -1000.0));
        assert_eq!((rows[1].name.as_str(), rows[1].own_bytes), ("f", 300.0));
    }
}
