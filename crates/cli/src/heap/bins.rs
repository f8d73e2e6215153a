//! `heapglass map --bins`: every list of free chunks, with its chunks in the order of its links.

use super::text::{grouped, plural, size};
use super::{said, title};
use crate::failure::Failure;
use heapglass_inspect::Target;
use heapglass_inspect::find::at;
use heapglass_inspect::lists::{self, Holder, Holders, List};
use heapglass_inspect::records::Records;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Chunks of a list that are named.
const NAMED: usize = 8;
const NAMED_FOR_MACHINES: usize = 10_000;

pub fn told(target: &Target, arena: Option<usize>, as_json: bool) -> Result<String, Failure> {
    let failed = |e| said(&target.name, &e);
    let records = Records::read(target).map_err(failed)?;
    let holders = Holders::read(target, &records).map_err(failed)?;
    let keep = if as_json { NAMED_FOR_MACHINES } else { NAMED };
    let wanted = records.arenas.iter().filter(|a| arena.is_none_or(|index| index == a.index));
    let lists: Vec<(usize, Vec<List>)> =
        wanted.map(|arena| (arena.index, lists::of_arena(target, arena, keep))).collect();
    let caches = caches(&records, &holders);
    if as_json {
        return Ok(machine(&lists, &caches));
    }
    let header = at!(target.layout, chunk.header);
    let mut text = format!("{}: lists of free chunks\n", title(target));
    for (index, lists) in &lists {
        let _ = writeln!(text, "\narena {index}");
        if lists.is_empty() {
            text += "  nothing in its bins\n";
        }
        for list in lists {
            let _ = writeln!(
                text,
                "  {:<24} {:>9} of {:>11}  head {:#x}",
                list.bin.to_string(),
                plural(list.count, "chunk", "chunks"),
                size(list.bytes),
                list.head
            );
            let mut chunks: Vec<String> = list
                .chunks
                .iter()
                .map(|(at, bytes)| format!("{:#x} ({})", at.wrapping_add(header), grouped(*bytes)))
                .collect();
            if list.count > chunks.len() as u64 {
                chunks.push(format!("{} more", grouped(list.count - chunks.len() as u64)));
            }
            let _ = writeln!(text, "      -> {}", chunks.join(" -> "));
            if let Some(what) = &list.broken {
                let _ = writeln!(text, "      damage: {what}");
            }
        }
    }
    if !caches.is_empty() {
        text += "\ncaches\n";
    }
    for (name, classes) in &caches {
        let _ = writeln!(text, "  {name}");
        for (class, users) in classes {
            let mut some: Vec<String> = users.iter().take(NAMED).map(|user| format!("{user:#x}")).collect();
            if users.len() > NAMED {
                some.push(format!("{} more", grouped((users.len() - NAMED) as u64)));
            }
            let _ = writeln!(
                text,
                "    {class:<22} {:>9}: {}",
                plural(users.len() as u64, "chunk", "chunks"),
                some.join(", ")
            );
        }
    }
    Ok(text)
}

type Classes = BTreeMap<String, Vec<u64>>;

/// Who holds what outside of the bins: by holder, then class.
fn caches(records: &Records, holders: &Holders) -> BTreeMap<String, Classes> {
    let thread = |index: usize| match records.threads.get(index) {
        Some(thread) if thread.exists => format!("thread {}", thread.id),
        Some(thread) => format!("thread {}, which is gone", thread.id),
        None => "a thread".to_owned(),
    };
    let mut all: BTreeMap<String, Classes> = BTreeMap::new();
    for (user, holder) in holders.iter() {
        let (name, class) = match holder {
            Holder::Parked { thread: index, .. } => (thread(index), "not looked at yet".to_owned()),
            Holder::Cache { thread: index, class } => (thread(index), class_name(class)),
            Holder::Depot { class } => ("depots".to_owned(), class_name(class)),
            Holder::Inbox(arena) => (format!("on the way to arena {arena}"), "of any size".to_owned()),
        };
        all.entry(name).or_default().entry(class).or_default().push(user);
    }
    all
}

/// Classes up to 64 hold one size each.
fn class_name(class: usize) -> String {
    if class <= 64 { format!("class {class:>3} ({} bytes)", class * 16) } else { format!("class {class:>3}") }
}

fn machine(lists: &[(usize, Vec<List>)], caches: &BTreeMap<String, Classes>) -> String {
    let list = |list: &List| {
        let chunks: Vec<Value> = list.chunks.iter().map(|(at, bytes)| json!([at, bytes])).collect();
        json!({
            "bin": list.bin.to_string(), "head": list.head, "count": list.count, "bytes": list.bytes, "chunks": chunks,
            "damage": list.broken,
        })
    };
    let arenas: Vec<Value> = lists
        .iter()
        .map(|(index, all)| json!({ "arena": index, "lists": all.iter().map(list).collect::<Vec<_>>() }))
        .collect();
    json!({ "version": 1, "arenas": arenas, "caches": caches }).to_string() + "\n"
}
