//! pprof's form: a compressed protocol buffer with four sorts of figures for each stack, the modules with their build ids, and labels for
//! thread, arena, bin and bytes.

use super::proto::{Message, whole};
use crate::model::{Entry, Profile, Which};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::Write;

/// Strings by number; the first is empty.
struct Strings {
    numbers: HashMap<String, u64>,
    all: Vec<String>,
}

impl Strings {
    fn new() -> Strings {
        Strings { numbers: HashMap::from([(String::new(), 0)]), all: vec![String::new()] }
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.all.len() as u64;
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// Which figures a sample has, in this order. pprof shows the last unless told otherwise.
const TYPES: [(&str, &str); 4] =
    [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];

/// The form, compressed as pprof wants it.
pub fn write(profile: &Profile) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    // A vector refuses nothing.
    let _ = packed.write_all(&plain(profile));
    packed.finish().unwrap_or_default()
}

fn plain(profile: &Profile) -> Vec<u8> {
    let mut strings = Strings::new();
    let mut message = Message::default();
    for (name, unit) in TYPES {
        let (name, unit) = (strings.number(name), strings.number(unit));
        message.message(1, |of| {
            of.number(1, name).number(2, unit);
        });
    }
    for entry in &profile.entries {
        sample(&mut message, profile, entry, &mut strings);
    }
    let is_named = profile.frames.iter().any(|frame| !frame.lines.is_empty());
    for (id, module) in (1..).zip(&profile.modules) {
        let (path, build_id) = (strings.number(&module.path), strings.number(&module.build_id));
        message.message(3, |of| {
            of.number(1, id).number(2, module.start).number(3, module.end).number(4, module.offset);
            of.number(5, path).number(6, build_id);
            // Functions, files, lines, inlined frames: it need not look for them itself.
            (7..=10).for_each(|field| {
                of.number(field, u64::from(is_named));
            });
        });
    }
    let mut functions: HashMap<(String, String), u64> = HashMap::new();
    let mut new_functions = Vec::new();
    for (id, frame) in (1..).zip(&profile.frames) {
        let module = frame.module.and_then(|module| profile.modules.get(module as usize));
        let mut lines = Vec::new();
        let named: Vec<(String, String, u32)> = match (frame.lines.is_empty(), module) {
            // Without a name it has its address, and pprof may find more.
            (true, Some(_)) => Vec::new(),
            (true, None) => frame.names(&profile.modules).into_iter().map(|name| (name, String::new(), 0)).collect(),
            _ => frame.lines.iter().map(|line| (line.function.clone(), line.file.clone(), line.line)).collect(),
        };
        for (function, file, line) in named {
            let next = functions.len() as u64 + 1;
            let number = *functions.entry((function.clone(), file.clone())).or_insert(next);
            if number == next {
                new_functions.push((number, strings.number(&function), strings.number(&file)));
            }
            lines.push((number, u64::from(line)));
        }
        message.message(4, |of| {
            of.number(1, id);
            of.number(2, frame.module.map_or(0, |module| u64::from(module) + 1));
            of.number(3, frame.address.wrapping_add(module.map_or(0, |module| module.bias)));
            for (function, line) in lines {
                of.message(4, |of| {
                    of.number(1, function).number(2, line);
                });
            }
        });
    }
    for (id, name, file) in new_functions {
        message.message(5, |of| {
            of.number(1, id).number(2, name).number(3, name).number(4, file);
        });
    }
    let (space, unit, default) = (strings.number("space"), strings.number("bytes"), strings.number("inuse_space"));
    for text in &strings.all {
        message.bytes(6, text.as_bytes());
    }
    message.number(9, profile.began).number(10, profile.took);
    message.message(11, |of| {
        of.number(1, space).number(2, unit);
    });
    message.number(12, profile.interval).number(14, default);
    message.into_bytes()
}

fn sample(message: &mut Message, profile: &Profile, entry: &Entry, strings: &mut Strings) {
    let stack = profile.stacks.get(entry.stack as usize);
    let locations = stack.into_iter().flatten().map(|&frame| u64::from(frame) + 1);
    let values = [Which::Total, Which::InUse].into_iter().flat_map(|which| [entry.count(which), entry.size(which)]);
    let bytes_unit = strings.number("bytes");
    let labels =
        [("thread", u64::from(entry.thread), 0), ("bytes", entry.bytes, bytes_unit), ("bin", entry.chunk, bytes_unit)];
    let arena = entry.arena.map(|arena| ("arena", u64::from(arena), 0));
    let labels = labels.into_iter().chain(arena).map(|(key, number, unit)| (strings.number(key), number, unit));
    let labels: Vec<_> = labels.collect();
    message.message(2, |of| {
        of.numbers(1, locations).numbers(2, values.map(whole));
        for (key, number, unit) in labels {
            of.message(3, |of| {
                of.number(1, key).number(3, number).number(4, unit);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;
    use std::io::Read;

    #[test]
    fn it_is_packed_and_holds_the_names() {
        let packed = write(&sample());
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, plain(&sample()));
        for name in ["inuse_space", "main", "dir/a.c", "/bin/program", "ab12", "thread", "arena", "bin"] {
            assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
        }
    }
}
