//! A plan as text, for tests: what each thread does, and what a recording of a few calls becomes.

use super::compile::{Told, Wishes, compile};
use super::plan::{BLOCK_HEAD_BYTES, HEAD_BYTES, MAGIC, TURN, op};
use heapglass_capture::bytes::Cursor;
use heapglass_capture::{About, Call, Capture, Thread, Writer};
use heapglass_event::record::Call as Function;
use heapglass_event::record::Call::*;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// The operations of each thread.
pub fn told(mut file: &File) -> Vec<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let word = |at: u64| Cursor(&bytes[at as usize..]).word().unwrap();
    assert!(word(0) == MAGIC && bytes.len() > HEAD_BYTES);
    let directory = word(24);
    let threads = (bytes.len() as u64 - directory) / 8;
    let stream = |thread: u64| {
        let mut whole = Vec::new();
        let mut place = word(directory + thread * 8);
        while place != 0 {
            let start = place as usize + BLOCK_HEAD_BYTES;
            whole.extend_from_slice(&bytes[start..start + word(place + 8) as usize]);
            place = word(place);
        }
        operations(&whole)
    };
    (0..threads).map(stream).collect()
}

fn operations(bytes: &[u8]) -> String {
    let mut cursor = Cursor(bytes);
    let mut all = Vec::new();
    while !cursor.is_empty() {
        let code = cursor.byte().unwrap();
        let (name, count) = match code & !TURN {
            op::STOP => ("stop", 0),
            op::END => ("end", 0),
            op::MALLOC => ("malloc", 2),
            op::CALLOC => ("calloc", 2),
            op::ALIGNED => ("aligned", 3),
            op::REALLOC => ("realloc", 2),
            op::FREE => ("free", 1),
            op::REALLOC_FREE => ("realloc-free", 1),
            op::TRIM => ("trim", 1),
            op::SPAWN => ("spawn", 2),
            op::JOIN => ("join", 1),
            op::WAIT => ("wait", 1),
            op::ARRIVE => ("arrive", 1),
            op::TIME => ("time", 1),
            other => panic!("{other}"),
        };
        let turn = if code & TURN == 0 { String::new() } else { format!("[{}] ", cursor.number().unwrap()) };
        let numbers: Vec<String> = (0..count).map(|_| cursor.number().unwrap().to_string()).collect();
        all.push(format!("{turn}{name} {}", numbers.join(" ")).trim_end().to_owned());
    }
    all.join(", ")
}

/// Who calls what with which arguments, and what that returns. They come 65,536 ticks of the recording apart.
pub type Made = (u32, Function, [u64; 2], u64);

/// Records calls, and compiles them.
pub fn compiled(calls: &[Made], wishes: Wishes) -> (Vec<String>, Told) {
    let path = |what: &str| {
        let thread = std::thread::current().id();
        std::env::temp_dir().join(format!("heapglass-{what}-{}-{thread:?}", std::process::id()))
    };
    let (recording, plan) = (path("recording"), path("plan"));
    let mut writer = Writer::create(File::create(&recording).unwrap(), 0, &About::default()).unwrap();
    for (number, &(tid, function, arguments, result)) in (1..).zip(calls) {
        let tick = number << 22;
        let mut call =
            Call { function: Some(function), arguments, result, began: tick, ended: tick, ..Call::default() };
        call.failed = result == 0 && !function.gives_back();
        let request = call.requested().unwrap_or(0);
        call.bytes = if result == 0 { 0 } else { ((request + 23) & !15).max(32) };
        writer.add(Thread { pid: 1, tid }, &mut call).unwrap();
    }
    writer.finish(&About::default()).unwrap();
    let capture = Capture::open(&recording).unwrap();
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&plan).unwrap();
    for path in [recording, plan] {
        std::fs::remove_file(path).unwrap();
    }
    let Ok(plan) = compile(&capture, file, wishes) else { panic!("it wasn't compiled") };
    (told(&plan.file), plan.told)
}

#[track_caller]
fn check(calls: &[Made], expect: &[&str]) -> Told {
    let (threads, told) = compiled(calls, Wishes::default());
    assert_eq!(threads, expect);
    told
}

#[test]
fn pointers_become_slots_that_are_used_again() {
    let calls = [
        (1, Malloc, [10, 0], 0xa0),
        (1, Memalign, [64, 20], 0xb0),
        (1, Free, [0xa0, 0], 0),
        (1, Calloc, [3, 7], 0xc0),
        (1, Realloc, [0xb0, 90], 0xd0),
        (1, Realloc, [0xd0, 0], 0),
        (1, NewArray, [32, 5], 0xe0),
        (1, Trim, [4096, 0], 0),
    ];
    let all =
        "malloc 0 10, aligned 1 20 6, free 0, calloc 0 21, realloc 1 90, realloc-free 1, aligned 1 5 5, trim 4096";
    let told = check(&calls, &[&format!("{all}, arrive 1, wait 1, stop")]);
    assert_eq!((told.calls, told.void, told.threads, told.peak_requested), (8, 0, 1, 111));
}

