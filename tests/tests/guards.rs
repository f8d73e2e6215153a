//! Guarded samples, point C5 of the contract: faults of samples are found at the instruction that commits them and explained, in
//! one write, with both ways to make pages inaccessible; and what samples must not do is looked at, too. The programs are in
//! `tests/guards`.

use heapglass_tests::strace::trace;
use heapglass_tests::{DOORS, Door, Ran, built, compile, have, on_heapglass, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;
/// Each allocation a sample, and every call exact; one in twenty, on the fast path.
const MODES: [&str; 2] = ["guard:1", "guard:20"];
/// The kernel's own guards, or mprotect because it refuses them.
const WAYS: [&str; 2] = ["light", "hard"];

fn program(door: Door) -> &'static Path {
    static PROGRAMS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    let is_static = door == Door::Static;
    // Names are bound at the start: the loader, where it binds one in a handler on a small stack, saves the processor's state
    // there, which is longer than all the rest on some processors.
    let extra: &[&str] = if is_static { &["-Wl,-z,now", "-Wl,-u,heapglass_check"] } else { &["-Wl,-z,now"] };
    PROGRAMS[usize::from(is_static)].get_or_init(|| compile("tests/guards/guards.c", door, extra))
}

fn guarded(door: Door, words: &[&str], mode: &str) -> Command {
    let mut command = on_heapglass(program(door), door);
    command.args(words).env("HG_EXPECT", "1").env("HEAPGLASS", mode);
    command
}

/// Runs one fault in both ways and modes and through both doors; `end` is the signal that ends it, and the first line of what it
/// says holds `says`, `@` being the last address that the program named. The lines below tell what was done by whom: `traces`.
#[track_caller]
fn explained(kind: &str, size: &str, end: i32, says: &str, traces: &[&str]) {
    for door in DOORS {
        for mode in MODES {
            for way in WAYS {
                let ran = run(&mut guarded(door, &[kind, way, size], mode));
                let about = format!("{door:?} {mode} {way} {kind}: {ran:#?}");
                assert_eq!(ran.signal, Some(end), "{about}");
                assert!(!ran.out.contains("survived"), "{about}");
                let address = ran.out.lines().filter_map(|line| line.strip_prefix("address ")).next_back().unwrap();
                let mut lines = ran.err.lines();
                let first = lines.next().unwrap_or_default();
                assert!(first.starts_with("heapglass: "), "{about}");
                assert!(first.contains(&says.replace('@', address)), "{about}");
                assert_eq!(told(&ran), traces, "{about}");
                // The program's own functions are among the callers, by file and place.
                let name = program(door).file_name().unwrap().to_string_lossy().into_owned() + "+0x";
                let of_program = lines.filter(|line| line.contains(&name)).count();
                assert!(of_program >= traces.len(), "{about}");
            }
        }
    }
}

/// What the lines of a report say that was done.
fn told(ran: &Ran) -> Vec<&str> {
    let titles = ran.err.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    titles.filter_map(|line| line.split_once(" by thread ")).map(|(done, _)| done).collect()
}

const IN_USE: [&str; 2] = ["touched", "allocated"];
const FREED: [&str; 3] = ["touched", "freed", "allocated"];

#[test]
fn one_byte_past_the_end() {
    for size in ["112", "16", "4080", "5008"] {
        let says = format!(", 1 byte past the end of the {size} bytes at @, which are in use");
        explained("over_read", size, SIGSEGV, &says, &IN_USE);
    }
    explained("over_write", "112", SIGSEGV, ", 1 byte past the end of the 112 bytes at @, which are in use", &IN_USE);
}

#[test]
fn one_byte_before_the_start() {
    explained(
        "under_read",
        "112",
        SIGSEGV,
        ", 1 byte before the start of the 112 bytes at @, which are in use",
        &IN_USE,
    );
    explained(
        "under_write",
        "112",
        SIGSEGV,
        ", 1 byte before the start of the 112 bytes at @, which are in use",
        &IN_USE,
    );
}

