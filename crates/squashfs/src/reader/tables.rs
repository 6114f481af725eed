//! The tables that have an index of positions: ids, fragments, export, xattr ids; and where all tables are.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::ReadError;
use super::input::Input;
use super::limits::Budget;
use super::metadata::MetadataTable;
use super::superblock::Facts;
use super::unpack::Unpacker;
use super::xattr::XattrTable;
use crate::format::{FragmentEntry, METADATA_SIZE};

/// A table of fixed-size entries in metadata blocks, whose positions an index lists.
#[derive(Debug)]
pub(super) struct IndexedTable {
    /// Position of the index.
    pub(super) index: u64,
    /// Position after the index.
    pub(super) index_end: u64,
    /// Positions of the metadata blocks, ascending.
    pub(super) blocks: Vec<u64>,
    /// Position after the last metadata block.
    pub(super) end: u64,
    bytes: Vec<u8>,
}

impl IndexedTable {
    /// A table of no entries.
    pub(super) const fn none() -> Self {
        IndexedTable { index: 0, index_end: 0, blocks: Vec::new(), end: 0, bytes: Vec::new() }
    }

    /// Reads `count` entries of `entry_len` bytes, whose index is at `index`.
    pub(super) fn load(
        (input, unpacker): (&Input, &Unpacker),
        name: &'static str,
        index: u64,
        (count, entry_len): (u32, usize),
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        let len = u64::from(count).saturating_mul(entry_len as u64);
        let index_len = len.div_ceil(METADATA_SIZE as u64).saturating_mul(8);
        input.check(index, index_len, name)?;
        budget.charge(len.saturating_add(index_len), name)?;
        let too_much = |_| ReadError::corrupt(name, "a table that fits into memory", len).at(index);
        let raw = input.read(index, usize::try_from(index_len).map_err(too_much)?, name)?;
        let blocks: Vec<_> = raw.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
        let mut table = IndexedTable {
            index,
            index_end: index.saturating_add(index_len),
            blocks,
            end: index,
            bytes: Vec::with_capacity(usize::try_from(len).map_err(too_much)?),
        };
        table.unpack((input, unpacker), name, len)?;
        Ok(table)
    }

    /// Unpacks the blocks, which must follow one another and hold `len` bytes together, all but the last full.
    fn unpack(
        &mut self,
        (input, unpacker): (&Input, &Unpacker),
        name: &'static str,
        len: u64,
    ) -> Result<(), ReadError> {
        let mut next = 0;
        for &block in &self.blocks {
            if block < next || block >= self.index {
                let expected = format!("a metadata block from {next:#x} on, before the index");
                return Err(ReadError::corrupt(name, expected, format!("{block:#x}")).at(self.index));
            }
            let before = self.bytes.len();
            let wanted = len.saturating_sub(before as u64).min(METADATA_SIZE as u64);
            next = unpacker.metadata(input, block, &mut self.bytes, name)?;
            let got = self.bytes.len().saturating_sub(before) as u64;
            if got != wanted {
                let expected = format!("a metadata block with {wanted} bytes unpacked");
                return Err(ReadError::corrupt(name, expected, got).at(block));
            }
        }
        self.end = if self.blocks.is_empty() { self.index } else { next };
        Ok(())
    }

    /// Position of the first byte that belongs to the table: of its first block, or of its index.
    pub(super) fn start(&self) -> u64 {
        self.blocks.first().copied().unwrap_or(self.index)
    }

    /// Unpacked length, bytes.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The entries.
    pub(super) fn entries<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self) -> &[T] {
        <[T]>::ref_from_bytes(&self.bytes).unwrap_or_default()
    }
}

/// All tables of an image, unpacked.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) inodes: MetadataTable,
    pub(super) directories: MetadataTable,
    pub(super) ids: IndexedTable,
    pub(super) fragments: IndexedTable,
    pub(super) export: Option<IndexedTable>,
    pub(super) xattrs: XattrTable,
}

impl Tables {
    pub(super) fn load(
        facts: &Facts,
        (input, unpacker): (&Input, &Unpacker),
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        let superblock = &facts.superblock;
        let io = (input, unpacker);
        let ids = (u32::from(superblock.ids.get()), 4);
        if ids.0 == 0 {
            return Err(ReadError::corrupt("superblock", "at least 1 id", 0).at(0x1a));
        }
        let ids = IndexedTable::load(io, "id table", superblock.id_table.get(), ids, budget)?;
        let fragments = Self::fragments(facts, io, budget)?;
        let export = match Facts::optional(superblock.export_table.get()) {
            Some(index) => {
                let size = (superblock.inodes.get(), 8);
                Some(IndexedTable::load(io, "export table", index, size, budget)?)
            }
            None => None,
        };
        let xattrs = XattrTable::load(superblock.xattr_table.get(), io, budget)?;
        let end = [Some(&ids), Some(&fragments).filter(|f| !f.blocks.is_empty()), export.as_ref()];
        let end = end.into_iter().flatten().map(IndexedTable::start).min().unwrap_or(input.len());
        let (inode, directory) = (superblock.inode_table.get(), superblock.directory_table.get());
        if inode >= directory || directory > end {
            let expected =
                format!("inode table, directory table, then what starts at {end:#x}, in this order");
            let found = format!("inode table {inode:#x}, directory table {directory:#x}");
            return Err(ReadError::corrupt("superblock", expected, found).at(0x40));
        }
        let inodes = MetadataTable::load(input, unpacker, "inode table", (inode, directory), budget)?;
        let directories = MetadataTable::load(input, unpacker, "directory table", (directory, end), budget)?;
        Ok(Tables { inodes, directories, ids, fragments, export, xattrs })
    }

    /// The fragment table alone.
    fn fragments(
        facts: &Facts,
        io: (&Input, &Unpacker),
        budget: &mut Budget,
    ) -> Result<IndexedTable, ReadError> {
        let count = facts.superblock.fragments.get();
        if count == 0 {
            return Ok(IndexedTable::none());
        }
        let index = facts.superblock.fragment_table.get();
        IndexedTable::load(io, "fragment table", index, (count, size_of::<FragmentEntry>()), budget)
    }
}
