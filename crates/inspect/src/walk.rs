//! The chunks of a heap, from its first to its end.
//!
//! Each header proves itself by its cookie, and is held against its neighbours' words. Where the target runs meanwhile, a header
//! that doesn't may just be in the making: the last few chunks are held back, and read again from the first of them until it
//! does. What stays as it was for a while is damage. Behind damage the walk goes on at the next address where a chain of headers
//! proves itself; what lies between is told as one damaged piece.

use crate::find::{Target, at};
use crate::lists::{self, Holder, Holders};
use crate::memory::{Range, u32_in, u64_in};
use crate::records::{self, Arena, Counters, Heap};
use crate::trouble::Result;
use crate::window::Window;
use heapglass_event::root::{A, FLAGS, Kind, P};
use std::collections::VecDeque;
use std::thread::sleep;
use std::time::Duration;

/// What a chunk is, with where it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum What {
    /// In the program's hands.
    Live,
    /// Freed; its thread has yet to look at its header.
    Parked,
    /// In a thread's cache, a depot or an inbox: `Chunk::holder` says where.
    Cached,
    Fast,
    Unsorted,
    Small,
    Large,
    Top,
    Fence,
    Quarantined,
    /// No header proves what is here.
    Damaged,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub at: u64,
    pub size: u64,
    pub flags: u32,
    pub what: What,
    pub holder: Option<Holder>,
}

impl Chunk {
    #[inline]
    pub fn range(&self) -> Range {
        Range::new(self.at, self.at + self.size)
    }

    /// Is it in the unsorted, a small or a large bin?
    #[inline]
    pub fn is_in_bin(&self) -> bool {
        matches!(self.what, What::Unsorted | What::Small | What::Large)
    }
}

/// Something that isn't as the heap leaves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub at: u64,
    pub arena: usize,
    /// A whole sentence.
    pub what: String,
    /// It may be that it just changed under our hands.
    pub racing: bool,
}

/// What a walk over an arena came to.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    pub chunks: u64,
    pub damages: Vec<Damage>,
    /// More of it than is kept.
    pub more_damage: u64,
    /// Times that something was read again.
    pub again: u64,
    /// The arena's counters say what was seen, before and after.
    pub steady: bool,
    /// It changed too fast for another reading to be worth its while.
    pub gave_up: bool,
    free: (u64, u64),
    fast: (u64, u64),
}

/// Chunks held back, so that they can be read again.
const HELD: usize = 64;
/// Times that something is read again before it is believed, and pauses between the later ones.
const TRIES: usize = 24;
const PATIENT_TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);
/// Times for one arena: one whose threads are faster than us isn't read for ever. What is odd from then on may well be a race.
const TRIES_MAX: u64 = 1000;
const DAMAGES_MAX: usize = 100;
/// Headers in a row that must prove themselves behind damage.
const CHAIN: usize = 4;

pub struct Walk<'a> {
    target: &'a Target,
    pub arena: Arena,
    holders: &'a Holders,
    unsorted: Vec<u64>,
    walked: Walked,
}

enum Look {
    Sound(Chunk),
    /// It is a chunk, but something beside it is wrong.
    Odd(Chunk, String),
    Broken(String),
}

/// Walks all heaps of an arena, the oldest first.
pub fn arena(target: &Target, arena: &Arena, holders: &Holders, see: &mut dyn FnMut(&Chunk)) -> Result<Walked> {
    let before = arena.counters;
    let (unsorted, broken) = lists::unsorted(target, arena);
    let mut walk = Walk { target, arena: arena.clone(), holders, unsorted, walked: Walked::default() };
    if let Some(what) = broken.filter(|_| !target.memory.runs()) {
        walk.damage(arena.at, format!("the unsorted bin of arena {}: {what}", arena.index), false);
    }
    for heap in arena.heaps.iter().rev() {
        walk.heap(heap, see)?;
    }
    walk.refresh();
    let Walk { arena: now, mut walked, .. } = walk;
    walked.steady = now.counters == before && matches(&walked, &before);
    Ok(walked)
}

