//! What guarded samples cost: Heapglass as it is beside Heapglass without them, in turn.

use super::runs::{Run, build, cell, in_turn, spread, table, words};
use crate::counts::LIBRARY;
use crate::root;
use heapglass_bench::rivals::{Allocator, OURS};

const ROUNDS: usize = 15;
/// A program's stack begins behind its environment, and where it begins changes times by more than samples do: so both values
/// are equally long, and the first says nothing.
const WITH: &str = ",park:1";
const WITHOUT: &str = "guard:0";
const _: () = assert!(WITH.len() == WITHOUT.len());

/// Workloads, their threads, and how much of their usual work takes some tenths of a second.
const WORK: [(&str, usize, &str); 14] = [
    ("pair", 1, "0.2"),
    ("replace", 1, "0.3"),
    ("replace2", 2, "0.3"),
    ("mix", 1, "0.4"),
    ("server", 2, "0.2"),
    ("phases", 2, "0.2"),
    ("births", 2, "0.2"),
    ("producers", 2, "0.3"),
    ("handing", 2, "0.3"),
    ("vectors", 1, "0.2"),
    ("bignum", 1, "0.2"),
    ("tree", 1, "0.2"),
    ("strings", 1, "0.2"),
    ("aging", 1, "0.2"),
];

pub fn section() -> Result<String, String> {
    build()?;
    let ours = Allocator::preloaded(OURS, root().join(LIBRARY));
    let mut rows = Vec::new();
    let mut logs = Vec::new();
    for (name, threads, scale) in WORK {
        let run = |settings| Run::new(&ours, name, threads, format!("--scale {scale}")).with(settings);
        let values = in_turn(&[run(WITH), run(WITHOUT)], ROUNDS, |_, said| said.value(name, "cpu"))?;
        let percents: Vec<f64> =
            values[0].iter().zip(&values[1]).map(|(with, without)| 100.0 * with / without).collect();
        let ratios = spread(&percents)?;
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = 100.0 * least(&values[0]) / least(&values[1]);
        logs.push((ratios.median.ln(), fastest.ln()));
        rows.push(vec![name.to_owned(), cell(&ratios), format!("{fastest:.1}")]);
    }
    let mean = |of: fn(&(f64, f64)) -> f64| (logs.iter().map(of).sum::<f64>() / logs.len() as f64).exp();
    let means = [mean(|log| log.0), mean(|log| log.1)].map(|mean| format!("{mean:.1}"));
    rows.push(["geometric mean".to_owned()].into_iter().chain(means).collect());
    let head = words(["", "with samples, % of without", "fastest of each, %"]);
    Ok(format!(
        "## Guarded samples\n\nProcessor time with samples as they are by default against `guard:0`: {ROUNDS} pairs of runs in turn, the median \
         of their ratios with its spread, and the ratio of the fastest run of each.\n\n{}",
        table(&head, &rows)
    ))
}
