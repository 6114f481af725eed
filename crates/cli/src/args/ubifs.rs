//! UBIFS: flags of `pack ubifs`, which are the keys of an output in `image.toml`.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use flashwright_ubifs::format::KeyHash as LibraryHash;
use flashwright_ubifs::{self as ubifs, Geometry, OptionError, Options};
use serde::Deserialize;

use super::values::{Size, Wrong, from_text};
use crate::suggest::closest;

const IMAGE: &str = "UBIFS";
const FLASH: &str = "Flash";
/// LEBs that UBI keeps for itself on every device: two for its table, one to move data to, one to change a LEB in one go.
const UBI_LEBS: u32 = 4;

/// Keys of `[flash]` in `image.toml` that hold for UBIFS and UBI too.
pub(crate) const FLASH_KEYS: [&str; 4] = ["peb", "min-io", "sub-page", "peb-count"];

/// What the image shall be like. Every field is a flag and a key.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct UbifsFlags {
    /// Smallest write of the flash: the page of NAND, 1 for NOR (writesize in /sys/class/mtd/mtdX)
    #[arg(short, long, value_name = "SIZE", required = true, help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    min_io: Option<Size>,
    /// Bytes of a LEB, what UBI leaves of an eraseblock (ubinfo shows it); or give --peb
    #[arg(short, long, value_name = "SIZE", required_unless_present = "peb", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    leb: Option<Size>,
    /// Bytes of an eraseblock, from which the LEB is computed (erasesize in /sys/class/mtd/mtdX)
    #[arg(short, long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    peb: Option<Size>,
    /// With --peb: smallest write within a page (subpagesize in /sys/class/mtd/mtdX); default: a page, which is right
    /// where the flash has none
    #[arg(long, value_name = "SIZE", help_heading = FLASH)]
    #[serde(deserialize_with = "from_text")]
    sub_page: Option<Size>,
    /// LEBs of the largest volume that the file system shall ever fill. The image takes what it needs and grows to the
    /// volume at the first mount
    #[arg(long, value_name = "N", required_unless_present = "peb_count", help_heading = FLASH)]
    max_lebs: Option<u32>,
    /// Eraseblocks of the UBI device: stands in for --max-lebs, with all that UBI can give to one volume
    #[arg(long, value_name = "N", help_heading = FLASH)]
    peb_count: Option<u32>,
    /// lzo, zlib, zstd (kernel 5.3 or newer), favor-lzo (LZO, but zlib where it saves a lot) or none; default: lzo
    #[arg(short, long, value_name = "NAME", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    compression: Option<Compression>,
    /// With favor-lzo: percent that zlib must save against LZO; default: 20
    #[arg(long, value_name = "PERCENT", help_heading = IMAGE)]
    favor_percent: Option<u8>,
    /// Time against size; default: default
    #[arg(short, long, help_heading = IMAGE)]
    effort: Option<Effort>,
    /// Bytes of the journal, 3 LEBs or more; default: an eighth of --max-lebs, 4 LEBs to 8M
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    journal_size: Option<Size>,
    /// Most branches of an index node, 3 to 256; default: 8
    #[arg(long, value_name = "N", help_heading = IMAGE)]
    fanout: Option<u32>,
    /// LEBs for files that are open and have no name; default: 1
    #[arg(long, value_name = "N", help_heading = IMAGE)]
    orphan_lebs: Option<u32>,
    /// Let the first mount write all free space anew: for flashers that write pages of 0xff, as many programmers do
    #[arg(long, help_heading = IMAGE)]
    space_fixup: bool,
    /// Bytes that only root can fill; default: none
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    reserved: Option<Size>,
    /// How names are hashed; default: r5
    #[arg(long, help_heading = IMAGE)]
    key_hash: Option<KeyHash>,
    /// UUID of the file system; default: derived from its content
    #[arg(long, value_name = "UUID", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    uuid: Option<Uuid>,
    /// Refused: encryption of file names and data is not written
    #[arg(long, value_name = "NAME", hide = true)]
    #[serde(deserialize_with = "from_text")]
    cipher: Option<Word>,
    /// Refused: authentication is not written
    #[arg(long, value_name = "KEY", hide = true)]
    #[serde(deserialize_with = "from_text")]
    auth_key: Option<Word>,
    /// Fail with exit code 3 when the image is larger
    #[arg(long, value_name = "SIZE", help_heading = IMAGE)]
    #[serde(deserialize_with = "from_text")]
    pub(crate) max_size: Option<Size>,
}

/// Text of a setting that is refused.
#[derive(Debug, Clone)]
struct Word(String);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Word(text.to_owned()))
    }
}

