//! What a UBIFS image shall be like.

use flashwright_codec::{CodecError, deflate, zstd};
use flashwright_media::{UbiGeometry, UbiGeometryError};

use crate::format::{
    ALIGNMENT, Branch, ComprType, IdxNode, KeyHash, MAX_LEB_SIZE, MIN_FANOUT, MIN_LEB_CNT, MIN_LEB_SIZE,
    MIN_MIN_IO_SIZE, MIN_ORPH_LEBS,
};
use crate::geometry::{AreaInput, Areas, NoRoom};

/// Largest [`Options::fanout`].
pub const MAX_FANOUT: u32 = 256;
/// What zlib must save against LZO, percent, unless [`Compression::FavorLzo`] says otherwise.
pub const FAVOR_PERCENT: u8 = 20;

/// Sizes of the flash that a UBI volume shows to UBIFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry {
    /// Bytes of a LEB: a multiple of 8 and of the smallest write, 15,360 to 2,097,152.
    pub leb_size: u32,
    /// Bytes of the smallest write: a power of two; a NAND page is 512 to 16,384 bytes, NOR has 1. UBIFS counts anything
    /// below 8 as 8.
    pub min_io_size: u32,
}

impl Geometry {
    /// What UBI makes of a flash with eraseblocks of `peb` bytes: the LEB is what its two headers leave. `sub_page` is the
    /// smallest write of NAND that can write parts of a page once each (`subpagesize` of the MTD); else the same as
    /// `min_io`.
    ///
    /// # Errors
    /// [`OptionError::Ubi`].
    pub fn from_peb(peb: u32, min_io: u32, sub_page: u32) -> Result<Self, OptionError> {
        let ubi = UbiGeometry::new(peb, min_io, Some(sub_page), None)?;
        Ok(Geometry { leb_size: ubi.leb_size(), min_io_size: min_io })
    }
}

/// How data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZO1X: read fast by every kernel. Default.
    Lzo,
    /// Raw deflate.
    Zlib,
    /// Zstandard; kernel 5.3 or newer with `CONFIG_UBIFS_FS_ZSTD`.
    Zstd,
    /// LZO, but zlib for blocks where it saves that many percent of what LZO takes, 1 to 99.
    FavorLzo(u8),
}

impl Compression {
    /// Every way, with the word that options use.
    pub const NAMES: [(Compression, &str); 5] = [
        (Compression::None, "none"),
        (Compression::Lzo, "lzo"),
        (Compression::Zlib, "zlib"),
        (Compression::Zstd, "zstd"),
        (Compression::FavorLzo(FAVOR_PERCENT), "favor-lzo"),
    ];

    /// The compression of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, known)| *known == name).map(|(compression, _)| compression)
    }

    /// What the superblock says, and with it what new files get.
    #[must_use]
    pub const fn compr_type(self) -> ComprType {
        match self {
            Compression::None => ComprType::None,
            Compression::Lzo | Compression::FavorLzo(_) => ComprType::Lzo,
            Compression::Zlib => ComprType::Zlib,
            Compression::Zstd => ComprType::Zstd,
        }
    }
}

/// How much time to spend on size. LZO is always searched through.
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

/// What a UBIFS image shall be like. Geometry and size have no default: the device decides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Sizes of the flash. An image made for others does not mount.
    pub geometry: Geometry,
    /// LEBs that the file system may ever have: those of the largest volume that the image shall fill, 17 or more. The
    /// image itself has as many as it needs; the kernel lets it grow to the volume at the first mount.
    pub max_leb_cnt: u32,
    /// Compression; default LZO.
    pub compression: Compression,
    /// Time against size.
    pub effort: Effort,
    /// Bytes of the journal, at least 3 LEBs; default an eighth of `max_leb_cnt`, but 4 LEBs at least and 8 MiB at most.
    /// A volume has to have room for it, see [`Summary::min_volume_lebs`](crate::Summary). A larger one makes writing
    /// faster and mounting after a cut of power slower.
    pub journal_size: Option<u64>,
    /// LEBs for orphans, 1 or more; default 1. Each holds some 10,000 files that are open and have no name.
    pub orphan_lebs: u32,
    /// Most branches of an index node, 3 to 256; default 8.
    pub fanout: u32,
    /// Whether the first mount writes every LEB anew that has free space: needed when a flasher writes pages of 0xFF instead
    /// of leaving them alone. Default false.
    pub space_fixup: bool,
    /// Bytes that only root can fill; default 0.
    pub reserved: u64,
    /// How names are hashed; default R5.
    pub key_hash: KeyHash,
    /// UUID of the file system; default one that is derived from the content.
    pub uuid: Option<[u8; 16]>,
}

