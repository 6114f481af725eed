//! Archives compressed as Linux unpacks them at boot: the whole archive as one stream.
//!
//! ```text
//! gzip   one member, no name, time 0                                        CONFIG_RD_GZIP
//! xz     one stream, LZMA2, CRC-32, dictionary of at most 1 MiB             CONFIG_RD_XZ
//! zstd   one frame, checksum, window of at most 8 MiB                       CONFIG_RD_ZSTD
//! lz4    "legacy" frame: magic, then chunks of 8 MiB, each after its length CONFIG_RD_LZ4
//! lzo    as lzop writes it: header, blocks of 256 KiB, each with an Adler-32 of what it unpacks to; CONFIG_RD_LZO
//! ```
//!
//! Sources of fact: Linux `init/initramfs.c`, `lib/decompress_*.c`, `usr/Makefile`; RFC 1952; the kernels that
//! `tests/kernel.rs` boots. Changing anything here changes images.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use flashwright_codec::{CodecError, Compressor, lz4, lzo, zlib};
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;
use zstd::zstd_safe::CParameter;

use crate::Error;

/// Largest dictionary of xz, in bytes: Linux allocates it while it boots, and its own build takes this one.
const XZ_DICTIONARY: u32 = 1 << 20;
/// Smallest dictionary that LZMA2 has, in bytes.
const XZ_MIN_DICTIONARY: u32 = 4096;
/// Largest window of zstd, as a power of two: Linux allocates it while it boots. That of level 19.
const ZSTD_WINDOW_LOG: u32 = 23;
/// First bytes of a legacy LZ4 frame.
const LZ4_MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
/// What one LZ4 chunk unpacks to, in bytes; only the last has less. Linux takes no other size.
const LZ4_CHUNK: usize = 8 << 20;
/// What one LZO block unpacks to at most, in bytes. Linux takes no larger one.
const LZO_BLOCK: usize = 256 << 10;
/// First bytes of a file of lzop.
const LZOP_MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];

/// How the archive is compressed. The kernel that boots from it needs the option named with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip by libdeflate, level 1 to 12, default 12; `CONFIG_RD_GZIP`. The archive is held in memory.
    Gzip(u8),
    /// xz, preset 0 to 9, default 9; `CONFIG_RD_XZ`. The smallest.
    Xz(u8),
    /// Zstandard, level 1 to 22, default 19; `CONFIG_RD_ZSTD`, since Linux 5.9.
    Zstd(u8),
    /// LZ4 with the high-compression search, level 1 to 12, default 12; `CONFIG_RD_LZ4`. The fastest to unpack.
    Lz4(u8),
    /// LZO, without levels; `CONFIG_RD_LZO`.
    Lzo,
}

impl Compression {
    /// All of them, each with its default level.
    pub const ALL: [Compression; 6] = [
        Compression::None,
        Compression::Gzip(12),
        Compression::Xz(9),
        Compression::Zstd(19),
        Compression::Lz4(12),
        Compression::Lzo,
    ];

    /// The one of that name, with its default level.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// `none`, `gzip`, `xz`, `zstd`, `lz4` or `lzo`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip(_) => "gzip",
            Compression::Xz(_) => "xz",
            Compression::Zstd(_) => "zstd",
            Compression::Lz4(_) => "lz4",
            Compression::Lzo => "lzo",
        }
    }

    /// The levels it has; `None` when it has none.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<u8>> {
        match self {
            Compression::None | Compression::Lzo => None,
            Compression::Gzip(_) | Compression::Lz4(_) => Some(1..=12),
            Compression::Xz(_) => Some(0..=9),
            Compression::Zstd(_) => Some(1..=22),
        }
    }

    const fn level(self) -> Option<u8> {
        match self {
            Compression::None | Compression::Lzo => None,
            Compression::Gzip(level)
            | Compression::Lz4(level)
            | Compression::Xz(level)
            | Compression::Zstd(level) => Some(level),
        }
    }

    /// The same with another level.
    ///
    /// # Errors
    /// [`Error::BadLevel`] when it has no such level.
    pub fn with_level(self, level: u8) -> Result<Self, Error> {
        let changed = match self {
            Compression::Gzip(_) => Compression::Gzip(level),
            Compression::Xz(_) => Compression::Xz(level),
            Compression::Zstd(_) => Compression::Zstd(level),
            Compression::Lz4(_) => Compression::Lz4(level),
            Compression::None | Compression::Lzo => return Err(self.bad_level(level)),
        };
        changed.check().map(|()| changed)
    }

    /// Checks the level.
    pub(crate) fn check(self) -> Result<(), Error> {
        match (self.levels(), self.level()) {
            (Some(levels), Some(level)) if !levels.contains(&level) => Err(self.bad_level(level)),
            _ => Ok(()),
        }
    }

    fn bad_level(self, level: u8) -> Error {
        Error::BadLevel { name: self.name(), level, levels: self.levels() }
    }
}

fn codec_error(error: &CodecError) -> io::Error {
    io::Error::other(error.to_string())
}

