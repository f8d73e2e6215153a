//! What people type, as the hand's instructions: `a = malloc(32)`, or `a = malloc 32`, and `t2:` in front for another thread.

use crate::hand::{SLOTS, THREADS};
use heapglass_report::filter;

/// Names that pointers were given, by slot.
pub struct Names {
    names: Vec<String>,
    /// Whether a call without a name gets one.
    gives: bool,
}

impl Default for Names {
    fn default() -> Names {
        Names { names: vec!["NULL".into()], gives: false }
    }
}

impl Names {
    /// As they are at a prompt, where every call that hands out gives a name.
    pub fn that_gives() -> Names {
        Names { gives: true, ..Names::default() }
    }

    /// The instruction for a call.
    pub fn step(&mut self, text: &str) -> Result<String, String> {
        let (thread, text) = thread(text)?;
        let (name, call) = match text.split_once('=') {
            Some((name, call)) => (Some(name.trim()), call.trim()),
            None => (None, text),
        };
        let (function, arguments) = split(call)?;
        let step = self.call(function, &arguments, call, name)?;
        Ok(if thread == 1 { step } else { format!("{thread} {step}") })
    }

    fn call(&mut self, function: &str, arguments: &[&str], call: &str, name: Option<&str>) -> Result<String, String> {
        let number = |text: &str| filter::bytes(text).ok_or_else(|| format!("'{text}' is no number of bytes"));
        let (letter, first, second) = match (function, arguments) {
            ("malloc", [size]) => ("m", number(size)?, None),
            ("calloc", [count, size]) => ("c", number(count)?, Some(number(size)?)),
            ("realloc", [old, size]) => ("r", self.known(old)? as u64, Some(number(size)?)),
            ("memalign" | "aligned_alloc", [align, size]) => {
                let align = number(align)?;
                if !align.is_power_of_two() {
                    return Err(format!("'{align}' is no power of two"));
                }
                ("a", align, Some(number(size)?))
            }
            ("free", [old]) => return Ok(format!("f {}", self.known(old)?)),
            ("malloc_trim" | "trim", [pad]) => return Ok(format!("t {}", number(pad)?)),
            ("trim", []) => return Ok("t 0".into()),
            ("malloc" | "calloc" | "realloc" | "memalign" | "aligned_alloc" | "free" | "malloc_trim" | "trim", _) => {
                return Err(format!("'{call}': not as many arguments as {function} takes"));
            }
            _ => return Err(format!("'{function}' is no call that a script knows")),
        };
        // What is resized keeps its name, if there is nothing to say otherwise.
        let resized = (letter == "r" && first != 0 && self.gives).then_some(first as usize);
        let slot = match (name, resized) {
            (None, Some(slot)) => slot,
            (None, None) if !self.gives => 0,
            (None, None) => self.new_name(),
            (Some(name), _) => self.slot_of(name)?,
        };
        if slot >= SLOTS {
            self.names.truncate(SLOTS);
            return Err("too many names".into());
        }
        Ok(match second {
            Some(second) => format!("{letter} {slot} {first} {second}"),
            None => format!("{letter} {slot} {first}"),
        })
    }

    fn known(&self, text: &str) -> Result<usize, String> {
        match self.names.iter().position(|name| name == text) {
            Some(slot) => Ok(slot),
            None if text == "0" => Ok(0),
            None => Err(format!("'{text}': nothing was given that name before")),
        }
    }

    fn slot_of(&mut self, name: &str) -> Result<usize, String> {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || name == "NULL" {
            return Err(format!("'{name}' is no name"));
        }
        let slot = self.names.iter().position(|known| known == name).unwrap_or(self.names.len());
        if slot == self.names.len() {
            self.names.push(name.to_owned());
        }
        Ok(slot)
    }

