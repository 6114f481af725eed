//! Sizes of flash under UBI: what of a PEB is headers, and what is left for a LEB.

use std::fmt;

/// Bytes of an EC header, and of a VID header. Kernel: `UBI_EC_HDR_SIZE`, `UBI_VID_HDR_SIZE`.
pub const UBI_HEADER_LEN: u32 = 64;
/// Largest PEB that is taken: no flash has larger ones, and a buffer of this size is not much.
pub const MAX_PEB_SIZE: u32 = 1 << 26;
/// Bytes of a record of the volume table. Kernel: `UBI_VTBL_RECORD_SIZE`.
const VTBL_RECORD_LEN: u32 = 172;
/// Most volumes on a device. Kernel: `UBI_MAX_VOLUMES`.
const MAX_VOLUMES: u32 = 128;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        }
    };
}

number!(
    /// Number of a physical eraseblock, from the start of the UBI device or image.
    Peb,
    "PEB"
);
number!(
    /// Number of a logical eraseblock, from the start of its volume.
    Leb,
    "LEB"
);

/// How a PEB is divided: EC header at its start, VID header, then the LEB's data to its end.
///
/// ```text
/// 0            vid_hdr_offset           data_offset                         peb_size
/// | EC header … | VID header …           | LEB: data …                      |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UbiGeometry {
    peb_size: u32,
    min_io_size: u32,
    sub_page_size: u32,
    vid_hdr_offset: u32,
    data_offset: u32,
}

/// Sizes that UBI does not take together. All in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UbiGeometryError {
    /// The smallest unit of writing is no power of two.
    #[error(
        "min I/O of {0} bytes: UBI takes powers of two; it is the page of NAND flash, and 1 on NOR flash"
    )]
    MinIo(u32),
    /// The sub-page is no power of two, or larger than the page.
    #[error(
        "sub-page of {sub_page} bytes with min I/O of {min_io}: it must be a power of two, and no larger than that"
    )]
    SubPage {
        /// What was given.
        sub_page: u32,
        /// The page.
        min_io: u32,
    },
    /// The PEB is no multiple of the page, or above 64 MiB.
    #[error("PEB of {peb} bytes with min I/O of {min_io}: it must be a multiple of that, and at most 64 MiB")]
    Peb {
        /// What was given.
        peb: u32,
        /// The page.
        min_io: u32,
    },
    /// The VID header would lie in the EC header, be misaligned, or leave no room for data.
    #[error(
        "VID header offset of {offset} bytes with PEB of {peb} and sub-page of {sub_page}: it must be at least 64, a \
         multiple of 4, inside one sub-page, and leave room for data"
    )]
    VidHdrOffset {
        /// What was given.
        offset: u32,
        /// The PEB.
        peb: u32,
        /// The sub-page.
        sub_page: u32,
    },
    /// What is left for a LEB cannot hold the table of one volume.
    #[error(
        "PEB of {peb} bytes with data from byte {data_offset}: a LEB of {leb} bytes is too small for UBI"
    )]
    Leb {
        /// The PEB.
        peb: u32,
        /// Where data starts.
        data_offset: u32,
        /// What is left.
        leb: u32,
    },
}

impl UbiGeometry {
    /// Divides a PEB as the kernel does: the VID header in the sub-page after that of the EC header, data from the next
    /// page on.
    ///
    /// All in bytes. `min_io_size` is the page of NAND, 1 on NOR; `sub_page_size`, the part of a page that can be
    /// written alone, is `min_io_size` when `None`; `vid_hdr_offset` as told when not `None`.
    ///
    /// # Errors
    /// [`UbiGeometryError`] when the kernel would refuse to attach such a device.
    pub fn new(
        peb_size: u32,
        min_io_size: u32,
        sub_page_size: Option<u32>,
        vid_hdr_offset: Option<u32>,
    ) -> Result<Self, UbiGeometryError> {
        let sub_page = sub_page_size.unwrap_or(min_io_size);
        if !min_io_size.is_power_of_two() || min_io_size > MAX_PEB_SIZE {
            return Err(UbiGeometryError::MinIo(min_io_size));
        }
        if !sub_page.is_power_of_two() || sub_page > min_io_size {
            return Err(UbiGeometryError::SubPage { sub_page, min_io: min_io_size });
        }
        if peb_size == 0 || !peb_size.is_multiple_of(min_io_size) || peb_size > MAX_PEB_SIZE {
            return Err(UbiGeometryError::Peb { peb: peb_size, min_io: min_io_size });
        }
        let offset = vid_hdr_offset.unwrap_or_else(|| round_up(UBI_HEADER_LEN, sub_page));
        let bad_offset = UbiGeometryError::VidHdrOffset { offset, peb: peb_size, sub_page };
        let in_range = (UBI_HEADER_LEN..peb_size).contains(&offset) && offset.is_multiple_of(4);
        // Where a sub-page holds the header, it must hold all of it: the kernel writes that sub-page alone.
        let apart = sub_page <= UBI_HEADER_LEN || offset % sub_page + UBI_HEADER_LEN <= sub_page;
        if !in_range || !apart {
            return Err(bad_offset);
        }
        let data_offset = round_up(offset + UBI_HEADER_LEN, min_io_size);
        let leb = peb_size.checked_sub(data_offset).ok_or(bad_offset)?;
        if leb < VTBL_RECORD_LEN {
            return Err(UbiGeometryError::Leb { peb: peb_size, data_offset, leb });
        }
        Ok(UbiGeometry {
            peb_size,
            min_io_size,
            sub_page_size: sub_page,
            vid_hdr_offset: offset,
            data_offset,
        })
    }

