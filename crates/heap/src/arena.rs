//! Arenas: a store behind a lock, an inbox for what other arenas' threads freed, and seats for the threads it serves.
//!
//! The main arena is number 0. Arenas are made when a thread finds all others taken, up to the limit, and never unmade: one
//! whose threads have ended serves the next that comes.

use crate::ahead;
use crate::chunk::{Chunk, State};
use crate::depot;
use crate::die;
use crate::kernel;
use crate::magazine::{self, Magazine, proven};
use crate::meta;
use crate::policy::POLICY;
use crate::probe::{self, Kind, Outcome};
use crate::region;
use crate::requests;
use crate::root;
use crate::size::{HEADER, MAX_CHUNK};
use crate::store::Store;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use crate::sync::inbox::{Inbox, Item};
use crate::sync::lock::{Lock, Owner};
use crate::sync::seats::{self, Seats};
use crate::thread;
use crate::top;
use crate::usdt;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ops::{Deref, DerefMut};
use heapglass_event::root::{ArenaAt, ArenasAt, Piece, Place};
use heapglass_os as os;

/// There are never more arenas than this, whatever the limit says.
pub const ARENAS_MAX: usize = 1024;
const PER_CORE: usize = 8;

#[repr(C)]
pub struct Arena {
    pub lock: Lock,
    pub seats: Seats,
    pub inbox: Inbox<Magazine>,
    store: UnsafeCell<Store>,
}

// SAFETY: the store is reached only through a `Guard`.
unsafe impl Sync for Arena {}

static MAIN: Arena = Arena::unset();
static ARENAS: [AtomicPtr<Arena>; ARENAS_MAX] = [const { AtomicPtr::new(core::ptr::null_mut()) }; ARENAS_MAX];
/// Held while an arena is made, so that a fork finds all of them or none.
pub static CREATION: Lock = Lock::new();
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The store of a locked arena.
pub struct Guard {
    arena: &'static Arena,
}

