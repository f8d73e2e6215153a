//! The variables that configure the allocator: `HEAPGLASS` in all that it may contain, and glibc's own.

use crate::{on, program, through};
use heapglass_tests::{Door, Ran, left_out, run};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const PROBE: &str = "config/probe.c";

/// What the probe shows of a process with these variables.
#[track_caller]
fn probe(door: Door, variables: &[(&str, &str)], args: &str) -> Ran {
    let mut command = on(&program(PROBE, door, &[]), door);
    command.envs(variables.iter().copied()).args(args.split(' '));
    run(&mut command).ok()
}

#[track_caller]
fn shows(door: Door, variable: &str, value: &str, args: &str, expected: &str) {
    let ran = probe(door, &[(variable, value)], args);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (expected, ""), "{variable}={value} {args} on {door:?}");
}

#[track_caller]
fn shows_within(door: Door, variable: &str, value: &str, args: &str, least: u64, most: u64) {
    let ran = probe(door, &[(variable, value)], args);
    let number: u64 = ran.out.parse().unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    assert!((least..=most).contains(&number), "{variable}={value} {args} on {door:?}: {number}, not {least} to {most}");
    assert_eq!(ran.err, "", "{variable}={value} {args} on {door:?}");
}

through! { [libc preload archive]
    defaults
    glibcs_variables_and_tunables
}

through! { [preload archive]
    heapglass_variable
    what_is_wrong_is_told_in_one_line_each_and_the_default_used
    what_is_empty_or_right_is_silent
    a_file_that_is_no_page_of_counters_is_left_alone
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn defaults(door: Door) {
    shows(door, "NOTHING", "", "where 100000", "break");
    shows(door, "NOTHING", "", "where 200000", "mapping");
    shows_within(door, "NOTHING", "", "back", 18 * MIB, 21 * MIB);
    shows_within(door, "NOTHING", "", "step", 128 * KIB, 192 * KIB);
    shows_within(door, "NOTHING", "", "arenas", 2, 13);
}

fn heapglass_variable(door: Door) {
    shows(door, "HEAPGLASS", "mmap_threshold:400000", "where 300000", "break");
    shows(door, "HEAPGLASS", "mmap_threshold:400000", "where 500000", "mapping");
    shows(door, "HEAPGLASS", "mmap_threshold:50000", "where 60000", "mapping");
    shows(door, "HEAPGLASS", "mmap_threshold:50000", "where 40000", "break");
    shows(door, "HEAPGLASS", "mmap_max:0", "where 1000000", "break");
    shows(door, "HEAPGLASS", "trim_threshold:67108864", "back", "0");
    shows_within(door, "HEAPGLASS", "trim_threshold:1048576", "back", 18 * MIB, 21 * MIB);
    shows_within(door, "HEAPGLASS", "top_pad:1048576", "step", MIB, MIB + 64 * KIB);
    for bound in 1..4 {
        shows_within(door, "HEAPGLASS", &format!("arena_max:{bound}"), "arenas", 1, bound);
    }
    // Several at a time, in any order, each in effect.
    shows(door, "HEAPGLASS", "arena_max:1,mmap_threshold:400000,tcache:0,park:0", "where 300000", "break");
    shows(door, "HEAPGLASS", "park:0,tcache:0,mmap_threshold:400000,arena_max:1", "arenas", "1");
    shows(door, "HEAPGLASS", "tcache:0", "where 300000", "mapping");
}

/// (glibc's variable, its tunable, value, what to look at, least, most)
const GLIBCS: [(&str, &str, &str, &str, u64, u64); 5] = [
    ("MALLOC_TRIM_THRESHOLD_", "trim_threshold", "67108864", "back", 0, 0),
    ("MALLOC_TRIM_THRESHOLD_", "trim_threshold", "1048576", "back", 18 * MIB, 21 * MIB),
    ("MALLOC_TOP_PAD_", "top_pad", "1048576", "step", MIB, MIB + 64 * KIB),
    ("MALLOC_ARENA_MAX", "arena_max", "1", "arenas", 1, 1),
    ("MALLOC_ARENA_MAX", "arena_max", "3", "arenas", 1, 3),
];

fn glibcs_variables_and_tunables(door: Door) {
    for (variable, tunable, value, args, least, most) in GLIBCS {
        shows_within(door, variable, value, args, least, most);
        shows_within(door, "GLIBC_TUNABLES", &format!("glibc.malloc.{tunable}={value}"), args, least, most);
    }
    for (variable, value) in [
        ("MALLOC_MMAP_THRESHOLD_", "400000"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=400000"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=0x61a80"),
        ("GLIBC_TUNABLES", "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=400000:glibc.malloc.perturb=1"),
        ("GLIBC_TUNABLES", "glibc.pthread.rseq=1:glibc.malloc.mmap_threshold=400000"),
    ] {
        shows(door, variable, value, "where 300000", "break");
        shows(door, variable, value, "where 500000", "mapping");
    }
}

/// (value, the words of which each wants a line)
const BAD: [(&str, &[&str]); 18] = [
    ("nonsense:1", &["nonsense"]),
    ("nonsense", &["nonsense"]),
    ("Tcache:0", &["Tcache"]),
    ("tcache_:0", &["tcache_"]),
    ("arena_max:banana", &["arena_max"]),
    ("arena_max:", &["arena_max"]),
    ("arena_max", &["arena_max"]),
    ("tcache:maybe", &["tcache"]),
    ("mmap_max:1x", &["mmap_max"]),
    ("mmap_max: 1", &["mmap_max"]),
    ("top_pad:1.5", &["top_pad"]),
    ("mmap_threshold:-1", &["mmap_threshold"]),
    ("mmap_threshold:99999999999999999999999", &["mmap_threshold"]),
    ("mmap_threshold=100000", &["mmap_threshold"]),
    (":1", &[""]),
    ("nonsense:1,arena_max:banana", &["nonsense", "arena_max"]),
    ("nonsense:1,tcache:0,arena_max:banana,other:2,park:0", &["nonsense", "arena_max", "other"]),
    ("non\nsense:1", &["sense"]),
];

fn what_is_wrong_is_told_in_one_line_each_and_the_default_used(door: Door) {
    for (value, words) in BAD {
        let ran = probe(door, &[("HEAPGLASS", value)], "where 300000");
        assert_eq!(ran.out, "mapping", "{value:?} on {door:?}");
        told(&ran, words);
    }
    // What is right beside it is taken.
    let ran = probe(door, &[("HEAPGLASS", "mmap_threshold:400000,nonsense:1,arena_max:x")], "where 300000");
    assert_eq!(ran.out, "break");
    told(&ran, &["nonsense", "arena_max"]);
    // A value much longer than any buffer.
    let long = format!("{}:1,mmap_threshold:400000", "x".repeat(100_000));
    let ran = probe(door, &[("HEAPGLASS", &long)], "where 300000");
    assert_eq!(ran.out, "break");
    told(&ran, &["xxxx"]);
}

#[track_caller]
fn told(ran: &Ran, words: &[&str]) {
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), words.len(), "{words:?}: {ran:#?}");
    assert!(ran.err.ends_with('\n'), "{ran:#?}");
    for (line, word) in lines.iter().zip(words) {
        assert!(line.starts_with("heapglass: ") && line.contains(word), "{word:?}: {ran:#?}");
    }
}

