//! What the suite runs: every workload of `heapglass-workloads`, and programs that people use, with the words and the
//! surroundings that make a run do the same each time. The work of each is one to three seconds under the C library on a
//! machine of today.

use super::inputs::{self, repeated, write};
use super::redis::Client;
use crate::find;
use crate::launch::Launch;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No run may take longer, times the scale: some twenty times what it takes. And however small, no less than the second.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_MIN: Duration = Duration::from_secs(30);

const WORKLOADS: &str = "heapglass-workloads";

pub struct Item {
    pub name: String,
    pub about: String,
    pub is_own: bool,
    pub image: PathBuf,
    pub version: String,
    pub launch: Launch,
    /// What of the output is the same in each run.
    pub reads: fn(&[u8]) -> Vec<u8>,
    /// Files and directories that the program makes.
    pub results: Vec<PathBuf>,
    /// A directory to copy to another place before each run.
    pub fresh: Option<(PathBuf, PathBuf)>,
    /// Who gives a server its work.
    pub client: Option<Client>,
    /// What stands for the C library's allocator: itself, where the program is linked with another one.
    pub reference: Option<&'static Path>,
}

/// Where an item is made, and how large.
pub struct Place {
    pub dir: PathBuf,
    pub scale: f64,
}

impl Place {
    fn times(&self, at_one: u32) -> u32 {
        ((f64::from(at_one) * self.scale).round() as u32).max(1)
    }

