//! Where the heap keeps what it knows, and how that is laid out: one structure, from which a reader outside the process, or
//! with nothing but a core file, finds everything else.
//!
//! The allocator has one `Root` in its writable data. It is found by its first two words and proves itself by the third, its
//! own address, so no symbol is needed: a stripped static program has one too. All that it says is places and
//! distances that the compiler has computed from the allocator's own types, so nothing is copied by hand, and a reader of
//! this version reads any build whose fields merely moved.
//!
//! The formulas that a reader needs to prove what it reads stand here too, and are those that the allocator calls.

use core::sync::atomic::AtomicUsize;

/// The first two words.
pub const ROOT_MAGIC: [usize; 2] =
    [u64::from_le_bytes(*b"HGROOT\0\0") as usize, 0x9d1b_5c3e_70a8_46f2u64.rotate_left(7) as usize];
/// Raised whenever a word is added, or what it leads to is to be read in another way.
pub const ROOT_VERSION: usize = 4;
/// A root starts at a multiple of this.
pub const ROOT_ALIGN: usize = 64;

/// An address in the process, or none.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Place(*const ());

// SAFETY: an address, which nobody here follows.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    pub const NONE: Place = Place(core::ptr::null());

    pub const fn of<T>(it: *const T) -> Place {
        Place(it.cast())
    }

    /// So many bytes further on.
    pub const fn past(self, bytes: usize) -> Place {
        Place(self.0.wrapping_byte_add(bytes))
    }
}

/// A piece of the allocator's own data.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Piece {
    pub at: Place,
    pub bytes: usize,
}

/// What a header's cookie can say, in the order of `Root::states`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Kind {
    /// Handed out to the program.
    Live = 0,
    /// Freed, in a magazine: a thread's cache, a depot or an inbox.
    Cached,
    /// Freed, in a fast bin.
    Fast,
    /// Free, in the unsorted, a small or a large bin.
    Free,
    /// The last chunk of a heap, from which new ones are cut.
    Top,
    /// The end of a heap that no longer grows.
    Fence,
    /// Handed out to the program, in a mapping of its own.
    Mapped,
    /// Freed, and kept from reuse for a while.
    Quarantined,
}

/// The kind of each of `Root::states`: all kinds by number, then those of chunks that a profile has an eye on, handed out and
/// cached.
pub const KINDS: [Kind; 10] = [
    Kind::Live,
    Kind::Cached,
    Kind::Fast,
    Kind::Free,
    Kind::Top,
    Kind::Fence,
    Kind::Mapped,
    Kind::Quarantined,
    Kind::Live,
    Kind::Cached,
];
/// Where those two stand.
pub const SAMPLED: usize = 8;
pub const MARKED: usize = 9;
/// The code of a state that this build doesn't have.
pub const NO_STATE: usize = usize::MAX;

/// The previous chunk is in use.
pub const P: u32 = 1;
/// The chunk is a mapping of its own.
pub const M: u32 = 2;
/// The chunk isn't the main arena's.
pub const A: u32 = 4;
/// Bits of a header's size half that aren't size.
pub const FLAGS: u32 = 15;

/// The cookie of a live chunk with this user pointer and size. Multiplying spreads every bit of the sum over the upper half;
/// one instruction, and the compare that uses it is predicted, so nobody waits for it.
#[inline(always)]
pub const fn cookie(secret: u64, user: u64, size: u64) -> u32 {
    (user.wrapping_add(size).wrapping_mul(secret) >> 32) as u32 | 1
}

/// What stands beside the link of a chunk in a fast bin.
#[inline(always)]
pub const fn fast_proof(secret: u64, user: u64, next: u64) -> u64 {
    (user ^ next).wrapping_mul(secret)
}

/// What a link is kept under at this place; 0, for nothing, without a key. The product's upper half depends on every bit of the
/// place, so it comes first.
#[inline(always)]
pub const fn link_mask(key: u64, place: u64) -> u64 {
    if key == 0 { 0 } else { (place ^ key >> 7).wrapping_mul(key).rotate_left(32) }
}

/// The mixing of MurmurHash3's end (Appleby): every bit of the input decides about every bit of the output.
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// Bits of a canary's last word that prove it; the others say how long the slack is.
pub const PROOF_BITS: u32 = 36;

/// What the canary at a user pointer is made of.
pub const fn canary_base(keys: [u64; 2], user: u64) -> u64 {
    mix(user.wrapping_mul(keys[0]) ^ keys[1])
}

