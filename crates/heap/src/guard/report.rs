//! A report with the callers, several lines in one write(2), put together in memory of its own: a handler of signals may have little
//! stack.

use super::Trace;
use super::pool::Slot;
use crate::line::Line;
use crate::sync::atomic::{AtomicBool, Ordering::*};
use core::cell::UnsafeCell;
use heapglass_os::{self as os, module::Module};

/// Bytes of a report.
const LENGTH: usize = 16 * 1024;
/// Somebody is at it.
static BUSY: AtomicBool = AtomicBool::new(false);
/// How often a second waits for the first; who faults while it writes may be its own handler.
const WAITS: usize = 1000;

struct Memory(UnsafeCell<[u8; LENGTH]>);
// SAFETY: used by whoever set `BUSY`.
unsafe impl Sync for Memory {}
static MEMORY: Memory = Memory(UnsafeCell::new([0; LENGTH]));

struct Text {
    to: &'static mut [u8; LENGTH],
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
        self.add(title.text(if trace.is_late { ", up to two frees before it was at" } else { " at" }));
        for &frame in trace.frames.iter().take(trace.count as usize) {
            let line = Line::bare().text("    ").hex(frame);
            // It may be behind the end of the function, where the call was the last of that.
            let inside = frame.wrapping_sub(1);
            let Some(module) = Module::at(inside) else {
                self.add(line);
                continue;
            };
            let path = module.path();
            let tail = path.get(path.len().saturating_sub(100)..).unwrap_or(path);
            let line = line.text(" ").raw(tail).text("+").hex(frame.wrapping_sub(module.base));
            self.add(match module.function_at(inside) {
                Some((name, distance)) => line.text(" in ").raw(name).text("+").hex(distance + 1),
                None => line,
            });
        }
    }

    /// What lies where around a sample, with a mark at the address.
    fn picture(&mut self, slot: &Slot, address: usize) {
        for (from, to, what) in slot.parts() {
            if from == to && from != address {
                continue;
            }
            let line = Line::bare().text("    ").hex(from).number_padded(to - from, 8);
            let line = line.text(if to - from == 1 { " byte  " } else { " bytes " }).text(what);
            self.add(if (from..to).contains(&address) { line.text(" <- here") } else { line });
        }
    }
}

/// Writes a line, the memory around a sample, and callers below it.
pub fn tell(line: Line, about: Option<(&Slot, usize)>, traces: &[(&'static str, &Trace)]) {
    let line = line.with_thread();
    let mut waits = 0;
    while BUSY.swap(true, Acquire) {
        waits += 1;
        if waits == WAITS {
            return line.warn();
        }
        os::thread::pause();
    }
    // SAFETY: ours while `BUSY` is set.
    let mut text = Text { to: unsafe { &mut *MEMORY.0.get() }, length: 0 };
    text.add(line);
    if let Some((slot, address)) = about {
        text.add(Line::bare().text("  what lies there"));
        text.picture(slot, address);
    }
    traces.iter().for_each(|(done, trace)| text.trace(done, trace));
    os::write_error(text.to.get(..text.length).unwrap_or(b""));
    BUSY.store(false, Release);
}