/// `stats:` writes into a file that is there. One that is too short to be mapped, or that holds something else, isn't meant.
fn a_file_that_is_no_page_of_counters_is_left_alone(door: Door) {
    let path = std::env::temp_dir().join(format!("heapglass-no-counters-{}-{door:?}", std::process::id()));
    for content in [&b""[..], b"short", &[b'x'; 8192]] {
        std::fs::write(&path, content).unwrap();
        let ran = probe(door, &[("HEAPGLASS", &format!("stats:{}", path.display()))], "where 300000");
        let left = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((ran.out.as_str(), left.as_slice()), ("mapping", content), "{door:?}");
        told(&ran, &["stats"]);
    }
}

fn what_is_empty_or_right_is_silent(door: Door) {
    for value in ["", "tcache:0", "park:0", "arena_max:2", "mmap_max:65536", "top_pad:0", "trim_threshold:131072"] {
        assert_eq!(probe(door, &[("HEAPGLASS", value)], "where 100").err, "", "{value}");
    }
    // glibc's variables may hold anything; it says nothing either.
    for variable in ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"] {
        for value in ["", "banana", "-", "99999999999999999999999999"] {
            assert_eq!(probe(door, &[(variable, value)], "where 100").err, "", "{variable}={value}");
        }
    }
    for value in ["", ":", "=", "glibc.malloc.arena_max", "glibc.malloc.arena_max=", "glibc.malloc.=1", "::x=:"] {
        let ran = probe(door, &[("GLIBC_TUNABLES", value)], "where 100");
        assert!(!ran.err.contains("heapglass"), "GLIBC_TUNABLES={value}: {}", ran.err);
    }
}

#[test]
fn an_empty_environment() {
    let mut command = Command::new(program(PROBE, Door::Static, &[]));
    let ran = run(command.env_clear().args(["where", "300000"])).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("mapping", ""));
}

/// A program with more rights than its caller takes no orders from the caller's environment.
#[test]
fn a_privileged_process_ignores_the_variables() {
    const NOBODY: u32 = 65534;
    let path = crate::made("probe_of_another_user", |aside| {
        let mut copy = Command::new("cp");
        copy.arg(program(PROBE, Door::Static, &[])).arg(aside);
        copy
    });
    if std::os::unix::fs::chown(&path, Some(NOBODY), None).is_err() {
        left_out("only root can give a program another owner");
        return;
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let asked = |value: &str| {
        let mut command = Command::new(&path);
        let ran =
            run(command.env("HEAPGLASS", value).env("MALLOC_MMAP_THRESHOLD_", "400000").args(["secure", "300000"]));
        ran.ok()
    };
    let ran = asked("mmap_threshold:400000");
    if ran.out.starts_with("break") || ran.out.starts_with("mapping") {
        left_out("set-user-id programs are not honoured here");
        return;
    }
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("secure mapping", ""));
    assert_eq!(asked("nonsense:1").err, "");
}
