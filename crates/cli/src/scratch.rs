//! A file for one run, by which the library in the program tells this command something. Its owner's alone, and removed in the end.

use crate::failure::Failure;
use rustix::fs::{MemfdFlags, memfd_create};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A longer directory is passed over: with the file's name in it, the path must stay below the 255 bytes that the library
/// takes.
const DIR_BYTES_MAX: usize = 180;

pub struct Scratch {
    path: PathBuf,
    /// One that is in memory goes with this, however this command ends.
    memory: Option<File>,
}

impl Scratch {
    /// Made in the first of these directories that takes it, with its content: the first two are memory, so the program never
    /// waits for a disk. `what` is what it holds, for a message.
    pub fn create(kind: &str, content: &[u8], what: &str) -> Result<Scratch, Failure> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let dirs = own.into_iter().chain(["/dev/shm", "/tmp"].map(PathBuf::from));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for dir in dirs.filter(|dir| dir.is_absolute() && fits_in_an_item(dir)) {
            match Scratch::create_in(&dir, kind, content) {
                Ok(scratch) => return Ok(scratch),
                Err(error) => last = error,
            }
        }
        Err(Failure::ours(format!(
            "no place for {what}: {last}; set XDG_RUNTIME_DIR to a directory that you may write to"
        )))
    }

    /// Without a name, for whoever runs as long as this command does.
    pub fn in_memory(content: &[u8]) -> Result<Scratch, Failure> {
        let made = memfd_create("scratch", MemfdFlags::CLOEXEC).map(File::from).map_err(io::Error::from);
        let filled = made.and_then(|mut file| file.write_all(content).map(|()| file));
        let file =
            filled.map_err(|e| Failure::ours(format!("no memory for a file of {} bytes: {e}", content.len())))?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Ok(Scratch { path, memory: Some(file) })
    }

    fn create_in(dir: &Path, kind: &str, content: &[u8]) -> io::Result<Scratch> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = dir.join(format!("heapglass-{kind}.{}.{}", std::process::id(), now.as_nanos()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let scratch = Scratch { path, memory: None };
        file.write_all(content)?;
        Ok(scratch)
    }

    /// An item of `HEAPGLASS` that names it.
    pub fn item(&self, key: &str) -> OsString {
        let mut item = OsString::from(key);
        item.push(&self.path);
        item
    }

    pub fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.path.display())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.memory.is_none() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn fits_in_an_item(dir: &Path) -> bool {
    let path = dir.as_os_str().as_bytes();
    path.len() <= DIR_BYTES_MAX && !path.iter().any(|b| matches!(b, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_whole_its_owners_alone_and_goes() {
        let scratch = Scratch::create("test", &[7; 5000], "a test").unwrap();
        let path = scratch.path.clone();
        assert_eq!(scratch.item("key:"), OsString::from(format!("key:{}", path.display())));
        assert_eq!(scratch.read().unwrap(), [7; 5000]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(scratch);
        assert!(!path.exists());
    }
}
