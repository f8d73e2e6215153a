//! Mapped chunks: one anonymous mapping each, for requests at and above the threshold.
//!
//! ```text
//!  mapping start -> +-------------------------------+
//!                   | length of the mapping  u64    |
//!                   | cookie u32 | size 0, M   u32  |
//!  user pointer  -> | ...                           | 16 bytes past the start, more where an alignment asks for it
//! ```
//!
//! A table of all of them, keyed by user pointer, answers what a header can't: whether memory is there at all. It keeps
//! pointers that were freed until their address comes back, so that a double free of one can be told from a stray pointer.
//!
//! A freed mapping goes back at once where that raises the threshold, so that the next request of its length is a heap's.
//! Where it doesn't, the program most likely cycles such lengths: then the mapping waits for the next request, with its
//! pages as they were, for a decay and within `WARM_BYTES`.
//!
//! The table is whole at every instant, whoever is at work on it: a forked child goes on from wherever another thread was.
//! So a slot's kind is written last, and a larger table takes the place of the old one in one store.

use crate::chunk::{Chunk, M, P, State};
use crate::decay;
use crate::die;
use crate::kernel;
use crate::policy::{MMAP_THRESHOLD_MAX, POLICY};
use crate::probe::{self, Kind, Outcome};
use crate::secure::{self, mapping};
use crate::size::{HEADER, MAX_REQUEST};
use crate::sync::atomic::{AtomicUsize, Ordering::*, fence};
use crate::sync::lock::Lock;
use crate::thread;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use heapglass_event::root::{MappedAt, Piece, Place};
use heapglass_os as os;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
enum Entry {
    Empty = 0,
    Live,
    Freed,
    /// Freed, but the kernel wouldn't take the mapping: its pages are released, its addresses wait for a request that fits.
    Kept,
}

/// One mapping: `base..base + length`, with the chunk's user pointer somewhere in its first page.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    user: usize,
    base: usize,
    length: usize,
    /// Of a live one.
    request: usize,
    entry: Entry,
}

const EMPTY_SLOT: Slot = Slot { user: 0, base: 0, length: 0, request: 0, entry: Entry::Empty };
const FIRST: usize = 64;

struct Table {
    /// A slot that says in `length` how many follow, a power of two; null before the first entry.
    head: *mut Slot,
    /// Slots that aren't empty.
    filled: usize,
    first: [Slot; 1 + FIRST],
    warm: [Warm; WARM],
    warm_bytes: usize,
    /// Half decays that have passed.
    epoch: usize,
    /// When the last began, in milliseconds.
    began: u64,
}

/// A freed mapping whose pages are as the program left them.
#[derive(Clone, Copy)]
struct Warm {
    base: usize,
    /// 0 where the place is free.
    length: usize,
    epoch: usize,
}

const COLD: Warm = Warm { base: 0, length: 0, epoch: 0 };

impl Slot {
    /// Not a live one, becomes this one: what it is, last.
    fn write(&mut self, slot: Slot) {
        (self.user, self.base, self.length, self.request) = (slot.user, slot.base, slot.length, slot.request);
        fence(Release);
        self.entry = slot.entry;
    }
}

impl Warm {
    /// Empties the place.
    fn take(&mut self) -> Warm {
        let taken = *self;
        self.length = 0;
        taken
    }
}

