//! Zstandard frames.

use ::zstd::bulk;
use ::zstd::zstd_safe::{self, CParameter};

use crate::{CodecError, Compressor, Decompressor, append};

const NAME: &str = "zstd";

/// Compression level, 1 to 22.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// A level from 1 to 22.
    ///
    /// # Errors
    /// [`CodecError::Setting`] outside that range.
    pub fn new(level: u8) -> Result<Self, CodecError> {
        if (1..=22).contains(&level) {
            return Ok(Level(level));
        }
        Err(CodecError::Setting { codec: NAME, setting: "level", value: level.into(), range: "1 to 22" })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A compressor with that level. Frames carry their content size and no checksum, as `ZSTD_compress` makes them.
///
/// # Errors
/// [`CodecError::Library`] when there is no memory for the context.
pub fn compressor(level: Level) -> Result<Box<dyn Compressor>, CodecError> {
    let mut context = bulk::Compressor::new(i32::from(level.0)).map_err(|e| CodecError::library(NAME, e))?;
    context.set_parameter(CParameter::ChecksumFlag(false)).map_err(|e| CodecError::library(NAME, e))?;
    Ok(Box::new(Zstd(context)))
}

/// A decompressor.
///
/// # Errors
/// [`CodecError::Library`] when there is no memory for the context.
pub fn decompressor() -> Result<Box<dyn Decompressor>, CodecError> {
    Ok(Box::new(Unzstd(bulk::Decompressor::new().map_err(|e| CodecError::library(NAME, e))?)))
}

struct Zstd(bulk::Compressor<'static>);

impl Compressor for Zstd {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        // The library gives no error code through this interface, so room for the worst case tells "does not
        // fit" from a failure.
        let room = zstd_safe::compress_bound(input.len());
        let start = output.len();
        append(output, room, |room| {
            self.0.compress_to_buffer(input, room).map(Some).map_err(|e| CodecError::library(NAME, e))
        })?;
        let fits = output.len() - start <= limit;
        if !fits {
            output.truncate(start);
        }
        Ok(fits)
    }
}

struct Unzstd(bulk::Decompressor<'static>);

impl Decompressor for Unzstd {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        self.0.decompress_to_buffer(input, output).map_err(|error| CodecError::corrupt(NAME, error))
    }
}
