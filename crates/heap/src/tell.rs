//! The far end of the seam: where records go. A file that a reader made is mapped once, at the process's start, at an address
//! far from everything that the program maps, so that nothing of the program's moves. Each thread takes a ring of it with its
//! first call that is told, and leaves it at its end. Threads that have no record share one ring, behind a lock.
//!
//! A writer whose ring is full waits for the reader, unless the file says that calls may be dropped; and it stops telling once
//! the reader is gone.
//!
//! # Safety
//! A thread writes to its own ring only; the shared one is written with its lock held. The mapping stays as long as anybody may be
//! at it: a thread says so before it looks where the mapping is (`enter`), in a count of its own or by that lock. Only when nobody is,
//! and all threads but one are stopped, it is taken away (`fall_silent`).

use crate::arch;
use crate::callers;
use crate::draw;
use crate::free;
use crate::kernel;
use crate::policy::POLICY;
use crate::probe::{Call, Kind, Outcome};
use crate::profile;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use crate::sync::lock::Lock;
use crate::thread::{self, Thread};
use crate::usage;
use core::ptr;
use core::sync::atomic::compiler_fence;
use heapglass_event::record::{Record, SCHEMA};
use heapglass_event::ring::{
    CONTROL_BYTES, Control, DRAW_ALL, DRAW_NONE, FILE_BYTES, LAYOUT, MAGIC, Phase, RINGS, Ring,
};
use heapglass_os as os;

/// Where the file is mapped, if nothing is there: away from the break and from where the kernel puts mappings.
const PLACE: usize = 0x2000_0000_0000;
/// A call that may be dropped is begun only with so much room for its records.
const ROOM: u64 = 64;
/// Nanoseconds that a writer sleeps at a time before it looks whether the reader is still there.
const NAP: u32 = 5_000_000;

static ON: AtomicBool = AtomicBool::new(false);
static CONTROL: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());
/// The ring of those who have none of their own, and the lock that its writer holds for a whole call.
static SHARED: AtomicPtr<Ring> = AtomicPtr::new(ptr::null_mut());
static SHARING: Lock = Lock::new();
/// Calls of the process, counted while a picture is asked for.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A call that is being told, or not.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Told {
    No,
    /// There was no room.
    Dropped {
        by: Entered,
    },
    Yes {
        /// The number of the call, where it is drawn.
        drawn: u64,
        by: Entered,
    },
}

/// Is anybody listening?
#[inline(always)]
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// What came of the wish to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    Yes,
    /// The file isn't one of ours.
    No,
    /// Somebody else listens.
    Taken,
}

/// Maps the file and begins to tell.
///
/// # Safety
/// `path` points to a NUL-terminated string.
pub unsafe fn begin_telling(path: *const u8) -> Begun {
    // SAFETY: as the caller promises.
    (unsafe { os::open(path) }).map_or(Begun::No, begin_telling_by)
}

/// A file to be told in, for a reader that can't hand us one: it finds this in `/proc`, where we may have none. None where there
/// is no memory.
pub fn file() -> Option<i32> {
    os::memory_file(c"heapglass-events", FILE_BYTES).ok()
}

/// As `begin_telling`, in an open file, which is closed.
pub fn begin_telling_by(file: i32) -> Begun {
    let is_long = os::file_bytes(file).is_ok_and(|bytes| bytes >= FILE_BYTES);
    let mapped = if is_long { os::map_file_near(file, FILE_BYTES, PLACE).ok() } else { None };
    os::close(file);
    let Some(mapped) = mapped else { return Begun::No };
    // SAFETY: a shared mapping, long enough for the record, whose fields are atomics.
    let control = unsafe { &*(mapped as *const Control) };
    let is_ours = (control.magic.load(Relaxed), control.layout.load(Relaxed), control.schema.load(Relaxed))
        == (MAGIC, LAYOUT, SCHEMA);
    let is_profile = is_ours && control.interval.load(Relaxed) != 0;
    // A forked child that keeps silent has its parent's, too.
    let is_taken = if is_profile {
        profile::is_read()
    } else {
        // SAFETY: null, or mapped: this thread is the only one that could take it away.
        is_on() && unsafe { CONTROL.load(Relaxed).as_ref() }.is_some_and(|before| !before.is_deserted())
    };
    if !is_ours || is_taken {
        // SAFETY: mapped above, and nobody has it.
        let _ = unsafe { os::unmap(mapped, FILE_BYTES) };
        return if is_ours { Begun::Taken } else { Begun::No };
    }
    let me = os::process_id();
    let taken = control.pid.compare_exchange(0, me, Relaxed, Relaxed);
    if taken.is_err_and(|by| by != me) && control.follows.load(Relaxed) == 0 {
        return Begun::Yes;
    }
    if is_profile {
        profile::begin_in_file(control);
        return Begun::Yes;
    }
    callers::after_fork();
    CONTROL.store(ptr::from_ref(control).cast_mut(), Release);
    POLICY.observed.store(true, Relaxed);
    ON.store(true, Release);
    Begun::Yes
}

