//! `heapglass play` on a whole terminal: the heap above, the steps of the last call in the middle, and the line to type below.

use super::game::{Game, HELP};
use crate::failure::Failure;
use heapglass_report::picture::LEGEND;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Position};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::process::ExitCode;

const KEYS: &str = "Enter: do it   Up, Down: lines before   PgUp, PgDn: scroll   Ctrl-D: leave   help";

struct Screen {
    game: Game,
    /// What was typed, and which of it is being looked at.
    history: Vec<String>,
    place: usize,
    input: Vec<char>,
    cursor: usize,
    /// The steps of the last line, and how far down they are looked at.
    steps: String,
    down: u16,
}

pub fn shown(game: Game) -> Result<ExitCode, Failure> {
    let mut screen =
        Screen { game, history: Vec::new(), place: 0, input: Vec::new(), cursor: 0, steps: HELP.into(), down: 0 };
    let mut terminal = ratatui::init();
    let done = screen.run(&mut terminal);
    ratatui::restore();
    done.map(|()| ExitCode::SUCCESS)
}

impl Screen {
    fn run(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        let refused = |e: io::Error| Failure::ours(format!("the terminal: {e}"));
        loop {
            terminal.draw(|frame| self.draw(frame)).map_err(refused)?;
            let Event::Key(key) = event::read().map_err(refused)? else { continue };
            if key.kind != KeyEventKind::Release && !self.typed(key)? {
                return Ok(());
            }
        }
    }

    /// `false` for the end.
    fn typed(&mut self, key: KeyEvent) -> Result<bool, Failure> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Ok(false),
            KeyCode::Char('u') if is_control => {
                self.input.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('a') if is_control => self.cursor = 0,
            KeyCode::Char('e') if is_control => self.cursor = self.input.len(),
            KeyCode::Char(letter) if !is_control => {
                self.input.insert(self.cursor, letter);
                self.cursor += 1;
            }
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.input.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.input.len() => drop(self.input.remove(self.cursor)),
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.input.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.input.len(),
            KeyCode::Up => self.recall(self.place.saturating_sub(1)),
            KeyCode::Down => self.recall((self.place + 1).min(self.history.len())),
            KeyCode::PageUp => self.down = self.down.saturating_sub(5),
            KeyCode::PageDown => self.down = self.down.saturating_add(5).min(self.steps.lines().count() as u16),
            KeyCode::Enter => return self.enter(),
            _ => {}
        }
        Ok(true)
    }

    fn recall(&mut self, place: usize) {
        self.place = place;
        self.input = self.history.get(place).map(|line| line.chars().collect()).unwrap_or_default();
        self.cursor = self.input.len();
    }

    fn enter(&mut self) -> Result<bool, Failure> {
        let line: String = std::mem::take(&mut self.input).into_iter().collect();
        self.cursor = 0;
        if line.trim().is_empty() {
            return Ok(true);
        }
        if self.history.last() != Some(&line) {
            self.history.push(line.clone());
        }
        self.place = self.history.len();
        let told = self.game.line(&line)?;
        self.steps = told.text;
        self.down = 0;
        Ok(!told.quits)
    }

    fn draw(&self, frame: &mut Frame) {
        let heap = self.game.now.draw(&self.game.before);
        let height = frame.area().height;
        // The steps get what they need, the heap the rest, but a third at least each.
        let needed = self.steps.lines().count() as u16 + 1;
        let steps = needed.min(height / 2).max(height / 3);
        let areas = Layout::vertical([
            Constraint::Min(3),
            Constraint::Length(1),
            Constraint::Length(steps),
            Constraint::Length(1),
            Constraint::Length(1),
        ]);
        let [top, legend, middle, prompt, keys] = areas.areas(frame.area());
        frame.render_widget(Paragraph::new(lines(&heap)), top);
        let faint = Style::default().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(Line::styled(LEGEND.trim_end(), faint)), legend);
        frame.render_widget(Paragraph::new(lines(&self.steps)).scroll((self.down, 0)), middle);
        let input: String = self.input.iter().collect();
        frame.render_widget(Paragraph::new(Line::from(vec![Span::raw("> "), Span::raw(input)])), prompt);
        frame.render_widget(Paragraph::new(Line::styled(KEYS, faint)), keys);
        // Letters of a call take a column each; what doesn't isn't part of one.
        let column = prompt.x.saturating_add(2).saturating_add(self.cursor as u16);
        frame.set_cursor_position(Position::new(column.min(prompt.right().saturating_sub(1)), prompt.y));
    }
}

/// What changed stands out, and so does the call itself.
fn lines(text: &str) -> Vec<Line<'_>> {
    let style = |line: &str| {
        if line.starts_with("  * ") {
            Style::default().fg(Color::Yellow)
        } else if !line.starts_with(' ') {
            Style::default().add_modifier(Modifier::BOLD)
        } else {
            Style::default()
        }
    };
    text.lines().map(|line| Line::styled(line, style(line))).collect()
}