#[test]
fn use_after_free() {
    explained(
        "freed_read",
        "112",
        SIGSEGV,
        ", 3 bytes behind the start of the 112 bytes at @, which were freed",
        &FREED,
    );
    let write = ", 111 bytes behind the start of the 112 bytes at @, which were freed";
    explained("freed_write", "112", SIGSEGV, write, &FREED);
    explained("freed_over", "112", SIGSEGV, ", 1 byte past the end of the 112 bytes at @, which were freed", &FREED);
    let read = "use after free: read at @, 0 bytes behind the start of the 112 bytes at @, which were freed";
    explained("realloc", "112", SIGSEGV, read, &FREED);
    explained("locked", "112", SIGSEGV, read, &FREED);
}

#[test]
fn double_and_invalid_frees() {
    let freed = ["called", "freed", "allocated"];
    for kind in ["double", "double_later", "double_threads"] {
        let says = "free(@): double free: the 112 bytes at @ were freed already";
        explained(kind, "112", SIGABRT, says, &freed);
    }
    let says = "malloc_usable_size(@): use after free: the 112 bytes at @ were freed already";
    explained("usable_freed", "112", SIGABRT, says, &freed);
    let says = "): invalid pointer: it lies 16 bytes behind the start of the 112 bytes at @, which are in use";
    explained("interior", "112", SIGABRT, says, &["called", "allocated"]);
    explained("wrong_size", "112", SIGABRT, "free_sized(@): wrong size: 111 bytes given", &[]);
}

#[test]
fn writes_beside_an_object_that_reach_no_guard() {
    let done = ["freed", "allocated"];
    for size in ["105", "97", "1001", "4070"] {
        let says = format!("free(@): overflow: a write 1 byte past the end of the {size} bytes at @");
        explained("slack", size, SIGABRT, &says, &done);
    }
    let says = "free(@): underflow: a write 9 bytes before the start of the 112 bytes at @";
    explained("before", "112", SIGABRT, says, &done);
    for door in DOORS {
        let ran = run(&mut guarded(door, &["check", "light", "105"], "guard:1")).ok();
        assert!(
            ran.out.contains("faults 1\n") && ran.err.contains("check: bytes beside the guarded sample"),
            "{ran:#?}"
        );
    }
}

#[test]
fn threads_are_told_apart() {
    for way in WAYS {
        let ran = run(&mut guarded(Door::Preload, &["thread_freed_read", way], "guard:20"));
        assert_eq!(ran.signal, Some(SIGSEGV), "{ran:#?}");
        let thread = |done: &str| {
            let line = ran.err.lines().find(|line| line.starts_with(&format!("  {done} by thread "))).unwrap();
            line.split_whitespace().nth(3).unwrap().to_string()
        };
        assert_eq!(thread("touched"), thread("allocated"), "{ran:#?}");
        assert_ne!(thread("touched"), thread("freed"), "{ran:#?}");
    }
}

/// The lines of a report that begin one.
fn reports(ran: &Ran) -> Vec<&str> {
    ran.err.lines().filter(|line| line.starts_with("heapglass: ")).collect()
}

#[test]
fn a_handler_of_the_programs_own_gets_the_fault_once_it_was_explained() {
    let everywhere = DOORS.iter().flat_map(|&door| MODES.map(|mode| (door, mode)));
    for (door, mode) in everywhere {
        // Put in place before ours, after ours, and on a stack that has hardly room for the kernel's own frame.
        for kind in ["handler", "handler_later", "handler_info"] {
            let ran = run(&mut guarded(door, &[kind, "light"], mode));
            assert_eq!(ran.code, Some(7), "{door:?} {mode} {kind} {ran:#?}");
            assert!(ran.out.ends_with("caught 11\n"), "{door:?} {mode} {kind} {ran:#?}");
            assert_eq!(reports(&ran).len(), 1, "{door:?} {mode} {kind} {ran:#?}");
            assert!(reports(&ran)[0].contains(", 1 byte past the end of the 112 bytes at "), "{ran:#?}");
            assert_eq!(told(&ran), IN_USE, "{ran:#?}");
        }
    }
}

