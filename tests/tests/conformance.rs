//! One program per promise of malloc(3), malloc's relatives and the C++ operators: compiled, run, and expected to end with 0.
//!
//! Each promise is a module, each way to run its program a test in it: `libc` on the C library's own allocator where that
//! keeps the promise too, which proves the program; the others on Heapglass: `preload`; `linked` with the shared library; linked
//! with the archive, dynamically otherwise (`archive`) or altogether statically (`static_glibc`, `static_pie`, `musl`).

#[path = "conformance/config.rs"]
mod config;
#[path = "conformance/reports.rs"]
mod reports;
#[path = "conformance/xml.rs"]
mod xml;

use heapglass_tests::{Door, Ran, built, compile, have, on_heapglass, root, run};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

macro_rules! promises {
    ($($name:ident $file:literal [$($way:ident)*])*) => {
        const PROGRAMS: &[&str] = &[$($file),*];
        $(mod $name { $(#[test] fn $way() { super::$way($file) })* })*
    };
}

/// The same for a test that is more than one run: a function of the door.
macro_rules! through {
    (@ $name:ident [$($door:ident)*]) => {
        mod $name { $(#[test] fn $door() { super::$name(crate::door(stringify!($door))) })* }
    };
    ($doors:tt $($name:ident)*) => { $(through!(@ $name $doors);)* };
}
pub(crate) use through;

promises! {
    malloc_zero            "c/malloc_zero.c"            [libc preload archive musl]
    free_null              "c/free_null.c"              [libc preload archive musl]
    alignment              "c/alignment.c"              [libc preload archive static_glibc static_pie musl]
    too_large              "c/too_large.c"              [libc preload archive musl]
    calloc_overflow        "c/calloc_overflow.c"        [libc preload archive musl]
    calloc_zeroes          "c/calloc_zeroes.c"          [libc preload archive musl]
    calloc_foreign_break   "c/calloc_foreign_break.c"   [libc preload archive]
    reallocarray           "c/reallocarray.c"           [libc preload archive musl]
    realloc_null           "c/realloc_null.c"           [libc preload archive musl]
    realloc_zero           "c/realloc_zero.c"           [libc preload archive musl]
    realloc_contents       "c/realloc_contents.c"       [libc preload archive musl]
    realloc_fails          "c/realloc_fails.c"          [libc preload archive musl]
    free_keeps_errno       "c/free_keeps_errno.c"       [libc preload archive musl]
    aligned_functions      "c/aligned_functions.c"      [libc preload archive musl]
    alignment_overflow     "c/alignment_overflow.c"     [libc preload archive musl]
    // glibc up to 2.37 rounded the alignment up instead.
    aligned_alloc_einval   "c/aligned_alloc_einval.c"   [preload archive musl]
    memalign_rounds        "c/memalign_rounds.c"        [libc preload archive musl]
    posix_memalign_einval  "c/posix_memalign_einval.c"  [libc preload archive musl]
    valloc_pvalloc         "c/valloc_pvalloc.c"         [libc preload archive musl]
    usable_size            "c/usable_size.c"            [libc preload archive musl]
    threads                "c/threads.c"                [libc preload linked archive static_glibc static_pie musl musl_dynamic]
    libc_gives             "c/libc_gives.c"             [libc preload linked archive static_glibc static_pie musl musl_dynamic]
    // The C library has none of these, or none to link with.
    free_sized             "c/free_sized.c"             [with_library archive musl]
    cfree                  "c/cfree.c"                  [with_library archive musl]

    mallopt_values         "extras/mallopt_values.c"         [libc preload archive]
    mallopt_mmap_threshold "extras/mallopt_mmap_threshold.c" [libc preload archive]
    mallopt_trim_threshold "extras/mallopt_trim_threshold.c" [libc preload archive]
    mallopt_top_pad        "extras/mallopt_top_pad.c"        [libc preload archive]
    mallopt_mmap_max       "extras/mallopt_mmap_max.c"       [libc preload archive]
    mallinfo               "extras/mallinfo.c"               [libc preload archive]
    malloc_trim            "extras/malloc_trim.c"            [libc preload archive]
    malloc_trim_top        "extras/malloc_trim_top.c"        [libc preload archive]

    new_forms              "cxx/new_forms.cc"           [libc preload archive]
    new_zero               "cxx/new_zero.cc"            [libc preload archive]
    new_handler            "cxx/new_handler.cc"         [libc preload archive static_glibc static_pie]
    containers             "cxx/containers.cc"          [libc preload linked archive static_glibc static_pie]
    exceptions             "cxx/exceptions.cc"          [libc preload linked archive static_glibc static_pie]
    memory_resource        "cxx/memory_resource.cc"     [libc preload archive]
    overaligned            "cxx/overaligned.cc"         [libc preload archive]

    key_destructors          "moments/key_destructors.c"           [libc preload archive static_glibc static_pie musl musl_dynamic]
    thread_local_destructors "moments/thread_local_destructors.cc" [libc preload archive]
    dlsym_early              "moments/dlsym_early.c"               [libc preload archive]

    fork_with_threads      "fork/with_threads.c"        [libc preload archive static_glibc static_pie musl]
    fork_in_handler        "fork/in_handler.c"          [libc preload archive musl]
    spawn                  "fork/spawn.c"               [libc preload archive musl]
}

/// Where the C library has no such symbol, an undefined weak reference must stay one until the program runs.
const DYNAMIC: &str = "-Wl,-z,dynamic-undefined-weak";

through! { [libc preload archive]
    constructors_may_allocate
    memory_can_be_had_after_main
    other_libraries_come_and_go
    arenas_are_bounded_by_mallopt
}

through! { [preload archive]
    fork_in_a_handler_while_other_threads_allocate
    a_sized_free_of_the_wrong_size_is_stopped
}

through! { [libc preload]
    the_library_itself_is_loaded_at_run_time
}

fn door(name: &str) -> Door {
    match name {
        "libc" => Door::Libc,
        "preload" => Door::Preload,
        "archive" => Door::Static,
        _ => unreachable!("{name}"),
    }
}

fn source(file: &str) -> String {
    format!("tests/conformance/{file}")
}

fn program(file: &str, door: Door, extra: &[&str]) -> PathBuf {
    let dynamic: &[&str] = if door == Door::Static { &[] } else { &[DYNAMIC] };
    compile(&source(file), door, &[dynamic, extra].concat())
}

fn on(program: &Path, door: Door) -> Command {
    let mut command = on_heapglass(program, door);
    if door != Door::Libc {
        command.env("CONFORMANCE_ON_HEAPGLASS", "1");
    }
    command
}

/// What these say of heaps and mappings is counted to the byte; a guarded sample, which comes by chance, would be counted too.
const FIGURES: &str = "extras/";

#[track_caller]
fn keeps(file: &str, door: Door, extra: &[&str], args: &[&str]) -> Ran {
    let mut command = on(&program(file, door, extra), door);
    if file.starts_with(FIGURES) {
        command.env("HEAPGLASS", "guard:0");
    }
    let ran = run(command.args(args)).ok();
    assert!(!ran.err.contains("heapglass"), "{file} on {door:?} said: {}", ran.err);
    ran
}

fn libc(file: &str) {
    keeps(file, Door::Libc, &[], &[]);
}

fn preload(file: &str) {
    keeps(file, Door::Preload, &[], &[]);
}

fn archive(file: &str) {
    keeps(file, Door::Static, &[], &[]);
}

fn static_glibc(file: &str) {
    keeps(file, Door::Static, &["-static"], &[]);
}

fn static_pie(file: &str) {
    keeps(file, Door::Static, &["-static-pie"], &[]);
}

/// Preloaded, and linked with the library only for the names that the C library lacks.
fn with_library(file: &str) {
    keeps(file, Door::Preload, &[built("libheapglass.so").to_str().unwrap()], &[]);
}

/// Linked with the shared library, without any preload.
fn linked(file: &str) {
    let library = built("libheapglass.so");
    let path = program(file, Door::Libc, &[library.to_str().unwrap()]);
    let mut command = Command::new(path);
    command.env("LD_LIBRARY_PATH", library.parent().unwrap()).env("CONFORMANCE_ON_HEAPGLASS", "1");
    run(&mut command).ok();
}

fn musl(file: &str) {
    on_musl(file, &["-static"]);
}

fn musl_dynamic(file: &str) {
    on_musl(file, &[]);
}

#[track_caller]
fn on_musl(file: &str, kind: &[&str]) {
    if !have("musl-gcc") {
        return;
    }
    let name = format!("{}{}_musl", file.replace(['/', '.'], "_"), kind.concat());
    let out = made(&name, |aside| {
        let mut cc = Command::new("musl-gcc");
        cc.args(["-g", "-O1", "-Wall", "-fno-builtin", "-pthread", "-D_GNU_SOURCE", "-std=gnu17"]).args(kind);
        cc.arg("-I").arg(root().join("include")).arg("-o").arg(aside);
        cc.arg(root().join(source(file))).arg(built("libheapglass.a"));
        cc
    });
    run(Command::new(out).env("CONFORMANCE_ON_HEAPGLASS", "1")).ok();
}

/// Builds `target/test-programs/NAME` with the command that is given the file to write: aside, then renamed.
#[track_caller]
fn made(name: &str, command: impl FnOnce(&Path) -> Command) -> PathBuf {
    let dir = root().join("target/test-programs");
    std::fs::create_dir_all(&dir).unwrap();
    let aside = dir.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    let mut command = command(&aside);
    let made = command.output().unwrap_or_else(|e| panic!("{command:?} did not start: {e}"));
    assert!(made.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&made.stderr));
    let out = dir.join(name);
    std::fs::rename(&aside, &out).unwrap();
    out
}

/// A shared library whose constructor allocates.
fn plugin() -> &'static str {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    let path = PLUGIN.get_or_init(|| {
        made("libplugin.so", |aside| {
            let mut cc = Command::new("gcc");
            cc.args(["-g", "-O1", "-Wall", "-fno-builtin", "-shared", "-fPIC", "-o"]).arg(aside);
            cc.arg(root().join(source("moments/plugin.c")));
            cc
        })
    });
    path.to_str().unwrap()
}

fn constructors_may_allocate(door: Door) {
    keeps("moments/constructors.c", door, &[plugin()], &[]);
}

fn memory_can_be_had_after_main(door: Door) {
    keeps("moments/after_main.c", door, &[plugin()], &[]);
}

fn other_libraries_come_and_go(door: Door) {
    keeps("moments/dlopen_others.c", door, &[], &[plugin()]);
}

fn the_library_itself_is_loaded_at_run_time(door: Door) {
    let library = built("libheapglass.so");
    keeps("moments/dlopen_self.c", door, &[], &[library.to_str().unwrap()]);
}

/// The C library's own allocator promises this for one thread only.
fn fork_in_a_handler_while_other_threads_allocate(door: Door) {
    keeps("fork/in_handler.c", door, &[], &["threads"]);
}

fn arenas_are_bounded_by_mallopt(door: Door) {
    for bound in ["0", "1", "2", "3"] {
        keeps("extras/mallopt_arena_max.c", door, &[], &[bound]);
    }
}

fn a_sized_free_of_the_wrong_size_is_stopped(door: Door) {
    let library = built("libheapglass.so");
    let cases = [
        "100 200, 200 100, 24 100, 100 0, 0 100",
        "1000 100000, 100000 1000, 100 1000000, 1000000 100, 1000000 3000000",
        "3000000 1000000, 100 18446744073709551615, 100 1000 64, 200000 100 4096, 100 100000 4096",
    ];
    let extra: &[&str] = if door == Door::Preload { &[library.to_str().unwrap()] } else { &[] };
    let path = program("c/free_sized_wrong.c", door, extra);
    for case in cases.iter().flat_map(|line| line.split(", ")) {
        let ran = run(on(&path, door).args(case.split(' ')));
        assert_eq!(ran.signal, Some(6), "{case} on {door:?}: {ran:#?}");
        assert!(ran.err.starts_with("heapglass: ") && ran.err.ends_with('\n'), "{case} on {door:?}: {ran:#?}");
        assert_eq!(ran.err.lines().count(), 1, "{case} on {door:?}: {ran:#?}");
    }
}

const OPERATORS: &str = "
    _Znwm _Znam _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t _ZnamSt11align_val_t
    _ZnwmSt11align_val_tRKSt9nothrow_t _ZnamSt11align_val_tRKSt9nothrow_t _ZdlPv _ZdaPv _ZdlPvm _ZdaPvm
    _ZdlPvRKSt9nothrow_t _ZdaPvRKSt9nothrow_t _ZdlPvSt11align_val_t _ZdaPvSt11align_val_t
    _ZdlPvmSt11align_val_t _ZdaPvmSt11align_val_t _ZdlPvSt11align_val_tRKSt9nothrow_t
    _ZdaPvSt11align_val_tRKSt9nothrow_t
";

const FUNCTIONS: &str = "
    malloc free calloc realloc reallocarray memalign aligned_alloc posix_memalign valloc pvalloc
    malloc_usable_size free_sized free_aligned_sized cfree mallopt mallinfo mallinfo2 malloc_info malloc_stats
    malloc_trim heapglass_check
";

fn defined(file: &Path, dynamic: bool) -> Vec<String> {
    let mut nm = Command::new("nm");
    nm.arg("--defined-only").args(dynamic.then_some("--dynamic")).arg(file);
    let ran = run(&mut nm).ok();
    ran.out.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_string).collect()
}

