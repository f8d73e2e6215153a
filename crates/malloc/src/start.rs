//! What the library does at the program's start and end: gets the heap ready, keeps children from inheriting the preload
//! where `heapglass run` asked for that, and puts away what is parked at the end.

use core::sync::atomic::Ordering::Relaxed;
use heapglass_heap::policy::POLICY;
use heapglass_heap::thread;
use heapglass_os::env;

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_start() {
    thread::ensure_set_up();
    // Opened later, beside the malloc that the program runs on, we keep away from the break, which is that one's.
    let is_the_malloc = crate::arch::is_the_malloc();
    POLICY.owns_break.store(is_the_malloc, Relaxed);
    POLICY.uses_break.store(is_the_malloc, Relaxed);
    thread::on_faults(crate::fault::take);
    if env::auxv(env::AT_SECURE) == 0 {
        disinherit();
    }
}

extern "C" fn at_end() {
    thread::at_process_end();
}

/// `HEAPGLASS_PRELOADED` names the entry of `LD_PRELOAD` that brought us here and that children shall not inherit. It goes,
/// with the entry and with the last items of `HEAPGLASS`, which were meant for this process alone.
fn disinherit() {
    let Some(entry) = env::get("HEAPGLASS_PRELOADED") else { return };
    edit("LD_PRELOAD", |value| cut(value, b": ", |item| item == entry.to_bytes(), false));
    let cut_last = |value: &mut [u8], key: &[u8]| cut(value, b",", |item| item.starts_with(key), true);
    edit("HEAPGLASS", |value| cut_last(value, b"stats:"));
    // A program may be asked for its calls and for a profile.
    for _ in 0..2 {
        edit("HEAPGLASS", |value| cut_last(value, b"events:"));
    }
    edit("HEAPGLASS", |value| {
        let left = cut_last(value, b"report:");
        // The command that asks for a report asks for this, too.
        if left < value.len() { cut_last(value.get_mut(..left).unwrap_or(&mut []), b"park:") } else { left }
    });
    edit("HEAPGLASS_PRELOADED", |_| 0);
}

/// Lets `change` shorten a variable's value in place; it returns the new length. An empty variable leaves the environment.
fn edit(name: &str, change: impl Fn(&mut [u8]) -> usize) {
    // SAFETY: a constructor, before `main`: nobody else reads or changes the environment. Its strings are writable, and
    // each is followed by a NUL; a shorter value gets a new one.
    unsafe {
        let mut at = env::table();
        while !at.is_null() && !(*at).is_null() {
            let text = (*at).cast::<u8>();
            let length = core::ffi::CStr::from_ptr(*at).count_bytes();
            let entry = core::slice::from_raw_parts_mut(text, length);
            let start = name.len() + 1;
            let is_it = entry.starts_with(name.as_bytes()) && entry.get(name.len()) == Some(&b'=');
            let Some(value) = entry.get_mut(start..).filter(|_| is_it) else {
                at = at.add(1);
                continue;
            };
            let left = change(value);
            if left > 0 {
                *text.add(start + left) = 0;
                return;
            }
            while !(*at).is_null() {
                *at = *at.add(1);
                at = at.add(1);
            }
            return;
        }
    }
}

/// Removes the first item (`last`: only the last) that `is_it`, with one separator; returns the new length.
fn cut(value: &mut [u8], separators: &[u8], is_it: impl Fn(&[u8]) -> bool, last: bool) -> usize {
    let length = value.len();
    let mut start = 0;
    while start <= length {
        let item = value.get(start..).unwrap_or(b"");
        let end = start + item.iter().position(|byte| separators.contains(byte)).unwrap_or(item.len());
        let found = is_it(value.get(start..end).unwrap_or(b"")) && (!last || end == length);
        if found {
            // The separator behind the item goes with it, or the one before where it is the last.
            let (from, to) = if end < length { (end + 1, start) } else { (end, start.saturating_sub(1)) };
            let mut left = to;
            for index in from..length {
                if let Some(&byte) = value.get(index)
                    && let Some(cell) = value.get_mut(left)
                {
                    *cell = byte;
                    left += 1;
                }
            }
            return left;
        }
        start = end + 1;
    }
    length
}
