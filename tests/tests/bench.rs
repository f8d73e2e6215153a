//! `heapglass bench`: whose turn it is, what is measured, what becomes of a program that fails, what is written.
//! No time that was measured decides a test.

use heapglass_tests::cli::{Dir, heapglass, library};
use heapglass_tests::{Door, Ran, compile, have, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;

fn bench() -> Command {
    let mut command = heapglass();
    command.arg("bench");
    command
}

/// Adds an export as JSON, runs, and reads it.
#[track_caller]
fn exported(command: &mut Command, dir: &Dir, words: &[&str]) -> (Ran, Value) {
    let file = dir.path().join("export.json");
    let ran = run(command.arg("--export-json").arg(&file).arg("--").args(words));
    let mode = fs::metadata(&file).unwrap_or_else(|e| panic!("{e}: {ran:#?}")).permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what is written is its owner's alone");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    (ran, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

#[track_caller]
fn row<'a>(export: &'a Value, allocator: &str) -> &'a Value {
    let rows = export["results"].as_array().unwrap();
    rows.iter().find(|row| row["allocator"] == allocator).unwrap_or_else(|| panic!("no {allocator}: {export}"))
}

fn touch() -> String {
    compile("tests/bench/touch.c", Door::Libc, &[]).to_str().unwrap().to_string()
}

fn aborts(dir: &Dir) -> PathBuf {
    let made = compile("tests/bench/aborts.c", Door::Libc, &["-shared", "-fPIC"]);
    let path = dir.path().join("libaborts.so");
    fs::copy(made, &path).unwrap();
    path
}

/// A command that succeeds if it is run by a child into which the library was preloaded.
fn child_has(library: &Path) -> String {
    format!("grep -q -F {} /proc/self/maps; exit $?", library.file_name().unwrap().to_str().unwrap())
}

#[test]
fn they_take_turns_at_being_first() {
    let dir = Dir::new("bench-turns");
    let copy = |name: &str| dir.file(name, &fs::read(library()).unwrap(), 0o755);
    let (a, b, log) = (copy("a.so"), copy("b.so"), dir.path().join("log"));
    let with = format!("a={},b={}", a.display(), b.display());
    let note = format!("basename \"${{LD_PRELOAD:-libc.so}}\" .so >>{}", log.display());
    let mut command = bench();
    command.args(["-r", "3", "-w", "2", "--with", &with, "-n", "turns"]);
    let (ran, export) = exported(&mut command, &dir, &["sh", "-c", &note]);
    let ran = ran.ok();
    let expect = ["libc a b", "a b libc", "b libc a", "libc a b", "a b libc"];
    assert_eq!(fs::read_to_string(&log).unwrap().replace('\n', " ").trim_end(), expect.join(" "));
    let rounds: Vec<Vec<&str>> = expect.iter().map(|round| round.split(' ').collect()).collect();
    assert_eq!(export["rounds"], serde_json::json!(rounds));
    for name in ["libc", "a", "b"] {
        assert_eq!(row(&export, name)["times"].as_array().unwrap().len(), 3);
    }
    assert!(ran.out.starts_with("turns: 3 runs each, in turn, after 2 to warm up\n"), "{}", ran.out);
}

