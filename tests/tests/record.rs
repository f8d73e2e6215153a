//! `heapglass record`, and what reads its files: that they hold what a trace tells, however the recording ended.

use heapglass_capture::{Capture, Event};
use heapglass_event::record::Call as Function;
use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, Ran, compile, have, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn program(source: &str) -> String {
    compile(source, Door::Preload, &[]).to_str().unwrap().to_owned()
}

fn record(file: &Path, flags: &[&str], words: &[&str]) -> Ran {
    run(heapglass().arg("record").arg("-o").arg(file).args(flags).arg("--").args(words))
}

#[track_caller]
fn stats(file: &Path) -> Value {
    let ran = run(heapglass().args(["stats", "--json"]).arg(file)).ok();
    serde_json::from_str(&ran.out).unwrap()
}

fn calls(stats: &Value, function: &str) -> u64 {
    let rows = stats["functions"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == function).map_or(0, |row| row["calls"].as_u64().unwrap())
}

/// Without random addresses: they are to be compared.
fn fixed(command: &Command) -> Command {
    let mut wrapped = Command::new("setarch");
    wrapped.arg("-R").arg(command.get_program()).args(command.get_args());
    wrapped.env_remove("LD_PRELOAD").env_remove("HEAPGLASS_PRELOADED").env("HEAPGLASS", "decay:-1,guard:0");
    wrapped
}

#[test]
fn a_recording_holds_call_by_call_what_a_trace_tells() {
    if !have("setarch") {
        return;
    }
    let dir = Dir::new("record");
    let (file, text) = (dir.path().join("recording"), dir.path().join("trace"));
    let program = program("tests/trace/steps.c");
    run(&mut fixed(heapglass().arg("trace").arg("-o").arg(&text).args(["--", &program, "60"]))).ok();
    run(&mut fixed(heapglass().arg("record").arg("-o").arg(&file).args(["--", &program, "60"]))).ok();
    assert_eq!(fs::metadata(&text).unwrap().permissions().mode() & 0o777, 0o600, "it is its owner's alone");
    let text = fs::read_to_string(text).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" ; ")).collect();
    assert!(lines.len() > 60);
    assert_eq!(stats(&file)["calls"], lines.len());
    for (number, line) in (1..).zip(&lines) {
        let told = run(heapglass().arg("explain").arg(&file).args(["--at", &number.to_string()])).ok();
        let (call, result) = line.split(" ; ").next().unwrap().split_once(" = ").unwrap();
        let expected = format!("{} = {}", call.trim_end(), result.trim());
        assert_eq!(told.out.lines().nth(1).unwrap(), expected, "call {number}");
    }
    let beyond = run(heapglass().arg("explain").arg(&file).args(["--at", "1000000"]));
    assert!(beyond.code == Some(125) && beyond.err.contains("none by number 1000000"), "{beyond:#?}");
}

#[test]
fn explained_from_a_recording_a_call_has_its_steps_and_its_neighbours() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    record(&file, &[], &[&program("examples/c/first.c")]).ok();
    let told = |number: &str| run(heapglass().arg("explain").arg(&file).args(["--at", number])).ok().out;
    let second = told("2");
    assert!(second.starts_with("call 2 of 7, 0."), "{second}");
    assert!(
        second.contains("\n   7  top            135120 bytes: 1 × 144 cut off its start, 134976 remain\n"),
        "{second}"
    );
    let (before, after) = second.split_once("\nafter\n").unwrap();
    assert!(before.contains(" 48 bytes  in use: 32 asked for by call 1") && !before.contains("call 2\n"), "{second}");
    assert!(after.contains("  * 0x") && after.contains(" 144 bytes  in use: 128 asked for by call 2\n"), "{second}");
    let unmapped = told("4");
    assert!(unmapped.contains("      system call    munmap(0x"), "{unmapped}");
    assert!(unmapped.contains("after\n  nothing in use near 0x"), "{unmapped}");
    let none = run(heapglass().args(["explain", "--at", "1"]));
    assert_eq!(none.code, Some(125), "{none:#?}");
}

