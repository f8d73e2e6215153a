//! `heapglass map --live`: the map on the whole terminal, read again every second. What can be done stands in the last line.

use super::text::{colour, grouped, size};
use super::{Subject, Whose, bins, chunk, ledger, map, said};
use crate::failure::Failure;
use heapglass_inspect::Target;
use heapglass_report::ledger as account;
use heapglass_report::map::{Cell, LEAST_SCALE, MOST_SCALE, Map, SHADES, Wanted};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);
/// In front of a row's letters: its address.
const MARGIN: u16 = 18;

/// What fills the middle of the screen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Map,
    Chunk,
    Bins,
    Ledger,
}

struct Screen<'a> {
    whose: &'a Whose,
    subject: Subject,
    view: View,
    map: Option<Map>,
    summary: String,
    /// The other views' text, and how far down it is looked at.
    text: String,
    down: usize,
    /// The address that is looked at.
    at: Option<u64>,
    /// Bytes of a cell; `None` while everything fits.
    scale: Option<u64>,
    width: u64,
    rows: u64,
    paused: bool,
    /// Why there is nothing newer to see.
    trouble: String,
}

pub fn shown(whose: &Whose) -> Result<ExitCode, Failure> {
    let subject = whose.subject();
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::ours("--live needs a terminal; without it, `heapglass map` prints one picture"));
    }
    // What can't be read at all is said where it can be read.
    drop(whose.open(&subject)?);
    let mut screen = Screen {
        whose,
        subject,
        view: View::Map,
        map: None,
        summary: String::new(),
        text: String::new(),
        down: 0,
        at: None,
        scale: None,
        width: 64,
        rows: 20,
        paused: false,
        trouble: String::new(),
    };
    let mut terminal = ratatui::init();
    let done = screen.run(&mut terminal);
    ratatui::restore();
    done.map(|()| ExitCode::SUCCESS).map_err(|e| Failure::ours(format!("the terminal: {e}")))
}

