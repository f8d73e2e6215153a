//! `heapglass run --stats`: the figures, and a parent that nobody notices.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Door, Ran, compile, have, run};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LABELS: [&str; 21] = [
    "malloc calls",
    "calloc calls",
    "realloc calls",
    "aligned calls",
    "free calls",
    "in use at exit, bytes",
    "in use at exit, chunks",
    "in use at peak, bytes",
    "arenas",
    "heap at exit, bytes",
    "heap at peak, bytes",
    "mapped at exit, bytes",
    "mapped at peak, bytes",
    "brk calls",
    "mmap calls",
    "munmap calls",
    "mremap calls",
    "madvise calls",
    "mprotect calls",
    "released, bytes",
    "guarded samples",
];

/// The screen as a table; every line of it must be understood.
#[track_caller]
fn figures(ran: &Ran) -> BTreeMap<String, u64> {
    let mut lines = ran.err.lines();
    assert!(lines.next().is_some_and(|title| title.starts_with("heapglass: ")), "{ran:#?}");
    let table: Vec<(String, u64)> = lines
        .map(|line| {
            let (label, figure) = line.rsplit_once(' ').unwrap();
            (label.trim().to_owned(), figure.replace(',', "").parse().unwrap_or_else(|e| panic!("{line}: {e}")))
        })
        .collect();
    assert!(table.iter().map(|(label, _)| label.as_str()).eq(LABELS), "{ran:#?}");
    table.into_iter().collect()
}

#[track_caller]
fn counted(calls: &str) -> (Ran, BTreeMap<String, u64>) {
    let program = compile("tests/tests/cli/counted.c", Door::Libc, &[]);
    let ran = run(heapglass().env("HEAPGLASS", "guard:0").args(["run", "--stats"]).arg(program).arg(calls)).ok();
    let figures = figures(&ran);
    (ran, figures)
}

#[test]
fn the_screen_tells_what_the_program_did() {
    let (ran, few) = counted("0");
    let (_, many) = counted("12345");
    let more = |label: &str| many[label] - few[label];
    assert_eq!((more("malloc calls"), more("free calls")), (12345, 12345));
    for label in ["calloc calls", "realloc calls", "aligned calls", "in use at exit, chunks", "mmap calls"] {
        assert_eq!(more(label), 0, "{label}");
    }
    assert_eq!((few["calloc calls"], few["realloc calls"], few["aligned calls"]), (1, 1, 1), "{ran:#?}");
    // One MiB is kept in a mapping of its own; two were there with it for a while.
    let page = 4096;
    assert_eq!(few["mapped at exit, bytes"], (1 << 20) + page, "{ran:#?}");
    assert_eq!(few["mapped at peak, bytes"], (3 << 20) + 2 * page, "{ran:#?}");
    assert!(few["in use at exit, bytes"] >= 1 << 20 && few["in use at exit, chunks"] >= 1, "{ran:#?}");
    assert!(few["in use at peak, bytes"] >= few["in use at exit, bytes"] + (2 << 20), "{ran:#?}");
    assert!(few["mmap calls"] >= 2 && few["munmap calls"] >= 1 && few["brk calls"] >= 1, "{ran:#?}");
    assert_eq!((few["arenas"], few["heap at peak, bytes"]), (1, 0x21000), "{ran:#?}");
    assert_eq!(ran.out, "");
}

#[test]
fn the_screen_is_one_screen_with_its_columns_aligned() {
    let (ran, _) = counted("12345");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() <= 24, "{ran:#?}");
    assert!(lines[1..].iter().all(|line| line.len() == lines[1].len() && line.len() < 80), "{ran:#?}");
    assert!(lines[1].contains("12,3"), "{ran:#?}");
    assert!(lines[0].ends_with("exited with status 0"), "{ran:#?}");
}

#[test]
fn figures_outlive_a_program_that_is_killed() {
    let ran = run(heapglass().args(["run", "--stats", "sh", "-c", "kill -KILL $$"]));
    assert_eq!(ran.signal, Some(9));
    assert!(
        ran.err.starts_with("heapglass: sh, process ") && ran.err.contains("killed by signal 9 (SIGKILL)\n"),
        "{ran:#?}"
    );
    assert!(figures(&ran)["malloc calls"] > 0);
}

#[test]
fn with_children_followed_the_program_itself_is_counted() {
    let program = compile("tests/tests/cli/counted.c", Door::Libc, &[]);
    let script = "\"$0\" 100000; exit 5";
    let ran = run(heapglass().args(["run", "-f", "--stats", "sh", "-c", script]).arg(program));
    assert_eq!(ran.code, Some(5), "{ran:#?}");
    let figures = figures(&ran);
    assert!((1..100_000).contains(&figures["malloc calls"]), "{ran:#?}");
}

#[test]
fn a_page_that_nobody_took_is_said_so() {
    let dir = Dir::new("untaken");
    let (source, other) = (dir.file("other.c", b"int unused;\n", 0o644), dir.path().join("other.so"));
    run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&other).arg(source)).ok();
    let ran = run(heapglass().env("HEAPGLASS_LIB", other).args(["run", "--stats", "true"])).ok();
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with("heapglass: no figures: "), "{ran:#?}");
}

