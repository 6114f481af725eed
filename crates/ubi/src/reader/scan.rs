//! Both headers of every PEB, and which PEB holds which LEB.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::cmp::Reverse;

use super::ReadError;
use super::geometry::Found;
use crate::format::{EcHdr, HEADER_LEN, HeaderFault, MAX_ERASE_COUNT, VidHdr};
use crate::input::ReadAt;

/// What the EC header of a PEB says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ec {
    Known {
        erase_count: u32,
        image_seq: u32,
    },
    Erased,
    Bad(HeaderFault),
    TooLarge(u64),
    /// VID header offset and data offset of its own.
    Offsets(u32, u32),
}

/// What the VID header of a PEB says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vid {
    Known(VidHdr),
    /// No LEB in it.
    Erased,
    Bad(HeaderFault),
    /// Its CRC is right, but it says what cannot be.
    Invalid(VidHdr, &'static str),
}

/// A PEB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PebInfo {
    pub(super) ec: Ec,
    pub(super) vid: Vid,
}

impl PebInfo {
    /// Nothing of UBI in it.
    pub(super) const fn is_foreign(&self) -> bool {
        matches!(self.ec, Ec::Bad(HeaderFault::Magic { .. }))
            && matches!(self.vid, Vid::Bad(HeaderFault::Magic { .. }))
    }
}

/// A PEB that holds a LEB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) peb: u32,
    pub(super) header: VidHdr,
}

impl Entry {
    pub(super) const fn place(&self) -> (u32, u32) {
        (self.header.volume_id, self.header.lnum)
    }
}

/// Reads the headers of all PEBs.
pub(super) fn scan(input: &dyn ReadAt, geometry: &Found) -> Result<Vec<PebInfo>, ReadError> {
    let one = |peb| {
        let mut bytes = [0; HEADER_LEN];
        geometry.read(input, peb, 0, &mut bytes)?;
        let ec = ec(&bytes, geometry);
        geometry.read(input, peb, geometry.vid_hdr_offset, &mut bytes)?;
        Ok(PebInfo { ec, vid: vid(&bytes, geometry) })
    };
    (0..geometry.peb_count).map(one).collect()
}

fn ec(bytes: &[u8; HEADER_LEN], geometry: &Found) -> Ec {
    match EcHdr::parse(bytes) {
        Err(HeaderFault::Erased) => Ec::Erased,
        Err(fault) => Ec::Bad(fault),
        Ok(header) if header.erase_count > MAX_ERASE_COUNT => Ec::TooLarge(header.erase_count),
        Ok(EcHdr { vid_hdr_offset, data_offset, erase_count, image_seq }) => {
            if (vid_hdr_offset, data_offset) != (geometry.vid_hdr_offset, geometry.data_offset) {
                return Ec::Offsets(vid_hdr_offset, data_offset);
            }
            // At most 31 bits, as was just seen.
            Ec::Known { erase_count: u32::try_from(erase_count).unwrap_or(u32::MAX), image_seq }
        }
    }
}

fn vid(bytes: &[u8; HEADER_LEN], geometry: &Found) -> Vid {
    match VidHdr::parse(bytes) {
        Err(HeaderFault::Erased) => Vid::Erased,
        Err(fault) => Vid::Bad(fault),
        Ok(header) => match header.fault(geometry.leb_size()) {
            Some(what) => Vid::Invalid(header, what),
            None => Vid::Known(header),
        },
    }
}

/// All PEBs that hold a LEB: by volume and LEB, the newest first. Those whose EC header is erased do not count: the kernel
/// does not look at the VID header then.
pub(super) fn entries(pebs: &[PebInfo]) -> Vec<Entry> {
    let entry = |(peb, info): (u32, &PebInfo)| match *info {
        PebInfo { ec: Ec::Erased, .. } => None,
        PebInfo { vid: Vid::Known(header), .. } => Some(Entry { peb, header }),
        _ => None,
    };
    let mut entries: Vec<_> = (0..).zip(pebs).filter_map(entry).collect();
    entries.sort_by_key(|entry| (entry.place(), Reverse(entry.header.sqnum), entry.peb));
    entries
}
