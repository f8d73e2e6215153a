//! The checker is able to fail: each kind of damage, done to a sound heap, is counted; undone, the heap is sound again.
//! Looking never stops the process: a checker that dies at the first broken link tells nobody about the others.
#![cfg(not(loom))]

mod world;

use heapglass_heap::chunk::{A, Chunk, P, State};
use heapglass_heap::store::Store;
use heapglass_heap::{check, free, malloc, thread};

/// Runs `test` on a heap that has chunks in every kind of list, by name: `fast` 48, `other` 48 (below it in the same bin),
/// `small` 208, `large` 2016, `peer` 2016, `unsorted` 624, each between live ones; `live` is one of them.
fn with_heap(test: impl Fn(&mut Store, &dyn Fn(&str) -> Chunk)) {
    let _alone = world::alone();
    world::reset(world::Mode::Classic);
    world::assert_empty();
    let names = ["other", "fast", "small", "large", "peer", "unsorted"];
    let requests = [40, 40, 200, 2000, 2000, 608];
    let mut guards = Vec::new();
    let mut chunks = Vec::new();
    for request in requests {
        chunks.push(Chunk::from_user(malloc::malloc(request) as usize));
        guards.push(malloc::malloc(24));
    }
    let give = |chunk: Chunk| {
        // SAFETY: live until now.
        unsafe { free::free(chunk.user() as *mut u8) }
    };
    chunks[2..5].iter().copied().for_each(give);
    // Longer than any of them: sorts what is unsorted.
    guards.push(malloc::malloc(3000));
    chunks[..2].iter().copied().for_each(give);
    give(chunks[5]);
    let find = |name: &str| match names.iter().position(|known| *known == name) {
        Some(index) => chunks[index],
        None => Chunk::from_user(guards[2] as usize),
    };
    {
        let mut guard = thread::arena().lock(thread::owner()).expect("not locked by this thread");
        let states = ["fast", "small", "large", "peer", "unsorted", "live"].map(|name| find(name).state());
        let [free, fast, live] = [State::Free, State::Fast, State::Live].map(Some);
        assert_eq!(states, [fast, free, free, free, free, live], "the heap isn't as these tests want it");
        test(&mut guard, &find);
    }
    for user in guards {
        // SAFETY: live until now.
        unsafe { free::free(user) };
    }
    world::assert_empty();
}

fn faults(store: &mut Store) -> usize {
    check::check_store(store, true).faults
}

/// Every value of `damages` for the eight bytes at `word` is found, and the heap sound before and after.
#[track_caller]
fn found(store: &mut Store, what: &str, word: *mut u64, damages: &[u64]) {
    assert_eq!(faults(store), 0, "{what}: before");
    // SAFETY: words of the heap, whose lock the caller has.
    let kept = unsafe { word.read_volatile() };
    for &damage in damages {
        assert_ne!(damage, kept, "{what}: no damage");
        // SAFETY: as above; the value is put back.
        let count = unsafe {
            word.write_volatile(damage);
            let count = faults(store);
            word.write_volatile(kept);
            count
        };
        assert!(count > 0, "{what}: {damage:#x} for {kept:#x} isn't found");
    }
    assert_eq!(faults(store), 0, "{what}: after");
}

fn word_at(address: usize) -> (*mut u64, u64) {
    let word = address as *mut u64;
    // SAFETY: words of the heap, whose lock the caller has.
    (word, unsafe { word.read_volatile() })
}

#[test]
fn a_broken_header() {
    with_heap(|store, find| {
        for name in ["live", "fast", "small", "large", "peer", "unsorted"] {
            let (word, kept) = word_at(find(name).address() + 8);
            // A NUL over its first byte, a flipped cookie bit, another size, nothing at all.
            found(store, name, word, &[kept & !0xff, kept ^ 1 << 20, kept ^ 1 << 36, 0]);
        }
        let (word, kept) = word_at(store.top + 8);
        found(store, "top", word, &[kept & !0xff, kept ^ 1 << 40]);
    });
}

