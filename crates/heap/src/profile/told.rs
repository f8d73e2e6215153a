//! What a profile is told of, by the rings of `heapglass_event::ring`: each sample with the registers and a piece of the stack,
//! each free of one, and once the process's mappings, which a reader that comes too late couldn't ask the kernel for.
//!
//! # Safety
//! As in `tell`. The stack is copied as far as the kernel says that it can be read, page by page, upwards from where this thread
//! works.

use super::end_reading;
use crate::arch;
use crate::probe::Call;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};
use crate::sync::lock::Lock;
use crate::tell;
use crate::thread::{self, Thread};
use crate::usdt;
use core::ptr;
use heapglass_event::record::{Kind, Outcome, RECORD_BYTES, Record, SAMPLED_RECORDS, Sampled};
use heapglass_event::ring::{Control, Phase, RECORDS, Ring};
use heapglass_os as os;

static CONTROL: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());
/// Bytes of stack that a sample brings along, at most.
static STACK: AtomicUsize = AtomicUsize::new(0);
/// The newest file that a reader outside made; it stays mapped until `tell` takes it away. A reader in this process has memory of its
/// own, which is nobody else's affair.
static FILE: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());
/// The ring of those who have none of their own, and the lock that its writer holds.
static SHARED: AtomicPtr<Ring> = AtomicPtr::new(ptr::null_mut());
static SHARING: Lock = Lock::new();
/// The process whose mappings were told.
static INTRODUCED: AtomicU32 = AtomicU32::new(0);

/// Most that fits into a ring with room to spare.
const STACK_MAX: usize = (RECORDS as usize - 64) * size_of::<Record>();

pub fn begin(control: &'static Control) {
    STACK.store((control.stack.load(Relaxed) as usize).min(STACK_MAX) & !31, Relaxed);
    INTRODUCED.store(0, Relaxed);
    CONTROL.store(ptr::from_ref(control).cast_mut(), Release);
}

/// Does somebody read?
pub fn is_read() -> bool {
    control().is_some_and(|control| !control.is_deserted())
}

/// This reader is gone, or doesn't listen any more. Another may have come meanwhile.
pub fn forget(reader: &Control) {
    let reader = ptr::from_ref(reader).cast_mut();
    if CONTROL.compare_exchange(reader, ptr::null_mut(), AcqRel, Relaxed).is_ok() {
        end_reading();
    }
}

fn control() -> Option<&'static Control> {
    // SAFETY: null, or mapped for as long as the thread is at it, as `tell` has it.
    unsafe { CONTROL.load(Acquire).as_ref() }
}

/// From here on it is told in the file of a reader outside.
pub fn begin_in_file(control: &'static Control) {
    FILE.store(ptr::from_ref(control).cast_mut(), Release);
    begin(control);
}

/// The file of a reader outside, who may be gone; null where there is none.
pub fn mapping() -> *mut Control {
    FILE.load(Acquire)
}

/// Is a thread without a record at it?
pub fn is_shared() -> bool {
    SHARING.is_locked()
}

/// That file is to be taken away. All other threads are stopped.
pub fn let_go(file: &Control) {
    forget(file);
    FILE.store(ptr::null_mut(), Relaxed);
    if tell::is_of(file, SHARED.load(Relaxed)) {
        SHARED.store(ptr::null_mut(), Relaxed);
    }
}

/// In a forked child: it has rings of its own, or is in no profile.
pub fn after_fork() {
    SHARED.store(ptr::null_mut(), Relaxed);
    SHARING.reset();
    if let Some(thread) = thread::existing() {
        thread.profile_ring = ptr::null();
    }
    let Some(control) = control() else { return };
    if control.follows.load(Relaxed) == 0 {
        return forget(control);
    }
    if super::is_on() {
        // It may end before the reader could ask the kernel.
        introduce();
    }
}

/// Writes to the calling thread's ring once there is room for so many records; `false` where nothing was written.
fn write(records: u64, work: impl FnOnce(&Ring)) -> bool {
    let own = thread::existing().map(ptr::from_mut);
    match own {
        Some(record) => tell::come(record),
        None if !SHARING.lock(thread::owner()) => return false,
        None => {}
    }
    let done = write_by(own, records, work);
    match own {
        Some(record) => tell::go(record),
        None => SHARING.unlock(),
    }
    done
}

fn write_by(own: Option<*mut Thread>, records: u64, work: impl FnOnce(&Ring)) -> bool {
    let Some(control) = control() else { return false };
    if control.is_deserted() {
        forget(control);
        return false;
    }
    // Who reads would wait for itself.
    // SAFETY: the calling thread's own record.
    let may_wait = own.is_none_or(|record| unsafe { !(*record).profiler.is_left_out });
    let place = match own {
        // SAFETY: the calling thread's own record.
        Some(record) => unsafe {
            if !tell::is_of(control, (*record).profile_ring) {
                (*record).profile_ring = tell::take_ring(control);
            }
            (*record).profile_ring
        },
        None => {
            if !tell::is_of(control, SHARED.load(Relaxed)) {
                SHARED.store(tell::take_ring(control).cast_mut(), Relaxed);
            }
            SHARED.load(Relaxed)
        }
    };
    if place.is_null() {
        control.unheard.fetch_add(1, Relaxed);
    }
    // SAFETY: null, or a ring of the mapping, and this thread's.
    unsafe { place.as_ref() }.is_some_and(|ring| write_to(ring, control, records, may_wait, work))
}

