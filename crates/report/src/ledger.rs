//! Where the resident memory went, in lines that add up to the kernel's own figure.
//!
//! Bytes of the heap are told apart chunk by chunk, and counted as resident if their page is. What the kernel counts beyond that in
//! the same mappings, and in all others, isn't the heap's, and is named by what is mapped there. So the sum is the kernel's
//! figure, unless memory comes and goes while it is read: then the difference is told.

pub use crate::classes::Sizes;
pub use crate::lines::{LINES, Line, Sum, Sums};
use crate::pins::Pins;
use crate::requests::{Part, Requests, Unknown};
use crate::resident;
use heapglass_inspect::aside;
use heapglass_inspect::asked::Asked;
use heapglass_inspect::find::at;
use heapglass_inspect::lists::{Holder, Holders};
use heapglass_inspect::maps::Mapping;
use heapglass_inspect::records::{Arena, MappedState, Records};
use heapglass_inspect::requests::Requests as Means;
use heapglass_inspect::trouble::Result;
use heapglass_inspect::walk::{Chunk, Damage, What};
use heapglass_inspect::{Range, Target};
use std::time::{Duration, Instant};

/// One arena's part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaPart {
    pub index: usize,
    pub threads: u32,
    pub heaps: usize,
    pub sums: Sums,
}

pub struct Ledger {
    pub sums: Sums,
    pub arenas: Vec<ArenaPart>,
    /// What the kernel says is resident; `None` for a core file.
    pub rss: Option<u64>,
    pub swap: u64,
    /// Free chunks in bins and tops: what there is for a request.
    pub free: Sizes,
    pub largest_free: u64,
    /// Chunks in use, and those that were freed and wait for their thread, or for any.
    pub live: Sizes,
    pub cached: Sizes,
    pub requests: Requests,
    pub pins: Pins,
    pub damages: Vec<Damage>,
    pub more_damage: u64,
    /// The heap stood still enough for all of it to be one picture.
    pub steady: bool,
    pub records: Records,
}

impl Ledger {
    pub fn line(&self, line: Line) -> Sum {
        self.sums[line as usize]
    }

    /// All that was accounted for.
    pub fn resident(&self) -> u64 {
        self.sums.iter().map(|sum| sum.resident).sum()
    }

    pub fn free_bytes(&self) -> u64 {
        self.free.bytes()
    }

    /// Free bytes in chunks too short for a chunk of this many bytes, a power of two.
    pub fn unusable_for(&self, size: u64) -> u64 {
        self.free.bytes_below(size)
    }

    /// What `malloc_trim` would give back: inside heaps, tops, and what is only kept.
    pub fn trimmable(&self) -> u64 {
        self.pins.trim.inside + self.pins.trim.tops + self.line(Line::Kept).resident
    }
}

/// Times that an arena which changed meanwhile is read again.
const TRIES: usize = 3;

/// What comes by while a ledger is made.
pub enum Seen<'a> {
    /// An arena begins; perhaps once more, since it changed under our hands. Then what was seen of it is void.
    Arena(&'a Arena),
    Chunk(&'a Chunk),
}

/// What is known of a chunk in use beside what the heap says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub bytes: u64,
    /// The number of the call that handed it out; 0 where nobody counted.
    pub born: u64,
}

/// Who knows: of a user pointer and its chunk's bytes.
pub type Known<'a> = &'a dyn Fn(u64, u64) -> Option<Request>;

/// Reads all of it.
pub fn of(target: &Target) -> Result<Ledger> {
    of_seeing(target, &|_, _| None, &mut |_| {})
}

