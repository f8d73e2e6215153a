//! The command `heapglass`: what it ends with, what it refuses, what children inherit, how signals pass.
//! What `--stats` prints is tested in `cli_stats.rs`.

use heapglass_tests::cli::{Dir, heapglass, is_program_preloaded, is_root, library, run_as_nobody, script};
use heapglass_tests::{Door, Ran, compile, have, left_out, run};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

const SIGNALS: [(&str, i32); 4] = [("ABRT", 6), ("KILL", 9), ("SEGV", 11), ("TERM", 15)];

#[track_caller]
fn ran(words: &[&str]) -> Ran {
    run(heapglass().args(words))
}

/// Refused before anything ran: this status, one line that names the program and says this.
#[track_caller]
fn refused(ran: &Ran, status: i32, program: &str, why: &str) {
    assert_eq!(ran.code, Some(status), "{ran:#?}");
    assert_eq!(ran.out, "", "{ran:#?}");
    assert!(ran.err.starts_with(&format!("heapglass: {program}: ")), "{ran:#?}");
    assert!(ran.err.contains(why) && ran.err.lines().count() == 1, "no `{why}`: {ran:#?}");
}

#[test]
fn the_status_of_the_program_is_passed_on() {
    for flags in [&[][..], &["--stats"]] {
        for status in [0, 1, 7, 126, 255] {
            let ran = run(heapglass().arg("run").args(flags).args(["sh", "-c", &format!("exit {status}")]));
            assert_eq!(ran.code, Some(status), "{ran:#?}");
        }
    }
}

#[test]
fn a_signal_that_kills_the_program_is_seen_as_without_us() {
    for flags in ["", "--stats"] {
        for (name, number) in SIGNALS {
            let deadly = format!("kill -{name} $$");
            let ran = run(heapglass().arg("run").args(flags.split_whitespace()).args(["sh", "-c", &deadly]));
            assert_eq!((ran.code, ran.signal), (None, Some(number)), "{ran:#?}");

            let asked = format!("\"$0\" run {flags} sh -c '{deadly}'; echo $?");
            let ran = run(Command::new("sh").arg("-c").arg(asked).arg(heapglass().get_program()));
            assert_eq!(ran.ok().out, format!("{}\n", 128 + number));
        }
    }
}

#[test]
fn without_stats_the_program_takes_our_place() {
    let child = heapglass().args(["run", "sh", "-c", "echo $$"]).stdout(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let out = child.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8(out).unwrap().trim().parse(), Ok(id));
}

#[test]
fn the_first_word_that_is_no_flag_ends_the_flags() {
    let said = |words: &[&str]| ran(words).ok().out;
    let echo = ["sh", "-c", "printf '%s.' \"$@\"", "sh"];
    let with = |before: &[&'static str], after: &[&'static str]| said(&[before, &echo, after].concat());
    assert_eq!(with(&["run"], &["-f", "--stats", "--", "--no-such-flag"]), "-f.--stats.--.--no-such-flag.");
    assert_eq!(with(&["run", "--"], &["--help"]), "--help.");
    assert_eq!(with(&["run", "-f", "--"], &["--", "x"]), "--.x.");
    refused(&ran(&["run", "--", "--stats"]), 127, "--stats", "PATH");
    let unknown = ran(&["run", "--no-such-flag", "echo"]);
    assert!(unknown.code == Some(125) && unknown.err.contains("--no-such-flag"), "{unknown:#?}");
    for usage in [&[][..], &["run"], &["run", "--stats"]] {
        let ran = ran(usage);
        assert!(ran.code == Some(125) && ran.err.contains("Usage:"), "{ran:#?}");
    }
}

#[test]
fn a_program_without_a_command_is_run() {
    assert_eq!(ran(&["sh", "-c", "echo $1", "sh", "--version"]).ok().out, "--version\n");
    assert_eq!(ran(&["/bin/sh", "-c", "echo $0"]).ok().out, "/bin/sh\n");
    refused(&ran(&["no-such-command-or-program"]), 127, "no-such-command-or-program", "PATH");
}

#[test]
fn help_and_version_are_no_failures() {
    for words in [&["--help"][..], &["-h"], &["run", "--help"], &["run", "-h"], &["help", "run"]] {
        assert!(ran(words).ok().out.contains("Usage: heapglass"));
    }
    assert_eq!(ran(&["--version"]).ok().out, format!("heapglass {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn standard_input_is_the_programs_own() {
    for flags in [&[][..], &["--stats"]] {
        let mut cat = heapglass();
        cat.arg("run").args(flags).arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = cat.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"through\nand through").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"through\nand through");
    }
}

