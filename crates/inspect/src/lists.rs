//! Who holds what was freed: thread caches, depots, inboxes on one side, the bins of each arena on the other.
//!
//! Lists through free chunks are walked as the allocator walks them: each step is proven by the way back (or the link's proof
//! beside it) before it is taken. A list that breaks is kept up to the break, with the damage named.

use crate::find::{Layout, Target, at};
use crate::memory::{ADDRESS_MAX, Memory, Pages, bytes, place, u32_in, u64_in};
use crate::records::{Arena, Records};
use crate::trouble::Result;
use heapglass_event::root::{fast_proof, link_mask};

/// Whose hands a freed chunk is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Holder {
    /// Waits for its header in a thread's parking place, by the thread's place in `Records::threads`; with what the thread
    /// writes into such chunks.
    Parked { thread: usize, key: u64 },
    /// In a magazine of a thread's cache.
    Cache { thread: usize, class: usize },
    /// In a depot, for any thread.
    Depot { class: usize },
    /// On its way home to an arena.
    Inbox(usize),
}

/// All chunks in caches, by user pointer, in rising order.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    all: Vec<(u64, Holder)>,
    parked: Vec<(u64, Holder)>,
    /// Magazines that didn't look like any while they were read.
    pub odd: usize,
}

impl Holders {
    pub fn read(target: &Target, records: &Records) -> Result<Holders> {
        let (memory, layout) = (&*target.memory, &target.layout);
        let mut holders = Holders::default();
        for (index, thread) in records.threads.iter().enumerate().filter(|(_, thread)| thread.id != 0) {
            holders.cache(memory, layout, index, thread.record)?;
        }
        let (table, stride) = (at!(layout, depots.all), at!(layout, depots.bytes));
        for class in 0..at!(layout, depots.count).min(1 << 12) {
            let head = place(memory, table + class * stride + at!(layout, depots.head))?;
            holders.magazines(memory, layout, head, Holder::Depot { class: class as usize });
        }
        for arena in &records.arenas {
            let head = place(memory, arena.at + at!(layout, arena.inbox))?;
            holders.magazines(memory, layout, head, Holder::Inbox(arena.index));
        }
        // Of two holders that a race shows, one is as good as the other.
        holders.parked.sort_unstable();
        holders.all.sort_unstable();
        holders.all.dedup_by_key(|(user, _)| *user);
        Ok(holders)
    }

    pub fn of(&self, user: u64) -> Option<Holder> {
        let index = self.all.binary_search_by_key(&user, |(user, _)| *user).ok()?;
        self.all.get(index).map(|(_, holder)| *holder)
    }

    /// The thread in whose parking place it is.
    #[inline]
    pub fn parked(&self, user: u64) -> Option<Holder> {
        let index = self.parked.binary_search_by_key(&user, |(user, _)| *user).ok()?;
        self.parked.get(index).map(|(_, holder)| *holder)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, Holder)> + '_ {
        self.all.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn cache(&mut self, memory: &dyn Memory, layout: &Layout, thread: usize, record: u64) -> Result<()> {
        let all = bytes(memory, record, at!(layout, threads.bytes))?;
        let field = |offset: u64| u64_in(&all, offset as usize);
        for index in 0..at!(layout, threads.parked_count) {
            let user = field(at!(layout, threads.parked) + index * 8);
            // What stands there while nothing is parked is no chunk: the walk finds none at its address.
            self.parked.push((user, Holder::Parked { thread, key: field(at!(layout, threads.key)) }));
        }
        for class in 1..at!(layout, threads.classes) {
            let holder = Holder::Cache { thread, class: class as usize };
            let magazine = field(at!(layout, threads.magazines) + class * 8);
            let top = field(at!(layout, threads.bins) + class * 16);
            if magazine != 0 && magazine < ADDRESS_MAX {
                let slots = magazine + at!(layout, magazine.slots);
                self.slots(memory, layout, slots, top.wrapping_sub(slots), holder);
            }
            if class < at!(layout, threads.spare_count) {
                let spare = field(at!(layout, threads.spares) + class * 8);
                if spare != 0 && spare < ADDRESS_MAX {
                    self.magazine(memory, layout, spare, holder);
                }
            }
        }
        Ok(())
    }

    /// Magazines that are linked to each other.
    fn magazines(&mut self, memory: &dyn Memory, layout: &Layout, mut magazine: u64, holder: Holder) {
        let mut steps = 0;
        while magazine != 0 && magazine < ADDRESS_MAX && steps < MAGAZINES_MAX {
            match self.magazine(memory, layout, magazine, holder) {
                Some(next) => magazine = next,
                None => return,
            }
            steps += 1;
        }
    }

