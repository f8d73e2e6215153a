//! `heapglass play`: a real heap to drive by hand.

pub mod game;
mod heap;
mod screen;
pub mod words;

use crate::failure::Failure;
use crate::{explain, run};
use game::Game;
use heapglass_report::picture::LEGEND;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Drive a real heap by hand
///
/// A prompt for calls: malloc 64, free a, realloc a 200, t2: malloc 64 for another thread. Each is made by a process of its own, and
/// then told in steps, with the heap drawn, as `heapglass explain` does. In a terminal it takes the whole screen; otherwise, and
/// with --script, it is plain text.
#[derive(clap::Args)]
pub struct Play {
    /// The textbook's allocator: without thread caches, so that every call goes through the bins
    #[arg(long)]
    classic: bool,

    /// Lines from a file instead of typed ones; the first that is wrong ends it
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Plain text in a terminal, too
    #[arg(long)]
    plain: bool,
}

impl Play {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let mut settings = std::env::var_os("HEAPGLASS");
        if self.classic {
            settings = Some(run::joined(settings, ",", "tcache:0"));
        }
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if let Some(file) = &self.script {
            let refused = |e: io::Error| Failure::ours(format!("{}: {e}", file.display()));
            let text = fs::read_to_string(file).map_err(refused)?;
            return scripted(Game::new(settings)?, &text, &file.display().to_string());
        }
        if is_terminal && !self.plain {
            return screen::shown(Game::new(settings)?);
        }
        typed(Game::new(settings)?, is_terminal)
    }
}

fn scripted(mut game: Game, text: &str, name: &str) -> Result<ExitCode, Failure> {
    for (number, line) in (1..).zip(text.lines()) {
        let told = game.line(line)?;
        if !put(line, &told.drawn) || told.quits {
            return Ok(ExitCode::SUCCESS);
        }
        if told.was_wrong {
            return Err(Failure::ours(format!("{name}:{number}: {}", told.text.trim())));
        }
    }
    put("", LEGEND);
    Ok(ExitCode::SUCCESS)
}

/// Lines as they come, with a prompt where somebody sits there.
fn typed(mut game: Game, prompts: bool) -> Result<ExitCode, Failure> {
    let mut lines = io::stdin().lock().lines();
    loop {
        if prompts {
            let _ = write!(io::stdout(), "> ");
            let _ = io::stdout().flush();
        }
        let Some(Ok(line)) = lines.next() else { break };
        let told = game.line(&line)?;
        let shown = if prompts { "" } else { &line };
        if !put(shown, &explain::shown(told.drawn)) || told.quits {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `false` once nobody reads any more.
fn put(line: &str, told: &str) -> bool {
    let line = if line.trim().is_empty() { String::new() } else { format!("> {line}\n") };
    io::stdout().write_all(format!("{line}{told}").as_bytes()).and_then(|()| io::stdout().flush()).is_ok()
}
