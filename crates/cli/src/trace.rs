//! `heapglass trace`: each call of a program with what served it, line by line.
//!
//! Two threads: one is the program's parent, as in `run --stats`; the other reads what the program tells, and writes.

use crate::callers::Callers;
use crate::failure::Failure;
use crate::feed::{Feed, Thread, Wishes};
use crate::output::{self, Output};
use crate::{attach, feed, find, launch, own_file, program, run, script, supervise};
use heapglass_event::record::Record;
use heapglass_report::calls::{Call, Collector, Found};
use heapglass_report::filter::{self, Comparison, Filter};
use heapglass_report::line::{Style, Time, Writer};
use heapglass_report::summary::Summary;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Show each call of a program and what served it
///
/// Runs PROGRAM on Heapglass and prints a line for each call of malloc and its kin, from the program and all its libraries: what
/// was called, what came of it, which cache or bin served it, and beneath it each system call that it caused. The program waits
/// where this command can't keep up, so nothing is left out, unless --lossy says that it may be.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Trace {
    /// Where lines go instead of standard error; - is standard output. In a name, %p is the process, %e the program, %h the host, %t the
    /// time in seconds, %n the first number that makes a new file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Children too; also what PROGRAM itself becomes by exec
    #[arg(short, long)]
    follow_forks: bool,

    /// Which calls to show: names (malloc,free or !free), syscalls, size>=4096, bin=large, arena=1, thread=2, stack~REGEX (a caller's
    /// line as -k shows it). Given several times, calls must pass all
    #[arg(short = 'e', long = "filter", value_name = "EXPR", value_parser = filter::parse)]
    filters: Vec<Filter>,

    /// Only calls for this many bytes or more
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    min_size: Option<u64>,

    /// Only calls for this many bytes or fewer
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_size: Option<u64>,

    /// Count calls by what served them, and print a table at the end
    #[arg(short = 'c', long)]
    summary: bool,

    /// The time of day before each line; twice: to the microsecond
    #[arg(short = 't', action = clap::ArgAction::Count)]
    time: u8,

    /// Seconds since the line before
    #[arg(short = 'r', long, conflicts_with = "time")]
    relative: bool,

    /// Seconds spent in each call
    #[arg(short = 'T', long)]
    time_in_call: bool,

    /// Who called, under each call: functions with their files and lines, as far as those are known
    #[arg(short = 'k', long, conflicts_with = "summary")]
    stack_trace: bool,

    /// heapglass: all there is to tell; ltrace: what ltrace prints, for programs that read that
    #[arg(long, value_enum, default_value_t = Format::Heapglass)]
    format: Format,

    /// Leave calls out rather than let the program wait; how many is said at the end
    #[arg(long)]
    lossy: bool,

    /// A process that already runs on Heapglass; it goes on when the trace ends, by Ctrl-C or with it
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["words", "follow_forks"])]
    pid: Option<i32>,

    /// The program, found as a shell finds it, and its arguments
    #[arg(required_unless_present = "pid", num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Exit status: PROGRAM's own, as with `heapglass run`. The program goes on if the output is closed, or if this command is killed.";

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Heapglass,
    Ltrace,
}

/// Where lines go.
struct Opened {
    to: Box<dyn Write + Send>,
    has_colour: bool,
    file: Option<Output>,
}

fn bytes(text: &str) -> Result<u64, String> {
    filter::bytes(text).ok_or_else(|| format!("'{text}' is no number of bytes"))
}

