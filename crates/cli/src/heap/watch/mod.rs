//! `heapglass watch`: the heap on a page in a browser, live.
//!
//! The command serves the page and what it asks for, on loopback; the page (`crates/cli/page`) asks again and again, and draws. State is
//! read from outside as by `map` and `ledger`. Only who wants to see single calls, or to hold the program at one, makes it tell
//! them, as `trace -p` does.

mod assets;
pub mod calls;
mod flame;
mod look;
pub mod view;

use super::http::{self, Answer, Door, Request};
use super::serve::Serve;
use super::{bins, chunk, launch, map, title};
use crate::attach;
use crate::capture::marks;
use crate::capture::record::{self, Recorder};
use crate::failure::Failure;
use crate::feed::{self, Wishes};
use crate::launch::ENDING;
use crate::output::Known;
use crate::profile::scrape::Scrape;
use crate::run;
use crate::trace::Reading;
use calls::{Ear, Heard};
use heapglass_inspect::Target;
use heapglass_report::filter::{self, Filter};
use heapglass_report::ledger as account;
use nix::sys::signal::SigSet;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use view::Recording;

/// Show the heap of a process on a page in the browser, live
///
/// The page draws the heap chunk by chunk, its ledger over time with the system calls, and the lists of free chunks; it tells single
/// calls, and can hold the program before each. It is served on loopback, under an address that only you are told, and loads
/// nothing from elsewhere.
#[derive(clap::Args)]
pub struct Watch {
    /// A process on Heapglass, or a core file, which stands still
    #[arg(value_name = "PID|CORE", required_unless_present = "program", conflicts_with = "program")]
    whose: Option<OsString>,

    /// Hold PROGRAM before its first call, until the page lets it go on
    #[arg(long, requires = "program")]
    hold: bool,

    /// Keep the calls in FILE, a new one, so that the page can go back to any of them: of a process from now on, of PROGRAM from the first.
    /// Its name may have the letters that `record -o` knows
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,

    /// Keep who called, too
    #[arg(short = 'k', long, requires = "recording")]
    stack_trace: bool,

    /// Don't open a browser
    #[arg(short, long)]
    no_open: bool,

    /// 0 is any that is free
    #[arg(short = 'P', long, value_name = "N", default_value_t = 0)]
    port: u16,

    /// A program and its arguments, behind `--`: it is run on Heapglass, tells its calls from the first on, and is held at its end
    #[arg(last = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

impl Watch {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        if let Some(whose) = &self.whose {
            let watched = match whose.to_str().and_then(|text| text.parse().ok()) {
                Some(pid) => Watched::new(pid, None),
                None => Watched {
                    core: Some(PathBuf::from(whose)),
                    phase: Mutex::new(Phase::Core),
                    ..Watched::new(0, None)
                },
            };
            // What can't be read now is told of now.
            watched.open()?;
            let door = Door::personal(self.port)?;
            if let Some(file) = &self.recording {
                return recorded(watched, door, file, &self);
            }
            open_browser(&door, self.no_open);
            door.serve(&|request| watched.answer(request, &door.token));
            return Ok(ExitCode::SUCCESS);
        }
        let door = Door::personal(self.port)?;
        let heard = Arc::new(Heard::default());
        let wishes = Wishes { callers: self.stack_trace, ..Wishes::default() };
        let file = self.recording.as_deref().map(|file| {
            let about = record::about(&record::words_of(&self.program), 1, self.stack_trace);
            Recorder::begin(file, Known::of_program(&self.program[0]), false, 1, &about)
        });
        let file = file.transpose()?;
        let reading = Reading::start(wishes, Ear::new(heard.clone(), file))?;
        reading.feed.hold(self.hold);
        let flame = flame::prepare()?;
        let item = run::joined(Some(reading.feed.item()), ",", flame.item());
        let flame = Mutex::new(Some(flame));
        let watched = Watched {
            flame,
            held: AtomicBool::new(self.hold),
            is_launched: true,
            heard,
            ..Watched::new(0, Some(reading))
        };
        let watched = Arc::new(watched);
        let theirs = watched.clone();
        open_browser(&door, self.no_open);
        std::thread::spawn(move || door.serve(&|request| theirs.answer(request, &door.token)));
        // The thread that starts a program is the one that the kernel tells of its end.
        let ended = launch::watched(
            self.program,
            Some(item),
            |pid| watched.pid.store(pid, Release),
            |_| {
                watched.wait_at_the_end();
                Ok(())
            },
        );
        let reading = lock(&watched.reading).take();
        if let Some(reading) = reading {
            reading.end()?.close("ended");
        }
        if let (Err(_), 0, Some(file)) = (&ended, watched.pid(), watched.heard.file()) {
            // Nothing ran, so there is nothing that a file should be there for.
            let _ = std::fs::remove_file(file);
        }
        ended
    }

