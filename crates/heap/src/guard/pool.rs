//! The pool: a range of addresses with slots, made with the first sample, and a record for each slot in memory apart: the library's
//! own, unless more slots are asked for. So nothing is taken from a program that is short of memory.

use super::Made;
use crate::kernel;
use crate::policy::{GUARD_SLOTS, POLICY};
use crate::region;
use crate::report::{Trace, unwind::FRAMES};
use crate::size::ALIGN;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use crate::sync::lock::Lock;
use crate::thread;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use heapglass_event::root::{Piece, Place, SamplesAt};
use heapglass_os::{self as os, Access};

/// Data bytes of a slot, if pages aren't longer than that.
const DATA: usize = 16 * 1024;
/// Bytes beside an object that hold the pattern, on each side where there are so many.
const ZONE: usize = 64;
/// Never 0, which is what most overflows write, and even, see the module's head.
const PATTERN: u8 = 0xa6;
/// Most slots.
pub const SLOTS_MAX: usize = 1 << 16;
/// Of the slots, one in so many is never in use, so that freed ones stay closed for a while.
const RESTING: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    Fresh = 0,
    Live,
    Freed,
}

/// A slot's record.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Slot {
    pub state: State,
    /// The kernel refused to guard it: mprotect does.
    hard: bool,
    /// It was closed, but its pages couldn't be given back.
    dirty: bool,
    pub user: usize,
    pub request: usize,
    /// The pages that are open, or were last.
    open: usize,
    open_bytes: usize,
    /// The slot freed after this one.
    next: usize,
    pub made: Trace,
    pub gone: Trace,
}

const FRESH: Slot = Slot {
    state: State::Fresh,
    hard: false,
    dirty: false,
    user: 0,
    request: 0,
    open: 0,
    open_bytes: 0,
    next: 0,
    made: Trace::NONE,
    gone: Trace::NONE,
};

/// Somebody wrote beside an object.
pub struct Damage {
    pub is_behind: bool,
    pub distance: usize,
    pub address: usize,
}

