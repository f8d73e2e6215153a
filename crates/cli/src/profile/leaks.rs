//! `heapglass leaks`: what a program had still allocated at its end, and what of that it couldn't get at any more, by call stack.

use super::{bytes, failed};
use crate::failure::Failure;
use crate::feed::Wishes;
use crate::heap::launch;
use crate::trace::Reading;
use heapglass_inspect::Target;
use heapglass_inspect::core::Core;
use heapglass_inspect::reach::{self, Block, Reach, Registers};
use heapglass_profile::model::{Entry, Profile, number};
use heapglass_profile::suppress::Rules;
use heapglass_profile::tree::calls;
use heapglass_sampled::ears::Ears;
use heapglass_sampled::names;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show what a program still had allocated at its end, by call stack
///
/// Runs PROGRAM, stops it as it ends, and looks which chunks nothing leads to any more: no variable, stack or register, and no chunk
/// that something leads to. Each is told with who allocated it.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Leaks {
    /// Chunks that something still leads to as well
    #[arg(long)]
    all: bool,

    /// Rules in LeakSanitizer's syntax (leak:PATTERN) for what isn't to be told
    #[arg(long, value_name = "FILE")]
    suppressions: Vec<PathBuf>,

    /// Exit with status 1 if there is any of this: lost chunks, any chunk still allocated, or more than so many lost bytes
    #[arg(long, value_name = "lost|allocated|BYTES", value_parser = limit)]
    fail_if: Option<Limit>,

    /// Stacks that are told
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,

    /// Sample only one in so many bytes: faster; other chunks are told without a stack
    #[arg(long, value_name = "BYTES", default_value = "1", value_parser = bytes)]
    interval: u64,

    /// A running process on Heapglass, as it is now: what is lost, without stacks
    #[arg(short, long, value_name = "PID", conflicts_with = "words")]
    pid: Option<u32>,

    /// A core file of one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "pid"])]
    core: Option<PathBuf>,

    /// The program, found as a shell finds it, and its arguments
    #[arg(required_unless_present_any = ["pid", "core"], num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Exit status: PROGRAM's own, or 1 by --fail-if.";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Lost,
    Allocated,
    Bytes(u64),
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "lost" => Ok(Limit::Lost),
        "allocated" => Ok(Limit::Allocated),
        other => bytes(other).map(Limit::Bytes),
    }
}

/// Chunks that are told together.
#[derive(Default)]
struct Group {
    lost: (u64, u64),
    by_lost: (u64, u64),
    reachable: (u64, u64),
}

impl Group {
    fn add(&mut self, reach: Reach, bytes: u64) {
        let sum = match reach {
            Reach::Lost => &mut self.lost,
            Reach::ByLost => &mut self.by_lost,
            Reach::Reachable => &mut self.reachable,
        };
        *sum = (sum.0 + 1, sum.1.saturating_add(bytes));
    }
}

impl Leaks {
    pub fn carry_out(mut self) -> Result<ExitCode, Failure> {
        let rules = self.rules()?;
        if self.pid.is_some() || self.core.is_some() {
            return self.look_at_others();
        }
        let words = std::mem::take(&mut self.words);
        let wishes = Wishes { interval: self.interval, stack: 32 << 10, ..Wishes::default() };
        let reading = Reading::start(wishes, Ears::new(self.interval))?;
        let mut blocks = Vec::new();
        let status = launch::watched(
            words,
            Some(reading.feed.item()),
            |_| {},
            |pid| {
                let target = crate::heap::open(pid, false)?;
                let registers = registers(pid);
                blocks = reach::scan(&target, &registers).map_err(|e| said(&target, &e))?;
                Ok(())
            },
        );
        let mut ears = reading.end()?;
        let status = status?;
        let (mut profile, files) = ears.finish();
        names::name(&mut profile, &files, &[]);
        let stacks: HashMap<u64, (u32, u64)> =
            ears.collector.live().map(|(address, _, key)| (address, (key.stack, key.bytes))).collect();
        let is_bad = self.tell(&blocks, &stacks, &profile, &rules);
        Ok(if is_bad { ExitCode::FAILURE } else { status })
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let mut text = String::new();
        for path in &self.suppressions {
            text += &std::fs::read_to_string(path).map_err(|e| failed(path, e))?;
            text.push('\n');
        }
        Rules::parse(&text).map_err(|e| Failure::ours(format!("suppressions: {e}")))
    }