impl Trace {
    pub fn carry_out(mut self) -> Result<ExitCode, Failure> {
        let sizes = [(Comparison::AtLeast, self.min_size), (Comparison::AtMost, self.max_size)];
        self.filters.extend(sizes.into_iter().filter_map(|(how, size)| Some(Filter::Size(how, size?))));
        let Opened { to, has_colour, file } = self.open()?;
        let style = Style {
            time: match (self.relative, self.time) {
                (true, _) => Time::Relative,
                (false, 0) => Time::None,
                (false, 1) => Time::OfDay,
                (false, _) => Time::OfDayExact,
            },
            takes: self.time_in_call,
            bare: self.format == Format::Ltrace,
            colour: has_colour,
        };
        let callers = self.stack_trace || self.filters.iter().any(Filter::needs_callers);
        let scribe = Scribe {
            writer: Writer::new(style),
            filters: std::mem::take(&mut self.filters),
            counts_only: self.summary,
            shows_pids: self.follow_forks,
            callers: callers.then(Callers::default),
            shows_callers: self.stack_trace,
            output: Some(to),
            file,
            ..Scribe::default()
        };
        let wishes = Wishes { follows: self.follow_forks, lossy: self.lossy, callers, ..Wishes::default() };
        if let Some(pid) = self.pid {
            let (ended, mut scribe) = observe_running(pid, wishes, None, scribe)?;
            scribe.finish(if ended { "the process ended" } else { "detached" });
            return Ok(ExitCode::SUCCESS);
        }
        let (ended, mut scribe) = observe(self.words, wishes, None, scribe)?;
        scribe.settle(ended.pid);
        scribe.finish(&how(&ended));
        Ok(ended.pass_on())
    }

    fn open(&self) -> Result<Opened, Failure> {
        let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stream = |to, is_terminal: bool| Opened { to, has_colour: wants_colour && is_terminal, file: None };
        Ok(match &self.output {
            None => stream(Box::new(io::stderr()), io::stderr().is_terminal()),
            Some(path) if path == Path::new("-") => stream(Box::new(io::stdout()), io::stdout().is_terminal()),
            Some(pattern) => {
                let known = match (self.pid, self.words.first()) {
                    (Some(pid), _) => output::Known::of_process(pid.cast_unsigned()),
                    (None, program) => output::Known::of_program(program.map_or(OsStr::new(""), OsString::as_os_str)),
                };
                // As strace does, and a shell's `>`.
                let output = Output::new(pattern, known, true)?;
                let path = output.path();
                let file = own_file::create(path).map_err(|e| Failure::ours(format!("{}: {e}", path.display())))?;
                Opened { to: Box::new(file), has_colour: false, file: Some(output) }
            }
        })
    }
}

/// Takes in what is read.
pub trait Listener: Send + 'static {
    /// The next records of a ring.
    fn hear(&mut self, ring: usize, thread: Thread, records: &[Record]);
    /// The ring's thread ended, with nothing left to read.
    fn leave(&mut self, ring: usize);
    /// All that was there for the moment was heard. `false`: nothing more is wanted.
    fn pause(&mut self, feed: &Feed) -> bool;
}

/// Runs a program, and lets the listener hear what it tells, to the end. `settings` stand in the place of the caller's
/// `HEAPGLASS`.
pub fn observe<L: Listener>(
    words: Vec<OsString>,
    wishes: Wishes,
    settings: Option<OsString>,
    listener: L,
) -> Result<(supervise::Ended, L), Failure> {
    let library = find::library()?;
    let start = script::follow(words)?;
    program::check(&start.image, &library)?;
    let mut command = Command::new(&start.file);
    command.arg0(&start.words[0]).args(&start.words[1..]).envs(start.assigned);
    run::preload(&mut command, &library, wishes.follows);
    observe_command(command, &start.file, wishes, settings, listener)
}

/// As `observe`, for a command that preloads the library.
pub fn observe_command<L: Listener>(
    mut command: Command,
    file: &Path,
    wishes: Wishes,
    settings: Option<OsString>,
    listener: L,
) -> Result<(supervise::Ended, L), Failure> {
    let reading = Reading::start(wishes, listener)?;
    let feed = &reading.feed;
    command.env("HEAPGLASS", run::joined(settings.or_else(|| std::env::var_os("HEAPGLASS")), ",", feed.item()));
    let ended = supervise::run_unbound(command).map_err(|e| Failure::refused(file, &e));
    let listener = reading.end()?;
    Ok((ended?, listener))
}

