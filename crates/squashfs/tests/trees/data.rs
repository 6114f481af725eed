//! File data out of nothing, the same on every machine.

use std::io;

use flashwright_tree::ReadAt;

/// Numbers that look like chance. The multiplier and increment are Knuth's, for MMIX.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).unwrap()
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}

/// Bytes that no compressor makes smaller.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    (0..len.div_ceil(4)).flat_map(|_| numbers.next().to_le_bytes()).take(len).collect()
}

/// Bytes that every compressor makes smaller.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "flash",
        "block",
        "inode",
        "the",
        "of",
        "kernel",
        "a",
        "mount",
        "image",
        "directory\n",
        "page",
        "is",
    ];
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        bytes.extend_from_slice(WORDS[numbers.below(WORDS.len())].as_bytes());
        bytes.push(b' ');
    }
    bytes.truncate(len);
    bytes
}

/// Endless noise.
#[derive(Debug)]
pub(super) struct Noise(pub(super) u64);

impl ReadAt for Noise {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (position, byte) in (offset..).zip(buffer) {
            let value = (position ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = value.to_be_bytes()[0];
        }
        Ok(())
    }
}
