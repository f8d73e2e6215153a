//! A sequence of calls, held against a model: no chunk overlaps another, each is aligned and keeps its contents, calloc's is
//! zero, the checker finds nothing. Some of the calls are made by threads that end.

use crate::bytes::Bytes;
use heapglass_heap::chunk::SECRET;
use heapglass_heap::guard::Sampler;
use heapglass_heap::policy::{MMAP_THRESHOLD, POLICY};
use heapglass_heap::size::ALIGN;
use heapglass_heap::{aligned, check, free, malloc, mapped, realloc, thread, trim};
use std::sync::atomic::Ordering::Relaxed;

pub const SLOTS: usize = 24;
/// Of a long chunk, so many bytes at each end are filled and proven.
const PROVEN: usize = 512;
/// Chunks of one size that are made and freed together.
const BATCH: usize = 80;

/// A live chunk with a pattern of its own.
#[derive(Clone, Copy)]
pub struct Held {
    pub user: usize,
    pub usable: usize,
    request: usize,
    seed: u8,
}

impl Held {
    fn new(user: *mut u8, request: usize, align: usize, seed: u8) -> Held {
        assert_eq!(user as usize % align.max(ALIGN), 0, "{user:?} for {request} bytes at {align}");
        let usable = free::usable("usable", user);
        assert!(usable >= request, "{usable} bytes for {request}");
        let held = Held { user: user as usize, usable, request, seed };
        held.each(|place, expect| *place = expect);
        held
    }

    fn each(&self, mut see: impl FnMut(&mut u8, u8)) {
        // SAFETY: a live chunk of this length, and ours.
        let all = unsafe { std::slice::from_raw_parts_mut(self.user as *mut u8, self.usable) };
        let (head, tail) = all.split_at_mut(self.usable.min(PROVEN));
        let from = tail.len().saturating_sub(PROVEN);
        let tail = &mut tail[from..];
        for (index, place) in head.iter_mut().chain(tail).enumerate() {
            see(place, self.seed.wrapping_add((index as u8).wrapping_mul(167)));
        }
    }

    pub fn prove(&self) {
        self.each(|place, expect| assert_eq!(*place, expect, "{:#x} of {} bytes changed", self.user, self.request));
    }

    fn free(self, sized: bool) {
        self.prove();
        // SAFETY: live, and given up.
        unsafe {
            match sized {
                true => free::free_sized("free_sized", self.user as *mut u8, self.request),
                false => free::free(self.user as *mut u8),
            }
        }
    }
}

/// The model: what is live, and what was freed last.
pub struct Model {
    pub slots: [Option<Held>; SLOTS],
    pub freed: [Option<Held>; SLOTS],
    count: usize,
    /// The checker is asked. Not once damage is done: it would only repeat it.
    pub checks: bool,
}

/// Sets the heap up as the first byte says; one allocation in so many is a guarded sample, 0 for none.
pub fn begin(bytes: &mut Bytes, guard: usize) -> Model {
    let mode = bytes.byte();
    thread::ensure_set_up();
    // Each process draws another; here the same bytes shall do the same.
    SECRET.store(0x9e37_79b9_7f4a_7c15, Relaxed);
    POLICY.classic.store(mode & 3 == 1, Relaxed);
    POLICY.park.store(mode & 3 != 2, Relaxed);
    POLICY.mmap_max.store(if mode & 3 == 3 { 0 } else { 65536 }, Relaxed);
    POLICY.mmap_threshold.store(MMAP_THRESHOLD, Relaxed);
    // By the clock nothing shall happen: the same bytes do the same.
    POLICY.set_decay(if mode & 4 == 0 { None } else { Some(0) });
    // Without mappings of its own, a long request needs the break: mapped heaps are short.
    POLICY.uses_break.store(mode & 8 == 0 || mode & 3 == 3, Relaxed);
    POLICY.arena_max.store(1 + usize::from(mode >> 6), Relaxed);
    POLICY.set_guard(guard);
    let thread = thread::current().expect("a thread that isn't ending has a record");
    thread.sampler = Sampler::new(0);
    thread::settings_changed();
    Model { slots: [None; SLOTS], freed: [None; SLOTS], count: 0, checks: true }
}

pub fn run(bytes: &[u8]) {
    let is_sampled = bytes.first().is_some_and(|mode| mode & 0x30 == 0x30);
    let mut bytes = Bytes::new(bytes);
    let mut model = begin(&mut bytes, if is_sampled { 3 } else { 0 });
    while !bytes.is_over() {
        model.step(&mut bytes);
    }
    model.end();
}

impl Model {
    /// One call, or a few by a thread that ends.
    pub fn step(&mut self, bytes: &mut Bytes) {
        if bytes.byte() % 16 == 15 {
            let calls = 1 + bytes.below(60);
            std::thread::scope(|scope| {
                let work = scope.spawn(|| (0..calls).for_each(|_| self.call(bytes)));
                work.join().expect("a panic ends the process");
            });
        } else {
            self.call(bytes);
        }
        self.count += 1;
        if self.count.is_multiple_of(4) {
            self.prove();
        }
    }

