//! What a SquashFS image shall be like.

use std::collections::BTreeSet;

use flashwright_codec::{CodecError, lz4, xz, zlib, zstd};

use crate::format::{BLOCK_SIZE_RANGE, Compression};

pub use flashwright_codec::xz::Bcj;

/// How much time to spend on size. Decides what [`Method`]s without a level do, and the order of file data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For the edit-and-try loop: lower levels.
    Fast,
    /// Small and fast.
    #[default]
    Default,
    /// For a release: files of one kind packed together, highest levels, per-block choice of xz settings.
    Max,
}

/// Compressor and level. A level of `None` is chosen by [`Effort`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// zlib by libdeflate, level 1 to 12; fast 6, default 9, max 12.
    Gzip {
        /// libdeflate's level.
        level: Option<zlib::Level>,
    },
    /// xz with a dictionary of one block; preset 0 to 9; fast 1, default 6 with a shorter search, max 6.
    Xz {
        /// liblzma's preset.
        preset: Option<u8>,
        /// Branch filters.
        bcj: BcjPolicy,
    },
    /// Zstandard, level 1 to 22; fast 6, default 15, max 22.
    Zstd {
        /// libzstd's level.
        level: Option<zstd::Level>,
    },
    /// LZ4; fast and default the fast compressor, max HC 12. `Some` is an HC level, 1 to 12.
    Lz4 {
        /// Level of the HC compressor.
        hc: Option<u8>,
    },
    /// LZO1X, one level.
    Lzo,
}

/// Which branch filters xz may try on machine code. A filter is tried on files whose ELF header names its machine
/// and kept for a block that gets smaller. The device's kernel needs the decoder of each filter that is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BcjPolicy {
    /// None, except with [`Effort::Max`]: there all.
    #[default]
    ByEffort,
    /// None.
    Off,
    /// These.
    Only(BTreeSet<Bcj>),
}

impl BcjPolicy {
    /// Every filter that Linux 6.12 can decode.
    #[must_use]
    pub fn all() -> Self {
        BcjPolicy::Only(BTreeSet::from(ALL_BCJ))
    }
}

/// All filters, each with the name users know it by and what the device's kernel needs to decode it.
pub const BCJ_NAMES: [(Bcj, &str, &str); 7] = [
    (Bcj::X86, "x86", "CONFIG_XZ_DEC_X86"),
    (Bcj::Arm, "arm", "CONFIG_XZ_DEC_ARM"),
    (Bcj::ArmThumb, "armthumb", "CONFIG_XZ_DEC_ARMTHUMB"),
    (Bcj::Arm64, "arm64", "CONFIG_XZ_DEC_ARM64 of Linux 6.12 or newer"),
    (Bcj::PowerPc, "powerpc", "CONFIG_XZ_DEC_POWERPC"),
    (Bcj::Sparc, "sparc", "CONFIG_XZ_DEC_SPARC"),
    (Bcj::RiscV, "riscv", "CONFIG_XZ_DEC_RISCV of Linux 6.12 or newer"),
];

/// Match length at which xz stops searching by default. Against the 64 of preset 6, in blocks of 128 KiB: a fifth less CPU
/// time on a root file system of 145 MB, its image 0.2 % larger. Changing this changes images.
const NICE_LEN: u16 = 32;
const ALL_BCJ: [Bcj; 7] =
    [Bcj::X86, Bcj::Arm, Bcj::ArmThumb, Bcj::Arm64, Bcj::PowerPc, Bcj::Sparc, Bcj::RiscV];

