//! The command `heapglass`: one file per command, each a struct that clap fills and a method that carries it out. It is a
//! library only so that tests can reach `readers`.

#![deny(unsafe_code)]

mod attach;
mod bench;
mod callers;
mod capture;
mod crash;
mod explain;
mod exports;
mod failure;
mod feed;
mod find;
pub mod hand;
mod heap;
mod launch;
mod output;
mod own_file;
mod play;
mod profile;
mod program;
pub mod readers;
pub mod replay;
mod run;
mod scratch;
mod script;
mod shell;
mod stats;
mod suite;
mod supervise;
mod trace;
mod visit;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use failure::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// Heapglass is a malloc for Linux that you can see through. This command runs programs on it.
#[derive(Parser)]
#[command(
    name = "heapglass",
    version,
    arg_required_else_help = true,
    after_help = "`heapglass PROGRAM ARGS...` is short for `heapglass run -- PROGRAM ARGS...`."
)]
struct Heapglass {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Trace(Box<trace::Trace>),
    Explain(explain::Explain),
    Play(play::Play),
    Record(Box<capture::record::Record>),
    Stats(Box<capture::stats::Stats>),
    Replay(replay::Replay),
    Bench(Box<bench::Bench>),
    Profile(Box<profile::Profile>),
    Leaks(profile::leaks::Leaks),
    Show(profile::files::Show),
    Diff(profile::files::Diff),
    Mark(capture::marks::Mark),
    Export(profile::files::Export),
    Symbolize(profile::files::Symbolize),
    Map(heap::map::MapCommand),
    Ledger(heap::ledger::LedgerCommand),
    Serve(heap::serve::Serve),
    Watch(heap::watch::Watch),
    View(heap::watch::view::View),
    #[command(external_subcommand)]
    Program(Vec<OsString>),
}

/// All of the command, as if it were started with the words of this process.
pub fn main() -> ExitCode {
    // Before anything else is done: all memory that is touched here would count as the measured program's.
    if std::env::args_os().nth(1).is_some_and(|word| word == launch::WORD) {
        return launch::main();
    }
    let parsed = match Heapglass::try_parse() {
        Ok(parsed) => parsed,
        Err(said) => {
            // Whatever fails from here on, the reader has been told all there is.
            let _ = said.print();
            return match said.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(failure::OURS),
            };
        }
    };
    let done = match parsed.command {
        Command::Run(run) => run.carry_out(),
        Command::Trace(trace) => trace.carry_out(),
        Command::Explain(explain) => explain.carry_out(),
        Command::Play(play) => play.carry_out(),
        Command::Record(record) => record.carry_out(),
        Command::Stats(stats) => stats.carry_out(),
        Command::Replay(replay) => replay.carry_out(),
        Command::Bench(bench) => bench.carry_out(),
        Command::Profile(profile) => profile.carry_out(),
        Command::Leaks(leaks) => leaks.carry_out(),
        Command::Show(show) => show.carry_out(),
        Command::Diff(diff) => diff.carry_out(),
        Command::Mark(mark) => mark.carry_out(),
        Command::Export(export) => export.carry_out(),
        Command::Symbolize(symbolize) => symbolize.carry_out(),
        Command::Map(map) => map.carry_out(),
        Command::Ledger(ledger) => ledger.carry_out(),
        Command::Serve(serve) => serve.carry_out(),
        Command::Watch(watch) => watch.carry_out(),
        Command::View(view) => view.carry_out(),
        Command::Program(words) => run::Run::plain(words).carry_out(),
    };
    done.unwrap_or_else(|Failure { status, line }| {
        eprintln!("heapglass: {line}");
        ExitCode::from(status)
    })
}
