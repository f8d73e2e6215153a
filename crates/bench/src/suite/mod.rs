//! Many programs under the same allocators: what [`crate::report`] is for one program, here for all, and what they say
//! together: geometric means, the best of the others for each, and where Heapglass is behind it.

pub mod csv;
pub mod json;
pub mod markdown;
pub mod svg;
pub mod table;

use crate::report::{Metric, Report, Row};
use crate::rivals::OURS;
use crate::spread::{RUNS_FOR_VERDICT, Spread, Verdict};

/// What decides, and what it is called: time is what the processors spent, since machines are shared.
pub const COMPARED: [(&str, Metric); 2] = [("time", Metric::Cpu), ("memory", Metric::Peak)];

/// What is shown.
pub const SHOWN: [(&str, Metric); 3] = [("time", Metric::Cpu), ("wall time", Metric::Wall), ("memory", Metric::Peak)];

/// How far Heapglass may be behind the best of the others before it counts as a loss.
pub const BEHIND: f64 = 1.05;

#[derive(Clone, Debug)]
pub struct Suite {
    pub scale: f64,
    /// All have the same allocators, in the same order, the reference first.
    pub items: Vec<Item>,
    /// What wasn't measured, and why.
    pub left_out: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub about: String,
    /// One of our own workloads, or a program that others have written?
    pub is_own: bool,
    pub program: String,
    /// As the program itself tells it; empty for our own.
    pub version: String,
    pub report: Report,
}

/// How Heapglass stands in one item.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The lowest of all others.
    pub best: String,
    /// Heapglass' median to that one's.
    pub ratio: f64,
    pub verdict: Verdict,
}

impl Standing {
    pub fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Below => "ahead",
            Verdict::Above => "behind",
            Verdict::WithinNoise => "within noise",
            Verdict::TooFewRuns => "too few runs",
        }
    }

    pub fn is_loss(&self) -> bool {
        self.verdict == Verdict::Above && self.ratio > BEHIND
    }
}

/// A geometric mean of ratios to the reference: of the medians, and the lowest and the highest of single rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

impl Item {
    pub fn name(&self) -> &str {
        &self.report.name
    }

    pub fn standing(&self, metric: Metric) -> Option<Standing> {
        let rows = &self.report.rows;
        let ours = rows.iter().find(|row| row.allocator.name == OURS)?.spread(metric)?;
        let others = rows.iter().filter(|row| row.allocator.name != OURS);
        let others = others.filter_map(|row| Some((row, row.spread(metric)?)));
        let (best, theirs) = others.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))?;
        let compared = ours.against(&theirs);
        Some(Standing { best: best.allocator.name.clone(), ratio: compared.ratio?, verdict: compared.verdict })
    }

    fn faults(&self) -> Vec<(&str, &str, &str)> {
        let failed = self.report.rows.iter().filter(|row| row.fault.is_some());
        failed.map(|row| (self.name(), row.allocator.name.as_str(), row.fault())).collect()
    }

    /// Each allocator's median to the reference's.
    pub fn ratio(&self, row: &Row, metric: Metric) -> Option<f64> {
        let (of, to) = (row.spread(metric)?, self.report.rows.first()?.spread(metric)?);
        (to.median > 0.0).then(|| of.median / to.median)
    }
}

impl Suite {
    /// Names in the order of the rows.
    pub fn allocators(&self) -> Vec<&str> {
        let rows = self.items.first().map_or(&[][..], |item| &item.report.rows);
        rows.iter().map(|row| row.allocator.name.as_str()).collect()
    }

    pub fn runs(&self) -> usize {
        self.items.iter().map(|item| item.report.runs()).max().unwrap_or(0)
    }

    pub fn has_verdicts(&self) -> bool {
        self.runs() >= RUNS_FOR_VERDICT
    }

    /// Those that got through something; what can't be loaded at all shall not empty everybody's means.
    fn takes_part(&self, at: usize) -> bool {
        self.items.iter().any(|item| item.report.rows[at].spread(Metric::Cpu).is_some())
    }

    /// The items that means are taken of: those through which all came who came through any.
    pub fn common(&self) -> Vec<&Item> {
        let taking_part: Vec<usize> = (0..self.allocators().len()).filter(|at| self.takes_part(*at)).collect();
        let is_common = |item: &&Item| {
            taking_part
                .iter()
                .all(|at| COMPARED.iter().all(|(_, of)| item.ratio(&item.report.rows[*at], *of).is_some()))
        };
        self.items.iter().filter(is_common).collect()
    }

    /// One for each allocator, in the order of the rows.
    pub fn means(&self, metric: Metric) -> Vec<Option<Mean>> {
        let common = self.common();
        (0..self.allocators().len()).map(|at| self.mean(&common, at, metric)).collect()
    }

    fn mean(&self, common: &[&Item], at: usize, metric: Metric) -> Option<Mean> {
        let medians =
            common.iter().map(|item| item.ratio(&item.report.rows[at], metric)).collect::<Option<Vec<_>>>()?;
        let ratio = geometric(&medians)?;
        let in_round = |round: usize| {
            let value = |item: &Item, row: usize| Some(metric.of(item.report.rows[row].samples.get(round)?));
            let of_one =
                |item: &&Item| value(item, 0).filter(|to| *to > 0.0).and_then(|to| Some(value(item, at)? / to));
            geometric(&common.iter().map(of_one).collect::<Option<Vec<_>>>()?)
        };
        let rounds: Vec<f64> = (0..self.runs()).filter_map(in_round).collect();
        let spread = Spread::of(&rounds)?;
        Some(Mean { ratio, low: spread.low.min(ratio), high: spread.high.max(ratio) })
    }