#[test]
fn the_library_exports_every_function_and_operator() {
    let names = defined(&built("libheapglass.so"), true);
    for name in FUNCTIONS.split_whitespace().chain(OPERATORS.split_whitespace()) {
        assert!(names.iter().any(|n| n == name), "{name} is not exported");
    }
}

/// Programs are looked through until each name was found in one: it is asked for by it, or by its weak mention.
#[test]
fn each_function_and_operator_has_a_program() {
    let library = built("libheapglass.so");
    let mut unused: BTreeSet<&str> = FUNCTIONS.split_whitespace().chain(OPERATORS.split_whitespace()).collect();
    for file in PROGRAMS.iter().chain(&["extras/malloc_info.c", "extras/malloc_stats.c", "moments/dlopen_self.c"]) {
        if unused.is_empty() {
            return;
        }
        let path = program(file, Door::Libc, &[library.to_str().unwrap()]);
        let asked = run(Command::new("nm").args(["--dynamic", "--undefined-only"]).arg(path)).ok().out;
        for name in asked.split_whitespace().filter_map(|word| word.split('@').next()) {
            unused.remove(name);
        }
    }
    assert_eq!(unused, BTreeSet::new(), "no program uses these");
}

#[test]
fn operators_and_malloc_come_from_one_place() {
    let path = program("cxx/new_is_ours.cc", Door::Preload, &["-ldl"]);
    run(on(&path, Door::Preload).arg("libheapglass.so")).ok();

    let path = program("cxx/new_is_ours.cc", Door::Static, &["-ldl"]);
    let names = defined(&path, false);
    for name in OPERATORS.split_whitespace() {
        assert!(names.iter().any(|n| n == name), "{name} is not in the program linked with the archive");
    }
    run(&mut on(&path, Door::Static)).ok();
}