#[test]
fn children_run_on_the_allocator_too_and_nothing_else_is_preloaded() {
    let dir = Dir::new("bench-children");
    let library = library();
    let mut command = bench();
    // What the caller preloads would stand in for the C library's own.
    command.env("LD_PRELOAD", &library).args(["-r", "1", "--with", "heapglass"]);
    let (ran, export) = exported(&mut command, &dir, &["sh", "-c", &child_has(&library)]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(row(&export, "libc")["fault"], "exited with status 1");
    assert_eq!(row(&export, "heapglass")["fault"], Value::Null, "{ran:#?}");
    assert!(ran.err.contains("LD_PRELOAD is set"), "{ran:#?}");
}

#[test]
fn a_crash_is_a_row_and_the_others_go_on() {
    let dir = Dir::new("bench-crash");
    let with = format!("broken={},heapglass", aborts(&dir).display());
    let mut command = bench();
    command.args(["-r", "3", "--with", &with]);
    let (ran, export) = exported(&mut command, &dir, &[&touch(), "1024"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let said = "killed by signal 6 (SIGABRT): aborts: too much";
    assert_eq!(row(&export, "broken")["fault"], said);
    assert!(ran.out.lines().any(|line| line.starts_with("broken ") && line.ends_with(said)), "{}", ran.out);
    for name in ["libc", "heapglass"] {
        assert_eq!(row(&export, name)["exit_codes"], serde_json::json!([0, 0, 0]));
    }
    assert_eq!(export["rounds"][0], serde_json::json!(["libc", "broken", "heapglass"]));
    assert_eq!(export["rounds"][1], serde_json::json!(["heapglass", "libc"]));
    // A signal is no exit status that could be ignored; and the library itself is sound.
    let ran = run(bench().args(["-i", "-r", "1", "--with", &with, &touch(), "1024"]));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    run(bench().args(["-r", "1", "--with", &with, &touch(), "16"])).ok();
}

#[test]
fn a_library_that_cannot_be_preloaded_is_a_row() {
    let dir = Dir::new("bench-refused");
    let text = dir.file("text.so", b"this is no library, however long it may be: it has no ELF header at all", 0o755);
    let with = format!("gone={},text={},heapglass", dir.path().join("gone.so").display(), text.display());
    let mut command = bench();
    command.args(["-r", "1", "--with", &with]);
    let (ran, export) = exported(&mut command, &dir, &["true"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(row(&export, "gone")["fault"], "not preloaded: cannot open shared object file");
    assert_eq!(row(&export, "text")["fault"], "not preloaded: invalid ELF header");
    assert_eq!(row(&export, "heapglass")["fault"], Value::Null);
}

#[test]
fn peak_memory_is_the_programs_own() {
    let dir = Dir::new("bench-peak");
    let status = dir.path().join("status");
    let ours = format!("grep VmHWM /proc/$PPID/status >{}", status.display());
    let peak_of = |kibibytes: &str| {
        let mut command = bench();
        command.args(["-r", "3", "--with", "heapglass", "-c", &ours, "-n", &"n".repeat(100_000)]);
        let (ran, export) = exported(&mut command, &dir, &[&touch(), kibibytes]);
        ran.ok();
        let peak = |name| row(&export, name)["peak_bytes"]["median"].as_u64().unwrap();
        (peak("libc"), peak("heapglass"), export["floor_bytes"].as_u64().unwrap())
    };
    let (libc, heapglass, floor) = peak_of("1024");
    let text = fs::read_to_string(&status).unwrap();
    let command = text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024;
    assert!((MIB..3 * MIB).contains(&libc), "{libc}");
    assert!((MIB..4 * MIB).contains(&heapglass), "{heapglass}");
    assert!(0 < floor && floor < MIB, "{floor}");
    assert!(command > libc, "the command's own {command} bytes would not show");
    // What is asked for beyond that is seen to the page, near enough.
    let (more, _, _) = peak_of("5120");
    assert!((3 * MIB + MIB / 2..4 * MIB + MIB / 2).contains(&(more - libc)), "{libc}, then {more}");
}

#[test]
fn every_export_can_be_read() {
    if !have("xmllint") {
        return;
    }
    let dir = Dir::new("bench-exports");
    let path = |name: &str| dir.path().join(name);
    let with = format!("br<o>&\"ken={},heapglass", aborts(&dir).display());
    let mut command = bench();
    command.args(["-r", "5", "-n", "<a> & \"b\", | c", "--with", &with]);
    for form in ["csv", "markdown", "svg"] {
        // What an earlier, longer export left may not show.
        fs::write(path(form), "x".repeat(100_000)).unwrap();
        command.arg(format!("--export-{form}")).arg(path(form));
    }
    let (ran, export) = exported(&mut command, &dir, &[&touch(), "1024"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");

    assert_eq!(export["name"], "<a> & \"b\", | c");
    assert_eq!(export["words"], serde_json::json!([touch(), "1024"]));
    let ours = row(&export, "heapglass");
    assert_eq!(ours["library"], library().to_str().unwrap());
    for key in ["wall_seconds", "user_seconds", "system_seconds", "peak_bytes", "minor_faults", "major_faults"] {
        let (figures, values) = (&ours[key], ours[key]["values"].as_array().unwrap());
        let figure = |name: &str| figures[name].as_f64().unwrap();
        assert_eq!(values.len(), 5);
        assert!(figure("low") <= figure("median") && figure("median") <= figure("high"), "{figures}");
        assert!(figures["verdict"].is_string(), "{figures}");
    }
    assert!(ours["wall_seconds"]["median"].as_f64().unwrap() > 0.0);
    assert!(ours["minor_faults"]["median"].as_u64().unwrap() > 256);

    let csv = fs::read_to_string(path("csv")).unwrap();
    assert_eq!(
        csv.lines().map(|line| line.split(',').next().unwrap()).collect::<Vec<_>>(),
        ["allocator", "libc", "\"br<o>&\"\"ken\"", "heapglass"]
    );
    let markdown = fs::read_to_string(path("markdown")).unwrap();
    assert_eq!(markdown.lines().count(), 5, "{markdown}");
    run(Command::new("xmllint").arg("--noout").arg(path("svg"))).ok();
    let circles = run(Command::new("xmllint").args(["--xpath", "count(//*[local-name()='circle'])"]).arg(path("svg")));
    assert_eq!(circles.ok().out.trim(), "2");
}

#[test]
fn shell_commands_run_around() {
    let dir = Dir::new("bench-around");
    let log = dir.path().join("log");
    let note = |word: &str| format!("echo {word} >>{}", log.display());
    let ran = run(bench()
        .args(["-r", "1", "-w", "1", "--with", "libc", "-s", &note("setup"), "-p", &note("prepare")])
        .args(["-c", &note("cleanup"), "sh", "-c", &note("run")]));
    ran.ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "setup\nprepare\nrun\nprepare\nrun\ncleanup\n");

    // Without a shell, `>` is a word like any other.
    let marked = dir.path().join("a>b");
    let text = format!("touch {}", marked.display());
    run(bench().args(["-N", "-r", "1", "--with", "libc", "-s", &text, "true"])).ok();
    assert!(marked.exists());
}

#[test]
fn runs_keep_to_their_limits() {
    let dir = Dir::new("bench-runs");
    let runs = |flags: &[&str]| {
        let (ran, export) = exported(bench().args(["--with", "libc"]).args(flags), &dir, &["true"]);
        ran.ok();
        row(&export, "libc")["times"].as_array().unwrap().len()
    };
    assert_eq!(runs(&["-r", "2"]), 2);
    assert_eq!(runs(&["-M", "3"]), 3);
    assert_eq!(runs(&["-m", "4", "-M", "4", "-w", "0"]), 4);
    // However long it takes, ten without a word on it.
    assert!(runs(&["-M", "12"]) >= 10);
}

#[test]
fn the_program_reads_the_given_input() {
    let dir = Dir::new("bench-input");
    let input = dir.file("input", b"hello\n", 0o644);
    let reads = |word: &str| format!("read line; test \"$line\" = \"{word}\"");
    let started = |words: [&str; 2], text: &str| {
        run(bench().args(["-r", "2", "--with", "libc"]).args(words).args(["sh", "-c", text])).code
    };
    assert_eq!(started(["--input", input.to_str().unwrap()], &reads("hello")), Some(0));
    assert_eq!(started(["-w", "1"], &reads("")), Some(0));
    assert_eq!(started(["--input", "/no/such/file"], "true"), Some(125));
}

#[test]
fn the_status_tells_what_went_wrong() {
    let dir = Dir::new("bench-status");
    let status = |words: &[&str]| {
        let ran = run(bench().args(["--with", "libc"]).args(words));
        assert!(ran.code == Some(0) || !ran.err.is_empty() || !ran.out.is_empty(), "{ran:#?}");
        ran.code
    };
    assert_eq!(status(&["-r", "1", "true"]), Some(0));
    assert_eq!(status(&["-r", "1", "sh", "-c", "exit 3"]), Some(1));
    assert_eq!(status(&["-r", "1", "-i", "sh", "-c", "exit 3"]), Some(0));
    assert_eq!(status(&["-r", "1", "-i", "sh", "-c", "kill -9 $$"]), Some(1));
    for bad in [
        &["-r", "0", "true"][..],
        &["-r", "2", "-m", "2", "true"],
        &["-m", "3", "-M", "2", "true"],
        &["--with", "no-such-allocator", "true"],
        &["--with", "a=/with space.so", "true"],
        &["--export-json", "/no/such/directory/file", "true"],
        &["-p", "exit 7", "true"],
        &["-s", "exit 7", "true"],
        &["-r", "1", "-c", "exit 7", "true"],
        &["-N", "-s", "", "true"],
        &[],
    ] {
        assert_eq!(status(bad), Some(125), "{bad:?}");
    }
    assert_eq!(status(&["/no/such/program"]), Some(127));
    let static_program = compile("tests/bench/touch.c", Door::Libc, &["-static"]);
    assert_eq!(status(&[static_program.to_str().unwrap()]), Some(126));
    let (_, export) = exported(bench().args(["-i", "-r", "2", "--with", "libc"]), &dir, &["sh", "-c", "exit 3"]);
    assert_eq!(row(&export, "libc")["exit_codes"], serde_json::json!([3, 3]));
}

#[test]
fn libraries_built_for_comparing_are_found_beside_the_command() {
    let dir = Dir::new("bench-found");
    let copy = |name: &str, from: &Path| dir.file(name, &fs::read(from).unwrap(), 0o755);
    let command = copy("release/heapglass", Path::new(heapglass().get_program()));
    copy("release/libheapglass.so", &library());
    let mine = copy("rivals/libmine.so", &library());
    let mut command = Command::new(command);
    command.env_remove("LD_PRELOAD").env_remove("HEAPGLASS").env_remove("HEAPGLASS_LIB").args(["bench", "-r", "1"]);
    // Without --with: all that this machine has.
    let (ran, export) = exported(&mut command, &dir, &["true"]);
    ran.ok();
    let names: Vec<_> = export["results"].as_array().unwrap().iter().map(|row| row["allocator"].as_str()).collect();
    assert_eq!(names[..3], [Some("libc"), Some("heapglass"), Some("mine")]);
    assert_eq!(row(&export, "mine")["library"], mine.to_str().unwrap());
}

#[test]
fn a_program_with_its_own_malloc_is_named() {
    let program = compile("tests/bench/touch.c", Door::Static, &[]);
    let said = |program: &str| run(bench().args(["-r", "1", "--with", "libc", program, "16"])).ok().err;
    assert!(said(program.to_str().unwrap()).contains("defines malloc itself"));
    assert_eq!(said(&touch()), "");
}
