//! The heap's contract, part A, point by point: each test is named for its point and looks at the real thing, the addresses
//! that C programs get, the chunks they walk, the calls that strace sees. The programs are in `tests/contract`.

use heapglass_tests::strace::{Call, MEMORY, Traced, trace};
use heapglass_tests::{DOORS, Door, Ran, compile, have, on_heapglass, run};
use std::path::PathBuf;

const CLASSIC: (&str, &str) = ("HEAPGLASS", "tcache:0");
/// What classic mode is called in glibc, for checking the programs themselves there.
const CLASSIC_LIBC: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

/// A guarded sample stands elsewhere than the textbook says, and comes by chance. None comes to these, which make no more than a
/// process's first few hundred calls; the others do without.
const SHORT: [&str; 2] = ["a1_two_ways", "a2_no_calls"];
const UNSAMPLED: &str = "guard:0";

/// With `HEAPGLASS_TESTS_ON_LIBC` set the programs run on the C library's allocator instead: what they expect beside it must
/// hold there too, so a program that fails on both is itself wrong.
fn doors() -> &'static [Door] {
    if std::env::var_os("HEAPGLASS_TESTS_ON_LIBC").is_some() { &[Door::Libc] } else { &DOORS }
}

fn program(name: &str, door: Door) -> PathBuf {
    // The archive gives up only what is asked for, and a weak mention doesn't ask.
    let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
    compile(&format!("tests/contract/{name}.c"), door, extra)
}

fn run_at(door: Door, name: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = on_heapglass(program(name, door), door);
    command.args(args);
    if door != Door::Libc {
        command.env("HG_EXPECT", "1");
    }
    run(command.envs(settings(name, env))).ok()
}

/// A test's variables, and beside whatever it sets in ours that there are no samples.
fn settings(name: &str, env: &[(&str, &str)]) -> Vec<(String, String)> {
    let (ours, others): (Vec<_>, Vec<_>) = env.iter().copied().partition(|(key, _)| *key == "HEAPGLASS");
    let unsampled = (!SHORT.contains(&name)).then_some(UNSAMPLED);
    let items: Vec<&str> = ours.iter().map(|(_, items)| *items).chain(unsampled).collect();
    let all = (!items.is_empty()).then(|| ("HEAPGLASS".to_owned(), items.join(",")));
    others.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).chain(all).collect()
}

/// Runs a program through both doors; it checks itself.
fn holds(name: &str, args: &[&str], env: &[(&str, &str)]) {
    for &door in doors() {
        let ran = run_at(door, name, args, env);
        assert_eq!(ran.err, "", "{door:?}");
    }
}

fn holds_in_classic_mode(name: &str) {
    holds(name, &[], &[CLASSIC, CLASSIC_LIBC]);
}

/// Runs a program through both doors under strace and looks at its calls.
fn seen(name: &str, env: &[(&str, &str)], calls: &str, look: impl Fn(&Traced)) {
    if !have("strace") {
        return;
    }
    let env = settings(name, env);
    let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    for &door in doors() {
        let traced = trace(&program(name, door), door, &[], &env, calls);
        assert_eq!(traced.ran.code, Some(0), "{door:?}: {:#?}", traced.ran);
        look(&traced);
    }
}

/// The numbers of a line `word 0x1 2 ...` of a program's output.
fn said(ran: &Ran, word: &str) -> Vec<u64> {
    let line = ran.out.lines().find(|l| l.split(' ').next() == Some(word));
    let line = line.unwrap_or_else(|| panic!("the program said no {word}: {ran:#?}"));
    line.split(' ').skip(1).map(Call::number).collect()
}

fn heaps(ran: &Ran) -> usize {
    ran.out.matches("<heap nr=").count()
}

#[test]
fn a1_also_where_mallocs_address_is_a_stub_of_the_programs() {
    for door in DOORS {
        let path = compile("tests/contract/a1_fixed_place.c", door, &["-fno-pie", "-no-pie"]);
        let sure: &[&str] = if door == Door::Preload { &["heapglass_check"] } else { &[] };
        let ran = run(on_heapglass(path, door).args(sure)).ok();
        assert_eq!(ran.err, "", "{door:?}");
    }
}

#[test]
fn a1_small_from_the_break_large_from_a_mapping_of_its_own() {
    seen("a1_two_ways", &[], MEMORY, |traced| {
        let large = said(&traced.ran, "large")[0];
        let calls = traced.between("large");
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!((calls[0].name.as_str(), calls[0].args[1].as_str()), ("mmap", "266240"), "{calls:?}");
        assert!(calls[0].args[3].contains("MAP_PRIVATE|MAP_ANONYMOUS"), "{calls:?}");
        assert_eq!(Call::number(&calls[0].result) + 16, large);
        let calls = traced.between("free");
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0].name, "munmap");
        assert_eq!((Call::number(&calls[0].args[0]), calls[0].args[1].as_str()), (large - 16, "266240"));
    });
}

