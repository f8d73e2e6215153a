//! Canaries: bytes right behind the request, and the request's length with them.
//!
//! ```text
//!  user                user + request            user + room - 8      user + room
//!   | the program's     | pad: 0 to 32 bytes, 0   | tail word         |
//! ```
//!
//! The tail word is the last of the chunk: 36 bits that prove the slack (what lies between the request and the tail), and the
//! slack itself, hidden. Pad and tail depend on the address and two keys. No byte of the pad is zero, nor is the first of the
//! tail, so that a single NUL written past the end shows; a string that runs over its end may be read on into them, which
//! tells of this chunk's canary only.

use super::keys;
use crate::die::Overrun;
use heapglass_event::root::{self, canary_base};

/// What a canary takes at least.
pub const TAIL: usize = size_of::<u64>();
/// Most bytes of the slack that are filled. What lies behind them is reached only by a write that leaves these alone, and is
/// nobody's.
const PAD_MAX: usize = 32;

/// What an address's canary is made of.
fn base(user: usize) -> u64 {
    canary_base([keys::get(keys::CANARY), keys::get(keys::CANARY + 1)], user as u64)
}

fn pad_byte(base: u64) -> u8 {
    (base >> 24) as u8 | 1
}

fn tail(base: u64, slack: usize) -> u64 {
    root::canary(base, slack as u64)
}

fn tail_place(user: usize, room: usize) -> *mut u64 {
    (user + room - TAIL) as *mut u64
}

/// The bytes of the pad.
///
/// # Safety
/// The chunk is the caller's, with so much room, and the request and a tail fit into it.
unsafe fn pad<'a>(user: usize, room: usize, request: usize) -> &'a mut [u8] {
    let length = (room - TAIL - request).min(PAD_MAX);
    // SAFETY: as the caller promises.
    unsafe { core::slice::from_raw_parts_mut((user + request) as *mut u8, length) }
}

/// Writes the canary of a chunk that is handed out. (A chunk always has room for its request and the tail.)
pub fn put(user: usize, room: usize, request: usize) {
    if room < TAIL || request > room - TAIL {
        return;
    }
    let base = base(user);
    // SAFETY: the chunk is the caller's. A mapped one may have any length, and its end any alignment.
    unsafe {
        pad(user, room, request).fill(pad_byte(base));
        tail_place(user, room).write_unaligned(tail(base, room - TAIL - request));
    }
}

/// Takes the canary away: zero is left.
pub fn remove(user: usize, room: usize, request: usize) {
    // SAFETY: as in `put`: the canary was looked at a moment ago.
    unsafe {
        pad(user, room, request).fill(0);
        tail_place(user, room).write_unaligned(0);
    }
}

/// Proves the canary of a live chunk: the request's length, or what was written over.
pub fn look(user: usize, room: usize) -> Result<usize, Overrun> {
    let base = base(user);
    // SAFETY: a live chunk of the heap's, proven by its header or the table of mappings.
    let found = unsafe { tail_place(user, room).read_unaligned() };
    let slack = root::canary_slack(base, found) as usize;
    let tail_at = room - TAIL;
    if slack > tail_at {
        return Err(Overrun { request: None, at: None });
    }
    let request = tail_at - slack;
    // SAFETY: as above.
    let pad = unsafe { pad(user, room, request) };
    if let Some(at) = pad.iter().position(|&byte| byte != pad_byte(base)) {
        return Err(Overrun { request: Some(request), at: Some(request + at) });
    }
    let changed = found ^ tail(base, slack);
    if changed != 0 {
        return Err(Overrun { request: Some(request), at: Some(tail_at + (changed.trailing_zeros() / 8) as usize) });
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Memory([u8; 256]);

    fn with_memory(work: impl Fn(usize, &mut [u8; 256])) {
        keys::draw(11, 12);
        let mut memory = Memory([0; 256]);
        work(memory.0.as_ptr() as usize, &mut memory.0);
    }

    #[test]
    fn the_request_is_found_again_and_nothing_is_left() {
        for room in [24, 40, 120, 248] {
            for request in 0..=room - TAIL {
                with_memory(|user, memory| {
                    memory[..request].fill(7);
                    put(user, room, request);
                    assert_eq!(look(user, room).ok(), Some(request));
                    assert!(memory[..request].iter().all(|&byte| byte == 7));
                    assert!(memory[room..].iter().all(|&byte| byte == 0));
                    remove(user, room, request);
                    assert!(memory[request..].iter().all(|&byte| byte == 0));
                });
            }
        }
    }

    #[test]
    fn any_one_byte_behind_the_request_shows_and_is_told() {
        for (room, request) in [(24, 16), (24, 15), (24, 0), (40, 20), (120, 90)] {
            for at in request..room {
                // Behind the pad, up to the tail, lies what nobody uses.
                if (request + PAD_MAX..room - TAIL).contains(&at) {
                    continue;
                }
                for wrong in [0, 0xff, b'A'] {
                    with_memory(|user, memory| {
                        put(user, room, request);
                        if memory[at] == wrong {
                            return;
                        }
                        let first = at == request && room - TAIL == request;
                        assert!(memory[at] != 0 || !first);
                        memory[at] = wrong;
                        let found = look(user, room).expect_err("a byte was changed");
                        if let (Some(request_told), Some(at_told)) = (found.request, found.at)
                            && at < room - TAIL
                        {
                            assert_eq!((request_told, at_told), (request, at));
                        }
                    });
                }
            }
        }
    }

    #[test]
    fn a_canary_serves_at_its_own_address_only() {
        with_memory(|user, memory| {
            put(user, 40, 20);
            memory.copy_within(0..40, 64);
            assert!(look(user + 64, 40).is_err());
        });
    }
}
