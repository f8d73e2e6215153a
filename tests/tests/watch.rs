//! `heapglass watch`: the page, driven in a real browser as a user would, and its figures beside those of the other commands.

use heapglass_tests::browser::Browser;
use heapglass_tests::cli::{Dir, heapglass, is_root};
use heapglass_tests::held::Held;
use heapglass_tests::watched::{HEIGHT, WIDTH, Watch, number, shown, shown_with, told};
use heapglass_tests::{Door, compile, have, on_heapglass, run};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A program in which many states of chunks are to be seen, and which stands still.
fn still() -> Held {
    let program = compile("tests/inspect/states.c", Door::Preload, &[]);
    Held::start(on_heapglass(program, Door::Preload).arg("textbook").env("HEAPGLASS", "tcache:0"))
}

fn busy() -> Held {
    let program = compile("tests/tests/watch/calls.c", Door::Preload, &[]);
    Held::start(on_heapglass(program, Door::Preload).env("HEAPGLASS", "guard:0"))
}

#[test]
fn its_figures_are_those_of_the_other_commands() {
    if !have("chromium") {
        return;
    }
    let held = still();
    let pid = held.pid().to_string();
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    let ledger = told(&["ledger", &pid, "--json"]);
    let rows = browser.value(
        "[...document.querySelectorAll('#ledger-rows tr')].map(row => [row.dataset.line, ...[...row.cells].map(cell => cell.innerText)])",
    );
    let mut seen = 0;
    for row in rows.as_array().unwrap() {
        let cells: Vec<&str> = row.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap()).collect();
        let line = &ledger["lines"][cells[0]];
        assert_eq!(number(cells[3]), line["bytes"].as_u64().unwrap(), "{cells:?}");
        assert_eq!(number(cells[4]), line["resident"].as_u64().unwrap(), "{cells:?}");
        if !cells[2].is_empty() {
            assert_eq!(number(cells[2]), line["chunks"].as_u64().unwrap(), "{cells:?}");
        }
        seen += 1;
    }
    assert!(seen >= 8, "{rows}");
    assert_eq!(number(&browser.text("#ledger-sum")), ledger["sum"].as_u64().unwrap());
    assert_eq!(number(&browser.text("#ledger-rss")), ledger["rss"].as_u64().unwrap());

    let map = told(&["map", &pid, "--json", "--chunks"]);
    let mut states: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for chunk in map["chunks"].as_array().unwrap() {
        let name = map["letters"][chunk[2].as_str().unwrap()].as_str().unwrap();
        let sum = states.entry(name.to_owned()).or_default();
        *sum = (sum.0 + 1, sum.1 + chunk[1].as_u64().unwrap());
    }
    let legend = browser.value(
        "[...document.querySelectorAll('#legend li')].map(one => [one.dataset.state, +one.dataset.chunks, +one.dataset.bytes])",
    );
    let mut pages: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for one in legend.as_array().unwrap().iter().filter(|one| one[0] != "mapped" && one[0] != "released") {
        pages.insert(one[0].as_str().unwrap().to_owned(), (one[1].as_u64().unwrap(), one[2].as_u64().unwrap()));
    }
    assert_eq!(pages, states);
    assert!(["in use", "fast", "unsorted", "small", "large", "top"].iter().all(|name| states.contains_key(*name)));

    browser.click("#bins-again");
    browser.wait_for("document.querySelectorAll('#bin-rows tr[data-bin]').length > 0");
    let bins = told(&["map", &pid, "--bins", "--json"]);
    let lists = bins["arenas"][0]["lists"].as_array().unwrap();
    for list in lists {
        let name = list["bin"].as_str().unwrap();
        let row = browser
            .value(&format!("[...document.querySelector('[data-bin=\"{name}\"]').cells].map(cell => cell.innerText)"));
        assert_eq!(number(row[2].as_str().unwrap()), list["count"].as_u64().unwrap(), "{row}");
        assert!(row[4].as_str().unwrap().contains(&format!("{:#x}", list["chunks"][0][0].as_u64().unwrap())), "{row}");
    }
    browser.click("#bin-rows button");
    browser.wait_for("document.querySelector('#said').innerText.includes('chunk')");
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("bins.png");
}