#[test]
fn what_cannot_be_executed_is_refused() {
    let dir = Dir::new("unusable");
    let plain = dir.file("plain", b"#!/bin/sh\necho started\n", 0o644);
    let binary = dir.file("binary", b"\x01\x02\0\x03", 0o755);
    let empty_line = dir.file("empty-line", b"#! \n", 0o755);
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    refused(&ran(&["run", &name(&plain)]), 126, &name(&plain), "chmod +x");
    refused(&ran(&["run", &name(&binary)]), 126, &name(&binary), "neither a program for this system nor a script");
    refused(&ran(&["run", &name(&empty_line)]), 126, &name(&empty_line), "names no interpreter");
    refused(&ran(&["run", &name(dir.path())]), 126, &name(dir.path()), "directory");
    refused(&ran(&["run", "/no/such/program"]), 127, "/no/such/program", "no such file");
    refused(&ran(&["run", ""]), 127, "", "PATH");
    // What the PATH leads to is refused by its own name; something better further on would be taken.
    let found = run(heapglass().args(["run", "plain"]).env("PATH", dir.path()));
    refused(&found, 126, &name(&plain), "chmod +x");
    dir.file("sub/plain", b"#!/bin/sh\necho better\n", 0o755);
    let both = std::env::join_paths([dir.path(), &dir.path().join("sub")]).unwrap();
    assert_eq!(run(heapglass().args(["run", "plain"]).env("PATH", both)).ok().out, "better\n");
}

#[test]
fn static_programs_are_refused() {
    for kind in ["-static", "-static-pie"] {
        let program = compile("tests/tests/cli/counted.c", Door::Libc, &[kind]);
        run(&mut Command::new(&program)).ok();
        refused(&ran(&["run", program.to_str().unwrap()]), 126, program.to_str().unwrap(), "libheapglass.a");
    }
}

#[test]
fn programs_for_other_machines_are_refused() {
    let dir = Dir::new("machines");
    // The identity and the first fields: class, byte order, version; a program; the machine.
    let head = |class: u8, order: u8, machine: [u8; 2]| {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(if order == 1 { [2, 0] } else { [0, 2] });
        bytes.extend(machine);
        bytes.resize(64, 0);
        bytes
    };
    let kinds = [
        ("x86", head(1, 1, [3, 0]), "x86 (32 bits)"),
        ("arm", head(1, 1, [40, 0]), "ARM (32 bits)"),
        ("s390", head(2, 2, [0, 22]), "S/390 (64 bits)"),
        ("unheard-of", head(2, 1, [0xef, 0xbe]), "ELF machine 48879 (64 bits)"),
    ];
    for (name, bytes, target) in kinds {
        let program = dir.file(name, &bytes, 0o755);
        refused(&ran(&["run", program.to_str().unwrap()]), 126, program.to_str().unwrap(), target);
    }
    let cut = dir.file("cut", b"\x7fELF\x02\x01", 0o755);
    refused(&ran(&["run", cut.to_str().unwrap()]), 126, cut.to_str().unwrap(), "damaged");
}

#[test]
fn an_object_file_is_no_program() {
    let object = compile("tests/tests/cli/counted.c", Door::Libc, &["-c"]);
    fs::set_permissions(&object, fs::Permissions::from_mode(0o755)).unwrap();
    refused(&ran(&["run", object.to_str().unwrap()]), 126, object.to_str().unwrap(), "not a program");
}

#[test]
fn a_program_whose_loader_is_missing_is_refused() {
    let program = compile("tests/tests/cli/counted.c", Door::Libc, &["-Wl,--dynamic-linker=/no/loader.so"]);
    refused(&ran(&["run", program.to_str().unwrap()]), 127, program.to_str().unwrap(), "/no/loader.so");
}

#[test]
fn a_musl_program_is_refused_where_the_library_needs_glibc() {
    if !have("musl-gcc") {
        return;
    }
    let dir = Dir::new("musl");
    let (source, program) = (dir.file("m.c", b"int main(void) { return 3; }\n", 0o644), dir.path().join("m"));
    run(Command::new("musl-gcc").arg("-o").arg(&program).arg(&source)).ok();
    let needed = run(Command::new("readelf").arg("-d").arg(library())).ok().out;
    let ran = ran(&["run", program.to_str().unwrap()]);
    if needed.contains("[libc.so.6]") {
        refused(&ran, 126, program.to_str().unwrap(), "libheapglass.a");
    } else {
        assert_eq!(ran.code, Some(3), "{ran:#?}");
    }
}