    /// Bytes of a PEB.
    #[must_use]
    pub const fn peb_size(&self) -> u32 {
        self.peb_size
    }

    /// Bytes that are written at least.
    #[must_use]
    pub const fn min_io_size(&self) -> u32 {
        self.min_io_size
    }

    /// Bytes of a page that can be written alone; `min_io_size` where there is no such thing.
    #[must_use]
    pub const fn sub_page_size(&self) -> u32 {
        self.sub_page_size
    }

    /// Bytes from the start of a PEB to its VID header.
    #[must_use]
    pub const fn vid_hdr_offset(&self) -> u32 {
        self.vid_hdr_offset
    }

    /// Bytes from the start of a PEB to its data.
    #[must_use]
    pub const fn data_offset(&self) -> u32 {
        self.data_offset
    }

    /// Bytes of a LEB.
    #[must_use]
    pub const fn leb_size(&self) -> u32 {
        self.peb_size - self.data_offset
    }

    /// Most volumes that the volume table has room for.
    #[must_use]
    pub const fn vtbl_slots(&self) -> u32 {
        let room = self.leb_size() / VTBL_RECORD_LEN;
        if room < MAX_VOLUMES { room } else { MAX_VOLUMES }
    }
}

/// `size` is a power of two, both at most [`MAX_PEB_SIZE`] and some.
const fn round_up(value: u32, size: u32) -> u32 {
    (value + size - 1) & !(size - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peb_is_divided_as_the_kernel_does() {
        // PEB, page, sub-page, VID header offset given; VID header, data, LEB.
        let cases = [
            (128 << 10, 2048, None, None, 2048, 4096, 126_976),
            (128 << 10, 2048, Some(512), None, 512, 2048, 129_024),
            (128 << 10, 2048, Some(512), Some(2048), 2048, 4096, 126_976),
            (16 << 10, 512, None, None, 512, 1024, 15_360),
            (16 << 10, 512, Some(256), None, 256, 512, 15_872),
            (256 << 10, 4096, None, None, 4096, 8192, 253_952),
            (1 << 20, 4096, None, None, 4096, 8192, 1_040_384),
            (64 << 10, 1, None, None, 64, 128, 65_408),
            (4096, 1, None, None, 64, 128, 3968),
            (64 << 10, 64, None, None, 64, 128, 65_408),
            (64 << 10, 8, None, Some(100), 100, 168, 65_368),
        ];
        for (peb, min_io, sub_page, offset, vid, data, leb) in cases {
            let geometry = UbiGeometry::new(peb, min_io, sub_page, offset).unwrap();
            let found = (geometry.vid_hdr_offset(), geometry.data_offset(), geometry.leb_size());
            assert_eq!(found, (vid, data, leb), "{peb} {min_io} {sub_page:?} {offset:?}");
        }
        assert_eq!(UbiGeometry::new(4096, 1, None, None).unwrap().vtbl_slots(), 23);
        assert_eq!(UbiGeometry::new(128 << 10, 2048, None, None).unwrap().vtbl_slots(), 128);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let (peb, min_io) = (128 << 10, 2048);
        let cases = [
            (peb, 0, None, None, UbiGeometryError::MinIo(0)),
            (peb, 2000, None, None, UbiGeometryError::MinIo(2000)),
            (peb, u32::MAX, None, None, UbiGeometryError::MinIo(u32::MAX)),
            (peb, min_io, Some(4096), None, UbiGeometryError::SubPage { sub_page: 4096, min_io }),
            (peb, min_io, Some(100), None, UbiGeometryError::SubPage { sub_page: 100, min_io }),
            (peb, min_io, Some(0), None, UbiGeometryError::SubPage { sub_page: 0, min_io }),
            (0, min_io, None, None, UbiGeometryError::Peb { peb: 0, min_io }),
            (peb + 1, min_io, None, None, UbiGeometryError::Peb { peb: peb + 1, min_io }),
            (1 << 27, min_io, None, None, UbiGeometryError::Peb { peb: 1 << 27, min_io }),
            (4096, min_io, None, None, UbiGeometryError::Leb { peb: 4096, data_offset: 4096, leb: 0 }),
            (256, 64, None, None, UbiGeometryError::Leb { peb: 256, data_offset: 128, leb: 128 }),
        ];
        for (peb, min_io, sub_page, offset, error) in cases {
            assert_eq!(UbiGeometry::new(peb, min_io, sub_page, offset), Err(error));
        }
        for offset in [0, 60, 66, 2000, 1 << 17, u32::MAX] {
            let error = UbiGeometry::new(peb, min_io, None, Some(offset)).unwrap_err();
            assert_eq!(error, UbiGeometryError::VidHdrOffset { offset, peb, sub_page: 2048 });
        }
        assert_eq!((Peb(7).to_string(), Leb(0).to_string()), ("PEB 7".into(), "LEB 0".into()));
    }
}
