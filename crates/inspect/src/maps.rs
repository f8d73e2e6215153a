//! `/proc/PID/maps` and `smaps` as data.

use crate::memory::Range;

/// One mapping.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mapping {
    pub range: Range,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    /// Where in its file it begins.
    pub offset: u64,
    /// A file's path, or a name in brackets; empty for most anonymous memory.
    pub name: String,
    /// Resident bytes, where that was asked.
    pub rss: u64,
    pub swap: u64,
}

impl Mapping {
    pub fn is_file(&self) -> bool {
        self.name.starts_with('/')
    }

    /// The last part of the path.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// Both files: the second has lines of figures behind each line of the first. What can't be read is passed over.
pub fn parse(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = mapping(line) {
            mappings.push(mapping);
        } else if let Some(last) = mappings.last_mut() {
            let kib = |label: &str| -> Option<u64> {
                line.strip_prefix(label)?.trim().strip_suffix("kB")?.trim().parse().ok()
            };
            if let Some(kib) = kib("Rss:") {
                last.rss = kib.saturating_mul(1024);
            } else if let Some(kib) = kib("Swap:") {
                last.swap = kib.saturating_mul(1024);
            }
        }
    }
    mappings
}

fn mapping(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let range = Range::new(hex(start)?, hex(end)?);
    let mut words = rest.splitn(5, ' ');
    let (flags, offset) = (words.next()?, hex(words.next()?)?);
    // Device and inode lie between.
    let name = words.nth(2).unwrap_or_default().trim().to_owned();
    let has = |flag| flags.contains(flag);
    Some(Mapping {
        range,
        readable: has('r'),
        writable: has('w'),
        executable: has('x'),
        offset,
        name,
        ..Mapping::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_files_are_read() {
        let text = "\
5605d0000000-5605d0002000 r--p 00001000 fe:01 131 /usr/bin/a name\n\
Size:                  8 kB\n\
Rss:                   4 kB\n\
Swap:                 12 kB\n\
VmFlags: rd mr\n\
7fff0000-80000000 rw-p 00000000 00:00 0 \n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n\
nonsense\n";
        let all = parse(text);
        assert_eq!(all.len(), 3);
        assert_eq!(
            (all[0].name.as_str(), all[0].offset, all[0].rss, all[0].swap),
            ("/usr/bin/a name", 0x1000, 4096, 12288)
        );
        assert!(all[0].readable && !all[0].writable && all[0].is_file());
        assert_eq!((all[1].name.as_str(), all[1].writable, all[1].range.bytes()), ("", true, 0x10000));
        assert_eq!((all[2].name.as_str(), all[2].executable), ("[vsyscall]", true));
    }
}