#[test]
fn a1_the_threshold_follows_what_is_freed() {
    holds("a1_threshold", &["dynamic"], &[]);
    holds("a1_threshold", &["trim"], &[]);
}

#[test]
fn a1_a_threshold_set_by_hand_stays() {
    holds("a1_threshold", &["mallopt"], &[]);
    holds("a1_threshold", &["fixed"], &[("MALLOC_MMAP_THRESHOLD_", "131072")]);
    holds("a1_threshold", &["fixed"], &[("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")]);
    if doors() != [Door::Libc] {
        holds("a1_threshold", &["fixed"], &[("HEAPGLASS", "mmap_threshold:131072")]);
    }
}

#[test]
fn a2_no_system_call_while_a_free_chunk_fits() {
    seen("a2_no_calls", &[], "all", |traced| {
        assert!(traced.break_moves("malloc").len() <= 1, "{:?}", traced.between("malloc"));
        assert!(traced.between("free").is_empty(), "{:?}", traced.between("free"));
        let again: Vec<_> = traced.between("again");
        assert!(again.iter().all(|c| c.break_move().is_none()), "{again:?}");
    });
    seen("a2_no_calls", &[CLASSIC, CLASSIC_LIBC], "all", |traced| {
        assert!(traced.break_moves("malloc").len() <= 1, "{:?}", traced.between("malloc"));
        assert!(traced.between("free").is_empty(), "{:?}", traced.between("free"));
        assert!(traced.between("again").is_empty(), "{:?}", traced.between("again"));
    });
}

#[test]
fn a3_the_first_extension_is_135168_bytes_and_later_ones_join_it() {
    seen("a3_growth", &[], MEMORY, |traced| {
        let start = traced.calls.iter().find(|c| c.name == "brk").expect("the loader asks for the break");
        let start = Call::number(&start.result);
        // Whoever allocated first, main or something before it, was the first to move the break.
        let moves: Vec<u64> = traced.calls.iter().filter_map(Call::break_move).collect();
        assert_eq!(moves[0] - start, 135_168, "{moves:x?}");
        assert!(moves.len() > 5, "{moves:x?}");
        for pair in moves.windows(2) {
            assert!(pair[1] >= pair[0] + 131_072 && pair[1] % 4096 == 0, "{moves:x?}");
        }
        // 3,000 chunks of 1,008 bytes need no more than their sum and one extension to spare.
        assert!(moves[moves.len() - 1] - start < 3000 * 1008 + 3 * 135_168, "{moves:x?}");
        assert!(traced.named("grow", "mmap").is_empty(), "the heap left the break");
    });
}

#[test]
fn a3_a_foreign_move_of_the_break_is_fenced_off() {
    holds("a3_foreign", &[], &[]);
    holds_in_classic_mode("a3_foreign");
}

#[test]
fn a3_a_blocked_break_sends_the_arena_into_mapped_regions() {
    holds("a3_blocked", &[], &[]);
    holds_in_classic_mode("a3_blocked");
}

#[test]
fn a3_the_break_shrinks_when_the_top_is_large() {
    holds("a3_shrink", &[], &[]);
    holds("a3_shrink", &["small"], &[CLASSIC, CLASSIC_LIBC]);
}

#[test]
fn a4_chunks_have_the_promised_sizes_and_tile_the_heap() {
    holds("a4_chunks", &[], &[]);
    holds_in_classic_mode("a4_chunks");
}

#[test]
fn a4_the_heap_drawn() {
    for &door in doors() {
        let ran = run_at(door, "a4_drawn", &[], &[CLASSIC, CLASSIC_LIBC]);
        assert_eq!(ran.out, "+0 48 used\n+48 144 used\n+192 32 used\n+224 1008 free\n+1232 32 used\n+1264 48 used\n");
    }
}

#[test]
fn a5_free_chunks_hold_their_links_and_footer() {
    holds_in_classic_mode("a5_links");
}

