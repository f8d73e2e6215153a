//! What the heap asks of the kernel, counted. One function per call; the figures go where `HEAPGLASS=stats:FILE` says, or to
//! a page of our own.

use crate::probe::{self, Kernel, Kind, Outcome};
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};
// What lies in pages that other processes read.
use core::sync::atomic::AtomicU64;
use heapglass_event::Counters;
use heapglass_event::root::Place;
use heapglass_os::{self as os, Access, Errno};

static OWN: Counters = Counters::new();
static PAGE: AtomicPtr<Counters> = AtomicPtr::new(&raw const OWN as *mut Counters);

/// The page that this process counts into.
#[inline]
pub fn counters() -> &'static Counters {
    // SAFETY: either our own static or a shared mapping that is never unmapped; all fields are atomics.
    unsafe { &*PAGE.load(Relaxed) }
}

/// Does another process read what is counted?
pub fn counts_for_others() -> bool {
    !core::ptr::eq(PAGE.load(Relaxed), &raw const OWN)
}

/// Counts into another page from here on; what was counted so far moves along.
///
/// # Safety
/// `page` stays mapped for the rest of the process.
pub unsafe fn count_into(page: *mut Counters) {
    // SAFETY: as the caller promises.
    let new = unsafe { &*page };
    let old = counters();
    let moved = |from: &AtomicU64, to: &AtomicU64| to.store(from.load(Relaxed), Relaxed);
    moved(&old.malloc_calls, &new.malloc_calls);
    moved(&old.calloc_calls, &new.calloc_calls);
    moved(&old.realloc_calls, &new.realloc_calls);
    moved(&old.aligned_calls, &new.aligned_calls);
    moved(&old.free_calls, &new.free_calls);
    moved(&old.in_use_bytes, &new.in_use_bytes);
    moved(&old.in_use_chunks, &new.in_use_chunks);
    moved(&old.peak_bytes, &new.peak_bytes);
    moved(&old.arenas, &new.arenas);
    moved(&old.heap_bytes, &new.heap_bytes);
    moved(&old.heap_peak_bytes, &new.heap_peak_bytes);
    moved(&old.mapped_bytes, &new.mapped_bytes);
    moved(&old.mapped_peak_bytes, &new.mapped_peak_bytes);
    moved(&old.brk_calls, &new.brk_calls);
    moved(&old.mmap_calls, &new.mmap_calls);
    moved(&old.munmap_calls, &new.munmap_calls);
    moved(&old.mremap_calls, &new.mremap_calls);
    moved(&old.madvise_calls, &new.madvise_calls);
    moved(&old.mprotect_calls, &new.mprotect_calls);
    moved(&old.released_bytes, &new.released_bytes);
    moved(&old.guarded, &new.guarded);
    moved(&old.lock_waits, &new.lock_waits);
    PAGE.store(page, Relaxed);
}

/// Goes back to counting privately: a forked child, whose parent owns the shared page.
pub fn count_privately() {
    // SAFETY: a static.
    unsafe { count_into(&raw const OWN as *mut Counters) };
}

/// Adds to a figure and keeps its highest value.
pub fn add(now: &AtomicU64, peak: &AtomicU64, bytes: usize) {
    let value = now.fetch_add(bytes as u64, Relaxed).wrapping_add(bytes as u64);
    peak.fetch_max(value, Relaxed);
}

pub fn sub(now: &AtomicU64, bytes: usize) {
    now.fetch_sub(bytes as u64, Relaxed);
}

fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Relaxed);
}

/// A thread is about to sleep for a lock.
pub fn waits_for_lock() {
    count(&counters().lock_waits);
}

/// Heap bytes came from the kernel (break or committed pages of a mapped heap).
pub fn heap_grew(bytes: usize) {
    add(&counters().heap_bytes, &counters().heap_peak_bytes, bytes);
}

pub fn heap_shrank(bytes: usize) {
    sub(&counters().heap_bytes, bytes);
}

/// Where the break is. Not counted: the C library answers from memory.
pub fn current_break() -> Option<usize> {
    // SAFETY: moves nothing.
    unsafe { os::brk::by(0) }
}

/// Moves the break; returns where it was.
///
/// # Safety
/// Moving down, nothing may use the memory above.
pub unsafe fn move_break(bytes: isize) -> Option<usize> {
    count(&counters().brk_calls);
    // SAFETY: as the caller promises.
    let old = unsafe { os::brk::by(bytes) };
    let new = old.map(|old| old.wrapping_add_signed(bytes)).ok_or(Errno(os::ENOMEM));
    tell(Kernel::Brk, new.unwrap_or(0), bytes as usize, new);
    old
}

