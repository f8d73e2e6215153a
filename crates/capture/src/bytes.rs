//! Numbers as bytes: seven bits in each, the low ones first, and the sign in the lowest bit where there is one.

use crate::Error;

pub fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

pub fn put_signed(to: &mut Vec<u8>, number: i64) {
    put(to, (number << 1 ^ number >> 63).cast_unsigned());
}

/// Bytes that are taken from the front; none of them is believed to be there.
#[derive(Clone, Copy, Default)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or(Error::DAMAGED)?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::DAMAGED)
    }

    pub fn signed(&mut self) -> Result<i64, Error> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of things of which each takes a byte at least: it can't be more than what is left.
    pub fn count(&mut self) -> Result<usize, Error> {
        let count = self.number()?;
        if count > self.0.len() as u64 { Err(Error::DAMAGED) } else { Ok(count as usize) }
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn word(&mut self) -> Result<u64, Error> {
        let word = self.take(8)?.try_into().map_err(|_| Error::DAMAGED)?;
        Ok(u64::from_le_bytes(word))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let mut bytes = Vec::new();
        let numbers = [0, 1, 0x7f, 0x80, 300, u64::from(u32::MAX), u64::MAX];
        numbers.iter().for_each(|&number| put(&mut bytes, number));
        let signed = [0, -1, 1, 63, -64, i64::MAX, i64::MIN];
        signed.iter().for_each(|&number| put_signed(&mut bytes, number));
        let mut cursor = Cursor(&bytes);
        assert!(numbers.iter().all(|&number| cursor.number().unwrap() == number));
        assert!(signed.iter().all(|&number| cursor.signed().unwrap() == number));
        assert!(cursor.is_empty() && cursor.number().is_err());
    }

    #[test]
    fn a_number_without_an_end_is_refused() {
        assert!(Cursor(&[0xff; 20]).number().is_err());
        assert!(Cursor(&[0x80]).number().is_err());
        assert!(Cursor(&[9, 0]).count().is_err());
    }
}
