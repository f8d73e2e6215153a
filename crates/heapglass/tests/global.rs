//! A Rust program with Heapglass as its global allocator: this test program itself, its harness and its threads included.

use heapglass::Heapglass;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_int, c_uint, c_void};
use std::hint::black_box;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

#[global_allocator]
static A: Heapglass = Heapglass;

/// Figures are the process's: one test at a time looks at them.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn assert_sound() {
    assert_eq!(heapglass::check(), 0, "see standard error");
}

#[test]
fn the_program_really_runs_on_it() {
    let _alone = alone();
    let before = heapglass::stats();
    let large = black_box(vec![1u8; 40 << 20]);
    let with = heapglass::stats();
    assert_eq!(with.mapped_chunks, before.mapped_chunks + 1);
    assert!(with.mapped_bytes >= before.mapped_bytes + large.len());
    // What waiting tests' threads cached counts as in use, and they may end meanwhile.
    assert!(with.in_use_bytes >= before.in_use_bytes + large.len() - (8 << 20));
    drop(large);
    let after = heapglass::stats();
    assert_eq!((after.mapped_chunks, after.mapped_bytes), (before.mapped_chunks, before.mapped_bytes));
    assert_sound();
}

#[test]
fn threads_hand_on_what_they_allocate() {
    let _alone = alone();
    const THREADS: usize = 8;
    const EACH: usize = 2000;
    let (send, receive) = mpsc::channel::<HashMap<usize, String>>();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let send = send.clone();
            thread::spawn(move || {
                let mut kept = BTreeMap::new();
                for step in 0..EACH {
                    kept.insert(step, vec![step as u8; step % 1500]);
                    if step % 3 == 0 {
                        kept.remove(&(step / 2));
                    }
                    if step % 100 == 0 {
                        let words = (0..100).map(|word| (word, format!("{number} {step} {word}"))).collect();
                        send.send(words).unwrap();
                    }
                }
                assert!(kept.iter().all(|(step, bytes)| bytes.iter().all(|&byte| byte == *step as u8)));
                kept
            })
        })
        .collect();
    drop(send);
    let mut count = 0;
    for words in receive {
        for (word, text) in words {
            assert!(text.ends_with(&format!(" {word}")), "{text}");
            count += 1;
        }
    }
    assert_eq!(count, THREADS * EACH);
    // What ended threads allocated is freed here.
    for thread in threads {
        let kept = thread.join().unwrap();
        assert!(kept.iter().all(|(step, bytes)| bytes.len() == step % 1500));
    }
    assert_sound();
}

/// Pushes a million numbers; how often the capacity grew and how often the address changed.
fn grow() -> (usize, usize) {
    let mut numbers: Vec<u64> = Vec::new();
    let (mut grown, mut moved) = (0, 0);
    let (mut capacity, mut address) = (0, numbers.as_ptr());
    for number in 0..1_000_000u64 {
        numbers.push(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        grown += usize::from(numbers.capacity() != capacity);
        moved += usize::from(numbers.as_ptr() != address);
        (capacity, address) = (numbers.capacity(), numbers.as_ptr());
    }
    assert!(numbers.iter().zip(0u64..).all(|(&found, number)| found == number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    assert_eq!(numbers.len(), 1_000_000);
    (grown, moved)
}

#[test]
fn a_growing_vec_stays_where_it_is_when_it_can() {
    let _alone = alone();
    heapglass::trim(0);
    let (grown, moved) = thread::spawn(grow).join().unwrap();
    assert!(grown >= 15, "the vector grew only {grown} times");
    // The first address, the way out of the heap into a mapping, and where the kernel had to move that one.
    assert!(moved <= grown / 2, "the vector moved {moved} times when it grew {grown} times");
    assert_sound();
}

#[test]
fn what_a_panic_unwinds_is_freed() {
    let _alone = alone();
    struct Counted<'a>(&'a AtomicUsize, #[allow(dead_code)] Box<[u8]>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = AtomicUsize::new(0);
    // The message of an unwinding test belongs nowhere.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    for depth in 0..50usize {
        fn down(depth: usize, dropped: &AtomicUsize) {
            let _here = Counted(dropped, vec![depth as u8; depth * 97].into());
            if depth == 0 {
                panic::panic_any(format!("at the bottom of {}", "the stack"));
            }
            down(depth - 1, dropped);
        }
        let caught = panic::catch_unwind(|| down(depth, &dropped)).unwrap_err();
        assert_eq!(*caught.downcast::<String>().unwrap(), "at the bottom of the stack");
    }
    let ended = thread::spawn(|| panic::panic_any(vec![7u8; 100_000])).join().unwrap_err();
    panic::set_hook(hook);
    assert_eq!(*ended.downcast::<Vec<u8>>().unwrap(), vec![7u8; 100_000]);
    assert_eq!(dropped.load(Relaxed), (1..=50).sum::<usize>());
    assert_sound();
}

static LAST_WORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn say(words: String) {
    LAST_WORDS.lock().unwrap().push(words);
}

/// Allocates, resizes and frees when its thread ends.
struct Talker(RefCell<Vec<String>>);

impl Drop for Talker {
    fn drop(&mut self) {
        let mut words = self.0.take();
        for number in 0..300 {
            words.push(format!("{number}"));
        }
        let tree: BTreeMap<usize, String> = words.into_iter().enumerate().collect();
        say(format!("talker of {}", tree.len()));
    }
}

thread_local! {
    static TALKER: Talker = const { Talker(RefCell::new(Vec::new())) };
}

#[test]
fn destructors_of_thread_locals_allocate() {
    let _alone = alone();
    LAST_WORDS.lock().unwrap().clear();
    for _ in 0..20 {
        thread::spawn(|| TALKER.with(|talker| talker.0.borrow_mut().push("first".to_owned()))).join().unwrap();
    }
    assert_eq!(*LAST_WORDS.lock().unwrap(), vec!["talker of 301"; 20]);
    assert_sound();
}

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, at_end: Option<unsafe extern "C" fn(*mut c_void)>) -> c_int;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
}

