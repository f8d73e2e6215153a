//! redis-server under redis-benchmark, and nginx under wrk.

use crate::server::{Server, answers_at, children, free_port, in_use};
use crate::tools::noise;
use crate::trial::{LIMIT, Trial, good};
use heapglass_tests::{have, run_within};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection that speaks the protocol of redis.
struct Redis(BufReader<TcpStream>);

impl Redis {
    fn at(port: u16) -> Redis {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Redis(BufReader::new(stream))
    }

    /// Sends a command and returns its answer: the text of a line, the content of a string, `nil`.
    fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut message = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            message.extend(format!("${}\r\n", word.len()).bytes());
            message.extend_from_slice(word);
            message.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&message).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        if kind != "$" {
            assert_ne!(kind, "-", "{line}");
            return rest.as_bytes().to_vec();
        }
        let Ok(length) = rest.parse::<usize>() else { return b"nil".to_vec() };
        let mut content = vec![0; length + 2];
        self.0.read_exact(&mut content).unwrap();
        content.truncate(length);
        content
    }

    fn text(&mut self, words: &str) -> String {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        String::from_utf8(self.ask(&words)).unwrap()
    }

    fn used_memory(&mut self) -> u64 {
        let info = self.text("INFO memory");
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.unwrap_or_else(|| panic!("{info}")).parse().unwrap()
    }
}

/// Sets, overwrites with other sizes, deletes every third, and reads all back.
fn set_and_get(redis: &mut Redis) {
    const KEYS: usize = 4000;
    let value = |n: usize, round: usize| noise((n * 7 + round * 1009) % 3000, (n + round + 1) as u64);
    let empty = redis.used_memory();
    for round in 0..3 {
        for n in 0..KEYS {
            assert_eq!(redis.ask(&[b"SET", format!("key:{n}").as_bytes(), &value(n, round)]), b"OK");
        }
    }
    let bytes: usize = (0..KEYS).map(|n| value(n, 2).len()).sum();
    let full = redis.used_memory();
    // redis adds up what malloc_usable_size says of each of its blocks.
    assert!(
        full - empty > bytes as u64 && full - empty < 2 * bytes as u64 + 1_000_000,
        "{empty} to {full} for {bytes}"
    );
    for n in (0..KEYS).step_by(3) {
        assert_eq!(redis.ask(&[b"DEL", format!("key:{n}").as_bytes()]), b"1");
    }
    for n in 0..KEYS {
        let expected = if n % 3 == 0 { b"nil".to_vec() } else { value(n, 2) };
        assert_eq!(redis.ask(&[b"GET", format!("key:{n}").as_bytes()]), expected, "key {n}");
    }
    assert_eq!(redis.text("DBSIZE"), (KEYS - KEYS.div_ceil(3)).to_string());
    assert_eq!(redis.text("FLUSHALL SYNC"), "OK");
    let again = redis.used_memory();
    assert!(again < empty + 1_000_000, "{empty} before, {again} after all keys were dropped");
}

