//! `heapglass run --explain-crash`: the library's report of what it stopped the program for, with callers by name and line.

use crate::failure::Failure;
use crate::scratch::Scratch;
use addr2line::Loader;
use heapglass_stacks::symbols;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

pub struct Crash(Scratch);

impl Crash {
    pub fn create() -> Result<Crash, Failure> {
        Scratch::create("report", b"", "the report").map(Crash)
    }

    /// Items of `HEAPGLASS`. Each free is looked at at once, so that who called is who did it. The file comes last: the library
    /// takes the last items out, so that children don't inherit them.
    pub fn items(&self) -> OsString {
        self.0.item("park:0,report:")
    }

    /// Prints the report on standard error, if there is one.
    pub fn report(&self) {
        let text = match self.0.read() {
            Ok(bytes) if bytes.is_empty() => return,
            Ok(bytes) => named(&bytes),
            Err(e) => format!("heapglass: no report: {e}\n"),
        };
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// The report with what is known of each caller below it.
pub fn named(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut modules = HashMap::new();
    let mut out = String::new();
    // Its first line was printed when it happened.
    for line in text.lines().skip(1) {
        let _ = writeln!(out, "{line}");
        let Some((path, place)) = caller(line) else { continue };
        let module = modules.entry(path.to_owned()).or_insert_with(|| symbols::loader(Path::new(path)));
        if let Some(module) = module {
            frames(module, place, &mut out);
        }
    }
    out
}

/// Module and place of a line like `    0x7f.. /usr/lib/x.so+0x1234 in name+0x5`: the byte before where the call returns to.
fn caller(line: &str) -> Option<(&str, u64)> {
    let rest = line.strip_prefix("    0x")?;
    let (_, rest) = rest.split_once(' ')?;
    let rest = rest.split_once(" in ").map_or(rest, |(rest, _)| rest);
    let (path, place) = rest.rsplit_once("+0x")?;
    let place = u64::from_str_radix(place, 16).ok()?;
    path.starts_with('/').then_some((path, place.checked_sub(1)?))
}

/// The functions that were inlined there, innermost first, and their lines; or the symbol.
fn frames(module: &Loader, place: u64, out: &mut String) {
    let mut any = false;
    if let Ok(mut frames) = module.find_frames(place) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|name| name.demangle().ok().map(|name| name.into_owned()));
            let location = frame.location.as_ref().and_then(|place| Some((place.file?.to_owned(), place.line?)));
            if name.is_none() && location.is_none() {
                continue;
            }
            any = true;
            let _ = write!(out, "        {}", name.as_deref().unwrap_or("?"));
            let _ = match location {
                Some((file, line)) => writeln!(out, " at {file}:{line}"),
                None => writeln!(out),
            };
        }
    }
    if !any && let Some(name) = module.find_symbol(place) {
        let _ = writeln!(out, "        {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_from_other_lines() {
        assert_eq!(caller("    0x7f12 /lib/a b.so+0x1f in name+0x3"), Some(("/lib/a b.so", 0x1e)));
        assert_eq!(caller("    0x7f12 /lib/a.so+0x1f"), Some(("/lib/a.so", 0x1e)));
        for other in [
            "",
            "    0x7f12",
            "    0x7f12        32 bytes  P--  in use",
            "    0x1 /x+0x0",
            "  called at",
            "    0x1 x+0xzz",
        ] {
            assert_eq!(caller(other), None, "{other}");
        }
    }

    #[test]
    fn any_bytes_are_a_report() {
        assert_eq!(
            named(b"line\n  called by\n    0x12 /no/such+0x12\n\xff"),
            "  called by\n    0x12 /no/such+0x12\n\u{fffd}\n"
        );
    }
}
