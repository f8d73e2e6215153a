//! Scripts: which program the kernel will really load for a `#!` line, and what becomes of the arguments on the way.
//!
//! A script is handed to the kernel as it is, with one exception: `#!/usr/bin/env PROGRAM`. There `env` would be the
//! program that gets the preload, and would hand none on to PROGRAM. So its work is done here and PROGRAM is started
//! directly, with the arguments that `env` would have given it.

use crate::failure::Failure;
use crate::find;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// As much of a file as the kernel looks at for a `#!` line.
const HEAD_BYTES: u64 = 256;
/// How many interpreters may be scripts themselves, as in the kernel.
const NESTED_MAX: usize = 5;
const ELF: &[u8] = b"\x7fELF";

/// What is handed to exec, and what comes of it.
#[derive(Debug)]
pub struct Start {
    pub file: PathBuf,
    /// `argv`, the program's own name first.
    pub words: Vec<OsString>,
    /// Assignments that a `#!/usr/bin/env -S` line makes.
    pub assigned: Vec<(OsString, OsString)>,
    /// The file that is loaded in the end: `file`, or the interpreter of that script.
    pub image: PathBuf,
}

/// Finds the program for these words, and follows scripts to what will be loaded.
pub fn follow(words: Vec<OsString>) -> Result<Start, Failure> {
    let file = find::program(&words[0])?;
    let mut start = Start { image: file.clone(), file, words, assigned: Vec::new() };
    // The arguments of the image, as the kernel builds them.
    let mut argv = start.words.clone();
    for _ in 0..=NESTED_MAX {
        let head = head(&start.image)?;
        let Some(line) = hash_bang(&head, &start.image)? else { return Ok(start) };
        let script = std::mem::replace(&mut start.image, PathBuf::from(line.interpreter));
        let mut rest = vec![script.clone().into_os_string()];
        rest.extend(argv.drain(1..));
        if is_env(&start.image) {
            let call = env_call(line.argument).ok_or_else(|| {
                Failure::unusable(&script, "its #! line asks more of env than can be followed; name its interpreter: heapglass run -- INTERPRETER SCRIPT")
            })?;
            start.image = find::program(&call.words[0])
                .map_err(|f| Failure { line: format!("{}: its interpreter: {}", script.display(), f.line), ..f })?;
            start.file.clone_from(&start.image);
            start.assigned.extend(call.assigned);
            argv = call.words;
            argv.extend(rest);
            start.words.clone_from(&argv);
        } else {
            find::program(start.image.as_os_str())
                .map_err(|f| Failure { line: format!("{}: its interpreter: {}", script.display(), f.line), ..f })?;
            argv = vec![line.interpreter.into()];
            argv.extend(line.argument.map(OsString::from));
            argv.extend(rest);
        }
    }
    Err(Failure::unusable(&start.file, "its #! line leads from script to script without end"))
}

/// By its name, but a script of that name isn't it.
fn is_env(interpreter: &Path) -> bool {
    interpreter.file_name() == Some(OsStr::new("env")) && head(interpreter).is_ok_and(|head| head.starts_with(ELF))
}

fn head(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    File::open(path).and_then(|f| f.take(HEAD_BYTES).read_to_end(&mut head)).map_err(|e| {
        Failure::unusable(path, format!("can't be read, so it can't be told whether it can be preloaded: {e}"))
    })?;
    Ok(head)
}

/// Reads any bytes as the head of a script: see `readers`.
pub fn read_bytes(head: &[u8], path: &Path) {
    if let Ok(Some(line)) = hash_bang(head, path) {
        assert!(!line.interpreter.is_empty());
        if let Some(call) = env_call(line.argument) {
            assert!(!call.words.is_empty());
        }
    }
    let _ = env_call(Some(OsStr::from_bytes(head)));
}

struct HashBang<'a> {
    interpreter: &'a OsStr,
    /// All that follows on the line, as one word: the kernel doesn't split it.
    argument: Option<&'a OsStr>,
}

