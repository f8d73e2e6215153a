//! The reader's side of what observed programs tell: a file in memory that they map, and the way their records come out of it.
//!
//! The file has no name. Programs are told `/proc/PID/fd/N` of this process, so it goes with the last who has it mapped,
//! however each of them ends. They know by a robust lock whether this process lives (see `heapglass_event::ring`): one that is
//! killed is marked by the kernel, one that is only slow is waited for.
//!
//! # Safety
//! The mapping is as long as the file and lives as long as the `Feed`. Its rings are read by one thread. The lock lies in the
//! mapping and is never moved; it is taken once, by the thread that reads, and never given back.

#![allow(unsafe_code)]

use crate::failure::Failure;
use heapglass_event::record::{Kind, Record, SCHEMA};
use heapglass_event::ring::{self, CONTROL_BYTES, Control, FILE_BYTES, LAYOUT, MAGIC, RINGS, Ring};
use heapglass_report::line::Clock;
use nix::libc;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// What is asked of the programs.
#[derive(Clone, Copy, Default)]
pub struct Wishes {
    pub follows: bool,
    pub lossy: bool,
    pub draw: u64,
    /// Not 0: a profile is wanted, with a sample for so many bytes on average, and this much of the stack with each.
    pub interval: u64,
    pub stack: u64,
    /// Each call comes with who called.
    pub callers: bool,
}

pub struct Feed {
    memory: *mut u8,
    file: OwnedFd,
    began: Instant,
    tick: u64,
    /// Calls are told. In a profile nobody says who writes, and there are records of plain words, which may look like anything.
    tells_calls: bool,
}

// SAFETY: all that lies in the mapping is shared by atomics; rings are read by one thread, see `read`.
unsafe impl Send for Feed {}
// SAFETY: as above.
unsafe impl Sync for Feed {}

/// Who writes to a ring.
pub use heapglass_capture::Thread;

