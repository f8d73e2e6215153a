//! Giving memory back on request: `malloc_trim` merges everything that can be merged, arena by arena, shortens the tops and
//! releases the whole pages inside free chunks, whichever thread freed them.

use crate::decay;
use crate::secure;
use crate::thread;

/// Merges, trims and releases, leaving `pad` bytes of each top; `true` where the kernel got anything. The calling thread's
/// cache goes home first; other threads' caches stay theirs.
pub fn trim(pad: usize) -> bool {
    secure::release();
    if let Some(thread) = thread::current() {
        thread.flush();
    }
    decay::all_now(pad, thread::owner())
}
