//! `heapglass map --chunk ADDR`: all that is known of one chunk.

use super::known::{Known, Now, Told};
use super::text::{grouped, plural};
use super::{said, title};
use crate::callers;
use crate::failure::Failure;
use heapglass_inspect::Target;
use heapglass_inspect::asked::Asked;
use heapglass_inspect::find::at;
use heapglass_inspect::lists::{self, Holder, Holders};
use heapglass_inspect::memory::{u32_in, u64_in};
use heapglass_inspect::records::{MappedState, Records, Sample};
use heapglass_inspect::walk::{self, Chunk, What};
use heapglass_report::map::Shade;
use serde_json::json;
use std::fmt::Write as _;

/// As text, or for machines; `known` is what a recording of the same process knows.
pub fn told(target: &Target, address: u64, as_json: bool, known: Option<&Known>) -> Result<String, Failure> {
    let failed = |e| said(&target.name, &e);
    let records = Records::read(target).map_err(failed)?;
    let Some((arena, _)) = records.heap_around(address) else {
        return elsewhere(target, &records, address, as_json, known);
    };
    let holders = Holders::read(target, &records).map_err(failed)?;
    let found = walk::find(target, arena, &holders, address).map_err(failed)?;
    let Some(chunk) = found.chunk else {
        return Err(Failure::ours(format!(
            "{address:#x}: the heap around it changed while it was read; try again, or with --stop"
        )));
    };
    let mut words = [0; 16];
    let read = target.memory.read(chunk.at, &mut words);
    let user = chunk.at + at!(target.layout, chunk.header);
    let kept = place(target, &records, arena.index, &chunk);
    let (told, canary) = match chunk.what {
        What::Live => (
            recorded(target, known, user, chunk.size)?,
            Asked::read(target).map_err(failed)?.of(user, chunk.size.saturating_sub(8)),
        ),
        _ => (None, None),
    };
    if as_json {
        let near = |chunk: Option<Chunk>| {
            chunk.map(|c| json!({ "at": c.at, "size": c.size, "state": Shade::of(c.what).name() }))
        };
        let mut all = json!({
            "version": 1, "at": chunk.at, "user": user, "size": chunk.size, "usable": chunk.size.saturating_sub(8), "arena": arena.index,
            "state": Shade::of(chunk.what).name(), "flags": flags(&chunk), "kept": kept, "before": near(found.before),
            "after": near(found.after), "cookie": u32_in(&words, 8),
        });
        told.iter().for_each(|told| told.add_to(&mut all));
        if let (Some(request), true) = (canary, all["request"].is_null()) {
            all["request"] = json!(request);
        }
        return Ok(all.to_string() + "\n");
    }
    let mut text = format!("{}: the chunk that holds {address:#x}\n\n", title(target));
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<12}{value}");
    };
    line(
        "state",
        format!("{}{}", Shade::of(chunk.what).name(), kept.map_or(String::new(), |kept| format!(": {kept}"))),
    );
    line("chunk", format!("{:#x} to {:#x}, {} bytes", chunk.at, chunk.range().end, grouped(chunk.size)));
    line(
        "user",
        format!(
            "{user:#x}, {} bytes can be used; {}",
            grouped(chunk.size.saturating_sub(8)),
            asked(told.as_ref(), canary)
        ),
    );
    line("arena", format!("{} ({})", arena.index, plural(u64::from(arena.seats), "thread", "threads")));
    if read.is_ok() {
        let cookie = u32_in(&words, 8);
        let proof = if chunk.what == What::Damaged { "which proves nothing" } else { "which proves itself" };
        line("header", format!("cookie {cookie:08x}, {proof}; size {}, flags {}", grouped(chunk.size), flags(&chunk)));
        let told = u64_in(&words, 0);
        if chunk.flags & 1 == 0 && chunk.what != What::Damaged {
            line("prev_size", format!("{} bytes, of the free chunk before it", grouped(told)));
        }
    }
    for (label, near, none) in [("before", found.before, "begins"), ("behind", found.after, "ends")] {
        let near = near.map_or(format!("nothing: the heap {none} here"), |near| {
            format!("{:#x}, {} bytes, {}", near.at, grouped(near.size), Shade::of(near.what).name())
        });
        line(label, near);
    }
    born(&mut text, told.as_ref(), known);
    Ok(text)
}

fn recorded(target: &Target, known: Option<&Known>, user: u64, bytes: u64) -> Result<Option<Told>, Failure> {
    let Some((known, live)) = known.and_then(|known| Some((known, known.of(user, bytes)?))) else { return Ok(None) };
    let now = if target.pid.is_some() { Now::Running } else { Now::Call(known.capture.calls()) };
    known.told(live, now)
}

/// What was asked for: by the recording, or by the canary behind it.
fn asked(told: Option<&Told>, canary: Option<u64>) -> String {
    match told.map(|told| told.live.request).or(canary) {
        Some(request) => format!("{} were asked for", grouped(request)),
        None => "how many were asked for isn't recorded".into(),
    }
}

/// A sample, which the heap knows more of than of others: what was asked for, and by whom.
fn sampled(target: &Target, sample: &Sample, address: u64, as_json: bool) -> Result<String, Failure> {
    let mappings = target.memory.mappings().map_err(|e| said(&target.name, &e))?;
    let stack = callers::of_mappings(&mappings, &sample.callers);
    if as_json {
        let all = json!({
            "version": 1, "user": sample.user, "request": sample.request, "state": "in use, a sample",
            "thread": sample.thread.to_string(), "stack": stack,
        });
        return Ok(all.to_string() + "\n");
    }
    let mut text = format!(
        "{}: the sample that {address:#x} is in or beside\n\n  state       in use, between inaccessible pages\n  user        {:#x}, {} bytes were asked for\n  born in     thread {}\n",
        title(target),
        sample.user,
        grouped(sample.request),
        sample.thread
    );
    for (index, name) in stack.iter().enumerate() {
        let _ = writeln!(text, "  {:<12}{name}", if index == 0 { "stack" } else { "" });
    }
    Ok(text)
}

