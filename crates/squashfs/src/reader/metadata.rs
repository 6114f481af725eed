//! Metadata tables: chains of metadata blocks, unpacked as a whole, with positions in both worlds.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::error::Place;
use super::input::Input;
use super::limits::Budget;
use super::unpack::Unpacker;
use super::{ErrorClass, ReadError};
use crate::format::{METADATA_SIZE, MetadataRef};

/// The unpacked bytes of one chain of metadata blocks.
#[derive(Debug)]
pub(super) struct MetadataTable {
    name: &'static str,
    start: u64,
    end: u64,
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    stopped: Option<ReadError>,
}

/// One metadata block of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Bytes from the table's start to the block's header.
    pub(super) stored: u64,
    /// First byte within the unpacked table.
    pub(super) unpacked: usize,
}

impl MetadataTable {
    /// An empty table, for images that have none.
    pub(super) fn none(name: &'static str) -> Self {
        MetadataTable { name, start: 0, end: 0, bytes: Vec::new(), blocks: Vec::new(), stopped: None }
    }

    /// Unpacks the chain from `start` on. A block that cannot be unpacked ends the table and is reported when
    /// somebody asks for what would be behind it.
    ///
    /// # Errors
    /// Only I/O errors and the memory limit.
    pub(super) fn load(
        input: &Input,
        unpacker: &Unpacker,
        name: &'static str,
        (start, end): (u64, u64),
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        let mut table = MetadataTable { start, end: start, ..Self::none(name) };
        // A block of one table cannot reach into the next.
        let input = input.cut(end);
        while table.end < end {
            budget.charge(METADATA_SIZE as u64, name)?;
            let block = Block { stored: table.end.saturating_sub(start), unpacked: table.bytes.len() };
            match unpacker.metadata(&input, table.end, &mut table.bytes, name) {
                Ok(next) => {
                    table.blocks.push(block);
                    table.end = next;
                }
                Err(error) if error.class() == ErrorClass::Io => return Err(error),
                Err(error) => {
                    table.stopped = Some(error);
                    break;
                }
            }
        }
        Ok(table)
    }

    /// Unpacked length, bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Position after the last block that could be unpacked, from the start of the image.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The blocks, in order.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Why the table ends before the next one starts.
    pub(super) fn stopped(&self) -> Option<&ReadError> {
        self.stopped.as_ref()
    }

    /// The block with that unpacked byte.
    pub(super) fn block_of(&self, unpacked: usize) -> Option<Block> {
        let index = self.blocks.partition_point(|block| block.unpacked <= unpacked).checked_sub(1)?;
        self.blocks.get(index).copied()
    }

    /// The reference to that unpacked byte.
    pub(super) fn reference(&self, unpacked: usize) -> Option<MetadataRef> {
        let block = self.block_of(unpacked)?;
        let offset = u16::try_from(unpacked.checked_sub(block.unpacked)?).ok()?;
        Some(MetadataRef { block: block.stored, offset })
    }

    /// Where an unpacked byte is in the image.
    pub(super) fn place(&self, unpacked: usize) -> Place {
        self.block_of(unpacked).map_or(Place::from(self.start), |block| Place {
            offset: self.start.saturating_add(block.stored),
            unpacked: unpacked.checked_sub(block.unpacked).map(|byte| byte as u64),
        })
    }

    /// Starts reading at a reference.
    pub(super) fn cursor(&self, reference: MetadataRef) -> Result<Cursor<'_>, ReadError> {
        let index = self.blocks.binary_search_by_key(&reference.block, |block| block.stored);
        let block = index.ok().and_then(|index| self.blocks.get(index));
        let at = block.and_then(|block| block.unpacked.checked_add(usize::from(reference.offset)));
        let within = usize::from(reference.offset) < METADATA_SIZE;
        match at.filter(|&at| within && at < self.bytes.len()) {
            Some(at) => Ok(Cursor { table: self, at }),
            None => Err(self.bad_reference(reference)),
        }
    }

    fn bad_reference(&self, reference: MetadataRef) -> ReadError {
        let MetadataRef { block, offset } = reference;
        let found = match &self.stopped {
            Some(error) => format!("a reference to {block:#x}:{offset}, but the table ends: {error}"),
            None => format!("a reference to {block:#x}:{offset}"),
        };
        let expected = "the start of a metadata block and a byte in it";
        ReadError::corrupt(self.name, expected, found).at(self.start.saturating_add(block))
    }

    /// Starts reading at an unpacked byte, which may be the table's end.
    pub(super) fn cursor_at(&self, unpacked: usize) -> Cursor<'_> {
        Cursor { table: self, at: unpacked }
    }
}

/// Reads a [`MetadataTable`] forward, across its blocks.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    table: &'a MetadataTable,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Byte within the unpacked table that is read next.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes left in the table.
    pub(super) fn left(&self) -> usize {
        self.table.len().saturating_sub(self.at)
    }

    /// Where in the image the next byte is.
    pub(super) fn place(&self) -> Place {
        self.table.place(self.at)
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let end = self.at.checked_add(len);
        let Some((end, bytes)) = end.and_then(|end| Some((end, self.table.bytes.get(self.at..end)?))) else {
            return Err(self.too_short(len as u64));
        };
        self.at = end;
        Ok(bytes)
    }

    /// The error for `wanted` bytes that are not there.
    pub(super) fn too_short(&self, wanted: u64) -> ReadError {
        let found = match self.table.stopped() {
            Some(error) => format!("{}, where the table ends: {error}", self.left()),
            None => self.left().to_string(),
        };
        ReadError::corrupt(self.table.name, format!("{wanted} bytes more"), found).at(self.place())
    }

    /// The next on-disk struct.
    pub(super) fn get<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, ReadError> {
        let bytes = self.take(size_of::<T>())?;
        // The length is right, so this cannot fail.
        T::read_from_bytes(bytes).map_err(|_| self.too_short(size_of::<T>() as u64))
    }
}
