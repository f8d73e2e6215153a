//! The misuse contract, part C, in the release build as it comes: every fault ends in SIGABRT after exactly one line that says
//! what was found and at which address. The programs are in `tests/misuse`; what they print tells how far they came.

use heapglass_tests::strace::trace;
use heapglass_tests::{DOORS, Door, Ran, compile, have, on_heapglass, run};
use std::path::{Path, PathBuf};

const SIGABRT: i32 = 6;
/// Cached by threads, too large for the caches, a mapping of its own.
const SIZES: [&str; 3] = ["48", "70000", "300000"];
const HEAP_SIZES: [&str; 2] = ["48", "70000"];
/// In the first a free may be parked and looked at a little later; in the others every fault stops at its own call.
const MODES: [&str; 3] = ["", "park:0", "tcache:0"];

fn program(name: &str, door: Door) -> PathBuf {
    let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
    compile(&format!("tests/misuse/{name}.c"), door, extra)
}

/// Where a fault has to be found in the default mode.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    /// At the faulty call.
    Now,
    /// At one of the thread's next two frees, or at its end.
    Soon,
    /// When two threads each hold a half of the fault: at the next two frees of one of them, or at its end.
    ByEither,
}

/// A fault, for which sizes it means something, and what the line has to say: one of these texts, `@` being the address.
struct Fault {
    program: &'static str,
    kinds: &'static [&'static str],
    sizes: &'static [&'static str],
    modes: &'static [&'static str],
    found: Found,
    says: &'static [&'static str],
}

/// One run of a fault: `KIND SIZE THREAD WARM TAIL`, see `tests/misuse/misuse.h`.
struct Case<'a> {
    program: &'a Path,
    args: [&'a str; 5],
    mode: &'a str,
    door: Door,
}

impl Case<'_> {
    fn run(&self) -> Ran {
        let mut command = on_heapglass(self.program, self.door);
        command.args(self.args).env("HG_EXPECT", "1");
        // Faults of guarded samples are found in other ways: `guards.rs`.
        command.env("HEAPGLASS", format!("{},guard:0", self.mode));
        run(&mut command)
    }

    /// What is wrong with how it ended.
    fn wrong(&self, fault: &Fault, ran: &Ran) -> Option<&'static str> {
        let came_to = |place: &str| ran.out.lines().any(|l| l == place);
        let line = ran.err.trim_end_matches('\n');
        let addresses: Vec<_> = ran.out.lines().filter_map(|l| l.strip_prefix("address ")).collect();
        let names = |address: &&str| {
            line.match_indices(address)
                .any(|(at, _)| !line[at + address.len()..].starts_with(|c: char| c.is_ascii_hexdigit()))
        };
        if ran.signal != Some(SIGABRT) {
            return Some("it was not stopped by SIGABRT");
        }
        if ran.err.lines().count() != 1 || !line.starts_with("heapglass: ") {
            return Some("not exactly one line of Heapglass");
        }
        if !addresses.iter().any(names) {
            return Some("the line does not name the address");
        }
        let said = |text: &&str| addresses.iter().any(|a| line.contains(&text.replace('@', a)));
        if !fault.says.iter().any(said) {
            return Some("the line does not say what was found");
        }
        if !line.contains("to see ") {
            return Some("the line does not say how to see more");
        }
        if came_to("survived") && (!self.mode.is_empty() || fault.found == Found::Now) {
            return Some("it was not found at the faulty call");
        }
        if came_to("later") && fault.found != Found::ByEither || came_to("end") {
            return Some("it was found too late");
        }
        None
    }
}

/// Runs a fault over sizes, threads, cold and warm, what follows, modes and doors, and lists everything that went wrong.
#[track_caller]
fn stopped(fault: Fault) {
    let mut wrong = Vec::new();
    let mut runs = 0;
    for &door in &DOORS {
        let program = program(fault.program, door);
        // The code behind both doors is one; the archive has to show once that it is.
        let modes = if door == Door::Static { &fault.modes[..1] } else { fault.modes };
        for &mode in modes {
            for (&kind, &size) in fault.kinds.iter().flat_map(|k| fault.sizes.iter().map(move |s| (k, s))) {
                for bits in 0..8 {
                    let pick = |bit: u32, off, on| if bits & bit == 0 { off } else { on };
                    let args = [kind, size, pick(1, "0", "1"), pick(2, "0", "1"), pick(4, "frees", "exit")];
                    let case = Case { program: &program, args, mode, door };
                    let ran = case.run();
                    runs += 1;
                    if let Some(what) = case.wrong(&fault, &ran) {
                        wrong.push(format!("{door:?} [{mode}] {}: {what}: {ran:?}", args.join(" ")));
                    }
                }
            }
        }
    }
    let shown = &wrong[..wrong.len().min(20)];
    assert!(runs > 0 && wrong.is_empty(), "{} of {runs} runs, the first of them:\n{}", wrong.len(), shown.join("\n"));
}

