//! Faults of Heapglass itself that were found once, by reading or in use: each test is named for what went wrong and fails
//! without its repair. The programs are in `tests/regressions`; most check themselves.

use heapglass_tests::{DOORS, Door, Ran, compile, on_heapglass, run_within};
use std::path::PathBuf;
use std::time::Duration;

/// A bound against hangs only; every program here takes some seconds at most.
const LIMIT: Duration = Duration::from_secs(200);
const CLASSIC: (&str, &str) = ("HEAPGLASS", "tcache:0");
const SIGABRT: i32 = 6;

fn program(file: &str, door: Door) -> PathBuf {
    // The archive gives up only what is asked for, and a weak mention doesn't ask.
    let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
    compile(&format!("tests/regressions/{file}"), door, extra)
}

#[track_caller]
fn ran(file: &str, door: Door, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = on_heapglass(program(file, door), door);
    command.args(args).env("HG_EXPECT", "1").env("HEAPGLASS", "guard:0");
    for &(name, value) in env {
        command.env(name, if name == "HEAPGLASS" { format!("{value},guard:0") } else { value.to_owned() });
    }
    run_within(&mut command, LIMIT)
}

/// The program finishes through both doors, with the heap sound and nothing said on standard error.
#[track_caller]
fn holds(file: &str, args: &[&str], env: &[(&str, &str)]) -> Vec<Ran> {
    let ends = |door| {
        let ran = ran(file, door, args, env).ok();
        assert_eq!(ran.err, "", "{door:?} {args:?}");
        ran
    };
    DOORS.map(ends).into()
}

/// The program is stopped at the call it had announced: one line, which says `what` with `@` for the address.
#[track_caller]
fn stopped(file: &str, args: &[&str], env: &[(&str, &str)], what: &str) {
    for door in DOORS {
        let ran = ran(file, door, args, env);
        let address = ran.out.trim_end().strip_prefix("address ");
        let address = address.unwrap_or_else(|| panic!("{door:?} {args:?}: it said something else: {ran:#?}"));
        let what = format!("heapglass: {}", what.replace('@', address));
        assert_eq!(ran.signal, Some(SIGABRT), "{door:?} {args:?}: {ran:#?}");
        assert_eq!(ran.err.lines().count(), 1, "{door:?} {args:?}: {ran:#?}");
        assert!(ran.err.starts_with(&what), "{door:?} {args:?}: {ran:#?}");
    }
}

fn arenas(ran: &Ran) -> usize {
    ran.out.matches("<heap nr=").count()
}

#[test]
fn an_aligned_request_beyond_the_longest_chunk_cut_the_heap_short() {
    holds("large_aligned.c", &[], &[]);
    holds("large_aligned.c", &[], &[CLASSIC]);
}

#[test]
fn calloc_was_dirty_after_a_mapping_that_the_kernel_would_not_take_back() {
    holds("dirty_calloc.c", &[], &[]);
    // Nothing is kept warm: each free asks the kernel.
    holds("dirty_calloc.c", &[], &[("HEAPGLASS", "decay:-1")]);
}

#[test]
fn a_chunk_freed_by_two_threads_had_two_owners() {
    // The second free is parked, as any, unless nothing is.
    let parked: (&[_], _) = (&[], "free(@): double free or write after free: ");
    let at_once = "free(@): double free: ";
    for (env, what) in [parked, (&[CLASSIC], at_once), (&[("HEAPGLASS", "park:0")], at_once)] {
        for who in ["main", "thread"] {
            stopped("two_owners.c", &[who], env, what);
        }
    }
}

#[test]
fn what_happened_to_a_chunk_while_its_free_waited_went_unseen() {
    for how in ["cached", "other", "written"] {
        stopped("parked_twice.c", &[how], &[], "free(@): double free or write after free: ");
    }
}

#[test]
fn a_chunk_whose_free_waited_at_another_thread_passed_for_one_in_use() {
    for (how, call) in [("measured", "malloc_usable_size"), ("kept", "realloc"), ("shrunk", "realloc")] {
        stopped("parked_twice.c", &[how], &[], &format!("{call}(@): use after free: the chunk of "));
    }
}