/// Nobody listens any more: threads go back to their fast paths as they come by.
fn end_telling() {
    ON.store(false, Relaxed);
    if !kernel::counts_for_others() && !usage::is_counted() {
        POLICY.observed.store(false, Relaxed);
    }
}

/// Takes the mapping away that nobody listens at any more, so that the process is what it was before. `false` where that must wait: a
/// thread is at it.
///
/// # Safety
/// All other threads are stopped.
pub unsafe fn fall_silent() -> bool {
    let is_left = !SHARING.is_locked() && !profile::is_shared() && thread::all().all(|thread| !is_at_it(thread));
    let (mine, its) = (CONTROL.load(Acquire), profile::mapping());
    for (place, is_mine) in [(mine, true), (its, false)] {
        // SAFETY: null, or mapped.
        if unsafe { place.as_ref() }.is_none_or(|control| !control.is_deserted()) {
            continue;
        }
        if !is_left {
            return false;
        }
        if is_mine {
            end_telling();
            CONTROL.store(ptr::null_mut(), Relaxed);
            SHARED.store(ptr::null_mut(), Relaxed);
        } else {
            // SAFETY: mapped, see above.
            profile::let_go(unsafe { &*place });
        }
        for thread in thread::all() {
            // SAFETY: records stay; the cells are their threads' own, which are stopped.
            unsafe {
                let ring = if is_mine { &raw mut (*thread).ring } else { &raw mut (*thread).profile_ring };
                if is_of(&*place, *ring) {
                    *ring = ptr::null();
                }
            }
        }
        // SAFETY: nobody is at it, and nothing leads to it any more.
        let _ = unsafe { os::unmap(place as usize, FILE_BYTES) };
    }
    true
}

fn is_at_it(thread: *mut Thread) -> bool {
    // SAFETY: records stay; this one's thread is stopped, or the caller.
    unsafe { (&raw const (*thread).visits).read_volatile() != 0 }
}

/// How a thread says that it is at the mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// In its record.
    ByCount,
    /// It has none: by holding the lock of those.
    ByLock,
}

/// To be said before the mapping is looked for; `None` where the thread is at it for a call of which this is a part.
fn enter() -> Option<Entered> {
    if SHARING.is_owned_by(thread::owner()) {
        return None;
    }
    match own_record() {
        Some(record) => {
            come(record);
            Some(Entered::ByCount)
        }
        None => SHARING.lock(thread::owner()).then_some(Entered::ByLock),
    }
}

fn exit(entered: Entered) {
    match (entered, own_record()) {
        (Entered::ByLock, _) => SHARING.unlock(),
        (Entered::ByCount, Some(record)) => go(record),
        (Entered::ByCount, None) => {}
    }
}

/// One more reason for the mapping to stay. By address: callers may be at work on the record.
pub(crate) fn come(record: *mut Thread) {
    // SAFETY: the calling thread's own record.
    unsafe { (*record).visits += 1 };
    // What stops a thread finds its words as far as it had come.
    compiler_fence(SeqCst);
}

pub(crate) fn go(record: *mut Thread) {
    compiler_fence(SeqCst);
    // SAFETY: as in `come`, which was before.
    unsafe { (*record).visits = (*record).visits.wrapping_sub(1) };
}

fn control() -> Option<&'static Control> {
    // SAFETY: null, or mapped for as long as the thread has not gone.
    unsafe { CONTROL.load(Acquire).as_ref() }
}

