//! Heaps of three chunks, of ten million, of ten gigabytes of addresses, of two hundred arenas: in the commands, and on the page in a
//! real browser. How long each took is printed (`--nocapture` shows it) and decides nothing.

use heapglass_tests::browser::Browser;
use heapglass_tests::cli::heapglass;
use heapglass_tests::held::Held;
use heapglass_tests::{Door, compile, have, on_heapglass, run};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn many(count: u64, bytes: u64, freed: u64) -> Held {
    let program = compile("tests/inspect/many.c", Door::Preload, &[]);
    let words = [count, bytes, freed].map(|number| number.to_string());
    Held::start(on_heapglass(program, Door::Preload).args(words).env("HEAPGLASS", "guard:0"))
}

/// Address space that a command may have: it keeps no chunk, so this doesn't depend on how many there are.
const ROOM_KIB: u64 = 160_000;

/// What a command says, when it has no more room than that.
#[track_caller]
fn bounded(words: &[&str]) -> String {
    let heapglass = heapglass();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {ROOM_KIB}; exec \"$0\" \"$@\"")]).arg(heapglass.get_program()).args(words);
    let began = Instant::now();
    let said = run(&mut shell).ok().out;
    eprintln!("{}: {:.2} s", words.join(" "), began.elapsed().as_secs_f64());
    said
}

#[track_caller]
fn adds_up(pid: &str) -> Value {
    let all: Value = serde_json::from_str(&bounded(&["ledger", pid, "--json"])).unwrap();
    let (sum, rss) = (all["sum"].as_u64().unwrap(), all["rss"].as_u64().unwrap());
    assert!(sum.abs_diff(rss) * 100 <= rss && all["damages"] == json!([]), "{all}");
    all
}

#[test]
fn ten_million_chunks_are_read_in_bounded_memory() {
    let held = many(10_000_000, 24, 0);
    let pid = held.pid().to_string();
    let all: Value = serde_json::from_str(&bounded(&["map", &pid, "--json"])).unwrap();
    assert_eq!(all["steady"], true);
    assert!((10_000_000..10_000_100).contains(&all["chunk_count"].as_u64().unwrap()), "{}", all["chunk_count"]);
    assert!(adds_up(&pid)["lines"]["requested"]["chunks"].as_u64().unwrap() >= 10_000_000);
    held.let_go();
}

#[test]
fn ten_gigabytes_are_read() {
    // Of each chunk a page or two are touched, as a program does that has reserved more than it needs.
    let held = many(163_840, 65_520, 0);
    let pid = held.pid().to_string();
    let all: Value = serde_json::from_str(&bounded(&["map", &pid, "--json"])).unwrap();
    let bytes: u64 = all["heaps"]
        .as_array()
        .unwrap()
        .iter()
        .fold(0, |sum, heap| sum + heap["end"].as_u64().unwrap() - heap["start"].as_u64().unwrap());
    assert!(bytes >= 10 << 30, "{bytes}");
    let told = adds_up(&pid);
    let of = |line: &str| told["lines"][line]["bytes"].as_u64().unwrap();
    assert!(of("requested") + of("rounding") + of("headers") >= 10 << 30, "{told}");
    held.let_go();
}

#[test]
fn three_chunks_are_drawn() {
    let held = many(1, 24, 0);
    let pid = held.pid().to_string();
    let all: Value = serde_json::from_str(&bounded(&["map", &pid, "--json", "--chunks"])).unwrap();
    let chunks = all["chunks"].as_array().unwrap();
    assert!(chunks.len() <= 3 && chunks.iter().any(|chunk| chunk[1] == 32 && chunk[2] == "U"), "{all}");
    assert!(adds_up(&pid)["lines"]["requested"]["chunks"].as_u64().unwrap() >= 1);
    assert!(bounded(&["map", &pid]).contains(&format!(", {} chunks;", chunks.len())));
    if have("chromium") {
        let page = Page::of(&pid);
        let (mut browser, _page) = page.shown();
        assert_eq!(browser.value("heapglass.heap.head.chunk_count"), json!(chunks.len()));
        assert_eq!(browser.complaints, Vec::<String>::new());
    }
    held.let_go();
}

