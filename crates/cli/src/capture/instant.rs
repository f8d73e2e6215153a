//! Moments of a recording, as people name them: `FILE@120` after the 120th call, `FILE@1.5s` so long after the start, `FILE@peak`, `FILE@start`,
//! `FILE@end`, `FILE@NAME` for a mark.

use super::{marks, said};
use crate::failure::Failure;
use crate::stats::grouped;
use heapglass_capture::{Call, Capture, Error};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq)]
pub enum Instant {
    Calls(u64),
    Nanos(u64),
    Start,
    Peak,
    End,
    Mark(String),
}

impl FromStr for Instant {
    type Err = String;

    fn from_str(text: &str) -> Result<Instant, String> {
        let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
        let time = units.iter().find_map(|(unit, nanos)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            (number >= 0.0 && number.is_finite()).then_some(Instant::Nanos((number * nanos) as u64))
        });
        match text {
            "start" => Ok(Instant::Start),
            "peak" => Ok(Instant::Peak),
            "end" => Ok(Instant::End),
            _ if text.starts_with(char::is_alphabetic) => Ok(Instant::Mark(text.to_owned())),
            _ => time.or_else(|| text.parse().ok().map(Instant::Calls)).ok_or_else(|| {
                format!(
                    "'{text}' is no moment: there are numbers of calls, times such as 1.5s, start, peak, end, and marks"
                )
            }),
        }
    }
}

/// `FILE` or `FILE@INSTANT`. A file that has such a name as a whole is that file.
pub fn split(word: &OsStr) -> Result<(PathBuf, Option<Instant>), String> {
    let bytes = word.as_bytes();
    let Some(at) = bytes.iter().rposition(|&byte| byte == b'@').filter(|_| !Path::new(word).exists()) else {
        return Ok((word.into(), None));
    };
    let (file, instant) = (&bytes[..at], String::from_utf8_lossy(&bytes[at + 1..]));
    Ok((OsStr::from_bytes(file).into(), Some(instant.parse()?)))
}

/// Calls before a moment.
pub fn calls(path: &Path, capture: &Capture, instant: &Instant) -> Result<u64, Failure> {
    let failed = |error| said(path, &error);
    match instant {
        Instant::Start => Ok(0),
        Instant::End => Ok(capture.calls()),
        Instant::Peak => peak(capture).map_err(failed),
        Instant::Nanos(nanos) => until(capture, *nanos).map_err(failed),
        Instant::Calls(calls) if *calls <= capture.calls() => Ok(*calls),
        Instant::Calls(calls) => Err(Failure::ours(format!(
            "{}: has calls 1 to {}, and none by number {calls}",
            path.display(),
            grouped(capture.calls())
        ))),
        Instant::Mark(name) => {
            let all = marks::all(path, capture);
            let Some((_, nanos)) = all.iter().rev().find(|(known, _)| known == name) else {
                let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
                let known =
                    if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
                return Err(Failure::ours(format!("{}: has no mark {name}; {known}", path.display())));
            };
            until(capture, nanos.saturating_sub(capture.started)).map_err(failed)
        }
    }
}

/// From the start to a moment.
pub fn nanos(path: &Path, capture: &Capture, instant: &Instant) -> Result<u64, Failure> {
    let number = match instant {
        Instant::Nanos(nanos) => return Ok(*nanos),
        instant => calls(path, capture, instant)?,
    };
    let event = if number == 0 { None } else { capture.event(number).map_err(|e| said(path, &e))? };
    Ok(event.map_or(0, |event| capture.nanos(time(&event.call))))
}

/// What a call counts by in the order of calls.
pub fn time(call: &Call) -> u64 {
    match call.function {
        Some(function) if !function.gives_back() && !call.unfinished => call.ended,
        _ => call.began,
    }
}

fn until(capture: &Capture, nanos: u64) -> Result<u64, Error> {
    let is_later = |tick| capture.nanos(tick) > nanos;
    let Some(block) = capture.blocks().iter().find(|block| is_later(block.ended)) else { return Ok(capture.calls()) };
    let mut events = capture.events(block.first + 1);
    while let Some(event) = events.next()? {
        if is_later(time(&event.call)) {
            return Ok(event.number - 1);
        }
    }
    Ok(capture.calls())
}

fn peak(capture: &Capture) -> Result<u64, Error> {
    let Some(block) = capture.blocks().iter().rev().max_by_key(|block| block.peak_bytes) else { return Ok(0) };
    let mut state = capture.state_at(block.first)?;
    let mut events = capture.events(block.first + 1);
    while state.bytes < block.peak_bytes {
        let Some(event) = events.next()? else { break };
        state.apply(event.thread, &event.call);
    }
    Ok(state.calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_numbers_times_and_names() {
        let of = |text: &str| text.parse::<Instant>();
        assert_eq!(of("120"), Ok(Instant::Calls(120)));
        assert_eq!(of("1.5s"), Ok(Instant::Nanos(1_500_000_000)));
        assert_eq!(of("20ms"), Ok(Instant::Nanos(20_000_000)));
        assert_eq!(of("peak"), Ok(Instant::Peak));
        assert_eq!(of("warm"), Ok(Instant::Mark("warm".into())));
        assert!(of("").is_err() && of("12x").is_err() && of("-1s").is_err());
        assert_eq!(split("a/b.hg@7".as_ref()), Ok(("a/b.hg".into(), Some(Instant::Calls(7)))));
        assert_eq!(split("@end".as_ref()), Ok(("".into(), Some(Instant::End))));
        assert_eq!(split("a/b.hg".as_ref()), Ok(("a/b.hg".into(), None)));
        assert!(split("a@".as_ref()).is_err());
    }
}
