//! What the tests of the whole heap share: one test at a time, the settings as at the start, and the proof that an empty heap
//! is one top.
//!
//! The allocator under test is called by its functions; the test program itself runs on the C library's. Both move the same
//! break. Before `main`, the C library is given more of it than it will ever need, so that it doesn't move it between two
//! calls of ours: then the first heap is never closed, and what A8 promises can be asked to the letter.
#![allow(dead_code)]

use heapglass_heap::arena;
use heapglass_heap::check::{self, Walked};
use heapglass_heap::chunk::{Chunk, State};
use heapglass_heap::mapped;
use heapglass_heap::policy::{MMAP_THRESHOLD, POLICY};
use heapglass_heap::requests;
use heapglass_heap::size::FAST_MAX;
use heapglass_heap::store::Store;
use heapglass_heap::thread;
use heapglass_heap::trim;
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

unsafe extern "C" {
    fn mallopt(key: c_int, value: c_int) -> c_int;
    fn malloc(bytes: usize) -> *mut c_void;
    fn free(user: *mut c_void);
}

extern "C" fn settle_the_c_library() {
    const M_TRIM_THRESHOLD: c_int = -1;
    const M_TOP_PAD: c_int = -2;
    const M_MMAP_THRESHOLD: c_int = -3;
    // SAFETY: plain calls of the C library; this runs in the first thread, before anything else of the program.
    unsafe {
        mallopt(M_TRIM_THRESHOLD, c_int::MAX);
        mallopt(M_TOP_PAD, 256 << 20);
        mallopt(M_MMAP_THRESHOLD, 32 << 20);
        // Longer than what the start-up left, so that the break moves now.
        free(malloc(16 << 20));
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = settle_the_c_library;

/// There is one heap in a process: one test at a time has it.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The thread's record, its seat and the settings exist from here on.
    assert!(thread::current().is_some());
    reset(Mode::Default);
    trim::trim(0);
    guard
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Default,
    /// A9: the textbook's way on every call.
    Classic,
    /// Every free is put away at its own call.
    NoParking,
    /// No chunk gets a mapping of its own.
    NoMappings,
}

/// The settings as they are at the start, but for the mode.
pub fn reset(mode: Mode) {
    POLICY.mmap_threshold.store(MMAP_THRESHOLD, Relaxed);
    POLICY.trim_threshold.store(MMAP_THRESHOLD, Relaxed);
    POLICY.top_pad.store(128 * 1024, Relaxed);
    POLICY.mmap_max.store(if mode == Mode::NoMappings { 0 } else { 65536 }, Relaxed);
    POLICY.dynamic.store(true, Relaxed);
    POLICY.fast_max.store(FAST_MAX, Relaxed);
    POLICY.classic.store(mode == Mode::Classic, Relaxed);
    POLICY.park.store(mode != Mode::NoParking, Relaxed);
    // The other user of the break, the harness, allocates nothing meanwhile.
    POLICY.owns_break.store(true, Relaxed);
    // Fewer than the tests have threads: some share an arena, some free into another's.
    POLICY.arena_max.store(3, Relaxed);
    thread::settings_changed();
}

/// Walks an arena under its lock.
pub fn walk(index: usize) -> Walked {
    let mut guard = arena::get(index).lock(thread::owner()).expect("the arena isn't locked by this thread");
    check::check_store(&mut guard, false)
}

/// A8: nothing is live. Caches flushed and fast bins merged, each arena's heap must be one top and nothing else.
#[track_caller]
pub fn assert_empty() {
    trim::trim(0);
    assert_eq!((mapped::CHUNKS.load(Relaxed), mapped::BYTES.load(Relaxed)), (0, 0), "mapped chunks are left");
    assert_eq!(requests::held().collect::<Vec<_>>(), [], "classes that arenas have less or more of than came back");
    for index in 0..arena::count() {
        let walked = walk(index);
        let one_top = Walked { heaps: walked.heaps, bytes: walked.bytes, ..Walked::default() };
        assert_eq!(walked, one_top, "arena {index}: more than a top is left");
        assert!(walked.heaps <= 1, "arena {index}: {walked:?}");
        assert!(walked.bytes <= 2 * heapglass_os::page_size(), "arena {index} keeps memory: {walked:?}");
    }
}

/// The current heap of the calling thread's arena, chunk by chunk, as text: state and size of each.
pub fn picture() -> String {
    let mut guard = thread::arena().lock(thread::owner()).expect("the arena isn't locked by this thread");
    draw(&mut guard)
}

fn draw(store: &mut Store) -> String {
    let mut words = Vec::new();
    if store.regions.is_null() {
        return String::new();
    }
    // SAFETY: the store is locked, and has a heap.
    let mut chunk = Chunk::at(unsafe { (*store.regions).start });
    loop {
        let size = chunk.size();
        words.push(match chunk.state() {
            Some(State::Top) => "top".to_owned(),
            Some(State::Live) => format!("live {size}"),
            Some(State::Cached) => format!("cached {size}"),
            Some(State::Fast) => format!("fast {size}"),
            Some(State::Free) => format!("{} {size}", list_of(store, chunk)),
            other => panic!("{other:?} at {:#x}", chunk.address()),
        });
        if chunk.is(State::Top) {
            return words.join(" | ");
        }
        chunk = chunk.next();
    }
}

/// Which kind of bin a free chunk lies in: found by looking through the bins, not by its size.
fn list_of(store: &mut Store, chunk: Chunk) -> &'static str {
    let span = store.span;
    let mut found = Vec::new();
    // SAFETY: the store is locked.
    unsafe {
        let mut look = |head: *mut heapglass_heap::list::Link, name| {
            let mut at = heapglass_heap::list::next(&span, head);
            while at != head {
                if at as usize == chunk.user() {
                    found.push(name);
                }
                at = heapglass_heap::list::next(&span, at);
            }
        };
        look(&raw mut store.bins.unsorted, "unsorted");
        for head in &mut store.bins.small.heads {
            look(head, "small");
        }
        for index in 0..heapglass_heap::bins::large::BINS {
            store.bins.large.each(&span, index, |other| {
                if other == chunk {
                    found.push("large");
                }
            });
        }
    }
    assert_eq!(found.len(), 1, "{:#x} is in {found:?}", chunk.user());
    found.first().copied().unwrap_or("")
}