impl Deref for Guard {
    type Target = Store;
    fn deref(&self) -> &Store {
        // SAFETY: the guard has the lock.
        unsafe { &*self.arena.store.get() }
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Store {
        // SAFETY: as above.
        unsafe { &mut *self.arena.store.get() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.arena.lock.unlock();
    }
}

impl Arena {
    const fn unset() -> Arena {
        Arena { lock: Lock::new(), seats: Seats::new(), inbox: Inbox::new(), store: UnsafeCell::new(Store::unset()) }
    }

    /// It never changes once the arena is made.
    pub fn number(&self) -> usize {
        // SAFETY: as above, so it may be read without the lock.
        unsafe { (*self.store.get()).arena }
    }

    /// Locks the arena, and takes in what lies in its inbox. `None` where this thread has it locked already.
    pub fn lock(&'static self, me: Owner) -> Option<Guard> {
        self.lock.lock(me).then(|| self.locked())
    }

    /// As `lock`, without waiting.
    pub fn try_lock(&'static self, me: Owner) -> Option<Guard> {
        self.lock.try_lock(me).then(|| self.locked())
    }

    /// Looks at the store under the lock, and leaves what is in the inbox where it is.
    pub fn look(&'static self, me: Owner, look: impl FnOnce(&mut Store)) {
        if self.lock.lock(me) {
            look(&mut Guard { arena: self });
        }
    }

    fn locked(&'static self) -> Guard {
        let mut guard = Guard { arena: self };
        probe::step_of(Kind::Arena, Outcome::Locked, self.number(), [0; 3]);
        let mut magazine = self.inbox.take_all();
        while !magazine.is_null() {
            // SAFETY: what came out of the inbox is ours, and its chunks are this arena's.
            unsafe {
                let next = *Magazine::next(magazine);
                if (*magazine).class == ONE_BY_ONE {
                    guard.give_all(magazine)
                } else {
                    guard.merge_all(magazine)
                }
                magazine = next;
            }
        }
        guard
    }
}

/// Does an arena's heap hold a header at this address? Looks without the lock: heaps' records are never unmade.
pub fn holds(index: usize, address: usize) -> bool {
    heap_around(index, address).is_some()
}

/// The number of the arena in whose heaps a header can lie at this address: then there is memory.
#[inline(always)]
pub fn home_of(address: usize) -> Option<usize> {
    region::holder(address).or_else(|| home_by_walk(address))
}

#[cold]
#[inline(never)]
fn home_by_walk(address: usize) -> Option<usize> {
    let home = region::owner(address)?;
    holds(home, address).then_some(home)
}

/// Bounds of the heap that an address lies in. Looks without the lock, as `holds`.
pub fn bounds_around(address: usize) -> Option<(usize, usize)> {
    heap_around(region::owner(address)?, address)
}

/// Bounds of the heap of an arena that an address lies in.
fn heap_around(index: usize, address: usize) -> Option<(usize, usize)> {
    let store = get(index).store.get();
    // SAFETY: single words are read, as they are at this moment; a record that was dropped still reads as it last was.
    unsafe {
        let mut region = (&raw const (*store).regions).read_volatile();
        while !region.is_null() {
            let (start, end) =
                ((&raw const (*region).start).read_volatile(), (&raw const (*region).end).read_volatile());
            if start <= address && address + HEADER <= end {
                return Some((start, end));
            }
            region = (&raw const (*region).next).read_volatile();
        }
    }
    None
}

/// The chunk that a pointer lies inside of, found by walking its heap from the start. For a last message only: it looks
/// without the lock, and gives up at the first header that doesn't prove itself.
pub fn chunk_around(user: usize) -> Option<(Chunk, State)> {
    let (start, end) = heap_around(region::owner(user - HEADER)?, user - HEADER)?;
    let mut chunk = Chunk::at(start);
    while chunk.address() + HEADER <= end {
        let state = chunk.state()?;
        let next = if state == State::Top { end } else { chunk.next().address() };
        if user < next + HEADER {
            return (user > chunk.user()).then_some((chunk, state));
        }
        chunk = Chunk::at(next);
    }
    None
}

/// Chunks that are merged at a time before an arena grows, and how often.
const MERGED: usize = 2048;
const MERGES: usize = 8;

/// Takes something from an arena. Where that needs memory from the kernel and the depots are full, those are merged first, a
/// part at a time, until it no longer does: `take` is told whether the arena may grow.
pub fn take<T>(arena: &'static Arena, me: Owner, mut take: impl FnMut(&mut Store, bool) -> Option<T>) -> Option<T> {
    for _ in 0..MERGES {
        if !depot::are_full() {
            break;
        }
        if let Some(taken) = take(&mut *arena.lock(me)?, false) {
            return Some(taken);
        }
        if depot::merge(MERGED, Some(arena), me) == 0 {
            break;
        }
    }
    take(&mut *arena.lock(me)?, true)
}

/// How many arenas there are.
pub fn count() -> usize {
    COUNT.load(Acquire)
}

/// An arena by number. Numbers beyond the last give the main one.
#[inline]
pub fn get(index: usize) -> &'static Arena {
    let arena = ARENAS.get(index).map_or(core::ptr::null_mut(), |cell| cell.load(Acquire));
    // SAFETY: arenas live for ever once listed.
    if arena.is_null() { &MAIN } else { unsafe { &*arena } }
}

pub fn all() -> impl Iterator<Item = &'static Arena> + Clone {
    (0..count()).map(get)
}

/// Makes the main arena usable. Once, before anything else here, by the first thread.
pub fn prepare_main() {
    // SAFETY: nobody else runs yet; the caller holds the process's set-up lock.
    unsafe { (*MAIN.store.get()).prepare(0) };
    if let Some(cell) = ARENAS.first() {
        cell.store(&raw const MAIN as *mut Arena, Release);
    }
    COUNT.store(1, Release);
    root::ROOT.ready.store(1, Release);
    kernel::counters().arenas.store(1, Relaxed);
}

