//! `heapglass profile` and what is done with profiles: known places are found by function, file and line, figures are right, and
//! every form is read by its own reader where that is there.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::held::Held;
use heapglass_tests::{Door, compile, have, on_heapglass, root, run};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The rows of a profile, as `export --to jsonl` has them.
#[track_caller]
fn rows(profile: &Path) -> Vec<Value> {
    let ran = run(heapglass().arg("export").arg(profile).args(["--to", "jsonl"])).ok();
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stack(row: &Value) -> Vec<&str> {
    row["stack"].as_array().unwrap().iter().map(|call| call.as_str().unwrap()).collect()
}

/// Allocations and bytes of the rows whose innermost calls are these.
fn sum(rows: &[Value], calls: &[&str], which: &str) -> (f64, f64) {
    let rows = rows.iter().filter(|row| {
        let stack = stack(row);
        calls.iter().enumerate().all(|(index, call)| stack.get(index) == Some(call))
    });
    rows.fold((0.0, 0.0), |(count, bytes), row| {
        let more = row[which].as_f64().unwrap();
        (count + more, bytes + more * row["bytes"].as_f64().unwrap())
    })
}

/// `function file:line` of the line with this comment.
#[track_caller]
fn at(source: &str, function: &str, comment: &str) -> String {
    let text = std::fs::read_to_string(root().join(source)).unwrap();
    let line = text.lines().position(|line| line.ends_with(comment)).unwrap_or_else(|| panic!("{comment}")) + 1;
    format!("{function} {}:{line}", source.rsplit('/').next().unwrap())
}

#[track_caller]
fn profiled(dir: &Dir, words: &[&str], program: &Path, arguments: &[&str]) -> PathBuf {
    let file = dir.path().join("profile.gz");
    run(heapglass().args(["profile", "-q", "-o"]).arg(&file).args(words).arg("--").arg(program).args(arguments)).ok();
    file
}

const C: &str = "tests/profile/sites.c";

#[test]
fn places_in_c_are_named_to_the_line_with_all_figures() {
    let dir = Dir::new("profile");
    let program = compile(C, Door::Preload, &[]);
    let rows = rows(&profiled(&dir, &["--interval", "1"], &program, &[]));
    let at = |function, comment: &str| at(C, function, &format!("/* {comment} */"));
    let main = at("main", "main");
    let kept = [at("small_and_kept", "kept"), main];
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    // The first was overwritten, not freed.
    assert_eq!(sum(&rows, &kept, "in_use"), (1000.0, 100_000.0));
    assert_eq!(sum(&rows, &kept, "peak"), (1000.0, 100_000.0));
    let inlined = [at("inlined", "inlined"), at("large_and_freed", "caller")];
    let inlined: Vec<&str> = inlined.iter().map(String::as_str).collect();
    assert_eq!(sum(&rows, &inlined, "peak"), (8.0, 8_388_608.0));
    assert_eq!(sum(&rows, &inlined, "in_use").0, 0.0);
    let temporary = at("temporary", "temporary");
    assert_eq!(sum(&rows, &[&temporary], "total"), (1000.0, 64_000.0));
    assert_eq!(sum(&rows, &[&temporary], "temporary").0, 1000.0);
    let grown = at("grown", "grown");
    assert_eq!(sum(&rows, &[&grown], "in_use"), (1.0, 20_000.0));
    let thread = at("in_thread", "thread");
    assert_eq!(sum(&rows, &[&thread], "in_use"), (1000.0, 200_000.0));
    let threads = |call: &str| rows.iter().find(|row| stack(row)[0] == call).map(|row| row["thread"].clone()).unwrap();
    assert_ne!(threads(&thread), threads(&temporary));
}

#[test]
fn places_in_cpp_and_rust_are_named_and_demangled() {
    let dir = Dir::new("profile");
    let cpp = "tests/profile/sites.cc";
    let found = rows(&profiled(&dir, &["--interval", "1"], &compile(cpp, Door::Preload, &[]), &[]));
    let fill = at(cpp, "shop::Shelf<shop::Item>::fill(int)", "// fill");
    let main = at(cpp, "main", "// main");
    let items = found.iter().filter(|row| stack(row).windows(2).any(|two| two == [&fill, &main]));
    let items: f64 = items.filter(|row| row["bytes"] == 500).map(|row| row["total"].as_f64().unwrap()).sum();
    assert_eq!(items, 1000.0);
    let numbers = at(cpp, "shop::numbers()", "// numbers");
    assert_eq!(sum(&found, &[&numbers], "total"), (1.0, 100_000.0));
    assert_eq!(sum(&found, &[&numbers], "in_use").0, 0.0);

    let rust = "tests/profile/sites.rs";
    let program = dir.path().join("sites-rs");
    run(Command::new("rustc").args(["-g", "-O", "--edition", "2024", "-o"]).arg(&program).arg(root().join(rust))).ok();
    let found = rows(&profiled(&dir, &["--interval", "1"], &program, &[]));
    let has = |row: &Value, call: &str| stack(row).contains(&call);
    let kept = at(rust, "sites::store::kept", "// kept");
    let inner = format!("{}::{{closure#0}}", kept.split(' ').next().unwrap());
    let is_kept = |row: &&Value| stack(row).iter().any(|call| call.starts_with(&inner) || call.contains("store::kept"));
    let boxes: f64 =
        found.iter().filter(is_kept).filter(|row| row["bytes"] == 300).map(|row| row["in_use"].as_f64().unwrap()).sum();
    assert_eq!(boxes, 2000.0, "{found:#?}");
    let main = at(rust, "sites::main", "// main");
    assert!(found.iter().filter(is_kept).all(|row| has(row, &main)), "{main}: {found:#?}");
}

#[test]
fn a_sampled_profile_estimates_every_size_right() {
    let dir = Dir::new("profile");
    let program = compile("tests/profile/sizes.c", Door::Preload, &[]);
    let found = rows(&profiled(&dir, &["--interval", "512K"], &program, &["100"]));
    // By two threads.
    let counts = [
        ("of_24", 24.0, 32e6),
        ("of_200", 200.0, 4e6),
        ("of_1000", 1000.0, 2e6),
        ("of_1016", 1016.0, 2e6),
        ("of_1024", 1024.0, 2e6),
        ("of_2000", 2000.0, 12e5),
        ("of_3000", 3000.0, 8e5),
        ("of_3576", 3576.0, 8e5),
        ("of_3577", 3577.0, 8e5),
        ("of_4100", 4100.0, 8e5),
        ("of_16000", 16_000.0, 2e5),
        ("of_40000", 40_000.0, 8e4),
        ("of_65000", 65_000.0, 8e4),
        ("of_100000", 100_000.0, 4e4),
        ("of_200000", 200_000.0, 16e3),
        ("mixed_24", 24.0, 15e5),
        ("mixed_1000", 1000.0, 75e4),
        ("mixed_1200", 1200.0, 75e4),
        ("mixed_2500", 2500.0, 75e4),
        ("mixed_9000", 9000.0, 25e4),
        ("handed_100", 100.0, 4e6),
        ("handed_2000", 2000.0, 8e5),
        ("handed_3000", 3000.0, 8e5),
        ("handed_30000", 30_000.0, 8e4),
        ("to_3000", 3000.0, 6e5),
        ("to_20000", 20_000.0, 12e4),
    ];
    for (name, bytes, count) in counts {
        let rows: Vec<&Value> = found.iter().filter(|row| stack(row)[0].starts_with(&format!("{name} "))).collect();
        let estimate: f64 = rows.iter().map(|row| row["total"].as_f64().unwrap()).sum();
        // A sample of so many bytes' worth each: five times the spread of their number, and a little for the time before the
        // caches are warm.
        let samples = count * bytes / 524_288.0_f64.max(bytes);
        let spread = 5.0 / samples.sqrt() + 0.01;
        assert!((estimate / count - 1.0).abs() < spread, "{name}: {estimate} of {count}, {samples} samples");
        let in_use: f64 = rows.iter().map(|row| row["in_use"].as_f64().unwrap()).sum();
        assert!(in_use < 0.01 * count, "{name}: {in_use} were never freed");
    }
}

#[test]
fn however_a_program_ends_its_profile_is_whole() {
    let dir = Dir::new("profile");
    let program = compile(C, Door::Preload, &[]);
    let thread = at(C, "in_thread", "/* thread */");
    for (argument, code, signal) in [("exit", Some(3), None), ("kill", None, Some(9))] {
        let file = dir.path().join(argument);
        let words = ["profile", "-q", "--interval", "1", "-o"];
        let ran = run(heapglass().args(words).arg(&file).arg("--").arg(&program).arg(argument));
        assert_eq!((ran.code, ran.signal), (code, signal), "{ran:?}");
        assert_eq!(sum(&rows(&file), &[&thread], "in_use"), (1000.0, 200_000.0));
    }
}

#[test]
fn a_program_without_frame_pointers_or_symbols_is_unwound_to_its_start() {
    // Debian's own: no frame pointers, stripped.
    if !have("/usr/bin/python3") {
        return;
    }
    let dir = Dir::new("profile");
    let words = ["-c", "import json\nkept = [json.loads('{\"a\": %d}' % n) for n in range(20000)]"];
    let found = rows(&profiled(&dir, &["--interval", "16K"], Path::new("/usr/bin/python3"), &words));
    assert!(found.len() > 20, "{}", found.len());
    let is_whole = |row: &&Value| {
        let stack = stack(row);
        stack.iter().any(|call| call.contains("libc_start"))
            || stack.iter().any(|call| call.contains("the stack goes on"))
    };
    let whole = found.iter().filter(is_whole).count();
    assert!(
        whole * 10 >= found.len() * 9,
        "{whole} of {}: {:#?}",
        found.len(),
        found.iter().find(|row| !is_whole(row))
    );
}

#[test]
fn a_running_process_is_profiled_for_a_while_and_left_as_it_was() {
    let dir = Dir::new("profile");
    let source = "tests/profile/serves.c";
    let program = compile(source, Door::Preload, &[]);
    let held = Held::start(&mut on_heapglass(&program, Door::Preload));
    let file = dir.path().join("attached");
    let pid = held.pid().to_string();
    let stack_of = [at(source, "request", "/* request */"), at(source, "serve", "/* serve */")];
    let stack_of: Vec<&str> = stack_of.iter().map(String::as_str).collect();
    // Twice: the first leaves nothing behind that keeps the second out.
    for interval in ["1", "512K"] {
        let words = ["profile", "-q", "--interval", interval, "--duration", "0.7", "-p", &pid, "-o"];
        run(heapglass().args(words).arg(&file)).ok();
        let found = rows(&file);
        assert!(sum(&found, &stack_of, "total").0 > 0.0, "{interval}: {found:?}");
        assert!(sum(&found, &stack_of, "in_use").0 < 10_000.0, "{interval}: {found:?}");
        // What it was told in is gone again.
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        assert!(!maps.contains("heapglass-events"), "{maps}");
    }
    held.let_go();
}

#[test]
fn every_form_is_written() {
    let dir = Dir::new("profile");
    let program = compile(C, Door::Preload, &[]);
    let file = profiled(&dir, &["--interval", "1"], &program, &[]);
    let export = |form: &str| {
        let out = dir.path().join(form);
        run(heapglass().arg("export").arg(&file).args(["--to", form, "--by", "peak", "-o"]).arg(&out)).ok();
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600, "it is its owner's alone");
        std::fs::read(out).unwrap()
    };
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "so is this");
    let folded = String::from_utf8(export("folded")).unwrap();
    assert!(folded.lines().any(|line| line.ends_with("main;large_and_freed;inlined 8388608")), "{folded}");
    let svg = String::from_utf8(export("flamegraph")).unwrap();
    assert!(svg.starts_with("<?xml") && svg.contains("large_and_freed: 8.0 MiB"), "{svg}");
    for form in ["speedscope", "dhat", "chrome"] {
        let json: Value = serde_json::from_slice(&export(form)).unwrap();
        assert!(json.to_string().contains("large_and_freed"), "{form}");
    }
    assert!(export("csv").starts_with(b"thread,arena,bytes"));
    assert!(export("perfetto").windows(15).any(|bytes| bytes == b"large_and_freed"));
    assert!(export("pprof").starts_with(&[0x1f, 0x8b]));
    if have("xmllint") {
        run(Command::new("xmllint").arg("--noout").arg(dir.path().join("flamegraph"))).ok();
    }
    export("heaptrack");
}

