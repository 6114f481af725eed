//! Both headers of every PEB, and which PEB holds which LEB.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::cmp::Reverse;

use super::ReadError;
use super::geometry::Found;
use crate::format::{
    EcHdr, HEADER_LEN, HeaderFault, INTERNAL_VOLUMES, MAX_ERASE_COUNT, VidHdr, VolumeType, compat,
};
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
        Ok(header) => match fault(&header, geometry.leb_size()) {
            Some(what) => Vid::Invalid(header, what),
            None => Vid::Known(header),
        },
    }
}

/// What the kernel refuses in a VID header. Kernel: `validate_vid_hdr`.
fn fault(header: &VidHdr, leb_size: u32) -> Option<&'static str> {
    let VidHdr { data_size, used_ebs, data_pad, data_crc, lnum, .. } = *header;
    let internal = header.volume_id >= INTERNAL_VOLUMES;
    let known =
        [compat::DELETE, compat::READ_ONLY, compat::PRESERVE, compat::REJECT].contains(&header.compat);
    let usable = leb_size.saturating_sub(data_pad);
    let copied = match header.copy_flag {
        0 => false,
        1 => true,
        _ => return Some("copy flag neither 0 nor 1"),
    };
    let general = [
        (header.volume_id > i32::MAX as u32, "volume id above 2147483647"),
        (lnum > i32::MAX as u32, "LEB number above 2147483647"),
        (header.compat != 0 && (!internal || !known), "compatibility that is not known"),
        (data_pad >= leb_size.checked_div(2).unwrap_or(0), "half a LEB or more left over"),
        (data_size > usable, "more data than a LEB holds"),
    ];
    let last = used_ebs.saturating_sub(1);
    let special = match VolumeType::from_flash(header.volume_type) {
        None => [(true, "a volume type that is not known"), (false, ""), (false, "")],
        Some(VolumeType::Static) => [
            (lnum >= used_ebs, "LEB past the end of its static volume"),
            (data_size == 0, "LEB of a static volume without data"),
            (lnum < last && data_size != usable, "LEB of a static volume not full, and not the last"),
        ],
        Some(VolumeType::Dynamic) => [
            (used_ebs != 0, "LEB of a dynamic volume with a number of LEBs used"),
            (!copied && data_crc != 0, "LEB of a dynamic volume, not moved, with a data CRC"),
            (!copied && data_size != 0, "LEB of a dynamic volume, not moved, with a data size"),
        ],
    };
    general.into_iter().chain(special).find(|(wrong, _)| *wrong).map(|(_, what)| what)
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
