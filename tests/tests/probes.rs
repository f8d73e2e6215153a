//! Probes for tracers: they stand in the library's notes under the names that others know, each is one nop, and a real tracer hears
//! what was sampled, without the program having been asked.

use heapglass_tests::held::Held;
use heapglass_tests::{Door, built, compile, have, on_heapglass, run};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// Provider, name, and how many arguments glibc's manual or OpenTelemetry's design gives it.
const PROBES: [(&str, &str, usize); 23] = [
    ("otel_memory", "alloc", 3),
    ("otel_memory", "free", 1),
    ("libc", "memory_sbrk_more", 2),
    ("libc", "memory_sbrk_less", 2),
    ("libc", "memory_heap_new", 2),
    ("libc", "memory_heap_free", 2),
    ("libc", "memory_heap_more", 2),
    ("libc", "memory_heap_less", 2),
    ("libc", "memory_arena_new", 2),
    ("libc", "memory_arena_reuse", 2),
    ("libc", "memory_arena_reuse_free_list", 1),
    ("libc", "memory_arena_retry", 2),
    ("libc", "memory_malloc_retry", 1),
    ("libc", "memory_mallopt", 2),
    ("libc", "memory_mallopt_mxfast", 2),
    ("libc", "memory_mallopt_perturb", 2),
    ("libc", "memory_mallopt_arena_max", 2),
    ("libc", "memory_mallopt_free_dyn_thresholds", 2),
    ("libc", "memory_mallopt_trim_threshold", 3),
    ("libc", "memory_mallopt_top_pad", 3),
    ("libc", "memory_mallopt_mmap_threshold", 3),
    ("libc", "memory_mallopt_mmap_max", 3),
    ("libc", "memory_tcache_double_free", 2),
];

struct Note {
    location: u64,
    semaphore: u64,
    arguments: usize,
}

/// What readelf finds, by provider and name.
fn notes() -> BTreeMap<(String, String), Vec<Note>> {
    let ran = run(Command::new("readelf").arg("-n").arg(built("libheapglass.so"))).ok();
    let mut notes: BTreeMap<_, Vec<Note>> = BTreeMap::new();
    let (mut provider, mut name, mut places) = (String::new(), String::new(), (0, 0));
    let hex = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap();
    for line in ran.out.lines().map(str::trim) {
        if let Some(word) = line.strip_prefix("Provider: ") {
            provider = word.into();
        } else if let Some(word) = line.strip_prefix("Name: ") {
            name = word.into();
        } else if let Some(words) = line.strip_prefix("Location: ") {
            let mut parts = words.split(", ");
            let location = hex(parts.next().unwrap());
            places = (location, hex(parts.last().unwrap().strip_prefix("Semaphore: ").unwrap()));
        } else if let Some(words) = line.strip_prefix("Arguments:") {
            let arguments = words.split_whitespace().count();
            let note = Note { location: places.0, semaphore: places.1, arguments };
            notes.entry((provider.clone(), name.clone())).or_default().push(note);
        }
    }
    notes
}

#[test]
fn they_are_in_the_notes_and_each_is_a_nop() {
    let notes = notes();
    for (provider, name, arguments) in PROBES {
        let found = notes.get(&(provider.to_string(), name.to_string())).unwrap_or_else(|| panic!("{provider}:{name}"));
        assert!(found.iter().all(|note| note.arguments == arguments), "{provider}:{name}");
        // Who counts its listeners tells us to sample; the rare events are told whether anybody listens or not.
        assert!(found.iter().all(|note| (note.semaphore != 0) == (provider == "otel_memory")), "{provider}:{name}");
    }
    assert_eq!(notes.len(), PROBES.len(), "{:?}", notes.keys());
    let ran = run(Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(built("libheapglass.so"))).ok();
    let code: BTreeMap<u64, &str> = ran
        .out
        .lines()
        .filter_map(|line| {
            let (address, instruction) = line.trim_start().split_once(":\t")?;
            Some((u64::from_str_radix(address, 16).ok()?, instruction.trim()))
        })
        .collect();
    for ((provider, name), notes) in &notes {
        for note in notes {
            assert_eq!(code.get(&note.location), Some(&"nop"), "{provider}:{name} at {:#x}", note.location);
        }
    }
}

