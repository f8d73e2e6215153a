//! How far a long reading is, on a terminal: one line that goes when it is done.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is done sooner says nothing.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);
/// Steps between two looks at the clock.
const STEPS: u64 = 1 << 14;

pub struct Progress {
    whole: u64,
    next: Instant,
    is_shown: bool,
    is_terminal: bool,
}

impl Progress {
    pub fn new(whole: u64) -> Progress {
        Progress { whole, next: Instant::now() + PATIENCE, is_shown: false, is_terminal: io::stderr().is_terminal() }
    }

    /// So much of the whole is done.
    pub fn at(&mut self, done: u64) {
        if self.is_terminal && done.is_multiple_of(STEPS) && Instant::now() > self.next {
            self.next = Instant::now() + PAUSE;
            self.is_shown = true;
            let percent = done.saturating_mul(100) / self.whole.max(1);
            let _ = write!(io::stderr(), "\rheapglass: reading, {percent} %");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
