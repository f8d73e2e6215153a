//! The thread's cache and the two fast paths: what nearly every malloc and free is.
//!
//! A thread's word (see `arch`) points at a `Head`. Behind the head of a real cache lie its bins, 16 bytes for each small
//! class, so a chunk's size is also the offset of its bin. A bin is a position in a magazine: popping takes the slot below
//! it, pushing fills the slot at it. An empty magazine's slot below reads as null; a full one's position is its limit.
//!
//! Two heads are caches only by appearance, and send every call to the slow path without a test of their own: `EMPTY`, what
//! a thread starts with, and a thread's facade, which stands before its real cache while calls are to be seen or taken
//! exactly. Both refuse every size, and what they have parked is a sentinel, whose bin is for ever full.
//!
//! # Parking
//! What makes a free dear is waiting for its header: the bin depends on the size there, and a store to an address that has
//! yet to come from memory holds up the mallocs behind it. So free asks for the header's line, parks the pointer unread, and
//! works on the one parked two calls before, whose header has come by now.
//!
//! So that nothing slips through in between, free writes the thread's key into the chunk's first word, which needs no
//! waiting either, and malloc clears that word of each chunk that it hands out. A parked chunk that somebody else frees too,
//! and perhaps gets back from malloc, no longer holds the key when its turn comes; nor does one that is written to after it
//! was freed. A repeat of a pointer that is still parked stops at its own call, by comparison.
//!
//! Mapped chunks aren't parked, so they go back to the kernel at once: their pointers stand at a page's start or 16 bytes
//! past it, and such a pointer is parked only if its window of addresses is a heap's.
//!
//! # Safety
//! A head is used by its own thread only. Slots between a magazine's start and a bin's position hold user pointers of
//! cached chunks.

use crate::arch;
use crate::chunk::{Chunk, State, cookie_by};
use crate::region;
use crate::size::*;
use crate::thread::Thread;
use core::mem::offset_of;

/// One class of a cache.
#[repr(C)]
pub struct Bin {
    /// The slot that the next push fills.
    pub top: *mut usize,
    /// The slot behind the last that may be filled.
    pub limit: *mut usize,
}

const _: () = assert!(size_of::<Bin>() == ALIGN);

#[repr(C)]
pub struct Head {
    /// Freed pointers that wait to be pushed, the newest first.
    pub parked: [*mut u8; 2],
    /// Requests below this many bytes may be served from the bins of exact classes.
    pub limit: usize,
    /// A copy of the process's secret, one load nearer.
    pub secret: u64,
    /// What this thread writes into the first word of a chunk that it parks.
    pub key: usize,
    /// The thread that all this belongs to; null in `EMPTY`.
    pub thread: *mut Thread,
    /// Frees until the next that takes the slow path for the clock's sake: decay must come to work in programs whose traffic
    /// never leaves the caches.
    pub until_look: u32,
    /// Longer requests, below this many bytes, may be served from the classes that hold several sizes.
    pub medium_limit: u32,
}

/// Frees between two looks at the clock. A prime, so that a program's loop isn't met at the same place each time.
pub const LOOK_EVERY: u32 = 293;
/// What `until_look` begins with: the free that looks goes on to count itself.
pub const LOOKED: u32 = LOOK_EVERY + 1;

/// Freed pointers that wait for their headers. Two in every build but those that are made to compare with, by features.
pub const PARKED: usize = if cfg!(feature = "park-none") {
    0
} else if cfg!(feature = "park-one") {
    1
} else {
    2
};

/// Do the fast paths prove what they find? In every build but one that is made to compare with, by a feature.
pub const CHECKED: bool = !cfg!(feature = "unchecked");

/// A head with its bins.
#[repr(C)]
pub struct Cache {
    pub head: Head,
    pub bins: [Bin; CLASSES],
    stand_ins: StandIns,
}

/// What stands in the parking places while nothing is parked: two chunks of no size, live, with the thread's key in them. Class
/// 0, which no other chunk has, is theirs, with room for both. So the frees after the places were cleared, which happens at
/// each refill, take the fast path as any other.
#[repr(C, align(16))]
struct StandIns {
    chunks: [[usize; 4]; 2],
    slots: [usize; 2],
}

