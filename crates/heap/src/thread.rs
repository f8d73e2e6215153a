//! A thread's life with the allocator: at its first call it gets a record with its cache and a seat in an arena; at its end
//! everything it cached goes home and the record serves the next thread. What it allocates and frees after that, in the
//! last destructors, goes by without a cache.
//!
//! The first calls of a process all take the slow path, where each pointer is looked up exactly before its header is read.
//! Small programs never leave it; others are let onto the fast path after `WARM_UP` calls.
//!
//! # Safety
//! A record belongs to one thread from `attach` to `detach`. `current` hands out the only reference to it, for the length of
//! one call; a signal handler that allocates on top of malloc is outside malloc's contract.

use crate::arch;
use crate::arena::{self, Arena};
use crate::cache::{Cache, ENDED, FREED, Head, LOOKED, PARKED, Refusing, SMALL_LIMIT};
use crate::chunk::{Chunk, SECRET};
use crate::config;
use crate::decay;
use crate::guard::{self, Sampler};
use crate::magazine::{Magazine, STEPS};
use crate::meta;
use crate::policy::POLICY;
use crate::probe::{self, Call};
use crate::profile;
use crate::refill::SPARES;
use crate::requests::Asker;
use crate::secure;
use crate::size::CLASSES;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use crate::sync::lock::{Lock, Owner};
use crate::tell;
use crate::usage::Usage;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;
use heapglass_event::ring::Ring;
use heapglass_event::root::{Place, ThreadsAt};
use heapglass_os::thread::Key;

/// Calls of the process that are taken exactly before threads get onto the fast path.
pub const WARM_UP: u32 = if cfg!(feature = "small-world") { 16 } else { 512 };

#[repr(C)]
pub struct Thread {
    pub cache: Cache,
    /// Stands before the cache while every call is to take the slow path.
    pub facade: Refusing,
    /// The magazine that each bin's position is in; null before the class is first used.
    pub magazines: [*mut Magazine; CLASSES],
    /// A full magazine of each small class, kept back so that a cache at the edge of full doesn't go to its arena each time.
    pub spares: [*mut Magazine; SPARES],
    /// An empty magazine of each step, kept back.
    pub empties: [*mut Magazine; STEPS],
    /// Nothing is parked, and every pointer is looked up.
    pub exact: bool,
    /// Times that a class asked for or gave away chunks: what its magazine's size follows.
    pub demand: [u8; CLASSES],
    /// Times that a class had chunks only because they were parked.
    pub thin: [u8; CLASSES],
    /// Chunks of other arenas that a class was not begun with.
    pub foreign: [u8; CLASSES],
    /// Looks at the clock so far, and the classes that changed their magazines since they were last searched for strays.
    pub looks: u32,
    /// Which of its calls are noted for what they ask for.
    pub asker: Asker,
    pub stirred: [bool; CLASSES],
    /// The process's epoch (see `decay`) when the cache last went home.
    pub epoch: u32,
    /// Bytes that magazines of more than the smallest size may hold.
    pub granted_bytes: usize,
    /// Where its calls are told; null until the first one is. `tell` alone looks at it.
    pub ring: *const Ring,
    /// Reasons for the mapping that its rings lie in to stay. `tell` alone looks at it.
    pub visits: u32,
    /// When an allocation is a guarded sample.
    pub sampler: Sampler,
    /// What it is about a profile, and where that is told.
    pub profiler: profile::Sampler,
    pub profile_ring: *const Ring,
    /// What it does while that is counted.
    pub usage: Option<Usage>,
    pub arena: &'static Arena,
    pub secure: secure::Local,
    /// The next unused record.
    next: *mut Thread,
    /// The record made before this one.
    older: *mut Thread,
    /// The kernel's id of the thread that has it, for readers outside; 0 for nobody.
    id: AtomicU32,
}

static UNUSED: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());
/// The record made last. All that there ever were hang on it.
static ALL: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

/// Threads that ever had a record.
static RECORDS: AtomicU32 = AtomicU32::new(0);

/// Guards the process's set-up.
static SET_UP: Lock = Lock::new();
/// 0 before the main arena is usable, 1 before the C library knows of us, 2 after.
static STAGE: AtomicU32 = AtomicU32::new(0);
/// The thread key's number plus one; 0 where there is none.
static KEY: AtomicU32 = AtomicU32::new(0);
/// Slow calls of the process so far, up to `WARM_UP`.
static CALLS: AtomicU32 = AtomicU32::new(0);
/// Takes over the signal of faults: a function of type `TakeFaults`.
static TAKE_FAULTS: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// Was it called, or is it to be called as soon as it is known?
static FAULTS_MAY_COME: AtomicBool = AtomicBool::new(false);

/// Said whether also where the program has a handler of its own.
pub type TakeFaults = extern "C" fn(bool);

