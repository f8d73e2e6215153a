//! `heapglass bench --suite`: our own workloads and real programs under every allocator. In each round each item runs once
//! under each allocator, and another allocator goes first from round to round and from item to item.

pub mod folder;
mod inputs;
mod items;
mod redis;

use crate::bench;
use crate::exports::Exports;
use crate::failure::Failure;
use crate::{find, program};
use folder::Folder;
use heapglass_bench::plan;
use heapglass_bench::report::{Report, Row};
use heapglass_bench::rivals::Allocator;
use heapglass_bench::spread::RUNS_FOR_VERDICT;
use heapglass_bench::suite::{self, Suite, csv, json, markdown, svg, table};
use items::{Item, Place};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What was said on the command line.
pub struct Asked {
    pub names: Vec<String>,
    pub runs: Option<usize>,
    pub warmup: Option<usize>,
    pub with: Vec<String>,
    pub list: bool,
    pub scale: f64,
    pub exports: Exports,
}

/// An item with what has been measured of it.
struct Measured {
    item: Item,
    report: Report,
    expected: u64,
}

impl Asked {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        if self.list {
            let _ = io::stdout().write_all(items::listed().as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
        let wanted = items::wanted(&self.names).map_err(Failure::ours)?;
        let library = find::library()?;
        let allocators = bench::allocators(&library, &self.with)?;
        let files = self.exports.open([json::render, csv::render, markdown::render, svg::render])?;
        bench::warn_of_preload();
        let folder = Folder::make()?;
        let mut suite = Suite { scale: self.scale, items: Vec::new(), left_out: Vec::new() };
        let mut all = Vec::new();
        for (name, make) in wanted {
            bench::progress(&format!("preparing {name}"));
            let place = Place { dir: folder.path().join(&name), scale: self.scale };
            match make(&place).and_then(|item| self.begun(item, &library, &allocators)) {
                Ok(measured) => all.push(measured),
                Err(why) => suite.left_out.push((name, why)),
            }
        }
        self.measure(&mut all)?;
        bench::clear_progress();
        suite.items = all.into_iter().map(Measured::finished).collect();
        files.write(&suite)?;
        let _ = io::stdout().write_all(table::render(&suite).as_bytes());
        if suite.items.is_empty() {
            return Err(Failure::ours("nothing of the suite could be run"));
        }
        Ok(if suite.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Runs an item once under the reference. What it puts out then is what it has to put out.
    fn begun(&self, item: Item, library: &Path, allocators: &[Allocator]) -> Result<Measured, String> {
        program::check(&item.image, library).map_err(|failure| failure.line)?;
        if program::has_own_malloc(&item.image) {
            return Err(format!("{}: defines malloc itself, so it never asks what is preloaded", item.image.display()));
        }
        let report = Report {
            name: item.name.clone(),
            words: item.launch.words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            warmup: self.warmup.unwrap_or(0),
            rounds: Vec::new(),
            rows: allocators.iter().cloned().map(Row::new).collect(),
            floor_bytes: 0,
        };
        let mut measured = Measured { item, report, expected: 0 };
        let (_, put_out) = measured.once(0).map_err(|why| format!("under {}: {why}", allocators[0].name))?;
        measured.expected = put_out;
        Ok(measured)
    }

    fn measure(&self, all: &mut [Measured]) -> Result<(), Failure> {
        let warmup = self.warmup.unwrap_or(0);
        let rounds = warmup + self.runs.unwrap_or(RUNS_FOR_VERDICT);
        for round in 0..rounds {
            for (number, measured) in all.iter_mut().enumerate() {
                let rows = &measured.report.rows;
                let order = (0..rows.len()).filter(|at| rows[*at].fault.is_none()).collect();
                let order = plan::order(round + number, order);
                for at in &order {
                    let allocator = &measured.report.rows[*at].allocator.name;
                    bench::progress(&format!("round {} of {rounds}: {}, {allocator}", round + 1, measured.item.name));
                    measured.run(*at, round >= warmup);
                }
                measured.report.rounds.push(order);
            }
        }
        Ok(())
    }
}

impl Measured {
    fn run(&mut self, at: usize, counts: bool) {
        let ran = self.once(at);
        let row = &mut self.report.rows[at];
        match ran {
            Ok((_, put_out)) if put_out != self.expected => {
                row.fault = Some("puts out something else than under the C library".into());
            }
            Ok((ran, _)) => {
                self.report.floor_bytes = self.report.floor_bytes.max(ran.floor_bytes);
                if counts {
                    row.samples.push(ran.sample);
                }
            }
            Err(why) => row.fault = Some(why),
        }
    }

    /// One run, and a digest of what it put out. The error says what went wrong.
    fn once(&self, at: usize) -> Result<(crate::launch::Ran, u64), String> {
        let own = self.report.rows[at].allocator.library.as_deref();
        let preload = if at == 0 { self.item.reference } else { own };
        let said = |e: io::Error| e.to_string();
        if let Some((from, to)) = &self.item.fresh {
            inputs::copy(from, to).map_err(said)?;
        }
        let mut running = self.item.launch.start(preload).map_err(said)?;
        let answers = self.item.client.as_ref().map(|client| client.talk(&mut running));
        let ran = running.finish().map_err(|e| match (e.kind(), &answers) {
            (io::ErrorKind::TimedOut, Some(Err(why))) => why.clone(),
            (io::ErrorKind::TimedOut, _) => "stopped, since it took too long".into(),
            _ => e.to_string(),
        })?;
        if let Some(why) = ran.fault(preload, false) {
            return Err(why);
        }
        let mut digest = DefaultHasher::new();
        match answers {
            Some(answers) => answers?.hash(&mut digest),
            None => (self.item.reads)(&ran.output).hash(&mut digest),
        }
        for path in &self.item.results {
            inputs::contents(path).map_err(|e| format!("{}: {e}", path.display()))?.hash(&mut digest);
        }
        Ok((ran, digest.finish()))
    }

    fn finished(self) -> suite::Item {
        let Item { about, is_own, image, version, .. } = self.item;
        suite::Item { about, is_own, program: image.to_string_lossy().into_owned(), version, report: self.report }
    }
}
