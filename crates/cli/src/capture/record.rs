//! `heapglass record`: every call of a program, with its steps, kept in a file.
//!
//! The file is written by the thread that reads what the program tells. It blocks all signals, so that a file that may not grow
//! any more (SIGXFSZ) is an error of a write like any other.

use super::marks;
use crate::failure::Failure;
use crate::feed::{self, Feed, Thread, Wishes};
use crate::output::{Known, Output};
use crate::stats::grouped;
use crate::trace::{self, Listener, observe};
use heapglass_capture::calls::{Call, Collector, Found};
use heapglass_capture::{About, Module, Order, State, Writer};
use heapglass_event::record as event;
use nix::sys::signal::SigSet;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Keep every call of a program in a file
///
/// Runs PROGRAM on Heapglass and keeps each call of malloc and its kin, with all that `heapglass trace` and `explain` would tell of it, in
/// a file that other commands read: `heapglass stats FILE`, `heapglass explain FILE --at N`. The program waits where this command can't
/// keep up. It goes on if the disk is full or this command is killed; what was kept by then can be read.
#[derive(clap::Args)]
#[command(after_help = "Exit status: PROGRAM's own, as with `heapglass run`.")]
pub struct Record {
    /// The file. In its name, %p is the process, %e the program, %h the host, %t the time in seconds, %n the first number that makes a
    /// new file
    #[arg(short, long, value_name = "FILE", default_value = "heapglass.%e.%p.hg")]
    output: PathBuf,

    /// One that is there already is overwritten
    #[arg(long)]
    force: bool,

    /// Children too; also what PROGRAM itself becomes by exec
    #[arg(short, long)]
    follow_forks: bool,

    /// Keep who called, too: for `ledger` and `map --chunk` with --recording, and `view`
    #[arg(short = 'k', long)]
    stack_trace: bool,

    /// Keep only samples, and what becomes of each: one for so many bytes allocated on average, perhaps with K or M behind; 1 keeps all
    #[arg(long, value_name = "BYTES", default_value = "1", value_parser = crate::profile::bytes)]
    interval: u64,

    /// The program, found as a shell finds it, and its arguments
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    words: Vec<OsString>,
}

impl Record {
    pub fn into_file(file: PathBuf, force: bool, interval: u64, follow_forks: bool, words: Vec<OsString>) -> Record {
        Record { output: file, force, follow_forks, stack_trace: false, interval, words }
    }

    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let about = about(&words_of(&self.words), self.interval, self.stack_trace);
        let known = Known::of_program(&self.words[0]);
        let recorder = Recorder::begin(&self.output, known, self.force, self.interval, &about)?;
        let (path, is_new) = (recorder.path().to_owned(), recorder.is_new);
        let wishes = Wishes { follows: self.follow_forks, callers: self.stack_trace, ..Wishes::default() };
        let (ended, mut recorder) = match observe(self.words, wishes, None, recorder) {
            Ok(observed) => observed,
            Err(failure) => {
                // Nothing ran, so there is nothing that a file should be there for.
                if is_new {
                    let _ = std::fs::remove_file(&path);
                }
                return Err(failure);
            }
        };
        recorder.settle(ended.pid);
        recorder.close(&trace::how(&ended));
        Ok(ended.pass_on())
    }
}

/// Said of a recording that began when its process had long been running.
pub const LATER: &str = "later";