#[test]
fn two_profiles_are_compared_and_names_come_later() {
    let dir = Dir::new("profile");
    let program = compile(C, Door::Preload, &[]);
    let small = dir.path().join("small");
    let words = ["profile", "-q", "--no-names", "--interval", "1", "-o"];
    run(heapglass().args(words).arg(&small).arg("--").arg(&program).arg("plain")).ok();
    let nameless = rows(&small);
    assert!(nameless.iter().all(|row| stack(row).iter().all(|call| !call.contains("main"))), "{nameless:?}");
    run(heapglass().arg("symbolize").arg(&small)).ok();
    let kept = at(C, "small_and_kept", "/* kept */");
    assert_eq!(sum(&rows(&small), &[&kept], "in_use"), (1000.0, 100_000.0));

    let same = run(heapglass().arg("diff").arg(&small).arg(&small)).ok();
    assert!(same.out.contains("peak                 0 B"), "{}", same.out);
    let other = dir.path().join("other");
    run(heapglass().args(["profile", "-q", "--interval", "1", "-o"]).arg(&other).args(["--", "true"])).ok();
    let more = run(heapglass().args(["diff", "--by", "in-use"]).arg(&other).arg(&small)).ok();
    assert!(more.out.contains("small_and_kept sites.c:"), "{}", more.out);
}

