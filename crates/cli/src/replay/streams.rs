//! The file of a plan, as it is written: many streams side by side, each in blocks that lead to the next.

use super::plan::{BLOCK_BYTES, BLOCK_HEAD_BYTES, HEAD_BYTES, MAGIC};
use heapglass_capture::bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that an operation takes at most: its own and four numbers.
const OPERATION_MAX: usize = 1 + 4 * 10;

pub struct Streams {
    file: File,
    end: u64,
    streams: Vec<Stream>,
    /// Buffers of streams that were closed.
    spare: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Stream {
    /// Where its first block lies, and where the place of its next is to be written.
    first: u64,
    link: u64,
    open: Vec<u8>,
}

impl Streams {
    pub fn new(file: File) -> Streams {
        Streams { file, end: HEAD_BYTES as u64, streams: Vec::new(), spare: Vec::new() }
    }

    /// One more, by the next number.
    pub fn open(&mut self) {
        let open = self.spare.pop().unwrap_or_default();
        self.streams.push(Stream { open, ..Stream::default() });
    }

    /// Appends an operation, and writes the block if it may be full with the next one.
    pub fn put(&mut self, number: u32, code: u8, numbers: &[u64]) -> io::Result<()> {
        let open = &mut self.streams[number as usize].open;
        open.push(code);
        numbers.iter().for_each(|&number| bytes::put(open, number));
        let is_full = open.len() + BLOCK_HEAD_BYTES + OPERATION_MAX > BLOCK_BYTES;
        if is_full { self.write(number) } else { Ok(()) }
    }

    fn write(&mut self, number: u32) -> io::Result<()> {
        let stream = &mut self.streams[number as usize];
        if stream.open.is_empty() {
            return Ok(());
        }
        let place = self.end;
        let mut block = Vec::with_capacity(BLOCK_HEAD_BYTES + stream.open.len());
        block.extend_from_slice(&0u64.to_le_bytes());
        block.extend_from_slice(&(stream.open.len() as u64).to_le_bytes());
        block.extend_from_slice(&stream.open);
        self.file.write_all_at(&block, place)?;
        match stream.first {
            0 => stream.first = place,
            _ => self.file.write_all_at(&place.to_le_bytes(), stream.link)?,
        }
        stream.link = place;
        stream.open.clear();
        self.end += block.len() as u64;
        Ok(())
    }

    /// Nothing more will come of this one.
    pub fn close(&mut self, number: u32) -> io::Result<()> {
        self.write(number)?;
        self.spare.push(std::mem::take(&mut self.streams[number as usize].open));
        Ok(())
    }

    pub fn finish(self, slots: u64, seats: u64) -> io::Result<File> {
        let directory: Vec<u8> = self.streams.iter().flat_map(|stream| stream.first.to_le_bytes()).collect();
        self.file.write_all_at(&directory, self.end)?;
        let mut head = Vec::new();
        for word in [MAGIC, slots, seats.max(1), self.end] {
            head.extend_from_slice(&word.to_le_bytes());
        }
        self.file.write_all_at(&head, 0)?;
        Ok(self.file)
    }
}
