//! A plan as text, for tests: what each thread does, and what a recording of a few calls becomes.

use super::compile::{Wishes, compile};
use super::plan::{BLOCK_HEAD_BYTES, HEAD_BYTES, MAGIC, TURN, op};
use heapglass_capture::bytes::Cursor;
use heapglass_capture::{About, Call, Capture, Thread, Writer};
use heapglass_event::record::Call as Function;
use std::fs::File;
use std::io::Read;

/// The operations of each thread.
pub fn told(mut file: &File) -> Vec<String> {
    use std::io::{Seek, SeekFrom};
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
pub fn compiled(calls: &[Made], wishes: Wishes) -> (Vec<String>, super::compile::Told) {
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
