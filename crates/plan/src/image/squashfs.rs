//! SquashFS. It has no checksum of its own: of what it says of itself, only what cannot be is found.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields};

use super::{Faults, Input};

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
    /// Where those of xattrs, fragments and exports start; all bits set where there is none.
    pub optional_tables: [u64; 3],
}

const SQUASHFS_MAGIC: &[u8] = b"hsqs";
const SQUASHFS_SUPERBLOCK: u64 = 96;
/// Where a table starts that is not there.
const NO_TABLE: u64 = u64::MAX;

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
        let xattrs = fields.take()?;
        let tables = [ids, fields.take()?, fields.take()?];
        let optional_tables = [xattrs, fields.take()?, fields.take()?];
        Some(SquashFs { block_size, block_log, major, minor, bytes_used, tables, optional_tables })
    }

    /// There is no checksum in it: what can be said is whether the superblock makes sense, and whether all is there.
    pub(super) fn check(&self, input: &Input<'_>, faults: &mut Faults) {
        let Self { block_size, block_log, major, minor, bytes_used, .. } = *self;
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
        let optional = self.optional_tables.iter().filter(|&&table| table != NO_TABLE);
        for &table in self.tables.iter().chain(optional) {
            if !(SQUASHFS_SUPERBLOCK..bytes_used).contains(&table) {
                wrong("position of a table", table);
            }
        }
        faults.has_all("the SquashFS", bytes_used, input.len());
    }
}
