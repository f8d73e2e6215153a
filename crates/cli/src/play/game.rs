//! A line typed, carried out and told: the same for a terminal, a pipe and a script.

use super::heap::{Done, Heap};
use super::words::{Names, ended_thread};
use crate::failure::Failure;
use heapglass_event::record::{Call as Function, Kind};
use heapglass_report::calls::Call;
use heapglass_report::explain::{Teller, steps};
use heapglass_report::picture::{LEGEND, Picture};
use std::ffi::OsString;

pub const HELP: &str = "\
\x20 malloc 64, calloc 4 16, memalign 64 100      what comes back is named a, b, c ...; or x = malloc 64
  realloc a 200, free a, trim                  sizes may have K, M or G behind them; malloc(64) will do, too
  t2: malloc 64                                the same by another thread, up to t9; t2: end is its end
  heap                                         the whole heap as it is
  explain                                      the last step again, with the heap before and after it
  reset                                        a fresh heap
  help, quit
";

pub struct Game {
    settings: Option<OsString>,
    heap: Option<Heap>,
    names: Names,
    teller: Teller,
    /// The last step, with the heap before and after it.
    last: String,
    /// The heap as it was told last, and before that.
    pub now: Picture,
    pub before: Picture,
}

/// What is to be shown of a line.
#[derive(Default)]
pub struct Told {
    /// The steps, or what was wrong.
    pub text: String,
    /// The same with the heap drawn before and after, as `explain` would.
    pub drawn: String,
    pub quits: bool,
    pub was_wrong: bool,
}

impl Told {
    fn of(text: impl Into<String>) -> Told {
        let text = text.into();
        Told { drawn: text.clone(), text, ..Told::default() }
    }

    fn wrong(text: impl Into<String>) -> Told {
        Told { was_wrong: true, ..Told::of(format!("  {}\n", text.into())) }
    }
}

impl Game {
    pub fn new(settings: Option<OsString>) -> Result<Game, Failure> {
        let mut game = Game {
            settings,
            heap: None,
            names: Names::default(),
            teller: Teller::default(),
            last: String::new(),
            now: Picture::default(),
            before: Picture::default(),
        };
        game.reset()?;
        Ok(game)
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.heap = Some(Heap::begin(self.settings.clone())?);
        self.names = Names::that_gives();
        self.teller = Teller::default();
        self.last.clear();
        (self.now, self.before) = Default::default();
        Ok(())
    }

    /// Carries out a line, which may have several calls set apart by semicolons.
    pub fn line(&mut self, line: &str) -> Result<Told, Failure> {
        let mut all = Told::default();
        let line = line.split('#').next().unwrap_or("");
        for part in line.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let told = self.part(part)?;
            all.text += &told.text;
            all.drawn += &told.drawn;
            all.quits |= told.quits;
            all.was_wrong |= told.was_wrong;
            if told.quits || told.was_wrong {
                break;
            }
        }
        Ok(all)
    }

    fn part(&mut self, part: &str) -> Result<Told, Failure> {
        match part {
            "help" | "?" => return Ok(Told::of(format!("{HELP}\n{LEGEND}"))),
            "quit" | "exit" | "q" => return Ok(Told { quits: true, ..Told::default() }),
            "heap" => return Ok(Told::of(self.now.draw(&Picture::default()))),
            "explain" if self.last.is_empty() => return Ok(Told::wrong("nothing was done yet")),
            "explain" => return Ok(Told::of(self.last.clone())),
            "reset" => {
                self.reset()?;
                return Ok(Told::of("  a fresh heap\n"));
            }
            _ => {}
        }
        let ended = match ended_thread(part) {
            Ok(ended) => ended,
            Err(why) => return Ok(Told::wrong(why)),
        };
        let (step, name) = match ended {
            Some(thread) => (format!("{thread} e"), None),
            None => match self.names.step(part) {
                Ok(step) => {
                    let name = self.names.of(&step).map(str::to_owned);
                    (step, name)
                }
                Err(why) => return Ok(Told::wrong(why)),
            },
        };
        let Some(heap) = &mut self.heap else { return Ok(Told::wrong("there is no heap: reset")) };
        let done = heap.make(&step).map_err(|e| Failure::ours(format!("the process to play with: {e}")))?;
        Ok(self.tell(done, name))
    }

    fn tell(&mut self, done: Done, name: Option<String>) -> Told {
        let mut told = Told::default();
        // Around a thread's begin and end the C library makes calls of its own.
        let end = done.calls.iter().position(|call| call.function == Some(Function::ThreadEnd));
        let asked = end.or(done.calls.len().checked_sub(1));
        for (number, call) in done.calls.iter().enumerate() {
            if Some(number) != asked && !call.has(Kind::Null) {
                let steps = steps(call);
                let aside = format!("  by the C library: {}\n", steps.lines().next().unwrap_or_default());
                told.text += &aside;
                told.drawn += &aside;
            }
            if Some(number) != asked {
                continue;
            }
            let said = named(&steps(call), call, name.as_deref());
            told.text += &said;
            told.drawn += &named(&self.teller.tell(call), call, name.as_deref());
            self.last = named(&Teller::default().tell(call), call, name.as_deref());
            self.before = Picture::of(&call.steps, false).unwrap_or_default();
            self.now = Picture::of(&call.steps, true).unwrap_or_else(|| self.before.clone());
            let becomes = told.drawn.find("had it been believed").map(|at| told.drawn[at..].to_owned());
            told.text += becomes.as_deref().unwrap_or_default();
        }
        if let Some(said) = done.stopped {
            self.heap = None;
            let over = format!("  {said}\n  the process was stopped: reset for a fresh heap\n");
            told.text += &over;
            told.drawn += &over;
        }
        told
    }
}

/// The name stands in front of the call.
fn named(text: &str, call: &Call, name: Option<&str>) -> String {
    match name {
        Some(name) if !call.has(Kind::Fault) => format!("{name}: {text}"),
        _ => text.to_owned(),
    }
}
