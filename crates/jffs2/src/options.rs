//! What a JFFS2 image shall be like.

use flashwright_media::Endian;

use crate::format::{MIN_ERASEBLOCK, NodeHeader, PAGE_SIZE, Record};

/// Largest eraseblock that is written for, bytes: four times what the largest NAND has. One eraseblock is held in
/// memory.
pub const MAX_ERASEBLOCK: u32 = 16 << 20;
/// Largest [`Options::node_size`], bytes.
pub const MAX_NODE_SIZE: u32 = 64 << 10;

/// The kind of flash, which decides where the kernel looks for cleanmarkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Flash {
    /// NOR: a cleanmarker of 12 bytes starts each eraseblock; with a page size above 1 (write-buffered NOR, as with
    /// on-chip ECC) of at least 16 bytes and at least a page.
    #[default]
    Nor,
    /// NAND: cleanmarkers are in the spare area, which an image does not have.
    Nand,
    /// A UBI volume by way of gluebi: no cleanmarkers. The eraseblock is a LEB, which need be no power of two.
    Ubi,
    /// Atmel's DataFlash: no cleanmarkers. The kernel joins 8 of the chip's pages, or more, to one eraseblock, which
    /// need be no power of two.
    DataFlash,
}

impl Flash {
    /// Every kind, with the word that options use.
    pub const NAMES: [(Flash, &str); 4] =
        [(Flash::Nor, "nor"), (Flash::Nand, "nand"), (Flash::Ubi, "ubi"), (Flash::DataFlash, "dataflash")];

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, known)| *known == name).map(|(flash, _)| flash)
    }
}

/// The compressors that may be used. Each node gets the one that makes it smallest; a node that none makes smaller is
/// stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressors {
    /// zlib; needs `CONFIG_JFFS2_ZLIB`, which kernels have unless they are told not to. Default on.
    pub zlib: bool,
    /// LZO1X, which unpacks several times as fast; needs `CONFIG_JFFS2_LZO`, which kernels do not have unless they are
    /// told to. Default off.
    pub lzo: bool,
    /// rtime, a run-length code; needs `CONFIG_JFFS2_RTIME`, which kernels have unless they are told not to. Default on.
    pub rtime: bool,
}

impl Default for Compressors {
    fn default() -> Self {
        Compressors { zlib: true, lzo: false, rtime: true }
    }
}

impl Compressors {
    /// No compression at all.
    pub const NONE: Self = Compressors { zlib: false, lzo: false, rtime: false };

    /// Names of what may be in a list for [`Compressors::from_names`].
    pub const NAMES: [&'static str; 4] = ["zlib", "lzo", "rtime", "none"];

    /// The compressors of those names; `none` adds nothing. `Err` with the first name that is unknown.
    ///
    /// # Errors
    /// The name.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut set = Self::NONE;
        for name in names {
            match name {
                "zlib" => set.zlib = true,
                "lzo" => set.lzo = true,
                "rtime" => set.rtime = true,
                "none" => {}
                unknown => return Err(unknown),
            }
        }
        Ok(set)
    }
}

/// How much time to spend on size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For the edit-and-try loop.
    Fast,
    /// Small and fast.
    #[default]
    Default,
    /// For a release.
    Max,
}

/// Bytes after the file system: free eraseblocks, each with its cleanmarker, so that the kernel need not erase them
/// once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// None: the image ends with its last node; on flash with pages, with the page of that node. Default.
    #[default]
    None,
    /// To the end of the last eraseblock.
    Eraseblock,
    /// To that many bytes, a multiple of the eraseblock: the size of the partition.
    Size(u64),
}

/// What a JFFS2 image shall be like. Endianness and eraseblock size have no default: the device decides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bytes that the device erases at once: a power of two from 8192 to 16,777,216. In a UBI volume and on DataFlash
    /// any multiple of 4 and of the page size in that range. An image made for another size does not mount.
    pub eraseblock: u32,
    /// Byte order of the device's CPU. An image made for the other does not mount.
    pub endian: Endian,
    /// Kind of flash; default NOR.
    pub flash: Flash,
    /// Smallest write of the flash, bytes (`writesize` of the MTD): 1 for plain NOR, the default; a NAND page is 512 to
    /// 16,384 bytes. A power of two; on DataFlash any number. The image's last page is filled, since the kernel goes on
    /// writing in the next: with a smaller number than the device has, it says later "Empty flash at … ends at …".
    pub page_size: u32,
    /// Bytes of the cleanmarker at the start of each eraseblock, when not what `flash` and `page_size` say; 0 for none,
    /// else 12 or more and a multiple of 4. Another number than the kernel expects makes it erase what is free once more.
    pub cleanmarker_size: Option<u32>,
    /// Compressors; default zlib and rtime.
    pub compressors: Compressors,
    /// Time against size.
    pub effort: Effort,
    /// Bytes of a file that one node holds, before compression: a power of two from 4096, the default, to 65,536, and at
    /// most half an eraseblock. Larger is smaller on flash, and reading one page costs unpacking the whole node. Little- and
    /// big-endian kernels mount and rewrite images of 8, 32 and 64 KiB in this crate's tests.
    pub node_size: u32,
    /// Whether each full eraseblock ends with a summary, so that mounting reads only that; default true. A kernel without
    /// `CONFIG_JFFS2_SUMMARY` takes it for dirty space.
    pub summary: bool,
    /// Free eraseblocks at the end; default none.
    pub padding: Padding,
    /// Whether OpenWrt's end mark follows in an eraseblock of its own: its kernels erase and use what comes after. Other
    /// kernels complain about it. Default false.
    pub end_mark: bool,
}

