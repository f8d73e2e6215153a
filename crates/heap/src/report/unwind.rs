//! Who called: return addresses, from the tables by which exceptions are unwound (`.eh_frame`), since most code is compiled
//! without frame pointers. The C compiler's own unwinder may allocate and take locks; this one reads and computes.
//!
//! One step: the module's sorted table leads from an address to the record of its function (FDE) and the head that it shares
//! with others (CIE). Both hold instructions which say, for each address of the function, where the caller's stack pointer
//! was (the CFA) and where its registers are kept, relative to that. What these tables can say beyond x86-64 compilers' usual
//! forms ends the walk: it is told as far as it goes.
//!
//! # Safety
//! Tables are those of loaded modules, and are believed, within their bounds. The stack is not: a page of it is asked for
//! before it is read, and each step must go up.

use heapglass_os::{self as os, module::Module};

/// Frames that are kept.
pub const FRAMES: usize = 16;
/// Steps that one walk takes, our own frames included.
const STEPS: usize = FRAMES + 16;

/// Registers by their DWARF numbers on x86-64; the last is the address of the code.
pub type Registers = [usize; 17];
const SP: usize = 7;
const PC: usize = 16;

/// Those that a function keeps for its caller, by their numbers, and the address: of the others nobody asks.
const KEPT: [usize; 7] = [3, 6, 12, 13, 14, 15, PC];

/// Where a register of the caller is: at this distance from the CFA, or one of these two.
type Rule = i32;
const SAME: Rule = i32::MIN;
const LOST: Rule = i32::MIN + 1;

#[derive(Clone, Copy)]
struct Row {
    cfa_register: usize,
    cfa_offset: i64,
    /// In the order of `KEPT`.
    rules: [Rule; KEPT.len()],
}

/// What holds at a function's first instruction, unless its table says otherwise.
const ENTERED: Row = Row { cfa_register: SP, cfa_offset: 8, rules: [SAME; KEPT.len()] };

/// Return addresses of the calling thread, the innermost first, those in this library left out where it is one.
pub fn capture(frames: &mut [usize; FRAMES]) -> usize {
    let Some(registers) = crate::arch::registers() else { return 0 };
    let own = Module::at(capture as *const () as usize).filter(Module::is_library);
    walk(registers, own, frames)
}

/// The address of the code itself and the return addresses above it, from registers.
pub fn walk(mut registers: Registers, without: Option<Module>, frames: &mut [usize; FRAMES]) -> usize {
    let (mut count, mut page, mut exact) = (0, 0, true);
    let mut module: Option<Module> = None;
    for _ in 0..STEPS {
        let pc = registers[PC];
        // A return address may be behind its function's end, where the call was the last of it.
        let at = if exact { pc } else { pc.wrapping_sub(1) };
        exact = false;
        if module.is_none_or(|module| at < module.start || at >= module.end) {
            module = Module::at(at);
        }
        let Some(inside) = module else { break };
        let is_own = count == 0 && without.is_some_and(|own| own.start == inside.start);
        if !is_own {
            let Some(frame) = frames.get_mut(count) else { break };
            *frame = pc;
            count += 1;
        }
        let Some(row) = row_at(inside.unwind, at) else { break };
        let Some(caller) = step(&registers, &row, &mut page) else { break };
        registers = caller;
    }
    count
}

/// The caller's registers.
fn step(registers: &Registers, row: &Row, page: &mut usize) -> Option<Registers> {
    let cfa = registers.get(row.cfa_register)?.wrapping_add(row.cfa_offset as usize);
    let [.., sp, _, _, _, _, _, _, _, _, _] = *registers;
    if cfa <= sp || cfa % 8 != 0 {
        return None;
    }
    let mut caller = [0; 17];
    for (&number, &rule) in KEPT.iter().zip(&row.rules) {
        let register = caller.get_mut(number)?;
        match rule {
            SAME => *register = *registers.get(number)?,
            LOST => {}
            offset => {
                let at = cfa.wrapping_add(offset as isize as usize);
                if at % 8 != 0 || at < sp {
                    return None;
                }
                let on_page = at & !(os::page_size() - 1);
                if on_page != *page && !os::is_readable(at) {
                    return None;
                }
                *page = on_page;
                // SAFETY: a word of the stack that could be read a moment ago, above where this thread works.
                *register = unsafe { *(at as *const usize) };
            }
        }
    }
    caller[SP] = cfa;
    (caller[PC] != 0).then_some(caller)
}

/// Bytes of a table, read one after the other.
struct Cursor {
    at: usize,
    end: usize,
}

