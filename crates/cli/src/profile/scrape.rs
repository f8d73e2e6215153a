//! A profile that goes on while others ask for it again and again, as continuous profilers do: what `heapglass serve` gives as
//! `/debug/pprof/heap`.

use crate::failure::Failure;
use crate::feed::{self, Feed, Thread, Wishes};
use crate::trace::{Listener, Reading};
use heapglass_event::record::Record;
use heapglass_profile::export::pprof;
use heapglass_profile::model::Line;
use heapglass_sampled::ears::Ears;
use heapglass_sampled::names;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes between two samples, and of stack with each.
const INTERVAL: u64 = 512 << 10;
const STACK: u64 = 16 << 10;

struct Scrape {
    ears: Arc<Mutex<Ears>>,
    /// What was named already, by the frames' numbers.
    names: Vec<Vec<Line>>,
    words: Vec<String>,
    /// Listens until this is dropped.
    _reading: Reading<Shared>,
}

/// By process. One that is asked for is profiled from then on.
static SCRAPES: Mutex<BTreeMap<u32, Scrape>> = Mutex::new(BTreeMap::new());

/// What a process allocated since it was first asked for, in pprof's form.
pub fn pprof(pid: u32) -> Result<Vec<u8>, Failure> {
    let mut scrapes = SCRAPES.lock().unwrap_or_else(PoisonError::into_inner);
    scrapes.retain(|pid, _| feed::lives(*pid));
    let scrape = match scrapes.entry(pid) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(room) => room.insert(Scrape::begin(pid)?),
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
    fn begin(pid: u32) -> Result<Scrape, Failure> {
        let ears = Arc::new(Mutex::new(Ears::new(INTERVAL)));
        let wishes = Wishes { interval: INTERVAL, stack: STACK, lossy: true, ..Wishes::default() };
        let reading = Reading::of_running(pid.cast_signed(), wishes, Shared(ears.clone()))?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|&byte| byte == 0).filter(|word| !word.is_empty());
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Ok(Scrape { ears, names: Vec::new(), words, _reading: reading })
    }

    /// All since the beginning, in pprof's form.
    fn pprof(&mut self) -> Vec<u8> {
        let (mut profile, files) = self.ears.lock().unwrap_or_else(PoisonError::into_inner).so_far();
        profile.words = self.words.clone();
        for (frame, lines) in profile.frames.iter_mut().zip(&self.names) {
            frame.lines = lines.clone();
        }
        names::name(&mut profile, &files, &[]);
        self.names = profile.frames.iter().map(|frame| frame.lines.clone()).collect();
        pprof::write(&profile)
    }
}
