//! Where records lie on their way: a file that the observed processes and one reader map, with a control page and a ring for
//! each thread that is observed. A ring has one writer, its thread, and one reader.
//!
//! ```text
//!  0              CONTROL_BYTES                                         FILE_BYTES
//!  +--------------+------------------+------------------+---   ---+------------------+
//!  | Control      | Ring 0           | Ring 1           |   ...   | Ring RINGS - 1   |
//!  +--------------+------------------+------------------+---   ---+------------------+
//!                 | head, state | RECORDS records      |
//! ```
//!
//! The file is a sparse one: a ring that no thread takes costs nothing. Threads take rings by an exchange of `state`, so that
//! processes that share the file meet nowhere else. Positions only grow: a record's place is its number modulo `RECORDS`, and
//! what lies between `tail` and `head` is written and not yet read.
//!
//! Without loss, a writer whose ring is full sleeps on `turn` until the reader has made room. It must not wait for a reader
//! that is gone: the reader holds a robust lock of its C library in the control page, whose word the kernel marks when the
//! holder dies, however it dies.

#[cfg(not(loom))]
use crate::record::RECORD_BYTES;
use crate::record::Record;
use core::cell::UnsafeCell;
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

/// First word of the file: "HGEVENT\0" read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HGEVENT\0");
/// Raised whenever the file's form changes; records have a version of their own.
pub const LAYOUT: u32 = 2;

pub const RINGS: usize = 1024;
/// Records in a ring. The model checker's is full soon.
pub const RECORDS: u64 = if cfg!(loom) { 2 } else { 4096 };
pub const CONTROL_BYTES: usize = 4096;
pub const RING_BYTES: usize = size_of::<Ring>();
pub const FILE_BYTES: usize = CONTROL_BYTES + RINGS * RING_BYTES;

/// The mark that the kernel leaves in the word of a robust lock whose holder died (`FUTEX_OWNER_DIED`).
pub const OWNER_DIED: u32 = 0x4000_0000;

/// No picture is asked for; one around each call.
pub const DRAW_NONE: u64 = 0;
pub const DRAW_ALL: u64 = u64::MAX;

/// The first page. The reader writes it before the first process sees it.
#[repr(C)]
pub struct Control {
    pub magic: AtomicU64,
    pub layout: AtomicU32,
    pub schema: AtomicU32,
    /// 1: forked children tell of themselves too.
    pub follows: AtomicU32,
    /// 1: a writer whose ring is full drops its call instead of waiting.
    pub lossy: AtomicU32,
    /// 1: nobody listens any more.
    pub off: AtomicU32,
    /// Offset in this page of the word that bears `OWNER_DIED` once the reader died; 0 where there is none.
    pub reader_word: AtomicU32,
    /// The call of each process, counted from 1, around which the heaps are drawn; see `DRAW_NONE` and `DRAW_ALL`.
    pub draw: AtomicU64,
    /// The process that took the file first; 0 before.
    pub pid: AtomicU32,
    /// Rings up to this number may have been taken.
    pub rings: AtomicU32,
    /// Calls of threads that found no ring.
    pub unheard: AtomicU64,
    pub lock: RobustLock,
    /// 1: calls wait before they begin, until this is 0 again or the reader gives one leave.
    pub holds: AtomicU32,
    /// Calls that may begin nevertheless; each takes one.
    pub leaves: AtomicU32,
    /// 1: each call is told with its callers.
    pub callers: AtomicU32,
    /// Not 0: what is told is a profile, and this many bytes lie between two of its samples on average.
    pub interval: AtomicU64,
    /// Bytes of stack that come with a sample, at most.
    pub stack: AtomicU64,
}

/// Room for the reader's lock, which only its C library understands.
#[repr(C, align(16))]
pub struct RobustLock(pub UnsafeCell<[u8; 64]>);

#[cfg(not(loom))]
const _: () = assert!(size_of::<Control>() <= CONTROL_BYTES);

/// A ring with its state. The fields that the two sides write lie in lines of their own.
#[repr(C, align(64))]
pub struct Ring {
    /// One of `FREE`, `TAKEN`, `LEFT`.
    pub state: AtomicU32,
    /// Process and thread of the writer, by the kernel's numbers.
    pub pid: AtomicU32,
    pub tid: AtomicU32,
    /// Records written.
    pub head: AtomicU64,
    /// The reader's position when the writer last looked.
    tail_seen: Place<u64>,
    /// Calls, and records of calls, that were dropped.
    pub dropped: AtomicU64,
    phase: Place<Phase>,
    reader: Reader,
    records: [Place<Record>; RECORDS as usize],
}