fn write_to(ring: &Ring, control: &Control, records: u64, may_wait: bool, work: impl FnOnce(&Ring)) -> bool {
    // SAFETY: the ring is this thread's.
    unsafe {
        // A handler of signals on top of a sample: what is under way must not be torn.
        if ring.phase() != Phase::Outside {
            return false;
        }
        let has_room = ring.room(false) >= records || ring.room(true) >= records;
        let has_room = has_room || may_wait && tell::wait(ring, control, records);
        if !has_room {
            if control.is_deserted() {
                forget(control);
            } else {
                ring.dropped.fetch_add(1, Relaxed);
            }
            return false;
        }
        ring.set_phase(Phase::Telling);
        work(ring);
        ring.set_phase(Phase::Outside);
    }
    true
}

/// Tells of an allocation.
#[inline(never)]
pub fn allocation(user: usize, request: usize, chunk_bytes: usize, arena: u64, call: Call) -> bool {
    let Some([pc, sp, bp]) = arch::frame() else { return false };
    let (bytes, is_cut) = readable(sp, STACK.load(Relaxed));
    let sampled = Sampled {
        chunk_bytes: chunk_bytes as u64,
        arena,
        pc: pc as u64,
        sp: sp as u64,
        bp: bp as u64,
        stack_bytes: bytes as u64,
        is_cut,
        call: call as u64,
    };
    let behind = SAMPLED_RECORDS + (bytes / size_of::<Record>()) as u32;
    write(u64::from(behind) + 1, |ring| {
        let numbers = [user, request, arch::cycles() as usize];
        // SAFETY: the ring is this thread's and has room; the stack can be read so far.
        unsafe {
            ring.write(Record::new(Kind::Profiled, Outcome::Done, behind, numbers));
            sampled.records().into_iter().for_each(|record| ring.write(record));
            ring.write_pieces(bytes as u64 / RECORD_BYTES as u64, |from, to, count| {
                let words = RECORD_BYTES / size_of::<u64>();
                let stack = (sp as *const u64).add(from as usize * words);
                arch::copy_words(stack, to.cast(), count as usize * words);
            });
        }
    })
}

/// Bytes from an address of the stack on that can be read, in whole records and at most `most`; and whether there are more. Once the
/// way from a stack to its upper end was seen to be in one piece, nothing is asked of the kernel any more: a stack of the
/// program's own making has no way there.
fn readable(from: usize, most: usize) -> (usize, bool) {
    let mut known = thread::existing().map(|thread| &mut thread.profiler.stack);
    let end = match known {
        Some(&mut (low, top)) if (low..top).contains(&from) => top,
        _ => {
            let tops = [os::env::stack_end(), arch::thread_pointer()];
            let page = os::page_size();
            let low = from & !(page - 1);
            let mut end = low + page;
            let top = loop {
                let top = tops.into_iter().find(|top| (from..=end).contains(top));
                if top.is_some() || end >= from + most || !os::is_readable(end) {
                    break top;
                }
                end += page;
            };
            if let (Some(known), Some(top)) = (&mut known, top) {
                **known = (low, top);
            }
            top.unwrap_or(end)
        }
    };
    let bytes = end - from;
    (bytes.min(most) & !31, bytes >= most)
}

/// Tells that a pointer is no longer what it was.
#[cold]
pub fn gone(user: usize) {
    usdt::freed(user);
    write(1, |ring| {
        let record = Record::new(Kind::Gone, Outcome::Done, 0, [user, 0, arch::cycles() as usize]);
        // SAFETY: the ring is this thread's and has room.
        unsafe { ring.write(record) };
    });
}

/// Tells the process's mappings, once.
pub fn introduce() {
    let me = os::process_id();
    if INTRODUCED.swap(me, Relaxed) != me {
        tell_mappings();
    }
}

/// The last chance to tell what was loaded meanwhile.
pub fn at_process_end() {
    if super::is_on() {
        tell_mappings();
    }
}

#[cold]
fn tell_mappings() {
    // SAFETY: the string ends with NUL.
    let Ok(file) = (unsafe { os::open_to_read(c"/proc/self/maps".as_ptr().cast()) }) else { return };
    let mut text = [0u8; 2048];
    loop {
        let count = os::read(file, &mut text).unwrap_or(0);
        let behind = count.div_ceil(size_of::<Record>());
        let told = write(behind as u64 + 1, |ring| {
            let numbers = [count, usize::from(count == 0), arch::cycles() as usize];
            // SAFETY: the ring is this thread's and has room.
            unsafe {
                ring.write(Record::new(Kind::Maps, Outcome::Done, behind as u32, numbers));
                for piece in text.chunks_exact(size_of::<Record>()).take(behind) {
                    let mut words = [0u64; 4];
                    for (word, bytes) in words.iter_mut().zip(piece.chunks_exact(8)) {
                        *word = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
                    }
                    ring.write(Record::of_words(words));
                }
            }
        });
        if count == 0 || !told {
            break;
        }
    }
    os::close(file);
}
