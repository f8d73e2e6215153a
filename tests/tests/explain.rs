//! `heapglass explain`: the steps of A6 and A7, each with its figures, from real calls.

use heapglass_tests::cli::heapglass;
use heapglass_tests::{Door, Ran, compile, have, run};
use std::process::Command;

#[track_caller]
fn explain(words: &[&str]) -> Ran {
    run(heapglass().arg("explain").args(words))
}

/// The explanation of each call: its first line, and all of them.
#[track_caller]
fn told(words: &[&str]) -> Vec<(String, String)> {
    let ran = explain(words).ok();
    assert!(!ran.out.contains('\x1b'), "no colour without a terminal: {ran:#?}");
    let mut parts: Vec<&str> = ran.out.split("\n\n").collect();
    assert!(parts.pop().is_some_and(|legend| legend.starts_with("H header, ")), "{ran:#?}");
    parts.iter().map(|part| (part.lines().next().unwrap().to_owned(), part.to_string())).collect()
}

/// The steps of a call: number, name, and what is said.
fn steps(part: &str) -> Vec<(String, String, String)> {
    let lines = part.lines().skip(1).take_while(|line| line.starts_with("  "));
    let cut = |line: &str| {
        let chars: Vec<char> = line.chars().collect();
        let text =
            |from: usize, to: usize| chars[from..to.min(chars.len())].iter().collect::<String>().trim().to_owned();
        (text(0, 4), text(4, 21), text(21, usize::MAX))
    };
    lines.map(cut).collect()
}

#[track_caller]
fn assert_steps(part: &str, expected: &[(&str, &str, &str)]) {
    let steps = steps(part);
    let found: Vec<_> = steps.iter().map(|(n, name, said)| (n.as_str(), name.as_str(), said.as_str())).collect();
    for (number, name, says) in expected {
        assert!(
            found.iter().any(|(n, at, said)| n == number && at == name && said.contains(says)),
            "no step ({number}, {name}, {says}) in\n{part}"
        );
    }
    let numbers: Vec<_> = expected.iter().map(|step| step.1).collect();
    let order: Vec<_> = found.iter().map(|step| step.1).filter(|name| numbers.contains(name)).collect();
    assert!(order.len() >= expected.len(), "{part}");
}

#[test]
fn a_first_malloc_goes_through_all_steps() {
    let calls = told(&["malloc(32)"]);
    assert_eq!(calls.len(), 1);
    let (head, part) = &calls[0];
    assert!(head.starts_with("malloc(32) = 0x"), "{head}");
    assert_steps(
        part,
        &[
            ("1", "threshold", "32 bytes are below the mmap threshold of 131072"),
            ("1", "size", "32 + 8 bytes of header, rounded up to a multiple of 16, at least 32: 48"),
            ("2", "cache", "class 48: empty"),
            ("3", "fast bin", "48 bytes: empty"),
            ("4", "small bin", "48 bytes: empty"),
            ("5", "unsorted bin", "empty"),
            ("6", "best fit", "no chunk of 48 bytes or more"),
            ("7", "top", "none: the arena has no heap yet"),
            ("", "system call", "(+135,168 B)"),
            ("8", "growth", "135,168 bytes gained"),
            ("7", "top", "135168 bytes: 1 × 48 cut off its start, 135120 remain"),
        ],
    );
    assert!(part.contains("before\n  nothing yet\nafter\n"), "{part}");
    assert!(part.contains("    |H##|H~~~~~~~ ...   16 bytes a column\n"), "{part}");
}

#[test]
fn the_two_ways_to_the_kernel_are_told() {
    let calls = told(&["a=malloc(32); b=malloc(128); c=malloc(262144); free(a); free(b); free(c)"]);
    assert_eq!(calls.len(), 6);
    assert_steps(
        &calls[2].1,
        &[
            ("1", "threshold", "262144 bytes are at least the mmap threshold of 131072"),
            ("", "system call", "mmap(NULL, 266240"),
            ("8", "mapping", "266,240 bytes: made for this chunk alone"),
        ],
    );
    assert_steps(
        &calls[3].1,
        &[("2", "header", "proves itself, live, 48 bytes, flags P--"), ("4", "cache", "class 48: put in")],
    );
    assert_steps(
        &calls[5].1,
        &[
            ("2", "header", "a mapping of 266240 bytes, flags PM-"),
            ("3", "thresholds", "mmap threshold 266,240 now, trim threshold 532,480"),
            ("", "system call", "munmap("),
            ("3", "mapping", "unmapped"),
        ],
    );
}