/// In a forked child: it takes rings of its own, or is silent.
pub fn after_fork() {
    if !is_on() {
        return;
    }
    SHARED.store(ptr::null_mut(), Relaxed);
    SHARING.reset();
    CALLS.store(0, Relaxed);
    callers::after_fork();
    set_own_ring(ptr::null());
    if control().is_none_or(|control| control.follows.load(Relaxed) == 0) {
        end_telling();
    }
}

/// By address, as above.
fn own_record() -> Option<*mut Thread> {
    // SAFETY: the word points at a head; a head's thread, where it has one, is the calling thread's record.
    let record = unsafe { (*arch::word()).thread };
    (!record.is_null()).then_some(record)
}

/// The cell in the calling thread's record that says which ring is its own.
fn own_cell() -> Option<*mut *const Ring> {
    // SAFETY: the calling thread's own record.
    own_record().map(|record| unsafe { &raw mut (*record).ring })
}

fn set_own_ring(ring: *const Ring) {
    if let Some(cell) = own_cell() {
        // SAFETY: the calling thread's own.
        unsafe { *cell = ring };
    }
}

/// The ring that the calling thread writes to now. A call that began in the shared ring ends there, though the thread may have got a
/// record meanwhile.
fn ring() -> Option<&'static Ring> {
    if SHARING.is_owned_by(thread::owner()) {
        return ring_of(SHARED.load(Relaxed));
    }
    // SAFETY: the calling thread's own.
    own_cell().and_then(|cell| ring_of(unsafe { *cell }))
}

/// Is it a ring of this file, and not of one that an earlier reader made?
pub fn is_of(control: &Control, ring: *const Ring) -> bool {
    let start = ptr::from_ref(control) as usize;
    (start..start + FILE_BYTES).contains(&(ring as usize))
}

/// A ring that nobody has; null where all are taken.
pub fn take_ring(control: &'static Control) -> *const Ring {
    let (pid, tid) = (os::process_id(), os::thread_id());
    // SAFETY: the rings follow the control page in the same mapping.
    let rings = unsafe { core::slice::from_raw_parts(ptr::from_ref(control).byte_add(CONTROL_BYTES).cast(), RINGS) };
    let found = rings.iter().enumerate().find(|(_, ring): &(usize, &Ring)| ring.take(pid, tid));
    let Some((index, ring)) = found else { return ptr::null() };
    control.rings.fetch_max(index as u32 + 1, Relaxed);
    ring
}

/// A call begins. What is told until `end` is about it. Calls inside of it, which are the heap's own, aren't told.
#[cold]
#[inline(never)]
pub fn begin(call: Call, arguments: [usize; 2]) -> Told {
    let now = arch::cycles() as usize;
    if !call.frees() && call != Call::ThreadEnd {
        // It would come to its record a moment later anyway.
        let _ = thread::current();
    }
    let Some(entered) = enter() else { return Told::No };
    let told = begin_entered(call, arguments, now, entered);
    if told == Told::No {
        exit(entered);
    }
    told
}

fn begin_entered(call: Call, arguments: [usize; 2], now: usize, by: Entered) -> Told {
    let Some(control) = control() else { return Told::No };
    if control.is_deserted() {
        end_telling();
        return Told::No;
    }
    let Some(ring) = ring_for_call(control, by) else { return Told::No };
    wait_for_leave(control);
    // SAFETY: the ring is this thread's.
    unsafe {
        if control.lossy.load(Relaxed) != 0 && ring.room(false) < ROOM && ring.room(true) < ROOM {
            ring.dropped.fetch_add(1, Relaxed);
            ring.set_phase(Phase::Silent);
            return Told::Dropped { by };
        }
        ring.set_phase(Phase::Telling);
    }
    if by == Entered::ByLock {
        // The ring has the number of whoever took it, who may be long gone.
        put(Record::new(Kind::Writer, Outcome::Done, os::thread_id(), [0; 3]));
    }
    let [a, b] = arguments;
    put(Record::new(Kind::Begin, Outcome::Done, call as u32, [a, b, now]));
    if control.callers.load(Relaxed) != 0 {
        callers::tell();
    }
    let asked = control.draw.load(Relaxed);
    if asked == DRAW_NONE {
        return Told::Yes { drawn: 0, by };
    }
    let number = CALLS.fetch_add(1, Relaxed) + 1;
    if asked != DRAW_ALL && asked != number {
        return Told::Yes { drawn: 0, by };
    }
    draw::all(number, false);
    Told::Yes { drawn: number, by }
}

