//! Any bytes as the value of the variables that are read at the start. Every setting stays within its bounds, whatever they say.

use heapglass_heap::config;
use heapglass_heap::policy::{MMAP_THRESHOLD_MAX, POLICY};
use std::sync::atomic::Ordering::Relaxed;

/// The one setting that is a file's name, which any bytes would be too.
const FILE: &[u8] = b"stats";

pub fn try_all(bytes: &[u8]) {
    if bytes.windows(FILE.len()).any(|window| window == FILE) {
        return;
    }
    // Warnings go to standard error, which is somebody's terminal.
    crate::child::silently(|| {
        config::read_ours(bytes);
        config::read_tunables(bytes);
    });
    assert!(POLICY.mmap_threshold.load(Relaxed) <= MMAP_THRESHOLD_MAX);
    assert!(POLICY.top_pad.load(Relaxed) <= 1 << 30);
    assert!(POLICY.decay.load(Relaxed) >= -1);
    assert!(POLICY.fast_max.load(Relaxed) <= 256);
}
