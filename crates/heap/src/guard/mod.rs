//! Guarded samples: now and then an allocation gets pages of its own, with inaccessible ones on both sides, and stays inaccessible
//! after it was freed. What runs over its end or is used after it was freed faults at that very instruction, and is explained.
//!
//! ```text
//!  start -> +-------+-----------------------------+-------+-----------------------------+-------+--
//!           | guard | data pages of slot 0        | guard | data pages of slot 1        | guard | ...
//!           +-------+-----------------------------+-------+-----------------------------+-------+--
//!                    closed |    pattern [ object ]        [ object ] pattern |  closed
//!                           `- open pages -------'         `----------- open -'
//! ```
//!
//! An object stands at its slot's end, but for the alignment, or (one in four) at its start. Of the data pages only those are open
//! that it needs. What is left of them beside it, up to `ZONE` bytes on each side, holds a pattern that is looked at when it is
//! freed. A freed slot is closed, its pages go back to the kernel, and it is taken again only after all others.
//!
//! Inaccessible is done in one of two ways: by the kernel's guards, which are marks in the page tables and cost no mapping, where
//! it has them (Linux 6.13); else by mprotect. A slot whose guards are refused (locked memory) changes to the second.
//!
//! Samples have no header, but what a free reads in its place must not look like one: the pattern's bytes are even, as no cookie
//! is. At a slot's start there is nothing in its place that could be read: free must take such pointers for mapped chunks, which
//! it does outside of the heaps' windows (`region::is_never_marked`). Whose pointer it is, is known by the pool's range of addresses.
//!
//! # Safety
//! The pool is reached under `LOCK`; reports of faults read its records without, since who holds it may be the one that faults.

mod pool;
mod sampler;

use crate::line::Line;
use crate::report::{self, Registers, Trace};
use crate::size;
use crate::thread;
use pool::{Damage, Refused, Slot, State};
pub use pool::{LOCK, has_part_of, holds};
pub use sampler::Sampler;

/// What became of a request.
pub struct Made {
    pub user: usize,
    /// Its bytes are zero.
    pub zero: bool,
}

/// Memory between guards; `None` where the request is too long, the pool has no slot, or the kernel none of what it takes. `chance`
/// decides at which end it stands.
pub fn allocate(request: usize, align: usize, chance: u64) -> Option<Made> {
    if !pool::could_hold(request, align) {
        return None;
    }
    thread::take_faults(true);
    let trace = Trace::take(None);
    pool::locked(|pool| pool.take(request, align, chance, trace)).flatten()
}

/// Proves that a pointer into the pool is a live sample's; returns the bytes that it may use, which are those asked for. Nobody
/// changes the record of a sample but who frees it, so the lock isn't asked for: a forked child may have lost it.
pub fn live(call: &'static str, user: usize) -> usize {
    match pool::seen_around(user) {
        Some(slot) if slot.state == State::Live && slot.user == user => slot.request,
        _ => not_live(call, user),
    }
}

/// What the figures say of a sample: what its chunk would be, so that they don't depend on chance.
#[cold]
#[inline(never)]
pub fn length(user: usize) -> usize {
    let slot = pool::seen_around(user).filter(|slot| slot.user == user);
    size::chunk_size(slot.map_or(0, |slot| slot.request)).unwrap_or(0)
}

/// Frees a sample, or stops the process if it is none. `key` is what the thread writes into what it parks.
pub fn free(user: usize, key: usize) {
    let trace = Trace::take(None);
    let freed = pool::locked(|pool| pool.put(user, key, trace));
    match freed {
        Some(Ok(())) | None => {}
        Some(Err(Refused::NotLive)) => not_live("free", user),
        Some(Err(Refused::Damaged(damage, slot))) => damaged(user, slot, &damage),
    }
}

/// Samples in use, and the bytes of their pages.
pub fn held() -> (usize, usize) {
    pool::held()
}

/// Looks at the patterns beside all live samples; the number of those that were overwritten, each told unless `silent`.
pub fn check(silent: bool) -> usize {
    let mut faults = 0;
    pool::locked(|pool| {
        pool.each_live(|slot| {
            // Another thread may have it parked.
            if slot.damage(true).is_some() {
                faults += 1;
                if !silent {
                    Line::new()
                        .text("check: bytes beside the guarded sample at ")
                        .hex(slot.user)
                        .text(" were overwritten")
                        .warn();
                }
            }
        })
    });
    faults
}

/// `N bytes`.
fn bytes(line: Line, count: usize) -> Line {
    line.number(count).text(if count == 1 { " byte" } else { " bytes" })
}