impl Screen<'_> {
    fn run(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let mut read_at: Option<Instant> = None;
        loop {
            let area = terminal.size()?;
            let letters = u64::from(area.width.saturating_sub(MARGIN)).max(8);
            // The power of two below, so that columns line up.
            self.width = 1 << letters.ilog2();
            self.rows = u64::from(area.height.saturating_sub(5)).max(2);
            if !self.paused && read_at.is_none_or(|at| at.elapsed() >= EVERY) {
                self.read();
                read_at = Some(Instant::now());
            }
            terminal.draw(|frame| self.draw(frame))?;
            let rest = EVERY.saturating_sub(read_at.map_or(EVERY, |at| at.elapsed()));
            if !event::poll(if self.paused { EVERY } else { rest })? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if is_interrupt || !self.typed(key.code) {
                        return Ok(());
                    }
                    read_at = None;
                }
                Event::Resize(..) => read_at = None,
                _ => {}
            }
        }
    }

    /// `false` for the end.
    fn typed(&mut self, key: KeyCode) -> bool {
        let scale = self.map.as_ref().map_or(LEAST_SCALE, |map| map.scale);
        let row = scale * self.width;
        let is_map = self.view == View::Map;
        match key {
            KeyCode::Char('q') => return false,
            KeyCode::Esc if is_map => return false,
            KeyCode::Esc | KeyCode::Char('m') => self.turn_to(View::Map),
            KeyCode::Char('b') => self.turn_to(View::Bins),
            KeyCode::Char('l') => self.turn_to(View::Ledger),
            KeyCode::Enter => self.turn_to(View::Chunk),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('+' | '=') => self.scale = Some((scale / 2).max(LEAST_SCALE)),
            KeyCode::Char('-') => self.scale = Some((scale * 2).min(MOST_SCALE)),
            KeyCode::Char('0') => self.scale = None,
            KeyCode::Tab => self.next_heap(),
            KeyCode::Left if is_map => self.step(|at| at.saturating_sub(scale)),
            KeyCode::Right if is_map => self.step(|at| at.saturating_add(scale)),
            KeyCode::Up if is_map => self.step(|at| at.saturating_sub(row)),
            KeyCode::Down if is_map => self.step(|at| at.saturating_add(row)),
            KeyCode::PageUp if is_map => self.step(|at| at.saturating_sub(row * 10)),
            KeyCode::PageDown if is_map => self.step(|at| at.saturating_add(row * 10)),
            KeyCode::Up => self.down = self.down.saturating_sub(1),
            KeyCode::Down => self.down = self.down.saturating_add(1),
            KeyCode::PageUp => self.down = self.down.saturating_sub(self.rows as usize),
            KeyCode::PageDown => self.down = self.down.saturating_add(self.rows as usize),
            _ => {}
        }
        true
    }

    fn turn_to(&mut self, view: View) {
        (self.view, self.down) = (view, 0);
        self.text.clear();
        if self.paused {
            self.read();
        }
    }

    /// Heaps by address.
    fn heaps(&self) -> Vec<(u64, u64)> {
        let arenas = self.map.iter().flat_map(|map| &map.records.arenas);
        let mut heaps: Vec<(u64, u64)> =
            arenas.flat_map(|arena| &arena.heaps).map(|heap| (heap.chunks.start, heap.chunks.end)).collect();
        heaps.sort_unstable();
        heaps
    }

    /// Moves within the heap that is looked at.
    fn step(&mut self, to: impl Fn(u64) -> u64) {
        let Some(at) = self.at else { return };
        let heaps = self.heaps();
        let Some((start, end)) = heaps.iter().rev().find(|(start, _)| *start <= at) else { return };
        self.at = Some(to(at).clamp(*start, end.saturating_sub(1).max(*start)));
    }

    fn next_heap(&mut self) {
        let heaps = self.heaps();
        let behind = heaps.iter().find(|(start, _)| self.at.is_some_and(|at| *start > at));
        self.at = behind.or(heaps.first()).map(|(start, _)| *start);
    }

    /// Reads it anew. What is there stays where that fails: its end may be what is of interest.
    fn read(&mut self) {
        match self.whose.open(&self.subject).and_then(|target| self.read_from(&target)) {
            Ok(()) => self.trouble.clear(),
            Err(failure) => self.trouble = failure.line,
        }
    }

    fn read_from(&mut self, target: &Target) -> Result<(), Failure> {
        let wanted = Wanted {
            arena: None,
            zoom: self.at.filter(|_| self.scale.is_some()),
            scale: self.scale,
            width: self.width,
            rows: self.rows,
        };
        let read = heapglass_report::map::of(target, wanted, &mut |_, _| {}).map_err(|e| said(&target.name, &e))?;
        self.summary = map::summary(target, &read);
        self.map = Some(read);
        let heaps = self.heaps();
        if !self.at.is_some_and(|at| heaps.iter().any(|(start, end)| *start <= at && at < *end)) {
            self.at = heaps.first().map(|(start, _)| *start);
        }
        self.text = match (self.view, self.at) {
            (View::Chunk, Some(at)) => chunk::told(target, at, false, None)?,
            (View::Bins, _) => bins::told(target, None, false)?,
            (View::Ledger, _) => ledger::told(target, &account::of(target).map_err(|e| said(&target.name, &e))?, None),
            _ => String::new(),
        };
        Ok(())
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let parts =
            Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)]);
        let [head, middle, told, keys] = parts.areas(frame.area());
        let mut lines = vec![Line::from(self.summary.clone())];
        lines.push(if self.trouble.is_empty() {
            legend()
        } else {
            Line::styled(self.trouble.clone(), Modifier::REVERSED)
        });
        frame.render_widget(Paragraph::new(lines), head);
        if self.view == View::Map {
            let (lines, cursor) = self.rows();
            // The row that is looked at is always to be seen.
            let above = (cursor + 2).saturating_sub(middle.height.into());
            frame.render_widget(Paragraph::new(lines.into_iter().skip(above).collect::<Vec<_>>()), middle);
        } else {
            let lines: Vec<Line<'_>> = self.text.lines().map(Line::from).collect();
            let most = lines.len().saturating_sub(middle.height.into());
            frame.render_widget(Paragraph::new(lines).scroll((self.down.min(most) as u16, 0)), middle);
        }
        frame.render_widget(Paragraph::new(self.about()), told);
        let pause = if self.paused { "p go on" } else { "p pause" };
        let footer = match self.view {
            View::Map => {
                format!("q quit  {pause}  arrows move  Tab next heap  + - 0 zoom  Enter chunk  b bins  l ledger")
            }
            _ => format!("q quit  {pause}  arrows scroll  m map  Enter chunk  b bins  l ledger"),
        };
        frame.render_widget(Paragraph::new(footer).style(Modifier::REVERSED), keys);
    }

    /// The map's lines, and which of them is looked at.
    fn rows(&self) -> (Vec<Line<'_>>, usize) {
        let Some(map) = &self.map else { return (Vec::new(), 0) };
        let row_bytes = map.scale * map.width;
        let (mut lines, mut cursor) = (Vec::new(), 0);
        for part in &map.heaps {
            lines.push(Line::from(format!(
                "arena {}: heap {:#x} to {:#x}, {}",
                part.arena,
                part.chunks.start,
                part.chunks.end,
                size(part.chunks.bytes())
            )));
            for (index, cells) in (0..).zip(part.cells.chunks(map.width as usize)) {
                let start = part.start + index * row_bytes;
                let mark = self
                    .at
                    .filter(|at| start <= *at && *at < start + row_bytes)
                    .map(|at| ((at - start) / map.scale) as usize);
                if mark.is_some() {
                    cursor = lines.len();
                }
                lines.push(row(start, cells, mark));
            }
        }
        (lines, cursor)
    }

    /// What lies under the cursor.
    fn about(&self) -> String {
        let (Some(map), Some(at)) = (&self.map, self.at) else { return String::new() };
        let found =
            map.heaps.iter().find_map(|part| part.cells.get((at.checked_sub(part.start)? / map.scale) as usize));
        let shades = |cell: &Cell| -> Vec<String> {
            let there = SHADES.into_iter().filter(|shade| cell.bytes[*shade as usize] > 0);
            there.map(|shade| format!("{} {}", grouped(cell.bytes[shade as usize]), shade.name())).collect()
        };
        let told = found
            .map_or(String::new(), |cell| format!("{}; {} resident", shades(cell).join(", "), grouped(cell.resident)));
        format!("{at:#x}, {} a letter: {told}", size(map.scale))
    }
}

fn row(start: u64, cells: &[Cell], mark: Option<usize>) -> Line<'static> {
    let mut spans = vec![Span::raw(format!("{start:#16x}  "))];
    for (index, cell) in cells.iter().enumerate() {
        let mut style = Style::new();
        if let Some((shade, _)) = cell.shade() {
            style = style.fg(Color::Indexed(colour(shade)));
        }
        if cell.resident == 0 {
            style = style.add_modifier(Modifier::DIM);
        }
        if mark == Some(index) {
            style = style.add_modifier(Modifier::REVERSED);
        }
        spans.push(Span::styled(cell.letter().to_string(), style));
    }
    Line::from(spans)
}

fn legend() -> Line<'static> {
    let mut spans = Vec::new();
    for shade in SHADES {
        let style = Style::new().fg(Color::Indexed(colour(shade)));
        spans.push(Span::styled(format!("{} {}  ", shade.letter(), shade.name()), style));
    }
    Line::from(spans)
}
