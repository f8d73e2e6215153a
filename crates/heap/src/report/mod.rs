//! What is said when something was found: one line always, the callers where a guarded sample knows them, and, where `report:FILE`
//! asks for it, all that is known: who called, and the heap around. The last of it stays in memory, where a core file has it.

mod picture;
mod text;
mod trace;
mod unwind;

use crate::line::Line;
use crate::sync::atomic::{AtomicUsize, Ordering::*};
use core::cell::UnsafeCell;
use heapglass_os as os;
use text::{Text, with_text};
pub use trace::Trace;
pub use unwind::Registers;

/// Bytes of the file's name, with its end.
const NAME: usize = 256;

struct Name(UnsafeCell<[u8; NAME]>);
// SAFETY: written while the settings are read, before there is a second thread; read once its length is there.
unsafe impl Sync for Name {}
static FILE: Name = Name(UnsafeCell::new([0; NAME]));
static FILE_LENGTH: AtomicUsize = AtomicUsize::new(0);

/// The last line that ended a process, for who reads its core.
struct Last(UnsafeCell<[u8; NAME * 2]>);
// SAFETY: written by a thread that ends the process; two that do at once spoil a text, no more.
unsafe impl Sync for Last {}
static LAST_LINE: Last = Last(UnsafeCell::new([0; NAME * 2]));

/// Sets the file that a report is written to; `false` where its name is none or too long.
pub fn set_file(path: &[u8]) -> bool {
    let fits = !path.is_empty() && path.len() < NAME;
    if fits {
        // SAFETY: see `Name`.
        let name = unsafe { &mut *FILE.0.get() };
        name.fill(0);
        name.iter_mut().zip(path).for_each(|(to, &from)| *to = from);
        FILE_LENGTH.store(path.len(), Release);
    }
    fits
}

/// Writes a text to the file, if one was asked for: new, and its owner's alone.
fn keep(text: &Text) {
    if FILE_LENGTH.load(Acquire) == 0 {
        return;
    }
    // SAFETY: a name with its end.
    let Ok(file) = (unsafe { os::create((*FILE.0.get()).as_ptr()) }) else {
        return Line::new().text("the report couldn't be written").warn();
    };
    os::write_all(file, text.bytes());
    os::close(file);
}

fn remember(line: &Line) {
    // SAFETY: see `Last`.
    let last = unsafe { &mut *LAST_LINE.0.get() };
    last.fill(0);
    last.iter_mut().zip(line.as_bytes()).for_each(|(to, &from)| *to = from);
    // So that it isn't left out as never read.
    core::hint::black_box(last.as_ptr());
}

/// The end: the line, and a report where one is wanted. `about` is the user pointer that it is about, if any.
#[cold]
#[inline(never)]
pub fn end(line: Line, about: Option<usize>) -> ! {
    let line = line.with_thread();
    remember(&line);
    line.clone().warn();
    if FILE_LENGTH.load(Acquire) != 0 {
        let here = Trace::take(None);
        with_text(|text| {
            text.add(line);
            text.trace("called", &here);
            if let Some(user) = about {
                picture::around(text, user);
                text.add(Line::bare().text("  who allocated and freed it is known of guarded samples only (HEAPGLASS=guard:1: all small ones that there is room for)"));
            }
            keep(text);
        });
    }
    os::thread::die()
}

/// Writes a line, what `more` adds, and callers below, as one.
pub fn tell(line: Line, traces: &[(&'static str, &Trace)], more: impl FnOnce(&mut Text)) {
    let line = line.with_thread();
    remember(&line);
    let told = with_text(|text| {
        text.add(line.clone());
        more(text);
        traces.iter().for_each(|(done, trace)| text.trace(done, trace));
        os::write_error(text.bytes());
        keep(text);
    });
    if told.is_none() {
        line.warn();
    }
}
