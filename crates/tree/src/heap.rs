//! Records of any length, named by a number of 32 bits.

use std::borrow::Cow;
use std::path::Path;

use crate::TreeError;
use crate::spill::Spill;

/// What a heap keeps in memory when it may use a file, bytes: a million and a half nodes with short names.
const LIMIT: u64 = 64 << 20;
/// Records begin at multiples of this, bytes: so 2^32 places are 16 GiB.
const ALIGNMENT: u64 = 4;
/// Length byte of a record that is longer than a byte says: the length follows.
const LONG: u8 = u8::MAX;
/// Bytes that are read at once, as most records are shorter.
const READ: u64 = 192;

/// Place of a record. 0 is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position(pub(crate) u32);

impl Position {
    pub(crate) const NONE: Position = Position(0);

    fn start(self) -> u64 {
        u64::from(self.0) * ALIGNMENT
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Heap(Spill);

impl Heap {
    /// A heap that uses a file in `directory` when it gets large.
    pub(crate) fn spilling(directory: &Path) -> Self {
        Heap(Spill::new(directory, LIMIT))
    }

    /// Adds a record.
    pub(crate) fn add(&mut self, record: &[u8]) -> Result<Position, TreeError> {
        let start = self.0.len().next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        let position = u32::try_from(start / ALIGNMENT).map_err(|_| TreeError::TooManyNodes)?;
        let mut bytes = Vec::with_capacity(record.len() + 5);
        match u8::try_from(record.len()) {
            Ok(len) if len != LONG => bytes.push(len),
            _ => {
                bytes.push(LONG);
                let len = u32::try_from(record.len()).map_err(|_| TreeError::TooManyNodes)?;
                bytes.extend_from_slice(&len.to_le_bytes());
            }
        }
        bytes.extend_from_slice(record);
        self.0.write(start, &bytes)?;
        Ok(Position(position))
    }

    /// The record of that place.
    pub(crate) fn get(&self, position: Position) -> Cow<'_, [u8]> {
        let start = position.start();
        // At most `READ`.
        let read = usize::try_from((self.0.len() - start).min(READ)).unwrap_or(0);
        let bytes = self.0.read(start, read);
        let (head, len) = length(&bytes);
        if head + len > bytes.len() {
            return self.0.read(start + head as u64, len);
        }
        match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[head..head + len]),
            Cow::Owned(bytes) => Cow::Owned(bytes[head..head + len].to_vec()),
        }
    }

    /// Writes over bytes of a record, from its byte `at` on.
    pub(crate) fn patch(&mut self, position: Position, at: usize, bytes: &[u8]) -> Result<(), TreeError> {
        let start = position.start();
        let head = if self.0.read(start, 1)[0] == LONG { 5 } else { 1 };
        self.0.write(start + head + at as u64, bytes)
    }
}

/// Bytes before the record, and its own.
fn length(bytes: &[u8]) -> (usize, usize) {
    match bytes {
        [LONG, a, b, c, d, ..] => (5, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [len, ..] => (1, usize::from(*len)),
        [] => (0, 0),
    }
}

/// Appends a number, 7 bits a byte, the lowest first.
pub(crate) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        // Masked to 7 bits.
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// Appends a number that may be negative.
pub(crate) fn put_signed(number: i64, out: &mut Vec<u8>) {
    put_number((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(), out);
}

/// Appends bytes with their length.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above have written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    /// A number that was one of 32 bits.
    pub(crate) fn number32(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    pub(crate) fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn fixed(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap_or_default())
    }

    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.number()).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_length_come_back() {
        let mut heap = Heap::default();
        let records: Vec<Vec<u8>> = [0, 1, 3, 190, 191, 192, 254, 255, 256, 70_000]
            .map(|len: usize| vec![u8::try_from(len % 251).unwrap(); len])
            .into();
        let positions: Vec<_> = records.iter().map(|record| heap.add(record).unwrap()).collect();
        assert!(positions.iter().all(|&position| position != Position::NONE));
        for (record, &position) in records.iter().zip(&positions) {
            assert_eq!(*heap.get(position), record[..]);
        }
        heap.patch(positions[2], 1, b"x").unwrap();
        heap.patch(positions[9], 69_999, b"y").unwrap();
        assert_eq!(*heap.get(positions[2]), [3, b'x', 3]);
        assert_eq!(heap.get(positions[9]).last(), Some(&b'y'));
    }

    #[test]
    fn numbers_come_back() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX];
        let signed = [0, 1, -1, 63, -64, i64::MAX, i64::MIN];
        numbers.iter().for_each(|&number| put_number(number, &mut out));
        signed.iter().for_each(|&number| put_signed(number, &mut out));
        put_bytes(b"abc", &mut out);
        let mut cursor = Cursor(&out);
        assert_eq!(numbers.map(|_| cursor.number()), numbers);
        assert_eq!(signed.map(|_| cursor.signed()), signed);
        assert_eq!((cursor.bytes(), cursor.byte()), (&b"abc"[..], 0));
    }
}