/// What was started, in a line.
pub fn words_of(words: &[OsString]) -> String {
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What stands at the head of a recording.
pub fn about(program: &str, interval: u64, callers: bool) -> About {
    let mut about = About::default();
    about.put("program", program.to_owned());
    about.put("heapglass", env!("CARGO_PKG_VERSION"));
    about.put("machine", std::env::consts::ARCH);
    about.put("interval", interval.to_string());
    about.put("callers", u8::from(callers).to_string());
    about.put("settings", std::env::var("HEAPGLASS").unwrap_or_default());
    about
}

/// Its owner's alone: it tells what a program did, and where things lie in it.
fn create(path: &Path, force: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match path.metadata() {
        // A device, say.
        Ok(known) if !known.is_file() => {}
        _ if force => drop(options.create(true).truncate(true)),
        _ => drop(options.create_new(true)),
    }
    options.open(path)
}

/// Does something in a thread that no signal reaches: one that stays pending goes with it.
fn undisturbed<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let alone = || SigSet::all().thread_block().map_err(io::Error::from).and_then(|()| work());
    let done = std::thread::scope(|scope| scope.spawn(alone).join());
    done.unwrap_or_else(|_| Err(io::Error::other("the writer failed")))
}

/// Takes in what a program tells, and writes it down.
pub struct Recorder {
    rings: HashMap<usize, (Thread, Collector)>,
    order: Order,
    writer: Writer,
    sampler: Sampler,
    output: Output,
    /// There was no such file before.
    pub is_new: bool,
    fault: Option<io::Error>,
    /// Where code is from, by process, as it was told; where callers are.
    modules: Vec<(u32, Module)>,
    was_taken: bool,
    lost: u64,
}

/// One allocation for so many bytes, each byte as likely as any other.
struct Sampler {
    every: u64,
    /// Bytes up to the next.
    left: f64,
    random: u64,
}

impl Sampler {
    fn new(every: u64) -> Sampler {
        let mut sampler = Sampler { every, left: 0.0, random: every };
        sampler.left = sampler.distance();
        sampler
    }

    fn wants(&mut self, state: &State, thread: Thread, call: &Call) -> bool {
        if self.every == 1 {
            return true;
        }
        let before = call.gives_up();
        if before != 0 && state.get(thread.pid, before).is_some() {
            return true;
        }
        if call.hands_out() == 0 {
            return false;
        }
        self.left -= call.bytes.max(1) as f64;
        if self.left > 0.0 {
            return false;
        }
        // An exponential distribution remembers nothing: it begins anew.
        self.left = self.distance();
        true
    }

    fn distance(&mut self) -> f64 {
        // Knuth's multiplier; the high bits are the good ones.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let between_0_and_1 = ((self.random >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        -between_0_and_1.ln() * self.every as f64
    }
}

impl Recorder {
    /// Makes the file.
    pub fn begin(pattern: &Path, known: Known, force: bool, every: u64, about: &About) -> Result<Recorder, Failure> {
        let output = Output::new(pattern, known, force)?;
        let path = output.path();
        let refused = |e: io::Error| {
            Failure::ours(match e.kind() {
                io::ErrorKind::AlreadyExists => format!("{}: is there already; --force overwrites it", path.display()),
                _ => format!("{}: {e}", path.display()),
            })
        };
        let is_new = !path.exists();
        let file = create(path, force).map_err(refused)?;
        marks::clear(path);
        let writer = undisturbed(|| Writer::create(file, feed::tick(), about)).map_err(refused)?;
        Ok(Recorder { is_new, ..Recorder::new(writer, every, output) })
    }

    pub fn path(&self) -> &Path {
        self.output.path()
    }

    /// Nothing more comes: puts what is known of all behind it, and says what there is now.
    pub fn close(&mut self, ended: &str) {
        let mut end = About::default();
        end.put("ended", ended);
        end.put("dropped", self.lost.to_string());
        self.modules.iter().for_each(|(pid, module)| end.put_module(*pid, module));
        let path = self.path().to_owned();
        marks::keep(&path, &mut end);
        let closed = undisturbed(|| self.finish(&end));
        if closed.is_ok() {
            marks::clear(&path);
        }
        self.say(closed);
    }

    pub fn new(writer: Writer, every: u64, output: Output) -> Recorder {
        Recorder {
            rings: HashMap::new(),
            order: Order::default(),
            writer,
            sampler: Sampler::new(every),
            output,
            is_new: false,
            fault: None,
            modules: Vec::new(),
            was_taken: false,
            lost: 0,
        }
    }

