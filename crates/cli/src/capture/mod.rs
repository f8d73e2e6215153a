//! Recordings: made by `record`, read by `stats` and whatever else takes a FILE.

pub mod diff;
pub mod explain;
pub mod instant;
pub mod marks;
pub mod progress;
pub mod record;
pub mod stats;

use crate::failure::Failure;
use heapglass_capture::{Capture, Error};
use std::path::Path;

/// Opens a recording, and says on standard error what is missing of it.
pub fn open(path: &Path) -> Result<Capture, Failure> {
    let capture = Capture::open(path).map_err(|e| said(path, &e))?;
    if !capture.is_closed {
        eprintln!(
            "heapglass: {}: the recording was cut off: what there is up to its last whole block is told",
            path.display()
        );
    }
    Ok(capture)
}

/// What can't be read, and what to do instead.
pub fn said(path: &Path, error: &Error) -> Failure {
    let path = path.display();
    Failure::ours(match error {
        Error::Io(error) => format!("{path}: {error}"),
        Error::NotACapture => format!("{path}: is no recording: `heapglass record -o FILE PROGRAM` makes one"),
        error => format!("{path}: {error}"),
    })
}
