//! What an image is, without its tree: the superblock's facts and the size of every part.

use super::identify::HEAD_LEN;
use super::input::Input;
use super::metadata::MetadataTable;
use super::superblock::{CompressorOptions, Facts};
use super::tables::{IndexedTable, Tables};
use super::unpack::Unpacker;
use super::{Image, ReadError};
use crate::format::{Compression, SuperBlock};

/// Bytes of padding that are looked at, at a time.
const CHUNK: usize = 64 * 1024;

/// Facts about an image.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Info {
    /// The superblock, as it stands in the image: counts, times, flags.
    pub superblock: SuperBlock,
    /// The compressor.
    pub compression: Compression,
    /// The compressor options record, when the image has one.
    pub options: Option<CompressorOptions>,
    /// Length of the whole file, bytes.
    pub len: u64,
    /// Bytes that data and fragment blocks take, with anything between them.
    pub data_len: u64,
    /// The tables, by position.
    pub tables: Vec<TableInfo>,
    /// Bytes after the image proper.
    pub padding: Padding,
}

/// One table of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableInfo {
    /// What it is, for people.
    pub name: &'static str,
    /// Position of its first byte, from the start of the image.
    pub offset: u64,
    /// Bytes it takes in the image, its index included.
    pub stored_len: u64,
    /// Bytes unpacked, its index not included.
    pub len: u64,
    /// Number of metadata blocks.
    pub blocks: u64,
}

/// What follows the image proper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Padding {
    /// Bytes.
    pub len: u64,
    /// The value of all of them; `None` without padding, or when they differ.
    pub byte: Option<u8>,
}

impl Image {
    /// Facts about the image. Unpacks the tables to learn their sizes; file data is not read.
    ///
    /// # Errors
    /// [`ErrorClass::Corrupt`](super::ErrorClass::Corrupt), [`ErrorClass::Limit`](super::ErrorClass::Limit),
    /// [`ErrorClass::Io`](super::ErrorClass::Io).
    pub fn info(&self) -> Result<Info, ReadError> {
        let mut budget = self.limits.budget(self.input.len());
        let unpacker = Unpacker::new(self.facts.compression);
        let tables = Tables::load(&self.facts, (&self.input, &unpacker), &mut budget)?;
        let (options, data_start) = self.facts.options(&self.input)?;
        Ok(Info {
            superblock: self.facts.superblock,
            compression: self.facts.compression,
            options,
            len: self.whole.len(),
            data_len: self.facts.superblock.inode_table.get().saturating_sub(data_start),
            tables: table_infos(&self.facts, &tables),
            padding: padding(&self.whole, self.input.len())?,
        })
    }
}

fn table_infos(facts: &Facts, tables: &Tables) -> Vec<TableInfo> {
    let superblock = &facts.superblock;
    let mut all = vec![
        chain("inode table", superblock.inode_table.get(), &tables.inodes),
        chain("directory table", superblock.directory_table.get(), &tables.directories),
        indexed("id table", &tables.ids),
    ];
    if !tables.fragments.blocks.is_empty() {
        all.push(indexed("fragment table", &tables.fragments));
    }
    all.extend(tables.export.as_ref().map(|export| indexed("export table", export)));
    if let Some((header, start)) = tables.xattrs.position {
        all.push(chain("xattrs", start, &tables.xattrs.data));
        let mut ids = indexed("xattr id table", &tables.xattrs.ids);
        // The header stands between the blocks and the index, so an empty table starts with it.
        ids.offset = ids.offset.min(header);
        ids.stored_len = tables.xattrs.ids.index_end.saturating_sub(ids.offset);
        all.push(ids);
    }
    all.sort_by_key(|table| table.offset);
    all
}

fn chain(name: &'static str, offset: u64, table: &MetadataTable) -> TableInfo {
    let stored_len = table.end().saturating_sub(offset);
    TableInfo { name, offset, stored_len, len: table.len() as u64, blocks: table.blocks().len() as u64 }
}

fn indexed(name: &'static str, table: &IndexedTable) -> TableInfo {
    let offset = table.start();
    TableInfo {
        name,
        offset,
        stored_len: table.index_end.saturating_sub(offset),
        len: table.len(),
        blocks: table.blocks.len() as u64,
    }
}

/// OpenWrt's mark for "JFFS2 begins here", as bytes.
const JFFS2_END_MARK: [u8; 4] = [0xde, 0xad, 0xc0, 0xde];
/// Marks are at the start of eraseblocks, of which JFFS2 takes none smaller.
const SMALLEST_ERASEBLOCK: u64 = 8192;

/// Whether what follows `start` is one byte again and again, then erased flash with JFFS2 end marks in it.
pub(super) fn is_marked_padding(whole: &Input, start: u64) -> Result<bool, ReadError> {
    let (mut offset, mut buffer) = (start.max(HEAD_LEN as u64), vec![0; CHUNK]);
    let (mut filler, mut marks) = (None, 0u64);
    while offset < whole.len() {
        // Up to the next place where a mark may be.
        let behind = offset.checked_rem(SMALLEST_ERASEBLOCK).unwrap_or_default();
        let room = SMALLEST_ERASEBLOCK.saturating_sub(behind).min(whole.len().saturating_sub(offset));
        let left = usize::try_from(room).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..left).unwrap_or_default();
        whole.read_into(offset, part, "padding")?;
        let rest = match part.strip_prefix(&JFFS2_END_MARK) {
            Some(rest) if behind == 0 => {
                (marks, filler) = (marks.saturating_add(1), Some(0xff));
                rest
            }
            _ => part,
        };
        let first = *filler.get_or_insert(rest.first().copied().unwrap_or(0xff));
        let mut others = rest.iter().skip_while(|&&byte| byte == first).peekable();
        if others.peek().is_some() {
            filler = Some(0xff);
        }
        if others.any(|&byte| byte != 0xff) {
            return Ok(false);
        }
        offset = offset.saturating_add(left as u64);
    }
    Ok(marks > 0)
}

/// Looks at what follows `start`.
pub(super) fn padding(whole: &Input, start: u64) -> Result<Padding, ReadError> {
    let len = whole.len().saturating_sub(start);
    let (mut offset, mut byte, mut buffer) = (start.max(HEAD_LEN as u64), None, vec![0; CHUNK]);
    while offset < whole.len() {
        let left = usize::try_from(whole.len().saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..left).unwrap_or_default();
        whole.read_into(offset, part, "padding")?;
        let first = byte.or_else(|| part.first().copied());
        if part.iter().any(|&b| Some(b) != first) {
            return Ok(Padding { len, byte: None });
        }
        byte = first;
        offset = offset.saturating_add(left as u64);
    }
    Ok(Padding { len, byte })
}
