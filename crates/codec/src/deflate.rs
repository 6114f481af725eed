//! Raw deflate streams (RFC 1951) with a window of 2 KiB by zlib-rs, unpacked by libdeflate: what UBIFS calls zlib.
//!
//! The kernel opens its decompressor with a window of 11 bits, and hardware that takes over from it keeps to that.
//! libdeflate packs better but always uses the whole 32 KiB.

use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::{CodecError, Compressor, Decompressor, append};

const NAME: &str = "deflate";
/// log2 of the window, bytes. Kernel: `DEFLATE_DEF_WINBITS`.
pub const WINDOW_BITS: u8 = 11;

/// Compression level, 1 (fast) to 9 (small). Changing a level or the library changes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// A level from 1 to 9.
    ///
    /// # Errors
    /// [`CodecError::Setting`] outside that range.
    pub fn new(level: u8) -> Result<Self, CodecError> {
        if (1..=9).contains(&level) {
            return Ok(Level(level));
        }
        Err(CodecError::Setting { codec: NAME, setting: "level", value: level.into(), range: "1 to 9" })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A compressor with that level.
#[must_use]
pub fn compressor(level: Level) -> Box<dyn Compressor> {
    Box::new(RawDeflate(Deflate::new(level.0.into(), false, WINDOW_BITS)))
}

/// A decompressor. It takes any window.
#[must_use]
pub fn decompressor() -> Box<dyn Decompressor> {
    Box::new(RawInflate(libdeflater::Decompressor::new()))
}

struct RawDeflate(Deflate);

impl Compressor for RawDeflate {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        // Always room for the worst case: a stream that the library has to give up leaves bytes behind, which it does not
        // forget when it is reset (zlib-rs 0.6.8).
        let (start, room) = (output.len(), input.len() + input.len() / 8 + 64);
        let packed = append(output, room, |room| {
            self.0.reset();
            match self.0.compress(input, room, DeflateFlush::Finish) {
                Ok(Status::StreamEnd) => Ok(usize::try_from(self.0.total_out()).ok()),
                Ok(Status::Ok | Status::BufError) => Ok(None),
                Err(error) => Err(CodecError::library(NAME, error.as_str())),
            }
        })?;
        let fits = packed && output.len() - start <= limit;
        if !fits {
            output.truncate(start);
        }
        Ok(fits)
    }
}

struct RawInflate(libdeflater::Decompressor);

impl Decompressor for RawInflate {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        self.0.deflate_decompress(input, output).map_err(|error| CodecError::corrupt(NAME, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(level: u8, input: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        let mut compressor = compressor(Level::new(level).unwrap());
        // Twice: a context that was used must give the same.
        compressor.compress(b"something else, something else", 100, &mut Vec::new()).unwrap();
        compressor.compress(input, limit, &mut output).unwrap().then_some(output)
    }

    #[test]
    fn what_is_packed_comes_back_and_does_not_exceed_the_limit() {
        let text: Vec<u8> = (0..4096u32).map(|i| b"flash wright\n"[(i * i / 37 % 13) as usize]).collect();
        for level in 1..=9 {
            let bytes = packed(level, &text, text.len()).unwrap();
            let mut output = vec![0; text.len()];
            assert_eq!(decompressor().decompress(&bytes, &mut output), Ok(text.len()));
            assert_eq!(output, text);
            assert_eq!(packed(level, &text, bytes.len()).as_ref(), Some(&bytes));
            assert_eq!(packed(level, &text, bytes.len() - 1), None);
        }
        assert!(Level::new(0).is_err() && Level::new(10).is_err());
    }

    /// A context that has given up takes the next unit as if nothing had been.
    #[test]
    fn noise_after_noise_is_given_up() {
        let noise = noise(4096);
        let (mut used, mut output) = (compressor(Level::new(8).unwrap()), Vec::new());
        for _ in 0..50 {
            assert_eq!(used.compress(&noise, 4000, &mut output), Ok(false));
        }
        assert!(used.compress(&[7; 4096], 100, &mut output).unwrap());
        assert_eq!(output, packed(8, &[7; 4096], 100).unwrap());
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let step = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(step).take(len).collect()
    }

    /// Two equal pieces of noise: the second is a copy of the first only where the window reaches.
    #[test]
    fn the_window_is_two_kilobytes() {
        let noise = noise(600);
        let twice = |gap: usize| [&noise[..], &vec![b'x'; gap], &noise].concat();
        let near = packed(9, &twice(500), 4096).unwrap().len();
        let far = packed(9, &twice(2100), 4096).unwrap().len();
        assert!(near < 800 && far > 1200, "{near} {far}");
    }
}
