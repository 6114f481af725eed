//! cpio: flags of `pack cpio`, which are the keys of an output in `image.toml`.

use clap::Args;
use flashwright_cpio::{Options, XattrPolicy};
use serde::Deserialize;

use super::values::{Size, Wrong, from_text};

const ARCHIVE: &str = "cpio";

/// What the archive shall be like. Every field is a flag and a key.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CpioFlags {
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
