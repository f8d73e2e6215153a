//! A finished comparison: what every run used, per allocator. The forms it is written in read it and change nothing.

use crate::rivals::Allocator;
use crate::spread::{Comparison, Spread, Verdict};

/// What one run used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub wall_seconds: f64,
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub peak_bytes: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub exit_code: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Wall,
    User,
    System,
    /// User and system time together: what a run costs, however busy the machine is with others.
    Cpu,
    Peak,
    MinorFaults,
    MajorFaults,
}

impl Metric {
    pub const ALL: [Metric; 7] = [
        Metric::Wall,
        Metric::User,
        Metric::System,
        Metric::Cpu,
        Metric::Peak,
        Metric::MinorFaults,
        Metric::MajorFaults,
    ];

    /// The name in exports, ending in the unit.
    pub fn key(self) -> &'static str {
        match self {
            Metric::Wall => "wall_seconds",
            Metric::User => "user_seconds",
            Metric::System => "system_seconds",
            Metric::Cpu => "cpu_seconds",
            Metric::Peak => "peak_bytes",
            Metric::MinorFaults => "minor_faults",
            Metric::MajorFaults => "major_faults",
        }
    }

    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Metric::Wall => sample.wall_seconds,
            Metric::User => sample.user_seconds,
            Metric::System => sample.system_seconds,
            Metric::Cpu => sample.user_seconds + sample.system_seconds,
            Metric::Peak => sample.peak_bytes as f64,
            Metric::MinorFaults => sample.minor_faults as f64,
            Metric::MajorFaults => sample.major_faults as f64,
        }
    }

    pub fn word(self, verdict: Verdict) -> &'static str {
        let is_time = matches!(self, Metric::Wall | Metric::User | Metric::System | Metric::Cpu);
        match verdict {
            Verdict::Below if is_time => "faster",
            Verdict::Below => "less",
            Verdict::Above if is_time => "slower",
            Verdict::Above => "more",
            Verdict::WithinNoise => "within noise",
            Verdict::TooFewRuns => "too few runs",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Row {
    pub allocator: Allocator,
    pub samples: Vec<Sample>,
    /// Why the program didn't get through under this allocator. Then the figures of earlier runs count for nothing.
    pub fault: Option<String>,
}

impl Row {
    pub fn new(allocator: Allocator) -> Row {
        Row { allocator, samples: Vec::new(), fault: None }
    }

    pub fn values(&self, metric: Metric) -> Vec<f64> {
        self.samples.iter().map(|sample| metric.of(sample)).collect()
    }

    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        if self.fault.is_some() { None } else { Spread::of(&self.values(metric)) }
    }

    /// What stands in the place of figures, where there are none.
    pub fn fault(&self) -> &str {
        self.fault.as_deref().unwrap_or("not run")
    }
}

#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    pub warmup: usize,
    /// Who ran in each round and in what order, by the allocator's place in `rows`; warm-up rounds come first.
    pub rounds: Vec<Vec<usize>>,
    /// The reference comes first.
    pub rows: Vec<Row>,
    /// What a program that never began would show as its peak: the launcher's own memory at that moment.
    pub floor_bytes: u64,
}

impl Report {
    pub fn runs(&self) -> usize {
        self.rows.iter().filter(|row| row.fault.is_none()).map(|row| row.samples.len()).max().unwrap_or(0)
    }

    /// None for the reference itself, and where one of the two has no figures.
    pub fn compared(&self, row: &Row, metric: Metric) -> Option<Comparison> {
        let reference = self.rows.first().filter(|first| first.allocator.name != row.allocator.name)?;
        Some(row.spread(metric)?.against(&reference.spread(metric)?))
    }

    /// The ratio to the reference, and the verdict in words; the reference's own ratio is 1.
    pub fn ratio_and_word(&self, row: &Row, metric: Metric) -> (String, &'static str) {
        let is_reference = self.rows.first().is_some_and(|first| first.allocator.name == row.allocator.name);
        match self.compared(row, metric) {
            Some(Comparison { ratio, verdict }) => {
                (ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")), metric.word(verdict))
            }
            None if is_reference && row.fault.is_none() => ("1.00".into(), ""),
            None => ("-".into(), ""),
        }
    }
}

/// Three allocators: one measured in five runs, one that takes half the time and twice the memory, one that crashes.
#[cfg(test)]
pub(crate) fn example() -> Report {
    let sample = |wall: f64, mebibytes: u64| Sample {
        wall_seconds: wall,
        user_seconds: wall * 0.75,
        system_seconds: wall * 0.25,
        peak_bytes: mebibytes << 20,
        minor_faults: 1000 * mebibytes,
        major_faults: 0,
        exit_code: 0,
    };
    let row = |allocator, scale: f64, mebibytes| {
        let samples = (0..5).map(|run| sample(scale * (1.0 + 0.01 * f64::from(run)), mebibytes)).collect();
        Row { allocator, samples, fault: None }
    };
    let mut broken = Row::new(Allocator::preloaded("bro<k>en", "/lib/a,\"b\".so"));
    broken.fault = Some("killed by signal 6 (SIGABRT): \"out | of\" <luck> & hope".into());
    Report {
        name: "an <example> | \"quoted\"".into(),
        words: vec!["prog".into(), "tab\there".into(), "back\\slash \"quote\"".into()],
        warmup: 1,
        rounds: vec![vec![0, 1, 2], vec![1, 0], vec![0, 1]],
        rows: vec![
            row(Allocator::reference(), 0.2, 10),
            row(Allocator::preloaded("heapglass", "/h.so"), 0.1, 20),
            broken,
        ],
        floor_bytes: 300 << 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_with_the_first() {
        let report = example();
        let said = |row: usize, metric| report.ratio_and_word(&report.rows[row], metric);
        assert_eq!(said(0, Metric::Wall), ("1.00".into(), ""));
        assert_eq!(said(1, Metric::Wall), ("0.50".into(), "faster"));
        assert_eq!(said(1, Metric::Peak), ("2.00".into(), "more"));
        assert_eq!(said(1, Metric::MajorFaults), ("-".into(), "within noise"));
        assert_eq!(said(2, Metric::Wall), ("-".into(), ""));
        assert_eq!(report.runs(), 5);
    }

    #[test]
    fn nothing_is_compared_with_a_reference_that_failed() {
        let mut report = example();
        report.rows[0].fault = Some("exited with status 1".into());
        assert_eq!(report.ratio_and_word(&report.rows[0], Metric::Wall), ("-".into(), ""));
        assert_eq!(report.ratio_and_word(&report.rows[1], Metric::Wall), ("-".into(), ""));
        assert!(report.rows[0].spread(Metric::Wall).is_none() && !report.rows[0].samples.is_empty());
    }
}
