//! How often, and who goes first: rounds in which every allocator runs once, each round beginning with another one, so that
//! a machine that grows warm or busy with time does so under all of them.

/// Without a word on it, as many rounds as fit in this time for the average allocator, as in hyperfine.
const SECONDS_MIN: f64 = 3.0;
const RUNS_MIN: usize = 10;

/// How many runs were asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    pub exactly: Option<usize>,
    pub min: Option<usize>,
    pub max: Option<usize>,
}

impl Runs {
    /// By how long the first round's runs took on average. The time is infinite for a mean of zero, hence the limit.
    pub fn count(&self, mean_seconds: f64) -> usize {
        if let Some(exactly) = self.exactly {
            return exactly;
        }
        let limit = self.max.unwrap_or(1_000_000);
        // With a smallest number above the default's, or a largest below it, the one that was given counts.
        let least = self.min.unwrap_or(RUNS_MIN).min(limit);
        let fitting = (SECONDS_MIN / mean_seconds).min(limit as f64) as usize;
        fitting.clamp(least, limit)
    }
}

/// The order of a round, warm-up rounds counted too, of those that still take part.
pub fn order(round: usize, mut taking_part: Vec<usize>) -> Vec<usize> {
    let places = taking_part.len().max(1);
    taking_part.rotate_left(round % places);
    taking_part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_one() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(round, vec![0, 2, 3])).collect();
        assert_eq!(rounds, [[0, 2, 3], [2, 3, 0], [3, 0, 2], [0, 2, 3]]);
        assert_eq!(order(7, vec![]), []);
    }

    #[track_caller]
    fn check(runs: (Option<usize>, Option<usize>, Option<usize>), mean_seconds: f64, expect: usize) {
        let (exactly, min, max) = runs;
        assert_eq!(Runs { exactly, min, max }.count(mean_seconds), expect);
    }

    #[test]
    fn runs_fill_three_seconds_between_their_limits() {
        check((None, None, None), 0.1, 30);
        check((None, None, None), 60.0, 10);
        check((None, None, None), 0.0, 1_000_000);
        check((None, Some(2), None), 60.0, 2);
        check((None, Some(50), None), 0.1, 50);
        check((None, None, Some(4)), 0.1, 4);
        check((None, Some(2), Some(4)), 1.0, 3);
        check((Some(1), None, None), 0.1, 1);
    }
}
