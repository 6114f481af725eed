//! The volume table, as an image or a device has it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::UbiGeometry;
use flashwright_ubi::format::{MAX_NAME, VidHdr, VolumeType, VtblRecord, vtbl_flags};

/// A volume table whose records the kernel takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// All records, one after the other.
    pub(super) bytes: Vec<u8>,
    /// Those that are not empty, by id.
    pub(super) volumes: Vec<TableVolume>,
}

/// What LEBs of a volume must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableVolume {
    pub(super) id: u32,
    pub(super) reserved_pebs: u32,
    data_pad: u32,
    volume_type: u8,
    autoresize: bool,
}

/// Bytes of the table on a device of that geometry.
pub(super) fn table_len(geometry: &UbiGeometry) -> usize {
    usize::try_from(geometry.vtbl_slots()).unwrap_or(0).saturating_mul(VtblRecord::LEN)
}

impl Table {
    /// The table of a device without volumes.
    pub(super) fn empty(geometry: &UbiGeometry) -> Self {
        let slots = usize::try_from(geometry.vtbl_slots()).unwrap_or(0);
        Table { bytes: VtblRecord::empty().to_bytes().repeat(slots), volumes: Vec::new() }
    }

    /// The table at the start of a LEB.
    ///
    /// # Errors
    /// What the kernel does not take.
    pub(super) fn parse(leb: &[u8], geometry: &UbiGeometry) -> Result<Self, String> {
        let bytes = leb.get(..table_len(geometry)).ok_or("it is cut off")?;
        let mut volumes = Vec::new();
        for (id, piece) in (0u32..).zip(bytes.chunks_exact(VtblRecord::LEN)) {
            let record = VtblRecord::parse(piece).map_err(|fault| format!("record {id}: {fault}"))?;
            if record == VtblRecord::empty() {
                continue;
            }
            if let Some(what) = record_fault(&record, geometry.leb_size()) {
                return Err(format!("record {id}: {what}"));
            }
            volumes.push(TableVolume {
                id,
                reserved_pebs: record.reserved_pebs,
                data_pad: record.data_pad,
                volume_type: record.volume_type,
                autoresize: record.flags & vtbl_flags::AUTORESIZE != 0,
            });
        }
        if volumes.iter().filter(|volume| volume.autoresize).count() > 1 {
            return Err("more than one volume with autoresize".to_owned());
        }
        Ok(Table { bytes: bytes.to_vec(), volumes })
    }

    pub(super) fn volume(&self, id: u32) -> Option<&TableVolume> {
        let found = self.volumes.binary_search_by_key(&id, |volume| volume.id).ok()?;
        self.volumes.get(found)
    }

    /// PEBs that volumes reserve.
    pub(super) fn reserved(&self) -> u64 {
        self.volumes.iter().fold(0, |sum, volume| sum.saturating_add(volume.reserved_pebs.into()))
    }

    /// Whether a device with the table `other` is what becomes of one with this: the same, but for a volume that has grown.
    pub(super) fn grows_to(&self, other: &Self) -> bool {
        let pairs = self.bytes.chunks_exact(VtblRecord::LEN).zip(other.bytes.chunks_exact(VtblRecord::LEN));
        self.bytes.len() == other.bytes.len()
            && pairs.into_iter().all(|(ours, theirs)| {
                ours == theirs
                    || match (VtblRecord::parse(ours), VtblRecord::parse(theirs)) {
                        (Ok(ours), Ok(theirs)) => record_grows_to(&ours, &theirs),
                        _ => false,
                    }
            })
    }
}

/// The kernel gives a volume with the flag all that is free, and takes the flag away.
fn record_grows_to(ours: &VtblRecord, theirs: &VtblRecord) -> bool {
    let grown = VtblRecord {
        reserved_pebs: theirs.reserved_pebs,
        flags: ours.flags & !vtbl_flags::AUTORESIZE,
        ..ours.clone()
    };
    ours.flags & vtbl_flags::AUTORESIZE != 0 && theirs.reserved_pebs >= ours.reserved_pebs && *theirs == grown
}

impl TableVolume {
    /// What of a VID header the kernel would not take in this volume.
    pub(super) fn fault(&self, header: &VidHdr) -> Option<&'static str> {
        if header.lnum >= self.reserved_pebs {
            return Some("its number is not below what is reserved");
        }
        if header.volume_type != self.volume_type {
            return Some("its type is not that of its volume");
        }
        (header.data_pad != self.data_pad).then_some("its padding is not that of its volume")
    }
}

/// What the kernel refuses in a record. Kernel: `vtbl_check`.
fn record_fault(record: &VtblRecord, leb_size: u32) -> Option<&'static str> {
    let VtblRecord { reserved_pebs, alignment, data_pad, update_marker, flags, .. } = *record;
    let name = record.name();
    let len = usize::from(record.name_len);
    let zeros = record.name.get(len..).is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
    let checks = [
        (reserved_pebs == 0 || i32::try_from(reserved_pebs).is_err(), "no PEBs reserved"),
        (alignment == 0 || alignment > leb_size, "an alignment that cannot be"),
        (
            leb_size.checked_rem(alignment) != Some(data_pad),
            "padding that does not follow from the alignment",
        ),
        (VolumeType::from_flash(record.volume_type).is_none(), "a type that is not known"),
        (update_marker > 1, "an update marker neither 0 nor 1"),
        (flags & !vtbl_flags::ALL != 0, "flags that are not known"),
        (!(1..=MAX_NAME).contains(&len) || !zeros || name.contains(&0), "a name that cannot be"),
    ];
    checks.into_iter().find(|(wrong, _)| *wrong).map(|(_, what)| what)
}
