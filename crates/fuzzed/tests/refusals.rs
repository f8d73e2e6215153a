//! Every system call that the heap makes is refused in turn: first each single call of a life, then all of one kind, from the
//! start and from the middle on. Where memory was wanted, null and ENOMEM is an answer; where memory was given back, nothing
//! is to be seen of it. The heap stays whole, what is live keeps its contents, and afterwards it serves as before.
//!
//! Each life is a process of its own, so that first times are among the calls.
#![cfg(feature = "refusals")]

use heapglass_fuzzed::child::{self, Ended};
use heapglass_heap::policy::POLICY;
use heapglass_heap::{aligned, check, free, malloc, mapped, realloc, thread, trim};
use heapglass_os::refuse::{self, ANY};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const ENOMEM: i32 = libc::ENOMEM;

/// A test forks: one at a time.
static ALONE: Mutex<()> = Mutex::new(());
/// Requests that were answered with null.
static NULLS: AtomicUsize = AtomicUsize::new(0);

fn errno() -> &'static mut i32 {
    // SAFETY: the C library's cell of this thread.
    unsafe { &mut *libc::__errno_location() }
}

/// What a call returned, if it is a chunk. Null comes with ENOMEM.
fn answered(user: *mut u8, request: usize) -> Option<*mut u8> {
    if user.is_null() {
        assert_eq!(*errno(), ENOMEM, "null without a reason for {request} bytes");
        NULLS.fetch_add(1, Relaxed);
        return None;
    }
    Some(user)
}

struct Slot {
    user: *mut u8,
    request: usize,
    seed: u8,
}

impl Slot {
    fn fill(user: *mut u8, request: usize, seed: u8) -> Slot {
        // SAFETY: a live chunk of that length, ours.
        unsafe { std::ptr::write_bytes(user, seed, request) };
        Slot { user, request, seed }
    }

    fn prove(&self, length: usize) {
        // SAFETY: as above.
        let all = unsafe { std::slice::from_raw_parts(self.user, length) };
        assert!(all.iter().all(|byte| *byte == self.seed), "a chunk of {} bytes changed", self.request);
    }

    fn free(self) {
        self.prove(self.request);
        *errno() = 77;
        // SAFETY: live, and given up.
        unsafe { free::free(self.user) };
        assert_eq!(*errno(), 77, "free changed errno");
    }
}

fn make(at: usize, request: usize) -> Option<Slot> {
    *errno() = 0;
    let user = match at % 5 {
        0 => malloc::calloc(1, request),
        1 => aligned::allocate_or_errno(64 << (at % 9), request),
        _ => malloc::malloc(request),
    };
    let user = answered(user, request)?;
    if at.is_multiple_of(5) {
        Slot { user, request, seed: 0 }.prove(request);
    }
    Some(Slot::fill(user, request, at as u8))
}

/// One thread's life: small and long chunks, chunks with mappings of their own that grow and shrink, and all given back.
fn live() {
    let mut slots: Vec<Option<Slot>> = Vec::new();
    for at in 0..170 {
        let request = match at % 13 {
            0 => 150_000 + 9_000 * at,
            1..4 => 20_000 + 333 * at,
            _ => 16 + 37 * at % 1800,
        };
        slots.push(make(at, request));
        if at % 3 == 2 {
            let other = at * 31 % slots.len();
            slots[other].take().into_iter().for_each(Slot::free);
        }
        if at % 7 == 3
            && let Some(slot) = slots[at * 17 % (at + 1)].as_mut()
        {
            resize(slot, if at % 2 == 0 { slot.request * 2 } else { slot.request / 2 + 1 });
        }
        if at % 90 == 60 {
            trim::trim(0);
        }
    }
    for slot in slots.into_iter().flatten() {
        slot.free();
    }
}

fn resize(slot: &mut Slot, request: usize) {
    *errno() = 0;
    // SAFETY: live, and given up where another pointer comes back.
    let user = unsafe { realloc::realloc(slot.user, request) };
    let kept = slot.request.min(request);
    match answered(user, request) {
        // A refusal leaves the old one as it was.
        None => slot.prove(slot.request),
        Some(user) => {
            Slot { user, request, seed: slot.seed }.prove(kept);
            *slot = Slot::fill(user, request, slot.seed);
        }
    }
}