/// An option that JFFS2 cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Eraseblock size out of range or no power of two.
    #[error(
        "eraseblock {0} bytes: JFFS2 takes powers of two from 8192 (8K) to 16777216 (16M); what the device has is in \
         /proc/mtd"
    )]
    EraseblockSize(u32),
    /// Eraseblock of a UBI volume or a DataFlash that does not go with its pages.
    #[error(
        "eraseblock {eraseblock} bytes: with pages of {page_size} bytes JFFS2 takes multiples of these, and of 4, from \
         8192 (8K) to 16777216 (16M); what the device has is in /proc/mtd"
    )]
    EraseblockOfPages {
        /// Bytes of the eraseblock.
        eraseblock: u32,
        /// Bytes of a page.
        page_size: u32,
    },
    /// Page size that is 0, no power of two where it must be one, or larger than an eraseblock.
    #[error(
        "page size {0} bytes: give 1 for NOR, or the writesize of the device, a power of two of at most an eraseblock"
    )]
    PageSize(u32),
    /// Cleanmarker that cannot be written.
    #[error(
        "cleanmarker of {0} bytes: give 0 for none, or a multiple of 4 from 12 to a quarter of an eraseblock"
    )]
    CleanmarkerSize(u32),
    /// Node size out of range or no power of two.
    #[error(
        "node size {node_size} bytes: JFFS2 takes powers of two from 4096 (4K) to 65536 (64K), and at most half an \
         eraseblock ({eraseblock} bytes)"
    )]
    NodeSize {
        /// Bytes of a node.
        node_size: u32,
        /// Bytes of an eraseblock.
        eraseblock: u32,
    },
    /// Padding to something that is no number of eraseblocks.
    #[error("padding to {size} bytes: give a multiple of the eraseblock ({eraseblock} bytes), below 4 GiB")]
    PaddingSize {
        /// Bytes asked for.
        size: u64,
        /// Bytes of an eraseblock.
        eraseblock: u32,
    },
}

impl Options {
    /// The best choice for a device of that eraseblock size, in bytes, and byte order, if it has NOR flash.
    #[must_use]
    pub fn new(eraseblock: u32, endian: Endian) -> Self {
        Options {
            eraseblock,
            endian,
            flash: Flash::Nor,
            page_size: 1,
            cleanmarker_size: None,
            compressors: Compressors::default(),
            effort: Effort::Default,
            node_size: PAGE_SIZE,
            summary: true,
            padding: Padding::None,
            end_mark: false,
        }
    }

    /// Checks the options against each other and against the format.
    ///
    /// # Errors
    /// [`OptionError`], the first that is wrong.
    pub fn validate(&self) -> Result<(), OptionError> {
        let eraseblock = self.eraseblock;
        self.validate_geometry()?;
        let cleanmarker = self.cleanmarker_len();
        if cleanmarker != 0
            && (cleanmarker < NodeHeader::LEN
                || cleanmarker > eraseblock / 4
                || !cleanmarker.is_multiple_of(4))
        {
            return Err(OptionError::CleanmarkerSize(cleanmarker));
        }
        let node_size = self.node_size;
        let largest = MAX_NODE_SIZE.min(eraseblock / 2);
        if !node_size.is_power_of_two() || !(PAGE_SIZE..=largest).contains(&node_size) {
            return Err(OptionError::NodeSize { node_size, eraseblock });
        }
        match self.padding {
            Padding::Size(size) if size > u64::from(u32::MAX) || !size.is_multiple_of(eraseblock.into()) => {
                Err(OptionError::PaddingSize { size, eraseblock })
            }
            _ => Ok(()),
        }
    }

