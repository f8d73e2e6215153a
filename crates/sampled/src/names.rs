//! Naming the places of a profile, from the files that its modules were read from, or from those with the same build id.

use heapglass_profile::model::{Line, Profile};
use heapglass_stacks::module;
use heapglass_stacks::symbols::Names;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the allocator's own functions are called where it is part of the program itself.
const OWN: [&str; 9] = [
    "heapglass_heap::",
    "heapglass::",
    "<heapglass::",
    "heapglass_new_slow",
    "__rust_alloc",
    "__rustc::__rust",
    "__rust_realloc",
    "__rdl_",
    "__rg_",
];
const OWN_EXACT: [&str; 6] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

/// Names all places. `files` are the modules' files, one each. `stores`: where files of debug information are, by build id.
pub fn name(profile: &mut Profile, files: &[PathBuf], stores: &[PathBuf]) {
    for (index, module) in (0u32..).zip(&profile.modules) {
        let mut names = None;
        let file = files.get(index as usize).map_or(Path::new(&module.path), PathBuf::as_path);
        for frame in profile.frames.iter_mut().filter(|frame| frame.module == Some(index) && frame.lines.is_empty()) {
            let names = names.get_or_insert_with(|| Names::open(file, &module.build_id, stores));
            let lines = names.at(frame.address).into_iter();
            frame.lines = lines.map(|l| Line { function: l.function, file: l.file, line: l.line }).collect();
        }
    }
    name_made(profile);
    strip_own(profile);
}

/// What programs that make code say of it: `/tmp/perf-PID.map`, lines of start, length and name.
fn name_made(profile: &mut Profile) {
    let Some(text) = made(Path::new(&format!("/tmp/perf-{}.map", profile.pid))) else { return };
    let line = |line: &str| {
        let (start, rest) = line.split_once(' ')?;
        let (length, name) = rest.split_once(' ')?;
        let (start, length) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(length, 16).ok()?);
        Some((start, start.checked_add(length)?, name.to_owned()))
    };
    let ranges: Vec<_> = text.lines().filter_map(line).collect();
    for frame in profile.frames.iter_mut().filter(|frame| frame.module.is_none() && frame.lines.is_empty()) {
        let found = ranges.iter().rfind(|(start, end, _)| (*start..*end).contains(&frame.address));
        if let Some((_, _, name)) = found {
            frame.lines.push(Line { function: format!("[made at run time] {name}"), ..Line::default() });
        }
    }
}

/// Anybody may put a file there: it is believed if it is the user's own, or root's, as perf does it.
fn made(path: &Path) -> Option<String> {
    let mut file = module::open(path).ok()?;
    let owner = file.metadata().ok()?.uid();
    let mut bytes = Vec::new();
    let own = std::fs::metadata("/proc/self").ok()?.uid();
    (owner == 0 || owner == own).then_some(())?;
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Frames of the allocator at the inner end of a stack aren't the program's.
fn strip_own(profile: &mut Profile) {
    let is_own = |name: &str| OWN.iter().any(|own| name.starts_with(own)) || OWN_EXACT.contains(&name);
    let own: Vec<bool> = profile
        .frames
        .iter()
        .map(|frame| !frame.lines.is_empty() && frame.lines.iter().all(|line| is_own(&line.function)))
        .collect();
    for stack in &mut profile.stacks {
        let count = stack.iter().take_while(|&&frame| own.get(frame as usize) == Some(&true)).count();
        if count < stack.len() {
            stack.drain(..count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use rustix::process::geteuid;

    #[test]
    fn names_of_what_was_made_are_believed_of_oneself_and_nothing_is_waited_for() {
        let path = std::env::temp_dir().join(format!("heapglass-made.{}", std::process::id()));
        std::fs::write(&path, "10 8 f\n").unwrap();
        assert_eq!(made(&path).as_deref(), Some("10 8 f\n"));
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
            assert_eq!(made(&path), None, "it is somebody else's");
        }
        std::fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(made(&path), None, "a pipe into which nobody writes");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(made(&path), None);
    }
}
