//! Moments of recordings: `heapglass diff` of two of them, and marks.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, Ran, compile, run};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn record(dir: &Dir, name: &str, words: &[&str]) -> PathBuf {
    let file = dir.path().join(name);
    run(heapglass().args(["record", "-o"]).arg(&file).arg("--").args(words)).ok();
    file
}

fn first() -> String {
    compile("examples/c/first.c", Door::Preload, &[]).to_str().unwrap().to_owned()
}

fn at(file: &Path, instant: &str) -> String {
    format!("{}@{instant}", file.display())
}

fn diff(words: &[&str]) -> Ran {
    run(heapglass().arg("diff").args(words))
}

#[track_caller]
fn told(words: &[&str]) -> Value {
    let ran = diff(&[words, &["--json"]].concat()).ok();
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:#?}"))
}

#[test]
fn between_two_moments_chunks_come_and_go() {
    let dir = Dir::new("moments");
    // malloc(32), malloc(128), malloc(262144), its free, malloc(4096) by the C library, free(128), free(32).
    let file = record(&dir, "recording", &[&first()]);
    let screen = diff(&[&at(&file, "1"), "@5"]).ok().out;
    let row = |bytes: &str, gone: u64, come: u64, size: &str, call: &str| {
        let words: Vec<&str> = screen.lines().find(|line| line.contains(call)).unwrap().split_whitespace().collect();
        assert_eq!(words[..4], [bytes, &gone.to_string(), &come.to_string(), size], "{screen}");
    };
    row("+4,112", 0, 1, "4,096", "call 5, malloc(4096), thread ");
    row("+144", 0, 1, "128", "call 2, malloc(128), thread ");
    assert!(
        screen.lines().next().unwrap().starts_with(&format!("from  {}, after call 1, 0.", file.display())),
        "{screen}"
    );
    assert!(!screen.contains("262,144"), "it came and went in between: {screen}");
    let back = told(&[&at(&file, "5"), "@1"]);
    assert_eq!((&back["gone"]["chunks"], &back["come"]["chunks"]), (&2.into(), &0.into()));
    assert_eq!(back["sizes"][0]["more_bytes"], -4112);
    assert_eq!(back["stayed"]["bytes"], 48);
    // The peak is after call 3; the end is the default.
    let peak = told(&[&at(&file, "peak"), "@3"]);
    assert_eq!((&peak["before"]["calls"], &peak["sizes"]), (&3.into(), &Value::Array(vec![])));
    let all = told(&[&at(&file, "start"), file.to_str().unwrap()]);
    assert_eq!(
        (&all["before"]["bytes"], &all["after"]["bytes"], &all["come"]["bytes"]),
        (&0.into(), &4112.into(), &4112.into())
    );
    assert_eq!(told(&[&at(&file, "0s"), "@1000s"])["come"], all["come"]);
    assert!(diff(&[&at(&file, "peak"), "@3"]).ok().out.ends_with("\nno chunk is in use at one of them only\n"));
}

#[test]
fn an_address_that_was_freed_and_handed_out_again_is_another_chunk() {
    let dir = Dir::new("moments");
    let file = record(
        &dir,
        "recording",
        &[compile("tests/trace/goes_on.c", Door::Preload, &[]).to_str().unwrap(), "/dev/null"],
    );
    // It allocates and frees the same size all the time.
    let told = told(&[&at(&file, "2001"), "@4001"]);
    assert_eq!(told["gone"], told["come"], "{told:#}");
    assert!(told["one_recording"] == true && told["sizes"].as_array().unwrap().len() <= 1, "{told:#}");
}