    fn magazine(&mut self, memory: &dyn Memory, layout: &Layout, magazine: u64, holder: Holder) -> Option<u64> {
        let head = bytes(memory, magazine, at!(layout, magazine.slots)).ok()?;
        let count = u64::from(u32_in(&head, at!(layout, magazine.count) as usize));
        self.slots(memory, layout, magazine + at!(layout, magazine.slots), count * 8, holder);
        Some(u64_in(&head, at!(layout, magazine.next) as usize))
    }

    fn slots(&mut self, memory: &dyn Memory, layout: &Layout, slots: u64, length: u64, holder: Holder) {
        if length > at!(layout, magazine.most) * 8 || !length.is_multiple_of(8) {
            self.odd += 1;
            return;
        }
        match bytes(memory, slots, length) {
            Ok(users) => {
                self.all.extend(users.as_chunks::<8>().0.iter().map(|user| (u64::from_le_bytes(*user), holder)))
            }
            Err(_) => self.odd += 1,
        }
    }
}

const MAGAZINES_MAX: usize = 1 << 22;

/// Which of an arena's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Bin {
    /// Chunks of this very size.
    Fast(u64),
    Unsorted,
    /// Chunks of this very size.
    Small(u64),
    /// From this size on, below the other.
    Large(u64, u64),
}

impl std::fmt::Display for Bin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bin::Fast(size) => write!(f, "fast {size}"),
            Bin::Unsorted => f.write_str("unsorted"),
            Bin::Small(size) => write!(f, "small {size}"),
            Bin::Large(from, to) => write!(f, "large {from}..{to}"),
        }
    }
}

/// One list: its chunks in the order of its links, which in the fast bins and the unsorted one is from the newest on, in large
/// bins by size.
#[derive(Clone, Debug)]
pub struct List {
    pub bin: Bin,
    /// Where its head lies.
    pub head: u64,
    /// Chunks by their address, with sizes; as many as were asked for.
    pub chunks: Vec<(u64, u64)>,
    pub count: u64,
    pub bytes: u64,
    /// What is wrong with it, behind the last chunk.
    pub broken: Option<String>,
}

/// Doublings of the large bins have so many steps.
const STEPS: u64 = 16;

/// Chunks of a list that are followed, at most: a circle that isn't one of ours would be followed for ever.
const LIST_MAX: u64 = 1 << 26;

/// All lists of an arena that hold something, with up to `keep` chunks each.
pub fn of_arena(target: &Target, arena: &Arena, keep: usize) -> Vec<List> {
    // While it runs, a list may change under our hands: then it is read once more.
    let mut lists = Vec::new();
    for _ in 0..if target.memory.runs() { 5 } else { 1 } {
        lists = Walker::new(target, arena, keep).all();
        if lists.iter().all(|list| list.broken.is_none()) {
            break;
        }
    }
    lists
}

/// The user pointers of an arena's unsorted bin, in rising order, and what is wrong with it.
pub fn unsorted(target: &Target, arena: &Arena) -> (Vec<u64>, Option<String>) {
    let mut walker = Walker::new(target, arena, usize::MAX);
    let header = at!(target.layout, chunk.header);
    let list = walker.doubly(Bin::Unsorted, walker.store + at!(target.layout, store.unsorted));
    let mut users: Vec<u64> = list.chunks.iter().map(|(chunk, _)| chunk.wrapping_add(header)).collect();
    users.sort_unstable();
    (users, list.broken)
}

struct Walker<'a> {
    layout: &'a Layout,
    pages: Pages<'a>,
    arena: &'a Arena,
    store: u64,
    keep: usize,
}