#[test]
fn a5_a_spoilt_link_aborts_before_it_is_followed() {
    for &door in doors() {
        for args in [&["0"][..], &["1"], &["0", "wild"], &["1", "wild"]] {
            if door == Door::Libc && args.len() > 1 {
                continue; // glibc reads what a wild link names
            }
            let mut command = on_heapglass(program("a5_links", door), door);
            let ran = run(command.args(args).env(CLASSIC.0, CLASSIC.1).env(CLASSIC_LIBC.0, CLASSIC_LIBC.1));
            // SIGABRT: a followed link would end in SIGSEGV, or in a chunk on the trap.
            assert_eq!(ran.signal, Some(6), "{door:?} {args:?}: {ran:#?}");
            assert!(!ran.out.contains("survived"), "{door:?} {args:?}: {ran:#?}");
            assert_eq!(ran.err.lines().count(), 1, "{door:?} {args:?}: {ran:#?}");
        }
    }
}

#[test]
fn a6_step_3_a_fast_bin_is_last_in_first_out() {
    holds_in_classic_mode("a6_step3_fast");
}

#[test]
fn a6_step_4_a_small_bin_is_exact() {
    holds_in_classic_mode("a6_step4_small");
}

#[test]
fn a6_step_5_the_unsorted_bin_gives_an_exact_fit_and_sorts_the_rest() {
    holds_in_classic_mode("a6_step5_unsorted");
}

#[test]
fn a6_step_6_the_best_fitting_large_chunk_is_split() {
    holds_in_classic_mode("a6_step6_large");
}

#[test]
fn a6_step_7_the_top_is_cut() {
    seen("a6_step7_top", &[CLASSIC, CLASSIC_LIBC], MEMORY, |traced| {
        assert!(traced.between("top").is_empty(), "{:?}", traced.between("top"));
    });
}

#[test]
fn a6_step_8_the_kernel_gives_more() {
    seen("a6_step8_kernel", &[CLASSIC, CLASSIC_LIBC], MEMORY, |traced| {
        assert_eq!(traced.break_moves("main").len(), 1, "{:?}", traced.between("main"));
        assert!(traced.named("main", "mmap").is_empty());
        assert!(!traced.named("thread", "mmap").is_empty(), "{:?}", traced.between("thread"));
        assert!(traced.named("thread", "brk").is_empty(), "{:?}", traced.between("thread"));
    });
}

#[test]
fn a7_step_5_fast_chunks_are_not_merged() {
    holds_in_classic_mode("a7_step5_fast");
}

#[test]
fn a7_step_6_merging_with_the_previous_chunk() {
    holds_in_classic_mode("a7_step6_prev");
}

#[test]
fn a7_step_7_merging_with_the_next_chunk_and_the_top() {
    holds_in_classic_mode("a7_step7_next");
}

#[test]
fn a7_step_8_the_rest_goes_to_the_unsorted_bin() {
    seen("a7_step8_unsorted", &[CLASSIC, CLASSIC_LIBC], MEMORY, |traced| {
        assert!(traced.between("free").is_empty(), "{:?}", traced.between("free"));
    });
}

#[test]
fn a7_step_9_a_large_top_shrinks_the_break() {
    seen("a7_step9_shrink", &[CLASSIC, CLASSIC_LIBC], MEMORY, |traced| {
        assert!(traced.between("below").is_empty(), "{:?}", traced.between("below"));
        let moves = traced.break_moves("above");
        assert!(!moves.is_empty() && moves.windows(2).all(|w| w[1] < w[0]), "{moves:x?}");
    });
}

#[test]
fn a8_everything_freed_is_one_top() {
    for order in ["forward", "reverse", "random"] {
        holds("a8_one_top", &[order], &[CLASSIC, CLASSIC_LIBC]);
        // glibc's cache can't be flushed by malloc_trim, so only its classic mode can show this.
        if doors() != [Door::Libc] {
            holds("a8_one_top", &[order], &[]);
        }
    }
}

#[test]
fn a9_classic_mode_splits_and_merges_at_once() {
    holds("a9_at_once", &["classic"], &[CLASSIC, CLASSIC_LIBC]);
    holds("a9_at_once", &["default"], &[]);
}

#[test]
fn a10_what_was_just_freed_comes_back() {
    for size in
        ["0", "1", "24", "32", "100", "128", "200", "1000", "1024", "1500", "5000", "30000", "60000", "70000", "100000"]
    {
        holds("a10_reuse", &[size], &[]);
        holds("a10_reuse", &[size, "classic"], &[CLASSIC, CLASSIC_LIBC]);
    }
}

#[test]
fn a11_threads_side_by_side_have_their_own_arenas() {
    for &door in doors() {
        let cores = std::thread::available_parallelism().unwrap().get();
        let threads = (8 * cores - 1).min(7);
        let count = threads.to_string();
        let ran = run_at(door, "a11_arenas", &[&count, &count], &[]);
        assert_eq!(heaps(&ran), threads + 1, "{}", ran.out);
    }
}

