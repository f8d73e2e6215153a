//! `heapglass watch --recording` and `heapglass view`: going back on the page, marks, core files; what pins memory, and what several
//! states make of one point of the map.

use heapglass_tests::browser::Browser;
use heapglass_tests::cli::{Dir, heapglass, is_root, run_as_nobody};
use heapglass_tests::held::Held;
use heapglass_tests::watched::{HEIGHT, WIDTH, Watch, number, shown, shown_with, told};
use heapglass_tests::{Door, compile, have, on_heapglass, run};
use serde_json::json;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

fn held(source: &str) -> Held {
    let program = compile(source, Door::Preload, &[]);
    Held::start(on_heapglass(program, Door::Preload).env("HEAPGLASS", "guard:0"))
}

/// The cells of a row of the table of pins.
#[track_caller]
fn row(browser: &mut Browser, size: u64) -> Vec<String> {
    let cells = browser.value(&format!(
        "[...document.querySelector('#pin-rows tr[data-size=\"{size}\"][data-cached=false]').cells].map(cell => cell.innerText)"
    ));
    cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn show_pins(browser: &mut Browser, size: u64) -> String {
    // Not by the mouse: on a page that goes on, rows come and go under it.
    browser.value(&format!(
        "document.querySelector('#pin-rows tr[data-size=\"{size}\"][data-cached=false] button').click()"
    ));
    browser.wait_for("document.querySelector('#said').innerText.includes('on the map')");
    browser.text("#said")
}

#[test]
fn what_pins_memory_is_in_a_table_and_a_click_shows_it_on_the_map() {
    if !have("chromium") {
        return;
    }
    let held = held("tests/inspect/pinned.c");
    let pid = held.pid().to_string();
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    let ledger = told(&["ledger", &pid, "--json"]);
    let pins = ledger["pins"].as_array().unwrap();
    let shown = pins.len().min(30);
    browser.wait_for(&format!("document.querySelectorAll('#pin-rows tr').length === {shown}"));
    let pin = pins.iter().find(|pin| pin["size"] == 208 && pin["cached"] == false).unwrap();
    let cells = row(&mut browser, 208);
    assert_eq!((cells[0].as_str(), cells[1].as_str()), ("208 bytes", "in use"));
    assert_eq!((json!(number(&cells[2])), json!(number(&cells[3]))), (pin["chunks"].clone(), pin["pages"].clone()));
    let said = show_pins(&mut browser, 208);
    let count = pin["chunks"].as_u64().unwrap();
    assert!(count > 2000 && said.starts_with("208 bytes: ") && said.contains(" chunks on the map"), "{said}");
    // Each is a chunk in use of that size.
    let places =
        browser.value("fetch('pins?size=208&cached=false').then(told => told.json()).then(told => told.places)");
    let places = places.as_array().unwrap();
    assert_eq!(places.len() as u64, count.min(4096));
    let map = told(&["map", &pid, "--json", "--chunks"]);
    let kept: std::collections::BTreeSet<u64> = map["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|chunk| chunk[1] == 208 && map["letters"][chunk[2].as_str().unwrap()] == "in use")
        .map(|chunk| chunk[0].as_u64().unwrap())
        .collect();
    assert!(places.iter().all(|at| kept.contains(&at.as_u64().unwrap())), "{places:?}");
    // The row is the one that is shown, and it is the cursor's place on the map.
    assert_eq!(browser.value("document.querySelector('#pin-rows tr[aria-current=true]').dataset.size"), json!("208"));
    browser.value("document.querySelector('#map').focus()");
    browser.key("Enter");
    browser.wait_for("document.querySelector('#chunk dd') !== null");
    assert!(browser.text("#chunk").contains("208 bytes"), "{}", browser.text("#chunk"));
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("pins.png");
}

/// In a heap of which each hundredth chunk stays, most points hold both kinds.
#[test]
fn a_point_that_several_states_share_shows_each_by_its_share() {
    if !have("chromium") {
        return;
    }
    let held = held("tests/inspect/pinned.c");
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    // At any of these scales the points have, over all, the shares of the bytes, in view of each state that has 1% and more.
    let shares = browser.value(
        "import('./raster.js').then(raster => [512, 4096, 32768].map(cell => {
            const part = heapglass.heap.parts[0];
            const base = Math.floor(part.start / cell) * cell;
            const count = Math.ceil((part.end - base) / cell);
            const tally = (side, cells) => {
                const into = { shades: new Uint8Array(cells), starts: new Uint8Array(cells) };
                raster.fill(part, base, side, into, false);
                const all = new Array(16).fill(0);
                for (const shade of into.shades) if (shade !== 255) all[shade] += 1 / cells;
                return all;
            };
            return [tally(cell, count), tally(16, count * cell / 16)];
        }))",
    );
    let mut mixed = 0;
    for scale in shares.as_array().unwrap() {
        for (points, bytes) in scale[0].as_array().unwrap().iter().zip(scale[1].as_array().unwrap()) {
            let (points, bytes) = (points.as_f64().unwrap(), bytes.as_f64().unwrap());
            assert!((points - bytes).abs() < 0.02, "{shares}");
            mixed += usize::from(bytes > 0.005 && bytes < 0.5 && points > 0.0);
        }
    }
    assert!(mixed >= 3, "{shares}");
    // The pointer is told of what is there, in parts that come to all of it. Few points have several: they are looked for.
    let (x, y) = {
        let place = browser.value(
            "(() => { const box = document.querySelector('#map').getBoundingClientRect(); return [box.x, box.y]; })()",
        );
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    };
    let mut shared = 0;
    for step in 0..40 * 40u32 {
        browser.mouse("mouseMoved", (x + 150.0 + f64::from(step % 40), y + 24.0 + f64::from(step / 40)));
        let tip = browser.text("#tip");
        let Some((_, told)) = tip.split_once("\nof its point's ") else { continue };
        let parts: Vec<f64> = told
            .split(", ")
            .map(|part| part.split_once('%').unwrap().0.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!((parts.iter().sum::<f64>() - 100.0).abs() < 0.3 && parts.len() > 1, "{tip}");
        assert!(parts.is_sorted_by(|a, b| a >= b), "{tip}");
        shared += 1;
        if shared == 5 {
            break;
        }
    }
    assert!(shared > 0, "{}", browser.text("#tip"));
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("shares.png");
}

