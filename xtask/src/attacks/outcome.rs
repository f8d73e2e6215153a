//! How an attack ended, read from what its program printed: the marks of `tests/attacks/attack.h`.

use std::fmt;

/// The marks, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Fault,
    Next,
    Neighbour,
    Reuse,
    Exit,
}

const STAGES: [(Stage, &str); 5] = [
    (Stage::Fault, "fault"),
    (Stage::Next, "next"),
    (Stage::Neighbour, "neighbour"),
    (Stage::Reuse, "reuse"),
    (Stage::Exit, "exit"),
];

impl Stage {
    fn name(self) -> &'static str {
        STAGES.iter().find(|(stage, _)| *stage == self).map_or("", |(_, name)| name)
    }

    fn of(name: &str) -> Option<Stage> {
        STAGES.iter().find(|(_, known)| *known == name).map(|(stage, _)| *stage)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Stopped inside the faulty act, with a message.
    Call,
    /// Stopped with a message, by then.
    Later(Stage),
    /// Went through to the end, and nothing that anyone owns was damaged.
    Harmless,
    /// Went through to the end, with damage that the program saw.
    Missed,
    /// Ended without a message.
    Crashed(Stage),
    /// Had to be stopped from outside.
    Hung(Stage),
    /// What is attacked doesn't exist under this allocator.
    Absent,
}

impl fmt::Display for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Outcome::Call => to.write_str("call"),
            Outcome::Later(stage) => write!(to, "later:{}", stage.name()),
            Outcome::Harmless => to.write_str("harmless"),
            Outcome::Missed => to.write_str("missed"),
            Outcome::Crashed(stage) => write!(to, "crashed:{}", stage.name()),
            Outcome::Hung(stage) => write!(to, "hung:{}", stage.name()),
            Outcome::Absent => to.write_str("absent"),
        }
    }
}

impl Outcome {
    pub fn parse(text: &str) -> Option<Outcome> {
        let (what, stage) = match text.split_once(':') {
            Some((what, stage)) => (what, Some(Stage::of(stage)?)),
            None => (text, None),
        };
        Some(match (what, stage) {
            ("call", None) => Outcome::Call,
            ("later", Some(stage)) => Outcome::Later(stage),
            ("harmless", None) => Outcome::Harmless,
            ("missed", None) => Outcome::Missed,
            ("crashed", Some(stage)) => Outcome::Crashed(stage),
            ("hung", Some(stage)) => Outcome::Hung(stage),
            ("absent", None) => Outcome::Absent,
            _ => return None,
        })
    }

    /// One letter of the matrix.
    pub fn letter(self) -> char {
        match self {
            Outcome::Call => 'C',
            Outcome::Later(_) => 'L',
            Outcome::Harmless => '.',
            Outcome::Missed => '!',
            Outcome::Crashed(_) => 'x',
            Outcome::Hung(_) => 'h',
            Outcome::Absent => '-',
        }
    }
}

/// What is known of a program that has ended.
pub struct Ended<'a> {
    /// The status; nothing where a signal ended it.
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub out: &'a str,
    /// What the allocator said.
    pub err: &'a str,
}

const SIGALRM: i32 = 14;

impl Ended<'_> {
    /// The message has to begin like this; of rivals any will do.
    pub fn outcome(&self, message: &str) -> Result<Outcome, String> {
        let has = |line: &str| self.out.lines().any(|one| one == line);
        if has("absent") {
            return Ok(Outcome::Absent);
        }
        let stage = self.out.lines().filter_map(Stage::of).next_back();
        let stage = stage.ok_or_else(|| format!("it didn't come to the fault: {} {}", self.out, self.err))?;
        if self.signal == Some(SIGALRM) {
            return Ok(Outcome::Hung(stage));
        }
        if self.status == Some(0) {
            if !self.err.is_empty() {
                return Err(format!("it went on after a message: {}", self.err));
            }
            let damaged = self.out.lines().any(|line| line.starts_with("damaged"));
            return Ok(if damaged { Outcome::Missed } else { Outcome::Harmless });
        }
        if self.err.is_empty() || !self.err.starts_with(message) {
            return Ok(Outcome::Crashed(stage));
        }
        Ok(if stage == Stage::Fault { Outcome::Call } else { Outcome::Later(stage) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: Option<i32>, signal: Option<i32>, out: &str, err: &str) -> String {
        Ended { status, signal, out, err }.outcome("heapglass: ").map_or_else(|why| why, |one| one.to_string())
    }

    #[test]
    fn endings_are_told_apart() {
        let line = "heapglass: free(0x10): double free";
        assert_eq!(of(None, Some(6), "fault\n", line), "call");
        assert_eq!(of(None, Some(11), "fault\n", line), "call");
        assert_eq!(of(None, Some(6), "fault\nnext\ndamaged contents\nneighbour\n", line), "later:neighbour");
        assert_eq!(of(None, Some(6), "fault\nnext\nneighbour\nreuse\nexit\n", line), "later:exit");
        assert_eq!(of(Some(0), None, "fault\nnext\nneighbour\nreuse\nexit\n", ""), "harmless");
        assert_eq!(of(Some(0), None, "fault\nnext\ndamaged contents\nneighbour\nreuse\nexit\n", ""), "missed");
        assert_eq!(of(None, Some(11), "fault\n", ""), "crashed:fault");
        assert_eq!(of(None, Some(6), "fault\nnext\n", "somebody else's words"), "crashed:next");
        assert_eq!(of(None, Some(14), "fault\nnext\n", ""), "hung:next");
        assert_eq!(of(Some(1), None, "fault\nno memory\n", ""), "crashed:fault");
        assert_eq!(of(Some(0), None, "absent\n", ""), "absent");
        assert!(of(Some(0), None, "fault\nexit\n", line).contains("went on"));
        assert!(of(None, Some(11), "", "").contains("didn't come to the fault"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (stage, _) in STAGES {
            for one in [Outcome::Later(stage), Outcome::Crashed(stage), Outcome::Hung(stage)] {
                assert_eq!(Outcome::parse(&one.to_string()), Some(one));
            }
        }
        for one in [Outcome::Call, Outcome::Harmless, Outcome::Missed, Outcome::Absent] {
            assert_eq!(Outcome::parse(&one.to_string()), Some(one));
        }
        assert_eq!(Outcome::parse("call:fault"), None);
        assert_eq!(Outcome::parse("later"), None);
    }
}