static LATE: AtomicUsize = AtomicUsize::new(0);

/// Runs after the allocator's own destructor of this thread, whose key is older, and sets itself again: POSIX gives it four
/// rounds. The value is a boxed count.
unsafe extern "C" fn late(count: *mut c_void) {
    // SAFETY: set below and in the test, from a box.
    let count = unsafe { *Box::from_raw(count.cast::<usize>()) };
    let mut bytes = vec![count as u8; 10];
    for length in [100, 5000, 300_000, 20] {
        bytes.resize(length, count as u8);
        assert!(bytes.iter().all(|&byte| byte == count as u8));
    }
    say(format!("round {count}"));
    if count < 3 {
        // SAFETY: the key is made before any thread has a value of it.
        unsafe { pthread_setspecific(LATE.load(Relaxed) as c_uint, Box::into_raw(Box::new(count + 1)).cast()) };
    }
}

#[test]
fn destructors_after_the_allocators_own_allocate() {
    let _alone = alone();
    LAST_WORDS.lock().unwrap().clear();
    let mut key = 0;
    // SAFETY: a key of our own.
    assert_eq!(unsafe { pthread_key_create(&mut key, Some(late)) }, 0);
    LATE.store(key as usize, Relaxed);
    let talk = move |barrier: &Barrier| {
        let kept = vec![1u8; 50];
        // SAFETY: our key; the destructor takes the box.
        assert_eq!(unsafe { pthread_setspecific(key, Box::into_raw(Box::new(0usize)).cast()) }, 0);
        TALKER.with(|talker| talker.0.borrow_mut().push("first".to_owned()));
        barrier.wait();
        kept
    };
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let barrier = barrier.clone();
            thread::spawn(move || talk(&barrier))
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), [1; 50]);
    }
    let mut words = std::mem::take(&mut *LAST_WORDS.lock().unwrap());
    words.sort();
    let expected: Vec<&str> =
        ["round 0", "round 1", "round 2", "round 3", "talker of 301"].iter().flat_map(|word| [*word; 4]).collect();
    assert_eq!(words, expected);
    assert_sound();
}

const SIZES: [usize; 12] = [1, 8, 24, 100, 1000, 1016, 5000, 32_000, 70_000, 131_072, 200_000, 3_000_000];

/// A chunk of this layout, filled; freed by `give`.
fn take(layout: Layout) -> *mut u8 {
    // SAFETY: no size here is 0.
    let user = unsafe { alloc(layout) };
    assert!(!user.is_null() && (user as usize).is_multiple_of(layout.align()), "{user:?} for {layout:?}");
    fill(user, 0, layout.size());
    user
}

fn give(user: *mut u8, layout: Layout) {
    // SAFETY: what `take` and its kin returned for this layout.
    unsafe { dealloc(user, layout) };
}

fn fill(user: *mut u8, from: usize, to: usize) {
    // SAFETY: the chunk holds `to` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(user, to) };
    for (index, place) in bytes.iter_mut().enumerate().skip(from) {
        *place = (index * 7 + index / 256) as u8;
    }
}

#[track_caller]
fn assert_filled(user: *mut u8, length: usize) {
    // SAFETY: the chunk holds so many.
    let bytes = unsafe { std::slice::from_raw_parts(user, length) };
    let wrong = bytes.iter().zip(0..).find(|&(&byte, index): &(&u8, usize)| byte != (index * 7 + index / 256) as u8);
    assert_eq!(wrong, None, "of {length} bytes at {user:?}");
}

#[test]
fn zeroed_memory_is_zero_also_where_others_wrote() {
    let _alone = alone();
    for shift in [0, 3, 4, 5, 8, 12, 16] {
        for size in SIZES {
            let layout = Layout::from_size_align(size, 1 << shift).unwrap();
            // Dirty ones, so that there is something to clear.
            let dirty: Vec<_> = (0..4).map(|_| take(layout)).collect();
            dirty.into_iter().for_each(|user| give(user, layout));
            // SAFETY: the size isn't 0.
            let user = unsafe { alloc_zeroed(layout) };
            assert!(!user.is_null() && (user as usize).is_multiple_of(layout.align()), "{layout:?}");
            // SAFETY: the chunk holds the layout's size.
            let bytes = unsafe { std::slice::from_raw_parts(user, size) };
            assert_eq!(bytes.iter().position(|&byte| byte != 0), None, "{layout:?}");
            give(user, layout);
        }
    }
    assert_sound();
}

