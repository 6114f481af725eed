//! What UBI writes to flash, byte by byte, for writer and reader both. Everything is big-endian. Source of all facts:
//! the kernel's `drivers/mtd/ubi/ubi-media.h`, Linux 6.12.
//!
//! ```text
//! PEB: | EC header | VID header | data of one LEB |
//! volume 0x7FFFEFFF, LEB 0 and 1: the volume table, twice
//! volume 0x7FFFF000, LEB 0, in the first 64 PEBs: the fastmap, when there is one; its other LEBs in volume 0x7FFFF001
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Field, Fields, crc32_from_ones};

/// Version of the format that every header has. Kernel: `UBI_VERSION`.
pub const VERSION: u8 = 1;
/// First four bytes of an EC header, `UBI#`. Kernel: `UBI_EC_HDR_MAGIC`.
pub const EC_MAGIC: u32 = 0x5542_4923;
/// First four bytes of a VID header, `UBI!`. Kernel: `UBI_VID_HDR_MAGIC`.
pub const VID_MAGIC: u32 = 0x5542_4921;
/// Bytes of an EC header and of a VID header.
pub const HEADER_LEN: usize = 64;
/// Largest erase counter; the kernel takes a larger one for damage. Kernel: `UBI_MAX_ERASECOUNTER`.
pub const MAX_ERASE_COUNT: u64 = 0x7fff_ffff;
/// Most volumes, whatever the LEB has room for. Kernel: `UBI_MAX_VOLUMES`.
pub const MAX_VOLUMES: u32 = 128;
/// Longest name of a volume in bytes. Kernel: `UBI_VOL_NAME_MAX`.
pub const MAX_NAME: usize = 127;
/// Ids from here on are UBI's own. Kernel: `UBI_INTERNAL_VOL_START`.
pub const INTERNAL_VOLUMES: u32 = 0x7fff_efff;
/// Id of the volume that holds the volume table. Kernel: `UBI_LAYOUT_VOLUME_ID`.
pub const LAYOUT_VOLUME: u32 = INTERNAL_VOLUMES;
/// LEBs of that volume: copies of the table. Kernel: `UBI_LAYOUT_VOLUME_EBS`.
pub const LAYOUT_LEBS: u32 = 2;
/// Id of the volume with the first LEB of a fastmap. Kernel: `UBI_FM_SB_VOLUME_ID`.
pub const FASTMAP_VOLUME: u32 = 0x7fff_f000;
/// Id of the volume with the other LEBs of a fastmap. Kernel: `UBI_FM_DATA_VOLUME_ID`.
pub const FASTMAP_DATA_VOLUME: u32 = 0x7fff_f001;

/// What a kernel does with an internal volume that it does not know. Kernel: `UBI_COMPAT_*`.
pub mod compat {
    /// Deletes it: fastmap.
    pub const DELETE: u8 = 1;
    /// Attaches read-only.
    pub const READ_ONLY: u8 = 2;
    /// Leaves it alone.
    pub const PRESERVE: u8 = 4;
    /// Does not attach: the layout volume.
    pub const REJECT: u8 = 5;
}

/// Type of a volume. Kernel: `UBI_VID_DYNAMIC`, `UBI_VID_STATIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum VolumeType {
    /// Written at any time; what is in it has to protect itself. 1 on flash.
    #[default]
    Dynamic,
    /// Written once, with a CRC for each LEB. 2 on flash.
    Static,
}

impl VolumeType {
    /// The type that stands as `value` on flash; `None` for what is none.
    #[must_use]
    pub const fn from_flash(value: u8) -> Option<Self> {
        match value {
            1 => Some(VolumeType::Dynamic),
            2 => Some(VolumeType::Static),
            _ => None,
        }
    }

    /// The value on flash.
    #[must_use]
    pub const fn to_flash(self) -> u8 {
        match self {
            VolumeType::Dynamic => 1,
            VolumeType::Static => 2,
        }
    }

    /// `dynamic` or `static`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            VolumeType::Dynamic => "dynamic",
            VolumeType::Static => "static",
        }
    }
}

/// Appends the CRC of what is in `bytes`, which every header ends with.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32_from_ones(&bytes);
    crc.put(Endian::Big, &mut bytes);
    bytes
}

fn put_all(bytes: &mut Vec<u8>, values: impl IntoIterator<Item = u32>) {
    values.into_iter().for_each(|value| value.put(Endian::Big, bytes));
}