#[test]
fn chunks_are_told_under_the_pointer_and_by_a_click_at_every_zoom() {
    if !have("chromium") {
        return;
    }
    let held = still();
    let pid = held.pid().to_string();
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    let map = told(&["map", &pid, "--json", "--chunks"]);
    // What the tip says must be one of the chunks, to the byte.
    let check = |tip: &str| {
        let (at, rest) = tip.split_once(", ").unwrap();
        let at = u64::from_str_radix(at.trim_start_matches("0x"), 16).unwrap();
        let chunk = map["chunks"].as_array().unwrap().iter().find(|chunk| chunk[0] == json!(at));
        let chunk = chunk.unwrap_or_else(|| panic!("{tip}"));
        let (bytes, rest) = rest.split_once(" bytes, ").unwrap();
        assert_eq!(number(bytes), chunk[1].as_u64().unwrap(), "{tip}");
        let name = map["letters"][chunk[2].as_str().unwrap()].as_str().unwrap();
        assert!(rest.starts_with(name), "{tip} {chunk}");
        at
    };
    let mut scales = Vec::new();
    browser.key("Tab");
    for _ in 0..4 {
        scales.push(browser.text("#scale"));
        let left = browser.value(
            "(() => { const box = document.querySelector('#map').getBoundingClientRect(); return [box.x, box.y]; })()",
        );
        let (x, y) = (left[0].as_f64().unwrap(), left[1].as_f64().unwrap());
        let mut told_of = 0;
        for (right, down) in [(130.0, 42.0), (300.0, 60.0), (420.0, 90.0), (500.0, 140.0)] {
            browser.mouse("mouseMoved", (x + right, y + down));
            if browser.value("document.querySelector('#tip').hidden") == json!(false) {
                check(&browser.text("#tip"));
                told_of += 1;
            }
        }
        assert!(told_of > 0, "{scales:?}");
        browser.click("#in");
    }
    scales.dedup();
    assert!(scales.len() > 1, "{scales:?}");

    // A chunk that is known, by its address, by the keys, and by a click at where it is.
    let (user, _) = held.told("Large")[0];
    browser.value(&format!("document.querySelector('#address').value = '{:#x}'", user - 16));
    browser.click("#go button");
    browser.wait_for("document.querySelector('#chunk dd') !== null");
    let chunk = told(&["map", &pid, "--chunk", &format!("{:#x}", user - 16), "--json"]);
    let text = browser.text("#chunk");
    let size = chunk["size"].as_u64().unwrap();
    assert!(text.contains("large") && text.contains(&format!("{:#x}", user)), "{text}");
    let grouped = format!("{},{:03} bytes", size / 1000, size % 1000);
    assert!(text.contains(&grouped) && text.contains(chunk["kept"].as_str().unwrap()), "{text} {chunk}");
    browser.value("document.querySelector('#map').focus()");
    for key in ["n", "b", "n"] {
        browser.key(key);
    }
    let under = browser.text("#under");
    assert_eq!(check(&under), user - 16 + size, "{under}");
    browser.key("Enter");
    browser.wait_for(&format!("document.querySelector('#chunk').innerText.includes('{:#x} to')", user - 16 + size));
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("chunk.png");
}

