//! A fuzzer's bytes, read as choices. Where they end, everything is 0 and `is_over` says so.

pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(bytes)
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One of many.
    pub fn long(&mut self) -> usize {
        usize::from(self.word()) | usize::from(self.byte()) << 16
    }

    /// One of so many.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// A request: small ones by the byte, others in steps, up to a mebibyte.
    pub fn request(&mut self) -> usize {
        let word = usize::from(self.word());
        match word >> 14 {
            0 | 1 => word & 0x7ff,
            2 => (word & 0x3fff) * 4 + (word & 1),
            _ => (word & 0x3fff) * 64 + (word & 31),
        }
    }
}