/// Lets the listener hear what a running process tells, until that ends (`true`), the time is over, or somebody ends the trace.
pub fn observe_running<L: Listener>(
    pid: i32,
    wishes: Wishes,
    limit: Option<Duration>,
    listener: L,
) -> Result<(bool, L), Failure> {
    let refused = |e: nix::errno::Errno| Failure::ours(e.to_string());
    let ending = SigSet::from_iter(launch::ENDING);
    ending.thread_block().map_err(refused)?;
    let signals = SignalFd::with_flags(&ending, SfdFlags::SFD_NONBLOCK).map_err(refused)?;
    let reading = Reading::of_running(pid, wishes, listener)?;
    let began = Instant::now();
    let is_over = || {
        limit.is_some_and(|limit| began.elapsed() >= limit)
            || matches!(signals.read_signal(), Ok(Some(_)))
            || reading.thread.is_finished()
    };
    while feed::lives(pid.cast_unsigned()) && !is_over() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let has_ended = !feed::lives(pid.cast_unsigned());
    reading.feed.stop();
    let listener = reading.end()?;
    attach::leave(pid);
    Ok((has_ended, listener))
}

/// The thread that reads, and what it reads from.
pub struct Reading<L> {
    pub feed: Arc<Feed>,
    has_ended: Arc<AtomicBool>,
    thread: JoinHandle<L>,
}

impl<L: Listener> Reading<L> {
    pub fn start(wishes: Wishes, listener: L) -> Result<Reading<L>, Failure> {
        Reading::on(Feed::create(wishes)?, wishes, listener)
    }

    /// Of a process that already runs on Heapglass.
    pub fn of_running(pid: i32, wishes: Wishes, listener: L) -> Result<Reading<L>, Failure> {
        let mut began = None;
        let told = attach::tell(pid, |file| {
            let feed = match file {
                Some(file) => Feed::over(file, wishes)?,
                None => Feed::create(wishes)?,
            };
            let reading = Reading::on(feed, wishes, listener)?;
            let item = reading.feed.item();
            began = Some(reading);
            Ok(item)
        });
        match (told, began) {
            (Ok(()), Some(reading)) => Ok(reading),
            (told, began) => {
                if let Some(reading) = began {
                    reading.feed.stop();
                    reading.end()?;
                }
                Err(told.err().unwrap_or_else(|| Failure::ours("the reader didn't start")))
            }
        }
    }

    fn on(feed: Feed, wishes: Wishes, listener: L) -> Result<Reading<L>, Failure> {
        let feed = Arc::new(feed);
        let has_ended = Arc::new(AtomicBool::new(false));
        let (said, ready) = mpsc::channel();
        let (theirs, over) = (feed.clone(), has_ended.clone());
        // Signals are the parent's affair: a thread inherits which are blocked.
        let refused = |e: nix::errno::Errno| Failure::ours(e.to_string());
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(refused)?;
        let thread = std::thread::spawn(move || {
            let is_ready = theirs.listen();
            let goes_on = is_ready.is_ok();
            let _ = said.send(is_ready);
            if goes_on { read(&theirs, wishes, &over, listener) } else { listener }
        });
        before.thread_set_mask().map_err(refused)?;
        ready.recv().map_err(|_| Failure::ours("the reader didn't start"))??;
        Ok(Reading { feed, has_ended, thread })
    }

    /// Nobody will tell anything more: reads what there is.
    pub fn end(self) -> Result<L, Failure> {
        self.has_ended.store(true, Release);
        self.thread.join().map_err(|_| Failure::ours("the reader failed"))
    }
}

/// Naps between two looks at rings in which nothing was: short at first, since a program that waits does so for us.
const NAPS: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(2)];
/// How often it is asked whether processes that said nothing of their end still live.
const ROLL_CALL: Duration = Duration::from_millis(50);

