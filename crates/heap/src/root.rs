//! The one structure from which readers outside the process find the heap: see `heapglass_event::root`. It is put together
//! from what each module says of its own types; nothing in the allocator reads it.

use crate::bins::{large, pages};
use crate::chunk::{SECRET, State};
use crate::policy::POLICY;
use crate::size::*;
use crate::{arena, depot, guard, kernel, list, magazine, mapped, meta, region, requests, secure, store, thread};
// What readers outside read.
use core::sync::atomic::AtomicUsize;
use heapglass_event::root::*;

/// In writable data, since it has an atomic: so a core file always has it.
pub static ROOT: Root = {
    let (arenas, arena, [main, table]) = arena::seen();
    let (heap, windows, owners) = region::seen();
    let (mapped, mappings) = mapped::seen();
    let (depots, depot_table) = depot::seen();
    let (records, first_records) = meta::seen();
    let (samples, slots) = guard::for_readers();
    let (requests, requested) = requests::seen();
    Root {
        magic: ROOT_MAGIC,
        at: Place::of(&raw const ROOT),
        version: ROOT_VERSION,
        bytes: size_of::<Root>(),
        ready: AtomicUsize::new(0),
        secret: Place::of(&raw const SECRET),
        link_key: list::key_place(),
        states: STATES,
        chunk: ChunkAt {
            header: HEADER,
            overhead: OVERHEAD,
            min: MIN_CHUNK,
            large_from: SMALL_MAX,
            role_word: large::ROLE_WORD,
            role_unsorted: large::UNSORTED,
            role_leader: large::LEADER,
            role_peer: large::PEER,
            ring_word: large::RING_WORD,
            paged_min: pages::PAGED_MIN,
            clean_word: pages::CLEAN_WORD,
            kept_head: pages::KEPT_HEAD,
        },
        arenas,
        arena,
        store: store::seen(),
        heap,
        windows,
        mapped,
        depots,
        magazine: magazine::seen(),
        threads: thread::seen(),
        records,
        samples,
        canary: secure::canary_seen(),
        requests,
        policy: PolicyAt {
            mmap_threshold: Place::of(&raw const POLICY.mmap_threshold),
            trim_threshold: Place::of(&raw const POLICY.trim_threshold),
            top_pad: Place::of(&raw const POLICY.top_pad),
            decay: Place::of(&raw const POLICY.decay),
        },
        counters: kernel::seen(),
        counters_version: heapglass_event::VERSION as usize,
        statics: [main, table, owners, mappings, depot_table, first_records, slots, requested],
    }
};

/// By `Kind`.
const STATES: [usize; KINDS.len()] = {
    let mut codes = [NO_STATE; KINDS.len()];
    codes[Kind::Live as usize] = State::Live as usize;
    codes[Kind::Cached as usize] = State::Cached as usize;
    codes[Kind::Fast as usize] = State::Fast as usize;
    codes[Kind::Free as usize] = State::Free as usize;
    codes[Kind::Top as usize] = State::Top as usize;
    codes[Kind::Fence as usize] = State::Fence as usize;
    codes[Kind::Mapped as usize] = State::Mapped as usize;
    codes[Kind::Quarantined as usize] = State::Quarantined as usize;
    codes[SAMPLED] = State::Sampled as usize;
    codes[MARKED] = State::Marked as usize;
    codes
};
