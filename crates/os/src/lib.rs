//! The allocator's only way to the kernel: pages, the break, the futex, one write and the auxiliary vector.
//!
//! One function per system call, each returning what it did. Calls go straight to the kernel, so that `errno` is never
//! touched; the break alone goes through the C library, which keeps its own copy of it (see `brk`).
//!
//! # Safety
//! The functions that change mappings are unsafe: the caller owns the range it names. Numbers and constants come from
//! `linux-raw-sys`; the machine-dependent instruction is in `arch`.
#![no_std]
#![warn(missing_docs)]

mod arch;
pub mod brk;
pub mod env;
pub mod module;
#[cfg(feature = "refusals")]
pub mod refuse;
pub mod thread;

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use linux_raw_sys::general as k;

/// A refusal by the kernel: the error number, positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// `ENOMEM`, for callers that refuse by themselves.
pub const ENOMEM: i32 = linux_raw_sys::errno::ENOMEM as i32;
/// `EINTR`.
const EINTR: i32 = linux_raw_sys::errno::EINTR as i32;
/// `EINVAL`.
pub const EINVAL: i32 = linux_raw_sys::errno::EINVAL as i32;

type Result<T> = core::result::Result<T, Errno>;

#[inline]
fn call(number: u32, args: [usize; 6]) -> Result<usize> {
    #[cfg(feature = "refusals")]
    if refuse::refuses(number) {
        return Err(Errno(ENOMEM));
    }
    // SAFETY: the numbers and arguments are those of the typed functions below, whose own contracts cover the effects.
    let value = unsafe { arch::syscall(number as usize, args) };
    if value > -4096isize as usize { Err(Errno(-(value as isize) as i32)) } else { Ok(value) }
}

/// The page size in bytes, read from the auxiliary vector once.
#[inline]
pub fn page_size() -> usize {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    match PAGE.load(Relaxed) {
        0 => {
            let size = env::auxv(env::AT_PAGESZ);
            let size = if size.is_power_of_two() { size } else { 4096 };
            PAGE.store(size, Relaxed);
            size
        }
        size => size,
    }
}

/// `bytes` rounded up to whole pages; `None` past the end of the address space.
#[inline]
pub fn pages_up(bytes: usize) -> Option<usize> {
    let page = page_size();
    Some(bytes.checked_add(page - 1)? & !(page - 1))
}

/// `mmap(hint, bytes, RW or NONE, PRIVATE|ANONYMOUS)`: fresh zeroed pages, wherever the kernel puts them. A hint of 0 is none.
pub fn map(hint: usize, bytes: usize, access: Access) -> Result<usize> {
    let flags = k::MAP_PRIVATE | k::MAP_ANONYMOUS | if access == Access::None { k::MAP_NORESERVE } else { 0 };
    call(k::__NR_mmap, [hint, bytes, access.bits(), flags as usize, usize::MAX, 0])
}

/// What a mapping may be used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Address space only.
    None,
    /// Reading and writing.
    ReadWrite,
}

impl Access {
    fn bits(self) -> usize {
        match self {
            Access::None => 0,
            Access::ReadWrite => (k::PROT_READ | k::PROT_WRITE) as usize,
        }
    }
}

/// `mmap(NULL, bytes, RW, SHARED, fd)`: a file's first bytes as shared memory.
pub fn map_file(fd: i32, bytes: usize) -> Result<usize> {
    call(k::__NR_mmap, [0, bytes, Access::ReadWrite.bits(), k::MAP_SHARED as usize, fd as usize, 0])
}

/// As `map_file`, at this address if nothing is there; else wherever the kernel puts it.
pub fn map_file_near(fd: i32, bytes: usize, place: usize) -> Result<usize> {
    let flags = (k::MAP_SHARED | k::MAP_FIXED_NOREPLACE) as usize;
    call(k::__NR_mmap, [place, bytes, Access::ReadWrite.bits(), flags, fd as usize, 0]).or_else(|_| map_file(fd, bytes))
}

