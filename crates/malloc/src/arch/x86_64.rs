//! x86-64.
//!
//! The throwing operators new are a few lines of assembly around a Rust function, because an exception can't pass through a
//! Rust frame: the new handler and the C++ library's `std::__throw_bad_alloc` are called from frames that the unwinder
//! can walk and that have nothing to clean up.
//!
//! # Safety
//! Symbols of the C++ library and of the dynamic loader are weak: null where the program has none.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use heapglass_os::module::Module;

macro_rules! operator_new {
    // rbx and r12 keep size and alignment over the calls; three words on the stack keep it aligned to 16.
    ($name:literal) => {
        global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",@progbits"),
            concat!(".globl ", $name),
            concat!(".type ", $name, ",@function"),
            concat!($name, ":"),
            ".cfi_startproc",
            "push rbx",
            ".cfi_adjust_cfa_offset 8",
            ".cfi_rel_offset rbx, 0",
            "push r12",
            ".cfi_adjust_cfa_offset 8",
            ".cfi_rel_offset r12, 0",
            "sub rsp, 8",
            ".cfi_adjust_cfa_offset 8",
            "mov rbx, rdi",
            "mov r12, rsi",
            "2:",
            "mov rdi, rbx",
            "mov rsi, r12",
            concat!("call {attempt}"),
            "test rax, rax",
            "jz 3f",
            "add rsp, 8",
            ".cfi_remember_state",
            ".cfi_adjust_cfa_offset -8",
            "pop r12",
            ".cfi_adjust_cfa_offset -8",
            ".cfi_restore r12",
            "pop rbx",
            ".cfi_adjust_cfa_offset -8",
            ".cfi_restore rbx",
            "ret",
            ".cfi_restore_state",
            "3:",
            "call {handler}",
            "test rax, rax",
            "jz 4f",
            "call rax",
            "jmp 2b",
            "4:",
            "call {thrower}",
            "call rax",
            "ud2",
            ".cfi_endproc",
            concat!(".size ", $name, ", .-", $name),
            ".popsection",
            attempt = sym crate::cxx::attempt,
            handler = sym crate::cxx::new_handler,
            thrower = sym crate::cxx::thrower,
        );
    };
}

operator_new!("heapglass_new_slow");