#[test]
fn a_wrong_flag() {
    with_heap(|store, find| {
        for name in ["live", "fast", "small", "large", "peer", "unsorted"] {
            let (word, kept) = word_at(find(name).address() + 8);
            found(store, name, word, &[kept ^ u64::from(P) << 32, kept ^ u64::from(A) << 32]);
            let (word, kept) = word_at(find(name).next().address() + 8);
            found(store, "behind it", word, &[kept ^ u64::from(P) << 32]);
        }
    });
}

#[test]
fn a_wrong_size_at_a_free_chunks_end() {
    with_heap(|store, find| {
        for name in ["small", "large", "peer", "unsorted"] {
            let (word, kept) = word_at(find(name).next().address());
            found(store, name, word, &[0, kept + 16, kept & !0xff, u64::MAX]);
        }
    });
}

#[test]
fn a_broken_link() {
    with_heap(|store, find| {
        for name in ["small", "large", "peer", "unsorted"] {
            let chunk = find(name);
            for index in 0..2 {
                let (word, kept) = word_at(chunk.word(index) as usize);
                // Nowhere, at itself, at a live chunk, a byte cut off, outside of all.
                let damages = [0, chunk.user() as u64, find("live").user() as u64, kept & !0xff | !kept & 8, u64::MAX];
                found(store, name, word, &damages);
            }
        }
        for index in 2..4 {
            let (word, _) = word_at(find("large").word(index) as usize);
            found(store, "a leader's ring", word, &[0, find("large").user() as u64]);
        }
        for index in 0..2 {
            let (word, kept) = word_at(find("fast").word(index) as usize);
            found(store, "a fast chunk's link", word, &[kept ^ 16, find("live").address() as u64]);
        }
    });
}

#[test]
fn a_chunk_in_no_list_or_in_a_wrong_one() {
    with_heap(|store, find| {
        let unsorted = find("unsorted");
        assert_eq!(faults(store), 0);
        // SAFETY: a free chunk of the locked store; it is put back.
        let past = unsafe { store.bins.remove(&store.span, unsorted) };
        assert!(faults(store) > 0, "in no list");
        let wrong = store.bins.small.heads.get_mut(3).expect("a small bin");
        // SAFETY: as above.
        unsafe { heapglass_heap::list::insert(&store.span, wrong, heapglass_heap::bins::link_of(unsorted)) };
        store.bins.small.map |= 1 << 3;
        (store.bins.count, store.bins.bytes) = (store.bins.count + 1, store.bins.bytes + unsorted.size());
        assert!(faults(store) > 0, "in the bin of another size");
        store.bins.small.map &= !(1 << 3);
        // SAFETY: as above.
        unsafe {
            heapglass_heap::list::remove(&store.span, heapglass_heap::bins::link_of(unsorted));
            (store.bins.count, store.bins.bytes) = (store.bins.count - 1, store.bins.bytes - unsorted.size());
            store.bins.put(&store.span, unsorted, past);
        }
        assert_eq!(faults(store), 0);
    });
}

#[test]
fn a_free_chunk_that_calls_itself_live_and_the_other_way_round() {
    with_heap(|store, find| {
        for (name, state) in [
            ("small", State::Live),
            ("unsorted", State::Fast),
            ("large", State::Cached),
            ("fast", State::Live),
            ("fast", State::Free),
            ("live", State::Free),
            ("live", State::Fast),
            ("live", State::Mapped),
            ("live", State::Top),
            ("live", State::Fence),
        ] {
            let chunk = find(name);
            let kept = chunk.state().expect("a sound header");
            chunk.set_state(chunk.size(), state);
            let count = faults(store);
            chunk.set_state(chunk.size(), kept);
            assert!(count > 0, "{name} as {state:?} isn't found");
            assert_eq!(faults(store), 0, "{name}: after");
        }
    });
}

