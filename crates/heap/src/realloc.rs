//! realloc: shrinks in place and gives the end back, grows in place into a free next chunk or the top, moves a mapped chunk
//! without copying; only otherwise it copies.

use crate::arena;
use crate::cache;
use crate::chunk::{Chunk, State};
use crate::free::{self, Live};
use crate::malloc::{self, no_memory};
use crate::mapped;
use crate::policy::POLICY;
use crate::probe::{self, Call, Kind, Outcome};
use crate::profile;
use crate::region;
use crate::requests;
use crate::secure;
use crate::size::*;
use crate::sync::atomic::Ordering::Relaxed;
use crate::thread;
use core::ptr;

/// Resizes a live chunk, or makes one for null. `realloc(p, 0)` frees and returns null. Where it fails, the old chunk stays.
///
/// # Safety
/// `user` is the caller's, and nobody's afterwards where another pointer is returned.
pub unsafe fn realloc(user: *mut u8, request: usize) -> *mut u8 {
    // Most often nothing is to be done. (0 bytes wrap to very many.)
    if let Some(chunk) = free::live_at_once(user as usize)
        && request.wrapping_sub(1) < MAX_CHUNK - OVERHEAD - ALIGN
        && stays(chunk.size(), rounded(request), true)
    {
        return user;
    }
    // What programs write whose only way to memory is realloc, as Lua.
    if user.is_null()
        && let Some(new) = malloc::quickly(request)
    {
        return new.user;
    }
    // SAFETY: as the caller promises.
    unsafe { realloc_slow(user, request) }
}

#[inline(never)]
unsafe fn realloc_slow(user: *mut u8, request: usize) -> *mut u8 {
    let told = probe::begin(Call::Realloc, [user as usize, request]);
    // SAFETY: as the caller promises.
    let new = unsafe { realloc_steps(user, request) };
    probe::end(told, Call::Realloc, new as usize);
    new
}

unsafe fn realloc_steps(user: *mut u8, request: usize) -> *mut u8 {
    if user.is_null() {
        return malloc::malloc(request);
    }
    if request == 0 {
        probe::counted(Call::Realloc);
        // SAFETY: as the caller promises.
        unsafe { free::free(user) };
        return ptr::null_mut();
    }
    let (usable, resized) = match free::live("realloc", user as usize) {
        _ if request > MAX_REQUEST => return no_memory(),
        live if secure::is_on() => {
            profile::given_up_by(user as usize);
            let resized = secure::resize::resize(user as usize, &live, request);
            if let Some(user) = resized.1 {
                profile::allocated(user, request, Call::Realloc, false);
            }
            resized
        }
        Live::Heap(chunk) => (chunk.size() - OVERHEAD, in_heap(chunk, request)),
        Live::Mapped { base, length } => {
            (mapped::usable(user as usize, base, length), in_mapping(user as usize, base, length, request))
        }
        // Always elsewhere: who keeps the old pointer shall find out.
        Live::Guarded { usable } => (usable, None),
    };
    match resized {
        Some(user) => {
            probe::counted(Call::Realloc);
            user as *mut u8
        }
        // SAFETY: as the caller promises.
        None => unsafe { elsewhere(user, usable, request) },
    }
}

/// Resizes in place where that can be done; `None` where not.
///
/// # Safety
/// `user` is the caller's.
pub unsafe fn in_place(user: *mut u8, request: usize) -> bool {
    match free::live("realloc", user as usize) {
        live if secure::is_on() => secure::resize::in_place(&live, request),
        Live::Heap(chunk) => in_heap(chunk, request).is_some(),
        // Much less isn't worth the mapping's pages.
        Live::Mapped { .. } => {
            let fits = (free::usable("realloc", user) / 2..=free::usable("realloc", user)).contains(&request);
            if fits {
                mapped::asked_anew(user as usize, request);
            }
            fits
        }
        Live::Guarded { usable } => request == usable,
    }
}

/// Resizes a live chunk of a heap where it is.
pub fn in_heap(chunk: Chunk, request: usize) -> Option<usize> {
    let (size, old) = (chunk_size(request)?, chunk.size());
    probe::step(Kind::Size, Outcome::Done, [request, size, 0]);
    if size <= old {
        if stays(old, size, thread::is_on_fast_path()) {
            probe::step(Kind::Stays, Outcome::Done, [old, size, 0]);
        } else {
            profile::given_up(chunk);
            with_home(chunk, |store| {
                secure::clear::end(chunk, size);
                store.shorten(chunk, size);
            })?;
            resized(chunk, old, request);
            profile::allocated(chunk.user(), request, Call::Realloc, false);
        }
    } else {
        // Where it can't stay, it is given up all the same.
        profile::given_up(chunk);
        if !may_lengthen(chunk, size) || !lengthen(chunk, size) {
            return None;
        }
        resized(chunk, old, request);
        profile::allocated(chunk.user(), request, Call::Realloc, false);
    }
    probe::resized(old, chunk.size());
    Some(chunk.user())
}

