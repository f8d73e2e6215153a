//! `heapglass trace`: what it tells of real programs, and that nothing changes for them.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, Ran, compile, have, on_heapglass, run};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SIGSEGV: i32 = 11;

/// One call of a trace: everything left of the comment, and the system calls beneath.
#[derive(Debug)]
struct Line {
    prefix: String,
    call: String,
    result: String,
    comment: String,
    kernel: Vec<String>,
}

#[derive(Debug)]
struct Traced {
    ran: Ran,
    lines: Vec<Line>,
    end: String,
}

/// Reads a trace; every line of it must be understood.
#[track_caller]
fn parse(text: &str) -> (Vec<Line>, String) {
    let mut lines: Vec<Line> = Vec::new();
    let mut end = String::new();
    for text in text.lines() {
        assert_eq!(end, "", "nothing comes behind the end: {text}");
        if let Some(kernel) = text.trim_start().strip_prefix("└ ") {
            lines.last_mut().unwrap_or_else(|| panic!("no call above: {text}")).kernel.push(kernel.into());
            continue;
        }
        if text.starts_with("+++") {
            end = text.into();
            continue;
        }
        let (prefix, rest) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("] ").unwrap(),
            None => ("", text),
        };
        if rest.starts_with("; for its own records: ") {
            continue;
        }
        let (left, comment) = rest.split_once(" ; ").unwrap_or_else(|| panic!("no comment: {text}"));
        let (call, result) = left.rsplit_once(" = ").unwrap_or((left, ""));
        let call = call.trim_end();
        assert!(call.contains('(') && (call.ends_with(')') || call.ends_with("<unfinished ...>")), "{text}");
        lines.push(Line {
            prefix: prefix.into(),
            call: call.into(),
            result: result.trim().into(),
            comment: comment.into(),
            kernel: Vec::new(),
        });
    }
    (lines, end)
}

#[track_caller]
fn trace(flags: &[&str], words: &[&str]) -> Traced {
    trace_with(&mut heapglass(), flags, words)
}

#[track_caller]
fn trace_with(command: &mut Command, flags: &[&str], words: &[&str]) -> Traced {
    let dir = Dir::new("trace");
    let file = dir.path().join("trace");
    let ran = run(command.arg("trace").arg("-o").arg(&file).args(flags).arg("--").args(words));
    let text = fs::read_to_string(&file).unwrap();
    let (lines, end) = parse(&text);
    assert!(end.ends_with(" 0 events dropped"), "{end}\n{ran:#?}");
    Traced { ran, lines, end }
}

fn program(source: &str) -> String {
    compile(source, Door::Preload, &[]).to_str().unwrap().to_owned()
}

impl Traced {
    fn calls(&self, start: &str) -> Vec<&Line> {
        self.lines.iter().filter(|line| line.call.starts_with(start)).collect()
    }
}

#[test]
fn the_first_example_is_told_call_by_call() {
    let traced = trace(&[], &[&program("examples/c/first.c")]);
    assert_eq!(traced.ran.code, Some(0));
    let [small, medium, large, ..] = traced.lines.as_slice() else { panic!("{traced:#?}") };
    assert_eq!(small.call, "malloc(32)");
    assert_eq!(small.comment, "grown by a new heap at the break → top 135168 → cut 48");
    assert!(small.kernel[0].starts_with("brk(0x") && small.kernel[0].ends_with("(+135,168 B)"), "{small:?}");
    assert_eq!((medium.call.as_str(), medium.comment.as_str()), ("malloc(128)", "top 135120 → cut 144"));
    assert_eq!(medium.kernel.len(), 0);
    assert_eq!(large.call, "malloc(262144)");
    assert_eq!(large.comment, "≥ mmap_threshold 131072 → mapping 266240 made");
    assert!(large.kernel[0].starts_with("mmap(NULL, 266240, RW, PRIVATE|ANON) = 0x"), "{large:?}");
    let freed = &traced.calls(&format!("free({})", large.result))[0];
    assert_eq!(freed.result, "<void>");
    assert!(freed.kernel[0].starts_with("munmap(0x"), "{freed:?}");
    assert!(traced.end.starts_with("+++ exited with 0 +++   7 calls, 1 brk, 1 mmap, 1 munmap, "), "{}", traced.end);
}

