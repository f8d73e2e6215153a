//! What programs told of their heaps, call by call, kept in files (`.hg`) that can be searched: every call with all its steps, in some
//! two to seven bytes.
//!
//! Writing: `Order` puts the calls of several threads in order, `Writer` takes them one by one.
//!
//! Reading, which needs memory for one block and for the chunks in use, however long the file is:
//!
//! ```text
//! let capture = Capture::open(path)?;        // by its index, or, where it was cut off, up to its last whole block
//! capture.summary()                          // calls, peak, what is left at the end: without reading a call
//! capture.blocks()                           // the same figures after each block of calls: a curve over time
//! let mut events = capture.events(1_000);    // calls, numbered from 1, from any one on
//! while let Some(event) = events.next()? {}  //   with their thread and all their steps
//! capture.state_at(1_000)?                   // the chunks in use after a thousand calls
//! ```
//!
//! `block` has the file's form, `model` how a call becomes so few bytes, `state` what a call changes.

#![forbid(unsafe_code)]

pub mod block;
pub mod bytes;
pub mod calls;
pub mod hash;
mod model;
mod order;
mod pack;
mod reader;
pub mod state;
pub mod trial;
mod unpack;
mod writer;
mod zstd;

pub use calls::{Call, Module, Thread};
pub use order::Order;
pub use reader::{Capture, Event, Events, Summary};
pub use state::{Change, Chunk, Live, State};
pub use writer::Writer;

use std::fmt;
use std::io;

/// A tick of a capture's clock is so many of the processor's, as a power of two: some 20 to 30 nanoseconds. Finer than that, it would
/// mostly tell of the telling.
pub const TICK_SHIFT: u32 = 6;

#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    NotACapture,
    /// It was written by another version.
    Version {
        container: u32,
        schema: u32,
    },
    /// What should be a block isn't one.
    Damaged,
}

impl Error {
    pub(crate) const DAMAGED: Error = Error::Damaged;
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::NotACapture => f.write_str("is no recording of heapglass's"),
            Error::Version { container, schema } => write!(
                f,
                "was recorded by another version (form {container}, events {schema}; this one reads form {}, events {})",
                block::CONTAINER,
                heapglass_event::record::SCHEMA
            ),
            Error::Damaged => f.write_str("is damaged"),
        }
    }
}

impl std::error::Error for Error {}

const MODULE: &str = "module";

/// What is said of a recording as a whole: names and values, later ones before earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About(pub Vec<(String, String)>);

impl About {
    pub fn put(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Where code was from, in a process of the recording's.
    pub fn put_module(&mut self, pid: u32, module: &Module) {
        let Module { start, end, base, path } = module;
        self.put(MODULE, format!("{pid} {start:x} {end:x} {base:x} {}", path.display()));
    }

    /// All that was said by `put_module`, in its order.
    pub fn modules(&self) -> impl Iterator<Item = (u32, Module)> {
        let one = |text: &str| {
            let mut words = text.splitn(5, ' ');
            let pid = words.next()?.parse().ok()?;
            let mut number = || u64::from_str_radix(words.next()?, 16).ok();
            let (start, end, base) = (number()?, number()?, number()?);
            Some((pid, Module { start, end, base, path: words.next()?.into() }))
        };
        self.0.iter().filter(|(name, _)| name == MODULE).filter_map(move |(_, value)| one(value))
    }

    fn read(&mut self, content: &[u8]) -> Result<(), Error> {
        let mut pairs = Vec::new();
        zstd::unpack(&mut bytes::Cursor(content), &mut pairs)?;
        let mut cursor = bytes::Cursor(&pairs);
        while !cursor.is_empty() {
            let mut text = || {
                let length = cursor.count()?;
                Ok::<_, Error>(String::from_utf8_lossy(cursor.take(length)?).into_owned())
            };
            let name = text()?;
            let value = text()?;
            self.0.push((name, value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_back_as_they_were_said() {
        let module = |path: &str| Module { start: 0x1000, end: 0x3000, base: 0x800, path: path.into() };
        let mut about = About::default();
        about.put("program", "one two");
        about.put_module(7, &module("/a path/with blanks"));
        about.put(MODULE, "7 no module");
        about.put_module(8, &module(""));
        let told: Vec<_> = about.modules().collect();
        assert_eq!(told, [(7, module("/a path/with blanks")), (8, module(""))]);
    }
}
