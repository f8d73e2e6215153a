//! The examples do on Heapglass what their comments say.

use heapglass_tests::built;
use heapglass_tests::{DOORS, Door, Ran, compile, on_heapglass, root, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const SIGABRT: i32 = 6;

#[track_caller]
fn example(name: &str, door: Door) -> Ran {
    run(&mut on_heapglass(compile(&format!("examples/c/{name}.c"), door, &[]), door))
}

/// The number that stands alone in the line that begins with `label`.
#[track_caller]
fn figure(ran: &Ran, label: &str) -> i64 {
    let line = ran.out.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("no `{label}`: {ran:#?}"));
    let mut numbers = line[label.len()..].split_whitespace().filter_map(|word| word.parse().ok());
    let number = numbers.next().unwrap_or_else(|| panic!("no number: {line}"));
    assert_eq!(numbers.next(), None, "more than one number: {line}");
    number
}

#[test]
fn first_shows_the_two_ways_to_the_kernel() {
    for door in DOORS {
        let ran = example("first", door).ok();
        assert!(ran.out.contains("malloc(32)      in the heap: yes\n"), "{ran:#?}");
        assert_eq!(figure(&ran, "malloc(128) "), 48, "{ran:#?}");
        assert!(ran.out.contains("malloc(262144)  in the heap: no, 16 bytes past the start of a page\n"), "{ran:#?}");
        let mut moves = ran.out.lines().filter(|line| line.starts_with("the break"));
        let (small, large) = (moves.next().unwrap(), moves.next().unwrap());
        assert!(small.contains("moved by 135168 bytes"), "{ran:#?}");
        assert!(large.contains("moved by 0 bytes"), "{ran:#?}");
        assert!(ran.out.contains("its mapping was there: yes, is still there: no\n"), "{ran:#?}");
    }
}

#[test]
fn reverse_grows_the_break_and_gives_it_back() {
    const SMALL: i64 = 10_000 * 208;
    const LARGE: i64 = 100 * 100_016;
    /// Top pad, trim threshold and what caches keep: far less than what was freed.
    const SLACK: i64 = 1 << 20;
    for (door, classic) in DOORS.into_iter().flat_map(|door| [(door, false), (door, true)]) {
        let mut command = on_heapglass(compile("examples/c/reverse.c", door, &[]), door);
        if classic {
            command.env("HEAPGLASS", "tcache:0");
        }
        let ran = run(&mut command).ok();
        assert_eq!(figure(&ran, "break at the start"), 0);
        let small = figure(&ran, "after 10,000 of 200 bytes");
        let large = figure(&ran, "after 100 of 100,000 bytes");
        let without_large = figure(&ran, "after freeing the large");
        let without_small = figure(&ran, "after freeing the small");
        let trimmed = figure(&ran, "after malloc_trim");
        assert!((SMALL..SMALL + SLACK).contains(&small), "{ran:#?}");
        assert!((SMALL + LARGE..SMALL + LARGE + SLACK).contains(&large), "{ran:#?}");
        assert!((SMALL..SMALL + SLACK).contains(&without_large), "{ran:#?}");
        assert!((0..=without_large).contains(&without_small), "{ran:#?}");
        assert!((0..=without_small.min(SLACK / 4)).contains(&trimmed), "{ran:#?}");
        // With no cache between, each free is already all that a trim could do, but for the top pad.
        assert!(!classic || without_small < SLACK / 4, "{ran:#?}");
    }
}

#[test]
fn double_free_is_stopped_where_it_happens() {
    for door in DOORS {
        let ran = example("double_free", door);
        assert_eq!(ran.signal, Some(SIGABRT), "{ran:#?}");
        assert_eq!(ran.out, "freed once\n");
        assert_eq!(ran.err.lines().count(), 1, "{ran:#?}");
        assert!(ran.err.starts_with("heapglass: ") && ran.err.contains("double free"), "{ran:#?}");
    }
}

#[test]
fn rust_vec_grows_without_moving_each_time() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["run", "--quiet", "--release", "-p", "rust-vec"]);
    let ran = run(&mut cargo).ok();
    assert!(ran.out.starts_with("10000000 numbers, sum 49999995000000\n"), "{ran:#?}");
    let (grown, moved) = ran.out.trim_end().rsplit_once("grown ").unwrap().1.split_once(" times, ").unwrap();
    let grown: u32 = grown.parse().unwrap();
    let moved: u32 = moved.strip_prefix("address changed ").unwrap().strip_suffix(" times").unwrap().parse().unwrap();
    // 4 elements first, then doubled up to ten million.
    assert_eq!(grown, 23, "{ran:#?}");
    // Below the mmap threshold there are a dozen growths, and nothing in between to block the way into the top.
    assert!(grown - moved >= 8, "{ran:#?}");
}

/// A plain GET; the head and the body's bytes.
fn get(place: &str, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(place).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

#[test]
fn the_web_server_tells_who_holds_its_memory() {
    let words = ["build", "--quiet", "--release", "--package", "rust-axum"];
    run(Command::new(env!("CARGO")).current_dir(root()).args(words)).ok();
    // Tracers find the heap's probes in the program itself. A note of what the linker left out would lead nowhere.
    let notes = run(Command::new("readelf").arg("-n").arg(built("rust-axum"))).ok().out;
    let places = notes.lines().filter_map(|line| line.trim().strip_prefix("Location: 0x")?.split(',').next());
    let places: Vec<u64> = places.map(|place| u64::from_str_radix(place, 16).unwrap()).collect();
    assert!(places.len() >= 15 && places.iter().all(|place| *place > 0x1000), "{places:x?}");
    let mut server = Command::new(built("rust-axum")).arg("0").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let place = line.trim_end().strip_prefix("http://").unwrap_or_else(|| panic!("{line}"));
    assert!(place.starts_with("127.0.0.1:"), "{place}");
    let plain = || {
        let (head, body) = get(place, "/debug/pprof/heap");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/octet-stream"), "{head}");
        let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut to = gzip.stdin.take().unwrap();
        std::thread::spawn(move || to.write_all(&body));
        gzip.wait_with_output().unwrap().stdout
    };
    let has = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    let before = plain();
    assert!(has(&before, "inuse_space") && !has(&before, "rust_axum::pieces"));
    // Forty times the interval.
    get(place, "/remember?bytes=20000000");
    let after = plain();
    assert!(has(&after, "rust_axum::pieces") && has(&after, "main.rs"), "{}", String::from_utf8_lossy(&after));
    let _ = server.kill();
    let _ = server.wait();
}
