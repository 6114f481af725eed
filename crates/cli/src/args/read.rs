//! Flags of the commands that read images.

use clap::Args;
use flashwright_jffs2::reader::ReadOptions;

use super::jffs2::EndianChoice;
use super::values::Size;

const KNOWN: &str = "Known about the image";

/// How images are read whose tree is wanted.
#[derive(Debug, Args)]
pub(crate) struct ReadFlags {
    /// Take what is left in a damaged JFFS2 image: damaged nodes are left out, and files without a name go to lost+found
    #[arg(long, conflicts_with = "foreign")]
    pub(crate) salvage: bool,
}

/// What is known about an image that does not tell it.
#[derive(Debug, Args)]
pub(crate) struct KnownFlags {
    /// Also read SquashFS images that Linux does not mount: big-endian, AVM, version 3, vendors' magic. By code that
    /// hostile images can upset: for sources you trust
    #[arg(long, help_heading = KNOWN)]
    pub(crate) foreign: bool,
    /// JFFS2: byte order; default: that of the first node
    #[arg(long, help_heading = KNOWN)]
    endian: Option<EndianChoice>,
    /// JFFS2: eraseblock size; default: what the image tells
    #[arg(long, value_name = "SIZE", help_heading = KNOWN)]
    eraseblock: Option<Size>,
    /// JFFS2: page size of the flash; default: what the image tells
    #[arg(long, value_name = "SIZE", help_heading = KNOWN)]
    page_size: Option<Size>,
}

impl KnownFlags {
    /// The same for the JFFS2 reader; a size that JFFS2 cannot have counts as unknown to it.
    pub(crate) fn jffs2(&self) -> ReadOptions {
        let size =
            |size: Option<Size>| size.and_then(|Size(bytes)| u32::try_from(bytes).ok()).filter(|&n| n > 0);
        let mut options = ReadOptions::default();
        options.endian = self.endian.map(EndianChoice::into_library);
        options.eraseblock = size(self.eraseblock);
        options.page_size = size(self.page_size);
        options
    }
}