/// `memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)` and `ftruncate`: memory that others can map, too, and whose length they can
/// make sure of.
pub fn memory_file(name: &core::ffi::CStr, bytes: usize) -> Result<i32> {
    let flags = (k::MFD_CLOEXEC | k::MFD_ALLOW_SEALING) as usize;
    let fd = call(k::__NR_memfd_create, [name.as_ptr() as usize, flags, 0, 0, 0, 0])?;
    match call(k::__NR_ftruncate, [fd, bytes, 0, 0, 0, 0]) {
        Ok(_) => Ok(fd as i32),
        Err(e) => {
            close(fd as i32);
            Err(e)
        }
    }
}

/// `munmap`. Fails with ENOMEM where a mapping would be split past the process's limit of mappings.
///
/// # Safety
/// Nothing may use the range afterwards.
pub unsafe fn unmap(address: usize, bytes: usize) -> Result<()> {
    call(k::__NR_munmap, [address, bytes, 0, 0, 0, 0]).map(drop)
}

/// `mremap`, in place or wherever it fits; returns the new address.
///
/// # Safety
/// The range is a whole mapping of the caller's; where it moves, nothing may use the old address.
pub unsafe fn remap(address: usize, old_bytes: usize, new_bytes: usize) -> Result<usize> {
    let flags = k::MREMAP_MAYMOVE as usize;
    call(k::__NR_mremap, [address, old_bytes, new_bytes, flags, 0, 0])
}

/// `mremap` to a place that the caller has reserved.
///
/// # Safety
/// As `remap`; what is mapped at the new place is the caller's too, and goes.
pub unsafe fn remap_to(address: usize, old_bytes: usize, new_bytes: usize, place: usize) -> Result<()> {
    let flags = (k::MREMAP_MAYMOVE | k::MREMAP_FIXED) as usize;
    call(k::__NR_mremap, [address, old_bytes, new_bytes, flags, place, 0]).map(drop)
}

/// `mmap(address, bytes, NONE, FIXED)`: address space only, at this very place; with `replaces` instead of what was there,
/// else only where nothing is.
///
/// # Safety
/// What is replaced is the caller's.
pub unsafe fn reserve_at(address: usize, bytes: usize, replaces: bool) -> Result<()> {
    let fixed = if replaces { k::MAP_FIXED } else { k::MAP_FIXED_NOREPLACE };
    let flags = k::MAP_PRIVATE | k::MAP_ANONYMOUS | k::MAP_NORESERVE | fixed;
    let got = call(k::__NR_mmap, [address, bytes, Access::None.bits(), flags as usize, usize::MAX, 0])?;
    if got == address {
        return Ok(());
    }
    // A kernel that doesn't know the second flag takes the address as a hint.
    let _ = call(k::__NR_munmap, [got, bytes, 0, 0, 0, 0]);
    Err(Errno(ENOMEM))
}

/// `madvise(MADV_GUARD_INSTALL)`: the pages go, and touching them faults from now on. Kernels before 6.13 refuse, and so do
/// all for locked memory.
///
/// # Safety
/// Nothing may use the range afterwards.
pub unsafe fn guard(address: usize, bytes: usize) -> Result<()> {
    call(k::__NR_madvise, [address, bytes, k::MADV_GUARD_INSTALL as usize, 0, 0, 0]).map(drop)
}

/// `mprotect`.
///
/// # Safety
/// The range is the caller's, and with `Access::None` nothing may use it afterwards.
pub unsafe fn protect(address: usize, bytes: usize, access: Access) -> Result<()> {
    call(k::__NR_mprotect, [address, bytes, access.bits(), 0, 0, 0]).map(drop)
}

/// `madvise(MADV_DONTNEED)`: the pages go back to the kernel at once and read as zero afterwards.
///
/// # Safety
/// The range is the caller's, and its contents are nobody's.
pub unsafe fn discard(address: usize, bytes: usize) -> Result<()> {
    call(k::__NR_madvise, [address, bytes, k::MADV_DONTNEED as usize, 0, 0, 0]).map(drop)
}

