//! Raw LZ4 blocks, fast or HC.

use ::lz4::block::{CompressionMode, compress_to_buffer, decompress_to_buffer};

use crate::{CodecError, Compressor, Decompressor, append};

const NAME: &str = "lz4";

/// How hard to search. Both make the same format; reading is equally fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The fast compressor.
    Fast,
    /// The HC compressor with a level from 1 to 12.
    Hc(u8),
}

impl Mode {
    /// Highest HC level.
    pub const MAX_HC_LEVEL: u8 = 12;
}

/// A compressor of that mode. Levels above 12 work as 12.
#[must_use]
pub fn compressor(mode: Mode) -> Box<dyn Compressor> {
    Box::new(Lz4(match mode {
        Mode::Fast => CompressionMode::DEFAULT,
        Mode::Hc(level) => CompressionMode::HIGHCOMPRESSION(i32::from(level.clamp(1, Mode::MAX_HC_LEVEL))),
    }))
}

/// A decompressor.
#[must_use]
pub fn decompressor() -> Box<dyn Decompressor> {
    Box::new(Unlz4)
}

struct Lz4(CompressionMode);

impl Compressor for Lz4 {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        // The library has one error for everything; on valid arguments it only ever means "does not fit".
        append(output, limit, |room| Ok(compress_to_buffer(input, Some(self.0), false, room).ok()))
    }
}

struct Unlz4;

impl Decompressor for Unlz4 {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        let size = i32::try_from(output.len()).map_err(|error| CodecError::corrupt(NAME, error))?;
        decompress_to_buffer(input, Some(size), output).map_err(|error| CodecError::corrupt(NAME, error))
    }
}
