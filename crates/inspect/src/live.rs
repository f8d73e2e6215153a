//! A live process: its memory by `process_vm_readv`, the rest by `/proc`.

use crate::maps::{self, Mapping};
use crate::memory::{Memory, Range};
use crate::pages;
use crate::trouble::{Result, Trouble};
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read};
use std::os::unix::fs::MetadataExt;

pub struct Live {
    pid: u32,
    pagemap: File,
    page: u64,
    /// Held still meanwhile.
    still: bool,
}

impl Live {
    pub fn open(pid: u32) -> Result<Live> {
        if fs::metadata(format!("/proc/{pid}")).is_err() {
            return Err(Trouble::Gone(pid));
        }
        check_width(pid)?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).map_err(|e| explained(pid, &e))?;
        let live = Live { pid, pagemap, page: rustix::param::page_size() as u64, still: false };
        let mappings = live.mappings()?;
        // A zombie still has its directory, but nothing in it.
        let Some(first) = mappings.iter().find(|mapping| mapping.readable) else { return Err(Trouble::Gone(pid)) };
        // Its maps may be read where its memory may not.
        live.read(first.range.start, &mut [0; 8])?;
        Ok(live)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn proc(&self, name: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).map_err(|e| explained(self.pid, &e))
    }
}

impl Memory for Live {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let from = at.wrapping_add(done as u64);
            let remote = [RemoteIoVec { base: from as usize, len: rest.len() }];
            match process_vm_readv(Pid::from_raw(self.pid.cast_signed()), &mut [IoSliceMut::new(rest)], &remote) {
                Ok(0) | Err(Errno::EFAULT) => return Err(Trouble::Unreadable(from)),
                Ok(count) => done += count,
                Err(Errno::ESRCH) => return Err(Trouble::Gone(self.pid)),
                Err(e) => return Err(explained(self.pid, &io::Error::from(e))),
            }
        }
        Ok(())
    }

    fn mappings(&self) -> Result<Vec<Mapping>> {
        self.proc("maps").map(|text| maps::parse(&text))
    }

    /// Dear: the kernel looks at every page.
    fn accounted(&self) -> Result<Option<Vec<Mapping>>> {
        self.proc("smaps").map(|text| Some(maps::parse(&text)))
    }

    fn resident(&self, range: Range) -> Result<Vec<Range>> {
        pages::resident(&self.pagemap, range, false, self.page).map_err(|e| explained(self.pid, &e))
    }

    fn threads(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return Vec::new() };
        let mut ids: Vec<u32> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        ids.sort_unstable();
        ids
    }

    fn runs(&self) -> bool {
        !self.still
    }

    fn set_still(&mut self) {
        self.still = true;
    }

    fn page(&self) -> u64 {
        self.page
    }
}

/// A program of another word length has addresses that we would misread.
fn check_width(pid: u32) -> Result<()> {
    let mut start = [0; 20];
    let read = File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut start));
    match (read, start.get(4)) {
        (Ok(()), Some(1)) if start.starts_with(b"\x7fELF") => {
            Err(Trouble::Width(format!("process {pid}, a 32-bit program")))
        }
        _ => Ok(()),
    }
}

/// What the kernel's refusal means, and what to do about it.
fn explained(pid: u32, error: &io::Error) -> Trouble {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ESRCH | Errno::ENOENT) => Trouble::Gone(pid),
        Some(Errno::EPERM | Errno::EACCES) => Trouble::Refused(refusal(pid)),
        _ => Trouble::Refused(format!("process {pid} can't be read: {error}")),
    }
}

fn refusal(pid: u32) -> String {
    let task = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let real = task.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
    why_not(&Case {
        pid,
        us: rustix::process::geteuid().as_raw(),
        real,
        // Not the directory's, which stays the user's whatever the process does.
        owner: fs::metadata(format!("/proc/{pid}/environ")).ok().map(|meta| meta.uid()),
        scope: fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default().trim().to_owned(),
    })
}

/// What a refusal depends on.
struct Case {
    pid: u32,
    us: u32,
    /// Whose the process is.
    real: Option<u32>,
    /// Whose its files in /proc are: root's, where it isn't to be read.
    owner: Option<u32>,
    /// `kernel.yama.ptrace_scope`; empty where there is no such thing.
    scope: String,
}

fn why_not(Case { pid, us, real, owner, scope }: &Case) -> String {
    if let Some(real) = real.filter(|real| real != us) {
        return format!(
            "process {pid} belongs to user {real}, and you are user {us}: read it as that user, or as root"
        );
    }
    if owner.is_some_and(|owner| owner != *us) {
        return format!(
            "process {pid} has made itself unreadable, as programs with privileges or secrets do (prctl PR_SET_DUMPABLE): read it as root"
        );
    }
    match scope.as_str() {
        "" | "0" => format!(
            "the kernel doesn't let you read process {pid}: it has privileges that you don't have, or a security module or a \
             container without CAP_SYS_PTRACE forbids it; read it as root, outside of the container"
        ),
        "3" => "the kernel lets nobody read another process until it is started anew (kernel.yama.ptrace_scope is 3)"
            .into(),
        _ => format!(
            "the kernel lets you read only processes that you started from here (kernel.yama.ptrace_scope is {scope}): type \
             `sudo sysctl kernel.yama.ptrace_scope=0`, read it as root, or start it with `heapglass map -- PROGRAM`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_refuses() {
        let told = |us: u32, real: Option<u32>, owner: Option<u32>, scope: &str| {
            why_not(&Case { pid: 7, us, real, owner, scope: scope.into() })
        };
        for (said, part) in [
            (told(1000, Some(33), Some(33), "1"), "belongs to user 33, and you are user 1000"),
            (told(1000, Some(1000), Some(0), "1"), "PR_SET_DUMPABLE"),
            (told(1000, Some(1000), Some(1000), "1"), "`sudo sysctl kernel.yama.ptrace_scope=0`"),
            (told(1000, Some(1000), Some(1000), "2"), "kernel.yama.ptrace_scope is 2"),
            (told(0, Some(0), Some(0), "3"), "kernel.yama.ptrace_scope is 3"),
            (told(1000, Some(1000), Some(1000), "0"), "CAP_SYS_PTRACE"),
            (told(1000, Some(1000), Some(1000), ""), "CAP_SYS_PTRACE"),
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