impl Method {
    /// The compressor's number in the superblock.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        match self {
            Method::Gzip { .. } => Compression::Gzip,
            Method::Xz { .. } => Compression::Xz,
            Method::Zstd { .. } => Compression::Zstd,
            Method::Lz4 { .. } => Compression::Lz4,
            Method::Lzo => Compression::Lzo,
        }
    }

    /// The method of that compressor without a level. `None` for LZMA, which Linux does not read.
    #[must_use]
    pub const fn of(compression: Compression) -> Option<Self> {
        Some(match compression {
            Compression::Gzip => Method::Gzip { level: None },
            Compression::Xz => Method::Xz { preset: None, bcj: BcjPolicy::ByEffort },
            Compression::Zstd => Method::Zstd { level: None },
            Compression::Lz4 => Method::Lz4 { hc: None },
            Compression::Lzo => Method::Lzo,
            Compression::Lzma => return None,
        })
    }

    /// This method with a level: gzip 1 to 12, xz 0 to 9, zstd 1 to 22, lz4 (HC) 1 to 12; lzo has none.
    ///
    /// # Errors
    /// [`CodecError::Setting`] with the range.
    pub fn with_level(self, level: u8) -> Result<Self, CodecError> {
        let refuse = |codec, range| {
            Err(CodecError::Setting { codec, setting: "level", value: i64::from(level), range })
        };
        Ok(match self {
            Method::Gzip { .. } => Method::Gzip { level: Some(zlib::Level::new(level)?) },
            Method::Zstd { .. } => Method::Zstd { level: Some(zstd::Level::new(level)?) },
            Method::Xz { .. } if level > 9 => return refuse("xz", "0 to 9"),
            Method::Xz { bcj, .. } => Method::Xz { preset: Some(level), bcj },
            Method::Lz4 { .. } if !(1..=lz4::Mode::MAX_HC_LEVEL).contains(&level) => {
                return refuse("lz4", "1 to 12 (of the HC compressor)");
            }
            Method::Lz4 { .. } => Method::Lz4 { hc: Some(level) },
            Method::Lzo => return refuse("lzo", "none: lzo has one level"),
        })
    }
}

/// Which file data goes into fragment blocks, which many files share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragments {
    /// None: every file starts with a block of its own.
    Never,
    /// Files shorter than a block.
    SmallFiles,
    /// Those, and the last part of every other file: smallest.
    #[default]
    Tails,
}

/// Parts of the image that are stored without compression; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "five independent switches, as the format has them")]
pub struct Store {
    /// Inode and directory tables.
    pub inodes: bool,
    /// Data blocks.
    pub data: bool,
    /// Fragment blocks.
    pub fragments: bool,
    /// Xattr table.
    pub xattrs: bool,
    /// Id table.
    pub ids: bool,
}

/// Largest [`Padding::alignment`], 1 TiB: beyond any flash, and sums stay far from 2^64.
pub const MAX_ALIGNMENT: u64 = 1 << 40;

/// Bytes after the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// The image's length becomes a multiple of this many bytes, at most [`MAX_ALIGNMENT`]; 1 for none. Default 4096, which loop devices need.
    pub alignment: u64,
    /// 0x00 (default), or 0xFF, which flash need not program.
    pub byte: u8,
}

impl Default for Padding {
    fn default() -> Self {
        Padding { alignment: 4096, byte: 0 }
    }
}

/// What a SquashFS image shall be like. The default is the best choice for a device with a current kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Compressor and level; default xz.
    pub method: Method,
    /// Bytes of a data block: a power of two from 4096 to 1,048,576; default 131,072. Larger is smaller on flash
    /// and reads more for a random access.
    pub block_size: u32,
    /// Time against size.
    pub effort: Effort,
    /// Tail packing; default all tails.
    pub fragments: Fragments,
    /// Whether equal data is stored once; default true.
    pub duplicates: bool,
    /// Whether there is an export table, which NFS servers and file handles need; default true.
    pub export_table: bool,
    /// Parts stored uncompressed.
    pub store: Store,
    /// Padding at the end.
    pub padding: Padding,
    /// Creation time in the superblock, seconds since 1970; `None`: the newest time in the tree.
    pub mkfs_time: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            method: Method::Xz { preset: None, bcj: BcjPolicy::ByEffort },
            block_size: 128 << 10,
            effort: Effort::Default,
            fragments: Fragments::Tails,
            duplicates: true,
            export_table: true,
            store: Store::default(),
            padding: Padding::default(),
            mkfs_time: None,
        }
    }
}

/// An option that SquashFS cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Block size out of range or no power of two.
    #[error("block size {0} bytes: SquashFS takes powers of two from 4096 (4K) to 1048576 (1M)")]
    BlockSize(u32),
    /// Alignment 0, or above [`MAX_ALIGNMENT`].
    #[error("padding to a multiple of {0} bytes: give 1 for no padding, 4096 for the usual, at most 1 TiB")]
    Alignment(u64),
    /// Padding with something else than 0x00 or 0xFF.
    #[error("padding byte {0:#04x}: only 0x00 and 0xff make sense on flash")]
    PaddingByte(u8),
}

