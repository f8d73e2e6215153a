//! What a row of measurements says: its middle, how far it spreads, and whether two of them differ.
//!
//! The **spread** of n values goes from `low` to `high`: all of them without the lowest and the highest tenth, so without any
//! below ten. Machines are disturbed now and then, and a single disturbed run shall not hide a difference.

/// From this many values on, two spreads that don't overlap are called different: with five of the same kind on either side
/// that happens by chance in 2 of 252 cases, with four in 2 of 70.
pub const RUNS_FOR_VERDICT: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub count: usize,
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Of the sample (n - 1), 0 for a single value.
    pub standard_deviation: f64,
    /// The median of the distances from the median.
    pub median_deviation: f64,
}

impl Spread {
    /// None for no values at all.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let sorted = sorted(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len();
        let cut = count / 10;
        let median = middle(&sorted);
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        let distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        Some(Spread {
            count,
            median,
            low: sorted[cut],
            high: sorted[count - 1 - cut],
            min,
            max,
            mean,
            standard_deviation: (squares / (count - 1).max(1) as f64).sqrt(),
            median_deviation: middle(&self::sorted(&distances)),
        })
    }

    pub fn against(&self, reference: &Spread) -> Comparison {
        let verdict = if self.count.min(reference.count) < RUNS_FOR_VERDICT {
            Verdict::TooFewRuns
        } else if self.high < reference.low {
            Verdict::Below
        } else if self.low > reference.high {
            Verdict::Above
        } else {
            Verdict::WithinNoise
        };
        let ratio = (reference.median > 0.0).then(|| self.median / reference.median);
        Comparison { ratio, verdict }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Median to median; None where the reference's is zero.
    pub ratio: Option<f64>,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Below,
    Above,
    WithinNoise,
    TooFewRuns,
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[half - 1], sorted[half]) } else { sorted[half] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], median: f64, low: f64, high: f64, median_deviation: f64) {
        let spread = Spread::of(values).unwrap();
        assert_eq!((spread.median, spread.low, spread.high), (median, low, high), "{spread:?}");
        assert_eq!(spread.median_deviation, median_deviation, "{spread:?}");
    }

    #[test]
    fn middles_and_spreads() {
        assert_eq!(Spread::of(&[]), None);
        check(&[3.0], 3.0, 3.0, 3.0, 0.0);
        check(&[4.0, 1.0], 2.5, 1.0, 4.0, 1.5);
        check(&[5.0, 1.0, 9.0], 5.0, 1.0, 9.0, 4.0);
        // Nine values keep their extremes, ten lose one at either end.
        check(&[9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 100.0], 6.0, 2.0, 100.0, 2.0);
        check(&[0.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 100.0], 5.5, 2.0, 9.0, 2.5);
    }

    #[test]
    fn means_and_deviations() {
        let spread = Spread::of(&[2.0, 4.0, 4.0, 6.0]).unwrap();
        assert_eq!((spread.mean, spread.min, spread.max, spread.count), (4.0, 2.0, 6.0, 4));
        assert!((spread.standard_deviation - (8.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(&[7.0]).unwrap().standard_deviation, 0.0);
    }

    #[track_caller]
    fn compared(ours: &[f64], reference: &[f64], ratio: Option<f64>, verdict: Verdict) {
        let found = Spread::of(ours).unwrap().against(&Spread::of(reference).unwrap());
        assert_eq!(found, Comparison { ratio, verdict }, "{ours:?} against {reference:?}");
    }

    #[test]
    fn a_verdict_needs_spreads_that_do_not_overlap() {
        let reference = [10.0, 11.0, 12.0, 13.0, 14.0];
        compared(&[5.0, 6.0, 6.0, 7.0, 9.9], &reference, Some(0.5), Verdict::Below);
        compared(&[5.0, 6.0, 6.0, 7.0, 10.0], &reference, Some(0.5), Verdict::WithinNoise);
        compared(&[14.1, 24.0, 24.0, 24.0, 24.0], &reference, Some(2.0), Verdict::Above);
        compared(&[14.0, 24.0, 24.0, 24.0, 24.0], &reference, Some(2.0), Verdict::WithinNoise);
        compared(&reference, &reference, Some(1.0), Verdict::WithinNoise);
        compared(&[1.0; 5], &[1.0; 5], Some(1.0), Verdict::WithinNoise);
        compared(&[1.0; 5], &[0.0; 5], None, Verdict::Above);
    }

    #[test]
    fn few_runs_give_no_verdict() {
        compared(&[1.0; 4], &[2.0; 5], Some(0.5), Verdict::TooFewRuns);
        compared(&[1.0; 5], &[2.0; 4], Some(0.5), Verdict::TooFewRuns);
        compared(&[1.0; 5], &[2.0; 5], Some(0.5), Verdict::Below);
    }

    #[test]
    fn one_disturbed_run_in_ten_hides_nothing() {
        let mut disturbed = [1.0; 10];
        disturbed[3] = 50.0;
        compared(&disturbed, &[2.0; 10], Some(0.5), Verdict::Below);
        disturbed[4] = 50.0;
        compared(&disturbed, &[2.0; 10], Some(0.5), Verdict::WithinNoise);
    }
}