/// Why some bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// Too few bytes.
    #[error("cut off")]
    Short,
    /// All bytes are 0xFF: erased.
    #[error("erased")]
    Erased,
    /// The first four bytes are others.
    #[error("magic {found:#010x}, expected {expected:#010x}")]
    Magic {
        /// What must be there.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// The CRC at its end is not that of the bytes.
    #[error("header CRC {stored:#010x}, expected {computed:#010x}")]
    Crc {
        /// What is there.
        stored: u32,
        /// That of the bytes.
        computed: u32,
    },
    /// A format that is not known.
    #[error("version {0}, expected 1")]
    Version(u8),
}

/// Checks magic, CRC and version, which both headers have in the same places.
fn check_header(bytes: &[u8; HEADER_LEN], magic: u32) -> Result<(), HeaderFault> {
    if bytes.iter().all(|&byte| byte == 0xff) {
        return Err(HeaderFault::Erased);
    }
    let mut fields = Fields::new(bytes, Endian::Big);
    let found = fields.take().ok_or(HeaderFault::Short)?;
    if found != magic {
        return Err(HeaderFault::Magic { expected: magic, found });
    }
    let version = fields.take().ok_or(HeaderFault::Short)?;
    let (covered, crc) = bytes.split_at_checked(HEADER_LEN.saturating_sub(4)).ok_or(HeaderFault::Short)?;
    let stored = Fields::new(crc, Endian::Big).take().ok_or(HeaderFault::Short)?;
    let computed = crc32_from_ones(covered);
    if stored != computed {
        return Err(HeaderFault::Crc { stored, computed });
    }
    if version == VERSION { Ok(()) } else { Err(HeaderFault::Version(version)) }
}

/// Erase counter header: 64 bytes at byte 0 of a PEB. Written after each erase.
#[doc(alias = "ubi_ec_hdr")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcHdr {
    /// How often the PEB was erased. 0 to [`MAX_ERASE_COUNT`].
    pub erase_count: u64,
    /// Bytes from the start of the PEB to the VID header; the same in all PEBs.
    pub vid_hdr_offset: u32,
    /// Bytes from the start of the PEB to the data; the same in all PEBs.
    pub data_offset: u32,
    /// Number of the image that the PEB was written from; the same in all PEBs, 0 fits any.
    pub image_seq: u32,
}

impl EcHdr {
    /// The header in those bytes.
    ///
    /// # Errors
    /// [`HeaderFault`].
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderFault> {
        check_header(bytes, EC_MAGIC)?;
        let mut fields = Fields::new(bytes, Endian::Big);
        // Magic, version, padding.
        let parse = |fields: &mut Fields<'_>| {
            fields.bytes(8)?;
            Some(EcHdr {
                erase_count: fields.take()?,
                vid_hdr_offset: fields.take()?,
                data_offset: fields.take()?,
                image_seq: fields.take()?,
            })
        };
        parse(&mut fields).ok_or(HeaderFault::Short)
    }

    /// Its 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        EC_MAGIC.put(Endian::Big, &mut bytes);
        [VERSION, 0, 0, 0].put(Endian::Big, &mut bytes);
        self.erase_count.put(Endian::Big, &mut bytes);
        put_all(&mut bytes, [self.vid_hdr_offset, self.data_offset, self.image_seq]);
        [0; 32].put(Endian::Big, &mut bytes);
        seal(bytes)
    }
}

/// Volume identifier header: 64 bytes at `vid_hdr_offset` of a PEB. Tells which LEB the PEB holds.
#[doc(alias = "ubi_vid_hdr")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VidHdr {
    /// Type of the volume, as on flash: see [`VolumeType::from_flash`].
    pub volume_type: u8,
    /// 1 when the LEB was moved here: then `data_size` and `data_crc` tell whether that was finished.
    pub copy_flag: u8,
    /// For internal volumes, see [`compat`]; else 0.
    pub compat: u8,
    /// Id of the volume.
    pub volume_id: u32,
    /// Number of the LEB in it.
    pub lnum: u32,
    /// Bytes of data. Dynamic volumes: 0, unless `copy_flag` is set.
    pub data_size: u32,
    /// LEBs that the volume's data takes. Dynamic volumes: 0.
    pub used_ebs: u32,
    /// Bytes at the end of each LEB that are not used, for the volume's alignment.
    pub data_pad: u32,
    /// CRC of the data. Dynamic volumes: 0, unless `copy_flag` is set.
    pub data_crc: u32,
    /// Grows with every VID header that is written to the device: the greater of two is the newer one.
    pub sqnum: u64,
}

