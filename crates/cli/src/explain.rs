//! `heapglass explain`: calls told step by step. The calls are made for real, by `hand` or by the program, and what is told is
//! what the heap said while it served them.

use crate::failure::Failure;
use crate::feed::{Feed, Thread, Wishes};
use crate::hand;
use crate::play::words::Names;
use crate::supervise::Ended;
use crate::trace::{Listener, observe, observe_command};
use crate::{capture, find, run};
use heapglass_event::record::{Kind, Record};
use heapglass_event::ring::DRAW_ALL;
use heapglass_report::calls::{Call, Collector, Found};
use heapglass_report::explain::explain;
use heapglass_report::paint::paint;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Tell a call step by step, with the heap before and after it
///
/// Makes the calls of SCRIPT on a fresh heap, in a process of their own, and tells the steps by which each was served: which lists were
/// looked at and what was found, what was split or merged, what was asked of the kernel; then draws the heap before and after.
/// With --at it tells the Nth call of a recording, or that PROGRAM makes.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Explain {
    /// The textbook's allocator: without thread caches, so that every call goes through the bins
    #[arg(long)]
    classic: bool,

    /// Explain the Nth call of a recording, or of a program
    #[arg(long, value_name = "N")]
    at: Option<u64>,

    /// Calls, set apart by semicolons: 'a=malloc(32); b=realloc(a, 100); free(b)'. With --at: a file that `heapglass record` made
    #[arg(required_unless_present = "words", conflicts_with = "words", value_name = "SCRIPT|FILE")]
    script: Option<OsString>,

    /// The program whose call it is, and its arguments
    #[arg(last = true, num_args = 1.., requires = "at", value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

const AFTER_HELP: &str = "\
SCRIPT knows malloc(SIZE), calloc(COUNT, SIZE), realloc(NAME, SIZE), memalign(ALIGN, SIZE), free(NAME), malloc_trim(PAD); NAME is one \
that a call was given with NAME=, or NULL. Sizes may have K, M or G behind them. Freeing a name twice is allowed: it shows what \
is done about it.";

impl Explain {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        if let (Some(number), Some(file)) = (self.at, &self.script) {
            if self.classic {
                return Err(Failure::ours("a recording is as it was recorded: --classic belongs to `heapglass run`"));
            }
            let text = capture::explain::told(Path::new(file), number)?;
            let _ = io::stdout().write_all(shown(text).as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
        if self.classic {
            let words = run::joined(std::env::var_os("HEAPGLASS"), ",", "tcache:0");
            return self.told(Some(words));
        }
        self.told(None)
    }

    fn told(self, settings: Option<OsString>) -> Result<ExitCode, Failure> {
        let wishes = Wishes { draw: self.at.unwrap_or(DRAW_ALL), ..Wishes::default() };
        let (ended, calls, wanted) = match self.script {
            Some(script) => {
                let steps = parse(&script.to_string_lossy()).map_err(Failure::ours)?;
                let text: String = steps.iter().map(|step| format!("{step}\n")).collect();
                if text.len() > hand::ROOM {
                    return Err(Failure::ours("the script is too long"));
                }
                let (ended, calls) = by_hand(text, settings, wishes)?;
                (ended, calls, steps.len())
            }
            None => {
                let (ended, calls) = observe(self.words, wishes, settings, Collected::default())?;
                (ended, calls, 1)
            }
        };
        let calls = calls.drawn();
        // What the hand's own start took comes first.
        let told = &calls[calls.len().saturating_sub(wanted)..];
        // A reader who has seen enough has closed it.
        let _ = io::stdout().write_all(shown(explain(told)).as_bytes());
        match (self.at, told.is_empty()) {
            (Some(number), true) => Err(Failure::ours(format!("the program made fewer than {number} calls"))),
            // A script may lead to the process's being stopped, which is then what was asked about.
            (None, false) => Ok(ExitCode::SUCCESS),
            _ => Ok(ended.pass_on()),
        }
    }
}

/// In colour, where standard output is a terminal.
pub fn shown(text: String) -> String {
    let has_colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if has_colour { paint(&text) } else { text }
}

/// Lets the hand make the calls.
fn by_hand(text: String, settings: Option<OsString>, wishes: Wishes) -> Result<(Ended, Collected), Failure> {
    let library = find::library()?;
    let (reading, mut writing) = io::pipe().map_err(|e| Failure::ours(e.to_string()))?;
    // It fits: a pipe holds as much as the hand reads.
    writing.write_all(text.as_bytes()).map_err(|e| Failure::ours(e.to_string()))?;
    drop(writing);
    let myself = Path::new("/proc/self/exe");
    let mut command = Command::new(myself);
    command.arg(hand::WORD.to_string_lossy().as_ref()).stdin(Stdio::from(reading));
    run::preload(&mut command, &library, false);
    observe_command(command, myself, wishes, settings, Collected::default())
}

/// Keeps the calls that were drawn.
#[derive(Default)]
pub struct Collected {
    collectors: HashMap<usize, Collector>,
    calls: Vec<Call>,
}

impl Collected {
    fn keep(calls: &mut Vec<Call>, found: Found) {
        if let Found::Call(call) = found
            && call.has(Kind::Draw)
        {
            calls.push(call.clone());
        }
    }

    /// All of them, in the order of time.
    pub fn drawn(mut self) -> Vec<Call> {
        for collector in self.collectors.values_mut() {
            collector.end_unfinished(&mut |found| Collected::keep(&mut self.calls, found));
        }
        self.calls.sort_by_key(|call| call.began);
        self.calls
    }
}

impl Listener for Collected {
    fn hear(&mut self, ring: usize, _: Thread, records: &[Record]) {
        let collector = self.collectors.entry(ring).or_default();
        for record in records {
            collector.take(*record, |found| Collected::keep(&mut self.calls, found));
        }
    }

    fn leave(&mut self, ring: usize) {
        if let Some(mut collector) = self.collectors.remove(&ring) {
            collector.end_unfinished(&mut |found| Collected::keep(&mut self.calls, found));
        }
    }

    fn pause(&mut self, _: &Feed) -> bool {
        true
    }
}

/// Turns a script into the hand's instructions, one for each call.
pub fn parse(script: &str) -> Result<Vec<String>, String> {
    let mut names = Names::default();
    let calls = script.split(';').map(str::trim).filter(|call| !call.is_empty());
    let steps = calls.map(|call| names.step(call)).collect::<Result<Vec<String>, String>>()?;
    if steps.is_empty() { Err("no call in the script".into()) } else { Ok(steps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_become_instructions() {
        let steps = parse("a=malloc(32); b = calloc(2, 1K); a=realloc(a, 100); free(b);free(a); free(NULL); malloc(8)")
            .unwrap();
        assert_eq!(steps, ["m 1 32", "c 2 2 1024", "r 1 1 100", "f 2", "f 1", "f 0", "m 0 8"]);
        assert_eq!(parse("p=memalign(64, 10); malloc_trim(0)").unwrap(), ["a 1 64 10", "t 0"]);
    }

    #[test]
    fn what_is_wrong_with_a_script_is_said() {
        for wrong in [
            "",
            "malloc",
            "malloc(",
            "malloc()",
            "malloc(x)",
            "free(a)",
            "mallok(3)",
            "memalign(3, 8)",
            "a b=malloc(1)",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("free(a)").unwrap_err().contains("nothing was given that name"));
    }
}
