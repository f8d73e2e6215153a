//! malloc and calloc: the fast path takes a chunk out of the thread's cache; the steps behind it (A6 of the contract) are
//! here and in `refill` and `store`.

use crate::arch;
use crate::arena;
use crate::cache::{self, SMALL_LIMIT};
use crate::chunk::Chunk;
use crate::mapped;
use crate::policy::POLICY;
use crate::probe::{self, Call, Kind, Outcome};
use crate::profile;
use crate::requests;
use crate::secure;
use crate::size::*;
use crate::store::Taken;
use crate::sync::atomic::Ordering::Relaxed;
use crate::thread::{self, Thread};
use crate::usdt;
use core::ptr;
use heapglass_os as os;

/// At least `request` bytes at a multiple of 16, different from every other live pointer, also for 0 bytes. Null and
/// `errno = ENOMEM` where there are none.
#[inline(always)]
pub fn malloc(request: usize) -> *mut u8 {
    malloc_by::<{ Call::Malloc as u32 }>(request)
}

/// As `malloc`, for a function of another name: a `Call` by its number.
#[inline(always)]
pub fn malloc_by<const CALL: u32>(request: usize) -> *mut u8 {
    let user = cache::take(request);
    if !user.is_null() { user } else { malloc_slow::<CALL>(request) }
}

#[inline(never)]
fn malloc_slow<const CALL: u32>(request: usize) -> *mut u8 {
    let user = take_medium(request);
    if !user.is_null() { user } else { malloc_slowest(request, CALL) }
}

/// From the classes that hold several sizes; null where it can't be had without more ado.
fn take_medium(request: usize) -> *mut u8 {
    if !is_medium(request) {
        return ptr::null_mut();
    }
    // SAFETY: the word is this thread's.
    unsafe { cache::take_medium_from(arch::word(), request) }
}

pub fn is_medium(request: usize) -> bool {
    (SMALL_LIMIT..POLICY.mmap_threshold.load(Relaxed)).contains(&request)
}

/// From the thread's cache, if it has a chunk.
#[inline(always)]
pub fn quickly(request: usize) -> Option<Allocated> {
    let user = cache::take(request);
    let user = if user.is_null() { take_medium(request) } else { user };
    (!user.is_null()).then_some(Allocated { user, zero: false })
}

#[cold]
#[inline(never)]
fn malloc_slowest(request: usize, call: u32) -> *mut u8 {
    if profile::is_on() {
        let user = profile::take_medium(request);
        if !user.is_null() {
            return user;
        }
    }
    malloc_anew(request, call)
}

#[inline(never)]
fn malloc_anew(request: usize, call: u32) -> *mut u8 {
    let call = Call::from_number(call).unwrap_or(Call::Malloc);
    match allocate_told(request, call, [request, 0]) {
        Some(fresh) => fresh.user,
        None => no_memory(),
    }
}

/// As `malloc`, for `count * size` bytes, all zero. Memory that came from the kernel a moment ago is zero already.
pub fn calloc(count: usize, size: usize) -> *mut u8 {
    let request = count.checked_mul(size);
    match request.and_then(|request| quickly(request).map(|taken| (request, taken))) {
        Some((request, Allocated { user, .. })) => {
            // SAFETY: the chunk holds the request.
            unsafe { ptr::write_bytes(user, 0, request) };
            user
        }
        None => calloc_slow(count, size),
    }
}

#[cold]
#[inline(never)]
fn calloc_slow(count: usize, size: usize) -> *mut u8 {
    let Some(request) = count.checked_mul(size) else {
        probe::refused(Call::Calloc, [count, size]);
        return no_memory();
    };
    match allocate_told(request, Call::Calloc, [count, size]) {
        Some(Allocated { user, zero: true }) => user,
        Some(Allocated { user, zero: false }) => {
            // SAFETY: as above.
            unsafe { ptr::write_bytes(user, 0, request) };
            user
        }
        None => no_memory(),
    }
}

/// Null, with `errno` saying why.
#[cold]
pub fn no_memory() -> *mut u8 {
    os::thread::set_errno(os::ENOMEM);
    ptr::null_mut()
}

/// A live chunk's user pointer, and whether its bytes are known to be zero.
pub struct Allocated {
    pub user: *mut u8,
    pub zero: bool,
}

/// As `allocate`, told from beginning to end, with the arguments that the program gave.
#[inline(never)]
pub fn allocate_told(request: usize, call: Call, arguments: [usize; 2]) -> Option<Allocated> {
    let told = probe::begin(call, arguments);
    let allocated = allocate(request, call);
    probe::end(told, call, allocated.as_ref().map_or(0, |allocated| allocated.user as usize));
    allocated
}