impl Feed {
    pub fn create(wishes: Wishes) -> Result<Feed, Failure> {
        let refused = |e: rustix::io::Errno| Failure::ours(format!("no memory to be told events in: {e}"));
        let file =
            memfd_create("heapglass-events", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(refused)?;
        ftruncate(&file, FILE_BYTES as u64).map_err(refused)?;
        Feed::over(file, wishes)
    }

    /// In a file of this length that another process made.
    pub fn over(file: OwnedFd, wishes: Wishes) -> Result<Feed, Failure> {
        let refused = |e: rustix::io::Errno| Failure::ours(format!("no memory to be told events in: {e}"));
        // A program that shortens it would stop its reader by a signal.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(refused)?;
        let length = rustix::fs::fstat(&file).map_err(refused)?.st_size;
        if length < FILE_BYTES as i64 {
            return Err(Failure::ours("the file to be told events in is too short"));
        }
        // SAFETY: a new mapping of a file that is as long.
        let memory = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), FILE_BYTES, access, MapFlags::SHARED, &file, 0).map_err(refused)?
        };
        let tells_calls = wishes.interval == 0;
        let feed = Feed { memory: memory.cast(), file, began: Instant::now(), tick: tick(), tells_calls };
        let control = feed.control();
        control.layout.store(LAYOUT, Relaxed);
        control.schema.store(SCHEMA, Relaxed);
        control.follows.store(wishes.follows.into(), Relaxed);
        control.lossy.store(wishes.lossy.into(), Relaxed);
        control.draw.store(wishes.draw, Relaxed);
        control.interval.store(wishes.interval, Relaxed);
        control.stack.store(wishes.stack, Relaxed);
        control.callers.store(wishes.callers.into(), Relaxed);
        control.magic.store(MAGIC, Release);
        Ok(feed)
    }

    /// The item of `HEAPGLASS` that makes the library tell.
    pub fn item(&self) -> OsString {
        format!("events:/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    fn control(&self) -> &Control {
        // SAFETY: the mapping begins with it.
        unsafe { &*self.memory.cast::<Control>() }
    }

    fn rings(&self) -> &[Ring] {
        let used = (self.control().rings.load(Acquire) as usize).min(RINGS);
        // SAFETY: they follow the control page.
        unsafe { std::slice::from_raw_parts(self.memory.add(CONTROL_BYTES).cast(), used) }
    }

    /// Binds writers' patience to the calling thread's life: those whose ring is full wait for it until it ends.
    pub fn listen(&self) -> Result<(), Failure> {
        let control = self.control();
        let lock = control.lock.0.get().cast::<libc::pthread_mutex_t>();
        const { assert!(size_of::<libc::pthread_mutex_t>() <= size_of::<ring::RobustLock>()) };
        // SAFETY: room in the mapping that nobody else uses, large enough and aligned; initialised before it is locked.
        let done = unsafe {
            let mut kind: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&mut kind)
                | libc::pthread_mutexattr_setpshared(&mut kind, libc::PTHREAD_PROCESS_SHARED)
                | libc::pthread_mutexattr_setrobust(&mut kind, libc::PTHREAD_MUTEX_ROBUST)
                | libc::pthread_mutex_init(lock, &kind)
                | libc::pthread_mutex_lock(lock)
        };
        // The C library keeps the owner's number in the word that the kernel marks; where that is, is its own affair.
        let me = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        // SAFETY: the lock's own words, as they are now.
        let words = unsafe { std::slice::from_raw_parts(lock.cast::<u32>(), size_of::<libc::pthread_mutex_t>() / 4) };
        let place = words.iter().position(|word| *word & 0x3fff_ffff == me);
        let Some(place) = place.filter(|_| done == 0) else {
            return Err(Failure::ours("this system has no robust locks"));
        };
        let offset = lock as usize - self.memory as usize + place * 4;
        control.reader_word.store(offset as u32, Release);
        Ok(())
    }

    /// Holds calls back before they begin, or lets them go on.
    pub fn hold(&self, holds: bool) {
        self.control().leaves.store(0, Relaxed);
        self.control().holds.store(holds.into(), Release);
    }

    /// Lets one call begin though calls are held back.
    pub fn give_leave(&self) {
        self.control().leaves.fetch_add(1, Release);
    }

    /// Nobody listens any more: programs go on without telling.
    pub fn stop(&self) {
        self.control().off.store(1, Release);
        self.rings().iter().for_each(wake);
    }

    /// Reads what there is, by one thread only; `true` where there was something. `see` is given the ring's number. What is said of
    /// who writes is not for it to see: it is given the thread.
    pub fn read(&self, mut see: impl FnMut(usize, Thread, &[Record])) -> bool {
        let mut any = false;
        let mut records = Vec::new();
        for (index, ring) in self.rings().iter().enumerate() {
            let mut thread = Thread { tid: ring.tid.load(Acquire), pid: ring.pid.load(Relaxed) };
            records.clear();
            if ring.read(usize::MAX, |record| records.push(record)) {
                wake(ring);
            }
            any |= !records.is_empty();
            for part in records.chunk_by(|_, next| !self.is_writer(next)) {
                let (writer, told) = match part {
                    [first, rest @ ..] if self.is_writer(first) => (Some(first.n), rest),
                    _ => (None, part),
                };
                // One whose number is 0 would be a ring that isn't ready.
                if let Some(tid) = writer.filter(|tid| *tid != 0) {
                    // A call may be read in parts. Nobody else looks at the number while the ring is taken.
                    thread.tid = tid;
                    ring.tid.store(tid, Relaxed);
                }
                if !told.is_empty() {
                    see(index, thread, told);
                }
            }
        }
        any
    }

    fn is_writer(&self, record: &Record) -> bool {
        self.tells_calls && record.is(Kind::Writer)
    }

    /// As a program does that keeps to no rule, for tests: with a ring of its choice, used or not.
    pub fn forge<T>(&self, ring: u32, act: impl FnOnce(&Ring) -> T) {
        let ring = ring as usize % RINGS;
        self.control().pid.fetch_max(1, Release);
        self.control().rings.fetch_max(ring as u32 + 1, Release);
        if let Some(ring) = self.rings().get(ring) {
            let _ = act(ring);
        }
    }

    pub fn forge_record(&self, ring: u32, record: Record) {
        // SAFETY: a ring of a feed that no program was told of: its only writer is who calls this.
        self.forge(ring, |ring| unsafe { ring.write(record) });
    }

    /// Claims to have written so many more.
    pub fn forge_head(&self, ring: u32, more: u64) {
        self.forge(ring, |ring| ring.head.fetch_add(more, Release));
    }

    /// Is there nothing to read in any ring?
    pub fn is_read(&self) -> bool {
        self.rings().iter().all(Ring::is_read)
    }

    /// Gives rings back whose threads have ended and whose records were all read; `see` is told of each. Those of processes
    /// that ended without a word are looked for only if `dead` says so, which asks the kernel for each.
    pub fn reclaim(&self, dead: bool, mut see: impl FnMut(usize)) {
        for (index, ring) in self.rings().iter().enumerate() {
            let is_left = match ring.state.load(Acquire) {
                ring::LEFT => true,
                ring::TAKEN => dead && ring.tid.load(Acquire) != 0 && !lives(ring.pid.load(Relaxed)),
                _ => false,
            };
            if is_left && ring.is_read() {
                see(index);
                ring.release();
            }
        }
    }

    /// Is there a process that may tell more?
    pub fn has_writers(&self) -> bool {
        let taken = self.rings().iter().filter(|ring| ring.state.load(Acquire) == ring::TAKEN);
        taken.map(|ring| ring.pid.load(Relaxed)).any(lives)
    }

    /// The process that took part first, if any did.
    pub fn first(&self) -> Option<u32> {
        Some(self.control().pid.load(Acquire)).filter(|pid| *pid != 0)
    }

    /// Calls, or parts of calls, that nobody will hear of.
    pub fn lost(&self) -> u64 {
        // They are in the program's memory: they may say anything.
        let dropped = self.rings().iter().map(|ring| ring.dropped.load(Relaxed));
        dropped.fold(self.control().unheard.load(Relaxed), u64::saturating_add)
    }

    /// The clock of the records, as far as it is known by now.
    pub fn clock(&self) -> Clock {
        let (now, passed) = (tick(), self.began.elapsed());
        let ticks = now.saturating_sub(self.tick).max(1);
        Clock { tick: now, nanos: nanos_of_day(), nanos_per_tick: passed.as_nanos() as f64 / ticks as f64 }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
        // Programs have it mapped for as long as they live; its pages need not stay. A ring that somebody is still writing to is
        // then an empty one.
        let rings = (FILE_BYTES - CONTROL_BYTES) as u64;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.file, hole, CONTROL_BYTES as u64, rings);
        // SAFETY: ours; nothing that lies in it is used afterwards.
        let _ = unsafe { munmap(self.memory.cast(), FILE_BYTES) };
    }
}