/// As `of`, for who knows more, or wants the chunks of the same reading too.
pub fn of_seeing(target: &Target, known: Known<'_>, see: &mut dyn FnMut(Seen)) -> Result<Ledger> {
    let memory = &*target.memory;
    let records = Records::read(target)?;
    let mut ledger = Ledger {
        sums: Sums::default(),
        arenas: Vec::new(),
        rss: None,
        swap: 0,
        free: Sizes::default(),
        largest_free: 0,
        live: Sizes::default(),
        cached: Sizes::default(),
        requests: Requests::new(Means::read(target)?),
        pins: Pins::new(memory.page(), at!(target.layout, chunk.kept_head)),
        damages: Vec::new(),
        more_damage: 0,
        steady: true,
        records: Records::default(),
    };
    let mut ours = Ours::default();
    let mut caches = Caches::read(target, &records)?;
    let asked = Asked::read(target)?;
    for arena in &records.arenas {
        let part = arena_part(target, arena, (&records, &mut caches, (known, &asked)), (&mut ledger, &mut ours), see)?;
        ledger.arenas.push(part);
    }
    for mapped in &records.mapped {
        let line = if mapped.state == MappedState::Kept { Line::Kept } else { Line::Mapped };
        let there = ours.add(mapped.mapping, &memory.resident(mapped.mapping)?);
        ledger.sums[line as usize].add(1, mapped.mapping.bytes(), there);
        if line == Line::Mapped {
            let room = mapped.mapping.end.saturating_sub(mapped.user);
            let request = asked.of(mapped.user, room).unwrap_or(mapped.request).min(room);
            ledger.requests.mapped.add(1, request, mapped.mapping.bytes() - request);
        }
    }
    if records.pool.bytes() > 0 {
        let there = ours.add(records.pool, &memory.resident(records.pool)?);
        ledger.sums[Line::Samples as usize].add(records.samples.len() as u64, records.pool.bytes(), there);
        let request: u64 = records.samples.iter().map(|sample| sample.request).sum();
        let over = records.pool.bytes().saturating_sub(request);
        ledger.requests.samples.add(records.samples.len() as u64, request, over);
    }
    for (_, spare) in &records.spares {
        let there = ours.add(*spare, &memory.resident(*spare)?);
        ledger.sums[Line::Kept as usize].add(1, spare.bytes(), there);
    }
    for piece in &records.metadata {
        let there = ours.add(*piece, &memory.resident(*piece)?);
        ledger.sums[Line::Records as usize].add(0, piece.bytes(), there);
    }
    ours.sort();
    match memory.accounted()? {
        Some(mappings) => {
            ledger.rss = Some(mappings.iter().map(|mapping| mapping.rss).sum());
            ledger.swap = mappings.iter().map(|mapping| mapping.swap).sum();
            others(&mut ledger.sums, &mappings, &ours);
        }
        None => others(&mut ledger.sums, &in_file(target)?, &ours),
    }
    ledger.records = records;
    Ok(ledger)
}

/// The mappings of a core, with what the file has of each as resident.
fn in_file(target: &Target) -> Result<Vec<Mapping>> {
    let mut mappings = target.memory.mappings()?;
    for mapping in &mut mappings {
        mapping.rss = target.memory.resident(mapping.range)?.iter().map(|run| run.bytes()).sum();
    }
    Ok(mappings)
}

/// All that is the heap's: where it lies, and which parts of it are resident.
#[derive(Default)]
struct Ours {
    pieces: Vec<Range>,
    runs: Vec<Range>,
}

impl Ours {
    /// Adds a piece, of which these runs are resident; returns how much that is.
    fn add(&mut self, piece: Range, runs: &[Range]) -> u64 {
        let parts = runs.iter().map(|run| run.meets(piece)).filter(|part| part.bytes() > 0);
        let before = self.runs.len();
        self.runs.extend(parts);
        self.pieces.push(piece);
        self.runs.iter().skip(before).map(|run| run.bytes()).sum()
    }

    fn sort(&mut self) {
        self.pieces.sort_unstable();
        self.runs.sort_unstable();
    }
}

/// What the kernel counts beyond what is ours.
fn others(sums: &mut Sums, mappings: &[Mapping], ours: &Ours) {
    for mapping in mappings {
        let bytes = resident::bytes(&ours.pieces, mapping.range);
        let there = resident::bytes(&ours.runs, mapping.range);
        let line = match mapping.name.as_str() {
            name if name.starts_with('/') || name == "[vdso]" || name == "[vvar]" || name == "[vsyscall]" => {
                Line::Files
            }
            "[stack]" => Line::Stacks,
            _ => Line::Other,
        };
        let rest = mapping.rss.saturating_sub(there);
        sums[line as usize].add(0, mapping.range.bytes().saturating_sub(bytes), rest);
    }
}

