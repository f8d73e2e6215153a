//! free's fast path writes to where the pointer leads that it is given, and later reads the header there. Where that is no
//! memory, or none that may be written, the kernel answers with SIGSEGV inside of free; this handler turns it into our one line. It is put in place when the first thread
//! gets onto the fast path, or there are guarded samples, and only if nobody else handles the signal then. A fault at a sample is
//! explained; then, as any other fault, it gets its default effect back and happens again.

use crate::arch;
use core::ffi::c_int;
use heapglass_heap::{die, free as heap_free, guard, mapped, thread};
use heapglass_os as os;

pub extern "C" fn install() {
    arch::take_faults(on_fault);
}

extern "C" fn on_fault(_: c_int, info: *const u8, context: *const u8) {
    // SAFETY: the kernel's own arguments.
    let (is_fault, touched) = unsafe { arch::read_fault(info, context) };
    // SAFETY: as above.
    let access = unsafe { arch::read_access(info, context) };
    if let Some((address, argument)) = touched.filter(|_| is_fault) {
        // A parked pointer's header lies 8 bytes before it. All else is the key's place, which the pointer just given leads to;
        // where no program can have that address, the kernel tells none.
        let behind = (address & !7) + 8;
        let user = if thread::has_parked(behind) { behind } else { argument };
        if guard::holds(user) {
            guard::not_live("free", user, access.map(|access| access.registers));
        }
        if mapped::look_up(user) == mapped::Known::Freed {
            heap_free::report_unmapped("free", user);
        }
        die::unmapped("free", user);
    }
    if let Some(access) = access.filter(|access| is_fault && guard::holds(access.address)) {
        guard::explain(access.address, access.is_write, access.registers);
    }
    arch::leave_faults();
    if !is_fault {
        os::thread::raise(arch::SIGSEGV);
    }
}
