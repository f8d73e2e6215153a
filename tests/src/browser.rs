//! A real browser without a screen, driven over its own debugging protocol: JSON messages that end in a zero byte, on two pipes.

use crate::cli::Dir;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: u64,
    session: Option<String>,
    /// Exceptions and complaints of pages.
    pub complaints: Vec<String>,
    _dir: Dir,
    _watchdog: Sender<()>,
}

/// It has file 3 to read from and file 4 to write to; a shell puts our pipes there.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;
/// A browser that hangs is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(180);

impl Browser {
    #[track_caller]
    pub fn start(width: u32, height: u32) -> Browser {
        let dir = Dir::new("browser");
        let mut command = Command::new("sh");
        command.args(["-c", START, "chromium", "--headless=new", "--disable-gpu", "--remote-debugging-pipe"]);
        // The sandbox needs privileges that a container may lack; what is shown is our own.
        command.args(["--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]);
        command.arg(format!("--user-data-dir={}", dir.path().display())).arg("about:blank");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (done, wait) = channel::<()>();
        let pid = child.id();
        std::thread::spawn(move || {
            if wait.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        });
        let mut browser =
            Browser { child, to, from, next: 0, session: None, complaints: Vec::new(), _dir: dir, _watchdog: done };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height, 1.0);
        browser
    }

    /// So many points, each of so many of the screen's: 2 is a page at 200%.
    pub fn resize(&mut self, width: u32, height: u32, scale: f64) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.asked(method, params, true).unwrap()
    }

    /// As `call`; `None` where the browser refuses.
    #[track_caller]
    pub fn try_call(&mut self, method: &str, params: Value) -> Option<Value> {
        self.asked(method, params, false)
    }

    #[track_caller]
    fn asked(&mut self, method: &str, params: Value, must: bool) -> Option<Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser ended, or was ended for it hung, during {method} {params}");
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == json!(self.next) {
                assert!(!must || answer["error"].is_null(), "{method} {params}: {}", answer["error"]);
                return answer["error"].is_null().then(|| answer["result"].clone());
            }
            if ["Runtime.exceptionThrown", "Log.entryAdded"].contains(&answer["method"].as_str().unwrap_or("")) {
                self.complaints.push(answer["params"].to_string());
            }
        }
    }

    pub fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
    }

    /// What an expression of the page's language comes to; a promise is waited for.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds on whatever page there is then: one that is waited for on a page that is left is never answered.
    #[track_caller]
    pub fn wait_for_page(&mut self, expression: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        let ask = json!({ "expression": expression, "returnByValue": true });
        loop {
            let answer = self.try_call("Runtime.evaluate", ask.clone());
            if answer.is_some_and(|answer| answer["result"]["value"] == json!(true)) {
                return;
            }
            assert!(Instant::now() < until, "{expression} never came true");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an expression holds; fails after a minute.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) {
        let wait = format!(
            "new Promise(done => {{ const until = Date.now() + 60000; const look = () => {{ let is = false; \
             try {{ is = Boolean({expression}); }} catch (_) {{}} \
             is ? done(true) : Date.now() > until ? done(false) : setTimeout(look, 20); }}; look(); }})"
        );
        let held = self.value(&wait);
        assert_eq!(held, json!(true), "{expression} never came true; the page says:\n{}", self.text("body"));
    }

    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        self.value(&format!("document.querySelector('{selector}').innerText")).as_str().unwrap().to_owned()
    }

    /// The middle of an element.
    #[track_caller]
    pub fn place(&mut self, selector: &str) -> (f64, f64) {
        let middle = format!(
            "(() => {{ const one = document.querySelector('{selector}'); one.scrollIntoView({{ block: 'center' }}); \
             const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let place = self.value(&middle);
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64)) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let count = i32::from(kind != "mouseMoved");
        let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": count });
        self.call("Input.dispatchMouseEvent", event);
    }

    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let place = self.place(selector);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.mouse(kind, place);
        }
    }

    pub fn key(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": text }));
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    pub fn screenshot(&mut self, name: &str) {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let dir = crate::root().join("target/pages");
        std::fs::create_dir_all(&dir).unwrap();
        let bytes = decoded(picture["data"].as_str().unwrap());
        File::create(dir.join(name)).unwrap().write_all(&bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        // It closes its end when it has ended.
        while self.from.read_until(0, &mut Vec::new()).is_ok_and(|count| count > 0) {}
        let _ = self.child.wait();
    }
}

/// Base 64.
fn decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    for four in digits.chunks(4) {
        let word = four.iter().enumerate().fold(0u32, |word, (at, digit)| word | u32::from(*digit) << (18 - 6 * at));
        bytes.extend(word.to_be_bytes().iter().skip(1).take(four.len() - 1));
    }
    bytes
}
