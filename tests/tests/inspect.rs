//! The heap read from outside: what each chunk is, held against what the program itself knows.

use heapglass_inspect::core::Core;
use heapglass_inspect::counters;
use heapglass_inspect::lists::{self, Bin, Holder, Holders};
use heapglass_inspect::records::{MappedState, Records};
use heapglass_inspect::walk::{self, Chunk, Walked, What};
use heapglass_inspect::{Target, Trouble};
use heapglass_tests::cli::{Dir, library};
use heapglass_tests::held::Held;
use heapglass_tests::{DOORS, Door, compile, have, on_heapglass, run};
use std::collections::BTreeMap;
use std::process::Command;

struct Seen {
    target: Target,
    records: Records,
    holders: Holders,
    chunks: Vec<Chunk>,
    walked: Vec<Walked>,
}

#[track_caller]
fn look(target: Target) -> Seen {
    let records = Records::read(&target).unwrap();
    let holders = Holders::read(&target, &records).unwrap();
    let mut chunks = Vec::new();
    let walk = |arena| walk::arena(&target, arena, &holders, &mut |chunk| chunks.push(*chunk)).unwrap();
    let walked = records.arenas.iter().map(walk).collect();
    Seen { target, records, holders, chunks, walked }
}

#[track_caller]
fn look_at(held: &Held) -> Seen {
    look(Target::process(held.pid(), false).unwrap())
}

impl Seen {
    fn at(&self, user: u64) -> Option<&Chunk> {
        self.chunks.iter().find(|chunk| chunk.at + 16 == user)
    }

    fn sum(&self, is_it: impl Fn(What) -> bool) -> (u64, u64) {
        let those: Vec<&Chunk> = self.chunks.iter().filter(|chunk| is_it(chunk.what)).collect();
        (those.len() as u64, those.iter().map(|chunk| chunk.size).sum())
    }

    fn is_sound(&self) -> bool {
        self.walked.iter().all(|walked| walked.damages.is_empty() && walked.steady)
    }

    /// Chunks tile the heaps.
    #[track_caller]
    fn tiles(&self) {
        let heaps: u64 = self.records.arenas.iter().flat_map(|a| &a.heaps).map(|heap| heap.chunks.bytes()).sum();
        assert_eq!(self.chunks.iter().map(|chunk| chunk.size).sum::<u64>(), heaps);
    }
}

fn states(mode: &str, door: Door, settings: &str) -> Held {
    let program = compile("tests/inspect/states.c", door, &[]);
    // What is told by address stands in a heap, not between guards.
    let settings = [settings, "guard:0"].into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>().join(",");
    Held::start(on_heapglass(program, door).arg(mode).env("HEAPGLASS", settings))
}

const STATES: [(&str, What); 8] = [
    ("Live", What::Live),
    ("Fast", What::Fast),
    ("Small", What::Small),
    ("Large", What::Large),
    ("Unsorted", What::Unsorted),
    ("Cached", What::Cached),
    ("Parked", What::Parked),
    ("Damaged", What::Damaged),
];

#[track_caller]
fn states_are_as_told(held: &Held, seen: &Seen) {
    let mut count = 0;
    for (word, what) in STATES {
        for (user, request) in held.told(word) {
            let chunk = seen.at(user).unwrap_or_else(|| panic!("no chunk at {user:#x}: {:?}", held.said));
            assert_eq!(chunk.what, what, "{user:#x} of {request}: {:?}", held.said);
            assert!(chunk.size >= request + 8, "{chunk:?}");
            count += 1;
        }
    }
    assert!(count > 0, "{:?}", held.said);
}

#[test]
fn each_state_is_told_and_figures_are_the_programs_own() {
    for door in DOORS {
        let held = states("textbook", door, "tcache:0");
        let seen = look_at(&held);
        states_are_as_told(&held, &seen);
        assert!(seen.is_sound(), "{door:?}: {:?}", seen.walked);
        seen.tiles();
        let (mapped, _) = held.told("Mapped")[0];
        assert!(seen.records.mapped.iter().any(|m| m.user == mapped && m.state == MappedState::Live));
        let figure = |word: &str| held.told(word).last().copied().unwrap();
        assert_eq!(figure("arena").0, seen.chunks.iter().map(|chunk| chunk.size).sum::<u64>());
        let (fast, fast_bytes) = seen.sum(|what| what == What::Fast);
        assert_eq!(figure("fast"), (fast_bytes, fast));
        let (free, free_bytes) = seen.sum(|what| matches!(what, What::Unsorted | What::Small | What::Large));
        let (_, top) = seen.sum(|what| what == What::Top);
        assert_eq!(figure("top").0, top);
        assert_eq!(figure("free"), (free_bytes + top, free + 1), "the top counts as one");
        let live: Vec<_> = seen.records.mapped.iter().filter(|m| m.state == MappedState::Live).collect();
        assert_eq!(figure("mapped"), (live.iter().map(|m| m.mapping.bytes()).sum(), live.len() as u64));
        held.let_go();
    }
}

