//! The player of `heapglass replay`: this command again, as `heapglass __replay HOW`, with an allocator preloaded and a plan on its
//! standard input. It works before `main`, in a constructor, as `hand` does: nothing of the command's own is allocated. Its own memory,
//! slots and a block of the plan for each thread, is mapped and touched before the first call, so a run that asks no allocator shows what of
//! the peak is the player's.
//!
//! # Safety
//! Pointers come from the allocator, and go back to it once: an operation on a slot happens when the one before it, in the order of the
//! recording, is over, by its turn or by its epoch (`plan`). Memory is written within the size that was asked for. A seat belongs to one
//! thread at a time, since a thread that gets it begins when the one before has been joined. The plan is this command's own; what is no
//! plan ends the process.

#![allow(unsafe_code)]

use super::plan::{BLOCK_BYTES, BLOCK_HEAD_BYTES, HEAD_BYTES, MAGIC, TURN, TURNS, how, op};
use nix::libc;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::{self, Write};
use std::hint::{black_box, spin_loop};
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

pub const WORD: &CStr = c"__replay";
/// What the player exits with when the allocator gave no memory, or wrong one.
pub const FAILED: c_int = 3;
/// Looks at something that another thread is about to do, before this one sleeps or yields.
const SPINS: u32 = 200;
/// Of the threads that the player makes. The calls of an allocator need little.
const STACK_BYTES: usize = 256 << 10;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a recording's pointer stands in. The size in the upper bits, the turn in the lower.
struct Slot {
    pointer: AtomicPtr<c_void>,
    meta: AtomicU64,
}

struct Seat {
    thread: AtomicU64,
    block: [Cell<u8>; BLOCK_BYTES],
}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
static SLOTS_COUNT: AtomicUsize = AtomicUsize::new(0);
static SEATS: AtomicPtr<Seat> = AtomicPtr::new(ptr::null_mut());
static SEATS_COUNT: AtomicUsize = AtomicUsize::new(0);
static DIRECTORY: AtomicU64 = AtomicU64::new(0);
static START_NS: AtomicU64 = AtomicU64::new(0);
static ALONE: AtomicU8 = AtomicU8::new(0);
static TOUCH: AtomicU8 = AtomicU8::new(0);
static CHECK: AtomicU8 = AtomicU8::new(0);
/// Epochs that are over, threads that are done with the one that isn't, and those that sleep until it is.
static DONE: AtomicU32 = AtomicU32::new(0);
static ARRIVED: AtomicU32 = AtomicU32::new(0);
static SLEEPERS: AtomicU32 = AtomicU32::new(0);

/// To be called by the loader.
///
/// # Safety
/// The words are those that the loader hands to constructors.
pub unsafe extern "C" fn at_start(argc: c_int, argv: *const *const c_char) {
    // SAFETY: what the loader hands to constructors: the words that `main` will get.
    unsafe {
        if argc < 3 || CStr::from_ptr(*argv.add(1)) != WORD {
            return;
        }
        for letter in CStr::from_ptr(*argv.add(2)).to_bytes() {
            match *letter {
                how::ALONE => ALONE.store(1, Relaxed),
                how::TOUCH => TOUCH.store(1, Relaxed),
                how::CHECK => CHECK.store(1, Relaxed),
                _ => {}
            }
        }
        // An allocator that stops it leaves nothing to keep.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
    }
    let mut head = [0u8; HEAD_BYTES];
    read_at(&mut head, 0);
    let word = |at: usize| word_at(&head, at);
    if word(0) != MAGIC {
        end(format_args!("standard input is no plan; `heapglass replay` makes one"));
    }
    let (slots, seats) = (word(8) as usize, word(16) as usize);
    SLOTS.store(map(slots.saturating_mul(size_of::<Slot>())).cast(), Relaxed);
    SLOTS_COUNT.store(slots, Relaxed);
    SEATS.store(map(seats.saturating_mul(size_of::<Seat>())).cast(), Relaxed);
    SEATS_COUNT.store(seats, Relaxed);
    DIRECTORY.store(word(24), Relaxed);
    START_NS.store(now_ns(), Relaxed);
    play(0, 0);
    // SAFETY: ends the process; threads that have nothing more to do sleep.
    unsafe { libc::_exit(0) }
}

