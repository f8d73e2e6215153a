//! The comparison as a picture: time to the right, memory upwards, a point with bars of its spread for each allocator. Down
//! and left is better.

use crate::report::{Metric, Report, Row};
use crate::table::Unit;
use std::fmt::Write;

pub(crate) const WIDTH: f64 = 760.0;
pub(crate) const HEIGHT: f64 = 480.0;
/// Left, top, right, bottom of what the axes enclose.
const PLOT: [f64; 4] = [80.0, 56.0, 730.0, 410.0];
const TEXT_HEIGHT: f64 = 14.0;
/// Of a sans-serif face of 13 pixels, on average and rather too much.
const CHARACTER_WIDTH: f64 = 7.5;
/// Colours that the colour-blind tell apart (Okabe and Ito), repeated if they don't suffice; the labels name the points.
pub(crate) const COLOURS: [&str; 7] = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

struct Axis {
    from: f64,
    to: f64,
    step: f64,
    /// Where `from` and `to` lie in the picture.
    ends: [f64; 2],
    unit: Unit,
}

impl Axis {
    /// Room for all spreads and a tenth more on both sides. Doesn't begin at zero: near neighbours shall be told apart.
    fn new(figures: impl Iterator<Item = [f64; 3]> + Clone, unit: Unit, ends: [f64; 2]) -> Axis {
        let low = figures.clone().map(|[_, low, _]| unit.scaled(low)).fold(f64::INFINITY, f64::min);
        let high = figures.map(|[_, _, high]| unit.scaled(high)).fold(0.0, f64::max);
        let room = ((high - low) * 0.1).max(high * 0.02).max(1e-6);
        let (from, to) = ((low - room).max(0.0), high + room);
        Axis { from, to, step: step(to - from), ends, unit }
    }

    fn at(&self, value: f64) -> f64 {
        self.place(self.unit.scaled(value))
    }

    fn place(&self, scaled: f64) -> f64 {
        self.ends[0] + (scaled - self.from) / (self.to - self.from) * (self.ends[1] - self.ends[0])
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let (first, last) = ((self.from / self.step).ceil() as u64, (self.to / self.step).floor() as u64);
        let tick = |number: u64| {
            let value = number as f64 * self.step;
            (self.place(value), format!("{value:.decimals$}"))
        };
        (first..=last).map(tick).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that there are four to ten of them in the range.
fn step(range: f64) -> f64 {
    let power = 10_f64.powf((range / 4.0).log10().floor());
    [5.0, 2.0, 1.0].map(|factor| factor * power).into_iter().find(|step| range / step >= 4.0).unwrap_or(power)
}

struct Point<'a> {
    name: &'a str,
    colour: &'a str,
    /// Median, low and high, in the picture.
    x: [f64; 3],
    y: [f64; 3],
}

/// Time to the right, memory upwards, with names for the axes and a unit each.
pub(crate) struct Scatter<'a> {
    pub title: String,
    pub time: (String, Unit),
    pub memory: (String, Unit),
    /// Time and memory of each that has them: the middle, low and high. The place decides on the colour.
    pub rows: Vec<(&'a str, Option<[[f64; 3]; 2]>)>,
}

pub fn render(report: &Report) -> String {
    let times = Unit::of_times(report);
    let figures = |metric| move |row: &Row| row.spread(metric).map(|s| [s.median, s.low, s.high]);
    let place = |row| Some([figures(Metric::Wall)(row)?, figures(Metric::Peak)(row)?]);
    let scatter = Scatter {
        title: format!("{}: time and memory, down and left is better", report.name),
        time: (format!("wall time, {}", times.name()), times),
        memory: (format!("peak resident memory, {}", Unit::Mebibytes.name()), Unit::Mebibytes),
        rows: report.rows.iter().map(|row| (row.allocator.name.as_str(), place(row))).collect(),
    };
    opened(HEIGHT) + &scatter.drawn() + "</svg>\n"
}

pub(crate) fn opened(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    )
}

impl Scatter<'_> {
    pub fn drawn(&self) -> String {
        let [left, top, right, bottom] = PLOT;
        let mut out = String::new();
        text(&mut out, left, 24.0, "start", &self.title);
        let places: Vec<[[f64; 3]; 2]> = self.rows.iter().filter_map(|(_, place)| *place).collect();
        if places.is_empty() {
            text(&mut out, left, top, "start", "no allocator got through");
        } else {
            let x = Axis::new(places.iter().map(|[time, _]| *time), self.time.1, [left, right]);
            let y = Axis::new(places.iter().map(|[_, memory]| *memory), self.memory.1, [bottom, top]);
            axes(&mut out, &x, &y, [&self.time.0, &self.memory.0]);
            points(&mut out, &self.placed(&x, &y));
        }
        let failed: Vec<&str> = self.rows.iter().filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
        if !failed.is_empty() {
            text(&mut out, left, HEIGHT - 12.0, "start", &format!("without figures: {}", failed.join(", ")));
        }
        out
    }

    fn placed(&self, x: &Axis, y: &Axis) -> Vec<Point<'_>> {
        let rows = self.rows.iter().zip(COLOURS.iter().cycle());
        let placed = rows.filter_map(|((name, place), colour)| {
            let [time, memory] = (*place)?;
            Some(Point { name, colour, x: time.map(|value| x.at(value)), y: memory.map(|value| y.at(value)) })
        });
        placed.collect()
    }
}

