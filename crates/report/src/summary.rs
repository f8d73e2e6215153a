//! `-c`: a table of the paths that calls took, in the manner of strace's table of system calls, and the system calls beneath.

use crate::calls::Call;
use crate::line::Clock;
use crate::path::{self, Path};
use crate::text::Text;
use heapglass_event::record::{Kernel, Kind, Outcome, Record};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Default)]
pub struct Summary {
    paths: BTreeMap<Path, Row>,
    pub calls: u64,
    kernel: BTreeMap<&'static str, KernelRow>,
}

#[derive(Default)]
pub struct Row {
    pub calls: u64,
    pub ticks: u64,
}

#[derive(Default)]
pub struct KernelRow {
    pub calls: u64,
    pub refused: u64,
    pub gained: u64,
    pub lost: u64,
}

impl Summary {
    /// Counts a call, and what it asked of the kernel, for the last line of a trace.
    pub fn count(&mut self, call: &Call) {
        self.calls += 1;
        call.of(Kind::Kernel).for_each(|record| self.add_kernel(record));
    }

    /// Counts a call by its path too.
    pub fn add(&mut self, call: &Call) {
        self.count(call);
        let row = self.paths.entry(path::of(call)).or_default();
        row.calls += 1;
        row.ticks = row.ticks.saturating_add(call.ended.saturating_sub(call.began));
    }

    pub fn add_kernel(&mut self, record: &Record) {
        let Some(which) = Kernel::from_number(record.n).filter(|_| record.is(Kind::Kernel)) else { return };
        let row = self.kernel.entry(which.name()).or_default();
        row.calls += 1;
        if record.went(Outcome::Refused) {
            row.refused += 1;
            return;
        }
        let add = |sum: &mut u64, bytes| *sum = sum.saturating_add(bytes);
        match which {
            Kernel::Brk if (record.b as i64) < 0 => add(&mut row.lost, (record.b as i64).unsigned_abs()),
            Kernel::Brk | Kernel::Mmap => add(&mut row.gained, record.b),
            Kernel::Munmap | Kernel::Discard => add(&mut row.lost, record.b),
            _ => {}
        }
    }

    /// `12,480 calls, 7 brk, 2 mmap`.
    pub fn counts(&self) -> String {
        let mut text = Vec::new();
        text.grouped(self.calls).text(if self.calls == 1 { " call" } else { " calls" });
        for (name, row) in &self.kernel {
            text.text(", ").grouped(row.calls).text(" ").text(name);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    pub fn paths(&self) -> impl Iterator<Item = (Path, &Row)> {
        self.paths.iter().map(|(path, row)| (*path, row))
    }

    pub fn kernel(&self) -> impl Iterator<Item = (&'static str, &KernelRow)> {
        self.kernel.iter().map(|(name, row)| (*name, row))
    }

    pub fn table(&self, clock: &Clock) -> String {
        let nanos = |ticks| clock.nanos_between(0, ticks);
        let whole = self.paths.values().fold(0, |sum: u64, row| sum.saturating_add(nanos(row.ticks)));
        let mut rows: Vec<_> = self.paths.iter().collect();
        rows.sort_by_key(|(path, row)| (std::cmp::Reverse(row.ticks), **path));
        let mut table = String::from("% time     seconds   ns/call     calls  path\n");
        let rule = "------ ----------- --------- ---------  --------------------------\n";
        table += rule;
        for (path, row) in rows {
            let taken = nanos(row.ticks);
            let _ = writeln!(
                table,
                "{:6.2} {:11.6} {:9} {:9}  {}",
                taken as f64 * 100.0 / whole.max(1) as f64,
                taken as f64 / 1e9,
                taken / row.calls.max(1),
                row.calls,
                path.name()
            );
        }
        table += rule;
        let _ = writeln!(
            table,
            "100.00 {:11.6} {:9} {:9}  total",
            whole as f64 / 1e9,
            whole / self.calls.max(1),
            self.calls
        );
        if !self.kernel.is_empty() {
            table += "\n    calls   refused    bytes gained      bytes lost  system call\n";
            table += "--------- --------- --------------- ---------------  -----------\n";
            for (name, row) in &self.kernel {
                let (gained, lost) = (grouped(row.gained), grouped(row.lost));
                let _ = writeln!(table, "{:9} {:9} {gained:>15} {lost:>15}  {name}", row.calls, row.refused);
            }
        }
        table
    }
}

fn grouped(number: u64) -> String {
    let mut text = Vec::new();
    text.grouped(number);
    String::from_utf8_lossy(&text).into_owned()
}