/// What is in caches, and since when that is known: with hundreds of arenas it isn't asked anew for each.
struct Caches {
    holders: Holders,
    at: Instant,
}

/// What is in the caches of a running program is asked anew after this long.
const FRESH: Duration = Duration::from_millis(20);

impl Caches {
    fn read(target: &Target, records: &Records) -> Result<Caches> {
        Ok(Caches { holders: Holders::read(target, records)?, at: Instant::now() })
    }

    fn refresh(&mut self, target: &Target, records: &Records, tries: usize) -> Result<()> {
        if target.memory.runs() && (tries > 1 || self.at.elapsed() > FRESH) {
            *self = Caches::read(target, records)?;
        }
        Ok(())
    }
}

fn arena_part(
    target: &Target,
    arena: &Arena,
    (records, caches, known): (&Records, &mut Caches, (Known<'_>, &Asked<'_>)),
    (ledger, ours): (&mut Ledger, &mut Ours),
    see: &mut dyn FnMut(Seen),
) -> Result<ArenaPart> {
    let mut arena = arena.clone();
    let mut tries = 1;
    loop {
        caches.refresh(target, records, tries)?;
        let mut tally = Tally::new(target, &arena, known, &ledger.requests)?;
        see(Seen::Arena(&arena));
        let walked = aside::arena(target, &arena, &caches.holders, &mut |chunk| {
            tally.see(chunk, &ledger.requests);
            see(Seen::Chunk(chunk));
        })?;
        if !walked.steady && !walked.gave_up && target.memory.runs() && tries < TRIES {
            tries += 1;
            arena = heapglass_inspect::records::arena(&*target.memory, &target.layout, arena.index, arena.at)?;
            continue;
        }
        ledger.steady &= walked.steady;
        ledger.damages.extend(walked.damages);
        ledger.more_damage += walked.more_damage;
        tally.finish(ledger, ours);
        let part = tally.part;
        for (sum, more) in ledger.sums.iter_mut().zip(&part.sums) {
            sum.add(more.chunks, more.bytes, more.resident);
        }
        return Ok(part);
    }
}

/// One arena's chunks, as they come.
struct Tally<'a> {
    known: Known<'a>,
    asked: &'a Asked<'a>,
    /// From a chunk to its user pointer.
    header: u64,
    part: ArenaPart,
    /// Chunks in use whose request is known, and the others.
    exact: Part,
    unknown: Unknown,
    /// Heaps by address, with their resident runs.
    heaps: Vec<(Range, u64, Vec<Range>)>,
    heap: Option<usize>,
    /// The run that the last chunk was in.
    near: usize,
    free: Sizes,
    live: Sizes,
    cached: Sizes,
    largest_free: u64,
    pins: Pins,
}

impl<'a> Tally<'a> {
    fn new(
        target: &Target,
        arena: &Arena,
        (known, asked): (Known<'a>, &'a Asked<'a>),
        requests: &Requests,
    ) -> Result<Tally<'a>> {
        let mut heaps = Vec::new();
        for heap in &arena.heaps {
            let whole = Range::new(heap.chunks.start, heap.limit.max(heap.chunks.end));
            heaps.push((heap.chunks, whole.end, target.memory.resident(whole)?));
        }
        Ok(Tally {
            known,
            asked,
            header: target.layout.header,
            part: ArenaPart { index: arena.index, threads: arena.seats, heaps: heaps.len(), sums: Sums::default() },
            exact: Part::default(),
            unknown: requests.unknown(),
            heaps,
            heap: None,
            near: 0,
            free: Sizes::default(),
            live: Sizes::default(),
            cached: Sizes::default(),
            largest_free: 0,
            pins: Pins::new(target.memory.page(), at!(target.layout, chunk.kept_head)),
        })
    }

