//! UBI: flags of `pack ubi`, which are the keys of a `[[ubi]]` in `image.toml`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use flashwright_media::UbiGeometry;
use flashwright_ubi::format::VolumeType;
use flashwright_ubi::{Device, Options, Volume};
use serde::Deserialize;

use super::RunFlags;
use super::values::{Size, Wrong, from_text};
use crate::size;

const FLASH: &str = "Flash";
const IMAGE: &str = "UBI";

/// Write a UBI image: volumes for NAND, and for NOR with eraseblocks that are not too small
#[derive(Debug, Args)]
#[command(after_long_help = super::after_long_help("\
Examples:
  flashwright pack ubi --peb 128K --min-io 2048 --volume name=rootfs,image=root.ubifs,autoresize -o firmware.ubi
                                      one volume that grows to the end of the flash when it is first attached
  flashwright pack ubi --peb 128K --min-io 2K --sub-page 512 --peb-count 1024 \\
      --volume name=kernel,image=kernel.itb,type=static --volume name=rootfs,image=root.squashfs,type=static \\
      --volume name=data,size=16M,autoresize -o firmware.ubi
                                      refused, with the sums, when 1024 PEBs are too few
  flashwright pack ubi --peb 128K --min-io 2048 --peb-count 1024 --flashable ubinize.ini -o firmware.ubi
                                      volumes from an ini file of ubinize; firmware.raw and README.txt beside the image
  cat /sys/class/mtd/mtd0/{erasesize,writesize,subpagesize}
                                      on the device: --peb, --min-io, --sub-page"))]
pub(crate) struct PackUbi {
    /// Volumes as ubinize has them; image paths in it are relative to the current directory
    #[arg(value_name = "INI")]
    pub(crate) ini: Vec<PathBuf>,
    /// A volume; may be given more than once
    #[arg(
        long = "volume",
        value_name = "KEY=VALUE,…",
        help_heading = IMAGE,
        long_help = "\
A volume; may be given more than once. Its keys, separated by commas (a comma in a value is written \\,):

  name=NAME       required, 1 to 127 bytes
  image=FILE      what is in it; without, it is empty
  type=dynamic    written at any time; the default
  type=static     written once, with a CRC for each LEB; needs an image
  size=SIZE       what is reserved, rounded up to whole LEBs; default: what the image takes
  id=N            default: the first that is free
  align=SIZE      the usable size of a LEB becomes a multiple of this, itself a multiple of --min-io
  autoresize      grows to all that is free when it is first attached; one volume only
  skip-check      a static volume that the kernel does not read as a whole before use"
    )]
    pub(crate) volumes: Vec<VolumeKeys>,
    /// The image; an older one is replaced when the new one is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: UbiFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
}

/// What flash and image are like. Every field is a flag and a key; volumes come on their own.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct UbiFlags {
    /// Bytes of a physical eraseblock; erasesize of the MTD
    #[arg(long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    peb: Option<Size>,
    /// Smallest unit of writing: the page of NAND (writesize of the MTD), 1 on NOR
    #[arg(long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    min_io: Option<Size>,
    /// Part of a page that can be written alone (subpagesize of the MTD); default: as --min-io
    #[arg(long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    sub_page: Option<Size>,
    /// Bytes from the start of a PEB to its VID header; default: the second sub-page
    #[arg(long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    vid_hdr_offset: Option<Size>,
    /// Bytes of a LEB, only to be checked: they follow from the others
    #[arg(long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    leb: Option<Size>,
    /// PEBs of the partition: volumes that do not fit are refused
    #[arg(long, value_name = "N", help_heading = FLASH)]
    peb_count: Option<u32>,
    /// Bad PEBs that the partition has; default: 0
    #[arg(long, value_name = "N", help_heading = FLASH)]
    bad_pebs: Option<u32>,
    /// PEBs of the whole chip, which the reserve for bad ones is made for; default: as --peb-count
    #[arg(long, value_name = "N", help_heading = FLASH)]
    chip_peb_count: Option<u32>,
    /// Bad PEBs of 1024 that the device's kernel provides for; default: 20 on NAND, 0 on NOR
    #[arg(long, value_name = "N", help_heading = FLASH)]
    max_beb_per1024: Option<u32>,
    /// Erase counter of every PEB; default: 0. Programs that know UBI keep the device's own
    #[arg(long, value_name = "N", help_heading = IMAGE)]
    erase_count: Option<u64>,
    /// Number that tells this image from others, decimal or 0x hexadecimal; default: derived from all that is in it
    #[arg(long, value_name = "N", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    image_seq: Option<ImageSeq>,
    /// Also write FILE.raw, for programs that do not know UBI, and README.txt, which says when to use which
    #[arg(long, help_heading = IMAGE)]
    pub(crate) flashable: bool,
    /// Fail with exit code 3 when the image is larger
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    pub(crate) max_size: Option<Size>,
    /// Volumes of a `[[ubi]]`.
    #[arg(skip)]
    pub(crate) volume: Vec<VolumeKeys>,
}

