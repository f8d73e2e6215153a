//! `heapglass play`: from a pipe, from a script, and at a terminal.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{Ran, have, run};
use std::process::Command;

/// Plays these lines.
fn scripted(flags: &[&str], lines: &str) -> Ran {
    let dir = Dir::new("play");
    let script = dir.file("script", lines.as_bytes(), 0o644);
    run(heapglass().arg("play").args(flags).arg("--script").arg(script))
}

#[test]
fn calls_are_made_told_and_drawn() {
    let ran = scripted(&["--classic"], "malloc 200 # a\nx = malloc(24)\nfree a\nmalloc 100; heap\n").ok();
    let out = &ran.out;
    assert!(out.starts_with("> malloc 200 # a\na: malloc(200) = 0x"), "{out}");
    assert!(out.contains("\n   7  top            there is none: the arena has no heap yet\n"), "{out}");
    assert!(out.contains("\n> x = malloc(24)\nx: malloc(24) = 0x"), "{out}");
    assert!(
        out.contains("\n   8  into           0x") && out.contains(" of 208 bytes goes to the unsorted bin\n"),
        "{out}"
    );
    // The same drawing that `explain` makes.
    let explained =
        run(heapglass().args(["explain", "--classic", "a=malloc(200); x=malloc(24); free(a); b=malloc(100)"])).ok();
    let bars = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("    |")).map(str::to_owned).collect()
    };
    let played = bars(out);
    assert_eq!(played[..played.len() - 1], bars(&explained.out)[..], "{out}");
    // `heap` is everything there is.
    assert_eq!(played.last(), played.get(played.len() - 2));
}

#[test]
fn other_threads_make_calls_and_end() {
    let ran = scripted(&[], "malloc 100\nt2: malloc 100\nt2: free b\nt2: malloc 100\nt2: end\nt2: malloc 5000\n").ok();
    let out = &ran.out;
    assert!(out.contains("> t2: malloc 100\n  by the C library: "), "{out}");
    assert!(out.contains("heap of arena 1, "), "{out}");
    assert!(out.contains("> t2: free b\nfree(0x") && out.contains("> t2: end\nend of thread() = <void>\n"), "{out}");
    assert!(out.contains("\nd: malloc(5000) = 0x"), "a thread begins again: {out}");
}

#[test]
fn a_fault_ends_the_heap_and_a_fresh_one_follows() {
    let ran = scripted(&["--classic"], "malloc 24\nfree a\nfree a\nreset\nmalloc 24\n").ok();
    let out = &ran.out;
    assert!(out.contains("had it been believed\n") && out.contains("double free: the chunk of 32 bytes"), "{out}");
    assert!(out.contains("reset for a fresh heap\n> reset\n  a fresh heap\n> malloc 24\na: malloc(24) = 0x"), "{out}");
    let over = scripted(&[], "malloc 24\nfree a; free a\nfree a\nmalloc 8\n");
    assert!(over.code == Some(125) && over.err.contains(":3: there is no heap: reset"), "{over:#?}");
}

#[test]
fn the_last_step_is_explained_again() {
    let ran = scripted(&["--classic"], "malloc 200\nfree a\nexplain\n").ok();
    let again = ran.out.split("> explain\n").nth(1).unwrap();
    assert!(again.starts_with("free(0x") && again.contains("\n   8  into "), "{again}");
    assert!(again.contains("\nbefore\n") && again.contains("208 bytes  P--  in use"), "{again}");
    assert!(again.contains("\nafter\n"), "{again}");
    let nothing = scripted(&[], "explain\n");
    assert!(nothing.code == Some(125) && nothing.err.contains("nothing was done yet"), "{nothing:#?}");
}

#[test]
fn what_is_wrong_with_a_line_is_said() {
    for (line, says) in [
        ("mallok 3", "'mallok' is no call that a script knows"),
        ("free q", "'q': nothing was given that name before"),
        ("malloc 1 2", "not as many arguments as malloc takes"),
        ("t12: malloc 3", "'t12:' is no thread"),
    ] {
        let ran = scripted(&[], &format!("malloc 1\n{line}\nmalloc 2\n"));
        assert_eq!(ran.code, Some(125), "{ran:#?}");
        assert!(ran.err.contains(":2: ") && ran.err.contains(says), "{ran:#?}");
        assert!(!ran.out.contains("malloc(2)"), "{ran:#?}");
        // Whoever sits there, or pipes, may go on.
        let words =
            format!("printf 'malloc 1\\n{line}\\nmalloc 2\\n' | '{}' play", heapglass().get_program().display());
        let ran = run(Command::new("sh").args(["-c", &words])).ok();
        assert!(ran.out.contains(says) && ran.out.contains("malloc(2)"), "{ran:#?}");
    }
    let ran = run(heapglass().args(["play", "--script", "/no/such/file"]));
    assert!(ran.code == Some(125) && ran.err.contains("/no/such/file: No such file"), "{ran:#?}");
    let closed = format!("yes 'malloc 1' | '{}' play | head -1", heapglass().get_program().display());
    assert_eq!(run(Command::new("sh").args(["-c", &closed])).ok().out, "> malloc 1\n");
}

