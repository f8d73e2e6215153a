//! Heaps: the ranges of addresses that chunks tile. The main arena's first heap grows with the break; every other is a
//! reserved range, committed in steps. A heap that can't grow any more is closed with a fence.
//!
//! From an address to its arena leads one table: a mark for each window of 64 MiB. A mapped heap starts at a window's start
//! and has the window for itself, and the mark tells its end as well; windows that the break reaches are the main arena's,
//! with its exact bounds to tell. So one look tells whether an address is in a heap, however many heaps there are.

use crate::guard;
use crate::kernel;
use crate::line::Line;
use crate::size::HEADER;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use core::mem::offset_of;
use heapglass_event::root::{HeapAt, Piece, Place, WindowsAt};
use heapglass_os::{self as os, Access};

pub const WINDOW_SHIFT: usize = 26;
/// Address space that one mapped heap may take.
pub const WINDOW: usize = 1 << WINDOW_SHIFT;
/// Addresses of programs stay below this.
const ADDRESS_BITS: usize = if cfg!(target_arch = "x86_64") { 47 } else { 48 };

/// Longest mapped heap.
pub const HEAP_MAX: usize = if cfg!(feature = "small-world") { 512 * 1024 } else { WINDOW };
/// Length of one where address space is short.
const HEAP_MODEST: usize = 512 * 1024;

/// Arena number plus one for each window, and above it the length of its mapped heap in units of 4 KiB; 0 is nobody's.
static OWNERS: [AtomicU32; 1 << (ADDRESS_BITS - WINDOW_SHIFT)] =
    [const { AtomicU32::new(0) }; 1 << (ADDRESS_BITS - WINDOW_SHIFT)];
const LENGTH_SHIFT: u32 = 16;
const UNIT_SHIFT: u32 = 12;
const _: () = assert!(WINDOW >> UNIT_SHIFT <= u16::MAX as usize);

/// The main arena's break heaps lie between these.
static BREAK_LO: AtomicUsize = AtomicUsize::new(usize::MAX);
static BREAK_HI: AtomicUsize = AtomicUsize::new(0);
/// Nobody else's memory lies between those bounds.
static BREAK_IS_WHOLE: AtomicBool = AtomicBool::new(true);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// Grows with the program break.
    Break = 1,
    /// A reserved range of its own.
    Mapped = 2,
}

/// One heap. The records form a list at their arena, newest first.
#[repr(C)]
pub struct Region {
    pub next: *mut Region,
    /// Where the first chunk starts.
    pub start: usize,
    /// Where usable memory ends: behind the top, or behind the fence.
    pub end: usize,
    /// Where the reserved range ends.
    pub limit: usize,
    /// Up to here a mapped heap may be touched; `end` may lie lower after a trim.
    pub committed: usize,
    /// In a closed heap: from here on memory is as it came from the kernel. Behind `end`, where the heap was a spare one before and
    /// didn't come to that length again.
    pub dirty: usize,
    pub kind: Kind,
    /// 1 once it is closed by a fence.
    pub closed: u32,
    /// The next unused record, once the heap was given back.
    pub unused: *mut Region,
}

impl Region {
    /// A heap that was used by nobody yet, not in a list.
    pub fn new(kind: Kind, start: usize, end: usize, limit: usize) -> Region {
        let (next, unused) = (core::ptr::null_mut(), core::ptr::null_mut());
        Region { next, start, end, limit, committed: end, dirty: end, kind, closed: 0, unused }
    }
}

/// The number of the arena whose heap this address is in; `None` for any other address. Exact for the break, to the window
/// for mapped heaps.
#[inline]
pub fn owner(address: usize) -> Option<usize> {
    let mark = OWNERS.get(address >> WINDOW_SHIFT)?.load(Relaxed);
    match mark & ((1 << LENGTH_SHIFT) - 1) {
        0 => None,
        1 if !is_in_break(address) && !window_is_mapped(address) => None,
        arena => Some(arena as usize - 1),
    }
}