/// Memory that is there from now on, as pages of the usual size: it is the same in every run.
fn map(bytes: usize) -> *mut c_void {
    let bytes = bytes.max(1);
    // SAFETY: a new mapping, which is written to within its length.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let place = libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if place == libc::MAP_FAILED {
            end(format_args!("no memory for the player's own {bytes} bytes"));
        }
        libc::madvise(place, bytes, libc::MADV_NOHUGEPAGE);
        for offset in (0..bytes).step_by(4096) {
            place.cast::<u8>().add(offset).write_volatile(0);
        }
        place
    }
}

fn slots() -> &'static [Slot] {
    // SAFETY: mapped at the start, zeros, for ever; all its fields are atomics.
    unsafe { std::slice::from_raw_parts(SLOTS.load(Relaxed), SLOTS_COUNT.load(Relaxed)) }
}

fn seat(number: u64) -> &'static Seat {
    // SAFETY: as for slots; only the thread that has the seat touches its block.
    let seats = unsafe { std::slice::from_raw_parts(SEATS.load(Relaxed), SEATS_COUNT.load(Relaxed)) };
    seats.get(number as usize).unwrap_or_else(|| damaged())
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or_else(|| damaged(), u64::from_le_bytes)
}

fn read_at(to: &mut [u8], place: u64) -> usize {
    // SAFETY: the room is there.
    let count = unsafe { libc::pread(0, to.as_mut_ptr().cast(), to.len(), place.cast_signed()) };
    usize::try_from(count).unwrap_or(0)
}

fn damaged() -> ! {
    end(format_args!("the plan is damaged"))
}

/// The last line, put together without allocating.
fn end(what: fmt::Arguments) -> ! {
    struct Line([u8; 256], usize);
    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for (to, byte) in self.0.iter_mut().skip(self.1).zip(text.bytes()) {
                *to = byte;
                self.1 += 1;
            }
            Ok(())
        }
    }
    let mut line = Line([0; 256], 0);
    let _ = writeln!(line, "{what}");
    // SAFETY: bytes that are there; then the process ends.
    unsafe {
        libc::write(2, line.0.as_ptr().cast(), line.1);
        libc::_exit(FAILED)
    }
}

fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

fn sleep_until(ns: u64) {
    let time = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    // SAFETY: it reads the time, and there is nothing to be told of what is left. A signal makes it wait anew.
    unsafe {
        while libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &time, ptr::null_mut()) == libc::EINTR {
        }
    }
}

/// A thread's operations, a block at a time.
struct Stream {
    block: &'static [Cell<u8>],
    at: usize,
    end: usize,
    next: u64,
}

impl Stream {
    fn open(thread: u64, seat: &'static Seat) -> Stream {
        let mut first = [0u8; 8];
        read_at(&mut first, DIRECTORY.load(Relaxed) + thread * 8);
        Stream { block: &seat.block, at: 0, end: 0, next: u64::from_le_bytes(first) }
    }

    #[inline]
    fn byte(&mut self) -> u8 {
        if self.at == self.end {
            self.turn_over();
        }
        self.at += 1;
        self.block.get(self.at - 1).map_or_else(|| damaged(), Cell::get)
    }

    #[cold]
    fn turn_over(&mut self) {
        if self.next == 0 {
            damaged();
        }
        // SAFETY: the seat's room, which only this thread touches.
        let count = unsafe {
            let room = self.block.as_ptr().cast_mut().cast();
            libc::pread(0, room, BLOCK_BYTES, self.next.cast_signed())
        };
        let byte = |at: usize| self.block.get(at).map_or(0, Cell::get);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| byte(at + i)));
        self.next = word(0);
        self.at = BLOCK_HEAD_BYTES;
        self.end = BLOCK_HEAD_BYTES + word(8) as usize;
        if self.end > usize::try_from(count).unwrap_or(0) || self.at == self.end {
            damaged();
        }
    }

    #[inline]
    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
        }
        damaged()
    }
}

