//! `heapglass trace -p`: a process that runs already is told of, and is afterwards what it was.

use heapglass_tests::cli::{Dir, heapglass, is_root};
use heapglass_tests::{Door, compile, left_out, on_heapglass, run};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn program(source: &str, extra: &[&str]) -> String {
    compile(source, Door::Preload, extra).to_str().unwrap().to_owned()
}

/// May one process attach to another that isn't its child?
fn may_attach() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    is_root() || matches!(scope.trim(), "" | "0")
}

#[test]
fn a_running_process_is_attached_to_and_left_as_it_was() {
    if cfg!(not(target_arch = "x86_64")) || !may_attach() {
        return left_out("no process may attach to another here");
    }
    let dir = Dir::new("attach");
    let mut program = on_heapglass(program("tests/trace/answers.c", &[]), Door::Preload);
    // Samples make mappings of their own in their time.
    program.env("HEAPGLASS", "guard:0");
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (program.stdin.take().unwrap(), BufReader::new(program.stdout.take().unwrap()));
    let mut ask = |number: u32| {
        writeln!(to, "{number}").unwrap();
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        assert_eq!(line, format!("made {number}\n"));
    };
    ask(5000);
    let maps = format!("/proc/{}/maps", program.id());
    let before = fs::read_to_string(&maps).unwrap();
    // Twice: it can be attached to again.
    for round in 0..2 {
        let file = dir.path().join(format!("trace{round}"));
        // The program waits in read(2), which goes on when it was visited.
        let mut trace = heapglass();
        let mut trace = trace.args(["trace", "-o"]).arg(&file).args(["-p", &program.id().to_string()]).spawn().unwrap();
        wait_for_visit(program.id());
        ask(5000);
        ask(3000);
        let killed = Command::new("kill").args(["-TERM", &trace.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(trace.wait().unwrap().code(), Some(0));
        let text = fs::read_to_string(&file).unwrap();
        let end = text.lines().last().unwrap();
        assert!(end.starts_with("+++ detached +++ ") && end.ends_with(" 0 events dropped"), "{end}");
        // A thread turns to its facade at its next slow call; some go by before.
        let made = text.lines().filter(|line| line.contains("malloc(777) ")).count();
        assert!((7000..=8000).contains(&made), "{made}");
        ask(5000);
        assert_eq!(fs::read_to_string(&maps).unwrap(), before, "something stayed");
    }
    drop(to);
    assert_eq!(program.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cant_be_attached_to_is_said() {
    if cfg!(not(target_arch = "x86_64")) || !may_attach() {
        return left_out("no process may attach to another here");
    }
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    // It is itself only once it has become the program.
    std::thread::sleep(Duration::from_millis(200));
    let ran = run(heapglass().args(["trace", "-p", &other.id().to_string()]));
    assert_eq!(ran.code, Some(125), "{ran:#?}");
    assert!(ran.err.contains("doesn't run on Heapglass"), "{ran:#?}");
    assert_eq!(other.try_wait().unwrap(), None, "it runs on");
    other.kill().unwrap();
    other.wait().unwrap();
    let ran = run(heapglass().args(["trace", "-p", "999999999"]));
    assert!(ran.code == Some(125) && ran.err.contains("no such process"), "{ran:#?}");
}

/// Is the file that events go to in the process?
fn is_visited(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().contains("heapglass-events")
}

fn wait_for_visit(pid: u32) {
    let begun = Instant::now();
    while !is_visited(pid) {
        assert!(begun.elapsed() < Duration::from_secs(60), "not attached");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
}

fn attach(pid: u32, file: &Path) -> Child {
    let mut trace = heapglass();
    trace.args(["trace", "-c", "-o"]).arg(file).args(["-p", &pid.to_string()]).stderr(Stdio::piped());
    let trace = trace.spawn().unwrap();
    wait_for_visit(pid);
    trace
}

fn end(mut trace: Child) -> String {
    assert!(Command::new("kill").args(["-INT", &trace.id().to_string()]).status().unwrap().success());
    assert_eq!(trace.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    trace.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn threads_at_work_are_visited_again_and_again_and_notice_nothing() {
    if cfg!(not(target_arch = "x86_64")) || !may_attach() {
        return left_out("no process may attach to another here");
    }
    let dir = Dir::new("attach");
    let mut busy = on_heapglass(program("tests/trace/busy.c", &["-pthread"]), Door::Preload);
    let mut busy = busy.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut from = BufReader::new(busy.stdout.take().unwrap());
    from.read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    let file = dir.path().join("table");
    for _ in 0..5 {
        let trace = attach(busy.id(), &file);
        // Who is told already isn't told in a second file, whose reader would wait in vain, or take it away from the first.
        let second = run(heapglass().args(["trace", "-p", &busy.id().to_string()]));
        assert!(second.code == Some(125) && second.err.contains("somebody else is told already"), "{second:#?}");
        assert_eq!(end(trace), "");
        assert!(fs::read_to_string(&file).unwrap().contains("+++ detached +++"));
        assert!(!is_visited(busy.id()), "something stayed");
    }
    // A reader that was killed can't clear up; the next does it.
    let mut trace = attach(busy.id(), &file);
    trace.kill().unwrap();
    trace.wait().unwrap();
    let trace = attach(busy.id(), &file);
    assert_eq!(end(trace), "");
    assert!(!is_visited(busy.id()), "something stayed");
    drop(busy.stdin.take());
    let mut rest = String::new();
    from.read_to_string(&mut rest).unwrap();
    assert_eq!((busy.wait().unwrap().code(), rest.as_str()), (Some(0), "interrupted 0 times\n"));
}