/// A head that refuses everything, with the sentinel's bin behind it.
#[repr(C)]
pub struct Refusing {
    pub head: Head,
    none: Bin,
}

// SAFETY: those that are shared are never written.
unsafe impl Sync for Refusing {}

const _: () = assert!(offset_of!(Cache, bins) == offset_of!(Refusing, none));

/// Requests below this take a chunk of an exact class.
pub const SMALL_LIMIT: usize = SMALL_MAX - OVERHEAD + 1;
/// Requests below this, and above the exact classes, may take one of those that hold several sizes.
pub const MEDIUM_LIMIT: u32 = (CACHED_MAX - OVERHEAD - ALIGN + 1) as u32;

/// A chunk of size 0 that no cookie is valid for: cookies are odd.
#[repr(C, align(16))]
struct Sentinel([u64; 4]);
static SENTINEL_CHUNK: Sentinel = Sentinel([0; 4]);

/// The parked pointer that is none, and what an empty magazine reads as.
pub const SENTINEL: *mut u8 = (&raw const SENTINEL_CHUNK).cast::<u8>().wrapping_add(HEADER).cast_mut();

/// Where a bin without a magazine stands: reads as empty, and is full.
pub const NO_SLOT: *mut usize = (&raw const NO_SLOTS).cast::<usize>().wrapping_add(2).cast_mut();
#[repr(C)]
struct NoSlots([*mut u8; 3]);
// SAFETY: never written.
unsafe impl Sync for NoSlots {}
static NO_SLOTS: NoSlots = NoSlots([SENTINEL; 3]);

impl Bin {
    pub const NONE: Bin = Bin { top: NO_SLOT, limit: NO_SLOT };
}

impl Head {
    pub const fn new(thread: *mut Thread, limit: usize, secret: u64, key: usize) -> Head {
        let medium_limit = if limit == 0 { 0 } else { MEDIUM_LIMIT };
        Head { parked: [SENTINEL; 2], limit, secret, key, thread, until_look: LOOKED, medium_limit }
    }
}

impl Cache {
    /// Nothing cached and nothing parked; `park_stand_ins` is to be called once it has its place.
    pub const fn new(head: Head) -> Cache {
        let stand_ins = StandIns { chunks: [[0; 4]; 2], slots: [0; 2] };
        Cache { head, bins: [const { Bin::NONE }; CLASSES], stand_ins }
    }

    /// Puts the stand-ins into the parking places. Returns what was there, the newer first.
    pub fn park_stand_ins(&mut self) -> [*mut u8; 2] {
        let StandIns { chunks, slots } = &mut self.stand_ins;
        for chunk in chunks.iter_mut() {
            // The first word of its user area.
            chunk[2] = self.head.key;
            Chunk::at(chunk.as_ptr() as usize).set(0, 0, State::Live);
        }
        if let Some(bin) = self.bins.first_mut() {
            let slots = slots.as_mut_ptr_range();
            (bin.top, bin.limit) = (slots.start, slots.end);
        }
        let places = chunks.each_mut().map(|chunk| chunk.as_mut_ptr().cast::<u8>().wrapping_add(HEADER));
        core::mem::replace(&mut self.head.parked, places)
    }

    /// Is it a stand-in, or the sentinel?
    #[inline(always)]
    pub fn is_nobody(&self, parked: *mut u8) -> bool {
        parked == SENTINEL || self.stand_ins.chunks.as_ptr_range().contains(&parked.cast_const().cast())
    }
}

impl Refusing {
    pub const fn new(thread: *mut Thread) -> Refusing {
        Refusing { head: Head::new(thread, 0, 0, 0), none: Bin::NONE }
    }
}

/// What a thread starts with.
pub static EMPTY: Refusing = Refusing::new(core::ptr::null_mut());
/// What a thread that only frees goes through, one by one, before it gets a record. In a thread's very last moments, when the C
/// library clears up behind others, nobody would take the record back.
pub static FREED: [Refusing; 64] = [const { Refusing::new(core::ptr::null_mut()) }; 64];
/// What a thread ends with: whatever its last destructors still allocate and free goes by without a cache.
pub static ENDED: Refusing = Refusing::new(core::ptr::null_mut());

