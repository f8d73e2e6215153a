//! Finding things: a program as a shell finds it, and the library that belongs to this command.

use crate::failure::Failure;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "libheapglass.so";

/// Where the library lies, relative to the directory of this command: beside it when installed in one directory or built
/// by `cargo build`, in `deps` when built by `cargo run`, in the others when installed below a prefix.
const LIBRARY_DIRS: [&str; 4] = ["", "deps", "../lib", "../lib/heapglass"];

/// Where execvp(3) looks when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The library to preload, as an absolute path that `LD_PRELOAD` can carry.
pub fn library() -> Result<PathBuf, Failure> {
    let found = match std::env::var_os("HEAPGLASS_LIB") {
        Some(path) => {
            fs::canonicalize(&path).map_err(|e| Failure::ours(format!("HEAPGLASS_LIB: {}: {e}", path.display())))?
        }
        None => beside_us()?,
    };
    check_entry(&found)?;
    Ok(found)
}

/// The loader splits LD_PRELOAD at spaces and colons and knows no escape.
pub fn check_entry(library: &Path) -> Result<(), Failure> {
    if library.as_os_str().as_bytes().iter().any(|b| matches!(b, b' ' | b':')) {
        return Err(Failure::ours(format!(
            "{}: LD_PRELOAD can't carry a path with a space or a colon; copy the library elsewhere and set HEAPGLASS_LIB to it",
            library.display()
        )));
    }
    Ok(())
}

fn beside_us() -> Result<PathBuf, Failure> {
    let us = std::env::current_exe().map_err(|e| Failure::ours(format!("can't tell where this command lies: {e}")))?;
    let dir = us.parent().unwrap_or(Path::new("/"));
    LIBRARY_DIRS.iter().find_map(|sub| fs::canonicalize(dir.join(sub).join(LIBRARY)).ok()).ok_or_else(|| {
        Failure::ours(format!(
            "{LIBRARY} is neither beside {} nor in ../lib; build it with `cargo build --release`, or set HEAPGLASS_LIB to it",
            us.display()
        ))
    })
}

/// The file that a shell would execute for this word; its path always has a slash in it.
pub fn program(word: &OsStr) -> Result<PathBuf, Failure> {
    if word.as_bytes().contains(&b'/') {
        let path = PathBuf::from(word);
        return executable(&path).map(|()| path);
    }
    let dirs = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    // A file that can't be executed doesn't end the search, but it is the better explanation if nothing else turns up.
    let mut unusable = None;
    for dir in std::env::split_paths(&dirs).filter(|_| !word.is_empty()) {
        let dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir };
        let path = dir.join(word);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(failure) if failure.status == crate::failure::UNUSABLE && path.is_file() => unusable = Some(failure),
            Err(_) => {}
        }
    }
    Err(unusable.unwrap_or_else(|| Failure::not_found(word, "no such program on the PATH")))
}

/// A program on the PATH that is no script: one that stands in front of the real one would be measured with it.
pub fn binary(name: &str) -> Option<PathBuf> {
    let dirs = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let is_binary = |path: &PathBuf| {
        let mut start = [0; 4];
        let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
        executable(path).is_ok() && read.is_ok() && start == *b"\x7fELF"
    };
    let absolute = std::env::split_paths(&dirs).filter(|dir| dir.is_absolute());
    absolute.map(|dir| dir.join(name)).find(is_binary)
}

fn executable(path: &Path) -> Result<(), Failure> {
    let meta = fs::metadata(path).map_err(|e| Failure::refused(path, &e))?;
    if meta.is_dir() {
        return Err(Failure::unusable(path, "is a directory, not a program"));
    }
    if !meta.is_file() {
        return Err(Failure::unusable(path, "is not a regular file, so it can't be executed"));
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|e| match io::Error::from(e).kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::unusable(path, "may not be executed by you; if it is a program, type `chmod +x` on it first")
        }
        _ => Failure::unusable(path, io::Error::from(e)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expect: Result<&str, u8>) {
        let found = program(OsStr::new(word));
        match expect {
            Ok(end) => assert!(found.unwrap().ends_with(end)),
            Err(status) => assert_eq!(found.unwrap_err().status, status, "{word}"),
        }
    }

    #[test]
    fn words_are_found_as_a_shell_finds_them() {
        check("sh", Ok("sh"));
        check("/bin/sh", Ok("/bin/sh"));
        check("", Err(127));
        check("no-such-program-anywhere", Err(127));
        check("/no/such/program", Err(127));
        check("/etc/passwd/below-a-file", Err(126));
        check("/", Err(126));
        check("/dev/null", Err(126));
        check("/etc/passwd", Err(126));
    }

    #[test]
    fn binaries_are_no_scripts() {
        assert!(binary("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(binary("no-such-program-anywhere"), None);
    }
}