#[test]
fn a_program_is_held_and_goes_on_call_by_call() {
    if !have("chromium") {
        return;
    }
    let held = busy();
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    let calls =
        |browser: &mut Browser| -> u64 { number(browser.value("document.body.dataset.calls").as_str().unwrap()) };
    // A paused picture stays, though the program goes on.
    browser.click("#listen");
    browser.wait_for("+document.body.dataset.calls > 100");
    browser.click("#pause");
    let before = browser.text("#summary");
    let heard = calls(&mut browser);
    browser.wait_for(&format!("+document.body.dataset.calls > {heard} + 200"));
    assert_eq!(browser.text("#summary"), before);
    browser.click("#pause");
    // Held, no call is made; each step is one.
    browser.click("#hold");
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('held')");
    browser.value("fetch('state').then(state => state.json())");
    let stands = "(async () => { const calls = async () => (await (await fetch('state')).json()).calls; \
                  let one = await calls(); for (;;) { await new Promise(go => setTimeout(go, 30)); \
                  const two = await calls(); if (one === two) return one; one = two; } })()";
    let mut count = browser.value(stands).as_u64().unwrap();
    for _ in 0..3 {
        browser.click("#step");
        count += 1;
        browser.wait_for(&format!("+document.body.dataset.calls === {count}"));
        browser.wait_for(&format!("document.querySelector('#events li:last-child').value === {count}"));
    }
    assert_eq!(browser.value(stands), json!(count));
    let last = browser.text("#events li:last-child");
    assert!(last.starts_with("malloc(") || last.starts_with("free("), "{last}");
    // Of what was heard to be born, the page knows what was asked for.
    if last.starts_with("free(") {
        browser.click("#step");
        count += 1;
        browser.wait_for(&format!("document.querySelector('#events li:last-child').value === {count}"));
    }
    let last = browser.text("#events li:last-child");
    let given = last.split("0x").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    browser.value(&format!("document.querySelector('#address').value = '{given}'"));
    browser.click("#go button");
    browser.wait_for("document.querySelector('#chunk dd') !== null");
    let chunk = browser.text("#chunk");
    assert!(
        browser.text("#chunk dd") == "in use" && chunk.contains("malloc(") && chunk.contains(", 0 calls"),
        "{chunk}"
    );
    // Filters are the trace's own.
    browser.value("(() => { const box = document.querySelector('#filter'); box.value = 'malloc size>=1024'; box.dispatchEvent(new Event('change')); })()");
    browser.wait_for(
        "[...document.querySelectorAll('#events li')].every(one => /^malloc\\((1\\d{3}|2000)\\)/.test(one.innerText))",
    );
    browser.value("(() => { const box = document.querySelector('#filter'); box.value = 'mallok'; box.dispatchEvent(new Event('change')); })()");
    browser.wait_for("document.querySelector('#events-said').innerText.includes('mallok')");
    // What is born after a mark has its colour, and says so.
    browser.click("#mark");
    browser.click("#hold");
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('runs')");
    browser.wait_for("heapglass.heap.parts.some(part => part.marks !== null && part.marks.some(mark => mark === 1))");
    browser.wait_for(&format!("+document.body.dataset.calls > {count} + 1000"));
    browser.screenshot("marks.png");
    browser.click("#listen");
    browser.wait_for("document.querySelector('#listen').getAttribute('aria-pressed') === 'false'");
    // Its end is told, and the last picture stays, also for who comes later.
    held.let_go();
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('has ended')");
    browser.open(&watch.address);
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('has ended') && document.querySelectorAll('#ledger-rows tr').length > 3");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_program_that_is_started_is_held_before_its_first_call_and_at_its_end() {
    if !have("chromium") {
        return;
    }
    let program = compile("tests/tests/watch/calls.c", Door::Preload, &[]);
    let mut watch = Watch::start(&["--hold", "--", program.to_str().unwrap(), "1000"]);
    let mut browser = Browser::start(WIDTH, HEIGHT);
    browser.open(&watch.address);
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('held')");
    assert_eq!(browser.value("document.body.dataset.calls"), json!("0"));
    browser.click("#step");
    browser.wait_for("document.querySelectorAll('#events li').length === 1");
    assert!(browser.text("#events li").contains("grown by a new heap"), "{}", browser.text("#events"));
    browser.click("#hold");
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('at its end')");
    browser.wait_for("+document.body.dataset.calls >= 2000");
    browser.click("#end");
    assert_eq!(watch.child.wait().unwrap().code(), Some(7));
    browser.wait_for("document.body.dataset.phase === 'gone'");
}

