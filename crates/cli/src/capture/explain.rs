//! `heapglass explain FILE --at N`: a call of a recording, step by step, with what lay around it.

use super::{open, said};
use crate::failure::Failure;
use crate::stats::grouped;
use heapglass_report::around::Around;
use heapglass_report::explain;
use std::fmt::Write;
use std::path::Path;

/// What is said of the call.
pub fn told(path: &Path, number: u64) -> Result<String, Failure> {
    let capture = open(path)?;
    let fail = |error| said(path, &error);
    let mut state = capture.state_at(number.saturating_sub(1)).map_err(fail)?;
    let Some(event) = (if number == 0 { None } else { capture.event(number).map_err(fail)? }) else {
        let calls = grouped(capture.calls());
        return Err(Failure::ours(format!("{}: has calls 1 to {calls}, and none by number {number}", path.display())));
    };
    let chunks = state.chunks();
    let around = Around::before(&state, event.thread.pid, &event.call);
    state.apply(event.thread, &event.call);
    let nanos = capture.nanos(event.call.began);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "call {} of {}, {}.{:06} s from the start, thread {} of process {}: {} chunks in use before it",
        grouped(number),
        grouped(capture.calls()),
        nanos / 1_000_000_000,
        nanos / 1000 % 1_000_000,
        event.thread.tid,
        event.thread.pid,
        grouped(chunks as u64)
    );
    text += &explain::explain(std::slice::from_ref(&event.call));
    text += &around.draw(&state);
    Ok(text)
}
