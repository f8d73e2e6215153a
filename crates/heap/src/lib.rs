//! The heap: the classic allocator of the systems books, complete, behind a thread cache.
//!
//! Read it from the inside out:
//!
//! 1. `size`, `chunk`: what a chunk is, and what its header word says.
//! 2. `list`, `bins`: where free chunks are kept: fast, unsorted, small and large bins, their links in the chunks.
//! 3. `region`, `top`: heaps, the break, how they grow and shrink. `mapped`: chunks with a mapping of their own.
//! 4. `store`: taking and giving back, splitting and merging: the textbook's two procedures.
//! 5. `arena`, `sync`: stores behind locks, for many threads; inboxes for chunks that go home.
//! 6. `magazine`, `depot`, `cache`, `refill`, `thread`: the thread's cache in front of it all, and the fast paths.
//! 7. `malloc`, `free`, `realloc`, `aligned`: the calls.
//! 8. `decay`, `trim`: giving memory back.
//! 9. `guard`: allocations that stand between inaccessible pages. `secure`: quarantine, canaries, guards, for those who want them.
//! 10. `check`, `stats`, `fork`, `config`, `policy`, `line`, `die`: what else an allocator needs.
//! 11. `probe`, `tell`, `draw`: the seam, by which all of it says what it does. `root`: where readers from outside find it.
//!
//! The crate reaches the kernel only through `heapglass-os` (what moves memory is counted in `kernel`), tells the outside only through `probe`,
//! never allocates, and never panics: it returns null or stops the process with one line.
#![cfg_attr(not(any(test, loom)), no_std)]

pub mod sync;

// The model checker looks at `sync` alone: the rest lives in statics, which its atomics can't be.
#[cfg(not(loom))]
mod ahead;
#[cfg(not(loom))]
pub mod aligned;
#[cfg(not(loom))]
pub mod arch;
#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod bins;
#[cfg(not(loom))]
pub mod cache;
#[cfg(not(loom))]
mod callers;
#[cfg(not(loom))]
pub mod check;
#[cfg(not(loom))]
pub mod chunk;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod decay;
#[cfg(not(loom))]
pub mod depot;
#[cfg(not(loom))]
pub mod die;
#[cfg(not(loom))]
mod draw;
#[cfg(not(loom))]
pub mod fork;
#[cfg(not(loom))]
pub mod free;
#[cfg(not(loom))]
pub mod guard;
#[cfg(not(loom))]
pub mod kernel;
#[cfg(not(loom))]
pub mod line;
#[cfg(not(loom))]
pub mod list;
#[cfg(not(loom))]
pub mod magazine;
#[cfg(not(loom))]
pub mod malloc;
#[cfg(not(loom))]
pub mod mapped;
#[cfg(not(loom))]
pub mod meta;
#[cfg(not(loom))]
pub mod policy;
#[cfg(not(loom))]
pub mod probe;
#[cfg(not(loom))]
pub mod profile;
#[cfg(not(loom))]
pub mod realloc;
#[cfg(not(loom))]
pub mod refill;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
pub mod report;
#[cfg(not(loom))]
pub mod requests;
#[cfg(not(loom))]
pub mod root;
#[cfg(not(loom))]
pub mod secure;
#[cfg(not(loom))]
pub mod size;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod store;
#[cfg(not(loom))]
mod strays;
#[cfg(not(loom))]
pub mod tell;
#[cfg(not(loom))]
pub mod thread;
#[cfg(not(loom))]
pub mod top;
#[cfg(not(loom))]
pub mod trim;
#[cfg(not(loom))]
pub mod usage;
#[cfg(not(loom))]
pub mod usdt;