/// What one side at a time uses; the model checker proves that.
#[repr(transparent)]
#[cfg(not(loom))]
struct Place<T>(UnsafeCell<T>);
#[cfg(loom)]
struct Place<T>(loom::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T: Copy> Place<T> {
    /// # Safety
    /// The caller's side has it now. If the other is a process that breaks the rules, what comes back may be wrong.
    #[inline]
    unsafe fn get(&self) -> T {
        // SAFETY: as the caller promises. Volatile: nothing is concluded from what was there before.
        unsafe { self.0.get().read_volatile() }
    }

    /// # Safety
    /// The caller's side has it now.
    #[inline]
    unsafe fn set(&self, value: T) {
        // SAFETY: as the caller promises.
        unsafe { *self.0.get() = value }
    }
}

#[cfg(loom)]
impl<T: Copy> Place<T> {
    unsafe fn get(&self) -> T {
        // SAFETY: the model checker looks.
        self.0.with(|place| unsafe { *place })
    }

    unsafe fn set(&self, value: T) {
        // SAFETY: as above.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}

#[repr(C, align(64))]
struct Reader {
    /// Records read.
    tail: AtomicU64,
    /// 1 while the writer sleeps, or is about to.
    sleeps: AtomicU32,
    /// What it sleeps on: raised when there is room.
    turn: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(RING_BYTES.is_multiple_of(4096) || RING_BYTES.is_multiple_of(64));
#[cfg(not(loom))]
const _: () =
    assert!(core::mem::offset_of!(Ring, records) == 128 && RECORD_BYTES * RECORDS as usize + 128 == RING_BYTES);

/// Where a writer is. The reader never looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Phase {
    /// In no call.
    Outside = 0,
    /// In a call that it tells.
    Telling = 1,
    /// In a call that is dropped.
    Silent = 2,
}

/// Nobody's.
pub const FREE: u32 = 0;
/// A thread writes to it.
pub const TAKEN: u32 = 1;
/// Its thread has ended; the reader makes it free once it has read all.
pub const LEFT: u32 = 2;

// SAFETY: one writer and one reader, who keep apart by `head` and `tail`; the rest are atomics.
unsafe impl Sync for Ring {}
// SAFETY: the lock is handled by the reader's C library alone.
unsafe impl Sync for Control {}

impl Control {
    /// Has the reader died, or stopped listening?
    #[inline]
    pub fn is_deserted(&self) -> bool {
        let at = self.reader_word.load(Relaxed) as usize;
        if at == 0 || at + 4 > CONTROL_BYTES || !at.is_multiple_of(4) {
            return self.off.load(Relaxed) != 0;
        }
        // SAFETY: a word of this page, at a multiple of 4; the kernel and the reader's C library write it whole.
        let word = unsafe { &*(core::ptr::from_ref(self).byte_add(at).cast::<AtomicU32>()) };
        self.off.load(Relaxed) != 0 || word.load(Relaxed) & OWNER_DIED != 0
    }
}

impl Control {
    /// May the calling thread begin a call? Where calls are held back, this takes a leave.
    pub fn may_begin(&self) -> bool {
        let take = |left: u32| left.checked_sub(1);
        self.holds.load(Relaxed) == 0 || self.leaves.fetch_update(Acquire, Relaxed, take).is_ok()
    }
}

impl Ring {
    /// Makes a free ring the caller's.
    pub fn take(&self, pid: u32, tid: u32) -> bool {
        let took =
            self.state.load(Relaxed) == FREE && self.state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_ok();
        if took {
            // SAFETY: the writer's own.
            unsafe { self.tail_seen.set(self.reader.tail.load(Acquire)) };
            self.pid.store(pid, Relaxed);
            // Last: a ring with a thread is one that is ready.
            self.tid.store(tid, Release);
        }
        took
    }

    /// Records that can be written now, by what the writer knows; `look` asks the reader's position anew.
    ///
    /// # Safety
    /// The caller is the ring's writer.
    #[inline]
    pub unsafe fn room(&self, look: bool) -> u64 {
        // SAFETY: as the caller promises.
        unsafe {
            if look {
                self.tail_seen.set(self.reader.tail.load(Acquire));
            }
            RECORDS - self.head.load(Relaxed).wrapping_sub(self.tail_seen.get()).min(RECORDS)
        }
    }

    /// Writes one record. There must be room.
    ///
    /// # Safety
    /// The caller is the ring's writer.
    #[inline]
    pub unsafe fn write(&self, record: Record) {
        let head = self.head.load(Relaxed);
        if let Some(place) = self.records.get((head % RECORDS) as usize) {
            // SAFETY: as the caller promises; the reader keeps off what lies at the head.
            unsafe { place.set(record) };
        }
        self.head.store(head.wrapping_add(1), Release);
    }

    /// Writes so many records, a piece of them at a time: `copy` is given where a piece begins among them, where it is to be written, and
    /// how many are in it. There must be room.
    ///
    /// # Safety
    /// The caller is the ring's writer, and `copy` writes what it is asked to.
    #[cfg(not(loom))]
    #[inline]
    pub unsafe fn write_pieces(&self, count: u64, mut copy: impl FnMut(u64, *mut Record, u64)) {
        let head = self.head.load(Relaxed);
        let count = count.min(RECORDS);
        let mut done = 0;
        while done < count {
            let at = head.wrapping_add(done) % RECORDS;
            let piece = (count - done).min(RECORDS - at);
            copy(done, self.records.as_ptr().cast::<Record>().cast_mut().wrapping_add(at as usize), piece);
            done += piece;
        }
        self.head.store(head.wrapping_add(count), Release);
    }

    /// Where its writer is.
    ///
    /// # Safety
    /// The caller is the ring's writer.
    #[inline]
    pub unsafe fn phase(&self) -> Phase {
        // SAFETY: the writer's own.
        unsafe { self.phase.get() }
    }

    /// # Safety
    /// As `phase`.
    #[inline]
    pub unsafe fn set_phase(&self, phase: Phase) {
        // SAFETY: the writer's own.
        unsafe { self.phase.set(phase) }
    }

    /// The writer's last word: the ring is the next one's as soon as the reader has read it.
    pub fn leave(&self) {
        self.state.store(LEFT, Release);
    }

    /// The reader gives a ring that was read to whoever wants it.
    pub fn release(&self) {
        // SAFETY: it has no writer now.
        unsafe { self.phase.set(Phase::Outside) };
        self.tid.store(0, Relaxed);
        self.state.store(FREE, Release);
    }

    /// Says that the writer is about to sleep. Returns the word to sleep on, and what it holds now; `room` is to be asked once
    /// more in between.
    pub fn announce_sleep(&self) -> (&AtomicU32, u32) {
        let turn = self.reader.turn.load(Acquire);
        self.reader.sleeps.store(1, Relaxed);
        // Either the reader sees that, or the caller sees what the reader has read: see `read`.
        fence(SeqCst);
        (&self.reader.turn, turn)
    }

    /// The reader takes what there is, oldest first, `most` at most. `true` where the writer sleeps, and is to be woken on
    /// the word of `turn`.
    pub fn read(&self, most: usize, mut see: impl FnMut(Record)) -> bool {
        let tail = self.reader.tail.load(Relaxed);
        let filled = self.head.load(Acquire).wrapping_sub(tail).min(RECORDS).min(most as u64);
        for number in tail..tail.wrapping_add(filled) {
            if let Some(place) = self.records.get((number % RECORDS) as usize) {
                // SAFETY: written, and the writer keeps off until the tail has passed.
                see(unsafe { place.get() });
            }
        }
        if filled > 0 {
            self.reader.tail.store(tail.wrapping_add(filled), Release);
            fence(SeqCst);
        }
        let sleeps = self.reader.sleeps.load(Relaxed) != 0 && self.reader.sleeps.swap(0, AcqRel) != 0;
        if sleeps {
            self.reader.turn.fetch_add(1, Release);
        }
        sleeps
    }

    /// The word that a sleeping writer is woken on.
    pub fn turn(&self) -> &AtomicU32 {
        &self.reader.turn
    }

    /// Is there nothing to read?
    pub fn is_read(&self) -> bool {
        self.head.load(Acquire) == self.reader.tail.load(Relaxed)
    }
}

#[cfg(loom)]
impl Ring {
    /// Elsewhere a ring is memory that was never written to.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Ring {
        let number = || AtomicU64::new(0);
        let word = || AtomicU32::new(0);
        Ring {
            state: word(),
            pid: word(),
            tid: word(),
            head: number(),
            tail_seen: Place(loom::cell::UnsafeCell::new(0)),
            dropped: number(),
            phase: Place(loom::cell::UnsafeCell::new(Phase::Outside)),
            reader: Reader { tail: number(), sleeps: word(), turn: word() },
            records: std::array::from_fn(|_| Place(loom::cell::UnsafeCell::new(Record::default()))),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use crate::record::{Kind, Outcome};
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::vec::Vec;

    /// A ring in memory that was never written to, as in a new file.
    struct Fresh(*mut Ring);

    impl Fresh {
        fn new() -> Fresh {
            // SAFETY: a ring's layout isn't empty.
            Fresh(unsafe { alloc_zeroed(Layout::new::<Ring>()) }.cast())
        }

        fn ring(&self) -> &Ring {
            // SAFETY: all zero is a ring.
            unsafe { &*self.0 }
        }
    }

    impl Drop for Fresh {
        fn drop(&mut self) {
            // SAFETY: allocated by `new`.
            unsafe { dealloc(self.0.cast(), Layout::new::<Ring>()) }
        }
    }

    #[test]
    fn what_is_written_in_pieces_is_read_as_if_it_were_one() {
        let fresh = Fresh::new();
        let ring = fresh.ring();
        assert!(ring.take(1, 2));
        let mut next = 0;
        for batch in [1, RECORDS - 3, 10, RECORDS, 0, 7] {
            let records: Vec<Record> = (next..next + batch).map(record).collect();
            // SAFETY: this thread is the writer, and the ring was read; the pieces are those of the batch.
            unsafe {
                ring.write_pieces(batch, |from, to, count| {
                    core::ptr::copy_nonoverlapping(records.as_ptr().add(from as usize), to, count as usize);
                });
            }
            let mut seen = Vec::new();
            ring.read(usize::MAX, |record| seen.push(record.a));
            assert_eq!(seen, (next..next + batch).collect::<Vec<_>>());
            next += batch;
        }
    }

    fn record(number: u64) -> Record {
        Record::new(Kind::Size, Outcome::Done, 0, [number as usize, 0, 0])
    }

    #[test]
    fn what_is_written_is_read_once_and_in_order() {
        let fresh = Fresh::new();
        let ring = fresh.ring();
        assert!(ring.take(1, 2) && !ring.take(1, 3));
        let mut next = 0;
        let mut expected = 0;
        for batch in [1, RECORDS, 17, RECORDS - 1, RECORDS] {
            for _ in 0..batch {
                // SAFETY: this thread is the writer.
                unsafe {
                    assert!(ring.room(true) > 0);
                    ring.write(record(next));
                }
                next += 1;
            }
            let mut seen = Vec::new();
            assert!(!ring.read(usize::MAX, |record| seen.push(record.a)));
            assert_eq!(seen, (expected..next).collect::<Vec<_>>());
            expected = next;
        }
        assert!(ring.is_read());
    }

    #[test]
    fn a_full_ring_has_room_again_when_some_was_read_and_its_writer_is_to_be_woken() {
        let fresh = Fresh::new();
        let ring = fresh.ring();
        assert!(ring.take(1, 2));
        for number in 0..RECORDS {
            // SAFETY: this thread is the writer.
            unsafe { ring.write(record(number)) };
        }
        // SAFETY: as above.
        assert_eq!(unsafe { ring.room(true) }, 0);
        let (word, turn) = ring.announce_sleep();
        assert!(ring.read(10, |_| {}), "the writer sleeps");
        assert_ne!(word.load(Relaxed), turn, "it isn't to fall asleep now");
        // SAFETY: as above.
        assert_eq!(unsafe { (ring.room(false), ring.room(true)) }, (0, 10));
        assert!(!ring.read(10, |_| {}), "it was woken");
    }

    #[test]
    fn two_threads_lose_nothing() {
        const COUNT: u64 = 100_000;
        let fresh = Fresh::new();
        let ring = fresh.ring();
        assert!(ring.take(1, 2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..COUNT {
                    // SAFETY: this thread is the only writer.
                    unsafe {
                        while ring.room(false) == 0 && ring.room(true) == 0 {
                            std::thread::yield_now();
                        }
                        ring.write(record(number));
                    }
                }
            });
            let mut expected = 0;
            while expected < COUNT {
                ring.read(usize::MAX, |record| {
                    assert_eq!(record.a, expected);
                    expected += 1;
                });
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn a_ring_goes_from_hand_to_hand() {
        let fresh = Fresh::new();
        let ring = fresh.ring();
        assert!(ring.take(1, 2));
        // SAFETY: this thread is the writer.
        unsafe {
            ring.set_phase(Phase::Telling);
            ring.write(record(7));
        }
        ring.leave();
        assert!(!ring.take(3, 4), "it isn't read yet");
        ring.read(usize::MAX, |_| {});
        ring.release();
        assert!(ring.take(3, 4));
        // SAFETY: as above.
        assert_eq!(unsafe { (ring.phase(), ring.room(false)) }, (Phase::Outside, RECORDS));
    }

    #[test]
    fn a_deserted_file_is_known_by_the_kernels_mark() {
        #[repr(align(4096))]
        struct Page([u32; CONTROL_BYTES / 4]);
        let mut page = Page([0; CONTROL_BYTES / 4]);
        // SAFETY: all zero is a control page.
        let is_deserted = |page: &Page| unsafe { &*core::ptr::from_ref(page).cast::<Control>() }.is_deserted();
        assert!(!is_deserted(&page));
        let place = core::mem::offset_of!(Control, reader_word) / 4;
        page.0[place] = 2048;
        page.0[512] = 4711;
        assert!(!is_deserted(&page));
        page.0[512] |= OWNER_DIED;
        assert!(is_deserted(&page));
    }
}