#[test]
fn handlers_that_hand_on_come_and_go_or_jump_away_meet_nobody_twice() {
    for (door, mode) in DOORS.iter().flat_map(|&door| MODES.map(|mode| (door, mode))) {
        let ran = run(&mut guarded(door, &["handed_on", "light"], mode));
        assert_eq!((ran.signal, reports(&ran).len()), (Some(SIGSEGV), 1), "{door:?} {mode} {ran:#?}");
        assert_eq!(ran.out.matches("handed on\n").count(), 1, "{door:?} {mode} {ran:#?}");
        let ran = run(&mut guarded(door, &["restored", "light"], mode));
        assert_eq!((ran.signal, reports(&ran).len()), (Some(SIGSEGV), 1), "{door:?} {mode} {ran:#?}");
        let ran = run(&mut guarded(door, &["jump", "light"], mode)).ok();
        assert!(ran.out.ends_with("went on\n"), "{door:?} {mode} {ran:#?}");
        assert_eq!(reports(&ran).len(), 50, "{door:?} {mode} {ran:#?}");
    }
}

#[test]
fn what_is_no_fault_of_a_sample_is_not_told_as_one() {
    for (door, mode) in DOORS.iter().flat_map(|&door| MODES.map(|mode| (door, mode))) {
        let ran = run(&mut guarded(door, &["sent", "light"], mode));
        assert_eq!((ran.signal, ran.err.as_str()), (Some(SIGSEGV), ""), "{door:?} {mode} {ran:#?}");
        let ran = run(&mut guarded(door, &["sent_to_handler", "light"], mode));
        assert_eq!((ran.code, ran.err.as_str()), (Some(7), ""), "{door:?} {mode} {ran:#?}");
        // Nobody can explain where the kernel asks nobody.
        let ran = run(&mut guarded(door, &["ignored", "light"], mode));
        assert_eq!((ran.signal, ran.err.as_str()), (Some(SIGSEGV), ""), "{door:?} {mode} {ran:#?}");
        for way in WAYS {
            let ran = run(&mut guarded(door, &["own_guard", way], mode)).ok();
            assert!(ran.out.ends_with("opened\nwent on\n"), "{door:?} {mode} {way} {ran:#?}");
            assert_eq!(ran.err, "", "{door:?} {mode} {way} {ran:#?}");
        }
    }
}

#[test]
fn who_freed_it_is_exact_or_said_to_be_late() {
    const LATE: &str = ", up to two frees before it was at";
    // Where every call is exact, and where the size tells that it isn't to be parked.
    for (kind, mode, is_late) in
        [("who", "guard:1", false), ("who", "guard:20", true), ("who_by_size", "guard:20", false)]
    {
        for door in DOORS {
            let ran = run(&mut guarded(door, &[kind, "light"], mode));
            assert_eq!(ran.signal, Some(SIGSEGV), "{door:?} {kind} {mode} {ran:#?}");
            let mut lines = ran.err.lines().skip_while(|line| !line.starts_with("  freed by thread "));
            assert_eq!(lines.next().unwrap().ends_with(LATE), is_late, "{door:?} {kind} {mode} {ran:#?}");
            // Where the library is linked in, frames of its own come first.
            let number = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
            let function = number(ran.out.lines().find_map(|line| line.strip_prefix("freed_here ")).unwrap());
            let frames = lines.take_while(|line| line.starts_with("    "));
            let mut frames = frames.map(|line| number(line.split_whitespace().next().unwrap()));
            let is_there = frames.any(|frame| (function..function + 32).contains(&frame));
            assert_eq!(is_there, !is_late, "{door:?} {kind} {mode} {ran:#?}");
        }
    }
}

#[test]
fn a_small_sample_that_another_thread_has_parked_is_sound() {
    for (door, mode) in DOORS.iter().flat_map(|&door| MODES.map(|mode| (door, mode))) {
        for size in ["1", "5", "8"] {
            let ran = run(&mut guarded(door, &["parked_elsewhere", "light", size], mode)).ok();
            assert!(ran.out.ends_with("sound\n") && ran.err.is_empty(), "{door:?} {mode} {size} {ran:#?}");
        }
    }
}