/// Tells of a system call.
fn tell(call: Kernel, address: usize, bytes: usize, result: Result<usize, Errno>) {
    let (outcome, value) = match result {
        Ok(value) => (Outcome::Done, value),
        Err(Errno(number)) => (Outcome::Refused, number as usize),
    };
    probe::step_of(Kind::Kernel, outcome, call as usize, [address, bytes, value]);
}

/// Tells of one that returns nothing but whether it was done.
fn tell_done(call: Kernel, address: usize, bytes: usize, result: Result<(), Errno>) -> Result<(), Errno> {
    tell(call, address, bytes, result.map(|()| 0));
    result
}

pub fn map(hint: usize, bytes: usize, access: Access) -> Result<usize, Errno> {
    count(&counters().mmap_calls);
    let made = os::map(hint, bytes, access);
    let kind = if access == Access::None { Kernel::Reserve } else { Kernel::Mmap };
    tell(kind, hint, bytes, made);
    made
}

/// # Safety
/// See `os::unmap`.
pub unsafe fn unmap(address: usize, bytes: usize) -> Result<(), Errno> {
    count(&counters().munmap_calls);
    // SAFETY: as the caller promises.
    let done = unsafe { os::unmap(address, bytes) };
    tell_done(Kernel::Munmap, address, bytes, done)
}

/// # Safety
/// See `os::remap`.
pub unsafe fn remap(address: usize, old: usize, new: usize) -> Result<usize, Errno> {
    count(&counters().mremap_calls);
    // SAFETY: as the caller promises.
    let moved = unsafe { os::remap(address, old, new) };
    tell(Kernel::Mremap, address, new, moved);
    moved
}

/// # Safety
/// See `os::protect`.
pub unsafe fn protect(address: usize, bytes: usize, access: Access) -> Result<(), Errno> {
    count(&counters().mprotect_calls);
    // SAFETY: as the caller promises.
    let done = unsafe { os::protect(address, bytes, access) };
    tell_done(Kernel::Mprotect, address, bytes, done)
}

/// # Safety
/// See `os::discard`.
pub unsafe fn discard(address: usize, bytes: usize) -> Result<(), Errno> {
    count(&counters().madvise_calls);
    // SAFETY: as the caller promises.
    let done = unsafe { os::discard(address, bytes) };
    tell_done(Kernel::Discard, address, bytes, done)
}

/// # Safety
/// See `os::guard`.
pub unsafe fn guard_lightly(address: usize, bytes: usize) -> Result<(), Errno> {
    count(&counters().madvise_calls);
    // SAFETY: as the caller promises.
    unsafe { os::guard(address, bytes) }
}

pub fn unguard(address: usize, bytes: usize) -> Result<(), Errno> {
    count(&counters().madvise_calls);
    os::unguard(address, bytes)
}

/// Makes pages inaccessible without a mapping of their own, or else with one: `false` where the kernel does neither.
///
/// # Safety
/// Nothing may use the range afterwards.
pub unsafe fn guard(address: usize, bytes: usize) -> bool {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    // SAFETY: as the caller promises.
    unsafe {
        if !REFUSED.load(Relaxed) {
            if guard_lightly(address, bytes).is_ok() {
                return true;
            }
            REFUSED.store(true, Relaxed);
        }
        protect(address, bytes, Access::None).is_ok()
    }
}

/// # Safety
/// See `os::reserve_at`.
pub unsafe fn reserve_at(address: usize, bytes: usize, replaces: bool) -> Result<(), Errno> {
    count(&counters().mmap_calls);
    // SAFETY: as the caller promises.
    unsafe { os::reserve_at(address, bytes, replaces) }
}

/// # Safety
/// See `os::remap_to`.
pub unsafe fn remap_to(address: usize, old: usize, new: usize, place: usize) -> Result<(), Errno> {
    count(&counters().mremap_calls);
    // SAFETY: as the caller promises.
    unsafe { os::remap_to(address, old, new, place) }
}

/// So many bytes of pages inside a heap went back.
pub fn released(bytes: usize) {
    counters().released_bytes.fetch_add(bytes as u64, Relaxed);
}

/// Makes pages ready that are about to be touched; `false` where the kernel can't, and it isn't asked again.
pub fn populate(address: usize, bytes: usize) -> bool {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Relaxed) {
        return false;
    }
    count(&counters().madvise_calls);
    let done = tell_done(Kernel::Populate, address, bytes, os::populate(address, bytes)).is_ok();
    REFUSED.store(!done, Relaxed);
    done
}

/// Asks for huge pages, or for none. A refusal is no loss.
pub fn huge_pages(address: usize, bytes: usize, wanted: bool) {
    count(&counters().madvise_calls);
    let _ = tell_done(Kernel::Huge, address, bytes, os::huge_pages(address, bytes, wanted));
}

/// For `root`: the pointer to the page of counters.
pub const fn seen() -> Place {
    Place::of(&raw const PAGE)
}
