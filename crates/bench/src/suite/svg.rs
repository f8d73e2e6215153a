//! A suite as a picture: above, the geometric means of time and memory; below, for each item and allocator, the ratio of
//! time and of memory to the reference on a logarithmic scale.

use super::{COMPARED, Suite};
use crate::report::Metric;
use crate::rivals::{OURS, REFERENCE};
use crate::svg::{COLOURS, HEIGHT, Scatter, WIDTH, line, opened, text};
use crate::table::Unit;
use std::fmt::Write;

const LINE_HEIGHT: f64 = 20.0;
/// Where names end and the two panels begin and end.
const NAMES: f64 = 110.0;
const PANELS: [[f64; 2]; 2] = [[125.0, 415.0], [445.0, 735.0]];
/// Ratios beyond these stand at the edge, with their figure beside them.
const EDGES: [f64; 2] = [0.25, 4.0];
const TICKS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

pub fn render(suite: &Suite) -> String {
    let top = HEIGHT + 40.0;
    let bottom = top + suite.items.len() as f64 * LINE_HEIGHT;
    let mut out = opened(bottom + 60.0);
    let means = COMPARED.map(|(_, metric)| suite.means(metric));
    let place = |at: usize| -> Option<[[f64; 3]; 2]> {
        let [time, memory] = [&means[0], &means[1]].map(|of| of[at].map(|mean| [mean.ratio, mean.low, mean.high]));
        Some([time?, memory?])
    };
    let names = suite.allocators();
    let scatter = Scatter {
        title: format!("geometric means over {} items, down and left is better", suite.common().len()),
        time: (format!("time, as a ratio to {REFERENCE}"), Unit::Ratio),
        memory: (format!("peak memory, as a ratio to {REFERENCE}"), Unit::Ratio),
        rows: names.iter().enumerate().map(|(at, name)| (*name, place(at))).collect(),
    };
    out += &scatter.drawn();
    for (panel, (what, metric)) in PANELS.into_iter().zip(COMPARED) {
        text(&mut out, panel[0], top - 22.0, "start", &format!("{what}, as a ratio to {REFERENCE}"));
        ground(&mut out, panel, [top, bottom]);
        dots(&mut out, suite, metric, panel, top);
    }
    for (at, item) in suite.items.iter().enumerate() {
        text(&mut out, NAMES, middle(top, at) + 4.0, "end", item.name());
    }
    legend(&mut out, &names, bottom + 42.0);
    out + "</svg>\n"
}

fn middle(top: f64, at: usize) -> f64 {
    top + (at as f64 + 0.5) * LINE_HEIGHT
}

fn across([left, right]: [f64; 2], ratio: f64) -> f64 {
    let [low, high] = EDGES;
    left + (ratio.clamp(low, high) / low).ln() / (high / low).ln() * (right - left)
}

fn ground(out: &mut String, panel: [f64; 2], [top, bottom]: [f64; 2]) {
    for tick in TICKS {
        let x = across(panel, tick);
        line(out, [x, top - 4.0, x, bottom], if tick == 1.0 { "#777777" } else { "#dddddd" });
        text(out, x, bottom + 16.0, "middle", &tick.to_string());
    }
}

fn dots(out: &mut String, suite: &Suite, metric: Metric, panel: [f64; 2], top: f64) {
    for (at, item) in suite.items.iter().enumerate() {
        let y = middle(top, at);
        line(out, [panel[0], y, panel[1], y], "#f0f0f0");
        let rows = item.report.rows.iter().zip(COLOURS.iter().cycle());
        let (ours, others): (Vec<_>, Vec<_>) = rows.skip(1).partition(|(row, _)| row.allocator.name == OURS);
        // Ours last, so that nothing hides it, and larger.
        for (row, colour) in others.into_iter().chain(ours) {
            let Some(ratio) = item.ratio(row, metric) else { continue };
            let x = across(panel, ratio);
            let radius = if row.allocator.name == OURS { 5.5 } else { 3.5 };
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>");
            if !(EDGES[0]..=EDGES[1]).contains(&ratio) {
                let (x, anchor) = if ratio < 1.0 { (x + 8.0, "start") } else { (x - 8.0, "end") };
                text(out, x, y + 4.0, anchor, &format!("{ratio:.2}"));
            }
        }
    }
}

fn legend(out: &mut String, names: &[&str], y: f64) {
    let width = (WIDTH - PANELS[0][0]) / names.len().max(1) as f64;
    for (at, (name, colour)) in names.iter().zip(COLOURS.iter().cycle()).enumerate().skip(1) {
        let x = PANELS[0][0] + (at - 1) as f64 * width;
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>", y - 4.0);
        text(out, x + 9.0, y, "start", name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_items_are_drawn() {
        let picture = render(&super::super::example());
        // Three means; two items in two panels with two ratios each, but for the one that failed; a legend of two.
        assert_eq!(picture.matches("<circle").count(), 3 + 2 * (2 + 1) + 2);
        for label in [">one<", ">two<", ">heapglass<", "geometric means over 1 items", "time, as a ratio to libc"] {
            assert!(picture.contains(label), "no {label}");
        }
    }

    #[test]
    fn ratios_lie_on_a_logarithmic_scale() {
        let check = |ratio: f64, expect: f64| assert!((across([0.0, 100.0], ratio) - expect).abs() < 1e-9, "{ratio}");
        check(0.25, 0.0);
        check(0.5, 25.0);
        check(1.0, 50.0);
        check(4.0, 100.0);
        check(0.01, 0.0);
        check(9.0, 100.0);
    }
}