/// Two threads, one after the other, the second beside a third: so further arenas are made, used and left.
fn lives() {
    live();
    std::thread::scope(|scope| {
        scope.spawn(live);
        scope.spawn(live);
    });
    trim::trim(0);
    live();
}

/// Of so many allocations one is a guarded sample, so that what these ask of the kernel is refused, too.
const SAMPLES: usize = 20;

/// A life with refusals; then the proof, and a life without.
fn refused_life(kind: u32, first: u64, count: u64, by_hand: bool) {
    thread::ensure_set_up();
    POLICY.set_guard(SAMPLES);
    POLICY.set_decay(None);
    if by_hand {
        // No threshold rises: mappings come and go all the time.
        POLICY.set_mmap_threshold(128 * 1024);
        POLICY.set_decay(Some(0));
    }
    refuse::begin(kind, first, count);
    lives();
    let refused = refuse::refused();
    refuse::begin(ANY, 0, 0);
    let gives_back = [libc::SYS_munmap, libc::SYS_madvise, libc::SYS_prctl, libc::SYS_sched_getaffinity];
    if let Some(number) = refused
        && gives_back.contains(&i64::from(number))
        && (kind != ANY || count == 1)
    {
        assert_eq!(NULLS.load(Relaxed), 0, "call {number} was refused, and memory wasn't had");
    }
    assert_eq!(check::check(false), 0, "behind the refusals");
    NULLS.store(0, Relaxed);
    lives();
    assert_eq!(NULLS.load(Relaxed), 0, "memory is lost");
    trim::trim(0);
    assert_eq!(check::check(false), 0, "at the end");
    assert_eq!(mapped::CHUNKS.load(Relaxed), 0, "mapped chunks are left");
}

#[track_caller]
fn survives(kind: u32, first: u64, count: u64, by_hand: bool) {
    let ended = child::run(|| refused_life(kind, first, count, by_hand));
    assert!(matches!(ended, Ended::Well), "kind {kind}, {count} from call {first} on, by hand {by_hand}: {ended:?}");
}

/// How many calls of a kind a life makes. Threads that meet at a lock make one more or less, so a few more are tried.
fn calls(kind: u32, by_hand: bool) -> u64 {
    let (reading, mut writing) = std::io::pipe().unwrap();
    let ended = child::run(|| {
        thread::ensure_set_up();
        POLICY.set_guard(SAMPLES);
        POLICY.set_decay(if by_hand { Some(0) } else { None });
        if by_hand {
            POLICY.set_mmap_threshold(128 * 1024);
        }
        refuse::begin(kind, 0, 0);
        lives();
        std::io::Write::write_all(&mut writing, &refuse::calls().to_le_bytes()).unwrap();
    });
    assert!(matches!(ended, Ended::Well), "{ended:?}");
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut { reading }, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn each_call_refused_in_turn() {
    let _alone = ALONE.lock();
    for by_hand in [false, true] {
        let calls = calls(ANY, by_hand);
        assert!(calls > 30, "a life makes only {calls} calls");
        // All of the shorter life; of the longer, which repeats itself, every one at first and then some.
        let step = |call: u64| if call < 120 { 1 } else { 7 };
        let mut call = 1;
        while call <= calls + 3 {
            survives(ANY, call, 1, by_hand);
            call += step(call);
        }
    }
}

#[test]
fn every_kind_refused_for_good_and_for_a_while() {
    let _alone = ALONE.lock();
    let kinds = [
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_prctl,
        libc::SYS_brk,
        libc::SYS_sched_getaffinity,
    ];
    for kind in kinds.map(|number| number as u32) {
        for by_hand in [false, true] {
            let calls = calls(kind, by_hand);
            for (first, count) in [(1, u64::MAX), (calls / 2 + 1, u64::MAX), (2, 3), (calls / 3 + 1, calls / 3 + 1)] {
                survives(kind, first, count, by_hand);
            }
        }
    }
}

#[test]
fn everything_refused() {
    let _alone = ALONE.lock();
    for (first, count) in [(1, 40), (1, u64::MAX), (20, u64::MAX)] {
        survives(ANY, first, count, false);
        survives(ANY, first, count, true);
    }
}
