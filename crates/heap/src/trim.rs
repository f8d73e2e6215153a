//! Giving memory back on request: `malloc_trim` merges everything that can be merged, arena by arena, shortens the tops and
//! releases the whole pages inside free chunks.

use crate::arena;
use crate::bins::{large, link_of};
use crate::chunk::Chunk;
use crate::kernel;
use crate::list;
use crate::size::*;
use crate::store::Store;
use crate::thread;
use crate::top;
use heapglass_os as os;

/// Bytes at a free chunk's start that the heap uses itself: header, links, ring and role.
const KEPT_HEAD: usize = HEADER + 5 * size_of::<usize>();

/// Merges, trims and releases, leaving `pad` bytes of each top; `true` where the kernel got anything. The calling thread's
/// cache goes home first; other threads' caches stay theirs.
pub fn trim(pad: usize) -> bool {
    if let Some(thread) = thread::current() {
        thread.flush();
    }
    let me = thread::owner();
    let mut gave = false;
    for arena in arena::all() {
        // An arena at a time: nobody waits for more than his own.
        if let Some(mut guard) = arena.lock(me) {
            guard.consolidate();
            gave |= top::trim(&mut guard, pad);
            gave |= release_pages(&mut guard);
        }
    }
    gave
}

/// Releases the whole pages inside the store's free chunks.
fn release_pages(store: &mut Store) -> bool {
    let span = store.span;
    let mut gave = false;
    // SAFETY: the store is locked; its lists are proven as they are followed.
    unsafe {
        for index in 0..large::BINS {
            store.bins.large.each(&span, index, |chunk| gave |= release_inside(chunk));
        }
        let head = &raw mut store.bins.unsorted;
        let mut at = list::next(&span, head);
        while at != head {
            gave |= release_inside(Chunk::from_user(at as usize));
            at = list::next(&span, at);
        }
    }
    gave
}

fn release_inside(chunk: Chunk) -> bool {
    debug_assert_eq!(link_of(chunk) as usize, chunk.user());
    let page = os::page_size();
    let start = (chunk.address() + KEPT_HEAD + page - 1) & !(page - 1);
    let end = chunk.next().address() & !(page - 1);
    // SAFETY: nothing of a free chunk between its head and its end is anyone's.
    start < end && unsafe { kernel::discard(start, end - start) }.is_ok()
}