/// A terminal of our own that keeps its screen: where letters stand, as far as the command moves about.
const AT_A_TERMINAL: &str = r#"
import fcntl, os, pty, re, select, struct, sys, termios, time
ROWS, COLUMNS = 40, 120
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    before = termios.tcgetattr(0)
    child = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])
    print("RESTORED" if termios.tcgetattr(0) == before else "LEFT RAW")
    os._exit(child)
screen = [[" "] * COLUMNS for _ in range(ROWS)]
row = column = 0
rest = b""
def show(data):
    global row, column, rest
    rest += data
    while rest:
        found = re.match(rb"\x1b\[([0-9;?>]*)([A-Za-z])|\x1b[()].|\x1b[=>78]", rest)
        if found:
            rest = rest[found.end():]
            if found.group(2) == b"H":
                numbers = [int(n or 1) for n in found.group(1).split(b";")] + [1, 1]
                row, column = numbers[0] - 1, numbers[1] - 1
            elif found.group(2) == b"J":
                for line in screen:
                    line[:] = [" "] * COLUMNS
        elif rest[:1] == b"\x1b":
            if len(rest) > 30:
                sys.exit("what is " + repr(rest))
            return
        else:
            length = 1 if rest[0] < 0x80 else 2 if rest[0] < 0xe0 else 3 if rest[0] < 0xf0 else 4
            if len(rest) < length:
                return
            letter, rest = rest[:length].decode(), rest[length:]
            if letter == "\r":
                column = 0
            elif letter == "\n":
                row = min(row + 1, ROWS - 1)
            elif letter >= " " and row < ROWS and column < COLUMNS:
                screen[row][column] = letter
                column += 1
def text():
    return "\n".join("".join(line).rstrip() for line in screen)
def until(*wanted):
    end = time.time() + 60
    while not all(re.search(each, text(), re.M) for each in wanted):
        if time.time() > end:
            sys.exit("waited in vain for " + repr(wanted) + ":\n" + text())
        if select.select([terminal], [], [], 1)[0]:
            try:
                show(os.read(terminal, 10000))
            except OSError:
                sys.exit("it ended before " + repr(wanted) + ":\n" + text())
def type(keys, *wanted):
    os.write(terminal, keys.encode())
    until(*wanted)
UP, DOWN, LEFT = "\x1b[A", "\x1b[B", "\x1b[D"
until("nothing yet", "^>$", "calloc 4 16, memalign", "Ctrl-D: leave")
type("malloc 64\r", r"^a: malloc\(64\) = 0x", r"^  \* 0x[0-9a-f]+ +80 bytes +P--  in use", "   8  growth", "^>$")
type("free a\r", r"^free\(0x[0-9a-f]+\) = <void>", r"80 bytes +P--  cached")
type(UP + UP, "^> malloc 64$")
type(DOWN, "^> free a$")
type(UP + LEFT + LEFT + "1" + "\r", r"^b: malloc\(164\) = 0x", r"176 bytes +---  in use|176 bytes +P--  in use")
type("explain\r", "^before$", "^after$")
type("t2: malloc 5000\r", r"^c: malloc\(5000\) = 0x", "heap of arena 1, ")
type("nonsense 3\r", "'nonsense' is no call")
type("free b; free b\r", "double free", "reset for a fresh heap")
type("reset\r", "a fresh heap", "nothing yet")
type("xx\x15malloc 32\r", r"^a: malloc\(32\) = 0x", r"48 bytes +P--  in use")
os.write(terminal, b"\x04")
until("RESTORED")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn at_a_terminal_the_heap_is_drawn_anew_after_each_line() {
    if !have("python3") {
        return;
    }
    let mut python = Command::new("python3");
    python.args(["-c", AT_A_TERMINAL]).arg(heapglass().get_program()).arg("play");
    for variable in ["LD_PRELOAD", "HEAPGLASS", "HEAPGLASS_PRELOADED"] {
        python.env_remove(variable);
    }
    run(python.env("TERM", "xterm-256color")).ok();
}
