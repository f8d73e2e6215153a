//! Rules by which leaks aren't told, in LeakSanitizer's syntax: lines `leak:PATTERN`, where a pattern is searched for in the names of
//! functions, files and modules; `*` stands for any text, `^` and `$` for its beginning and end. `#` begins a comment.

use crate::model::{Frame, Module};

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Debug)]
struct Rule {
    text: String,
    pieces: Vec<String>,
    from_start: bool,
    to_end: bool,
}

impl Rules {
    pub fn parse(text: &str) -> Result<Rules, String> {
        let mut rules = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(pattern) = line.strip_prefix("leak:").map(str::trim).filter(|pattern| !pattern.is_empty()) else {
                return Err(format!("line {number}: '{line}' isn't of the form leak:PATTERN"));
            };
            let (from_start, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
            let (to_end, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
            let pieces = rest.split('*').map(str::to_owned).collect();
            rules.push(Rule { text: pattern.to_owned(), pieces, from_start, to_end });
        }
        Ok(Rules { rules })
    }

    /// The rule that a stack falls under, as it was written.
    pub fn matching<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>, modules: &[Module]) -> Option<&str> {
        let names: Vec<String> = frames
            .into_iter()
            .flat_map(|frame| {
                let module = frame.module.and_then(|module| modules.get(module as usize));
                let lines = frame.lines.iter().flat_map(|line| [line.function.clone(), line.file.clone()]);
                lines.chain(module.map(|module| module.path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let found = self.rules.iter().find(|rule| names.iter().any(|name| rule.fits(name)));
        found.map(|rule| rule.text.as_str())
    }
}

impl Rule {
    fn fits(&self, name: &str) -> bool {
        let mut rest = name;
        let last = self.pieces.len().saturating_sub(1);
        for (index, piece) in self.pieces.iter().enumerate() {
            let is_last = index == last;
            if index == 0 && self.from_start {
                match rest.strip_prefix(piece.as_str()) {
                    Some(behind) if !(is_last && self.to_end) || behind.is_empty() => rest = behind,
                    _ => return false,
                }
            } else if is_last && self.to_end {
                return rest.ends_with(piece.as_str());
            } else {
                match rest.find(piece.as_str()) {
                    Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
                    None => return false,
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Line;

    fn hits(rules: &str, function: &str) -> bool {
        let line = Line { function: function.into(), file: "src/x.c".into(), line: 1 };
        let frame = Frame { module: Some(0), address: 0, lines: vec![line] };
        let module = Module { path: "/usr/lib/libfoo.so.1".into(), ..Module::default() };
        Rules::parse(rules).unwrap().matching([&frame], &[module]).is_some()
    }

    #[test]
    fn rules_are_searched_for_in_functions_files_and_modules() {
        assert!(hits("leak:foo", "a_foo_b") && hits("leak:x.c", "f") && hits("leak:libfoo.so", "f"));
        assert!(!hits("leak:bar", "a_foo_b") && !hits("# leak:foo\n", "bar"));
        assert!(hits("leak:^a*b$", "a_foo_b") && !hits("leak:^foo", "a_foo_b") && hits("leak:foo_b$", "a_foo_b"));
        assert!(hits("leak:^main$", "main") && !hits("leak:^main$", "main2") && !hits("leak:^main$", "a main"));
        assert!(hits("leak:f*_b", "a_foo_b") && !hits("leak:b*_foo", "a_foo_b"));
        assert!(Rules::parse("race:x").is_err() && Rules::parse("leak:").is_err());
    }
}