#[test]
fn classic_mode_is_the_textbooks_sequence() {
    let script =
        "a=malloc(100); b=malloc(2000); c=malloc(24); d=malloc(300); e=malloc(500); g=malloc(600); h=malloc(24);
                  free(c); free(b); free(d); free(g); free(e); x=malloc(290); y=malloc(24)";
    let calls = told(&["--classic", script]);
    assert_eq!(calls.len(), 14);
    assert_steps(&calls[7].1, &[("4", "cache", "off"), ("5", "fast bin", "32 bytes: 0x")]);
    assert_steps(
        &calls[8].1,
        &[("6", "previous chunk", "P is set"), ("7", "next chunk", "in use"), ("8", "into", "unsorted bin")],
    );
    assert!(calls[8].1.contains("unsorted bin: bin ⇄ 0x"), "{}", calls[8].1);
    assert_steps(
        &calls[11].1,
        &[
            ("6", "previous chunk", "P is clear: 0x"),
            ("7", "next chunk", "is free; merged, "),
            ("8", "into", "of 1440 bytes goes to the unsorted bin"),
        ],
    );
    assert_steps(
        &calls[12].1,
        &[
            ("3", "fast bin", "304 bytes: longer than any fast chunk"),
            ("5", "unsorted chunk", "of 2016 bytes doesn't fit: into its large bin"),
            ("5", "unsorted bin", "2 chunks looked at, none fits"),
            ("6", "best fit", "the shortest of 304 bytes or more: 0x"),
            ("6", "split", "1440 bytes: 1 × 304 cut off, 1136 remain"),
            ("6", "into", "of 1136 bytes goes to the unsorted bin"),
        ],
    );
    assert_steps(&calls[13].1, &[("3", "fast bin", "32 bytes: taken, 0x")]);
}

/// A script whose last call goes through a step of the textbook's, and what is said of it there.
const STEPS: [(&str, (&str, &str, &str)); 12] = [
    // malloc
    ("a=malloc(24); free(a); b=malloc(24)", ("3", "fast bin", "32 bytes: taken, 0x")),
    ("a=malloc(200); b=malloc(24); free(a); c=malloc(500); d=malloc(200)", ("4", "small bin", "208 bytes: taken, 0x")),
    (
        "a=malloc(200); b=malloc(24); free(a); c=malloc(200)",
        ("5", "unsorted bin", "1 chunk looked at, the last is taken"),
    ),
    (
        "a=malloc(5000); b=malloc(24); free(a); c=malloc(6000); d=malloc(4000)",
        ("6", "best fit", "of 5008, in a large bin"),
    ),
    ("a=malloc(24); b=malloc(24)", ("7", "top", "135136 bytes: 1 × 32 cut off its start, 135104 remain")),
    ("a=malloc(100000); b=malloc(100000); c=malloc(50000)", ("8", "growth", "bytes gained by the break")),
    // free
    ("a=malloc(24); free(a)", ("5", "fast bin", "becomes the first; nothing is merged")),
    (
        "a=malloc(200); b=malloc(200); c=malloc(24); free(a); free(b)",
        ("6", "previous chunk", "of 208 bytes is free; merged, 416"),
    ),
    (
        "a=malloc(200); b=malloc(200); c=malloc(24); free(b); free(a)",
        ("7", "next chunk", "of 208 bytes is free; merged, 416"),
    ),
    ("a=malloc(200); b=malloc(24); free(a)", ("8", "into", "of 208 bytes goes to the unsorted bin")),
    ("a=malloc(200); free(a)", ("8", "into", "135168 bytes, is the top now")),
    (
        "a=malloc(100000); b=malloc(100000); free(b); free(a)",
        ("9", "trim", "above the trim threshold of 131072: 98304 given back"),
    ),
];

#[test]
fn each_step_of_the_textbook_can_be_seen() {
    for (script, step) in STEPS {
        let calls = told(&["--classic", script]);
        let (_, last) = calls.last().unwrap();
        assert_steps(last, &[step]);
        assert!(last.contains("\nafter\n  heap of arena 0, "), "{last}");
    }
}

#[test]
fn links_are_drawn_as_they_stand_in_the_chunks() {
    let script = "a=malloc(200); b=malloc(24); c=malloc(200); d=malloc(24); free(a); free(c)";
    let calls = told(&["--classic", script]);
    let part = &calls.last().unwrap().1;
    let list = part.split("unsorted bin: bin ⇄ ").nth(1).unwrap_or_else(|| panic!("{part}"));
    let (first, rest) = list.split_once(" ⇄ ").unwrap();
    let second = rest.split(' ').next().unwrap();
    assert!(rest.starts_with(&format!("{second} ⇄ bin\n")), "{part}");
    assert!(rest.contains(&format!("\n      {first}  FD → bin  BK → {second}\n")), "{part}");
    assert!(rest.contains(&format!("\n      {second}  FD → {first}  BK → bin")), "{part}");
    // In a large bin the others of a length hang on the first of it.
    let script = "a=malloc(2000); b=malloc(24); c=malloc(2000); d=malloc(24); free(a); free(c); e=malloc(9000)";
    let calls = told(&["--classic", script]);
    let part = &calls.last().unwrap().1;
    assert!(part.contains(" (and 1 as long) ⇄ bin\n") && part.contains("'s ring"), "{part}");
}