#[test]
fn what_calls_come_to_is_told() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    record(&file, &[], &[&program("examples/c/first.c")]).ok();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is its owner's alone");
    let told = stats(&file);
    assert_eq!((calls(&told, "malloc"), calls(&told, "free"), told["calls"].as_u64()), (4, 3, Some(7)));
    assert_eq!(told["closed"], true);
    assert_eq!(told["about"]["ended"], "exited with 0");
    assert_eq!(told["peak"]["bytes"], 266_240 + 48 + 144);
    assert_eq!(told["end"]["bytes"], 4112);
    assert_eq!(told["temporary"]["bytes"], 262_144, "it was freed before the next was allocated");
    let kernel = told["system_calls"].as_array().unwrap();
    let names: Vec<&str> = kernel.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["brk", "mmap", "munmap"]);
    assert_eq!(told["arenas"][0]["kernel_bytes"], 135_168);
    let lived: u64 = told["lifetimes"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(lived, 3);
    let screen = run(heapglass().arg("stats").arg(&file)).ok().out;
    assert!(screen.contains("\n  in use at peak                    266,432 bytes  3 chunks, at call 3, "), "{screen}");
    let again = run(heapglass().arg("run").arg("--record").arg(&file).args(["--", "true"]));
    assert!(again.code == Some(125) && again.err.contains("is there already; --force overwrites it"), "{again:#?}");
    let forced = ["--force", "--", &program("examples/c/first.c")];
    run(heapglass().arg("run").arg("--record").arg(&file).args(forced)).ok();
    assert_eq!(stats(&file)["calls"], 7);
}

#[test]
fn what_came_and_went_is_told_by_bin() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    let steps = program("tests/trace/steps.c");
    let mut command = heapglass();
    command.env("HEAPGLASS", "tcache:0").args(["record", "-o"]).arg(&file).args(["--", &steps, "5000"]);
    run(&mut command).ok();
    let told = stats(&file);
    let rows = told["bins"].as_array().unwrap();
    let sum = |name: &str, what: &str| -> u64 {
        rows.iter().filter(|row| row["name"] == name).map(|row| row[what].as_u64().unwrap()).sum()
    };
    for name in ["fast bin", "unsorted bin", "small bin", "large bin", "top"] {
        assert!(sum(name, "put") > 100 && sum(name, "taken") > 50, "{name}: {told:#}");
    }
    assert_eq!(sum("thread cache", "put"), 0, "classic mode has none");
    // Fast and small bins are told by length, and nothing comes out of one that didn't go in.
    for row in rows.iter().filter(|row| row["name"] == "fast bin" || row["name"] == "small bin") {
        assert!(row["bytes"].as_u64().is_some() && row["taken"].as_u64() <= row["put"].as_u64(), "{row}");
    }
    let screen = run(heapglass().arg("stats").arg(&file)).ok().out;
    let line = screen.lines().find(|line| line.contains("  small bin, ")).unwrap_or_else(|| panic!("{screen}"));
    assert!(line.ends_with(" lengths"), "{line}");
}

#[test]
fn threads_and_children_are_recorded_in_the_order_of_time() {
    let dir = Dir::new("record");
    let file = dir.path().join("threads");
    let ran = record(&file, &[], &[&program("tests/trace/threads.cc"), "3000"]).ok();
    assert_eq!(ran.out, "done\n");
    let told = stats(&file);
    assert!(calls(&told, "operator new") >= 12_000 && calls(&told, "operator delete") >= 12_000, "{told:#}");
    // Nothing was freed before it was handed out, whichever thread did it.
    assert_eq!(told["unknown_frees"], 0);
    let file = dir.path().join("children");
    record(&file, &["-f"], &[&program("tests/trace/forks.c")]).ok();
    assert!(calls(&stats(&file), "malloc") >= 1002);
}

