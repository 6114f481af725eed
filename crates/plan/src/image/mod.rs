//! What an image is, by its first bytes, and whether it is whole, by its own checksums. What is in it stays closed: the
//! program that flashes has no decompressor.
//!
//! ```text
//! identify: the first bytes → Image (kind, and what the kind says of the flash it was made for)
//! check:    every byte that has a checksum, with 64 KiB of memory  → Findings
//! fits:     what it was made for, against an MTD device or a UBI volume → Refusals
//! ```
//!
//! An image of UBI is looked at PEB by PEB elsewhere, see [`crate::ubi`]: that needs the size of the device's PEBs.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod boot;
mod fdt;
mod fits;
mod jffs2;
mod squashfs;
mod ubifs;

pub use boot::{Trx, UImage};
pub use fdt::DeviceTree;
pub use fits::{Volume, fits_mtd, fits_volume};
pub use jffs2::Jffs2;
pub use squashfs::SquashFs;
pub use ubifs::Ubifs;

use std::fmt;

use flashwright_media::Crc32;
use flashwright_ubi::format::{EcHdr, HEADER_LEN};

use crate::error::{Error, Refusal};
use crate::source::{Source, SourceError};

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

/// Most bytes that are read at a time.
const CHUNK: usize = 1 << 16;
/// Wrong checksums that are told one by one; an image of another kind of flash has thousands.
const MAX_FAULTS: usize = 8;

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

/// What [`check`] finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why the image should not be written.
    pub refusals: Vec<Refusal>,
    /// Checksums that it has and that were not looked at, one line each: nothing is known against it.
    pub unchecked: Vec<String>,
}

/// Reads a source of any kind that can be read anywhere, and says whether it is what [`identify`] takes it for, and whole.
/// UBI is not looked at here.
///
/// # Errors
/// When it cannot be read, or only once.
pub fn check(image: &Image, source: &mut dyn Source) -> Result<Findings, Box<Error>> {
    let mut faults = Faults::default();
    let mut input = Input::new(source);
    match image {
        Image::Ubi(_) | Image::Raw => {}
        Image::Ubifs(ubifs) => ubifs.check(&mut input, &mut faults),
        Image::SquashFs(squashfs) => squashfs.check(&input, &mut faults),
        Image::Jffs2(jffs2) => jffs2.check(&mut input, &mut faults),
        Image::UImage(uimage) => uimage.check(&mut input, &mut faults),
        Image::DeviceTree(tree) => tree.check(&mut input, &mut faults),
        Image::Trx(trx) => trx.check(&mut input, &mut faults),
    }
    input.end(faults.finish())
}

/// A source, and a piece of it, so that small steps do not read one by one. From an error on it reads as zeros: every loop
/// over it comes to its end, and none has to hand an error up, which keeps the program small.
struct Input<'a> {
    source: &'a mut dyn Source,
    window: Vec<u8>,
    /// Where the piece starts.
    start: u64,
    failed: Option<SourceError>,
}

impl<'a> Input<'a> {
    fn new(source: &'a mut dyn Source) -> Self {
        Input { source, window: Vec::new(), start: 0, failed: None }
    }

    /// What was found, unless reading failed.
    fn end<T>(self, found: T) -> Result<T, Box<Error>> {
        self.failed.map_or(Ok(found), |error| Err(error.into()))
    }

    fn len(&self) -> u64 {
        self.source.len()
    }