#[test]
fn it_can_be_read_at_twice_the_size_in_the_dark_and_without_seeing() {
    if !have("chromium") {
        return;
    }
    let held = still();
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    browser.click("#theme");
    browser.screenshot("dark.png");
    // At 200% half as many points are left; nothing may stick out at the side.
    browser.resize(WIDTH / 2, HEIGHT / 2, 2.0);
    browser.wait_for("document.documentElement.scrollWidth <= innerWidth");
    browser.screenshot("twice.png");
    // Whatever can be used has a name, and each table its headings.
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let named = |role: &str| -> Vec<String> {
        let of = nodes.iter().filter(|node| node["role"]["value"] == role && node["ignored"] != json!(true));
        of.map(|node| node["name"]["value"].as_str().unwrap_or_default().to_owned()).collect()
    };
    for role in ["button", "textbox", "checkbox", "application", "image", "region", "columnheader"] {
        let names = named(role);
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty()), "{role}: {names:?}");
    }
    let map = named("application").join(" ");
    assert!(map.contains("chunks") && map.contains("resident"), "{map}");
    // Every button can be reached by the keyboard.
    let unreachable = browser.value(
        "[...document.querySelectorAll('button, input, [role=application]')].filter(one => one.tabIndex < 0).map(one => one.id)",
    );
    assert_eq!(unreachable, json!([]));
}