/// What bpftrace says while the program goes one step; `None` where the kernel doesn't let it trace.
fn traced(script: &str) -> Option<String> {
    let program = compile("tests/profile/probed.c", Door::Preload, &[]);
    let mut held = Held::start(&mut on_heapglass(program, Door::Preload));
    let library = built("libheapglass.so");
    let script = script.replace("LIBRARY", library.to_str().unwrap());
    let script = format!("BEGIN {{ printf(\"begun\\n\"); }} {script} interval:s:120 {{ exit(); }}");
    let mut command = Command::new("bpftrace");
    command.args(["-p", &held.pid().to_string(), "-e", &script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tracer = command.spawn().unwrap();
    let mut out = BufReader::new(tracer.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("begun") {
        let mut line = String::new();
        if out.read_line(&mut line).unwrap() == 0 {
            let mut why = String::new();
            tracer.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            eprintln!("left out: bpftrace doesn't work here: {text}{why}");
            let _ = tracer.wait();
            return None;
        }
        text.push_str(&line);
    }
    held.step();
    // The process's end is the tracer's.
    held.let_go();
    out.read_to_string(&mut text).unwrap();
    let _ = tracer.wait();
    Some(text)
}

/// `@name: number`.
#[track_caller]
fn figure(text: &str, name: &str) -> f64 {
    let start = format!("@{name}: ");
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.trim().parse().ok())
        .unwrap_or_else(|| panic!("{name}: {text}"))
}

#[test]
fn a_tracer_hears_what_is_sampled_and_its_sum_is_right() {
    if !have("bpftrace") {
        return;
    }
    let script = "usdt:LIBRARY:otel_memory:alloc /arg1 == 1000/ { @count = count(); @bytes = sum(arg1); @weight = sum(arg2); @[arg0] = 1; } \
                  usdt:LIBRARY:otel_memory:free /@[arg0] == 1/ { @freed = count(); delete(@[arg0]); } \
                  END { clear(@); }";
    let Some(text) = traced(script) else { return };
    // A thousand million bytes in chunks of 1,008 bytes for 1,000: a sample for each 512 KiB of chunks.
    let samples = 1e6 * 1008.0 / 524_288.0;
    let spread = 5.0 / f64::sqrt(samples) + 0.01;
    assert!((figure(&text, "count") / samples - 1.0).abs() < spread, "{samples}: {text}");
    assert!((figure(&text, "weight") / 1e9 - 1.0).abs() < spread, "{text}");
    assert_eq!(figure(&text, "bytes"), 1000.0 * figure(&text, "count"), "{text}");
    assert!((figure(&text, "freed") - figure(&text, "count")).abs() <= 2.0, "{text}");
}

#[test]
fn a_tracer_hears_rare_events_under_glibcs_names() {
    if !have("bpftrace") {
        return;
    }
    // M_TRIM_THRESHOLD is -1, and was 128 KiB.
    let script = "usdt:LIBRARY:libc:memory_mallopt /(int32)arg0 == -1 && arg1 == 200000/ { @mallopt = count(); } \
                  usdt:LIBRARY:libc:memory_mallopt_trim_threshold /arg0 == 200000 && arg1 == 131072 && arg2 == 1/ { @trim = count(); } \
                  usdt:LIBRARY:libc:memory_sbrk_more /arg0 % 4096 == 0 && arg1 >= 131072/ { @more = count(); } \
                  usdt:LIBRARY:libc:memory_sbrk_less { @less = count(); } \
                  usdt:LIBRARY:libc:memory_arena_new { @arena = count(); } \
                  usdt:LIBRARY:libc:memory_heap_new { @heap = count(); } \
                  usdt:LIBRARY:libc:memory_heap_more { @heap_more = count(); } \
                  usdt:LIBRARY:libc:memory_heap_less { @heap_less = count(); }";
    let Some(text) = traced(script) else { return };
    for name in ["mallopt", "trim", "arena", "heap"] {
        assert_eq!(figure(&text, name), 1.0, "{name}: {text}");
    }
    for name in ["more", "less", "heap_more", "heap_less"] {
        assert!(figure(&text, name) >= 1.0, "{name}: {text}");
    }
}