/// Without random addresses: they are to be compared.
fn fixed(mut command: Command, settings: &str) -> Command {
    let mut wrapped = Command::new("setarch");
    wrapped.arg("-R").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    command.env_clear();
    // Decay goes by the clock, and samples by chance unless they have a seed.
    wrapped.env("HEAPGLASS", settings);
    wrapped
}

#[test]
fn a_traced_program_gets_the_same_addresses() {
    if !have("setarch") {
        return;
    }
    let steps = program("tests/trace/steps.c");
    let examples = ["first", "reverse"].map(|name| program(&format!("examples/c/{name}.c")));
    let runs: [(&str, &[&str]); 4] =
        [(&steps, &["100000", "1"]), (&steps, &["100000", "4"]), (&examples[0], &[]), (&examples[1], &[])];
    for (program, words) in runs {
        for settings in
            ["decay:-1,guard:0", "decay:-1,tcache:0", "decay:-1,park:0,guard:0", "decay:-1,guard:1000,guard_seed:3"]
        {
            let mut alone = on_heapglass(program, Door::Preload);
            alone.args(words);
            let alone = run(&mut fixed(alone, settings)).ok();
            let mut traced = heapglass();
            traced.args(["trace", "-o", "/dev/null", "--", program]).args(words);
            let traced = run(&mut fixed(traced, settings)).ok();
            assert_eq!(alone.out, traced.out, "{program} {words:?} {settings}");
        }
    }
}

/// The system calls for memory that a process makes from the start of `program` on, without the one for the records' file.
/// strace wrote a log for each process into this directory.
#[track_caller]
fn memory_calls(logs: &Path, program: &str) -> Vec<String> {
    let start = format!("execve(\"{program}\"");
    let logs = fs::read_dir(logs).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    for log in logs {
        let begin = log.lines().position(|line| line.starts_with(&start) && line.ends_with("= 0"));
        if let Some(begin) = begin {
            let calls = log.lines().skip(begin + 1).filter(|call| !call.contains("MAP_FIXED_NOREPLACE"));
            return calls.map(str::to_owned).collect();
        }
    }
    panic!("{program} never started");
}

#[test]
fn a_traced_program_makes_the_same_system_calls() {
    if !have("strace") || !have("setarch") {
        return;
    }
    let dir = Dir::new("syscalls");
    for (program, words) in [
        (program("examples/c/first.c"), &[][..]),
        (program("examples/c/reverse.c"), &[]),
        (program("tests/trace/steps.c"), &["100000"]),
    ] {
        let logged = |name: &str, mut command: Command| {
            let logs = dir.path().join(format!("{name}-{}", program.rsplit('/').next().unwrap()));
            fs::create_dir(&logs).unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-ff", "-o"]).arg(logs.join("log"));
            strace.args(["-e", "trace=execve,brk,mmap,munmap,mremap,madvise,mprotect", "-e", "signal=none"]);
            strace.args(["setarch", "-R"]).arg(command.get_program()).args(command.get_args()).args(words);
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => strace.env(name, value),
                    None => strace.env_remove(name),
                };
            }
            command.env_clear();
            strace.env("HEAPGLASS", "decay:-1,guard:0");
            run(&mut strace).ok();
            memory_calls(&logs, &program)
        };
        // By the command too, so that both programs start in the same way.
        let mut alone = heapglass();
        alone.args(["run", "--", &program]);
        let mut traced = heapglass();
        traced.args(["trace", "-o", "/dev/null", "--", &program]);
        let (alone, traced) = (logged("alone", alone), logged("traced", traced));
        assert!(alone.len() > 3, "{alone:#?}");
        assert_eq!(alone, traced, "{program}");
    }
}

