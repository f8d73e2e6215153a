//! A report with the callers, several lines in one write(2), put together in memory that was mapped with the pool: a handler of
//! signals may have little stack.

use super::{Trace, pool};
use crate::line::Line;
use crate::sync::atomic::{AtomicBool, Ordering::*};
use heapglass_os::{self as os, module::Module};

/// Bytes of a report.
pub const LENGTH: usize = 16 * 1024;
/// Somebody is at it.
static BUSY: AtomicBool = AtomicBool::new(false);
/// How often a second waits for the first; who faults while it writes may be its own handler.
const WAITS: usize = 1000;

struct Text {
    to: &'static mut [u8],
    length: usize,
}

impl Text {
    fn add(&mut self, line: Line) {
        for &byte in line.finish().as_bytes() {
            if let Some(cell) = self.to.get_mut(self.length) {
                *cell = byte;
                self.length += 1;
            }
        }
    }

    fn trace(&mut self, done: &'static str, trace: &Trace) {
        let title = Line::bare().text("  ").text(done).text(" by thread ").number(trace.thread as usize);
        if trace.count == 0 {
            return self.add(title.text(", callers unknown"));
        }
        self.add(title.text(" at"));
        for &frame in trace.frames.iter().take(trace.count as usize) {
            let line = Line::bare().text("    ").hex(frame);
            self.add(match Module::at(frame.wrapping_sub(1)) {
                Some(module) => {
                    let path = module.path();
                    let tail = path.get(path.len().saturating_sub(100)..).unwrap_or(path);
                    line.text(" ").raw(tail).text("+").hex(frame.wrapping_sub(module.base))
                }
                None => line,
            });
        }
    }
}

/// Writes a line and callers below it.
pub fn tell(line: Line, traces: &[(&'static str, &Trace)]) {
    let line = line.with_thread();
    let mut waits = 0;
    while BUSY.swap(true, Acquire) {
        waits += 1;
        if waits == WAITS {
            return line.warn();
        }
        os::thread::pause();
    }
    match pool::report_memory() {
        Some(to) => {
            let mut text = Text { to, length: 0 };
            text.add(line);
            traces.iter().for_each(|(done, trace)| text.trace(done, trace));
            os::write_error(text.to.get(..text.length).unwrap_or(b""));
        }
        None => line.warn(),
    }
    BUSY.store(false, Release);
}
