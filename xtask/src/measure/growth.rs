//! What a replaced object costs while more and more are alive, beside touching the same memory without an allocator, and what
//! many threads get done.

use super::runs::{Run, Said, allocators, build, cell, in_turn, processors, spread, table};
use heapglass_bench::rivals::Allocator;
use heapglass_bench::spread::Spread;

const ROUNDS: usize = 5;
/// Objects alive, and how much of the workload's usual work says enough.
const POINTS: [(usize, f64); 7] = [
    (1_000, 0.5),
    (10_000, 0.5),
    (100_000, 0.3),
    (300_000, 0.2),
    (1_000_000, 0.2),
    (3_000_000, 0.2),
    (10_000_000, 0.2),
];
const CROWDS: [usize; 6] = [1, 2, 4, 16, 64, 200];
const CROWDS_LIVE: usize = 100_000;
/// The most that the cost may grow from the first point on, once what the memory alone costs is divided out.
const TARGET: f64 = 1.3;

/// A line of a table: an allocator under one of the two workloads.
struct Subject {
    name: String,
    allocator: Allocator,
    workload: &'static str,
}

pub fn section() -> Result<String, String> {
    build()?;
    let mut out = format!(
        "## Growth\n\nRandom replacement: each operation allocates 16 to 64 bytes and writes them, reads one of N objects alive, chosen at random, frees it, \
         and keeps the new one in its place. *Memory alone* does the same reads and writes with no allocator. Medians of {ROUNDS} runs in turn, with the spread.\n\n"
    );
    for threads in [1, 2] {
        out += &curve(threads)?;
    }
    out += &crowds()?;
    Ok(out)
}

fn subjects() -> Vec<Subject> {
    let alone = Subject { name: "memory alone".into(), allocator: Allocator::reference(), workload: "touch" };
    let one = |allocator: Allocator| Subject { name: allocator.name.clone(), allocator, workload: "growth" };
    std::iter::once(alone).chain(allocators().into_iter().map(one)).collect()
}

fn curve(threads: usize) -> Result<String, String> {
    let subjects = subjects();
    let run = |subject: &Subject, (live, scale): (usize, f64)| {
        Run::new(&subject.allocator, subject.workload, threads, format!("--live {live} --scale {scale}"))
    };
    let runs: Vec<Run> = subjects.iter().flat_map(|subject| POINTS.map(|point| run(subject, point))).collect();
    let values = in_turn(&runs, ROUNDS, |run, said| said.each(run.workload, threads))?;
    let spreads = values.iter().map(|values| spread(values)).collect::<Result<Vec<Spread>, _>>()?;
    let lines: Vec<&[Spread]> = spreads.chunks(POINTS.len()).collect();
    let alone: Vec<f64> = lines[0].iter().map(|spread| spread.median).collect();

    let mut head = vec![String::new()];
    head.extend(POINTS.map(|(live, _)| grouped(live)));
    let mut costs = Vec::new();
    let mut ratios = Vec::new();
    for (subject, line) in subjects.iter().zip(&lines) {
        costs.push([subject.name.clone()].into_iter().chain(line.iter().map(cell)).collect());
        if subject.workload == "growth" {
            let medians: Vec<f64> = line.iter().map(|spread| spread.median).collect();
            let grown = grown(&medians, &alone);
            let cells = grown.iter().map(|ratio| format!("{ratio:.2}"));
            ratios.push([subject.name.clone()].into_iter().chain(cells).collect());
        }
    }
    let time = if threads <= processors() { "Processor time" } else { "Time" };
    let of = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads, which share the objects") };
    Ok(format!(
        "{time} of an operation, ns, by objects alive; {of}:\n\n{}\n\
         How many times dearer than with {} objects, once the same figure for memory alone is divided out (the aim is at most {TARGET}):\n\n{}\n",
        table(&head, &costs),
        grouped(POINTS[0].0),
        table(&head, &ratios)
    ))
}

/// How often as dear as at the first point, measured against how the memory alone grew dearer.
fn grown(costs: &[f64], alone: &[f64]) -> Vec<f64> {
    let (Some(first), Some(first_alone)) = (costs.first(), alone.first()) else { return Vec::new() };
    costs.iter().zip(alone).map(|(cost, alone)| (cost / first) / (alone / first_alone)).collect()
}

fn crowds() -> Result<String, String> {
    let all = allocators();
    let run = |allocator: &Allocator, threads: usize| {
        Run::new(allocator, "growth", threads, format!("--live {CROWDS_LIVE} --scale 0.5"))
    };
    let runs: Vec<Run> = all.iter().flat_map(|one| CROWDS.map(|threads| run(one, threads))).collect();
    let speed = |_: &Run, said: &Said| Ok(said.value("growth", "operations")? / said.value("growth", "seconds")? / 1e6);
    let values = in_turn(&runs, ROUNDS, speed)?;
    let mut rows = Vec::new();
    for (allocator, values) in all.iter().zip(values.chunks(CROWDS.len())) {
        let cells = values.iter().map(|values| spread(values).map(|spread| cell(&spread)));
        rows.push([Ok(allocator.name.clone())].into_iter().chain(cells).collect::<Result<Vec<_>, _>>()?);
    }
    let head: Vec<String> = [String::new()].into_iter().chain(CROWDS.map(|threads| threads.to_string())).collect();
    Ok(format!(
        "Million operations a second by number of threads, on {} processors, with {} objects alive in all (more is better):\n\n{}",
        processors(),
        grouped(CROWDS_LIVE),
        table(&head, &rows)
    ))
}

/// 10000 as 10,000.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_what_the_memory_does_not_explain() {
        assert_eq!(grown(&[10.0, 20.0, 40.0], &[5.0, 10.0, 10.0]), [1.0, 1.0, 2.0]);
        assert!(grown(&[], &[]).is_empty());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1000, 10_000_000].map(grouped), ["1", "999", "1,000", "10,000,000"]);
    }
}
