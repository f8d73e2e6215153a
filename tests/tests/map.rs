//! `heapglass map`: pictures of heaps that are known, of real programs and of core files, and what it says where there is none.

use heapglass_tests::cli::{Dir, heapglass, is_root, library, run_as_nobody};
use heapglass_tests::held::Held;
use heapglass_tests::{DOORS, Door, compile, have, left_out, on_heapglass, root, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn states(mode: &str, door: Door, settings: &str) -> Held {
    let program = compile("tests/inspect/states.c", door, &[]);
    // What is told by address stands in a heap, not between guards.
    let settings = [settings, "guard:0"].into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>().join(",");
    Held::start(on_heapglass(program, door).arg(mode).env("HEAPGLASS", settings))
}

#[track_caller]
fn drawn(whose: &str, words: &[&str]) -> String {
    run(heapglass().arg("map").arg(whose).args(words)).ok().out
}

#[track_caller]
fn data(whose: &str, words: &[&str]) -> Value {
    serde_json::from_str(&drawn(whose, &[words, &["--json"]].concat())).unwrap()
}

fn of(held: &Held) -> String {
    held.pid().to_string()
}

/// Chunks by address: size and letter.
#[track_caller]
fn chunks(whose: &str) -> BTreeMap<u64, (u64, String)> {
    let all = data(whose, &["--chunks"]);
    let list = all["chunks"].as_array().unwrap().iter();
    list.map(|c| (c[0].as_u64().unwrap(), (c[1].as_u64().unwrap(), c[2].as_str().unwrap().to_owned()))).collect()
}

const LETTERS: [(&str, &str); 8] = [
    ("Live", "U"),
    ("Parked", "C"),
    ("Cached", "C"),
    ("Fast", "F"),
    ("Unsorted", "N"),
    ("Small", "S"),
    ("Large", "L"),
    ("Damaged", "X"),
];

#[track_caller]
fn letters_are_as_told(held: &Held, chunks: &BTreeMap<u64, (u64, String)>) {
    for (word, letter) in LETTERS {
        for (user, _) in held.told(word) {
            let (_, found) = &chunks[&(user - 16)];
            // What was free in a core or a live heap may lie on a page that isn't there.
            assert_eq!(found, letter, "{word} at {user:#x}: {:?}", held.said);
        }
    }
}

#[test]
fn each_chunk_has_its_letter_and_cells_add_up() {
    for door in DOORS {
        for (mode, settings) in [("textbook", "tcache:0"), ("caches", ""), ("damage", "")] {
            let held = states(mode, door, settings);
            letters_are_as_told(&held, &chunks(&of(&held)));
            let all = data(&of(&held), &[]);
            for heap in all["heaps"].as_array().unwrap() {
                let length = heap["end"].as_u64().unwrap() - heap["start"].as_u64().unwrap();
                let sum: u64 = heap["bytes"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum();
                assert_eq!(sum, length, "{heap}");
            }
        }
    }
}

#[test]
fn the_picture_has_a_scale_and_a_legend_and_folds() {
    let held = states("textbook", Door::Preload, "tcache:0");
    let text = drawn(&of(&held), &[]);
    assert!(text.contains("a letter is ") && text.contains("U in use") && text.contains("X damaged"), "{text}");
    assert!(text.contains("arena 0, 1 thread: heap 0x"), "{text}");
    assert!(text.contains("M in use, 296 KiB"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours for a file: {text}");
    let coloured = drawn(&of(&held), &["--color", "always"]);
    assert!(coloured.contains("\u{1b}[38;5;25mU"), "{coloured}");
    let (live, _) = held.told("Live")[0];
    let zoomed = drawn(&of(&held), &["--zoom", &format!("{live:#x}"), "--width", "32"]);
    assert!(zoomed.contains("a letter is 16 bytes, a row 512 bytes"), "{zoomed}");
    let marked: Vec<&str> = zoomed.lines().filter(|line| line.contains("> ")).collect();
    let [marked] = marked[..] else { panic!("{zoomed}") };
    let start = u64::from_str_radix(marked.trim().split('>').next().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert_eq!(start, (live - 16) & !511);
}

#[test]
fn one_chunk_is_told_with_its_neighbours_and_its_list() {
    let held = states("textbook", Door::Preload, "tcache:0");
    let told = |word: &str| {
        let (user, _) = *held.told(word).last().unwrap();
        drawn(&of(&held), &["--chunk", &format!("{:#x}", user + 5)])
    };
    let live = told("Live");
    for part in
        ["state       in use\n", " 20,016 bytes\n", "proves itself", "flags P (", "before      0x", "behind      0x"]
    {
        assert!(live.contains(part), "{part}: {live}");
    }
    assert!(told("Small").contains("small: number 1 of 1 in the bin `small 608`"), "{}", told("Small"));
    assert!(told("Fast").contains("fast: number 1 of 1 in the bin `fast 64`"), "{}", told("Fast"));
    assert!(told("Unsorted").contains("in the bin `unsorted`"), "{}", told("Unsorted"));
    assert!(told("Large").contains("in the bin `large "), "{}", told("Large"));
    assert!(told("Mapped").contains("the mapped chunk that holds"), "{}", told("Mapped"));
    let stray = run(heapglass().args(["map", &of(&held), "--chunk", "0x10"]));
    assert!(stray.code == Some(125) && stray.err.contains("0x10 is in no chunk: it is not mapped"), "{stray:#?}");
    let held = states("caches", Door::Preload, "");
    let (parked, _) = held.told("Parked")[0];
    let text = drawn(&of(&held), &["--chunk", &format!("{parked:x}")]);
    assert!(text.contains(&format!("waits for thread {} to look", held.pid())), "{text}");
}

#[test]
fn a_sample_is_told_with_its_request_and_its_stack() {
    for door in DOORS {
        let program = compile("tests/inspect/states.c", door, &[]);
        let held = Held::start(on_heapglass(program, door).arg("textbook").env("HEAPGLASS", "guard:1"));
        let (user, request) = held.told("Live")[0];
        let text = drawn(&of(&held), &["--chunk", &format!("{user:#x}")]);
        let thread = format!("born in     thread {}", held.pid());
        for part in [&format!("{request} bytes were asked for"), &thread, " at ", "states.c:", "main at "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn lists_are_told_with_their_chunks() {
    let held = states("textbook", Door::Preload, "tcache:0");
    let text = drawn(&of(&held), &["--bins"]);
    for (word, bin) in [("Small", "small 608"), ("Fast", "fast 64"), ("Unsorted", "unsorted"), ("Large", "large ")] {
        let (user, _) = held.told(word)[0];
        let mut lines = text.lines().skip_while(|line| !line.trim().starts_with(bin));
        assert!(lines.nth(1).is_some_and(|chunks| chunks.contains(&format!("{user:#x}"))), "{bin}: {text}");
    }
    let held = states("link", Door::Preload, "tcache:0");
    let text = drawn(&of(&held), &["--bins"]);
    assert!(text.contains("damage: the link at 0x") && text.contains("0x4141414141414141"), "{text}");
    let held = states("caches", Door::Preload, "");
    let text = drawn(&of(&held), &["--bins"]);
    assert!(text.contains(&format!("\n  thread {}\n", held.pid())) && text.contains("\n  depots\n"), "{text}");
}

#[test]
fn damage_is_drawn_around_and_named() {
    let held = states("damage", Door::Preload, "");
    let text = drawn(&of(&held), &[]);
    assert!(text.contains("\ndamage: the header of the chunk at 0x") && text.contains("\"AAAAAAAA\""), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("  0x") && line.to_uppercase().contains(" X") || line.contains('x'))
    );
}

/// A core file made by gdb, and one by the kernel.
fn cores(dir: &Dir) -> Vec<(Vec<String>, PathBuf)> {
    let mut cores = Vec::new();
    if have("gcore") {
        let held = states("textbook", Door::Static, "tcache:0");
        let made = run(Command::new("gcore").args(["-o"]).arg(dir.path().join("gdb")).arg(of(&held)));
        assert_eq!(made.code, Some(0), "{made:#?}");
        cores.push((held.said.clone(), dir.path().join(format!("gdb.{}", held.pid()))));
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim() == "core" {
        let program = compile("tests/inspect/states.c", Door::Preload, &[]);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -c unlimited; cd \"$0\"; LD_PRELOAD=$2 exec \"$1\" abort"])
            .arg(dir.path())
            .arg(program);
        let ran = run(shell.arg(library()).env("HEAPGLASS", "tcache:0"));
        assert_eq!(ran.signal, Some(6), "{ran:#?}");
        let entry = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .find(|e| e.file_name().to_string_lossy().starts_with("core"));
        cores.push((ran.out.lines().map(str::to_owned).collect(), entry.unwrap().path()));
    }
    assert!(!cores.is_empty(), "neither gdb nor the kernel makes core files here");
    cores
}

#[test]
fn a_core_file_is_drawn_as_the_process_was() {
    let dir = Dir::new("cores");
    for (said, core) in cores(&dir) {
        let core = core.to_str().unwrap();
        let chunks = chunks(core);
        let mut known = 0;
        for line in &said {
            let words: Vec<&str> = line.split(' ').collect();
            let Some((_, letter)) = LETTERS.iter().find(|(word, _)| *word == words[0]) else { continue };
            let user = u64::from_str_radix(words[1].trim_start_matches("0x"), 16).unwrap();
            assert_eq!(chunks[&(user - 16)].1, *letter, "{line}");
            known += 1;
        }
        assert!(known >= 6, "{said:?}");
        let text = drawn(core, &[]);
        assert!(text.starts_with(core) && text.contains("resident"), "{text}");
        let ledger = run(heapglass().args(["ledger", core])).ok().out;
        assert!(ledger.contains("requested, about") && ledger.contains("in the file"), "{ledger}");
    }
}

#[test]
fn a_core_of_a_double_free_shows_the_chunk() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim() != "core" {
        return left_out("the kernel hands core files to a program here");
    }
    let dir = Dir::new("double");
    let program = compile("examples/c/double_free.c", Door::Static, &[]);
    let mut shell = Command::new("sh");
    let ran = run(shell.args(["-c", "ulimit -c unlimited; cd \"$0\"; exec \"$1\""]).arg(dir.path()).arg(program));
    let user = ran.err.split("free(").nth(1).unwrap().split(')').next().unwrap().to_owned();
    let entry = std::fs::read_dir(dir.path()).unwrap().flatten().next().unwrap().path();
    let text = drawn(entry.to_str().unwrap(), &["--chunk", &user]);
    assert!(text.contains("state       cached: in the cache of thread "), "{text}");
}

#[test]
fn a_core_that_was_cut_off_is_said_so() {
    if !have("gcore") {
        return;
    }
    let dir = Dir::new("cut");
    let held = states("textbook", Door::Preload, "tcache:0");
    run(Command::new("gcore").arg("-o").arg(dir.path().join("gdb")).arg(of(&held))).ok();
    let whole = std::fs::read(dir.path().join(format!("gdb.{}", held.pid()))).unwrap();
    for part in [whole.len() - 10_000, whole.len() / 2, 5000, 100, 20] {
        let core = dir.file("part", &whole[..part], 0o644);
        let ran = run(heapglass().arg("map").arg(core));
        let said = ran.out.clone() + &ran.err;
        assert!(matches!(ran.code, Some(0 | 125)) && !said.contains("panicked"), "{part}: {ran:#?}");
    }
    // What lies at the end is the stack.
    let nearly = dir.file("nearly", &whole[..whole.len() - 100_000], 0o644);
    let ran = run(heapglass().arg("map").arg(nearly)).ok();
    assert!(ran.out.contains("the core file was cut off: "), "{ran:#?}");
}

#[test]
fn a_program_is_drawn_as_it_ends() {
    let ran = run(heapglass().args(["map", "--", "sh", "-c", "echo hello; exit 7"]));
    assert_eq!(ran.code, Some(7), "{ran:#?}");
    assert!(ran.out.starts_with("hello\n") && ran.out.contains("arena 0"), "{ran:#?}");
    let ran = run(heapglass().args(["map", "--", "/no/such/program"]));
    assert_eq!(ran.code, Some(127), "{ran:#?}");
}

#[test]
fn real_programs_are_drawn() {
    if have("python3") {
        let script = "l = [str(i) * 9 for i in range(100000)]; del l[::2]; import sys; print('ready', flush=True); sys.stdin.read()";
        let python =
            Held::start(on_heapglass("python3", Door::Preload).args(["-c", script]).env("PYTHONMALLOC", "malloc"));
        let all = data(&of(&python), &[]);
        assert!(all["damages"].as_array().unwrap().is_empty() && all["steady"] == true, "{all}");
        assert!(all["chunk_count"].as_u64().unwrap() > 50_000, "{all}");
    }
}

#[test]
fn a_program_in_rust_is_drawn() {
    let built =
        run(Command::new(env!("CARGO")).current_dir(root()).args(["build", "--quiet", "--release", "-p", "rust-vec"]));
    assert_eq!(built.code, Some(0), "{built:#?}");
    let ran = run(heapglass().args(["map", "--", "target/release/rust-vec"]).current_dir(root())).ok();
    assert!(ran.out.contains("arena 0") && ran.out.contains("2 Heapglasses in this process"), "{ran:#?}");
}

#[test]
fn what_cannot_be_drawn_is_said_in_a_line() {
    let refused = |words: &[&str]| {
        let ran = run(heapglass().arg("map").args(words));
        assert!(ran.code == Some(125) && ran.err.lines().count() == 1 && ran.out.is_empty(), "{ran:#?}");
        ran.err
    };
    let libc = Held::start(&mut Command::new(compile("tests/inspect/busy.c", Door::Libc, &[])));
    assert!(refused(&[&of(&libc)]).contains("is not on Heapglass: it uses the C library's own malloc (libc.so"));
    let pid = of(&libc);
    libc.let_go();
    assert!(refused(&[&pid]).contains(&format!("there is no process {pid}")));
    assert!(refused(&["/etc/passwd"]).contains("/etc/passwd: is not a core file"));
    assert!(refused(&["/bin/sh"]).contains("is an ELF file, but not a core"));
    assert!(refused(&["/no/such"]).contains("/no/such: No such file"));
    let held = states("textbook", Door::Preload, "");
    assert!(refused(&[&of(&held), "--arena", "7"]).contains("there is no arena 7"));
    assert!(refused(&[&of(&held), "--zoom", "0x1000"]).contains("is in no heap"));
}

#[test]
fn what_may_not_be_read_is_said_with_what_to_do() {
    if !is_root() {
        return left_out("only root can become another user");
    }
    let dir = Dir::new("denied");
    let held = states("textbook", Door::Preload, "");
    let ran = run_as_nobody(dir.heapglass().args(["map", &of(&held)]));
    assert!(ran.code == Some(125) && ran.err.contains("belongs to user 0, and you are user 65534"), "{ran:#?}");
    // A user's own, which says that it isn't to be read.
    let source = b"#include <sys/prctl.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        int main(void) { char *one = malloc(30); prctl(PR_SET_DUMPABLE, 0); \
        return write(1, \"ready\\n\", 6) == 6 && read(0, one, 1) > 0; }\n";
    let (source, program) = (dir.file("hidden.c", source, 0o644), dir.path().join("hidden"));
    run(Command::new("gcc").args(["-O1", "-fno-builtin", "-o"]).arg(&program).arg(source)).ok();
    let mut hidden = Command::new(program);
    let library = dir.path().join("libheapglass.so");
    let hidden = Held::start(hidden.env("LD_PRELOAD", library).uid(65534).gid(65534).current_dir("/"));
    let ran = run_as_nobody(dir.heapglass().args(["map", &of(&hidden)]));
    assert!(ran.code == Some(125) && ran.err.contains("(prctl PR_SET_DUMPABLE): read it as root"), "{ran:#?}");
    // Whoever may, reads it.
    assert!(drawn(&of(&hidden), &[]).contains("arena 0"));
}

#[test]
fn a_32_bit_program_is_said_so() {
    let dir = Dir::new("narrow");
    let source =
        dir.file("narrow.c", b"void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" : : \"a\"(29)); }\n", 0o644);
    let narrow = dir.path().join("narrow");
    let made = run(Command::new("gcc")
        .args(["-m32", "-static", "-nostdlib", "-fno-pic", "-no-pie", "-o"])
        .arg(&narrow)
        .arg(source));
    // A compiler or a kernel without 32-bit programs has none to refuse.
    let Some(mut child) =
        Some(made).filter(|made| made.code == Some(0)).and_then(|_| Command::new(&narrow).spawn().ok())
    else {
        return;
    };
    let ran = run(heapglass().args(["map", &child.id().to_string()]));
    let _ = child.kill();
    child.wait().unwrap();
    assert!(
        ran.code == Some(125) && ran.err.contains("a 32-bit program, and Heapglass is for 64-bit programs"),
        "{ran:#?}"
    );
}

#[test]
fn another_layout_is_refused_by_its_number() {
    let dir = Dir::new("layout");
    let mut bytes = std::fs::read(library()).unwrap();
    let at = bytes.windows(8).position(|word| word == b"HGROOT\0\0").unwrap();
    bytes[at + 24] = 99;
    let other = dir.file("libheapglass.so", &bytes, 0o644);
    let program = compile("tests/inspect/states.c", Door::Libc, &[]);
    let held = Held::start(Command::new(program).arg("textbook").env("LD_PRELOAD", other));
    let ran = run(heapglass().args(["map", &of(&held)]));
    assert!(ran.code == Some(125) && ran.err.contains("describes itself by layout 99"), "{ran:#?}");
}

#[test]
fn many_arenas_and_an_empty_heap_are_drawn() {
    let busy = Held::start(&mut on_heapglass(compile("tests/inspect/busy.c", Door::Preload, &[]), Door::Preload));
    let all = data(&of(&busy), &["--stop"]);
    let arenas: std::collections::BTreeSet<u64> =
        all["heaps"].as_array().unwrap().iter().map(|heap| heap["arena"].as_u64().unwrap()).collect();
    assert!(arenas.len() >= 5 && all["damages"].as_array().unwrap().is_empty(), "{all}");
    let ran = run(heapglass().args(["map", "--", "true"])).ok();
    assert!(ran.out.contains("arena"), "{ran:#?}");
    assert!(Path::new("/proc").exists());
}

/// A terminal of our own, and keys typed into it. Only what changes is drawn, so words come in pieces; a terminal of another size is
/// drawn anew, with whole words.
const AT_A_TERMINAL: &str = r#"
import fcntl, os, pty, re, select, struct, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:4] + ["--live"])
seen = b""
def plain():
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", seen).decode(errors="replace")
columns = 100
def until(text):
    global seen, columns
    end = time.time() + 60
    while not re.search(text, plain()):
        if time.time() > end:
            sys.exit("waited in vain for " + text + ": " + plain())
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 10000)
        else:
            # A key that comes together with a new size is read with the next key only; this one means nothing.
            os.write(terminal, b"z")
            columns += 1
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
until("q quit")
until("arena 0: heap 0x")
until("16 bytes a letter|64 bytes a letter|128 bytes a letter")
for key, text in [("\r", "prev_size|header +cookie"), ("b", "lists of free chunks"), ("l", "the kernel's figure"),
                  ("m", "arena 0: heap"), ("-", "bytes a letter|KiB a letter"), ("\x1b[B", "resident"), ("\t", "resident"),
                  ("p", "go on")]:
    seen = b""
    os.write(terminal, key.encode())
    until(text)
os.write(terminal, b"q")
while True:
    try:
        if not os.read(terminal, 10000):
            break
    except OSError:
        break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn the_live_view_answers_its_keys() {
    if !have("python3") {
        return;
    }
    let held = states("textbook", Door::Preload, "tcache:0");
    let mut python = Command::new("python3");
    run(python
        .args(["-c", AT_A_TERMINAL])
        .arg(heapglass().get_program())
        .args(["map", &of(&held)])
        .env("TERM", "xterm-256color"))
    .ok();
    let without = run(heapglass().args(["map", &of(&held), "--live"]));
    assert!(without.code == Some(125) && without.err.contains("needs a terminal"), "{without:#?}");
}