#[test]
fn the_file_is_made_where_it_may_be_and_removed() {
    let dir = Dir::new("pages");
    let left = || std::fs::read_dir(dir.path()).unwrap().count();
    let print = ["run", "-f", "--stats", "sh", "-c", "echo $HEAPGLASS"];
    let ran = run(heapglass().env("XDG_RUNTIME_DIR", dir.path()).args(print)).ok();
    let file = Path::new(ran.out.trim().strip_prefix("stats:").unwrap());
    assert!(file.starts_with(dir.path()) && left() == 0, "{ran:#?}");
    // A comma would end the item, the library takes no path that long, and a directory that isn't there takes no file:
    // the next in line does.
    let (comma, long) = (dir.path().join("a,b"), dir.path().join("x".repeat(250)));
    for unfit in [&comma, &long] {
        std::fs::create_dir(unfit).unwrap();
    }
    for unfit in [comma, long, dir.path().join("missing")] {
        let ran = run(heapglass().env("XDG_RUNTIME_DIR", &unfit).args(print)).ok();
        let file = Path::new(ran.out.trim().strip_prefix("stats:").unwrap()).to_owned();
        assert!(!file.starts_with(dir.path()) && !file.exists(), "{ran:#?}");
    }
    let killed = run(heapglass().env("XDG_RUNTIME_DIR", dir.path()).args(["run", "--stats", "sh", "-c", "kill -9 $$"]));
    assert_eq!((killed.signal, left()), (Some(9), 2), "only the directories that the test made");
}

/// Starts a shell under `--stats` that says when it is ready.
fn started(script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    // Whoever runs the tests in the background may have us ignore some signals, and a shell can't trap those.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=HUP,INT,QUIT,TERM,USR1,USR2")
        .arg(heapglass().get_program())
        .args(["run", "--stats", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    out.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    (child, out)
}

fn send(signal: &str, child: &Child) {
    run(Command::new("kill").args([signal, &child.id().to_string()])).ok();
}

#[test]
fn a_signal_sent_to_us_reaches_the_program() {
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"] {
        // Not in a builtin: a signal that comes just before one begins to wait would be heard when that has ended, so never.
        let wait = "while :; do sleep 0.05; done";
        let (mut child, mut out) = started(&format!("trap 'echo got; exit 9' {signal}; echo ready; {wait}"));
        send(&format!("-{signal}"), &child);
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        assert_eq!(said, "got\n", "{signal}");
        assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
        let mut screen = String::new();
        child.stderr.take().unwrap().read_to_string(&mut screen).unwrap();
        assert!(screen.contains("exited with status 9\n") && screen.contains("malloc calls"), "{screen}");
    }
}

/// The state letter of a process, as in ps.
fn state(id: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_that_stops_stops_us_and_goes_on_with_us() {
    let (mut child, mut out) = started("echo ready; kill -STOP $$; echo on");
    until("we stop", || state(child.id()) == 'T');
    send("-CONT", &child);
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), child.wait().unwrap().code()), ("on\n", Some(0)));
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let (mut child, mut out) = {
        let mut nohup = Command::new("sh");
        nohup.args(["-c", "trap '' HUP; exec \"$0\" run --stats sh -c 'echo ready; read line; echo \"$line\"'"]);
        nohup.arg(heapglass().get_program()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = nohup.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (child, out)
    };
    let mut ready = String::new();
    out.read_line(&mut ready).unwrap();
    send("-HUP", &child);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"still here\n").unwrap();
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    assert_eq!((ready.as_str(), said.as_str()), ("ready\n", "still here\n"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What is typed at a terminal goes to the whole foreground group: the program must not get it a second time from us.
const AT_A_TERMINAL: &str = r#"
import os, pty, signal, sys
program = r'n=0; trap "n=\$((n+1))" INT; echo ready; read line; read line; echo interrupted $n'
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[1], [sys.argv[1], "run", "--stats", "bash", "-c", program.replace("\\$", "$")])
seen = b""
def until(text):
    global seen
    while text not in seen:
        seen += os.read(terminal, 1000)
until(b"ready")
os.write(terminal, b"\x03")
until(b"^C")
os.write(terminal, b"a\nb\nc\n")
until(b"released, bytes")
print([l for l in seen.decode().split("\r\n") if "interrupted" in l][0])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn a_key_typed_at_the_terminal_arrives_once() {
    if !have("python3") || !have("bash") {
        return;
    }
    let ran = run(Command::new("python3").args(["-c", AT_A_TERMINAL]).arg(heapglass().get_program())).ok();
    assert_eq!(ran.out, "interrupted 1\n");
}

/// Being counted doesn't change where chunks are put, neither while the process warms up nor after.
#[test]
fn a_counted_program_gets_the_same_addresses() {
    let program = compile("tests/tests/cli/addresses.c", Door::Preload, &[]);
    let seen: Vec<String> = [false, true, false, true]
        .into_iter()
        .map(|counted| {
            let mut command = heapglass();
            // Samples are drawn anew in each process.
            command.env("HEAPGLASS", "guard:0").arg("run").args(counted.then_some("--stats")).arg(&program);
            run(&mut command).ok().out
        })
        .collect();
    assert!(seen[0].len() > 8 && seen.iter().all(|digest| *digest == seen[0]), "{seen:?}");
}