    /// A core file and nothing else.
    fn of_core(file: PathBuf, no_open: bool, port: u16) -> Watch {
        let whose = Some(file.into_os_string());
        Watch { whose, hold: false, recording: None, stack_trace: false, no_open, port, program: Vec::new() }
    }
}

/// Watches a process and keeps its calls, until somebody ends that.
fn recorded(watched: Watched, door: Door, file: &Path, asked: &Watch) -> Result<ExitCode, Failure> {
    if watched.core.is_some() {
        return Err(Failure::ours("a core file makes no calls that a recording could keep"));
    }
    let refused = |e: nix::errno::Errno| Failure::ours(e.to_string());
    // Before there is any other thread: so none has them, and they wait for this one.
    let ending = SigSet::from_iter(ENDING);
    ending.thread_block().map_err(refused)?;
    let pid = watched.pid();
    let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut about = record::about(name.replace('\0', " ").trim_end(), 1, asked.stack_trace);
    about.put(record::LATER, "1");
    let recorder = Recorder::begin(file, Known::of_process(pid), false, 1, &about)?;
    let (path, is_new) = (recorder.path().to_owned(), recorder.is_new);
    let wishes = Wishes { callers: asked.stack_trace, ..Wishes::default() };
    let ear = Ear::new(watched.heard.clone(), Some(recorder));
    let reading = Reading::of_running(pid.cast_signed(), wishes, ear).inspect_err(|_| {
        if is_new {
            let _ = std::fs::remove_file(&path);
        }
    })?;
    *lock(&watched.reading) = Some(reading);
    let watched = Arc::new(watched);
    let theirs = watched.clone();
    open_browser(&door, asked.no_open);
    std::thread::spawn(move || door.serve(&|request| theirs.answer(request, &door.token)));
    ending.wait().map_err(refused)?;
    watched.stop_listening()?;
    Ok(ExitCode::SUCCESS)
}