impl VidHdr {
    /// The header in those bytes.
    ///
    /// # Errors
    /// [`HeaderFault`].
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderFault> {
        check_header(bytes, VID_MAGIC)?;
        let mut fields = Fields::new(bytes, Endian::Big);
        let parse = |fields: &mut Fields<'_>| {
            // Magic and version.
            fields.bytes(5)?;
            let [volume_type, copy_flag, compat] = fields.take()?;
            let (volume_id, lnum) = (fields.take()?, fields.take()?);
            fields.bytes(4)?;
            let (data_size, used_ebs) = (fields.take()?, fields.take()?);
            let (data_pad, data_crc) = (fields.take()?, fields.take()?);
            fields.bytes(4)?;
            let sqnum = fields.take()?;
            let sizes = VidHdr { data_size, used_ebs, data_pad, data_crc, ..VidHdr::default() };
            Some(VidHdr { volume_type, copy_flag, compat, volume_id, lnum, sqnum, ..sizes })
        };
        parse(&mut fields).ok_or(HeaderFault::Short)
    }

    /// Its 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        VID_MAGIC.put(Endian::Big, &mut bytes);
        [VERSION, self.volume_type, self.copy_flag, self.compat].put(Endian::Big, &mut bytes);
        put_all(&mut bytes, [self.volume_id, self.lnum, 0]);
        put_all(&mut bytes, [self.data_size, self.used_ebs, self.data_pad, self.data_crc, 0]);
        self.sqnum.put(Endian::Big, &mut bytes);
        [0; 12].put(Endian::Big, &mut bytes);
        seal(bytes)
    }

    /// What the kernel refuses in it, on a device with LEBs of `leb_size` bytes; `None` for nothing. Kernel:
    /// `validate_vid_hdr`.
    #[must_use]
    pub fn fault(&self, leb_size: u32) -> Option<&'static str> {
        let VidHdr { data_size, used_ebs, data_pad, data_crc, lnum, .. } = *self;
        let internal = self.volume_id >= INTERNAL_VOLUMES;
        let known =
            [compat::DELETE, compat::READ_ONLY, compat::PRESERVE, compat::REJECT].contains(&self.compat);
        let usable = leb_size.saturating_sub(data_pad);
        let copied = match self.copy_flag {
            0 => false,
            1 => true,
            _ => return Some("copy flag neither 0 nor 1"),
        };
        let general = [
            (self.volume_id > i32::MAX as u32, "volume id above 2147483647"),
            (lnum > i32::MAX as u32, "LEB number above 2147483647"),
            (self.compat != 0 && (!internal || !known), "compatibility that is not known"),
            (data_pad >= leb_size.checked_div(2).unwrap_or(0), "half a LEB or more left over"),
            (data_size > usable, "more data than a LEB holds"),
        ];
        let last = used_ebs.saturating_sub(1);
        let special = match VolumeType::from_flash(self.volume_type) {
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
}

/// A record of the volume table: 172 bytes, at 172 times the volume's id in the LEBs of the layout volume.
#[doc(alias = "ubi_vtbl_record")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VtblRecord {
    /// PEBs that are reserved for the volume; 0 for a record that is empty.
    pub reserved_pebs: u32,
    /// LEBs have a size that is a multiple of this.
    pub alignment: u32,
    /// Bytes at the end of each LEB that are not used for that reason.
    pub data_pad: u32,
    /// As on flash, see [`VolumeType::from_flash`].
    pub volume_type: u8,
    /// 1 while the volume's content is replaced.
    pub update_marker: u8,
    /// Bytes of the name.
    pub name_len: u16,
    /// The name, then zeros.
    pub name: [u8; 128],
    /// See [`vtbl_flags`].
    pub flags: u8,
}

/// Flags of a [`VtblRecord`]. Kernel: `UBI_VTBL_*_FLG`.
pub mod vtbl_flags {
    /// The volume grows to all free PEBs when it is attached for the first time. One volume only.
    pub const AUTORESIZE: u8 = 1;
    /// A static volume that is not read as a whole when it is opened.
    pub const SKIP_CRC_CHECK: u8 = 2;
    /// All that are known.
    pub const ALL: u8 = AUTORESIZE | SKIP_CRC_CHECK;
}