impl Cursor {
    fn bytes(&mut self, count: usize) -> Option<u64> {
        if count > self.end.checked_sub(self.at)? {
            return None;
        }
        let mut value = 0;
        for index in 0..count {
            // SAFETY: inside the table.
            value |= u64::from(unsafe { *((self.at + index) as *const u8) }) << (8 * index);
        }
        self.at += count;
        Some(value)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|value| value as u8)
    }

    fn half(&mut self) -> Option<i32> {
        self.bytes(4).map(|value| value as i32)
    }

    fn uleb(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }

    fn sleb(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                let fill = if byte & 0x40 != 0 { u64::MAX.checked_shl(shift).unwrap_or(0) } else { 0 };
                return Some((value | fill) as i64);
            }
        }
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.at = self.at.checked_add(usize::try_from(count).ok()?).filter(|&at| at <= self.end)?;
        Some(())
    }

    /// A record with its length in front.
    fn record(at: usize) -> Option<Cursor> {
        let mut cursor = Cursor { at, end: at.checked_add(4)? };
        let length = cursor.half()? as u32;
        // Longer ones have another form, which nobody makes.
        (length != 0 && length != u32::MAX).then(|| Cursor { at: at + 4, end: at + 4 + length as usize })
    }
}

/// Bytes that a pointer of this encoding takes.
fn width(encoding: u8) -> Option<u64> {
    match encoding & 15 {
        0 | 4 | 12 => Some(8),
        2 | 10 => Some(2),
        3 | 11 => Some(4),
        _ => None,
    }
}

/// What is common to several functions.
struct Cie {
    code_step: u64,
    data_step: i64,
    encoding: u8,
    has_augmentation: bool,
    program: Cursor,
}

fn cie_at(at: usize) -> Option<Cie> {
    let mut cursor = Cursor::record(at)?;
    let (id, version) = (cursor.half()?, cursor.byte()?);
    if id != 0 || version != 1 && version != 3 {
        return None;
    }
    let mut letters = Cursor { at: cursor.at, end: cursor.end };
    while cursor.byte()? != 0 {}
    let (code_step, data_step) = (cursor.uleb()?, cursor.sleb()?);
    let returns_by = if version == 1 { u64::from(cursor.byte()?) } else { cursor.uleb()? };
    if returns_by != PC as u64 {
        return None;
    }
    let mut cie = Cie { code_step, data_step, encoding: 0, has_augmentation: false, program: Cursor { ..cursor } };
    if letters.byte()? != b'z' {
        return Some(cie);
    }
    cie.has_augmentation = true;
    let length = cursor.uleb()?;
    cie.program = Cursor { at: cursor.at, end: cursor.end };
    cie.program.skip(length)?;
    loop {
        match letters.byte()? {
            0 => return Some(cie),
            b'R' => cie.encoding = cursor.byte()?,
            b'L' => drop(cursor.byte()?),
            b'P' => {
                let encoding = cursor.byte()?;
                cursor.skip(width(encoding)?)?;
            }
            // A frame that the kernel laid for a handler of signals, and others: the walk ends there.
            _ => return None,
        }
    }
}