#[test]
fn a_core_file_is_shown_as_the_process_was() {
    if !have("chromium") || !have("gcore") {
        return;
    }
    let held = still();
    let dir = Dir::new("core");
    run(Command::new("gcore").arg("-o").arg(dir.path().join("core")).arg(held.pid().to_string())).ok();
    let core = dir.path().join(format!("core.{}", held.pid()));
    let core = core.to_str().unwrap();
    let watch = Watch::start(&[core]);
    let mut browser = shown(&watch);
    browser.wait_for("document.querySelector('#phase').innerText.startsWith('a core file')");
    let map = told(&["map", core, "--json", "--chunks"]);
    let chunks = map["chunks"].as_array().unwrap().len();
    assert!(browser.text("#summary").contains(&format!("{chunks} chunks")), "{}", browser.text("#summary"));
    let ledger = told(&["ledger", core, "--json"]);
    assert_eq!(number(&browser.text("#ledger-sum")), ledger["sum"].as_u64().unwrap());
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn it_is_told_only_to_who_knows_its_address() {
    let held = still();
    let watch = Watch::of(&held);
    let (place, token) = watch.address.strip_prefix("http://").unwrap().trim_end_matches('/').split_once('/').unwrap();
    let asked = |line: &str, host: &str| -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(place).unwrap();
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(status(&asked(&format!("GET /{token}/"), place)), "200");
    assert_eq!(status(&asked(&format!("GET /{token}/"), "example.com")), "403");
    for path in
        ["/", "/look", "/page.js", "/0123456789abcdef0123456789abcdef/look", "/0123456789abcdef0123456789abcdef/"]
    {
        assert_eq!(status(&asked(&format!("GET {path}"), place)), "404", "{path}");
    }
    // The address stands in the browser's arguments, where other users may read it.
    if is_root() {
        let get = format!(
            "exec 3<>/dev/tcp/{}; printf 'GET /{token}/ HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3",
            place.replace(':', "/")
        );
        let answer = |user: u32| {
            let told = Command::new("bash").args(["-c", &get]).uid(user).output().unwrap();
            status(&String::from_utf8_lossy(&told.stdout))
        };
        assert_eq!((answer(0), answer(4711)), ("200".into(), "403".into()));
    }
    for path in ["hold", "step", "listen", "end"] {
        assert_ne!(status(&asked(&format!("POST /{path}"), place)), "200", "{path}");
        assert_ne!(status(&asked(&format!("GET /{token}/{path}"), place)), "200", "{path}");
    }
    // Nothing is loaded from elsewhere, and no other page may show it.
    let page = asked(&format!("GET /{token}/"), place);
    assert!(page.contains("default-src 'none'") && page.contains("frame-ancestors 'none'"), "{page}");
    assert!(!page.split("\r\n\r\n").nth(1).unwrap().contains("http"), "{page}");
    // The same figures are there for machines.
    assert_eq!(status(&asked("GET /metrics", place)), "200");
    assert_eq!(status(&asked(&format!("GET /stats.json?token={token}"), place)), "200");
}

/// Calls of which each is known: twenty thousand mallocs of 64 bytes, each freed at once, behind the C library's own.
#[test]
fn a_recording_is_shown_at_any_of_its_calls_and_back() {
    if !have("chromium") {
        return;
    }
    let program = compile("tests/tests/watch/calls.c", Door::Preload, &[]);
    let dir = Dir::new("recording");
    let file = dir.path().join("calls.hg");
    let mut record = heapglass();
    let ran =
        run(record.args(["record", "-k", "-o"]).arg(&file).arg(&program).arg("20000").env("HEAPGLASS", "guard:0"));
    assert_eq!(ran.code, Some(7), "{ran:#?}");
    let stats = told(&["stats", file.to_str().unwrap(), "--json"]);
    let ledger = told(&["ledger", file.to_str().unwrap(), "--json"]);
    assert_eq!(ledger["lines"]["requested"]["bytes"], stats["end"]["requested"], "{ledger}");
    assert_eq!(ledger["peak_bytes"], stats["peak"]["bytes"], "{ledger}");
    let watch = Watch::start_as("view", &[file.to_str().unwrap()]);
    let mut browser = shown_with(&watch, 0);
    browser.wait_for("+document.body.dataset.calls > 0");
    // At its end the figures are those of `stats`.
    let calls = number(browser.value("document.body.dataset.calls").as_str().unwrap());
    assert!(calls >= 40_000, "{calls}");
    let cell = |browser: &mut Browser, line: &str, column: usize| -> u64 {
        let text = browser.value(&format!(
            "(row => row === null ? '0' : row.cells[{column}].innerText)(document.querySelector('[data-line={line}]'))"
        ));
        number(text.as_str().unwrap())
    };
    let sum = |browser: &mut Browser| {
        ["requested", "rounding", "headers"].map(|line| cell(browser, line, 2)).iter().sum::<u64>()
    };
    assert_eq!(json!(sum(&mut browser)), stats["end"]["bytes"], "{stats}");
    assert_eq!(json!(cell(&mut browser, "requested", 1)), stats["end"]["chunks"], "{stats}");
    // One call back is the last free undone, and forth again it is done.
    let free = "[...document.querySelectorAll('#events li')].map(one => one.innerText)";
    let go = |browser: &mut Browser, call: u64| {
        browser.value(&format!(
            "(() => {{ const one = document.querySelector('#rewind'); one.value = {call}; one.dispatchEvent(new Event('input')); }})()"
        ));
        browser.wait_for(&format!(
            "heapglass.heap.head.calls === {call} && document.querySelector('#events li:last-child').value === {call}"
        ));
    };
    browser.wait_for(&format!("document.querySelector('#events li:last-child').value === {calls}"));
    let lines = browser.value(free);
    let last = lines.as_array().unwrap().iter().rposition(|line| line.as_str().unwrap().starts_with("free(")).unwrap();
    let freed = calls - (lines.as_array().unwrap().len() - 1 - last) as u64;
    go(&mut browser, freed);
    let after = sum(&mut browser);
    browser.click("#back");
    browser.wait_for(&format!("heapglass.heap.head.calls === {}", freed - 1));
    assert_eq!(sum(&mut browser), after + 80);
    let request = cell(&mut browser, "requested", 2);
    browser.click("#forth");
    browser.wait_for(&format!("heapglass.heap.head.calls === {freed}"));
    assert_eq!((sum(&mut browser), cell(&mut browser, "requested", 2)), (after, request - 64));
    // The chunk of that call, by a click on its line, with what was asked for and by whom.
    browser.click("#back");
    browser.wait_for(&format!("heapglass.heap.head.calls === {}", freed - 1));
    browser.wait_for(&format!("document.querySelector('#events li:last-child').value === {}", freed - 1));
    let line = browser.text("#events li:last-child");
    assert!(line.starts_with("malloc(64)"), "{line}");
    let pointer = u64::from_str_radix(line.split("0x").nth(1).unwrap().split_whitespace().next().unwrap(), 16).unwrap();
    browser.value(&format!("document.querySelector('#address').value = '{pointer:#x}'"));
    browser.click("#go button");
    browser.wait_for("document.querySelector('#chunk dd') !== null");
    let chunk = browser.text("#chunk");
    assert!(chunk.contains("64 bytes") && chunk.contains("80 bytes") && chunk.contains("malloc(64)"), "{chunk}");
    assert!(chunk.contains("main at ") && chunk.contains("calls.c:"), "{chunk}");
    browser.screenshot("stack.png");
    // A mark colours what comes after it, whichever way one gets there.
    go(&mut browser, 30_000);
    browser.click("#mark");
    let marked = "heapglass.heap.parts.reduce((sum, part) => sum + (part.marks === null ? 0 : part.marks.filter(mark => mark > 0).length), 0)";
    go(&mut browser, freed - 1);
    assert!(browser.value(marked).as_u64().unwrap() >= 1);
    go(&mut browser, 29_999);
    assert_eq!(browser.value(marked), json!(0));
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.screenshot("recording.png");
}

#[test]
fn a_flame_graph_is_searched_and_a_frame_shows_its_chunks_on_the_map() {
    if !have("chromium") {
        return;
    }
    let program = compile("tests/profile/serves.c", Door::Preload, &[]);
    let held = Held::start(&mut on_heapglass(&program, Door::Preload));
    let watch = Watch::of(&held);
    let mut browser = shown(&watch);
    assert_eq!(browser.value("document.querySelectorAll('#flame button').length"), json!(0));
    browser.click("#sample");
    browser.wait_for("document.querySelector('#sample').getAttribute('aria-pressed') === 'true'");
    // It is drawn once by itself.
    browser.wait_for("document.querySelector('#flame button') !== null");
    // Until something is sampled that is still in use.
    let find =
        "[...document.querySelectorAll('#flame button')].find(one => one.innerText.startsWith('request serves.c:'))";
    // It is asked for again only while it isn't there, so that nothing is on its way that would draw over it.
    browser.wait_for(&format!("{find} !== undefined || document.querySelector('#flame-again').click()"));
    let root = browser.text("#flame button");
    assert_eq!(root, "all");
    browser.value("(() => { const input = document.querySelector('#flame-search'); input.value = 'Serve serves'; input.dispatchEvent(new Event('input')); })()");
    let said = browser.text("#flame-said");
    // Of one below another, only the outer counts.
    assert!(said.contains(" found, with ") && said.contains(", 100.0% of "), "{said}");
    let found = browser.value("[...document.querySelectorAll('#flame button[data-found]')].map(one => one.innerText)");
    assert!(
        found.as_array().unwrap().iter().all(|name| name.as_str().unwrap().starts_with("serve serves.c:")),
        "{found}"
    );
    browser.value(&format!("{find}.id = 'this-frame'"));
    // Not by the mouse: on a page that goes on, a line more above moves a frame away from under the pointer.
    let click = "document.querySelector('#this-frame').click()";
    browser.value(click);
    browser.wait_for("document.querySelector('#said').innerText.includes('on the map')");
    let said = browser.text("#said");
    assert!(said.starts_with("request serves.c:"), "{said}");
    let count = said.rsplit_once(": ").unwrap().1.split(' ').next().unwrap();
    // The map's cursor stands on one of them: a chunk of that length, in use or just freed.
    assert!(number(count) >= 1, "{said}");
    browser.value("document.querySelector('#map').focus()");
    browser.key("Enter");
    browser.wait_for("document.querySelector('#chunk dd') !== null");
    let chunk = browser.text("#chunk");
    assert!(chunk.contains("3,0") && chunk.contains(" bytes"), "{chunk}");
    browser.screenshot("flame.png");
    // A second click makes it as wide as all.
    browser.value(click);
    browser.wait_for("document.querySelector('#flame button').innerText.startsWith('request serves.c:')");
    browser.click("#flame-all");
    browser.wait_for("document.querySelector('#flame button').innerText === 'all'");
    browser.click("#sample");
    browser.wait_for("document.querySelector('#sample').getAttribute('aria-pressed') === 'false'");
    assert_eq!(browser.complaints, Vec::<String>::new());
    held.let_go();
}
