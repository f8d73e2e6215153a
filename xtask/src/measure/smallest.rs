//! The hot pair beside the smallest malloc that can stand in for another (`crates/smallest`): what is left is what an
//! allocator could still save.

use super::runs::{Run, allocators, build, cell, in_turn, smallest, spread, table, words};

const ROUNDS: usize = 11;
/// The most that the pair may take, as a multiple of the smallest's.
const TARGET: f64 = 1.2;
const THREADS: [usize; 2] = [1, 2];

pub fn section() -> Result<String, String> {
    build()?;
    let mut all = vec![smallest()];
    all.extend(allocators());
    let run = |one, threads| Run::new(one, "pair", threads, "--size 32 --scale 0.2");
    let runs: Vec<Run> = all.iter().flat_map(|one| THREADS.map(|threads| run(one, threads))).collect();
    let values = in_turn(&runs, ROUNDS, |run, said| said.each(run.workload, run.threads))?;
    let spreads = values.iter().map(|values| spread(values)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    let (lines, _) = spreads.as_chunks::<{ THREADS.len() }>();
    for (allocator, line) in all.iter().zip(lines) {
        let mut row = vec![allocator.name.clone()];
        // The smallest is the first line.
        for (one, least) in line.iter().zip(&lines[0]) {
            row.extend([cell(one), format!("{:.2}", one.median / least.median)]);
        }
        rows.push(row);
    }
    let head = words(["", "1 thread, ns", "of the smallest", "2 threads, ns each", "of the smallest"]);
    Ok(format!(
        "## The hot pair\n\nOne `malloc(32)` and its `free`, over and over: processor time of a pair, median of {ROUNDS} runs in turn and the \
         spread behind it. *The smallest* is a malloc that pops and a free that pushes one list of the thread, and nothing else \
         (`crates/smallest`); {TARGET} times its time is the aim.\n\n{}",
        table(&head, &rows)
    ))
}
