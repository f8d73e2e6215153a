//! `-e`: which calls are shown. Several are joined by `and`: a call is shown if it passes all of them.
//!
//! `malloc,free` names of functions, `!free` all others; `syscalls` calls that caused one; `size>=4096` by what was asked for
//! (also `>`, `<=`, `<`, `=`, `!=`, with K, M or G behind the number); `bin=large` by what served it; `arena=1`; `thread=N`;
//! `stack~REGEX` calls with a caller whose line, as it would be shown, the expression matches somewhere.

use crate::calls::Call;
use crate::path;
use heapglass_event::record::{Call as Function, Kind};
use regex_lite::Regex;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Functions { names: Vec<Function>, are_shown: bool },
    Syscalls,
    Size(Comparison, u64),
    Bin(String),
    Arena(u32),
    Thread(u32),
    Stack(Pattern),
}

/// A regular expression for the lines of callers.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

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
    // Before all others: the expression may hold any of their signs.
    if let Some(rest) = text.strip_prefix("stack") {
        let regex = rest.strip_prefix('~').filter(|regex| !regex.is_empty());
        let regex = regex.ok_or("after stack stands ~ and a regular expression, as in stack~^parse")?;
        return Regex::new(regex)
            .map(|regex| Filter::Stack(Pattern(regex)))
            .map_err(|e| format!("'{regex}' is no regular expression: {e}"));
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
            _ => Err(format!("'{key}' is unknown; known are size, bin, arena, thread and stack")),
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
    /// Does it ask for callers? Then `passes_by` answers, and `passes` passes everything.
    pub fn needs_callers(&self) -> bool {
        matches!(self, Filter::Stack(_))
    }

    /// By a call's callers, a line for each.
    pub fn passes_by<'a>(&self, mut callers: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Filter::Stack(Pattern(regex)) => callers.any(|line| regex.is_match(line)),
            _ => true,
        }
    }

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
            Filter::Stack(_) => true,
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
        for wrong in [
            "size",
            "size>=",
            "size>=x",
            "bin=huge",
            "colour=red",
            "mallok",
            "arena=x",
            "",
            "stack",
            "stack=main",
            "stack~",
            "stack~(",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn callers_are_matched_line_by_line() {
        let filter = parse("stack~^inner|=b!").unwrap();
        assert!(filter.needs_callers() && !parse("free").unwrap().needs_callers());
        for (lines, passes) in [
            (&["outer at a.c:1", "main"][..], false),
            (&["outer", "inner at a.c:1"], true),
            (&["the inner"], false),
            (&["a=b!"], true),
            (&[], false),
        ] {
            assert_eq!(filter.passes_by(lines.iter().copied()), passes, "{lines:?}");
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
