//! Records: what the heap tells of each step of its work, at the place in the code where the step is decided.
//!
//! A call is told by several: `Begin`, a record for each step in the order in which they are taken, `End`. All of a call lie
//! in the ring of the thread that made it. What each kind's numbers mean stands at the kind; `bytes` are bytes of chunks
//! (request, header and rounding) where nothing else is said.

/// Raised whenever a record changes its meaning or its form.
pub const SCHEMA: u32 = 1;

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Record {
    /// A `Kind`.
    pub kind: u16,
    /// An `Outcome`.
    pub outcome: u16,
    pub n: u32,
    pub a: u64,
    pub b: u64,
    pub c: u64,
}

/// The words behind a record of `Kind::Profiled`, before those of the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sampled {
    /// Bytes of the chunk, by which its chance to be sampled was reckoned.
    pub chunk_bytes: u64,
    /// The arena that it is from; `NO_ARENA` for a mapping.
    pub arena: u64,
    /// The registers that tell where the thread was.
    pub pc: u64,
    pub sp: u64,
    pub bp: u64,
    /// Bytes of stack that follow, from `sp` on. `is_cut`: there was more.
    pub stack_bytes: u64,
    pub is_cut: bool,
    /// The `Call`.
    pub call: u64,
}

/// What isn't from an arena.
pub const NO_ARENA: u64 = u64::MAX;
/// Records that a `Sampled` takes.
pub const SAMPLED_RECORDS: u32 = 2;

impl Sampled {
    pub const fn records(&self) -> [Record; SAMPLED_RECORDS as usize] {
        let last = self.call | (self.is_cut as u64) << 32;
        [
            Record::of_words([self.chunk_bytes, self.arena, self.pc, self.sp]),
            Record::of_words([self.bp, self.stack_bytes, last, 0]),
        ]
    }

    pub const fn from_records(records: [Record; SAMPLED_RECORDS as usize]) -> Sampled {
        let [[chunk_bytes, arena, pc, sp], [bp, stack_bytes, last, _]] = [records[0].words(), records[1].words()];
        Sampled { chunk_bytes, arena, pc, sp, bp, stack_bytes, is_cut: last >> 32 != 0, call: last & 0xffff_ffff }
    }
}

pub const RECORD_BYTES: usize = size_of::<Record>();
const _: () = assert!(RECORD_BYTES == 32);