/// The slot of a pointer in a table, or the empty one where it would go.
fn find_in(slots: &mut [Slot], user: usize) -> &mut Slot {
    let (mask, slots) = (slots.len() - 1, slots.as_mut_ptr());
    let mut index = (user >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 & mask;
    // SAFETY: the mask keeps the index inside; a table is never more than half full, so the search ends.
    unsafe {
        loop {
            let slot = slots.add(index);
            if (*slot).entry == Entry::Empty || (*slot).user == user {
                return &mut *slot;
            }
            index = (index + 1) & mask;
        }
    }
}

/// In a forked child, where another thread was at work on the table: what is counted beside it is counted anew.
pub fn count_anew() {
    locked(|table| {
        table.filled = table.slots().iter().filter(|slot| slot.entry != Entry::Empty).count();
        KEPT.store(table.slots().iter().filter(|slot| slot.entry == Entry::Kept).count(), Relaxed);
        table.warm_bytes = table.warm.iter().map(|warm| warm.length).sum();
        WARMED.store(table.warm.iter().filter(|warm| warm.length != 0).count(), Relaxed);
        secure::mapping::forget();
    });
}

/// Freed mappings that are kept, at most, and their bytes.
const WARM: usize = 16;
const WARM_BYTES: usize = 64 << 20;
/// Longer mappings go back at once, as they raise no threshold either.
const WARM_LENGTH: usize = MMAP_THRESHOLD_MAX;

struct Shared(UnsafeCell<Table>);
// SAFETY: reached only under `LOCK`.
unsafe impl Sync for Shared {}

pub static LOCK: Lock = Lock::new();
static TABLE: Shared = Shared(UnsafeCell::new(Table {
    head: core::ptr::null_mut(),
    filled: 0,
    first: [EMPTY_SLOT; 1 + FIRST],
    warm: [COLD; WARM],
    warm_bytes: 0,
    epoch: 0,
    began: 0,
}));
/// Mapped chunks now, and the bytes of their mappings.
pub static CHUNKS: AtomicUsize = AtomicUsize::new(0);
pub static BYTES: AtomicUsize = AtomicUsize::new(0);
/// The most mapped chunks that there were at a time.
pub static CHUNKS_PEAK: AtomicUsize = AtomicUsize::new(0);
/// Entries of that kind.
static KEPT: AtomicUsize = AtomicUsize::new(0);
/// Freed mappings that wait with their pages.
static WARMED: AtomicUsize = AtomicUsize::new(0);

/// What the table knows of a pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// A live mapped chunk, with its mapping.
    Live {
        base: usize,
        length: usize,
    },
    Freed,
    No,
}

/// Runs `work` with the lock; `None` where this thread has it already.
pub fn alone<T>(work: impl FnOnce() -> T) -> Option<T> {
    locked(|_| work())
}

fn locked<T>(work: impl FnOnce(&mut Table) -> T) -> Option<T> {
    if !LOCK.lock(thread::owner()) {
        return None;
    }
    // SAFETY: the lock is held, and `work` can't come back here: it only touches the table and the kernel.
    let value = work(unsafe { &mut *TABLE.0.get() });
    LOCK.unlock();
    Some(value)
}

impl Table {
    fn slots(&mut self) -> &mut [Slot] {
        if self.head.is_null() {
            let head = self.first.as_mut_ptr();
            // SAFETY: the first slot of several.
            unsafe { (*head).length = FIRST };
            self.head = head;
        }
        // SAFETY: behind its head a table has as many slots as that says: the first few here, later ones in a mapping of their own.
        unsafe { core::slice::from_raw_parts_mut(self.head.add(1), (*self.head).length) }
    }

    /// The slot of a pointer, or the empty one where it would go.
    fn find(&mut self, user: usize) -> &mut Slot {
        find_in(self.slots(), user)
    }