    /// Not with what is above it: that goes when the suite is ended.
    fn make(&self) -> Result<(), String> {
        match std::fs::create_dir(&self.dir) {
            Err(e) if !self.dir.is_dir() => Err(format!("{}: {e}", self.dir.display())),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

struct Real {
    name: &'static str,
    about: &'static str,
    /// Each by any of its names, the first found is taken; with the Debian package that brings it.
    programs: &'static [(&'static [&'static str], &'static str)],
    version: &'static str,
    /// From the paths of the programs.
    work: fn(&Place, &[PathBuf]) -> Result<Work, String>,
}

/// What a program is given.
#[derive(Default)]
struct Work {
    words: Vec<OsString>,
    assigned: Vec<(&'static str, OsString)>,
    input: Option<PathBuf>,
    results: Vec<PathBuf>,
    fresh: Option<(PathBuf, PathBuf)>,
    client: Option<Client>,
    reference: Option<&'static Path>,
}

const REAL: [Real; 10] = [
    Real {
        name: "python",
        about: "Python with PYTHONMALLOC=malloc: objects, dictionaries, JSON, patterns",
        programs: &[(&["python3"], "python3")],
        version: "--version",
        work: |place, _| {
            let script = write(place, "python.py", inputs::PYTHON)?;
            let assigned = vec![("PYTHONMALLOC", "malloc".into()), ("PYTHONHASHSEED", "0".into())];
            let words = vec!["-I".into(), "-S".into(), script.into(), place.times(42).to_string().into()];
            Ok(Work { words, assigned, ..Work::default() })
        },
    },
    Real {
        name: "lua",
        about: "Lua: tables, closures, strings",
        programs: &[(&["lua5.4", "lua"], "lua5.4")],
        version: "-v",
        work: |place, _| {
            let script = write(place, "lua.lua", inputs::LUA)?;
            Ok(Work { words: vec![script.into(), place.times(50).to_string().into()], ..Work::default() })
        },
    },
    Real {
        name: "perl",
        about: "Perl: hashes, arrays, strings and patterns of a made-up log",
        programs: &[(&["perl"], "perl")],
        version: "-v",
        work: |place, _| {
            let script = write(place, "perl.pl", inputs::PERL)?;
            let assigned = vec![("PERL_HASH_SEED", "0".into()), ("PERL_PERTURB_KEYS", "0".into())];
            Ok(Work { words: vec![script.into(), place.times(20).to_string().into()], assigned, ..Work::default() })
        },
    },
    Real {
        name: "ruby",
        about: "Ruby: objects and strings of made-up web pages",
        programs: &[(&["ruby", "ruby3.1", "ruby3.3"], "ruby")],
        version: "--version",
        work: |place, _| {
            let script = write(place, "ruby.rb", inputs::RUBY)?;
            let words = vec!["--disable-gems".into(), script.into(), place.times(60).to_string().into()];
            Ok(Work { words, ..Work::default() })
        },
    },
    Real {
        name: "sqlite",
        about: "SQLite in memory: filling, indexes, joins, sorting, deleting",
        programs: &[(&["sqlite3"], "sqlite3")],
        version: "--version",
        work: |place, _| {
            let text = inputs::SQL.replace("@N@", &place.times(40_000).to_string());
            let input = write(place, "sqlite.sql", &text)?;
            let words = ["-batch", "-init", "/dev/null", ":memory:"].map(OsString::from).to_vec();
            Ok(Work { words, input: Some(input), ..Work::default() })
        },
    },
    Real {
        name: "redis",
        about: "the server of Redis under redis-benchmark, by a socket",
        programs: &[(&["redis-server"], "redis-server"), (&["redis-benchmark"], "redis-tools")],
        version: "--version",
        work: |place, programs| {
            let socket = place.path("socket");
            let (words, client) = Client::new(&programs[1], socket, place.times(50_000));
            // Debian's is linked with jemalloc, which would stand in the C library's place.
            let reference = Some(Path::new("libc.so.6"));
            Ok(Work { words, client: Some(client), reference, ..Work::default() })
        },
    },
    Real {
        name: "gcc",
        about: "GCC -O2 to assembly; time of driver and compiler, peak of the larger",
        programs: &[(&["gcc"], "gcc")],
        version: "--version",
        work: |place, _| {
            let source = write(place, "gcc.c", &repeated(inputs::C, place.times(22)))?;
            let words = ["-O2", "-S", "-o", "-"].map(OsString::from).into_iter().chain([source.into()]).collect();
            Ok(Work { words, ..Work::default() })
        },
    },
    Real {
        name: "z3",
        about: "Z3: products of bit vectors, orderings without solution",
        programs: &[(&["z3"], "z3")],
        version: "--version",
        work: |place, _| {
            let problems = write(place, "z3.smt2", &repeated(inputs::SMT2, place.times(60)))?;
            Ok(Work { words: vec![problems.into()], ..Work::default() })
        },
    },
    Real {
        name: "ghostscript",
        about: "Ghostscript: pages of text and curves, painted",
        programs: &[(&["gs"], "ghostscript")],
        version: "--version",
        work: |place, _| {
            let text = inputs::POSTSCRIPT.replace("@N@", &place.times(220).to_string());
            let pages = write(place, "ghostscript.ps", &text)?;
            let mut words = ["-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pgmraw", "-r50", "-sOutputFile=-"]
                .map(OsString::from)
                .to_vec();
            words.push(pages.into());
            Ok(Work { words, ..Work::default() })
        },
    },
    Real {
        name: "git",
        about: "git gc --aggressive of a made-up history; time of all processes, peak of the largest",
        programs: &[(&["git"], "git")],
        version: "--version",
        work: |place, programs| {
            let assigned = vec![
                ("GIT_CONFIG_NOSYSTEM", "1".into()),
                ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
                ("HOME", place.dir.clone().into_os_string()),
            ];
            let (made, copy) = (place.path("made.git"), place.path("copy.git"));
            inputs::repository(&programs[0], &made, &assigned, place.times(300))?;
            let mut words: Vec<OsString> = vec!["-C".into(), copy.clone().into()];
            // Threads would divide the work anew each time.
            words.extend(["-c", "pack.threads=1", "gc", "--aggressive", "--prune=now", "-q"].map(OsString::from));
            Ok(Work {
                words,
                assigned,
                results: vec![copy.join("objects/pack")],
                fresh: Some((made, copy)),
                ..Work::default()
            })
        },
    },
];

type Make = Box<dyn Fn(&Place) -> Result<Item, String>>;

/// The items of these names in their usual order, or all.
pub fn wanted(names: &[String]) -> Result<Vec<(String, Make)>, String> {
    let own = workloads();
    let mut all: Vec<(String, Make)> = Vec::new();
    match own {
        Ok((program, list)) => {
            for (name, about) in list {
                let (program, key) = (program.clone(), name.clone());
                all.push((name, Box::new(move |place| workload(&program, &key, &about, place))));
            }
        }
        Err(why) => {
            let real = |name: &String| REAL.iter().any(|real| real.name == *name);
            if let Some(name) = names.iter().find(|name| !real(name)) {
                return Err(format!("{name}: {why}"));
            }
            all.push((WORKLOADS.into(), Box::new(move |_| Err(why.clone()))));
        }
    }
    for item in &REAL {
        all.push((item.name.into(), Box::new(move |place| real(item, place))));
    }
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(one, _)| one == *name)) {
        let why = if unknown.starts_with('-') { "flags go before names" } else { "--suite --list names all" };
        return Err(format!("there is no item {unknown} in the suite; {why}"));
    }
    all.retain(|(name, _)| names.is_empty() || names.contains(name));
    Ok(all)
}

/// A line for each item, with what is missing of it.
pub fn listed() -> String {
    let mut out = String::new();
    match workloads() {
        Ok((_, all)) => all.iter().for_each(|(name, about)| out += &format!("{name:<13}{about}\n")),
        Err(why) => out += &format!("left out: {why}\n"),
    }
    for real in &REAL {
        let missing = programs(real).err().map_or(String::new(), |why| format!("; left out: {why}"));
        out += &format!("{:<13}{}{missing}\n", real.name, real.about);
    }
    out
}

/// The program of our own, and what it can do.
fn workloads() -> Result<(PathBuf, Vec<(String, String)>), String> {
    let us = std::env::current_exe().unwrap_or_default();
    let program = us.parent().unwrap_or(Path::new("/")).join(WORKLOADS);
    if !program.exists() {
        return Err(format!(
            "{WORKLOADS} is not beside {}; build it with `cargo build --release -p {WORKLOADS}`",
            us.display()
        ));
    }
    let listed = Command::new(&program).arg("list").env_remove("LD_PRELOAD").output();
    let listed = listed.map_err(|e| format!("{}: {e}", program.display()))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    // Name, number of threads, the word "threads", and what it does.
    let line = |line: &str| {
        let (start, about) = line.split_once("threads")?;
        Some((start.split_whitespace().next()?.to_owned(), about.trim().to_owned()))
    };
    // Those that exist for a measurement of their own say nothing as programs: see `cargo xtask measure`.
    let is_program = |(name, _): &(String, String)| !["growth", "touch", "latency"].contains(&name.as_str());
    let all: Vec<_> = text.lines().filter_map(line).filter(is_program).collect();
    if all.is_empty() { Err(format!("{} names no workloads", program.display())) } else { Ok((program, all)) }
}

fn workload(program: &Path, name: &str, about: &str, place: &Place) -> Result<Item, String> {
    let words = [name, "--scale", &place.scale.to_string()].map(OsString::from).to_vec();
    let work = Work { words, ..Work::default() };
    let mut item = item(name, about, program, work, place)?;
    (item.is_own, item.reads) = (true, without_times);
    Ok(item)
}

/// A workload says how long it took.
fn without_times(output: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(output);
    let is_time = |word: &str| ["seconds=", "cpu=", "ns/operation="].iter().any(|time| word.starts_with(time));
    text.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ").into_bytes()
}

fn programs(real: &Real) -> Result<Vec<PathBuf>, String> {
    let found = |(names, package): &(&[&str], &str)| {
        let path = names.iter().find_map(|name| find::binary(name));
        path.ok_or_else(|| format!("{} is not on the PATH; Debian's package {package} brings it", names[0]))
    };
    real.programs.iter().map(found).collect()
}

fn real(real: &Real, place: &Place) -> Result<Item, String> {
    let programs = programs(real)?;
    place.make()?;
    let work = (real.work)(place, &programs)?;
    let mut item = item(real.name, real.about, &programs[0], work, place)?;
    item.version = version(&programs[0], real.version);
    Ok(item)
}

fn item(name: &str, about: &str, program: &Path, work: Work, place: &Place) -> Result<Item, String> {
    place.make()?;
    let mut assigned: Vec<(OsString, OsString)> = vec![("LC_ALL".into(), "C".into())];
    assigned.extend(work.assigned.into_iter().map(|(name, value)| (name.into(), value)));
    let mut words = vec![program.as_os_str().to_owned()];
    words.extend(work.words);
    let launch = Launch {
        file: program.to_owned(),
        words,
        assigned,
        input: work.input.unwrap_or_else(|| "/dev/null".into()),
        dir: Some(place.dir.clone()),
        keeps_output: work.client.is_none(),
        limit: Some(LIMIT.mul_f64(place.scale.min(1e6)).max(LIMIT_MIN)),
    };
    Ok(Item {
        name: name.to_owned(),
        about: about.to_owned(),
        is_own: false,
        image: program.to_owned(),
        version: String::new(),
        launch,
        reads: <[u8]>::to_vec,
        results: work.results,
        fresh: work.fresh,
        client: work.client,
        reference: work.reference,
    })
}

/// The first line that it says of itself.
fn version(program: &Path, flag: &str) -> String {
    let said = Command::new(program).arg(flag).env("LC_ALL", "C").env_remove("LD_PRELOAD").output();
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("its version is unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_no_part_of_the_output() {
        let seen = without_times(b"pair threads=1 operations=5 seconds=0.1 cpu=0.1 ns/operation=2.00 checksum=0f\n");
        assert_eq!(seen, b"pair threads=1 operations=5 checksum=0f");
    }

    #[test]
    fn names_are_unique_and_programs_have_packages() {
        for (at, real) in REAL.iter().enumerate() {
            assert!(REAL[..at].iter().all(|other| other.name != real.name), "{}", real.name);
            assert!(real.programs.iter().all(|(names, package)| !names.is_empty() && !package.is_empty()));
        }
    }
}