    fn validate_geometry(&self) -> Result<(), OptionError> {
        let (eraseblock, page_size) = (self.eraseblock, self.page_size);
        let free_form = matches!(self.flash, Flash::Ubi | Flash::DataFlash);
        let in_range = (MIN_ERASEBLOCK..=MAX_ERASEBLOCK).contains(&eraseblock);
        if !(free_form || in_range && eraseblock.is_power_of_two()) {
            return Err(OptionError::EraseblockSize(eraseblock));
        }
        let power = page_size.is_power_of_two() || self.flash == Flash::DataFlash;
        if page_size == 0 || !power || page_size > eraseblock {
            return Err(OptionError::PageSize(page_size));
        }
        if !(in_range && eraseblock.is_multiple_of(page_size) && eraseblock.is_multiple_of(4)) {
            return Err(OptionError::EraseblockOfPages { eraseblock, page_size });
        }
        Ok(())
    }

    /// Bytes at the start of each eraseblock that its cleanmarker takes; 0 without.
    ///
    /// Source of fact: the kernel's `fs/jffs2/wbuf.c`.
    #[must_use]
    pub fn cleanmarker_len(&self) -> u32 {
        self.cleanmarker_size.unwrap_or(match self.flash {
            Flash::Nor if self.page_size > 1 => self.page_size.max(16),
            Flash::Nor => NodeHeader::LEN,
            Flash::Nand | Flash::Ubi | Flash::DataFlash => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Options)) -> Result<(), OptionError> {
        let mut options = Options::new(0x2_0000, Endian::Little);
        change(&mut options);
        options.validate()
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(check(|_| ()), Ok(()));
        for size in [0, 1, 4096, 8191, 9000, 0x1_f000, 32 << 20] {
            assert_eq!(check(|options| options.eraseblock = size), Err(OptionError::EraseblockSize(size)));
        }
        for size in [0, 3, 0x4_0000] {
            assert_eq!(check(|options| options.page_size = size), Err(OptionError::PageSize(size)));
        }
        for size in [1, 8, 14, 0x1_0000] {
            let result = check(|options| options.cleanmarker_size = Some(size));
            assert_eq!(result, Err(OptionError::CleanmarkerSize(size)));
        }
        for size in [0, 2048, 5000, 128 << 10] {
            let error = OptionError::NodeSize { node_size: size, eraseblock: 0x2_0000 };
            assert_eq!(check(|options| options.node_size = size), Err(error));
        }
        for size in [1, 0x1_0000, 1 << 32] {
            let error = OptionError::PaddingSize { size, eraseblock: 0x2_0000 };
            assert_eq!(check(|options| options.padding = Padding::Size(size)), Err(error));
        }
    }

    #[test]
    fn a_large_node_needs_a_large_eraseblock() {
        let with = |eraseblock, node_size| {
            check(|options| (options.eraseblock, options.node_size) = (eraseblock, node_size))
        };
        for (eraseblock, largest) in [(8 << 10, 4 << 10), (64 << 10, 32 << 10), (128 << 10, 64 << 10)] {
            assert_eq!(with(eraseblock, largest), Ok(()));
            assert!(with(eraseblock, largest * 2).is_err());
        }
    }

    #[test]
    fn ubi_and_dataflash_need_no_power_of_two() {
        let with = |flash, eraseblock, page_size| {
            check(|options| {
                (options.flash, options.eraseblock, options.page_size) = (flash, eraseblock, page_size);
            })
        };
        assert_eq!(with(Flash::Ubi, 126_976, 2048), Ok(()));
        assert_eq!(with(Flash::DataFlash, 8448, 1056), Ok(()));
        assert!(with(Flash::Nand, 126_976, 2048).is_err());
        assert!(with(Flash::Ubi, 126_977, 1).is_err());
        assert!(with(Flash::Ubi, 3968, 1).is_err());
        assert!(with(Flash::DataFlash, 8448, 1024).is_err());
    }

    #[test]
    fn cleanmarkers_are_what_the_kernel_expects() {
        let cases = [
            (Flash::Nor, 1, 12),
            (Flash::Nor, 8, 16),
            (Flash::Nor, 1024, 1024),
            (Flash::Nand, 2048, 0),
            (Flash::Ubi, 2048, 0),
            (Flash::DataFlash, 1, 0),
        ];
        for (flash, page_size, expected) in cases {
            let options = Options { flash, page_size, ..Options::new(0x2_0000, Endian::Big) };
            assert_eq!(options.cleanmarker_len(), expected, "{flash:?} {page_size}");
        }
    }

    #[test]
    fn names() {
        let set = Compressors::from_names(["zlib", "none", "lzo"]);
        assert_eq!(set, Ok(Compressors { zlib: true, lzo: true, rtime: false }));
        assert_eq!(Compressors::from_names(["xz"]), Err("xz"));
        assert_eq!(Flash::from_name("dataflash"), Some(Flash::DataFlash));
        assert_eq!(Flash::from_name("NOR"), None);
    }
}