/// This thread, as locks know it.
pub fn owner() -> Owner {
    Owner::new(arch::thread_mark())
}

/// Sets what takes faults over, before the first pointer's header is read without a look-up, and before each guarded sample.
pub fn on_faults(call: TakeFaults) {
    TAKE_FAULTS.store(call as *mut (), Release);
    if CALLS.load(Relaxed) >= WARM_UP || FAULTS_MAY_COME.load(Relaxed) {
        call(false);
    }
}

/// Reads of headers may fault from here on: that is taken over once. So may guarded samples: then the program may have put a
/// handler of its own there since.
pub fn take_faults(at_sample: bool) {
    if FAULTS_MAY_COME.swap(true, Relaxed) && !at_sample {
        return;
    }
    let call = TAKE_FAULTS.load(Acquire);
    if !call.is_null() {
        // SAFETY: stored by `on_faults` from a function of this type.
        unsafe { core::mem::transmute::<*mut (), TakeFaults>(call)(at_sample) };
    }
}

/// The calling thread's record, made at its first call; `None` where there is none: the thread is ending, is just being set
/// up on a stack frame below, or there is no memory.
#[inline]
pub fn current() -> Option<&'static mut Thread> {
    let head = arch::word();
    // SAFETY: the word points at a head; a head's thread, where it has one, is the calling thread's own record.
    unsafe {
        match (*head).thread.as_mut() {
            Some(thread) => Some(thread),
            None if ptr::eq(head, &ENDED.head) => None,
            None => attach(),
        }
    }
}

/// The calling thread's record for a free. A thread that has none yet gets it only after a few frees, or with its first
/// allocation.
pub fn for_free() -> Option<&'static mut Thread> {
    let head = arch::word();
    // SAFETY: as in `current`.
    if let Some(thread) = unsafe { (*head).thread.as_mut() } {
        return Some(thread);
    }
    if ptr::eq(head, &ENDED.head) {
        return None;
    }
    set_up();
    let others = RECORDS.load(Relaxed) > 0;
    if !others {
        return current();
    }
    let at = FREED.iter().position(|step| ptr::eq(head, &step.head));
    match FREED.get(at.map_or(0, |at| at + 1)) {
        Some(next) => {
            arch::set_word(&raw const next.head as *mut Head);
            None
        }
        None => attach(),
    }
}

/// All records that there ever were, also those that are nobody's now.
pub fn all() -> impl Iterator<Item = *mut Thread> {
    let newest = ALL.load(Acquire);
    let listed = |thread: *mut Thread| (!thread.is_null()).then_some(thread);
    // SAFETY: records stay, and each was written before it was listed, or is zero but for its link.
    core::iter::successors(listed(newest), move |&thread| listed(unsafe { (*thread).older }))
}

/// As `current`, but makes nothing.
#[inline]
pub fn existing() -> Option<&'static mut Thread> {
    // SAFETY: as in `current`.
    unsafe { (*arch::word()).thread.as_mut() }
}

#[cold]
fn attach() -> Option<&'static mut Thread> {
    set_up();
    if STAGE.load(Acquire) == 0 {
        return None;
    }
    let secret = SECRET.load(Relaxed);
    let index = RECORDS.fetch_add(1, Relaxed);
    let key = key_of(index);
    let (mut sampler, mut asker) = (None, Asker::NEW);
    let record = meta::locked(|| {
        let unused = UNUSED.load(Relaxed);
        // SAFETY: unused records are whole and nobody's; fresh memory is ours alone. What is new is listed as nobody's, which
        // zeros say.
        unsafe {
            if !unused.is_null() {
                // Threads of few allocations each have their samples too, if one goes on where the last stopped.
                sampler = Some((*unused).sampler);
                asker = (*unused).asker;
                UNUSED.store((*unused).next, Relaxed);
                return unused;
            }
            let fresh: *mut Thread = meta::take_locked(size_of::<Thread>()).cast();
            if !fresh.is_null() {
                (*fresh).older = ALL.load(Relaxed);
                ALL.store(fresh, Release);
            }
            fresh
        }
    })
    .unwrap_or(ptr::null_mut());
    if record.is_null() {
        return None;
    }
    // SAFETY: memory of the right size that is ours alone.
    let thread = unsafe {
        record.write(Thread {
            cache: Cache::new(Head::new(record, SMALL_LIMIT, secret, key)),
            facade: Refusing::new(record),
            exact: true,
            magazines: [ptr::null_mut(); CLASSES],
            spares: [ptr::null_mut(); SPARES],
            empties: [ptr::null_mut(); STEPS],
            demand: [0; CLASSES],
            thin: [0; CLASSES],
            foreign: [0; CLASSES],
            looks: 0,
            asker,
            stirred: [true; CLASSES],
            epoch: decay::epoch(),
            granted_bytes: 0,
            ring: ptr::null(),
            visits: 0,
            sampler: sampler.map_or_else(|| Sampler::new(index), Sampler::resumed),
            profiler: profile::Sampler::NEW,
            profile_ring: ptr::null(),
            usage: None,
            arena: arena::choose(),
            secure: secure::Local::new(key),
            next: ptr::null_mut(),
            older: (*record).older,
            id: AtomicU32::new(0),
        });
        &mut *record
    };
    thread.cache.park_stand_ins();
    thread.id.store(heapglass_os::thread_id(), Release);
    thread.follow_profile();
    thread.choose_head();
    // Both may allocate; by now that finds this thread in place.
    introduce();
    if let Some(key) = KEY.load(Acquire).checked_sub(1) {
        Key::from_bits(key).set(record as usize);
    }
    Some(thread)
}

