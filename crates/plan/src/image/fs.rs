//! File systems that are known by a superblock: SquashFS and UBIFS.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields, crc32_from_ones};

use super::{Faults, Input};
use crate::error::Error;

/// Superblock of SquashFS 4: 96 bytes, little-endian. Kernel: `squashfs_super_block`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquashFs {
    /// Bytes of a data block.
    pub block_size: u32,
    /// Its logarithm.
    pub block_log: u16,
    /// Version; 4.
    pub major: u16,
    /// Version; 0.
    pub minor: u16,
    /// Bytes of the file system.
    pub bytes_used: u64,
    /// Where the tables of ids, inodes and directories start, in bytes from the start.
    pub tables: [u64; 3],
}

const SQUASHFS_MAGIC: &[u8] = b"hsqs";
const SQUASHFS_SUPERBLOCK: u64 = 96;

impl SquashFs {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(head.strip_prefix(SQUASHFS_MAGIC)?, Endian::Little);
        // Inodes, time of the build.
        fields.bytes(8)?;
        let block_size = fields.take()?;
        // Fragments, compression.
        fields.bytes(6)?;
        let block_log = fields.take()?;
        // Flags, ids.
        fields.bytes(4)?;
        let (major, minor) = (fields.take()?, fields.take()?);
        // Root inode.
        fields.bytes(8)?;
        let (bytes_used, ids) = (fields.take()?, fields.take()?);
        // Extended attributes.
        fields.bytes(8)?;
        let tables = [ids, fields.take()?, fields.take()?];
        Some(SquashFs { block_size, block_log, major, minor, bytes_used, tables })
    }

    /// There is no checksum in it: what can be said is whether the superblock makes sense, and whether all is there.
    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) -> Result<(), Box<Error>> {
        let Self { block_size, block_log, major, minor, bytes_used, tables } = *self;
        let mut wrong = |what: &str, value: u64| {
            faults.damaged(format!("superblock of the SquashFS: {what} {value} cannot be: it is damaged"));
        };
        if (major, minor) != (4, 0) {
            wrong("version", major.into());
        }
        if !(12..=20).contains(&block_log) || 1u32.checked_shl(block_log.into()) != Some(block_size) {
            wrong("block size", block_size.into());
        }
        if bytes_used < SQUASHFS_SUPERBLOCK {
            wrong("length", bytes_used);
        }
        for table in tables {
            if !(SQUASHFS_SUPERBLOCK..bytes_used).contains(&table) {
                wrong("position of a table", table);
            }
        }
        faults.has_all("the SquashFS", bytes_used, input.len());
        Ok(())
    }
}

/// Superblock node of UBIFS: 4096 bytes, little-endian. Kernel: `ubifs_sb_node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ubifs {
    /// Bytes of the node.
    pub node_len: u32,
    /// CRC of the node from byte 8 on.
    pub crc: u32,
    /// Bytes that it writes at least; 8 for anything below.
    pub min_io_size: u32,
    /// Bytes of a LEB.
    pub leb_size: u32,
    /// LEBs as it is.
    pub leb_count: u32,
    /// LEBs that it may grow to.
    pub max_leb_count: u32,
}

/// Kernel: `UBIFS_NODE_MAGIC`.
const UBIFS_MAGIC: u32 = 0x0610_1831;
/// Kernel: `UBIFS_SB_NODE`.
const UBIFS_SUPERBLOCK: u8 = 6;
const UBIFS_NODE: u32 = 4096;
/// From here on bytes are in the CRC.
const UBIFS_COVERED: u64 = 8;
/// Fewest bytes of a LEB. Kernel: `UBIFS_MIN_LEB_SZ`.
const UBIFS_MIN_LEB: u32 = 15 * 1024;

impl Ubifs {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(head, Endian::Little);
        if fields.take::<u32>()? != UBIFS_MAGIC {
            return None;
        }
        let crc = fields.take()?;
        // Sequence number.
        fields.bytes(8)?;
        let node_len = fields.take()?;
        if fields.take::<u8>()? != UBIFS_SUPERBLOCK {
            return None;
        }
        // Group type and padding; padding, hash and format of keys; flags.
        fields.bytes(11)?;
        let [min_io_size, leb_size, leb_count, max_leb_count] =
            [fields.take()?, fields.take()?, fields.take()?, fields.take()?];
        Some(Ubifs { node_len, crc, min_io_size, leb_size, leb_count, max_leb_count })
    }

    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) -> Result<(), Box<Error>> {
        let Self { node_len, leb_size, leb_count, .. } = *self;
        if node_len != UBIFS_NODE || leb_size < UBIFS_MIN_LEB {
            let found = format!("a node of {node_len} bytes, LEBs of {leb_size}");
            faults.damaged(format!("superblock of the UBIFS: {found}: it is damaged"));
            return Ok(());
        }
        if !faults.has_all("the superblock of the UBIFS", node_len.into(), input.len()) {
            return Ok(());
        }
        let crc = !input.crc(UBIFS_COVERED, node_len.into())?;
        faults.crc("superblock of the UBIFS", 0, self.crc, crc);
        // An image ends with the last LEB that has anything in it; all it says it has may be fewer.
        let whole = u64::from(leb_size).saturating_mul(leb_count.into());
        let within = input.len().checked_rem(leb_size.into()).unwrap_or(0);
        if within != 0 && input.len() < whole {
            let next = input.len().saturating_sub(within).saturating_add(leb_size.into());
            faults.has_all("the UBIFS up to its last LEB", next, input.len());
        }
        faults.master(leb_size, input)
    }
}

impl Faults {
    /// The two master nodes, which are in LEBs 1 and 2 of every UBIFS: an image that ends before is none.
    fn master(&mut self, leb_size: u32, input: &mut Input<'_>) -> Result<(), Box<Error>> {
        for leb in 1..=2u64 {
            let offset = leb.saturating_mul(leb_size.into());
            if !self.has_all("the UBIFS with its master nodes", offset.saturating_add(512), input.len()) {
                break;
            }
            let node: [u8; 512] = input.array(offset)?;
            let mut fields = Fields::new(&node, Endian::Little);
            let (magic, stored) = (fields.take::<u32>(), fields.take::<u32>());
            let covered = node.split_at_checked(8).map_or(&node[..], |(_, covered)| covered);
            if magic != Some(UBIFS_MAGIC) {
                self.damaged(format!("master node of the UBIFS at {offset:#010x}: missing"));
            } else {
                self.crc("master node of the UBIFS", offset, stored.unwrap_or(0), crc32_from_ones(covered));
            }
        }
        Ok(())
    }
}