#[test]
fn calls_that_threads_without_a_record_make_are_their_own() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    // Each thread's first calls, and those after its end, are told in a ring that all share.
    record(&file, &[], &[&program("tests/trace/deletes.cc")]).ok();
    let capture = Capture::open(&file).unwrap();
    let mut events = capture.events(1);
    let mut deleted: BTreeMap<u32, u64> = BTreeMap::new();
    while let Some(Event { thread, call, .. }) = events.next().unwrap() {
        if call.function == Some(Function::DeleteSized) && call.requested() == Some(40) {
            *deleted.entry(thread.tid).or_default() += 1;
        }
    }
    assert_eq!(deleted.values().collect::<Vec<_>>(), [&200; 3], "{deleted:?}");
}

#[test]
fn a_crowd_of_children_and_two_recordings_at_once_keep_apart() {
    let dir = Dir::new("record");
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (for j in 1 2 3 4 5; do ls / >/dev/null & done; wait) & done; wait; echo all";
    let crowd = dir.path().join("crowd");
    let other = dir.path().join("other");
    std::thread::scope(|scope| {
        let many = scope.spawn(|| record(&crowd, &["-f"], &["bash", "-c", script]).ok());
        let one = scope.spawn(|| record(&other, &[], &[&program("tests/trace/steps.c"), "3000"]).ok());
        assert_eq!(many.join().unwrap().out, "all\n");
        assert!(one.join().unwrap().out.starts_with("3000 steps"));
    });
    let (crowd, other) = (stats(&crowd), stats(&other));
    assert!(crowd["closed"] == true && calls(&crowd, "malloc") > 5000, "{crowd:#}");
    assert!(other["about"]["program"].as_str().unwrap().ends_with(" 3000") && other["unknown_frees"] == 0, "{other:#}");
}

#[test]
fn samples_are_one_for_so_many_bytes_with_what_became_of_each() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    record(&file, &["--interval", "13K"], &[&program("tests/trace/goes_on.c"), "/dev/null"]).ok();
    let told = stats(&file);
    let (made, freed) = (calls(&told, "malloc"), calls(&told, "free"));
    // 53 million bytes in 200,000 allocations: 4,000 samples, 60 more or less.
    assert!((3600..4400).contains(&made), "{told:#}");
    assert!(made - freed <= 2 && told["unknown_frees"] == 0, "{told:#}");
    // Long ones are likelier.
    let mean = told["allocated"]["bytes"].as_u64().unwrap() / made;
    assert!(mean > 300, "{mean} bytes each, where all have 250");
    let again = dir.path().join("again");
    let mut command = heapglass();
    command.args(["run", "--interval", "13K", "--record"]).arg(&again);
    run(command.args(["--", &program("tests/trace/goes_on.c"), "/dev/null"])).ok();
    assert!((3600..4400).contains(&calls(&stats(&again), "malloc")));
    let screen = run(heapglass().arg("stats").arg(&file)).ok().out;
    assert!(screen.contains("samples: one for 13,312 bytes on average; all figures are of these alone"), "{screen}");
}

#[test]
fn names_of_recordings_are_filled_in() {
    let dir = Dir::new("record");
    let names = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let record = |flags: &[&str]| {
        let mut command = heapglass();
        run(command.current_dir(dir.path()).arg("record").args(flags).args(["--", "sh", "-c", "echo $$"])).ok()
    };
    // The process is the program, not the recorder.
    let pid = record(&[]).out.trim().to_owned();
    assert_eq!(names(), [format!("heapglass.sh.{pid}.hg")]);
    for _ in 0..2 {
        record(&["-o", "%e-%n.hg"]);
    }
    assert_eq!(names()[1..], ["sh-1.hg", "sh-2.hg"]);
    let ran = run(heapglass().args(["record", "-o", "%x.hg", "true"]));
    assert!(ran.code == Some(125) && ran.err.contains("a name has no '%x'"), "{ran:#?}");
}