#[test]
fn the_memory_around_a_sample_is_drawn() {
    let ran = run(&mut guarded(Door::Preload, &["over_write", "light", "105"], "guard:1"));
    let about = format!("{ran:#?}");
    let mut rows = ran.err.lines().skip_while(|line| *line != "  what lies there").skip(1);
    let mut row = || {
        let row = rows.next().unwrap_or_else(|| panic!("{about}"));
        let (address, rest) = row.trim().split_once(' ').unwrap();
        let (bytes, what) = rest.trim_start().split_once(" bytes ").unwrap();
        (usize::from_str_radix(&address[2..], 16).unwrap(), bytes.parse::<usize>().unwrap(), what.to_owned())
    };
    let all: Vec<_> = (0..5).map(|_| row()).collect();
    for pair in all.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "{about}");
    }
    let what: Vec<_> = all.iter().map(|(_, _, what)| what.as_str()).collect();
    assert_eq!(what, ["inaccessible", "left over", "in use", "left over", "inaccessible <- here"], "{about}");
    assert_eq!((all[2].1, all[3].1), (105, 7), "{about}");
}

#[test]
fn functions_that_a_file_offers_are_named() {
    let program = compile("tests/guards/guards.c", Door::Preload, &["-rdynamic"]);
    let mut command = on_heapglass(program, Door::Preload);
    let ran = run(command.args(["over_write", "light"]).env("HEAPGLASS", "guard:1"));
    let named = |line: &str| line.contains(" in main+0x");
    assert!(ran.err.lines().filter(|line| named(line)).count() == 2, "{ran:#?}");
}

#[test]
fn a_system_call_that_is_given_a_freed_sample_fails() {
    for way in WAYS {
        let ran = run(&mut guarded(Door::Preload, &["system_call", way], "guard:1")).ok();
        assert!(ran.out.ends_with("refused\n") && ran.err.is_empty(), "{ran:#?}");
    }
}

#[test]
fn both_ways_are_what_they_are_called() {
    for way in WAYS {
        let ran = run(&mut guarded(Door::Preload, &["kind", way], "guard:1")).ok();
        // Kernels before 6.13 have no guards of their own.
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = kernel.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        let has_guards = (numbers.next(), numbers.next()) >= (Some(6), Some(13));
        let expected = if has_guards { way } else { "hard" };
        assert_eq!(ran.out, format!("{expected}\n"));
    }
}

#[test]
fn samples_live_on_in_both_after_a_fork() {
    for door in DOORS {
        for (mode, way) in MODES.iter().flat_map(|mode| WAYS.map(|way| (mode, way))) {
            let ran = run(&mut guarded(door, &["fork", way], mode)).ok();
            assert!(ran.out.ends_with("parent went on\n"), "{ran:#?}");
            assert!(ran.err.starts_with("heapglass: use after free: read at "), "{ran:#?}");
            assert_eq!(told(&ran), FREED, "{ran:#?}");
        }
    }
}

