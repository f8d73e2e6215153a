//! A profile that goes on while others ask for it again and again, as continuous profilers do: what `heapglass serve` gives as
//! `/debug/pprof/heap`.

use crate::failure::Failure;
use crate::feed::{self, Feed, Thread, Wishes};
use crate::trace::{Listener, Reading};
use heapglass_event::record::Record;
use heapglass_profile::export::pprof;
use heapglass_profile::model::{Line, Profile};
use heapglass_sampled::ears::Ears;
use heapglass_sampled::names;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes between two samples, and of stack with each.
const INTERVAL: u64 = 512 << 10;
const STACK: u64 = 16 << 10;

pub struct Scrape {
    ears: Arc<Mutex<Ears>>,
    /// What was named already, by the frames' numbers.
    names: Vec<Vec<Line>>,
    words: Vec<String>,
    /// Listens until this is dropped.
    reading: Reading<Shared>,
}

/// By process. One that is asked for is profiled from then on.
static SCRAPES: Mutex<BTreeMap<u32, Scrape>> = Mutex::new(BTreeMap::new());

/// What a process allocated since it was first asked for, in pprof's form.
pub fn pprof(pid: u32) -> Result<Vec<u8>, Failure> {
    let mut scrapes = SCRAPES.lock().unwrap_or_else(PoisonError::into_inner);
    scrapes.retain(|pid, _| feed::lives(*pid));
    let scrape = match scrapes.entry(pid) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(room) => room.insert(Scrape::begin(pid, INTERVAL)?),
    };
    Ok(scrape.pprof())
}

struct Shared(Arc<Mutex<Ears>>);

impl Shared {
    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Shared {
    fn hear(&mut self, ring: usize, thread: Thread, records: &[Record]) {
        Listener::hear(&mut *self.ears(), ring, thread, records);
    }

    fn leave(&mut self, ring: usize) {
        Listener::leave(&mut *self.ears(), ring);
    }

    fn pause(&mut self, feed: &Feed) -> bool {
        Listener::pause(&mut *self.ears(), feed)
    }
}

impl Scrape {
    /// Begins to profile a running process.
    pub fn begin(pid: u32, interval: u64) -> Result<Scrape, Failure> {
        let (wishes, ears) = wished(interval);
        ears.lock().unwrap_or_else(PoisonError::into_inner).expect(pid);
        let reading = Reading::of_running(pid.cast_signed(), wishes, Shared(ears.clone()))?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|&byte| byte == 0).filter(|word| !word.is_empty());
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Ok(Scrape { ears, names: Vec::new(), words, reading })
    }

    /// Listens to a process that is yet to be started, with this item of `HEAPGLASS`.
    pub fn prepare(interval: u64) -> Result<Scrape, Failure> {
        let (wishes, ears) = wished(interval);
        let reading = Reading::start(wishes, Shared(ears.clone()))?;
        Ok(Scrape { ears, names: Vec::new(), words: Vec::new(), reading })
    }

    pub fn item(&self) -> OsString {
        self.reading.feed.item()
    }

    /// The process goes on without.
    pub fn stop(self) -> Result<(), Failure> {
        self.reading.feed.stop();
        self.reading.end().map(drop)
    }

    /// All since the beginning, in pprof's form.
    fn pprof(&mut self) -> Vec<u8> {
        pprof::write(&self.profile().0)
    }

    /// All since the beginning, and the sampled chunks that are in use: address, entry, clock.
    pub fn profile(&mut self) -> (Profile, Vec<(u64, usize, u64)>) {
        let (mut profile, files, live) = {
            let mut ears = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
            let (profile, files) = ears.so_far();
            let live = ears.collector.live().map(|(address, live, _)| (address, live.entry as usize, live.clock));
            (profile, files, live.collect())
        };
        profile.words = self.words.clone();
        for (frame, lines) in profile.frames.iter_mut().zip(&self.names) {
            frame.lines = lines.clone();
        }
        names::name(&mut profile, &files, &[]);
        self.names = profile.frames.iter().map(|frame| frame.lines.clone()).collect();
        (profile, live)
    }
}

fn wished(interval: u64) -> (Wishes, Arc<Mutex<Ears>>) {
    let wishes = Wishes { interval, stack: STACK, lossy: true, ..Wishes::default() };
    (wishes, Arc::new(Mutex::new(Ears::new(interval))))
}
