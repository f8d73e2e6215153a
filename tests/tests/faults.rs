//! Faults from outside: memory that isn't there, a kernel that refuses, forks and deaths at the wrong moment. The programs in
//! `tests/faults` check themselves and end with the heap proved sound; each runs preloaded and linked with the archive.

use heapglass_tests::{DOORS, Door, Ran, built, compile, have, on_heapglass, run, run_within};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A bound against hangs only; every program here takes some seconds.
const LIMIT: Duration = Duration::from_secs(200);
const CLASSIC: (&str, &str) = ("HEAPGLASS", "tcache:0");

/// With `HEAPGLASS_TESTS_ON_LIBC` set the programs run on the C library's allocator instead, to check the programs.
fn doors() -> &'static [Door] {
    if std::env::var_os("HEAPGLASS_TESTS_ON_LIBC").is_some() { &[Door::Libc] } else { &DOORS }
}

fn program(name: &str, door: Door) -> PathBuf {
    let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
    compile(&format!("tests/faults/{name}.c"), door, extra)
}

#[track_caller]
fn finishes(mut command: Command, door: Door, env: &[(&str, &str)]) -> Ran {
    if door != Door::Libc {
        command.env("HG_EXPECT", "1");
    }
    for (key, value) in env {
        command.env(key, value);
    }
    let ran = run_within(&mut command, LIMIT).ok();
    assert_eq!(ran.err, "", "{door:?}");
    ran
}

#[track_caller]
fn survives(name: &str, args: &[&str], env: &[(&str, &str)]) {
    for &door in doors() {
        let mut command = on_heapglass(program(name, door), door);
        command.args(args);
        finishes(command, door, env);
    }
}

#[test]
fn limits_on_address_space_end_in_enomem() {
    for bytes in ["0", "4096", "65536", "140000", "300000", "1000000", "4000000", "16000000", "70000000", "150000000"] {
        survives("limits", &["as", bytes], &[]);
    }
    survives("limits", &["as", "1000000"], &[CLASSIC]);
    survives("limits", &["as", "16000000"], &[CLASSIC]);
}

#[test]
fn limits_on_data_end_in_enomem() {
    for bytes in ["0", "4096", "65536", "140000", "300000", "1000000", "4000000", "16000000", "70000000", "150000000"] {
        survives("limits", &["data", bytes], &[]);
    }
    survives("limits", &["data", "1000000"], &[CLASSIC]);
}

#[test]
fn limits_hold_for_threads_too() {
    for bytes in ["0", "300000", "1000000", "8000000", "100000000"] {
        survives("limits", &["as", bytes, "thread"], &[]);
        survives("limits", &["data", bytes, "thread"], &[]);
    }
}

#[test]
fn a_program_started_in_a_small_address_space_has_threads() {
    for &door in doors() {
        let path = program("small_space", door);
        // The shell sets the limit and becomes the program, so that only the program is on Heapglass.
        let preload = match door {
            Door::Preload => format!("LD_PRELOAD='{}' ", built("libheapglass.so").display()),
            _ => String::new(),
        };
        for kib in [32768, 65536, 200_000] {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -v {kib} && {preload}exec '{}'", path.display()));
            finishes(shell, door, &[]);
        }
    }
}

#[test]
fn the_break_refused_by_a_filter() {
    // glibc's own sbrk takes the filter's answer for a break, and its malloc dies of it.
    if doors() == [Door::Libc] {
        return;
    }
    for error in ["EPERM", "ENOMEM"] {
        for when in ["early", "late"] {
            survives("filter", &["brk", error, when], &[]);
            survives("filter", &["brk", error, when], &[CLASSIC]);
        }
    }
}

#[test]
fn other_calls_refused_by_a_filter() {
    let calls =
        ["mmap", "munmap", "mremap", "mprotect", "madvise", "prctl", "getrandom", "sched_getaffinity", "clock_gettime"];
    for call in calls {
        for (error, when) in [("EPERM", "early"), ("ENOMEM", "late")] {
            survives("filter", &[call, error, when], &[]);
        }
    }
}

#[test]
fn the_program_moves_the_break_by_odd_amounts() {
    survives("foreign_break", &[], &[]);
    survives("foreign_break", &[], &[CLASSIC]);
}

#[test]
fn ten_thousand_forks_from_four_threads() {
    survives("forks", &["10000"], &[]);
    survives("forks", &["1000"], &[CLASSIC]);
}

#[test]
fn forks_beside_a_thread_that_holds_the_c_librarys_locks() {
    survives("fork_beside_stdio", &["20"], &[]);
    survives("fork_beside_stdio", &["20"], &[CLASSIC]);
    survives("fork_beside_stdio", &["20", "handler"], &[]);
}

#[test]
fn forks_in_a_signal_handler() {
    survives("fork_in_handler", &["0", "500"], &[]);
    survives("fork_in_handler", &["0", "500"], &[CLASSIC]);
}

#[test]
fn forks_in_a_signal_handler_beside_other_threads() {
    // glibc's own allocator deadlocks here: the handler's fork waits for the lock that the interrupted call holds.
    if doors() == [Door::Libc] {
        return;
    }
    survives("fork_in_handler", &["3", "500"], &[]);
    survives("fork_in_handler", &["3", "500"], &[CLASSIC]);
}

#[test]
fn twenty_thousand_threads_hand_their_objects_on() {
    survives("thread_deaths", &["20000"], &[]);
    survives("thread_deaths", &["4000"], &[CLASSIC]);
    if doors() != [Door::Libc] {
        survives("thread_deaths", &["4000"], &[("HEAPGLASS", "arena_max:2")]);
    }
}

#[test]
fn constructors_exits_and_thread_local_destructors_allocate() {
    for &door in doors() {
        for env in [&[][..], &[CLASSIC]] {
            let ran = finishes(on_heapglass(program("early_and_late", door), door), door, env);
            assert_eq!(ran.out, "ended well\n", "{door:?}");
        }
    }
}

#[test]
fn the_library_opened_late() {
    let library = if doors() == [Door::Libc] { return } else { built("libheapglass.so") };
    // Beside the C library's allocator, beside itself linked in, and itself once more.
    for door in [Door::Libc, Door::Preload, Door::Static] {
        let mut command = on_heapglass(program("opened_late", door), door);
        command.arg(&library);
        finishes(command, door, &[]);
    }
}

#[test]
fn names_looked_up_before_main() {
    survives("names_before_main", &[], &[]);
    survives("names_before_main", &[], &[CLASSIC]);
}

#[test]
fn out_of_mappings() {
    survives("out_of_mappings", &[], &[]);
    survives("out_of_mappings", &[], &[CLASSIC]);
}

#[test]
fn null_is_freed_where_the_heap_lies_low() {
    if !have("setarch") {
        return;
    }
    let program = compile("tests/faults/low_break.c", Door::Preload, &["-no-pie"]);
    let mut command = on_heapglass("setarch", Door::Preload);
    let ran = run(command.env("HEAPGLASS", "guard:0").arg("-R").arg(program));
    assert!(ran.code == Some(0) && ran.out == "done\n", "{ran:#?}");
}
