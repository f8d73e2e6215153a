//! The ledger's lines: what memory can be, in the order in which it is told, and what there is of each.

/// The lines, in the order in which they are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Line {
    Requested,
    Rounding,
    InUse,
    Headers,
    Mapped,
    Samples,
    Parked,
    ThreadCaches,
    Depots,
    OnTheWay,
    Fast,
    Unsorted,
    Small,
    Large,
    Top,
    Quarantine,
    Damaged,
    Kept,
    HeapEnds,
    Records,
    Files,
    Stacks,
    Other,
}

pub const LINES: [Line; 23] = [
    Line::Requested,
    Line::Rounding,
    Line::InUse,
    Line::Headers,
    Line::Mapped,
    Line::Samples,
    Line::Parked,
    Line::ThreadCaches,
    Line::Depots,
    Line::OnTheWay,
    Line::Fast,
    Line::Unsorted,
    Line::Small,
    Line::Large,
    Line::Top,
    Line::Quarantine,
    Line::Damaged,
    Line::Kept,
    Line::HeapEnds,
    Line::Records,
    Line::Files,
    Line::Stacks,
    Line::Other,
];

impl Line {
    /// For machines.
    pub fn key(self) -> &'static str {
        match self {
            Line::Requested => "requested",
            Line::Rounding => "rounding",
            Line::InUse => "in_use",
            Line::Headers => "headers",
            Line::Mapped => "mapped_chunks",
            Line::Samples => "samples",
            Line::Parked => "parked",
            Line::ThreadCaches => "thread_caches",
            Line::Depots => "depots",
            Line::OnTheWay => "inboxes",
            Line::Fast => "fast_bins",
            Line::Unsorted => "unsorted_bin",
            Line::Small => "small_bins",
            Line::Large => "large_bins",
            Line::Top => "top",
            Line::Quarantine => "quarantine",
            Line::Damaged => "damaged",
            Line::Kept => "kept",
            Line::HeapEnds => "heap_ends",
            Line::Records => "metadata",
            Line::Files => "files",
            Line::Stacks => "stacks",
            Line::Other => "other",
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Line::Requested => "requested",
            Line::Rounding => "rounding",
            Line::InUse => "in use, with rounding",
            Line::Headers => "headers of chunks in use",
            Line::Mapped => "mapped chunks in use",
            Line::Samples => "samples between guards",
            Line::Parked => "freed, not looked at yet",
            Line::ThreadCaches => "thread caches",
            Line::Depots => "depots",
            Line::OnTheWay => "on the way to their arena",
            Line::Fast => "fast bins",
            Line::Unsorted => "unsorted bin",
            Line::Small => "small bins",
            Line::Large => "large bins",
            Line::Top => "top",
            Line::Quarantine => "quarantine",
            Line::Damaged => "damaged, or unclear",
            Line::Kept => "freed mappings and heaps, kept",
            Line::HeapEnds => "ends of heaps",
            Line::Records => "the heap's own records",
            Line::Files => "program and libraries",
            Line::Stacks => "stack of the first thread",
            Line::Other => "other memory of the program",
        }
    }

    /// Is it the heap's?
    pub fn is_ours(self) -> bool {
        !matches!(self, Line::Files | Line::Stacks | Line::Other)
    }

    /// Of chunks in use in heaps: what was asked for, what lies behind it, and what both come to where nobody knows what was asked for.
    pub fn is_in_use(self) -> bool {
        matches!(self, Line::Requested | Line::Rounding | Line::InUse | Line::Headers)
    }

    /// Free, as far as the program is concerned.
    pub fn is_free(self) -> bool {
        use Line::*;
        matches!(
            self,
            Parked | ThreadCaches | Depots | OnTheWay | Fast | Unsorted | Small | Large | Top | Kept | HeapEnds
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    pub chunks: u64,
    /// Of addresses.
    pub bytes: u64,
    /// Of those, in memory.
    pub resident: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, chunks: u64, bytes: u64, resident: u64) {
        for (sum, more) in [(&mut self.chunks, chunks), (&mut self.bytes, bytes), (&mut self.resident, resident)] {
            *sum = sum.saturating_add(more);
        }
    }
}

pub type Sums = [Sum; LINES.len()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_anything_are_numbers() {
        let mut sum = Sum { chunks: 1, bytes: u64::MAX - 1, resident: 7 };
        sum.add(1, 5, u64::MAX);
        assert_eq!(sum, Sum { chunks: 2, bytes: u64::MAX, resident: u64::MAX });
    }
}
