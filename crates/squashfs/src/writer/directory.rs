//! The listing of one directory: headers, entries, and the index of a long listing.

use flashwright_codec::CodecError;
use flashwright_tree::Kind;
use zerocopy::IntoBytes;

use super::metadata::MetadataTable;
use crate::format::{DirEntry, DirHeader, DirIndex, InodeType, MAX_DIR_ENTRIES_PER_HEADER, MetadataRef};

/// One name of a directory.
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: Kind,
    pub(super) number: u32,
    pub(super) inode: MetadataRef,
}

/// A listing as it was written.
pub(super) struct Listing {
    pub(super) start: MetadataRef,
    /// Bytes of headers and entries.
    pub(super) len: u64,
    /// On-disk index entries, each with its name.
    pub(super) index: Vec<u8>,
    pub(super) index_count: u16,
}

/// Writes the entries, which are in byte order of their names.
pub(super) fn write_listing(
    table: &mut MetadataTable<'_>,
    entries: &[Entry<'_>],
) -> Result<Listing, CodecError> {
    let start = table.position();
    let mut listing = Listing { start, len: 0, index: Vec::new(), index_count: 0 };
    let mut indexed_block = start.block;
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let (run, later) = rest.split_at(run_len(rest));
        let position = table.position();
        if position.block != indexed_block {
            listing.add_index(position, first.name);
            indexed_block = position.block;
        }
        listing.len += write_run(table, first, run)?;
        rest = later;
    }
    Ok(listing)
}

impl Listing {
    fn add_index(&mut self, position: MetadataRef, name: &[u8]) {
        // Listings and tables beyond these limits are refused before (see `inode`); an index may be incomplete, the
        // kernel then searches on from its last entry.
        let (Ok(index), Ok(start_block)) = (u32::try_from(self.len), u32::try_from(position.block)) else {
            return;
        };
        let Some(count) = self.index_count.checked_add(1) else { return };
        let entry = DirIndex {
            index: index.into(),
            start_block: start_block.into(),
            name_size: u32::from(name_size(name)).into(),
        };
        self.index.extend_from_slice(entry.as_bytes());
        self.index.extend_from_slice(name);
        self.index_count = count;
    }
}

/// How many of the entries can stand below one header: inodes in one metadata block, numbers in reach.
fn run_len(entries: &[Entry<'_>]) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let fits = |entry: &&Entry<'_>| entry.inode.block == first.inode.block && delta(first, entry).is_some();
    entries.iter().take(MAX_DIR_ENTRIES_PER_HEADER).take_while(fits).count()
}

fn delta(first: &Entry<'_>, entry: &Entry<'_>) -> Option<i16> {
    i16::try_from(i64::from(entry.number) - i64::from(first.number)).ok()
}

fn write_run(table: &mut MetadataTable<'_>, first: &Entry<'_>, run: &[Entry<'_>]) -> Result<u64, CodecError> {
    let header = DirHeader {
        // 1 to 256 entries; inode tables above 4 GiB are refused (see `inode`).
        count: u32::try_from(run.len() - 1).unwrap_or(0).into(),
        start_block: u32::try_from(first.inode.block).unwrap_or(u32::MAX).into(),
        inode_number: first.number.into(),
    };
    table.write(header.as_bytes())?;
    let mut len = size_of::<DirHeader>();
    for entry in run {
        let on_disk = DirEntry {
            offset: entry.inode.offset.into(),
            inode_delta: delta(first, entry).unwrap_or(0).cast_unsigned().into(),
            inode_type: InodeType { kind: entry.kind, extended: false }.number().into(),
            name_size: name_size(entry.name).into(),
        };
        table.write(on_disk.as_bytes())?;
        table.write(entry.name)?;
        len += size_of::<DirEntry>() + entry.name.len();
    }
    Ok(len as u64)
}

fn name_size(name: &[u8]) -> u16 {
    u16::try_from(name.len() - 1).unwrap_or_else(|_| unreachable!("the plan refuses names over 256 bytes"))
}
