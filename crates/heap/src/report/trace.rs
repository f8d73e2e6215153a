//! Who did it.

use super::unwind::{FRAMES, Registers, capture, walk};

/// A thread and its callers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Trace {
    pub thread: u32,
    pub count: u16,
    /// It was parked then: that is where its thread was up to two frees later.
    pub is_late: bool,
    pub frames: [usize; FRAMES],
}

impl Trace {
    pub const NONE: Trace = Trace { thread: 0, count: 0, is_late: false, frames: [0; FRAMES] };

    /// The calling thread, here, or where these registers are.
    pub fn take(registers: Option<Registers>) -> Trace {
        let mut frames = [0; FRAMES];
        let count = match registers {
            Some(registers) => walk(registers, None, &mut frames),
            None => capture(&mut frames),
        };
        Trace { thread: heapglass_os::thread_id(), count: count as u16, is_late: false, frames }
    }
}