/// Whatever a watch keeps can be gone back in while it goes on, and is a recording like any other afterwards.
fn rewound(browser: &mut Browser, file: &str) {
    browser.wait_for("document.querySelector('#go-back').hidden === false && +document.body.dataset.calls > 1000");
    browser.value("document.querySelector('#mark').click()");
    browser.wait_for("document.querySelector('#said').innerText.startsWith('mark 1')");
    // What is told is in the file within a second; until a mark is behind something that is, it has no call, and what is heard of here
    // comes later still. So one looks again.
    let heard = number(browser.value("document.body.dataset.calls").as_str().unwrap());
    let began = Instant::now();
    while told(&["stats", file, "--json"])["calls"].as_u64().is_none_or(|calls| calls <= 2 * heard + 1_000_000) {
        assert!(began.elapsed() < Duration::from_secs(60), "{heard} calls and no more");
        std::thread::sleep(Duration::from_millis(100));
    }
    browser.value("document.querySelector('#go-back').click()");
    browser.wait_for_page("location.pathname.endsWith('/rewind/')");
    browser.wait_for("document.querySelectorAll('#ledger-rows tr').length > 0");
    browser.wait_for("document.body.dataset.phase === 'recorded'");
    let calls = number(browser.value("document.body.dataset.calls").as_str().unwrap());
    assert!(calls > heard, "{calls}");
    // To the mark, and from there back, call by call.
    browser.value("document.querySelector('#marks button').click()");
    browser.wait_for(&format!("heapglass.heap.head.calls < {calls} && heapglass.heap.head.calls > 0"));
    let at = browser.value("heapglass.heap.head.calls").as_u64().unwrap();
    browser.value("document.querySelector('#back').click()");
    browser.wait_for(&format!("heapglass.heap.head.calls === {}", at - 1));
    browser.screenshot("rewind.png");
    browser.value("document.querySelector('#go-now').click()");
    browser.wait_for_page("!location.pathname.endsWith('/rewind/')");
    browser.wait_for("document.body.dataset.phase === 'runs'");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_running_process_is_recorded_while_it_is_watched_and_can_be_gone_back_in() {
    if !have("chromium") || cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let held = held("tests/tests/watch/calls.c");
    let dir = Dir::new("rewound");
    let file = dir.path().join("it.hg");
    let file = file.to_str().unwrap();
    let mut watch = Watch::start(&["-k", "--recording", file, &held.pid().to_string()]);
    let mut browser = shown(&watch);
    rewound(&mut browser, file);
    drop(browser);
    // Ended by who started it: the file is whole, with its mark, and the program goes on.
    let killed = Command::new("kill").args(["-INT", &watch.child.id().to_string()]).status().unwrap();
    assert!(killed.success() && watch.child.wait().unwrap().success());
    let stats = run(heapglass().args(["stats", file])).ok();
    assert!(
        stats.out.contains("still running") && stats.out.contains("mark mark-1") && stats.err.is_empty(),
        "{stats:#?}"
    );
    assert!(!fs::exists(format!("{file}.marks")).unwrap());
    // It says what it can't know, and who called.
    let view = Watch::start_as("view", &[file]);
    let mut browser = shown_with(&view, 0);
    assert!(browser.text("#notes").contains("before the recording began"), "{}", browser.text("#notes"));
    assert!(told(&["ledger", file, "--json"])["pins_by_stack"].is_array());
    drop(browser);
    // A second recording doesn't run over the first.
    let ran = run(heapglass().args(["watch", "-n", "--recording", file, &held.pid().to_string()]));
    assert!(ran.code == Some(125) && ran.err.contains("is there already"), "{ran:#?}");
    held.let_go();
}

#[test]
fn a_program_is_recorded_from_its_first_call_while_it_is_watched() {
    if !have("chromium") {
        return;
    }
    let program = compile("tests/tests/watch/calls.c", Door::Preload, &[]);
    let dir = Dir::new("recorded-watch");
    let pattern = dir.path().join("%e.hg");
    let file = dir.path().join(format!("{}.hg", program.file_name().unwrap().to_str().unwrap()));
    let words = ["--recording", pattern.to_str().unwrap(), "--", program.to_str().unwrap(), "20000"];
    let mut watch = Watch::start(&words);
    let mut browser = Browser::start(WIDTH, HEIGHT);
    browser.open(&watch.address);
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('at its end')");
    browser.wait_for("+document.body.dataset.calls >= 40000");
    let heard = number(browser.value("document.body.dataset.calls").as_str().unwrap());
    browser.value("document.querySelector('#end').click()");
    assert_eq!(watch.child.wait().unwrap().code(), Some(7));
    // Not one is missing.
    let stats = told(&["stats", file.to_str().unwrap(), "--json"]);
    assert!(stats["calls"].as_u64() >= Some(heard), "{heard} {stats}");
    // A program that can't be started leaves no file.
    let none = dir.path().join("none.hg");
    let ran = run(heapglass().args(["watch", "-n", "--recording"]).arg(&none).args(["--", "/no/such/program"]));
    assert!(ran.code != Some(0) && !none.exists(), "{ran:#?}");
}

#[test]
fn marks_of_a_recording_stand_on_the_axis_of_time_and_lead_to_their_moments() {
    if !have("chromium") {
        return;
    }
    let program = compile("tests/tests/watch/calls.c", Door::Preload, &[]);
    let dir = Dir::new("marked");
    let file = dir.path().join("calls.hg");
    let file = file.to_str().unwrap();
    run(heapglass().args(["record", "-o", file]).arg(&program).arg("20000").env("HEAPGLASS", "guard:0"));
    for (name, at) in [("late", "30000"), ("early", "10000")] {
        run(heapglass().args(["mark", file, name, "--at", at])).ok();
    }
    let watch = Watch::start_as("view", &[file]);
    let mut browser = shown_with(&watch, 0);
    browser.wait_for("document.querySelectorAll('#marks button').length === 2");
    assert_eq!(browser.text("#marks"), "Marks: early late");
    // The very calls that the other commands mean by the names.
    let diff = run(heapglass().args(["diff", &format!("{file}@early"), &format!("{file}@late")])).ok().out;
    assert!(diff.contains("after call 10,000, ") && diff.contains("after call 30,000, "), "{diff}");
    for (index, meant) in [10_000, 30_000].into_iter().enumerate() {
        browser.value(&format!("document.querySelectorAll('#marks button')[{index}].click()"));
        browser.wait_for(&format!("heapglass.heap.head.calls === {meant}"));
    }
    // On the axis: a line of the text's colour through the whole chart, where its time is.
    let lines = browser.value(
        "(() => { const canvas = document.querySelector('#chart'); const pen = canvas.getContext('2d');
            const wanted = getComputedStyle(document.documentElement).getPropertyValue('--text').trim();
            const rgb = [1, 3, 5].map(at => parseInt(wanted.slice(at, at + 2), 16)); const found = [];
            const row = pen.getImageData(0, 60, canvas.width, 1).data;
            for (let x = 66; x < canvas.width; x += 1) if (rgb.every((part, at) => Math.abs(row[4 * x + at] - part) < 40)) found.push(x);
            return found; })()",
    );
    assert!(lines.as_array().unwrap().len() >= 2, "{lines}");
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("marked.png");
}