impl VtblRecord {
    /// Bytes on flash.
    pub const LEN: usize = 172;

    /// A record of no volume.
    #[must_use]
    pub const fn empty() -> Self {
        VtblRecord {
            reserved_pebs: 0,
            alignment: 0,
            data_pad: 0,
            volume_type: 0,
            update_marker: 0,
            name_len: 0,
            name: [0; 128],
            flags: 0,
        }
    }

    /// The record at the start of those bytes.
    ///
    /// # Errors
    /// [`HeaderFault::Short`], [`HeaderFault::Crc`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let covered = bytes.get(..Self::LEN.saturating_sub(4)).ok_or(HeaderFault::Short)?;
        let mut fields = Fields::new(bytes, Endian::Big);
        let record = Self::take(&mut fields).ok_or(HeaderFault::Short)?;
        let stored = fields.take().ok_or(HeaderFault::Short)?;
        let computed = crc32_from_ones(covered);
        if stored == computed { Ok(record) } else { Err(HeaderFault::Crc { stored, computed }) }
    }

    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let record = VtblRecord {
            reserved_pebs: fields.take()?,
            alignment: fields.take()?,
            data_pad: fields.take()?,
            volume_type: fields.take()?,
            update_marker: fields.take()?,
            name_len: fields.take()?,
            name: fields.take()?,
            flags: fields.take()?,
        };
        fields.bytes(23)?;
        Some(record)
    }

    /// Its 172 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        put_all(&mut bytes, [self.reserved_pebs, self.alignment, self.data_pad]);
        [self.volume_type, self.update_marker].put(Endian::Big, &mut bytes);
        self.name_len.put(Endian::Big, &mut bytes);
        self.name.put(Endian::Big, &mut bytes);
        self.flags.put(Endian::Big, &mut bytes);
        [0; 23].put(Endian::Big, &mut bytes);
        seal(bytes)
    }

    /// The name without the zeros after it; at most 128 bytes, whatever `name_len` says.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.name_len)).unwrap_or(&self.name)
    }
}

/// Most LEBs of a fastmap. Kernel: `UBI_FM_MAX_BLOCKS`.
pub const FASTMAP_MAX_LEBS: usize = 32;
/// The first LEB of a fastmap is in one of that many PEBs. Kernel: `UBI_FM_MAX_START`.
pub const FASTMAP_MAX_START: u32 = 64;
/// Most PEBs of a pool. Kernel: `UBI_FM_MAX_POOL_SIZE`.
pub const FASTMAP_MAX_POOL: usize = 256;

/// Magic numbers of the parts of a fastmap. Kernel: `UBI_FM_*_MAGIC`.
pub mod fastmap_magic {
    /// Of [`FastmapSb`](super::FastmapSb).
    pub const SB: u32 = 0x7b11_d69f;
    /// Of [`FastmapHdr`](super::FastmapHdr).
    pub const HDR: u32 = 0xd4b8_2ef7;
    /// Of [`FastmapVolHdr`](super::FastmapVolHdr).
    pub const VOLUME_HDR: u32 = 0xfa37_0ed1;
    /// Of [`FastmapPool`](super::FastmapPool).
    pub const POOL: u32 = 0x67af_4d08;
    /// Of the table that follows a [`FastmapVolHdr`](super::FastmapVolHdr).
    pub const EBA: u32 = 0xf0c0_40a8;
}

/// Superblock of a fastmap: 312 bytes at the start of its first LEB.
#[doc(alias = "ubi_fm_sb")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastmapSb {
    /// [`fastmap_magic::SB`].
    pub magic: u32,
    /// 1.
    pub version: u8,
    /// CRC of all LEBs of the fastmap, with this field as 0.
    pub data_crc: u32,
    /// LEBs of the fastmap, 1 to 32.
    pub used_blocks: u32,
    /// PEBs that hold them.
    pub block_loc: [u32; FASTMAP_MAX_LEBS],
    /// Erase counters of those.
    pub block_ec: [u32; FASTMAP_MAX_LEBS],
    /// Greatest sequence number when the fastmap was written.
    pub sqnum: u64,
}

fn take_array<const N: usize>(fields: &mut Fields<'_>) -> Option<[u32; N]> {
    let mut values = [0; N];
    for value in &mut values {
        *value = fields.take()?;
    }
    Some(values)
}