/// How much time to spend on size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Effort {
    /// For the edit-and-try loop: lower levels of zlib and zstd
    Fast,
    /// Small and fast
    Default,
    /// For a release: highest levels
    Max,
}

/// How names are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyHash {
    /// As everybody has it
    R5,
    /// By the first four bytes: for tests, on little-endian devices
    Test,
}

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Compression(ubifs::Compression);

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ubifs::Compression::from_name(text).map(Compression).ok_or_else(|| {
            let names = ubifs::Compression::NAMES.map(|(_, name)| name);
            match closest(text, names) {
                Some(meant) => format!("unknown; did you mean {meant}?"),
                None => format!("unknown; there are {}", names.join(", ")),
            }
        })
    }
}

/// A UUID: 32 hexadecimal digits, dashes anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Uuid([u8; 16]);

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        let number =
            number.ok_or("a UUID has 32 hexadecimal digits, as 123e4567-e89b-42d3-a456-426614174000")?;
        Ok(Uuid(number.to_be_bytes()))
    }
}

fn wrong(key: &'static str, message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { key, message: message.into(), help: help.into() }
}

impl UbifsFlags {
    /// The options for the writer.
    ///
    /// # Errors
    /// [`Wrong`] when something is missing, out of range, or does not go together.
    pub(crate) fn options(&self) -> Result<Options, Wrong> {
        self.refuse_secrets()?;
        let geometry = self.geometry()?;
        let mut options = Options::new(geometry, self.max_leb_cnt()?);
        if let Some(Compression(compression)) = self.compression {
            options.compression = compression;
        }
        if let Some(percent) = self.favor_percent {
            let ubifs::Compression::FavorLzo(favor) = &mut options.compression else {
                let help = "add --compression favor-lzo, or drop it";
                return Err(wrong("favor-percent", "it goes with the compression favor-lzo only", help));
            };
            *favor = percent;
        }
        options.effort = match self.effort {
            None | Some(Effort::Default) => ubifs::Effort::Default,
            Some(Effort::Fast) => ubifs::Effort::Fast,
            Some(Effort::Max) => ubifs::Effort::Max,
        };
        options.journal_size = self.journal_size.map(|Size(bytes)| bytes);
        options.fanout = self.fanout.unwrap_or(options.fanout);
        options.orphan_lebs = self.orphan_lebs.unwrap_or(options.orphan_lebs);
        options.space_fixup = self.space_fixup;
        options.reserved = self.reserved.map_or(0, |Size(bytes)| bytes);
        if self.key_hash == Some(KeyHash::Test) {
            options.key_hash = LibraryHash::Test;
        }
        options.uuid = self.uuid.map(|Uuid(bytes)| bytes);
        options.validate().map_err(|error| self.refused(&error))?;
        Ok(options)
    }

    fn refuse_secrets(&self) -> Result<(), Wrong> {
        let cases = [
            ("cipher", &self.cipher, "encrypted UBIFS images are not written"),
            ("auth-key", &self.auth_key, "authenticated UBIFS images are not written"),
        ];
        for (key, value, message) in cases {
            if let Some(Word(value)) = value {
                let help = "leave it out, and encrypt or sign the image as a whole";
                return Err(wrong(key, format!("{value}: {message}"), help));
            }
        }
        Ok(())
    }

    fn geometry(&self) -> Result<Geometry, Wrong> {
        let narrow = |key, size: Option<Size>| {
            let bytes = size.map(|Size(bytes)| u32::try_from(bytes).map_err(|_| bytes)).transpose();
            bytes.map_err(|bytes| {
                wrong(key, format!("{bytes} bytes, no flash has that"), "write it as 2048 or 128K")
            })
        };
        let (min_io, sub_page) = (narrow("min-io", self.min_io)?, narrow("sub-page", self.sub_page)?);
        let Some(min_io_size) = min_io else {
            let help = "give the page size of the NAND, for example 2048, or 1 for NOR";
            return Err(wrong("min-io", "it is missing, and no flash is like another", help));
        };
        match (narrow("leb", self.leb)?, narrow("peb", self.peb)?) {
            (Some(leb_size), None) => Ok(Geometry { leb_size, min_io_size }),
            (leb, Some(peb)) => {
                let geometry = Geometry::from_peb(peb, min_io_size, sub_page.unwrap_or(min_io_size));
                let geometry = geometry.map_err(|error| self.refused(&error))?;
                if leb.is_some_and(|leb| leb != geometry.leb_size) {
                    let message = format!(
                        "LEBs of {} bytes, but PEBs of {peb} with min-io {min_io_size} and sub-page {} leave {}",
                        leb.unwrap_or_default(),
                        sub_page.unwrap_or(min_io_size),
                        geometry.leb_size
                    );
                    return Err(wrong("leb", message, "drop one of leb and peb, or correct sub-page"));
                }
                Ok(geometry)
            }
            (None, None) => {
                let help = "give leb, what ubinfo calls \"Logical eraseblock size\", or peb, the eraseblock";
                Err(wrong("leb", "the size of a LEB is missing", help))
            }
        }
    }