impl<'a> Walker<'a> {
    fn new(target: &'a Target, arena: &'a Arena, keep: usize) -> Walker<'a> {
        let store = arena.at + at!(target.layout, arena.store);
        Walker { layout: &target.layout, pages: Pages::new(&*target.memory), arena, store, keep }
    }

    fn all(&mut self) -> Vec<List> {
        let layout = self.layout;
        let mut lists = Vec::new();
        for index in 0..at!(layout, store.fast_bins).min(1 << 10) {
            lists.extend(self.fast(index));
        }
        lists.push(self.doubly(Bin::Unsorted, self.store + at!(layout, store.unsorted)));
        for index in 0..at!(layout, store.small_bins).min(1 << 10) {
            lists.push(self.doubly(Bin::Small(index * 16), self.store + at!(layout, store.small) + index * 16));
        }
        let first = at!(layout, chunk.large_from);
        for index in 0..at!(layout, store.large_bins).min(1 << 12) {
            // What was damaged may say that there are more than lengths can be told of.
            if index / STEPS >= u64::from(first.leading_zeros()) {
                break;
            }
            let doubling = first << (index / STEPS);
            let (from, step) = (doubling + index % STEPS * (doubling / STEPS), doubling / STEPS);
            lists.push(self.doubly(Bin::Large(from, from + step), self.store + at!(layout, store.large) + index * 16));
        }
        lists.retain(|list| list.count > 0 || list.broken.is_some());
        lists
    }

    fn size(&self, chunk: u64) -> Result<u64> {
        Ok((self.pages.word(chunk.wrapping_add(8))? >> 32) & !u64::from(heapglass_event::root::FLAGS))
    }

    fn put(&self, list: &mut List, chunk: u64) -> Result<()> {
        let size = self.size(chunk)?;
        (list.count, list.bytes) = (list.count + 1, list.bytes + size);
        if list.chunks.len() < self.keep {
            list.chunks.push((chunk, size));
        }
        Ok(())
    }

    fn in_heap(&self, at: u64) -> bool {
        at.is_multiple_of(16) && self.arena.heaps.iter().any(|heap| heap.chunks.holds(at))
    }

    fn fast(&self, index: u64) -> Option<List> {
        let head = self.store + at!(self.layout, store.fast) + index * 8;
        let mut list = List { bin: Bin::Fast(index * 16), head, chunks: Vec::new(), count: 0, bytes: 0, broken: None };
        let mut chunk = self.pages.word(head).ok()?;
        while chunk != 0 && list.count < LIST_MAX {
            let user = chunk.wrapping_add(at!(self.layout, chunk.header));
            let words = || Ok((self.pages.word(user)?, self.pages.word(user.wrapping_add(8))?));
            if !self.in_heap(chunk) || self.put(&mut list, chunk).is_err() {
                list.broken = Some(format!("leads to {chunk:#x}, where no chunk of the arena can be"));
                break;
            }
            match words() as Result<(u64, u64)> {
                Ok((next, proof)) if proof == fast_proof(self.layout.secret, user, next) => chunk = next,
                _ => {
                    list.broken =
                        Some(format!("the link in the chunk at {chunk:#x} was overwritten after it was freed"));
                    break;
                }
            }
        }
        Some(list)
    }

    /// The item that a link leads to, `back` words on the way back.
    fn step(&self, link: u64) -> std::result::Result<u64, String> {
        let read = |at: u64| self.pages.word(at).map(|word| word ^ link_mask(self.layout.link_key, at));
        let next = read(link).map_err(|_| format!("{link:#x} can't be read"))?;
        let is_ours = next.is_multiple_of(8)
            && (self.arena.heaps.iter().any(|heap| heap.chunks.holds(next))
                || (self.arena.at..self.arena.at + at!(self.layout, arena.bytes)).contains(&next));
        if !is_ours {
            return Err(format!("the link at {link:#x} was overwritten: it leads to {next:#x}, outside of the arena"));
        }
        match read(next.wrapping_add(8)) {
            Ok(back) if back == link => Ok(next),
            Ok(back) => {
                Err(format!("the link at {link:#x} leads to {next:#x}, but from there leads none back (to {back:#x})"))
            }
            Err(_) => Err(format!("the link at {link:#x} leads to {next:#x}, which can't be read")),
        }
    }

    fn doubly(&mut self, bin: Bin, head: u64) -> List {
        let mut list = List { bin, head, chunks: Vec::new(), count: 0, bytes: 0, broken: None };
        // Where nothing is, as in an arena that was never used, the head may be unset.
        if matches!(self.pages.word(head), Ok(0)) {
            return list;
        }
        if let Err(what) = self.follow(&mut list, head) {
            list.broken = Some(what);
        }
        list
    }

    fn follow(&self, list: &mut List, head: u64) -> std::result::Result<(), String> {
        let header = at!(self.layout, chunk.header);
        let ring_at = at!(self.layout, chunk.ring_word) * 8;
        let mut link = self.step(head)?;
        while link != head {
            self.put(list, link.wrapping_sub(header)).map_err(|e| e.to_string())?;
            if matches!(list.bin, Bin::Large(..)) {
                let ring = link + ring_at;
                let mut peer = self.step(ring)?;
                while peer != ring {
                    self.put(list, peer.wrapping_sub(header)).map_err(|e| e.to_string())?;
                    peer = self.step(peer)?;
                    if list.count > LIST_MAX {
                        return Err("it has no end".into());
                    }
                }
            }
            link = self.step(link)?;
            if list.count > LIST_MAX {
                return Err("it has no end".into());
            }
        }
        Ok(())
    }
}
