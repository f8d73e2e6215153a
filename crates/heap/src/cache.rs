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
//! yet to come from memory holds up the mallocs behind it. So free asks for the header's line, parks the pointer, and works
//! on the one parked two calls before, whose header has come by now. There are two ways:
//!
//! - While the process has had one thread only, a pointer is parked unread: its chunk is proven and marked when it is
//!   pushed. So that nothing slips through, free compares its pointer with the parked ones (a repeat stops at its own
//!   call), and malloc compares what it pops with them (a chunk that is in the cache and parked was freed twice).
//! - Once there were two threads, that isn't enough: the other thread could free the parked chunk too, and get it back from
//!   malloc before this one looks. So free proves and marks the chunk at once, and only the push waits.
//!
//! Mapped chunks aren't parked, so they go back to the kernel at once: their pointers stand at a page's start or 16 bytes
//! past it, and such a pointer is parked only if its window of addresses is a heap's.
//!
//! # Safety
//! A head is used by its own thread only. Slots between a magazine's start and a bin's position hold user pointers of
//! cached chunks.

use crate::arch;
use crate::chunk::{Chunk, State, live_cookie};
use crate::region;
use crate::size::*;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
    /// Requests below this many bytes may be served from the bins.
    pub limit: usize,
    /// The thread that all this belongs to; null in `EMPTY`.
    pub thread: *mut Thread,
    /// What is parked was proven and marked before. Follows `SHARED` at the thread's next slow free.
    pub marks: bool,
}

/// The process has had more than one thread that frees.
pub static SHARED: AtomicBool = AtomicBool::new(false);

/// A head with its bins. Class 0, which no chunk has, is the sentinel's: its bin is for ever full.
#[repr(C)]
pub struct Cache {
    pub head: Head,
    pub bins: [Bin; CLASSES],
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

/// A chunk of size 0 that no cookie is valid for: cookies are odd.
#[repr(C, align(16))]
struct Sentinel([u64; 4]);
static SENTINEL_CHUNK: Sentinel = Sentinel([0; 4]);

/// The parked pointer that is none.
pub const SENTINEL: *mut u8 = (&raw const SENTINEL_CHUNK).cast::<u8>().wrapping_add(HEADER).cast_mut();

/// Where a bin without a magazine stands: reads as empty, and is full.
pub const NO_SLOT: *mut usize = (&raw const NO_SLOTS).cast::<usize>().wrapping_add(1).cast_mut();
static NO_SLOTS: [usize; 2] = [0; 2];

impl Bin {
    pub const NONE: Bin = Bin { top: NO_SLOT, limit: NO_SLOT };
}

impl Head {
    pub const fn new(thread: *mut Thread, limit: usize) -> Head {
        Head { parked: [SENTINEL; 2], limit, thread, marks: false }
    }
}

impl Refusing {
    pub const fn new(thread: *mut Thread) -> Refusing {
        Refusing { head: Head::new(thread, 0), none: Bin::NONE }
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

/// malloc's fast path; null where the slow path has to be taken.
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
    // SAFETY: see the module's head for what its bins hold.
    unsafe {
        if request >= (*head).limit {
            return core::ptr::null_mut();
        }
        let size = ((request + OVERHEAD + ALIGN - 1) & !(ALIGN - 1)).max(MIN_CHUNK);
        let bin = bin_of(head, size);
        let slot = (*bin).top.sub(1);
        let user = *slot;
        if user == 0 || user == (*head).parked[0] as usize || user == (*head).parked[1] as usize {
            return core::ptr::null_mut();
        }
        let chunk = Chunk::from_user(user);
        let live = live_cookie(user, size);
        if chunk.cookie() != live ^ State::Cached as u32 {
            return core::ptr::null_mut();
        }
        (*bin).top = slot;
        chunk.set_cookie(live);
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
    if SHARED.load(Relaxed) {
        // SAFETY: as the caller promises.
        return unsafe { park_marked(head, user) };
    }
    // SAFETY: as in `take_from`. The parked pointer's header may be read: it was a chunk's, or the sentinel's, or the process
    // is about to stop at it.
    unsafe {
        let [newer, older] = (*head).parked;
        if user == newer || user == older || may_be_mapped(user) {
            return false;
        }
        let away = older as usize;
        let chunk = Chunk::from_user(away);
        let size = chunk.size();
        let live = live_cookie(away, size);
        if chunk.cookie() != live || size > SMALL_MAX {
            return false;
        }
        let bin = bin_of(head, size);
        let top = (*bin).top;
        if top == (*bin).limit {
            return false;
        }
        chunk.set_cookie(live ^ State::Cached as u32);
        *top = away;
        (*bin).top = top.add(1);
        (*head).parked = [user, newer];
        true
    }
}

/// Mapped chunks start at a page's start or 16 bytes past it. Null looks like one too, and even stands in a marked window
/// where a program's own place, and so its break, is low in memory.
#[inline(always)]
fn may_be_mapped(user: *mut u8) -> bool {
    user as usize & 0xfef == 0 && (user.is_null() || !region::is_marked(user as usize))
}

/// The second way of `park_in`.
#[inline(always)]
unsafe fn park_marked(head: *mut Head, user: *mut u8) -> bool {
    // SAFETY: as in `take_from`. The header is read unproven: a pointer that leads nowhere faults here, see the door's `fault`.
    unsafe {
        // First the bin, so that behind the heads that refuse nothing of the pointer is looked at.
        let [newer, older] = (*head).parked;
        let bin = bin_of(head, Chunk::from_user(older as usize).size());
        let top = (*bin).top;
        if top == (*bin).limit || !(*head).marks || may_be_mapped(user) {
            return false;
        }
        let chunk = Chunk::from_user(user as usize);
        let size = chunk.size();
        let live = live_cookie(user as usize, size);
        if chunk.cookie() != live || size > SMALL_MAX {
            return false;
        }
        chunk.set_cookie(live ^ State::Cached as u32);
        *top = older as usize;
        (*bin).top = top.add(1);
        (*head).parked = [user, newer];
        true
    }
}