/// Plays a thread of the recording. Returns where that ended.
fn play(thread: u64, number: u64) {
    let mut stream = Stream::open(thread, seat(number));
    let player = Player {
        slots: slots(),
        alone: ALONE.load(Relaxed) != 0,
        touch: TOUCH.load(Relaxed) != 0,
        check: CHECK.load(Relaxed) != 0,
    };
    let mut time = START_NS.load(Relaxed);
    loop {
        let code = stream.byte();
        match code & !TURN {
            op::STOP if thread == 0 => return,
            op::STOP => loop {
                // SAFETY: the thread sleeps until the process ends.
                unsafe { libc::pause() };
            },
            op::END => return,
            kind @ op::MALLOC..=op::REALLOC_FREE => player.call(kind, code & TURN != 0, &mut stream),
            op::TRIM => {
                let keep = stream.number() as usize;
                if !player.alone {
                    // SAFETY: the allocator's own function, or the C library's.
                    unsafe { libc::malloc_trim(keep) };
                }
            }
            op::SPAWN => spawn(stream.number(), stream.number()),
            // SAFETY: the seat's thread was made, and nobody else waits for it.
            op::JOIN => unsafe {
                let thread = seat(stream.number()).thread.load(Acquire);
                libc::pthread_join(thread as libc::pthread_t, ptr::null_mut());
            },
            op::WAIT => wait_for_epoch(stream.number() as u32),
            op::ARRIVE => arrive(stream.number() as u32),
            op::TIME => {
                time += stream.number();
                sleep_until(time);
            }
            _ => damaged(),
        }
    }
}

fn spawn(thread: u64, number: u64) {
    let seat = seat(number);
    let both = ptr::without_provenance_mut((thread << 20 | number) as usize);
    // SAFETY: a thread made by the C library, with a stack that it makes.
    unsafe {
        let mut wishes = std::mem::zeroed::<libc::pthread_attr_t>();
        libc::pthread_attr_init(&mut wishes);
        libc::pthread_attr_setstacksize(&mut wishes, STACK_BYTES);
        let mut made: libc::pthread_t = 0;
        if libc::pthread_create(&mut made, &wishes, work, both) != 0 {
            end(format_args!("thread {thread} couldn't be made"));
        }
        seat.thread.store(made as u64, Release);
        libc::pthread_attr_destroy(&mut wishes);
    }
}

extern "C" fn work(both: *mut c_void) -> *mut c_void {
    let both = both.addr() as u64;
    play(both >> 20, both & 0xf_ffff);
    ptr::null_mut()
}

fn futex(word: &AtomicU32, action: c_int, value: u32) {
    let action = action | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word outlives the call; there is no limit to the wait.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), action, value, ptr::null::<libc::timespec>()) };
}

fn wait_for_epoch(epoch: u32) {
    let is_over = || DONE.load(SeqCst).wrapping_sub(epoch).cast_signed() >= 0;
    for _ in 0..SPINS {
        if is_over() {
            return;
        }
        spin_loop();
    }
    SLEEPERS.fetch_add(1, SeqCst);
    loop {
        let done = DONE.load(SeqCst);
        if is_over() {
            break;
        }
        futex(&DONE, libc::FUTEX_WAIT, done);
    }
    SLEEPERS.fetch_sub(1, SeqCst);
}

fn arrive(of: u32) {
    if ARRIVED.fetch_add(1, AcqRel) + 1 == of {
        // Nobody arrives in the next epoch before this one is called over.
        ARRIVED.store(0, SeqCst);
        DONE.fetch_add(1, SeqCst);
        if SLEEPERS.load(SeqCst) > 0 {
            futex(&DONE, libc::FUTEX_WAKE, i32::MAX.cast_unsigned());
        }
    }
}

struct Player {
    slots: &'static [Slot],
    alone: bool,
    touch: bool,
    check: bool,
}