impl Options {
    /// Checks the options against each other and against the format.
    ///
    /// # Errors
    /// [`OptionError`], the first that is wrong.
    pub fn validate(&self) -> Result<(), OptionError> {
        let (smallest, largest) = BLOCK_SIZE_RANGE;
        if !self.block_size.is_power_of_two() || !(smallest..=largest).contains(&self.block_size) {
            return Err(OptionError::BlockSize(self.block_size));
        }
        if !(1..=MAX_ALIGNMENT).contains(&self.padding.alignment) {
            return Err(OptionError::Alignment(self.padding.alignment));
        }
        if !matches!(self.padding.byte, 0x00 | 0xff) {
            return Err(OptionError::PaddingByte(self.padding.byte));
        }
        Ok(())
    }

    /// Whether the last, short piece of a file of that length goes into a fragment.
    pub(crate) fn tail_in_fragment(&self, file_len: u64) -> bool {
        match self.fragments {
            Fragments::Never => false,
            Fragments::SmallFiles => file_len < u64::from(self.block_size),
            Fragments::Tails => true,
        }
    }

    fn by_effort<T>(&self, fast: T, default: T, max: T) -> T {
        match self.effort {
            Effort::Fast => fast,
            Effort::Default => default,
            Effort::Max => max,
        }
    }

    pub(crate) fn zlib_level(&self, level: Option<zlib::Level>) -> Result<zlib::Level, CodecError> {
        level.map_or_else(|| zlib::Level::new(self.by_effort(6, 9, 12)), Ok)
    }

    pub(crate) fn zstd_level(&self, level: Option<zstd::Level>) -> Result<zstd::Level, CodecError> {
        level.map_or_else(|| zstd::Level::new(self.by_effort(6, 15, 22)), Ok)
    }

    pub(crate) fn lz4_mode(&self, hc: Option<u8>) -> lz4::Mode {
        let by_effort =
            self.by_effort(lz4::Mode::Fast, lz4::Mode::Fast, lz4::Mode::Hc(lz4::Mode::MAX_HC_LEVEL));
        hc.map_or(by_effort, lz4::Mode::Hc)
    }

    /// The xz settings for units of `dictionary` bytes.
    pub(crate) fn xz(&self, preset: Option<u8>, dictionary: u32) -> xz::Settings {
        let settings = xz::Settings::preset(preset.unwrap_or_else(|| self.by_effort(1, 6, 6)), dictionary);
        if preset.is_none() && self.effort == Effort::Default {
            return settings.with_nice_len(NICE_LEN);
        }
        settings
    }

    /// The branch filters that may be tried.
    pub(crate) fn bcj(&self) -> BTreeSet<Bcj> {
        match &self.method {
            Method::Xz { bcj: BcjPolicy::Only(filters), .. } => filters.clone(),
            Method::Xz { bcj: BcjPolicy::ByEffort, .. } if self.effort == Effort::Max => ALL_BCJ.into(),
            _ => BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        assert_eq!(Options::default().validate(), Ok(()));
        for size in [0, 2048, 5000, 100 << 10, 2 << 20] {
            let options = Options { block_size: size, ..Options::default() };
            assert_eq!(options.validate(), Err(OptionError::BlockSize(size)));
        }
        let padding =
            |alignment, byte| Options { padding: Padding { alignment, byte }, ..Options::default() };
        assert_eq!(padding(0, 0).validate(), Err(OptionError::Alignment(0)));
        assert_eq!(padding(u64::MAX, 0).validate(), Err(OptionError::Alignment(u64::MAX)));
        assert_eq!(padding(1, 7).validate(), Err(OptionError::PaddingByte(7)));
        assert_eq!(padding(65536, 0xff).validate(), Ok(()));
    }

    #[test]
    fn levels_are_checked_per_method() {
        let cases =
            [(Compression::Gzip, 12), (Compression::Xz, 9), (Compression::Zstd, 22), (Compression::Lz4, 12)];
        for (compression, highest) in cases {
            let method = Method::of(compression).unwrap();
            assert!(method.clone().with_level(highest).is_ok());
            assert!(method.with_level(highest + 1).is_err(), "{compression:?}");
        }
        assert!(Method::Lzo.with_level(1).is_err());
    }
}