/// The key of the thread that is the `index`th to get a record: different for each, alike in its low bits, never 0, and telling
/// nothing of the secret. Linux has no more than 2^22 threads at a time, and records are used again.
fn key_of(index: u32) -> usize {
    (secure::keys::get(secure::keys::WAITING) as usize).wrapping_add((index as usize) << KEY_BITS)
}

/// The low bits of keys, which all have.
const KEY_BITS: u32 = 40;
const _: () = assert!(usize::BITS - KEY_BITS >= 22);

/// Could this word be some thread's key, `key` being any thread's? What else has these bits is no harm: it is looked at once more.
#[inline(always)]
pub fn is_like_a_key(word: usize, key: usize) -> bool {
    (word ^ key) << (usize::BITS - KEY_BITS) == 0
}

/// Does the free of this chunk, live by its header, wait at another thread? Exact, but for what that thread does at this very moment.
#[cold]
#[inline(never)]
pub fn is_parked_elsewhere(chunk: Chunk) -> bool {
    let key = secure::keys::get(secure::keys::WAITING) as usize;
    // SAFETY: a chunk has a first word.
    if !is_like_a_key(unsafe { *chunk.word(0) }, key) {
        return false;
    }
    let mut record = ALL.load(Acquire).cast_const();
    while !record.is_null() {
        // SAFETY: records are never taken apart, and `older` was written before they were listed. The places are another thread's: two
        // words, each of which is read as it is now or was.
        let (parked, older) = unsafe {
            let parked = &raw const (*record).cache.head.parked;
            (parked.read_volatile(), (*record).older)
        };
        if parked.contains(&(chunk.user() as *mut u8)) {
            return true;
        }
        record = older;
    }
    false
}

/// The main arena, the secret and the settings: everything that the first chunk needs.
fn set_up() {
    if STAGE.load(Acquire) != 0 || !SET_UP.lock(owner()) {
        return;
    }
    if STAGE.load(Relaxed) == 0 {
        config::draw_secret();
        // Some settings decide how the first list looks.
        config::read_environment();
        arena::prepare_main();
        STAGE.store(1, Release);
    }
    SET_UP.unlock();
}

/// Tells the C library of us: threads' ends and forks. Once.
fn introduce() {
    if STAGE.compare_exchange(1, 2, AcqRel, Relaxed).is_err() {
        return;
    }
    // The first handlers registered run last before a fork and first after it, so others' handlers may still allocate.
    heapglass_os::thread::at_fork(crate::fork::prepare, crate::fork::parent, crate::fork::child);
    if let Some(key) = Key::create(at_thread_end) {
        KEY.store(key.to_bits() + 1, Release);
    }
}

/// Makes sure that the heap can be used.
pub fn ensure_set_up() {
    set_up();
}

unsafe extern "C" fn at_thread_end(record: *mut c_void) {
    // SAFETY: the key's value is the ending thread's own record, set in `attach`.
    detach(unsafe { &mut *record.cast::<Thread>() });
}

/// Everything cached goes home, and the record to the next thread.
fn detach(thread: &mut Thread) {
    let told = probe::begin(Call::ThreadEnd, [0; 2]);
    secure::quarantine::leave(thread);
    thread.flush_and_forget();
    probe::end(told, Call::ThreadEnd, 0);
    tell::leave();
    arch::set_word(&raw const ENDED.head as *mut Head);
    thread.arena.seats.leave();
    thread.id.store(0, Release);
    let record: *mut Thread = thread;
    meta::locked(|| {
        // SAFETY: nobody uses the record any more.
        unsafe { (*record).next = UNUSED.load(Relaxed) };
        UNUSED.store(record, Release);
    });
}