/// A chunk, of `old` bytes until now, was cut or lengthened for a request.
fn resized(chunk: Chunk, old: usize, request: usize) {
    requests::one_left(old);
    requests::one_came(chunk, request, thread::existing());
}

/// The size that a chunk gets which grows to `size`: above the exact classes that of the class that serves it, so that a buffer
/// growing by small steps takes the lock once in an eighth of its length, and as long as one that malloc made. Not before the
/// thread is on the fast path (`is_fast`).
fn roomy(size: usize, is_fast: bool) -> usize {
    let is_medium = size > SMALL_MAX && size <= CACHED_MAX - ALIGN;
    if is_medium && is_fast { class_room(size) } else { size }
}

/// Does a chunk of `old` bytes serve a request for `size` as it is?
#[inline(always)]
fn stays(old: usize, size: usize, is_fast: bool) -> bool {
    old.wrapping_sub(size) < MIN_CHUNK || size <= old && old <= roomy(size, is_fast)
}

#[inline(never)]
fn lengthen(chunk: Chunk, size: usize) -> bool {
    with_home(chunk, |store| store.lengthen(chunk, size, roomy(size, thread::is_on_fast_path()))).unwrap_or(false)
}

/// Is it worth taking the lock to look for room behind a chunk? What the header there says may change at any moment, so this is
/// a guess; but one that is in use or cached now would have to be freed and merged just in between.
fn may_lengthen(chunk: Chunk, size: usize) -> bool {
    let may = !matches!(chunk.next().state(), Some(State::Live | State::Cached | State::Fast));
    if !may {
        probe::step(Kind::Lengthen, Outcome::InUse, [chunk.size(), size, 0]);
    }
    may
}

/// Works on a live chunk in its own arena. `None` where this thread is in that arena already.
fn with_home<T>(chunk: Chunk, work: impl FnOnce(&mut crate::store::Store) -> T) -> Option<T> {
    let home = arena::get(region::owner(chunk.address())?);
    home.lock(thread::owner()).map(|mut guard| work(&mut guard))
}

/// Resizes a live mapped chunk, moving its pages where that must be.
pub fn in_mapping(user: usize, base: usize, length: usize, request: usize) -> Option<usize> {
    // A small rest in a mapping of its own would waste most of a page, and each later resize would be a system call.
    if request <= CACHED_MAX && request < POLICY.mmap_threshold.load(Relaxed) {
        return None;
    }
    let fits = request <= mapped::usable(user, base, length);
    profile::given_up_elsewhere(user);
    let moved = mapped::resize(user, request).or_else(|| {
        mapped::asked_anew(user, if fits { request } else { return None });
        Some(user)
    })?;
    probe::resized(length, free::length(moved));
    profile::allocated(moved, request, Call::Realloc, false);
    Some(moved)
}

/// Copies into a new chunk what the old one, of `usable` bytes, holds.
unsafe fn elsewhere(user: *mut u8, usable: usize, request: usize) -> *mut u8 {
    let Some(new) = malloc::quickly(request).or_else(|| malloc::allocate(request, Call::Realloc)) else {
        return no_memory();
    };
    probe::given_up(|| free::length(user as usize));
    // SAFETY: two live chunks, each at least that many bytes long. memmove, although they don't overlap: a library's memcpy
    // without a version binds to glibc's oldest, which doesn't choose by the processor. The old one was proven.
    unsafe {
        ptr::copy(user, new.user, usable.min(request));
        probe::step(Kind::Copy, Outcome::Done, [user as usize, new.user as usize, usable.min(request)]);
        let parks =
            || thread::observed().is_some() && thread::existing().is_some_and(|thread| thread.park_observed(user));
        if !cache::park(user) && !parks() {
            let mut thread = thread::current();
            // A count that ended here would otherwise begin at the end of all numbers.
            if let Some(thread) = thread.as_mut().filter(|thread| thread.cache.head.until_look == 0) {
                thread.tick();
            }
            free::put_away(thread, user as usize);
        }
    }
    new.user
}
