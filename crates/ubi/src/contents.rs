//! What a volume seems to hold, by its first bytes: enough to tell a user, and to refuse a UBIFS image that was made for
//! LEBs of another size.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields};

/// Bytes from the start that are looked at.
pub const HEAD_LEN: usize = 64;
/// First four bytes of every node. Kernel: `UBIFS_NODE_MAGIC`, ubifs-media.h.
const UBIFS_MAGIC: u32 = 0x0610_1831;
/// Type of a superblock node. Kernel: `UBIFS_SB_NODE`.
const UBIFS_SUPERBLOCK: u8 = 6;

/// What some bytes are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contents {
    /// UBIFS.
    Ubifs(Ubifs),
    /// SquashFS 4.
    Squashfs,
    /// U-Boot's old image format.
    UImage,
    /// A device tree, or a FIT image.
    DeviceTree,
    /// Something else.
    Other,
}

/// What the superblock of a UBIFS says of the volume it was made for. Kernel: `ubifs_sb_node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ubifs {
    /// Smallest unit of writing in bytes; UBIFS has 8 for anything below.
    pub min_io_size: u32,
    /// Bytes of a LEB.
    pub leb_size: u32,
    /// LEBs of the file system as it is.
    pub leb_count: u32,
    /// LEBs that it may grow to.
    pub max_leb_count: u32,
}

impl Contents {
    /// What `head`, the first [`HEAD_LEN`] bytes or fewer, is the beginning of.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        if let Some(ubifs) = ubifs(head) {
            return Contents::Ubifs(ubifs);
        }
        match head.first_chunk() {
            Some(b"hsqs") => Contents::Squashfs,
            Some([0x27, 0x05, 0x19, 0x56]) => Contents::UImage,
            Some([0xd0, 0x0d, 0xfe, 0xed]) => Contents::DeviceTree,
            _ => Contents::Other,
        }
    }

    /// A word for it; `None` when it is nothing that is known.
    #[must_use]
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Contents::Ubifs(_) => Some("ubifs"),
            Contents::Squashfs => Some("squashfs"),
            Contents::UImage => Some("uimage"),
            Contents::DeviceTree => Some("device tree or FIT"),
            Contents::Other => None,
        }
    }
}

fn ubifs(head: &[u8]) -> Option<Ubifs> {
    let mut fields = Fields::new(head, Endian::Little);
    if fields.take::<u32>()? != UBIFS_MAGIC {
        return None;
    }
    // CRC, sequence number, length.
    fields.bytes(16)?;
    if fields.take::<u8>()? != UBIFS_SUPERBLOCK {
        return None;
    }
    // Group type and padding; padding, hash of keys and their format; flags.
    fields.bytes(11)?;
    Some(Ubifs {
        min_io_size: fields.take()?,
        leb_size: fields.take()?,
        leb_count: fields.take()?,
        max_leb_count: fields.take()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_beginnings() {
        let mut ubifs = vec![0; 64];
        ubifs[..4].copy_from_slice(&[0x31, 0x18, 0x10, 0x06]);
        ubifs[20] = 6;
        for (at, value) in [(32, 2048u32), (36, 126_976), (40, 200), (44, 1000)] {
            ubifs[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let expected = Ubifs { min_io_size: 2048, leb_size: 126_976, leb_count: 200, max_leb_count: 1000 };
        assert_eq!(Contents::of(&ubifs), Contents::Ubifs(expected));
        assert_eq!(Contents::of(&ubifs[..40]), Contents::Other);
        assert_eq!(Contents::of(b"hsqs...."), Contents::Squashfs);
        assert_eq!(Contents::of(&[0xd0, 0x0d, 0xfe, 0xed]), Contents::DeviceTree);
        assert_eq!(Contents::of(&[0x27, 0x05, 0x19, 0x56, 0]), Contents::UImage);
        for other in [&b""[..], b"hsq", b"sqsh", &[0xff; 64]] {
            assert_eq!(Contents::of(other).name(), None);
        }
    }
}
