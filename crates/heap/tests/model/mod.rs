//! The model that sequences of calls are held against, and how a property is run.
#![allow(dead_code)]

use crate::world::{self, Mode};
use heapglass_heap::policy::MMAP_THRESHOLD;
use heapglass_heap::size::{ALIGN, CACHED_MAX, FAST_MAX, SMALL_MAX};
use heapglass_heap::{aligned, check, free, malloc, realloc, trim};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub const SLOTS: usize = 40;
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Malloc {
        slot: usize,
        request: usize,
    },
    Calloc {
        slot: usize,
        count: usize,
        size: usize,
    },
    Realloc {
        slot: usize,
        request: usize,
    },
    Aligned {
        slot: usize,
        shift: u32,
        request: usize,
    },
    Free {
        slot: usize,
    },
    /// More than there can be, by each of the calls.
    Absurd {
        slot: usize,
        request: usize,
    },
    Trim {
        pad: usize,
    },
    Check,
}

/// Sizes that meet every class, every kind of bin and every threshold from both sides.
fn request() -> impl Strategy<Value = usize> {
    let edges = [24, FAST_MAX, SMALL_MAX, CACHED_MAX, 64 * 1024, MMAP_THRESHOLD, 2 * MMAP_THRESHOLD];
    prop_oneof![
        3 => 0..=24usize,
        6 => 25..=FAST_MAX + ALIGN,
        6 => FAST_MAX..=SMALL_MAX + 2 * ALIGN,
        4 => SMALL_MAX..=CACHED_MAX + 4 * ALIGN,
        2 => CACHED_MAX..=MMAP_THRESHOLD,
        1 => MMAP_THRESHOLD..=6 * MMAP_THRESHOLD,
        3 => (proptest::sample::select(edges.to_vec()), 0..=80usize).prop_map(|(edge, more)| edge + more - 24),
        // A few sizes only: exact fits, and much traffic in one class.
        6 => proptest::sample::select(vec![40usize, 100, 200, 600, 1500, 3000]),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let absurd = vec![usize::MAX, usize::MAX - 16, isize::MAX as usize + 1, isize::MAX as usize, 1 << 62];
    prop_oneof![
        12 => (slot(), request()).prop_map(|(slot, request)| Op::Malloc { slot, request }),
        4 => (slot(), 1..9usize, request()).prop_map(|(slot, count, request)| Op::Calloc { slot, count, size: request / count }),
        8 => (slot(), request()).prop_map(|(slot, request)| Op::Realloc { slot, request }),
        3 => (slot(), 0..17u32, request()).prop_map(|(slot, shift, request)| Op::Aligned { slot, shift, request }),
        12 => slot().prop_map(|slot| Op::Free { slot }),
        1 => (slot(), proptest::sample::select(absurd)).prop_map(|(slot, request)| Op::Absurd { slot, request }),
        1 => proptest::sample::select(vec![0usize, 4096, 100_000]).prop_map(|pad| Op::Trim { pad }),
        1 => Just(Op::Check),
    ]
}

/// A live chunk, every usable byte of it filled with a pattern of its own.
#[derive(Debug)]
struct Held {
    user: *mut u8,
    usable: usize,
    seed: u64,
}

// SAFETY: a live chunk is its holder's alone, in whichever thread.
unsafe impl Send for Held {}

fn byte(seed: u64, index: usize) -> u8 {
    ((index as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Held {
    /// What a call returned for a request, at this alignment. Everything usable is overwritten.
    fn new(user: *mut u8, request: usize, align: usize, seed: u64) -> Held {
        assert!(!user.is_null(), "null for {request} bytes");
        assert_eq!(user as usize % align.max(ALIGN), 0, "{user:?} for {request} bytes at {align}");
        let usable = free::usable("usable", user);
        assert!(usable >= request, "{usable} bytes for {request}");
        let mut held = Held { user, usable, seed };
        held.bytes().iter_mut().enumerate().for_each(|(index, place)| *place = byte(seed, index));
        held
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a live chunk of this length, and ours.
        unsafe { std::slice::from_raw_parts_mut(self.user, self.usable) }
    }

    /// The first `length` bytes are as they were written, wherever they are now.
    fn assert_kept(&mut self, user: *mut u8, length: usize) {
        // SAFETY: the caller says that the chunk holds so many.
        let bytes = unsafe { std::slice::from_raw_parts(user, length) };
        let seed = self.seed;
        let wrong = bytes.iter().enumerate().find(|&(index, &found)| found != byte(seed, index));
        assert_eq!(wrong, None, "contents of {self:?} at {user:?}");
    }

    fn prove(&mut self) {
        assert_eq!(free::usable("usable", self.user), self.usable, "the usable size of {self:?} changed");
        self.assert_kept(self.user, self.usable);
    }

    fn free(mut self) {
        self.prove();
        // SAFETY: ours, and given up here.
        unsafe { free::free(self.user) };
    }
}

/// Does one call to one slot.
fn act(slot: &mut Option<Held>, op: Op, seed: u64) {
    match op {
        Op::Malloc { request, .. } => {
            slot.take().into_iter().for_each(Held::free);
            *slot = Some(Held::new(malloc::malloc(request), request, ALIGN, seed));
        }
        Op::Calloc { count, size, .. } => {
            slot.take().into_iter().for_each(Held::free);
            let user = malloc::calloc(count, size);
            assert!(!user.is_null());
            // SAFETY: a live chunk of at least this length.
            let bytes = unsafe { std::slice::from_raw_parts(user, count * size) };
            assert_eq!(bytes.iter().position(|&byte| byte != 0), None, "calloc's {} bytes aren't zero", bytes.len());
            *slot = Some(Held::new(user, count * size, ALIGN, seed));
        }
        Op::Aligned { shift, request, .. } => {
            slot.take().into_iter().for_each(Held::free);
            *slot = Some(Held::new(aligned::allocate(1 << shift, request), request, 1 << shift, seed));
        }
        Op::Realloc { request, .. } => resize(slot, request, seed),
        Op::Free { .. } => slot.take().into_iter().for_each(Held::free),
        Op::Absurd { request, .. } => {
            assert!(malloc::malloc(request).is_null());
            assert!(malloc::calloc(request, 2).is_null() && malloc::calloc(1, request).is_null());
            assert!(aligned::allocate(64, request).is_null());
            if let Some(held) = slot {
                // SAFETY: the chunk is live, and stays where the call fails.
                assert!(unsafe { realloc::realloc(held.user, request) }.is_null());
                held.prove();
            }
        }
        Op::Trim { pad } => {
            trim::trim(pad);
        }
        Op::Check => assert_eq!(check::check(false), 0),
    }
}

fn resize(slot: &mut Option<Held>, request: usize, seed: u64) {
    let Some(mut held) = slot.take() else {
        // SAFETY: null is a chunk to make.
        let user = unsafe { realloc::realloc(std::ptr::null_mut(), request) };
        *slot = Some(Held::new(user, request, ALIGN, seed));
        return;
    };
    held.prove();
    // SAFETY: live, and given up where another pointer comes back.
    let user = unsafe { realloc::realloc(held.user, request) };
    if request == 0 {
        assert!(user.is_null(), "realloc to 0 frees");
        return;
    }
    assert!(!user.is_null());
    held.assert_kept(user, held.usable.min(request));
    *slot = Some(Held::new(user, request, ALIGN, seed));
}

fn slot_of(op: Op) -> usize {
    match op {
        Op::Malloc { slot, .. }
        | Op::Calloc { slot, .. }
        | Op::Realloc { slot, .. }
        | Op::Aligned { slot, .. }
        | Op::Free { slot }
        | Op::Absurd { slot, .. } => slot,
        Op::Trim { .. } | Op::Check => 0,
    }
}

/// A slot, which whoever has it keeps through a whole call.
#[cfg(not(feature = "scheduled"))]
fn locked<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same by turns: its holder needs turns to give it up.
#[cfg(feature = "scheduled")]
fn locked<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    use heapglass_heap::sync::turns::{Step, step};
    loop {
        match slot.try_lock() {
            Ok(slot) => return slot,
            Err(std::sync::TryLockError::Poisoned(slot)) => return slot.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => step(Step::Wait),
        }
    }
}

/// The model's table. What a failing case leaves is freed, so that the next starts from nothing.
pub struct Table(Vec<Mutex<Option<Held>>>);

impl Table {
    pub fn new() -> Table {
        Table((0..SLOTS).map(|_| Mutex::new(None)).collect())
    }

    pub fn act(&self, op: Op, seed: u64) {
        act(&mut locked(&self.0[slot_of(op)]), op, seed);
    }

    /// No two live chunks share a byte, and each is whole.
    pub fn prove(&self) {
        let mut ranges = Vec::new();
        for slot in &self.0 {
            if let Some(held) = &mut *slot.lock().unwrap_or_else(PoisonError::into_inner) {
                held.prove();
                ranges.push((held.user as usize, held.user as usize + held.usable));
            }
        }
        ranges.sort();
        for pair in ranges.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "chunks overlap: {pair:x?}");
        }
    }

    pub fn free_all(&self) {
        for slot in &self.0 {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take().into_iter().for_each(Held::free);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for slot in &self.0 {
            if let Some(held) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // SAFETY: live, and given up here.
                unsafe { free::free(held.user) };
            }
        }
    }
}

/// Runs a property with a seed that survives an abort.
pub fn property<S: Strategy>(name: &str, cases: u32, input: S, test: impl Fn(S::Value)) {
    let _alone = world::alone();
    let given = ProptestConfig::default();
    let seed = match given.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().hash_one(name),
    };
    let note = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.seed"));
    std::fs::write(&note, format!("{seed}\n")).expect("the build's own directory can be written to");
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        given.cases
    } else if cfg!(debug_assertions) {
        cases.div_ceil(8)
    } else {
        cases
    };
    let config = ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..given };
    let outcome = TestRunner::new(config).run(&input, |value| {
        test(value);
        Ok(())
    });
    world::reset(Mode::Default);
    if let Err(error) = outcome {
        panic!("{error}\nPROPTEST_RNG_SEED={seed} repeats it");
    }
}
