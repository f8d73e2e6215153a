//! `heapglass serve`: the figures of running processes over HTTP, for Prometheus and for whoever likes JSON.
//!
//! It listens on loopback. What tells addresses of a process, which help whoever wants to break into it, asks for a token that only
//! the starter was told; a page in a browser that was led here under another name is refused.

use super::{ledger, map, said};
use crate::failure::Failure;
use heapglass_inspect::counters::{self, Counted};
use heapglass_inspect::{Target, Trouble};
use heapglass_report::ledger::Ledger;
use heapglass_report::metrics;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Serve figures of running processes to Prometheus
///
/// `/metrics` is OpenMetrics text. `/stats.json` is what `heapglass ledger --json` says of each process, `/map.json?pid=PID` what
/// `heapglass map --json` does, `/debug/pprof/heap?pid=PID` is a profile since it was first asked for, in pprof's form; these need
/// `token=` with the token that is printed at the start.
#[derive(clap::Args)]
pub struct Serve {
    /// Processes on Heapglass
    #[arg(value_name = "PID", required_unless_present = "all", conflicts_with = "all")]
    pids: Vec<u32>,

    /// Every process on Heapglass that may be read, looked for anew each time
    #[arg(long)]
    all: bool,

    /// 0 is any that is free
    #[arg(short = 'P', long, value_name = "N", default_value_t = 9432)]
    port: u16,

    /// Another address than loopback shows the figures to whoever can reach it
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
}

/// Nobody may keep the others waiting for longer.
const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST_MAX: usize = 16 * 1024;

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn plain(status: &'static str, line: impl Into<String>) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body: (line.into() + "\n").into_bytes() }
    }

    fn json(body: String) -> Answer {
        Answer { status: "200 OK", kind: "application/json", body: body.into_bytes() }
    }
}

impl Serve {
    pub fn carry_out(&self) -> Result<ExitCode, Failure> {
        // A process that can't be read now is told of now.
        for pid in &self.pids {
            super::open(*pid, false)?;
        }
        let place = SocketAddr::new(self.address, self.port);
        let listener = TcpListener::bind(place).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => {
                Failure::ours(format!("{place} is taken; choose another with --port, or 0 for any"))
            }
            _ => Failure::ours(format!("can't listen on {place}: {e}")),
        })?;
        let place = listener.local_addr().map_err(|e| Failure::ours(e.to_string()))?;
        let token = token()?;
        let mut out = io::stdout();
        let _ = writeln!(
            out,
            "http://{place}/metrics\nhttp://{place}/stats.json?token={token}\nhttp://{place}/map.json?pid=PID&token={token}"
        );
        let _ = out.flush();
        for stream in listener.incoming().flatten() {
            // Whoever goes away in the middle is no failure of ours.
            let _ = self.serve(stream, &token);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn serve(&self, mut stream: TcpStream, token: &str) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(request) = read_request(&mut stream)? else { return Ok(()) };
        let answer = self.answer(&request, token);
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        );
        stream.write_all(head.as_bytes())?;
        if !request.starts_with("HEAD ") {
            stream.write_all(&answer.body)?;
        }
        stream.flush()
    }

    fn answer(&self, request: &str, token: &str) -> Answer {
        let mut lines = request.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !matches!(method, "GET" | "HEAD") {
            return Answer::plain("405 Method Not Allowed", "there is nothing here but to be read");
        }
        let host = lines.find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case("host")));
        if self.address.is_loopback() && !host.is_none_or(|(_, host)| is_loopback(host.trim())) {
            return Answer::plain("403 Forbidden", "this is no public place: ask for it by a loopback address");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = |key: &str| {
            query.split('&').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key)).map(|(_, v)| v)
        };
        if path == "/metrics" {
            return self.metrics();
        }
        if !matches!(path, "/stats.json" | "/map.json" | "/debug/pprof/heap") {
            return Answer::plain("404 Not Found", "there are /metrics, /stats.json, /map.json and /debug/pprof/heap");
        }
        if asked("token") != Some(token) {
            return Answer::plain("403 Forbidden", "this needs the token that was printed when the server was started");
        }
        if path == "/stats.json" {
            let all: Vec<Value> = self.read().iter().map(Served::as_json).collect();
            return Answer::json(json!(all).to_string() + "\n");
        }
        let Some(pid) = asked("pid").and_then(|pid| pid.parse().ok()).or(self.pids.first().copied()) else {
            return Answer::plain("400 Bad Request", "say which process: /map.json?pid=PID");
        };
        if !self.all && !self.pids.contains(&pid) {
            return Answer::plain("404 Not Found", "that process isn't served");
        }
        if path == "/debug/pprof/heap" {
            return match crate::profile::scrape::pprof(pid) {
                Ok(body) => Answer { status: "200 OK", kind: "application/octet-stream", body },
                Err(failure) => Answer::plain("404 Not Found", failure.line),
            };
        }
        match super::open(pid, false).and_then(|target| map::as_json_of(&target, asked("chunks") == Some("1"))) {
            Ok(body) => Answer::json(body),
            Err(failure) => Answer::plain("404 Not Found", failure.line),
        }
    }

    fn pids(&self) -> Vec<u32> {
        if !self.all {
            return self.pids.clone();
        }
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let mut pids: Vec<u32> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        pids
    }

    /// All that can be read now. A process that ended isn't served any more; it is none that lacks.
    fn read(&self) -> Vec<Served> {
        self.pids().into_iter().filter_map(|pid| Served::of(pid).ok()).collect()
    }

    fn metrics(&self) -> Answer {
        let all = self.read();
        let told: Vec<metrics::Process<'_>> = all
            .iter()
            .map(|one| metrics::Process {
                pid: one.pid,
                name: &one.name,
                ledger: &one.ledger,
                counted: one.counted.as_ref(),
            })
            .collect();
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Answer { status: "200 OK", kind, body: metrics::text(&told).into_bytes() }
    }
}

/// One process, as it was read.
struct Served {
    pid: u32,
    name: String,
    target: Target,
    ledger: Ledger,
    counted: Option<Counted>,
}

impl Served {
    fn of(pid: u32) -> Result<Served, Trouble> {
        let target = Target::process(pid, false)?;
        let ledger = heapglass_report::ledger::of(&target)?;
        let counted = counters::read(&target)?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
        Ok(Served { pid, name, target, ledger, counted })
    }

    fn as_json(&self) -> Value {
        let mut all = ledger::as_json(&self.target, &self.ledger);
        if let Some(counted) = &self.counted {
            let named = |figures: &[counters::Figure]| -> Value {
                figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
            };
            all["operations"] = counted.operations.map_or(Value::Null, |figures| named(&figures));
            all["system_calls"] = named(&counted.system_calls);
            all["released_bytes"] = json!(counted.released_bytes);
        }
        all
    }
}

/// Everything up to the empty line.
fn read_request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut part = [0; 2048];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part)?;
        if count == 0 || bytes.len() > REQUEST_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// 128 bits from the kernel, in hexadecimal.
fn token() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| said("/dev/urandom", &Trouble::File(format!("/dev/urandom: {e}"))))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:9432", "127.1.2.3", "[::1]:80", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com", "10.0.0.1:80", "", "localhost.evil:80"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