#[test]
fn a_flipped_bit_made_a_free_chunk_another_sort_of_its_list() {
    for bit in 0..64 {
        let what = "corrupted heap: the links of the free chunk at @ (in a bin) were overwritten";
        stopped("free_words.c", &["role", &bit.to_string()], &[CLASSIC], what);
    }
}

#[test]
fn giving_pages_back_never_ended_at_a_chunk_that_said_it_had_none() {
    let what = "corrupted heap: the links of the free chunk at @ (in a bin) were overwritten";
    stopped("free_words.c", &["pages"], &[CLASSIC], what);
}

#[test]
fn a_threads_cache_began_with_another_threads_lines() {
    holds("passive_sharing.c", &[], &[]);
}

#[test]
fn a_threads_cache_went_on_with_another_threads_lines() {
    holds("passive_sharing.c", &["5000"], &[]);
}

#[test]
fn the_check_found_faults_in_mappings_that_came_and_went() {
    holds("check_beside_mappings.c", &[], &[]);
}

#[test]
fn threads_that_only_end_or_free_left_caches_and_arenas_behind() {
    for what in ["exit", "free"] {
        for stacks in ["usual", "small"] {
            for ran in holds("short_threads.c", &[what, stacks], &[]) {
                assert_eq!(arenas(&ran), 1, "{what} {stacks}: {ran:#?}");
            }
        }
    }
}

#[test]
fn free_neighbours_of_over_4_gib_stayed_below_the_top() {
    for order in ["forward", "backward", "thirds"] {
        holds("long_top.c", &[order], &[]);
        holds("long_top.c", &[order], &[CLASSIC]);
    }
}

#[test]
fn closed_heaps_did_not_go_back_to_the_kernel() {
    for order in ["forward", "backward", "random"] {
        holds("closed_heaps.c", &[order], &[]);
        holds("closed_heaps.c", &[order], &[CLASSIC]);
    }
}

#[test]
fn heaps_given_back_left_their_records() {
    holds("many_heaps.c", &[], &[]);
}

#[test]
fn threads_that_started_at_once_made_more_arenas_than_allowed() {
    for round in 0..40 {
        for ran in holds("arenas_at_once.c", &[], &[("HEAPGLASS", "arena_max:3")]) {
            assert!((1..=3).contains(&arenas(&ran)), "round {round}: {ran:#?}");
        }
    }
}

/// Made with the first size, freed with the second, which is wrong by more than rounding.
const WRONG: [(&str, &str); 8] = [
    ("48", "12"),
    ("48", "24"),
    ("48", "60"),
    ("100", "70"),
    ("100", "121"),
    ("1000", "900"),
    ("1000", "1010"),
    ("200", "130"),
];

#[test]
fn free_sized_passed_wrong_sizes_of_the_same_doubling() {
    for (made, freed) in WRONG {
        for warm in ["0", "1"] {
            stopped("sized.c", &[made, freed, warm], &[], "free_sized(@)");
            stopped("sized.c", &[made, freed, warm], &[CLASSIC], "free_sized(@)");
        }
    }
}

#[test]
fn sized_delete_passed_wrong_sizes_of_the_same_doubling() {
    for (made, freed) in WRONG {
        for kind in ["object", "array"] {
            for warm in ["0", "1"] {
                let called = if kind == "array" { "operator delete[](@)" } else { "operator delete(@)" };
                stopped("sized_delete.cc", &[made, freed, kind, warm], &[], called);
            }
        }
    }
}

#[test]
fn a_header_of_1_was_believed_in_a_programs_first_calls() {
    stopped("no_secret.c", &[], &[], "realloc(@): invalid pointer or corrupted header: ");
    stopped("no_secret.c", &["usable"], &[], "malloc_usable_size(@): invalid pointer or corrupted header: ");
}

#[test]
fn calloc_took_a_shortened_spare_heaps_old_bytes_for_fresh_ones() {
    holds("calloc_spare.c", &[], &[]);
}
