//! The textbook's steps as pictures: some calls, and what the heap looks like afterwards. In classic mode (A9), where each
//! call takes exactly these steps.
//!
//! A script's calls are `a 200` (a gets malloc(200)), `a 200 @64` (at a multiple of 64), `a = 200` (realloc of a) and `-a`
//! (free). Chunks are drawn from the heap's start to its top, each with its state (live, fast, or the kind of its bin) and
//! its size.
#![cfg(not(loom))]

mod world;

use heapglass_heap::{aligned, check, free, malloc, realloc};
use std::collections::BTreeMap;

/// Runs a script on an empty heap and compares the pictures; where a name gets the same address as another had before, the
/// script can say so: `a == b`.
#[track_caller]
fn check(script: &str, expected: &str) {
    world::reset(world::Mode::Classic);
    world::assert_empty();
    let mut live: BTreeMap<&str, *mut u8> = BTreeMap::new();
    let mut last: BTreeMap<&str, *mut u8> = BTreeMap::new();
    for call in script.split(", ") {
        let words: Vec<&str> = call.split(' ').collect();
        let number = |word: &str| word.parse::<usize>().expect("a size");
        match words[..] {
            [a, "==", b] => assert_eq!(last[a], last[b], "{script}: {call}"),
            [name, "=", request] => {
                // SAFETY: the script's own live chunk.
                let user = unsafe { realloc::realloc(live[name], number(request)) };
                live.insert(name, user);
            }
            [name, request, align] => {
                let align = number(align.trim_start_matches('@'));
                let user = aligned::allocate(align, number(request));
                assert_eq!(user as usize % align, 0, "{script}: {call}");
                live.insert(name, user);
            }
            [name, request] => {
                live.insert(name, malloc::malloc(number(request)));
            }
            [freed] => {
                let user = live.remove(freed.trim_start_matches('-')).expect("a live name");
                // SAFETY: as above.
                unsafe { free::free(user) };
            }
            _ => panic!("not a call: {call}"),
        }
        assert!(live.values().all(|user| !user.is_null()), "{script}: {call}");
        last.extend(live.iter());
        assert_eq!(check::check(false), 0, "{script}: after {call}");
    }
    let found = world::picture();
    for user in live.into_values() {
        // SAFETY: as above.
        unsafe { free::free(user) };
    }
    assert_eq!(found, expected, "{script}");
}

#[track_caller]
fn check_all(rows: &[(&str, &str)]) {
    let _alone = world::alone();
    for (script, expected) in rows {
        check(script, expected);
    }
    world::assert_empty();
}

#[test]
fn a_request_takes_its_bytes_a_header_and_the_rounding() {
    check_all(&[
        ("a 0", "live 32 | top"),
        ("a 24", "live 32 | top"),
        ("a 25", "live 48 | top"),
        ("a 32, b 128", "live 48 | live 144 | top"),
        ("a 1000, b 100000", "live 1008 | live 100016 | top"),
    ]);
}

#[test]
fn fast_chunks_stay_as_they_are_and_come_back_newest_first() {
    check_all(&[
        ("a 40, -a", "fast 48 | top"),
        ("a 40, b 40, -a, -b", "fast 48 | fast 48 | top"),
        ("a 40, b 40, -a, -b, c 40, c == b", "fast 48 | live 48 | top"),
        ("a 40, b 40, -a, -b, c 40, d 40, c == b, d == a", "live 48 | live 48 | top"),
        ("a 40, b 24, -a, c 24", "fast 48 | live 32 | live 32 | top"),
        ("a 120, -a", "fast 128 | top"),
        ("a 121, g 24, -a", "unsorted 144 | live 32 | top"),
    ]);
}

#[test]
fn a_large_request_merges_the_fast_chunks_first() {
    check_all(&[
        ("a 40, b 40, g 24, -a, -b, c 1016", "small 96 | live 32 | live 1024 | top"),
        ("a 40, b 40, -b, -a, c 1016", "live 1024 | top"),
        ("a 40, b 40, g 24, -a, -b, c 1000", "fast 48 | fast 48 | live 32 | live 1008 | top"),
    ]);
}

#[test]
fn free_neighbours_merge_in_any_order() {
    let merged = "unsorted 624 | live 32 | top";
    let rows: Vec<(String, &str)> =
        ["-a, -b, -c", "-c, -b, -a", "-a, -c, -b", "-c, -a, -b", "-b, -a, -c", "-b, -c, -a"]
            .into_iter()
            .map(|frees| (format!("a 200, b 200, c 200, g 24, {frees}"), merged))
            .collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(script, expected)| (script.as_str(), *expected)).collect();
    check_all(&rows);
}

#[test]
fn a_chunk_in_use_keeps_its_free_neighbours_apart() {
    check_all(&[
        ("a 200, b 200, c 200, g 24, -a, -c", "unsorted 208 | live 208 | unsorted 208 | live 32 | top"),
        ("a 200, b 40, c 200, g 24, -a, -c, -b", "unsorted 208 | fast 48 | unsorted 208 | live 32 | top"),
    ]);
}

#[test]
fn what_lies_before_the_top_becomes_the_top() {
    check_all(&[
        ("a 200, -a", "top"),
        ("a 200, b 200, -b", "live 208 | top"),
        ("a 200, b 200, -a, -b", "top"),
        ("a 200, b 200, c 200, -a, -c", "unsorted 208 | live 208 | top"),
    ]);
}

