//! What the command ends with when it can't do what was asked: one line and an exit status, by the convention of `env` and
//! `timeout`.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// The command itself failed: it was used wrongly, or lacks something of its own.
pub const OURS: u8 = 125;
/// The program was found, but can't be executed, or can't be preloaded.
pub const UNUSABLE: u8 = 126;
pub const NOT_FOUND: u8 = 127;

#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    /// What is wrong and what to do instead, without the name of the command in front.
    pub line: String,
}

impl Failure {
    pub fn ours(line: impl Into<String>) -> Failure {
        Failure { status: OURS, line: line.into() }
    }

    pub fn unusable(program: &Path, why: impl Display) -> Failure {
        Failure { status: UNUSABLE, line: format!("{}: {why}", program.display()) }
    }

    pub fn not_found(program: impl AsRef<OsStr>, why: impl Display) -> Failure {
        Failure { status: NOT_FOUND, line: format!("{}: {why}", program.as_ref().display()) }
    }

    /// A program that the kernel refuses: only a missing file counts as not found, as in `env`.
    pub fn refused(program: &Path, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::NotFound => Failure::not_found(program, "no such file"),
            _ => Failure::unusable(program, error),
        }
    }
}
