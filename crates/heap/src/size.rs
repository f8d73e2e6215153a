//! From a request to a chunk, and from a chunk to its class in a thread's cache.
//!
//! A request of n bytes takes a chunk of n + 8 bytes rounded up to 16, at least 32: the header costs 8 bytes a chunk,
//! because a chunk in use also owns the first word of its successor.
//!
//! Classes of the cache: every 16 bytes up to `SMALL_MAX`, where a class holds one exact size, then 8 to each doubling up to
//! `CACHED_MAX`, where a class holds the sizes from its own up to the next.

/// Every chunk starts at, and every size is, a multiple of this.
pub const ALIGN: usize = 16;
/// From a chunk's start to its user's pointer.
pub const HEADER: usize = 16;
/// What a chunk in use costs beyond the user's bytes.
pub const OVERHEAD: usize = 8;
/// A free chunk must hold its header, two links and its size again at the end.
pub const MIN_CHUNK: usize = 32;
/// The header has 28 bits for the size, in units of 16.
pub const MAX_CHUNK: usize = 0xffff_fff0;
/// Larger requests fail, as `PTRDIFF_MAX` demands.
pub const MAX_REQUEST: usize = isize::MAX as usize;

/// Largest chunk of an exact class.
pub const SMALL_MAX: usize = 1024;
/// Largest chunk that a thread's cache takes.
pub const CACHED_MAX: usize = if cfg!(feature = "small-world") { 4096 } else { 64 * 1024 };
/// Largest chunk of the fast bins.
pub const FAST_MAX: usize = 128;

/// Steps to a doubling above `SMALL_MAX`.
pub const STEPS: usize = 8;
const SMALL_CLASSES: usize = SMALL_MAX / ALIGN + 1;
/// Number of classes; class 0 and 1 stay empty, so that the class of a small chunk is its size over 16.
pub const CLASSES: usize = SMALL_CLASSES + STEPS * 6 + 1;

const _: () = assert!(MIN_CHUNK >= HEADER + 2 * size_of::<usize>());
const _: () = assert!(SMALL_MAX.is_power_of_two() && CACHED_MAX <= SMALL_MAX << 6);
const _: () = assert!(FAST_MAX <= SMALL_MAX);

/// The chunk size for a request that is known to be small against `MAX_CHUNK`.
#[inline(always)]
pub const fn rounded(request: usize) -> usize {
    // A jump that is foreseen, for the few that ask for less, is an instruction shorter than a choice for all.
    if request <= MIN_CHUNK - ALIGN - OVERHEAD {
        core::hint::cold_path();
        return MIN_CHUNK;
    }
    (request + OVERHEAD + ALIGN - 1) & !(ALIGN - 1)
}

/// The chunk size for a request, or `None` where no heap chunk is large enough.
#[inline]
pub fn chunk_size(request: usize) -> Option<usize> {
    if request > MAX_CHUNK - OVERHEAD - ALIGN {
        return None;
    }
    Some(rounded(request))
}

/// The class that holds chunks of this size, which is at most `CACHED_MAX`.
#[inline]
pub const fn class_of(size: usize) -> usize {
    if size <= SMALL_MAX {
        return size / ALIGN;
    }
    let doubling = log2(size);
    let step = (size >> (doubling - 3)) & (STEPS - 1);
    SMALL_CLASSES + (doubling - log2(SMALL_MAX)) * STEPS + step
}

/// The lowest class above the exact ones all of whose chunks have at least this size, which is over `SMALL_MAX` and at most
/// `CACHED_MAX`.
#[inline]
pub fn class_above(size: usize) -> usize {
    class_of(size - ALIGN) + 1
}

/// The class that serves this chunk size, which is at most `CACHED_MAX`.
#[inline]
pub fn class_for(size: usize) -> usize {
    if size <= SMALL_MAX { class_of(size) } else { class_above(size) }
}

/// The size of a chunk made for the class that serves `size`, which is at most `CACHED_MAX`: any later request of that class
/// fits in. (The first class above the exact ones begins where those end, below all that it serves.)
pub fn class_room(size: usize) -> usize {
    size.max(class_size(class_for(size)))
}

/// Position of the highest set bit; 0 for 0. Unlike `ilog2`, it has no panic in it.
#[inline]
pub const fn log2(size: usize) -> usize {
    (usize::BITS - 1).wrapping_sub(size.leading_zeros()) as usize & 63
}

/// The smallest size in a class.
pub const fn class_size(class: usize) -> usize {
    if class < SMALL_CLASSES {
        return class * ALIGN;
    }
    let (doubling, step) = ((class - SMALL_CLASSES) / STEPS, (class - SMALL_CLASSES) % STEPS);
    (SMALL_MAX << doubling) + step * ((SMALL_MAX / STEPS) << doubling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_its_bytes_a_header_and_the_rounding() {
        for (request, size) in
            [(0, 32), (1, 32), (24, 32), (25, 48), (32, 48), (40, 48), (41, 64), (128, 144), (1016, 1024)]
        {
            assert_eq!(chunk_size(request), Some(size), "request {request}");
        }
        assert_eq!(chunk_size(usize::MAX), None);
        assert_eq!(chunk_size(MAX_CHUNK), None);
    }

    #[test]
    fn a_chunk_made_for_a_class_serves_what_it_was_made_for() {
        for size in (MIN_CHUNK..=CACHED_MAX).step_by(ALIGN) {
            let room = class_room(size);
            assert!(room >= size && room <= size + size / STEPS, "size {size} room {room}");
            assert!(size > SMALL_MAX || room == size);
        }
    }

    #[test]
    fn every_cached_size_lies_between_its_class_and_the_next() {
        for size in (MIN_CHUNK..=CACHED_MAX).step_by(ALIGN) {
            let class = class_of(size);
            assert!(class < CLASSES);
            assert!(class_size(class) <= size, "size {size} class {class}");
            if size <= SMALL_MAX {
                // The last exact class and the first of several sizes begin at the same one.
                assert_eq!(class_size(class), size);
            } else {
                assert!(class + 1 == CLASSES || size < class_size(class + 1), "size {size} class {class}");
            }
        }
    }
}
