//! free's fast path writes to where the pointer leads that it is given, and later reads the header there. Where that is no
//! memory, or none that may be written, the kernel answers with SIGSEGV inside of free; this handler turns it into our one line. It is put in place when the first thread
//! gets onto the fast path, if nobody else handles the signal then.
//!
//! A fault at a guarded sample is explained. So with each sample it is looked after that we stand before the program's handler, if it has
//! one; that gets all other faults as if we weren't there, and this one once it was explained. Where there is none, the signal
//! gets its default effect back, and the fault happens again.

use crate::arch::{self, Access};
use core::ffi::c_int;
use heapglass_heap::{die, free as heap_free, guard, mapped, thread};
use heapglass_os as os;

pub extern "C" fn take(also_before: bool) {
    arch::take_faults(also_before);
}

/// Returns who comes after us.
pub extern "C" fn on_fault(_: c_int, info: *const u8, context: *const u8, entry: usize) -> usize {
    let next = arch::next_handler(entry);
    // SAFETY: the kernel's own arguments.
    let (is_fault, touched) = unsafe { arch::read_fault(info, context) };
    if is_fault {
        // SAFETY: as above.
        let access = unsafe { arch::read_access(info, context) };
        match (touched, access) {
            (Some((address, argument)), access) => in_free(address, argument, access, next.is_none()),
            (None, Some(access)) if guard::holds(access.address) && arch::is_newest(entry) => {
                arch::on_own_stack(explain, &access)
            }
            _ => {}
        }
    }
    if next.is_none() {
        arch::leave_faults();
        if !is_fault {
            os::thread::raise(arch::SIGSEGV);
        }
    }
    next.unwrap_or(0)
}

extern "C" fn explain(access: &Access) {
    guard::explain(access.address, access.is_write, access.registers);
}

extern "C" fn tell_not_live(about: &(usize, Option<Access>)) {
    let (user, access) = about;
    guard::tell_not_live("free", *user, access.as_ref().map(|access| access.registers));
}

/// One of our fast paths touched what it can't. `is_last` where no handler of the program's could make it possible.
fn in_free(address: usize, argument: usize, access: Option<Access>, is_last: bool) {
    // A parked pointer's header lies 8 bytes before it. All else is the key's place, which the pointer just given leads to;
    // where no program can have that address, the kernel tells none.
    let behind = (address & !7) + 8;
    let user = if thread::has_parked(behind) { behind } else { argument };
    if guard::holds(user) && !guard::is_open_at(address) {
        arch::on_own_stack(tell_not_live, &(user, access));
        os::thread::die();
    }
    if is_last {
        if mapped::look_up(user) == mapped::Known::Freed {
            heap_free::report_unmapped("free", user);
        }
        die::unmapped("free", user);
    }
}