/// Why a pointer can't be freed.
pub enum Refused {
    NotLive,
    Damaged(Damage, &'static Slot),
}

pub struct Pool {
    records: *mut Slot,
    /// The kernel has guards, and the pool is writable but for them.
    is_light: bool,
    /// It has guards, which are to be taken away before a slot is used.
    is_marked: bool,
    /// Slots that were ever used; those behind are fresh.
    used: usize,
    live: usize,
    /// Freed slots, a list from the oldest to the newest, by index plus one.
    oldest: usize,
    newest: usize,
    failed: bool,
}

struct Shared(UnsafeCell<Pool>);
// SAFETY: reached only under `LOCK`.
unsafe impl Sync for Shared {}

struct First(UnsafeCell<[Slot; GUARD_SLOTS]>);
// SAFETY: as above; who reads without the lock knows that it may be changing.
unsafe impl Sync for First {}
static FIRST: First = First(UnsafeCell::new([FRESH; GUARD_SLOTS]));

pub static LOCK: Lock = Lock::new();
static POOL: Shared = Shared(UnsafeCell::new(Pool {
    records: core::ptr::null_mut(),
    is_light: false,
    is_marked: false,
    used: 0,
    live: 0,
    oldest: 0,
    newest: 0,
    failed: false,
}));

/// The pool's range; written once, the end last.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static SLOTS: AtomicUsize = AtomicUsize::new(0);
static RECORDS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// Is there none, for want of memory?
static IS_OUT: AtomicBool = AtomicBool::new(false);

/// Is it an address of the pool?
#[inline]
pub fn holds(address: usize) -> bool {
    address < END.load(Acquire) && address >= START.load(Relaxed)
}

/// Are there addresses of the pool between these two?
pub fn has_part_of(from: usize, to: usize) -> bool {
    from < END.load(Acquire) && to > START.load(Relaxed)
}

pub fn locked<T>(work: impl FnOnce(&mut Pool) -> T) -> Option<T> {
    if !LOCK.lock(thread::owner()) {
        return None;
    }
    // SAFETY: the lock is held, and `work` only touches the pool and the kernel.
    let value = work(unsafe { &mut *POOL.0.get() });
    LOCK.unlock();
    Some(value)
}

fn data_bytes() -> usize {
    DATA.max(os::page_size())
}

fn stride() -> usize {
    data_bytes() + os::page_size()
}

/// Could a slot hold it, is there a pool to hope for, and is one of its slots free? A look from outside of the lock.
pub fn could_hold(request: usize, align: usize) -> bool {
    let slots = SLOTS.load(Relaxed);
    let has_room = slots == 0 || LIVE.load(Relaxed) < most_live(slots);
    request <= data_bytes() && align <= os::page_size() && has_room && !IS_OUT.load(Relaxed)
}

/// So many of the slots may be in use at a time.
fn most_live(slots: usize) -> usize {
    slots - slots / RESTING
}

/// Where an object stands in its slot; `None` where it can't. `is_free` says whether it may stand at the start, where nothing lies
/// before it that free could read.
fn place(slot: core::ops::Range<usize>, request: usize, align: usize, chance: u64, is_free: bool) -> Option<usize> {
    if chance & 3 == 0 && is_free {
        return Some(slot.start);
    }
    let user = slot.end.checked_sub(request.max(ALIGN))? & !(align.max(ALIGN) - 1);
    (user > slot.start || user == slot.start && is_free).then_some(user)
}

/// Live samples, and the bytes of their pages.
pub fn held() -> (usize, usize) {
    (LIVE.load(Relaxed), LIVE_BYTES.load(Relaxed))
}

fn records_for(slots: usize) -> Option<usize> {
    if slots <= GUARD_SLOTS {
        return Some(FIRST.0.get() as usize);
    }
    kernel::map(0, os::pages_up(slots * size_of::<Slot>())?, Access::ReadWrite).ok()
}

/// The slot whose data or whose guard behind it an address is in.
fn index_of(address: usize) -> Option<usize> {
    let offset = address.checked_sub(START.load(Relaxed) + os::page_size())?;
    offset.checked_div(stride()).filter(|&index| index < SLOTS.load(Relaxed))
}

fn data_of(index: usize) -> usize {
    START.load(Relaxed) + os::page_size() + index * stride()
}

#[cold]
#[inline(never)]
fn seen(index: usize) -> Option<Slot> {
    let records = RECORDS.load(Acquire) as *const Slot;
    // SAFETY: a record of the pool; somebody may be writing to it, but it is plain memory that stays.
    (!records.is_null() && index < SLOTS.load(Relaxed)).then(|| unsafe { records.add(index).read_volatile() })
}

/// The record of the slot that a pointer leads into, as it is now.
pub fn seen_around(user: usize) -> Option<Slot> {
    seen(index_of(user).unwrap_or(0))
}

/// The record of the object that an access to this address most likely meant: the one of its slot, or on the guard between two the
/// nearer one.
pub fn seen_beside(address: usize) -> Option<Slot> {
    let index = index_of(address);
    let below = index.and_then(seen).filter(|slot| slot.state != State::Fresh);
    let is_between = index.is_none_or(|index| address >= data_of(index) + data_bytes());
    let above = seen(index.map_or(0, |index| index + 1)).filter(|slot| is_between && slot.state != State::Fresh);
    match (below, above) {
        (Some(below), Some(above)) => {
            // Of two that stand at the guard, what is in use is the likelier one.
            let far = |slot: &Slot, distance: usize| (distance > os::page_size(), slot.state != State::Live, distance);
            let to_below = far(&below, address.abs_diff(below.user + below.request));
            Some(if far(&above, address.abs_diff(above.user)) < to_below { above } else { below })
        }
        (below, above) => below.or(above),
    }
}

impl Pool {
    fn slots(&mut self) -> usize {
        SLOTS.load(Relaxed)
    }