#[test]
fn a_core_of_a_program_that_was_stopped_is_viewed() {
    if !have("chromium") || !have("gdb") {
        return;
    }
    let dir = Dir::new("stopped");
    let source =
        b"#include <stdlib.h>\nint main(void) { char *kept[50]; for (int i = 0; i < 50; i++) kept[i] = malloc(40);\n\
        char *volatile twice = kept[7]; free(twice); free(twice); free(kept[8]); malloc(9); return 0; }\n";
    let (source, program) = (dir.file("twice.c", source, 0o644), dir.path().join("twice"));
    run(Command::new("gcc").args(["-w", "-g", "-O0", "-fno-builtin", "-o"]).arg(&program).arg(source)).ok();
    let core = dir.path().join("core");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex"])
        .arg(format!("set environment LD_PRELOAD {}", heapglass_tests::built("libheapglass.so").display()));
    gdb.args(["-ex", "set environment HEAPGLASS park:0", "-ex", "set startup-with-shell off", "-ex", "run", "-ex"]);
    let ran = run(gdb.arg(format!("generate-core-file {}", core.display())).arg(&program));
    assert!(core.exists() && ran.out.contains("SIGABRT"), "{ran:#?}");
    let watch = Watch::start_as("view", &[core.to_str().unwrap()]);
    let mut browser = shown(&watch);
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('a core file')");
    // Nothing is offered that only a process does.
    let offered = browser.value(
        "['hold', 'step', 'listen', 'mark', 'by-mark', 'time', 'calls', 'flame-view'].filter(id => document.getElementById(id).offsetParent !== null)",
    );
    assert_eq!(offered, json!([]));
    assert_eq!(browser.text("#ledger-there"), "in the file");
    let ledger = told(&["ledger", core.to_str().unwrap(), "--json"]);
    assert_eq!(number(&browser.text("#ledger-sum")), ledger["sum"].as_u64().unwrap());
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("stopped.png");
}

