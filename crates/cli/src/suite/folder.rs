//! The directory that a suite works in: made anew, gone with the suite, and also when somebody ends it by a signal, since it
//! may run for half an hour.

use crate::failure::Failure;
use crate::launch::ENDING;
use nix::sys::signal::{SigSet, raise};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub struct Folder {
    path: PathBuf,
    /// Held by who removes it, and by a thread that does so before the process ends never given back.
    removing: Arc<Mutex<()>>,
}

impl Folder {
    /// To be called while there is one thread.
    pub fn make() -> Result<Folder, Failure> {
        let dir = std::env::temp_dir().join(format!("heapglass-suite-{}", std::process::id()));
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let signals: SigSet = ENDING.into_iter().filter(|signal| ignored >> (*signal as u32 - 1) & 1 == 0).collect();
        // Blocked before there is anything to leave behind; from then on they are that thread's alone.
        signals.thread_block().map_err(|e| Failure::ours(e.to_string()))?;
        // Nobody else's: names and inputs in it are known beforehand.
        fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| Failure::ours(format!("{}: {e}", dir.display())))?;
        let folder = Folder { path: dir.clone(), removing: Arc::default() };
        let removing = folder.removing.clone();
        std::thread::spawn(move || {
            let Ok(signal) = signals.wait() else { return };
            let _held = removing.lock();
            remove_at_work(&dir);
            // Its usual work: what runs is tied to our end.
            let _ = SigSet::from_iter([signal]).thread_unblock();
            let _ = raise(signal);
        });
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _held = self.removing.lock();
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// While this command and a program may still make files in it: under another name nobody finds it but who is in it, and who
/// is in it makes fewer files than there are tries.
fn remove_at_work(dir: &Path) {
    let aside = dir.with_extension("gone");
    if fs::rename(dir, &aside).is_ok() {
        let _ = (0..100).any(|_| fs::remove_dir_all(&aside).is_ok());
    }
}

/// Signal 1 in the lowest bit. Who ignores one for us, as `nohup` does, means it.
pub fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        assert_eq!(ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