#[test]
fn every_call_of_every_thread_is_told_and_said_whose_it_was() {
    const COUNT: usize = 3000;
    let traced = trace(&[], &[&program("tests/trace/threads.cc"), &COUNT.to_string()]);
    assert_eq!((traced.ran.code, traced.ran.out.as_str()), (Some(0), "done\n"));
    for number in 0..4 {
        let size = 5001 + 16 * number;
        let made = traced.calls(&format!("operator new({size})"));
        assert_eq!(made.len(), COUNT);
        let whose = &made[0].prefix;
        assert!(whose.starts_with("pid ") && made.iter().all(|line| line.prefix == *whose), "{whose}");
        assert_eq!(traced.calls(&format!("operator new[]({})", size + 1000)).len(), COUNT);
        let mine = |line: &&&Line| line.prefix == *whose;
        let deleted = traced.calls("operator delete(");
        let is_this = |line: &&&Line| line.call.ends_with(&format!(", {size})"));
        assert_eq!(deleted.iter().filter(mine).filter(is_this).count(), COUNT);
        assert_eq!(traced.calls("operator delete[](").iter().filter(mine).count(), COUNT);
    }
}

#[test]
fn python_starts_traced() {
    if !have("python3") {
        return;
    }
    // The program itself: what stands on the PATH may be a script that starts it.
    let itself = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"])).ok();
    let traced = trace(&["-tt", "-T"], &[itself.out.trim(), "-c", "print(sum(range(10)))"]);
    assert_eq!((traced.ran.code, traced.ran.out.as_str()), (Some(0), "45\n"));
    assert!(traced.lines.len() > 1000, "{}", traced.lines.len());
    // Whatever is freed was handed out before, or is null.
    let mut live = std::collections::HashSet::new();
    for line in &traced.lines {
        let (time, call) = line.call.split_once(' ').unwrap_or_else(|| panic!("no time: {line:?}"));
        assert_eq!(time.len(), "12:34:56.123456".len(), "{line:?}");
        assert!(line.result.ends_with('>'), "{line:?}");
        let result = line.result.split_whitespace().next().unwrap_or_default();
        let (function, rest) = call.split_once('(').unwrap();
        let first = rest.split([',', ')']).next().unwrap();
        if matches!(function, "free" | "realloc") && first != "NULL" {
            assert!(live.remove(first), "never handed out: {line:?}");
        }
        if function != "free" {
            assert!(live.insert(result.to_owned()), "handed out twice: {line:?}");
        }
    }
}

#[test]
fn redis_is_traced_under_load() {
    if !have("redis-server") || !have("redis-benchmark") || !have("redis-cli") {
        return;
    }
    let dir = Dir::new("redis");
    let (socket, file) = (dir.path().join("socket"), dir.path().join("trace"));
    let mut server = heapglass();
    server.args(["trace", "-o"]).arg(&file).args(["--", "redis-server", "--port", "0", "--save", "", "--unixsocket"]);
    let mut server = server.arg(&socket).current_dir(dir.path()).stdout(Stdio::null()).spawn().unwrap();
    let asked = Instant::now();
    while !socket.exists() && asked.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let load =
        run(Command::new("redis-benchmark").arg("-s").arg(&socket).args(["-q", "-n", "3000", "-t", "set,get,lpush"]));
    let bye = run(Command::new("redis-cli").arg("-s").arg(&socket).args(["shutdown", "nosave"]));
    let ended = server.wait().unwrap();
    assert_eq!((load.code, bye.code, ended.code()), (Some(0), Some(0), Some(0)), "{load:#?}");
    let (lines, end) = parse(&fs::read_to_string(&file).unwrap());
    assert!(lines.len() > 30_000 && end.ends_with(" 0 events dropped"), "{} {end}", lines.len());
}

#[test]
fn children_are_silent_unless_they_are_followed() {
    let program = program("tests/trace/forks.c");
    let alone = trace(&[], &[&program]);
    assert_eq!(alone.ran.out, "child 7\n");
    assert_eq!(alone.calls("malloc(4242)").len(), 0);
    assert_eq!(alone.calls("malloc(2424)").len(), 2);
    let followed = trace(&["-f"], &[&program]);
    assert_eq!(followed.ran.out, "child 7\n");
    assert_eq!(followed.calls("malloc(4242)").len(), 1000);
    assert_eq!(followed.calls("malloc(2424)").len(), 2);
    let pid = |line: &Line| line.prefix.split('.').next().unwrap().to_owned();
    assert_ne!(pid(followed.calls("malloc(4242)")[0]), pid(followed.calls("malloc(2424)")[0]));
}