/// How to go back from an address, by the module's sorted table (`.eh_frame_hdr`).
fn row_at(table: usize, at: usize) -> Option<Row> {
    const PC_RELATIVE_HALF: u8 = 0x1b;
    const HALF: u8 = 0x03;
    const TABLE_RELATIVE_HALF: u8 = 0x3b;
    if table == 0 {
        return None;
    }
    let mut head = Cursor { at: table, end: table + 12 };
    let forms = [head.byte()?, head.byte()?, head.byte()?, head.byte()?];
    if forms != [1, PC_RELATIVE_HALF, HALF, TABLE_RELATIVE_HALF] {
        return None;
    }
    head.half()?;
    let count = head.half()? as u32 as usize;
    let word = |index: usize| {
        let at = table + 12 + 4 * index;
        // SAFETY: the table has two words for each of its entries.
        table.wrapping_add(unsafe { *(at as *const i32) } as isize as usize)
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if word(2 * middle) <= at {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let entry = low.checked_sub(1)?;
    let (start, fde) = (word(2 * entry), word(2 * entry + 1));

    let mut cursor = Cursor::record(fde)?;
    let back = cursor.half()?;
    let mut cie = cie_at((fde + 4).wrapping_sub(back as isize as usize))?;
    let pointer = width(cie.encoding)?;
    cursor.skip(pointer)?;
    let length = cursor.bytes(pointer as usize)? as usize;
    if at >= start.checked_add(length)? {
        return None;
    }
    if cie.has_augmentation {
        let length = cursor.uleb()?;
        cursor.skip(length)?;
    }
    let mut row = ENTERED;
    let mut program = Cursor { at: cie.program.at, end: cie.program.end };
    run(&mut program, &mut cie, &mut row, None, (start, at))?;
    let initial = row;
    run(&mut cursor, &mut cie, &mut row, Some(&initial), (start, at))?;
    Some(row)
}

/// Runs instructions as far as they are about addresses up to `at`.
fn run(code: &mut Cursor, cie: &mut Cie, row: &mut Row, initial: Option<&Row>, at: (usize, usize)) -> Option<()> {
    let (mut here, at) = at;
    let mut kept = [ENTERED; 4];
    let mut depth = 0usize;
    while code.at < code.end {
        let byte = code.byte()?;
        let (kind, low) = (byte >> 6, u64::from(byte & 63));
        let moved = match (kind, byte) {
            (1, _) => Some(low),
            (0, 0x02) => Some(code.bytes(1)?),
            (0, 0x03) => Some(code.bytes(2)?),
            (0, 0x04) => Some(code.bytes(4)?),
            _ => None,
        };
        if let Some(steps) = moved {
            here = here.wrapping_add(steps.wrapping_mul(cie.code_step) as usize);
            if here > at {
                return Some(());
            }
            continue;
        }
        let scaled = |value: i64| i32::try_from(value.checked_mul(cie.data_step)?).ok();
        match (kind, byte) {
            (2, _) => set(row, low, scaled(code.uleb()? as i64)?),
            (3, _) => set(row, low, rule_of(initial, low)?),
            (0, 0x00) => {}
            (0, 0x05) => set(row, code.uleb()?, scaled(code.uleb()? as i64)?),
            (0, 0x06) => {
                let register = code.uleb()?;
                set(row, register, rule_of(initial, register)?);
            }
            (0, 0x07) => set(row, code.uleb()?, LOST),
            (0, 0x08) => set(row, code.uleb()?, SAME),
            (0, 0x0a) => {
                *kept.get_mut(depth)? = *row;
                depth += 1;
            }
            (0, 0x0b) => {
                depth = depth.checked_sub(1)?;
                *row = *kept.get(depth)?;
            }
            (0, 0x0c) => (row.cfa_register, row.cfa_offset) = (code.uleb()? as usize, code.uleb()? as i64),
            (0, 0x0d) => row.cfa_register = code.uleb()? as usize,
            (0, 0x0e) => row.cfa_offset = code.uleb()? as i64,
            (0, 0x11) => set(row, code.uleb()?, scaled(code.sleb()?)?),
            (0, 0x12) => (row.cfa_register, row.cfa_offset) = (code.uleb()? as usize, i64::from(scaled(code.sleb()?)?)),
            (0, 0x13) => row.cfa_offset = i64::from(scaled(code.sleb()?)?),
            (0, 0x2e) => drop(code.uleb()?),
            // A register in a register, or found by an expression: what it holds is lost, unless it is the address itself.
            (0, 0x09) => {
                set(row, code.uleb()?, LOST);
                code.uleb()?;
            }
            (0, 0x10 | 0x16) => {
                set(row, code.uleb()?, LOST);
                let length = code.uleb()?;
                code.skip(length)?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn set(row: &mut Row, register: u64, rule: Rule) {
    // Vector registers have numbers too, and lead to nobody.
    if let Some(cell) = place_of(register).and_then(|place| row.rules.get_mut(place)) {
        *cell = rule;
    }
}

fn rule_of(initial: Option<&Row>, register: u64) -> Option<Rule> {
    let rules = initial?.rules;
    Some(place_of(register).and_then(|place| rules.get(place).copied()).unwrap_or(SAME))
}

/// Where a register is among those that are kept.
fn place_of(register: u64) -> Option<usize> {
    match register {
        3 => Some(0),
        6 => Some(1),
        12..=16 => Some(register as usize - 10),
        _ => None,
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[inline(never)]
    fn innermost(frames: &mut [usize; FRAMES]) -> usize {
        let registers = crate::arch::registers().unwrap();
        let count = walk(registers, None, frames);
        std::hint::black_box(count)
    }

    #[inline(never)]
    fn outer(frames: &mut [usize; FRAMES]) -> usize {
        let count = innermost(frames);
        std::hint::black_box(count)
    }

    #[test]
    fn callers_are_found_by_the_tables() {
        let mut frames = [0; FRAMES];
        let count = outer(&mut frames);
        assert!(count >= 4, "{count}");
        // Each in a function's first few hundred bytes.
        for (frame, function) in frames.iter().zip([innermost as *const () as usize, outer as *const () as usize]) {
            assert!((function..function + 512).contains(frame), "{frames:x?}");
        }
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        let bytes = [0x80u8, 0x01, 0x7f, 0xff, 0x7e, 0x40, 0xff, 0xff];
        let at = bytes.as_ptr() as usize;
        let mut cursor = Cursor { at, end: at + bytes.len() };
        assert_eq!((cursor.uleb(), cursor.sleb(), cursor.sleb()), (Some(128), Some(-1), Some(-129)));
        assert_eq!((cursor.sleb(), cursor.uleb()), (Some(-64), None));
    }
}
