//! Which allocators are on this machine: the C library's own, Heapglass, and every library that can be preloaded. A library
//! that stands in a directory made for this (`rivals`) is taken whatever it is; in the system's directories the names of
//! five known ones are looked for.

use std::fs;
use std::path::{Path, PathBuf};

/// The name of what runs without any preload, which all others are compared with.
pub const REFERENCE: &str = "libc";
pub const OURS: &str = "heapglass";

/// Each with what its libraries are called, best first.
const KNOWN: [(&str, &[&str]); 5] = [
    ("jemalloc", &["libjemalloc"]),
    ("mimalloc", &["libmimalloc"]),
    ("tcmalloc", &["libtcmalloc_minimal", "libtcmalloc"]),
    ("snmalloc", &["libsnmallocshim", "libsnmalloc"]),
    ("rpmalloc", &["librpmallocwrap", "librpmalloc"]),
];

/// Where libraries lie: those of Debian and its kin first.
pub const SYSTEM_DIRS: [&str; 5] =
    ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocator {
    pub name: String,
    /// What to preload; nothing for the C library's own.
    pub library: Option<PathBuf>,
}

impl Allocator {
    pub fn reference() -> Allocator {
        Allocator { name: REFERENCE.into(), library: None }
    }

    pub fn preloaded(name: impl Into<String>, library: impl Into<PathBuf>) -> Allocator {
        Allocator { name: name.into(), library: Some(library.into()) }
    }
}

/// What is found beside the C library's own and Heapglass. What lies in `rivals` stands in for the system's of that name.
pub fn found(rivals: &[PathBuf], system: &[PathBuf]) -> Vec<Allocator> {
    let mut all: Vec<Allocator> = Vec::new();
    for dir in rivals {
        for file in files(dir) {
            if let Some(name) = file.strip_prefix("lib").and_then(|rest| rest.strip_suffix(".so")) {
                add(&mut all, Allocator::preloaded(name, dir.join(&file)));
            }
        }
    }
    for (name, stems) in KNOWN {
        let places = system.iter().flat_map(|dir| stems.iter().map(move |stem| (dir, *stem)));
        if let Some(library) = places.into_iter().find_map(|(dir, stem)| newest(dir, stem)) {
            add(&mut all, Allocator::preloaded(name, library));
        }
    }
    all
}

fn add(all: &mut Vec<Allocator>, one: Allocator) {
    if all.iter().all(|other| other.name != one.name) {
        all.push(one);
    }
}

/// The names in a directory, sorted; none if it can't be read.
fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn newest(dir: &Path, stem: &str) -> Option<PathBuf> {
    let versions = files(dir).into_iter().filter_map(|file| Some((version(&file, stem)?, file)));
    versions.max().map(|(_, file)| dir.join(file))
}

/// The numbers behind `STEM.so`. A name with others than numbers there belongs to something else.
fn version(file: &str, stem: &str) -> Option<Vec<u32>> {
    let rest = file.strip_prefix(stem)?.strip_prefix(".so")?;
    match rest.strip_prefix('.') {
        Some(numbers) => numbers.split('.').map(|number| number.parse().ok()).collect(),
        None => rest.is_empty().then(Vec::new),
    }
}

