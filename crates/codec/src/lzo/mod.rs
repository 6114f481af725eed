//! LZO1X units: packed by our own search for the smallest stream, unpacked by lzokay.
//!
//! A unit is what the Linux kernel's `lzo1x_decompress_safe` takes (Documentation/staging/lzo.rst): a series of
//! instructions, each a copy from at most 48 KiB back or a run of literals, and an end marker. All codes are
//! whole bytes, so the smallest stream is a shortest path through the unit: `matches` finds what may be copied
//! at every position, `parse` finds the cheapest way from start to end, `encode` writes it.
//!
//! The streams are of version 0, which every reader knows. LZO-RLE (version 1) is announced by a first byte of
//! 17; a unit that is not empty starts with literals here, whose codes are 0 and 18 to 255.
//!
//! Changing the search changes images.

mod encode;
mod matches;
mod parse;

use crate::{CodecError, Compressor, Decompressor};
use matches::Finder;
use parse::Parser;

const NAME: &str = "lzo";

/// Longest unit in bytes that a compressor takes; the formats here need 1 MiB. A longer one is an error.
pub const MAX_UNIT: usize = parse::MAX_LEN;

/// A compressor. It keeps 0.4 MiB, and up to 12 bytes for each byte of the longest unit it has seen.
#[must_use]
pub fn compressor() -> Box<dyn Compressor> {
    Box::new(Lzo { finder: Finder::new(), parser: Parser::default() })
}

/// A decompressor.
#[must_use]
pub fn decompressor() -> Box<dyn Decompressor> {
    Box::new(Unlzo)
}

struct Lzo {
    finder: Finder,
    parser: Parser,
}

impl Compressor for Lzo {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        if input.len() > MAX_UNIT {
            return Err(CodecError::library(
                NAME,
                format!("a unit of {} bytes, at most {MAX_UNIT}", input.len()),
            ));
        }
        let Some(len) = self.parser.parse(input, limit, &mut self.finder) else { return Ok(false) };
        let start = output.len();
        encode::write(input, self.parser.steps(), output);
        debug_assert_eq!(output.len() - start, len);
        Ok(true)
    }
}

struct Unlzo;

impl Decompressor for Unlzo {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        ::lzokay::decompress::decompress(input, output).map_err(|error| CodecError::corrupt(NAME, error))
    }
}
