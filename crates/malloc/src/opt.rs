//! glibc's own extras that set and tell: mallopt, mallinfo, mallinfo2, malloc_trim, malloc_stats. All speak of our heap.

use core::ffi::c_int;
use core::sync::atomic::Ordering::Relaxed;
use heapglass_heap::policy::POLICY;
use heapglass_heap::{arena, line::Line, size, stats, thread, trim};

const M_MXFAST: c_int = 1;
const M_TRIM_THRESHOLD: c_int = -1;
const M_TOP_PAD: c_int = -2;
const M_MMAP_THRESHOLD: c_int = -3;
const M_MMAP_MAX: c_int = -4;
const M_PERTURB: c_int = -6;
const M_ARENA_MAX: c_int = -8;

/// 1 where the setting was taken, 0 where its value is out of range. Settings that we don't have are taken and ignored, as
/// glibc does.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(option: c_int, value: c_int) -> c_int {
    thread::ensure_set_up();
    // glibc takes these as unsigned: -1 is the largest.
    let bytes = value as isize as usize;
    heapglass_heap::mark!("libc", "memory_mallopt", "0", "8@{0} 8@{1}", option as isize as usize, bytes);
    let taken = match option {
        M_MXFAST => {
            let old = POLICY.fast_max.load(Relaxed);
            let taken = POLICY.set_fast_max(bytes);
            if taken {
                heapglass_heap::mark!("libc", "memory_mallopt_mxfast", "0", "8@{0} 8@{1}", bytes, old);
            }
            taken
        }
        M_TRIM_THRESHOLD => {
            POLICY.set_trim_threshold(bytes);
            true
        }
        M_TOP_PAD => {
            POLICY.set_top_pad(bytes);
            true
        }
        M_MMAP_THRESHOLD => POLICY.set_mmap_threshold(bytes),
        M_MMAP_MAX => {
            POLICY.set_mmap_max(value.max(0) as usize);
            true
        }
        M_PERTURB => {
            POLICY.set_perturb(bytes);
            true
        }
        M_ARENA_MAX => {
            POLICY.set_arena_max(value.max(0) as usize);
            true
        }
        _ => true,
    };
    thread::settings_changed();
    c_int::from(taken)
}

/// `struct mallinfo2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MallInfo2 {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

/// `struct mallinfo`: the same in C's int, where more than 2 GiB don't fit.
#[repr(C)]
pub struct MallInfo([c_int; 10]);

#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> MallInfo2 {
    thread::ensure_set_up();
    let all = stats::all();
    let free = all.free_bytes + all.fast_bytes + all.top;
    MallInfo2 {
        arena: all.system,
        ordblks: all.free_chunks + all.arenas,
        smblks: all.fast_chunks,
        hblks: all.mapped_chunks,
        hblkhd: all.mapped_bytes,
        usmblks: 0,
        fsmblks: all.fast_bytes,
        uordblks: all.system.saturating_sub(free),
        fordblks: free,
        keepcost: stats::of_arena(0).top,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> MallInfo {
    let i = mallinfo2();
    let figures =
        [i.arena, i.ordblks, i.smblks, i.hblks, i.hblkhd, i.usmblks, i.fsmblks, i.uordblks, i.fordblks, i.keepcost];
    MallInfo(figures.map(|figure| figure as c_int))
}

/// 1 where memory went back to the kernel.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(pad: usize) -> c_int {
    thread::ensure_set_up();
    c_int::from(trim::trim(pad))
}

/// Figures of each arena and of all on standard error, in glibc's own form.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    thread::ensure_set_up();
    for index in 0..arena::count() {
        let figures = stats::of_arena(index);
        Line::bare().text("Arena ").number(index).text(":").warn();
        figure("system bytes     = ", figures.system);
        figure("in use bytes     = ", figures.in_use());
    }
    let all = stats::all();
    Line::bare().text("Total (incl. mmap):").warn();
    figure("system bytes     = ", all.system + all.mapped_bytes);
    figure("in use bytes     = ", all.in_use() + all.mapped_bytes);
    figure("max mmap regions = ", all.mapped_chunks_peak);
    figure("max mmap bytes   = ", all.mapped_peak);
}

fn figure(name: &'static str, value: usize) {
    Line::bare().text(name).number_padded(value, 10).warn();
}

const _: () = assert!(size_of::<MallInfo2>() == 80 && size::ALIGN == 16);
