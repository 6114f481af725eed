//! The volumes of an image.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::{Image, ReadError};
use crate::contents::{Contents, HEAD_LEN};
use crate::format::{INTERNAL_VOLUMES, VidHdr, VolumeType, VtblRecord, vtbl_flags};

/// A volume, as table and headers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Id.
    pub id: u32,
    /// Name; empty when there is no volume table.
    pub name: Vec<u8>,
    /// Type.
    pub volume_type: VolumeType,
    /// PEBs that are reserved; without a volume table, as many as its highest LEB needs.
    pub reserved_pebs: u32,
    /// 1, or what the size of its LEBs is a multiple of.
    pub alignment: u32,
    /// Bytes at the end of each LEB that are not used.
    pub data_pad: u32,
    /// Bytes of each LEB that are.
    pub usable_leb_size: u32,
    /// It grows when it is attached for the first time.
    pub autoresize: bool,
    /// It is not read as a whole before it is used.
    pub skip_check: bool,
    /// Its content was being replaced: what is in it is not whole.
    pub update_marker: bool,
    /// LEBs that are there.
    pub mapped_lebs: u32,
    /// Bytes of its content: exact for a static volume, else up to the end of the highest LEB.
    pub len: u64,
    /// What it seems to hold.
    pub contents: Contents,
}

impl VolumeInfo {
    /// LEBs up to the highest that is there.
    #[must_use]
    pub fn leb_count(&self) -> u32 {
        let count = self.len.div_ceil(u64::from(self.usable_leb_size).max(1));
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

pub(super) fn volumes(image: &Image) -> Result<Vec<VolumeInfo>, ReadError> {
    let records = match &image.table.records {
        Some(records) => records.clone(),
        None => derived(image),
    };
    records.into_iter().map(|(id, record)| describe(image, id, &record)).collect()
}

/// Records as headers suggest them.
fn derived(image: &Image) -> Vec<(u32, VtblRecord)> {
    let mut records: Vec<(u32, VtblRecord)> = Vec::new();
    let own = |header: &VidHdr| header.volume_id < INTERNAL_VOLUMES;
    // By volume and LEB, so the last of a volume has its highest LEB.
    for header in image.entries.iter().map(|entry| entry.header).filter(own) {
        let record = VtblRecord {
            reserved_pebs: header.lnum.saturating_add(1),
            alignment: 1,
            data_pad: header.data_pad,
            volume_type: header.volume_type,
            ..VtblRecord::empty()
        };
        match records.last_mut() {
            Some((id, last)) if *id == header.volume_id => *last = record,
            _ => records.push((header.volume_id, record)),
        }
    }
    records
}

fn describe(image: &Image, id: u32, record: &VtblRecord) -> Result<VolumeInfo, ReadError> {
    let start = image.entries.partition_point(|entry| entry.header.volume_id < id);
    let rest = image.entries.get(start..).unwrap_or_default();
    let own = rest.get(..rest.partition_point(|entry| entry.header.volume_id == id)).unwrap_or_default();
    let mut mapped_lebs = 0u32;
    let mut last = None;
    for entry in own {
        if last != Some(entry.header.lnum) {
            mapped_lebs = mapped_lebs.saturating_add(1);
        }
        last = Some(entry.header.lnum);
    }
    let usable = image.geometry.leb_size().saturating_sub(record.data_pad);
    let volume_type = VolumeType::from_flash(record.volume_type).unwrap_or_default();
    let len = match (volume_type, own.last()) {
        (_, None) => 0,
        (VolumeType::Static, Some(entry)) => static_len(image, id, usable, &entry.header)?,
        (VolumeType::Dynamic, Some(entry)) => {
            u64::from(entry.header.lnum).saturating_add(1).saturating_mul(usable.into())
        }
    };
    let mut volume = VolumeInfo {
        id,
        name: record.name().to_vec(),
        volume_type,
        reserved_pebs: record.reserved_pebs,
        alignment: record.alignment,
        data_pad: record.data_pad,
        usable_leb_size: usable,
        autoresize: record.flags & vtbl_flags::AUTORESIZE != 0,
        skip_check: record.flags & vtbl_flags::SKIP_CRC_CHECK != 0,
        update_marker: record.update_marker != 0,
        mapped_lebs,
        len,
        contents: Contents::Other,
    };
    volume.contents = contents(image, &volume)?;
    Ok(volume)
}

/// Bytes of a static volume: as many full LEBs as it says, less what the last one does not hold.
fn static_len(image: &Image, id: u32, usable: u32, header: &VidHdr) -> Result<u64, ReadError> {
    let full = u64::from(header.used_ebs).saturating_mul(usable.into());
    let last = header.used_ebs.saturating_sub(1);
    let Some(entry) = image.resolve(id, last)? else { return Ok(full) };
    Ok(full.saturating_sub(usable.into()).saturating_add(entry.header.data_size.into()))
}

fn contents(image: &Image, volume: &VolumeInfo) -> Result<Contents, ReadError> {
    let mut head = [0; HEAD_LEN];
    let Some(entry) = image.resolve(volume.id, 0)? else { return Ok(Contents::Other) };
    let len = usize::try_from(volume.len).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    let head =
        head.get_mut(..len.min(usize::try_from(volume.usable_leb_size).unwrap_or(0))).unwrap_or_default();
    image.geometry.read(image.input.as_ref(), entry.peb, image.geometry.data_offset, head)?;
    Ok(Contents::of(head))
}
