//! Each form that `heapglass export` writes, opened by its own reader: pprof, heaptrack_print, speedscope and DHAT's page in a browser,
//! Perfetto's schema, Python's csv. What a reader says is compared with what the program did.

use heapglass_tests::browser::Browser;
use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, compile, have, root, run};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A profile of every allocation of `tests/profile/sites.c`, in a form.
fn exported(dir: &Dir, form: &str) -> PathBuf {
    let profile = dir.path().join("profile.gz");
    if !profile.exists() {
        let program = compile("tests/profile/sites.c", Door::Preload, &[]);
        let words = ["profile", "-q", "--interval", "1", "-o"];
        run(heapglass().args(words).arg(&profile).arg("--").arg(program)).ok();
    }
    let out = dir.path().join(form);
    run(heapglass().arg("export").arg(&profile).args(["--to", form, "--by", "total", "-o"]).arg(&out)).ok();
    out
}

/// What `cargo xtask test tools` fetched from the registries. Where it couldn't, the test is left out.
fn fetched(what: &str) -> Option<PathBuf> {
    let place = root().join("target/readers").join(what);
    if !place.exists() {
        eprintln!("left out: {} isn't there; `cargo xtask test tools` fetches it", place.display());
        return None;
    }
    Some(place)
}

#[track_caller]
fn pprof(dir: &Dir, file: &Path, words: &[&str]) -> String {
    let mut command = Command::new("go");
    command.args(["tool", "pprof"]).args(words).arg(file);
    run(command.env("HOME", dir.path()).env("PPROF_TMPDIR", dir.path())).ok().out
}

#[test]
fn pprof_shows_lines_labels_mappings_and_all_four_figures() {
    if !have("go") {
        return;
    }
    let dir = Dir::new("readers");
    let file = exported(&dir, "pprof");
    // Sums: eight of a mebibyte, freed; 1,000 of 100 bytes of which one was overwritten, not freed; and what else there is.
    for (index, function, figure) in [
        ("alloc_space", "inlined", "8MB"),
        ("alloc_objects", "small_and_kept", "1000"),
        ("inuse_objects", "in_thread", "1000"),
        ("inuse_space", "small_and_kept", "97.66kB"),
    ] {
        let top = pprof(&dir, &file, &["-top", "-lines", &format!("-sample_index={index}")]);
        let row = top.lines().find(|line| line.contains(function)).unwrap_or_else(|| panic!("{top}"));
        assert!(row.split_whitespace().next() == Some(figure) && row.contains("sites.c:"), "{index}: {row}\n{top}");
    }
    // What is looked at when nothing is said.
    assert!(pprof(&dir, &file, &["-top"]).contains("Type: inuse_space"));
    let raw = pprof(&dir, &file, &["-raw"]);
    let mappings: Vec<&str> = raw.lines().skip_while(|line| *line != "Mappings").skip(1).collect();
    let ran = run(Command::new("readelf").arg("-n").arg(compile("tests/profile/sites.c", Door::Preload, &[]))).ok();
    let id = ran.out.lines().find_map(|line| line.trim().strip_prefix("Build ID: ").map(str::to_owned)).unwrap();
    assert!(mappings.iter().any(|line| line.contains("sites") && line.contains(&id)), "{id}: {mappings:?}");
    for label in ["thread:[", "arena:[", "bin:[112", "bytes:[100"] {
        assert!(raw.contains(label), "{label}: {raw}");
    }
    // Narrowed to the chunks of one length, or of one arena.
    let focus = |words: &str| pprof(&dir, &file, &["-top", "-sample_index=alloc_objects", words]);
    let small = focus("-tagfocus=bytes=100b:100b");
    assert!(small.contains("small_and_kept") && !small.contains("in_thread"), "{small}");
    let chunks = focus("-tagfocus=bin=208b:208b");
    assert!(chunks.contains("in_thread") && !chunks.contains("small_and_kept"), "{chunks}");
}