    /// Room for one more entry; `false` where there is no memory for a larger table.
    fn make_room(&mut self) -> bool {
        let capacity = self.slots().len();
        if self.filled < capacity / 2 {
            return true;
        }
        let stays = |slot: &&Slot| matches!(slot.entry, Entry::Live | Entry::Kept);
        let live = self.slots().iter().filter(stays).count();
        let larger = (live * 4).next_power_of_two().max(FIRST * 4);
        let Some(bytes) = os::pages_up((1 + larger) * size_of::<Slot>()) else { return false };
        let Ok(memory) = kernel::map(0, bytes, os::Access::ReadWrite) else { return self.filled + 1 < capacity };
        os::name(memory, bytes, c"heapglass records");
        let (old, new) = (self.head, memory as *mut Slot);
        // SAFETY: fresh memory, long enough, which reads as empty slots.
        let slots = unsafe {
            (*new).length = larger;
            core::slice::from_raw_parts_mut(new.add(1), larger)
        };
        for slot in self.slots().iter().filter(stays) {
            *find_in(slots, slot.user) = *slot;
        }
        fence(Release);
        (self.head, self.filled) = (new, live);
        if old != self.first.as_mut_ptr() {
            let old_bytes = os::pages_up((1 + capacity) * size_of::<Slot>()).unwrap_or(0);
            // SAFETY: the old table was a mapping of its own, and is copied.
            let _ = unsafe { kernel::unmap(old as usize, old_bytes) };
        }
        true
    }

    fn add(&mut self, user: usize, base: usize, length: usize, request: usize) {
        let slot = self.find(user);
        let was_empty = slot.entry == Entry::Empty;
        slot.write(Slot { user, base, length, request, entry: Entry::Live });
        self.filled += was_empty as usize;
    }

    /// Keeps a freed mapping; `false` where there is no room.
    fn keep_warm(&mut self, base: usize, length: usize) -> bool {
        if length > WARM_LENGTH || self.warm_bytes + length > WARM_BYTES {
            return false;
        }
        let Some(place) = self.warm.iter_mut().find(|warm| warm.length == 0) else { return false };
        (place.base, place.epoch) = (base, self.epoch);
        fence(Release);
        place.length = length;
        self.warm_bytes += length;
        true
    }

    /// Takes out the kept mapping that fits best: the shortest that is long enough, else the longest.
    fn take_warm(&mut self, length: usize) -> Option<Warm> {
        let kept = self.warm.iter_mut().filter(|warm| warm.length != 0);
        let best = kept.min_by_key(|warm| (warm.length < length, warm.length.abs_diff(length)))?;
        let taken = best.take();
        self.warm_bytes -= taken.length;
        Some(taken)
    }

    /// Takes out a kept mapping that has waited for so many epochs.
    fn take_cold(&mut self, epochs: usize) -> Option<Warm> {
        let now = self.epoch;
        let is_cold = |warm: &&mut Warm| warm.length != 0 && now.wrapping_sub(warm.epoch) >= epochs;
        let taken = self.warm.iter_mut().find(is_cold)?.take();
        self.warm_bytes -= taken.length;
        Some(taken)
    }
}

/// A user pointer in a mapping, and whether its bytes are known to be zero.
#[derive(Clone, Copy)]
pub struct Made {
    pub user: usize,
    pub zero: bool,
}

/// A mapping of its own for a request, its user pointer a multiple of `align`; `None` where the kernel refuses or the
/// process has as many as it may.
pub fn allocate(request: usize, align: usize) -> Option<Made> {
    if request > MAX_REQUEST || CHUNKS.load(Relaxed) >= POLICY.mmap_max.load(Relaxed) {
        return None;
    }
    let (user, base, length, zero) = if secure::has(secure::GUARDS) {
        let placed = mapping::place(request, align)?;
        probe::step(Kind::Mapping, Outcome::Made, [placed.1, placed.2, 0]);
        placed
    } else {
        place(request, align)?
    };
    // Before it is listed: whoever looks through the table finds headers that are whole.
    write_header(user, length);
    let listed = locked(|table| table.make_room().then(|| table.add(user, base, length, request))).flatten();
    if listed.is_none() {
        // SAFETY: mapped a moment ago, unknown to anyone.
        unsafe { mapping::unmap(base, length) };
        return None;
    }
    CHUNKS_PEAK.fetch_max(CHUNKS.fetch_add(1, Relaxed) + 1, Relaxed);
    BYTES.fetch_add(length, Relaxed);
    kernel::add(&kernel::counters().mapped_bytes, &kernel::counters().mapped_peak_bytes, length);
    Some(Made { user, zero })
}

