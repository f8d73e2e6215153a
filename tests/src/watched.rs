//! `heapglass watch` and `view`, started without a browser of the user's, and the page in one without a screen.

use crate::browser::Browser;
use crate::cli::heapglass;
use crate::held::Held;
use crate::run;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Stdio};

pub struct Watch {
    pub child: Child,
    pub address: String,
    /// What it says later has a place to go.
    _said: BufReader<ChildStderr>,
}

impl Watch {
    pub fn start(words: &[&str]) -> Watch {
        Watch::start_as("watch", words)
    }

    #[track_caller]
    pub fn start_as(name: &str, words: &[&str]) -> Watch {
        let mut command = heapglass();
        command.args([name, "-n"]).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("heapglass: the page is ").unwrap_or_else(|| panic!("{line}"));
        Watch { child, address: address.to_owned(), _said: said }
    }

    pub fn of(held: &Held) -> Watch {
        Watch::start(&[&held.pid().to_string()])
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const WIDTH: u32 = 1500;
pub const HEIGHT: u32 = 1100;

/// A browser on the page, with a first picture.
pub fn shown(watch: &Watch) -> Browser {
    shown_with(watch, 3)
}

/// As `shown`, where the ledger has more than so many lines.
pub fn shown_with(watch: &Watch, lines: usize) -> Browser {
    let mut browser = Browser::start(WIDTH, HEIGHT);
    browser.open(&watch.address);
    browser.wait_for(&format!("document.querySelectorAll('#ledger-rows tr').length > {lines}"));
    browser
}

pub fn told(words: &[&str]) -> Value {
    serde_json::from_str(&run(heapglass().args(words)).ok().out).unwrap()
}

pub fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text}"))
}
