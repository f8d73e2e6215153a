//! Mapped chunks between guards, and addresses that wait.
//!
//! ```text
//!   guard page | header, user ...                        | guard page
//!              ^ base                                    ^ base + length
//! ```
//!
//! A guard is a page that can't be touched: a mark in the page table where the kernel has such (6.13), else a mapping. The
//! user area ends at the second as nearly as its alignment allows, so that a write which runs over faults at once, or
//! within the canary.
//!
//! A freed mapping gives its pages back at once, but its addresses stay taken, and can't be touched: a use after free faults
//! instead of meeting somebody else's memory. So many addresses wait at most, by number and length; each that comes puts out
//! another at random. A mapping that has to move leaves its addresses in the same way.

use super::random::Random;
use super::{GUARDS, has};
use crate::kernel;
use crate::mapped;
use crate::size::{ALIGN, HEADER};
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::cell::UnsafeCell;
use heapglass_os as os;

/// Ranges that wait, at most, and their bytes of address space.
const RANGES: usize = 64;
const BYTES: usize = 1 << 30;

/// A range of addresses, guards included; length 0 where the place is free.
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    length: usize,
}

const NONE: Range = Range { start: 0, length: 0 };

struct Waiting {
    ranges: [Range; RANGES],
    count: usize,
    bytes: usize,
    random: Random,
}

struct Shared(UnsafeCell<Option<Waiting>>);
// SAFETY: reached only under the lock of the mapped chunks.
unsafe impl Sync for Shared {}

static WAITING: Shared = Shared(UnsafeCell::new(None));
/// Ranges that wait, for those who look without the lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn around(base: usize, length: usize) -> Range {
    let page = os::page_size();
    Range { start: base - page, length: length + 2 * page }
}

unsafe fn drop_range(range: Range) {
    // SAFETY: the caller's, and nobody's from here on. What the kernel refuses to take stays out of reach.
    let _ = unsafe { kernel::unmap(range.start, range.length) };
}

impl Waiting {
    fn put_out(&mut self) -> Option<Range> {
        self.count = self.count.checked_sub(1)?;
        let chosen = self.random.below(self.count + 1);
        let last = self.ranges.get_mut(self.count).map(|last| core::mem::replace(last, NONE))?;
        let range = match self.ranges.get_mut(chosen).filter(|_| chosen < self.count) {
            Some(place) => core::mem::replace(place, last),
            None => last,
        };
        self.bytes -= range.length;
        Some(range)
    }
}

/// A range that can't be touched any more waits.
///
/// # Safety
/// The range is the caller's; the lock of the mapped chunks is held.
unsafe fn keep(range: Range) {
    // SAFETY: as the caller promises.
    unsafe {
        if range.length > BYTES {
            return drop_range(range);
        }
        let fresh = || Waiting { ranges: [NONE; RANGES], count: 0, bytes: 0, random: Random::new(u64::MAX) };
        let waiting = (*WAITING.0.get()).get_or_insert_with(fresh);
        while waiting.count == RANGES || waiting.bytes + range.length > BYTES {
            let Some(out) = waiting.put_out() else { break };
            drop_range(out);
        }
        if let Some(place) = waiting.ranges.get_mut(waiting.count) {
            *place = range;
            waiting.count += 1;
            waiting.bytes += range.length;
        }
        COUNT.store(waiting.count, Relaxed);
    }
}

/// In a forked child, where another thread was at work here: what waits does so for ever, since it may be named twice.
/// The lock of the mapped chunks is held.
pub fn forget() {
    // SAFETY: the lock is held.
    unsafe { *WAITING.0.get() = None };
    COUNT.store(0, Relaxed);
}

/// All ranges go.
pub fn flush() {
    if COUNT.load(Relaxed) == 0 {
        return;
    }
    mapped::alone(|| {
        // SAFETY: the lock is held; what waits is nobody's.
        unsafe {
            while let Some(range) = (*WAITING.0.get()).as_mut().and_then(Waiting::put_out) {
                drop_range(range);
            }
        }
        COUNT.store(0, Relaxed);
    });
}

/// Memory for a mapped chunk: its user pointer, its mapping without the guards, and that it is zero.
pub fn place(request: usize, align: usize) -> Option<(usize, usize, usize, bool)> {
    let page = os::page_size();
    let align = if align > HEADER { align.max(page) } else { align };
    let extra = if align > HEADER { align } else { 0 };
    let length = os::pages_up(request.checked_add(HEADER)?.checked_add(extra)?)?;
    let whole = length.checked_add(2 * page)?;
    let start = kernel::map(0, whole, os::Access::ReadWrite).ok()?;
    let (first, end) = (start + page, start + page + length);
    let (user, base, end) = if extra == 0 {
        ((end - request) & !(ALIGN - 1), first, end)
    } else {
        let user = (first + HEADER + align - 1) & !(align - 1);
        (user, (user - HEADER) & !(page - 1), (user + request + page - 1) & !(page - 1))
    };
    // SAFETY: our own fresh mapping.
    unsafe {
        let (low, high) = (base - page, end + page);
        let cut = |from: usize, to: usize| from == to || kernel::unmap(from, to - from).is_ok();
        if !cut(high, start + whole) {
            let _ = kernel::unmap(start, whole);
            return None;
        }
        if !cut(start, low) {
            let _ = kernel::unmap(start, high - start);
            return None;
        }
        // At the process's limit of mappings a chunk without a guard is better than none.
        kernel::guard(low, page);
        kernel::guard(end, page);
    }
    Some((user, base, end - base, true))
}

/// A mapping that was never a chunk's goes, with its guards where it has them.
///
/// # Safety
/// The mapping is the caller's.
pub unsafe fn unmap(base: usize, length: usize) {
    let range = if has(GUARDS) { around(base, length) } else { Range { start: base, length } };
    // SAFETY: as the caller promises.
    unsafe { drop_range(range) };
}

/// A freed chunk's mapping: its pages go, its addresses wait.
///
/// # Safety
/// The mapping is the caller's, with its guards.
pub unsafe fn retire(base: usize, length: usize) {
    let range = around(base, length);
    // SAFETY: as the caller promises.
    unsafe {
        if kernel::reserve_at(range.start, range.length, true).is_err() {
            return drop_range(range);
        }
        if mapped::alone(|| keep(range)).is_none() {
            drop_range(range);
        }
    }
}

/// Brings a mapping to another length, in place or elsewhere, guards and all; its new base. The lock of the mapped chunks is
/// held.
///
/// # Safety
/// The mapping is the caller's, with its guards, and so is the new one.
pub unsafe fn resize(base: usize, length: usize, new_length: usize) -> Option<usize> {
    let page = os::page_size();
    // SAFETY: as the caller promises.
    unsafe {
        if new_length < length {
            // The first page that goes is the new guard.
            let end = base + new_length;
            kernel::unmap(end + page, length - new_length).ok()?;
            kernel::guard(end, page);
            return Some(base);
        }
        // Nothing behind it is free to grow into: its own guard is there.
        let new = new_length.checked_add(2 * page)?;
        let start = kernel::map(0, new, os::Access::None).ok()?;
        if kernel::remap_to(base, length, new_length, start + page).is_err() {
            let _ = kernel::unmap(start, new);
            return None;
        }
        // The guards are still there, and between them a hole, unless somebody was quicker.
        let old = around(base, length);
        if kernel::reserve_at(base, length, false).is_ok() {
            keep(old);
        } else {
            drop_range(Range { start: old.start, length: page });
            drop_range(Range { start: base + length, length: page });
        }
        Some(start + page)
    }
}
