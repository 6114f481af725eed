//! zlib streams (RFC 1950) by libdeflate: what SquashFS calls gzip, and JFFS2 zlib.

use libdeflater::{CompressionError, CompressionLvl};

use crate::{CodecError, Compressor, Decompressor, append};

const NAME: &str = "zlib";

/// Compression level, 1 (fast) to 12 (small), of libdeflate: 6 is about zlib's 9 in size, at several times its
/// speed. Changing a level or the library changes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// A level from 1 to 12.
    ///
    /// # Errors
    /// [`CodecError::Setting`] outside that range.
    pub fn new(level: u8) -> Result<Self, CodecError> {
        if (1..=12).contains(&level) {
            return Ok(Level(level));
        }
        Err(CodecError::Setting { codec: NAME, setting: "level", value: level.into(), range: "1 to 12" })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A compressor with that level.
///
/// # Errors
/// None in practice: [`Level`] is checked when it is made.
pub fn compressor(level: Level) -> Result<Box<dyn Compressor>, CodecError> {
    let lvl =
        CompressionLvl::new(i32::from(level.0)).map_err(|e| CodecError::library(NAME, format!("{e:?}")))?;
    Ok(Box::new(Zlib(libdeflater::Compressor::new(lvl))))
}

/// Compresses `input` whole into one gzip member (RFC 1952): no name, time 0, so that the same input gives the same
/// bytes.
///
/// # Errors
/// None in practice: room for the worst case is there.
pub fn gzip(level: Level, input: &[u8]) -> Result<Vec<u8>, CodecError> {
    let failed = |what: String| CodecError::library(NAME, what);
    let lvl = CompressionLvl::new(i32::from(level.0)).map_err(|e| failed(format!("{e:?}")))?;
    let mut compressor = libdeflater::Compressor::new(lvl);
    let mut output = vec![0; compressor.gzip_compress_bound(input.len())];
    let len = compressor.gzip_compress(input, &mut output).map_err(|e| failed(format!("{e:?}")))?;
    output.truncate(len);
    Ok(output)
}

/// A decompressor.
#[must_use]
pub fn decompressor() -> Box<dyn Decompressor> {
    Box::new(Unzlib(libdeflater::Decompressor::new()))
}

struct Zlib(libdeflater::Compressor);

impl Compressor for Zlib {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        append(output, limit, |room| match self.0.zlib_compress(input, room) {
            Ok(len) => Ok(Some(len)),
            Err(CompressionError::InsufficientSpace) => Ok(None),
        })
    }
}

struct Unzlib(libdeflater::Decompressor);

impl Decompressor for Unzlib {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        self.0.zlib_decompress(input, output).map_err(|error| CodecError::corrupt(NAME, error))
    }
}