fn read<L: Listener>(feed: &Feed, wishes: Wishes, has_ended: &AtomicBool, mut listener: L) -> L {
    let mut nap = NAPS[0];
    let mut last_call = Instant::now();
    loop {
        // Asked first: what was told before the end is then read in this round.
        let is_over = has_ended.load(Acquire);
        let any = feed.read(|ring, thread, records| listener.hear(ring, thread, records));
        let calls_roll = wishes.follows && last_call.elapsed() > ROLL_CALL;
        if calls_roll {
            last_call = Instant::now();
        }
        feed.reclaim(calls_roll, |ring| listener.leave(ring));
        if !listener.pause(feed) {
            feed.stop();
            return listener;
        }
        if any {
            nap = NAPS[0];
            continue;
        }
        if is_over && !(wishes.follows && feed.has_writers()) {
            return listener;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(NAPS[1]);
    }
}

/// Writes what is heard.
#[derive(Default)]
pub struct Scribe {
    writer: Writer,
    filters: Vec<Filter>,
    counts_only: bool,
    /// Which thread made a call is said once there are several.
    shows_pids: bool,
    /// Names of callers, where they are wanted, be it only by a filter.
    callers: Option<Callers>,
    shows_callers: bool,
    /// `None` once it was closed, or is full.
    output: Option<Box<dyn Write + Send>>,
    file: Option<Output>,
    /// By the ring's number.
    rings: HashMap<usize, Voice>,
    /// Threads of each process, in the order in which they came.
    threads: HashMap<Thread, u32>,
    counts: HashMap<u32, u32>,
    summary: Summary,
    /// Lines of this round, and where each began, with its time.
    page: Vec<u8>,
    lines: Vec<(u64, usize, usize)>,
    fault: Option<io::Error>,
    was_taken: bool,
    lost: u64,
}

/// One ring's thread.
#[derive(Default)]
struct Voice {
    collector: Collector,
    thread: Option<Thread>,
    number: u32,
    prefix: String,
}

/// One that writes for nobody, for tests.
pub fn to_nowhere(counts_only: bool) -> Scribe {
    Scribe { counts_only, callers: Some(Callers::default()), output: Some(Box::new(io::sink())), ..Scribe::default() }
}

impl Listener for Scribe {
    fn hear(&mut self, ring: usize, thread: Thread, records: &[Record]) {
        let mut voice = self.rings.remove(&ring).unwrap_or_default();
        if voice.thread != Some(thread) {
            voice.number = self.number_of(thread);
            voice.prefix = format!("[pid {}.{}] ", thread.pid, voice.number);
            voice.thread = Some(thread);
        }
        let Voice { collector, number, prefix, .. } = &mut voice;
        for record in records {
            collector.take(*record, |found| self.note(found, thread.pid, *number, prefix));
        }
        self.rings.insert(ring, voice);
    }

    fn leave(&mut self, ring: usize) {
        if let Some(mut voice) = self.rings.remove(&ring) {
            let Voice { collector, number, prefix, thread } = &mut voice;
            let pid = thread.map_or(0, |thread| thread.pid);
            collector.end_unfinished(&mut |found| self.note(found, pid, *number, prefix));
        }
    }

    fn pause(&mut self, feed: &Feed) -> bool {
        self.writer.clock = feed.clock();
        if let Some(pid) = feed.first().filter(|_| !self.was_taken) {
            self.was_taken = true;
            self.settle(pid);
        }
        self.lost = feed.lost();
        self.write_page();
        self.output.is_some()
    }
}

impl Scribe {
    fn settle(&mut self, pid: u32) {
        if let Some(file) = &mut self.file {
            // Where that can't be had, the file keeps the name that it has.
            let _ = file.settle(pid);
        }
    }

    fn number_of(&mut self, thread: Thread) -> u32 {
        if let Some(number) = self.threads.get(&thread) {
            return *number;
        }
        let count = self.counts.entry(thread.pid).or_default();
        *count += 1;
        self.threads.insert(thread, *count);
        self.shows_pids |= self.threads.len() > 1;
        *count
    }

    fn note(&mut self, found: Found, pid: u32, number: u32, prefix: &str) {
        let prefix = if self.shows_pids { prefix } else { "" };
        let start = self.page.len();
        match found {
            Found::Call(call) => {
                // Also of those that aren't shown: modules are told once.
                if let Some(callers) = &mut self.callers {
                    callers.learn(call, pid);
                }
                let is_wanted = self.wants(call, pid, number);
                match self.counts_only {
                    true if is_wanted => self.summary.add(call),
                    true => {}
                    false => self.summary.count(call),
                }
                if self.counts_only || !is_wanted {
                    return;
                }
                self.writer.call(&mut self.page, prefix, call);
                if let Some(callers) = self.callers.as_mut().filter(|_| self.shows_callers) {
                    callers.write(&mut self.page, call, pid);
                }
                self.lines.push((call.began, start, self.page.len()));
            }
            Found::Outside(record) => {
                if !self.counts_only || self.filters.is_empty() {
                    self.summary.add_kernel(&record);
                }
                if !self.counts_only && self.filters.is_empty() {
                    self.writer.outside(&mut self.page, prefix, &record);
                    let time = self.lines.last().map_or(0, |line| line.0);
                    self.lines.push((time, start, self.page.len()));
                }
            }
        }
    }

    fn wants(&mut self, call: &Call, pid: u32, number: u32) -> bool {
        if !self.filters.iter().all(|filter| filter.passes(call, number)) {
            return false;
        }
        // Last: names are dear.
        let mut by_callers = self.filters.iter().filter(|filter| filter.needs_callers()).peekable();
        let Some(callers) = self.callers.as_mut().filter(|_| by_callers.peek().is_some()) else { return true };
        let lines = callers.of(call, pid);
        by_callers.all(|filter| filter.passes_by(lines.iter().copied().flatten().map(String::as_str)))
    }

    /// Writes the lines of a round, in the order of time where they are of several threads.
    fn write_page(&mut self) {
        if self.page.is_empty() {
            return;
        }
        if !self.lines.is_sorted_by_key(|line| line.0) {
            self.lines.sort_by_key(|line| line.0);
            let sorted = self.lines.iter().flat_map(|&(_, start, end)| &self.page[start..end]);
            self.page = sorted.copied().collect();
        }
        if let Some(output) = &mut self.output
            && let Err(error) = output.write_all(&self.page).and_then(|()| output.flush())
        {
            self.output = None;
            self.fault = Some(error);
        }
        self.page.clear();
        self.lines.clear();
    }

    /// What stands at the end.
    pub fn finish(&mut self, how: &str) {
        let rings: Vec<usize> = self.rings.keys().copied().collect();
        rings.into_iter().for_each(|ring| self.leave(ring));
        if self.counts_only {
            self.page.extend_from_slice(self.summary.table(&self.writer.clock).as_bytes());
        }
        if self.writer.style.bare {
            self.page.extend_from_slice(format!("+++ {how} +++\n").as_bytes());
        } else {
            let (counts, lost) = (self.summary.counts(), self.lost);
            self.page.extend_from_slice(format!("+++ {how} +++   {counts}, {lost} events dropped\n").as_bytes());
        }
        self.lines.clear();
        self.write_page();
        if let Some(error) = &self.fault
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            eprintln!("heapglass: the trace ends early: {error}");
        }
        if !self.was_taken {
            eprintln!(
                "heapglass: nothing to trace: the program never allocated through the library; it brings an allocator of \
                 its own, or became another program by exec (then use -f)"
            );
        }
    }
}

/// A program's end in a word or two.
pub fn how(ended: &supervise::Ended) -> String {
    match ended.how {
        supervise::How::Exited(code) => format!("exited with {code}"),
        supervise::How::Killed(number) => match nix::sys::signal::Signal::try_from(number) {
            Ok(name) => format!("killed by {name}"),
            Err(_) => format!("killed by signal {number}"),
        },
    }
}