    fn slot(&mut self, index: usize) -> Option<&'static mut Slot> {
        // SAFETY: a record of the pool, whose lock is held.
        (!self.records.is_null() && index < self.slots()).then(|| unsafe { &mut *self.records.add(index) })
    }

    /// All samples in use.
    pub fn each_live(&mut self, mut see: impl FnMut(&Slot)) {
        for index in 0..self.used {
            if let Some(slot) = self.slot(index).filter(|slot| slot.state == State::Live) {
                see(slot);
            }
        }
    }

    /// Makes the pool; `false` where there is no memory for it, and it isn't tried again.
    fn make(&mut self) -> bool {
        if !self.records.is_null() || self.failed {
            return !self.failed;
        }
        self.failed = true;
        IS_OUT.store(true, Relaxed);
        let slots = POLICY.guard_slots.load(Relaxed).clamp(1, SLOTS_MAX);
        let length = os::page_size() + slots * stride();
        let Ok(start) = kernel::map(0, length, Access::None) else { return false };
        let Some(records) = records_for(slots) else {
            // SAFETY: mapped a moment ago, unknown to anyone.
            let _ = unsafe { kernel::unmap(start, length) };
            return false;
        };
        // SAFETY: a range of our own that nobody uses.
        unsafe {
            self.is_marked = kernel::guard_lightly(start, length).is_ok();
            self.is_light = self.is_marked && kernel::protect(start, length, Access::ReadWrite).is_ok();
        }
        self.records = records as *mut Slot;
        SLOTS.store(slots, Relaxed);
        RECORDS.store(records, Release);
        START.store(start, Relaxed);
        END.store(start + length, Release);
        self.failed = false;
        IS_OUT.store(false, Relaxed);
        true
    }

    /// The slot to use next: a fresh one, or the one that was freed the longest ago.
    fn choose(&mut self) -> Option<usize> {
        let slots = self.slots();
        if self.live >= most_live(slots) {
            return None;
        }
        if self.used < slots {
            self.used += 1;
            return Some(self.used - 1);
        }
        let index = self.oldest.checked_sub(1)?;
        self.oldest = self.slot(index)?.next;
        if self.oldest == 0 {
            self.newest = 0;
        }
        Some(index)
    }

    fn queue(&mut self, index: usize) {
        match self.newest.checked_sub(1).and_then(|newest| self.slot(newest)) {
            Some(newest) => newest.next = index + 1,
            None => self.oldest = index + 1,
        }
        self.newest = index + 1;
        if let Some(slot) = self.slot(index) {
            slot.next = 0;
        }
    }

    pub fn take(&mut self, request: usize, align: usize, chance: u64, made: Trace) -> Option<Made> {
        if !self.make() {
            return None;
        }
        let index = self.choose()?;
        let (start, end) = (data_of(index), data_of(index) + data_bytes());
        let Some(user) = place(start..end, request, align, chance, region::is_never_marked(start)) else {
            self.queue(index);
            return None;
        };
        let room = request.max(ALIGN);
        let page = os::page_size();
        let (is_light, is_marked) = (self.is_light, self.is_marked);
        let slot = self.slot(index)?;
        // What a free reads in the header's place must be there too.
        let from = user.saturating_sub(ALIGN).max(start) & !(page - 1);
        let to = if user == start { (user + room + page - 1) & !(page - 1) } else { end };
        let was_dirty = slot.dirty;
        let before = (slot.open, slot.open_bytes);
        (slot.open, slot.open_bytes) = (from, to - from);
        if !slot.unlock(is_light, is_marked) {
            // It stays what it was.
            (slot.open, slot.open_bytes) = before;
            self.queue(index);
            return None;
        }
        (slot.state, slot.user, slot.request, slot.made, slot.gone) = (State::Live, user, request, made, Trace::NONE);
        if was_dirty {
            // SAFETY: open, and nobody's.
            unsafe { core::ptr::write_bytes(from as *mut u8, 0, to - from) };
        }
        slot.dirty = false;
        for zone in slot.zones() {
            // SAFETY: beside the object, on its open pages.
            unsafe { core::ptr::write_bytes(zone.0 as *mut u8, PATTERN, zone.1) };
        }
        self.live += 1;
        LIVE.store(self.live, Relaxed);
        LIVE_BYTES.fetch_add(to - from, Relaxed);
        kernel::counters().guarded.fetch_add(1, Relaxed);
        Some(Made { user, zero: true })
    }

