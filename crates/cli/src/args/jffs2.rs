//! JFFS2: flags of `pack jffs2`, which are the keys of an output in `image.toml`.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use flashwright_jffs2::{self as jffs2, Compressors, Flash, OptionError, Padding};
use flashwright_media::Endian;
use serde::Deserialize;

use super::values::{OnItsOwn, Size, Wrong, from_switch_or_text, from_text};
use crate::suggest::closest;

const IMAGE: &str = "JFFS2";
const DEVICE: &str = "Device";

/// What the image shall be like. Every field is a flag and a key.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Jffs2Flags {
    /// Bytes that the flash erases at once, 8K to 16M: erasesize in the device's /proc/mtd, in hex there. An image made
    /// for another size does not mount
    #[arg(long, value_name = "SIZE", required = true, help_heading = DEVICE)]
    #[serde(deserialize_with = "from_text")]
    eraseblock: Option<Size>,
    /// Byte order of the device's CPU. An image made for the other does not mount
    #[arg(long, required = true, help_heading = DEVICE)]
    endian: Option<EndianChoice>,
    /// Kind of flash; default: nor
    #[arg(long, help_heading = DEVICE)]
    flash: Option<FlashChoice>,
    /// Smallest write of the flash: writesize of the device's MTD. Default: 1 for NOR; the others need it
    #[arg(long, value_name = "SIZE", help_heading = DEVICE,
        required_if_eq_any = [("flash", "nand"), ("flash", "ubi"), ("flash", "dataflash")])]
    #[serde(deserialize_with = "from_text")]
    page_size: Option<Size>,
    /// Bytes of the cleanmarker that starts each eraseblock, when not what Linux expects on that flash; 0 for none
    #[arg(long, value_name = "SIZE", help_heading = DEVICE)]
    #[serde(deserialize_with = "from_text")]
    cleanmarker_size: Option<Size>,
    /// Size of the device's partition: says what stays free, warns when nothing could be written, and fails with exit
    /// code 3 when the image does not fit. Default: that of --pad
    #[arg(long, value_name = "SIZE", help_heading = DEVICE)]
    #[serde(deserialize_with = "from_text")]
    size: Option<Size>,
    /// Compressors, separated by commas: zlib, lzo, rtime, or none. Each node has the one that makes it smallest.
    /// Default: zlib,rtime. The device's kernel must have lzo (CONFIG_JFFS2_LZO), which few do
    #[arg(short, long, value_name = "LIST", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    compression: Option<CompressorList>,
    /// Time against size; default: default
    #[arg(short, long, help_heading = IMAGE)]
    effort: Option<Effort>,
    /// Leave out the summaries, from which a mount learns what is in an eraseblock without reading it. Kernels without
    /// CONFIG_JFFS2_SUMMARY take them for waste
    #[arg(long, help_heading = IMAGE)]
    no_summary: bool,
    /// Bytes of a file in one node, before compression: 4K, 8K, 16K, 32K or 64K. Default: 4K. Larger is smaller on flash,
    /// and takes longer to read here and there
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    node_size: Option<Size>,
    /// Fill the last eraseblock; with a size, add free eraseblocks up to it: the partition
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "eraseblock",
        help_heading = IMAGE)]
    #[serde(deserialize_with = "from_switch_or_text")]
    pad: Option<Pad>,
    /// End with OpenWrt's end mark: its kernels erase and use what comes after
    #[arg(long, help_heading = IMAGE)]
    end_mark: bool,
}

/// Byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EndianChoice {
    /// MIPS as in Atheros and Lantiq devices, PowerPC
    Big,
    /// ARM, x86, RISC-V, MIPS as in MediaTek and Ralink devices
    Little,
}

/// Kind of flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FlashChoice {
    /// NOR, parallel or SPI: cleanmarkers in the image
    Nor,
    /// NAND: cleanmarkers in the spare area, which the kernel writes itself
    Nand,
    /// A UBI volume by way of gluebi: the eraseblock is a LEB
    Ubi,
    /// Atmel DataFlash
    Dataflash,
}

