//! How much of the chunks in use was asked for. It is known of chunks with a canary, of those whose call was recorded, of mapped ones
//! and of samples; of all others the heap has means by class, made from some of their calls. Where it has none either, requested and
//! rounding stay one line.

use crate::lines::{Line, Sum, Sums};
use heapglass_inspect::requests::{self, Requests as Means};

/// Chunks, and what of their bytes was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Part {
    pub chunks: u64,
    pub requested: u64,
    pub rounding: u64,
}

impl Part {
    pub(crate) fn add(&mut self, chunks: u64, requested: u64, rounding: u64) {
        self.chunks += chunks;
        self.requested += requested;
        self.rounding += rounding;
    }
}

/// All that is known of requests. Headers of chunks in heaps aren't counted here.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Requests {
    /// Of chunks in heaps, each by itself.
    pub exact: Part,
    /// By their class's mean.
    pub estimated: Part,
    /// Of whose class no call was noted. Their rounding is the most that it can be, and none of it is told apart.
    pub unseen: Part,
    /// Mapped chunks in use and samples, each by itself, with their headers and whole pages as rounding.
    pub mapped: Part,
    pub samples: Part,
    /// By class, those in use of which only the class is known.
    pub classes: Vec<Class>,
    means: Means,
}

/// One class's chunks of which nobody knows the request.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Class {
    /// The shortest and the longest of them.
    pub least: u64,
    pub most: u64,
    /// Without headers.
    pub sum: Sum,
    pub rounding: u64,
    /// What the heap says: the mean rounding of a chunk, and the calls that it is from.
    pub mean: f64,
    pub calls: u64,
}

impl Class {
    fn join(&mut self, size: (u64, u64), sum: Sum) {
        self.least = if self.sum.chunks == 0 { size.0 } else { self.least.min(size.0) };
        self.most = self.most.max(size.1);
        self.sum.add(sum.chunks, sum.bytes, sum.resident);
    }
}

/// What is found in an arena, by class.
pub(crate) struct Unknown(Vec<Class>);

impl Requests {
    pub(crate) fn new(means: Means) -> Requests {
        let class = |class: &requests::Class| Class { mean: class.mean, calls: class.calls, ..Class::default() };
        Requests { classes: means.classes().iter().map(class).collect(), means, ..Requests::default() }
    }

    /// Is any of what the ledger calls requested an estimate?
    pub fn are_estimated(&self) -> bool {
        self.estimated.chunks > 0
    }

    /// Calls that the estimate is from.
    pub fn calls(&self) -> u64 {
        self.classes.iter().filter(|class| class.sum.chunks > 0).map(|class| class.calls).sum()
    }

    pub(crate) fn unknown(&self) -> Unknown {
        Unknown(vec![Class::default(); self.classes.len()])
    }

    /// A chunk whose request isn't known, its bytes without the header.
    pub(crate) fn see(&self, unknown: &mut Unknown, size: u64, resident: u64) {
        if let Some(class) = unknown.0.get_mut(self.means.class_of(size)) {
            class.join((size, size), Sum { chunks: 1, bytes: size.saturating_sub(8), resident });
        }
    }

    /// Puts an arena's chunks of unknown request into its lines.
    pub(crate) fn split(&mut self, unknown: &Unknown, exact: Part, sums: &mut Sums) {
        self.exact.add(exact.chunks, exact.requested, exact.rounding);
        for (class, found) in self.classes.iter_mut().zip(&unknown.0) {
            let Sum { chunks, bytes, resident } = found.sum;
            if chunks == 0 {
                continue;
            }
            class.join((found.least, found.most), found.sum);
            if class.calls == 0 {
                let most = (chunks * self.means.most_rounding(found.most)).min(bytes);
                self.unseen.add(chunks, bytes - most, most);
                sums[Line::InUse as usize].add(chunks, bytes, resident);
                continue;
            }
            let rounding = ((class.mean * chunks as f64).round() as u64).min(bytes);
            // What isn't resident is as likely the one as the other.
            let there = (u128::from(resident) * u128::from(rounding) / u128::from(bytes.max(1))) as u64;
            class.rounding += rounding;
            self.estimated.add(chunks, bytes - rounding, rounding);
            sums[Line::Requested as usize].add(chunks, bytes - rounding, resident - there);
            sums[Line::Rounding as usize].add(0, rounding, there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_adds_up_and_what_was_never_seen_stays_whole() {
        let mut classes = vec![requests::Class::default(); 115];
        (classes[4].mean, classes[4].calls) = (2.5, 3);
        let mut requests = Requests::new(Means::of(classes, 1024, 65_536, 8));
        let (mut unknown, mut sums) = (requests.unknown(), Sums::default());
        for (size, resident) in [(64, 30), (64, 56), (80, 0), (80, 72), (80, 10)] {
            requests.see(&mut unknown, size, resident);
        }
        let exact = Part { chunks: 2, requested: 5, rounding: 1 };
        requests.split(&unknown, exact, &mut sums);
        let told = |line: Line| (sums[line as usize].chunks, sums[line as usize].bytes, sums[line as usize].resident);
        assert_eq!((told(Line::Requested), told(Line::Rounding)), ((2, 107, 83), (0, 5, 3)));
        assert_eq!(told(Line::InUse), (3, 216, 82));
        assert_eq!((requests.exact, requests.calls()), (exact, 3));
        assert_eq!(requests.estimated, Part { chunks: 2, requested: 107, rounding: 5 });
        assert_eq!(requests.unseen, Part { chunks: 3, requested: 123, rounding: 93 });
        assert_eq!((requests.classes[5].least, requests.classes[5].most), (80, 80));
    }
}
