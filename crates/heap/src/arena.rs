//! Arenas: a store behind a lock, an inbox for what other arenas' threads freed, and seats for the threads it serves.
//!
//! The main arena is number 0. Arenas are made when a thread finds all others taken, up to the limit, and never unmade: one
//! whose threads have ended serves the next that comes.

use crate::chunk::{Chunk, State};
use crate::kernel;
use crate::magazine::{self, Magazine};
use crate::meta;
use crate::policy::POLICY;
use crate::region;
use crate::size::{ALIGN, HEADER, MAX_CHUNK};
use crate::store::Store;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use crate::sync::inbox::{Inbox, Item};
use crate::sync::lock::{Lock, Owner};
use crate::sync::seats::{self, Seats};
use crate::thread;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
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

    /// Locks the arena, and takes in what lies in its inbox. `None` where this thread has it locked already.
    pub fn lock(&'static self, me: Owner) -> Option<Guard> {
        self.lock.lock(me).then(|| self.locked())
    }

    /// As `lock`, without waiting.
    pub fn try_lock(&'static self, me: Owner) -> Option<Guard> {
        self.lock.try_lock(me).then(|| self.locked())
    }

    fn locked(&'static self) -> Guard {
        let mut guard = Guard { arena: self };
        let mut magazine = self.inbox.take_all();
        while !magazine.is_null() {
            // SAFETY: what came out of the inbox is ours, and its chunks are this arena's.
            unsafe {
                let next = *Magazine::next(magazine);
                guard.depot_put(magazine);
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
        return get(index);
    }
    if let Some(arena) = create(limit) {
        return arena;
    }
    get(seats::choose(all().map(|arena| &arena.seats), false).unwrap_or(0))
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
    let is_own = own.is_some_and(|own| core::ptr::eq(own, home));
    let guard = if is_own { home.lock(me) } else { home.try_lock(me) };
    if let Some(mut guard) = guard {
        guard.give(chunk, size);
        return;
    }
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
        (*magazine).class = u32::MAX;
        home.inbox.push(magazine);
    }
}

/// Sends a magazine of cached chunks of one class home. All of them go to their own arenas; where they are several, each
/// arena gets a magazine of its own.
///
/// # Safety
/// The magazine is the caller's, with `count` and `class` set, and from here on somebody else's.
pub unsafe fn send_magazine_home(magazine: *mut Magazine, own: &'static Arena, me: Owner) {
    // SAFETY: as the caller promises.
    let users = unsafe { Magazine::users(magazine) };
    let Some(&first) = users.first() else {
        // SAFETY: as above.
        return unsafe { magazine::put(magazine) };
    };
    let home_of = |user: usize| if count() == 1 { Some(0) } else { region::owner(Chunk::from_user(user).address()) };
    let Some(home) = home_of(first) else { return };
    if !users.iter().all(|&user| home_of(user) == Some(home)) {
        // SAFETY: as above.
        return unsafe { split_magazine(magazine, own, me) };
    }
    let home = get(home);
    let guard = if core::ptr::eq(home, own) { home.lock(me) } else { home.try_lock(me) };
    // SAFETY: the magazine and its chunks are the home arena's from here on.
    unsafe {
        match guard {
            Some(mut guard) => guard.depot_put(magazine),
            None => home.inbox.push(magazine),
        }
    }
}

/// Takes a magazine of several arenas' chunks apart.
unsafe fn split_magazine(magazine: *mut Magazine, own: &'static Arena, me: Owner) {
    // SAFETY: as in `send_magazine_home`.
    unsafe {
        let (step, class) = (Magazine::step(magazine), (*magazine).class);
        let users = Magazine::users(magazine);
        while let Some(&home) = users.iter().find(|&&user| user != 0) {
            let home = region::owner(home - HEADER);
            let part = magazine::take(step);
            let (mut count, mut units) = (0, 0);
            for user in users.iter_mut().filter(|user| **user != 0) {
                if region::owner(*user - HEADER) != home {
                    continue;
                }
                if part.is_null() {
                    let chunk = Chunk::from_user(*user);
                    send_home(chunk, chunk.size(), Some(own), me);
                } else {
                    *Magazine::slots(part).add(count) = *user;
                    units += (Chunk::from_user(*user).size() / ALIGN) as u32;
                }
                count += 1;
                *user = 0;
            }
            if !part.is_null() {
                (*part).count = count as u32;
                (*part).class = class;
                (*part).units = units;
                send_magazine_home(part, own, me);
            }
        }
        magazine::put(magazine);
    }
}

const _: () = assert!(MAX_CHUNK < u32::MAX as usize);