/// The bin of an exact class, by chunk size.
#[inline(always)]
unsafe fn bin_of(head: *mut Head, size: usize) -> *mut Bin {
    // SAFETY: the caller's head has bins behind it, and `size` is at most SMALL_MAX.
    unsafe { head.byte_add(offset_of!(Cache, bins) + size).cast() }
}

/// The bin of any class, by its number.
#[inline(always)]
unsafe fn bin_at(head: *mut Head, class: usize) -> *mut Bin {
    // SAFETY: as above, for a class below CLASSES.
    unsafe { bin_of(head, class * size_of::<Bin>()) }
}

/// malloc's fast path; null where another has to be taken.
#[inline(always)]
pub fn take(request: usize) -> *mut u8 {
    // SAFETY: the word is this thread's.
    unsafe { take_from(arch::word(), request) }
}

/// As `take`, from a given head.
///
/// # Safety
/// The head is the calling thread's.
#[inline(always)]
pub unsafe fn take_from(head: *mut Head, request: usize) -> *mut u8 {
    // SAFETY: see the module's head for what its bins hold. Of an empty bin comes the sentinel, which may be read, and
    // which is in no state.
    unsafe {
        if request >= (*head).limit {
            return core::ptr::null_mut();
        }
        let size = rounded(request);
        let bin = bin_of(head, size);
        let slot = (*bin).top.sub(1);
        let user = *slot;
        let chunk = Chunk::from_user(user);
        if !CHECKED {
            if user == SENTINEL as usize {
                return core::ptr::null_mut();
            }
            (*bin).top = slot;
            chunk.set_cookie(chunk.cookie().wrapping_sub(State::Cached as u32));
            return user as *mut u8;
        }
        let live = cookie_by((*head).secret, user, size);
        if chunk.own_cookie() != live.wrapping_add(State::Cached as u32) {
            return core::ptr::null_mut();
        }
        chunk.set_cookie(live);
        // Read again, behind a store that may have been to the same place: so the compiler counts down in one instruction.
        (*bin).top = (*bin).top.sub(1);
        clear(user);
        user as *mut u8
    }
}

/// malloc's second fast path, for the classes that hold several sizes; null where the slow path has to be taken.
///
/// # Safety
/// The head is the calling thread's, the request not below `SMALL_LIMIT`.
#[inline]
pub unsafe fn take_medium_from(head: *mut Head, request: usize) -> *mut u8 {
    // SAFETY: as in `take_from`.
    unsafe {
        // A head that refuses has a limit of 0.
        if request >= (*head).medium_limit as usize {
            return core::ptr::null_mut();
        }
        take_medium_below(head, request)
    }
}

/// As `take_medium_from`, whatever the head's own limit is.
///
/// # Safety
/// As `take_medium_from`, for a head with bins and a request below `MEDIUM_LIMIT`.
#[inline(always)]
pub unsafe fn take_medium_below(head: *mut Head, request: usize) -> *mut u8 {
    // SAFETY: as in `take_from`.
    unsafe {
        let needed = rounded(request);
        let bin = bin_at(head, class_above(needed));
        let slot = (*bin).top.sub(1);
        let user = *slot;
        let chunk = Chunk::from_user(user);
        let size = chunk.size();
        let cached = State::Cached as u32;
        let live = if CHECKED { cookie_by((*head).secret, user, size) } else { chunk.cookie().wrapping_sub(cached) };
        // The sentinel's size is 0.
        if CHECKED && chunk.own_cookie() != live.wrapping_add(cached) || size < needed {
            return core::ptr::null_mut();
        }
        chunk.set_cookie(live);
        // Read again, behind a store that may have been to the same place: so the compiler counts down in one instruction.
        (*bin).top = (*bin).top.sub(1);
        clear(user);
        user as *mut u8
    }
}

/// free's fast path; `false` where the slow path has to be taken. Nothing has happened then.
///
/// # Safety
/// The pointer is the caller's to free.
#[inline(always)]
pub unsafe fn park(user: *mut u8) -> bool {
    // SAFETY: the word is this thread's.
    unsafe { park_in(arch::word(), user) }
}

