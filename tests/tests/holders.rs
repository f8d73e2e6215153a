//! Profiles of large programs of others: redis and python3 as Debian ships them, without frame pointers and stripped. What holds the memory
//! is known, and is found by its name.

use heapglass_tests::cli::{Dir, heapglass};
use heapglass_tests::{have, run};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes in use below a function, and all, by folded stacks.
#[track_caller]
fn held_by(profile: &Path, function: &str) -> (u64, u64) {
    let words = ["--to", "folded", "--by", "in-use"];
    let text = run(heapglass().arg("export").arg(profile).args(words)).ok().out;
    let mut sums = (0, 0);
    for line in text.lines() {
        let (stack, bytes) = line.rsplit_once(' ').unwrap();
        let bytes: u64 = bytes.parse().unwrap_or_else(|_| panic!("{line}"));
        sums.1 += bytes;
        if stack.split(';').any(|call| call == function) {
            sums.0 += bytes;
        }
    }
    sums
}

#[test]
fn of_redis_the_keys_hold_the_memory() {
    const KEYS: u32 = 50_000;
    if !have("redis-server") || !have("redis-cli") {
        return;
    }
    let dir = Dir::new("holders");
    let file = dir.path().join("redis.gz");
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port().to_string();
    let mut command = heapglass();
    command.args(["profile", "-q", "--interval", "64K", "-o"]).arg(&file).args(["--", "redis-server", "--port", &port]);
    command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir"]).arg(dir.path());
    let mut server = command.stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < deadline, "redis doesn't answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let fill = format!("for i = 1, {KEYS} do redis.call('set', 'key:' .. i, string.rep('x', 500)) end");
    let client = |words: &[&str]| run(Command::new("redis-cli").args(["-p", &port]).args(words));
    client(&["eval", &fill, "0"]).ok();
    client(&["shutdown", "nosave"]);
    assert!(server.wait().unwrap().success());
    // Values of 500 bytes, made where SET's arguments are.
    let (values, all) = held_by(&file, "setGenericCommand");
    let (commands, _) = held_by(&file, "call");
    assert!(commands > 20_000_000 && commands * 10 > all * 8, "{values} and {commands} of {all}");
}

#[test]
fn of_python_what_a_script_keeps_is_below_the_interpreter() {
    const PYTHON: &str = "/usr/bin/python3";
    if !have(PYTHON) {
        return;
    }
    let dir = Dir::new("holders");
    let file = dir.path().join("python.gz");
    let script = "kept = [bytes(1000) for _ in range(20000)]\nimport os; os._exit(0)";
    let mut command = heapglass();
    command.args(["profile", "-q", "--interval", "64K", "-o"]).arg(&file).args(["--", PYTHON, "-c", script]);
    run(&mut command).ok();
    let (interpreted, all) = held_by(&file, "_PyEval_EvalFrameDefault");
    assert!(interpreted > 15_000_000 && interpreted * 10 > all * 8, "{interpreted} of {all}");
}
