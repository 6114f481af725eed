//! Containers of boot loaders: uImage and TRX.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields};

use super::{Faults, Input};

/// Header of U-Boot's old image format: 64 bytes, big-endian. U-Boot: `image_header_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UImage {
    /// CRC of the header with this field as 0.
    pub header_crc: u32,
    /// Bytes of data after the header.
    pub data_len: u32,
    /// Where the data is loaded to.
    pub load: u32,
    /// Where it is started.
    pub entry: u32,
    /// CRC of the data.
    pub data_crc: u32,
    /// The name, then zeros.
    pub name: [u8; 32],
}

/// First four bytes. U-Boot: `IH_MAGIC`.
const UIMAGE_MAGIC: u32 = 0x2705_1956;
const UIMAGE_HEADER: u64 = 64;
/// Where the header's own CRC is.
const UIMAGE_CRC: std::ops::Range<usize> = 4..8;

impl UImage {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(head, Endian::Big);
        if fields.take::<u32>()? != UIMAGE_MAGIC {
            return None;
        }
        let header_crc = fields.take()?;
        // Time of the build.
        fields.bytes(4)?;
        let (data_len, load, entry, data_crc) =
            (fields.take()?, fields.take()?, fields.take()?, fields.take()?);
        // Operating system, CPU, type, compression.
        fields.bytes(4)?;
        Some(UImage { header_crc, data_len, load, entry, data_crc, name: fields.take()? })
    }

    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) {
        let mut header: [u8; 64] = input.array(0);
        header.get_mut(UIMAGE_CRC).unwrap_or_default().fill(0);
        let computed = flashwright_media::crc32(&header);
        faults.crc(format_args!("header of the uImage"), 0, self.header_crc, computed);
        let end = UIMAGE_HEADER.saturating_add(self.data_len.into());
        if faults.has_all("the uImage", end, input.len()) {
            let computed = input.crc(UIMAGE_HEADER, end);
            faults.crc(format_args!("data of the uImage"), UIMAGE_HEADER, self.data_crc, computed);
        }
    }
}

/// Header of Broadcom's TRX: 28 bytes, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trx {
    /// Bytes with this header.
    pub len: u32,
    /// CRC of all that follows this field.
    pub crc: u32,
}

const TRX_MAGIC: &[u8] = b"HDR0";
const TRX_HEADER: u32 = 28;
/// From here on bytes are in the CRC.
const TRX_COVERED: u64 = 12;

impl Trx {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(head.strip_prefix(TRX_MAGIC)?, Endian::Little);
        Some(Trx { len: fields.take()?, crc: fields.take()? })
    }

    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) {
        if self.len < TRX_HEADER {
            faults.damaged(format!("the TRX says it has {} bytes, fewer than its header of 28", self.len));
        } else if faults.has_all("the TRX", self.len.into(), input.len()) {
            // Not inverted at the end.
            let computed = !input.crc(TRX_COVERED, self.len.into());
            faults.crc(format_args!("TRX"), TRX_COVERED, self.crc, computed);
        }
    }
}
