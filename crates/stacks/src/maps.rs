//! `/proc/PID/maps`: what is mapped to be executed.

/// A mapping of which code is executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Where it begins in its file.
    pub offset: u64,
    /// The file, without the mark that it was deleted; or a name in brackets, or nothing.
    pub path: String,
    pub is_deleted: bool,
}

impl Mapping {
    pub fn is_file(&self) -> bool {
        self.path.starts_with('/') && !self.path.starts_with("/dev/") && !self.path.starts_with("/memfd:")
    }
}

/// Those that may be executed, in order. Lines that are none are left out.
pub fn parse(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mapping> {
    // start-end rights offset device inode        path
    let mut rest = line;
    let mut word = || {
        let (word, others) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = others.trim_start();
        word
    };
    let (range, rights, offset, _, _) = (word(), word(), word(), word(), word());
    let (start, end) = range.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (path, is_deleted) = match rest.strip_suffix(" (deleted)") {
        Some(path) => (path, true),
        None => (rest, false),
    };
    let mapping =
        Mapping { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, path: path.to_owned(), is_deleted };
    (rights.contains('x') && mapping.start < mapping.end).then_some(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_executed_is_kept() {
        let text = "\
55a0-55a8 r--p 00000000 08:01 12      /usr/bin/a b
55a8-55b0 r-xp 00008000 08:01 12      /usr/bin/a b (deleted)
7f00-7f10 rwxp 00000000 00:00 0 
7f20-7f30 r-xp 00000000 00:00 0       [vdso]
nonsense
9-8 r-xp 0 0 0
";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        let file = &found[0];
        assert_eq!((file.start, file.end, file.offset), (0x55a8, 0x55b0, 0x8000));
        assert!(file.path == "/usr/bin/a b" && file.is_deleted && file.is_file());
        assert!(found[1].path.is_empty() && !found[1].is_file() && !found[2].is_file());
    }
}