fn object(line: Line, request: usize, user: usize) -> Line {
    bytes(line.text("the "), request).text(" at ").hex(user)
}

/// Tells of a sample, with the memory around it where an address is given.
fn tell(line: Line, about: Option<(&Slot, usize)>, traces: &[(&'static str, &Trace)]) {
    report::tell(line, traces, |text| {
        if let Some((slot, address)) = about {
            text.add(Line::bare().text("  what lies there"));
            for (from, to, what) in slot.parts().into_iter().filter(|(from, to, _)| from != to || *from == address) {
                text.part(from, to, what, (from..to).contains(&address));
            }
        }
    });
}

#[cold]
fn damaged(user: usize, slot: &Slot, damage: &Damage) -> ! {
    let what = if damage.is_behind { "overflow" } else { "underflow" };
    let line = Line::new().text("free(").hex(user).text("): ").text(what).text(": ");
    let line = bytes(line.text("a write "), damage.distance);
    let line = line.text(if damage.is_behind { " past the end of " } else { " before the start of " });
    let line = object(line, slot.request, user);
    tell(line, Some((slot, damage.address)), &[("freed", &slot.gone), ("allocated", &slot.made)]);
    heapglass_os::thread::die()
}

/// A pointer into the pool that is no live sample's was given to a call.
#[cold]
fn not_live(call: &'static str, user: usize) -> ! {
    tell_not_live(call, user, None);
    heapglass_os::thread::die()
}

/// Tells all about that: by registers, where the call faulted.
#[cold]
pub fn tell_not_live(call: &'static str, user: usize, registers: Option<Registers>) {
    let here = Trace::take(registers);
    let line = Line::new().text(call).text("(").hex(user).text("): ");
    match pool::seen_around(user) {
        Some(slot) if slot.user == user && slot.state == State::Freed => {
            let line = line.text(if call == "free" { "double free: " } else { "use after free: " });
            let line = object(line, slot.request, user).text(" were freed already");
            let traces = [("called", &here), ("freed", &slot.gone), ("allocated", &slot.made)];
            tell(line, Some((&slot, user)), &traces);
        }
        Some(slot) if slot.state != State::Fresh => {
            let line = line.text("invalid pointer: it lies ");
            let line = if user < slot.user {
                bytes(line, slot.user - user).text(" before the start of ")
            } else {
                bytes(line, user - slot.user).text(" behind the start of ")
            };
            let line = object(line, slot.request, slot.user);
            let line = line.text(if slot.state == State::Live { ", which are in use" } else { ", which were freed" });
            tell(line, Some((&slot, user)), &[("called", &here), ("allocated", &slot.made)]);
        }
        _ => tell(line.text("invalid pointer: nothing was ever allocated there"), None, &[("called", &here)]),
    }
}

/// Do we let everybody touch this address of the pool? Then the program keeps somebody out, and knows.
pub fn is_open_at(address: usize) -> bool {
    pool::seen_around(address).is_some_and(|slot| slot.is_open_at(address))
}

/// Tells all about a fault at an address of the pool, in one write.
#[cold]
pub fn explain(address: usize, is_write: bool, registers: Registers) {
    if is_open_at(address) {
        return;
    }
    let slot = pool::seen_beside(address);
    let here = Trace::take(Some(registers));
    let access = if is_write { "write" } else { "read" };
    let Some(slot) = slot else {
        let line = Line::new().text("invalid ").text(access).text(" at ").hex(address);
        let line = line.text(": among the guarded samples, where none was ever allocated");
        return tell(line, None, &[("touched", &here)]);
    };
    let freed = slot.state == State::Freed;
    let end = slot.user + slot.request;
    let line = Line::new().text(match (freed, address < slot.user) {
        (true, _) => "use after free",
        (false, true) => "underflow",
        (false, false) => "overflow",
    });
    let line = line.text(": ").text(access).text(" at ").hex(address).text(", ");
    let line = if address < slot.user {
        bytes(line, slot.user - address).text(" before the start of ")
    } else if address >= end {
        bytes(line, address - end + 1).text(" past the end of ")
    } else {
        bytes(line, address - slot.user).text(" behind the start of ")
    };
    let line =
        object(line, slot.request, slot.user).text(if freed { ", which were freed" } else { ", which are in use" });
    let (touched, allocated) = (("touched", &here), ("allocated", &slot.made));
    let about = Some((&slot, address));
    if freed {
        tell(line, about, &[touched, ("freed", &slot.gone), allocated]);
    } else {
        tell(line, about, &[touched, allocated]);
    }
}
