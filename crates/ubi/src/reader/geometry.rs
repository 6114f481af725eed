//! Sizes, found by where sound headers are: no superblock has them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::sync::Arc;

use flashwright_media::{MAX_PEB_SIZE, UBI_HEADER_LEN};

use super::ReadError;
use crate::format::{EC_MAGIC, EcHdr, HEADER_LEN, LAYOUT_VOLUME, MAX_VOLUMES, VidHdr, VtblRecord};
use crate::input::ReadAt;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;
/// Headers start at a multiple of this, also in dumps with spare bytes.
const GRID: u64 = 64;
/// Headers that are looked for; more tell nothing new.
const ENOUGH: usize = 64;
/// Smallest PEB that is taken in a file whose PEB size is not given.
const MIN_PEB: u64 = 1024;
/// Most PEBs of a file.
const MAX_PEBS: u64 = 1 << 20;
/// Pages that a NAND may have, in bytes.
const PAGES: [u64; 6] = [512, 1024, 2048, 4096, 8192, 16_384];
/// Fewest and most pages of an eraseblock.
const PAGE_COUNTS: std::ops::RangeInclusive<u64> = 16..=1024;
/// PEBs that are tried for spare bytes.
const SAMPLES: usize = 16;

/// Spare bytes of NAND that a dump has after each page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oob {
    /// Bytes of a page, without them.
    pub page_size: u32,
    /// Spare bytes after each page.
    pub spare: u32,
}

/// Sizes of an image or a dump. Bytes, without spare bytes where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Bytes of a PEB.
    pub peb_size: u32,
    /// Bytes from the start of a PEB to the VID header.
    pub vid_hdr_offset: u32,
    /// Bytes from the start of a PEB to the data.
    pub data_offset: u32,
    /// Bytes from the start of the file to PEB 0.
    pub start: u64,
    /// Whole PEBs.
    pub peb_count: u32,
    /// Bytes of the file after the last whole PEB, spare bytes included.
    pub rest: u64,
    /// Spare bytes that are still in the dump; they are left out by this reader.
    pub oob: Option<Oob>,
}

impl Found {
    /// Bytes of a LEB.
    #[must_use]
    pub const fn leb_size(&self) -> u32 {
        self.peb_size.saturating_sub(self.data_offset)
    }

    /// The sub-page, when the VID header is where it belongs; then it is all that the image tells.
    #[must_use]
    pub fn sub_page_size(&self) -> Option<u32> {
        let offset = self.vid_hdr_offset;
        (offset.is_power_of_two() && offset > UBI_HEADER_LEN).then_some(offset)
    }

    /// The smallest unit of writing that leads to these offsets; `None` on NOR, where many do.
    #[must_use]
    pub fn min_io_size(&self) -> Option<u32> {
        let end = self.vid_hdr_offset.checked_add(UBI_HEADER_LEN)?;
        let mut size = self.sub_page_size()?;
        while size <= self.data_offset {
            if end.checked_next_multiple_of(size) == Some(self.data_offset) {
                return Some(size);
            }
            size = size.checked_mul(2)?;
        }
        None
    }

    /// Bytes of a PEB in the file.
    pub(super) fn stored_peb_size(&self) -> u64 {
        self.stored(self.peb_size.into())
    }

    /// Bytes that a position is away from the start of its PEB in the file.
    fn stored(&self, within: u64) -> u64 {
        let Some(oob) = self.oob else { return within };
        let pages = within.checked_div(oob.page_size.into()).unwrap_or(0);
        within.saturating_add(pages.saturating_mul(oob.spare.into()))
    }

    /// Position in the file of a byte of a PEB.
    pub(super) fn position(&self, peb: u32, within: u32) -> u64 {
        let start = u64::from(peb).saturating_mul(self.stored_peb_size());
        self.start.saturating_add(start).saturating_add(self.stored(within.into()))
    }

    /// Reads bytes of a PEB, without spare bytes.
    pub(super) fn read(
        &self,
        input: &dyn ReadAt,
        peb: u32,
        within: u32,
        bytes: &mut [u8],
    ) -> Result<(), ReadError> {
        let page = self.oob.map_or(u32::MAX, |oob| oob.page_size);
        let (mut within, mut left) = (within, bytes);
        while !left.is_empty() {
            let in_page = page.saturating_sub(within.checked_rem(page).unwrap_or(0));
            let len = left.len().min(usize::try_from(in_page).unwrap_or(usize::MAX));
            let (now, later) = left.split_at_mut(len);
            let offset = self.position(peb, within);
            input.read_exact_at(offset, now).map_err(|error| ReadError::Io { offset, error })?;
            // At most a PEB, which is a u32.
            within = within.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
            left = later;
        }
        Ok(())
    }
}

