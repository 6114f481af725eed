//! The superblock and the compressor options record, checked.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::ReadError;
use super::identify::{self, HEAD_LEN};
use super::input::Input;
use super::unpack::Unpacker;
use crate::format::{
    BLOCK_SIZE_RANGE, Compression, GzipOptions, Lz4Options, LzoOptions, METADATA_SIZE, NONE64, SuperBlock,
    XzOptions, ZstdOptions, flags,
};

/// The compressor options record of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant is the record of that compressor")]
pub enum CompressorOptions {
    Gzip(GzipOptions),
    Xz(XzOptions),
    Lzo(LzoOptions),
    Lz4(Lz4Options),
    Zstd(ZstdOptions),
}

/// A superblock whose numbers make sense by themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) superblock: SuperBlock,
    pub(super) compression: Compression,
    pub(super) block_size: u32,
}

impl Facts {
    /// Reads the superblock from byte 0 of an image of that length.
    pub(super) fn read(input: &Input) -> Result<Self, ReadError> {
        let len = usize::try_from(input.len()).unwrap_or(HEAD_LEN).min(HEAD_LEN);
        let superblock = identify::standard(&input.read(0, len, "superblock")?)?;
        let compression = Compression::from_number(superblock.compression.get()).ok_or_else(|| {
            ReadError::corrupt("superblock", "a compressor from 1 to 6", superblock.compression).at(0x14)
        })?;
        let block_size = block_size(&superblock)?;
        let bytes_used = superblock.bytes_used.get();
        if bytes_used < HEAD_LEN as u64 || bytes_used > input.len() {
            let found = format!("a file of {} bytes", input.len());
            let expected = format!("an image of {bytes_used} bytes, as its superblock says");
            return Err(ReadError::corrupt("superblock", expected, found).at(0x28));
        }
        Ok(Facts { superblock, compression, block_size })
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.superblock.flags.get() & flag != 0
    }

    /// Position of a table that may be absent.
    pub(super) fn optional(position: u64) -> Option<u64> {
        (position != NONE64).then_some(position)
    }

    /// Reads the compressor options record, when there is one. The second value is the position after it, where
    /// data may start.
    pub(super) fn options(&self, input: &Input) -> Result<(Option<CompressorOptions>, u64), ReadError> {
        let start = HEAD_LEN as u64;
        if !self.has(flags::COMPRESSOR_OPTIONS) {
            return Ok((None, start));
        }
        const WHAT: &str = "compressor options";
        let mut bytes = Vec::with_capacity(METADATA_SIZE);
        let end = Unpacker::new(self.compression).metadata(input, start, &mut bytes, WHAT)?;
        let options = match self.compression {
            Compression::Gzip => record(&bytes).map(CompressorOptions::Gzip),
            Compression::Xz => record(&bytes).map(CompressorOptions::Xz),
            Compression::Lzo => record(&bytes).map(CompressorOptions::Lzo),
            Compression::Lz4 => record(&bytes).map(CompressorOptions::Lz4),
            Compression::Zstd => record(&bytes).map(CompressorOptions::Zstd),
            // Writers of that time had no options for it.
            Compression::Lzma => None,
        };
        let wrong = || ReadError::corrupt(WHAT, "a whole record", format!("{} bytes", bytes.len())).at(start);
        Ok((Some(options.ok_or_else(wrong)?), end))
    }
}

fn record<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Option<T> {
    T::read_from_bytes(bytes).ok()
}

fn block_size(superblock: &SuperBlock) -> Result<u32, ReadError> {
    let (size, log) = (superblock.block_size.get(), superblock.block_log.get());
    let (smallest, largest) = BLOCK_SIZE_RANGE;
    if !size.is_power_of_two() || !(smallest..=largest).contains(&size) {
        let expected = format!("a block size from {smallest} to {largest}, a power of two");
        return Err(ReadError::corrupt("superblock", expected, size).at(0xc));
    }
    if size.trailing_zeros() != u32::from(log) {
        let expected = format!("block_log {}", size.trailing_zeros());
        return Err(ReadError::corrupt("superblock", expected, log).at(0x16));
    }
    Ok(size)
}