#[test]
fn a_crowd_of_children_is_followed_to_its_end() {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (for j in 1 2 3 4 5; do ls / >/dev/null & done; wait) & done; wait; echo all";
    let traced = trace(&["-f"], &["bash", "-c", script]);
    assert_eq!((traced.ran.code, traced.ran.out.as_str()), (Some(0), "all\n"));
    let pids: std::collections::HashSet<_> =
        traced.lines.iter().map(|line| line.prefix.split('.').next().unwrap()).collect();
    assert!(pids.len() > 100, "{}", pids.len());
}

#[test]
fn filters_choose_lines() {
    let program = program("examples/c/first.c");
    let shown = |flags: &[&str]| -> Vec<String> {
        trace(flags, &[&program]).lines.iter().map(|line| line.call.split('(').next().unwrap().to_owned()).collect()
    };
    assert_eq!(shown(&["-e", "free"]), ["free"; 3]);
    assert_eq!(shown(&["-e", "!free"]), ["malloc"; 4]);
    assert_eq!(shown(&["-e", "syscalls"]), ["malloc", "malloc", "free"]);
    assert_eq!(shown(&["-e", "malloc", "-e", "size>=4096"]).len(), 2);
    assert_eq!(shown(&["-e", "malloc", "--min-size", "100", "--max-size", "4K"]).len(), 2);
    assert_eq!(shown(&["-e", "bin=top"]).len(), 2);
    assert_eq!(shown(&["-e", "bin=cache"]), ["free"; 2]);
    assert_eq!(shown(&["-e", "size=32"]), ["malloc"]);
    assert_eq!(shown(&["-e", "thread=1"]).len(), 7);
    assert_eq!((shown(&["-e", "arena=0"]).len(), shown(&["-e", "arena=1"]).len()), (3, 0));
    assert_eq!((shown(&["-e", "stack~^main"]).len(), shown(&["-e", "stack~no_such_function"]).len()), (7, 0));
    let refused = run(heapglass().args(["trace", "-e", "bin=huge", "--", "true"]));
    assert_eq!(refused.code, Some(125));
    assert!(refused.err.contains("the bins are cache, depot"), "{refused:#?}");
}

#[test]
fn a_summary_counts_by_what_served_the_calls() {
    let ran = run(heapglass().args(["trace", "-c", "--", &program("examples/c/first.c")])).ok();
    let row = |name: &str| {
        ran.err.lines().find(|line| line.ends_with(&format!("  {name}"))).unwrap_or_else(|| panic!("{ran:#?}"))
    };
    let calls = |name: &str| row(name).split_whitespace().nth(3).unwrap().parse::<u64>().unwrap();
    assert_eq!(
        (calls("kernel"), calls("top"), calls("freed to the kernel"), calls("freed to the cache")),
        (2, 2, 1, 2)
    );
    assert_eq!(calls("total"), 7);
    assert!(row("brk").contains("135,168"), "{ran:#?}");
    // Filters are about what is counted, too.
    let ran = run(heapglass().args(["trace", "-c", "-e", "free", "--", &program("examples/c/first.c")])).ok();
    assert!(ran.err.contains("  freed to the kernel\n") && !ran.err.contains("  brk\n"), "{ran:#?}");
    assert!(ran.err.ends_with("+++ exited with 0 +++   3 calls, 1 munmap, 0 events dropped\n"), "{ran:#?}");
}

#[test]
fn a_hit_took_one_of_those_that_were_there() {
    // Requests above the exact classes find longer chunks in the class below their own.
    let traced = trace(&[], &[&program("tests/trace/steps.c"), "5000"]);
    let hits: Vec<&Line> = traced.lines.iter().filter(|line| line.comment.contains("] hit ")).collect();
    assert!(hits.len() > 1000, "{}", hits.len());
    for line in hits {
        assert!(!line.comment.contains("] hit 0→"), "{line:?}");
    }
}