    /// The allocators whose mean is below Heapglass', lowest first.
    pub fn below_ours(&self, metric: Metric) -> Vec<(&str, Mean)> {
        let means = self.means(metric);
        let all: Vec<(&str, Mean)> =
            self.allocators().into_iter().zip(means).filter_map(|(name, mean)| Some((name, mean?))).collect();
        let Some(ours) = all.iter().find(|(name, _)| *name == OURS).map(|(_, mean)| mean.ratio) else {
            return Vec::new();
        };
        let mut below: Vec<_> = all.into_iter().filter(|(_, mean)| mean.ratio < ours).collect();
        below.sort_by(|(_, a), (_, b)| a.ratio.total_cmp(&b.ratio));
        below
    }

    pub fn losses(&self, metric: Metric) -> Vec<(&Item, Standing)> {
        let standing = |item| Item::standing(item, metric).map(|standing| (item, standing));
        let mut losses: Vec<_> = self.items.iter().filter_map(standing).filter(|(_, one)| one.is_loss()).collect();
        losses.sort_by(|(_, a), (_, b)| b.ratio.total_cmp(&a.ratio));
        losses
    }

    /// Item, allocator, and what became of it.
    pub fn faults(&self) -> Vec<(&str, &str, &str)> {
        self.items.iter().flat_map(Item::faults).collect()
    }
}

fn geometric(values: &[f64]) -> Option<f64> {
    let logarithms: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (logarithms / values.len() as f64).exp())
}

/// Two items under three allocators: Heapglass is behind in one and ahead in the other, where the third crashes.
#[cfg(test)]
pub(crate) fn example() -> Suite {
    use crate::rivals::Allocator;
    let mut example = crate::report::example();
    let row = |name: &str, scale: f64| {
        let mut row = example.rows[0].clone();
        row.allocator = Allocator::preloaded(name, format!("/lib{name}.so"));
        for sample in &mut row.samples {
            sample.user_seconds *= scale;
            sample.system_seconds *= scale;
            sample.peak_bytes = (sample.peak_bytes as f64 * scale) as u64;
        }
        row
    };
    let rows = |ours: f64, other: f64| vec![example.rows[0].clone(), row(OURS, ours), row("other", other)];
    let (first, mut second) = (rows(1.0, 0.5), rows(0.25, 2.0));
    second[2].fault = Some("prints | other output".into());
    let item = |name: &str, is_own, rows| Item {
        about: format!("what {name} does"),
        is_own,
        program: format!("/bin/{name}"),
        version: if is_own { String::new() } else { format!("{name} 1.0 <new>") },
        report: Report { name: name.into(), rows, ..example.clone() },
    };
    let items = vec![item("one", true, first), item("two", false, second)];
    example.rows.clear();
    Suite { scale: 1.0, items, left_out: vec![("three".into(), "there is no three; Debian package three".into())] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_compared_with_the_best_other() {
        let suite = example();
        let standing = |at: usize| suite.items[at].standing(Metric::Cpu).unwrap();
        assert_eq!((standing(0).best.as_str(), standing(0).word(), standing(0).is_loss()), ("other", "behind", true));
        assert!((standing(0).ratio - 2.0).abs() < 1e-9);
        assert_eq!((standing(1).best.as_str(), standing(1).word(), standing(1).is_loss()), ("libc", "ahead", false));
        assert_eq!(suite.losses(Metric::Cpu).iter().map(|(item, _)| item.name()).collect::<Vec<_>>(), ["one"]);
        assert_eq!(suite.faults(), [("two", "other", "prints | other output")]);
    }

    #[test]
    fn means_are_of_what_all_came_through() {
        let mut suite = example();
        let ratios =
            |suite: &Suite| suite.means(Metric::Cpu).iter().map(|mean| mean.map(|m| m.ratio)).collect::<Vec<_>>();
        assert_eq!(suite.common().len(), 1);
        assert_eq!(ratios(&suite), [Some(1.0), Some(1.0), Some(0.5)]);
        assert_eq!(suite.below_ours(Metric::Cpu).len(), 1);
        // With the item in which it crashed gone from its account altogether, it takes part in nothing.
        suite.items[0].report.rows[2].fault = Some("not preloaded".into());
        assert_eq!(suite.common().len(), 2);
        assert_eq!(ratios(&suite), [Some(1.0), Some(0.5), None]);
        assert_eq!(suite.below_ours(Metric::Cpu).len(), 0);
    }

    #[test]
    fn few_runs_are_no_loss() {
        let mut suite = example();
        suite.items.iter_mut().flat_map(|item| &mut item.report.rows).for_each(|row| row.samples.truncate(4));
        assert!(!suite.has_verdicts());
        assert_eq!(suite.items[0].standing(Metric::Cpu).unwrap().word(), "too few runs");
        assert!(suite.losses(Metric::Cpu).is_empty());
    }

    #[test]
    fn geometric_means() {
        assert_eq!(geometric(&[]), None);
        assert!((geometric(&[2.0, 0.5, 1.0]).unwrap() - 1.0).abs() < 1e-12);
        assert!((geometric(&[1.0, 4.0]).unwrap() - 2.0).abs() < 1e-12);
    }
}