#[test]
fn on_a_terminal_it_is_in_colour() {
    if !have("script") {
        return;
    }
    let words =
        format!("'{}' explain --classic 'a=malloc(200); b=malloc(24); free(a)'", heapglass().get_program().display());
    let on_terminal = |no_colour: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &words, "/dev/null"]).env("NO_COLOR", no_colour);
        for name in ["LD_PRELOAD", "HEAPGLASS", "HEAPGLASS_PRELOADED"] {
            script.env_remove(name);
        }
        run(&mut script).ok().out
    };
    let shown = on_terminal("");
    let is_told = |line: &str| shown.lines().any(|shown| shown.trim_end().starts_with(line));
    assert!(
        is_told("\x1b[1mfree(0x") && is_told("\x1b[33m  * 0x") && is_told("\x1b[32m    unsorted bin: bin ⇄ "),
        "{shown}"
    );
    assert!(shown.contains("\x1b[32m............\x1b[0m|"), "{shown}");
    assert!(!on_terminal("1").contains('\x1b'));
}

#[test]
fn the_end_of_a_heap_goes_back() {
    let calls = told(&["--classic", "a=malloc(100000); b=malloc(100000); c=malloc(100000); free(c); free(b); free(a)"]);
    let last = &calls[5].1;
    assert_steps(
        last,
        &[
            ("7", "next chunk", "it is the top"),
            ("8", "into", "is the top now"),
            ("9", "trim", "given back"),
            ("", "system call", "(−"),
        ],
    );
}

#[test]
fn a_double_free_shows_the_list_as_it_would_have_become() {
    for (flags, list) in [(&[][..], "cache 48"), (&["--classic"], "fast bin 48")] {
        let mut words = flags.to_vec();
        words.push("a=malloc(32); b=malloc(32); free(a); free(b); free(a); free(b)");
        let ran = explain(&words);
        assert_eq!(ran.code, Some(0), "the program was stopped, the explanation is whole: {ran:#?}");
        assert!(ran.err.contains("double free"), "{ran:#?}");
        let told = ran.out.split("\n\n").nth(4).unwrap_or_else(|| panic!("{ran:#?}"));
        assert!(told.contains(") never returned\n"), "{told}");
        let would = told.split("had it been believed\n").nth(1).unwrap_or_else(|| panic!("{told}"));
        let line = would.lines().next().unwrap();
        assert!(line.contains(list), "{line}");
        let places: Vec<&str> = line.split(": ").nth(1).unwrap().split(" → ").collect();
        assert!(places[1..].iter().any(|place| place.trim_end_matches(" ...") == places[0]), "{line}");
    }
}

#[test]
fn realloc_and_alignment_are_told() {
    let calls = told(&[
        "--classic",
        "a=malloc(100); b=realloc(a, 300); c=malloc(24); d=realloc(b, 900); e=realloc(d, 200); f=memalign(256, 100)",
    ]);
    assert_steps(&calls[1].1, &[("", "lengthened", "112 bytes become 320, into the top")]);
    assert_steps(
        &calls[3].1,
        &[
            ("", "lengthened", "can't become 912 in place: in use"),
            ("", "copy", "312 bytes from 0x"),
            ("8", "into", "unsorted bin"),
        ],
    );
    assert_steps(&calls[4].1, &[("", "shortened", "912 bytes: the end is cut off, 208 stay")]);
    assert_steps(&calls[5].1, &[("", "alignment", "bytes before a multiple of 256")]);
}

#[test]
fn a_call_of_a_real_program_is_explained() {
    let program = compile("examples/c/first.c", Door::Preload, &[]);
    let program = program.to_str().unwrap();
    let ran = explain(&["--at", "3", "--", program]).ok();
    assert!(ran.out.contains("free(large)     its mapping was there: yes, is still there: no\n"), "{ran:#?}");
    assert!(ran.out.contains("malloc(262144) = 0x") && ran.out.contains("made for this chunk alone"), "{ran:#?}");
    let late = explain(&["--at", "3000", "--", program]);
    assert_eq!(late.code, Some(125), "{late:#?}");
    assert!(late.err.contains("fewer than 3000 calls"), "{late:#?}");
}

#[test]
fn wrong_scripts_are_said_so() {
    for (script, says) in [
        ("", "no call in the script"),
        ("malloc", "a call is missing"),
        ("malloc(x)", "'x' is no number of bytes"),
        ("free(a)", "nothing was given that name"),
        ("print(3)", "no call that a script knows"),
    ] {
        let ran = explain(&[script]);
        assert_eq!(ran.code, Some(125), "{ran:#?}");
        assert!(ran.err.contains(says), "{ran:#?}");
    }
    assert_eq!(explain(&[]).code, Some(125));
    assert_eq!(explain(&["--at", "1", "--", "/no/such/program"]).code, Some(127));
}
