//! malloc_info: the heap's free lists and figures as XML, in the form that glibc's readers parse.

use core::ffi::{c_char, c_int, c_void};
use heapglass_heap::stats::{self, Figures, List, Sizes};
use heapglass_heap::{arena, line::Line, thread};
use heapglass_os as os;

unsafe extern "C" {
    fn fwrite(text: *const c_char, size: usize, count: usize, file: *mut c_void) -> usize;
}

/// Lists of one arena that are told; there are fewer kinds of them than this.
const ROWS: usize = 512;

struct Out(*mut c_void);

impl Out {
    fn line(&self, line: Line) {
        let line = line.finish();
        let text = line.as_bytes();
        // SAFETY: the caller's open file. No lock of ours is held: the C library may allocate.
        unsafe { fwrite(text.as_ptr().cast(), 1, text.len(), self.0) };
    }

    fn pair(&self, tag: &'static str, kind: &'static str, count: Option<usize>, size: usize) {
        let line = Line::bare().text("<").text(tag).text(" type=\"").text(kind).text("\"");
        let line = match count {
            Some(count) => line.text(" count=\"").number(count).text("\""),
            None => line,
        };
        self.line(line.text(" size=\"").number(size).text("\"/>"));
    }

    fn totals(&self, figures: &Figures) {
        self.pair("total", "fast", Some(figures.fast_chunks), figures.fast_bytes);
        self.pair("total", "rest", Some(figures.free_chunks + figures.arenas), figures.free_bytes + figures.top);
    }

    fn spaces(&self, figures: &Figures) {
        self.pair("system", "current", None, figures.system);
        self.pair("system", "max", None, figures.system_peak);
        self.pair("aspace", "total", None, figures.system);
        self.pair("aspace", "mprotect", None, figures.system);
    }
}

/// Writes to an open `FILE`; 0, or EINVAL for options other than 0.
///
/// # Safety
/// `file` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, file: *mut c_void) -> c_int {
    if options != 0 {
        return os::EINVAL;
    }
    thread::ensure_set_up();
    let out = Out(file);
    out.line(Line::bare().text("<malloc version=\"1\">"));
    for index in 0..arena::count() {
        out.line(Line::bare().text("<heap nr=\"").number(index).text("\">"));
        out.line(Line::bare().text("<sizes>"));
        sizes(&out, index);
        out.line(Line::bare().text("</sizes>"));
        let figures = stats::of_arena(index);
        out.totals(&figures);
        out.spaces(&figures);
        out.line(Line::bare().text("</heap>"));
    }
    let all = stats::all();
    out.totals(&all);
    out.pair("total", "mmap", Some(all.mapped_chunks), all.mapped_bytes);
    out.spaces(&all);
    out.line(Line::bare().text("</malloc>"));
    0
}

fn sizes(out: &Out, index: usize) {
    let mut rows = [Sizes { from: 0, to: 0, count: 0, total: 0, list: List::Bin }; ROWS];
    let mut filled = 0;
    // Gathered first, written after: the arena is locked while its lists are walked.
    stats::each_size(index, |row| {
        if let Some(cell) = rows.get_mut(filled) {
            *cell = row;
            filled += 1;
        }
    });
    for row in rows.iter().take(filled) {
        let tag = if row.list == List::Unsorted { "  <unsorted from=\"" } else { "  <size from=\"" };
        let line = Line::bare().text(tag).number(row.from).text("\" to=\"").number(row.to);
        out.line(line.text("\" total=\"").number(row.total).text("\" count=\"").number(row.count).text("\"/>"));
    }
}
