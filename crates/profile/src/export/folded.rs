//! Folded stacks: a line for each, the outermost caller first, and the bytes. What flame graphs are made of.

use crate::model::{Profile, Which};
use crate::tree::calls;
use std::collections::BTreeMap;
use std::fmt::Write;

pub fn write(profile: &Profile, which: Which) -> String {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for entry in profile.entries.iter().filter(|entry| entry.count(which) != 0.0) {
        // A semicolon separates, so no name may have one.
        let names = calls(profile, entry).into_iter().rev().map(|call| call.function.replace(';', ":"));
        *sums.entry(names.collect::<Vec<_>>().join(";")).or_default() += entry.size(which);
    }
    let mut text = String::new();
    for (stack, bytes) in sums {
        let _ = writeln!(text, "{stack} {bytes:.0}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn a_line_for_each_stack() {
        assert_eq!(write(&sample(), Which::InUse), "main;f;f 200\nmain;g;h 1000\n");
    }
}
