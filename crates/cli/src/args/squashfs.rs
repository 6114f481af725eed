//! SquashFS: flags of `pack squashfs`, which are the keys of an output in `image.toml`.

use std::collections::BTreeSet;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use flashwright_squashfs::{self as squashfs, BCJ_NAMES, Bcj, BcjPolicy, Method};
use serde::Deserialize;

use super::values::{Size, Wrong, from_text};
use crate::compression::{self, Choice};
use crate::suggest::closest;

const IMAGE: &str = "SquashFS";
/// Largest multiple of bytes that an image is padded to.
const MAX_ALIGNMENT: u64 = 1 << 40;

/// What the image shall be like. Every field is a flag and a key.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SquashfsFlags {
    /// Compressor and level; default: xz
    #[arg(short, long, value_name = "NAME[:LEVEL]", help_heading = IMAGE,
        long_help = format!("Compressor and level; default: xz\n\n{}\n\nWithout a level, --effort chooses it.", compression::help()))]
    #[serde(deserialize_with = "from_text")]
    compression: Option<Choice>,
    /// Bytes that are compressed as one, 4K to 1M; default: 128K. Larger is smaller on flash, and reads more at a time
    #[arg(short, long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    block_size: Option<BlockSize>,
    /// Time against size; default: default
    #[arg(short, long, help_heading = IMAGE)]
    effort: Option<Effort>,
    /// Branch filters that xz tries on machine code: all, none, or some of x86, arm, armthumb, arm64, powerpc, sparc,
    /// riscv. Default: none, with --effort max all. The device's kernel needs the decoder of each (CONFIG_XZ_DEC_…)
    #[arg(long, value_name = "LIST", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    bcj: Option<BcjChoice>,
    /// What is packed into blocks that files share; default: tails
    #[arg(long, help_heading = IMAGE)]
    fragments: Option<Fragments>,
    /// Store equal data as often as it comes
    #[arg(long, help_heading = IMAGE)]
    no_duplicates: bool,
    /// Leave out the table that NFS servers and file handles need
    #[arg(long, help_heading = IMAGE)]
    no_export_table: bool,
    /// Parts that are stored without compressing, separated by commas
    #[arg(long, value_name = "PARTS", value_delimiter = ',', help_heading = IMAGE)]
    store: Vec<Part>,
    /// Make the length a multiple of this; default: 4K, which loop devices need. 1 for no padding
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    pad_to: Option<Size>,
    /// What to pad with: 0x00, or 0xff, which flash need not program. Default: 0x00
    #[arg(long, value_name = "BYTE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    pad_byte: Option<PadByte>,
    /// Creation time of the image, in seconds since 1970; default: SOURCE_DATE_EPOCH, or else the newest time in it
    #[arg(long, value_name = "SECONDS", help_heading = IMAGE)]
    mkfs_time: Option<u32>,
    /// Add OpenWrt's JFFS2 end mark at the next eraseblock, so that the rest of the partition becomes a writable JFFS2.
    /// Eraseblock sizes separated by commas, for devices that differ: 64K,128K
    #[arg(long, value_name = "SIZES", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    jffs2_end_marks: Option<EndMarks>,
    /// Fail with exit code 3 when the image is larger: the size of its partition
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    pub(crate) max_size: Option<Size>,
}

/// How much time to spend on size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Effort {
    /// For the edit-and-try loop: lower levels
    Fast,
    /// Small and fast
    Default,
    /// For a release: like files packed together, highest levels, the best xz settings of each block
    Max,
}

/// Which data goes into shared blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fragments {
    /// None: every file starts a block
    Never,
    /// Files shorter than a block
    SmallFiles,
    /// Those, and the end of every other file: smallest
    Tails,
}

/// A part of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Part {
    /// Every part
    All,
    /// Inodes and directories
    Inodes,
    /// Blocks of files
    Data,
    /// Blocks that files share
    Fragments,
    /// Extended attributes
    Xattrs,
    /// Owners
    Ids,
}

/// A power of two from 4 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BlockSize(u32);