/// A stream that compresses what is written to it, `len` bytes in all.
pub(crate) enum Encoder<W: Write> {
    Plain(W),
    Gzip { output: W, level: zlib::Level, archive: Vec<u8> },
    Xz(XzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
    Blocks(Blocks<W>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(compression: Compression, output: W, len: u64) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Encoder::Plain(output),
            Compression::Gzip(level) => {
                let level = zlib::Level::new(level).map_err(|e| codec_error(&e))?;
                Encoder::Gzip { output, level, archive: Vec::new() }
            }
            Compression::Xz(level) => Encoder::Xz(XzEncoder::new_stream(output, xz(level, len)?)),
            Compression::Zstd(level) => Encoder::Zstd(zstd(output, level, len)?),
            Compression::Lz4(level) => {
                let compressor = lz4::compressor(lz4::Mode::Hc(level));
                Encoder::Blocks(Blocks::new(output, Container::Lz4Legacy, compressor)?)
            }
            Compression::Lzo => Encoder::Blocks(Blocks::new(output, Container::Lzop, lzo::compressor())?),
        })
    }

    /// Writes what is left, and the end of the stream.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Encoder::Plain(_) => Ok(()),
            Encoder::Gzip { mut output, level, archive } => {
                output.write_all(&zlib::gzip(level, &archive).map_err(|e| codec_error(&e))?)
            }
            Encoder::Xz(encoder) => encoder.finish().map(drop),
            Encoder::Zstd(encoder) => encoder.finish().map(drop),
            Encoder::Blocks(blocks) => blocks.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Plain(output) => output.write(bytes),
            Encoder::Gzip { archive, .. } => archive.write(bytes),
            Encoder::Xz(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Blocks(blocks) => blocks.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn xz(level: u8, len: u64) -> io::Result<Stream> {
    let needed = u32::try_from(len).unwrap_or(u32::MAX).min(XZ_DICTIONARY).next_power_of_two();
    let mut options = LzmaOptions::new_preset(level.into()).map_err(io::Error::other)?;
    options.dict_size(needed.max(XZ_MIN_DICTIONARY));
    let mut filters = Filters::new();
    filters.lzma2(&options);
    Stream::new_stream_encoder(&filters, Check::Crc32).map_err(io::Error::other)
}

fn zstd<W: Write>(output: W, level: u8, len: u64) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(output, level.into())?;
    // The level's own window, where that is smaller, and never more than the archive needs.
    encoder.set_pledged_src_size(Some(len))?;
    if level > 19 {
        encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
    }
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// A container of blocks that are compressed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Lz4Legacy,
    Lzop,
}

impl Container {
    const fn block_len(self) -> usize {
        match self {
            Container::Lz4Legacy => LZ4_CHUNK,
            Container::Lzop => LZO_BLOCK,
        }
    }

    fn head(self) -> Vec<u8> {
        match self {
            Container::Lz4Legacy => LZ4_MAGIC.to_vec(),
            Container::Lzop => lzop_header(),
        }
    }

    /// Most bytes that a block may be packed to. LZ4 chunks have no stored form, so one may grow, by less than this.
    const fn limit(self, len: usize) -> usize {
        match self {
            Container::Lz4Legacy => len + len / 16 + 1024,
            Container::Lzop => len.saturating_sub(1),
        }
    }

    /// Writes a block; `packed` is `None` when it did not get smaller.
    fn write_block(self, output: &mut impl Write, plain: &[u8], packed: Option<&[u8]>) -> io::Result<()> {
        let stored = packed.unwrap_or(plain);
        match self {
            Container::Lz4Legacy => output.write_all(&length(stored)?.to_le_bytes())?,
            Container::Lzop => {
                output.write_all(&length(plain)?.to_be_bytes())?;
                output.write_all(&length(stored)?.to_be_bytes())?;
                output.write_all(&adler2::adler32_slice(plain).to_be_bytes())?;
            }
        }
        output.write_all(stored)
    }

    const fn tail(self) -> &'static [u8] {
        match self {
            Container::Lz4Legacy => &[],
            Container::Lzop => &[0; 4],
        }
    }
}

/// Compresses block by block.
pub(crate) struct Blocks<W> {
    output: W,
    container: Container,
    compressor: Box<dyn Compressor>,
    block: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    fn new(mut output: W, container: Container, compressor: Box<dyn Compressor>) -> io::Result<Self> {
        output.write_all(&container.head())?;
        Ok(Blocks { output, container, compressor, block: Vec::new(), packed: Vec::new() })
    }

    fn flush_block(&mut self) -> io::Result<()> {
        self.packed.clear();
        let limit = self.container.limit(self.block.len());
        let packed = self.compressor.compress(&self.block, limit, &mut self.packed);
        let smaller = packed.map_err(|error| codec_error(&error))?;
        let packed = smaller.then_some(self.packed.as_slice());
        self.container.write_block(&mut self.output, &self.block, packed)?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        self.output.write_all(self.container.tail())
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let block_len = self.container.block_len();
        let len = bytes.len().min(block_len - self.block.len());
        self.block.extend_from_slice(&bytes[..len]);
        if self.block.len() == block_len {
            self.flush_block()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// At most 8 MiB and a little, which 32 bits hold.
fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

/// Header of a file of lzop: version, library version and version needed; method LZO1X-1 and its level; flags; mode,
/// time and length of the name, all 0; their checksum.
fn lzop_header() -> Vec<u8> {
    const FLAG_ADLER32_OF_DATA: u32 = 1;
    let mut fields = Vec::new();
    [0x1030_u16, 0x2080, 0x0940].iter().for_each(|version| fields.extend(version.to_be_bytes()));
    fields.extend([1, 5]);
    let (mode, time_low, time_high) = (0, 0, 0);
    let words: [u32; 4] = [FLAG_ADLER32_OF_DATA, mode, time_low, time_high];
    words.iter().for_each(|word| fields.extend(word.to_be_bytes()));
    fields.push(0);
    let sum = adler2::adler32_slice(&fields);
    [&LZOP_MAGIC[..], &fields, &sum.to_be_bytes()].concat()
}