#[test]
fn redis() {
    if !have("redis-server") || !have("redis-benchmark") {
        return;
    }
    let trial = Trial::new("redis");
    let port = free_port().to_string();
    let number: u16 = port.parse().unwrap();
    let mut command = trial.on("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.args(["--dir", trial.dir().to_str().unwrap()]);
    let mut server = Server::start(&mut command, trial.path("log"));
    server.wait_for(|| answers_at(number));
    assert!(in_use(server.pid(), trial.library()));

    let mut redis = Redis::at(number);
    set_and_get(&mut redis);

    let mut bench = trial.on("redis-benchmark");
    bench.args(["-p", &port, "-n", "20000", "-c", "20", "-P", "4", "-r", "2000", "-d", "100", "--csv"]);
    bench.args(["-t", "set,get,incr,lpush,rpop,sadd,hset,spop,zadd,lrange_100,mset"]);
    let bench = good(&mut bench);
    // The header, and a line for each test; lrange fills its list first.
    assert!(bench.out.lines().count() >= 12 && !bench.out.contains("nan"), "{bench:#?}");

    // The incremented keys are counters whose sum is the number of increments.
    let sum =
        "local s = 0 for _, k in ipairs(redis.call('keys', 'counter:*')) do s = s + redis.call('get', k) end return s";
    assert_eq!(redis.ask(&[b"EVAL", sum.as_bytes(), b"0"]), b"20000");
    assert!(redis.text("DBSIZE").parse::<u32>().unwrap() > 2000);
    assert!(!redis.text("MEMORY DOCTOR").is_empty());
    assert!(redis.text("INFO server").contains(&format!("process_id:{}\r\n", server.pid())));
    assert_eq!(redis.text("FLUSHALL"), "OK");
    assert_eq!(redis.text("DBSIZE"), "0");
    redis.0.get_mut().write_all(b"SHUTDOWN NOSAVE\r\n").unwrap();
    server.ends();
    trial.proved(&["redis*", "redis-benchmark"]);
}

/// One request by hand: the head of the answer and its body.
fn fetch(port: u16, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

fn nginx_config(trial: &Trial, port: u16) -> String {
    // As root the workers would become a user who may not read the directory; otherwise the line only warns.
    let user = if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        "user root;"
    } else {
        ""
    };
    let (dir, tmp) = (trial.dir().display(), trial.tmp().display());
    let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {tmp}/{kind};\n"))
        .concat();
    format!(
        "{user} daemon off; master_process on; worker_processes 2; pid {dir}/pid; error_log {dir}/errors notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{ {temps} access_log {dir}/access; gzip_types *; gzip_min_length 1;\n\
         server {{ listen 127.0.0.1:{port}; root {dir}/html;\n\
         location /zip/ {{ alias {dir}/html/; gzip on; }}\n\
         location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_buffers 4 4k; }} }} }}\n"
    )
}

#[test]
fn nginx() {
    if !have("nginx") || !have("wrk") {
        return;
    }
    let trial = Trial::new("nginx");
    let port = free_port();
    let small = b"a small page\n".to_vec();
    let large = noise(300_000, 5);
    trial.put("html/small", &small);
    trial.put("html/large", &large);
    let config = trial.put("nginx.conf", nginx_config(&trial, port));
    let mut command = trial.on("nginx");
    command.args(["-p", trial.dir().to_str().unwrap(), "-c", config.to_str().unwrap(), "-e", "errors"]);
    let mut server = Server::start(&mut command, trial.path("log"));
    let master = server.pid();
    server.wait_for(|| answers_at(port) && children(master).len() == 2);
    let workers = children(master);
    for pid in [master, workers[0], workers[1]] {
        assert!(in_use(pid, trial.library()));
    }

    for path in ["/small", "/zip/small", "/proxy/large"] {
        let url = format!("http://127.0.0.1:{port}{path}");
        let mut wrk = trial.on("wrk");
        // By itself it calls an answer an error that took two seconds, which a busy machine may.
        let patience = ["--timeout", "60s"];
        wrk.args(["-t", "2", "-c", "16", "-d", "2s", "-H", "Accept-Encoding: gzip", &url]).args(patience);
        let ran = run_within(&mut wrk, LIMIT).ok();
        assert!(!ran.out.contains("Non-2xx") && !ran.out.contains("Socket errors"), "{ran:#?}");
        let requests = ran.out.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<u64>().ok());
        assert!(requests.is_some_and(|n| n > 16), "{ran:#?}");
    }
    for (path, body) in [("/small", &small), ("/large", &large), ("/proxy/small", &small), ("/zip/large", &large)] {
        let (head, got) = fetch(port, path, "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(got == *body, "{path}: {} bytes, expected {}", got.len(), body.len());
    }
    let (head, _) = fetch(port, "/zip/small", "Accept-Encoding: gzip\r\n");
    assert!(head.contains("Content-Encoding: gzip"), "{head}");
    assert!(fetch(port, "/missing", "").0.starts_with("HTTP/1.1 404 "));

    assert_eq!(children(master), workers, "a worker was replaced");
    server.ends_by("QUIT");
    let errors = String::from_utf8(trial.get("errors")).unwrap();
    assert!(
        !errors.contains("[alert]") && !errors.contains("heapglass: ") && !errors.contains("on signal"),
        "{errors}"
    );
    trial.proved(&["nginx", "wrk"]);
}