#[test]
fn a_call_takes_few_bytes() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    let steps = program("tests/trace/steps.c");
    for words in [
        &[steps.as_str(), "20000"][..],
        &[&steps, "20000", "4"],
        &["bash", "-c", "for i in {1..20000}; do a[i]=$i; done"],
    ] {
        let _ = fs::remove_file(&file);
        record(&file, &[], words).ok();
        let told = stats(&file);
        let (bytes, calls) = (told["file_bytes"].as_f64().unwrap(), told["calls"].as_f64().unwrap());
        assert!(calls > 10_000.0 && bytes / calls < 12.0, "{words:?}: {bytes} bytes, {calls} calls");
    }
}

#[test]
fn a_long_recording_is_read_in_little_memory_and_it_is_said_how_far() {
    if !have("prlimit") || !have("script") {
        return;
    }
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    record(&file, &[], &[&program("tests/trace/steps.c"), "200000"]).ok();
    let calls = stats(&file)["calls"].as_u64().unwrap();
    assert!(calls > 4_000_000, "{calls}");
    let readings: [&[&str]; 4] = [
        &["explain", "--at", "1"],
        &["explain", "--at", "2000000"],
        &["explain", "--at", "4000000"],
        &["stats", "--json"],
    ];
    for words in readings {
        let mut limited = Command::new("prlimit");
        limited.arg("--data=67108864").arg(heapglass().get_program()).args(words).arg(&file);
        let ran = run(&mut limited).ok();
        assert!(ran.out.len() > 100, "{words:?} {ran:#?}");
    }
    let words = format!("'{}' stats '{}'", heapglass().get_program().display(), file.display());
    let ran = run(Command::new("script").args(["-qec", &words, "/dev/null"])).ok();
    // Where it is read within half a second there is nothing to say.
    let (said, rest) = ran.out.split_once("recording:").unwrap_or_else(|| panic!("{ran:#?}"));
    assert!(rest.contains("exited with 0") && !rest.contains("reading, "), "{ran:#?}");
    assert!(
        !said.contains("heapglass") || said.contains("\rheapglass: reading, ") && said.contains("\r\x1b[K"),
        "{ran:#?}"
    );
    let plain = run(heapglass().arg("stats").arg(&file)).ok();
    assert!(!plain.err.contains("reading"), "{plain:#?}");
}

fn grows_to(file: &Path, bytes: u64) {
    let begun = Instant::now();
    while fs::metadata(file).map_or(0, |about| about.len()) < bytes {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until every thread of a process is stopped.
fn stands_still(pid: u32) {
    let begun = Instant::now();
    let is_stopped = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'));
    let all_are = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path().join("stat"));
        tasks.map(|stat| fs::read_to_string(stat).unwrap()).all(|stat| is_stopped(&stat))
    };
    while !all_are() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_had_written_and_the_program_goes_on() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    let mut command = heapglass();
    command.args(["record", "-o"]).arg(&file).args(["--", &program("tests/trace/steps.c"), "600000"]);
    let mut recorder = command.stdout(Stdio::piped()).spawn().unwrap();
    grows_to(&file, 100_000);
    recorder.kill().unwrap();
    let mut out = String::new();
    recorder.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    recorder.wait().unwrap();
    assert!(out.starts_with("600000 steps"), "the program didn't go on: {out}");
    let ran = run(heapglass().args(["stats", "--json"]).arg(&file)).ok();
    assert!(ran.err.contains("the recording was cut off"), "{ran:#?}");
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(told["closed"] == false && told["calls"].as_u64().unwrap() > 10_000, "{told:#}");
}

#[test]
fn a_full_disk_closes_the_recording_and_the_program_goes_on() {
    if !have("prlimit") {
        return;
    }
    // With room for more, and with none even for the index of what is there.
    for room in [900_000, 40] {
        recorded_until_the_disk_is_full(room);
    }
}

