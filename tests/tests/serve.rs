//! `heapglass serve`: text that is OpenMetrics to the letter, figures that are the ledger's, and who gets what.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::held::Held;
use heapglass_tests::{Door, compile, have, on_heapglass, run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn held() -> Held {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    Held::start(on_heapglass(program, Door::Preload).arg("textbook").env("HEAPGLASS", "tcache:0"))
}

struct Server {
    child: Child,
    /// Host and port.
    place: String,
    token: String,
}

impl Server {
    #[track_caller]
    fn start(words: &[&str]) -> Server {
        let mut child = heapglass().args(["serve", "-P", "0"]).args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let place = first.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().to_owned();
        let token = lines.next().unwrap().rsplit_once("token=").unwrap().1.to_owned();
        Server { child, place, token }
    }

    /// Status and body.
    #[track_caller]
    fn asked(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.place).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[track_caller]
    fn get(&self, path: &str) -> (String, String) {
        self.asked(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.place))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Samples by name and labels. Everything that the format asks for is checked on the way.
#[track_caller]
fn samples(text: &str) -> BTreeMap<String, f64> {
    let text = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
    let mut families: BTreeSet<String> = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, of] => {
                assert!(families.insert(name.to_owned()), "{name} twice");
                (family, kind) = (name.to_owned(), of.to_owned());
                assert!(["gauge", "counter"].contains(&of), "{line}");
            }
            ["#", "UNIT", name, unit] => assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}"),
            ["#", "HELP", name, help] => assert!(name == family && !help.is_empty(), "{line}"),
            _ => {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = sample.split_once('{').unwrap();
                let expected = if kind == "counter" { format!("{family}_total") } else { family.clone() };
                assert_eq!(name, expected, "{line}");
                assert!(labels.ends_with('}') && labels.contains("pid=\""), "{line}");
                let value: f64 = value.parse().unwrap();
                assert!(samples.insert(sample.to_owned(), value).is_none(), "{line} twice");
            }
        }
    }
    samples
}