/// The allocators to run: all, or those that were asked for by `NAME` or `NAME=PATH`. The C library's own comes first
/// and is always there. The error says what to do.
pub fn chosen(found: Vec<Allocator>, asked: &[String]) -> Result<Vec<Allocator>, String> {
    let mut all = vec![Allocator::reference()];
    if asked.is_empty() {
        all.extend(found);
        return Ok(all);
    }
    for word in asked {
        let one = match word.split_once('=') {
            Some(("" | REFERENCE, _)) => return Err(format!("--with {word}: a library needs a name of its own")),
            Some((_, "")) => return Err(format!("--with {word}: there is no path behind the name")),
            Some((name, path)) => Allocator::preloaded(name, path),
            None if word == REFERENCE => continue,
            None => found.iter().find(|one| one.name == *word).cloned().ok_or_else(|| {
                let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
                format!(
                    "--with {word}: not found; there are {REFERENCE}, {}; say {word}=PATH for another",
                    names.join(", ")
                )
            })?,
        };
        if all.iter().any(|other| other.name == one.name) {
            return Err(format!("--with {word}: {} is there twice; give one of them another name", one.name));
        }
        all.push(one);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories with these files in them, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[&str]) -> Tree {
            let root = std::env::temp_dir().join(format!("heapglass-rivals-{name}-{}", std::process::id()));
            for file in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Tree(root)
        }

        #[track_caller]
        fn check(&self, rivals: &[&str], system: &[&str], expect: &[(&str, &str)]) {
            let dirs = |names: &[&str]| names.iter().map(|name| self.0.join(name)).collect::<Vec<_>>();
            let expect: Vec<_> =
                expect.iter().map(|(name, path)| Allocator::preloaded(*name, self.0.join(path))).collect();
            assert_eq!(found(&dirs(rivals), &dirs(system)), expect);
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn libraries_are_found_by_name_and_the_newest_is_taken() {
        let tree = Tree::new(
            "system",
            &[
                "a/libjemalloc.so",
                "a/libjemalloc.so.2",
                "a/libjemalloc_pic.a",
                "a/libmimalloc.so.2.0",
                "a/libmimalloc.so.10",
                "a/libmimalloc-secure.so.99",
                "a/libtcmalloc.so.4",
                "b/libtcmalloc_minimal.so.4",
                "b/libtcmalloc_minimal.so.4.debug",
                "c/libtcmalloc_minimal.so.4",
                "c/libtcmalloc.so.5",
                "c/libsnmallocshim-checks.so",
                "c/libsnmallocshim.so",
                "c/librpmallocwrap.so",
            ],
        );
        tree.check(&[], &["no-such-directory"], &[]);
        tree.check(
            &[],
            &["a", "b"],
            &[
                ("jemalloc", "a/libjemalloc.so.2"),
                ("mimalloc", "a/libmimalloc.so.10"),
                ("tcmalloc", "a/libtcmalloc.so.4"),
            ],
        );
        tree.check(
            &[],
            &["c", "a"],
            &[
                ("jemalloc", "a/libjemalloc.so.2"),
                ("mimalloc", "a/libmimalloc.so.10"),
                ("tcmalloc", "c/libtcmalloc_minimal.so.4"),
                ("snmalloc", "c/libsnmallocshim.so"),
                ("rpmalloc", "c/librpmallocwrap.so"),
            ],
        );
    }

    #[test]
    fn what_is_built_for_comparing_comes_first() {
        let tree = Tree::new("beside", &["r/libmimalloc3.so", "r/libjemalloc.so", "r/README", "s/libjemalloc.so.2"]);
        tree.check(&["r", "r"], &["s"], &[("jemalloc", "r/libjemalloc.so"), ("mimalloc3", "r/libmimalloc3.so")]);
    }

    #[test]
    fn allocators_are_chosen_by_name_or_path() {
        let found = || vec![Allocator::preloaded(OURS, "/h.so"), Allocator::preloaded("jemalloc", "/j.so")];
        let asked = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen(found(), &words).map(|all| {
                let path = |one: Allocator| one.library.map_or(String::new(), |l| l.to_str().unwrap().to_owned());
                all.into_iter().map(|one| one.name.clone() + ":" + &path(one)).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(asked(&[]).unwrap(), "libc: heapglass:/h.so jemalloc:/j.so");
        assert_eq!(asked(&["libc"]).unwrap(), "libc:");
        assert_eq!(asked(&["jemalloc", "mine=/a=b.so"]).unwrap(), "libc: jemalloc:/j.so mine:/a=b.so");
        assert_eq!(asked(&["jemalloc=/other.so"]).unwrap(), "libc: jemalloc:/other.so");
        for bad in [&["dlmalloc"][..], &["mine="], &["=/x.so"], &["libc=/x.so"], &["jemalloc", "jemalloc"]] {
            assert!(asked(bad).is_err(), "{bad:?}");
        }
        assert!(asked(&["dlmalloc"]).unwrap_err().contains("libc, heapglass, jemalloc"));
    }
}
