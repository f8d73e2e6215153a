//! The hand that makes the calls which `explain` and `play` are asked for: this command again, as `heapglass __hand`, with the library
//! preloaded and the calls on its standard input. It works before `main`, in a constructor, so that the heap it works on is
//! fresh: nothing of the command's own has been allocated yet, and nothing here allocates.
//!
//! A line is a letter and numbers: `m SLOT SIZE`, `c SLOT COUNT SIZE`, `r SLOT FROM SIZE`, `a SLOT ALIGN SIZE`, `f SLOT`, `t PAD`.
//! Slots hold what was returned; slot 0 is null for ever. A number in front, from 2 on, is the thread that makes the call, which
//! begins with its first; `e` is the end of one. With another word behind `__hand`, each line is answered with a byte on standard
//! output once it is done.
//!
//! # Safety
//! The constructor runs before any other thread. One line is carried out at a time: who sends one to another thread waits until that has
//! answered, so no two touch the slots at once. Pointers are handed to the allocator as they were got, wrong ones too: what the
//! allocator does then is what is to be seen.

#![allow(unsafe_code)]

use nix::libc;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering::SeqCst};

pub const WORD: &CStr = c"__hand";
/// Slots that a script may use, the null one included.
pub const SLOTS: usize = 256;
/// Bytes of instructions that need no answer before the next.
pub const ROOM: usize = 64 << 10;
/// Threads, the first included.
pub const THREADS: usize = 9;
/// The longest line.
const LINE: usize = 128;

static HELD: [AtomicPtr<c_void>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];
/// Where each thread gets its lines from, by the end to write to; -1 while there is no thread.
static SENT: [AtomicI32; THREADS] = [const { AtomicI32::new(-1) }; THREADS];
static READ: [AtomicI32; THREADS] = [const { AtomicI32::new(-1) }; THREADS];
static MADE: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];
/// Where threads answer: the ends to read from and to write to.
static DONE: [AtomicI32; 2] = [const { AtomicI32::new(-1) }; 2];

/// To be called by the loader.
///
/// # Safety
/// The words are those that the loader hands to constructors.
pub unsafe extern "C" fn at_start(argc: c_int, argv: *const *const c_char) {
    // SAFETY: what the loader hands to constructors: the words that `main` will get.
    unsafe {
        if argc < 2 || CStr::from_ptr(*argv.add(1)) != WORD {
            return;
        }
        // It may well be stopped by the allocator; that is nothing to keep a core of.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        let answers = argc > 2;
        let mut text = [0u8; LINE];
        let mut filled = 0;
        while let Some(room) = text.get_mut(filled..).filter(|room| !room.is_empty()) {
            let count = libc::read(0, room.as_mut_ptr().cast(), room.len());
            match usize::try_from(count) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
            while let Some(end) = text.iter().take(filled).position(|&byte| byte == b'\n') {
                direct(text.get(..end).unwrap_or(&[]));
                if answers {
                    libc::write(1, [b'.'].as_ptr().cast(), 1);
                }
                text.copy_within(end + 1..filled, 0);
                filled -= end + 1;
            }
        }
        libc::_exit(0);
    }
}

/// A line's thread, and what is behind it.
fn whose(line: &[u8]) -> (usize, &[u8]) {
    match line.split_first() {
        Some((digit @ b'2'..=b'9', rest)) => (usize::from(digit - b'0'), rest.strip_prefix(b" ").unwrap_or(rest)),
        _ => (1, line),
    }
}

/// Carries a line out, in the thread that it is for.
///
/// # Safety
/// As the module's head says.
unsafe fn direct(line: &[u8]) {
    let (number, rest) = whose(line);
    // SAFETY: see the module's head.
    unsafe {
        let (Some(sent), Some(read)) = (SENT.get(number - 1), READ.get(number - 1)) else { return };
        if number == 1 {
            follow(rest);
            return;
        }
        if sent.load(SeqCst) < 0 && !begin(number - 1, sent, read) {
            return;
        }
        libc::write(sent.load(SeqCst), rest.as_ptr().cast(), rest.len());
        let mut answer = 0u8;
        libc::read(DONE[0].load(SeqCst), (&raw mut answer).cast(), 1);
        if rest.first() == Some(&b'e') {
            // Over only when its caches have gone home, by destructors.
            libc::pthread_join(MADE[number - 1].load(SeqCst) as libc::pthread_t, ptr::null_mut());
            libc::close(sent.swap(-1, SeqCst));
            libc::close(read.swap(-1, SeqCst));
        }
    }
}

/// # Safety
/// As the module's head says.
unsafe fn begin(index: usize, sent: &AtomicI32, read: &AtomicI32) -> bool {
    // SAFETY: pipes and a thread, made by the C library.
    unsafe {
        let mut ends = [0; 2];
        if DONE[0].load(SeqCst) < 0 {
            if libc::pipe(ends.as_mut_ptr()) != 0 {
                return false;
            }
            DONE[0].store(ends[0], SeqCst);
            DONE[1].store(ends[1], SeqCst);
        }
        if libc::pipe(ends.as_mut_ptr()) != 0 {
            return false;
        }
        read.store(ends[0], SeqCst);
        sent.store(ends[1], SeqCst);
        let mut thread: libc::pthread_t = 0;
        let began = libc::pthread_create(&mut thread, ptr::null(), work, ptr::without_provenance_mut(index)) == 0;
        MADE[index].store(thread as usize, SeqCst);
        began
    }
}

extern "C" fn work(index: *mut c_void) -> *mut c_void {
    let Some(lines) = READ.get(index.addr()) else { return ptr::null_mut() };
    let mut text = [0u8; LINE];
    loop {
        // SAFETY: room of its own; one line comes at a time.
        let count = unsafe { libc::read(lines.load(SeqCst), text.as_mut_ptr().cast(), text.len()) };
        let line = usize::try_from(count).ok().and_then(|count| text.get(..count)).unwrap_or(&[]);
        let ends = line.is_empty() || line.first() == Some(&b'e');
        if !ends {
            // SAFETY: whoever sent the line waits for the answer.
            unsafe { follow(line) };
        }
        // SAFETY: a byte.
        unsafe { libc::write(DONE[1].load(SeqCst), [b'.'].as_ptr().cast(), 1) };
        if ends {
            return ptr::null_mut();
        }
    }
}

/// Makes the call of a line.
///
/// # Safety
/// As the module's head says.
unsafe fn follow(line: &[u8]) {
    let mut words = line.split(|&byte| byte == b' ');
    let Some(&[letter]) = words.next() else { return };
    let mut numbers = [0usize; 3];
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word
            .iter()
            .fold(0usize, |sum, byte| sum.wrapping_mul(10).wrapping_add(usize::from(byte.wrapping_sub(b'0'))));
    }
    let [slot, a, b] = numbers;
    let at = |slot: usize| HELD.get(slot).map_or(ptr::null_mut(), |held| held.load(SeqCst));
    // SAFETY: see the module's head.
    let made = unsafe {
        match letter {
            b'm' => libc::malloc(a),
            b'c' => libc::calloc(a, b),
            b'r' => libc::realloc(black_box(at(a)), b),
            b'a' => libc::memalign(a, b),
            b'f' => {
                libc::free(black_box(at(slot)));
                return;
            }
            b't' => {
                libc::malloc_trim(slot);
                return;
            }
            _ => return,
        }
    };
    if let Some(cell) = HELD.get(slot).filter(|_| slot > 0) {
        cell.store(black_box(made), SeqCst);
    }
}