/// The number of the arena in whose heap a header may lie at this address, by one look; `None` may also mean that one look
/// doesn't tell.
#[inline(always)]
pub fn holder(address: usize) -> Option<usize> {
    let mark = OWNERS.get(address >> WINDOW_SHIFT)?.load(Relaxed);
    let length = (mark >> LENGTH_SHIFT << UNIT_SHIFT) as usize;
    if (address & (WINDOW - 1)) + HEADER <= length {
        return Some((mark as usize & ((1 << LENGTH_SHIFT) - 1)) - 1);
    }
    let (lo, hi) = (BREAK_LO.load(Relaxed), BREAK_HI.load(Relaxed));
    let is_in_break = lo <= address && address.wrapping_add(HEADER) <= hi && BREAK_IS_WHOLE.load(Relaxed);
    is_in_break.then_some(0)
}

/// A heap's end moved, or it is none any more: then `end` is its start.
pub fn note_end(arena: usize, kind: Kind, start: usize, end: usize) {
    if kind == Kind::Mapped
        && let Some(mark) = OWNERS.get(start >> WINDOW_SHIFT)
    {
        let units = ((end - start) >> UNIT_SHIFT) as u32;
        mark.store((arena as u32 + 1) | (units << LENGTH_SHIFT), Relaxed);
    }
}

/// Is the address in a window of which a heap has a part?
#[inline(always)]
pub fn is_marked(address: usize) -> bool {
    OWNERS.get(address >> WINDOW_SHIFT).is_some_and(|mark| mark.load(Relaxed) != 0)
}

/// Can a heap never come to stand in this address's window, or to reach it? So far none does. Mapped heaps keep away from windows
/// that hold guarded samples, see `try_window`; the break may grow.
pub fn is_never_marked(address: usize) -> bool {
    const FAR: usize = 1 << 36;
    !is_marked(address) && address.wrapping_sub(BREAK_HI.load(Relaxed)) > FAR
}

/// Is the address between the ends of the heaps that grew with the break?
pub fn is_in_break(address: usize) -> bool {
    BREAK_LO.load(Relaxed) <= address && address < BREAK_HI.load(Relaxed)
}

/// The main arena has mapped heaps too, where the break is refused; those windows lie away from the break.
fn window_is_mapped(address: usize) -> bool {
    let window = address & !(WINDOW - 1);
    let (lo, hi) = (BREAK_LO.load(Relaxed), BREAK_HI.load(Relaxed));
    hi == 0 || window + WINDOW <= lo || window >= hi
}

/// The break heap grew to `start..end`.
pub fn mark_break(start: usize, end: usize) {
    let lo = BREAK_LO.load(Relaxed);
    if lo != usize::MAX && lo != start {
        BREAK_IS_WHOLE.store(false, Relaxed);
    }
    BREAK_LO.fetch_min(start, Relaxed);
    BREAK_HI.fetch_max(end, Relaxed);
    for window in start >> WINDOW_SHIFT..=(end - 1) >> WINDOW_SHIFT {
        if let Some(mark) = OWNERS.get(window) {
            mark.store(1, Relaxed);
        }
    }
}

/// The break heap shrank to `end`.
pub fn shrink_break(end: usize) {
    BREAK_HI.store(end, Relaxed);
}

/// Reserves a mapped heap for an arena: at least `bytes` long, `HEAP_MAX` if it can be had. Nothing of it is usable yet.
/// Returns its bounds.
pub fn reserve(arena: usize, bytes: usize) -> Option<(usize, usize)> {
    if bytes > HEAP_MAX {
        return None;
    }
    let (start, length) = reserve_aligned(bytes)?;
    match OWNERS.get(start >> WINDOW_SHIFT) {
        Some(mark) => mark.store(arena as u32 + 1, Relaxed),
        // An address beyond the table: the machine has more of them than we know what to do with.
        None => {
            release(start, length);
            return None;
        }
    }
    // In `/proc/PID/maps`, a heap tells whose it is.
    if let Some(name) = Line::bare().text("heapglass arena ").number(arena).as_name() {
        os::name(start, length, name);
    }
    Some((start, start + length))
}