    /// Takes a sample back; `Err` where the pointer is none that is live, or somebody wrote beside it.
    pub fn put(&mut self, user: usize, key: usize, mut gone: Trace) -> Result<(), Refused> {
        let index = index_of(user).ok_or(Refused::NotLive)?;
        let (is_light, is_marked) = (self.is_light, self.is_marked);
        let slot = self.slot(index).ok_or(Refused::NotLive)?;
        if slot.state != State::Live || slot.user != user {
            return Err(Refused::NotLive);
        }
        gone.is_late = slot.is_parked(key);
        if let Some(damage) = slot.damage(gone.is_late) {
            slot.gone = gone;
            return Err(Refused::Damaged(damage, slot));
        }
        (slot.state, slot.gone) = (State::Freed, gone);
        let bytes = slot.open_bytes;
        slot.lock(is_light, is_marked);
        self.queue(index);
        self.live = self.live.saturating_sub(1);
        LIVE.store(self.live, Relaxed);
        LIVE_BYTES.fetch_sub(bytes, Relaxed);
        Ok(())
    }
}

impl Slot {
    /// What lies where, from the guard before it to the one behind it, as start, end and words.
    pub fn parts(&self) -> [(usize, usize, &'static str); 5] {
        let data = index_of(self.user).map_or(self.open, data_of);
        let (start, end) = (data - os::page_size(), data + data_bytes() + os::page_size());
        let after = self.user + self.request;
        let is_live = self.state == State::Live;
        let (open, close) = if is_live { (self.open, self.open + self.open_bytes) } else { (self.user, after) };
        [
            (start, open, "inaccessible"),
            (open, self.user, "left over"),
            (self.user, after, if is_live { "in use" } else { "freed, inaccessible" }),
            (after, close, "left over"),
            (close, end, "inaccessible"),
        ]
    }

    /// May everybody touch this address of it?
    pub fn is_open_at(&self, address: usize) -> bool {
        self.state == State::Live && address.wrapping_sub(self.open) < self.open_bytes
    }

    /// Where the pattern is: before the object, and behind it. As address and length.
    fn zones(&self) -> [(usize, usize); 2] {
        let before = ZONE.min(self.user - self.open);
        let end = self.user + self.request;
        [(self.user - before, before), (end, ZONE.min(self.open + self.open_bytes - end))]
    }

    /// Did a thread with this key park it? Then the key is in its first word. A key of 0 is none.
    fn is_parked(&self, key: usize) -> bool {
        // SAFETY: the object's own open pages, which have room for a word.
        key != 0 && unsafe { *(self.user as *const usize) } == key
    }

    /// The first byte beside the object that isn't what it was. Where a thread parked it, or may have, the first word isn't looked
    /// at: an object of less than that doesn't own all of it.
    pub fn damage(&self, is_parked: bool) -> Option<Damage> {
        let is = |at: usize| {
            // SAFETY: the object's own open pages.
            unsafe { *(at as *const u8) == PATTERN }
        };
        let [(before, before_bytes), (behind, behind_bytes)] = self.zones();
        if let Some(at) = (before..before + before_bytes).rev().find(|&at| !is(at)) {
            return Some(Damage { is_behind: false, distance: self.user - at, address: at });
        }
        let from = if is_parked { behind.max(self.user + size_of::<usize>()) } else { behind };
        let at = (from..behind + behind_bytes).find(|&at| !is(at))?;
        Some(Damage { is_behind: true, distance: at - behind + 1, address: at })
    }

    /// Opens its pages; they read as zero.
    fn unlock(&mut self, is_light: bool, is_marked: bool) -> bool {
        // SAFETY: pages of the pool.
        let is_there = (is_light && !self.hard)
            || unsafe { kernel::protect(self.open, self.open_bytes, Access::ReadWrite) }.is_ok();
        is_there && (!is_marked || kernel::unguard(self.open, self.open_bytes).is_ok())
    }

    /// Closes its pages and gives them back.
    fn lock(&mut self, is_light: bool, is_marked: bool) {
        // SAFETY: the object was freed, and the pages are the slot's alone.
        unsafe {
            // Whole pages of its own the program may have kept itself from writing to, and not said before it freed them.
            if is_light && self.request >= os::page_size() {
                let _ = kernel::protect(self.open, self.open_bytes, Access::ReadWrite);
            }
            if is_light && !self.hard || is_marked && self.hard {
                self.hard = kernel::guard_lightly(self.open, self.open_bytes).is_err();
                if !self.hard {
                    return;
                }
            }
            self.dirty = kernel::discard(self.open, self.open_bytes).is_err();
            // Where that is refused too, for want of mappings, nothing notices a use after this free.
            let _ = kernel::protect(self.open, self.open_bytes, Access::None);
        }
    }
}

/// For `root`.
pub const fn for_readers() -> (SamplesAt, Piece) {
    let at = SamplesAt {
        start: Place::of(&raw const START),
        end: Place::of(&raw const END),
        slots: Place::of(&raw const SLOTS),
        records: Place::of(&raw const RECORDS),
        record_bytes: size_of::<Slot>(),
        state: offset_of!(Slot, state),
        state_live: State::Live as usize,
        user: offset_of!(Slot, user),
        request: offset_of!(Slot, request),
        made_thread: offset_of!(Slot, made) + offset_of!(Trace, thread),
        made_count: offset_of!(Slot, made) + offset_of!(Trace, count),
        made_frames: offset_of!(Slot, made) + offset_of!(Trace, frames),
        frames_max: FRAMES,
    };
    (at, Piece { at: Place::of(&raw const FIRST), bytes: size_of::<First>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all that a slot could be asked for.
    fn places(is_free: bool) -> impl Iterator<Item = (usize, usize, Option<usize>)> {
        const SLOT: core::ops::Range<usize> = 1 << 20..(1 << 20) + DATA;
        let requests = (0..=DATA).filter(|n| n % 97 == 0 || n % 4096 < 40 || n % 4096 > 4056);
        let all =
            requests.flat_map(|n| (0..13).flat_map(move |align| (0..4).map(move |chance| (n, 1 << align, chance))));
        all.map(move |(n, align, chance)| (n, align, place(SLOT, n, align, chance, is_free)))
    }

    #[test]
    fn an_object_stands_in_its_slot_as_it_was_asked_for() {
        for (n, align, user) in places(true) {
            let user = user.unwrap();
            assert!(user >= 1 << 20 && user + n.max(ALIGN) <= (1 << 20) + DATA, "{n} {align}");
            assert!(user % align == 0 && user % ALIGN == 0, "{n} {align}");
        }
    }

    #[test]
    fn nothing_stands_at_a_slots_start_where_free_reads_what_lies_before() {
        for (n, align, user) in places(false) {
            assert_ne!(user, Some(1 << 20), "{n} {align}");
            assert!(user.is_some() || n.next_multiple_of(align.max(ALIGN)) >= DATA, "{n} {align}");
        }
    }
}