// The nothrow forms: the throwing one inside of `try { ... } catch (...) { return nullptr; }`, with the tables that the C++
// library's personality routine reads. The routine is weak: a program without it throws nothing.
global_asm!(
    ".pushsection .data.rel.local.DW.ref.__gxx_personality_v0,\"awG\",@progbits,DW.ref.__gxx_personality_v0,comdat",
    ".hidden DW.ref.__gxx_personality_v0",
    ".weak DW.ref.__gxx_personality_v0",
    ".balign 8",
    ".type DW.ref.__gxx_personality_v0, @object",
    ".size DW.ref.__gxx_personality_v0, 8",
    ".weak __gxx_personality_v0",
    "DW.ref.__gxx_personality_v0: .quad __gxx_personality_v0",
    ".popsection",
    ".pushsection .text.heapglass_new_nothrow,\"ax\",@progbits",
    ".hidden heapglass_new_nothrow",
    ".globl heapglass_new_nothrow",
    ".type heapglass_new_nothrow,@function",
    ".weak __cxa_begin_catch, __cxa_end_catch",
    "heapglass_new_nothrow:",
    ".cfi_startproc",
    ".cfi_personality 0x9b, DW.ref.__gxx_personality_v0",
    ".cfi_lsda 0x1b, .Lheapglass_nothrow_table",
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    ".Lheapglass_try:",
    "call heapglass_new_slow",
    ".Lheapglass_tried:",
    "add rsp, 8",
    ".cfi_remember_state",
    ".cfi_adjust_cfa_offset -8",
    "ret",
    ".cfi_restore_state",
    ".Lheapglass_catch:",
    "mov rdi, rax",
    "call qword ptr [rip + __cxa_begin_catch@GOTPCREL]",
    "call qword ptr [rip + __cxa_end_catch@GOTPCREL]",
    "xor eax, eax",
    "jmp .Lheapglass_tried",
    ".cfi_endproc",
    ".Lheapglass_nothrow_end:",
    ".size heapglass_new_nothrow, .-heapglass_new_nothrow",
    ".popsection",
    ".pushsection .gcc_except_table.heapglass_new_nothrow,\"a\",@progbits",
    ".balign 4",
    ".Lheapglass_nothrow_table:",
    // No landing pad base of its own; types as indirect pc-relative words; call sites as uleb128.
    ".byte 0xff",
    ".byte 0x9b",
    ".uleb128 .Lheapglass_types - .Lheapglass_types_from",
    ".Lheapglass_types_from:",
    ".byte 0x01",
    ".uleb128 .Lheapglass_sites_end - .Lheapglass_sites",
    ".Lheapglass_sites:",
    ".uleb128 .Lheapglass_try - heapglass_new_nothrow",
    ".uleb128 .Lheapglass_tried - .Lheapglass_try",
    ".uleb128 .Lheapglass_catch - heapglass_new_nothrow",
    ".uleb128 1",
    ".uleb128 .Lheapglass_tried - heapglass_new_nothrow",
    ".uleb128 .Lheapglass_nothrow_end - .Lheapglass_tried",
    ".uleb128 0",
    ".uleb128 0",
    ".Lheapglass_sites_end:",
    // One action: the first type, which is none, so everything is caught.
    ".byte 1",
    ".byte 0",
    ".balign 4",
    ".long 0",
    ".Lheapglass_types:",
    ".popsection",
);

// `throw std::bad_alloc()` by hand, for static programs that didn't link `std::__throw_bad_alloc`.
global_asm!(
    ".pushsection .text.heapglass_throw,\"ax\",@progbits",
    ".hidden heapglass_throw",
    ".globl heapglass_throw",
    ".type heapglass_throw,@function",
    ".weak __cxa_allocate_exception, __cxa_throw, _ZTVSt9bad_alloc, _ZTISt9bad_alloc, _ZNSt9bad_allocD1Ev",
    "heapglass_throw:",
    ".cfi_startproc",
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    "mov edi, 8",
    "call qword ptr [rip + __cxa_allocate_exception@GOTPCREL]",
    // The object is its table of functions, which starts behind two words.
    "mov rcx, qword ptr [rip + _ZTVSt9bad_alloc@GOTPCREL]",
    "add rcx, 16",
    "mov qword ptr [rax], rcx",
    "mov rdi, rax",
    "mov rsi, qword ptr [rip + _ZTISt9bad_alloc@GOTPCREL]",
    "mov rdx, qword ptr [rip + _ZNSt9bad_allocD1Ev@GOTPCREL]",
    "call qword ptr [rip + __cxa_throw@GOTPCREL]",
    "ud2",
    ".cfi_endproc",
    ".size heapglass_throw, .-heapglass_throw",
    ".popsection",
);

unsafe extern "C" {
    /// Asks for memory, with the new handler's help, and throws where there is none.
    pub fn heapglass_new_slow(size: usize, align: usize) -> *mut c_void;
    /// As `heapglass_new_slow`, but null instead of throwing. Only where `throw_bad_alloc` is there.
    pub fn heapglass_new_nothrow(size: usize, align: usize) -> *mut c_void;
    fn heapglass_throw();
}

