//! Compressors behind one trait, one cargo feature each, and the bounded parallel [`pipeline`].
//!
//! Flash formats compress small independent units (4 KiB to 1 MiB). So a [`Compressor`] is a context that one
//! thread keeps and uses for one unit after another; its output depends on the unit and the settings alone,
//! never on what was compressed before, on the thread or on the host.
//!
//! A unit that does not get smaller is stored as it is by every format here, so compressing is asked with a
//! limit and answers "does not fit" instead of growing the data.
//!
//! | feature | library | used by |
//! |---|---|---|
//! | `zlib` | libdeflate | SquashFS gzip, JFFS2 zlib |
//! | `deflate` | zlib-rs; libdeflate to unpack | UBIFS zlib |
//! | `xz` | liblzma | SquashFS |
//! | `zstd` | libzstd | SquashFS, UBIFS |
//! | `lz4` | liblz4 | SquashFS |
//! | `lzo` | ours; lzokay to unpack | SquashFS, JFFS2, UBIFS |
//!
//! [`rtime`], the run-length code of JFFS2, is small and always there.

mod error;
pub mod pipeline;
pub mod rtime;

#[cfg(feature = "deflate")]
pub mod deflate;
#[cfg(feature = "lz4")]
pub mod lz4;
#[cfg(feature = "lzo")]
pub mod lzo;
#[cfg(feature = "xz")]
pub mod xz;
#[cfg(feature = "zlib")]
pub mod zlib;
#[cfg(feature = "zstd")]
pub mod zstd;

pub use error::CodecError;

/// Compresses one unit after another. One context per thread.
pub trait Compressor: Send {
    /// Appends to `output` what `input` compresses to and returns true, when that takes at most `limit` bytes;
    /// else returns false and leaves `output` as it was.
    ///
    /// # Errors
    /// [`CodecError`] when the library fails (out of memory); never because of the data.
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError>;
}

/// Unpacks one unit after another. One context per thread.
pub trait Decompressor: Send {
    /// Unpacks `input` into the front of `output` and returns how many bytes came out. Memory use does not
    /// depend on `input`.
    ///
    /// # Errors
    /// [`CodecError::Corrupt`] when `input` is not one whole unit of this format, or holds more than fits into
    /// `output`.
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError>;
}

/// Runs `fill` on `limit` bytes of room at the end of `output`; keeps as many of them as it says it wrote.
#[cfg(any(feature = "deflate", feature = "zlib", feature = "lz4", feature = "zstd"))]
fn append(
    output: &mut Vec<u8>,
    limit: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<Option<usize>, CodecError>,
) -> Result<bool, CodecError> {
    let start = output.len();
    output.resize(start + limit, 0);
    let written = fill(&mut output[start..]);
    output.truncate(start + written.as_ref().ok().copied().flatten().unwrap_or(0));
    Ok(written?.is_some())
}
