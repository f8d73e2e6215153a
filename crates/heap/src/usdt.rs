//! Probes for tracers, such as bpftrace, perf and the profilers of a fleet: each is one `nop` in the code and a note in the file that says
//! where it stands and in which registers its arguments are. A tracer puts a breakpoint there. None stands on a fast path.
//!
//! - `otel_memory`: sampled allocations and their frees, as OpenTelemetry's profiler expects them. They have counters of who listens, which
//!   tracers raise from outside. Slow calls look at them; a profile is taken while somebody listens.
//! - `libc`: what glibc's malloc tells under the same names, with the same arguments: the break and heaps that move, arenas, settings.
//!
//! Each stands in a function of its own, which something calls wherever the heap is linked to: the note of one that the linker left out
//! would lead nowhere. So those of mallopt alone stand there.
//!
//! The form of the notes is that of SystemTap's `sys/sdt.h`, version 3.
//!
//! # Safety
//! The code of a probe does nothing.

use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::Relaxed;

/// Who listens to `otel_memory:alloc`, and to `otel_memory:free`. Written by tracers.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".probes"))]
static ALLOC_LISTENERS: AtomicU16 = AtomicU16::new(0);
#[cfg_attr(target_os = "linux", unsafe(link_section = ".probes"))]
static FREE_LISTENERS: AtomicU16 = AtomicU16::new(0);

/// What `ALLOC_LISTENERS` was when it was last looked at.
static SEEN: AtomicU16 = AtomicU16::new(0);

/// Have listeners come or gone since it was last asked?
#[inline(always)]
pub fn has_changed() -> bool {
    ALLOC_LISTENERS.load(Relaxed) != SEEN.load(Relaxed)
}

/// Does somebody listen to allocations?
pub fn is_heard() -> bool {
    let listeners = ALLOC_LISTENERS.load(Relaxed);
    SEEN.store(listeners, Relaxed);
    listeners != 0
}

/// One probe: provider, name, the counter of its listeners (or 0), arguments.
#[doc(hidden)]
#[macro_export]
#[cfg(all(target_arch = "x86_64", not(miri)))]
macro_rules! mark {
    ($provider:literal, $name:literal, $counter:literal $(= $static:path)?, $places:literal, $($argument:expr),+) => {{
        // SAFETY: a nop; the rest goes to sections that are no code.
        unsafe {
            core::arch::asm!(
                "990: nop",
                ".pushsection .note.stapsdt,\"\",@note",
                ".balign 4",
                ".4byte 992f-991f, 994f-993f, 3",
                "991: .asciz \"stapsdt\"",
                "992: .balign 4",
                "993: .8byte 990b",
                ".8byte _.stapsdt.base",
                concat!(".8byte ", $counter),
                concat!(".asciz \"", $provider, "\""),
                concat!(".asciz \"", $name, "\""),
                concat!(".asciz \"", $places, "\""),
                "994: .balign 4",
                ".popsection",
                ".ifndef _.stapsdt.base",
                ".pushsection .stapsdt.base,\"aGR\",@progbits,.stapsdt.base,comdat",
                ".weak _.stapsdt.base",
                ".hidden _.stapsdt.base",
                "_.stapsdt.base: .space 1",
                ".size _.stapsdt.base, 1",
                ".popsection",
                ".endif",
                $(in(reg) $argument,)+
                $(counter = sym $static,)?
                options(readonly, nostack, preserves_flags, att_syntax)
            );
        }
    }};
}

#[doc(hidden)]
#[macro_export]
#[cfg(any(not(target_arch = "x86_64"), miri))]
macro_rules! mark {
    ($provider:literal, $name:literal, $counter:literal $(= $static:path)?, $places:literal, $($argument:expr),+) => {{
        $(let _ = &$static;)?
        $(let _ = $argument;)+
    }};
}

/// A sampled allocation: the program's pointer, bytes asked for, and the bytes that it stands for.
#[inline(never)]
pub fn allocated(user: usize, bytes: usize, weight: u64) {
    mark!("otel_memory", "alloc", "{counter}" = ALLOC_LISTENERS, "8@{0} 8@{1} 8@{2}", user, bytes, weight);
}

/// A sampled chunk is freed.
#[inline(never)]
pub fn freed(user: usize) {
    mark!("otel_memory", "free", "{counter}" = FREE_LISTENERS, "8@{0}", user);
}

/// A probe of glibc's by two numbers.
macro_rules! event {
    ($(#[$note:meta])* $function:ident, $name:literal) => {
        $(#[$note])*
        #[inline(never)]
        pub fn $function(first: usize, second: usize) {
            mark!("libc", $name, "0", "8@{0} 8@{1}", first, second);
        }
    };
}

/// A probe of glibc's for a setting: its new value, the old one, and whether the thresholds were dynamic.
macro_rules! setting {
    ($function:ident, $name:literal) => {
        #[inline(never)]
        pub fn $function(new: usize, old: usize, dynamic: bool) {
            mark!("libc", $name, "0", "8@{0} 8@{1} 8@{2}", new, old, usize::from(dynamic));
        }
    };
}

event!(
    /// The break moved up: where it was, and by how much.
    break_grew, "memory_sbrk_more"
);
event!(
    /// The break moved down: where it is, and by how much.
    break_shrank, "memory_sbrk_less"
);
event!(
    /// A mapped heap begins: where, and its length, as in the three that follow.
    heap_new, "memory_heap_new"
);
event!(heap_free, "memory_heap_free");
event!(heap_more, "memory_heap_more");
event!(heap_less, "memory_heap_less");
event!(
    /// An arena was made: its record, and the bytes of that.
    arena_new, "memory_arena_new"
);
event!(
    /// A thread shares an arena with others: its record, and the one to keep away from, which is none.
    arena_reuse, "memory_arena_reuse"
);
event!(
    /// An arena had no memory for so many bytes; its record. Another is asked.
    arena_retry, "memory_arena_retry"
);
event!(mallopt_perturb, "memory_mallopt_perturb");
event!(mallopt_arena_max, "memory_mallopt_arena_max");
event!(
    /// The mmap and trim thresholds rose because a mapped chunk was freed.
    thresholds_rose, "memory_mallopt_free_dyn_thresholds"
);
event!(
    /// A chunk in a thread's cache was freed once more: its pointer, and its class.
    double_free, "memory_tcache_double_free"
);
setting!(mallopt_trim_threshold, "memory_mallopt_trim_threshold");
setting!(mallopt_top_pad, "memory_mallopt_top_pad");
setting!(mallopt_mmap_threshold, "memory_mallopt_mmap_threshold");
setting!(mallopt_mmap_max, "memory_mallopt_mmap_max");

/// An allocation goes to another arena than its thread's: bytes.
#[inline(never)]
pub fn malloc_retry(bytes: usize) {
    mark!("libc", "memory_malloc_retry", "0", "8@{0}", bytes);
}

/// A thread takes an arena whose threads have ended: its record.
#[inline(never)]
pub fn arena_reuse_free_list(arena: usize) {
    mark!("libc", "memory_arena_reuse_free_list", "0", "8@{0}", arena);
}
