//! cpio: flags of `pack cpio`, which are the keys of an output in `image.toml`.

use std::str::FromStr;

use clap::Args;
use flashwright_cpio::{Compression, Options, XattrPolicy};
use serde::Deserialize;

use super::values::{Size, Wrong, from_text};
use crate::compression::Choice;

const ARCHIVE: &str = "cpio";

const COMPRESSION_HELP: &str = "\
Compress the archive as Linux unpacks it at boot; default: none. The kernel needs the option named here:

none
gzip 1-12, default 12   CONFIG_RD_GZIP; held in memory while it is made
xz   0-9, default 9     CONFIG_RD_XZ; smallest
zstd 1-22, default 19   CONFIG_RD_ZSTD, Linux 5.9 or newer
lz4  1-12, default 12   CONFIG_RD_LZ4; fastest to unpack
lzo                     CONFIG_RD_LZO";

/// What `--compression` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stream(Compression);

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Stream(Compression::None));
        }
        let choice: Choice = text.parse()?;
        let compression = Compression::of(choice.name).ok_or("no such compressor")?;
        let with_level = choice.level.map(|level| compression.with_level(level)).transpose();
        with_level.map(|changed| Stream(changed.unwrap_or(compression))).map_err(|error| error.to_string())
    }
}

/// What the archive shall be like. Every field is a flag and a key.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CpioFlags {
    /// Compress the archive as Linux unpacks it at boot: none, gzip, xz, zstd, lz4 or lzo; default: none
    #[arg(short, long, value_name = "NAME[:LEVEL]", help_heading = ARCHIVE, long_help = COMPRESSION_HELP)]
    #[serde(deserialize_with = "from_text")]
    compression: Option<Stream>,
    /// Leave out extended attributes, which an initramfs cannot hold, instead of failing
    #[arg(long, help_heading = ARCHIVE)]
    drop_xattrs: bool,
    /// Make the length a multiple of this, a power of two from 4; default: 512
    #[arg(long, value_name = "SIZE", help_heading = ARCHIVE)]
    #[serde(deserialize_with = "from_text")]
    pad_to: Option<Size>,
    /// Fail with exit code 3 when the archive is larger
    #[arg(long, value_name = "SIZE", help_heading = ARCHIVE)]
    #[serde(deserialize_with = "from_text")]
    pub(crate) max_size: Option<Size>,
}

impl CpioFlags {
    /// The options for the writer.
    ///
    /// # Errors
    /// [`Wrong`] when the padding is out of range.
    pub(crate) fn options(&self) -> Result<Options, Wrong> {
        let mut options = Options::default();
        if self.drop_xattrs {
            options.xattrs = XattrPolicy::Drop;
        }
        if let Some(Stream(compression)) = self.compression {
            options.compression = compression;
        }
        if let Some(Size(bytes)) = self.pad_to {
            let fits = u32::try_from(bytes).ok().filter(|n| n.is_power_of_two() && (4..=1 << 30).contains(n));
            options.pad_to = fits.ok_or_else(|| Wrong {
                key: "pad-to",
                message: format!("an archive cannot be padded to a multiple of {bytes} bytes"),
                help: "give a power of two from 4 to 1G".into(),
            })?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_have_names_and_levels() {
        for compression in Compression::ALL {
            assert_eq!(compression.name().parse(), Ok(Stream(compression)));
            for level in 0..30 {
                let text = format!("{}:{level}", compression.name());
                let expected = compression.with_level(level);
                assert_eq!(text.parse::<Stream>().is_ok(), expected.is_ok(), "{text}");
            }
        }
        assert!("zst".parse::<Stream>().unwrap_err().contains("did you mean zstd?"));
    }
}