impl Player {
    /// Makes a call of the recording.
    #[inline]
    fn call(&self, kind: u8, waits: bool, stream: &mut Stream) {
        let turn = if waits { Some(stream.number()) } else { None };
        let number = stream.number();
        let slot = self.slots.get(number as usize).unwrap_or_else(|| damaged());
        if let Some(turn) = turn {
            wait_for_turn(slot, turn);
        }
        let meta = slot.meta.load(Acquire);
        let before = slot.pointer.load(Relaxed);
        let old = (meta / TURNS) as usize;
        let next_turn = (meta + 1) % TURNS;
        let key = (number + 1).wrapping_mul(FACTOR);
        if self.check && kind > op::REALLOC {
            self.look(before, old, key);
        }
        let (after, size) = match kind {
            op::FREE => {
                if !self.alone {
                    // SAFETY: see the module's head.
                    unsafe { libc::free(black_box(before)) };
                }
                (ptr::null_mut(), 0)
            }
            op::REALLOC_FREE => {
                self.realloc_to_nothing(before);
                (ptr::null_mut(), 0)
            }
            _ => {
                let size = stream.number() as usize;
                (self.hand_out(kind, before, size, slot, stream), size)
            }
        };
        if self.touch && size > 0 && !self.alone {
            let kept = if kind == op::REALLOC { old.min(size) } else { 0 };
            self.write(kind, after, kept, size, key);
        }
        slot.pointer.store(after, Relaxed);
        slot.meta.store(size as u64 * TURNS + next_turn, Release);
    }

    #[inline]
    fn hand_out(&self, kind: u8, before: *mut c_void, size: usize, slot: &Slot, stream: &mut Stream) -> *mut c_void {
        let power = if kind == op::ALIGNED { stream.number() } else { 0 };
        if self.alone {
            return ptr::from_ref(slot).cast_mut().cast();
        }
        // SAFETY: see the module's head.
        let made = unsafe {
            match kind {
                op::MALLOC => libc::malloc(size),
                op::CALLOC => libc::calloc(1, size),
                op::REALLOC => libc::realloc(black_box(before), size),
                _ => {
                    let mut made = ptr::null_mut();
                    libc::posix_memalign(&mut made, 1 << power, size);
                    made
                }
            }
        };
        if made.is_null() {
            end(format_args!("out of memory: a call for {size} bytes returned null"));
        }
        if self.check && !made.addr().is_multiple_of(1 << power) {
            end(format_args!("{made:p} isn't aligned to {} bytes", 1u64 << power));
        }
        black_box(made)
    }

    /// The C library frees then; some others hand out a chunk, which nobody would free.
    #[cold]
    fn realloc_to_nothing(&self, before: *mut c_void) {
        if !self.alone {
            // SAFETY: see the module's head.
            unsafe { libc::free(libc::realloc(before, 0)) };
        }
    }

    /// Writes what was asked for, but for what realloc brought along; with `check` that is looked at.
    #[inline]
    fn write(&self, kind: u8, to: *mut c_void, kept: usize, size: usize, key: u64) {
        if !self.check {
            // SAFETY: the allocator says that so many bytes are there.
            unsafe { ptr::write_bytes(to.cast::<u8>().add(kept), 0x5a, size - kept) };
            return;
        }
        self.look(to, kept, key);
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), size) };
        if kind == op::CALLOC && bytes.iter().any(|byte| *byte != 0) {
            end(format_args!("calloc returned memory at {to:p} that isn't zero"));
        }
        for (index, word) in bytes.chunks_mut(8).enumerate() {
            let content = (key ^ index as u64).to_le_bytes();
            word.copy_from_slice(content.get(..word.len()).unwrap_or_else(|| damaged()));
        }
    }

    /// What was written must be there still: nobody else was handed this memory meanwhile, and realloc has moved all of it.
    fn look(&self, at: *mut c_void, size: usize, key: u64) {
        if size == 0 || self.alone || !self.touch {
            return;
        }
        // SAFETY: the chunk is in use, and only the owner of the slot's turn writes to it.
        let bytes = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), size) };
        for (index, word) in bytes.chunks(8).enumerate() {
            if !(key ^ index as u64).to_le_bytes().starts_with(word) {
                end(format_args!(
                    "the {size} bytes at {at:p} changed while they were in use, from byte {} on",
                    index * 8
                ));
            }
        }
    }
}

fn wait_for_turn(slot: &Slot, turn: u64) {
    let mut looks = 0u32;
    while slot.meta.load(Acquire) % TURNS != turn {
        looks += 1;
        if looks < SPINS {
            spin_loop();
        } else {
            // SAFETY: it changes nothing.
            unsafe { libc::sched_yield() };
        }
    }
}
