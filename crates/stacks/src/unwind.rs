//! From registers and a piece of stack to return addresses, for one process. Samples are of x86-64, wherever they are looked at.

use crate::maps::{self, Mapping};
use crate::module::{Images, Module};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{FrameAddress, MayAllocateDuringUnwind, Unwinder};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Frames that are looked for.
pub const FRAMES: usize = 512;

/// Mappings so near to each other are one piece for those who only want to know what is no code.
const NEAR: u64 = 1 << 32;

/// Where a thread was: its registers, and a copy of its stack from `sp` on.
pub struct Sample<'a> {
    pub pc: u64,
    pub sp: u64,
    pub bp: u64,
    pub stack: &'a [u8],
}

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// In a module, by its number, at an address as its file counts them. Of a caller, inside of the instruction that calls.
    In(usize, u64),
    /// In no file: memory that the process made executable itself.
    Made(u64),
    /// In nothing that is mapped to be executed, as far as is known.
    Nowhere(u64),
    /// No place: the one before is a handler's, the next is where its signal came.
    Signal,
}

/// Where the kernel puts registers, in bytes from the stack pointer that a handler returns with.
const INTERRUPTED_BP: u64 = 120;
const INTERRUPTED_SP: u64 = 160;
const INTERRUPTED_PC: u64 = 168;

/// A stack, the innermost first.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stack {
    pub places: Vec<Place>,
    /// The piece ended before the stack did.
    pub is_cut: bool,
}

/// A process, as far as its code is known.
pub struct Process {
    pub pid: u32,
    pub modules: Vec<Module>,
    mappings: Vec<Mapping>,
    /// Starts and paths of what was looked at already, or couldn't be opened.
    seen: HashSet<(u64, u64, String)>,
    pub(crate) unwinder: UnwinderX86_64<Arc<[u8]>, MayAllocateDuringUnwind>,
    cache: CacheX86_64<MayAllocateDuringUnwind>,
    /// Addresses of which even the kernel's list knew nothing, by page: it isn't asked again for each.
    strange: HashSet<u64>,
    /// Return addresses, and whether it is the kernel that is returned to.
    returns: HashMap<u64, bool>,
    images: Images,
}

impl Process {
    pub fn new(pid: u32) -> Process {
        Process::with(pid, Images::default())
    }

    /// One of several, or one whose files were opened before.
    pub fn with(pid: u32, images: Images) -> Process {
        Process {
            pid,
            modules: Vec::new(),
            mappings: Vec::new(),
            seen: HashSet::new(),
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            strange: HashSet::new(),
            returns: HashMap::new(),
            images,
        }
    }

    /// Takes note of a list of mappings.
    pub fn learn(&mut self, text: &str) {
        let mappings = maps::parse(text);
        if mappings.is_empty() {
            return;
        }
        for mapping in mappings.iter().filter(|mapping| mapping.is_file()) {
            if !self.seen.insert((mapping.start, mapping.end, mapping.path.clone())) {
                continue;
            }
            // Whatever lay there before is gone.
            self.unwinder.remove_module(mapping.start);
            let (module, tables) = Module::open(self.pid, mapping, &self.images);
            if let Some(tables) = tables {
                self.unwinder.add_module(tables);
            }
            self.modules.push(module);
        }
        self.mappings = mappings;
        self.strange.clear();
        self.returns.clear();
    }

    /// Asks the kernel, while the process lives.
    pub fn look(&mut self) {
        if let Ok(text) = std::fs::read_to_string(format!("/proc/{}/maps", self.pid)) {
            self.learn(&text);
        }
    }

    /// Where code may be: between the lowest and the highest address of the program's own, and of the libraries'. Words elsewhere are no
    /// return addresses.
    pub fn code(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for mapping in &self.mappings {
            match ranges.last_mut() {
                // The kernel lists them in order; what a program tells may be anything.
                Some(last) if mapping.start.saturating_sub(last.end) < NEAR => last.end = last.end.max(mapping.end),
                _ => ranges.push(mapping.start..mapping.end),
            }
        }
        ranges
    }

    /// Unwinds a sample. The list of mappings is asked for anew where it has an address that nobody knows.
    pub fn unwind(&mut self, sample: &Sample<'_>, is_cut: bool) -> Stack {
        let first = self.walk(sample, is_cut);
        let unknown: Vec<u64> = first
            .places
            .iter()
            .filter_map(|place| if let Place::Nowhere(address) = place { Some(address >> 12) } else { None })
            .filter(|page| !self.strange.contains(page))
            .collect();
        if unknown.is_empty() {
            return first;
        }
        self.look();
        self.strange.extend(unknown);
        self.walk(sample, is_cut)
    }

    fn walk(&mut self, sample: &Sample<'_>, is_cut: bool) -> Stack {
        let end = sample.sp.saturating_add(sample.stack.len() as u64);
        let mut ran_out = false;
        let mut read = |address: u64| {
            let at = address.checked_sub(sample.sp).map(|at| at as usize);
            let word = at.and_then(|at| sample.stack.get(at..at.checked_add(8)?));
            ran_out |= word.is_none() && address >= end;
            word.and_then(|word| word.try_into().ok()).map(u64::from_le_bytes).ok_or(())
        };
        let mut registers = UnwindRegsX86_64::new(sample.pc, sample.sp, sample.bp);
        let mut at = FrameAddress::InstructionPointer(sample.pc);
        let mut places = vec![self.place(sample.pc)];
        let mut is_elsewhere = false;
        while places.len() < FRAMES {
            let Ok(Some(address)) = self.unwinder.unwind_frame(at, &mut registers, &mut self.cache, &mut read) else {
                break;
            };
            let Some(next) = FrameAddress::from_return_address(address) else { break };
            if !self.returns_from_signal(address) {
                // Of a caller, the return address may be behind its function's end.
                places.push(self.place(address - 1));
                at = next;
                continue;
            }
            places.push(Place::Signal);
            let context = registers.sp();
            let mut register = |offset: u64| read(context.wrapping_add(offset));
            let (Ok(bp), Ok(sp), Ok(pc)) =
                (register(INTERRUPTED_BP), register(INTERRUPTED_SP), register(INTERRUPTED_PC))
            else {
                break;
            };
            places.push(self.place(pc));
            // A handler may have a stack of its own; of the other there is no copy.
            is_elsewhere = !(sample.sp..end).contains(&sp);
            if is_elsewhere {
                break;
            }
            (registers, at) = (UnwindRegsX86_64::new(pc, sp, bp), FrameAddress::InstructionPointer(pc));
        }
        Stack { places, is_cut: ran_out && is_cut || is_elsewhere }
    }

    fn returns_from_signal(&mut self, address: u64) -> bool {
        let modules = &self.modules;
        *self.returns.entry(address).or_insert_with(|| {
            let mut newest = modules.iter().rev();
            newest
                .find(|module| (module.start..module.end).contains(&address))
                .is_some_and(|module| module.returns_from_signal(address))
        })
    }

    fn place(&self, address: u64) -> Place {
        // The newest first: what lay there before may still be listed.
        let mut newest = self.modules.iter().enumerate().rev();
        if let Some((index, module)) = newest.find(|(_, module)| (module.start..module.end).contains(&address)) {
            return Place::In(index, address.wrapping_sub(module.bias));
        }
        match self.mappings.iter().any(|mapping| (mapping.start..mapping.end).contains(&address)) {
            true => Place::Made(address),
            false => Place::Nowhere(address),
        }
    }
}
