//! Where a command writes what it was asked for: `-o 'trace.%e.%p'`. The letters are those of core(5): `%p` process, `%e`
//! program, `%h` host, `%t` seconds since 1970; besides, `%n` is the first number from 1 on that makes a new file, and `%%` a
//! percent sign.
//!
//! A file is made before the program starts, so that what is wrong with it is said while nothing has run. The program's
//! number isn't known then: until it is, this command's own stands in its place, and then the file is renamed.

use crate::failure::Failure;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A new file is looked for among so many.
const NUMBERS: u32 = 100_000;

/// What a name may be made of.
pub struct Known {
    program: OsString,
    pid: Option<u32>,
    host: OsString,
    seconds: u64,
}

impl Known {
    /// Of a program that is to be started.
    pub fn of_program(program: &OsStr) -> Known {
        let program = Path::new(program).file_name().unwrap_or(program).to_owned();
        let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Known { program, pid: None, host: OsString::from_vec(host.trim_ascii().to_vec()), seconds: passed.as_secs() }
    }

    /// Of a process that runs.
    pub fn of_process(pid: u32) -> Known {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        Known { pid: Some(pid), ..Known::of_program(program.as_os_str()) }
    }

    /// The name that a pattern makes, or the letter that it can't have.
    fn fill(&self, pattern: &OsStr, pid: u32, number: u32) -> Result<PathBuf, char> {
        let mut name = Vec::new();
        let mut bytes = pattern.as_bytes().iter();
        while let Some(&byte) = bytes.next() {
            if byte != b'%' {
                name.push(byte);
                continue;
            }
            match bytes.next() {
                Some(b'%') => name.push(b'%'),
                Some(b'p') => name.extend(pid.to_string().bytes()),
                Some(b'e') => name.extend(self.program.as_bytes()),
                Some(b'h') => name.extend(self.host.as_bytes()),
                Some(b't') => name.extend(self.seconds.to_string().bytes()),
                Some(b'n') => name.extend(number.to_string().bytes()),
                other => return Err(other.map_or(' ', |&byte| char::from(byte))),
            }
        }
        Ok(OsString::from_vec(name).into())
    }
}

/// A file that is written while a program runs.
pub struct Output {
    path: PathBuf,
    pattern: OsString,
    known: Known,
    number: u32,
    replaces: bool,
}

impl Output {
    /// `replaces`: a file that is there already may be lost.
    pub fn new(pattern: &Path, known: Known, replaces: bool) -> Result<Output, Failure> {
        let pattern = pattern.as_os_str().to_owned();
        let pid = known.pid.unwrap_or_else(std::process::id);
        let name = |number| {
            known.fill(&pattern, pid, number).map_err(|letter| {
                let letters = "%p, %e, %h, %t, %n and %%";
                Failure::ours(format!("{}: a name has no '%{letter}': it has {letters}", pattern.display()))
            })
        };
        let (mut number, mut path) = (1, name(1)?);
        let is_counted = name(2)? != path;
        while is_counted && number < NUMBERS && path.symlink_metadata().is_ok() {
            number += 1;
            path = name(number)?;
        }
        Ok(Output { path, pattern, known, number, replaces })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program has this number: its file gets it too. Where another file has that name, it stays what it was.
    pub fn settle(&mut self, pid: u32) -> io::Result<()> {
        if self.known.pid.replace(pid).is_some() {
            return Ok(());
        }
        let Ok(path) = self.known.fill(&self.pattern, pid, self.number) else { return Ok(()) };
        if path == self.path {
            return Ok(());
        }
        let how = if self.replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &self.path, CWD, &path, how)?;
        self.path = path;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { program: "prog".into(), pid: None, host: "here".into(), seconds: 77 }
    }

    #[test]
    fn names_are_filled_in() {
        let fill = |pattern: &str| known().fill(OsStr::new(pattern), 12, 3);
        assert_eq!(fill("a.%e.%p.%h.%t.%n.hg"), Ok("a.prog.12.here.77.3.hg".into()));
        assert_eq!(fill("100%%"), Ok("100%".into()));
        assert_eq!((fill("%x"), fill("%")), (Err('x'), Err(' ')));
        assert_eq!(Known::of_program(OsStr::new("/bin/true")).program, "true");
    }

    #[test]
    fn a_file_gets_its_programs_number_and_keeps_off_others() {
        let dir = std::env::temp_dir().join(format!("heapglass-output-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let new = |pattern: &str, replaces| Output::new(&dir.join(pattern), known(), replaces).unwrap();
        let made = |output: Output, pid: u32| {
            let mut output = output;
            std::fs::write(output.path(), pid.to_string()).unwrap();
            let settled = output.settle(pid);
            (settled.is_ok(), output.path().file_name().unwrap().to_str().unwrap().to_owned())
        };
        let mine = format!("x.{}", std::process::id());
        assert_eq!(made(new("x.%p", false), 7), (true, "x.7".into()));
        assert_eq!(made(new("x.%p", false), 7), (false, mine.clone()), "another's file is kept");
        assert_eq!(made(new("x.%p", true), 7), (true, "x.7".into()));
        assert!(!dir.join(mine).exists());
        assert_eq!(made(new("n.%n", false), 7), (true, "n.1".into()));
        assert_eq!(made(new("n.%n", false), 7), (true, "n.2".into()));
        assert_eq!(made(new("plain", false), 7), (true, "plain".into()));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