/// The steps behind the fast path.
pub fn allocate(request: usize, call: Call) -> Option<Allocated> {
    if request > MAX_REQUEST {
        return None;
    }
    let mut thread = thread::current();
    let mut sample = None;
    if let Some(thread) = &mut thread {
        if let Some(user) = profile::quickly(thread, request, call) {
            return Some(Allocated { user, zero: false });
        }
        if thread.is_facing() && !thread.exact {
            // Observed: the very steps of the fast path, so that addresses stay what they would be.
            let head = &raw mut thread.cache.head;
            let before = if probe::tells() { thread.cached_for(request) } else { 0 };
            // SAFETY: the thread's own head.
            let mut user = unsafe { cache::take_from(head, request) };
            if user.is_null() && is_medium(request) {
                // SAFETY: as above.
                user = unsafe { cache::take_medium_from(head, request) };
            }
            if !user.is_null() {
                let size = rounded(request);
                probe::step(Kind::Size, Outcome::Done, [request, size, 0]);
                probe::step(Kind::Cache, Outcome::Taken, [size, before, user as usize]);
                probe::allocated(call, || crate::free::length(user as usize));
                profile::allocated(user as usize, request, call, true);
                return Some(Allocated { user, zero: false });
            }
        }
        thread.count_allocation();
        thread.tick();
        sample = thread.sample(request, ALIGN);
        // A sample leaves the cache as it is.
        if sample.is_none() {
            thread.thicken(request);
            thread.unpark();
        }
    }
    let allocated = match sample {
        Some(made) => {
            probe::step(Kind::Sample, Outcome::Made, [made.user, request, 0]);
            Allocated { user: made.user as *mut u8, zero: made.zero }
        }
        None => fresh(thread, request)?,
    };
    probe::allocated(call, || crate::free::length(allocated.user as usize));
    profile::allocated(allocated.user as usize, request, call, false);
    let perturb = POLICY.perturb.load(Relaxed) as u8;
    if perturb != 0 && call != Call::Calloc {
        // SAFETY: the chunk holds at least the request.
        unsafe { ptr::write_bytes(allocated.user, !perturb, request) };
    }
    Some(allocated)
}

fn fresh(thread: Option<&mut Thread>, request: usize) -> Option<Allocated> {
    let needed = secure::padded(request);
    let mut allocated = steps(thread, needed).or_else(|| secure::again(|| steps(thread::current(), needed)))?;
    let user = allocated.user as usize;
    if secure::is_on() {
        allocated.zero = secure::hand_out(user, request, allocated.zero);
    } else {
        // SAFETY: allocated just now.
        unsafe { cache::clear(user) };
    }
    Some(allocated)
}

fn steps(thread: Option<&mut Thread>, request: usize) -> Option<Allocated> {
    let from_heap = |taken: Taken| Allocated { user: taken.chunk.user() as *mut u8, zero: taken.fresh };
    let from_kernel = |made: mapped::Made| Allocated { user: made.user as *mut u8, zero: made.zero };
    let threshold = POLICY.mmap_threshold.load(Relaxed);
    let maps = request >= threshold;
    let side = if maps { Outcome::Above } else { Outcome::Below };
    probe::step(Kind::Threshold, side, [request, threshold, 0]);
    if maps && let Some(made) = mapped::allocate(request, ALIGN) {
        return Some(from_kernel(made));
    }
    let size = chunk_size(request)?;
    probe::step(Kind::Size, Outcome::Done, [request, size, 0]);
    let taken = match thread {
        Some(thread) => thread.take(size, request),
        None => take_from_any(size, request),
    };
    match taken {
        Some(taken) => Some(from_heap(taken)),
        None if !maps => mapped::allocate(request, ALIGN).map(from_kernel),
        None => None,
    }
}

impl Thread {
    /// A6, steps 2 to 8.
    fn take(&mut self, size: usize, request: usize) -> Option<Taken> {
        let may_be_cached = size <= CACHED_MAX;
        if may_be_cached && !POLICY.classic.load(Relaxed) {
            if let Some(chunk) = self.pop(size) {
                return Some(Taken { chunk, fresh: false });
            }
            if let Some(taken) = self.refill(size, request) {
                return Some(taken);
            }
        } else {
            let why = if may_be_cached { Outcome::Off } else { Outcome::TooLong };
            probe::step(Kind::Cache, why, [size, 0, 0]);
        }
        let own = arena::take(self.arena, thread::owner(), |store, may_grow| store.take(size, may_grow));
        if let Some(taken) = own {
            requests::one_came(taken.chunk, request, Some(self));
            return own;
        }
        usdt::arena_retry(size, ptr::from_ref(self.arena) as usize);
        usdt::malloc_retry(size);
        take_from_any(size, request)
    }
}

/// One chunk out of whichever arena has one: for threads without a record, and for those whose own arena has no memory left.
#[cold]
fn take_from_any(size: usize, request: usize) -> Option<Taken> {
    let me = thread::owner();
    probe::step(Kind::Cache, Outcome::NoCache, [size, 0, 0]);
    let taken = arena::all().find_map(|arena| arena::take(arena, me, |store, may_grow| store.take(size, may_grow)))?;
    requests::one_came(taken.chunk, request, thread::existing());
    Some(taken)
}

/// A chunk for an aligned request: for `aligned`.
pub fn take_aligned(size: usize, align: usize) -> Option<Chunk> {
    let me = thread::owner();
    let own = thread::current().map(|thread| thread.arena);
    let mut take = |arena| arena::take(arena, me, |store, may_grow| store.take_aligned(size, align, may_grow));
    own.and_then(&mut take).or_else(|| arena::all().find_map(take))
}