/// An option that UBIFS cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Smallest write that is no power of two.
    #[error(
        "min-io {0} bytes: give the page size of the NAND, or 1 for NOR, a power of two (writesize in \
         /sys/class/mtd/mtdX)"
    )]
    MinIo(u32),
    /// Sizes that UBI does not take.
    #[error(transparent)]
    Ubi(#[from] UbiGeometryError),
    /// LEB below the smallest.
    #[error(
        "LEBs of {0} bytes: UBIFS takes 15360 bytes and more, so eraseblocks of 16K and more; this flash needs JFFS2"
    )]
    LebTooSmall(u32),
    /// LEB above the largest, or no multiple.
    #[error(
        "LEBs of {leb_size} bytes: UBIFS takes multiples of 8 and of min-io ({min_io_size} bytes) up to 2097152; give what \
         ubinfo says, or the PEB size and min-io"
    )]
    LebSize {
        /// Bytes given.
        leb_size: u32,
        /// Bytes of the smallest write.
        min_io_size: u32,
    },
    /// Fewer LEBs than the areas take.
    #[error(
        "{max_leb_cnt} LEBs of {leb_size} bytes: with these options UBIFS needs {needed} ({needed_bytes} bytes); give it a \
         larger volume, or use JFFS2 on a flash this small"
    )]
    TooFewLebs {
        /// LEBs given.
        max_leb_cnt: u32,
        /// Bytes of a LEB.
        leb_size: u32,
        /// LEBs needed.
        needed: u32,
        /// The same in bytes.
        needed_bytes: u64,
    },
    /// Journal out of range.
    #[error("a journal of {journal} bytes: with these LEBs UBIFS takes {least} to {most} bytes")]
    Journal {
        /// Bytes given.
        journal: u64,
        /// Bytes of 3 LEBs.
        least: u64,
        /// Bytes of the main area.
        most: u64,
    },
    /// No LEB for orphans, or too many.
    #[error("{0} LEBs for orphans: 1 to 65535 are possible, 1 is enough for most")]
    OrphanLebs(u32),
    /// Fanout out of range.
    #[error("fanout {0}: 3 to 256 branches are possible, 8 is usual")]
    Fanout(u32),
    /// More reserved than there is.
    #[error("{reserved} bytes reserved: the main area has {main} bytes")]
    Reserved {
        /// Bytes given.
        reserved: u64,
        /// Bytes of the main area.
        main: u64,
    },
    /// Percentage out of range.
    #[error("favor-lzo {0} percent: give 1 to 99, 20 is usual")]
    FavorPercent(u8),
}

impl Options {
    /// The best choice for a volume of that geometry and size.
    #[must_use]
    pub fn new(geometry: Geometry, max_leb_cnt: u32) -> Self {
        Options {
            geometry,
            max_leb_cnt,
            compression: Compression::Lzo,
            effort: Effort::Default,
            journal_size: None,
            orphan_lebs: MIN_ORPH_LEBS,
            fanout: 8,
            space_fixup: false,
            reserved: 0,
            key_hash: KeyHash::R5,
            uuid: None,
        }
    }

    /// Checks the options against each other and against the format.
    ///
    /// # Errors
    /// [`OptionError`], the first that is wrong.
    pub fn validate(&self) -> Result<(), OptionError> {
        self.areas().map(|_| ())
    }

    /// The areas of the volume, when the options are right.
    ///
    /// # Errors
    /// As [`Options::validate`].
    pub fn areas(&self) -> Result<Areas, OptionError> {
        self.validate_geometry()?;
        let Options { max_leb_cnt, orphan_lebs, fanout, .. } = *self;
        let leb_size = self.geometry.leb_size;
        if !(1..=0xffff).contains(&orphan_lebs) {
            return Err(OptionError::OrphanLebs(orphan_lebs));
        }
        let idx_len = IdxNode::LEN + fanout.min(MAX_FANOUT) * Branch::LEN;
        if !(MIN_FANOUT..=MAX_FANOUT).contains(&fanout) || idx_len > leb_size {
            return Err(OptionError::Fanout(fanout));
        }
        if let Compression::FavorLzo(percent) = self.compression
            && !(1..100).contains(&percent)
        {
            return Err(OptionError::FavorPercent(percent));
        }
        let areas = Areas::new(&self.area_input()).map_err(|reason| self.no_room(reason))?;
        let main = u64::from(max_leb_cnt - areas.main_first) * u64::from(leb_size);
        if self.reserved > main {
            return Err(OptionError::Reserved { reserved: self.reserved, main });
        }
        Ok(areas)
    }

    fn validate_geometry(&self) -> Result<(), OptionError> {
        let Geometry { leb_size, min_io_size } = self.geometry;
        if !min_io_size.is_power_of_two() {
            return Err(OptionError::MinIo(min_io_size));
        }
        if leb_size < MIN_LEB_SIZE {
            return Err(OptionError::LebTooSmall(leb_size));
        }
        let multiple = leb_size.is_multiple_of(min_io_size) && leb_size.is_multiple_of(ALIGNMENT);
        // Two pages are the least that leaves a LEB with data and padding.
        if leb_size > MAX_LEB_SIZE || !multiple || min_io_size > leb_size / 2 {
            return Err(OptionError::LebSize { leb_size, min_io_size });
        }
        Ok(())
    }