/// Memory for a mapped chunk: its user pointer, its mapping, and whether that is zero.
fn place(request: usize, align: usize) -> Option<(usize, usize, usize, bool)> {
    // Aligned chunks start at a page's start at least, where free knows them without a look at the header.
    let align = if align > HEADER { align.max(os::page_size()) } else { align };
    let extra = if align > HEADER { align } else { 0 };
    let length = os::pages_up(request.checked_add(HEADER)?.checked_add(extra)?)?;
    if length > MAX_REQUEST {
        return None;
    }
    let warm = if extra == 0 { take_warm(length) } else { None };
    let kept = if extra == 0 && warm.is_none() { take_kept(length) } else { None };
    let zero = warm.is_none();
    Some(match warm.or(kept) {
        Some(base) => {
            probe::step(Kind::Mapping, Outcome::Reused, [base, length, 0]);
            (base + HEADER, base, length, zero)
        }
        None => {
            let base = kernel::map(0, length, os::Access::ReadWrite).ok()?;
            let cut = if extra == 0 { (base + HEADER, base, length) } else { cut(base, length, request, align)? };
            probe::step(Kind::Mapping, Outcome::Made, [cut.1, cut.2, 0]);
            (cut.0, cut.1, cut.2, true)
        }
    })
}

/// Memory of a mapping that was freed a while ago, brought to this length.
fn take_warm(length: usize) -> Option<usize> {
    // A longer one doesn't pay: the request may be a single one.
    if WARMED.load(Relaxed) == 0 || length > WARM_LENGTH {
        return None;
    }
    let Warm { base, length: had, .. } = locked(|table| table.take_warm(length)).flatten()?;
    WARMED.fetch_sub(1, Relaxed);
    // SAFETY: a whole mapping of ours, in no list; where it moves, nobody has the old address.
    let resized = if had == length { Ok(base) } else { unsafe { kernel::remap(base, had, length) } };
    if resized.is_err() {
        // SAFETY: as above.
        let _ = unsafe { kernel::unmap(base, had) };
    }
    resized.ok()
}

/// Called now and then while something waits: kept mappings go once they have waited for a decay. `true` where some still wait.
pub fn decay(now: u64, decay_ms: u64) -> bool {
    if WARMED.load(Relaxed) == 0 {
        return false;
    }
    locked(|table| {
        if now.saturating_sub(table.began) >= decay::period(decay_ms) {
            (table.began, table.epoch) = (now, table.epoch.wrapping_add(1));
        }
    });
    // One at a time is bounded work.
    drop_one(3);
    WARMED.load(Relaxed) > 0
}

/// All kept mappings go; `true` where there were some.
pub fn drop_kept() -> bool {
    let mut gave = false;
    for _ in 0..WARM {
        gave |= drop_one(0);
    }
    gave
}

fn drop_one(epochs: usize) -> bool {
    let Some(Warm { base, length, .. }) = locked(|table| table.take_cold(epochs)).flatten() else { return false };
    WARMED.fetch_sub(1, Relaxed);
    // SAFETY: a mapping of ours that nobody uses, in no list. Where the kernel refuses, its pages go at least.
    unsafe { kernel::unmap(base, length).or_else(|_| kernel::discard(base, length)) }.is_ok()
}

fn write_header(user: usize, length: usize) {
    let chunk = Chunk::from_user(user);
    // SAFETY: the mapping is ours, and has 16 bytes before the user's.
    unsafe { *(chunk.address() as *mut usize) = length };
    chunk.set(0, M | P, State::Mapped);
}

