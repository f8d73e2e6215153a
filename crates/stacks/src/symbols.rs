//! From an address in a module to functions, with their files and lines: by what the compiler left in the file (DWARF), in the file
//! of debug information that belongs to it by build id, else by its table of symbols.

use crate::module;
use addr2line::Loader;
use std::io;
use std::path::{Path, PathBuf};

/// One function at an address. Several where functions were inlined, the innermost first.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Line {
    pub function: String,
    /// Empty where it isn't known.
    pub file: String,
    pub line: u32,
}

/// Where files of debug information are kept by build id.
const STORE: &str = "/usr/lib/debug/.build-id";

/// What names the addresses of one module.
pub struct Names {
    /// The file itself, and its debug information where that is another.
    files: Vec<Loader>,
}

impl Names {
    /// Of a file, and of what belongs to it by its build id, there or in other directories of the same form.
    pub fn open(file: &Path, build_id: &str, stores: &[PathBuf]) -> Names {
        let split = build_id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty());
        let by_id = stores.iter().map(PathBuf::as_path).chain([Path::new(STORE)]).filter_map(|store| {
            let (head, tail) = split?;
            Some(store.join(head).join(format!("{tail}.debug")))
        });
        let files = by_id.chain([file.to_owned()]).filter_map(|path| loader(&path)).collect();
        Names { files }
    }

    /// Empty where nothing is known.
    pub fn at(&self, address: u64) -> Vec<Line> {
        let inlined = self.files.iter().map(|file| lines(file, address)).find(|lines| !lines.is_empty());
        inlined.unwrap_or_else(|| {
            let symbol = self.files.iter().find_map(|file| file.find_symbol(address));
            let named = |name: &str| Line { function: demangled(name), ..Line::default() };
            symbol.map(named).into_iter().collect()
        })
    }
}

/// What names the addresses of a file, by a path that somebody told. `None` where there is no such file of code.
pub fn loader(path: &Path) -> Option<Loader> {
    module::open(path).and_then(|_| Loader::new(path).map_err(|e| io::Error::other(e.to_string()))).ok()
}

fn lines(file: &Loader, address: u64) -> Vec<Line> {
    let mut found = Vec::new();
    let Ok(mut frames) = file.find_frames(address) else { return found };
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
        let place = frame.location.as_ref().and_then(|place| Some((place.file?.to_owned(), place.line.unwrap_or(0))));
        if function.is_none() && place.is_none() {
            continue;
        }
        let (file, line) = place.unwrap_or_default();
        found.push(Line { function: function.unwrap_or_default(), file, line });
    }
    // A line without a name takes that of the symbol.
    if let Some(last) = found.last_mut().filter(|last| last.function.is_empty()) {
        last.function = file.find_symbol(address).map(demangled).unwrap_or_default();
    }
    found.retain(|line| !line.function.is_empty());
    found
}

/// A name as it stands in the source.
pub fn demangled(name: &str) -> String {
    // Versions of a symbol aren't part of its name.
    let name = name.split('@').next().unwrap_or(name);
    addr2line::demangle_auto(name.into(), None).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_in_the_source() {
        assert_eq!(demangled("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"), "core::fmt::Formatter::pad");
        assert_eq!(
            demangled("_ZNSt6vectorIiSaIiEE9push_backERKi"),
            "std::vector<int, std::allocator<int> >::push_back(int const&)"
        );
        assert_eq!(demangled("malloc@@GLIBC_2.2.5"), "malloc");
        assert_eq!(demangled("main"), "main");
    }

    #[test]
    fn this_very_test_is_named_with_its_line() {
        let address = this_very_test_is_named_with_its_line as *const () as u64;
        let text = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut process = crate::unwind::Process::new(std::process::id());
        process.learn(&text);
        let module = process.modules.iter().find(|module| (module.start..module.end).contains(&address)).unwrap();
        let names = Names::open(&module.place(), &module.build_id, &[]);
        let lines = names.at(address - module.bias);
        let last = lines.last().unwrap();
        assert!(last.function.ends_with("this_very_test_is_named_with_its_line"), "{lines:?}");
        assert!(last.file.ends_with("symbols.rs") && last.line > 80, "{lines:?}");
    }
}