/// The arena for a thread that has none yet; it has taken its seat.
pub fn choose() -> &'static Arena {
    let limit = match POLICY.arena_max.load(Relaxed) {
        0 => PER_CORE * processors(),
        limit => limit,
    };
    let may_grow = count() < limit.min(ARENAS_MAX);
    if let Some(index) = seats::choose(all().map(|arena| &arena.seats), may_grow) {
        let arena = get(index);
        usdt::arena_reuse_free_list(core::ptr::from_ref(arena) as usize);
        return arena;
    }
    if let Some(arena) = create(limit) {
        usdt::arena_new(core::ptr::from_ref(arena) as usize, size_of::<Arena>());
        return arena;
    }
    let shared = get(seats::choose(all().map(|arena| &arena.seats), false).unwrap_or(0));
    usdt::arena_reuse(core::ptr::from_ref(shared) as usize, 0);
    shared
}

/// Asked once, and not before a second thread comes.
fn processors() -> usize {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    if KNOWN.load(Relaxed) == 0 {
        // The first thread always finds the main arena free.
        let count = if count() == 1 && MAIN.seats.taken() == 0 { return 1 } else { os::processors() };
        KNOWN.store(count, Relaxed);
    }
    KNOWN.load(Relaxed)
}

fn create(limit: usize) -> Option<&'static Arena> {
    if !CREATION.lock(thread::owner()) {
        return None;
    }
    // Others may have made some since the limit was looked at.
    let made = if count() < limit { create_locked() } else { None };
    CREATION.unlock();
    made
}

fn create_locked() -> Option<&'static Arena> {
    meta::locked(|| {
        let index = count();
        let cell = ARENAS.get(index)?;
        let arena: *mut Arena = meta::take_locked(size_of::<Arena>()).cast();
        if arena.is_null() {
            return None;
        }
        // SAFETY: fresh memory of the right size and alignment, unknown to others until it is listed.
        let made = unsafe {
            arena.write(Arena::unset());
            (*(*arena).store.get()).prepare(index);
            &*arena
        };
        made.seats.take();
        cell.store(arena, Release);
        COUNT.store(index + 1, Release);
        kernel::counters().arenas.store(index as u64 + 1, Relaxed);
        Some(made)
    })
    .flatten()
}

/// Sends a freed chunk, no longer live for anyone and with its size known, home to its arena: directly where the lock is
/// free or the arena is the caller's own, else by the inbox, so that nobody waits for somebody else's arena.
pub fn send_home(chunk: Chunk, size: usize, own: Option<&'static Arena>, me: Owner) {
    let Some(home) = region::owner(chunk.address()).map(get) else { return };
    requests::one_left(size);
    let is_own = own.is_some_and(|own| core::ptr::eq(own, home));
    let guard = if is_own { home.lock(me) } else { home.try_lock(me) };
    if let Some(mut guard) = guard {
        probe::step_of(Kind::Home, Outcome::Locked, home.number(), [chunk.user(), size, 0]);
        guard.give(chunk, size);
        return;
    }
    probe::step(Kind::Home, Outcome::ByInbox, [chunk.user(), size, 0]);
    let magazine = magazine::take(0);
    if magazine.is_null() {
        // No memory for an envelope: then wait after all. A signal handler on top of the lock's owner leaks the chunk.
        if let Some(mut guard) = home.lock(me) {
            guard.give(chunk, size);
        }
        return;
    }
    chunk.set_state(size, State::Cached);
    // SAFETY: an empty magazine of ours has room for one.
    unsafe {
        *Magazine::slots(magazine) = chunk.user();
        (*magazine).count = 1;
        (*magazine).class = ONE_BY_ONE;
        home.inbox.push(magazine);
    }
}

