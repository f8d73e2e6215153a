//! Running a program under strace and counting its system calls between marks (`mark()` in `tests/contract/hg.h`).

use crate::{Door, Ran, built, root, run};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The calls by which memory comes from and goes to the kernel.
pub const MEMORY: &str = "brk,mmap,munmap,mremap,madvise,mprotect";

/// One call as strace tells it.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    pub args: Vec<String>,
    pub result: String,
    /// Name of the last mark before it, empty before the first.
    pub after: String,
}

impl Call {
    pub fn number(text: &str) -> u64 {
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("not a number: {text}")),
            None => text.parse().unwrap_or_else(|_| panic!("not a number: {text}")),
        }
    }

    /// Where this call moved the break to; `None` for other calls, mere questions and refusals.
    pub fn break_move(&self) -> Option<u64> {
        let asked = self.name == "brk" && self.args[0] != "NULL" && self.args[0] != "0";
        (asked && self.args[0] == self.result).then(|| Call::number(&self.result))
    }
}

/// What came of a traced run.
#[derive(Debug)]
pub struct Traced {
    pub ran: Ran,
    pub calls: Vec<Call>,
}

impl Traced {
    /// Calls after the mark of this name and before the next one.
    #[track_caller]
    pub fn between(&self, mark: &str) -> Vec<&Call> {
        assert!(
            self.calls.iter().any(|c| c.name == "MARK" && c.after == mark),
            "the program never came to mark {mark}: {self:#?}"
        );
        self.calls.iter().filter(|c| c.after == mark && c.name != "MARK").collect()
    }

    #[track_caller]
    pub fn named(&self, mark: &str, name: &str) -> Vec<&Call> {
        self.between(mark).into_iter().filter(|c| c.name == name).collect()
    }

    /// The breaks moved to after this mark, in order.
    #[track_caller]
    pub fn break_moves(&self, mark: &str) -> Vec<u64> {
        self.between(mark).iter().filter_map(|c| c.break_move()).collect()
    }
}

/// Runs a program through a door under strace. `calls` is strace's own list of names, without `write`, or `all`.
#[track_caller]
pub fn trace(program: &Path, door: Door, args: &[&str], env: &[(&str, &str)], calls: &str) -> Traced {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let dir = root().join("target/test-programs");
    let log = dir.join(format!("strace.{}.{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed)));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-s", "256", "-o"]).arg(&log);
    strace.arg("-e").arg(if calls == "all" { "trace=all".to_string() } else { format!("trace=write,{calls}") });
    // The variables are the program's: strace itself stays on its own allocator.
    if door == Door::Preload {
        strace.arg("-E").arg(format!("LD_PRELOAD={}", built("libheapglass.so").display()));
    }
    if door != Door::Libc {
        strace.arg("-E").arg("HG_EXPECT=1");
    }
    for (key, value) in env {
        strace.arg("-E").arg(format!("{key}={value}"));
    }
    let ran = run(strace.arg(program).args(args));
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    Traced { ran, calls: parse(&text) }
}

/// Lines are `PID name(args) = result`; a call that another thread interrupts comes in two halves, put together here.
fn parse(text: &str) -> Vec<Call> {
    let mut halves: Vec<(String, String)> = Vec::new();
    let mut calls = Vec::new();
    let mut after = String::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let whole = if let Some(half) = rest.strip_suffix(" <unfinished ...>") {
            halves.push((pid.to_string(), half.to_string()));
            continue;
        } else if rest.starts_with("<... ") {
            let at = halves.iter().position(|(p, _)| p == pid).expect("a second half without a first");
            let end = rest.split_once(" resumed>").map_or("", |(_, end)| end);
            format!("{}{end}", halves.remove(at).1)
        } else {
            rest.to_string()
        };
        let Some((head, result)) = whole.rsplit_once(" = ") else { continue };
        let Some((name, args)) = head.trim_end().split_once('(') else { continue };
        let args = args.trim_end().trim_end_matches(')');
        let result = result.split(' ').next().unwrap_or("").to_string();
        if let Some(mark) = args.strip_prefix("-1, \"MARK ") {
            after = mark.split('"').next().unwrap_or("").to_string();
            calls.push(Call { name: "MARK".into(), args: Vec::new(), result, after: after.clone() });
            continue;
        }
        let args = args.split(", ").map(str::to_string).collect();
        calls.push(Call { name: name.to_string(), args, result, after: after.clone() });
    }
    calls
}
