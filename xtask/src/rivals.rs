//! `cargo xtask rivals`: the other allocators of today as libraries that can be preloaded, in `target/rivals`. Cargo fetches
//! the crates that carry their sources; these are compiled as the projects' own builds do for a library that overrides malloc.
//! One that can't be built is said so, and the others go on.

use crate::cargo::{cargo, list, output, text};
use crate::{Outcome, root};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Rival {
    name: &'static str,
    /// The crate with the sources, and which of its versions.
    from: (&'static str, &'static str),
    /// From the crate's directory to the library.
    build: fn(&Path, &Path) -> Outcome,
    /// From the crate's directory and version.
    version: fn(&Path, &str) -> Option<String>,
}

const RIVALS: [Rival; 4] = [
    Rival { name: "mimalloc", from: ("libmimalloc-sys", "=0.1.49"), build: mimalloc, version: mimallocs },
    Rival { name: "jemalloc", from: ("tikv-jemalloc-sys", "=0.7.1"), build: jemalloc, version: jemallocs },
    Rival {
        name: "snmalloc",
        from: ("snmalloc-sys", "=0.7.6"),
        build: snmalloc,
        version: |_, own| Some(own.to_owned()),
    },
    Rival { name: "rpmalloc", from: ("rpmalloc-sys", "=0.2.3"), build: rpmalloc, version: rpmallocs },
];

/// Debian's, by package and the library's name to the loader.
const DEBIAN: [(&str, &str); 3] = [
    ("libjemalloc2", "libjemalloc.so.2"),
    ("libmimalloc2.0", "libmimalloc.so.2"),
    ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
];

pub const WORKLOADS: &str = "heapglass-workloads";

