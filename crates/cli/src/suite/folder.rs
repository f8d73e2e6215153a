//! The directory that a suite works in: made anew, gone with the suite, and also when somebody ends it by a signal, since it
//! may run for half an hour.

use crate::failure::Failure;
use nix::sys::signal::{SigSet, Signal, raise};
use std::fs;
use std::path::{Path, PathBuf};

const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

pub struct Folder(PathBuf);

impl Folder {
    /// To be called while there is one thread.
    pub fn make() -> Result<Folder, Failure> {
        let dir = std::env::temp_dir().join(format!("heapglass-suite-{}", std::process::id()));
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        fs::create_dir(&dir).map_err(|e| Failure::ours(format!("{}: {e}", dir.display())))?;
        let folder = Folder(dir.clone());
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let signals: SigSet = ENDING.into_iter().filter(|signal| ignored >> (*signal as u32 - 1) & 1 == 0).collect();
        // Blocked, they are this thread's alone. Programs are started with nothing blocked.
        signals.thread_block().map_err(|e| Failure::ours(e.to_string()))?;
        std::thread::spawn(move || {
            let Ok(signal) = signals.wait() else { return };
            let _ = fs::remove_dir_all(&dir);
            // Its usual work: what runs is tied to our end.
            let _ = SigSet::from_iter([signal]).thread_unblock();
            let _ = raise(signal);
        });
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Signal 1 in the lowest bit. Who ignores one for us, as `nohup` does, means it.
fn ignored(status: &str) -> u64 {
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