impl FromStr for BlockSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Size(bytes) = text.parse()?;
        let (smallest, largest) = squashfs::format::BLOCK_SIZE_RANGE;
        let size = u32::try_from(bytes).ok().filter(|size| (smallest..=largest).contains(size));
        match size {
            Some(size) if size.is_power_of_two() => Ok(BlockSize(size)),
            Some(size) => {
                let above = size.next_power_of_two() >> 10;
                Err(format!(
                    "a block has a power of two of bytes; next to it are {}K and {above}K",
                    above / 2
                ))
            }
            None if bytes > 0 && bytes <= 1024 => Err(format!(
                "a block has 4K to 1M (1048576 bytes); {bytes} are bytes: did you mean {bytes}K?"
            )),
            None => Err("a block has 4K (4096 bytes) to 1M (1048576 bytes), a power of two".into()),
        }
    }
}

/// Zeros or erased flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PadByte(u8);

impl FromStr for PadByte {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "0" | "0x0" | "0x00" | "00" => Ok(PadByte(0)),
            "255" | "0xff" | "ff" => Ok(PadByte(0xff)),
            _ => Err("0x00 or 0xff".into()),
        }
    }
}

/// Eraseblocks at whose start JFFS2 end marks go: sizes in bytes, smallest first, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EndMarks(Vec<u32>);

impl FromStr for EndMarks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: BTreeSet<u32> = text.split(',').map(eraseblock).collect::<Result<_, _>>()?;
        Ok(EndMarks(sizes.into_iter().collect()))
    }
}

fn eraseblock(text: &str) -> Result<u32, String> {
    let Size(bytes) = text.parse()?;
    let range = flashwright_jffs2::format::MIN_ERASEBLOCK..=flashwright_jffs2::MAX_ERASEBLOCK;
    let fits = u32::try_from(bytes).ok().filter(|size| range.contains(size) && size.is_power_of_two());
    fits.ok_or_else(|| format!("an eraseblock of JFFS2 has a power of two from 8K to 16M, not {bytes} bytes"))
}

/// Branch filters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BcjChoice(BcjPolicy);

impl FromStr for BcjChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(BcjChoice(BcjPolicy::all())),
            "none" | "off" => Ok(BcjChoice(BcjPolicy::Off)),
            list => {
                let filters: BTreeSet<Bcj> = list.split(',').map(filter).collect::<Result<_, _>>()?;
                Ok(BcjChoice(BcjPolicy::Only(filters)))
            }
        }
    }
}

fn filter(name: &str) -> Result<Bcj, String> {
    if let Some((filter, ..)) = BCJ_NAMES.iter().find(|(_, known, _)| *known == name.trim()) {
        return Ok(*filter);
    }
    let names = BCJ_NAMES.map(|(_, name, _)| name);
    Err(match closest(name, names) {
        Some(meant) => format!("no such filter; did you mean {meant}?"),
        None => format!("no such filter {name:?}; there are all, none, {}", names.join(", ")),
    })
}

impl SquashfsFlags {
    /// The options for the writer. `epoch` is SOURCE_DATE_EPOCH.
    ///
    /// # Errors
    /// [`Wrong`] for flags that contradict each other.
    pub(crate) fn options(&self, epoch: Option<u32>) -> Result<squashfs::Options, Wrong> {
        let mut options = squashfs::Options::default();
        if let Some(choice) = self.compression {
            options.method = choice.method();
        }
        if let Some(BcjChoice(policy)) = &self.bcj {
            let Method::Xz { bcj, .. } = &mut options.method else {
                let message =
                    format!("bcj filters work with xz, not with {}", options.method.compression().name());
                return Err(Wrong {
                    key: "bcj",
                    message,
                    help: "drop bcj, or take the compressor xz".into(),
                });
            };
            *bcj = policy.clone();
        }
        if let Some(BlockSize(size)) = self.block_size {
            options.block_size = size;
        }
        options.effort = self.effort.map_or(options.effort, Effort::into_library);
        options.fragments = self.fragments.map_or(options.fragments, Fragments::into_library);
        options.duplicates = !self.no_duplicates;
        options.export_table = !self.no_export_table;
        options.store = self.stored();
        if let Some(Size(alignment)) = self.pad_to {
            options.padding.alignment = alignment;
        }
        if let Some(PadByte(byte)) = self.pad_byte {
            options.padding.byte = byte;
        }
        options.mkfs_time = self.mkfs_time.or(epoch);
        if options.padding.alignment > MAX_ALIGNMENT {
            let message = "padding to a multiple of more than 1T".into();
            return Err(Wrong {
                key: "pad-to",
                message,
                help: "give the size of an eraseblock or partition".into(),
            });
        }
        let smallest = self.end_marks().first().copied().map(u64::from);
        if let Some(smallest) = smallest.filter(|&eraseblock| options.padding.alignment > eraseblock) {
            let message = format!(
                "padding to a multiple of {} bytes, but the end mark belongs at the first eraseblock of {smallest} bytes \
                 after the data",
                options.padding.alignment
            );
            let help = "pad to an eraseblock at most".into();
            return Err(Wrong { key: "pad-to", message, help });
        }
        options.validate().map_err(|error| {
            let help = "flashwright help pack squashfs tells what there is".into();
            Wrong { key: "pad-to", message: error.to_string(), help }
        })?;
        Ok(options)
    }

