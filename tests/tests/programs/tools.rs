//! Tools of every day: git, sqlite3, tar and xz, vim, openssl, gs, z3.

use crate::trial::{LIMIT, Trial, good, script};
use heapglass_tests::{have, run, run_within};
use std::path::Path;

/// Bytes that look random and are the same in every run.
pub fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        // Marsaglia's xorshift64.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        out.extend_from_slice(&seed.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// A sha256 sum by a program that is not on Heapglass.
fn sha256(trial: &Trial, path: &Path) -> String {
    let ran = run(trial.plain("sha256sum").arg(path)).ok();
    ran.out.split(' ').next().unwrap().to_string()
}

#[test]
fn git() {
    const FILES: usize = 2000;
    if !have("git") {
        return;
    }
    let trial = Trial::new("git");
    // Fixed names and times make the ids of both repositories the same.
    let git = |ours: bool, repository: &str, args: &[&str]| {
        let mut command = if ours { trial.on("git") } else { trial.plain("git") };
        command.current_dir(trial.path(repository)).args(args).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@localhost");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        run_within(&mut command, LIMIT).ok()
    };
    let mut ids = Vec::new();
    for (ours, repository) in [(false, "plain"), (true, "ours")] {
        for n in 0..FILES {
            let text = format!("file {n}\n").repeat(1 + n % 90);
            trial.put(&format!("{repository}/dir{}/file{n}.txt", n % 37), text);
        }
        git(ours, repository, &["init", "-q", "-b", "main"]);
        git(ours, repository, &["add", "."]);
        git(ours, repository, &["commit", "-q", "-m", "all"]);
        trial.put(&format!("{repository}/dir0/file0.txt"), "changed\n");
        git(ours, repository, &["commit", "-q", "-a", "-m", "one changed"]);
        git(ours, repository, &["gc", "-q", "--prune=now"]);
        let checked = git(ours, repository, &["fsck", "--full", "--strict"]);
        assert_eq!(checked.out, "", "{checked:#?}");
        let files = git(ours, repository, &["ls-files"]);
        assert_eq!(files.out.lines().count(), FILES);
        assert_eq!(git(ours, repository, &["status", "--porcelain"]).out, "");
        let log = git(ours, repository, &["log", "-p", "--format=%H %T", "-1"]);
        let packed = git(ours, repository, &["count-objects", "-v"]);
        assert!(packed.out.contains("\npacks: 1\n") && packed.out.starts_with("count: 0\n"), "{packed:#?}");
        ids.push(log.out);
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].contains("+changed"), "{}", ids[0]);
    trial.proved(&["git"]);
}

#[test]
fn sqlite() {
    if !have("sqlite3") {
        return;
    }
    let trial = Trial::new("sqlite3");
    let sql = "PRAGMA cache_size=-8000; CREATE TABLE t(id INTEGER PRIMARY KEY, word TEXT, n INTEGER);\n\
        BEGIN; WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000)\n\
        INSERT INTO t SELECT i, printf('%08x', (i * 2654435761) & 4294967295) || substr('abcdefghijklmnopqrstuvwxyz', 1, i % 26), i % 1000 FROM c; COMMIT;\n\
        CREATE INDEX by_word ON t(word); CREATE INDEX by_n ON t(n, word);\n\
        UPDATE t SET word = word || '-more' WHERE n < 100; DELETE FROM t WHERE n = 999;\n\
        SELECT count(*), sum(id), min(word), max(word) FROM t;\n\
        SELECT n, count(*), group_concat(substr(word, 1, 2), '') FROM (SELECT * FROM t WHERE n > 990 ORDER BY word) GROUP BY n;\n\
        SELECT count(DISTINCT a.word) FROM t a JOIN t b ON a.id = b.n + 1;\n\
        VACUUM; PRAGMA integrity_check; PRAGMA quick_check;";
    let plain = run_within(trial.plain("sqlite3").args(["plain.db", sql]), LIMIT).ok();
    let ours = good(trial.on("sqlite3").args(["ours.db", sql]));
    assert_eq!(plain.out, ours.out);
    assert_eq!(trial.get("plain.db"), trial.get("ours.db"), "the same statements made another file");
    // 100 rows have n = 999: the ids 999, 1999, ... 99999.
    let sum = 100_000u64 * 100_001 / 2 - (0..100).map(|k| 999 + 1000 * k).sum::<u64>();
    assert!(ours.out.starts_with(&format!("99900|{sum}|")) && ours.out.ends_with("\nok\nok\n"), "{ours:#?}");
    trial.proved(&["sqlite3"]);
}

#[test]
fn tar_and_xz() {
    if !have("tar") || !have("xz") {
        return;
    }
    let trial = Trial::new("tar and xz");
    for n in 0..300usize {
        let mut content = noise(n * 37 % 4000, n as u64 + 1);
        content.extend(format!("line {n}\n").repeat(n * 13 % 700).bytes());
        trial.put(&format!("tree/d{}/f{n}", n % 11), content);
    }
    trial.put("tree/large", noise(3 << 20, 99));
    let pack = ["--sort=name", "--mtime=@1700000000", "--owner=0", "--group=0", "--numeric-owner", "-C", "tree", "-cf"];
    run(trial.plain("tar").args(pack).args(["plain.tar", "."])).ok();
    good(trial.on("tar").args(pack).args(["ours.tar", "."]));
    assert_eq!(sha256(&trial, &trial.path("plain.tar")), sha256(&trial, &trial.path("ours.tar")));

    run(trial.plain("xz").args(["-k", "-6", "-T2", "plain.tar"])).ok();
    good(trial.on("xz").args(["-k", "-6", "-T2", "ours.tar"]));
    assert_eq!(sha256(&trial, &trial.path("plain.tar.xz")), sha256(&trial, &trial.path("ours.tar.xz")));
    good(trial.on("xz").args(["-t", "ours.tar.xz"]));

    std::fs::create_dir(trial.path("back")).unwrap();
    good(trial.on("tar").args(["-C", "back", "-xJf", "ours.tar.xz"]));
    run(trial.plain("diff").args(["-r", "tree", "back"])).ok();
    trial.proved(&["tar", "xz"]);
}