#[test]
fn heaptrack_tells_of_peak_leaks_and_temporaries() {
    if !have("heaptrack_print") {
        return;
    }
    let dir = Dir::new("readers");
    let ran = run(Command::new("heaptrack_print").arg("-l").arg("1").arg(exported(&dir, "heaptrack"))).ok();
    for told in ["large_and_freed", "peak heap memory consumption: 8.49M", "small_and_kept", "sites.c:"] {
        assert!(ran.out.contains(told), "{told}: {}", ran.out);
    }
    let leaked =
        ran.out.lines().find(|line| line.starts_with("total memory leaked: ")).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(!leaked.ends_with(" 0B"), "{leaked}");
}

/// Answers to GET with the files of a directory, and with one more, on loopback until the test ends.
fn served(site: PathBuf, extra: PathBuf) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let place = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
            let file = if path == "/extra" { extra.clone() } else { site.join(path.trim_start_matches('/')) };
            let kinds = [("html", "text/html"), ("js", "text/javascript"), ("css", "text/css")];
            let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("");
            let kind =
                kinds.iter().find(|(name, _)| *name == ending).map_or("application/octet-stream", |(_, kind)| kind);
            let body = std::fs::read(&file);
            let status = if body.is_ok() { "200 OK" } else { "404 Not Found" };
            let body = body.unwrap_or_default();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&body));
        }
    });
    place
}

#[test]
fn speedscope_opens_its_own_form_and_two_others() {
    let Some(package) = fetched("speedscope/package/dist/release") else { return };
    if !have("chromium") {
        return;
    }
    let dir = Dir::new("readers");
    for form in ["speedscope", "folded", "chrome"] {
        let place = served(package.clone(), exported(&dir, form));
        let mut browser = Browser::start(1200, 800);
        browser.open(&format!("{place}/index.html#profileURL={place}/extra&title={form}"));
        // Its third view is a table of functions in plain text; the others are pictures.
        browser.wait_for("[...document.querySelectorAll('*')].some(one => one.innerText?.includes('Sandwich'))");
        browser.key("3");
        browser.wait_for("document.body.innerText.includes('small_and_kept')");
        let text = browser.text("body");
        assert!(text.contains("large_and_freed"), "{form}: {text}");
        browser.screenshot(&format!("speedscope-{form}.png"));
    }
}

#[test]
fn dhats_own_page_shows_the_tree() {
    const PAGE: &str = "/usr/libexec/valgrind/dh_view.html";
    if !have("chromium") || !have(PAGE) {
        return;
    }
    let dir = Dir::new("readers");
    let mut browser = Browser::start(1200, 800);
    browser.open(&format!("file://{PAGE}"));
    browser.wait_for("document.querySelector('input[type=file]') !== null");
    let document = browser.call("DOM.getDocument", json!({}));
    let ask = json!({ "nodeId": document["root"]["nodeId"], "selector": "input[type=file]" });
    let input = browser.call("DOM.querySelector", ask);
    let files = json!({ "nodeId": input["nodeId"], "files": [exported(&dir, "dhat")] });
    browser.call("DOM.setFileInputFiles", files);
    browser.wait_for("document.body.innerText.includes('small_and_kept')");
    let text = browser.text("body");
    // It leaves out what is few in blocks, whatever its bytes; the sums have all of it.
    assert!(text.contains("At t-gmax: 8,488,608 bytes (100%) in 1,008 blocks"), "{text}");
    assert!(text.contains("At t-end:  320,288 bytes (100%) in 2,002 blocks"), "{text}");
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("dhat.png");
}