/// How much time to spend on size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Effort {
    /// For the edit-and-try loop
    Fast,
    /// Small and fast
    Default,
    /// For a release
    Max,
}

/// Compressors that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CompressorList(Compressors);

impl FromStr for CompressorList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        if names.contains(&"none") && names.len() > 1 {
            return Err(
                "none stands alone; a node that nothing makes smaller is stored as it is anyway".into()
            );
        }
        Compressors::from_names(names).map(CompressorList).map_err(|name| {
            if name.contains(':') {
                return "compressors have no levels here; take --effort fast, default or max".into();
            }
            match closest(name, Compressors::NAMES) {
                Some(meant) => format!("no such compressor {name:?}; did you mean {meant}?"),
                None => format!("no such compressor {name:?}; there are {}", Compressors::NAMES.join(", ")),
            }
        })
    }
}

/// What comes after the last node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pad {
    /// The rest of its eraseblock.
    Eraseblock,
    /// Free eraseblocks up to that many bytes.
    Size(u64),
}

impl OnItsOwn for Pad {
    fn on_its_own() -> Self {
        Pad::Eraseblock
    }
}

impl FromStr for Pad {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "eraseblock" {
            return Ok(Pad::Eraseblock);
        }
        let Size(bytes) = text.parse()?;
        Ok(Pad::Size(bytes))
    }
}

impl Jffs2Flags {
    /// The options for the writer, and the size of the device, bytes.
    ///
    /// # Errors
    /// [`Wrong`] for what JFFS2 cannot be.
    pub(crate) fn options(&self) -> Result<(jffs2::Options, Option<u64>), Wrong> {
        let (Some(Size(eraseblock)), Some(endian)) = (self.eraseblock, self.endian) else {
            let missing = if self.eraseblock.is_none() { "eraseblock" } else { "endian" };
            let message = format!("{missing} is missing, which the device decides");
            let help = "for example: eraseblock = \"64K\" and endian = \"little\"; cat /proc/mtd on the device \
                        shows erasesize, in hex";
            return Err(Wrong { key: missing, message, help: help.into() });
        };
        let mut options = jffs2::Options::new(narrow("eraseblock", eraseblock)?, endian.into_library());
        options.flash = self.flash.map_or(options.flash, FlashChoice::into_library);
        options.page_size = self.page_size(options.flash)?;
        if let Some(Size(bytes)) = self.cleanmarker_size {
            options.cleanmarker_size = Some(narrow("cleanmarker-size", bytes)?);
        }
        if let Some(CompressorList(compressors)) = self.compression {
            options.compressors = compressors;
        }
        options.effort = self.effort.map_or(options.effort, Effort::into_library);
        options.summary = !self.no_summary;
        if let Some(Size(bytes)) = self.node_size {
            options.node_size = narrow("node-size", bytes)?;
        }
        options.padding = self.pad.map_or(options.padding, Pad::into_library);
        options.end_mark = self.end_mark;
        options.validate().map_err(wrong)?;
        Ok((options, self.device_size()))
    }

    /// NOR is written byte by byte. Of other flash there is no size that most have.
    fn page_size(&self, flash: Flash) -> Result<u32, Wrong> {
        match (self.page_size, flash) {
            (Some(Size(bytes)), _) => narrow("page-size", bytes),
            (None, Flash::Nor) => Ok(1),
            (None, _) => Err(Wrong {
                key: "page-size",
                message: "page-size is missing, which flash other than NOR needs".into(),
                help: "give the writesize of the device's MTD, for example 2K: cat /sys/class/mtd/mtd0/writesize"
                    .into(),
            }),
        }
    }

    fn device_size(&self) -> Option<u64> {
        match (self.size, self.pad) {
            (Some(Size(bytes)), _) | (None, Some(Pad::Size(bytes))) => Some(bytes),
            _ => None,
        }
    }
}

/// Sizes of options that are far below 4 GiB.
fn narrow(key: &'static str, bytes: u64) -> Result<u32, Wrong> {
    u32::try_from(bytes).map_err(|_| Wrong {
        key,
        message: format!("{bytes} bytes are out of all range"),
        help: HELP.into(),
    })
}

