//! Marks: names for moments of a recording. `heapglass mark FILE NAME` sets one while the recording is made, or afterwards; `FILE@NAME` is
//! that moment. They lie beside the recording, in FILE.marks, a line for each: its name, and nanoseconds since 1970. `heapglass record`
//! takes those that are there when the program ends into the file itself.

use super::instant::{self, Instant};
use super::open;
use crate::failure::Failure;
use heapglass_capture::{About, Capture};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name a moment of a recording
///
/// While `heapglass record` writes FILE this moment, afterwards the one that --at says. `heapglass diff FILE@NAME FILE@OTHER` tells what
/// came and went in between.
#[derive(clap::Args)]
pub struct Mark {
    /// A recording, or the file that one is being written to
    file: PathBuf,

    /// A word that begins with a letter
    #[arg(value_parser = name)]
    name: String,

    /// The moment: the number of a call, a time from the start such as 1.5s or 20ms, or peak
    #[arg(long, value_name = "INSTANT")]
    at: Option<Instant>,
}

/// One that can't be taken for another moment.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    let begins = text.chars().next().is_some_and(char::is_alphabetic);
    if !begins || !text.chars().all(is_plain) {
        return Err("a name begins with a letter, and has letters, digits and -_. only".into());
    }
    match text.parse() {
        Ok(Instant::Mark(name)) => Ok(name),
        _ => Err(format!("{text} is a moment of every recording")),
    }
}

impl Mark {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let capture = Capture::open(&self.file).map_err(|e| super::said(&self.file, &e))?;
        if all(&self.file, &capture).iter().any(|(known, _)| *known == self.name) {
            return Err(Failure::ours(format!("{}: has a mark {} already", self.file.display(), self.name)));
        }
        let nanos = match &self.at {
            Some(instant) => {
                let capture = open(&self.file)?;
                capture.started.saturating_add(instant::nanos(&self.file, &capture, instant)?)
            }
            None if capture.is_closed => {
                return Err(Failure::ours(format!(
                    "{}: the recording has ended; --at says which moment of it",
                    self.file.display()
                )));
            }
            None => now(),
        };
        set(&self.file, &self.name, nanos)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn set(file: &Path, name: &str, nanos: u64) -> Result<(), Failure> {
    let path = beside(file);
    let failed = |e: io::Error| Failure::ours(format!("{}: {e}", path.display()));
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    file.and_then(|mut file| writeln!(file, "{name} {nanos}")).map_err(failed)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Names this moment of a recording that is being made: `mark-1` and so on.
pub fn set_next(file: &Path) -> Result<(), Failure> {
    let known = read(&fs::read_to_string(beside(file)).unwrap_or_default()).len();
    set(file, &format!("mark-{}", known + 1), now())
}

fn beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".marks");
    path.into()
}

fn read(text: &str) -> Vec<(String, u64)> {
    let line =
        |line: &str| line.rsplit_once(' ').and_then(|(name, nanos)| Some((name.to_owned(), nanos.parse().ok()?)));
    text.lines().filter_map(line).collect()
}

/// The marks of a recording, with their nanoseconds since 1970.
pub fn all(file: &Path, capture: &Capture) -> Vec<(String, u64)> {
    let kept = capture.about.0.iter().filter(|(key, _)| key == "mark");
    let mut all: Vec<(String, u64)> = kept.flat_map(|(_, line)| read(line)).collect();
    all.extend(read(&fs::read_to_string(beside(file)).unwrap_or_default()));
    all
}

/// Takes those that were set meanwhile into what is said at the recording's end.
pub fn keep(file: &Path, about: &mut About) {
    for (name, nanos) in read(&fs::read_to_string(beside(file)).unwrap_or_default()) {
        about.put("mark", format!("{name} {nanos}"));
    }
}

/// Those of a recording that is no more, or that are kept in the file by now.
pub fn clear(file: &Path) {
    let _ = fs::remove_file(beside(file));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_something_else_already_are_refused() {
        assert!(name("after-start").is_ok());
        for bad in ["", "7", "1.5s", "peak", "end", "start", "a b", "a@b", "-x"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
