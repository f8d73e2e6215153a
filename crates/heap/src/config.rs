//! The settings' way in: `HEAPGLASS=key:value,...`, and glibc's variables of the same meaning. Read once, before the first
//! chunk, in place and without allocating; ignored where the process runs with privileges its user doesn't have.

use crate::chunk::SECRET;
use crate::kernel;
use crate::line::Line;
use crate::policy::{POLICY, Thp};
use crate::report;
use crate::secure;
use crate::sync::atomic::Ordering::Relaxed;
use crate::tell::{self, Begun};
use heapglass_event::{COUNTERS_BYTES, Counters, MAGIC, VERSION};
use heapglass_os as os;

/// Draws the process's secret: from the kernel's gift to every process, else from what little differs between two.
pub fn draw_secret() {
    let (a, b) = match (os::env::random_bits(0), os::env::random_bits(1)) {
        (Some(a), Some(b)) => (a, b),
        _ => (os::clock_nanos(), &raw const SECRET as u64 ^ u64::from(os::process_id())),
    };
    // The C library makes its stack guard of the first half; mixing keeps either from telling the other.
    let mixed = (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SECRET.store((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1, Relaxed);
    secure::keys::draw(a, b);
}

/// Reads all variables. glibc's come first, so that ours win.
pub fn read_environment() {
    if os::env::auxv(os::env::AT_SECURE) != 0 {
        return;
    }
    for (variable, key) in [
        ("MALLOC_ARENA_MAX", "arena_max"),
        ("MALLOC_MMAP_THRESHOLD_", "mmap_threshold"),
        ("MALLOC_MMAP_MAX_", "mmap_max"),
        ("MALLOC_TRIM_THRESHOLD_", "trim_threshold"),
        ("MALLOC_TOP_PAD_", "top_pad"),
        ("MALLOC_PERTURB_", "perturb"),
    ] {
        if let Some(value) = os::env::get(variable) {
            // glibc is silent about values that it can't read.
            let _ = set(key.as_bytes(), value.to_bytes());
        }
    }
    if let Some(tunables) = os::env::get("GLIBC_TUNABLES") {
        read_tunables(tunables.to_bytes());
    }
    if let Some(ours) = os::env::get("HEAPGLASS") {
        read_ours(ours.to_bytes());
    }
}

/// What the C library's tunables say of malloc.
pub fn read_tunables(tunables: &[u8]) {
    for entry in tunables.split(|&byte| byte == b':') {
        let Some(entry) = entry.strip_prefix(b"glibc.malloc.") else { continue };
        let (key, value) = split(entry, b'=');
        let _ = match key {
            b"tcache_count" if number(value) == Some(0) => set(b"tcache", b"0"),
            b"arena_max" | b"mmap_threshold" | b"mmap_max" | b"trim_threshold" | b"top_pad" | b"perturb" => {
                set(key, value)
            }
            _ => Ok(()),
        };
    }
}

/// The value of `HEAPGLASS`. What is wrong with it is said on standard error.
pub fn read_ours(value: &[u8]) {
    for entry in value.split(|&byte| byte == b',').filter(|entry| !entry.is_empty()) {
        let (key, value) = split(entry, b':');
        match set(key, value) {
            Ok(()) => {}
            Err(Wrong::Key) => Line::new().text("unknown key '").raw(key).text("' in HEAPGLASS, ignored").warn(),
            Err(Wrong::Value) => Line::new()
                .text("bad value '")
                .raw(value)
                .text("' for '")
                .raw(key)
                .text("' in HEAPGLASS, the default is used")
                .warn(),
        }
    }
}

enum Wrong {
    Key,
    Value,
}

fn split(entry: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut parts = entry.splitn(2, |&byte| byte == at);
    (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""))
}

fn set(key: &[u8], value: &[u8]) -> Result<(), Wrong> {
    match key {
        b"tcache" => POLICY.classic.store(!switch(value)?, Relaxed),
        b"park" => POLICY.park.store(switch(value)?, Relaxed),
        b"stats" => return count_into_file(value),
        b"events" => return tell_into_file(value),
        b"arena_max" => POLICY.set_arena_max(bytes(value)?),
        b"mmap_threshold" => return POLICY.set_mmap_threshold(bytes(value)?).then_some(()).ok_or(Wrong::Value),
        b"mmap_max" => POLICY.set_mmap_max(bytes(value)?),
        b"trim_threshold" => POLICY.set_trim_threshold(bytes(value)?),
        b"top_pad" => POLICY.set_top_pad(bytes(value)?),
        b"perturb" => POLICY.set_perturb(bytes(value)?),
        b"decay" => POLICY.set_decay(milliseconds(value)?),
        b"populate" => POLICY.populate.store(switch(value)?, Relaxed),
        b"thp" => POLICY.set_thp(thp(value)?),
        b"report" => return report::set_file(value).then_some(()).ok_or(Wrong::Value),
        b"guard" => POLICY.set_guard(bytes(value)?),
        b"guard_slots" => POLICY.guard_slots.store(bytes(value)?, Relaxed),
        b"guard_seed" => POLICY.set_guard_seed(bytes(value)?),
        b"secure" => secure::set(secure::ALL, value.is_empty() || switch(value)?),
        b"quarantine" => secure::set_quarantine(bytes(value)?),
        b"quarantine_chunks" => {
            return secure::quarantine::set_chunks(bytes(value)?).then_some(()).ok_or(Wrong::Value);
        }
        b"canary" => secure::set(secure::CANARY, switch(value)?),
        b"clear" => secure::set(secure::CLEAR, switch(value)?),
        b"shuffle" => secure::set(secure::SHUFFLE, switch(value)?),
        b"mapping_guards" => secure::set(secure::GUARDS, switch(value)?),
        b"keyed_links" => secure::set(secure::LINKS, switch(value)?),
        b"zero" => secure::set(secure::ZERO, switch(value)?),
        _ => return Err(Wrong::Key),
    }
    Ok(())
}

fn switch(value: &[u8]) -> Result<bool, Wrong> {
    match value {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(Wrong::Value),
    }
}

/// `None` is for ever.
fn milliseconds(value: &[u8]) -> Result<Option<usize>, Wrong> {
    if value == b"-1" { Ok(None) } else { bytes(value).map(Some) }
}

fn thp(value: &[u8]) -> Result<Thp, Wrong> {
    let known = [(&b"never"[..], Thp::Never), (b"madvise", Thp::Madvise), (b"always", Thp::Always)];
    known.iter().find(|(name, _)| *name == value).map(|&(_, thp)| thp).ok_or(Wrong::Value)
}

fn bytes(value: &[u8]) -> Result<usize, Wrong> {
    number(value).ok_or(Wrong::Value)
}

/// A number, decimal or 0x..., perhaps with K, M or G behind it.
fn number(value: &[u8]) -> Option<usize> {
    let (value, unit) = match value {
        [rest @ .., b'k' | b'K'] => (rest, 1 << 10),
        [rest @ .., b'm' | b'M'] => (rest, 1 << 20),
        [rest @ .., b'g' | b'G'] => (rest, 1 << 30),
        all => (all, 1),
    };
    let (digits, base) = match value.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0usize, |sum, &byte| {
        let digit = (byte as char).to_digit(base)?;
        sum.checked_mul(base as usize)?.checked_add(digit as usize)
    })?;
    value.checked_mul(unit)
}