const FREES: Fault = Fault {
    program: "frees",
    kinds: &[],
    sizes: &SIZES,
    modes: &MODES,
    found: Found::Soon,
    says: &["free(@): double free: "],
};
const WRITES: Fault = Fault {
    program: "writes",
    kinds: &[],
    sizes: &HEAP_SIZES,
    modes: &MODES,
    found: Found::Soon,
    says: &["corrupted"],
};

#[test]
fn c0_without_a_fault_nothing_is_said() {
    for &door in &DOORS {
        let program = program("frees", door);
        for mode in MODES {
            for size in SIZES {
                for (thread, warm) in [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")] {
                    let ran =
                        Case { program: &program, args: ["none", size, thread, warm, "frees"], mode, door }.run().ok();
                    assert!(ran.out.ends_with("survived\nlater\nend\n"), "{ran:?}");
                    assert_eq!(ran.err, "");
                }
            }
        }
    }
}

#[test]
fn c1_double_free_at_once() {
    stopped(Fault { kinds: &["double"], sizes: &HEAP_SIZES, found: Found::Now, ..FREES });
}

#[test]
fn c1_double_free_of_a_mapped_chunk() {
    let says = &["free(@): double free: ", "free(@): invalid pointer: "];
    stopped(Fault { kinds: &["double", "double_after_frees"], sizes: &["300000"], says, ..FREES });
}

#[test]
fn c1_double_free_with_calls_between() {
    stopped(Fault { kinds: &["double_after_frees", "double_after_calls"], sizes: &HEAP_SIZES, ..FREES });
}

#[test]
fn c1_double_free_after_thousands_of_frees() {
    stopped(Fault { kinds: &["double_after_many"], sizes: &HEAP_SIZES, ..FREES });
    // Where a trim gave the page back to the kernel nothing is left that could tell a freed chunk from none.
    let says = &["free(@): double free: ", "free(@): invalid pointer"];
    stopped(Fault { kinds: &["double_after_trim"], sizes: &HEAP_SIZES, says, ..FREES });
}

#[test]
fn c1_double_free_over_two_threads() {
    let kinds = &["double_in_other_thread", "double_after_other_thread"];
    stopped(Fault { kinds, sizes: &HEAP_SIZES, found: Found::ByEither, ..FREES });
}

#[test]
fn c1_double_free_of_a_chunk_that_was_merged() {
    let kinds = &["double_merged_next", "double_merged_both", "double_in_top"];
    stopped(Fault { kinds, sizes: &HEAP_SIZES, ..FREES });
}

#[test]
fn c1_use_of_a_freed_chunk_in_other_calls() {
    let found = Found::Now;
    let kinds = &["realloc_freed", "realloc_freed_smaller", "reallocarray_freed"];
    let says = &["realloc(@): use after free: ", "reallocarray(@): use after free: "];
    stopped(Fault { kinds, sizes: &HEAP_SIZES, found, says, ..FREES });
    let says = &["realloc(@): ", "reallocarray(@): "];
    stopped(Fault { kinds, sizes: &["300000"], found, says, ..FREES });
    let says = &["malloc_usable_size(@): "];
    stopped(Fault { kinds: &["usable_freed"], found, says, ..FREES });
    let says = &["free_sized(@): ", "free(@): double free: "];
    stopped(Fault { kinds: &["free_sized_freed"], says, ..FREES });
}

#[test]
fn c2_pointers_into_a_chunk() {
    let says = &["free(@): invalid pointer"];
    let kinds = &["interior", "interior_zero", "interior_replayed", "misaligned_1", "misaligned_8", "before", "end"];
    stopped(Fault { kinds, says, ..FREES });
}

#[test]
fn c2_pointers_to_what_was_never_ours() {
    let says = &["free(@): invalid pointer"];
    let kinds = &["stack", "data", "bss", "rodata", "code", "foreign_mapping", "after_a_hole", "no_access", "unmapped"];
    stopped(Fault { kinds, sizes: &["48"], says, ..FREES });
    let kinds = &["null_plus_8", "null_plus_16", "non_canonical", "kernel", "minus_16"];
    stopped(Fault { kinds, sizes: &["48"], says, ..FREES });
}

#[test]
fn c2_pointers_of_another_allocator() {
    stopped(Fault { kinds: &["other_allocator"], says: &["free(@): invalid pointer"], ..FREES });
}

#[test]
fn c2_sized_frees_check_the_size() {
    let says = &["free_sized(@): wrong size: "];
    stopped(Fault { kinds: &["sized_too_large", "sized_too_small"], says, ..FREES });
    let says = &["free_aligned_sized(@): wrong size: "];
    stopped(Fault { kinds: &["aligned_wrong_size"], says, ..FREES });
}

#[test]
fn c3_one_nul_byte_past_the_end() {
    stopped(Fault { kinds: &["nul_victim", "nul_neighbour", "nul_realloc", "nul_grow"], ..WRITES });
}