/// A 32-bit number, decimal or hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ImageSeq(u32);

impl FromStr for ImageSeq {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
        number.map(ImageSeq).map_err(|_| "not a number of 32 bits".into())
    }
}

/// A volume, as the command line and `image.toml` have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct VolumeKeys {
    pub(crate) name: String,
    /// File with its content.
    pub(crate) image: Option<PathBuf>,
    /// Output of the same file that is its content.
    pub(crate) output: Option<String>,
    r#type: Option<String>,
    #[serde(deserialize_with = "from_text")]
    size: Option<Size>,
    id: Option<u32>,
    #[serde(deserialize_with = "from_text")]
    align: Option<Size>,
    autoresize: bool,
    skip_check: bool,
}

impl FromStr for VolumeKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = VolumeKeys::default();
        for part in split(text) {
            let (key, value) =
                part.split_once('=').map_or((part.as_str(), None), |(key, value)| (key, Some(value)));
            keys.set(key, value)?;
        }
        if keys.name.is_empty() { Err("a volume needs name=NAME".into()) } else { Ok(keys) }
    }
}

/// Splits at commas that have no backslash before them.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = parts.len() - 1;
        match letter {
            '\\' if letters.peek() == Some(&',') => parts[last].extend(letters.next()),
            ',' => parts.push(String::new()),
            _ => parts[last].push(letter),
        }
    }
    parts
}

impl VolumeKeys {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let needed = || value.ok_or_else(|| format!("{key} needs a value: {key}=…"));
        let bytes =
            || needed().and_then(|text| size::parse(text).map_err(|error| format!("{key}={text}: {error}")));
        match key {
            "name" => needed()?.clone_into(&mut self.name),
            "image" => self.image = Some(needed()?.into()),
            "type" => self.r#type = Some(needed()?.to_owned()),
            "size" => self.size = Some(Size(bytes()?)),
            "id" => self.id = Some(needed()?.parse().map_err(|_| "id is not a number".to_owned())?),
            "align" => self.align = Some(Size(bytes()?)),
            "autoresize" | "skip-check" if value.is_some() => return Err(format!("{key} takes no value")),
            "autoresize" => self.autoresize = true,
            "skip-check" => self.skip_check = true,
            _ => {
                let known = "name, image, type, size, id, align, autoresize, skip-check";
                return Err(format!("unknown key {key:?}; a volume has {known}"));
            }
        }
        Ok(())
    }

    /// The volume, without content.
    ///
    /// # Errors
    /// [`Wrong`] for a type that is none and an alignment of 4 GiB.
    pub(crate) fn volume(&self) -> Result<Volume, Wrong> {
        let wrong = |message: String, help: &str| Wrong { key: "volume", message, help: help.into() };
        let mut volume = Volume::new(&self.name);
        volume.volume_type = match self.r#type.as_deref() {
            None | Some("dynamic") => VolumeType::Dynamic,
            Some("static") => VolumeType::Static,
            Some(other) => {
                return Err(wrong(
                    format!("volume {}: unknown type {other:?}", self.name),
                    "dynamic or static",
                ));
            }
        };
        if let Some(Size(bytes)) = self.align {
            let too_large =
                || wrong(format!("volume {}: align {bytes}", self.name), "give a smaller alignment");
            volume.alignment = u32::try_from(bytes).map_err(|_| too_large())?;
        }
        volume.size = self.size.map(|Size(bytes)| bytes);
        (volume.id, volume.autoresize, volume.skip_check) = (self.id, self.autoresize, self.skip_check);
        Ok(volume)
    }
}

