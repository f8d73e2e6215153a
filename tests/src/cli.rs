//! What the tests of the command share.

use crate::{Ran, built, run};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The command, started without any setting of ours in its environment.
pub fn heapglass() -> Command {
    let mut command = Command::new(built("heapglass"));
    for variable in ["LD_PRELOAD", "HEAPGLASS", "HEAPGLASS_PRELOADED"] {
        command.env_remove(variable);
    }
    command
}

/// The library that the command preloads.
pub fn library() -> PathBuf {
    let path = std::env::var_os("HEAPGLASS_LIB").map_or_else(|| built("libheapglass.so"), PathBuf::from);
    fs::canonicalize(path).unwrap()
}

/// Shell text that says whether the shell that runs it has the library mapped.
pub fn is_program_preloaded() -> String {
    let name = library().file_name().unwrap().to_str().unwrap().to_owned();
    format!("if grep -q -F {name} /proc/$$/maps; then echo preloaded; else echo by itself; fi")
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A user that isn't root; only root can ask for this.
pub fn run_as_nobody(command: &mut Command) -> Ran {
    run(command.uid(65534).gid(65534).current_dir("/"))
}

/// A directory that everyone can reach, with the command and its library in it when asked for; removed when dropped.
pub struct Dir {
    path: PathBuf,
}

impl Dir {
    pub fn new(name: &str) -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("heapglass-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Dir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// The command as every user can run it: a checkout may lie where only its owner looks.
    pub fn heapglass(&self) -> Command {
        let (us, lib) = (self.path.join("heapglass"), self.path.join("libheapglass.so"));
        if !us.exists() {
            fs::copy(heapglass().get_program(), &us).unwrap();
            fs::copy(library(), &lib).unwrap();
        }
        let mut command = Command::new(us);
        command.env("HEAPGLASS_LIB", lib).env_remove("LD_PRELOAD").env_remove("HEAPGLASS");
        command
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A script with this first line; without one if it is empty.
pub fn script(dir: &Dir, name: &str, line: &str, text: &str) -> PathBuf {
    let first = if line.is_empty() { String::new() } else { format!("{line}\n") };
    dir.file(name, format!("{first}{text}\n").as_bytes(), 0o755)
}
