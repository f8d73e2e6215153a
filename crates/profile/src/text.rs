//! A profile in a terminal: sums, the functions that allocated most, and the tree of calls.

use crate::model::{Profile, Which, bytes, number};
use crate::tree::{From, Node, rows, tree};
use std::fmt::Write;

/// What is shown of it.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub which: Which,
    /// Functions of the table.
    pub rows: usize,
    /// Branches of the tree below this share of all aren't shown.
    pub share: f64,
    pub from: From,
}

/// The sums of a profile.
pub fn sums(profile: &Profile) -> String {
    let mut text = String::new();
    for which in Which::ALL {
        let (count, size) = profile.sum(which);
        let _ = writeln!(text, "  {:<12}{:>12}  in {:>12} allocations", which.name(), bytes(size), number(count));
    }
    text
}

/// The functions that allocated the most.
pub fn table(profile: &Profile, view: View) -> String {
    let (_, all) = profile.sum(view.which);
    let mut text = format!(
        "{:>10} {:>6} {:>10} {:>6} {:>12}  function, by {} bytes\n",
        "own",
        "",
        "all",
        "",
        "count",
        view.which.name()
    );
    let rows = rows(profile, view.which, true);
    let share = |part: f64| if all == 0.0 { 0.0 } else { 100.0 * part / all };
    for row in rows.iter().filter(|row| row.own_count != 0.0).take(view.rows) {
        let _ = writeln!(
            text,
            "{:>10} {:>5.1}% {:>10} {:>5.1}% {:>12}  {}",
            bytes(row.own_bytes),
            share(row.own_bytes),
            bytes(row.all_bytes),
            share(row.all_bytes),
            number(row.own_count),
            row.name
        );
    }
    let others = rows.iter().filter(|row| row.own_count != 0.0).count().saturating_sub(view.rows);
    if others > 0 {
        let _ = writeln!(text, "and {others} more functions that allocated less");
    }
    text
}

/// The tree of calls.
pub fn branches(profile: &Profile, view: View) -> String {
    let root = tree(profile, view.which, view.from, true);
    let mut text = String::new();
    let least = root.bytes.abs() * view.share;
    let _ = writeln!(text, "{:>10} {:>12}  all", bytes(root.bytes), number(root.count));
    below(&root, least, "", &mut text);
    text
}

fn below(node: &Node, least: f64, before: &str, text: &mut String) {
    let mut shown: Vec<_> =
        node.below.iter().filter(|(_, node)| node.bytes.abs() >= least && node.count != 0.0).collect();
    shown.sort_by(|a, b| b.1.bytes.abs().total_cmp(&a.1.bytes.abs()).then(a.0.cmp(b.0)));
    let count = shown.len();
    for (index, (name, node)) in shown.into_iter().enumerate() {
        let is_last = index + 1 == count;
        // A line of calls without a fork in it goes straight down.
        let (mark, next) = match (count, is_last) {
            (1, _) => ("", ""),
            (_, true) => ("└ ", "  "),
            _ => ("├ ", "│ "),
        };
        let _ = writeln!(text, "{:>10} {:>12}  {before}{mark}{name}", bytes(node.bytes), number(node.count));
        below(node, least, &format!("{before}{next}"), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn a_profile_reads_like_this() {
        let view = View { which: Which::InUse, rows: 1, share: 0.2, from: From::Outside };
        let profile = sample();
        assert_eq!(
            table(&profile, view),
            "       own               all               count  function, by in use bytes\n    1000 B  83.3%     1000 B  83.3%            1  h a.c:4\nand 1 more functions that allocated less\n"
        );
        assert_eq!(
            branches(&profile, View { share: 0.0, ..view }),
            "   1.2 KiB            3  all\n   1.2 KiB            3  main a.c:1\n    1000 B            1  ├ g a.c:3\n    1000 B            1  │ h a.c:4\n     200 B            2  └ f a.c:2\n     200 B            2    f a.c:2\n"
        );
        assert!(branches(&profile, view).lines().count() == 4);
    }
}
