//! How long single calls take: percentiles of malloc and of free, from histograms of every call.

use super::runs::{Run, Said, allocators, build, cell, in_turn, spread, table, words};

const ROUNDS: usize = 5;
const KEYS: [&str; 5] = ["p50", "p99", "p99.9", "p99.99", "max"];
/// The lines of the workload, and of which the tables are.
const KINDS: [&str; 3] = ["malloc", "free", "nothing"];

pub fn section() -> Result<String, String> {
    build()?;
    let mut out = format!(
        "## Latency\n\nRandom replacement among 50,000 objects of 16 bytes to 64 KiB (Pareto's law), each malloc and each free timed for itself and counted in an HDR \
         histogram: nanoseconds, medians of {ROUNDS} runs in turn, with the spread. *Nothing* is the clock read twice with nothing between, in the same runs: what \
         the clock costs, and what the machine's other work does to any call. The aim is at most 100,000 ns at p99.99.\n"
    );
    let all = allocators();
    for threads in [1, 2] {
        let runs: Vec<Run> = all.iter().map(|one| Run::new(one, "latency", threads, "--scale 0.5")).collect();
        let values = in_turn(&runs, ROUNDS, |_, said| percentiles(said))?;
        for (kind, name) in KINDS.iter().enumerate() {
            let mut rows = Vec::new();
            for (allocator, rounds) in all.iter().zip(&values) {
                let of = |key: usize| rounds.iter().map(|round| round[kind][key]).collect::<Vec<f64>>();
                let cells = (0..KEYS.len()).map(|key| spread(&of(key)).map(|spread| cell(&spread)));
                rows.push([Ok(allocator.name.clone())].into_iter().chain(cells).collect::<Result<Vec<_>, _>>()?);
            }
            let plural = if threads == 1 { "" } else { "s" };
            let head: Vec<String> =
                [format!("{name}, {threads} thread{plural}")].into_iter().chain(words(KEYS)).collect();
            out += &format!("\n{}", table(&head, &rows));
        }
    }
    Ok(out)
}

/// Of each kind, each key.
fn percentiles(said: &Said) -> Result<Vec<Vec<f64>>, String> {
    KINDS.iter().map(|kind| KEYS.iter().map(|key| said.value(kind, key)).collect()).collect()
}