    fn no_room(&self, reason: NoRoom) -> OptionError {
        let leb = u64::from(self.geometry.leb_size);
        let journal = self.journal_size.unwrap_or_default();
        match reason {
            NoRoom::JournalTooSmall(least) => {
                OptionError::Journal { journal, least, most: u64::from(self.max_leb_cnt) * leb }
            }
            NoRoom::JournalTooLarge(most) => OptionError::Journal { journal, least: 3 * leb, most },
            NoRoom::TooFewLebs(needed) => {
                let needed = needed.max(MIN_LEB_CNT);
                OptionError::TooFewLebs {
                    max_leb_cnt: self.max_leb_cnt,
                    leb_size: self.geometry.leb_size,
                    needed,
                    needed_bytes: u64::from(needed) * leb,
                }
            }
        }
    }

    /// Bytes of the smallest write as UBIFS counts them: 8 or more.
    #[must_use]
    pub fn min_io_size(&self) -> u32 {
        self.geometry.min_io_size.max(MIN_MIN_IO_SIZE)
    }

    /// What the areas follow from.
    pub(crate) fn area_input(&self) -> AreaInput {
        AreaInput {
            leb_size: self.geometry.leb_size,
            min_io_size: self.min_io_size(),
            max_leb_cnt: self.max_leb_cnt,
            orph_lebs: self.orphan_lebs,
            journal: self.journal_size,
        }
    }

    pub(crate) fn zlib_level(&self) -> Result<deflate::Level, CodecError> {
        deflate::Level::new(match self.effort {
            Effort::Fast => 6,
            Effort::Default | Effort::Max => 9,
        })
    }

    pub(crate) fn zstd_level(&self) -> Result<zstd::Level, CodecError> {
        zstd::Level::new(match self.effort {
            Effort::Fast => 1,
            Effort::Default => 3,
            Effort::Max => 19,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Geometry = Geometry { leb_size: 126_976, min_io_size: 2048 };

    fn check(change: impl FnOnce(&mut Options)) -> Result<(), OptionError> {
        let mut options = Options::new(USUAL, 1000);
        change(&mut options);
        options.validate()
    }

    #[test]
    fn lebs_follow_from_pebs() {
        let cases = [
            ((128 << 10, 2048, 2048), 126_976),
            ((128 << 10, 2048, 512), 129_024),
            ((256 << 10, 4096, 4096), 253_952),
            ((1 << 20, 4096, 4096), 1_040_384),
            ((16 << 10, 1, 1), 16_256),
            ((16 << 10, 256, 256), 15_872),
            ((4 << 10, 1, 1), 3968),
        ];
        for ((peb, min_io, sub_page), leb_size) in cases {
            assert_eq!(Geometry::from_peb(peb, min_io, sub_page).map(|g| g.leb_size), Ok(leb_size), "{peb}");
        }
        for (peb, min_io, sub_page) in [(128 << 10, 2048, 4096), (128 << 10, 2000, 512), (4096, 2048, 2048)] {
            assert!(matches!(Geometry::from_peb(peb, min_io, sub_page), Err(OptionError::Ubi(_))));
        }
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(check(|_| ()), Ok(()));
        for size in [0, 3, 2047] {
            assert_eq!(check(|o| o.geometry.min_io_size = size), Err(OptionError::MinIo(size)));
        }
        assert_eq!(check(|o| o.geometry.leb_size = 3968), Err(OptionError::LebTooSmall(3968)));
        for leb_size in [126_977, 4 << 20] {
            let error = OptionError::LebSize { leb_size, min_io_size: 2048 };
            assert_eq!(check(|o| o.geometry.leb_size = leb_size), Err(error));
        }
        for lebs in [0, 0x1_0000] {
            assert_eq!(check(|o| o.orphan_lebs = lebs), Err(OptionError::OrphanLebs(lebs)));
        }
        for fanout in [2, 257] {
            assert_eq!(check(|o| o.fanout = fanout), Err(OptionError::Fanout(fanout)));
        }
        for journal in [1, 1 << 40] {
            assert!(matches!(check(|o| o.journal_size = Some(journal)), Err(OptionError::Journal { .. })));
        }
        assert!(matches!(check(|o| o.reserved = 1 << 40), Err(OptionError::Reserved { .. })));
        let percent = Compression::FavorLzo(100);
        assert_eq!(check(|o| o.compression = percent), Err(OptionError::FavorPercent(100)));
    }

    #[test]
    fn a_volume_that_is_too_small_is_refused_with_numbers() {
        let error = check(|o| o.max_leb_cnt = 10).unwrap_err();
        let expected = "10 LEBs of 126976 bytes: with these options UBIFS needs 17 (2158592 bytes); give it a larger \
                        volume, or use JFFS2 on a flash this small";
        assert_eq!(error.to_string(), expected);
        assert_eq!(check(|o| o.max_leb_cnt = 17), Ok(()));
    }

    #[test]
    fn names() {
        assert_eq!(Compression::from_name("favor-lzo"), Some(Compression::FavorLzo(20)));
        assert_eq!(Compression::from_name("xz"), None);
    }
}