/// `madvise(MADV_POPULATE_WRITE)`: the pages are there as if each had been written to, unchanged. Kernels before 5.14 refuse.
pub fn populate(address: usize, bytes: usize) -> Result<()> {
    call(k::__NR_madvise, [address, bytes, k::MADV_POPULATE_WRITE as usize, 0, 0, 0]).map(drop)
}

/// `madvise(MADV_HUGEPAGE)` or `MADV_NOHUGEPAGE`: a wish, which kernels without huge pages refuse.
pub fn huge_pages(address: usize, bytes: usize, wanted: bool) -> Result<()> {
    let advice = if wanted { k::MADV_HUGEPAGE } else { k::MADV_NOHUGEPAGE };
    call(k::__NR_madvise, [address, bytes, advice as usize, 0, 0, 0]).map(drop)
}

/// `madvise(MADV_GUARD_REMOVE)`: guarded pages may be touched again, and read as zero.
pub fn unguard(address: usize, bytes: usize) -> Result<()> {
    call(k::__NR_madvise, [address, bytes, k::MADV_GUARD_REMOVE as usize, 0, 0, 0]).map(drop)
}

/// May the word at this address, a multiple of 8, be read? `rt_sigprocmask` reads its set before it refuses to know what to do
/// with it, and no filter of system calls forbids it.
pub fn is_readable(address: usize) -> bool {
    let nothing_known = usize::MAX;
    let answer = call(k::__NR_rt_sigprocmask, [nothing_known, address, 0, size_of::<u64>(), 0, 0]);
    answer != Err(Errno(linux_raw_sys::errno::EFAULT as i32))
}

/// `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME)`: what `/proc/PID/maps` calls the range. Older kernels refuse; that's no loss.
pub fn name(address: usize, bytes: usize, text: &core::ffi::CStr) {
    use linux_raw_sys::prctl::{PR_SET_VMA, PR_SET_VMA_ANON_NAME};
    let words = [PR_SET_VMA as usize, PR_SET_VMA_ANON_NAME as usize, address, bytes, text.as_ptr() as usize, 0];
    let _ = call(k::__NR_prctl, words);
}

/// Sleeps while `*word == expected`, for so many nanoseconds at most (and less than a second); returns early now and then, so
/// callers look again.
pub fn futex_wait_for(word: &AtomicU32, expected: u32, nanos: u32) {
    let op = (k::FUTEX_WAIT | k::FUTEX_PRIVATE_FLAG) as usize;
    let time = [0u64, u64::from(nanos.min(999_999_999))];
    let _ = call(k::__NR_futex, [word.as_ptr() as usize, op, expected as usize, time.as_ptr() as usize, 0, 0]);
}

/// As `futex_wait_for`, on a word that processes share.
pub fn futex_wait_shared(word: &AtomicU32, expected: u32, nanos: u32) {
    let time = [0u64, u64::from(nanos.min(999_999_999))];
    let words = [word.as_ptr() as usize, k::FUTEX_WAIT as usize, expected as usize, time.as_ptr() as usize, 0, 0];
    let _ = call(k::__NR_futex, words);
}

/// Wakes one sleeper on `word`.
pub fn futex_wake_one(word: &AtomicU32) {
    let op = (k::FUTEX_WAKE | k::FUTEX_PRIVATE_FLAG) as usize;
    let _ = call(k::__NR_futex, [word.as_ptr() as usize, op, 1, 0, 0, 0]);
}

/// As `futex_wake_one`, for who sleeps by `futex_wait_shared`.
pub fn futex_wake_shared(word: &AtomicU32) {
    let _ = call(k::__NR_futex, [word.as_ptr() as usize, k::FUTEX_WAKE as usize, 1, 0, 0, 0]);
}

/// `sched_yield`.
pub(crate) fn yield_now() {
    let _ = call(k::__NR_sched_yield, [0; 6]);
}