#[test]
fn what_is_cached_has_a_holder() {
    let held = states("caches", Door::Preload, "");
    let seen = look_at(&held);
    states_are_as_told(&held, &seen);
    assert!(seen.is_sound(), "{:?}", seen.walked);
    let cached: Vec<&Chunk> = seen.chunks.iter().filter(|chunk| chunk.what == What::Cached).collect();
    assert!(cached.iter().all(|chunk| chunk.holder.is_some()));
    assert!(cached.iter().any(|chunk| matches!(chunk.holder, Some(Holder::Depot { .. }))));
    assert!(cached.iter().any(|chunk| matches!(chunk.holder, Some(Holder::Cache { .. }))));
    let mut threads: Vec<_> = seen.records.threads.iter().filter(|thread| thread.exists).collect();
    threads.sort_by_key(|thread| thread.id);
    assert_eq!(threads.len(), 2);
    assert_eq!(threads[0].id, held.pid());
    assert_ne!(threads[0].arena, threads[1].arena);
    assert_eq!(seen.holders.odd, 0);
    seen.tiles();
    held.let_go();
}

#[test]
fn lists_hold_what_the_walk_finds() {
    let held = states("textbook", Door::Preload, "tcache:0");
    let seen = look_at(&held);
    let lists = lists::of_arena(&seen.target, &seen.records.arenas[0], 100);
    let mut listed = BTreeMap::new();
    for list in &lists {
        assert_eq!(list.broken, None);
        assert_eq!(list.chunks.len() as u64, list.count);
        for (at, size) in &list.chunks {
            let what = match list.bin {
                Bin::Fast(_) => What::Fast,
                Bin::Unsorted => What::Unsorted,
                Bin::Small(_) => What::Small,
                Bin::Large(..) => What::Large,
            };
            listed.insert(*at, (*size, what));
        }
    }
    let is_free = |what| matches!(what, What::Fast | What::Unsorted | What::Small | What::Large);
    let walked: BTreeMap<_, _> =
        seen.chunks.iter().filter(|c| is_free(c.what)).map(|c| (c.at, (c.size, c.what))).collect();
    assert_eq!(listed, walked);
}

#[test]
fn a_heap_in_secure_mode_is_read_with_its_masked_links() {
    let held = states("secure", Door::Preload, "secure");
    let seen = look_at(&held);
    assert!(seen.is_sound(), "{:?}", seen.walked);
    seen.tiles();
    for (user, _) in held.told("Quarantined") {
        assert_eq!(seen.at(user).unwrap().what, What::Quarantined);
    }
    assert_eq!(held.told("Quarantined").len(), 1);
    let lists = lists::of_arena(&seen.target, &seen.records.arenas[0], 100);
    let (free, bytes) = seen.sum(|what| matches!(what, What::Unsorted | What::Small | What::Large));
    assert!(free > 0 && lists.iter().all(|list| list.broken.is_none()), "{lists:?}");
    assert_eq!((free, bytes), lists.iter().fold((0, 0), |sum, list| (sum.0 + list.count, sum.1 + list.bytes)));
}

#[test]
fn damage_is_named_and_walked_around() {
    for (mode, bytes) in [("damage", "41 41 41 41"), ("nul", "00 ")] {
        let held = states(mode, Door::Preload, "");
        let seen = look_at(&held);
        states_are_as_told(&held, &seen);
        seen.tiles();
        let damages: Vec<_> = seen.walked.iter().flat_map(|walked| &walked.damages).collect();
        let [damage] = damages[..] else { panic!("{damages:?}") };
        let (before, victim) = (held.told("Live")[0].0, held.told("Damaged")[0].0);
        assert_eq!(damage.at + 16, victim);
        assert!(!damage.racing && damage.what.contains(bytes), "{damage:?}");
        assert!(damage.what.contains(&format!("{:#x}, 48 bytes, in use", before - 16)), "{damage:?}");
        held.let_go();
    }
}

#[test]
fn a_broken_link_is_named() {
    let held = states("link", Door::Preload, "tcache:0");
    let seen = look_at(&held);
    let lists = lists::of_arena(&seen.target, &seen.records.arenas[0], 100);
    let broken: Vec<_> = lists.iter().filter(|list| list.broken.is_some()).collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].bin, Bin::Unsorted);
    assert!(broken[0].broken.as_ref().unwrap().contains("0x4141414141414141"), "{broken:?}");
}

#[test]
fn a_heap_at_work_is_read_without_harm_and_without_false_alarm() {
    for door in DOORS {
        let held = Held::start(&mut on_heapglass(compile("tests/inspect/busy.c", door, &[]), door));
        for _ in 0..20 {
            let seen = look_at(&held);
            let claimed: Vec<_> = seen.walked.iter().flat_map(|w| &w.damages).filter(|damage| !damage.racing).collect();
            assert!(claimed.is_empty(), "{claimed:?}");
            assert!(seen.chunks.len() > 1000);
        }
        // Held still, nothing races.
        for _ in 0..5 {
            let seen = look(Target::process(held.pid(), true).unwrap());
            assert!(seen.walked.iter().all(|walked| walked.damages.is_empty()), "{:?}", seen.walked);
            seen.tiles();
        }
        held.let_go();
    }
}

