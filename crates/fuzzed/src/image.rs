//! A core file of a heap with damage in it, for who reads heaps from outside. The image is made once, of a small heap in a forked
//! child; the bytes then say which of its words are changed, and to what.
//!
//! ```text
//!  | ELF header | segments' headers | root, arenas, records, heaps, as they lay in the child |
//! ```

use crate::bytes::Bytes;
use crate::child::{self, Ended};
use heapglass_event::root::{ROOT_MAGIC, Root};
use heapglass_heap::policy::POLICY;
use heapglass_heap::{free, malloc, root, thread};
use heapglass_inspect::Range;
use heapglass_inspect::maps::{self, Mapping};
use std::fs::File;
use std::io::Read;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

/// Inputs that are for this begin with it; the rest is read as a file of whatever kind.
const MARK: &[u8] = b"damaged heap";
/// Words that one input changes at most.
const CHANGES: usize = 40;
const PAGE: usize = 4096;
const ELF_HEADER: usize = 64;
const SEGMENT_HEADER: usize = 56;

struct Image {
    bytes: Vec<u8>,
    /// Where in it the words lie that say something: of the root, and all in heaps and records that aren't zero.
    root: Vec<usize>,
    others: Vec<usize>,
}

/// `false` where the bytes are for something else.
pub fn damaged(bytes: &[u8]) -> bool {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let Some(rest) = bytes.strip_prefix(MARK) else { return false };
    let image = IMAGE.get_or_init(Image::make);
    let mut bytes = Bytes::new(rest);
    let mut damaged = image.bytes.clone();
    for _ in 0..CHANGES {
        if bytes.is_over() {
            break;
        }
        let words = if bytes.byte().is_multiple_of(4) { &image.root } else { &image.others };
        let place = words[bytes.long() % words.len()];
        let word = word(&damaged, place);
        let other = image.others[bytes.long() % image.others.len()];
        let value = match bytes.byte() % 7 {
            0 => word ^ 1 << bytes.below(64),
            1 => u64::from(bytes.byte()),
            2 => word.wrapping_add(u64::from(bytes.byte()) * 8),
            3 => word.wrapping_sub(u64::from(bytes.byte()) * 8),
            4 => u64::MAX - u64::from(bytes.byte()),
            5 => u64::from(bytes.word()) << bytes.below(32),
            _ => self::word(&image.bytes, other),
        };
        damaged[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    let _ = heapglass_cli::readers::look_at_core(&damaged);
    true
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Image {
    fn make() -> Image {
        // SAFETY: a new descriptor, which is then ours.
        let mut file = unsafe {
            let memory = libc::memfd_create(c"heapglass-image".as_ptr(), libc::MFD_CLOEXEC);
            assert!(memory >= 0, "no memory for an image");
            File::from_raw_fd(memory)
        };
        let ended = child::run(|| {
            let before = writable();
            busy();
            file.write_all(&core(&before)).expect("there is room for the image");
        });
        assert!(matches!(ended, Ended::Well), "{ended:?}");
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).expect("what was written can be read");
        assert!(heapglass_cli::readers::look_at_core(&bytes), "the image has no heap in it");
        let magic = ROOT_MAGIC.map(|word| word as u64);
        let is_root = |at: &usize| word(&bytes, *at) == magic[0] && word(&bytes, at + 8) == magic[1];
        let root = (0..bytes.len() - 16).step_by(8).find(is_root).expect("the root is in it");
        let root: Vec<usize> = (root..root + size_of::<Root>()).step_by(8).collect();
        // The program's own data, where the root lies, has much that is none of the heap's.
        let data = word(&bytes, ELF_HEADER + 32) as usize + word(&bytes, ELF_HEADER + 8) as usize;
        let all = (data.next_multiple_of(8)..bytes.len() - 8).step_by(8);
        let others = all.filter(|at| word(&bytes, *at) != 0).collect();
        Image { bytes, root, others }
    }
}

/// A heap with chunks in all states, and a mapping.
fn busy() {
    thread::ensure_set_up();
    // The break is shared with the C library, whose memory is none of this.
    POLICY.uses_break.store(false, Relaxed);
    let mut users = Vec::new();
    for round in 0..300 {
        users.push(malloc::malloc(1 + round * 37 % 1500));
    }
    for (index, user) in users.iter().enumerate() {
        if index % 3 != 0 {
            // SAFETY: live, and given up.
            unsafe { free::free(*user) };
        }
    }
    assert!(!malloc::malloc(140_000).is_null() && !malloc::malloc(20_000).is_null());
}

/// What is mapped to be written to, and is no file's but this program's own.
fn writable() -> Vec<Mapping> {
    let text = std::fs::read_to_string("/proc/self/maps").expect("the kernel tells what is mapped");
    maps::parse(&text).into_iter().filter(|mapping| mapping.readable && mapping.writable).collect()
}

/// This process, as far as it is the heap's: the program's own data, the root in it, and then what wasn't there before.
fn core(before: &[Mapping]) -> Vec<u8> {
    let now = writable();
    let root = std::ptr::from_ref(&root::ROOT) as u64;
    let first = now.iter().position(|mapping| mapping.range.holds(root)).expect("the root is mapped");
    // What is zero at first has no file, and lies right behind.
    let near = now[first..].windows(2).take_while(|pair| pair[0].range.end == pair[1].range.start).count();
    let own = first..=first + near;
    let is_new = |mapping: &Mapping| !before.iter().any(|old| old.range.meets(mapping.range).bytes() > 0);
    let new = now.iter().enumerate().filter(|(index, mapping)| !own.contains(index) && is_new(mapping));
    let pieces: Vec<Range> = now[own.clone()].iter().chain(new.map(|(_, mapping)| mapping)).map(|m| m.range).collect();
    let memory = File::open("/proc/self/mem").expect("a process may read itself");
    let mut bytes = vec![0; ELF_HEADER + pieces.len() * SEGMENT_HEADER];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    put(&mut bytes, 16, 4 | 62 << 16 | 1 << 32);
    put(&mut bytes, 32, ELF_HEADER as u64);
    put(&mut bytes, 52, ELF_HEADER as u64 | (SEGMENT_HEADER as u64) << 16 | (pieces.len() as u64) << 32);
    for (index, Range { start, end }) in pieces.into_iter().enumerate() {
        let (header, length) = (ELF_HEADER + index * SEGMENT_HEADER, end - start);
        put(&mut bytes, header, 1 | 6 << 32);
        let offset = bytes.len() as u64;
        for (place, word) in [(8, offset), (16, start), (32, length), (40, length), (48, 8)] {
            put(&mut bytes, header + place, word);
        }
        bytes.resize(bytes.len() + length as usize, 0);
        // A page at a time: around a guarded sample lie some that can't be read, which the kernel leaves out of a core, too.
        let copy = bytes[offset as usize..].chunks_mut(PAGE);
        for (page, at) in copy.zip((start..end).step_by(PAGE)) {
            let _ = memory.read_exact_at(page, at);
        }
    }
    bytes
}

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}