/// The `#!` line of a script. A text without one is a script for `/bin/sh`, as in execvp(3); an ELF file is none at all.
fn hash_bang<'a>(head: &'a [u8], path: &Path) -> Result<Option<HashBang<'a>>, Failure> {
    if head.starts_with(ELF) {
        return Ok(None);
    }
    let Some(rest) = head.strip_prefix(b"#!") else {
        if head.contains(&0) {
            return Err(Failure::unusable(path, "is neither a program for this system nor a script"));
        }
        return Ok(Some(HashBang { interpreter: OsStr::new("/bin/sh"), argument: None }));
    };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let line = line.trim_ascii_end();
    let line = &line[line.iter().take_while(|b| is_blank(b)).count()..];
    let end = line.iter().position(is_blank).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    if interpreter.is_empty() {
        return Err(Failure::unusable(path, "its #! line names no interpreter"));
    }
    let argument = argument.trim_ascii_start();
    Ok(Some(HashBang {
        interpreter: OsStr::from_bytes(interpreter),
        argument: (!argument.is_empty()).then(|| OsStr::from_bytes(argument)),
    }))
}

#[derive(Debug, Default, PartialEq)]
struct EnvCall {
    assigned: Vec<(OsString, OsString)>,
    words: Vec<OsString>,
}

/// What `env` would make of this argument: PROGRAM, or `-S [NAME=VALUE]... PROGRAM ARGS...`. None for all else that it
/// can be asked (its options, quotes, escapes), and where it would run the script itself again.
fn env_call(argument: Option<&OsStr>) -> Option<EnvCall> {
    let argument = argument?.as_bytes();
    let split = [&b"-S"[..], b"--split-string="].iter().find_map(|option| argument.strip_prefix(*option));
    let words: Vec<&[u8]> = match split {
        Some(text) if text.iter().any(|b| b"\\'\"$#".contains(b)) => return None,
        Some(text) => text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect(),
        None => vec![argument],
    };
    let mut call = EnvCall::default();
    for word in words {
        let os = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        match word.iter().position(|b| *b == b'=') {
            _ if !call.words.is_empty() => call.words.push(os(word)),
            _ if word.starts_with(b"-") => return None,
            Some(at) => call.assigned.push((os(&word[..at]), os(&word[at + 1..]))),
            None => call.words.push(os(word)),
        }
    }
    (!call.words.is_empty()).then_some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_bang_line_is_cut_as_the_kernel_cuts_it() {
        let check = |text: &str, expect: Option<(&str, Option<&str>)>| {
            let found = hash_bang(text.as_bytes(), Path::new("x")).unwrap();
            let found =
                found.map(|line| (line.interpreter.to_str().unwrap(), line.argument.map(|a| a.to_str().unwrap())));
            assert_eq!(found, expect, "{text:?}");
        };
        check("\x7fELF...", None);
        check("echo no line at all", Some(("/bin/sh", None)));
        check("#!/bin/sh\necho", Some(("/bin/sh", None)));
        check("#! \t/bin/sh -eu \t\necho", Some(("/bin/sh", Some("-eu"))));
        check("#!/bin/awk -f -x y\n", Some(("/bin/awk", Some("-f -x y"))));
        check("#!/bin/sh", Some(("/bin/sh", None)));
        for bad in [&b"#!\n"[..], b"#!  ", b"MZ\0\0"] {
            assert_eq!(hash_bang(bad, Path::new("x")).err().map(|f| f.status), Some(126));
        }
    }

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn env_is_followed_where_its_meaning_is_plain() {
        let check = |argument: &str, expect: Option<(Pairs, &[&str])>| {
            let expect = expect.map(|(assigned, words)| EnvCall {
                assigned: assigned.iter().map(|(n, v)| (n.into(), v.into())).collect(),
                words: words.iter().map(OsString::from).collect(),
            });
            assert_eq!(env_call(Some(OsStr::new(argument))), expect, "{argument:?}");
        };
        check("python3", Some((&[], &["python3"])));
        check("python3 -u", Some((&[], &["python3 -u"])));
        check("-S python3 -u", Some((&[], &["python3", "-u"])));
        check("-SA=1  B= perl -w A=2", Some((&[("A", "1"), ("B", "")], &["perl", "-w", "A=2"])));
        check("--split-string=perl -w", Some((&[], &["perl", "-w"])));
        check("-S perl -e 'print 1'", None);
        check("-S -i perl", None);
        check("-i", None);
        check("A=1", None);
        check("-S", None);
        assert_eq!(env_call(None), None);
    }
}
