//! `heapglass serve`: the figures of running processes over HTTP, for Prometheus and for whoever likes JSON.
//!
//! It listens on loopback. What tells addresses of a process, which help whoever wants to break into it, asks for a token (see
//! `http`).

use super::http::{self, Answer, Door, Request};
use super::{ledger, map};
use crate::failure::Failure;
use heapglass_inspect::counters::{self, Counted};
use heapglass_inspect::{Target, Trouble};
use heapglass_report::ledger::Ledger;
use heapglass_report::metrics;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

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

impl Serve {
    pub fn carry_out(&self) -> Result<ExitCode, Failure> {
        // A process that can't be read now is told of now.
        for pid in &self.pids {
            super::open(*pid, false)?;
        }
        let door = Door::open(self.address, self.port)?;
        let (place, token) = (door.place, &door.token);
        let mut out = io::stdout();
        let _ = writeln!(
            out,
            "http://{place}/metrics\nhttp://{place}/stats.json?token={token}\nhttp://{place}/map.json?pid=PID&token={token}"
        );
        let _ = out.flush();
        door.serve(&|request| self.answer(request, token));
        Ok(ExitCode::SUCCESS)
    }

    /// What `heapglass watch` serves beside its page: the same, of its one process.
    pub fn of(pid: u32) -> Serve {
        Serve { pids: vec![pid], all: false, port: 0, address: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    pub fn answer(&self, request: &Request, token: &str) -> Answer {
        if request.is_post {
            return http::no_method();
        }
        if request.path == "/metrics" {
            return self.metrics(request.accept);
        }
        if !matches!(request.path, "/stats.json" | "/map.json" | "/debug/pprof/heap") {
            return Answer::not_found("there are /metrics, /stats.json, /map.json and /debug/pprof/heap");
        }
        if request.asked("token").as_deref() != Some(token) {
            return Answer::plain("403 Forbidden", "this needs the token that was printed when the server was started");
        }
        if request.path == "/stats.json" {
            let all: Vec<Value> = self.read().iter().map(Served::as_json).collect();
            return Answer::json(json!(all).to_string() + "\n");
        }
        let Some(pid) = request.asked("pid").and_then(|pid| pid.parse().ok()).or(self.pids.first().copied()) else {
            return Answer::plain("400 Bad Request", "say which process: /map.json?pid=PID");
        };
        if !self.all && !self.pids.contains(&pid) {
            return Answer::not_found("that process isn't served");
        }
        if request.path == "/debug/pprof/heap" {
            return match crate::profile::scrape::pprof(pid) {
                Ok(body) => Answer::of("application/octet-stream", body),
                Err(failure) => Answer::not_found(failure.line),
            };
        }
        let with_chunks = request.asked("chunks").as_deref() == Some("1");
        match super::open(pid, false).and_then(|target| map::as_json_of(&target, with_chunks)) {
            Ok(body) => Answer::json(body),
            Err(failure) => Answer::not_found(failure.line),
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

    /// In OpenMetrics, but for who asks for the older form and not for this.
    fn metrics(&self, accept: &str) -> Answer {
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
        let is_older = accept.contains("text/plain") && !accept.contains("openmetrics");
        let (form, kind) = match is_older {
            true => (metrics::Form::Text, "text/plain; version=0.0.4; charset=utf-8"),
            false => (metrics::Form::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        };
        Answer::of(kind, metrics::text(&told, form).into_bytes())
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
            all["lock_waits"] = json!(counted.lock_waits);
        }
        all
    }
}
