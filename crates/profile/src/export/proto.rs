//! Protocol buffers, as much of them as is written here: numbers and pieces of bytes, each behind the number of its field.

#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A number; 0 is what a missing field means anyway.
    pub fn number(&mut self, field: u32, value: u64) -> &mut Message {
        if value != 0 {
            varint(&mut self.0, u64::from(field) << 3);
            varint(&mut self.0, value);
        }
        self
    }

    pub fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Message {
        varint(&mut self.0, u64::from(field) << 3 | 2);
        varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn message(&mut self, field: u32, build: impl FnOnce(&mut Message)) -> &mut Message {
        let mut inner = Message::default();
        build(&mut inner);
        self.bytes(field, &inner.0)
    }

    /// Numbers, packed.
    pub fn numbers(&mut self, field: u32, values: impl IntoIterator<Item = u64>) -> &mut Message {
        let mut packed = Vec::new();
        values.into_iter().for_each(|value| varint(&mut packed, value));
        self.bytes(field, &packed)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// An estimate as a whole number, which may be below zero: as such, in two's complement.
pub fn whole(value: f64) -> u64 {
    value.round() as i64 as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_documentation_has_them() {
        let mut message = Message::default();
        message
            .number(1, 150)
            .bytes(2, b"testing")
            .message(3, |inner| {
                inner.number(1, 150);
            })
            .numbers(4, [3, 270, 86942]);
        let right = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x22\x06\x03\x8e\x02\x9e\xa7\x05";
        assert_eq!(message.into_bytes(), right);
        assert_eq!((whole(2.5), whole(-1.0)), (3, u64::MAX));
    }
}