    fn call(&mut self, bytes: &mut Bytes) {
        let seed = bytes.byte();
        let at = usize::from(seed) % SLOTS;
        match bytes.below(16) {
            0..4 => {
                let request = bytes.request();
                self.put(at, malloc::malloc(request), request, ALIGN, seed);
            }
            4 => {
                let request = bytes.request();
                let user = malloc::calloc(1, request);
                // SAFETY: a live chunk of at least that many bytes.
                let all = unsafe { std::slice::from_raw_parts(user, if user.is_null() { 0 } else { request }) };
                // What was written to memory that isn't in use may be in it.
                assert!(!self.checks || all.iter().all(|byte| *byte == 0), "calloc({request}) isn't zero");
                self.put(at, user, request, ALIGN, seed);
            }
            5 | 6 => self.resize(at, bytes.request(), seed),
            7 => {
                let (shift, request) = (bytes.below(17), bytes.request());
                self.put(at, aligned::allocate(1 << shift, request), request, 1 << shift, seed);
            }
            8..11 => self.drop_slot(at, false),
            11 => self.drop_slot(at, true),
            12 => drop(trim::trim(bytes.request())),
            13 => self.batch(bytes),
            14 => (0..SLOTS).filter(|slot| slot % 3 == at % 3).for_each(|slot| self.drop_slot(slot, false)),
            _ => self.absurd(at),
        }
    }

    fn put(&mut self, at: usize, user: *mut u8, request: usize, align: usize, seed: u8) {
        assert!(!user.is_null(), "null for {request} bytes at {align}");
        let held = Held::new(user, request, align, seed);
        if let Some(old) = self.slots[at].replace(held) {
            self.give_up(at, old, false);
        }
    }

    fn give_up(&mut self, at: usize, held: Held, sized: bool) {
        self.freed[at] = Some(held);
        held.free(sized);
    }

    fn drop_slot(&mut self, at: usize, sized: bool) {
        if let Some(held) = self.slots[at].take() {
            self.give_up(at, held, sized);
        }
    }

    fn resize(&mut self, at: usize, request: usize, seed: u8) {
        let Some(held) = self.slots[at].take() else { return };
        held.prove();
        // SAFETY: live, and given up where another pointer comes back.
        let user = unsafe { realloc::realloc(held.user as *mut u8, request) };
        assert_eq!(user.is_null(), request == 0, "realloc to {request}");
        if user as usize != held.user {
            self.freed[at] = Some(held);
        }
        if user.is_null() {
            return;
        }
        let kept = held.usable.min(request).min(PROVEN);
        // SAFETY: a live chunk of at least that many bytes.
        let head = unsafe { std::slice::from_raw_parts(user, kept) };
        for (index, byte) in head.iter().enumerate() {
            assert_eq!(*byte, held.seed.wrapping_add((index as u8).wrapping_mul(167)), "realloc lost byte {index}");
        }
        self.slots[at] = Some(Held::new(user, request, ALIGN, seed));
    }

    /// Many of one size, so that magazines fill and depots are met; freed forwards, backwards or by turns.
    fn batch(&mut self, bytes: &mut Bytes) {
        let (request, order, number) = (bytes.request() % 3000, bytes.byte(), 1 + bytes.below(BATCH));
        let mut users = [std::ptr::null_mut(); BATCH];
        for (index, user) in users.iter_mut().take(number).enumerate() {
            *user = malloc::malloc(request);
            assert!(!user.is_null());
            // SAFETY: a live chunk.
            unsafe { std::ptr::write_bytes(*user, index as u8, request) };
        }
        for index in 0..number {
            let index = match order % 3 {
                0 => index,
                1 => number - 1 - index,
                _ => index * 37 % number.max(1),
            };
            let user = std::mem::replace(&mut users[index], std::ptr::null_mut());
            if !user.is_null() && request > 0 {
                // SAFETY: a live chunk.
                assert_eq!(unsafe { *user.add(request - 1) }, index as u8);
            }
            // SAFETY: live, or null.
            unsafe { free::free(user) };
        }
        for user in users {
            // SAFETY: live, or null where its turn has come.
            unsafe { free::free(user) };
        }
    }

    /// More than there can be, by each of the calls.
    fn absurd(&mut self, at: usize) {
        for request in [usize::MAX, isize::MAX as usize + 1, 1 << 62] {
            assert!(malloc::malloc(request).is_null());
            assert!(malloc::calloc(request, 2).is_null());
            assert!(aligned::allocate(4096, request).is_null());
            if let Some(held) = self.slots[at] {
                // SAFETY: live; a refusal leaves it so.
                assert!(unsafe { realloc::realloc(held.user as *mut u8, request) }.is_null());
            }
        }
    }

    /// No two live chunks share a byte, each is whole, and so is the heap.
    pub fn prove(&self) {
        let mut live: Vec<&Held> = self.slots.iter().flatten().collect();
        live.iter().for_each(|held| held.prove());
        live.sort_by_key(|held| held.user);
        for pair in live.windows(2) {
            assert!(pair[0].user + pair[0].usable <= pair[1].user, "chunks overlap: {:#x}", pair[1].user);
        }
        if self.checks {
            assert_eq!(check::check(false), 0, "after {} steps", self.count);
        }
    }

    /// Frees all.
    pub fn end(&mut self) {
        self.prove();
        (0..SLOTS).for_each(|at| self.drop_slot(at, false));
        trim::trim(0);
        if self.checks {
            assert_eq!(check::check(false), 0, "at the end");
            assert_eq!(mapped::CHUNKS.load(Relaxed), 0, "mapped chunks are left");
        }
    }
}
