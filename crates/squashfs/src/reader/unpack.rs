//! Stored blocks to unpacked bytes, with contexts that are kept and used again.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use flashwright_codec::{CodecError, Decompressor, lz4, lzo, xz, zlib, zstd};

use super::ReadError;
use super::input::Input;
use crate::format::{Compression, DATA_UNCOMPRESSED, METADATA_SIZE, METADATA_UNCOMPRESSED};

/// Memory an xz decoder may take, bytes. Linux sets aside one data block (at most 1 MiB) for the dictionary; images
/// by other hands have been seen with the 8 MiB of xz's own default.
const XZ_MEMORY: u64 = 32 << 20;

/// A run of bytes in the image and how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// First byte, from the start of the image.
    pub(super) offset: u64,
    /// Bytes it takes there.
    pub(super) len: u32,
    /// Whether it is compressed.
    pub(super) packed: bool,
}

impl Stored {
    /// A data or fragment block from its size word; the error says which bits are wrong.
    pub(super) fn from_word(
        offset: u64,
        word: u32,
        block_size: u32,
        what: &'static str,
    ) -> Result<Self, ReadError> {
        let len = word & !DATA_UNCOMPRESSED;
        if len > block_size {
            let expected = format!("at most {block_size} bytes stored");
            return Err(ReadError::corrupt(what, expected, format!("size word {word:#010x}")).at(offset));
        }
        Ok(Stored { offset, len, packed: word & DATA_UNCOMPRESSED == 0 })
    }

    /// First byte after it.
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// Unpacks blocks of one image; many threads may ask at once.
pub(super) struct Unpacker {
    compression: Compression,
    idle: Mutex<Vec<Worker>>,
}

struct Worker {
    decompressor: Box<dyn Decompressor>,
    stored: Vec<u8>,
}

/// The decompressor of that number.
pub(super) fn decompressor(compression: Compression) -> Result<Box<dyn Decompressor>, CodecError> {
    Ok(match compression {
        Compression::Gzip => zlib::decompressor(),
        Compression::Lzo => lzo::decompressor(),
        Compression::Xz => xz::decompressor(XZ_MEMORY),
        Compression::Lz4 => lz4::decompressor(),
        Compression::Zstd => zstd::decompressor()?,
        Compression::Lzma => xz::lzma_alone_decompressor(XZ_MEMORY),
    })
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Unpacker {
    pub(super) fn new(compression: Compression) -> Self {
        Unpacker { compression, idle: Mutex::new(Vec::new()) }
    }

    fn worker(&self) -> Result<Worker, ReadError> {
        if let Some(worker) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(worker);
        }
        let decompressor = decompressor(self.compression);
        let decompressor = decompressor.map_err(|error| ReadError::unpack("decompressor", error))?;
        Ok(Worker { decompressor, stored: Vec::new() })
    }

    /// Unpacks `stored` into the front of `output`; returns how many bytes came out.
    pub(super) fn unpack(
        &self,
        input: &Input,
        stored: Stored,
        output: &mut [u8],
        what: &'static str,
    ) -> Result<usize, ReadError> {
        let len = stored.len as usize;
        if !stored.packed {
            let Some(output) = output.get_mut(..len) else {
                let expected = format!("at most {} bytes", output.len());
                return Err(ReadError::corrupt(what, expected, len).at(stored.offset));
            };
            input.read_into(stored.offset, output, what)?;
            return Ok(len);
        }
        input.check(stored.offset, len as u64, what)?;
        let mut worker = self.worker()?;
        worker.stored.resize(len, 0);
        let result = input.read_into(stored.offset, &mut worker.stored, what).and_then(|()| {
            let unpacked = worker.decompressor.decompress(&worker.stored, output);
            unpacked.map_err(|error| ReadError::unpack(what, error).at(stored.offset))
        });
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        result
    }

    /// Unpacks `stored`, which must fill `output`.
    pub(super) fn unpack_exact(
        &self,
        input: &Input,
        stored: Stored,
        output: &mut [u8],
        what: &'static str,
    ) -> Result<(), ReadError> {
        let len = self.unpack(input, stored, output, what)?;
        if len == output.len() {
            return Ok(());
        }
        let expected = format!("{} bytes unpacked", output.len());
        Err(ReadError::corrupt(what, expected, format!("{len}")).at(stored.offset))
    }

    /// Appends the metadata block at `offset` to `output`; returns the position after it.
    pub(super) fn metadata(
        &self,
        input: &Input,
        offset: u64,
        output: &mut Vec<u8>,
        what: &'static str,
    ) -> Result<u64, ReadError> {
        let mut header = [0; 2];
        input.read_into(offset, &mut header, what)?;
        let word = u16::from_le_bytes(header);
        let len = word & !METADATA_UNCOMPRESSED;
        if len == 0 || usize::from(len) > METADATA_SIZE {
            let expected = format!("a metadata block of 1 to {METADATA_SIZE} bytes");
            return Err(ReadError::corrupt(what, expected, format!("header {word:#06x}")).at(offset));
        }
        let stored = Stored {
            offset: offset.saturating_add(2),
            len: u32::from(len),
            packed: word & METADATA_UNCOMPRESSED == 0,
        };
        let mut block = [0; METADATA_SIZE];
        let unpacked = self.unpack(input, stored, &mut block, what).map_err(|error| error.at(offset))?;
        output.extend_from_slice(block.get(..unpacked).unwrap_or_default());
        Ok(stored.end())
    }
}