/// Kept between calls: heaps lie side by side, so the next window is most likely free, and one given back certainly is.
static HINT: AtomicUsize = AtomicUsize::new(0);

fn reserve_aligned(bytes: usize) -> Option<(usize, usize)> {
    // Where address space is too short for a whole window, the program needs the rest of it: then a small heap has to do.
    let modest = os::pages_up(bytes)?.max(HEAP_MODEST);
    [HEAP_MAX, modest].into_iter().find_map(|length| reserve_length(length).map(|start| (start, length)))
}

fn reserve_length(length: usize) -> Option<usize> {
    let hint = HINT.load(Relaxed);
    if hint != 0
        && let Some(start) = try_window(hint, length)
    {
        HINT.store(start.saturating_sub(WINDOW), Relaxed);
        return Some(start);
    }
    if let Ok(start) = kernel::map(0, 2 * WINDOW, Access::None) {
        let aligned = (start + WINDOW - 1) & !(WINDOW - 1);
        release(start, aligned - start);
        release(aligned + length, start + 2 * WINDOW - aligned - length);
        HINT.store(aligned.saturating_sub(WINDOW), Relaxed);
        return Some(aligned);
    }
    // Too little address space for the detour: look for windows below where the kernel would put a small one.
    let near = kernel::map(0, length, Access::None).ok()?;
    release(near, length);
    (0..16).find_map(|step| try_window((near & !(WINDOW - 1)).saturating_sub(step * WINDOW), length))
}

/// Takes the window at this very address, if it is free.
fn try_window(window: usize, length: usize) -> Option<usize> {
    let is_taken = OWNERS.get(window >> WINDOW_SHIFT)?.load(Relaxed) != 0;
    if window == 0 || is_taken || guard::has_part_of(window, window + WINDOW) {
        return None;
    }
    let start = kernel::map(window, length, Access::None).ok()?;
    if start == window {
        return Some(start);
    }
    release(start, length);
    None
}

fn release(start: usize, length: usize) {
    if length != 0 {
        // SAFETY: reserved above, never used.
        let _ = unsafe { kernel::unmap(start, length) };
    }
}

/// Gives a whole mapped heap back; `false` where the kernel refuses.
///
/// # Safety
/// Nothing in it is used any more.
pub unsafe fn unreserve(start: usize, limit: usize) -> bool {
    // The mark goes first: somebody else's mapping may stand there a moment later.
    if let Some(mark) = OWNERS.get(start >> WINDOW_SHIFT) {
        let kept = mark.swap(0, Relaxed);
        // SAFETY: as the caller promises.
        if unsafe { kernel::unmap(start, limit - start) }.is_err() {
            mark.store(kept, Relaxed);
            return false;
        }
        HINT.store(start, Relaxed);
    }
    true
}

/// Makes `bytes` more of a mapped heap usable.
pub fn commit(at: usize, bytes: usize) -> bool {
    // SAFETY: the range is reserved by the heap and unused.
    unsafe { kernel::protect(at, bytes, Access::ReadWrite) }.is_ok()
}

/// For `root`.
pub const fn seen() -> (HeapAt, WindowsAt, Piece) {
    let heap = HeapAt {
        next: offset_of!(Region, next),
        start: offset_of!(Region, start),
        end: offset_of!(Region, end),
        limit: offset_of!(Region, limit),
        committed: offset_of!(Region, committed),
        kind: offset_of!(Region, kind),
        kind_break: Kind::Break as usize,
        closed: offset_of!(Region, closed),
    };
    let all = Place::of(&raw const OWNERS);
    let count = 1 << (ADDRESS_BITS - WINDOW_SHIFT);
    let windows = WindowsAt { all, count, shift: WINDOW_SHIFT, arena_bits: LENGTH_SHIFT as usize };
    (heap, windows, Piece { at: all, bytes: size_of_val(&OWNERS) })
}