struct Page {
    child: Child,
    address: String,
}

impl Page {
    #[track_caller]
    fn of(pid: &str) -> Page {
        let mut command = heapglass();
        command.args(["watch", "-n", pid]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        Page { child, address }
    }

    /// A browser on it, with a first picture.
    fn shown(self) -> (Browser, Page) {
        let mut browser = Browser::start(1500, 1100);
        browser.open(&self.address);
        browser.wait_for("document.querySelectorAll('#ledger-rows tr').length > 3");
        (browser, self)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_hundred_arenas_are_told_one_by_one() {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    let settings = "arena_max:300,guard:0";
    let held = Held::start(on_heapglass(program, Door::Preload).arg("arenas").env("HEAPGLASS", settings));
    let pid = held.pid().to_string();
    let all = adds_up(&pid);
    assert_eq!(all["arenas"].as_array().unwrap().len(), 201);
    assert!(bounded(&["map", &pid]).contains("201 arenas"));
    assert!(bounded(&["map", &pid, "--arena", "200"]).contains("arena 200, 1 thread"));
    if have("chromium") {
        let (mut browser, _page) = Page::of(&pid).shown();
        assert_eq!(browser.value("document.querySelectorAll('#arena-rows tr').length"), json!(202));
        browser.click("#arena-rows tr:nth-child(150) button");
        browser.wait_for("document.querySelectorAll('#arena-rows tr')[149].getAttribute('aria-current') === 'true'");
        browser.screenshot("arenas.png");
        assert_eq!(browser.complaints, Vec::<String>::new());
    }
    held.let_go();
}

/// Scrolls and zooms by turns, a step for each frame: how many there were, in how many milliseconds, and how long each was drawn.
const MOVE: &str = r"(async () => {
    const over = document.querySelector('#overlay');
    const frames = 240;
    heapglass.drawn.length = 0;
    const began = performance.now();
    for (let frame = 0; frame < frames; frame += 1) {
        const isZoom = frame % 20 === 0;
        const way = Math.floor(frame / 60) % 2 === 0 ? 1 : -1;
        over.dispatchEvent(new WheelEvent('wheel', {
            deltaY: isZoom ? -way : 60 * way, ctrlKey: isZoom, bubbles: true, cancelable: true,
        }));
        await new Promise(requestAnimationFrame);
    }
    const took = performance.now() - began;
    const drawn = [...heapglass.drawn].sort((one, other) => one - other);
    return [frames, took, drawn.length, drawn[drawn.length >> 1], drawn[drawn.length - 1]];
})()";

#[test]
fn a_million_chunks_are_drawn_on_the_page_at_every_zoom() {
    if !have("chromium") {
        return;
    }
    let held = many(1_250_000, 40, 5);
    let pid = held.pid().to_string();
    let map: Value = serde_json::from_str(&bounded(&["map", &pid, "--json"])).unwrap();
    let (mut browser, _page) = Page::of(&pid).shown();
    let chunks = browser.value("heapglass.heap.head.chunk_count").as_u64().unwrap();
    assert_eq!(json!(chunks), map["chunk_count"]);
    assert!(chunks > 1_000_000, "{chunks}");
    let moved = browser.value(MOVE);
    let of = |index: usize| moved[index].as_f64().unwrap();
    eprintln!(
        "{chunks} chunks: {:.0} frames a second; a frame takes {:.1} ms to draw, the longest {:.1} ms",
        of(0) * 1000.0 / of(1),
        of(3),
        of(4)
    );
    // Each step was drawn, but for those that came to the same picture.
    assert!(of(2) >= of(0) / 2.0, "{moved}");
    browser.screenshot("million.png");
    // From the cursor to the next chunk by a key, among a million.
    browser.value("document.querySelector('#map').focus()");
    browser.key("n");
    browser.wait_for("document.querySelector('#under').innerText.startsWith('0x')");
    assert_eq!(browser.complaints, Vec::<String>::new());
    held.let_go();
}
