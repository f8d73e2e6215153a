//! `-e`: which calls are shown. Several are joined by `and`: a call is shown if it passes all of them.
//!
//! `malloc,free` names of functions, `!free` all others; `syscalls` calls that caused one; `size>=4096` by what was asked for
//! (also `>`, `<=`, `<`, `=`, `!=`, with K, M or G behind the number); `bin=large` by what served it; `arena=1`; `thread=N`.

use crate::calls::Call;
use crate::path;
use heapglass_event::record::{Call as Function, Kind};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Functions { names: Vec<Function>, are_shown: bool },
    Syscalls,
    Size(Comparison, u64),
    Bin(String),
    Arena(u32),
    Thread(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    AtMost,
    Is,
    IsNot,
    AtLeast,
    More,
}

/// Longer ones first: `>=` is no `>`.
const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::IsNot),
    (">", Comparison::More),
    ("<", Comparison::Less),
    ("=", Comparison::Is),
];

const BINS: [&str; 13] = [
    "cache",
    "depot",
    "fast",
    "small",
    "unsorted",
    "large",
    "top",
    "mapping",
    "kernel",
    "place",
    "inbox",
    "quarantine",
    "sample",
];

/// Reads one expression.
pub fn parse(text: &str) -> Result<Filter, String> {
    let text = text.trim();
    if text == "syscalls" {
        return Ok(Filter::Syscalls);
    }
    if let Some(rest) = text.strip_prefix("size") {
        let found = COMPARISONS.iter().find_map(|(sign, how)| rest.strip_prefix(sign).map(|number| (*how, number)));
        let (how, number) = found.ok_or_else(|| format!("'{text}': a comparison is missing, as in size>=4096"))?;
        let bytes = bytes(number).ok_or_else(|| format!("'{number}' is no number of bytes"))?;
        return Ok(Filter::Size(how, bytes));
    }
    if let Some((key, value)) = text.split_once('=') {
        let number = || value.parse().map_err(|_| format!("'{value}' is no number"));
        return match key {
            "bin" if BINS.contains(&value) => Ok(Filter::Bin(value.into())),
            "bin" => Err(format!("'{value}': the bins are {}", BINS.join(", "))),
            "arena" => Ok(Filter::Arena(number()?)),
            "thread" => Ok(Filter::Thread(number()?)),
            _ => Err(format!("'{key}' is unknown; known are size, bin, arena and thread")),
        };
    }
    let (names, are_shown) = match text.strip_prefix('!') {
        Some(rest) => (rest, false),
        None => (text, true),
    };
    let mut functions = Vec::new();
    for name in names.split(',') {
        let before = functions.len();
        functions.extend(Function::ALL.iter().copied().filter(|function| is_named(*function, name.trim())));
        if functions.len() == before {
            return Err(format!("'{name}' is no function of the allocator, and no filter"));
        }
    }
    Ok(Filter::Functions { names: functions, are_shown })
}

/// By its own name, or the short one of an operator.
fn is_named(function: Function, name: &str) -> bool {
    function.name() == name || function.name().strip_prefix("operator ") == Some(name)
}

/// A number of bytes, perhaps with K, M or G behind it.
pub fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.trim().as_bytes() {
        [rest @ .., b'k' | b'K'] => (rest, 1 << 10),
        [rest @ .., b'm' | b'M'] => (rest, 1 << 20),
        [rest @ .., b'g' | b'G'] => (rest, 1 << 30),
        all => (all, 1u64),
    };
    let digits = std::str::from_utf8(digits).ok()?;
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    number.checked_mul(unit)
}

impl Filter {
    pub fn passes(&self, call: &Call, thread: u32) -> bool {
        match self {
            Filter::Functions { names, are_shown } => call.function.is_some_and(|f| names.contains(&f)) == *are_shown,
            Filter::Syscalls => call.has(Kind::Kernel),
            Filter::Size(how, bytes) => requested(call).is_some_and(|size| match how {
                Comparison::Less => size < *bytes,
                Comparison::AtMost => size <= *bytes,
                Comparison::Is => size == *bytes,
                Comparison::IsNot => size != *bytes,
                Comparison::AtLeast => size >= *bytes,
                Comparison::More => size > *bytes,
            }),
            Filter::Bin(word) => path::of(call).word() == word,
            Filter::Arena(number) => call.of(Kind::Arena).chain(call.of(Kind::Home)).any(|step| step.n == *number),
            Filter::Thread(number) => thread == *number,
        }
    }
}

/// What was asked for; of a free, what came back.
pub fn requested(call: &Call) -> Option<u64> {
    if let Some(size) = call.requested() {
        return Some(size);
    }
    let is_free = call.function.is_some_and(|function| function.frees());
    let proven = || call.of(Kind::Proven).next().map(|step| step.b);
    let put = || call.of(Kind::Put).last().map(|step| step.a);
    if is_free { proven().or_else(put) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_or_refused_with_a_reason() {
        assert_eq!(parse("size>=4K"), Ok(Filter::Size(Comparison::AtLeast, 4096)));
        assert_eq!(parse("size=0x10"), Ok(Filter::Size(Comparison::Is, 16)));
        assert_eq!(parse("syscalls"), Ok(Filter::Syscalls));
        assert_eq!(parse("bin=large"), Ok(Filter::Bin("large".into())));
        assert_eq!(parse("arena=1"), Ok(Filter::Arena(1)));
        let Ok(Filter::Functions { names, are_shown: true }) = parse("malloc,free") else { panic!() };
        assert_eq!(names, [Function::Malloc, Function::Free]);
        for wrong in ["size", "size>=", "size>=x", "bin=huge", "colour=red", "mallok", "arena=x", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_passes_what_it_says() {
        let call = Call { function: Some(Function::Calloc), arguments: [4, 1024], ..Call::default() };
        for (text, passes) in [
            ("calloc", true),
            ("!calloc", false),
            ("malloc", false),
            ("size>=4096", true),
            ("size>4096", false),
            ("size!=4096", false),
            ("syscalls", false),
            ("thread=7", true),
        ] {
            assert_eq!(parse(text).unwrap().passes(&call, 7), passes, "{text}");
        }
    }
}
