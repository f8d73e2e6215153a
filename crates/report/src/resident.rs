//! How much of a range is resident, asked in rising order.

use heapglass_inspect::Range;

pub struct Resident<'a> {
    runs: &'a [Range],
    next: usize,
}

impl<'a> Resident<'a> {
    /// Runs by address, without overlap.
    pub fn new(runs: &'a [Range]) -> Resident<'a> {
        Resident { runs, next: 0 }
    }

    /// Resident bytes of a range that begins no lower than the last one did.
    pub fn bytes(&mut self, range: Range) -> u64 {
        while self.runs.get(self.next).is_some_and(|run| run.end <= range.start) {
            self.next += 1;
        }
        let rest = self.runs.get(self.next..).unwrap_or_default();
        rest.iter().take_while(|run| run.start < range.end).map(|run| run.meets(range).bytes()).sum()
    }
}

/// As `bytes`, for who asks of one place after another near it: `near` is the run that the last answer came from.
#[inline]
pub fn bytes_near(runs: &[Range], range: Range, near: &mut usize) -> u64 {
    match runs.get(*near) {
        Some(run) if run.start <= range.start && range.end <= run.end => range.bytes(),
        _ => {
            *near = runs.partition_point(|run| run.end <= range.start);
            Resident::new(runs.get(*near..).unwrap_or_default()).bytes(range)
        }
    }
}

/// Resident bytes of a range, wherever it lies.
pub fn bytes(runs: &[Range], range: Range) -> u64 {
    let first = runs.partition_point(|run| run.end <= range.start);
    Resident::new(runs.get(first..).unwrap_or_default()).bytes(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_runs_are_counted() {
        let runs = [Range::new(0x1000, 0x3000), Range::new(0x5000, 0x6000)];
        let mut resident = Resident::new(&runs);
        for (start, end, expect) in [
            (0, 0x1000, 0),
            (0x800, 0x1800, 0x800),
            (0x1800, 0x1900, 0x100),
            (0x2800, 0x5800, 0x1000),
            (0x5800, 0x9000, 0x800),
        ] {
            assert_eq!(resident.bytes(Range::new(start, end)), expect, "{start:#x}");
            assert_eq!(bytes(&runs, Range::new(start, end)), expect, "{start:#x}");
            for mut near in 0..3 {
                assert_eq!(bytes_near(&runs, Range::new(start, end), &mut near), expect, "{start:#x}");
                assert_eq!(bytes_near(&runs, Range::new(start, end), &mut near), expect, "{start:#x}");
            }
        }
    }
}