#[test]
fn c3_more_than_one_byte_past_the_end() {
    let kinds = &["over1_victim", "over1_neighbour", "over16_victim", "over16_neighbour", "over16_realloc"];
    stopped(Fault { kinds, ..WRITES });
    stopped(Fault { kinds: &["over8_zero_victim", "over8_zero_neighbour"], ..WRITES });
}

#[test]
fn c3_bytes_before_the_start() {
    let sizes = &SIZES;
    let kinds = &["under1", "under2", "under3", "under4", "under5", "under6", "under7", "under8"];
    stopped(Fault { kinds, sizes, ..WRITES });
    let kinds = &["under1_ff", "under4_ff", "under8_ff", "under4_realloc", "under8_realloc"];
    stopped(Fault { kinds, sizes, ..WRITES });
}

#[test]
fn c4_a_live_chunk_with_another_plausible_size() {
    stopped(Fault { kinds: &["live_size_up", "live_size_down"], sizes: &SIZES, ..WRITES });
    stopped(Fault { kinds: &["mapped_length_up", "mapped_length_down"], sizes: &["300000"], ..WRITES });
}

#[test]
fn c4_links_of_a_chunk_in_a_bin() {
    const KINDS: &[&str] = &["fd_malloc", "bk_malloc", "fd_free", "bk_free", "fd_wild_malloc", "bk_wild_malloc"];
    stopped(Fault { kinds: KINDS, sizes: &["70000"], ..WRITES });
    stopped(Fault { kinds: KINDS, sizes: &["1000"], modes: &["tcache:0"], ..WRITES });
    let kinds = &["fd_null_malloc", "bk_null_malloc", "fd_null_free", "bk_null_free", "fd_wild_free", "bk_wild_free"];
    stopped(Fault { kinds, sizes: &["70000"], ..WRITES });
}

#[test]
fn c4_sizes_of_a_chunk_in_a_bin() {
    const KINDS: &[&str] = &[
        "size_up_malloc",
        "size_down_malloc",
        "size_wild_malloc",
        "size_up_free",
        "size_down_free",
        "size_wild_free",
        "footer_free",
    ];
    stopped(Fault { kinds: KINDS, sizes: &["70000"], ..WRITES });
    stopped(Fault { kinds: KINDS, sizes: &["10000"], modes: &["tcache:0"], ..WRITES });
}

#[test]
fn c4_the_header_of_the_top() {
    stopped(Fault { kinds: &["top_size", "top_nul", "top_cookie", "top_all"], sizes: &["70000"], ..WRITES });
    let kinds = &["top_size", "top_nul", "top_cookie", "top_all"];
    stopped(Fault { kinds, sizes: &["1000"], modes: &["tcache:0"], ..WRITES });
}

#[test]
fn c4_a_write_to_a_freed_chunk_never_leads_malloc_astray() {
    for &door in &DOORS {
        let program = program("writes", door);
        for mode in MODES {
            for size in ["24", "48", "112", "1000", "70000"] {
                for (kind, thread) in [("cached", "0"), ("cached_wild", "0"), ("cached", "1"), ("cached_wild", "1")] {
                    let ran = Case { program: &program, args: [kind, size, thread, "0", "exit"], mode, door }.run();
                    let stopped = ran.signal == Some(SIGABRT) && ran.err.starts_with("heapglass: ");
                    assert!(stopped || ran.code == Some(0), "{door:?} [{mode}] {kind} {size}: {ran:?}");
                }
            }
        }
    }
}

#[test]
fn c_the_message_is_one_write_and_allocates_nothing() {
    if !have("strace") {
        return;
    }
    let faults = [("frees", "double"), ("frees", "stack"), ("frees", "interior"), ("writes", "over16_victim")];
    for &door in &DOORS {
        for (name, kind) in faults {
            for thread in ["0", "1"] {
                let args = [kind, "48", thread, "0", "frees"];
                let traced = trace(&program(name, door), door, &args, &[("HEAPGLASS", "park:0,guard:0")], "all");
                let calls = traced.between("fault");
                let writes: Vec<_> = calls.iter().filter(|c| c.name.starts_with("write")).collect();
                assert_eq!(writes.len(), 1, "{door:?} {kind}: {calls:?}");
                assert_eq!((writes[0].name.as_str(), writes[0].args[0].as_str()), ("write", "2"), "{calls:?}");
                assert!(writes[0].args[1].starts_with("\"heapglass: "), "{calls:?}");
                let wrote: usize = writes[0].result.parse().unwrap();
                assert_eq!(wrote, traced.ran.err.len(), "{calls:?}");
                let memory = ["brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "openat", "open"];
                assert!(!calls.iter().any(|c| memory.contains(&c.name.as_str())), "{door:?} {kind}: {calls:?}");
            }
        }
    }
}
