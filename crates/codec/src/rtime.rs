//! rtime, the run-length code of JFFS2.
//!
//! The data is a sequence of pairs: a byte, and a count of 0 to 255. The byte is output. Then as many bytes as the
//! count says are repeated from where the byte was seen last *as the first of a pair*: from the position after it, or
//! from the start of the output when it was never seen. A repeat may reach into what it has just output itself.
//!
//! ```text
//! "aaaaaa"   →  'a' 5          the byte after an 'a' never seen is byte 0 of the output
//! "abab"     →  'a' 0  'b' 2        likewise
//! ```

use crate::{CodecError, Compressor, Decompressor};

const NAME: &str = "rtime";
/// Most bytes that one pair repeats.
const MAX_REPEAT: usize = 255;

/// A compressor.
#[must_use]
pub fn compressor() -> Box<dyn Compressor> {
    Box::new(Rtime)
}

/// A decompressor.
#[must_use]
pub fn decompressor() -> Box<dyn Decompressor> {
    Box::new(Rtime)
}

struct Rtime;

impl Compressor for Rtime {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        let start = output.len();
        let mut after = [0usize; 256];
        let mut rest = input;
        while let Some((&byte, tail)) = rest.split_first() {
            if output.len() - start + 2 > limit {
                output.truncate(start);
                return Ok(false);
            }
            let position = input.len() - tail.len();
            let from = std::mem::replace(&mut after[usize::from(byte)], position);
            let repeat = input[from..].iter().zip(tail).take(MAX_REPEAT).take_while(|(a, b)| a == b).count();
            // At most 255.
            output.extend_from_slice(&[byte, u8::try_from(repeat).unwrap_or(u8::MAX)]);
            rest = &tail[repeat..];
        }
        Ok(true)
    }
}

impl Decompressor for Rtime {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        let (pairs, odd) = input.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(CodecError::corrupt(NAME, "an odd number of bytes"));
        }
        let too_long = || CodecError::corrupt(NAME, "unpacks to more bytes than there are");
        let mut after = [0usize; 256];
        let mut len = 0;
        for &[byte, repeat] in pairs {
            *output.get_mut(len).ok_or_else(too_long)? = byte;
            len += 1;
            let from = std::mem::replace(&mut after[usize::from(byte)], len);
            for from in from..from + usize::from(repeat) {
                let repeated = output[from];
                *output.get_mut(len).ok_or_else(too_long)? = repeated;
                len += 1;
            }
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_as_the_format_says() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"", b""),
            (b"aaaaaa", b"a\x05"),
            (b"abab", b"a\0b\x02"),
            (b"xabcabd", b"x\0a\0b\0c\0a\x01d\0"),
            (&[7; 600], &[7, 255, 7, 255, 7, 87]),
        ];
        for (plain, packed) in cases {
            let mut output = Vec::new();
            assert!(compressor().compress(plain, packed.len(), &mut output).unwrap());
            assert_eq!(output, packed);
            let mut unpacked = vec![0; plain.len()];
            assert_eq!(decompressor().decompress(packed, &mut unpacked).unwrap(), plain.len());
            assert_eq!(unpacked, plain);
        }
    }
}