#[test]
fn vim() {
    if !have("vim") {
        return;
    }
    let trial = Trial::new("vim");
    let text: String = (1..=5000).map(|n| format!("line {n} old and old\n")).collect();
    let text = trial.put("text", text);
    let text = text.to_str().unwrap();
    let edits = [
        "%s/old/new/g",
        "g/00 /move 0",
        "normal! Gothe end",
        "%s/line \\(\\d\\+\\)/\\1:/",
        "call append('$', map(range(1, 3000), 'v:val * v:val'))",
        "wq",
    ];
    let mut args = vec!["-es", "-u", "NONE", "-i", "NONE", "-n"];
    for edit in edits {
        args.extend(["-c", edit]);
    }
    args.push(text);
    good(trial.on("vim").args(&args));

    // Each line that holds "00 " goes to the top, so the last of them ends highest.
    let lines = (1..=5000).map(|n| format!("{n}: new and new"));
    let (moved, stayed): (Vec<String>, Vec<String>) = lines.partition(|line| line.contains("00:"));
    let mut expected: Vec<String> = moved.into_iter().rev().chain(stayed).collect();
    expected.push("the end".to_string());
    expected.extend((1..=3000u32).map(|n| (n * n).to_string()));
    let edited = String::from_utf8(trial.get("text")).unwrap();
    assert_eq!(edited.lines().next(), Some("5000: new and new"));
    assert!(edited == expected.join("\n") + "\n", "the edited text is another");
    trial.proved(&["vim*"]);
}

#[test]
fn openssl() {
    if !have("openssl") {
        return;
    }
    let trial = Trial::new("openssl");
    let speed =
        good(trial.on("openssl").args(["speed", "-seconds", "1", "-bytes", "4096", "-multi", "2", "-mr", "sha256"]));
    let figure = speed.out.lines().find_map(|line| line.strip_prefix("+F:")?.rsplit(':').next()?.parse::<f64>().ok());
    assert!(figure.is_some_and(|bytes| bytes > 0.0), "{speed:#?}");

    let data = trial.put("data", noise(1 << 20, 7));
    let digest = trial.same("openssl", &["dgst", "-sha256", "-r", "data"]);
    assert!(digest.out.starts_with(&sha256(&trial, &data)), "{digest:#?}");

    let cipher = ["enc", "-aes-256-cbc", "-pbkdf2", "-S", "0011223344556677", "-pass", "pass:word"];
    run(trial.plain("openssl").args(cipher).args(["-in", "data", "-out", "plain.enc"])).ok();
    good(trial.on("openssl").args(cipher).args(["-in", "data", "-out", "ours.enc"]));
    assert_eq!(trial.get("plain.enc"), trial.get("ours.enc"));
    good(trial.on("openssl").args(cipher).args(["-d", "-in", "ours.enc", "-out", "back"]));
    assert_eq!(trial.get("data"), trial.get("back"));

    good(trial.on("openssl").args(["genrsa", "-out", "key.pem", "2048"]));
    good(trial.on("openssl").args(["rsa", "-in", "key.pem", "-pubout", "-out", "pub.pem"]));
    good(trial.on("openssl").args(["dgst", "-sha256", "-sign", "key.pem", "-out", "signature", "data"]));
    let verify = ["dgst", "-sha256", "-verify", "pub.pem", "-signature", "signature", "data"];
    assert_eq!(trial.same("openssl", &verify).out, "Verified OK\n");
    trial.proved(&["openssl"]);
}

#[test]
fn gs() {
    if !have("gs") {
        return;
    }
    let trial = Trial::new("gs");
    let page = script("page.ps");
    let render = ["-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-r150", "-dTextAlphaBits=4", "-dGraphicsAlphaBits=4"];
    for (device, start) in [("png16m", &b"\x89PNG"[..]), ("ppmraw", b"P6\n")] {
        let device = format!("-sDEVICE={device}");
        run(trial.plain("gs").args(render).args([&device, "-sOutputFile=plain", &page])).ok();
        good(trial.on("gs").args(render).args([&device, "-sOutputFile=ours", &page]));
        let ours = trial.get("ours");
        assert!(ours.starts_with(start) && ours.len() > 20_000, "{} bytes", ours.len());
        assert_eq!(trial.get("plain"), ours, "the page rendered on Heapglass differs");
    }
    trial.proved(&["gs*"]);
}

#[test]
fn z3() {
    if !have("z3") {
        return;
    }
    let trial = Trial::new("z3");
    let ran = trial.same("z3", &[&script("work.smt2")]);
    assert_eq!(ran.out, "sat\n1009\nunsat\nsat\n#x002645\nunsat\n");
    trial.proved(&["z3"]);
}
