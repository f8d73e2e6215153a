//! The page's flame view: who holds the memory now, by call stack, and where on the map the sampled chunks of each lie.

use crate::failure::Failure;
use crate::profile::scrape::Scrape;
use heapglass_profile::model::Profile;
use heapglass_profile::tree::calls;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Sampled chunks that a page is told of, at most: the oldest.
const CHUNKS: usize = 50_000;
/// Bytes between two samples: as few as cost little, so that there is something to see of small programs, too.
const INTERVAL: u64 = 128 << 10;

/// Begins to listen to a process that will be told the item of `HEAPGLASS` at its start.
pub fn prepare() -> Result<Scrape, Failure> {
    Scrape::prepare(INTERVAL)
}

/// Begins to listen to a process that runs.
pub fn begin(pid: u32) -> Result<Scrape, Failure> {
    Scrape::begin(pid, INTERVAL)
}

/// One function in the tree. The first is all of it.
struct Node {
    parent: usize,
    name: String,
    bytes: f64,
    count: f64,
}

/// The tree of what is in use, each node with its parent's number, and the chunks with the number of the node that allocated them.
pub fn told(scrape: &mut Scrape) -> Value {
    let (profile, live) = scrape.profile();
    let (nodes, ends) = tree(&profile);
    let mut live: Vec<(u64, u64, u64, usize)> = live
        .into_iter()
        .filter_map(|(address, entry, clock)| {
            Some((clock, address, profile.entries.get(entry)?.bytes, *ends.get(entry)?))
        })
        .collect();
    live.sort_unstable();
    let all = live.len();
    live.truncate(CHUNKS);
    let chunks: Vec<_> = live.into_iter().map(|(_, address, bytes, node)| json!([address, bytes, node])).collect();
    let nodes: Vec<_> = nodes.iter().map(|n| json!([n.parent, n.name, n.bytes.round(), n.count.round()])).collect();
    json!({
        "interval": profile.interval, "seconds": profile.took as f64 / 1e9, "dropped": profile.dropped,
        "nodes": nodes, "chunks": chunks, "sampled": all,
    })
}

/// The tree from the outermost caller on, and the node of each entry's innermost function.
fn tree(profile: &Profile) -> (Vec<Node>, Vec<usize>) {
    let mut nodes = vec![Node { parent: 0, name: "all".into(), bytes: 0.0, count: 0.0 }];
    let mut known: HashMap<(usize, String), usize> = HashMap::new();
    let mut ends = Vec::new();
    for entry in &profile.entries {
        let mut at = 0;
        if entry.in_use <= 0.0 {
            // Nothing of it is on the map, either.
            ends.push(at);
            continue;
        }
        let add = |at: usize, nodes: &mut Vec<Node>| {
            if let Some(node) = nodes.get_mut(at) {
                node.bytes += entry.in_use * entry.bytes as f64;
                node.count += entry.in_use;
            }
        };
        add(at, &mut nodes);
        for call in calls(profile, entry).iter().rev() {
            let next = *known.entry((at, call.text())).or_insert_with_key(|(parent, name)| {
                nodes.push(Node { parent: *parent, name: name.clone(), bytes: 0.0, count: 0.0 });
                nodes.len() - 1
            });
            add(next, &mut nodes);
            at = next;
        }
        ends.push(at);
    }
    (nodes, ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_profile::model::{Entry, Frame, Line};

    #[test]
    fn stacks_become_one_tree_and_each_entry_has_its_end_in_it() {
        let mut profile = Profile::new();
        for name in ["main", "work", "make"] {
            let line = Line { function: name.into(), file: "dir/a.c".into(), line: 7 };
            profile.frames.push(Frame { lines: vec![line], ..Frame::default() });
        }
        profile.stacks = vec![vec![2, 1, 0], vec![2, 0]];
        let entry = |stack, bytes| Entry { stack, bytes, in_use: 2.0, ..Entry::default() };
        profile.entries = vec![entry(0, 10), entry(1, 5), entry(0, 1)];
        profile.entries.push(Entry { stack: 1, bytes: 9, ..Entry::default() });
        let (nodes, ends) = tree(&profile);
        let told: Vec<_> = nodes.iter().map(|n| (n.parent, n.name.as_str(), n.bytes, n.count)).collect();
        let expected = [
            (0, "all", 32.0, 6.0),
            (0, "main a.c:7", 32.0, 6.0),
            (1, "work a.c:7", 22.0, 4.0),
            (2, "make a.c:7", 22.0, 4.0),
            (1, "make a.c:7", 10.0, 2.0),
        ];
        assert_eq!((told.as_slice(), ends.as_slice()), (&expected[..], &[3, 4, 3, 0][..]));
    }
}