    /// Eraseblock sizes, bytes, smallest first, at whose start an end mark follows the image.
    pub(crate) fn end_marks(&self) -> &[u32] {
        self.jffs2_end_marks.as_ref().map_or(&[], |EndMarks(sizes)| sizes)
    }

    fn stored(&self) -> squashfs::Store {
        let has = |part| self.store.contains(&Part::All) || self.store.contains(&part);
        squashfs::Store {
            inodes: has(Part::Inodes),
            data: has(Part::Data),
            fragments: has(Part::Fragments),
            xattrs: has(Part::Xattrs),
            ids: has(Part::Ids),
        }
    }
}

impl Effort {
    const fn into_library(self) -> squashfs::Effort {
        match self {
            Effort::Fast => squashfs::Effort::Fast,
            Effort::Default => squashfs::Effort::Default,
            Effort::Max => squashfs::Effort::Max,
        }
    }
}

impl Fragments {
    const fn into_library(self) -> squashfs::Fragments {
        match self {
            Fragments::Never => squashfs::Fragments::Never,
            Fragments::SmallFiles => squashfs::Fragments::SmallFiles,
            Fragments::Tails => squashfs::Fragments::Tails,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_teach() {
        assert_eq!("128K".parse(), Ok(BlockSize(131_072)));
        assert_eq!("0x1000".parse(), Ok(BlockSize(4096)));
        let cases = [
            ("100K", "64K and 128K"),
            ("128", "did you mean 128K?"),
            ("2M", "4K (4096 bytes) to 1M"),
            ("0", "4K (4096 bytes) to 1M"),
            ("128KB", "write K or KiB"),
        ];
        for (text, part) in cases {
            let message = text.parse::<BlockSize>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn filters_are_named() {
        let arm = BcjPolicy::Only(BTreeSet::from([Bcj::Arm, Bcj::ArmThumb]));
        assert_eq!("arm,armthumb".parse(), Ok(BcjChoice(arm)));
        assert_eq!("none".parse(), Ok(BcjChoice(BcjPolicy::Off)));
        assert!("x68".parse::<BcjChoice>().unwrap_err().contains("did you mean x86?"));
        assert!("mips".parse::<BcjChoice>().unwrap_err().contains("there are all, none, x86"));
    }

    #[test]
    fn end_marks_have_eraseblocks() {
        assert_eq!("128K,64K,65536".parse(), Ok(EndMarks(vec![0x1_0000, 0x2_0000])));
        for text in ["4K", "100K", "64K,", "32M", "8G"] {
            assert!(text.parse::<EndMarks>().is_err(), "{text}");
        }
        let flags = |pad_to| SquashfsFlags {
            jffs2_end_marks: Some("128K,64K".parse().unwrap()),
            pad_to: Some(Size(pad_to)),
            ..SquashfsFlags::default()
        };
        assert!(flags(0x1_0000).options(None).is_ok());
        assert_eq!(flags(0x2_0000).options(None).unwrap_err().key, "pad-to");
        assert_eq!(flags(4096).end_marks(), [0x1_0000, 0x2_0000]);
    }

    #[test]
    fn contradictions_are_found() {
        let flags = SquashfsFlags {
            compression: Some("zstd".parse().unwrap()),
            bcj: Some("all".parse().unwrap()),
            ..SquashfsFlags::default()
        };
        assert_eq!(flags.options(None).unwrap_err().key, "bcj");
        let flags = SquashfsFlags::default();
        assert_eq!(flags.options(Some(5)).unwrap().mkfs_time, Some(5));
        let flags = SquashfsFlags { pad_to: Some(Size(0)), ..SquashfsFlags::default() };
        assert_eq!(flags.options(None).unwrap_err().key, "pad-to");
    }
}