/// Keeps of a mapping only the pages around an aligned chunk; `None`, with the mapping gone, where the kernel doesn't let it
/// be cut behind: a chunk shall not be longer than its request by more than a page.
fn cut(base: usize, length: usize, request: usize, align: usize) -> Option<(usize, usize, usize)> {
    let page = os::page_size();
    let user = (base + HEADER + align - 1) & !(align - 1);
    let (start, end) = ((user - HEADER) & !(page - 1), (user + request + page - 1) & !(page - 1));
    let (mut from, to) = (base, base + length);
    // SAFETY: our own fresh mapping.
    unsafe {
        if to > end && kernel::unmap(end, to - end).is_err() {
            let _ = kernel::unmap(base, length);
            return None;
        }
        if start > from && kernel::unmap(from, start - from).is_ok() {
            from = start;
        }
    }
    Some((user, from, end - from))
}

/// What is known of this pointer.
pub fn look_up(user: usize) -> Known {
    locked(|table| match *table.find(user) {
        Slot { entry: Entry::Live, base, length, .. } => Known::Live { base, length },
        Slot { entry: Entry::Freed | Entry::Kept, .. } => Known::Freed,
        _ => Known::No,
    })
    .unwrap_or(Known::No)
}

/// Proves the header of a live mapped chunk.
pub fn prove(user: usize, length: usize) {
    let chunk = Chunk::from_user(user);
    // SAFETY: the table says that the mapping is there.
    if !chunk.is(State::Mapped) || unsafe { *(chunk.address() as *const usize) } != length {
        die::corrupt_header(chunk, "in use, a mapping of its own");
    }
}

/// Bytes that the user may use.
pub fn usable(user: usize, base: usize, length: usize) -> usize {
    base + length - user
}

/// Frees a mapped chunk: the mapping goes back at once, or waits for the next request. Returns what was known of the pointer; only `Live` ones are freed.
pub fn free(user: usize) -> Known {
    let known = locked(|table| {
        let slot = table.find(user);
        match slot.entry {
            Entry::Live => {
                prove(user, slot.length);
                secure::asked("free", user, usable(user, slot.base, slot.length));
                slot.entry = Entry::Freed;
                Known::Live { base: slot.base, length: slot.length }
            }
            Entry::Freed | Entry::Kept => Known::Freed,
            Entry::Empty => Known::No,
        }
    })
    .unwrap_or(Known::No);
    if let Known::Live { base, length } = known {
        CHUNKS.fetch_sub(1, Relaxed);
        BYTES.fetch_sub(length, Relaxed);
        kernel::sub(&kernel::counters().mapped_bytes, length);
        let flags = Chunk::from_user(user).flags() as usize;
        probe::step_of(Kind::Proven, Outcome::Mapped, flags, [user - HEADER, length, 0]);
        if secure::has(secure::GUARDS) {
            // SAFETY: the chunk was proven live, and is the caller's to free.
            unsafe { mapping::retire(base, length) };
            probe::step(Kind::Mapping, Outcome::Kept, [base, length, 0]);
            return known;
        }
        let rises = !secure::is_on() && POLICY.mapping_freed(length);
        if rises {
            let thresholds = [&POLICY.mmap_threshold, &POLICY.trim_threshold].map(|cell| cell.load(Relaxed));
            probe::step(Kind::Rise, Outcome::Done, [thresholds[0], thresholds[1], 0]);
        }
        let keeps = !secure::is_on() && !rises && !POLICY.keeps_nothing();
        if keeps && locked(|table| table.keep_warm(base, length)) == Some(true) {
            WARMED.fetch_add(1, Relaxed);
            decay::raise();
            probe::step(Kind::Mapping, Outcome::Kept, [base, length, 0]);
            return known;
        }
        // SAFETY: the chunk was proven live, and is the caller's to free.
        if unsafe { kernel::unmap(base, length) }.is_err() {
            probe::step(Kind::Mapping, Outcome::Refused, [base, length, 0]);
            keep(user, base, length);
        } else {
            probe::step(Kind::Mapping, Outcome::Unmapped, [base, length, 0]);
        }
    }
    known
}