#[test]
fn metrics_are_the_ledgers_figures() {
    let held = held();
    let pid = held.pid().to_string();
    let server = Server::start(&[&pid]);
    let (status, text) = server.get("/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let samples = samples(&text);
    let of = |name: &str| -> f64 {
        samples.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{"))).map(|(_, v)| v).sum()
    };
    assert!(of("heapglass_rss_bytes") > 0.0);
    assert!(
        (of("heapglass_resident_bytes") - of("heapglass_rss_bytes")).abs() <= of("heapglass_rss_bytes") / 100.0,
        "{text}"
    );
    assert!(of("heapglass_system_calls_total") >= 2.0 && of("heapglass_arena_threads") >= 1.0, "{text}");
    let ledger: Value = serde_json::from_str(&run(heapglass().args(["ledger", &pid, "--json"])).ok().out).unwrap();
    for (key, line) in ledger["lines"].as_object().unwrap() {
        let sample = samples.iter().find(|(name, _)| {
            name.starts_with("heapglass_resident_bytes") && name.contains(&format!("line=\"{key}\""))
        });
        assert_eq!(sample.unwrap().1, &(line["resident"].as_u64().unwrap() as f64), "{key}");
    }
    // By size class, what is in use, cached and free comes to what the lines say.
    let classes = |what: &str, state: &str| -> f64 {
        let state = format!("state=\"{state}\"");
        let is_it = |name: &str| name.starts_with(&format!("heapglass_class_{what}{{")) && name.contains(&state);
        samples.iter().filter(|(name, _)| is_it(name)).map(|(_, value)| value).sum()
    };
    let line = |key: &str, of: &str| ledger["lines"][key][of].as_u64().unwrap() as f64;
    let in_use = |of: &str| ["requested", "rounding", "in_use"].iter().map(|key| line(key, of)).sum::<f64>();
    assert_eq!(classes("chunks", "in_use"), in_use("chunks"));
    assert_eq!(classes("bytes", "in_use"), in_use("bytes") + 8.0 * in_use("chunks"));
    let requests = |name: &str, known: &str| {
        let is_it = |sample: &str| sample.starts_with(name) && sample.contains(&format!("known=\"{known}\""));
        samples.iter().find(|(sample, _)| is_it(sample)).map(|(_, value)| *value).unwrap()
    };
    assert_eq!(requests("heapglass_request_chunks", "estimated"), line("requested", "chunks"), "{text}");
    assert_eq!(requests("heapglass_request_rounding_bytes", "estimated"), line("rounding", "bytes"), "{text}");
    assert_eq!(requests("heapglass_request_chunks", "exact") + requests("heapglass_request_chunks", "unseen"), 0.0);
    assert_eq!(of("heapglass_request_calls"), ledger["requests"]["calls"].as_u64().unwrap() as f64);
    let free = ["unsorted_bin", "small_bins", "large_bins", "top"];
    for (of, what) in [("chunks", "chunks"), ("bytes", "bytes")] {
        assert_eq!(classes(what, "free"), free.iter().map(|key| line(key, of)).sum::<f64>(), "{what}");
    }
    let small =
        samples.iter().find(|(name, _)| name.starts_with("heapglass_class_chunks") && name.contains("class=\"608\""));
    assert_eq!(small.map(|(_, chunks)| *chunks), Some(1.0), "{text}");
    let (status, stats) = server.get(&format!("/stats.json?token={}", server.token));
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(stats[0]["lines"], ledger["lines"]);
    assert_eq!(stats[0]["lock_waits"].as_u64().unwrap() as f64, of("heapglass_lock_waits_total"));
    assert!(stats[0]["system_calls"]["brk"].as_u64().unwrap() >= 1 && stats[0]["operations"].is_null());
    let (_, map) = server.get(&format!("/map.json?chunks=1&token={}", server.token));
    let map: Value = serde_json::from_str(&map).unwrap();
    assert!(map["chunks"].as_array().unwrap().len() > 10);
}

#[test]
fn calls_are_told_where_they_are_counted() {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    let dir = Dir::new("counting");
    let page = dir.file("page", &[0; 4096], 0o600);
    let held = Held::start(
        on_heapglass(program, Door::Preload)
            .arg("caches")
            .env("HEAPGLASS", format!("guard:0,stats:{}", page.display())),
    );
    let server = Server::start(&[&held.pid().to_string()]);
    let samples = samples(&server.get("/metrics").1);
    let calls = samples
        .iter()
        .find(|(name, _)| name.starts_with("heapglass_operations_total") && name.contains("\"malloc\""))
        .unwrap();
    assert!(*calls.1 >= 17_000.0, "{calls:?}");
}

#[test]
fn what_tells_addresses_needs_the_token_and_a_loopback_name() {
    let held = held();
    let server = Server::start(&[&held.pid().to_string()]);
    for path in ["/stats.json", "/map.json", "/stats.json?token=", "/map.json?token=00"] {
        assert_eq!(server.get(path).0, "HTTP/1.1 403 Forbidden", "{path}");
    }
    let elsewhere = server.asked("GET /metrics HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(elsewhere.0, "HTTP/1.1 403 Forbidden");
    assert_eq!(server.asked("POST /metrics HTTP/1.1\r\n\r\n").0, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(server.get("/").0, "HTTP/1.1 404 Not Found");
    let (status, body) = server.asked("HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    let other = format!("/map.json?pid=1&token={}", server.token);
    assert_eq!(server.get(&other).0, "HTTP/1.1 404 Not Found");
    // Whoever says nothing, or no sense, is let go; the others are still served.
    for noise in [&b""[..], b"\r\n\r\n", b"\xff\xfe\r\n\r\n", &[b'x'; 40_000]] {
        let mut stream = TcpStream::connect(&server.place).unwrap();
        let _ = stream.write_all(noise);
    }
    assert_eq!(server.get("/metrics").0, "HTTP/1.1 200 OK");
}

#[test]
fn a_process_that_ends_is_no_longer_served() {
    let (one, two) = (held(), held());
    let server = Server::start(&[&one.pid().to_string(), &two.pid().to_string()]);
    let pids = |text: &str| -> BTreeSet<String> {
        let samples = samples(text);
        samples.keys().map(|name| name.split("pid=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
    };
    assert_eq!(pids(&server.get("/metrics").1).len(), 2);
    let gone = one.pid().to_string();
    one.let_go();
    assert_eq!(pids(&server.get("/metrics").1), BTreeSet::from([two.pid().to_string()]));
    let all = Server::start(&["--all"]);
    let there = pids(&all.get("/metrics").1);
    assert!(there.contains(&two.pid().to_string()) && !there.contains(&gone), "{there:?}");
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = run(heapglass().args(["serve", "--all", "-P", &port]));
    assert!(ran.code == Some(125) && ran.err.contains(&format!("127.0.0.1:{port} is taken")), "{ran:#?}");
    let ran = run(heapglass().args(["serve", "4194304"]));
    assert!(ran.code == Some(125) && ran.err.contains("there is no process 4194304"), "{ran:#?}");
}

/// The checker that comes with Prometheus knows the older form, which who asks for it gets.
#[test]
fn promtool_finds_nothing_to_complain_of() {
    if !have("promtool") {
        return;
    }
    let held = held();
    let server = Server::start(&[&held.pid().to_string()]);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: text/plain\r\n\r\n", server.place);
    let (_, text) = server.asked(&request);
    assert!(text.contains("# TYPE heapglass_system_calls_total counter\n"), "{text}");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// The real one, from the distribution's package.
#[test]
fn prometheus_scrapes_it() {
    if !have("prometheus") {
        return;
    }
    let held = held();
    let server = Server::start(&[&held.pid().to_string()]);
    let dir = Dir::new("prometheus");
    let settings = format!(
        "scrape_configs:\n- job_name: heapglass\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{}']\n",
        server.place
    );
    let file = dir.file("prometheus.yml", settings.as_bytes(), 0o644);
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("127.0.0.1:{port}");
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", file.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    prometheus.arg(format!("--web.listen-address={place}"));
    let mut child = prometheus.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let scraped = |query: &str| -> Option<String> {
        let mut stream = TcpStream::connect(&place).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: {place}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let all: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Some(all["data"]["result"][0]["value"][1].as_str()?.to_owned())
    };
    let began = Instant::now();
    let mut figures = None;
    while figures.is_none() && began.elapsed() < Duration::from_secs(120) {
        figures = scraped("heapglass_rss_bytes").zip(scraped("sum(heapglass_resident_bytes)"));
        std::thread::yield_now();
    }
    let calls = scraped("sum(heapglass_system_calls_total)");
    let _ = child.kill();
    child.wait().unwrap();
    let (rss, sum) = figures.expect("Prometheus scraped nothing");
    let (rss, sum): (f64, f64) = (rss.parse().unwrap(), sum.parse().unwrap());
    assert!(rss > 0.0 && (rss - sum).abs() <= rss / 100.0, "{rss} {sum}");
    assert!(calls.is_some_and(|calls| calls.parse::<f64>().unwrap() >= 2.0));
}