/// Reads the trace by Perfetto's own generated schema, refuses fields that it doesn't know, and tells what is in it.
const PERFETTO: &str = r#"
import json, sys
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace
trace = Trace()
trace.ParseFromString(open(sys.argv[1], "rb").read())
again = Trace()
again.ParseFromString(trace.SerializeToString())
trace.DiscardUnknownFields()
assert trace.SerializeToString() == again.SerializeToString(), "fields that the schema doesn't know"
packets = [packet.profile_packet for packet in trace.packet if packet.HasField("profile_packet")]
(packet,) = packets
strings = {one.iid: one.str.decode() for one in packet.strings}
frames = {one.iid: strings[one.function_name_id] for one in packet.frames}
stacks = {one.iid: [frames[frame] for frame in one.frame_ids] for one in packet.callstacks}
assert all(frame.mapping_id in {one.iid for one in packet.mappings} for frame in packet.frames)
rows = [
    [stacks[sample.callstack_id], sample.self_allocated, sample.self_freed, sample.alloc_count, sample.free_count]
    for dump in packet.process_dumps for sample in dump.samples
]
print(json.dumps(rows))
"#;

#[test]
fn perfettos_schema_holds_and_has_the_figures() {
    let Some(modules) = fetched("python") else { return };
    let dir = Dir::new("readers");
    let file = exported(&dir, "perfetto");
    let ran = run(Command::new("python3").arg("-c").arg(PERFETTO).arg(&file).env("PYTHONPATH", modules)).ok();
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let sum = |function: &str| {
        let innermost =
            |row: &&Value| row[0].as_array().unwrap().last().unwrap().as_str().unwrap().starts_with(function);
        let rows = rows.iter().filter(innermost);
        rows.fold([0; 4], |sum, row| std::array::from_fn(|at| sum[at] + row[at + 1].as_u64().unwrap()))
    };
    assert_eq!(sum("small_and_kept "), [100_000, 0, 1000, 0]);
    assert_eq!(sum("inlined "), [8 << 20, 8 << 20, 8, 8]);
    assert_eq!(sum("temporary "), [64_000, 64_000, 1000, 1000]);
}

#[test]
fn a_chrome_trace_keeps_to_the_trace_event_format() {
    let dir = Dir::new("readers");
    let text = std::fs::read(exported(&dir, "chrome")).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(["ms", "ns"].contains(&trace["displayTimeUnit"].as_str().unwrap()));
    let mut spans = Vec::new();
    for event in events {
        assert!(event["pid"].is_u64() && event["tid"].is_u64() && event["name"].is_string(), "{event}");
        match event["ph"].as_str().unwrap() {
            "M" => assert!(event["args"]["name"].is_string(), "{event}"),
            "X" => {
                let (start, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
                assert!(start >= 0.0 && length >= 0.0, "{event}");
                spans.push((event["tid"].as_u64().unwrap(), start, start + length));
            }
            other => panic!("{other}: {event}"),
        }
    }
    // Spans of one thread lie within each other or apart.
    for (index, (thread, start, end)) in spans.iter().enumerate() {
        for (other, from, to) in spans.iter().skip(index + 1).filter(|(other, ..)| other == thread) {
            let (is_within, is_apart) =
                (start <= from && to <= end || from <= start && end <= to, end <= from || to <= start);
            assert!(is_within || is_apart, "{thread} {start} {end}, {other} {from} {to}");
        }
    }
    assert!(spans.len() > 10, "{}", spans.len());
}

#[test]
fn tables_are_read_by_pythons_csv() {
    let dir = Dir::new("readers");
    let script = "import csv, json, sys; print(json.dumps(list(csv.DictReader(open(sys.argv[1], newline='')))))";
    let ran = run(Command::new("python3").args(["-c", script]).arg(exported(&dir, "csv"))).ok();
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let kept = rows.iter().find(|row| row.to_string().contains("small_and_kept")).unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!((kept["bytes"].as_str(), kept["chunk_bytes"].as_str()), (Some("100"), Some("112")), "{kept}");
    assert_eq!(kept["total"].as_str().unwrap().parse::<f64>().unwrap(), 1000.0, "{kept}");
}
