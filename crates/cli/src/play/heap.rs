//! A heap to play with: the hand in a process of its own, told one line at a time, and what the heap said meanwhile.

use crate::failure::Failure;
use crate::feed::{Feed, Wishes};
use crate::{find, hand, run};
use heapglass_event::ring::DRAW_ALL;
use heapglass_report::calls::{Call, Collector, Found};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Heap {
    feed: Feed,
    child: Child,
    lines: ChildStdin,
    answers: ChildStdout,
    collectors: HashMap<usize, Collector>,
}

/// What came of a line.
pub struct Done {
    /// All calls that were made, the C library's own for a new thread among them, in their order.
    pub calls: Vec<Call>,
    /// What the heap said as it stopped the process, which is gone then.
    pub stopped: Option<String>,
}

impl Heap {
    /// A fresh one.
    pub fn begin(settings: Option<OsString>) -> Result<Heap, Failure> {
        let library = find::library()?;
        let refused = |e: io::Error| Failure::ours(format!("the process to play with: {e}"));
        let feed = Feed::create(Wishes { draw: DRAW_ALL, ..Wishes::default() })?;
        feed.listen()?;
        let mut command = Command::new(Path::new("/proc/self/exe"));
        command.arg(hand::WORD.to_string_lossy().as_ref()).arg("answer");
        run::preload(&mut command, &library, false);
        command.env("HEAPGLASS", run::joined(settings, ",", feed.item()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(refused)?;
        let (Some(lines), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::ours("the process to play with has no pipes"));
        };
        Ok(Heap { feed, child, lines, answers, collectors: HashMap::new() })
    }

    /// Has a line carried out.
    pub fn make(&mut self, line: &str) -> io::Result<Done> {
        let mut calls = Vec::new();
        let is_gone = writeln!(self.lines, "{line}").is_err();
        let answered = loop {
            // A heap of many chunks says more than fits at once, and waits for us.
            self.read(&mut calls);
            let mut wait = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            if is_gone || poll(&mut wait, PollTimeout::from(2u8))? > 0 {
                let mut answer = [0];
                break !is_gone && self.answers.read(&mut answer)? == 1;
            }
        };
        self.read(&mut calls);
        let mut stopped = None;
        if !answered {
            let mut said = Vec::new();
            if let Some(errors) = &mut self.child.stderr {
                errors.read_to_end(&mut said)?;
            }
            self.child.wait()?;
            for collector in self.collectors.values_mut() {
                collector.end_unfinished(&mut |found| keep(&mut calls, found));
            }
            stopped = Some(String::from_utf8_lossy(&said).trim_end().to_owned());
        }
        calls.sort_by_key(|call| call.began);
        Ok(Done { calls, stopped })
    }

    fn read(&mut self, calls: &mut Vec<Call>) {
        let collectors = &mut self.collectors;
        self.feed.read(|ring, _, records| {
            let collector = collectors.entry(ring).or_default();
            for record in records {
                collector.take(*record, |found| keep(calls, found));
            }
        });
        self.feed.reclaim(false, |ring| drop(collectors.remove(&ring)));
    }
}

fn keep(calls: &mut Vec<Call>, found: Found) {
    if let Found::Call(call) = found {
        calls.push(call.clone());
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