#[test]
fn two_recordings_differ_by_their_sums() {
    let dir = Dir::new("moments");
    let steps = compile("tests/trace/steps.c", Door::Preload, &[]).to_str().unwrap().to_owned();
    let (short, again) = (record(&dir, "short", &[&first()]), record(&dir, "again", &[&first()]));
    let long = record(&dir, "long", &[&steps, "3000"]);
    let names = [&short, &long, &again].map(|file| file.to_str().unwrap());
    let same = told(&[names[0], names[2]]);
    assert!(same["one_recording"] == false && same["sizes"].as_array().unwrap().is_empty(), "{same:#}");
    let more = told(&[names[0], names[1]]);
    let sum: i64 = more["sizes"].as_array().unwrap().iter().map(|row| row["more_bytes"].as_i64().unwrap()).sum();
    let of = |side: &str| more[side]["bytes"].as_i64().unwrap();
    assert_eq!(sum, of("after") - of("before"));
}

/// Who keeps how many chunks in `stacks.c`, and the bytes of each.
const KEPT: [(&str, i64); 2] = [("first", 3), ("second", 7)];
const CHUNK: i64 = 1008;

#[test]
fn where_callers_are_known_moments_differ_by_stack() {
    let dir = Dir::new("moments");
    let program = compile("tests/trace/stacks.c", Door::Preload, &["-g"]).to_str().unwrap().to_owned();
    let recorded = |name: &str, words: &[&str], keep: &str| {
        let file = dir.path().join(name);
        let mut record = heapglass();
        record.arg("record").args(words).arg("-o").arg(&file).args(["--", &program, keep]);
        run(record.env("HEAPGLASS", "guard:0")).ok();
        file.to_str().unwrap().to_owned()
    };
    let (file, more) = (recorded("a", &["-k"], "7"), recorded("b", &["-k"], "9"));
    let start = format!("{file}@start");
    let one = told(&[&start, &file]);
    let rows = one["stacks"].as_array().unwrap();
    let row_of = |rows: &[Value], function: &str| {
        let is_it = |row: &&Value| {
            row["stack"].as_array().unwrap().iter().any(|name| name.as_str().unwrap().starts_with(function))
        };
        let of: Vec<&Value> = rows.iter().filter(is_it).collect();
        assert!(of.len() <= 1, "{rows:#?}");
        of.first().map(|row| (row["more_bytes"].as_i64().unwrap(), row["more_chunks"].as_i64().unwrap()))
    };
    // The same size from the same function, by two callers; and one place whose chunks all went again.
    for (caller, count) in KEPT {
        assert_eq!(row_of(rows, &format!("{caller} at ")), Some((CHUNK * count, count)), "{one:#}");
    }
    assert_eq!(row_of(rows, "gone at "), None, "{one:#}");
    let stack: Vec<&str> = rows[0]["stack"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        stack[0].starts_with("table at ") && stack[0].contains("stacks.c:") && stack[1].starts_with("second at "),
        "{stack:?}"
    );
    let all: i64 = rows.iter().map(|row| row["more_bytes"].as_i64().unwrap()).sum();
    assert_eq!(all, one["come"]["bytes"].as_i64().unwrap() - one["gone"]["bytes"].as_i64().unwrap(), "{one:#}");

    // Of two recordings, what both have cancels out, wherever the program lay.
    let two = told(&[&file, &more]);
    let rows = two["stacks"].as_array().unwrap();
    assert_eq!((rows.len(), row_of(rows, "second at ")), (1, Some((CHUNK * 2, 2))), "{two:#}");
    let screen = diff(&[&file, &more]).ok().out;
    let table = screen.lines().find(|line| line.contains("%            2  table stacks.c:")).unwrap_or_default();
    assert!(table.trim_start().starts_with("2.0 KiB"), "{screen}");
    assert!(screen.contains("  second stacks.c:") && !screen.contains("  first stacks.c:"), "{screen}");
    assert!(diff(&[&file, &file]).ok().out.ends_with("\nno chunk is in use at one of them only\n"));

    // One that doesn't know is compared as before.
    let without = recorded("c", &[], "7");
    assert!(
        told(&[&without, &more])["stacks"].is_null() && !diff(&[&without, &more]).ok().out.contains("function, by")
    );
}