/// A path, with a NUL behind it.
fn terminated(path: &[u8]) -> Option<[u8; 256]> {
    let mut name = [0u8; 256];
    let room = name.get_mut(..path.len()).filter(|_| !path.is_empty() && path.len() < 255)?;
    room.iter_mut().zip(path).for_each(|(to, &from)| *to = from);
    Some(name)
}

/// `events:FILE`: tells each step of each call by a file that a reader made.
pub fn tell_into(path: &[u8]) -> Begun {
    match terminated(path) {
        // SAFETY: the name is shorter than its buffer, so a NUL follows.
        Some(name) => unsafe { tell::begin_telling(name.as_ptr()) },
        None => Begun::No,
    }
}

fn tell_into_file(path: &[u8]) -> Result<(), Wrong> {
    if tell_into(path) == Begun::Yes { Ok(()) } else { Err(Wrong::Value) }
}

/// `stats:FILE`: counts into the first page of a file, where another process reads it. The first process to take the page
/// owns it; a program that replaced itself takes it anew.
fn count_into_file(path: &[u8]) -> Result<(), Wrong> {
    let name = terminated(path).ok_or(Wrong::Value)?;
    // SAFETY: the name is shorter than its buffer, so a NUL follows.
    let file = unsafe { os::open(name.as_ptr()) }.map_err(|_| Wrong::Value)?;
    // Touching a mapping behind its file's end would be the program's end.
    let is_long = os::file_bytes(file).is_ok_and(|bytes| bytes >= COUNTERS_BYTES);
    let mapped = if is_long { os::map_file(file, COUNTERS_BYTES).ok() } else { None };
    os::close(file);
    let page = mapped.ok_or(Wrong::Value)? as *mut Counters;
    let me = os::process_id();
    // SAFETY: a shared mapping as long as the record, kept for ever; its fields are atomics.
    unsafe {
        // What isn't a page of counters, new or taken, is somebody's file.
        if ![0, MAGIC].contains(&(*page).magic.load(Relaxed)) {
            let _ = os::unmap(page as usize, COUNTERS_BYTES);
            return Err(Wrong::Value);
        }
        let free = (*page).pid.compare_exchange(0, me, Relaxed, Relaxed);
        if free.is_err_and(|taken| taken != me) {
            return Ok(());
        }
        if free.is_err() {
            // The same process, in a program that replaced itself: it starts from nothing.
            core::ptr::write_bytes(page.cast::<u8>(), 0, COUNTERS_BYTES);
            (*page).pid.store(me, Relaxed);
        }
        (*page).version.store(VERSION, Relaxed);
        kernel::count_into(page);
        (*page).magic.store(MAGIC, Relaxed);
    }
    POLICY.observed.store(true, Relaxed);
    Ok(())
}