/// An enum with numbers, the names of its values, and the way back from a number.
macro_rules! numbered {
    ($(#[$about:meta])* $name:ident : $number:ty { $($(#[$doc:meta])* $value:ident = $code:literal $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr($number)]
        pub enum $name { $($(#[$doc])* $value = $code,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$value,)*];

            pub const fn name(self) -> &'static str {
                match self { $($name::$value => $text,)* }
            }

            pub const fn from_number(number: $number) -> Option<$name> {
                match number { $($code => Some($name::$value),)* _ => None }
            }
        }
    };
}

numbered! {
    /// What a record tells.
    Kind: u16 {
        /// A call begins. n: the `Call`; a, b: its arguments as the program gave them; c: the clock.
        Begin = 1 "begin",
        /// The call that began last ends. n: the `Call`; a: what it returns; b: the chunk's bytes (a mapping's whole length), 0
        /// for none; c: the clock. Outcome `Failed` where it returns without memory.
        End = 2 "end",
        /// In a ring that several threads share: who makes the calls that follow. n: the thread's number.
        Writer = 3 "writer",

        // Taking: A6 of the contract.
        /// Step 1, a request becomes a size. a: request; b: bytes.
        Size = 10 "size",
        /// Step 1, is it a mapping's? Outcome `Above` or `Below`. a: request; b: the mmap threshold.
        Threshold = 11 "threshold",
        /// Step 2, the thread's cache is asked. `Taken`, `Empty`, `Off` (classic mode), `TooLong`, `NoCache` (a thread without). a:
        /// bytes wanted; b: chunks of the class before; c: the user pointer taken.
        Cache = 12 "cache",
        /// The cache gets more at a time. `FromSpare`, `FromDepot`, `FromArena`. a: bytes of the class; b: chunks.
        Refill = 13 "refill",
        /// An arena was locked for what follows. n: its number.
        Arena = 14 "arena",
        /// Step 3, the fast bin of this size. `Taken`, `Empty`, or `TooLong` for sizes that have none. a: bytes; b: the chunk taken.
        Fast = 15 "fast bin",
        /// Step 4, the small bin of this size. `Taken`, `Empty`, `TooLong`. a: bytes; b: the chunk taken.
        Small = 16 "small bin",
        /// Step 5, a chunk of the unsorted bin is looked at. `Taken`: an exact fit. `ToSmall`, `ToLarge`: sorted into its bin. a: the
        /// chunk; b: its bytes.
        Look = 17 "unsorted chunk",
        /// Step 5 is over. `Taken`, `Empty` (nothing left), `Bounded` (enough work for one call). a: bytes; b: chunks looked at.
        Unsorted = 18 "unsorted bin",
        /// Step 6, the best fitting chunk. `FromSmall`, `FromLarge`, `Empty`. a: bytes wanted; b: the chunk; c: its bytes.
        Best = 19 "best fit",
        /// A chunk is cut, or taken whole. `Cut`, `Whole`. n: pieces; a: bytes of each; b: bytes before; c: bytes that remain, free.
        Split = 20 "split",
        /// Step 7, the top. `Taken`, `TooShort`, `Empty` (no heap yet). n: pieces; a: bytes of each; b: the top's bytes before; c: after.
        Top = 21 "top",
        /// Step 8, the arena asks for more. `ByBreak`, `ByHeap`, `NewBreak`, `NewHeap`, `Failed`. a: bytes that the top must have; b:
        /// bytes gained.
        Grow = 22 "growth",

        // Giving back: A7 of the contract.
        /// Step 1: null.
        Null = 30 "null",
        /// Step 2, the chunk before the pointer proves itself. `Live`, `Mapped`. n: the flags P M A; a: the chunk; b: bytes.
        Proven = 31 "header",
        /// A pointer waits for its header. a: the user pointer.
        Parked = 32 "parked",
        /// A pointer that waited has its turn. a: the user pointer.
        Unparked = 33 "unparked",
        /// Step 4, the thread's cache takes the chunk. `Taken`, `Full`, `Off`, `TooLong`, `Foreign` (another arena's chunk, with which no
        /// class begins), `NoCache`. a: bytes; b: chunks of the class before; c: the user pointer.
        Put = 34 "cache",
        /// A magazine or a part of it leaves the cache. `ToSpare`, `ToDepot`, `ToArena`. a: bytes of the class; b: chunks.
        Spill = 35 "spill",
        /// The chunk goes home to the arena n. `Locked`, `ByInbox`. a: the user pointer; b: bytes.
        Home = 36 "home",
        /// Step 5, into the fast bin of its size. a: bytes; b: the chunk.
        FastPut = 37 "fast bin",
        /// Step 6, the chunk before. `InUse`, `Merged`, `TooLong`. a: that chunk (0 while it is in use); b: its bytes; c: bytes together.
        MergePrev = 38 "previous chunk",
        /// Step 7, the chunk behind. `InUse`, `Merged`, `TooLong`, `WithTop`. a: that chunk; b: its bytes; c: bytes together.
        MergeNext = 39 "next chunk",
        /// Step 8, where the free chunk goes. `ToUnsorted`, `ToSmall`, `ToLarge`, `ToTop`, `HeapGone`. a: the chunk; b: bytes.
        Into = 40 "into",
        /// Step 9, is the top too long? `Below`, `Shrunk`, `Kept`. a: the top's bytes; b: the threshold; c: bytes given back.
        Trim = 41 "trim",
        /// The fast bins are merged. a: chunks; b: bytes.
        Consolidate = 42 "consolidation",

        /// Secure mode: the chunk waits before it goes where it belongs. a: the user pointer; b: bytes.
        Quarantine = 43 "quarantine",

        // Chunks with a mapping of their own.
        /// `Made`, `Reused` (a freed one that waited), `Unmapped`, `Kept` (waits for the next request), `Resized`, `Refused`. a: its
        /// start; b: its length.
        Mapping = 50 "mapping",
        /// The thresholds rise. a: mmap threshold; b: trim threshold.
        Rise = 51 "thresholds",

        /// A guarded sample. `Made`: it stands between inaccessible pages. `Kept`: it is freed, and stays inaccessible. a: the user
        /// pointer; b: bytes.
        Sample = 52 "guarded sample",

        // realloc and the aligned family.
        /// The chunk serves the new request as it is. a: its bytes; b: bytes needed.
        Stays = 60 "stays",
        /// The end is cut off. a: bytes before; b: after.
        Shorten = 61 "shortened",
        /// Growing in place. `IntoTop`, `IntoNext`, `InUse` (not possible), `TooShort`. a: bytes before; b: needed; c: after.
        Lengthen = 62 "lengthened",
        /// What it holds moves. a, b: user pointers, old and new; c: bytes copied.
        Copy = 63 "copy",
        /// An aligned chunk is cut out of a longer one. a: the chunk taken; b: bytes given back before it; c: the alignment.
        Align = 64 "alignment",

        /// A system call. n: the `Kernel`; a: address, or the break asked for; b: the length, of a move of the break the bytes it
        /// moves by, as a signed number; c: the result. `Refused`: then c is the error number.
        Kernel = 70 "system call",
        /// The heap found a fault, and the process is about to be stopped. Outcome: what `a`'s chunk is. a: the address; b: bytes.
        Fault = 71 "fault",
        /// A record was dropped here for want of room; a: how many.
        Dropped = 72 "dropped",

        // Who called, where that was asked for.
        /// Return addresses above the call, the innermost first, three to a record and 0 behind the last. n: how many came before.
        Callers = 73 "callers",
        /// A module that addresses may lie in, told before the first of them. n: bytes of its path, which follows; a: start; b: end; c: what
        /// addresses in its file are counted from.
        Module = 74 "module",
        /// Twenty-four bytes of a path.
        Path = 75 "path",

        // A picture of all heaps, where one was asked for.
        /// It begins: n is 0 before a call and 1 after it; a: the number of the call.
        Draw = 80 "picture",
        /// A heap, whose chunks follow. n: the arena; a: start; b: end.
        Heap = 81 "heap",
        /// A chunk. Outcome: its state. n: flags; a: chunk; b: bytes.
        Chunk = 82 "chunk",
        /// A list, whose chunks follow, in the order in which they would be taken. Outcome: which; n: the arena; a: bytes of its chunks (0:
        /// several); b: the list's own address.
        List = 83 "list",
        /// A chunk of it. a: the chunk; b, c: where its links lead, forward and backward.
        Link = 84 "link",
        /// The picture is whole.
        Drawn = 85 "picture's end",

        // A profile. What follows a record of the first two kinds are `n` records of plain words (`Record::words`).
        /// An allocation is in the profile. n: records of words behind it; a: the user pointer; b: the request; c: the clock.
        Profiled = 90 "profiled allocation",
        /// The process's mappings, as the kernel lists them. n: records behind it; a: bytes of text; b: 1 for the last piece.
        Maps = 91 "mappings",
        /// A pointer was freed that may be in the profile. a: the user pointer; c: the clock.
        Gone = 92 "profiled free",
    }
}

numbered! {
    /// How a step went.
    Outcome: u16 {
        Done = 0 "done",
        Taken = 1 "taken",
        Empty = 2 "empty",
        Off = 3 "off",
        TooLong = 4 "too long",
        TooShort = 5 "too short",
        NoCache = 6 "no cache",
        Full = 7 "full",
        Foreign = 8 "another arena's",
        Bounded = 9 "bounded",
        Above = 10 "above",
        Below = 11 "below",
        Cut = 12 "cut",
        Whole = 13 "whole",
        InUse = 14 "in use",
        Merged = 15 "merged",
        WithTop = 16 "merged with the top",
        Failed = 17 "failed",
        Refused = 18 "refused",
        Locked = 19 "locked",
        ByInbox = 20 "by inbox",
        Kept = 21 "kept",
        Shrunk = 22 "shrunk",
        Made = 23 "made",
        Reused = 24 "reused",
        Unmapped = 25 "unmapped",
        Resized = 26 "resized",
        IntoTop = 27 "into the top",
        IntoNext = 28 "into the next chunk",
        HeapGone = 29 "heap gone",

        FromSpare = 40 "spare magazine",
        FromDepot = 41 "depot",
        FromArena = 42 "arena",
        ToSpare = 43 "spare magazine",
        ToDepot = 44 "depot",
        ToArena = 45 "arena",
        FromSmall = 46 "small bin",
        FromLarge = 47 "large bin",
        ToUnsorted = 48 "unsorted bin",
        ToSmall = 49 "small bin",
        ToLarge = 50 "large bin",
        ToTop = 51 "top",
        ByBreak = 52 "the break",
        ByHeap = 53 "its mapped heap",
        NewBreak = 54 "a new heap at the break",
        NewHeap = 55 "a new mapped heap",

        // States of chunks.
        Live = 60 "in use",
        Cached = 61 "cached",
        InFast = 62 "fast",
        InBin = 63 "free",
        IsTop = 64 "top",
        Fence = 65 "fence",
        Mapped = 66 "mapped",
        Broken = 67 "broken",
        Quarantined = 68 "in quarantine",

        // Lists of a picture.
        CacheList = 70 "cache",
        DepotList = 71 "depot",
        FastList = 72 "fast bin",
        UnsortedList = 73 "unsorted bin",
        SmallList = 74 "small bin",
        LargeList = 75 "large bin",
        ParkedList = 76 "parked",
    }
}

numbered! {
    /// The functions of the allocator that a program calls, by the names that it knows them by.
    Call: u32 {
        Malloc = 1 "malloc",
        Calloc = 2 "calloc",
        Realloc = 3 "realloc",
        Memalign = 4 "memalign",
        AlignedAlloc = 5 "aligned_alloc",
        PosixMemalign = 6 "posix_memalign",
        Valloc = 7 "valloc",
        Pvalloc = 8 "pvalloc",
        Free = 9 "free",
        FreeSized = 10 "free_sized",
        FreeAlignedSized = 11 "free_aligned_sized",
        Cfree = 12 "cfree",
        New = 13 "operator new",
        NewArray = 14 "operator new[]",
        Delete = 15 "operator delete",
        DeleteArray = 16 "operator delete[]",
        DeleteSized = 17 "operator delete",
        DeleteArraySized = 18 "operator delete[]",
        Trim = 19 "malloc_trim",
        ThreadEnd = 20 "end of thread",
    }
}

numbered! {
    /// System calls by which the heap gets and gives memory.
    Kernel: u32 {
        Brk = 1 "brk",
        Mmap = 2 "mmap",
        Munmap = 3 "munmap",
        Mremap = 4 "mremap",
        Mprotect = 5 "mprotect",
        /// `mmap` of addresses without memory.
        Reserve = 6 "mmap",
        /// `madvise(MADV_DONTNEED)`.
        Discard = 7 "madvise",
        /// `madvise(MADV_POPULATE_WRITE)`.
        Populate = 8 "madvise",
        /// `madvise(MADV_HUGEPAGE)`, or `MADV_NOHUGEPAGE`.
        Huge = 9 "madvise",
    }
}

impl Call {
    /// Does it give back, rather than hand out?
    pub const fn gives_back(self) -> bool {
        self.frees() || matches!(self, Call::Trim | Call::ThreadEnd)
    }

    /// Does it free one pointer?
    pub const fn frees(self) -> bool {
        use Call::*;
        matches!(
            self,
            Free | FreeSized | FreeAlignedSized | Cfree | Delete | DeleteArray | DeleteSized | DeleteArraySized
        )
    }
}

impl Record {
    /// Four plain words, which follow a record that says what they are.
    pub const fn of_words(words: [u64; 4]) -> Record {
        let [first, a, b, c] = words;
        Record { kind: first as u16, outcome: (first >> 16) as u16, n: (first >> 32) as u32, a, b, c }
    }

    pub const fn words(&self) -> [u64; 4] {
        [self.kind as u64 | (self.outcome as u64) << 16 | (self.n as u64) << 32, self.a, self.b, self.c]
    }

    pub const fn new(kind: Kind, outcome: Outcome, n: u32, numbers: [usize; 3]) -> Record {
        let [a, b, c] = numbers;
        Record { kind: kind as u16, outcome: outcome as u16, n, a: a as u64, b: b as u64, c: c as u64 }
    }

    pub const fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind)
    }

    pub const fn outcome(&self) -> Option<Outcome> {
        Outcome::from_number(self.outcome)
    }

    /// Is it of that kind?
    pub const fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u16
    }

    /// Went it that way?
    pub const fn went(&self, outcome: Outcome) -> bool {
        self.outcome == outcome as u16
    }
}