/// One `write(2)` to standard error.
pub fn write_error(text: &[u8]) {
    let _ = call(k::__NR_write, [2, text.as_ptr() as usize, text.len(), 0, 0, 0]);
}

/// `open(path, O_RDWR|O_CLOEXEC)`.
///
/// # Safety
/// `path` points to a NUL-terminated string.
pub unsafe fn open(path: *const u8) -> Result<i32> {
    let flags = (k::O_RDWR | k::O_CLOEXEC) as usize;
    let at_cwd = k::AT_FDCWD as isize as usize;
    call(k::__NR_openat, [at_cwd, path as usize, flags, 0, 0, 0]).map(|fd| fd as i32)
}

/// `open(path, O_RDONLY|O_CLOEXEC)`.
///
/// # Safety
/// As `open`.
pub unsafe fn open_to_read(path: *const u8) -> Result<i32> {
    let flags = (k::O_RDONLY | k::O_CLOEXEC) as usize;
    let at_cwd = k::AT_FDCWD as isize as usize;
    call(k::__NR_openat, [at_cwd, path as usize, flags, 0, 0, 0]).map(|fd| fd as i32)
}

/// `read`; 0 at the end.
pub fn read(fd: i32, room: &mut [u8]) -> Result<usize> {
    call(k::__NR_read, [fd as usize, room.as_mut_ptr() as usize, room.len(), 0, 0, 0])
}

/// `open(path, O_WRONLY|O_CREAT|O_TRUNC|O_NOFOLLOW|O_CLOEXEC, 0600)`: a file that is its owner's alone, where it is new.
///
/// # Safety
/// As `open`.
pub unsafe fn create(path: *const u8) -> Result<i32> {
    let flags = (k::O_WRONLY | k::O_CREAT | k::O_TRUNC | k::O_NOFOLLOW | k::O_CLOEXEC) as usize;
    let at_cwd = k::AT_FDCWD as isize as usize;
    call(k::__NR_openat, [at_cwd, path as usize, flags, 0o600, 0, 0]).map(|fd| fd as i32)
}

/// `write` until all is written, or the kernel refuses.
pub fn write_all(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match call(k::__NR_write, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) {
            Err(Errno(EINTR)) => {}
            Ok(count) if count > 0 => bytes = bytes.get(count..).unwrap_or(b""),
            _ => return,
        }
    }
}

/// `lseek(fd, 0, SEEK_END)`: how long a file is.
pub fn file_bytes(fd: i32) -> Result<usize> {
    call(k::__NR_lseek, [fd as usize, 0, k::SEEK_END as usize, 0, 0, 0])
}

/// `close`.
pub fn close(fd: i32) {
    let _ = call(k::__NR_close, [fd as usize, 0, 0, 0, 0, 0]);
}

/// The process id.
pub fn process_id() -> u32 {
    call(k::__NR_getpid, [0; 6]).map_or(0, |id| id as u32)
}

/// The kernel's id of this thread.
pub fn thread_id() -> u32 {
    call(k::__NR_gettid, [0; 6]).map_or(0, |id| id as u32)
}

/// Processors that this process may run on; 1 where the kernel won't say.
pub fn processors() -> usize {
    let mut mask = [0u64; 128];
    let words = [0, size_of_val(&mask), mask.as_mut_ptr() as usize, 0, 0, 0];
    match call(k::__NR_sched_getaffinity, words) {
        Ok(bytes) => mask.iter().take(bytes / 8).map(|word| word.count_ones() as usize).sum::<usize>().max(1),
        Err(_) => 1,
    }
}

/// Nanoseconds of the monotonic clock. A system call: the C library's faster way isn't ours to take.
pub fn clock_nanos() -> u64 {
    let mut time = [0u64; 2];
    let _ = call(k::__NR_clock_gettime, [k::CLOCK_MONOTONIC as usize, time.as_mut_ptr() as usize, 0, 0, 0, 0]);
    time[0].wrapping_mul(1_000_000_000).wrapping_add(time[1])
}