/// Says where the page is, and shows it where there is a screen.
fn open_browser(door: &Door, no_open: bool) {
    let page = format!("http://{}/{}/", door.place, door.token);
    eprintln!("heapglass: the page is {page}");
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !no_open && has_screen {
        // Where there is no such program, the line above is there to be clicked on.
        let mut open = Command::new("xdg-open");
        let _ = open.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

/// The filters that a page asks for, in the words of `trace -e` with blanks between them.
fn filters(request: &Request) -> Result<Vec<Filter>, String> {
    let words: Vec<String> = request.all("e").collect();
    let words = words.iter().flat_map(|all| all.split_whitespace());
    let filters = words.map(filter::parse).collect::<Result<Vec<Filter>, String>>()?;
    match filters.iter().any(Filter::needs_callers) {
        true => Err("who called is known to `heapglass trace` only: stack~ belongs there".into()),
        false => Ok(filters),
    }
}

/// A row of what pins memory.
fn pins_asked(request: &Request) -> Result<(u64, bool), Failure> {
    let size = request.asked("size").and_then(|size| size.parse().ok());
    let size = size.ok_or_else(|| Failure::ours("say which: ?size=BYTES"))?;
    Ok((size, request.asked("cached").as_deref() == Some("true")))
}

/// How long a step waits for the program's next call.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Runs,
    /// It has begun to exit, and the kernel holds it there.
    Ending,
    /// It may go.
    LetGo,
    Ended,
    /// It is a file.
    Core,
}

struct Watched {
    core: Option<PathBuf>,
    /// 0 until it is started.
    pid: AtomicU32,
    is_launched: bool,
    epoch: Instant,
    heard: Arc<Heard>,
    /// Who hears its calls, while somebody does.
    reading: Mutex<Option<Reading<Ear>>>,
    /// Who samples what it allocates, while somebody does.
    flame: Mutex<Option<Scrape>>,
    held: AtomicBool,
    phase: Mutex<Phase>,
    let_go: Condvar,
    /// The last look, for who comes after the end.
    last: Mutex<Option<Vec<u8>>>,
    /// The recording, as far as it had come when somebody went back last.
    rewound: Mutex<Option<Arc<Recording>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes of any bytes that reach the door, where nothing that can be read is watched: what needs the token is had by nobody
/// without it, and nothing but reading by another method than POST.
pub fn try_bytes(bytes: &[u8]) {
    const TOKEN: &str = "0123456789abcdef";
    let watched = Watched {
        core: Some(PathBuf::from("/nowhere")),
        is_launched: true,
        phase: Mutex::new(Phase::Core),
        ..Watched::new(0, None)
    };
    let knows = bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
    for answer in [
        http::answered_bytes(bytes, &|request| watched.answer(request, TOKEN)),
        http::answered_bytes(bytes, &|request| Serve::of(u32::MAX).answer(request, TOKEN)),
    ] {
        let is_given =
            |answer: &Answer| answer.status.starts_with("200") && !answer.kind.starts_with("application/openmetrics");
        let is_open = |answer: &Answer| answer.kind.starts_with("text/plain; version");
        assert!(
            knows || !answer.is_some_and(|answer| is_given(&answer) && !is_open(&answer)),
            "given without the token"
        );
    }
}

impl Watched {
    fn new(pid: u32, reading: Option<Reading<Ear>>) -> Watched {
        Watched {
            core: None,
            pid: AtomicU32::new(pid),
            is_launched: false,
            epoch: Instant::now(),
            heard: Arc::default(),
            reading: Mutex::new(reading),
            flame: Mutex::new(None),
            held: AtomicBool::new(false),
            phase: Mutex::new(Phase::Runs),
            let_go: Condvar::new(),
            last: Mutex::new(None),
            rewound: Mutex::new(None),
        }
    }

    fn pid(&self) -> u32 {
        self.pid.load(Acquire)
    }

    fn wait_at_the_end(&self) {
        let mut phase = lock(&self.phase);
        *phase = Phase::Ending;
        drop(self.let_go.wait_while(phase, |phase| *phase == Phase::Ending));
    }

    fn answer(&self, request: &Request, token: &str) -> Answer {
        let Some(path) = request.path.strip_prefix('/').and_then(|path| path.strip_prefix(token)) else {
            return Serve::of(self.pid()).answer(request, token);
        };
        if let Some(path) = path.strip_prefix("/rewind").filter(|path| path.starts_with('/')) {
            return match self.rewound(path == "/") {
                Ok(recording) => recording.answer_at(path, request),
                Err(failure) => Answer::plain("409 Conflict", failure.line),
            };
        }
        let done = match (request.is_post, path) {
            (false, "/state") => Ok(self.state(request)),
            (false, "/look") => self.look(request),
            (false, "/chunk") => self.chunk(request),
            (false, "/bins") => self.open().and_then(|target| bins::told(&target, None, true)).map(Answer::json),
            (false, "/pins") => self.pins(request),
            (false, "/events") => return self.events(request),
            (false, "/flame") => self.flame(),
            (false, path) => return assets::answer(path),
            (true, "/mark") => self.mark().map(|()| self.state(request)),
            (true, "/listen") => self.listen().map(|()| self.state(request)),
            (true, "/deaf") => self.stop_listening().map(|()| self.state(request)),
            (true, "/sample") => self.sample().map(|()| self.state(request)),
            (true, "/unsample") => self.stop_sampling().map(|()| self.state(request)),
            (true, "/hold") => self.hold().map(|()| self.state(request)),
            (true, "/step") => self.step(),
            (true, "/go") => {
                self.go_on();
                Ok(self.state(request))
            }
            (true, "/end") => {
                let mut phase = lock(&self.phase);
                if *phase == Phase::Ending {
                    *phase = Phase::LetGo;
                }
                self.let_go.notify_all();
                drop(phase);
                Ok(self.state(request))
            }
            (true, _) => return http::no_method(),
        };
        done.unwrap_or_else(|failure| Answer::plain("409 Conflict", failure.line))
    }

    /// The recording so far; `anew`: as far as it is now.
    fn rewound(&self, anew: bool) -> Result<Arc<Recording>, Failure> {
        let mut rewound = lock(&self.rewound);
        match &*rewound {
            Some(known) if !anew => Ok(known.clone()),
            _ => {
                let file =
                    self.heard.file().ok_or_else(|| Failure::ours("nothing is recorded: --recording FILE does"))?;
                let recording = Arc::new(Recording::so_far(&file)?);
                Ok(rewound.insert(recording).clone())
            }
        }
    }

    /// Names this moment in the recording, where there is one.
    fn mark(&self) -> Result<(), Failure> {
        match (self.heard.file(), &*lock(&self.reading)) {
            (Some(file), Some(_)) => marks::set_next(&file),
            _ => Ok(()),
        }
    }

    fn open(&self) -> Result<Target, Failure> {
        if let Some(path) = &self.core {
            return Target::core(path).map_err(|e| super::said(&path.display().to_string(), &e));
        }
        match self.pid() {
            0 => Err(Failure::ours("the program isn't started yet")),
            pid => super::open(pid, false),
        }
    }

    fn phase(&self) -> Phase {
        let mut phase = lock(&self.phase);
        let pid = self.pid();
        if *phase == Phase::Runs && pid != 0 && !(feed::lives(pid) && super::has_memory(pid)) {
            *phase = Phase::Ended;
        }
        *phase
    }

    fn state(&self, request: &Request) -> Answer {
        let phase = match self.phase() {
            Phase::Runs => "runs",
            Phase::Ending => "ending",
            Phase::LetGo | Phase::Ended => "ended",
            Phase::Core => "core",
        };
        let after = request.asked("after").and_then(|call| call.parse().ok()).unwrap_or(u64::MAX);
        Answer::json(
            json!({
                "pid": self.pid(), "phase": phase, "listening": lock(&self.reading).is_some(), "held": self.held.load(Relaxed),
                "launched": self.is_launched, "sampling": lock(&self.flame).is_some(), "calls": self.heard.count(), "lost": self.heard.lost(),
                "seconds": self.epoch.elapsed().as_secs_f64(), "kernel": self.heard.kernel_after(after, self.epoch), "recording": self.heard.file().map(|file| file.display().to_string()),
            })
            .to_string(),
        )
    }

    /// The heap as it is now; once the process has ended, as it was last seen.
    fn look(&self, request: &Request) -> Result<Answer, Failure> {
        const KIND: &str = "application/octet-stream";
        let mut last = lock(&self.last);
        if let (Phase::Ended | Phase::LetGo | Phase::Core, Some(bytes)) = (self.phase(), &*last) {
            return Ok(Answer::of(KIND, bytes.clone()));
        }
        match (self.read(request), &*last) {
            (Ok(bytes), _) => {
                *last = Some(bytes.clone());
                Ok(Answer::of(KIND, bytes))
            }
            // It ended meanwhile.
            (Err(_), Some(bytes)) if self.phase() != Phase::Runs => Ok(Answer::of(KIND, bytes.clone())),
            (Err(failure), _) => Err(failure),
        }
    }

    fn read(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let target = self.open()?;
        let calls = self.heard.count();
        let after = request.asked("after").and_then(|call| call.parse::<u64>().ok());
        let is_listening = lock(&self.reading).is_some();
        let born = after.filter(|_| is_listening).map(|call| self.heard.births_after(call));
        let beside = look::Beside { seconds: self.epoch.elapsed().as_secs_f64(), calls, born };
        look::read(&target, beside).map_err(|e| super::said(&title(&target), &e))
    }

    fn chunk(&self, request: &Request) -> Result<Answer, Failure> {
        let at = request.asked("address").ok_or_else(|| Failure::ours("say which: ?address=ADDR"))?;
        let at = map::address(&at).map_err(Failure::ours)?;
        let told = chunk::told(&self.open()?, at, true, None)?;
        let Ok(mut all) = serde_json::from_str::<Value>(&told) else { return Ok(Answer::json(told)) };
        // Whoever hears calls knows who asked for it, and how much.
        let born = all["user"].as_u64().filter(|_| all["state"] == "in use");
        if let Some(known) = born.and_then(|user| self.heard.born(user)) {
            known.into_iter().for_each(|(key, value)| all[key] = value);
        }
        Ok(Answer::json(all.to_string()))
    }

    /// The chunks of one size that pin memory.
    fn pins(&self, request: &Request) -> Result<Answer, Failure> {
        let (size, cached) = pins_asked(request)?;
        let target = self.open()?;
        let ledger = account::of(&target).map_err(|e| super::said(&title(&target), &e))?;
        let told = json!({ "places": ledger.pins.places(size, cached), "stacks": [], "knows_callers": false });
        Ok(Answer::json(told.to_string()))
    }

    fn events(&self, request: &Request) -> Answer {
        let after = request.asked("after").and_then(|call| call.parse().ok()).unwrap_or(0);
        let filters = match filters(request) {
            Ok(filters) => filters,
            // What somebody is just typing is no failure.
            Err(why) => return Answer::json(json!({ "refused": why }).to_string()),
        };
        Answer::json(self.heard.lines(after, &filters, self.epoch).to_string())
    }

    fn flame(&self) -> Result<Answer, Failure> {
        match &mut *lock(&self.flame) {
            Some(scrape) => Ok(Answer::json(flame::told(scrape).to_string())),
            None => Err(Failure::ours("no profile is taken: press Sample")),
        }
    }

    /// Begins a profile.
    fn sample(&self) -> Result<(), Failure> {
        let mut flame = lock(&self.flame);
        if flame.is_none() {
            if self.is_launched {
                return Err(Failure::ours(
                    "a profile that was ended can't be begun again: the program's end is waited for",
                ));
            }
            *flame = Some(flame::begin(self.pid())?);
        }
        Ok(())
    }

    fn stop_sampling(&self) -> Result<(), Failure> {
        if let Some(scrape) = lock(&self.flame).take() {
            scrape.stop()?;
            attach::leave(self.pid().cast_signed());
        }
        Ok(())
    }

    /// Makes the process tell its calls.
    fn listen(&self) -> Result<(), Failure> {
        let mut reading = lock(&self.reading);
        if reading.is_some() {
            return Ok(());
        }
        if self.is_launched {
            return Err(Failure::ours(
                "calls can't be told again once they no longer were: the program's end is waited for",
            ));
        }
        let pid = self.pid().cast_signed();
        self.heard.forget_births();
        *reading = Some(Reading::of_running(pid, Wishes::default(), Ear::new(self.heard.clone(), None))?);
        Ok(())
    }

    fn stop_listening(&self) -> Result<(), Failure> {
        self.go_on();
        if let Some(reading) = lock(&self.reading).take() {
            reading.feed.stop();
            let lives = feed::lives(self.pid());
            reading.end()?.close(if lives { "still running" } else { "ended" });
            attach::leave(self.pid().cast_signed());
        }
        Ok(())
    }

    fn hold(&self) -> Result<(), Failure> {
        self.listen()?;
        self.held.store(true, Relaxed);
        if let Some(reading) = &*lock(&self.reading) {
            reading.feed.hold(true);
        }
        Ok(())
    }

    fn go_on(&self) {
        self.held.store(false, Relaxed);
        if let Some(reading) = &*lock(&self.reading) {
            reading.feed.hold(false);
        }
    }

    /// Lets one call happen.
    fn step(&self) -> Result<Answer, Failure> {
        if !self.held.load(Relaxed) {
            self.hold()?;
        }
        let before = self.heard.count();
        if let Some(reading) = &*lock(&self.reading) {
            reading.feed.give_leave();
        }
        let stepped = self.heard.wait_for_more(before, PATIENCE);
        if !stepped && let Some(reading) = &*lock(&self.reading) {
            // It wasn't taken, and is no longer there for later.
            reading.feed.hold(true);
        }
        let all: Value = json!({ "stepped": stepped, "calls": self.heard.count() });
        Ok(Answer::json(all.to_string()))
    }
}
