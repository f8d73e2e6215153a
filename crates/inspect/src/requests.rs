//! What the program asked for, as the heap noted it class by class: an estimate for chunks of which nobody knows the request.

use crate::find::{Layout, Target, at};
use crate::memory::{bytes, u32_in};
use crate::trouble::{Result, Trouble};

/// More than there can be.
const CLASSES_MAX: u64 = 1 << 12;
const CLASS_MAX: u64 = 1 << 8;

/// One class of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Class {
    /// Bytes that its chunks have beyond their requests, on the average.
    pub mean: f64,
    /// Calls that were noted; where it is 0, nothing is known.
    pub calls: u64,
    /// Chunks that no arena has: in use, in caches, in depots.
    pub chunks: i64,
}

/// All classes, with the rule that finds a chunk's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    classes: Vec<Class>,
    exact_max: u64,
    cached_max: u64,
    steps: u64,
}

impl Requests {
    pub fn read(target: &Target) -> Result<Requests> {
        let (memory, layout) = (&*target.memory, &target.layout);
        let (count, length) = (at!(layout, requests.count), at!(layout, requests.bytes));
        if count > CLASSES_MAX || length > CLASS_MAX {
            return Err(Trouble::Records(format!("{count} classes of requests, of {length} bytes each")));
        }
        let all = bytes(memory, at!(layout, requests.all), count * length)?;
        Ok(Requests {
            classes: all.chunks_exact(length.max(1) as usize).map(|record| class(layout, record)).collect(),
            exact_max: at!(layout, requests.exact_max),
            cached_max: at!(layout, requests.cached_max),
            steps: at!(layout, requests.steps),
        })
    }

    /// As the heap would say it.
    pub fn of(classes: Vec<Class>, exact_max: u64, cached_max: u64, steps: u64) -> Requests {
        Requests { classes, exact_max, cached_max, steps }
    }

    /// The most that a chunk of this size can have beyond the request that it was made for: a class serves requests down to the end of the
    /// class below, the smallest chunks those of 0 bytes, and a rest too short for a chunk of its own stays with its neighbour.
    pub fn most_rounding(&self, size: u64) -> u64 {
        let user = size.saturating_sub(UNIT / 2);
        match size {
            _ if size <= 2 * UNIT => user,
            _ if size <= self.exact_max || size > self.cached_max => (2 * UNIT - 1).min(user),
            // A class's chunks are up to a step longer than its shortest, and so may be the requests that it serves.
            _ => (2 * size / self.steps + 2 * UNIT).min(user),
        }
    }

    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The number of the class that chunks of this size are in.
    pub fn class_of(&self, size: u64) -> usize {
        let last = self.classes.len().saturating_sub(1);
        let exact = self.exact_max / UNIT;
        let class = if size > self.cached_max {
            return last;
        } else if size <= self.exact_max {
            size / UNIT
        } else {
            let doubling = u64::from(size.ilog2()) - u64::from(self.exact_max.ilog2());
            let step = (size >> (size.ilog2() - self.steps.ilog2())) & (self.steps - 1);
            exact + 1 + doubling * self.steps + step
        };
        (class as usize).min(last)
    }
}

const UNIT: u64 = 16;

fn class(layout: &Layout, record: &[u8]) -> Class {
    let word = |offset: u64| u32_in(record, offset as usize);
    let scale = f64::from(2u32.pow(at!(layout, requests.fraction) as u32));
    Class {
        mean: f64::from(word(at!(layout, requests.mean))) / scale,
        calls: u64::from(word(at!(layout, requests.calls))),
        chunks: i64::from(word(at!(layout, requests.chunks)).cast_signed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_allocators() {
        let requests = Requests::of(vec![Class::default(); 115], 1024, 65_536, 8);
        for (size, class) in [(32, 2), (112, 7), (1024, 64), (1040, 65), (1136, 65), (1152, 66), (2032, 72)] {
            assert_eq!(requests.class_of(size), class, "{size}");
        }
        assert_eq!((requests.class_of(65_536), requests.class_of(65_552)), (113, 114));
    }
}