/// A reader who wants to see call after call holds them back. No lock of the heap's is held here, so those that wait stand in
/// nobody's way.
fn wait_for_leave(control: &Control) {
    while !control.may_begin() && !control.is_deserted() {
        os::futex_wait_shared(&control.holds, 1, NAP);
    }
}

/// The ring that the calling thread is to tell its call in; `None` where it tells of one already, or there is none.
fn ring_for_call(control: &'static Control, by: Entered) -> Option<&'static Ring> {
    let ring = match (by, own_cell()) {
        // SAFETY: the calling thread's own.
        (Entered::ByCount, Some(cell)) => unsafe {
            if !is_of(control, *cell) {
                *cell = take_ring(control);
            }
            *cell
        },
        _ => {
            if !is_of(control, SHARED.load(Relaxed)) {
                SHARED.store(take_ring(control).cast_mut(), Relaxed);
            }
            SHARED.load(Relaxed)
        }
    };
    let Some(ring) = ring_of(ring) else {
        control.unheard.fetch_add(1, Relaxed);
        return None;
    };
    // SAFETY: the ring is this thread's.
    (unsafe { ring.phase() } == Phase::Outside).then_some(ring)
}

fn ring_of(ring: *const Ring) -> Option<&'static Ring> {
    // SAFETY: null, or a ring of the mapping.
    unsafe { ring.as_ref() }
}

/// The call ends, returning `result`.
#[cold]
#[inline(never)]
pub fn end(told: Told, call: Call, result: usize, failed: bool) {
    let (Told::Yes { by, .. } | Told::Dropped { by }) = told else { return };
    if let Told::Yes { drawn, .. } = told {
        let bytes = if result == 0 || call.gives_back() { 0 } else { free::length(result) };
        if drawn != 0 {
            draw::all(drawn, true);
        }
        let outcome = if failed { Outcome::Failed } else { Outcome::Done };
        put(Record::new(Kind::End, outcome, call as u32, [result, bytes, arch::cycles() as usize]));
    }
    if let Some(ring) = ring() {
        // SAFETY: this thread's.
        unsafe { ring.set_phase(Phase::Outside) };
    }
    exit(by);
}

/// Tells one record.
#[cold]
#[inline(never)]
pub fn put(record: Record) {
    // Not every record belongs to a call.
    let record_of = own_record();
    record_of.inspect(|&record| come(record));
    put_entered(record);
    record_of.inspect(|&record| go(record));
}

fn put_entered(record: Record) {
    let (Some(ring), Some(control)) = (ring(), control()) else { return };
    // SAFETY: the ring is this thread's.
    unsafe {
        if ring.phase() == Phase::Silent {
            return;
        }
        if ring.room(false) == 0 && ring.room(true) == 0 && !wait(ring, control, 1) {
            if control.is_deserted() {
                end_telling();
            } else {
                ring.dropped.fetch_add(1, Relaxed);
            }
            return;
        }
        ring.write(record);
    }
}

/// Waits for room for so many records; `false` where there will be none.
#[cold]
pub fn wait(ring: &Ring, control: &Control, records: u64) -> bool {
    loop {
        if control.is_deserted() || control.lossy.load(Relaxed) != 0 {
            return false;
        }
        let (word, turn) = ring.announce_sleep();
        // SAFETY: this thread's.
        if unsafe { ring.room(true) } >= records {
            return true;
        }
        os::futex_wait_shared(word, turn, NAP);
        // SAFETY: as above.
        if unsafe { ring.room(true) } >= records {
            return true;
        }
    }
}

/// The calling thread ends: somebody else may have its ring.
pub fn leave() {
    if let Some(record) = own_record() {
        come(record);
        // SAFETY: the calling thread's own.
        for cell in unsafe { [&raw mut (*record).ring, &raw mut (*record).profile_ring] } {
            // SAFETY: as above.
            if let Some(ring) = ring_of(unsafe { cell.replace(ptr::null()) }) {
                ring.leave();
            }
        }
        go(record);
    }
}