fn axes(out: &mut String, x: &Axis, y: &Axis, [time, memory]: [&str; 2]) {
    let [left, top, right, bottom] = PLOT;
    for (at, label) in x.ticks() {
        line(out, [at, top, at, bottom], "#dddddd");
        text(out, at, bottom + 18.0, "middle", &label);
    }
    for (at, label) in y.ticks() {
        line(out, [left, at, right, at], "#dddddd");
        text(out, left - 8.0, at + 4.0, "end", &label);
    }
    line(out, [left, bottom, right, bottom], "#555555");
    line(out, [left, top, left, bottom], "#555555");
    text(out, right, bottom + 40.0, "end", time);
    text(out, 12.0, top - 14.0, "start", memory);
}

fn points(out: &mut String, points: &[Point]) {
    // The dot, and the bars of its spread.
    let covered = |p: &Point| {
        let ([x, left, right], [y, bottom, top]) = (p.x, p.y);
        [[x - 6.0, y - 6.0, x + 6.0, y + 6.0], [left, y - 1.0, right, y + 1.0], [x - 1.0, top, x + 1.0, bottom]]
    };
    let mut taken: Vec<[f64; 4]> = points.iter().flat_map(covered).collect();
    for point in points {
        let (x, y) = (point.x[0], point.y[0]);
        line(out, [point.x[1], y, point.x[2], y], point.colour);
        line(out, [x, point.y[1], x, point.y[2]], point.colour);
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{}\"/>", point.colour);
        let area = label_area(point, &taken);
        text(out, area[0], area[3] - 3.0, "start", point.name);
        taken.push(area);
    }
}

/// Where the label of a point covers nothing: beside it, over or under it, else farther and farther away.
fn label_area(point: &Point, taken: &[[f64; 4]]) -> [f64; 4] {
    let width = point.name.chars().count() as f64 * CHARACTER_WIDTH;
    let (x, y) = (point.x[0], point.y[0]);
    let area = |left: f64, top: f64| [left, top, left + width, top + TEXT_HEIGHT];
    let around = (0..40).flat_map(|ring| {
        let away = f64::from(ring) * TEXT_HEIGHT / 2.0;
        let (right, left, middle) = (x + 9.0, x - 9.0 - width, y - TEXT_HEIGHT / 2.0);
        [
            area(right, middle - away),
            area(right, middle + away),
            area(left, middle - away),
            area(left, middle + away),
            area(x - width / 2.0, y - 9.0 - TEXT_HEIGHT - away),
            area(x - width / 2.0, y + 9.0 + away),
        ]
    });
    let inside = |a: &[f64; 4]| a[0] >= PLOT[0] && a[1] >= PLOT[1] && a[2] <= WIDTH && a[3] <= PLOT[3];
    let is_free = |a: &[f64; 4]| taken.iter().all(|b| a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1]);
    around.into_iter().find(|a| inside(a) && is_free(a)).unwrap_or(area(x + 9.0, y - TEXT_HEIGHT / 2.0))
}

pub(crate) fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    let ends = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    let _ = writeln!(out, "<line {ends} stroke=\"{colour}\" stroke-width=\"1.5\"/>");
}

pub(crate) fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words));
}

/// Control characters can't be written in XML at all.
fn escaped(words: &str) -> String {
    let mut out = String::new();
    for c in words.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_for_each_that_got_through() {
        let picture = render(&crate::report::example());
        assert_eq!(picture.matches("<circle").count(), 2);
        for label in
            [">libc<", ">heapglass<", "without figures: bro&lt;k&gt;en<", "wall time, ms<", "an &lt;example&gt; |"]
        {
            assert!(picture.contains(label), "no {label}");
        }
        let mut report = crate::report::example();
        report.rows.iter_mut().for_each(|row| row.fault = Some("gone".into()));
        let picture = render(&report);
        assert!(!picture.contains("<circle") && picture.contains("no allocator got through"));
    }

    #[test]
    fn steps_are_round() {
        let check = |range: f64, expect: f64| assert!((step(range) / expect - 1.0).abs() < 1e-9, "{range}");
        check(4.0, 1.0);
        check(9.9, 2.0);
        check(20.0, 5.0);
        check(39.0, 5.0);
        check(0.05, 0.01);
    }

    #[test]
    fn labels_of_equal_points_do_not_cover_each_other() {
        let mut report = crate::report::example();
        report.rows.truncate(1);
        for name in ["b", "c", "d", "e", "f", "g", "h"] {
            let mut same = report.rows[0].clone();
            same.allocator.name = name.into();
            report.rows.push(same);
        }
        let picture = render(&report);
        let of = |line: &str| {
            line.split(['"', '<', '>']).filter(|part| !part.trim().is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let places: Vec<(String, String)> = picture
            .lines()
            .filter(|line| report.rows.iter().any(|row| line.contains(&format!(">{}<", row.allocator.name))))
            .map(|line| (of(line)[1].clone(), of(line)[3].clone()))
            .collect();
        assert_eq!(places.len(), 8, "{picture}");
        assert!(places.iter().enumerate().all(|(at, place)| !places[..at].contains(place)), "{places:?}");
    }
}