impl FastmapSb {
    /// Bytes on flash.
    pub const LEN: usize = 312;
    /// Bytes from its start to `data_crc`.
    pub const DATA_CRC_OFFSET: usize = 8;

    /// The superblock that `fields` has next; `None` when too few bytes are left.
    #[must_use]
    pub fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let (magic, version) = (fields.take()?, fields.take()?);
        fields.bytes(3)?;
        let (data_crc, used_blocks) = (fields.take()?, fields.take()?);
        let (block_loc, block_ec) = (take_array(fields)?, take_array(fields)?);
        let sqnum = fields.take()?;
        fields.bytes(32)?;
        Some(FastmapSb { magic, version, data_crc, used_blocks, block_loc, block_ec, sqnum })
    }
}

/// Header of a fastmap: 32 bytes after the superblock.
#[doc(alias = "ubi_fm_hdr")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastmapHdr {
    /// [`fastmap_magic::HDR`].
    pub magic: u32,
    /// Entries of the list of PEBs that are free.
    pub free_pebs: u32,
    /// Of those that hold a LEB.
    pub used_pebs: u32,
    /// Of those that have had a bit flip.
    pub scrub_pebs: u32,
    /// Bad PEBs; there is no list of them.
    pub bad_pebs: u32,
    /// Entries of the list of PEBs that are to be erased.
    pub erase_pebs: u32,
    /// Volumes, the layout volume included.
    pub volumes: u32,
}

impl FastmapHdr {
    /// The header that `fields` has next; `None` when too few bytes are left.
    #[must_use]
    pub fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let header = FastmapHdr {
            magic: fields.take()?,
            free_pebs: fields.take()?,
            used_pebs: fields.take()?,
            scrub_pebs: fields.take()?,
            bad_pebs: fields.take()?,
            erase_pebs: fields.take()?,
            volumes: fields.take()?,
        };
        fields.bytes(4)?;
        Some(header)
    }
}

/// A pool: 1048 bytes, two after the header. The PEBs that may have been written since the fastmap was.
#[doc(alias = "ubi_fm_scan_pool")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastmapPool {
    /// [`fastmap_magic::POOL`].
    pub magic: u32,
    /// PEBs in it, at most 256.
    pub size: u16,
    /// Most that it takes.
    pub max_size: u16,
    /// The PEBs; those past `size` mean nothing.
    pub pebs: [u32; FASTMAP_MAX_POOL],
}

impl FastmapPool {
    /// The pool that `fields` has next; `None` when too few bytes are left.
    #[must_use]
    pub fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let (magic, size, max_size) = (fields.take()?, fields.take()?, fields.take()?);
        let pebs = take_array(fields)?;
        fields.bytes(16)?;
        Some(FastmapPool { magic, size, max_size, pebs })
    }
}

/// An entry of the lists of a fastmap: 8 bytes.
#[doc(alias = "ubi_fm_ec")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastmapEc {
    /// PEB.
    pub peb: u32,
    /// Its erase counter.
    pub erase_count: u32,
}

impl FastmapEc {
    /// The entry that `fields` has next; `None` when too few bytes are left.
    #[must_use]
    pub fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(FastmapEc { peb: fields.take()?, erase_count: fields.take()? })
    }
}

/// A volume in a fastmap: 32 bytes, then [`fastmap_magic::EBA`], the number of its LEBs, and for each the PEB, or
/// 0xFFFFFFFF.
#[doc(alias = "ubi_fm_volhdr")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastmapVolHdr {
    /// [`fastmap_magic::VOLUME_HDR`].
    pub magic: u32,
    /// Id.
    pub volume_id: u32,
    /// As on flash.
    pub volume_type: u8,
    /// Bytes of each LEB that are not used.
    pub data_pad: u32,
    /// LEBs that its data takes.
    pub used_ebs: u32,
    /// Bytes of data in the last of them.
    pub last_eb_bytes: u32,
}

impl FastmapVolHdr {
    /// The volume that `fields` has next; `None` when too few bytes are left.
    #[must_use]
    pub fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let (magic, volume_id, volume_type) = (fields.take()?, fields.take()?, fields.take()?);
        fields.bytes(3)?;
        let (data_pad, used_ebs, last_eb_bytes) = (fields.take()?, fields.take()?, fields.take()?);
        fields.bytes(8)?;
        Some(FastmapVolHdr { magic, volume_id, volume_type, data_pad, used_ebs, last_eb_bytes })
    }
}