fn wake(ring: &Ring) {
    let (word, op) = (ring.turn().as_ptr(), libc::FUTEX_WAKE);
    // SAFETY: a word of the mapping; waking writes nothing.
    unsafe { libc::syscall(libc::SYS_futex, word, op, 1, 0, 0, 0) };
}

/// Does the process run? One that waits only to be reaped doesn't.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The clock that the heap puts into its records.
#[cfg(target_arch = "x86_64")]
pub fn tick() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn tick() -> u64 {
    0
}

/// Nanoseconds since midnight, by the clock on the wall.
fn nanos_of_day() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = now.as_secs().cast_signed();
    // SAFETY: both are ours.
    let offset = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&seconds, &mut local).is_null() { 0 } else { local.tm_gmtoff }
    };
    let second = (seconds + offset).rem_euclid(86_400).cast_unsigned();
    second * 1_000_000_000 + u64::from(now.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapglass_event::record::Outcome;

    #[test]
    fn a_program_cant_make_the_file_shorter_under_its_reader() {
        let feed = Feed::create(Wishes::default()).unwrap();
        let theirs =
            std::fs::File::options().read(true).write(true).open(format!("/proc/self/fd/{}", feed.file.as_raw_fd()));
        let theirs = theirs.unwrap();
        assert!(theirs.set_len(4096).is_err() && theirs.set_len(FILE_BYTES as u64 + 1).is_err());
        assert_eq!(theirs.metadata().unwrap().len(), FILE_BYTES as u64);
    }

    #[test]
    fn what_several_tell_in_one_ring_is_heard_of_each() {
        let feed = Feed::create(Wishes::default()).unwrap();
        let tell = |kind, n| feed.forge_record(0, Record::new(kind, Outcome::Done, n, [0; 3]));
        let heard = || {
            let mut all = Vec::new();
            feed.read(|_, thread, records| all.extend(records.iter().map(|record| (thread.tid, record.n))));
            all
        };
        feed.forge(0, |ring| ring.take(5, 5));
        tell(Kind::Begin, 1);
        tell(Kind::End, 2);
        tell(Kind::Writer, 7);
        tell(Kind::Begin, 3);
        assert_eq!(heard(), [(5, 1), (5, 2), (7, 3)]);
        tell(Kind::End, 4);
        tell(Kind::Writer, 8);
        assert_eq!(heard(), [(7, 4)], "it is read in parts");
        tell(Kind::Begin, 5);
        tell(Kind::Writer, 0);
        tell(Kind::End, 6);
        assert_eq!(heard(), [(8, 5), (8, 6)], "nobody has the number 0");
        assert!(feed.is_read() && !feed.read(|_, _, _| ()));
    }

    #[test]
    fn words_of_a_profile_that_look_like_a_writer_are_heard() {
        let feed = Feed::create(Wishes { interval: 1, ..Wishes::default() }).unwrap();
        feed.forge(0, |ring| ring.take(5, 5));
        let word = Record::of_words([Kind::Writer as u64 | 7 << 32, 0, 0, 0]);
        assert!(word.is(Kind::Writer));
        feed.forge_record(0, word);
        let mut heard = Vec::new();
        feed.read(|_, thread, records| heard.extend(records.iter().map(|record| (thread.tid, *record))));
        assert_eq!(heard, [(5, word)]);
    }
}