#[test]
fn who_may_not_look_is_told_why() {
    if !is_root() {
        return;
    }
    let dir = Dir::new("unseen");
    let held = held("tests/tests/watch/calls.c");
    let pid = held.pid().to_string();
    let file = dir.path().join("it.hg");
    for words in [&["watch", "-n"][..], &["watch", "-n", "--recording", file.to_str().unwrap()], &["ledger"], &["map"]]
    {
        let ran = run_as_nobody(dir.heapglass().args(words).arg(&pid));
        assert!(
            ran.code == Some(125) && ran.err.contains("belongs to user 0, and you are user 65534"),
            "{words:?} {ran:#?}"
        );
        assert!(ran.err.contains("or as root") && ran.err.lines().count() == 1, "{words:?} {ran:#?}");
    }
    assert!(!file.exists());
    held.let_go();
    // A user's own, where the kernel's setting forbids it: it is named, with its value.
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let scope = scope.trim();
    if !["1", "2", "3"].contains(&scope) {
        return;
    }
    use std::os::unix::process::CommandExt;
    let source = b"#include <stdlib.h>\n#include <unistd.h>\n\
        int main(void) { char *one = malloc(30); return write(1, \"ready\\n\", 6) == 6 && read(0, one, 1) > 0; }\n";
    let (source, program) = (dir.file("own.c", source, 0o644), dir.path().join("own"));
    run(Command::new("gcc").args(["-O1", "-fno-builtin", "-o"]).arg(&program).arg(source)).ok();
    let mut own = Command::new(program);
    let own = own.env("LD_PRELOAD", dir.path().join("libheapglass.so")).uid(65534).gid(65534).current_dir("/");
    let own = Held::start(own);
    let ran = run_as_nobody(dir.heapglass().args(["watch", "-n", &own.pid().to_string()]));
    let named = format!("kernel.yama.ptrace_scope is {scope}");
    assert!(ran.code == Some(125) && ran.err.contains(&named), "{ran:#?}");
}