#[test]
fn what_cant_be_made_again_is_left_out() {
    let calls = [
        (1, Free, [0xa0, 0], 0),
        (1, Free, [0, 0], 0),
        (1, Malloc, [1 << 62, 0], 0),
        (1, Malloc, [5, 0], 0xb0),
        (1, Realloc, [0xb0, 1 << 62], 0),
        (1, Free, [0xb0, 0], 0),
    ];
    let told = check(&calls, &["malloc 0 5, free 0, arrive 1, wait 1, stop"]);
    assert_eq!((told.calls, told.void, told.strangers), (2, 3, 1));
}

/// The clocks of two processors lie: a pointer is handed out before its free is seen, which is the older chunk's.
#[test]
fn a_free_that_comes_late_is_the_older_chunks() {
    let calls =
        [(1, Malloc, [10, 0], 0xa0), (1, Malloc, [20, 0], 0xa0), (1, Free, [0xa0, 0], 0), (1, Free, [0xa0, 0], 0)];
    check(&calls, &["malloc 0 10, malloc 1 20, free 0, free 1, arrive 1, wait 1, stop"]);
}

#[test]
fn a_thread_begins_when_those_before_have_ended_and_an_other_threads_chunk_has_its_turn() {
    let calls = [
        (1, Malloc, [10, 0], 0xa0),
        (2, Malloc, [20, 0], 0xb0),
        (1, Free, [0xb0, 0], 0),
        (2, Free, [0xa0, 0], 0),
        (2, ThreadEnd, [0, 0], 0),
        (2, Malloc, [30, 0], 0xc0),
    ];
    let expect = [
        "malloc 0 10, spawn 1 1, arrive 1, [1] free 1, arrive 2, wait 2, join 1, spawn 2 1, arrive 1, wait 4, stop",
        "wait 1, malloc 1 20, free 0, arrive 2, end",
        "wait 3, malloc 0 30, arrive 1, stop",
    ];
    let (threads, told) = compiled(&calls, Wishes::default());
    // Which slot the last one gets is no matter.
    assert_eq!(threads[..2], expect[..2]);
    assert!(threads[2].starts_with("wait 3, malloc ") && threads[2].ends_with(" 30, arrive 1, stop"), "{threads:?}");
    assert_eq!(told.threads, 3);
}

/// Two threads of which one allocates what the other frees: neither may be ahead by more than a hundredth of the peak.
#[test]
fn an_epoch_ends_before_its_calls_could_change_the_peak() {
    let mut calls: Vec<Made> = (0..1000).map(|i| (1, Malloc, [984, 0], 0x1_0000 + i * 1000)).collect();
    for i in 0..500 {
        calls.push((1, Malloc, [984, 0], 0x100_0000 + i * 1000));
        calls.push((2, Free, [0x1_0000 + i * 1000, 0], 0));
    }
    let (threads, told) = compiled(&calls, Wishes::default());
    assert_eq!(told.peak_bytes, 1001 * 992);
    let epochs: Vec<&str> = threads[1].split("arrive").collect();
    assert!(epochs.len() > 60, "{epochs:?}");
    assert!(epochs.iter().all(|epoch| epoch.matches("free").count() <= 11), "{epochs:?}");
    // A pair that frees what it has allocated is bound by nothing.
    let pairs = (0..4000).map(|i| (1 + i % 4 / 2, if i % 2 == 0 { Malloc } else { Free }));
    let made = |(tid, function): (u32, Function)| match function {
        Malloc => (tid, Malloc, [24, 0], 0xa0 * u64::from(tid)),
        _ => (tid, Free, [0xa0 * u64::from(tid), 0], 0),
    };
    let (threads, _) = compiled(&pairs.map(made).collect::<Vec<Made>>(), Wishes::default());
    assert!(threads[0].matches("arrive").count() <= 3, "{threads:?}");
}

#[test]
fn streams_that_are_longer_than_a_block_go_on_in_the_next() {
    let calls: Vec<Made> = (0..20_000).map(|i| (1, Malloc, [i, 0], 0x1000 * (i + 1))).collect();
    let expect: Vec<String> = (0..20_000).map(|i| format!("malloc {i} {i}")).collect();
    check(&calls, &[&format!("{}, arrive 1, wait 1, stop", expect.join(", "))]);
}

#[test]
fn with_times_a_call_waits_for_its_own() {
    let calls = [(1, Malloc, [1, 0], 0xa0), (1, Malloc, [2, 0], 0xb0)];
    let (threads, _) = compiled(&calls, Wishes { timing: true, pid: None });
    let words: Vec<&str> = threads[0].split(", ").collect();
    assert!(words[0].starts_with("time ") && words[1] == "malloc 0 1" && words[2].starts_with("time "), "{threads:?}");
}