const HELP: &str = "flashwright help pack jffs2 tells what there is";

fn wrong(error: OptionError) -> Wrong {
    let key = match &error {
        OptionError::EraseblockSize(_) | OptionError::EraseblockOfPages { .. } => "eraseblock",
        OptionError::PageSize(_) => "page-size",
        OptionError::CleanmarkerSize(_) => "cleanmarker-size",
        OptionError::NodeSize { .. } => "node-size",
        _ => "pad",
    };
    Wrong { key, message: error.to_string(), help: HELP.into() }
}

impl EndianChoice {
    pub(super) const fn into_library(self) -> Endian {
        match self {
            EndianChoice::Big => Endian::Big,
            EndianChoice::Little => Endian::Little,
        }
    }
}

impl FlashChoice {
    const fn into_library(self) -> Flash {
        match self {
            FlashChoice::Nor => Flash::Nor,
            FlashChoice::Nand => Flash::Nand,
            FlashChoice::Ubi => Flash::Ubi,
            FlashChoice::Dataflash => Flash::DataFlash,
        }
    }
}

impl Effort {
    const fn into_library(self) -> jffs2::Effort {
        match self {
            Effort::Fast => jffs2::Effort::Fast,
            Effort::Default => jffs2::Effort::Default,
            Effort::Max => jffs2::Effort::Max,
        }
    }
}

impl Pad {
    const fn into_library(self) -> Padding {
        match self {
            Pad::Eraseblock => Padding::Eraseblock,
            Pad::Size(bytes) => Padding::Size(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Jffs2Flags {
        Jffs2Flags {
            eraseblock: Some(Size(0x1_0000)),
            endian: Some(EndianChoice::Big),
            ..Jffs2Flags::default()
        }
    }

    #[test]
    fn the_device_decides() {
        let (options, size) = flags().options().unwrap();
        assert_eq!(options, jffs2::Options::new(0x1_0000, Endian::Big));
        assert_eq!(size, None);
        let key = |flags: Jffs2Flags| flags.options().unwrap_err().key;
        assert_eq!(key(Jffs2Flags::default()), "eraseblock");
        assert_eq!(key(Jffs2Flags { endian: None, ..flags() }), "endian");
        assert_eq!(key(Jffs2Flags { flash: Some(FlashChoice::Nand), ..flags() }), "page-size");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |change: fn(&mut Jffs2Flags)| {
            let mut flags = flags();
            change(&mut flags);
            flags.options().unwrap_err().key
        };
        assert_eq!(key(|flags| flags.eraseblock = Some(Size(4096))), "eraseblock");
        assert_eq!(key(|flags| flags.eraseblock = Some(Size(1 << 32))), "eraseblock");
        assert_eq!(key(|flags| flags.page_size = Some(Size(3))), "page-size");
        assert_eq!(key(|flags| flags.cleanmarker_size = Some(Size(3))), "cleanmarker-size");
        assert_eq!(key(|flags| flags.node_size = Some(Size(0x1_0000))), "node-size");
        assert_eq!(key(|flags| flags.pad = Some(Pad::Size(1000))), "pad");
    }

    #[test]
    fn the_size_of_the_device_is_that_of_the_padding_unless_given() {
        let padded = || Jffs2Flags { pad: Some(Pad::Size(0x10_0000)), ..flags() };
        assert_eq!(padded().options().unwrap().1, Some(0x10_0000));
        let both = Jffs2Flags { size: Some(Size(0x20_0000)), ..padded() };
        assert_eq!(both.options().unwrap().1, Some(0x20_0000));
    }

    #[test]
    fn compressors_are_named() {
        let list = |zlib, lzo, rtime| Ok(CompressorList(Compressors { zlib, lzo, rtime }));
        assert_eq!("zlib, lzo".parse(), list(true, true, false));
        assert_eq!("none".parse(), list(false, false, false));
        let cases = [
            ("zlb", "did you mean zlib?"),
            ("xz", "there are zlib, lzo, rtime, none"),
            ("zlib:9", "--effort"),
            ("zlib,none", "none stands alone"),
        ];
        for (text, part) in cases {
            let message = text.parse::<CompressorList>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