/// Whether a privilege has an effect depends on the mount and on how the test itself was started, so the program is first
/// run by itself: it prints who it has become.
#[test]
fn programs_that_raise_privileges_are_refused() {
    if !is_root() {
        left_out("only root can make a set-user-id program of another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let dir = Dir::new("privileged");
    let id = |name: &str, owner: u32, mode: u32| {
        let path = dir.path().join(name);
        fs::copy("/usr/bin/id", &path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let check = |program: &Path, as_nobody: bool, flag: &str, raised: u32, why: &str| {
        let told = |mut command: Command| if as_nobody { run_as_nobody(&mut command) } else { run(&mut command) };
        let mut alone = Command::new(program);
        alone.arg(flag);
        let mut on_heapglass = dir.heapglass();
        on_heapglass.arg("run").arg(program).arg(flag);
        let ran = told(on_heapglass);
        if told(alone).ok().out.trim().parse() == Ok(raised) {
            refused(&ran, 126, program.to_str().unwrap(), why);
        } else {
            ran.ok();
        }
    };
    check(&id("user-nobody", NOBODY, 0o4755), false, "-u", NOBODY, "set-user-id");
    check(&id("user-root", 0, 0o4755), true, "-u", 0, "set-user-id");
    check(&id("group-root", 0, 0o2755), true, "-g", 0, "set-group-id");
    // Nothing is raised for whom it already is.
    dir.heapglass()
        .arg("run")
        .arg(id("own", 0, 0o6755))
        .stdout(Stdio::null())
        .status()
        .map(|s| assert!(s.success()))
        .unwrap();
    let own = id("own-nobody", NOBODY, 0o6755);
    run_as_nobody(dir.heapglass().arg("run").arg(&own)).ok();

    let capable = id("capable", 0, 0o755);
    if have("setcap") && run(Command::new("setcap").arg("cap_net_raw+ep").arg(&capable)).code == Some(0) {
        let mut command = dir.heapglass();
        command.arg("run").arg(&capable);
        let alone = run_as_nobody(Command::new("grep").args(["NoNewPrivs:.*0", "/proc/self/status"]));
        match alone.code {
            Some(0) => refused(&run_as_nobody(&mut command), 126, capable.to_str().unwrap(), "file capabilities"),
            _ => drop(run_as_nobody(&mut command).ok()),
        }
        run(dir.heapglass().arg("run").arg(&capable)).ok();
    }
}

#[test]
fn scripts_are_followed_to_their_interpreter() {
    let dir = Dir::new("scripts");
    let probe = is_program_preloaded();
    let check = |name: &str, line: &str, rest: &[&str], out: &str| {
        let path = script(&dir, name, line, &format!("{probe}\necho \"$0\" \"$@\"\n"));
        let ran = run(heapglass().arg("run").arg(&path).args(rest)).ok();
        assert_eq!(ran.out, format!("preloaded\n{}{out}\n", path.display()), "{line}: {ran:#?}");
    };
    check("direct", "#!/bin/sh", &["a", "b c"], " a b c");
    check("flagged", "#! /bin/sh -e", &[], "");
    check("env", "#!/usr/bin/env sh", &["-f", "x"], " -f x");
    check("env-split", "#!/usr/bin/env -S A=1 sh -e", &["x"], " x");
    check("no-line", "", &["x"], " x");
    // The kernel goes from script to script, and so do we.
    let outer = dir.file("outer", format!("#!{}\n", dir.path().join("env").display()).as_bytes(), 0o755);
    let ran = run(heapglass().arg("run").arg(&outer).arg("x")).ok();
    assert_eq!(ran.out, format!("preloaded\n{} {} x\n", dir.path().join("env").display(), outer.display()));

    let assigned = script(&dir, "assigned", "#!/usr/bin/env -S A=1 B= sh", "echo $A-$B-");
    assert_eq!(run(heapglass().arg("run").arg(assigned)).ok().out, "1--\n");
}

#[test]
fn scripts_that_lead_nowhere_are_refused() {
    let dir = Dir::new("bad-scripts");
    let check = |name: &str, line: &str, status: i32, why: &str| {
        let path = script(&dir, name, line, "echo started");
        refused(&run(heapglass().arg("run").arg(&path)), status, path.to_str().unwrap(), why);
    };
    check("missing", "#!/no/such/interpreter", 127, "/no/such/interpreter");
    check("env-missing", "#!/usr/bin/env no-such-interpreter", 127, "no-such-interpreter");
    check("env-one-word", "#!/usr/bin/env sh -e", 127, "sh -e");
    check("env-alone", "#!/usr/bin/env", 126, "heapglass run -- INTERPRETER SCRIPT");
    check("env-option", "#!/usr/bin/env -S -i sh", 126, "heapglass run -- INTERPRETER SCRIPT");
    let endless = dir.path().join("endless");
    check("endless", &format!("#!{}", endless.display()), 126, "without end");
    let statically = compile("tests/tests/cli/counted.c", Door::Libc, &["-static"]);
    let path = script(&dir, "static", &format!("#!{}", statically.display()), "");
    refused(&run(heapglass().arg("run").arg(&path)), 126, statically.to_str().unwrap(), "libheapglass.a");
}

/// The variables and, for itself and for a child that it starts, whether the library is mapped.
const INHERITED: &str = "echo \"[$LD_PRELOAD][$HEAPGLASS][$HEAPGLASS_PRELOADED]\"; \
     grep -c -F \"$0\" /proc/$$/maps | sed 's/[1-9][0-9]*/mapped/'; sh -c 'grep -c -F \"$0\" /proc/$$/maps' \"$0\" | sed 's/[1-9][0-9]*/mapped/'";

#[track_caller]
fn inherited(command: &mut Command, flags: &[&str]) -> String {
    let library = library();
    command.arg("run").args(flags).args(["sh", "-c", INHERITED]).arg(library.file_name().unwrap());
    run(command).ok().out
}

#[test]
fn children_inherit_nothing_unless_they_are_followed() {
    let lib = library().display().to_string();
    assert_eq!(inherited(&mut heapglass(), &[]), "[][][]\nmapped\n0\n");
    assert_eq!(inherited(&mut heapglass(), &["-f"]), format!("[{lib}][][]\nmapped\nmapped\n"));
    assert_eq!(inherited(&mut heapglass(), &["--follow-forks"]), format!("[{lib}][][]\nmapped\nmapped\n"));
    // What was there before stays, whole and in its order.
    let mut before = heapglass();
    before.env("LD_PRELOAD", "libm.so.6:libdl.so.2").env("HEAPGLASS", "park:0");
    assert_eq!(inherited(&mut before, &[]), "[libm.so.6:libdl.so.2][park:0][]\nmapped\n0\n");
    let mut before = heapglass();
    before.env("LD_PRELOAD", "libm.so.6").env("HEAPGLASS", "park:0");
    assert_eq!(inherited(&mut before, &["-f"]), format!("[{lib}:libm.so.6][park:0][]\nmapped\nmapped\n"));
    assert_eq!(inherited(&mut heapglass(), &["--stats"]), "[][][]\nmapped\n0\n");
    let mut before = heapglass();
    before.env("HEAPGLASS", "park:0");
    assert_eq!(inherited(&mut before, &["--stats"]), "[][park:0][]\nmapped\n0\n");
}

#[test]
fn a_run_within_a_followed_run_is_still_preloaded() {
    let nested = format!("\"$0\" run sh -c '{}'", is_program_preloaded().replace('\'', "'\\''"));
    let us = heapglass().get_program().to_owned();
    let ran = run(heapglass().args(["run", "-f", "sh", "-c", &nested]).arg(us)).ok();
    assert_eq!(ran.out, "preloaded\n");
}

#[test]
fn the_library_is_found_where_it_is_installed() {
    let dir = Dir::new("prefix");
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let us = bin.join("heapglass");
    fs::copy(heapglass().get_program(), &us).unwrap();
    let alone = run(Command::new(&us).env_remove("HEAPGLASS_LIB").args(["run", "true"]));
    assert!(alone.code == Some(125) && alone.err.contains("HEAPGLASS_LIB"), "{alone:#?}");
    assert_eq!(alone.err.lines().count(), 1);
    for place in ["bin", "bin/deps", "lib", "lib/heapglass"] {
        let lib = dir.path().join(place).join("libheapglass.so");
        fs::create_dir_all(lib.parent().unwrap()).unwrap();
        fs::copy(library(), &lib).unwrap();
        let asked =
            Command::new(&us).env_remove("HEAPGLASS_LIB").args(["run", "-f", "sh", "-c", "echo $LD_PRELOAD"]).output();
        let out = String::from_utf8(asked.unwrap().stdout).unwrap();
        assert_eq!(Path::new(out.trim()), fs::canonicalize(&lib).unwrap());
        fs::remove_file(lib).unwrap();
    }
    let spaced = dir.file("a b.so", &fs::read(library()).unwrap(), 0o755);
    for (lib, why) in [(spaced.as_path(), "space"), (Path::new("/no/such.so"), "/no/such.so")] {
        let ran = run(Command::new(&us).env("HEAPGLASS_LIB", lib).args(["run", "true"]));
        assert!(ran.code == Some(125) && ran.err.contains(why) && ran.err.lines().count() == 1, "{ran:#?}");
    }
}