#[test]
fn what_is_no_profile_is_refused() {
    let dir = Dir::new("profile");
    let file = dir.file("nonsense", b"nonsense", 0o644);
    let ran = run(heapglass().arg("show").arg(&file));
    assert!(ran.code == Some(125) && ran.err.contains("not a profile of Heapglass's"), "{ran:?}");
    let ran = run(heapglass().args(["profile", "-o", "/no/such/place", "--", "true"]));
    assert!(ran.code == Some(125) && ran.err.contains("/no/such/place"), "{ran:?}");
    let ran = run(heapglass().args(["profile", "--interval", "0", "--", "true"]));
    assert!(ran.code == Some(125) && ran.err.contains("no number of bytes above 0"), "{ran:?}");
}

/// A plain GET; the body's bytes.
fn get(place: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    answer.split_off(end + 4)
}

#[test]
fn continuous_profilers_find_what_they_scrape() {
    let dir = Dir::new("profile");
    let program = compile("tests/profile/serves.c", Door::Preload, &[]);
    let held = Held::start(&mut on_heapglass(&program, Door::Preload));
    let pid = held.pid().to_string();
    let mut server = heapglass().args(["serve", "-P", "0", &pid]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let place = first.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().to_owned();
    let token = lines.next().unwrap().rsplit_once("token=").unwrap().1.to_owned();
    let refused = String::from_utf8(get(&place, "/debug/pprof/heap")).unwrap();
    assert!(refused.contains("needs the token"), "{refused}");
    let deadline = Instant::now() + Duration::from_secs(60);
    let file = dir.path().join("heap.gz");
    loop {
        std::fs::write(&file, get(&place, &format!("/debug/pprof/heap?token={token}"))).unwrap();
        let plain = Command::new("gzip").arg("-dc").arg(&file).output().unwrap().stdout;
        if plain.windows(7).any(|bytes| bytes == b"request") {
            break;
        }
        assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&plain));
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = server.kill();
    let _ = server.wait();
    held.let_go();
}