#[test]
fn threads_that_only_delete_are_told_one_after_the_other() {
    // Each gets its record in the middle of a told call; the ring that such threads share must be free for the next.
    let traced = trace(&[], &[&program("tests/trace/deletes.cc")]);
    assert_eq!((traced.ran.code, traced.ran.out.as_str()), (Some(0), "3 threads\n"));
    let deleted = traced.calls("operator delete(");
    assert_eq!(deleted.iter().filter(|line| line.call.ends_with(", 40)")).count(), 600);
    assert!(deleted.iter().all(|line| line.result == "<void>"), "{}", traced.end);
}

#[test]
fn names_of_outputs_are_filled_in() {
    let dir = Dir::new("names");
    let mut command = heapglass();
    let words = ["trace", "-o", "%e.%p.%n.txt", "--", "sh", "-c", "echo $$"];
    let pid = run(command.current_dir(dir.path()).args(words)).ok().out.trim().to_owned();
    let text = fs::read_to_string(dir.path().join(format!("sh.{pid}.1.txt"))).unwrap();
    assert!(text.contains("+++ exited with 0 +++"), "{text}");
    let ran = run(heapglass().args(["trace", "-o", "%q", "--", "true"]));
    assert!(ran.code == Some(125) && ran.err.contains("a name has no '%q'"), "{ran:#?}");
}

#[test]
fn the_format_of_ltrace_is_its_own_and_nothing_else() {
    let ran = run(heapglass().args(["trace", "--format", "ltrace", "--", &program("examples/c/first.c")])).ok();
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 8, "{ran:#?}");
    assert_eq!(lines[7], "+++ exited with 0 +++");
    for line in &lines[..7] {
        let (call, result) = line.split_once(" = ").unwrap();
        assert!(call.trim_end().ends_with(')'), "{line}");
        assert!(result == "<void>" || result.starts_with("0x"), "{line}");
    }
}

#[test]
fn programs_that_cant_be_traced_are_refused_with_the_status_of_run() {
    for (program, code, says) in
        [("/no/such/program", 127, "no such file"), ("/etc/passwd", 126, "/etc/passwd"), ("/", 126, "/")]
    {
        let ran = run(heapglass().args(["trace", "--", program]));
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert!(ran.err.starts_with("heapglass: ") && ran.err.contains(says), "{ran:#?}");
    }
    let ran = run(heapglass().args(["trace", "-o", "/no/such/dir/file", "--", "true"]));
    assert_eq!(ran.code, Some(125), "{ran:#?}");
}

#[test]
fn a_program_that_is_killed_is_told_to_its_last_call() {
    let dir = Dir::new("killed");
    let file = dir.path().join("trace");
    let mut command = heapglass();
    command.args(["trace", "-f", "-o"]).arg(&file).args(["--", "sh", "-c", "kill -SEGV $$"]);
    let ran = run(&mut command);
    assert_eq!(ran.signal, Some(SIGSEGV), "{ran:#?}");
    assert!(fs::read_to_string(&file).unwrap().contains("+++ killed by SIGSEGV +++"));
    let mut command = heapglass();
    command.args(["trace", "-o"]).arg(&file).args(["--", &program("examples/c/double_free.c")]);
    let ran = run(&mut command);
    assert!(ran.err.contains("double free"), "{ran:#?}");
    let text = fs::read_to_string(&file).unwrap();
    let last = text.lines().rev().nth(1).unwrap();
    assert!(
        last.starts_with("free(0x") && last.contains("<unfinished ...>") && last.ends_with("FAULT → FAULT"),
        "{text}"
    );
}

