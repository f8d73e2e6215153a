//! Python: its own test modules, on its pool allocator over our malloc, and with every object from malloc.

use crate::trial::{LIMIT, Trial, good};
use heapglass_tests::{have, run, run_within};

const PYTHON: &str = "/usr/bin/python3";

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

/// Runs the modules in one worker and checks that every case that they list was run.
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

    let mut command = trial.on(PYTHON);
    command.env("PYTHONMALLOC", allocator).args(["-m", "test", "-v", "-j1", "--timeout", "250"]).args(MODULES);
    let ran = run_within(&mut command, LIMIT * 2).ok();
    let run_cases: usize =
        ran.out.lines().filter_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<usize>().ok()).sum();
    assert_eq!(run_cases, cases, "cases run against cases listed: {ran:#?}");
    for module in MODULES {
        assert!(ran.out.contains(&format!("{module} passed")), "{module} did not pass: {ran:#?}");
    }
    assert!(ran.out.contains("All 8 tests OK."), "{ran:#?}");
    assert!(!ran.out.contains("heapglass: ") && !ran.err.contains("heapglass: "), "Heapglass complained: {ran:#?}");
    trial.proved(&["python3*"]);
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