    /// Reads what is somewhere else than what is read next: the piece stays.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) {
        if self.failed.is_none() {
            self.failed = self.source.read_at(offset, bytes).err();
        }
    }

    /// The bytes from `offset` on: `least` of them, which are a few, and what else is at hand.
    #[inline(never)]
    fn at(&mut self, offset: u64, least: usize) -> &[u8] {
        let position = |input: &Self| usize::try_from(offset.checked_sub(input.start)?).ok();
        let have = position(self).and_then(|from| self.window.get(from..)).map_or(0, <[u8]>::len);
        if have < least {
            let left = self.len().saturating_sub(offset);
            let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK).max(least);
            self.start = offset;
            self.window.clear();
            self.window.resize(len, 0);
            let mut window = std::mem::take(&mut self.window);
            self.read(offset, &mut window);
            self.window = window;
        }
        position(self).and_then(|from| self.window.get(from..)).unwrap_or_default()
    }

    fn array<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        self.at(offset, N).first_chunk().copied().unwrap_or([0; N])
    }

    /// Gives the bytes from one offset to another to `sink`, a piece at a time.
    #[inline(never)]
    fn pieces(&mut self, from: u64, to: u64, sink: &mut dyn FnMut(&[u8])) {
        let mut offset = from;
        while offset < to {
            let left = usize::try_from(to.saturating_sub(offset)).unwrap_or(CHUNK);
            let bytes = self.at(offset, 1);
            let piece = bytes.get(..left).unwrap_or(bytes);
            sink(piece);
            offset = offset.saturating_add(piece.len() as u64);
        }
    }

    /// The CRC-32 of those bytes, as zip has it.
    fn crc(&mut self, from: u64, to: u64) -> u32 {
        self.crc_after(Crc32::default(), from, to)
    }

    /// The CRC-32 of what `crc` has taken, and then those bytes.
    #[inline(never)]
    fn crc_after(&mut self, mut crc: Crc32, from: u64, to: u64) -> u32 {
        self.pieces(from, to, &mut |bytes| crc.update(bytes));
        crc.finish()
    }

    /// Whether those bytes read as erased flash does.
    #[inline(never)]
    fn is_erased(&mut self, from: u64, to: u64) -> bool {
        let mut erased = true;
        self.pieces(from, to, &mut |bytes| erased &= bytes.iter().all(|&byte| byte == 0xff));
        erased
    }
}

/// What is wrong with an image, as it is found.
#[derive(Default)]
struct Faults {
    found: Findings,
    /// Checksums that are told, and those that are counted only.
    told: usize,
    more: u32,
}

impl Faults {
    /// A checksum, or what has none and cannot be.
    #[inline(never)]
    fn damaged(&mut self, reason: String) {
        if self.told == MAX_FAULTS {
            self.more = self.more.saturating_add(1);
        } else {
            self.told = self.told.saturating_add(1);
            self.found.refusals.push(Refusal::forcible(word::CHECKSUM, reason));
        }
    }

    /// A checksum of a kind that is not known here.
    fn unchecked(&mut self, line: String) {
        if self.found.unchecked.len() < MAX_FAULTS {
            self.found.unchecked.push(line);
        }
    }

    /// There must be `needed` bytes; says so when there are fewer.
    #[inline(never)]
    fn has_all(&mut self, what: &str, needed: u64, len: u64) -> bool {
        if needed > len {
            let missing = needed.saturating_sub(len);
            let reason = format!("{what} has {needed} bytes, the image only {len}: {missing} are cut off");
            self.found.refusals.push(Refusal::forcible(word::TRUNCATED, reason));
        }
        needed <= len
    }

    /// Compares a CRC; false when it is wrong.
    #[inline(never)]
    fn crc(&mut self, what: fmt::Arguments<'_>, offset: u64, stored: u32, computed: u32) -> bool {
        if stored != computed {
            self.damaged(format!("{what} at {offset:#010x}: CRC {stored:#010x}, expected {computed:#010x}"));
        }
        stored == computed
    }

    fn finish(mut self) -> Findings {
        if self.more > 0 {
            let reason = format!("{} more checksums of the image are wrong", self.more);
            self.found.refusals.push(Refusal::forcible(word::CHECKSUM, reason));
        }
        self.found
    }
}

#[cfg(test)]
mod fit_tests;
#[cfg(test)]
mod tests;