/// As `park`, in a given head.
///
/// # Safety
/// The head is the calling thread's.
#[inline(always)]
pub unsafe fn park_in(head: *mut Head, user: *mut u8) -> bool {
    arch::prefetch((user as usize).wrapping_sub(8));
    // SAFETY: as in `take_from`. The parked pointer's header may be read: it was a chunk's, or the sentinel's, or the process
    // is about to stop at it. Nor is the key's place anybody else's; a pointer that leads nowhere faults here, see the
    // door's `fault`.
    unsafe {
        let [newer, older] = (*head).parked;
        if CHECKED && (user == newer || user == older) || may_be_mapped(user) {
            return false;
        }
        let away = match PARKED {
            0 => user,
            1 => newer,
            _ => older,
        } as usize;
        let chunk = Chunk::from_user(away);
        let size = chunk.size();
        let live = if CHECKED { cookie_by((*head).secret, away, size) } else { chunk.cookie() };
        let key = (*head).key;
        if CHECKED && (chunk.own_cookie() != live || PARKED > 0 && *(away as *const usize) != key) {
            return false;
        }
        let bin = if size <= SMALL_MAX {
            bin_of(head, size)
        } else {
            core::hint::cold_path();
            if size > CACHED_MAX {
                return false;
            }
            bin_at(head, class_of(size))
        };
        let top = (*bin).top;
        if top == (*bin).limit {
            return false;
        }
        // Only now: before this, the head may be one that nobody writes to.
        (*head).until_look = (*head).until_look.wrapping_sub(1);
        if (*head).until_look == 0 {
            return false;
        }
        chunk.set_cookie(live.wrapping_add(State::Cached as u32));
        *top = away;
        // Read again, as in `take_from`.
        (*bin).top = (*bin).top.add(1);
        if PARKED > 0 {
            if CHECKED {
                *user.cast::<usize>() = key;
            }
            (*head).parked = [user, if PARKED > 1 { newer } else { SENTINEL }];
        }
        true
    }
}

/// As `park`, for a chunk whose size the caller knows from its request: its bin is known without the header, so it is proven
/// and pushed at once.
///
/// # Safety
/// The pointer is the caller's to free.
#[inline(always)]
pub unsafe fn push_sized(user: *mut u8, request: usize) -> bool {
    // SAFETY: the word is this thread's.
    unsafe { push_sized_in(arch::word(), user, request) }
}

/// As `push_sized`, in a given head.
///
/// # Safety
/// The head is the calling thread's, the pointer the caller's to free.
#[inline(always)]
pub unsafe fn push_sized_in(head: *mut Head, user: *mut u8, request: usize) -> bool {
    // SAFETY: as in `park_in`.
    unsafe {
        let [newer, older] = (*head).parked;
        if request >= (*head).limit || CHECKED && (user == newer || user == older) || may_be_mapped(user) {
            return false;
        }
        let size = rounded(request);
        let bin = bin_of(head, size);
        let top = (*bin).top;
        let chunk = Chunk::from_user(user as usize);
        let live = if CHECKED { cookie_by((*head).secret, user as usize, size) } else { chunk.cookie() };
        if CHECKED && chunk.own_cookie() != live || top == (*bin).limit {
            return false;
        }
        // The last one is left to `park_in`, which takes the slow path with it.
        let left = (*head).until_look.wrapping_sub(1);
        if left == 0 {
            return false;
        }
        (*head).until_look = left;
        chunk.set_cookie(live.wrapping_add(State::Cached as u32));
        *top = user as usize;
        (*bin).top = (*bin).top.add(1);
        true
    }
}

/// What a free wrote into a chunk's first word is no longer true once it is handed out.
///
/// # Safety
/// The chunk is the caller's, live.
#[inline(always)]
pub unsafe fn clear(user: usize) {
    if PARKED > 0 && CHECKED {
        // SAFETY: as the caller promises; a chunk holds at least three words.
        unsafe { *(user as *mut usize) = 0 };
    }
}

/// Mapped chunks start at a page's start or 16 bytes past it. Null looks like one too, and even stands in a marked window
/// where a program's own place, and so its break, is low in memory.
#[inline(always)]
fn may_be_mapped(user: *mut u8) -> bool {
    if user as usize & 0xfef != 0 {
        return false;
    }
    core::hint::cold_path();
    user.is_null() || !region::is_marked(user as usize)
}
