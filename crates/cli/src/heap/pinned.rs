//! What pins memory, in words: by size, and, where a recording knows, by stack.

use super::known::Known;
use super::text::{grouped, plural, size};
use crate::failure::Failure;
use heapglass_report::pins::{Birth, Pin, Pins, TopPin};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Rows of sizes, and of stacks, with sizes and callers of each.
const PINS: usize = 8;
const STACKS: usize = 5;
const SIZES: usize = 4;
const CALLERS: usize = 12;

/// Who allocated what pins.
pub struct Stacks {
    /// The ones that hold most first.
    rows: Vec<Row>,
    /// For each of the tops: of how many of the chunks before it, and whose.
    tops: Vec<Vec<Row>>,
    /// Chunks that aren't told for want of room.
    more: u64,
    has_callers: bool,
}

#[derive(Default)]
struct Row {
    held: u64,
    chunks: u64,
    /// Chunks by size.
    sizes: BTreeMap<u64, u64>,
    stack: Vec<String>,
}

impl Stacks {
    pub fn of(pins: &Pins, known: &Known) -> Result<Stacks, Failure> {
        let has_callers = known.has_callers();
        if !has_callers {
            return Ok(Stacks { rows: Vec::new(), tops: Vec::new(), more: 0, has_callers });
        }
        let calls: Vec<u64> = pins.births.keys().copied().collect();
        let rows = rows(calls, known, &|call| pins.births.get(&call).copied().unwrap_or_default())?;
        let tops = pins.tops.iter().map(|top| rows_of_top(top, known)).collect::<Result<_, _>>()?;
        Ok(Stacks { rows, tops, more: pins.more_births, has_callers })
    }

    /// Of the chunks of one size.
    pub fn of_size(pins: &Pins, known: &Known, size: u64) -> Result<Value, Failure> {
        let of_it = pins.births.iter().filter(|(_, birth)| birth.size == size);
        let calls = if known.has_callers() { of_it.map(|(call, _)| *call).collect() } else { Vec::new() };
        Ok(rows_json(&rows(calls, known, &|call| pins.births.get(&call).copied().unwrap_or_default())?))
    }

    pub fn add_to(&self, all: &mut Value) {
        all["pins_by_stack"] = rows_json(&self.rows);
        if let Some(tops) = all.get_mut("top_pins").and_then(Value::as_array_mut) {
            for (top, rows) in tops.iter_mut().zip(&self.tops) {
                top["stacks"] = rows_json(rows);
            }
        }
    }
}

fn rows_json(rows: &[Row]) -> Value {
    let one = |row: &Row| {
        let sizes: Value = row.sizes.iter().map(|(size, chunks)| (size.to_string(), json!(chunks))).collect();
        json!({ "holds": row.held, "chunks": row.chunks, "sizes": sizes, "stack": row.stack })
    };
    rows.iter().map(one).collect()
}

fn rows_of_top(top: &TopPin, known: &Known) -> Result<Vec<Row>, Failure> {
    rows(top.births.clone(), known, &|_| Birth::default())
}

fn rows(mut calls: Vec<u64>, known: &Known, birth: &dyn Fn(u64) -> Birth) -> Result<Vec<Row>, Failure> {
    calls.sort_unstable();
    let mut rows = Vec::new();
    for group in known.stacks(&calls)? {
        let mut row = Row { stack: group.stack, chunks: group.calls.len() as u64, ..Row::default() };
        for Birth { size, held } in group.calls.iter().map(|call| birth(*call)) {
            row.held += held;
            *row.sizes.entry(size).or_default() += 1;
        }
        rows.push(row);
    }
    rows.sort_by(|a, b| (b.held, b.chunks, &a.stack).cmp(&(a.held, a.chunks, &b.stack)));
    Ok(rows)
}

pub fn tell(text: &mut String, pins: &Pins, stacks: Option<&Stacks>) {
    by_size(text, pins);
    if let Some(stacks) = stacks {
        by_stack(text, stacks);
    }
    for (index, TopPin { arena, chunks, bytes, free, at, .. }) in pins.tops.iter().enumerate() {
        let _ = writeln!(
            text,
            "the top of arena {arena} could begin {} lower but for the last {} in use, {} from {at:#x} on",
            size(*free),
            plural(*chunks, "chunk", "chunks"),
            size(*bytes)
        );
        for row in stacks.and_then(|stacks| stacks.tops.get(index)).into_iter().flatten().take(STACKS) {
            let _ = writeln!(text, "  {} of them by", grouped(row.chunks));
            callers(text, row);
        }
    }
}

fn by_size(text: &mut String, pins: &Pins) {
    let rows = pins.rows();
    let (pages, held): (u64, u64) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.pages, sum.1 + row.held));
    if pages == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "\npinned: {} of which three quarters and more are free, {} in all, held by chunks of these sizes:",
        plural(pages, "page", "pages"),
        size(held)
    );
    for Pin { size: bytes, cached, chunks, held, .. } in rows.iter().take(PINS) {
        let what = if *cached { "in thread caches" } else { "in use" };
        let _ =
            writeln!(text, "  {:>10} bytes {:>12} {what:<17} hold {}", grouped(*bytes), grouped(*chunks), size(*held));
    }
    if rows.len() > PINS {
        let rest: u64 = rows.iter().skip(PINS).map(|row| row.held).sum();
        let _ = writeln!(
            text,
            "  and {} more, which hold {}",
            plural((rows.len() - PINS) as u64, "size", "sizes"),
            size(rest)
        );
    }
}

fn by_stack(text: &mut String, stacks: &Stacks) {
    if !stacks.has_callers {
        *text += "who allocated them isn't in the recording: `heapglass record -k` keeps it\n";
        return;
    }
    if stacks.rows.is_empty() {
        return;
    }
    *text += "by who allocated them, as far as the recording knows:\n";
    for row in stacks.rows.iter().take(STACKS) {
        let mut sizes: Vec<(u64, u64)> = row.sizes.iter().map(|(size, chunks)| (*chunks, *size)).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let told: Vec<String> = sizes
            .iter()
            .take(SIZES)
            .map(|(chunks, size)| format!("{} of {}", grouped(*chunks), grouped(*size)))
            .collect();
        let more = if sizes.len() > SIZES { " and others" } else { "" };
        let _ = writeln!(text, "  hold {}: {}{more} bytes", size(row.held), told.join(", "));
        callers(text, row);
    }
    if stacks.rows.len() > STACKS {
        let rest: u64 = stacks.rows.iter().skip(STACKS).map(|row| row.held).sum();
        let more = plural((stacks.rows.len() - STACKS) as u64, "stack", "stacks");
        let _ = writeln!(text, "  and {more} more, which hold {}", size(rest));
    }
    if stacks.more > 0 {
        let _ = writeln!(text, "  {} more chunks aren't told by stack", grouped(stacks.more));
    }
}

fn callers(text: &mut String, row: &Row) {
    for name in row.stack.iter().take(CALLERS) {
        let _ = writeln!(text, "      {name}");
    }
    match row.stack.len() {
        0 => *text += "      unknown callers\n",
        count if count > CALLERS => {
            let _ = writeln!(text, "      and {} more", count - CALLERS);
        }
        _ => {}
    }
}