fn matches(walked: &Walked, counters: &Counters) -> bool {
    walked.free == (counters.free_chunks, counters.free_bytes)
        && walked.fast == (counters.fast_chunks, counters.fast_bytes)
}

impl Walk<'_> {
    fn damage(&mut self, at: u64, what: String, racing: bool) {
        if self.walked.damages.len() < DAMAGES_MAX {
            self.walked.damages.push(Damage { at, arena: self.arena.index, what, racing });
        } else {
            self.walked.more_damage += 1;
        }
    }

    /// The arena as it is now; where it can't be read, as it was.
    fn refresh(&mut self) {
        if let Ok(now) = records::arena(&*self.target.memory, &self.target.layout, self.arena.index, self.arena.at) {
            self.arena = now;
        }
    }

    fn emit(&mut self, chunk: &Chunk, see: &mut dyn FnMut(&Chunk)) {
        self.walked.chunks += 1;
        let count = |pair: &mut (u64, u64)| *pair = (pair.0 + 1, pair.1 + chunk.size);
        match chunk.what {
            What::Unsorted | What::Small | What::Large => count(&mut self.walked.free),
            What::Fast => count(&mut self.walked.fast),
            _ => {}
        }
        see(chunk);
    }

    fn heap(&mut self, heap: &Heap, see: &mut dyn FnMut(&Chunk)) -> Result<()> {
        let mut heap = heap.clone();
        let mut window = Window::new(&*self.target.memory, heap.chunks)?;
        let mut held: VecDeque<Chunk> = VecDeque::with_capacity(HELD + 1);
        // The chunk before the first that is held.
        let mut sent: Option<Chunk> = None;
        let mut at = heap.chunks.start;
        let (mut troubled_at, mut tries, mut changed) = (0, 0, false);
        let mut seen = Vec::new();
        while at < heap.chunks.end {
            let before = held.back().copied().or(sent);
            let look = self.look(&mut window, &heap, at, before);
            if let Look::Sound(chunk) = look {
                at = chunk.range().end;
                held.push_back(chunk);
                if held.len() > HELD
                    && let Some(first) = held.pop_front()
                {
                    self.emit(&first, see);
                    sent = Some(first);
                }
                continue;
            }
            // Something is wrong here: once more, unless nothing can have changed.
            if at > troubled_at {
                (troubled_at, tries, changed) = (at, 0, false);
                seen.clear();
            }
            let now = window.bytes(at, 16).map(<[u8]>::to_vec).unwrap_or_default();
            changed |= tries > 0 && now != seen;
            seen = now;
            if self.target.memory.runs() && tries < TRIES && self.walked.again < TRIES_MAX {
                tries += 1;
                self.walked.again += 1;
                self.walked.gave_up = self.walked.again == TRIES_MAX;
                if tries > PATIENT_TRIES {
                    sleep(PAUSE);
                }
                self.refresh();
                match self.arena.heaps.iter().find(|now| now.chunks.start == heap.chunks.start) {
                    Some(now) => heap = now.clone(),
                    // It was given back.
                    None => break,
                }
                window.forget(heap.chunks)?;
                if let Some(first) = held.front() {
                    at = first.at;
                    held.clear();
                }
                continue;
            }
            // A process that was stopped, not one that ended: its owner may be in the middle of it.
            let half_done = self.target.pid.is_some() && self.arena.locked;
            let is_unclear = changed || half_done || self.walked.gave_up;
            let chunk = match look {
                Look::Sound(chunk) => chunk,
                Look::Odd(chunk, what) => {
                    self.damage(at, what, is_unclear);
                    chunk
                }
                Look::Broken(what) => {
                    let end = self.resume(&mut window, &heap, at);
                    self.damage(at, what, is_unclear);
                    Chunk { at, size: end - at, flags: 0, what: What::Damaged, holder: None }
                }
            };
            at = chunk.range().end;
            held.push_back(chunk);
        }
        for chunk in held {
            self.emit(&chunk, see);
        }
        Ok(())
    }

    fn look(&self, window: &mut Window, heap: &Heap, at: u64, before: Option<Chunk>) -> Look {
        let layout = &self.target.layout;
        let words = match window.bytes(at, 64) {
            Ok(words) => words,
            Err(e) => return Look::Broken(format!("a chunk should begin at {at:#x}: {e}")),
        };
        let half = u32_in(words, 12);
        let Some(kind) = layout.kind(at, u32_in(words, 8), half) else {
            return Look::Broken(overwritten(at, words, before));
        };
        let flags = half & FLAGS;
        let size = u64::from(half & !FLAGS);
        let end = heap.chunks.end;
        let size = if kind == Kind::Top { end - at } else { size };
        let is_last = matches!(kind, Kind::Top | Kind::Fence);
        let room = if is_last { 0 } else { 16 };
        if size < 16 || at + size + room > end || is_last && at + size != end {
            return Look::Broken(format!(
                "the chunk at {at:#x}, {size} bytes, runs over the end of its heap at {end:#x}"
            ));
        }
        if kind == Kind::Mapped || kind == Kind::Top && at != self.arena.top {
            return Look::Broken(format!("the chunk at {at:#x} says of itself what can't be: {kind:?} in a heap"));
        }
        let user = at + layout.header;
        let (what, holder) = match kind {
            Kind::Live => match self.holders.parked(user) {
                Some(holder) if self.is_key(words, holder) => (What::Parked, Some(holder)),
                _ => (What::Live, None),
            },
            Kind::Cached => (What::Cached, self.holders.of(user)),
            Kind::Fast => (What::Fast, None),
            Kind::Free => match self.bin(words, user, size) {
                Some(what) => (what, None),
                None => {
                    let chunk = Chunk { at, size, flags, what: What::Large, holder: None };
                    let what = format!(
                        "the free chunk at {at:#x} no longer says which bin it is in: it was written to after it was freed"
                    );
                    return Look::Odd(chunk, what);
                }
            },
            Kind::Top | Kind::Mapped => (What::Top, None),
            Kind::Fence => (What::Fence, None),
            Kind::Quarantined => (What::Quarantined, None),
        };
        let chunk = Chunk { at, size, flags, what, holder };
        match self.odd(&chunk, words, before) {
            Some(what) => Look::Odd(chunk, what),
            None => Look::Sound(chunk),
        }
    }

    /// Is it really parked, or was it handed out again since the thread's record was read?
    fn is_key(&self, words: &[u8], holder: Holder) -> bool {
        matches!(holder, Holder::Parked { key, .. } if u64_in(words, 16) == key)
    }

    fn bin(&self, words: &[u8], user: u64, size: u64) -> Option<What> {
        let layout = &self.target.layout;
        if size < layout.large_from {
            let listed = self.unsorted.binary_search(&user).is_ok();
            return Some(if listed { What::Unsorted } else { What::Small });
        }
        let role = u64_in(words, 16 + at!(layout, chunk.role_word) as usize * 8);
        if role == at!(layout, chunk.role_unsorted) {
            return Some(What::Unsorted);
        }
        let is_sorted = role == at!(layout, chunk.role_leader) || role == at!(layout, chunk.role_peer);
        is_sorted.then_some(What::Large)
    }

    /// What a chunk's words say that can't be, held against the chunk before it.
    fn odd(&self, chunk: &Chunk, words: &[u8], before: Option<Chunk>) -> Option<String> {
        let at = chunk.at;
        if (chunk.flags & A != 0) != (self.arena.index != 0) {
            return Some(format!("the A flag of the chunk at {at:#x} is wrong: it is in arena {}", self.arena.index));
        }
        let before = before.filter(|before| before.what != What::Damaged)?;
        let says_in_use = chunk.flags & P != 0;
        if says_in_use == before.is_in_bin() {
            let is = if before.is_in_bin() { "is free" } else { "is not in a bin" };
            return Some(format!(
                "the P flag of the chunk at {at:#x} is wrong: the chunk before it, at {:#x}, {is}",
                before.at
            ));
        }
        let told = u64_in(words, 0);
        if before.is_in_bin() && told != before.size {
            return Some(format!(
                "the chunk at {at:#x} says that the free chunk before it is {told} bytes long, which is {}: it was written to after it was freed",
                before.size
            ));
        }
        None
    }

    /// Where to go on behind a broken header: where a chain of headers proves itself.
    fn resume(&self, window: &mut Window, heap: &Heap, broken: u64) -> u64 {
        let end = heap.chunks.end;
        // A stray byte hits the cookie first: then the size may still be right.
        if let Ok(words) = window.bytes(broken, 16) {
            let size = u64::from(u32_in(words, 12) & !FLAGS);
            if size >= at!(self.target.layout, chunk.min) && self.is_chain(window, heap, broken + size) {
                return broken + size;
            }
        }
        let mut at = broken + 16;
        while at + 16 <= end {
            match window.resident().iter().find(|run| run.end > at) {
                // No header lies in a page that isn't there.
                Some(run) => at = at.max(run.start),
                None => return end,
            }
            let run_end = window.resident().iter().find(|run| run.end > at).map_or(end, |run| run.end).min(end);
            while at + 16 <= run_end {
                if self.is_chain(window, heap, at) {
                    return at;
                }
                at += 16;
            }
            at = at.max(run_end);
        }
        end
    }

    /// Do several headers in a row prove themselves? Memory that was merged keeps old headers; what tells those is the size at a
    /// free chunk's end, and that there is one top.
    fn is_chain(&self, window: &mut Window, heap: &Heap, mut at: u64) -> bool {
        let mut before: Option<Chunk> = None;
        for _ in 0..CHAIN {
            if at == heap.chunks.end {
                return before.is_some_and(|chunk| matches!(chunk.what, What::Top | What::Fence));
            }
            match self.look(window, heap, at, before) {
                Look::Sound(chunk) => {
                    at = chunk.range().end;
                    before = Some(chunk);
                }
                _ => return false,
            }
        }
        true
    }
}

