//! The form in which the player gets a recording: for each thread a stream of small operations, cut into blocks of one file. Who plays it
//! keeps one block of each thread in memory, and nothing else of the plan.
//!
//! ```text
//!  head: magic | slots | seats | the directory's place          words of 8 bytes, the low byte first
//!  block: the place of the same stream's next block, 0 for none | bytes | operations
//!  block ...
//!  directory: for each thread the place of its first block
//! ```
//!
//! An operation is a byte and numbers of seven bits a byte. Pointers are named by the *slots* that hold them; a thread that lives has a *seat*,
//! with room for its block.
//!
//! *Order.* Each slot counts what was done with it: its *turn*. An operation on a slot that another thread used shortly before says which
//! turn it waits for. Beyond that, threads go from one *epoch* to the next together: an epoch begins when the one before is done. It is so short that
//! whatever order the calls within it take, the bytes in use differ by a hundredth of the peak at most (see `compile`).

pub const MAGIC: u64 = u64::from_le_bytes(*b"HGPLAN\x01\0");
pub const HEAD_BYTES: usize = 32;
/// Bytes of a block, its own head of 16 included, at most.
pub const BLOCK_BYTES: usize = 16 << 10;
pub const BLOCK_HEAD_BYTES: usize = 16;
/// Turns are counted up to here, and from 0 again. No epoch has as many operations.
pub const TURNS: u64 = 1 << 20;
/// Operations of an epoch at most, where there are several threads.
pub const EPOCH_CALLS: u64 = 1 << 14;
const _: () = assert!(EPOCH_CALLS < TURNS);
/// Requests are shorter than that: no machine has as many addresses.
pub const SIZE_MAX: u64 = 1 << 44;

/// In an operation's byte: a turn follows, behind it what else the operation has.
pub const TURN: u8 = 0x80;

/// What an operation is, and its numbers.
pub mod op {
    /// The thread has nothing more to do, but stays until the process ends.
    pub const STOP: u8 = 0;
    /// The thread ends.
    pub const END: u8 = 1;
    /// Slot, size.
    pub const MALLOC: u8 = 2;
    /// Slot, size.
    pub const CALLOC: u8 = 3;
    /// Slot, size, the alignment as a power of two.
    pub const ALIGNED: u8 = 4;
    /// Slot, size. What the slot holds may be null.
    pub const REALLOC: u8 = 5;
    /// Slot.
    pub const FREE: u8 = 6;
    /// Slot: a realloc to a size of 0 that freed.
    pub const REALLOC_FREE: u8 = 7;
    /// Bytes to keep.
    pub const TRIM: u8 = 8;
    /// The number of a thread, and the seat that it gets.
    pub const SPAWN: u8 = 9;
    /// A seat: its thread has ended when this is done.
    pub const JOIN: u8 = 10;
    /// Epochs that must be over.
    pub const WAIT: u8 = 11;
    /// Threads that took part in the epoch, which this one has done its part of.
    pub const ARRIVE: u8 = 12;
    /// Nanoseconds from the thread's last `TIME` (the player's start before the first): the next call isn't made before.
    pub const TIME: u8 = 13;
}

/// Words that tell the player how to play, each a letter.
pub mod how {
    /// No allocator is asked: what is measured is the player.
    pub const ALONE: u8 = b'a';
    /// All that is asked for is written to.
    pub const TOUCH: u8 = b't';
    /// And looked at before it goes.
    pub const CHECK: u8 = b'c';
}
