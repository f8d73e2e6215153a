//! Chunks by size class. Classes are those of the allocator's caches: every 16 bytes up to 1,024, then eight to each doubling, here on
//! beyond the longest that a cache takes.

use crate::lines::Sum;

const UNIT: u64 = 16;
const EXACT_MAX: u64 = 1024;
const EXACT: usize = (EXACT_MAX / UNIT) as usize + 1;
const STEPS: u64 = 8;
/// Longer chunks than any there can be are in the last class.
const DOUBLINGS: usize = 38;

pub const CLASSES: usize = EXACT + DOUBLINGS * STEPS as usize;

/// The class of a chunk of this size.
pub fn class_of(size: u64) -> usize {
    if size <= EXACT_MAX {
        return (size / UNIT) as usize;
    }
    let doubling = size.ilog2();
    let step = (size >> (doubling - STEPS.ilog2())) & (STEPS - 1);
    (EXACT + (doubling - EXACT_MAX.ilog2()) as usize * STEPS as usize + step as usize).min(CLASSES - 1)
}

/// The smallest chunk of a class.
pub fn least_of(class: usize) -> u64 {
    match class.checked_sub(EXACT) {
        None => class as u64 * UNIT,
        // Those of 1,024 bytes have a class of their own.
        Some(0) => EXACT_MAX + UNIT,
        Some(above) => {
            let (doubling, step) = (above / STEPS as usize, above as u64 % STEPS);
            (EXACT_MAX << doubling) + step * ((EXACT_MAX / STEPS) << doubling)
        }
    }
}

/// What there is of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(Vec<Sum>);

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes(vec![Sum::default(); CLASSES])
    }
}

impl Sizes {
    pub fn add(&mut self, size: u64, resident: u64) {
        if let Some(row) = self.0.get_mut(class_of(size)) {
            row.add(1, size, resident);
        }
    }

    pub fn join(&mut self, other: &Sizes) {
        for (row, more) in self.0.iter_mut().zip(&other.0) {
            row.add(more.chunks, more.bytes, more.resident);
        }
    }

    /// The smallest chunk of each class of which there is one, and what there is of it.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &Sum)> {
        self.0.iter().enumerate().filter(|(_, row)| row.chunks > 0).map(|(class, row)| (least_of(class), row))
    }

    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|row| row.bytes).sum()
    }

    pub fn chunks(&self) -> u64 {
        self.0.iter().map(|row| row.chunks).sum()
    }

    /// Bytes of chunks that are shorter than this, which is the least of a class.
    pub fn bytes_below(&self, size: u64) -> u64 {
        self.0.iter().take(class_of(size)).map(|row| row.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_in_the_class_that_begins_at_or_below_it() {
        for (size, least) in
            [(32, 32), (48, 48), (1024, 1024), (1040, 1040), (1136, 1040), (1152, 1152), (65_536, 65_536)]
        {
            assert_eq!(least_of(class_of(size)), least, "{size}");
        }
        for size in (32..300_000).step_by(16) {
            let class = class_of(size);
            assert!(least_of(class) <= size && size < least_of(class + 1), "{size}");
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn what_is_shorter_is_all_that_lies_before_a_power_of_two() {
        let mut sizes = Sizes::default();
        for size in [32, 1024, 1040, 2032, 2048, 1 << 20] {
            sizes.add(size, 0);
        }
        assert_eq!(sizes.bytes_below(1024), 32);
        assert_eq!(sizes.bytes_below(2048), 32 + 1024 + 1040 + 2032);
        assert_eq!(sizes.bytes_below(1 << 20), 32 + 1024 + 1040 + 2032 + 2048);
        assert_eq!((sizes.chunks(), sizes.rows().count()), (6, 6));
    }
}