    fn max_leb_cnt(&self) -> Result<u32, Wrong> {
        match (self.max_lebs, self.peb_count) {
            (Some(lebs), _) => Ok(lebs),
            (None, Some(pebs)) => Ok(pebs.saturating_sub(UBI_LEBS)),
            (None, None) => {
                let help = "give the LEBs of the largest volume it may get, or peb-count, the eraseblocks of the device";
                Err(wrong("max-lebs", "it is missing", help))
            }
        }
    }

    fn refused(&self, error: &OptionError) -> Wrong {
        let key = match error {
            OptionError::MinIo(_) => "min-io",
            OptionError::Ubi(_) => "peb",
            OptionError::LebTooSmall(_) | OptionError::LebSize { .. } if self.peb.is_some() => "peb",
            OptionError::LebTooSmall(_) | OptionError::LebSize { .. } => "leb",
            OptionError::Journal { .. } => "journal-size",
            OptionError::OrphanLebs(_) => "orphan-lebs",
            OptionError::Fanout(_) => "fanout",
            OptionError::Reserved { .. } => "reserved",
            OptionError::FavorPercent(_) => "favor-percent",
            _ => "max-lebs",
        };
        // The library's sentences end with the remedy.
        let text = error.to_string();
        let (message, help) =
            text.rsplit_once("; ").unwrap_or((&text, "flashwright help pack ubifs tells what there is"));
        wrong(key, message, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(leb: u64) -> UbifsFlags {
        UbifsFlags {
            min_io: Some(Size(2048)),
            leb: Some(Size(leb)),
            max_lebs: Some(1000),
            ..UbifsFlags::default()
        }
    }

    #[test]
    fn the_flash_must_be_described() {
        assert_eq!(UbifsFlags::default().options().unwrap_err().key, "min-io");
        let no_leb = UbifsFlags { leb: None, ..flags(0) };
        assert_eq!(no_leb.options().unwrap_err().key, "leb");
        let no_lebs = UbifsFlags { max_lebs: None, ..flags(126_976) };
        assert_eq!(no_lebs.options().unwrap_err().key, "max-lebs");
        let by_peb = UbifsFlags {
            leb: None,
            peb: Some(Size(128 << 10)),
            sub_page: Some(Size(512)),
            max_lebs: None,
            peb_count: Some(1024),
            ..flags(0)
        };
        let options = by_peb.options().unwrap();
        assert_eq!((options.geometry.leb_size, options.max_leb_cnt), (129_024, 1020));
        let contradiction = UbifsFlags { leb: Some(Size(126_976)), ..by_peb };
        let error = contradiction.options().unwrap_err();
        assert!(error.key == "leb" && error.message.contains("leave 129024"), "{error:?}");
    }

    #[test]
    fn a_small_leb_is_refused_with_advice() {
        let error = UbifsFlags { min_io: Some(Size(1)), ..flags(3968) }.options().unwrap_err();
        assert_eq!(error.key, "leb");
        assert!(error.message.contains("LEBs of 3968 bytes: UBIFS takes 15360"), "{}", error.message);
        assert!(error.help.contains("JFFS2"), "{}", error.help);
    }

    #[test]
    fn what_is_not_written_is_said() {
        let cipher = UbifsFlags { cipher: Some(Word("AES-256-XTS".into())), ..flags(126_976) };
        assert_eq!(
            cipher.options().unwrap_err().message,
            "AES-256-XTS: encrypted UBIFS images are not written"
        );
        let percent = UbifsFlags { favor_percent: Some(30), ..flags(126_976) };
        assert_eq!(percent.options().unwrap_err().key, "favor-percent");
        assert!("lz0".parse::<Compression>().unwrap_err().contains("did you mean lzo?"));
        assert!("12".parse::<Uuid>().is_err());
        let uuid = "00112233-4455-6677-8899-aabbccddeeff".parse::<Uuid>().unwrap();
        assert_eq!(uuid.0[..3], [0, 0x11, 0x22]);
    }
}
