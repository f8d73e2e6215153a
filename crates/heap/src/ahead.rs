//! Looking ahead: what the next chunks of a magazine will be touched at is asked for before it is needed, by merging and by malloc.
//!
//! A chunk that was freed a while ago is in no cache of the processor any more, nor are its neighbours, nor theirs in their lists:
//! up to six lines of memory, each of which is found only through the one before. Merged one after the other, chunks would wait for
//! each of them in turn. So the chunks of a magazine go through stages, a few chunks apart, in which each brings what its next stage reads.
//! Nothing is written, nothing that is read here is believed later, and what isn't proven isn't followed but only asked for.

use crate::arch;
use crate::arena;
use crate::chunk::{Chunk, State};
use crate::list::{self, Link};

/// How many chunks before its turn a chunk's own header is asked for, those of its neighbours, and the items beside them in their
/// lists.
const HEADER: usize = 8;
const NEIGHBOURS: usize = 5;
const ITEMS: usize = 2;

/// Called when a magazine is loaded whose chunks were freed a while ago. Each malloc would wait for its header alone; asked for
/// together, the newest first as they are popped, they come together.
#[inline]
pub fn headers(users: &[usize]) {
    users.iter().rev().for_each(|&user| arch::prefetch(user.wrapping_sub(8)));
}

/// Called when it is the turn of the chunk at `index`. Zeros stand for chunks that have had theirs.
#[inline]
pub fn look(users: &[usize], index: usize) {
    if let Some(&user) = users.get(index + HEADER) {
        arch::prefetch(user.wrapping_sub(8));
    }
    if let Some(&user) = users.get(index + NEIGHBOURS)
        && user != 0
    {
        let chunk = Chunk::from_user(user);
        arch::prefetch(chunk.next().user());
        if !chunk.prev_in_use() {
            arch::prefetch(chunk.address().wrapping_sub(chunk.prev_size()).wrapping_add(16));
        }
    }
    if let Some(&user) = users.get(index + ITEMS)
        && user != 0
        && Chunk::from_user(user).is(State::Cached)
    {
        // Its header proves it, so its size leads to another chunk.
        let chunk = Chunk::from_user(user);
        items(chunk.next());
        if !chunk.prev_in_use() {
            let prev = Chunk::at(chunk.address().wrapping_sub(chunk.prev_size()));
            if prev.address().is_multiple_of(16) && arena::home_of(prev.address()).is_some() {
                items(prev);
            }
        }
    }
}

fn items(chunk: Chunk) {
    if chunk.is(State::Free) {
        let link = chunk.user() as *const Link;
        // SAFETY: a proven free chunk holds links.
        unsafe {
            arch::prefetch(list::fd(link) as usize);
            arch::prefetch(list::bk(link) as usize);
        }
    }
}