/// A trace whose output nobody reads; the program is to write this file at its end.
fn stuck(flags: &[&str], file: &Path) -> std::process::Child {
    let mut command = heapglass();
    command.arg("trace").args(flags).args(["-o", "-", "--", &program("tests/trace/goes_on.c")]).arg(file);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Waits for a file; a program that hangs is a failure, not a wait.
fn comes(file: &PathBuf) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if fs::read_to_string(file).is_ok_and(|text| text == "done\n") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_program_waits_for_its_reader_and_goes_on_when_that_is_killed() {
    let dir = Dir::new("reader");
    let file = dir.path().join("file");
    let mut reader = stuck(&[], &file);
    // The reader stands still on its full pipe, and the program behind it.
    std::thread::sleep(Duration::from_millis(700));
    assert!(!file.exists(), "the program didn't wait");
    reader.kill().unwrap();
    assert!(comes(&file), "the program didn't go on");
    reader.wait().unwrap();
}

#[test]
fn a_program_goes_on_when_the_output_is_closed() {
    let dir = Dir::new("head");
    let file = dir.path().join("file");
    let mut reader = stuck(&[], &file);
    let mut line = String::new();
    BufReader::new(reader.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("malloc(0)"), "{line}");
    assert!(comes(&file), "the program didn't go on");
    assert_eq!(reader.wait().unwrap().code(), Some(0));
}

#[test]
fn a_lossy_trace_lets_the_program_go_and_says_what_is_missing() {
    let dir = Dir::new("lossy");
    let file = dir.path().join("file");
    let mut reader = stuck(&["--lossy"], &file);
    assert!(comes(&file), "the program waited");
    let mut text = String::new();
    reader.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(reader.wait().unwrap().code(), Some(0));
    let (lines, end) = parse(&text);
    let dropped: usize = end.strip_suffix(" events dropped").unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(dropped > 0, "{end}");
    // Calls are there whole or not at all.
    assert!(lines.len() + dropped >= 400_000, "{} {end}", lines.len());
    assert!(lines.iter().all(|line| !line.result.is_empty()), "{end}");
}

#[test]
fn a_full_disk_is_said_and_the_program_goes_on() {
    let dir = Dir::new("full");
    let file = dir.path().join("file");
    let ran =
        run(heapglass().args(["trace", "-o", "/dev/full", "--", &program("tests/trace/goes_on.c")]).arg(&file)).ok();
    assert!(ran.err.contains("heapglass: the trace ends early: No space left on device"), "{ran:#?}");
    assert!(comes(&file));
}

#[test]
fn two_traces_at_once_keep_apart() {
    let program = program("tests/trace/steps.c");
    let traces: Vec<_> = ["3000", "5000"]
        .map(|steps| {
            let program = program.clone();
            std::thread::spawn(move || trace(&[], &[&program, steps]))
        })
        .into_iter()
        .map(|trace| trace.join().unwrap())
        .collect();
    assert!(traces[0].ran.out.starts_with("3000 steps") && traces[1].ran.out.starts_with("5000 steps"));
    assert!(traces[0].lines.len() < traces[1].lines.len());
}

#[test]
fn a_reader_that_is_gone_before_the_start_is_nobodys_wait() {
    // The file that it was told of is gone: one line, and the program runs as without.
    let mut command = on_heapglass(program("examples/c/first.c"), Door::Preload);
    let ran = run(command.env("HEAPGLASS", "events:/proc/1/fd/9999")).ok();
    assert!(ran.err.starts_with("heapglass: bad value "), "{ran:#?}");
}

#[test]
fn callers_are_told_and_nothing_else_changes() {
    let built = compile("tests/trace/callers.c", Door::Preload, &["-g"]).to_str().unwrap().to_owned();
    let ran = run(heapglass().args(["trace", "-k", "-e", "size=4321", "--", &built])).ok();
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines[0].starts_with("malloc(4321) "), "{ran:#?}");
    let callers: Vec<&str> = lines.iter().filter_map(|line| line.trim_start().strip_prefix("> ")).collect();
    let names: Vec<&str> = callers.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names[..3], ["inner", "outer", "main"], "{ran:#?}");
    assert!(callers[0].contains("callers.c:5  [") && callers[0].contains("+0x"), "{ran:#?}");
    if !have("setarch") {
        return;
    }
    // Asking who called changes no address.
    let steps = program("tests/trace/steps.c");
    let settings = "decay:-1,guard:0";
    let mut alone = on_heapglass(&steps, Door::Preload);
    alone.args(["20000", "2"]);
    let mut traced = heapglass();
    traced.args(["trace", "-k", "-e", "bin=kernel", "-o", "/dev/null", "--", &steps, "20000", "2"]);
    assert_eq!(run(&mut fixed(alone, settings)).ok().out, run(&mut fixed(traced, settings)).ok().out);
}