    /// A process that goes on, or a core file: nobody knows who allocated what.
    fn look_at_others(&self) -> Result<ExitCode, Failure> {
        let (target, registers) = match (self.pid, &self.core) {
            (Some(pid), _) => {
                let target = crate::heap::open(pid, true)?;
                let registers = registers(pid);
                (target, registers)
            }
            (_, Some(path)) => {
                let failed = |e| Failure::ours(format!("{}: {e}", path.display()));
                let registers = Core::open(path).map_err(failed)?.registers().to_vec();
                (Target::core(path).map_err(failed)?, registers)
            }
            _ => return Err(Failure::ours("there is nothing to look at")),
        };
        let blocks = reach::scan(&target, &registers).map_err(|e| said(&target, &e))?;
        drop(target);
        let is_bad = self.tell(&blocks, &HashMap::new(), &Profile::new(), &Rules::default());
        Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Prints it all; `true` where `--fail-if` says so.
    fn tell(&self, blocks: &[Block], stacks: &HashMap<u64, (u32, u64)>, profile: &Profile, rules: &Rules) -> bool {
        let mut groups: BTreeMap<Option<u32>, Group> = BTreeMap::new();
        let mut sums = Group::default();
        let mut suppressed: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for block in blocks {
            let known = stacks.get(&block.user);
            let bytes = known.map_or(block.bytes, |(_, bytes)| *bytes);
            let entry = known.map(|(stack, _)| Entry { stack: *stack, ..Entry::default() });
            let rule = entry.as_ref().and_then(|entry| rules.matching(profile.frames_of(entry), &profile.modules));
            if let Some(rule) = rule.filter(|_| block.reach != Reach::Reachable) {
                let sum = suppressed.entry(rule).or_default();
                *sum = (sum.0 + 1, sum.1.saturating_add(bytes));
                continue;
            }
            groups.entry(known.map(|(stack, _)| *stack)).or_default().add(block.reach, bytes);
            sums.add(block.reach, bytes);
        }
        let mut text = String::new();
        let line = |text: &mut String, name: &str, (count, bytes): (u64, u64)| {
            let _ =
                writeln!(text, "  {name:<22}{:>14} bytes in {:>8} chunks", number(bytes as f64), number(count as f64));
        };
        text += "heapglass: still allocated\n";
        line(&mut text, "lost", sums.lost);
        line(&mut text, "lost with those", sums.by_lost);
        line(&mut text, "still reachable", sums.reachable);
        for (rule, sum) in &suppressed {
            line(&mut text, &format!("by leak:{rule}"), *sum);
        }
        let weight = |group: &Group| match self.all {
            true => group.lost.1.saturating_add(group.by_lost.1).saturating_add(group.reachable.1),
            false => group.lost.1.saturating_add(group.by_lost.1),
        };
        let is_told = |group: &Group| group.lost.0 + group.by_lost.0 > 0 || self.all;
        let mut order: Vec<_> = groups.iter().filter(|(_, group)| is_told(group)).collect();
        order.sort_by_key(|(stack, group)| (std::cmp::Reverse((group.lost.1, weight(group))), **stack));
        for (stack, group) in order.iter().take(self.rows) {
            let parts =
                [("lost", group.lost), ("lost with others", group.by_lost), ("still reachable", group.reachable)];
            let parts =
                parts.into_iter().filter(|(name, (count, _))| *count > 0 && (self.all || *name != "still reachable"));
            let parts: Vec<String> = parts
                .map(|(name, (count, bytes))| {
                    let chunks = if count == 1 { "chunk" } else { "chunks" };
                    format!("{} bytes in {} {chunks} {name}", number(bytes as f64), number(count as f64))
                })
                .collect();
            let _ = writeln!(text, "\n{}", parts.join(", "));
            match stack {
                Some(stack) => {
                    for call in calls(profile, &Entry { stack: *stack, ..Entry::default() }) {
                        let place = if call.file.is_empty() {
                            String::new()
                        } else {
                            format!(" at {}:{}", call.file, call.line)
                        };
                        let _ = writeln!(text, "    {}{place}", call.function);
                    }
                }
                None => text += "    nobody knows who allocated them\n",
            }
        }
        if order.len() > self.rows {
            let _ = writeln!(text, "\nand {} more stacks", order.len() - self.rows);
        }
        eprint!("{text}");
        match self.fail_if {
            None => false,
            Some(Limit::Lost) => sums.lost.0 + sums.by_lost.0 > 0,
            Some(Limit::Allocated) => sums.lost.0 + sums.by_lost.0 + sums.reachable.0 > 0,
            Some(Limit::Bytes(most)) => sums.lost.1.saturating_add(sums.by_lost.1) > most,
        }
    }
}

fn said(target: &Target, trouble: &heapglass_inspect::Trouble) -> Failure {
    Failure::ours(format!("{} {trouble}", target.name))
}

/// Of those threads that are stopped, and by this one.
#[cfg(target_arch = "x86_64")]
fn registers(pid: u32) -> Vec<Registers> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let ids = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of = |id: i32| {
        let r = nix::sys::ptrace::getregs(nix::unistd::Pid::from_raw(id)).ok()?;
        let words = vec![
            r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15,
            r.orig_rax,
        ];
        Some(Registers { sp: r.rsp, thread: r.fs_base, words })
    };
    ids.filter_map(of).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn registers(_: u32) -> Vec<Registers> {
    Vec::new()
}