/// Sends the cached chunks of a magazine home, each to its own arena, where they are merged: directly where the lock is free
/// or the arena is the caller's own, else by the inbox. `idle_epochs` is for how long they have been free.
///
/// # Safety
/// The magazine is the caller's, with its count written, and from here on somebody else's.
pub unsafe fn scatter(magazine: *mut Magazine, own: Option<&'static Arena>, idle_epochs: usize, me: Owner) {
    // SAFETY: as the caller promises.
    let users = unsafe { Magazine::users(magazine) };
    // SAFETY: as above.
    requests::left(unsafe { (*magazine).class } as usize, users.len());
    let home_of = |user: usize| region::owner(Chunk::from_user(user).address());
    while let Some(&first) = users.iter().find(|&&user| user != 0) {
        let home = home_of(first);
        let arena = get(home.unwrap_or(0));
        let is_own = own.is_some_and(|own| core::ptr::eq(own, arena));
        let is_here = |user: &&mut usize| **user != 0 && home_of(**user) == home;
        let guard = if is_own { arena.lock(me) } else { arena.try_lock(me) };
        if let Some(mut guard) = guard {
            guard.decay.idle_epochs = idle_epochs;
            for index in 0..users.len() {
                ahead::look(users, index);
                let Some(user) = users.get_mut(index).filter(is_here) else { continue };
                guard.merge_cached(*user);
                *user = 0;
            }
            guard.decay.idle_epochs = 0;
            top::trim_beyond(&mut guard);
            continue;
        }
        // SAFETY: magazines of ours; the part is as long as the whole.
        unsafe {
            let part = magazine::take(Magazine::step(magazine));
            let mut count = 0;
            for user in users.iter_mut().filter(is_here) {
                if part.is_null() {
                    // No memory for an envelope: then wait after all. On top of the lock's owner, the chunk is lost.
                    if let Some(mut guard) = arena.lock(me) {
                        guard.merge_cached(*user);
                    }
                } else {
                    *Magazine::slots(part).add(count) = *user;
                    count += 1;
                }
                *user = 0;
            }
            if !part.is_null() {
                (*part).count = count as u32;
                (*part).class = 0;
                arena.inbox.push(part);
            }
        }
    }
    // SAFETY: as the caller promises; nothing is in it any more.
    unsafe { magazine::put(magazine) };
}

/// The class of a magazine whose chunks are to be given back as if each had been freed by itself.
const ONE_BY_ONE: u32 = u32::MAX;

impl Store {
    /// Merges a chunk that left a cache.
    fn merge_cached(&mut self, user: usize) {
        let chunk = proven(user);
        self.merge(chunk, chunk.size(), true);
    }

    /// Merges the chunks of a magazine that came home.
    ///
    /// # Safety
    /// The magazine is the caller's and all its chunks are this store's.
    unsafe fn merge_all(&mut self, magazine: *mut Magazine) {
        // SAFETY: as the caller promises.
        unsafe {
            let users = Magazine::users(magazine);
            for (index, &user) in users.iter().enumerate() {
                ahead::look(users, index);
                self.merge_cached(user);
            }
            magazine::put(magazine);
        }
    }

    /// Gives each chunk of a magazine back as if it had been freed by itself.
    ///
    /// # Safety
    /// As `merge_all`.
    unsafe fn give_all(&mut self, magazine: *mut Magazine) {
        // SAFETY: as the caller promises.
        unsafe {
            for &user in Magazine::users(magazine).iter() {
                let chunk = Chunk::from_user(user);
                if !chunk.is(State::Cached) {
                    die::corrupt_header(chunk, "free, on its way home");
                }
                self.give(chunk, chunk.size());
            }
            magazine::put(magazine);
        }
    }
}

const _: () = assert!(MAX_CHUNK < u32::MAX as usize);

/// For `root`.
pub const fn seen() -> (ArenasAt, ArenaAt, [Piece; 2]) {
    let all = Place::of(&raw const ARENAS);
    let arena = ArenaAt {
        bytes: size_of::<Arena>(),
        lock: offset_of!(Arena, lock),
        seats: offset_of!(Arena, seats),
        inbox: offset_of!(Arena, inbox),
        store: offset_of!(Arena, store),
    };
    let main = Piece { at: Place::of(&raw const MAIN), bytes: size_of::<Arena>() };
    let table = Piece { at: all, bytes: size_of_val(&ARENAS) };
    (ArenasAt { all, most: ARENAS_MAX, count: Place::of(&raw const COUNT) }, arena, [main, table])
}
