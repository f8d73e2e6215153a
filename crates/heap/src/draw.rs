//! A picture of all heaps, told record by record: every chunk of every heap, then every list with where its links lead, the calling thread's cache among them. Made only where a reader asked for one, around the calls that it named. It
//! changes nothing: what waits in an arena's inbox goes on waiting.

use crate::arena;
use crate::bins::{fast::Fast, large, link_of};
use crate::chunk::{Chunk, State};
use crate::depot;
use crate::list::{self, Link, Span};
use crate::mapped;
use crate::probe::{Kind, Outcome};
use crate::region;
use crate::size::*;
use crate::store::Store;
use crate::tell;
use crate::thread;
use heapglass_event::record::Record;

fn put(kind: Kind, outcome: Outcome, n: usize, numbers: [usize; 3]) {
    tell::put(Record::new(kind, outcome, n as u32, numbers));
}

/// Draws all heaps before (or after) the call of this number.
#[cold]
pub fn all(number: u64, after: bool) {
    put(Kind::Draw, Outcome::Done, usize::from(after), [number as usize, 0, 0]);
    for arena in arena::all() {
        arena.look(thread::owner(), |store| {
            heaps(store);
            lists(store);
        });
    }
    mapped::each(|user, base, length| {
        put(Kind::Chunk, Outcome::Mapped, Chunk::from_user(user).flags() as usize, [user - HEADER, length, base]);
    });
    caches();
    put(Kind::Drawn, Outcome::Done, 0, [0; 3]);
}

/// What records call it.
pub fn name_of(state: State) -> Outcome {
    match state {
        State::Live | State::Sampled => Outcome::Live,
        State::Cached | State::Marked => Outcome::Cached,
        State::Fast => Outcome::InFast,
        State::Quarantined => Outcome::Quarantined,
        State::Free => Outcome::InBin,
        State::Top => Outcome::IsTop,
        State::Fence => Outcome::Fence,
        State::Mapped => Outcome::Mapped,
    }
}

fn heaps(store: &mut Store) {
    let mut record = store.regions;
    // SAFETY: the store is locked; its records are whole.
    while let Some(region) = unsafe { record.as_ref() } {
        put(Kind::Heap, Outcome::Done, store.arena, [region.start, region.end, 0]);
        let mut chunk = Chunk::at(region.start);
        while chunk.address() + HEADER <= region.end {
            let Some(state) = chunk.state() else {
                put(Kind::Chunk, Outcome::Broken, 0, [chunk.address(), region.end - chunk.address(), 0]);
                break;
            };
            let size = if state == State::Top { region.end - chunk.address() } else { chunk.size() };
            put(Kind::Chunk, name_of(state), chunk.flags() as usize, [chunk.address(), size, 0]);
            if size == 0 {
                break;
            }
            chunk = Chunk::at(chunk.address() + size);
        }
        record = region.next;
    }
}

/// A chunk of a list, with where its two links lead.
fn link(chunk: Chunk, fd: usize, bk: usize) {
    put(Kind::Link, Outcome::Done, 0, [chunk.address(), fd, bk]);
}

/// As `link`, for the doubly linked lists.
///
/// # Safety
/// The chunk is in one, whose store is locked.
unsafe fn link_both(chunk: Chunk) {
    // SAFETY: as the caller promises.
    unsafe { link(chunk, list::fd(link_of(chunk)) as usize, list::bk(link_of(chunk)) as usize) };
}

fn lists(store: &mut Store) {
    let (span, arena) = (store.span, store.arena);
    for (index, &head) in store.fast.heads.iter().enumerate() {
        let mut at = head;
        if at != 0 {
            put(Kind::List, Outcome::FastList, arena, [index * ALIGN, 0, 0]);
        }
        while at != 0 {
            // SAFETY: a fast bin's chunk; the store is locked.
            let next = unsafe { Fast::step(Chunk::at(at)) }.unwrap_or(0);
            link(Chunk::at(at), next, 0);
            at = next;
        }
    }
    // SAFETY: the store is locked.
    unsafe {
        ring(&span, &raw mut store.bins.unsorted, Outcome::UnsortedList, arena, 0);
        for (index, head) in store.bins.small.heads.iter_mut().enumerate() {
            ring(&span, head, Outcome::SmallList, arena, index * ALIGN);
        }
        for bin in 0..large::BINS {
            let mut is_first = true;
            let _ = store.bins.large.walk(&span, bin, |chunk| {
                if core::mem::take(&mut is_first) {
                    put(Kind::List, Outcome::LargeList, arena, [0, 0, 0]);
                }
                link_both(chunk);
            });
        }
    }
}

/// The unsorted bin or a small one, from the end from which chunks are taken.
///
/// # Safety
/// The arena's lock is held.
unsafe fn ring(span: &Span, head: *mut Link, which: Outcome, arena: usize, size: usize) {
    // SAFETY: as the caller promises; each step is checked before it is taken.
    unsafe {
        let mut at = list::bk(head);
        if at != head {
            put(Kind::List, which, arena, [size, head as usize, 0]);
        }
        while at != head && list::step(span, at).is_ok() {
            let chunk = Chunk::from_user(at as usize);
            link_both(chunk);
            at = list::bk(link_of(chunk));
        }
    }
}

fn caches() {
    if let Some(thread) = thread::existing() {
        for class in 1..CLASSES {
            let cached = thread.cached(class);
            if !cached.is_empty() {
                put(Kind::List, Outcome::CacheList, thread.arena.number(), [class_size(class), 0, 0]);
            }
            for &user in cached.iter().rev() {
                put(Kind::Link, Outcome::Done, 0, [Chunk::from_user(user).address(), 0, 0]);
            }
        }
        for parked in thread.cache.head.parked.into_iter().filter(|&parked| !thread.cache.is_nobody(parked)) {
            put(Kind::List, Outcome::ParkedList, thread.arena.number(), [0; 3]);
            put(Kind::Link, Outcome::Done, 0, [Chunk::from_user(parked as usize).address(), 0, 0]);
        }
    }
    let mut last = usize::MAX;
    depot::each(thread::owner(), |class, user| {
        let chunk = Chunk::from_user(user);
        if class != last {
            let arena = region::owner(chunk.address()).unwrap_or(0);
            put(Kind::List, Outcome::DepotList, arena, [class_size(class), 0, 0]);
            last = class;
        }
        put(Kind::Link, Outcome::Done, 0, [chunk.address(), 0, 0]);
    });
}