/// Finds the sizes, with the PEB size given or not.
pub(super) fn find(input: &Arc<dyn ReadAt>, len: u64, peb_size: Option<u32>) -> Result<Found, ReadError> {
    let headers = headers(input.as_ref(), len)?;
    let &(first, header) = headers.first().ok_or(ReadError::NotUbi { len })?;
    let offsets: Vec<u64> = headers.iter().map(|(offset, _)| *offset).collect();
    let stored = match (peb_size, stride(&offsets)) {
        (Some(given), _) => u64::from(given),
        (None, Some(found)) => found,
        // One header: then the image is one PEB, or what is left of one.
        (None, None) => return Err(ReadError::PebSize { offset: first }),
    };
    let EcHdr { vid_hdr_offset, data_offset, .. } = header;
    let wrong = ReadError::Geometry { offset: first, vid_hdr_offset, data_offset, peb_size: stored };
    let Some(plain) = u32::try_from(stored).ok().filter(|&size| (1..=MAX_PEB_SIZE).contains(&size)) else {
        return Err(wrong);
    };
    let mut found = Found {
        peb_size: plain,
        vid_hdr_offset,
        data_offset,
        start: first.checked_rem(stored).unwrap_or(0),
        peb_count: 0,
        rest: 0,
        oob: None,
    };
    if peb_size.is_none()
        && !stored.is_power_of_two()
        && let Some(with_oob) = with_oob(input.as_ref(), &found, &offsets, stored)
    {
        found = with_oob;
    }
    if !is_sound(&found) {
        return Err(wrong);
    }
    // What is before the first header may be another partition's; then that is where UBI starts.
    if !is_erased(input.as_ref(), found.start, first)? {
        found.start = first;
    }
    let count = len.saturating_sub(found.start).checked_div(stored).unwrap_or(0);
    if count > MAX_PEBS {
        return Err(ReadError::TooManyPebs { count, peb_size: stored });
    }
    found.peb_count = u32::try_from(count).unwrap_or(0);
    found.rest = len.saturating_sub(found.start).checked_rem(stored).unwrap_or(0);
    Ok(found)
}

/// As the kernel wants it: header after header, a LEB that holds a record of the volume table.
fn is_sound(found: &Found) -> bool {
    let end = found.vid_hdr_offset.checked_add(UBI_HEADER_LEN);
    found.vid_hdr_offset >= UBI_HEADER_LEN
        && end.is_some_and(|end| end <= found.data_offset)
        && found.data_offset < found.peb_size
        && usize::try_from(found.leb_size()).is_ok_and(|leb| leb >= VtblRecord::LEN)
}

