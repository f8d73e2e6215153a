//! A program that got somewhere, said so, and waits there until it is let go: for those who look at it from outside.

use std::io::{BufRead, BufReader};
use std::io::{Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said before it was ready.
    pub said: Vec<String>,
}

impl Held {
    /// Starts it and waits until it says "ready".
    #[track_caller]
    pub fn start(command: &mut Command) -> Held {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} did not start: {e}"));
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut held = Held { child, stdin, lines, said: Vec::new() };
        held.listen();
        held
    }

    fn listen(&mut self) {
        let said = self.lines.by_ref().map(Result::unwrap).take_while(|line| line != "ready");
        self.said = said.collect();
    }

    /// Lets it do one step more, to the next time that it says "ready".
    pub fn step(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.listen();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines of a word, an address and a number, behind this word.
    pub fn told(&self, word: &str) -> Vec<(u64, u64)> {
        let parts = self.said.iter().filter_map(|line| {
            let mut words = line.split(' ');
            (words.next() == Some(word)).then(|| {
                let address = words.next().unwrap().trim_start_matches("0x");
                (u64::from_str_radix(address, 16).unwrap(), words.next().unwrap().parse().unwrap())
            })
        });
        parts.collect()
    }

    /// Lets it go, and waits for its end. Its status is 0 if nothing went wrong.
    #[track_caller]
    pub fn let_go(mut self) {
        self.stdin = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:?}", self.said);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stdin = None;
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
