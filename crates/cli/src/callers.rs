//! `trace -k`: the callers of each call, with functions, files and lines, from the files that the process said its code is from.

use addr2line::Loader;
use heapglass_inspect::maps::Mapping;
use heapglass_profile::model::Line;
use heapglass_report::calls::Call;
use heapglass_report::text::Text;
use heapglass_stacks::symbols;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

#[derive(Default)]
pub struct Callers {
    /// Of each process.
    modules: HashMap<u32, Vec<Module>>,
    /// Opened once each, or not to be opened.
    files: Vec<(PathBuf, Option<Loader>)>,
    /// What was found for each address that came up before.
    names: HashMap<(u32, u64), Named>,
}

/// What is known of a return address.
#[derive(Default)]
struct Named {
    /// As they are told, the last of them with the file and the place in it.
    told: Vec<String>,
    /// The same functions, apart from where their code happened to lie.
    lines: Vec<Line>,
}

struct Module {
    start: u64,
    end: u64,
    base: u64,
    /// Which of the files.
    file: usize,
}

/// Where they stand.
const INDENT: &str = "                        > ";

impl Callers {
    /// Takes in the modules that come with a call.
    pub fn learn(&mut self, call: &Call, pid: u32) {
        call.modules().into_iter().for_each(|module| self.add(pid, module));
    }

    pub fn add(&mut self, pid: u32, from: heapglass_capture::Module) {
        let heapglass_capture::Module { start, end, base, path } = from;
        let known = self.files.iter().position(|(known, _)| *known == path);
        let file = known.unwrap_or_else(|| {
            // A script is named by its own name, not by its interpreter's.
            let program = PathBuf::from(format!("/proc/{pid}/exe"));
            let opened = symbols::loader(&path).or_else(|| symbols::loader(&program));
            self.files.push((path, opened));
            self.files.len() - 1
        });
        let module = Module { start, end, base, file };
        let modules = self.modules.entry(pid).or_default();
        // Whatever was there before is gone, and so are its names.
        let is_over = |other: &Module| other.start < module.end && module.start < other.end;
        if modules.iter().any(is_over) {
            modules.retain(|other| !is_over(other));
            self.names.retain(|(process, address), _| *process != pid || !(start..end).contains(address));
        }
        modules.push(module);
    }

    /// A call's callers, the innermost first, each with all its functions.
    pub fn of(&mut self, call: &Call, pid: u32) -> Vec<&[String]> {
        self.at(pid, &call.callers().collect::<Vec<_>>())
    }

    /// The functions at return addresses.
    pub fn at(&mut self, pid: u32, addresses: &[u64]) -> Vec<&[String]> {
        self.look_up(pid, addresses);
        addresses.iter().filter_map(|&address| self.names.get(&(pid, address)).map(|named| &*named.told)).collect()
    }

    /// As `at`, for who compares them with those of other runs.
    pub fn lines_at(&mut self, pid: u32, addresses: &[u64]) -> Vec<&[Line]> {
        self.look_up(pid, addresses);
        addresses.iter().filter_map(|&address| self.names.get(&(pid, address)).map(|named| &*named.lines)).collect()
    }

    fn look_up(&mut self, pid: u32, addresses: &[u64]) {
        for &address in addresses {
            let Callers { modules, files, names } = self;
            names.entry((pid, address)).or_insert_with(|| {
                let modules = modules.get(&pid).map_or(&[][..], Vec::as_slice);
                let module = modules.iter().find(|module| (module.start..module.end).contains(&address));
                match module.and_then(|module| Some((module, files.get(module.file)?))) {
                    Some((module, file)) => named(module, file, address),
                    None => {
                        let function = format!("{address:#x}");
                        Named { told: vec![function.clone()], lines: vec![Line { function, ..Line::default() }] }
                    }
                }
            });
        }
    }

    /// Writes a call's callers, a line for each.
    pub fn write(&mut self, to: &mut Vec<u8>, call: &Call, pid: u32) {
        for name in self.of(call, pid).into_iter().flatten() {
            to.text(INDENT).text(name).text("\n");
        }
    }
}

/// Names of return addresses of a process or a core file, by what is mapped there.
pub fn of_mappings(mappings: &[Mapping], addresses: &[u64]) -> Vec<String> {
    let mut callers = Callers::default();
    for mapping in mappings.iter().filter(|mapping| mapping.executable && mapping.is_file()) {
        let first = mappings.iter().find(|other| other.name == mapping.name).unwrap_or(mapping);
        // A program that isn't position independent has its addresses in the file.
        let base = if has_its_place(&mapping.name) { 0 } else { first.range.start.saturating_sub(first.offset) };
        let (start, end) = (mapping.range.start, mapping.range.end);
        callers.add(0, heapglass_capture::Module { start, end, base, path: PathBuf::from(&mapping.name) });
    }
    callers.at(0, addresses).concat()
}

/// ET_EXEC, in the head of an ELF file.
fn has_its_place(path: &str) -> bool {
    let mut head = [0; 18];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.starts_with(b"\x7fELF") && head[16..18] == [2, 0]
}

/// The functions at a return address, inlined ones too, the innermost first.
fn named(module: &Module, (path, file): &(PathBuf, Option<Loader>), address: u64) -> Named {
    // The call is the instruction before.
    let place = address.wrapping_sub(module.base).wrapping_sub(1);
    let whole = format!("{}+{:#x}", path.display(), place.wrapping_add(1));
    let mut lines = file.as_ref().map_or_else(Vec::new, |file| lines(file, place));
    let mut told: Vec<String> = lines.iter().map(one).collect();
    match told.last_mut() {
        Some(last) => *last += &format!("  [{whole}]"),
        None => {
            lines.push(Line { function: whole.clone(), ..Line::default() });
            told.push(whole);
        }
    }
    Named { told, lines }
}

fn one(Line { function, file, line }: &Line) -> String {
    if file.is_empty() { function.clone() } else { format!("{function} at {file}:{line}") }
}

fn lines(file: &Loader, place: u64) -> Vec<Line> {
    let mut found = Vec::new();
    if let Ok(mut frames) = file.find_frames(place) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
            let (file, line) = frame.location.and_then(|place| Some((place.file?, place.line?))).unwrap_or_default();
            found.extend(name.map(|function| Line { function, file: file.to_owned(), line }));
        }
    }
    if found.is_empty() {
        let symbol = file.find_symbol(place).map(|name| addr2line::demangle_auto(name.into(), None).into_owned());
        found.extend(symbol.map(|function| Line { function, ..Line::default() }));
    }
    found
}