    /// If the name is taken by then, the file keeps the one that it has, which is what is told at the end.
    fn settle(&mut self, pid: u32) {
        let _ = self.output.settle(pid);
    }

    fn hold(order: &mut Order, thread: Thread, found: Found) {
        match found {
            Found::Call(call) => order.hold(thread, call),
            Found::Outside(record) => order.hold(thread, &outside(record)),
        }
    }

    fn write(
        writer: &mut Writer,
        sampler: &mut Sampler,
        fault: &mut Option<io::Error>,
        thread: Thread,
        call: &mut Call,
    ) {
        if fault.is_none() && sampler.wants(writer.state(), thread, call) {
            *fault = writer.add(thread, call).err();
        }
    }

    /// Calls that were kept.
    pub fn calls(&self) -> u64 {
        self.writer.state().calls
    }

    pub fn finish(&mut self, about: &About) -> io::Result<u64> {
        let Recorder { rings, order, writer, sampler, fault, .. } = self;
        for (thread, collector) in rings.values_mut() {
            collector.end_unfinished(&mut |found| Recorder::hold(order, *thread, found));
        }
        order.finish(|thread, call| Recorder::write(writer, sampler, fault, thread, call));
        if fault.is_none() {
            *fault = writer.pause(feed::tick()).err();
        }
        writer.finish(about)
    }

    fn say(&self, closed: io::Result<u64>) {
        let path = self.output.path().display();
        let calls = grouped(self.writer.written());
        match (&self.fault, &closed) {
            (Some(error), _) | (None, Err(error)) => eprintln!(
                "heapglass: {path}: {error}: the recording ends early, after {calls} calls; the program went on without it"
            ),
            (None, &Ok(bytes)) => eprintln!(
                "heapglass: {path}: {calls} calls in {} bytes; `heapglass stats {path}` tells of them",
                grouped(bytes)
            ),
        }
        if self.lost > 0 {
            eprintln!("heapglass: {} events were dropped", grouped(self.lost));
        }
        if !self.was_taken {
            eprintln!(
                "heapglass: nothing was recorded: the program never allocated through the library; it brings an allocator of \
                 its own, or became another program by exec (then use -f)"
            );
        }
    }
}

/// What was told outside of any call, as a call that nobody made.
fn outside(record: event::Record) -> Call {
    let now = feed::tick();
    Call { began: now, ended: now, steps: vec![record], ..Call::default() }
}

impl Listener for Recorder {
    fn hear(&mut self, ring: usize, thread: Thread, records: &[event::Record]) {
        let Recorder { rings, order, modules, .. } = self;
        let (known, collector) = rings.entry(ring).or_insert_with(|| (thread, Collector::default()));
        *known = thread;
        for record in records {
            collector.take(*record, |found| {
                if let Found::Call(call) = &found
                    && call.has(event::Kind::Module)
                {
                    modules.extend(call.modules().into_iter().map(|module| (thread.pid, module)));
                }
                Recorder::hold(order, thread, found);
            });
        }
    }

    fn leave(&mut self, ring: usize) {
        let Recorder { rings, order, .. } = self;
        if let Some((thread, mut collector)) = rings.remove(&ring) {
            collector.end_unfinished(&mut |found| Recorder::hold(order, thread, found));
        }
    }

    fn pause(&mut self, feed: &Feed) -> bool {
        if let Some(pid) = feed.first().filter(|_| !self.was_taken) {
            self.was_taken = true;
            self.settle(pid);
        }
        self.lost = feed.lost();
        let Recorder { rings, order, writer, sampler, fault, .. } = self;
        let now = feed::tick();
        let under_way = rings.values().filter_map(|(_, collector)| collector.under_way()).min();
        order.round(now, under_way, |thread, call| Recorder::write(writer, sampler, fault, thread, call));
        if fault.is_none() {
            *fault = writer.pause(now).err();
        }
        fault.is_none()
    }
}