/// A header that proves nothing: what stands there, and who most likely wrote it.
fn overwritten(at: u64, words: &[u8], before: Option<Chunk>) -> String {
    let header = words.get(8..16).unwrap_or_default();
    let hex: Vec<String> = header.iter().map(|byte| format!("{byte:02x}")).collect();
    let printable = |byte: &u8| if (32..127).contains(byte) { *byte as char } else { '.' };
    let text: String = header.iter().map(printable).collect();
    let mut line = format!("the header of the chunk at {at:#x} was overwritten: it reads {} \"{text}\"", hex.join(" "));
    if let Some(before) = before.filter(|before| before.what != What::Damaged) {
        let state = match before.what {
            What::Live => "in use",
            _ => "free",
        };
        line += &format!(
            "; the chunk before it, at {:#x}, {} bytes, {state}, ends there and was most likely written past its end",
            before.at, before.size
        );
    }
    line
}

/// The chunk that holds an address, with the ones before and behind it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub before: Option<Chunk>,
    pub chunk: Option<Chunk>,
    pub after: Option<Chunk>,
}

/// Walks an arena up to the chunk that holds an address.
pub fn find(target: &Target, around: &Arena, holders: &Holders, address: u64) -> Result<Found> {
    let mut found = Found::default();
    let mut last: Option<Chunk> = None;
    arena(target, around, holders, &mut |chunk| {
        let joins = |other: Option<Chunk>| other.filter(|other| other.range().end == chunk.at);
        if chunk.range().holds(address) {
            (found.before, found.chunk) = (joins(last), Some(*chunk));
        } else if found.after.is_none() && joins(found.chunk).is_some() {
            found.after = Some(*chunk);
        }
        last = Some(*chunk);
    })?;
    Ok(found)
}