#[track_caller]
fn recorded_until_the_disk_is_full(room: u64) {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    let mut command = heapglass();
    command.args(["record", "-o"]).arg(&file).args(["--", &program("tests/trace/steps.c"), "600000"]);
    let mut recorder = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    grows_to(&file, 600_000);
    // A limit on what a file may grow to stands in for the disk. It is set while nobody writes, so that it is known how much room
    // there is.
    let id = recorder.id().to_string();
    let send = |signal| assert!(Command::new("kill").args([signal, id.as_str()]).status().unwrap().success());
    send("-STOP");
    stands_still(recorder.id());
    let limit = format!("--fsize={}", fs::metadata(&file).unwrap().len() + room);
    assert!(Command::new("prlimit").args([limit.as_str(), "--pid", &id]).status().unwrap().success());
    send("-CONT");
    let (mut out, mut err) = (String::new(), String::new());
    recorder.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    recorder.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(recorder.wait().unwrap().code(), Some(0), "{err}");
    assert!(out.starts_with("600000 steps"), "{out} {err}");
    assert!(err.contains("File too large") && err.contains("the recording ends early"), "{err}");
    let ran = run(heapglass().args(["stats", "--json"]).arg(&file)).ok();
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    // What was there of it is whole.
    assert_eq!(told["closed"], true, "room for {room}: {told:#} {}", ran.err);
    let calls = told["calls"].as_u64().unwrap();
    assert!(calls > 100_000, "room for {room}: {told:#}");
    let said: String = err.split("ends early, after ").nth(1).unwrap().chars().take_while(|c| *c != ' ').collect();
    assert_eq!(said.replace(',', ""), calls.to_string(), "{err}");
}

#[test]
fn what_cant_be_recorded_or_read_is_said() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    for (program, code) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let ran = record(&file, &[], &[program]);
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert!(!file.exists(), "nothing was recorded");
    }
    for output in ["/no/such/dir/file", "/dev/full"] {
        let ran = record(Path::new(output), &[], &["true"]);
        assert!(ran.code == Some(125) && ran.err.contains(output), "{ran:#?}");
    }
    let killed = record(&file, &[], &["sh", "-c", "kill -SEGV $$"]);
    assert_eq!(killed.signal, Some(11), "{killed:#?}");
    fs::write(&file, "no recording").unwrap();
    for words in [&["stats"][..], &["explain", "--at", "1"]] {
        let ran = run(heapglass().args(words).arg(&file));
        assert!(ran.code == Some(125) && ran.err.contains("is no recording"), "{ran:#?}");
        let ran = run(heapglass().args(words).arg("/no/such/file"));
        assert!(ran.code == Some(125) && ran.err.contains("/no/such/file: No such file"), "{ran:#?}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_read_as_far_as_it_goes() {
    let dir = Dir::new("record");
    let file = dir.path().join("recording");
    record(&file, &[], &[&program("tests/trace/steps.c"), "120000"]).ok();
    let whole = fs::read(&file).unwrap();
    let all = stats(&file)["calls"].as_u64().unwrap();
    let cut: PathBuf = dir.path().join("cut");
    let mut last = 0;
    for part in [1, 3, 5, 7] {
        fs::write(&cut, &whole[..whole.len() * part / 8]).unwrap();
        let ran = run(heapglass().args(["stats", "--json"]).arg(&cut)).ok();
        assert!(ran.err.contains("was cut off"), "{ran:#?}");
        let calls = serde_json::from_str::<Value>(&ran.out).unwrap()["calls"].as_u64().unwrap();
        assert!((last..=all).contains(&calls), "{last} {calls} {all}");
        last = calls;
    }
    assert!(last > 0);
    // Whoever reads may stop.
    let words = format!("'{}' stats '{}' | head -1", heapglass().get_program().display(), file.display());
    assert!(run(Command::new("sh").args(["-c", &words])).ok().out.contains("exited with 0"));
}
