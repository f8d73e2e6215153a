//! A sequence of calls in between which a program's typical faults damage the heap: overflows into the header behind, flipped
//! bits, writes to freed chunks, frees that are wrong. The heap may stop the process with its line or go on, but then what is
//! live stays whole, and nothing hangs or faults.

use crate::bytes::Bytes;
use crate::heap::{self, Held, Model, SLOTS};
use heapglass_heap::size::HEADER;
use heapglass_heap::{arena, free, region, thread};

pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    // What is done to the headers of chunks would be a fault where a sample has none.
    let mut model = heap::begin(&mut bytes, 0);
    while !bytes.is_over() {
        if bytes.byte() % 8 == 7 {
            model.checks = false;
            damage(&mut model, &mut bytes);
        } else {
            model.step(&mut bytes);
        }
    }
    model.end();
}

fn damage(model: &mut Model, bytes: &mut Bytes) {
    let (kind, at) = (bytes.byte() % 8, bytes.below(SLOTS));
    match kind {
        0 | 1 => {
            // A bit of a live chunk's own header, or of the one behind it.
            let Some(held) = model.slots[at] else { return };
            let place = if kind == 0 { held.user - 8 } else { held.user + held.usable };
            let bit = bytes.below(64);
            change(model, place, |word| word ^ 1 << bit);
        }
        2 => {
            // A write past the end, of a few bytes of the program's.
            let Some(held) = model.slots[at] else { return };
            let (length, value) = (1 + bytes.below(8), bytes.byte());
            let mask = u64::MAX >> (64 - 8 * length) as u32;
            change(model, held.user + held.usable, |word| word & !mask | u64::from_ne_bytes([value; 8]) & mask);
        }
        3 | 4 => {
            // A word of a freed chunk: its links, what it says of its pages, its footer.
            let Some(held) = model.freed[at] else { return };
            let place = if kind == 3 { held.user + 8 * bytes.below(12) } else { held.user + held.usable - 8 };
            let value = chosen(model, bytes);
            change(model, place, |_| value);
        }
        5 => {
            // Its header.
            let Some(held) = model.freed[at] else { return };
            let bit = bytes.below(128);
            change(model, held.user - 16 + 8 * (bit / 64), |word| word ^ 1 << (bit % 64));
        }
        6 => {
            // Freed twice.
            let Some(held) = model.freed[at] else { return };
            free_wrongly(model, held.user);
        }
        _ => {
            // Freed where no chunk starts.
            let Some(held) = model.slots[at] else { return };
            let distance = usize::from(bytes.byte());
            free_wrongly(model, held.user + distance.max(1).min(held.usable.saturating_sub(1).max(1)));
        }
    }
}

/// A value to write: another pointer, a little more or less, or anything.
fn chosen(model: &Model, bytes: &mut Bytes) -> u64 {
    let (kind, at) = (bytes.byte(), bytes.below(SLOTS));
    let known = |held: Option<Held>| held.map_or(0, |held| held.user as u64);
    match kind % 6 {
        0 => known(model.slots[at]),
        1 => known(model.freed[at]),
        2 => known(model.freed[at]).wrapping_sub(HEADER as u64),
        3 => u64::from(bytes.word()),
        4 => u64::from_ne_bytes([bytes.byte(); 8]),
        _ => known(model.freed[at]) ^ 1 << (bytes.byte() % 48),
    }
}

/// Changes a word, if it lies in a heap and isn't in a live chunk, whose contents are the model's to prove.
fn change(model: &Model, place: usize, change: impl FnOnce(u64) -> u64) {
    let is_live = |held: &Held| place + 8 > held.user && place < held.user + held.usable;
    let is_held = region::owner(place).is_some_and(|index| arena::holds(index, place));
    // The header of a mapping of its own lies in no heap, but is there.
    let is_mapped = model.slots.iter().flatten().any(|held| held.user - 8 == place);
    if (is_held || is_mapped) && !model.slots.iter().flatten().any(is_live) {
        let word = place as *mut u64;
        // SAFETY: the place is mapped. Nothing else is promised: it is damage.
        unsafe { word.write_unaligned(change(word.read_unaligned())) };
    }
}

/// Frees what is nobody's. Where somebody got that chunk meanwhile, it would be a correct free of his; and where there is no
/// memory any more, the fast path faults, which the C door makes a line of, and which isn't there.
fn free_wrongly(model: &Model, user: usize) {
    let mut live = model.slots.iter().flatten();
    let is_there =
        arena::home_of(user).is_some() || live.clone().any(|held| (held.user..held.user + held.usable).contains(&user));
    if !live.any(|held| held.user == user) && (is_there || !thread::is_on_fast_path()) {
        // SAFETY: none: that is the point.
        unsafe { free::free(user as *mut u8) };
        // A free that waits has written its key to where the pointer leads, perhaps into what is live: now it is looked at.
        thread::at_process_end();
    }
}