#[test]
fn what_cannot_be_read_is_said_so() {
    let refused = |pid| Target::process(pid, false).err().unwrap();
    let held = Held::start(&mut Command::new(compile("tests/inspect/busy.c", Door::Libc, &[])));
    let Trouble::NotHeapglass(what) = refused(held.pid()) else { panic!("{}", refused(held.pid())) };
    assert!(what.contains("libc.so"), "{what}");
    let pid = held.pid();
    held.let_go();
    assert_eq!(refused(pid), Trouble::Gone(pid));
}

#[test]
fn no_damage_stops_the_reader() {
    if !have("gcore") {
        return;
    }
    let dir = Dir::new("hostile");
    let held = states("caches", Door::Static, "");
    run(Command::new("gcore").arg("-o").arg(dir.path().join("core")).arg(held.pid().to_string())).ok();
    let whole = std::fs::read(dir.path().join(format!("core.{}", held.pid()))).unwrap();
    let target = |bytes: Vec<u8>| Target::of_core(Core::from_bytes(bytes)?, "core".into());
    let sound = target(whole.clone()).unwrap();
    let arena = Records::read(&sound).unwrap().arenas[0].clone();
    // Where in the file things lie: the same words are searched for.
    let root = whole.windows(8).position(|word| word == b"HGROOT\0\0").unwrap();
    let heap = whole.windows(8).position(|word| word == arena.heaps[0].chunks.start.to_le_bytes()).unwrap();
    let mut random = 1u64;
    let mut next = |bound: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize % bound
    };
    let mut opened = 0;
    for round in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..1 + round % 5 {
            let place = match next(4) {
                0 => root + 24 + next(900) / 8 * 8,
                1 => heap + next(200) / 8 * 8,
                2 => next(4096),
                _ => next(bytes.len() - 8),
            };
            let word = [0, u64::MAX, 1 << 63, 0x4141_4141_4141_4141, next(1 << 30) as u64][next(5)];
            bytes[place..place + 8].copy_from_slice(&word.to_le_bytes());
        }
        let Ok(target) = target(bytes) else { continue };
        opened += 1;
        let Ok(records) = Records::read(&target) else { continue };
        let Ok(holders) = Holders::read(&target, &records) else { continue };
        for arena in &records.arenas {
            let _ = walk::arena(&target, arena, &holders, &mut |_| {});
            let _ = lists::of_arena(&target, arena, 10);
        }
        let _ = counters::read(&target);
    }
    assert!(opened > 10, "{opened}");
}

#[test]
fn hundreds_of_arenas_are_read() {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    let held =
        Held::start(on_heapglass(program, Door::Preload).arg("arenas").env("HEAPGLASS", "arena_max:300,guard:0"));
    let seen = look_at(&held);
    assert_eq!(seen.records.arenas.len(), 201);
    assert_eq!(seen.records.threads.iter().filter(|thread| thread.exists).count(), 201);
    assert!(seen.is_sound());
    for (user, _) in held.told("Live") {
        assert_eq!(seen.at(user).unwrap().what, What::Live);
    }
    seen.tiles();
}

#[test]
fn in_a_forked_child_the_parents_threads_are_gone() {
    let held = states("fork", Door::Preload, "");
    let child = held.told("Child")[0].0 as u32;
    assert_ne!(child, held.pid());
    let seen = look(Target::process(child, false).unwrap());
    states_are_as_told(&held, &seen);
    assert!(seen.is_sound(), "{:?}", seen.walked);
    let threads: Vec<(u32, bool)> = seen.records.threads.iter().map(|thread| (thread.id, thread.exists)).collect();
    assert_eq!(threads.iter().filter(|(_, exists)| *exists).copied().collect::<Vec<_>>(), [(child, true)]);
    assert_eq!(threads.len(), 2, "{threads:?}");
    held.let_go();
}

#[test]
fn heaps_are_named_after_their_arenas() {
    if !have("strace") {
        return;
    }
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=prctl", "-E"]).arg(format!("LD_PRELOAD={}", library().display()));
    let ran = run(strace.arg(program).arg("caches"));
    assert!(ran.err.contains("PR_SET_VMA_ANON_NAME") && ran.err.contains("heapglass arena 1"), "{ran:#?}");
}

#[test]
fn samples_are_told_with_their_requests() {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    let held = Held::start(on_heapglass(program, Door::Preload).arg("textbook").env("HEAPGLASS", "guard:1"));
    let seen = look_at(&held);
    let (user, request) = held.told("Live")[0];
    assert!(seen.records.samples.iter().any(|s| (s.user, s.request) == (user, request)), "{:?}", seen.records.samples);
    assert!(seen.records.pool.holds(user) && seen.is_sound(), "{:?}", seen.walked);
}