#[test]
fn two_free_neighbours() {
    with_heap(|store, find| {
        let chunk = find("large");
        let (size, flags) = (chunk.size(), chunk.flags());
        // Cut in two, everything else as it should be: both free, both listed, the sizes at their ends right.
        let second = Chunk::at(chunk.address() + 1040);
        // SAFETY: a free chunk of the locked store; it is made whole again.
        unsafe {
            let past = store.bins.remove(&store.span, chunk);
            chunk.set(1040, flags, State::Free);
            second.set(size - 1040, flags & !P, State::Free);
            second.set_prev_free(1040);
            second.next().set_prev_free(size - 1040);
            store.bins.put(&store.span, chunk, past);
            store.bins.put(&store.span, second, past);
        }
        assert_eq!(faults(store), 1);
        // SAFETY: as above.
        unsafe {
            store.bins.remove(&store.span, chunk);
            let past = store.bins.remove(&store.span, second);
            chunk.set(size, flags, State::Free);
            chunk.next().set_prev_free(size);
            store.bins.put(&store.span, chunk, past);
        }
        assert_eq!(faults(store), 0);
    });
}

#[test]
fn words_about_the_pages_of_a_free_chunk() {
    let paged = |test: &dyn Fn(&mut Store, Chunk)| {
        let _alone = world::alone();
        world::reset(world::Mode::Classic);
        let [chunk, above] = [50_000, 24].map(malloc::malloc);
        // SAFETY: live until now.
        unsafe { free::free(chunk) };
        test(
            &mut thread::arena().lock(thread::owner()).expect("not locked by this thread"),
            Chunk::from_user(chunk as usize),
        );
        // SAFETY: as above.
        unsafe { free::free(above) };
        world::assert_empty();
    };
    paged(&|store, chunk| {
        let page = heapglass_os::page_size() as u64;
        let inside = (chunk.address() as u64 + page) & !(page - 1);
        for index in [5, 6] {
            found(store, "links by age", chunk.word(index).cast(), &[0, 8, chunk.user() as u64]);
        }
        found(store, "the age", chunk.word(7).cast(), &[4, u64::MAX]);
        for (index, wrong) in [(8, inside + 4 * page), (9, inside - 2 * page), (9, inside + 4 * page), (9, u64::MAX)] {
            found(store, "the clean run", chunk.word(index).cast(), &[wrong]);
        }
        for counter in
            [&raw mut store.bins.pages.count, &raw mut store.bins.pages.dirty, &raw mut store.bins.pages.released]
        {
            found(store, "counters of pages", counter.cast(), &[7]);
        }
    });
    // The same once its pages are released: then it is in no list.
    paged(&|store, chunk| {
        // SAFETY: a free chunk of the locked store.
        let bytes = unsafe { store.bins.pages.release(&store.span, chunk, &mut usize::MAX.clone()) };
        assert_eq!((store.bins.pages.count, store.bins.pages.released), (0, bytes));
        assert!(bytes >= 40_000, "{bytes}");
        found(store, "the age of a clean chunk", chunk.word(7).cast(), &[0, 4]);
    });
}

#[test]
fn a_wrong_counter_or_bitmap() {
    with_heap(|store, _| {
        for (what, place) in [
            ("chunks in bins", &raw mut store.bins.count),
            ("bytes in bins", &raw mut store.bins.bytes),
            ("chunks in fast bins", &raw mut store.fast.count),
            ("bytes in fast bins", &raw mut store.fast.bytes),
            ("bytes of all heaps", &raw mut store.system_bytes),
            ("a fast bin's head", &raw mut store.fast.heads[3]),
        ] {
            // SAFETY: a field of the locked store.
            let kept = unsafe { *place } as u64;
            found(store, what, place.cast(), &[kept + 16]);
        }
        let (small, large) = (&raw mut store.bins.small.map, &raw mut store.bins.large.map[0]);
        for (what, map) in [("small bins", small), ("large bins", large)] {
            // SAFETY: as above.
            let kept = unsafe { *map };
            assert_ne!(kept, 0);
            found(store, what, map, &[0, kept | 1 << 63, kept ^ (kept & kept.wrapping_neg())]);
        }
    });
}

#[test]
fn a_heap_without_an_end() {
    with_heap(|store, _| {
        let top = Chunk::at(store.top);
        let (size, flags) = (store.top_size(), top.flags());
        // A live chunk up to the very end: behind it there is nothing to read.
        top.set(size, flags, State::Live);
        assert!(faults(store) > 0);
        top.set(size, flags, State::Top);
        assert_eq!(faults(store), 0);
    });
}