/// Address of a symbol that may be missing.
macro_rules! weak {
    ($symbol:literal) => {{
        let address: usize;
        // SAFETY: reads the address that the loader found, or null.
        unsafe {
            asm!(
                concat!(".weak ", $symbol),
                concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                out(reg) address,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        (address != 0).then_some(address)
    }};
}

/// The program's new handler, or null; `None` where there is no C++ library.
pub fn get_new_handler() -> Option<extern "C" fn() -> usize> {
    // SAFETY: `std::get_new_handler` takes nothing and returns a function pointer.
    weak!("_ZSt15get_new_handlerv")
        .map(|address| unsafe { core::mem::transmute::<usize, extern "C" fn() -> usize>(address) })
}

/// What throws `std::bad_alloc`, by address; `None` where the program has no C++ library to do it.
pub fn throw_bad_alloc() -> Option<usize> {
    let by_hand = || weak!("__cxa_throw").and(weak!("_ZTVSt9bad_alloc")).map(|_| heapglass_throw as *const () as usize);
    weak!("_ZSt17__throw_bad_allocv").or_else(by_hand)
}

global_asm!(
    ".hidden __start_heapglass_text",
    ".hidden __stop_heapglass_text",
    ".hidden __start_heapglass_malloc",
    ".hidden __stop_heapglass_malloc",
    ".hidden __start_heapglass_free",
    ".hidden __stop_heapglass_free",
    // Each begins a line of the processor's cache, in every build: where they come to lie by chance is worth a tenth of a pair's time.
    ".pushsection heapglass_malloc,\"ax\",@progbits",
    ".p2align 6",
    ".popsection",
    ".pushsection heapglass_free,\"ax\",@progbits",
    ".p2align 6",
    ".popsection",
);

unsafe extern "C" {
    fn sigaction(signal: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
    // The linker makes these for a section whose name is a C identifier.
    #[link_name = "__start_heapglass_text"]
    static TEXT_START: u8;
    #[link_name = "__stop_heapglass_text"]
    static TEXT_STOP: u8;
    #[link_name = "__start_heapglass_malloc"]
    static MALLOC_START: u8;
    #[link_name = "__stop_heapglass_malloc"]
    static MALLOC_STOP: u8;
    #[link_name = "__start_heapglass_free"]
    static FREE_START: u8;
    #[link_name = "__stop_heapglass_free"]
    static FREE_STOP: u8;
}

/// Does an instruction's address lie in one of the functions that read what a program hands in?
fn is_a_door(at: usize) -> bool {
    [
        (&raw const TEXT_START, &raw const TEXT_STOP),
        (&raw const MALLOC_START, &raw const MALLOC_STOP),
        (&raw const FREE_START, &raw const FREE_STOP),
    ]
    .into_iter()
    .any(|(start, stop)| (start as usize..stop as usize).contains(&at))
}

/// Is the process's malloc this library's? Not where it was opened later, beside another.
///
/// A program that isn't position-independent and uses malloc's address has a stub of its own for it, and then that is malloc's address
/// for everybody. Then a function tells whose address no program uses.
pub fn is_the_malloc() -> bool {
    let (malloc, pvalloc): (usize, usize);
    // SAFETY: reads the addresses that the loader found for everybody.
    unsafe {
        asm!(
            "mov {}, qword ptr [rip + malloc@GOTPCREL]",
            "mov {}, qword ptr [rip + pvalloc@GOTPCREL]",
            out(reg) malloc,
            out(reg) pvalloc,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    let is_stub = |module: Module| {
        let function = module.function_at(malloc);
        !module.is_library() && function.is_none_or(|(name, _)| name != b"malloc")
    };
    is_a_door(malloc) || is_a_door(pvalloc) && Module::at(malloc).is_none_or(is_stub)
}

pub const SIGSEGV: c_int = 11;
const SA_SIGINFO: c_int = 4;
const SA_ONSTACK: c_int = 0x0800_0000;
const SA_NODEFER: c_int = 0x4000_0000;

/// `struct sigaction`, as glibc and musl have it.
#[repr(C)]
#[derive(Clone, Copy)]
struct SigAction {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

impl SigAction {
    const DEFAULT: SigAction = SigAction { handler: 0, mask: [0; 16], flags: 0, restorer: 0 };
}

/// Programs put handlers of their own in place, before us or after us, keep what was there before and hand on to it. So that
/// nobody is handed a fault twice, whatever handler we come to stand before gets an entry of ours to itself, which hands on to that
/// one for ever: an entry that a program kept leads to what was there before the program's handler.
const ENTRIES: usize = 8;
/// Who comes after each; 0 is the default effect.
static NEXT: [AtomicUsize; ENTRIES] = [const { AtomicUsize::new(UNUSED) }; ENTRIES];
const UNUSED: usize = usize::MAX;
/// The one that was put in place last. Handlers that hand on may come back to others, with the same fault.
static NEWEST: AtomicUsize = AtomicUsize::new(0);

macro_rules! entry {
    ($number:literal) => {
        concat!(".balign 16\n mov ecx, ", $number, "\n jmp 2f")
    };
}

// An entry is called with the signal, where its information is, and where the interrupted registers are; `on_fault` is told which
// entry it was, too, and returns who comes after. That one is jumped to, so it finds its stack as the kernel made it, and
// unwinders see no frame of ours.
global_asm!(
    ".pushsection .text.heapglass_faults,\"ax\",@progbits",
    ".hidden heapglass_faults",
    ".globl heapglass_faults",
    ".type heapglass_faults,@function",
    ".balign 16",
    "heapglass_faults:",
    ".cfi_startproc",
    entry!("0"),
    entry!("1"),
    entry!("2"),
    entry!("3"),
    entry!("4"),
    entry!("5"),
    entry!("6"),
    entry!("7"),
    "2:",
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "push rdx",
    ".cfi_adjust_cfa_offset 8",
    "call {on_fault}",
    "pop rdx",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "test rax, rax",
    "jz 3f",
    "mov rcx, rax",
    "xor eax, eax",
    "jmp rcx",
    "3:",
    "ret",
    ".cfi_endproc",
    ".size heapglass_faults, . - heapglass_faults",
    ".popsection",
    on_fault = sym crate::fault::on_fault,
);

unsafe extern "C" {
    static heapglass_faults: u8;
}

fn entry(index: usize) -> usize {
    &raw const heapglass_faults as usize + index * 16
}

/// Who comes after an entry, if anybody does.
pub fn next_handler(index: usize) -> Option<usize> {
    let next = NEXT.get(index)?.load(Acquire);
    (next != 0 && next != UNUSED).then_some(next)
}

/// Is it the entry that sees each fault first, or may?
pub fn is_newest(index: usize) -> bool {
    NEWEST.load(Relaxed) == index
}

/// Takes SIGSEGV over where nobody handles it, with `also_before` also where the program does.
pub fn take_faults(also_before: bool) {
    const IGNORED: usize = 1;
    let ours = |handler: usize| (0..ENTRIES).find(|&index| handler == entry(index));
    let mut old = SigAction::DEFAULT;
    // SAFETY: the record is ours.
    let is_known = unsafe { sigaction(SIGSEGV, core::ptr::null(), &mut old) } == 0;
    let is_free = old.handler == 0;
    if let Some(index) = ours(old.handler) {
        return NEWEST.store(index, Relaxed);
    }
    if !is_known || old.handler == IGNORED || !is_free && !also_before {
        return;
    }
    let is_for_it = |next: &AtomicUsize| {
        let was = next.compare_exchange(UNUSED, old.handler, AcqRel, Acquire);
        was.is_ok() || was == Err(old.handler)
    };
    let Some(index) = NEXT.iter().position(is_for_it) else { return };
    NEWEST.store(index, Relaxed);
    // The program's handler is called in the way that it asked for.
    let flags = SA_SIGINFO | if is_free { SA_ONSTACK | SA_NODEFER } else { old.flags };
    let new = SigAction { handler: entry(index), flags, ..old };
    let mut replaced = SigAction::DEFAULT;
    // SAFETY: all records are ours.
    unsafe {
        let is_done = sigaction(SIGSEGV, &new, &mut replaced) == 0;
        if is_done && replaced.handler != old.handler && ours(replaced.handler).is_none() {
            // Somebody was faster. The next time is early enough.
            sigaction(SIGSEGV, &replaced, core::ptr::null_mut());
        }
    }
}

/// Gives SIGSEGV its default effect back.
pub fn leave_faults() {
    // SAFETY: the record is ours.
    unsafe { sigaction(SIGSEGV, &SigAction::DEFAULT, core::ptr::null_mut()) };
}

/// Bytes of the stack that reports are written on: one for handlers of signals may be small.
const STACK: usize = 32 * 1024;
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK]>);
// SAFETY: used by whoever set `IN_USE`.
unsafe impl Sync for Stack {}
static REPORTS: Stack = Stack(UnsafeCell::new([0; STACK]));
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Calls a function on a stack of its own, if nobody else is on that.
pub fn on_own_stack<T>(work: extern "C" fn(&T), about: &T) {
    if IN_USE.swap(true, Acquire) {
        return work(about);
    }
    let top = REPORTS.0.get() as usize + STACK;
    // SAFETY: the stack is ours alone, and aligned as a call asks for; r12 outlives the call.
    unsafe {
        asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {work}",
            "mov rsp, r12",
            top = in(reg) top,
            work = in(reg) work,
            in("rdi") about,
            out("r12") _,
            clobber_abi("C")
        );
    }
    IN_USE.store(false, Release);
}

/// Of a fault: was it one of memory (not a signal that somebody sent), and if one of our fast paths made it, the address
/// that it touched (0 where no program can have that address) and its first argument.
///
/// # Safety
/// The two pointers are those that the kernel gave to a handler of SIGSEGV.
pub unsafe fn read_fault(info: *const u8, context: *const u8) -> (bool, Option<(usize, usize)>) {
    // SAFETY: si_code lies at 8, si_addr at 16; of the general registers, which start at 40, rdi is the 9th, rip the 17th.
    unsafe {
        let code = info.add(8).cast::<c_int>().read_unaligned();
        let address = info.add(16).cast::<usize>().read_unaligned();
        let at = context.add(40 + 16 * 8).cast::<usize>().read_unaligned();
        let ours = is_a_door(at);
        let argument = context.add(40 + 8 * 8).cast::<usize>().read_unaligned();
        (code > 0, ours.then_some((address, argument)))
    }
}

/// What a fault was about: the address, whether it was written to, and the registers by their DWARF numbers.
pub struct Access {
    pub address: usize,
    pub is_write: bool,
    pub registers: [usize; 17],
}

/// # Safety
/// As for `read_fault`.
pub unsafe fn read_access(info: *const u8, context: *const u8) -> Option<Access> {
    // What the DWARF numbers are among the context's registers: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
    const PLACES: [usize; 17] = [13, 12, 14, 11, 9, 8, 10, 15, 0, 1, 2, 3, 4, 5, 6, 7, 16];
    const ERROR: usize = 19;
    const WRITE: usize = 2;
    // SAFETY: as in `read_fault`.
    unsafe {
        let register = |place: usize| context.add(40 + place * 8).cast::<usize>().read_unaligned();
        let address = info.add(16).cast::<usize>().read_unaligned();
        Some(Access { address, is_write: register(ERROR) & WRITE != 0, registers: PLACES.map(register) })
    }
}

// The core library's own code was compiled to unwind and names its personality routine. Nothing here unwinds; a program that
// brings the real one keeps it.
global_asm!(
    ".pushsection .text.rust_eh_personality,\"ax\",@progbits",
    ".weak rust_eh_personality",
    ".hidden rust_eh_personality",
    ".type rust_eh_personality,@function",
    "rust_eh_personality: ud2",
    ".size rust_eh_personality, .-rust_eh_personality",
    ".popsection",
);