impl UbiFlags {
    /// The options for the writer.
    ///
    /// # Errors
    /// [`Wrong`] when the PEB or the page is missing, or the sizes do not go together.
    pub(crate) fn options(&self) -> Result<Options, Wrong> {
        let geometry = self.geometry()?;
        let mut options = Options::new(geometry);
        options.erase_count = self.erase_count.unwrap_or_default();
        options.image_seq = self.image_seq.map(|ImageSeq(number)| number);
        options.device = self.peb_count.map(|peb_count| {
            let mut device = Device::new(peb_count);
            device.bad_pebs = self.bad_pebs.unwrap_or_default();
            device.chip_peb_count = self.chip_peb_count;
            device.max_beb_per1024 = self.max_beb_per1024;
            device
        });
        let of_device = [("bad-pebs", self.bad_pebs), ("chip-peb-count", self.chip_peb_count)];
        let mut of_device = of_device.into_iter().chain([("max-beb-per1024", self.max_beb_per1024)]);
        let alone = of_device.find(|(_, value)| value.is_some() && options.device.is_none());
        match alone {
            Some((key, _)) => Err(Wrong {
                key,
                message: "it means nothing without the number of PEBs".into(),
                help: "give peb-count too".into(),
            }),
            None if self.flashable && options.device.is_none() => Err(Wrong {
                key: "flashable",
                message: "the raw image is as large as the partition, whose size is not known".into(),
                help: "give peb-count too".into(),
            }),
            None => Ok(options),
        }
    }

    fn geometry(&self) -> Result<UbiGeometry, Wrong> {
        let missing = |key, what: &str| Wrong {
            key,
            message: format!("it is missing: {what}"),
            help: "on the device: cat /sys/class/mtd/mtd0/{erasesize,writesize,subpagesize}".into(),
        };
        let small = |key, Size(bytes): Size| {
            let message = format!("{bytes} bytes are more than any flash has");
            u32::try_from(bytes).map_err(|_| Wrong { key, message, help: "give a smaller size".into() })
        };
        let peb = self.peb.ok_or_else(|| missing("peb", "bytes of an eraseblock, such as 128K"))?;
        let min_io =
            self.min_io.ok_or_else(|| missing("min-io", "the page of NAND, such as 2048, or 1 for NOR"))?;
        let sub_page = self.sub_page.map(|size| small("sub-page", size)).transpose()?;
        let offset = self.vid_hdr_offset.map(|size| small("vid-hdr-offset", size)).transpose()?;
        let geometry = UbiGeometry::new(small("peb", peb)?, small("min-io", min_io)?, sub_page, offset)
            .map_err(|error| Wrong {
                key: "peb",
                message: error.to_string(),
                help: "give the sizes of the MTD".into(),
            })?;
        match self.leb {
            Some(Size(leb)) if leb != u64::from(geometry.leb_size()) => Err(Wrong {
                key: "leb",
                message: format!(
                    "a LEB of {leb} bytes does not match the PEB: {} less {} of headers are {}",
                    geometry.peb_size(),
                    geometry.data_offset(),
                    geometry.leb_size()
                ),
                help: "give another sub-page or VID header offset, or leave leb out".into(),
            }),
            _ => Ok(geometry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_on_the_command_line() {
        let keys: VolumeKeys =
            "name=root\\,fs,image=a=b.img,type=static,size=1M,id=3,align=4K,autoresize,skip-check"
                .parse()
                .unwrap();
        assert_eq!((keys.name.as_str(), keys.image.clone()), ("root,fs", Some("a=b.img".into())));
        let volume = keys.volume().unwrap();
        assert_eq!(
            (volume.volume_type, volume.size, volume.id),
            (VolumeType::Static, Some(1 << 20), Some(3))
        );
        assert_eq!((volume.alignment, volume.autoresize, volume.skip_check), (4096, true, true));
        let cases = [
            ("image=x", "a volume needs name=NAME"),
            ("name", "name needs a value: name=…"),
            ("name=x,size=1Q", "size=1Q: not a size"),
            ("name=x,id=-1", "id is not a number"),
            ("name=x,autoresize=1", "autoresize takes no value"),
            ("name=x,what", "unknown key \"what\"; a volume has name, image"),
        ];
        for (text, message) in cases {
            let found = text.parse::<VolumeKeys>().unwrap_err();
            assert!(found.starts_with(message), "{text}: {found}");
        }
    }
}
