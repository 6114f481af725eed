//! What an image is, by its first bytes, and whether it is whole, by its own checksums. What is in it stays closed: the
//! program that flashes has no decompressor.
//!
//! ```text
//! identify: the first bytes → Image (kind, and what the kind says of the flash it was made for)
//! check:    every byte that has a checksum, with a few KiB of memory → Refusals
//! fits:     what it was made for, against an MTD device or a UBI volume → Refusals
//! ```
//!
//! An image of UBI is looked at PEB by PEB elsewhere, see [`crate::ubi`]: that needs the size of the device's PEBs.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod boot;
mod fdt;
mod fits;
mod fs;
mod jffs2;

pub use boot::{Trx, UImage};
pub use fdt::DeviceTree;
pub use fits::{Volume, fits_mtd, fits_volume};
pub use fs::{SquashFs, Ubifs};
pub use jffs2::Jffs2;

use flashwright_ubi::format::{EcHdr, HEADER_LEN};

use crate::error::{Error, Refusal};
use crate::source::Source;

/// Words of refusals: what `--force` takes.
pub mod word {
    /// A checksum of the image is wrong, or it contradicts itself.
    pub const CHECKSUM: &str = "checksum";
    /// The image ends before its end.
    pub const TRUNCATED: &str = "truncated";
    /// It does not belong there.
    pub const KIND: &str = "kind";
    /// It was made for a CPU of the other byte order.
    pub const ENDIAN: &str = "endian";
    /// It was made for flash of other sizes.
    pub const GEOMETRY: &str = "geometry";
}

/// Bytes from the start that [`identify`] looks at; fewer are enough when the image has no more.
pub const HEAD_LEN: usize = 4096;

/// Bytes that are read at a time.
const CHUNK: usize = 4096;

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Image {
    /// UBI: a whole device with its volumes.
    Ubi(Ubi),
    /// The content of one UBI volume: UBIFS.
    Ubifs(Ubifs),
    /// SquashFS 4.
    SquashFs(SquashFs),
    /// JFFS2.
    Jffs2(Jffs2),
    /// U-Boot's old format: a header of 64 bytes, and data.
    UImage(UImage),
    /// A device tree, or a FIT image, which is one.
    DeviceTree(DeviceTree),
    /// Broadcom's: a header of 28 bytes, and up to three parts.
    Trx(Trx),
    /// Something else, or nothing.
    Raw,
}

/// What the first EC header of a UBI image says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ubi {
    /// Bytes from the start of a PEB to its VID header.
    pub vid_hdr_offset: u32,
    /// Bytes from the start of a PEB to its data.
    pub data_offset: u32,
    /// Number that tells the image from others.
    pub image_seq: u32,
}

impl Image {
    /// A word for it: `ubi`, `squashfs`, … `raw`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Image::Ubi(_) => "ubi",
            Image::Ubifs(_) => "ubifs",
            Image::SquashFs(_) => "squashfs",
            Image::Jffs2(_) => "jffs2",
            Image::UImage(_) => "uimage",
            Image::DeviceTree(tree) if tree.is_fit => "fit",
            Image::DeviceTree(_) => "device tree",
            Image::Trx(_) => "trx",
            Image::Raw => "raw",
        }
    }
}

/// What the image that starts with `head` is; [`HEAD_LEN`] bytes, or all there are. By magic numbers alone, so that a
/// damaged one is still known for what it was to be.
#[must_use]
pub fn identify(head: &[u8]) -> Image {
    None.or_else(|| ubi(head).map(Image::Ubi))
        .or_else(|| Ubifs::of(head).map(Image::Ubifs))
        .or_else(|| SquashFs::of(head).map(Image::SquashFs))
        .or_else(|| UImage::of(head).map(Image::UImage))
        .or_else(|| DeviceTree::of(head).map(Image::DeviceTree))
        .or_else(|| Trx::of(head).map(Image::Trx))
        .or_else(|| Jffs2::of(head).map(Image::Jffs2))
        .unwrap_or(Image::Raw)
}

fn ubi(head: &[u8]) -> Option<Ubi> {
    let EcHdr { vid_hdr_offset, data_offset, image_seq, .. } =
        EcHdr::parse(head.first_chunk::<HEADER_LEN>()?).ok()?;
    Some(Ubi { vid_hdr_offset, data_offset, image_seq })
}

/// Reads a source of any kind that can be read anywhere, and says whether it is what [`identify`] takes it for, and whole.
/// UBI is not looked at here.
///
/// # Errors
/// When it cannot be read, or only once.
pub fn check(image: &Image, source: &mut dyn Source) -> Result<Vec<Refusal>, Error> {
    let mut faults = Faults::default();
    let mut input = Input { source };
    match image {
        Image::Ubi(_) | Image::Raw => {}
        Image::Ubifs(ubifs) => ubifs.check(&mut input, &mut faults)?,
        Image::SquashFs(squashfs) => squashfs.check(&mut input, &mut faults)?,
        Image::Jffs2(jffs2) => jffs2.check(&mut input, &mut faults)?,
        Image::UImage(uimage) => uimage.check(&mut input, &mut faults)?,
        Image::DeviceTree(tree) => tree.check(&mut input, &mut faults)?,
        Image::Trx(trx) => trx.check(&mut input, &mut faults)?,
    }
    Ok(faults.refusals)
}

/// A source, read a piece at a time.
struct Input<'a> {
    source: &'a mut dyn Source,
}

impl Input<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        Ok(self.source.read_at(offset, bytes)?)
    }

    fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Gives the bytes from one offset to another to `sink`, a piece at a time.
    fn pieces(&mut self, from: u64, to: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let mut buffer = [0; CHUNK];
        let mut offset = from;
        while offset < to {
            let len = usize::try_from(to.saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
            let piece = buffer.get_mut(..len).unwrap_or_default();
            self.read(offset, piece)?;
            sink(piece);
            offset = offset.saturating_add(len as u64);
        }
        Ok(())
    }

    /// The CRC-32 of those bytes, as zip has it.
    fn crc(&mut self, from: u64, to: u64) -> Result<u32, Error> {
        let mut crc = flashwright_media::Crc32::default();
        self.pieces(from, to, &mut |bytes| crc.update(bytes))?;
        Ok(crc.finish())
    }
}

/// What is wrong with an image.
#[derive(Default)]
struct Faults {
    refusals: Vec<Refusal>,
}

impl Faults {
    /// A checksum, or what has none and cannot be.
    fn damaged(&mut self, reason: String) {
        self.refusals.push(Refusal::forcible(word::CHECKSUM, reason));
    }

    /// There must be `needed` bytes; says so when there are fewer.
    fn has_all(&mut self, what: &str, needed: u64, len: u64) -> bool {
        if needed > len {
            let missing = needed.saturating_sub(len);
            let reason = format!("{what} has {needed} bytes, the image only {len}: {missing} are cut off");
            self.refusals.push(Refusal::forcible(word::TRUNCATED, reason));
        }
        needed <= len
    }

    fn crc(&mut self, what: &str, offset: u64, stored: u32, computed: u32) {
        if stored != computed {
            self.damaged(format!("{what} at {offset:#010x}: CRC {stored:#010x}, expected {computed:#010x}"));
        }
    }
}

#[cfg(test)]
mod tests;