/// The kernel wouldn't split a longer mapping that it had joined ours to: release the pages and keep the addresses.
#[cold]
fn keep(user: usize, base: usize, length: usize) {
    // SAFETY: freed, and nobody's. Where the pages can't be released (they are locked, say), they aren't zero, and the
    // mapping is of no more use.
    if unsafe { kernel::discard(base, length) }.is_err() {
        return;
    }
    locked(|table| {
        let slot = table.find(user);
        let was_empty = slot.entry == Entry::Empty;
        if slot.entry != Entry::Live {
            slot.write(Slot { user, base, length, request: 0, entry: Entry::Kept });
            table.filled += was_empty as usize;
            KEPT.fetch_add(1, Relaxed);
        }
    });
}

/// A kept mapping of this very length.
fn take_kept(length: usize) -> Option<usize> {
    if KEPT.load(Relaxed) == 0 {
        return None;
    }
    locked(|table| {
        let fits = |slot: &&mut Slot| slot.entry == Entry::Kept && slot.length == length;
        let slot = table.slots().iter_mut().find(fits)?;
        slot.entry = Entry::Freed;
        KEPT.fetch_sub(1, Relaxed);
        Some(slot.base)
    })
    .flatten()
}

/// Resizes a live mapped chunk without copying, moving it where it must; `None` where the kernel refuses.
pub fn resize(user: usize, request: usize) -> Option<usize> {
    locked(|table| {
        let Slot { base, length, entry: Entry::Live, .. } = *table.find(user) else { return None };
        let offset = user - base;
        let new_length = os::pages_up(request.checked_add(offset)?)?;
        if new_length == length {
            table.find(user).request = request;
            return Some(user);
        }
        if new_length > MAX_REQUEST || !table.make_room() {
            return None;
        }
        // SAFETY: a whole mapping of ours; the caller gives the old address up where it moves.
        let new_base = unsafe {
            if secure::has(secure::GUARDS) {
                mapping::resize(base, length, new_length)
            } else {
                kernel::remap(base, length, new_length).ok()
            }
        }?;
        let new_user = new_base + offset;
        table.find(user).entry = Entry::Freed;
        table.add(new_user, new_base, new_length, request);
        write_header(new_user, new_length);
        probe::step(Kind::Mapping, Outcome::Resized, [new_base, new_length, 0]);
        BYTES.fetch_add(new_length, Relaxed);
        BYTES.fetch_sub(length, Relaxed);
        let figures = kernel::counters();
        kernel::sub(&figures.mapped_bytes, length);
        kernel::add(&figures.mapped_bytes, &figures.mapped_peak_bytes, new_length);
        Some(new_user)
    })
    .flatten()
}

/// A live mapped chunk serves another request as it is.
pub fn asked_anew(user: usize, request: usize) {
    locked(|table| {
        let slot = table.find(user);
        if slot.entry == Entry::Live {
            slot.request = request;
        }
    });
}

/// Calls `see` with user pointer and mapping of each live mapped chunk.
pub fn each(mut see: impl FnMut(usize, usize, usize)) {
    locked(|table| {
        for slot in table.slots().iter().filter(|slot| slot.entry == Entry::Live) {
            see(slot.user, slot.base, slot.length);
        }
    });
}

/// For `root`.
pub const fn seen() -> (MappedAt, Piece) {
    let shared = Place::of(&raw const TABLE);
    let at = MappedAt {
        lock: Place::of(&raw const LOCK),
        table: shared.past(offset_of!(Table, head)),
        slot_bytes: size_of::<Slot>(),
        user: offset_of!(Slot, user),
        base: offset_of!(Slot, base),
        length: offset_of!(Slot, length),
        request: offset_of!(Slot, request),
        entry: offset_of!(Slot, entry),
        entry_live: Entry::Live as usize,
        entry_kept: Entry::Kept as usize,
        warm: shared.past(offset_of!(Table, warm)),
        warm_count: WARM,
        warm_bytes: size_of::<Warm>(),
        warm_base: offset_of!(Warm, base),
        warm_length: offset_of!(Warm, length),
    };
    (at, Piece { at: shared, bytes: size_of::<Table>() })
}
