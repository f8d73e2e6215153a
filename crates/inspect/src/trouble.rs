//! Why a heap can't be read, in one line each, with what to do about it.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The process doesn't exist, or ended while it was read.
    Gone(u32),
    /// The kernel doesn't let us; why, and which setting.
    Refused(String),
    /// There is nothing to read at this address.
    Unreadable(u64),
    /// Another allocator is at work there: which.
    NotHeapglass(String),
    /// Heapglass of a version that tells its layout in another way.
    Version(u64),
    /// A program of another word length.
    Width(String),
    /// The file isn't what was expected: what is wrong with it.
    File(String),
    /// The heap's own records contradict themselves.
    Records(String),
}

pub type Result<T> = std::result::Result<T, Trouble>;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Gone(pid) => write!(f, "there is no process {pid}, or it has just ended"),
            Trouble::Refused(why) => f.write_str(why),
            Trouble::Unreadable(at) => write!(f, "the memory at {at:#x} can't be read"),
            Trouble::NotHeapglass(what) => {
                write!(f, "is not on Heapglass: {what}; start it with `heapglass run -- PROGRAM`")
            }
            Trouble::Version(found) => write!(
                f,
                "is on a Heapglass that describes itself by layout {found}, and this command reads layout {}; use both of one build",
                heapglass_event::root::ROOT_VERSION
            ),
            Trouble::Width(what) => write!(f, "is {what}, and Heapglass is for 64-bit programs of this machine"),
            Trouble::File(what) => f.write_str(what),
            Trouble::Records(what) => write!(f, "the heap's own records are damaged: {what}"),
        }
    }
}

impl std::error::Error for Trouble {}