/// The last word of a chunk with so many bytes between the request and it.
pub const fn canary(base: u64, slack: u64) -> u64 {
    let proof = mix(base ^ slack.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (base >> PROOF_BITS ^ slack) << PROOF_BITS | proof >> (u64::BITS - PROOF_BITS) | 1
}

/// The slack that a chunk's last word says, true or not.
pub const fn canary_slack(base: u64, last: u64) -> u64 {
    last >> PROOF_BITS ^ base >> PROOF_BITS
}

/// All words are as long as a pointer; places are addresses, everything else is bytes unless it says otherwise.
#[repr(C, align(64))]
pub struct Root {
    pub magic: [usize; 2],
    /// Where this structure lies: a copy of it elsewhere is none.
    pub at: Place,
    pub version: usize,
    /// Length of this structure.
    pub bytes: usize,
    /// 1 once there is an arena to look at.
    pub ready: AtomicUsize,
    /// The process's secret.
    pub secret: Place,
    /// The key of links, where this build has one.
    pub link_key: Place,
    /// What the cookie of each `Kind` differs by from a live one's; `NO_STATE` for kinds that this build doesn't have.
    pub states: [usize; KINDS.len()],
    pub chunk: ChunkAt,
    pub arenas: ArenasAt,
    pub arena: ArenaAt,
    pub store: StoreAt,
    pub heap: HeapAt,
    pub windows: WindowsAt,
    pub mapped: MappedAt,
    pub depots: DepotsAt,
    pub magazine: MagazineAt,
    pub threads: ThreadsAt,
    pub records: RecordsAt,
    pub samples: SamplesAt,
    pub canary: CanaryAt,
    pub requests: RequestsAt,
    pub policy: PolicyAt,
    /// The pointer to the page of counters, and its `VERSION`.
    pub counters: Place,
    pub counters_version: usize,
    /// Data of the allocator that isn't in records: what it costs beside them.
    pub statics: [Piece; 8],
}

/// Chunks: the sizes that decide where one is kept.
#[repr(C)]
pub struct ChunkAt {
    pub header: usize,
    pub overhead: usize,
    pub min: usize,
    /// From here on free chunks are in large bins.
    pub large_from: usize,
    /// Word of the user area of a free chunk that says what it is in the large bins or the unsorted one, and its values.
    pub role_word: usize,
    pub role_unsorted: usize,
    pub role_leader: usize,
    pub role_peer: usize,
    /// Word at which a leader's ring of chunks of its size begins.
    pub ring_word: usize,
    /// Free chunks from here on say which of their pages the kernel has already: the word of its start; its end follows.
    pub paged_min: usize,
    pub clean_word: usize,
    /// What a free chunk's own words take at its start.
    pub kept_head: usize,
}

/// The table of arenas.
#[repr(C)]
pub struct ArenasAt {
    /// An array of pointers.
    pub all: Place,
    pub most: usize,
    pub count: Place,
}

/// Within an arena.
#[repr(C)]
pub struct ArenaAt {
    pub bytes: usize,
    pub lock: usize,
    pub seats: usize,
    pub inbox: usize,
    pub store: usize,
}

/// Within a store.
#[repr(C)]
pub struct StoreAt {
    pub top: usize,
    pub heaps: usize,
    /// Heads of the fast bins: addresses of chunks, by size over 16, and how many.
    pub fast: usize,
    pub fast_bins: usize,
    pub fast_count: usize,
    pub fast_bytes: usize,
    /// Links: forward, then backward.
    pub unsorted: usize,
    /// By size over 16.
    pub small: usize,
    pub small_bins: usize,
    pub large: usize,
    pub large_bins: usize,
    /// Chunks and bytes in those three.
    pub free_count: usize,
    pub free_bytes: usize,
    pub system_bytes: usize,
    pub system_peak: usize,
}

/// Within a heap's record.
#[repr(C)]
pub struct HeapAt {
    pub next: usize,
    pub start: usize,
    pub end: usize,
    pub limit: usize,
    pub committed: usize,
    /// 4 bytes; the value for one that grows with the break.
    pub kind: usize,
    pub kind_break: usize,
    /// 4 bytes.
    pub closed: usize,
}

/// The table of windows of addresses: 4 bytes each.
#[repr(C)]
pub struct WindowsAt {
    pub all: Place,
    pub count: usize,
    /// Bits of an address below its window's number.
    pub shift: usize,
    /// Bits of a mark that are the arena's number plus one.
    pub arena_bits: usize,
}

/// The table of mapped chunks.
#[repr(C)]
pub struct MappedAt {
    pub lock: Place,
    /// A pointer to a slot that says in `length` how many follow.
    pub table: Place,
    pub slot_bytes: usize,
    pub user: usize,
    pub base: usize,
    pub length: usize,
    /// What a live one was asked for.
    pub request: usize,
    pub entry: usize,
    pub entry_live: usize,
    pub entry_kept: usize,
    /// Freed mappings that wait with their pages; a length of 0 is none.
    pub warm: Place,
    pub warm_count: usize,
    pub warm_bytes: usize,
    pub warm_base: usize,
    pub warm_length: usize,
}

/// The depots, one for each class.
#[repr(C)]
pub struct DepotsAt {
    pub all: Place,
    pub count: usize,
    pub bytes: usize,
    pub lock: usize,
    pub head: usize,
}

/// Within a magazine.
#[repr(C)]
pub struct MagazineAt {
    pub next: usize,
    /// 4 bytes.
    pub count: usize,
    /// 4 bytes.
    pub class: usize,
    pub slots: usize,
    /// The most slots that one can have.
    pub most: usize,
}

/// Records of threads.
#[repr(C)]
pub struct ThreadsAt {
    /// The pointer to the record made last; they are never unmade.
    pub all: Place,
    /// What the word of a thread leads to whose end has come (see the heap's `cache::ENDED`).
    pub ended: Place,
    pub bytes: usize,
    /// The record made before.
    pub older: usize,
    /// The kernel's id of the thread that has it, 4 bytes; 0 for nobody.
    pub id: usize,
    /// Pointer to its arena.
    pub arena: usize,
    /// Freed pointers that wait for their headers.
    pub parked: usize,
    pub parked_count: usize,
    /// What such a chunk has in its first word.
    pub key: usize,
    /// Two words for each class: where the next push goes, and the end.
    pub bins: usize,
    pub classes: usize,
    /// The magazine of each class, and a full one kept back.
    pub magazines: usize,
    pub spares: usize,
    pub spare_count: usize,
}

/// Memory of the allocator's records.
#[repr(C)]
pub struct RecordsAt {
    /// The pointer to the mapped block made last, whose first two words are the one before and its own length.
    pub blocks: Place,
    /// Bytes that were handed out.
    pub used: Place,
}

/// Samples: allocations that stand between inaccessible pages, each in a slot of its own.
#[repr(C)]
pub struct SamplesAt {
    /// The range of addresses with the slots.
    pub start: Place,
    pub end: Place,
    /// How many slots there are, and the pointer to their records.
    pub slots: Place,
    pub records: Place,
    pub record_bytes: usize,
    /// 4 bytes, and the value for one in use.
    pub state: usize,
    pub state_live: usize,
    pub user: usize,
    pub request: usize,
    /// Who allocated it: the kernel's id of the thread, 4 bytes; callers, 2 bytes; their return addresses, the innermost first.
    pub made_thread: usize,
    pub made_count: usize,
    pub made_frames: usize,
    pub frames_max: usize,
}

/// Canaries: behind each request, where they are on.
#[repr(C)]
pub struct CanaryAt {
    /// 4 bytes with a bit for each part of the hardened mode, and the bit of this one.
    pub parts: Place,
    pub bit: usize,
    /// Two words.
    pub keys: Place,
}

/// What was asked for, by class of chunks' sizes: one for each multiple of 16 up to `exact_max`, then `steps` to each doubling up to
/// `cached_max`, and a last one for all that is longer.
#[repr(C)]
pub struct RequestsAt {
    pub all: Place,
    pub count: usize,
    /// Of a class's record.
    pub bytes: usize,
    /// 4 bytes: the mean of what its chunks have beyond their requests, in bytes, with so many bits below the point.
    pub mean: usize,
    pub fraction: usize,
    /// 4 bytes, signed: its chunks in use or in threads' caches.
    pub chunks: usize,
    /// 4 bytes: the calls that the mean was made from.
    pub calls: usize,
    pub exact_max: usize,
    pub cached_max: usize,
    pub steps: usize,
}

/// Settings of the moment.
#[repr(C)]
pub struct PolicyAt {
    pub mmap_threshold: Place,
    pub trim_threshold: Place,
    pub top_pad: Place,
    pub decay: Place,
}
