//! LZO1X units, by lzokay.

use crate::{CodecError, Compressor, Decompressor};

const NAME: &str = "lzo";

/// A compressor.
#[must_use]
pub fn compressor() -> Box<dyn Compressor> {
    Box::new(Lzo { dict: ::lzokay::compress::Dict::new(), buffer: Vec::new() })
}

/// A decompressor.
#[must_use]
pub fn decompressor() -> Box<dyn Decompressor> {
    Box::new(Unlzo)
}

struct Lzo {
    dict: Box<::lzokay::compress::Dict>,
    buffer: Vec<u8>,
}

impl Compressor for Lzo {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        self.buffer.resize(::lzokay::compress::compress_worst_size(input.len()), 0);
        let len = ::lzokay::compress::compress_no_alloc(input, &mut self.buffer, &mut self.dict)
            .map_err(|error| CodecError::library(NAME, error))?;
        if len <= limit {
            output.extend_from_slice(&self.buffer[..len]);
        }
        Ok(len <= limit)
    }
}

struct Unlzo;

impl Decompressor for Unlzo {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        ::lzokay::decompress::decompress(input, output).map_err(|error| CodecError::corrupt(NAME, error))
    }
}