#[test]
fn marks_are_set_while_a_recording_is_made_and_afterwards() {
    let dir = Dir::new("moments");
    let file = dir.path().join("recording");
    let mark = |words: &[&str]| run(heapglass().arg("mark").arg(&file).args(words));
    let mut command = heapglass();
    // A shell that allocates for a word that it keeps, and then waits for a line.
    let script = "echo ready; read x; y=$(printf '%05000d' 7); echo $y >/dev/null; echo kept; read x; exit 0";
    command.args(["record", "-o"]).arg(&file).args(["--", "bash", "-c", script]);
    let mut recorder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut input, mut output) = (recorder.stdin.take().unwrap(), recorder.stdout.take().unwrap());
    let mut hear = |word: &str| {
        let mut said = vec![0; word.len()];
        output.read_exact(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), word);
    };
    hear("ready\n");
    mark(&["before"]).ok();
    input.write_all(b"\n").unwrap();
    hear("kept\n");
    mark(&["after"]).ok();
    input.write_all(b"\n").unwrap();
    assert!(recorder.wait().unwrap().success());
    assert!(!dir.path().join("recording.marks").exists(), "they are in the recording now");
    let more = told(&[&at(&file, "before"), "@after"]);
    let long = |row: &&Value| row["requested"].as_u64().unwrap() >= 5000 && row["more_bytes"].as_i64().unwrap() > 0;
    assert!(more["sizes"].as_array().unwrap().iter().any(|row| long(&row)), "{more:#}");
    let listed = run(heapglass().arg("stats").arg(&file)).ok().out;
    assert!(listed.contains("\n  mark before, 0.") && listed.contains("\n  mark after, 0."), "{listed}");
    // Afterwards, at a moment that is said.
    mark(&["top", "--at", "peak"]).ok();
    let told = told(&[&at(&file, "peak"), "@top"]);
    assert_eq!(told["before"]["calls"], told["after"]["calls"]);
    // One beyond all times is the end.
    mark(&["beyond", "--at", "1e30s"]).ok();
    let beyond = run(heapglass().args(["diff", &at(&file, "end"), "@beyond", "--json"])).ok().out;
    let beyond: Value = serde_json::from_str(&beyond).unwrap();
    assert_eq!(beyond["before"]["calls"], beyond["after"]["calls"]);
    for (words, said) in [
        (&["late"][..], "the recording has ended; --at says which moment of it"),
        (&["top", "--at", "3"], "has a mark top already"),
        (&["x", "--at", "nowhere"], "has no mark nowhere; it has before, after, top, beyond"),
        (&["7"], "a name begins with a letter"),
    ] {
        let ran = mark(words);
        assert!(ran.code == Some(125) && ran.err.contains(said), "{ran:#?}");
    }
}

#[test]
fn what_is_no_moment_is_said() {
    let dir = Dir::new("moments");
    let file = record(&dir, "recording", &[&first()]);
    for (words, said) in [
        (["8", "@1"], "has calls 1 to 7, and none by number 8"),
        (["1", "@12x"], "'12x' is no moment: there are numbers of calls"),
        (["1", "@lunch"], "has no mark lunch; it has none"),
    ] {
        let ran = diff(&[&at(&file, words[0]), words[1]]);
        assert!(ran.code == Some(125) && ran.err.contains(said), "{ran:#?}");
    }
    let other = dir.path().join("other");
    fs::write(&other, "no recording").unwrap();
    let ran = diff(&[&at(&other, "1"), "@2"]);
    assert!(ran.code == Some(125) && ran.err.contains("is no recording"), "{ran:#?}");
    // A file may have such a name.
    let odd = dir.path().join("recording@7");
    fs::copy(&file, &odd).unwrap();
    assert_eq!(told(&[&at(&file, "3"), odd.to_str().unwrap()])["one_recording"], false);
}
