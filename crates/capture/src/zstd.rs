//! Pieces of a block, compressed each for itself: the length, the length packed, and a frame of zstd.

use crate::Error;
use crate::bytes::{Cursor, put};
use ruzstd::decoding::FrameDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The longest piece that a reader makes room for.
const BYTES_MAX: u64 = 64 << 20;

pub fn pack(piece: &[u8], to: &mut Vec<u8>) {
    put(to, piece.len() as u64);
    if piece.is_empty() {
        return;
    }
    let packed = compress_to_vec(piece, CompressionLevel::Fastest);
    put(to, packed.len() as u64);
    to.extend_from_slice(&packed);
}

/// Takes a piece, and puts what it was into `to`.
pub fn unpack(from: &mut Cursor, to: &mut Vec<u8>) -> Result<(), Error> {
    to.clear();
    let length = from.number()?;
    if length == 0 {
        return Ok(());
    }
    let packed = from.count()?;
    let packed = from.take(packed)?;
    // A frame can't say more than so much with each of its bytes.
    if length > BYTES_MAX || length > (packed.len() as u64).saturating_mul(1 << 17) {
        return Err(Error::DAMAGED);
    }
    to.resize(length as usize, 0);
    match FrameDecoder::new().decode_all(packed, to) {
        Ok(written) if written == to.len() => Ok(()),
        _ => Err(Error::DAMAGED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_and_anything_else_is_refused() {
        let pieces = [Vec::new(), vec![7; 100_000], (0..70_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()];
        let mut bytes = Vec::new();
        pieces.iter().for_each(|piece| pack(piece, &mut bytes));
        let (mut cursor, mut back) = (Cursor(&bytes), Vec::new());
        for piece in &pieces {
            unpack(&mut cursor, &mut back).unwrap();
            assert_eq!(&back, piece);
        }
        assert!(cursor.is_empty());
        let mut rest = Cursor(&bytes[1..bytes.len() - 1]);
        unpack(&mut rest, &mut back).unwrap();
        assert!(unpack(&mut rest, &mut back).is_err(), "it was cut off");
        assert!(unpack(&mut Cursor(&[0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0]), &mut back).is_err());
    }
}