/// The first sound EC headers and where they are.
fn headers(input: &dyn ReadAt, len: u64) -> Result<Vec<(u64, EcHdr)>, ReadError> {
    let mut found = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0u64;
    while offset < len && found.len() < ENOUGH {
        let now = usize::try_from(len.saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
        let bytes = buffer.get_mut(..now).unwrap_or_default();
        input.read_exact_at(offset, bytes).map_err(|error| ReadError::Io { offset, error })?;
        for (index, piece) in (0u64..).zip(bytes.chunks_exact(HEADER_LEN)) {
            if !piece.starts_with(&EC_MAGIC.to_be_bytes()) {
                continue;
            }
            let Some(header) = piece.first_chunk().and_then(|bytes| EcHdr::parse(bytes).ok()) else {
                continue;
            };
            found.push((offset.saturating_add(index.saturating_mul(GRID)), header));
        }
        offset = offset.saturating_add(CHUNK as u64);
    }
    Ok(found)
}

/// The distance of PEBs: of the distances between neighbours the one that explains most headers, among those at which
/// there is a header at every second place or more. A volume may hold another image, with headers of its own.
fn stride(offsets: &[u64]) -> Option<u64> {
    let first = *offsets.first()?;
    let pairs = offsets.iter().zip(offsets.iter().skip(1));
    let mut distances: Vec<u64> =
        pairs.map(|(a, b)| b.saturating_sub(*a)).filter(|&d| d >= MIN_PEB).collect();
    distances.sort_unstable();
    distances.dedup();
    let score = |&distance: &u64| {
        let on = |offset: &&u64| offset.saturating_sub(first).checked_rem(distance) == Some(0);
        let matched = offsets.iter().filter(on).count() as u64;
        let last = offsets.iter().rev().find(on).map_or(0, |last| last.saturating_sub(first));
        let places = last.checked_div(distance).unwrap_or(0).saturating_add(1);
        (matched.saturating_mul(2) >= places, matched, distance)
    };
    distances.into_iter().max_by_key(score)
}

/// The same with spare bytes, when headers and volume table are where those would put them.
fn with_oob(input: &dyn ReadAt, plain: &Found, offsets: &[u64], stored: u64) -> Option<Found> {
    let mut fallback = None;
    for page in PAGES {
        for count in PAGE_COUNTS.filter(|count| count.is_power_of_two()) {
            let Some(with_spare) = stored.checked_div(count).filter(|_| stored.checked_rem(count) == Some(0))
            else {
                continue;
            };
            let spare = with_spare.saturating_sub(page);
            // From 8 bytes to a quarter of the page, as chips have it.
            if spare < 8 || spare > page.checked_div(4).unwrap_or(0) {
                continue;
            }
            let oob = Oob { page_size: u32::try_from(page).ok()?, spare: u32::try_from(spare).ok()? };
            let peb_size = u32::try_from(page.checked_mul(count)?).ok()?;
            let found = Found { peb_size, oob: Some(oob), ..*plain };
            match agreement(input, &found, offsets, stored) {
                Agreement::Table => return Some(found),
                Agreement::Header => fallback = fallback.or(Some(found)),
                Agreement::None => {}
            }
        }
    }
    fallback
}

enum Agreement {
    None,
    /// A VID header is where it would be.
    Header,
    /// And the volume table.
    Table,
}

fn agreement(input: &dyn ReadAt, found: &Found, offsets: &[u64], stored: u64) -> Agreement {
    let mut best = Agreement::None;
    for offset in offsets.iter().take(SAMPLES) {
        let place = offset.saturating_sub(found.start).checked_div(stored);
        let Some(peb) = place.and_then(|peb| u32::try_from(peb).ok()) else { continue };
        let mut bytes = [0; HEADER_LEN];
        if found.read(input, peb, found.vid_hdr_offset, &mut bytes).is_err() {
            continue;
        }
        let Ok(header) = VidHdr::parse(&bytes) else { continue };
        best = Agreement::Header;
        if header.volume_id == LAYOUT_VOLUME && holds_table(input, found, peb) {
            return Agreement::Table;
        }
    }
    best
}

/// All records count: one lies within the first pages, where small pages with few spare bytes look as large ones with many.
fn holds_table(input: &dyn ReadAt, found: &Found, peb: u32) -> bool {
    let slots = usize::try_from(table_slots(found)).unwrap_or(0);
    let mut records = vec![0; slots.saturating_mul(VtblRecord::LEN)];
    found.read(input, peb, found.data_offset, &mut records).is_ok()
        && records.chunks_exact(VtblRecord::LEN).all(|record| VtblRecord::parse(record).is_ok())
}

/// Records of the volume table: as many as a LEB has room for, up to the most volumes.
pub(super) fn table_slots(found: &Found) -> u32 {
    let record = u32::try_from(VtblRecord::LEN).unwrap_or(u32::MAX);
    found.leb_size().checked_div(record).unwrap_or(0).min(MAX_VOLUMES)
}

fn is_erased(input: &dyn ReadAt, from: u64, to: u64) -> Result<bool, ReadError> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = from;
    while offset < to {
        let len = usize::try_from(to.saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        input.read_exact_at(offset, bytes).map_err(|error| ReadError::Io { offset, error })?;
        if bytes.iter().any(|&byte| byte != 0xff) {
            return Ok(false);
        }
        offset = offset.saturating_add(len as u64);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_that_explains_most() {
        let k = 1024;
        let every = |n: u64| (0..8).map(|i| i * n).collect::<Vec<u64>>();
        assert_eq!(stride(&every(128 * k)), Some(128 * k));
        // Some are missing.
        assert_eq!(stride(&[0, 128 * k, 384 * k, 512 * k, 1024 * k]), Some(128 * k));
        // Another image in a volume, from byte 4096 of each PEB on.
        let mut nested = every(128 * k);
        nested.extend((1..7).flat_map(|peb| (0..7).map(move |i| peb * 128 * k + 4096 + i * 16 * k)));
        nested.sort_unstable();
        assert_eq!(stride(&nested), Some(128 * k));
        assert_eq!(stride(&every(135_168)), Some(135_168));
        assert_eq!(stride(&[0]), None);
        assert_eq!(stride(&[0, 64, 128]), None);
    }

    #[test]
    fn the_page_follows_from_the_offsets() {
        let found = |vid_hdr_offset, data_offset| Found {
            peb_size: 128 << 10,
            vid_hdr_offset,
            data_offset,
            start: 0,
            peb_count: 1,
            rest: 0,
            oob: None,
        };
        for (vid, data, page) in
            [(2048, 4096, Some(2048)), (512, 2048, Some(2048)), (512, 1024, Some(512)), (64, 128, None)]
        {
            assert_eq!(found(vid, data).min_io_size(), page, "{vid} {data}");
        }
    }
}
