//! An explanation in colour, for terminals: made of the plain text, so that nothing can be said in colour alone.
//!
//! In the drawing of chunks side by side each letter has its state's colour. What changed is yellow, links are green, and of the
//! steps those that ask the kernel, or find a fault, are red.

use std::fmt::Write;

const PLAIN: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BLUE: &str = "\x1b[34m";
const MAGENTA: &str = "\x1b[35m";
const CYAN: &str = "\x1b[36m";

/// Colours the lines of an explanation.
pub fn paint(text: &str) -> String {
    let mut out = String::new();
    // Steps come first, then pictures under lines that begin at the margin.
    let mut is_drawing = false;
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        if line.starts_with("    |") {
            bar(&mut out, line);
        } else if let Some(colour) = colour(line, is_drawing) {
            let _ = write!(out, "{colour}{line}{PLAIN}");
        } else {
            out += line;
        }
        out += end;
        if !line.starts_with(' ') {
            is_drawing = matches!(line, "before" | "after" | "had it been believed");
        }
    }
    out
}

fn colour(line: &str, is_drawing: bool) -> Option<&'static str> {
    if line.is_empty() {
        return None;
    }
    if line.starts_with("H header") {
        return Some(DIM);
    }
    if !line.starts_with(' ') {
        return Some(BOLD);
    }
    if is_drawing {
        let is_link = ["  FD → ", " ⇄ ", " → "].iter().any(|arrow| line.contains(arrow));
        return match line.starts_with("  * ") {
            true => Some(YELLOW),
            false => is_link.then_some(GREEN),
        };
    }
    // A step: its number in four columns, then its name.
    let name = line.get(4..).unwrap_or_default().trim_start();
    ["system call", "growth", "trim", "fault"].iter().any(|red| name.starts_with(red)).then_some(RED)
}

/// Chunks side by side.
fn bar(out: &mut String, line: &str) {
    let (chunks, rest) = line.rfind('|').map_or((line, ""), |end| line.split_at(end));
    // The top is the last, and has no line behind it.
    let (chunks, rest) = match rest.find(" ...") {
        Some(end) => line.split_at(chunks.len() + end),
        None => (chunks, rest),
    };
    let mut now = PLAIN;
    for letter in chunks.chars() {
        let colour = match letter {
            'H' => BOLD,
            '#' => BLUE,
            'c' => CYAN,
            'f' => MAGENTA,
            '.' => GREEN,
            '~' => DIM,
            _ => PLAIN,
        };
        if colour != now {
            out.push_str(PLAIN);
            out.push_str(if colour == PLAIN { "" } else { colour });
            now = colour;
        }
        out.push(letter);
    }
    if now != PLAIN {
        out.push_str(PLAIN);
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
free(0x1010) = <void>
   2  header         16 bytes back: 0x1000 proves itself
      system call    brk(0x5000) = 0x5000
after
  heap of arena 0, 135,168 bytes from 0x1000
    |Hcc|H#|H~~ ...   16 bytes a column
  * 0x1000          48 bytes  P--  cached
    unsorted bin: bin ⇄ 0x1000 ⇄ bin
";

    #[test]
    fn lines_are_coloured_by_what_they_are() {
        let painted = paint(TEXT);
        let lines: Vec<&str> = painted.lines().collect();
        assert_eq!(lines[0], "\x1b[1mfree(0x1010) = <void>\x1b[0m");
        assert!(!lines[1].contains('\x1b'), "{}", lines[1]);
        assert!(lines[2].starts_with(RED) && lines[6].starts_with(YELLOW) && lines[7].starts_with(GREEN), "{painted}");
        assert!(lines[5].contains("\x1b[36mcc") && lines[5].contains("\x1b[34m#"), "{painted:?}");
        assert!(lines[5].contains("\x1b[2m~~\x1b[0m ...   16 bytes"), "{painted:?}");
    }

    #[test]
    fn without_its_colours_it_is_the_same_text() {
        let mut plain = String::new();
        let mut rest = paint(TEXT);
        while let Some(begin) = rest.find('\x1b') {
            plain += &rest[..begin];
            rest = rest[begin..].split_once('m').unwrap().1.to_owned();
        }
        assert_eq!(plain + &rest, TEXT);
    }
}
