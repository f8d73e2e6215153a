//! Redis under its own benchmark: the server is the measured program, on a socket in the suite's directory, and here is who
//! gives it work, compares its answers and tells it to end.

use super::inputs::REDIS;
use crate::launch::Running;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TESTS: &str = "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset";
/// A server that says nothing for so long says nothing at all.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    benchmark: PathBuf,
    socket: PathBuf,
    requests: u32,
}

impl Client {
    /// With the words for the server. It listens on no network and writes no file but the socket.
    pub fn new(benchmark: &Path, socket: PathBuf, requests: u32) -> (Vec<OsString>, Client) {
        let mut words: Vec<OsString> = ["--port", "0", "--unixsocket"].map(OsString::from).to_vec();
        words.push(socket.clone().into());
        words.extend(
            ["--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"].map(OsString::from),
        );
        (words, Client { benchmark: benchmark.to_owned(), socket, requests })
    }

    /// Gives the server its work, and the answers to some of it. In the end the server ends, or is ended.
    pub fn talk(&self, running: &mut Running) -> Result<Vec<u8>, String> {
        let answers = self.work(running).map_err(|e| format!("its client: {e}"));
        let told = UnixStream::connect(&self.socket).and_then(|mut server| server.write_all(b"SHUTDOWN NOSAVE\r\n"));
        let ended = running.end(if told.is_ok() { PATIENCE } else { Duration::from_secs(1) });
        answers.and_then(|answers| ended.map(|()| answers).map_err(|e| e.to_string()))
    }

    fn work(&self, running: &mut Running) -> io::Result<Vec<u8>> {
        let mut server = self.connect(running)?;
        let requests = self.requests.to_string();
        let benchmark = Command::new(&self.benchmark)
            .arg("-s")
            .arg(&self.socket)
            .args(["-q", "-n", &requests, "-r", "100000", "-d", "100", "-P", "16", "-t", TESTS])
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !benchmark.success() {
            return Err(io::Error::other(format!("redis-benchmark: {benchmark}")));
        }
        for line in REDIS.lines().filter(|line| !line.starts_with('#')) {
            server.write_all(format!("{line}\r\n").as_bytes())?;
        }
        server.write_all(b"QUIT\r\n")?;
        let mut answers = Vec::new();
        server.read_to_end(&mut answers)?;
        Ok(answers)
    }

    /// Tries until the server listens.
    fn connect(&self, running: &mut Running) -> io::Result<UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(server) => {
                    server.set_read_timeout(Some(PATIENCE))?;
                    return Ok(server);
                }
                Err(e) if running.has_ended()? || Instant::now() > deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}