/// All that a C program may call must be the rival's own.
const FAMILY: [&str; 8] =
    ["malloc", "free", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc", "malloc_usable_size"];

pub fn run() -> Outcome {
    let dir = root().join("target/rivals");
    fs::create_dir_all(dir.join("src")).map_err(|e| format!("{}: {e}", dir.display()))?;
    // What was built, for programs that measure.
    let mut versions = String::new();
    output(cargo().args(["build", "--quiet", "--release", "-p", WORKLOADS]))?;
    let workloads = root().join("target/release").join(WORKLOADS);
    for rival in &RIVALS {
        let library = dir.join(format!("lib{}.so", rival.name));
        match one(rival, &dir, &library, &workloads) {
            Ok(version) => {
                println!("{:<10}{version:<12}{}", rival.name, shown(&library));
                versions.push_str(&format!("{}\t{version}\t{}\n", rival.name, shown(&library)));
            }
            Err(why) => println!("{:<10}not built: {}", rival.name, why.lines().collect::<Vec<_>>().join(" ")),
        }
    }
    debian();
    let record = dir.join("versions.tsv");
    fs::write(&record, versions).map_err(|e| format!("{}: {e}", record.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn one(rival: &Rival, dir: &Path, library: &Path, workloads: &Path) -> Result<String, String> {
    let (source, own) = fetch(rival, &dir.join("src").join(format!("{}-crate", rival.name)))?;
    if !library.exists() {
        println!("{:<10}building", rival.name);
        // Under another name until it is proven.
        let fresh = library.with_extension("new");
        (rival.build)(&source, &fresh)?;
        prove(&fresh, workloads)?;
        fs::rename(&fresh, library).map_err(|e| e.to_string())?;
    }
    prove(library, workloads)?;
    (rival.version)(&source, &own).ok_or_else(|| "its sources don't say their version".into())
}

/// Lets cargo fetch a crate, by a package of nothing that depends on it; gives its directory and version.
fn fetch(rival: &Rival, helper: &Path) -> Result<(PathBuf, String), String> {
    let (name, version) = rival.from;
    let manifest = format!(
        "[package]\nname = \"rival\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\npath = \"lib.rs\"\n\n[workspace]\n\n[dependencies]\n{name} = \"{version}\"\n"
    );
    let said = |e: std::io::Error| format!("{}: {e}", helper.display());
    fs::create_dir_all(helper).map_err(said)?;
    fs::write(helper.join("lib.rs"), "").map_err(said)?;
    fs::write(helper.join("Cargo.toml"), manifest).map_err(said)?;
    let all = output(cargo().args(["metadata", "--format-version", "1", "--quiet"]).current_dir(helper))?;
    let all: Value = serde_json::from_str(&all).map_err(|e| format!("cargo metadata: {e}"))?;
    let package = list(&all, "packages").iter().find(|package| text(package, "name") == name);
    let package = package.ok_or_else(|| format!("cargo fetched no {name}"))?;
    let source = Path::new(text(package, "manifest_path")).parent().map(Path::to_owned);
    Ok((source.ok_or("a package without a directory")?, text(package, "version").to_owned()))
}

/// It has the whole family, and programs run under it without a word from the loader.
fn prove(library: &Path, workloads: &Path) -> Outcome {
    let table = output(Command::new("nm").args(["-D", "--defined-only"]).arg(library))?;
    let has = |name: &&str| table.lines().any(|line| line.split(' ').nth(2).is_some_and(|symbol| symbol == *name));
    if let Some(missing) = FAMILY.iter().find(|name| !has(name)) {
        return Err(format!("the library doesn't export {missing}"));
    }
    let mut ls = Command::new("ls");
    let mut replace = Command::new(workloads);
    replace.args(["replace", "--threads", "2", "--scale", "0.01"]);
    for program in [ls.arg("/"), &mut replace] {
        let ran = program.env("LD_PRELOAD", library).output().map_err(|e| e.to_string())?;
        if !ran.status.success() || !ran.stderr.is_empty() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(format!("{:?} preloaded with it: {} {said}", program.get_program(), ran.status));
        }
    }
    Ok(())
}

fn debian() {
    let known = output(Command::new("/sbin/ldconfig").arg("-p")).unwrap_or_default();
    let mut missing = Vec::new();
    for (package, library) in DEBIAN {
        // A line is `NAME (KIND) => PATH`; minor versions may follow the name.
        match known.lines().find(|line| line.trim_start().starts_with(library)) {
            Some(line) => println!("{:<22}{}", package, line.rsplit(" => ").next().unwrap_or(line)),
            None => missing.push(package),
        }
    }
    if !missing.is_empty() {
        println!("Debian's others: type  sudo apt-get install -y --no-install-recommends {}", missing.join(" "));
    }
}

fn compiler(program: &str, library: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-shared", "-fPIC", "-O3", "-DNDEBUG", "-pthread", "-w", "-o"]).arg(library);
    command
}

/// As its CMakeLists.txt makes the shared library: everything by one file.
fn mimalloc(source: &Path, library: &Path) -> Outcome {
    let source = source.join("c_src/mimalloc/v3");
    let mut cc = compiler("cc", library);
    cc.args(["-std=gnu11", "-DMI_MALLOC_OVERRIDE", "-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT", "-DMI_BUILD_RELEASE"]);
    cc.args(["-DMI_DEBUG=0", "-fvisibility=hidden", "-ftls-model=initial-exec", "-fno-builtin-malloc"]);
    cc.arg("-I").arg(source.join("include")).arg("-I").arg(source.join("src")).arg(source.join("src/static.c"));
    output(&mut cc).map(drop)
}

/// 30302 is 3.3.2.
fn mimallocs(source: &Path, _: &str) -> Option<String> {
    let header = fs::read_to_string(source.join("c_src/mimalloc/v3/include/mimalloc.h")).ok()?;
    let number = header.split("#define MI_MALLOC_VERSION").nth(1)?.split_whitespace().next()?.parse::<u32>().ok()?;
    Some(format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100))
}

/// By its configure, with the crate's switches and no prefix; it writes beside its sources, so they are copied.
fn jemalloc(source: &Path, library: &Path) -> Outcome {
    let build = library.parent().ok_or("a library without a directory")?.join("src/jemalloc");
    if build.exists() {
        fs::remove_dir_all(&build).map_err(|e| e.to_string())?;
    }
    output(Command::new("cp").arg("-r").arg(source.join("jemalloc")).arg(&build))?;
    output(Command::new("cp").arg(source.join("configure/configure")).arg(&build))?;
    let version = source.file_name().and_then(|name| name.to_str()?.split_once('+')).map_or("0.0.0-0-g0", |(_, v)| v);
    let mut configure = Command::new("sh");
    configure.arg("configure").arg(format!("--with-version={version}"));
    configure.args(["--disable-cxx", "--disable-stats", "--enable-doc=no", "--enable-static=no"]);
    output(configure.current_dir(&build))?;
    let jobs = std::thread::available_parallelism().map_or(1, |n| n.get());
    output(Command::new("make").args(["-s", "-j", &jobs.to_string(), "build_lib_shared"]).current_dir(&build))?;
    fs::copy(build.join("lib/libjemalloc.so.2"), library).map(drop).map_err(|e| e.to_string())
}

/// The crate's is `0.7.1+5.3.1-0-g...`.
fn jemallocs(_: &Path, own: &str) -> Option<String> {
    Some(own.split_once('+')?.1.split('-').next()?.to_owned())
}

/// As its CMakeLists.txt makes the target snmallocshim.
fn snmalloc(source: &Path, library: &Path) -> Outcome {
    let source = source.join("upstream/src");
    let mut cxx = compiler("c++", library);
    cxx.args(["-std=c++20", "-fomit-frame-pointer", "-ffunction-sections", "-fvisibility=hidden"]);
    cxx.args(["-ftls-model=initial-exec", "-static-libstdc++", "-DMALLOC_USABLE_SIZE_QUALIFIER="]);
    if cfg!(target_arch = "x86_64") {
        cxx.args(["-mcx16", "-mprfchw"]);
    }
    let defines = [
        "USE_CXX11_DESTRUCTORS",
        "USE_WAIT_ON_ADDRESS=1",
        "HAS_LINUX_FUTEX_H",
        "HAS_LINUX_RANDOM_H",
        "PLATFORM_HAS_GETENTROPY",
        "NO_REALLOCARRAY",
        "NO_REALLOCARR",
        "CHECK_LOADS=false",
        "PAGEID=false",
        "EXPORT=__attribute__((visibility(\"default\")))",
    ];
    cxx.args(defines.map(|define| format!("-DSNMALLOC_{define}")));
    let sources = ["malloc.cc", "new.cc"].map(|file| source.join("snmalloc/override").join(file));
    output(cxx.arg("-I").arg(&source).args(sources)).map(drop)
}

/// As its configure.py makes rpmallocwrap.
fn rpmalloc(source: &Path, library: &Path) -> Outcome {
    let mut cc = compiler("cc", library);
    // GNU's C, since its own reallocarray stands beside the C library's declaration.
    cc.args(["-std=gnu11", "-D_GNU_SOURCE=1", "-DENABLE_PRELOAD=1", "-DENABLE_OVERRIDE=1", "-funroll-loops"]);
    output(cc.arg(source.join("rpmalloc/rpmalloc/rpmalloc.c")).arg("-ldl")).map(drop)
}

fn rpmallocs(source: &Path, _: &str) -> Option<String> {
    let changes = fs::read_to_string(source.join("rpmalloc/CHANGELOG")).ok()?;
    changes.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::packages;

    #[test]
    fn versions_are_read() {
        assert_eq!(jemallocs(Path::new(""), "0.7.1+5.3.1-0-gabc").as_deref(), Some("5.3.1"));
        assert_eq!(jemallocs(Path::new(""), "0.7.1"), None);
        assert_eq!(mimallocs(Path::new("nowhere"), ""), None);
    }

    #[test]
    fn a_library_that_lacks_the_family_is_refused() {
        let packages = packages().unwrap();
        assert!(packages.iter().any(|package| text(package, "name") == WORKLOADS));
        let other = std::env::current_exe().unwrap();
        assert!(prove(&other, Path::new("nowhere")).unwrap_err().contains("doesn't export malloc"));
    }
}