    /// `a` to `z`, then `a1` and so on.
    fn new_name(&mut self) -> usize {
        let letters = || ('a'..='z').map(String::from);
        let numbered = (1..).flat_map(|number| letters().map(move |letter| format!("{letter}{number}")));
        let free = letters().chain(numbered).find(|name| !self.names.contains(name));
        self.names.extend(free);
        self.names.len() - 1
    }

    /// The name that an instruction's result has; `None` where it has none.
    pub fn of(&self, step: &str) -> Option<&str> {
        let step = step.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let mut words = step.split(' ');
        let letter = words.next()?;
        let slot: usize = words.next()?.parse().ok()?;
        (slot > 0 && "mcra".contains(letter)).then(|| self.names.get(slot).map(String::as_str))?
    }
}

/// The thread in front, 1 where there is none.
fn thread(text: &str) -> Result<(usize, &str), String> {
    let Some((front, rest)) = text.split_once(':') else { return Ok((1, text.trim())) };
    let number = front.trim().strip_prefix('t').and_then(|number| number.parse().ok());
    match number {
        Some(number) if (1..=THREADS).contains(&number) => Ok((number, rest.trim())),
        _ => Err(format!("'{}:' is no thread: t1 to t{THREADS}", front.trim())),
    }
}

/// A thread's end, where a line asks for one.
pub fn ended_thread(text: &str) -> Result<Option<usize>, String> {
    match thread(text)? {
        (1, "end") => Err("the first thread ends with the process: quit".into()),
        (number, "end") => Ok(Some(number)),
        _ => Ok(None),
    }
}

/// A function and its arguments, in parentheses or not.
fn split(call: &str) -> Result<(&str, Vec<&str>), String> {
    let wrong = || format!("'{call}': a call is missing, as in a=malloc(32)");
    let parts = |text: &'static str| move |c: char| text.contains(c);
    let Some((function, rest)) = call.split_once('(') else {
        let mut words = call.split(parts(" ,\t")).filter(|word| !word.is_empty());
        let function = words.next().ok_or_else(wrong)?;
        let arguments: Vec<&str> = words.collect();
        let is_whole = !arguments.is_empty() || function == "trim";
        return if is_whole { Ok((function, arguments)) } else { Err(wrong()) };
    };
    let arguments = rest.trim_end().strip_suffix(')').ok_or_else(wrong)?;
    let arguments = match arguments.trim() {
        "" => Vec::new(),
        some => some.split(',').map(str::trim).collect(),
    };
    Ok((function.trim(), arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_instructions_in_either_way_of_writing() {
        let mut names = Names::that_gives();
        let steps = [
            ("malloc 64", "m 1 64"),
            ("x = malloc(1K)", "m 2 1024"),
            ("t2: calloc 4 16", "2 c 3 4 16"),
            ("realloc a 100", "r 1 1 100"),
            ("t3: free x", "3 f 2"),
            ("trim", "t 0"),
            ("memalign 64, 10", "a 4 64 10"),
        ];
        for (line, step) in steps {
            assert_eq!(names.step(line).unwrap(), step, "{line}");
        }
        assert_eq!(names.of("2 c 3 4 16"), Some("b"));
        assert_eq!((names.of("r 1 1 100"), names.of("f 2"), names.of("t 0")), (Some("a"), None, None));
        assert_eq!(ended_thread("t2: end"), Ok(Some(2)));
        for wrong in ["t1: end", "t99: end", "x: end"] {
            assert!(ended_thread(wrong).is_err(), "{wrong}");
        }
        for wrong in ["t0: malloc 1", "malloc", "malloc 1 2", "free q", "mallok 3", "=malloc 3"] {
            assert!(names.step(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_end_somewhere() {
        let mut names = Names::that_gives();
        assert_eq!((0..SLOTS - 1).filter(|_| names.step("malloc 1").is_ok()).count(), SLOTS - 1);
        assert_eq!(names.step("malloc 1").unwrap_err(), "too many names");
        assert!(names.step("free z").is_ok());
    }
}