impl Thread {
    /// One more call took the slow path: has the thread earned the fast one, or lost it?
    #[inline]
    pub fn tick(&mut self) {
        let head = &mut self.cache.head;
        let until_look = head.until_look;
        let is_near = self.sampler.look(until_look);
        head.until_look = LOOKED;
        if is_near {
            self.sample_is_near(until_look);
        }
        let epoch = decay::tick();
        if self.epoch != epoch {
            // What it holds and doesn't need would pin the pages around: its arena has it from here on, and lends it again.
            self.epoch = epoch;
            self.flush_and_forget();
            self.follow_profile();
        }
        let calls = CALLS.load(Relaxed);
        if calls < WARM_UP {
            CALLS.store(calls + 1, Relaxed);
            return;
        }
        let exact = POLICY.is_exact();
        if self.exact != exact || self.is_facing() != (exact || POLICY.observed.load(Relaxed)) {
            self.choose_head();
        }
    }

    /// Comes back in time. A function of its own, so that a look that is like any other has fewer registers to save.
    #[cold]
    #[inline(never)]
    fn sample_is_near(&mut self, until_look: u32) {
        let other = self.sampler.look_soon();
        self.look_for_profile(until_look, other);
        if self.sampler.is_due() {
            self.sample_is_due();
        }
    }

    /// Sends the next malloc by the slow path, where it will be the sample. While it is waited for, sized frees don't find the fast
    /// path either.
    #[cold]
    #[inline(never)]
    fn sample_is_due(&mut self) {
        let is_warm = CALLS.load(Relaxed) >= WARM_UP;
        let allowed = self.sampler.allow(is_warm, self.cache.head.limit == 0);
        if allowed { self.shut() } else { self.open() }
    }

    /// One more allocation came by the slow path: it was waited for, if any was.
    #[inline]
    pub fn count_allocation(&mut self) {
        profile::look_for_tracers();
        self.open();
        self.sampler.pass(1);
    }

    /// This allocation, if it is its turn to be a guarded sample.
    #[inline]
    pub fn sample(&mut self, request: usize, align: usize) -> Option<guard::Made> {
        if !self.sampler.is_due() {
            return None;
        }
        self.open();
        let chance = self.sampler.take();
        guard::allocate(request, align, chance)
    }

    /// Points the thread's word at its cache, or at the facade before it.
    fn choose_head(&mut self) {
        self.exact = CALLS.load(Relaxed) < WARM_UP || POLICY.is_exact() || self.is_profiled_exactly();
        if self.exact {
            self.unpark();
        } else {
            take_faults(false);
        }
        let faces = self.exact || POLICY.observed.load(Relaxed);
        arch::set_word(if faces { &raw mut self.facade.head } else { &raw mut self.cache.head });
    }

    /// Does the facade stand before the cache?
    #[inline]
    pub fn is_facing(&self) -> bool {
        !ptr::eq(arch::word(), &self.cache.head)
    }
}

/// In a forked child, the only thread has another id.
pub fn renumber() {
    if let Some(thread) = existing() {
        thread.id.store(heapglass_os::thread_id(), Release);
    }
}

/// The settings changed: the calling thread follows at once, the others at their next slow call.
pub fn settings_changed() {
    if let Some(thread) = existing() {
        thread.choose_head();
    }
}

/// What is parked at the process's end is put away, so that its faults are found.
pub fn at_process_end() {
    if let Some(thread) = existing() {
        thread.unpark();
    }
    profile::at_process_end();
}

/// Does this freed pointer wait for its header?
pub fn has_parked(user: usize) -> bool {
    existing().is_some_and(|thread| thread.cache.head.parked.contains(&(user as *mut u8)))
}

/// May headers be read without a look-up?
#[inline(always)]
pub fn is_on_fast_path() -> bool {
    // SAFETY: the word points at a head.
    unsafe { (*arch::word()).limit != 0 || observed().is_some() }
}

/// The head of the cache behind the facade, where the calling thread stands behind that only to be observed: what the fast
/// path would do with it is to be done.
#[cold]
#[inline(never)]
pub fn observed() -> Option<*mut Head> {
    let thread = existing()?;
    (thread.is_facing() && !thread.exact).then_some(&raw mut thread.cache.head)
}

/// The arena of the calling thread, or the main one.
pub fn arena() -> &'static Arena {
    match existing() {
        Some(thread) => thread.arena,
        None => arena::get(0),
    }
}

/// For `root`.
pub const fn seen() -> ThreadsAt {
    ThreadsAt {
        all: Place::of(&raw const ALL),
        bytes: size_of::<Thread>(),
        older: offset_of!(Thread, older),
        id: offset_of!(Thread, id),
        arena: offset_of!(Thread, arena),
        parked: offset_of!(Thread, cache.head.parked),
        parked_count: PARKED,
        key: offset_of!(Thread, cache.head.key),
        bins: offset_of!(Thread, cache.bins),
        classes: CLASSES,
        magazines: offset_of!(Thread, magazines),
        spares: offset_of!(Thread, spares),
        spare_count: SPARES,
        ended: Place::of(&raw const ENDED),
    }
}
