//! Secure mode: every fault that it is for, at each kind of size, and what must go well in it all the same: threads, forks,
//! the conformance programs and real ones. The programs are in `tests/secure`.

use heapglass_tests::{DOORS, Door, Ran, compile, have, on_heapglass, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const SIGABRT: i32 = 6;
const MODE: &str = "secure";

/// Of an exact class with a full last word and without, of a class of several sizes, longer than the caches take, mapped.
const SIZES: [&str; 6] = ["24", "41", "1000", "5000", "70000", "300000"];
const HEAP_SIZES: [&str; 5] = ["24", "41", "1000", "5000", "70000"];

fn faults(door: Door) -> PathBuf {
    let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
    compile("tests/secure/faults.c", door, extra)
}

fn secure(program: impl AsRef<Path>, door: Door, mode: &str) -> Command {
    let mut command = on_heapglass(program.as_ref(), door);
    command.env("HEAPGLASS", mode).env("HG_EXPECT", "1");
    command
}

/// Runs a fault for each size; it must end in SIGABRT, before the program says that it survived, with one line that says all
/// of `says` and names the address.
#[track_caller]
fn stopped(kind: &str, sizes: &[&str], way: &str, mode: &str, says: &[&str]) -> Vec<Ran> {
    let mut all = Vec::new();
    for door in DOORS {
        for size in sizes {
            // What a guarded sample finds, it finds in its own way.
            let ran = run(secure(faults(door), door, &format!("{mode},guard:0")).args([kind, size, way]));
            let address = ran.out.lines().find_map(|line| line.strip_prefix("address ")).unwrap_or("none").to_owned();
            let said = says.iter().all(|text| ran.err.contains(&text.replace('@', &address)));
            let once = ran.err.lines().count() == 1 && ran.err.starts_with("heapglass: ");
            let in_time = !ran.out.contains("survived");
            assert!(
                ran.signal == Some(SIGABRT) && said && once && in_time,
                "{door:?} [{mode}] {kind} {size} {way}: {ran:?}"
            );
            all.push(ran);
        }
    }
    all
}

#[test]
fn one_byte_past_the_end_is_found_when_the_chunk_is_freed() {
    for kind in ["over_one", "over_nul"] {
        for way in ["malloc", "calloc", "realloc", "realloc_less", "align64", "align4096"] {
            let all = stopped(kind, &SIZES, way, MODE, &["free(@): overflow: "]);
            // A request whose end is the canary's start leaves the length readable, too.
            for (ran, size) in all.iter().zip(SIZES.iter().cycle()) {
                assert!(ran.err.contains(&format!("first seen at byte {size} ")), "{size} {way}: {ran:?}");
            }
        }
    }
    stopped("over_thread", &SIZES, "malloc", MODE, &["free(@): overflow: "]);
    stopped("over_far", &SIZES, "malloc", MODE, &["free(@): overflow: "]);
    stopped("over_one", &SIZES, "malloc", "canary:1", &["free(@): overflow: "]);
}

#[test]
fn one_byte_past_the_end_is_found_by_other_calls() {
    stopped("over_realloc", &SIZES, "malloc", MODE, &["realloc(@): overflow: "]);
    stopped("over_shrink", &SIZES, "malloc", MODE, &["realloc(@): overflow: "]);
    stopped("over_usable", &SIZES, "malloc", MODE, &["malloc_usable_size(@): overflow: "]);
}

#[test]
fn a_write_after_free_is_found_with_its_offset() {
    for kind in ["stale_first", "stale_middle", "stale_last"] {
        for mode in [MODE, "secure,tcache:0", "secure,quarantine:0", "canary:1,clear:1"] {
            // Without a quarantine, a long chunk is merged at once, and a write to it may meet the heap's own words.
            let waits = mode.contains("tcache") || mode == MODE;
            let sizes: &[&str] = if waits { &HEAP_SIZES } else { &HEAP_SIZES[..3] };
            for ran in stopped(kind, sizes, "malloc", mode, &["write after free: the chunk at @"]) {
                let offset =
                    ran.out.lines().find_map(|line| line.strip_prefix("offset ")).expect("the program says it");
                assert!(ran.err.contains(&format!("was written to at byte {offset} of")), "{mode} {kind}: {ran:?}");
            }
        }
    }
}

#[test]
fn a_double_free_stops_at_its_own_call() {
    let says = &["free(@): double free: "];
    stopped("double", &SIZES, "malloc", MODE, says);
    stopped("double_in_thread", &SIZES, "malloc", MODE, says);
    for ran in stopped("double", &HEAP_SIZES, "malloc", MODE, says) {
        assert!(ran.err.contains("in quarantine"), "{ran:?}");
    }
    stopped("double_later", &HEAP_SIZES, "malloc", MODE, &["free(@): "]);
    stopped("double_much_later", &SIZES, "malloc", MODE, &["free(@): "]);
}

#[test]
fn mapped_chunks_stand_between_guards_and_leave_a_hole() {
    let kinds = ["behind", "before", "freed", "shrunk", "grown", "grown_behind"];
    for (kind, way) in kinds.iter().flat_map(|kind| ["malloc", "align4096"].map(|way| (kind, way))) {
        // The program asks for the usable size that only canaries give.
        for mode in [MODE, "mapping_guards:1,canary:1"] {
            for size in ["300000", "2000001"] {
                let program = faults(Door::Preload);
                let ran = run(secure(program, Door::Preload, mode).args([&format!("guard_{kind}"), size, way]));
                let named = |word: &str| ran.out.lines().find_map(|l| l.strip_prefix(word)).map(str::to_owned);
                let (touched, fault) = (named("touches "), named("fault at "));
                assert!(touched.is_some() && touched == fault, "[{mode}] {kind} {size} {way}: {ran:?}");
            }
        }
    }
}

fn sound(what: &str, mode: &str) -> Ran {
    let program = compile("tests/secure/sound.c", Door::Preload, &[]);
    let ran = run(secure(program, Door::Preload, mode).arg(what)).ok();
    assert!(ran.out.ends_with("done\n") && ran.err.is_empty(), "[{mode}] {what}: {ran:?}");
    ran
}

#[test]
fn what_is_handed_out_is_zero() {
    // Without a canary nobody knows where the program's bytes end, so what realloc adds to them isn't all new.
    for mode in [MODE, "secure,clear:0,zero:1", "canary:1,zero:1", "canary:1,clear:1"] {
        sound("zero", mode);
    }
}

#[test]
fn the_usable_size_is_the_request() {
    sound("usable", MODE);
    sound("usable", "canary:1");
}

#[test]
fn threads_free_each_others_chunks() {
    for mode in [MODE, "secure,tcache:0", "secure,quarantine:64K", "secure,arena_max:1"] {
        sound("threads", mode);
    }
}

#[test]
fn a_child_goes_on_with_what_it_has() {
    sound("forks", MODE);
}

#[test]
fn mapped_chunks_grow_shrink_and_are_bounded() {
    sound("mapped", MODE);
}

#[test]
fn what_waits_is_bounded_over_all_threads() {
    let figure = |ran: &Ran, name: &str| -> usize {
        let line = ran.out.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().expect("a number")
    };
    // 100,000 frees of 20,000 bytes. Five arenas with a top each, and the caches, come on top of what waits.
    let small = sound("bound", "secure,quarantine:1M");
    assert!(figure(&small, "system ") < 12 << 20, "{small:?}");
    let large = sound("bound", "secure,quarantine:64M,quarantine_chunks:100000");
    assert!(figure(&large, "system ") > 24 << 20, "{large:?}");
    for ran in [small, large] {
        assert!(figure(&ran, "trimmed ") < 4 << 20, "{ran:?}");
    }
}

/// Programs that ask for what the mode gives up: that freeing a mapping moves the thresholds, that what is freed is merged or
/// given back at once, and which figures that leaves.
const NOT_IN_THE_MODE: [&str; 7] = [
    "mallopt_mmap_threshold.c",
    "mallopt_trim_threshold.c",
    "mallinfo.c",
    "malloc_trim_top.c",
    "mallopt_arena_max.c",
    "free_sized_wrong.c",
    "malloc_info.c",
];

#[test]
fn the_conformance_programs_keep_their_promises() {
    let mut count = 0;
    for dir in ["c", "cxx", "extras"] {
        let folder = format!("tests/conformance/{dir}");
        let mut names: Vec<_> = std::fs::read_dir(root().join(&folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !NOT_IN_THE_MODE.contains(&name.as_str()))
            .collect();
        names.sort();
        for name in names {
            let program =
                compile(&format!("{folder}/{name}"), Door::Static, if dir == "cxx" { &["-ldl"] } else { &[] });
            let mut command = secure(program, Door::Static, MODE);
            let ran = run(command.env("CONFORMANCE_ON_HEAPGLASS", "1")).ok();
            let complaint = ran.err.lines().find(|line| line.starts_with("heapglass: "));
            assert_eq!(complaint, None, "{name}");
            count += 1;
        }
    }
    assert!(count > 35, "{count} programs");
}

/// The same command on the C library's malloc and in secure mode must say the same.
#[track_caller]
fn says_the_same(program: &str, args: &[&str], dir: Option<&Path>) -> String {
    let mut outs = Vec::new();
    for door in [Door::Libc, Door::Preload] {
        let mut command = on_heapglass(program, door);
        command.args(args).env_remove("HEAPGLASS").env("PYTHONMALLOC", "malloc").env("PYTHONHASHSEED", "0");
        if door == Door::Preload {
            command.env("HEAPGLASS", MODE);
        }
        if let Some(dir) = dir {
            command.current_dir(dir);
        }
        outs.push(run(&mut command).ok());
    }
    assert_eq!(outs[0].out, outs[1].out, "{program} {args:?}");
    assert_eq!(outs[0].err, outs[1].err, "{program} {args:?}");
    outs.swap_remove(1).out
}

#[test]
fn real_programs_say_the_same() {
    if have("python3") {
        let script = "import json, re, collections\n\
            rows = [{'n': i, 's': str(i) * (i % 50)} for i in range(20000)]\n\
            text = json.dumps(rows)\n\
            words = collections.Counter(re.findall(r'\\d+', text))\n\
            print(len(text), words.most_common(3), sum(row['n'] for row in json.loads(text)))";
        assert!(says_the_same("python3", &["-c", script], None).contains("199990000"));
    }
    if have("git") {
        let dir = root();
        assert!(says_the_same("git", &["log", "--oneline", "-5"], Some(&dir)).lines().count() <= 5);
        says_the_same("git", &["grep", "-c", "pub fn"], Some(&dir));
        says_the_same("git", &["diff", "--stat", "HEAD"], Some(&dir));
    }
    if have("gcc") {
        let file = root().join("tests/secure/sound.c");
        let out = says_the_same("gcc", &["-O1", "-S", "-o", "-", file.to_str().unwrap()], None);
        assert!(out.contains(".text"));
    }
    if have("sqlite3") {
        let sql = "create table t (a integer primary key, b text);\n\
            with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)\n\
            insert into t select i, hex(i * 7919) from n;\n\
            create index b on t(b); delete from t where a % 3 = 0;\n\
            select count(*), sum(a), max(b), group_concat(substr(b, 1, 1), '') from t where a < 500;";
        assert!(says_the_same("sqlite3", &[":memory:", sql], None).starts_with("333|"));
    }
}

#[test]
fn the_word_alone_and_with_exceptions() {
    let program = compile("tests/secure/sound.c", Door::Preload, &[]);
    for mode in ["secure", "secure:1", "secure,quarantine:0", "secure,canary:0", "secure:0", "quarantine_chunks:7"] {
        let ran = run(secure(&program, Door::Preload, mode).arg("nothing")).ok();
        assert_eq!(ran.err, "", "{mode}");
    }
    for (mode, says) in [("secure:2", "bad value '2' for 'secure'"), ("quarantine_chunks:0", "bad value '0'")] {
        let ran = run(secure(&program, Door::Preload, mode).arg("nothing")).ok();
        assert!(ran.err.contains(says), "{mode}: {ran:?}");
    }
}