#[test]
fn every_alignment_is_kept_through_every_resize() {
    let _alone = alone();
    for shift in 0..=16 {
        for from in SIZES {
            for to in SIZES {
                let old = Layout::from_size_align(from, 1 << shift).unwrap();
                let new = Layout::from_size_align(to, 1 << shift).unwrap();
                let user = take(old);
                // A neighbour now and then, so that not everything grows in place.
                let neighbour = (to % 3 == 1).then(|| take(old));
                // SAFETY: the layout is the chunk's, the new size isn't 0.
                let moved = unsafe { realloc(user, old, to) };
                assert!(
                    !moved.is_null() && (moved as usize).is_multiple_of(new.align()),
                    "{moved:?} for {old:?} to {to}"
                );
                assert_filled(moved, from.min(to));
                fill(moved, 0, to);
                if let Some(neighbour) = neighbour {
                    assert_filled(neighbour, from);
                    give(neighbour, old);
                }
                assert_filled(moved, to);
                give(moved, new);
            }
        }
    }
    assert_sound();
}

#[test]
fn over_aligned_types_live_in_boxes_and_vectors() {
    let _alone = alone();
    #[repr(align(65536))]
    struct Huge(u8);
    #[repr(align(256))]
    #[derive(Clone)]
    struct Line([u8; 300]);
    let boxes: Vec<Box<Huge>> = (0..20).map(|number| Box::new(Huge(number))).collect();
    let mut lines = Vec::new();
    for number in 0..200u8 {
        lines.push(Line([number; 300]));
        assert_eq!(lines.as_ptr() as usize % 256, 0);
    }
    assert!(
        boxes
            .iter()
            .zip(0..)
            .all(|(huge, number)| huge.0 == number && (&raw const **huge as usize).is_multiple_of(65536))
    );
    assert!(lines.iter().zip(0..).all(|(line, number)| line.0 == [number; 300]));
    assert_sound();
}

#[test]
fn too_much_is_null_and_changes_nothing() {
    let _alone = alone();
    let most = isize::MAX as usize;
    for align in [1, 16, 64, 4096] {
        let layout = Layout::from_size_align(most & !(align - 1), align).unwrap();
        let small = Layout::from_size_align(100, align).unwrap();
        let user = take(small);
        // SAFETY: no size is 0; the chunk is of its layout.
        unsafe {
            // The compiler may leave out what it sees is never used.
            assert!(black_box(alloc(layout)).is_null());
            assert!(black_box(alloc_zeroed(layout)).is_null());
            assert!(black_box(realloc(user, small, layout.size())).is_null());
        }
        assert_filled(user, 100);
        give(user, small);
    }
    let mut bytes: Vec<u8> = vec![1, 2, 3];
    assert!(bytes.try_reserve(most - 3).is_err());
    assert_eq!(bytes, [1, 2, 3]);
    assert_sound();
}

#[test]
fn a_chunk_holds_at_least_what_was_asked_for() {
    let _alone = alone();
    for shift in [0, 4, 6, 12] {
        for size in SIZES {
            let layout = Layout::from_size_align(size, 1 << shift).unwrap();
            let user = take(layout);
            // SAFETY: a live pointer of this allocator.
            let usable = unsafe { heapglass::usable_size(user) };
            assert!(usable >= size, "{usable} for {layout:?}");
            // All of it may be used.
            fill(user, size, usable);
            assert_filled(user, usable);
            // SAFETY: as above.
            assert_eq!(unsafe { heapglass::usable_size(user) }, usable);
            give(user, layout);
        }
    }
    assert_sound();
}

#[test]
fn trim_gives_back_what_is_free() {
    let _alone = alone();
    const COUNT: usize = 1000;
    const EACH: usize = 60_000;
    heapglass::trim(0);
    let before = heapglass::stats();
    let kept: Vec<Vec<u8>> = (0..COUNT).map(|_| black_box(vec![1u8; EACH])).collect();
    let full = heapglass::stats();
    // What didn't fit into the holes that other tests left came from the kernel.
    let new = COUNT * EACH - before.free_bytes;
    assert!(new > COUNT * EACH / 2, "{before:?}");
    assert!(full.heap_bytes >= before.heap_bytes + new, "{before:?} {full:?}");
    // The last one stays, so that the free memory below it can't go by itself.
    let last = kept.into_iter().next_back();
    let freed = heapglass::stats();
    assert!(freed.free_bytes >= full.free_bytes + new / 2, "{full:?} {freed:?}");
    assert!(heapglass::trim(0), "there was much to give back");
    drop(last);
    heapglass::trim(0);
    let after = heapglass::stats();
    assert!(after.heap_bytes < full.heap_bytes - new / 2, "{full:?} {after:?}");
    assert!(after.free_bytes <= after.heap_bytes && after.arenas >= 1);
    assert_sound();
}
