//! Directory listings: runs of entries, each behind a header.

use super::ReadError;
use super::inode::DirectoryBody;
use super::metadata::{Cursor, MetadataTable};
use crate::format::{DirEntry, DirHeader, MAX_DIR_ENTRIES_PER_HEADER, MAX_NAME, MetadataRef};

/// Reads one listing forward.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    cursor: Cursor<'a>,
    start: usize,
    end: usize,
    run: Run,
    run_left: u32,
}

/// A run of entries whose inodes are in one metadata block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Run {
    /// Byte of its header within the listing.
    pub(super) listing_offset: u32,
    /// Byte of its header within the unpacked directory table.
    pub(super) position: usize,
    /// Metadata block of its inodes.
    block: u64,
    /// Inode number that deltas are relative to.
    inode_number: u32,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    /// Where the inode is.
    pub(super) inode: MetadataRef,
    /// Number of the inode.
    pub(super) number: u32,
    /// The type number of the entry: a basic one in a sound image.
    pub(super) type_number: u16,
    pub(super) run: Run,
    /// Whether it is the first entry of its run.
    pub(super) first_of_run: bool,
    /// Byte of the entry within the unpacked directory table.
    pub(super) position: usize,
}

impl<'a> Listing<'a> {
    pub(super) fn new(table: &'a MetadataTable, directory: &DirectoryBody) -> Result<Self, ReadError> {
        let len = directory.listing_len() as usize;
        // The listing of an empty directory may be anywhere, also behind the table's end.
        let cursor = if len == 0 { table.cursor_at(0) } else { table.cursor(directory.listing)? };
        if len > cursor.left() {
            return Err(cursor.too_short(len as u64));
        }
        let start = cursor.position();
        Ok(Listing { cursor, start, end: start.saturating_add(len), run: Run::default(), run_left: 0 })
    }

    /// The listing's bytes within the unpacked directory table.
    pub(super) fn range(&self) -> (usize, usize) {
        (self.start, self.end)
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>, ReadError> {
        let first_of_run = self.run_left == 0;
        if first_of_run {
            if self.cursor.position() >= self.end {
                return Ok(None);
            }
            self.header()?;
        }
        self.run_left = self.run_left.saturating_sub(1);
        let place = self.cursor.place();
        self.entry(first_of_run).map(Some).map_err(|error| error.at(place))
    }

    fn header(&mut self) -> Result<(), ReadError> {
        let position = self.cursor.position();
        let place = self.cursor.place();
        let header: DirHeader = self.cursor.get()?;
        let count = header.count.get();
        if count as usize >= MAX_DIR_ENTRIES_PER_HEADER {
            let expected = format!("1 to {MAX_DIR_ENTRIES_PER_HEADER} entries");
            return Err(ReadError::corrupt("directory header", expected, u64::from(count).saturating_add(1))
                .at(place));
        }
        self.run_left = count.saturating_add(1);
        self.run = Run {
            // A listing is shorter than 4 GiB: its length has 32 bits.
            listing_offset: u32::try_from(position.saturating_sub(self.start)).unwrap_or(u32::MAX),
            position,
            block: u64::from(header.start_block.get()),
            inode_number: header.inode_number.get(),
        };
        Ok(())
    }

    fn entry(&mut self, first_of_run: bool) -> Result<Entry<'a>, ReadError> {
        let position = self.cursor.position();
        let entry: DirEntry = self.cursor.get()?;
        let name_len = usize::from(entry.name_size.get()).saturating_add(1);
        if name_len > MAX_NAME {
            let expected = format!("a name of at most {MAX_NAME} bytes");
            return Err(ReadError::corrupt("directory entry", expected, name_len));
        }
        let name = self.cursor.take(name_len)?;
        if self.cursor.position() > self.end {
            let expected = format!("a listing of {} bytes", self.end.saturating_sub(self.start));
            return Err(ReadError::corrupt("directory", expected, "an entry that passes its end"));
        }
        // Two's complement is how the format stores it.
        let delta = i32::from(entry.inode_delta.get().cast_signed());
        let Some(number) = self.run.inode_number.checked_add_signed(delta) else {
            let found = format!("{} {delta:+}", self.run.inode_number);
            return Err(ReadError::corrupt("directory entry", "a 32-bit inode number", found));
        };
        Ok(Entry {
            name,
            inode: MetadataRef { block: self.run.block, offset: entry.offset.get() },
            number,
            type_number: entry.inode_type.get(),
            run: self.run,
            first_of_run,
            position,
        })
    }
}