#[test]
fn a11_arena_max_and_least_used_first() {
    if doors() == [Door::Libc] {
        return run_at(Door::Libc, "a11_arenas", &["4", "0"], &[("MALLOC_ARENA_MAX", "1")]).ok_heaps(1);
    }
    for &door in doors() {
        for one in [("HEAPGLASS", "arena_max:1"), ("MALLOC_ARENA_MAX", "1")] {
            run_at(door, "a11_arenas", &["4", "0"], &[one]).ok_heaps(1);
        }
        run_at(door, "a11_arenas", &["1", "1"], &[("HEAPGLASS", "arena_max:2")]).ok_heaps(2);
        // Main and three threads over two arenas: two each, whichever way the tie in between went.
        run_at(door, "a11_arenas", &["3", "2"], &[("HEAPGLASS", "arena_max:2")]).ok_heaps(2);
        run_at(door, "a11_arenas", &["7", "4"], &[("HEAPGLASS", "arena_max:2")]).ok_heaps(2);
        // Three arenas for six: each has two, so the main arena has one thread beside main.
        run_at(door, "a11_arenas", &["5", "4"], &[("HEAPGLASS", "arena_max:3")]).ok_heaps(3);
    }
}

trait Heaps {
    fn ok_heaps(self, count: usize);
}

impl Heaps for Ran {
    #[track_caller]
    fn ok_heaps(self, count: usize) {
        assert_eq!(heaps(&self), count, "{}", self.out);
    }
}

#[test]
fn a11_at_most_eight_arenas_per_core() {
    for &door in doors() {
        let ran = run_at(door, "a11_arenas", &["20", "-1", "one processor"], &[]);
        // glibc counts the processors of the machine here, not those that the process may use.
        let most = if door == Door::Libc { 8 * std::thread::available_parallelism().unwrap().get() } else { 8 };
        assert!((2..=most).contains(&heaps(&ran)), "{}", ran.out);
    }
}

#[test]
fn a11_frees_from_another_thread_are_used_again() {
    holds("a11_remote", &[], &[]);
}

#[test]
fn a11_what_ended_threads_left_is_not_lost() {
    holds("a11_orphans", &[], &[]);
}

#[test]
fn a11_arenas_of_ended_threads_are_used_again() {
    for &door in doors() {
        let ran = run_at(door, "a11_one_by_one", &[], &[]);
        assert!(heaps(&ran) <= 2, "{}", ran.out);
    }
}

#[test]
fn a12_caches_of_ended_threads_come_back() {
    holds("a12_thread_end", &[], &[]);
}

#[test]
fn a12_a_cache_is_bounded_in_bytes() {
    holds("a12_bounded", &[], &[]);
}

#[test]
fn a14_realloc_shrinks_in_place_and_returns_the_tail() {
    holds_in_classic_mode("a14_shrink");
}

#[test]
fn a14_realloc_grows_in_place() {
    holds_in_classic_mode("a14_grow");
}

#[test]
fn a14_realloc_grows_to_the_edge_of_the_exact_classes() {
    holds("a14_edge", &[], &[]);
}

#[test]
fn a14_a_mapped_chunk_is_moved_without_copying() {
    seen("a14_mremap", &[], MEMORY, |traced| {
        for (mark, at_most) in [("grow", 1), ("shrink", 1)] {
            assert_eq!(traced.named(mark, "mremap").len(), at_most, "{:?}", traced.between(mark));
            assert_eq!(traced.between(mark).len(), at_most, "{:?}", traced.between(mark));
        }
        let freed = traced.named("free", "munmap");
        assert_eq!(freed.len(), 1, "{:?}", traced.between("free"));
    });
}

#[test]
fn a14_calloc_does_not_clear_what_is_fresh() {
    for &door in doors() {
        if door == Door::Libc {
            continue; // glibc clears what was top before the heap grew
        }
        let rose = |with| said(&run_at(door, "a14_calloc", &[with], &[]), "rose")[0];
        // Page faults ahead may touch fresh memory, but the same for both.
        let (malloc, calloc) = (rose("malloc"), rose("calloc"));
        assert!(calloc <= malloc + 64 * 1024, "{door:?}: calloc {calloc}, malloc {malloc}");
    }
    if doors() != [Door::Libc] {
        holds("a14_calloc", &["calloc"], &[CLASSIC]);
    }
}

#[test]
fn a15_every_alignment() {
    holds("a15_alignment", &[], &[]);
    holds_in_classic_mode("a15_alignment");
}

#[test]
fn a15_the_space_around_an_aligned_chunk_is_free() {
    holds_in_classic_mode("a15_lead");
    holds("a15_given_back", &[], &[]);
}