#[test]
fn a_longer_chunk_is_split_and_its_rest_is_unsorted() {
    check_all(&[
        ("a 1000, g 24, -a, b 200", "live 208 | unsorted 800 | live 32 | top"),
        ("a 1000, g 24, -a, b 200, c 200", "live 208 | live 208 | unsorted 592 | live 32 | top"),
        ("a 20000, g 24, -a, b 5000", "live 5008 | unsorted 15008 | live 32 | top"),
    ]);
}

#[test]
fn a_rest_too_small_for_a_chunk_stays_with_it() {
    check_all(&[
        ("a 216, g 24, -a, b 200", "live 224 | live 32 | top"),
        ("a 232, g 24, -a, b 200", "live 208 | unsorted 32 | live 32 | top"),
    ]);
}

#[test]
fn the_unsorted_bin_gives_an_exact_fit_and_sorts_the_rest() {
    let three = "a 200, g 24, b 300, h 24, c 400, i 24, -a, -b, -c";
    let rows = [
        ("", "unsorted 208 | live 32 | unsorted 320 | live 32 | unsorted 416 | live 32 | top"),
        // Oldest first, up to the fit.
        (", d 200, d == a", "live 208 | live 32 | unsorted 320 | live 32 | unsorted 416 | live 32 | top"),
        (", d 300, d == b", "small 208 | live 32 | live 320 | live 32 | unsorted 416 | live 32 | top"),
        (", d 400, d == c", "small 208 | live 32 | small 320 | live 32 | live 416 | live 32 | top"),
        (", d 500", "small 208 | live 32 | small 320 | live 32 | small 416 | live 32 | live 512 | top"),
    ];
    let rows: Vec<(String, &str)> = rows.iter().map(|(then, expected)| (format!("{three}{then}"), *expected)).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(script, expected)| (script.as_str(), *expected)).collect();
    check_all(&rows);
}

#[test]
fn a_small_bin_gives_its_oldest_chunk() {
    check_all(&[(
        "a 200, g 24, b 200, h 24, -b, -a, s 2000, c 200, c == b",
        "small 208 | live 32 | live 208 | live 32 | live 2016 | top",
    )]);
}

#[test]
fn the_best_fit_wins_wherever_it_lies() {
    check_all(&[
        (
            "a 1000, g 24, b 600, h 24, c 900, i 24, -a, -b, -c, d 500, d == b",
            "small 1008 | live 32 | live 512 | unsorted 96 | live 32 | small 912 | live 32 | top",
        ),
        (
            "a 9000, g 24, b 5000, h 24, c 7000, i 24, -a, -b, -c, d 4000, d == b",
            "large 9008 | live 32 | live 4016 | unsorted 992 | live 32 | large 7008 | live 32 | top",
        ),
        // In one bin of several sizes.
        (
            "a 4232, g 24, b 4200, h 24, c 4216, i 24, -a, -b, -c, d 4184, d == b",
            "large 4240 | live 32 | live 4208 | live 32 | large 4224 | live 32 | top",
        ),
        // Small chunks that fit come before large ones.
        (
            "a 2000, g 24, b 700, h 24, -a, -b, d 600, d == b",
            "large 2016 | live 32 | live 608 | unsorted 112 | live 32 | top",
        ),
    ]);
}

#[test]
fn equal_large_chunks_all_come_back() {
    check_all(&[(
        "a 4000, g 24, b 4000, h 24, c 4000, i 24, -a, -b, -c, s 9000, d 4000, e 4000, f 4000",
        "live 4016 | live 32 | live 4016 | live 32 | live 4016 | live 32 | live 9008 | top",
    )]);
}

#[test]
fn realloc_returns_the_tail_and_takes_what_is_free_behind() {
    check_all(&[
        ("a 1000, g 24, a = 200", "live 208 | unsorted 800 | live 32 | top"),
        ("a 1000, a = 200", "live 208 | top"),
        ("a 200, a = 1000", "live 1008 | top"),
        ("a 200, b 1000, g 24, -b, a = 700", "live 720 | unsorted 496 | live 32 | top"),
        ("a 200, b 500, g 24, -b, a = 704", "live 720 | live 32 | top"),
        ("a 200, b 40, g 24, a = 300", "unsorted 208 | live 48 | live 32 | live 320 | top"),
        ("a 216, g 24, a = 200", "live 224 | live 32 | top"),
    ]);
}

#[test]
fn the_space_before_an_aligned_chunk_is_given_back() {
    let _alone = world::alone();
    world::reset(world::Mode::Classic);
    // How much lies before the aligned chunk depends on where the heap starts, so the picture is held against that.
    let user = aligned::allocate(1024, 1000);
    let words = world::picture();
    let chunks: Vec<&str> = words.split(" | ").collect();
    let before: usize = match chunks[..] {
        ["live 1008", "top"] => 0,
        [lead, "live 1008", "top"] => lead.strip_prefix("unsorted ").expect("given back").parse().expect("a size"),
        _ => panic!("{words}"),
    };
    assert_eq!(check::check(false), 0);
    // SAFETY: live, and given up here.
    unsafe { free::free(user) };
    world::assert_empty();
    let first = malloc::malloc(24);
    assert_eq!(user as usize - first as usize, before);
    // SAFETY: as above.
    unsafe { free::free(first) };
    world::assert_empty();
}