    fn see(&mut self, chunk: &Chunk, requests: &Requests) {
        let is_in = |heap: &(Range, u64, Vec<Range>)| heap.0.start <= chunk.at && chunk.at < heap.1;
        if self.heap.is_none_or(|index| !self.heaps.get(index).is_some_and(is_in)) {
            self.end_heap();
            self.heap = self.heaps.iter().position(is_in);
            self.pins.begin();
        }
        let Some((_, _, runs)) = self.heap.and_then(|index| self.heaps.get(index)) else { return };
        let there = resident::bytes_near(runs, chunk.range(), &mut self.near);
        let request = match chunk.what {
            What::Live => self.request(chunk),
            _ => None,
        };
        let sums = &mut self.part.sums;
        let line = match chunk.what {
            What::Live => {
                let header = there.min(8);
                sums[Line::Headers as usize].add(0, 8, header);
                let rest = there - header;
                match request {
                    Some(Request { bytes, .. }) => {
                        sums[Line::Requested as usize].add(1, bytes, rest.min(bytes));
                        sums[Line::Rounding as usize].add(0, chunk.size - 8 - bytes, rest - rest.min(bytes));
                        self.exact.add(1, bytes, chunk.size - 8 - bytes);
                    }
                    None => requests.see(&mut self.unknown, chunk.size, rest),
                }
                self.live.add(chunk.size, there);
                None
            }
            What::Fence => {
                sums[Line::Headers as usize].add(0, chunk.size, there);
                None
            }
            What::Parked => Some(Line::Parked),
            What::Cached => Some(match chunk.holder {
                Some(Holder::Depot { .. }) => Line::Depots,
                Some(Holder::Inbox(_)) => Line::OnTheWay,
                _ => Line::ThreadCaches,
            }),
            What::Fast => Some(Line::Fast),
            What::Unsorted => Some(Line::Unsorted),
            What::Small => Some(Line::Small),
            What::Large => Some(Line::Large),
            What::Top => Some(Line::Top),
            What::Quarantined => Some(Line::Quarantine),
            What::Damaged => Some(Line::Damaged),
        };
        if let Some(line) = line {
            sums[line as usize].add(1, chunk.size, there);
        }
        if matches!(chunk.what, What::Parked | What::Cached) {
            self.cached.add(chunk.size, there);
        }
        if chunk.is_in_bin() || chunk.what == What::Top {
            self.free.add(chunk.size, there);
            self.largest_free = self.largest_free.max(chunk.size);
        }
        let born = request.map_or(0, |request| request.born);
        self.pins.see(self.part.index, chunk, born, &|range| resident::bytes(runs, range));
    }

    /// What is known of a chunk in use: by who was asked for it, or by its own canary.
    fn request(&self, chunk: &Chunk) -> Option<Request> {
        let (user, room) = (chunk.at + self.header, chunk.size - 8);
        let recorded = (self.known)(user, chunk.size).filter(|request| request.bytes <= room);
        recorded.or_else(|| self.asked.of(user, room).map(|bytes| Request { bytes, born: 0 }))
    }

    fn end_heap(&mut self) {
        if let Some((_, _, runs)) = self.heap.take().and_then(|index| self.heaps.get(index)) {
            self.pins.end(&|range| resident::bytes(runs, range));
        }
    }

    fn finish(&mut self, ledger: &mut Ledger, ours: &mut Ours) {
        self.end_heap();
        for (chunks, limit, runs) in &self.heaps {
            let end = Range::new(chunks.end, *limit);
            let there = resident::bytes(runs, end);
            self.part.sums[Line::HeapEnds as usize].add(0, end.bytes(), there);
            let whole = Range::new(chunks.start, *limit);
            ours.add(whole, runs);
        }
        ledger.requests.split(&self.unknown, self.exact, &mut self.part.sums);
        ledger.free.join(&self.free);
        ledger.live.join(&self.live);
        ledger.cached.join(&self.cached);
        ledger.largest_free = ledger.largest_free.max(self.largest_free);
        ledger.pins.join(std::mem::replace(&mut self.pins, Pins::new(4096, 0)));
    }
}
