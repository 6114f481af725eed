//! .xz streams: LZMA2, with at most one branch filter before it, as the Linux kernel's decoder takes them.

use liblzma::stream::{Action, Check, Filters, LzmaOptions, MatchFinder, Mode, Status, Stream};

use crate::{CodecError, Compressor, Decompressor};

const NAME: &str = "xz";

/// Branch/call/jump filter: rewrites relative branch targets of machine code as absolute ones, which repeat more.
/// The kernel needs the decoder of the same name (`CONFIG_XZ_DEC_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bcj {
    /// x86, 32 and 64 bit.
    X86,
    /// PowerPC, big-endian.
    PowerPc,
    /// 32-bit ARM code.
    Arm,
    /// Thumb and Thumb-2 code.
    ArmThumb,
    /// SPARC.
    Sparc,
    /// 64-bit ARM; Linux 6.12 or newer.
    Arm64,
    /// RISC-V; Linux 6.12 or newer.
    RiscV,
}

/// Settings of one LZMA2 encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Preset, 0 to 9.
    pub preset: u8,
    /// Dictionary in bytes, 4096 to 1.5 GiB: no use beyond the size of a unit. Linux takes 2^n or 2^n + 2^(n-1).
    pub dictionary: u32,
    /// Literal context bits, 0 to 4; `lc + lp` at most 4.
    pub lc: u8,
    /// Literal position bits, 0 to 4: 2 suits code of 4-byte instructions.
    pub lp: u8,
    /// Position bits, 0 to 4: 0 suits text, 2 code of 4-byte instructions.
    pub pb: u8,
    /// Match length that is good enough to stop searching, 2 to 273; `None`: the preset's.
    pub nice_len: Option<u16>,
    /// Greatest search depth; `None`: the preset's.
    pub depth: Option<u32>,
    /// Branch filter before LZMA2.
    pub bcj: Option<Bcj>,
}

impl Settings {
    /// The preset's settings (lc 3, lp 0, pb 2) with a dictionary of that many bytes.
    #[must_use]
    pub const fn preset(preset: u8, dictionary: u32) -> Self {
        Settings { preset, dictionary, lc: 3, lp: 0, pb: 2, nice_len: None, depth: None, bcj: None }
    }

    /// These settings with other `lc`, `lp` and `pb`.
    #[must_use]
    pub const fn with_bits(self, lc: u8, lp: u8, pb: u8) -> Self {
        Settings { lc, lp, pb, ..self }
    }

    /// These settings with that branch filter, or none.
    #[must_use]
    pub const fn with_bcj(self, bcj: Option<Bcj>) -> Self {
        Settings { bcj, ..self }
    }

    /// These settings with another match length, 2 to 273, that is good enough to stop searching.
    #[must_use]
    pub const fn with_nice_len(self, nice_len: u16) -> Self {
        Settings { nice_len: Some(nice_len), ..self }
    }

    /// These settings with the longest search that LZMA has.
    #[must_use]
    pub const fn with_longest_search(self) -> Self {
        Settings { nice_len: Some(273), depth: Some(1000), ..self }
    }

    fn filters(&self) -> Result<Filters, CodecError> {
        let failed = |error| CodecError::library(NAME, error);
        let mut options = LzmaOptions::new_preset(u32::from(self.preset)).map_err(failed)?;
        options
            .dict_size(self.dictionary)
            .literal_context_bits(u32::from(self.lc))
            .literal_position_bits(u32::from(self.lp))
            .position_bits(u32::from(self.pb));
        if let Some(nice_len) = self.nice_len {
            options.mode(Mode::Normal).match_finder(MatchFinder::BinaryTree4).nice_len(u32::from(nice_len));
        }
        if let Some(depth) = self.depth {
            options.depth(depth);
        }
        let mut filters = Filters::new();
        match self.bcj {
            None => &mut filters,
            Some(Bcj::X86) => filters.x86(),
            Some(Bcj::PowerPc) => filters.powerpc(),
            Some(Bcj::Arm) => filters.arm(),
            Some(Bcj::ArmThumb) => filters.arm_thumb(),
            Some(Bcj::Sparc) => filters.sparc(),
            Some(Bcj::Arm64) => filters.arm64(),
            Some(Bcj::RiscV) => filters.riscv(),
        };
        filters.lzma2(&options);
        Ok(filters)
    }
}

/// A compressor with these settings. Streams carry a CRC-32, the only check besides none that Linux verifies.
#[must_use]
pub fn compressor(settings: Settings) -> Box<dyn Compressor> {
    Box::new(Xz { settings })
}

/// Compresses `input` with these settings; as [`Compressor::compress`].
///
/// # Errors
/// [`CodecError::Library`] for settings that LZMA2 does not have, or without memory for the encoder.
pub fn compress(
    settings: &Settings,
    input: &[u8],
    limit: usize,
    output: &mut Vec<u8>,
) -> Result<bool, CodecError> {
    let failed = |error| CodecError::library(NAME, error);
    let mut stream = Stream::new_stream_encoder(&settings.filters()?, Check::Crc32).map_err(failed)?;
    let start = output.len();
    output.reserve(limit);
    // `process_vec` writes into spare capacity only, which may be more than was reserved.
    let status = stream.process_vec(input, output, Action::Finish);
    let fits = matches!(status, Ok(Status::StreamEnd)) && output.len() - start <= limit;
    if !fits {
        output.truncate(start);
    }
    match status {
        Ok(_) => Ok(fits),
        Err(error) => Err(failed(error)),
    }
}

/// A decompressor that needs at most `memory` bytes: streams that ask for more are corrupt.
#[must_use]
pub fn decompressor(memory: u64) -> Box<dyn Decompressor> {
    Box::new(Unxz { memory })
}

/// A decompressor of LZMA-alone units (13-byte header, then LZMA1), which old vendor kernels have in SquashFS 4.0. Needs
/// at most `memory` bytes.
#[must_use]
pub fn lzma_alone_decompressor(memory: u64) -> Box<dyn Decompressor> {
    Box::new(Unlzma { memory })
}

struct Xz {
    settings: Settings,
}

impl Compressor for Xz {
    fn compress(&mut self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<bool, CodecError> {
        compress(&self.settings, input, limit, output)
    }
}

struct Unxz {
    memory: u64,
}

impl Decompressor for Unxz {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        let stream = Stream::new_stream_decoder(self.memory, 0);
        unpack(stream.map_err(|error| CodecError::library(NAME, error))?, input, output)
    }
}

struct Unlzma {
    memory: u64,
}

impl Decompressor for Unlzma {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
        let stream = Stream::new_lzma_decoder(self.memory);
        unpack(stream.map_err(|error| CodecError::library(NAME, error))?, input, output)
    }
}

/// Unpacks one whole stream; returns how many bytes came out.
fn unpack(mut stream: Stream, input: &[u8], output: &mut [u8]) -> Result<usize, CodecError> {
    let status = stream.process(input, output, Action::Finish);
    match status.map_err(|error| CodecError::corrupt(NAME, error))? {
        Status::StreamEnd => {}
        _ => return Err(CodecError::corrupt(NAME, "the stream is cut off or unpacks to too much")),
    }
    if stream.total_in() != input.len() as u64 {
        return Err(CodecError::corrupt(NAME, "bytes follow the stream"));
    }
    usize::try_from(stream.total_out()).map_err(|error| CodecError::corrupt(NAME, error))
}
