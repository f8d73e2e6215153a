//! Work in a forked child, and what came of it. A panic there, a signal, a hang and a line of the heap's own are told apart.
//!
//! What a fuzzer learns from is which code ran, and that is noted in the child's memory. `on_end` and `on_return` let it carry
//! that over: the first is called in the child at its end, whatever that is, the second in the parent.
//!
//! # Safety
//! The parent has one thread that uses any of this, and never uses the heap itself.

use std::ffi::c_int;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};

/// A run takes milliseconds; this bounds hangs.
const SECONDS: u32 = 60;
const PANICKED: c_int = 101;
const STOPPED: c_int = 102;
/// How a line of the heap's own begins.
const OURS: &str = "heapglass: ";

#[derive(Debug)]
pub enum Ended {
    Well,
    /// By the heap, with this line.
    Stopped(String),
    /// With what was said on standard error.
    Panicked(String),
    Aborted(String),
    Hung(String),
    Signal(c_int, String),
    Status(c_int, String),
}

static ON_END: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static ON_RETURN: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Sets what is called in the child at its end and in the parent behind it.
pub fn carry_over(on_end: extern "C" fn(), on_return: extern "C" fn()) {
    ON_END.store(on_end as *mut (), SeqCst);
    ON_RETURN.store(on_return as *mut (), SeqCst);
}

fn call(what: &AtomicPtr<()>) {
    let what = what.load(SeqCst);
    if !what.is_null() {
        // SAFETY: stored by `carry_over` from a function of this type.
        unsafe { std::mem::transmute::<*mut (), extern "C" fn()>(what)() }
    }
}

fn end(status: c_int) -> ! {
    call(&ON_END);
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

extern "C" fn on_abort(_: c_int) {
    end(STOPPED)
}

/// Says where, as a distance from a known function, since addresses differ from run to run; then the signal does its work.
extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel's own arguments.
    let (address, code) = unsafe { ((*info).si_addr() as usize, where_in_code(context)) };
    let distance = code.wrapping_sub(judge as *const () as usize) as isize;
    eprintln!("a fault at {address:#x}, in the code at judge{distance:+}");
}

unsafe fn where_in_code(context: *mut libc::ucontext_t) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's context of the interrupted code.
    return unsafe { (&(*context).uc_mcontext.gregs)[libc::REG_RIP as usize] as usize };
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = context;
        judge as *const () as usize
    }
}

/// The harness's own allocator shall not move the break between two calls of the heap's: it gets all it will need beforehand.
fn settle_the_c_library() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: plain calls of the C library.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::free(libc::malloc(16 << 20));
        }
    });
}

/// Forks and does the work there.
pub fn run(work: impl FnOnce()) -> Ended {
    settle_the_c_library();
    let mut ends = [0; 2];
    // SAFETY: two places for two descriptors, which are then ours; a fork in a process whose other threads hold nothing that
    // the child needs; `waitpid` for our own child.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "no pipe");
        let (reading, writing) = (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]));
        let child = libc::fork();
        assert!(child >= 0, "no fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            in_child(writing, work);
        }
        drop(writing);
        let mut said = Vec::new();
        std::fs::File::from(reading).read_to_end(&mut said).expect("a pipe can be read");
        let mut status = 0;
        while libc::waitpid(child, &mut status, 0) < 0 {}
        call(&ON_RETURN);
        judge(status, String::from_utf8_lossy(&said).into_owned())
    }
}

unsafe fn in_child(writing: OwnedFd, work: impl FnOnce()) -> ! {
    // SAFETY: this process is ours; the handlers take nothing from anyone.
    unsafe {
        libc::dup2(writing.as_raw_fd(), 2);
        for signal in [libc::SIGILL, libc::SIGFPE, libc::SIGALRM, libc::SIGTRAP] {
            libc::signal(signal, libc::SIG_DFL);
        }
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
        libc::signal(libc::SIGABRT, on_abort as *const () as libc::sighandler_t);
        // No core is wanted of what is expected to die.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(SECONDS);
    }
    panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        end(PANICKED)
    }));
    work();
    end(0)
}

#[inline(never)]
fn judge(status: c_int, said: String) -> Ended {
    if libc::WIFSIGNALED(status) {
        return match libc::WTERMSIG(status) {
            libc::SIGALRM => Ended::Hung(said),
            signal => Ended::Signal(signal, said),
        };
    }
    match libc::WEXITSTATUS(status) {
        0 => Ended::Well,
        PANICKED => Ended::Panicked(said),
        STOPPED if said.lines().last().is_some_and(|line| line.starts_with(OURS)) => Ended::Stopped(said),
        STOPPED => Ended::Aborted(said),
        other => Ended::Status(other, said),
    }
}

/// Does something with standard error closed to it.
pub fn silently(work: impl FnOnce()) {
    static NOWHERE: std::sync::OnceLock<std::fs::File> = std::sync::OnceLock::new();
    let nowhere = NOWHERE.get_or_init(|| std::fs::File::options().write(true).open("/dev/null").expect("it is there"));
    // SAFETY: descriptors of ours, and number 2 gets back what it was.
    unsafe {
        let kept = libc::dup(2);
        libc::dup2(nowhere.as_raw_fd(), 2);
        work();
        libc::dup2(kept, 2);
        libc::close(kept);
    }
}
