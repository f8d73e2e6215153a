//! A text of many lines, put together in memory of its own: a handler of signals may have little stack. What was put together
//! last stays there, for a core file.

use super::trace::Trace;
use crate::line::Line;
use crate::sync::atomic::{AtomicBool, Ordering::*};
use core::cell::UnsafeCell;
use heapglass_os::{self as os, module::Module};

/// Bytes of it.
const LENGTH: usize = 16 * 1024;
/// Bytes of a module's path, from its end: whoever adds names to a report opens the file by it. Two traces of longer ones would take
/// all the room.
const PATH: usize = 400;
/// Somebody is at it.
static BUSY: AtomicBool = AtomicBool::new(false);
/// How often a second waits for the first; who faults while it writes may be its own handler.
const WAITS: usize = 1000;

struct Memory(UnsafeCell<[u8; LENGTH]>);
// SAFETY: used by whoever set `BUSY`.
unsafe impl Sync for Memory {}
static MEMORY: Memory = Memory(UnsafeCell::new([0; LENGTH]));

pub struct Text {
    to: &'static mut [u8; LENGTH],
    length: usize,
}

/// Runs `work` with an empty text; `None` where somebody else is at it for good.
pub fn with_text<T>(work: impl FnOnce(&mut Text) -> T) -> Option<T> {
    let mut waits = 0;
    while BUSY.swap(true, Acquire) {
        waits += 1;
        if waits == WAITS {
            return None;
        }
        os::thread::pause();
    }
    // SAFETY: ours while `BUSY` is set.
    let mut text = Text { to: unsafe { &mut *MEMORY.0.get() }, length: 0 };
    let result = work(&mut text);
    BUSY.store(false, Release);
    Some(result)
}

impl Text {
    pub fn add(&mut self, line: Line) {
        self.put(line.finish().as_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        for (cell, &byte) in self.to.iter_mut().skip(self.length).zip(bytes) {
            *cell = byte;
            self.length += 1;
        }
    }

    /// Whatever isn't printable becomes a question mark.
    fn put_path(&mut self, path: &[u8]) {
        let tail = path.get(path.len().saturating_sub(PATH)..).unwrap_or(path);
        tail.iter().for_each(|&byte| self.put(&[if (32..127).contains(&byte) { byte } else { b'?' }]));
    }

    pub fn bytes(&self) -> &[u8] {
        self.to.get(..self.length).unwrap_or(b"")
    }

    /// Callers, a line each: the address, the module and the place in it, and a function's name where the module has one.
    pub fn trace(&mut self, done: &'static str, trace: &Trace) {
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
            self.put(line.text(" ").as_bytes());
            self.put_path(module.path());
            let line = Line::bare().text("+").hex(frame.wrapping_sub(module.base));
            self.add(match module.function_at(inside) {
                Some((name, distance)) => line.text(" in ").raw(name).text("+").hex(distance + 1),
                None => line,
            });
        }
    }

    /// A piece of memory, and what it is.
    pub fn part(&mut self, from: usize, to: usize, what: &'static str, is_here: bool) {
        let line = Line::bare().text("    ").hex(from).number_padded(to - from, 8);
        let line = line.text(if to - from == 1 { " byte  " } else { " bytes " }).text(what);
        self.add(if is_here { line.text(" <- here") } else { line });
    }
}
