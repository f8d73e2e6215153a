//! Who called, for a reader that wants it with each call: return addresses, and the files that they lie in, each told before the first
//! address of it. A reader that comes a moment later may find the process gone, and could ask the kernel for nothing any more.

use crate::probe::{Kind, Outcome};
use crate::report::unwind::{FRAMES, capture};
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::tell::put;
use heapglass_event::record::Record;
use heapglass_os::module::Module;

/// Modules that were told; of more than these, each is told again when it comes up.
const MODULES: usize = 64;
static TOLD: [AtomicUsize; MODULES] = [const { AtomicUsize::new(0) }; MODULES];
/// Bytes of a path that a record holds.
const PIECE: usize = 24;

/// Another reader knows of nothing yet.
pub fn after_fork() {
    TOLD.iter().for_each(|told| told.store(0, Relaxed));
}

/// Tells of the callers above the call that began just now.
#[cold]
pub fn tell() {
    let mut frames = [0; FRAMES];
    let count = capture(&mut frames).min(FRAMES);
    let mut last: Option<Module> = None;
    for &address in frames.iter().take(count) {
        if last.is_none_or(|module| !(module.start..module.end).contains(&address)) {
            last = Module::at(address);
            last.filter(is_new).inspect(tell_module);
        }
    }
    for (index, three) in frames.chunks(3).enumerate().take(count.div_ceil(3)) {
        let at = |place: usize| three.get(place).copied().unwrap_or(0);
        put(Record::new(Kind::Callers, Outcome::Done, index as u32 * 3, [at(0), at(1), at(2)]));
    }
}

/// By its place and its name's: another may be loaded where one was.
fn is_new(module: &Module) -> bool {
    let mark = (module.start ^ (module.path().as_ptr() as usize).rotate_left(17)) | 1;
    for told in &TOLD {
        match told.load(Relaxed) {
            known if known == mark => return false,
            0 if told.compare_exchange(0, mark, Relaxed, Relaxed).is_ok() => return true,
            _ => {}
        }
    }
    true
}

fn tell_module(module: &Module) {
    let path = module.path();
    let numbers = [module.start, module.end, module.base];
    put(Record::new(Kind::Module, Outcome::Done, path.len() as u32, numbers));
    for piece in path.chunks(PIECE) {
        let mut words = [0usize; 3];
        for (word, bytes) in words.iter_mut().zip(piece.chunks(8)) {
            *word = bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte));
        }
        put(Record::new(Kind::Path, Outcome::Done, 0, words));
    }
}