/// Age and stack, where they are recorded.
fn born(text: &mut String, told: Option<&Told>, known: Option<&Known>) {
    let Some(told) = told else {
        let why = match known {
            Some(_) => "not in the recording",
            None => "not recorded; `heapglass record -k` keeps them, for --recording",
        };
        let _ = writeln!(text, "  age, stack  {why}");
        return;
    };
    let _ = writeln!(text, "  age         {}", told.age);
    let _ = writeln!(text, "  born by     call {}, of thread {}", grouped(told.live.born), told.live.thread.tid);
    for line in told.call.lines() {
        let _ = writeln!(text, "                {line}");
    }
    for (index, name) in told.stack.iter().enumerate() {
        let _ = writeln!(text, "  {:<12}{name}", if index == 0 { "stack" } else { "" });
    }
    if told.stack.is_empty() {
        let _ = writeln!(text, "  stack       not in the recording; `heapglass record -k` keeps it");
    }
}

fn flags(chunk: &Chunk) -> String {
    let names =
        [(1, "P (the chunk before it is in use)"), (2, "M (a mapping of its own)"), (4, "A (not the main arena's)")];
    let set: Vec<&str> = names.iter().filter(|(bit, _)| chunk.flags & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".into() } else { set.join(", ") }
}

/// Where a freed chunk is kept.
fn place(target: &Target, records: &Records, arena: usize, chunk: &Chunk) -> Option<String> {
    let thread = |index: usize| records.threads.get(index).map_or(0, |thread| thread.id);
    match chunk.holder {
        Some(Holder::Parked { thread: index, .. }) => {
            return Some(format!("freed, and waits for thread {} to look at its header", thread(index)));
        }
        Some(Holder::Cache { thread: index, class }) => {
            return Some(format!("in the cache of thread {}, class {class}", thread(index)));
        }
        Some(Holder::Depot { class }) => return Some(format!("in the depot of class {class}, for any thread")),
        Some(Holder::Inbox(home)) => return Some(format!("on its way to arena {home}")),
        None => {}
    }
    if !chunk.is_in_bin() && chunk.what != What::Fast {
        return None;
    }
    let lists = lists::of_arena(target, records.arenas.get(arena)?, usize::MAX);
    let found = lists.iter().find_map(|list| {
        let place = list.chunks.iter().position(|(at, _)| *at == chunk.at)?;
        Some(format!("number {} of {} in the bin `{}`", grouped(place as u64 + 1), grouped(list.count), list.bin))
    });
    Some(found.unwrap_or_else(|| "in no list that can be followed so far".into()))
}

/// An address outside of the heaps.
fn elsewhere(
    target: &Target,
    records: &Records,
    address: u64,
    as_json: bool,
    known: Option<&Known>,
) -> Result<String, Failure> {
    if let Some(chunk) = records.mapped.iter().find(|chunk| chunk.mapping.holds(address)) {
        let usable = chunk.mapping.end.saturating_sub(chunk.user);
        let state = match chunk.state {
            MappedState::Live => "in use",
            MappedState::Kept => "freed, its mapping kept for the next request",
            MappedState::Damaged => "in use, its header overwritten",
        };
        let told = match chunk.state {
            MappedState::Live => recorded(target, known, chunk.user, chunk.mapping.bytes())?,
            _ => None,
        };
        if as_json {
            let mut all = json!({
                "version": 1, "user": chunk.user, "mapping": [chunk.mapping.start, chunk.mapping.end], "usable": usable,
                "state": state,
            });
            told.iter().for_each(|told| told.add_to(&mut all));
            return Ok(all.to_string() + "\n");
        }
        let mut text = format!(
            "{}: the mapped chunk that holds {address:#x}\n\n  state       {state}\n  mapping     {:#x} to {:#x}, {} bytes\n  user        {:#x}, {} bytes can be used; {}\n",
            title(target),
            chunk.mapping.start,
            chunk.mapping.end,
            grouped(chunk.mapping.bytes()),
            chunk.user,
            grouped(usable),
            asked(told.as_ref(), Asked::read(target).ok().and_then(|asked| asked.of(chunk.user, usable)))
        );
        born(&mut text, told.as_ref(), known);
        return Ok(text);
    }
    // A page is the least that a sample has for itself.
    let page = target.memory.page();
    let near = |user: u64| user & !(page - 1) <= address && address < (user & !(page - 1)).saturating_add(page);
    if let Some(sample) =
        records.samples.iter().find(|s| near(s.user) || (s.user..s.user.saturating_add(s.request)).contains(&address))
    {
        return sampled(target, sample, address, as_json);
    }
    let mappings = target.memory.mappings().map_err(|e| said(&target.name, &e))?;
    let what = match mappings.iter().find(|mapping| mapping.range.holds(address)) {
        _ if records.pool.holds(address) => "among the samples, of which none in use is there".to_owned(),
        _ if records.metadata.iter().any(|piece| piece.holds(address)) => "in the heap's own records".to_owned(),
        Some(mapping) if mapping.name.is_empty() => "in memory that the program mapped itself".to_owned(),
        Some(mapping) => format!("in {}", mapping.name),
        None => "not mapped".to_owned(),
    };
    Err(Failure::ours(format!("{address:#x} is in no chunk: it is {what}")))
}
