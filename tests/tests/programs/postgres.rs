//! postgres with pgbench: many processes that fork from one and share memory, each with a malloc heap of its own.

use crate::server::{Server, children, free_port, in_use};
use crate::trial::{LIMIT, Trial};
use heapglass_tests::{Ran, have, run, run_within};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user postgres runs as. It refuses root, so root takes the user that the package made.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
    change: bool,
}

impl User {
    fn find() -> Option<User> {
        let me = std::fs::metadata("/proc/self").unwrap();
        if me.uid() != 0 {
            return Some(User { uid: me.uid(), gid: me.gid(), change: false });
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.starts_with("postgres:"))?;
        let mut fields = line.split(':').skip(2);
        let mut number = || fields.next()?.parse().ok();
        Some(User { uid: number()?, gid: number()?, change: true })
    }

    fn becomes<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.change {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    fn owns(&self, path: &Path) {
        if self.change {
            chown(path, Some(self.uid), Some(self.gid)).unwrap();
        }
    }
}

/// The directory of initdb and postgres, which packages keep off the PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map(|d| d.map(|e| e.unwrap().path().join("bin")).collect());
    let mut found: Vec<PathBuf> = versions.unwrap_or_default();
    found.retain(|dir| dir.join("postgres").exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("/usr/bin"))
}

struct Site {
    trial: Trial,
    user: User,
    programs: PathBuf,
    port: String,
}

impl Site {
    fn command(&self, program: &str) -> Command {
        let mut command = self.trial.on(self.programs.join(program));
        self.user.becomes(&mut command);
        command
    }

    #[track_caller]
    fn client(&self, program: &str, host: &str, args: &[&str]) -> Ran {
        let mut command = self.command(program);
        command.args(["-h", host, "-p", &self.port, "-U", "tester"]).args(args);
        let ran = run_within(&mut command, LIMIT).ok();
        assert!(!ran.err.contains("heapglass: "), "Heapglass complained: {ran:#?}");
        ran
    }

    fn query(&self, sql: &str) -> String {
        let ran =
            self.client("psql", "127.0.0.1", &["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql]);
        ran.out.trim_end().to_string()
    }

    fn start(&self) -> Server {
        let dir = self.trial.dir().to_str().unwrap();
        let mut command = self.command("postgres");
        command.args(["-D", "data", "-k", dir, "-p", &self.port]);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=32MB", "max_connections=20"] {
            command.args(["-c", setting]);
        }
        let mut server = Server::start(&mut command, self.trial.path("log"));
        let socket = self.trial.path(format!(".s.PGSQL.{}", self.port));
        // The socket is there before the server takes connections, so it is asked whether it is ready.
        server.wait_for(|| {
            let ready = run(self
                .command("pg_isready")
                .args(["-q", "-h", dir, "-p", &self.port, "-U", "tester", "-d", "postgres"]));
            socket.exists() && ready.code == Some(0)
        });
        server
    }
}

#[test]
fn postgres() {
    const CLIENTS: u32 = 2;
    const TRANSACTIONS: u32 = 1500;
    let programs = programs();
    if !have(programs.join("postgres").to_str().unwrap()) || !have("pgbench") {
        return;
    }
    let user = User::find().expect("running as root, and there is no user postgres");
    // Not under the build: that user may not be able to reach it, and a socket's path must be short.
    let mut trial = Trial::within("postgres", &std::env::temp_dir());
    trial.bring_tools();
    for path in [trial.dir(), trial.tmp()] {
        user.owns(path);
    }
    let site = Site { trial, user, programs, port: free_port().to_string() };
    let made = run_within(
        site.command("initdb").args(["-D", "data", "-U", "tester", "-A", "trust", "--no-locale", "-E", "UTF8", "-N"]),
        LIMIT,
    );
    assert!(!made.err.contains("heapglass: "), "{made:#?}");
    made.ok();

    let mut server = site.start();
    assert!(in_use(server.pid(), site.trial.library()));
    // The process that recovers the data at the start may be ending just now.
    let helpers = children(server.pid()).into_iter().filter(|pid| in_use(*pid, site.trial.library()));
    assert!(helpers.count() >= 4, "checkpointer, two writers, launcher");

    let dir = site.trial.dir().to_str().unwrap();
    site.client("pgbench", dir, &["-i", "-q", "-s", "2", "postgres"]);
    let (clients, transactions) = (CLIENTS.to_string(), TRANSACTIONS.to_string());
    let bench = site.client("pgbench", dir, &["-n", "-c", &clients, "-j", "2", "-t", &transactions, "postgres"]);
    let all = CLIENTS * TRANSACTIONS;
    assert!(bench.out.contains(&format!("actually processed: {all}/{all}")), "{bench:#?}");

    // Each transaction adds one delta to an account, a teller and a branch, and notes it.
    let sums = site.query(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
         (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)",
    );
    let sums: Vec<&str> = sums.split('|').collect();
    assert!(sums.len() == 4 && sums.iter().all(|sum| *sum == sums[0] && sum.parse::<i64>().is_ok()), "{sums:?}");
    assert_eq!(site.query("SELECT count(*) FROM pgbench_history"), all.to_string());
    let sort = "SELECT count(*), max(length(s)) FROM (SELECT repeat(md5(g::text), 3) s FROM generate_series(1, 50000) g ORDER BY 1) t";
    assert_eq!(site.query(sort), "50000|96");
    let backend =
        site.query("SELECT count(*) FROM regexp_split_to_table(repeat('a1b22c333', 5000), '[0-9]+') x WHERE x <> ''");
    assert_eq!(backend, "15000");

    // Waits for sessions that are just ending, which the quicker way would cut off with a word in the log.
    server.ends_by("TERM");
    let log = server.log();
    for bad in ["PANIC", "FATAL", "was terminated by signal", "heapglass: "] {
        assert!(!log.contains(bad), "{log}");
    }
    site.trial.proved(&["initdb", "postgres", "pgbench", "psql"]);
}
