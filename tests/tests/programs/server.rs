//! A server under test: started on a free port, watched, and ended by its own process group whatever happens.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start or to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Server {
    child: Child,
    log: PathBuf,
    ended: bool,
}

/// A port of the loopback interface that nobody holds.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub fn answers_at(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The process has the library mapped. `false` when it has ended meanwhile.
#[track_caller]
pub fn in_use(pid: u32, library: &Path) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    assert!(
        maps.is_empty() || maps.contains(library.to_str().unwrap()),
        "{library:?} is not in process {pid}:\n{maps}"
    );
    !maps.is_empty()
}

/// The processes whose parent is `pid`.
pub fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

impl Server {
    /// Starts the server; what it prints goes to the file `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Server {
        let file = File::create(&log).unwrap();
        command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?} did not start: {e}"));
        Server { child, log, ended: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until the server is ready.
    #[track_caller]
    pub fn wait_for(&mut self, ready: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                panic!("the server ended early, {status}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "the server was not ready after {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the server to end by a signal and waits for it to do so with exit status 0.
    #[track_caller]
    pub fn ends_by(&mut self, signal: &str) {
        kill(signal, &self.pid().to_string());
        self.ends();
    }

    /// The server has been asked to end: it does, with exit status 0 and nothing said by Heapglass.
    #[track_caller]
    pub fn ends(&mut self) {
        let status = self.wait();
        let log = self.log();
        assert!(status.success(), "the server ended with {status}, signal {:?}:\n{log}", status.signal());
        assert!(!log.contains("heapglass: "), "Heapglass complained:\n{log}");
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                return status;
            }
            assert!(Instant::now() < end, "the server did not end within {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended {
            // The group, for a master's death does not end its workers.
            kill("KILL", &format!("-{}", self.pid()));
            let _ = self.child.wait();
        }
    }
}

fn kill(signal: &str, whom: &str) {
    let _ = Command::new("kill").args(["-s", signal, "--", whom]).status();
}