#[test]
fn a_report_is_one_write_and_asks_for_no_memory() {
    if !have("strace") {
        return;
    }
    for door in DOORS {
        for kind in ["over_write", "under_read"] {
            let traced = trace(program(door), door, &[kind], &[("HEAPGLASS", "guard:1")], "all");
            let calls = traced.between("fault");
            let writes: Vec<_> = calls.iter().filter(|call| call.name.starts_with("write")).collect();
            assert_eq!(writes.len(), 1, "{calls:#?}");
            assert_eq!(writes[0].result.parse::<usize>().unwrap(), traced.ran.err.len(), "{calls:#?}");
            let memory = ["brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "openat", "open"];
            assert!(!calls.iter().any(|call| memory.contains(&call.name.as_str())), "{calls:#?}");
        }
    }
}

#[test]
fn every_call_takes_samples() {
    for door in DOORS {
        let modes =
            ["guard:1", "guard:3", "guard:1,guard_slots:5", "guard:2,park:0", "guard:1,perturb:165", "guard:3,secure"];
        for mode in modes {
            for way in WAYS {
                // Filled memory isn't for this program, which says itself what it fills; nor is a mode in which it takes every
                // pointer for a sample's.
                let is_small = mode.contains("perturb") || mode.contains("secure");
                let kinds: &[&str] = if is_small { &["small"] } else { &["calls", "small"] };
                for kind in kinds {
                    let ran = run(&mut guarded(door, &[kind, way], mode)).ok();
                    assert_eq!(ran.err, "", "{door:?} {mode} {way} {kind}: {ran:#?}");
                }
            }
        }
    }
}

#[test]
fn a_million_samples_take_bounded_memory() {
    let figure = |ran: &Ran, name: &str| -> u64 {
        let line = ran.out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{ran:#?}"));
        line.trim().parse().unwrap()
    };
    let without = run(&mut guarded(Door::Preload, &["many", "light"], "guard:0")).ok();
    for way in WAYS {
        let ran = run(&mut guarded(Door::Preload, &["many", way], "guard:1")).ok();
        // 64 slots of 16 KiB and their records, and where mprotect does it two mappings more for each.
        assert!(figure(&ran, "kilobytes") <= figure(&without, "kilobytes") + 2048, "{ran:#?} {without:#?}");
        assert!(figure(&ran, "mappings") <= figure(&without, "mappings") + 2 * 64 + 8, "{ran:#?} {without:#?}");
    }
}

#[test]
fn a_seed_chooses_the_same_allocations_again() {
    let places = |mode: &str| run(&mut guarded(Door::Preload, &["places"], mode)).ok().out;
    let first = places("guard:50,guard_seed:7");
    assert_eq!(first, places("guard:50,guard_seed:7"));
    assert_ne!(first, places("guard:50,guard_seed:8"));
    let count = first.lines().count();
    assert!((250..=650).contains(&count), "{count} of 20,000 at one in fifty");
    assert_ne!(places("guard:50"), places("guard:50"));
}

#[test]
fn there_are_none_where_none_shall_be() {
    for mode in ["guard:0", "guard:1,tcache:0", "guard:0,guard_seed:3", "guard_slots:100"] {
        let ran = run(&mut guarded(Door::Preload, &["none"], mode)).ok();
        assert_eq!(ran.err, "", "{mode}");
    }
    if have("strace") {
        // A small program pays nothing: no pool is made for its first few hundred allocations.
        let traced = trace(program(Door::Preload), Door::Preload, &["none"], &[], "madvise,mmap");
        let advice: Vec<_> = traced.calls.iter().filter(|call| call.name == "madvise").collect();
        assert!(traced.ran.code == Some(0) && advice.is_empty(), "{advice:#?}");
    }
}

/// Samples that a workload gets, told by `heapglass run --stats`, and its allocations.
fn counted(words: &[&str], mode: &str) -> (f64, f64) {
    let mut command = Command::new(built("heapglass"));
    command.args(["run", "--stats", "--"]).arg(built("heapglass-workloads")).args(words).env("HEAPGLASS", mode);
    let ran = run(&mut command).ok();
    let figure = |name: &str| -> f64 {
        let line =
            ran.err.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_else(|| panic!("{ran:#?}"));
        line.trim().replace(',', "").parse().unwrap()
    };
    (
        figure("guarded samples"),
        ["malloc", "calloc", "realloc", "aligned"].map(|call| figure(&format!("{call} calls"))).iter().sum(),
    )
}

#[test]
fn the_rate_is_what_was_asked_for_whatever_the_traffic() {
    // All in the cache; random sizes with many alive; trees built and torn down; threads; producers; long blocks.
    let traffic: [&[&str]; 6] = [
        &["pair", "--scale", "0.05"],
        &["replace", "--scale", "0.05"],
        &["tree", "--scale", "0.1"],
        &["server", "--scale", "0.05"],
        &["producers", "--scale", "0.05"],
        &["strings", "--scale", "0.1"],
    ];
    for words in traffic {
        let (samples, calls) = counted(words, "guard:500,guard_slots:32K");
        let share = samples * 500.0 / calls;
        assert!((0.75..1.3).contains(&share), "{words:?}: {samples} of {calls}");
    }
}
