//! Maps of numbers that nobody chooses to do us harm with: a product instead of the standard library's keyed hash.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Product>>;

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Default)]
pub struct Product(u64);

impl Hasher for Product {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.write_u64(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        for byte in words.remainder() {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    /// The map takes its places from the low bits, which a product leaves poor.
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// A sum over bytes that tells a block that was written whole from one that wasn't.
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = Product(bytes.len() as u64);
    sum.write(bytes);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_changes_the_sum() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = checksum(&bytes);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert_ne!(checksum(&other), whole, "{at}");
        }
        assert_ne!(checksum(&bytes[..99]), whole);
    }
}
