//! Python: its own test modules, on its pool allocator over our malloc, and with every object from malloc.

use crate::trial::{Trial, good};
use heapglass_tests::{have, run, run_within};
use std::time::Duration;

const PYTHON: &str = "/usr/bin/python3";

/// A hang is to be found by us, who ask all threads where they stand, before Python finds it, which knows its own only.
const LIMIT: Duration = Duration::from_secs(240);
const PYTHONS_LIMIT: &str = "600";

const MODULES: [&str; 8] = [
    "test_list",
    "test_dict",
    "test_bytes",
    "test_re",
    "test_json",
    "test_threading",
    "test_subprocess",
    "test_multiprocessing_fork",
];

/// Runs the modules, each in a worker of its own, and checks that every case that they list was run.
fn own_tests(trial: Trial, allocator: &str) {
    let where_tests =
        run(trial.plain(PYTHON).args(["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"])).ok();
    let list = format!("{}/test/test_list.py", where_tests.out.trim());
    if !have(&list) {
        return;
    }
    let listed = run(trial.plain(PYTHON).args(["-m", "test", "--list-cases"]).args(MODULES)).ok();
    let cases = listed.out.lines().filter(|line| !line.is_empty()).count();
    assert!(cases > 1000, "{listed:#?}");
    assert_eq!(MODULES.iter().map(|module| passes(&trial, allocator, module)).sum::<usize>(), cases);
    trial.proved(&["python3*"]);
}

/// Runs one module, which has to pass; returns its number of cases. Some of Python's cases measure time and fail on a busy
/// machine, whatever the allocator: a module with a failed case is run once more. A crash, a hang or a word from
/// Heapglass gets no second chance.
fn passes(trial: &Trial, allocator: &str, module: &str) -> usize {
    let mut again = false;
    loop {
        // Whoever runs us in the background may have us ignore signals, and Python's tests wait for them.
        let mut command = trial.on("env");
        command.args(["--default-signal=HUP,INT,QUIT", PYTHON, "-m", "test", "-v", "-j1"]);
        command.env("PYTHONMALLOC", allocator).args(["--timeout", PYTHONS_LIMIT, module]);
        let ran = run_within(&mut command, LIMIT);
        let all = format!("{}{}", ran.out, ran.err);
        let told = |text: &str| all.lines().filter(|line| line.contains(text)).collect::<Vec<_>>().join("\n");
        assert_eq!(told("heapglass: "), "", "Heapglass complained in {module}");
        if ran.code == Some(0) {
            assert!(all.contains(&format!("{module} passed")) && all.contains("1 test OK."), "{module}: {ran:#?}");
            let counts =
                ran.out.lines().filter_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<usize>().ok());
            return counts.sum::<usize>();
        }
        let failed = [told("FAIL: "), told("ERROR: ")].concat();
        eprintln!("{module} on PYTHONMALLOC={allocator}: {failed}");
        let is_failed_case = ran.code == Some(2) && !failed.is_empty();
        let crashed = ["Fatal Python error", "crashed", "Timeout (", "timed out", "died with"].map(&told).concat();
        assert!(is_failed_case && crashed.is_empty() && !again, "{module} did not pass: {failed}\n{crashed}\n{ran:#?}");
        again = true;
    }
}

#[test]
fn python_tests() {
    if have(PYTHON) {
        own_tests(Trial::new("python tests"), "pymalloc");
    }
}

#[test]
fn python_tests_all_from_malloc() {
    if have(PYTHON) {
        own_tests(Trial::new("python tests, malloc"), "malloc");
    }
}

/// As anybody runs it: no variable set, a few million objects, the answer known.
#[test]
fn python() {
    if !have(PYTHON) {
        return;
    }
    let trial = Trial::new("python");
    let program = "import json, collections, zlib\n\
        rows = [{'id': n, 'name': 'n' * (n % 60), 'list': list(range(n % 20))} for n in range(60000)]\n\
        back = json.loads(json.dumps(rows))\n\
        count = collections.Counter(len(row['name']) for row in back)\n\
        print(back == rows, sum(row['id'] for row in back), sorted(count.items())[:3])\n\
        print(len(bin(3 ** 60000)), zlib.crc32(b''.join(bytes([n % 256]) * n for n in range(3000))))\n";
    for allocator in ["default", "malloc"] {
        let plain = run(trial.plain(PYTHON).args(["-c", program])).ok();
        let ours = good(trial.on(PYTHON).env("PYTHONMALLOC", allocator).args(["-c", program]));
        assert_eq!(plain.out, ours.out);
        assert!(ours.out.starts_with("True 1799970000 [(0, 1000), (1, 1000), (2, 1000)]\n95100 "), "{ours:#?}");
    }
    trial.proved(&["python3*"]);
}
