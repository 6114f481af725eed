//! All that follows the data: inodes and directories, then the look-up tables.

use std::io::Write;

use flashwright_codec::{CodecError, Compressor};
use flashwright_tree::{NodeId, Tree};
use zerocopy::IntoBytes;

use super::Output;
use super::data::DataArea;
use super::inode::InodeWriter;
use super::metadata::MetadataTable;
use super::pack::metadata_compressor;
use super::plan::Plan;
use super::xattr::XattrSets;
use crate::error::WriteError;
use crate::format::{FragmentEntry, MetadataRef, NONE64, XattrTableHeader};
use crate::options::Options;

/// Where the tables are, for the superblock.
pub(super) struct Tables {
    pub(super) root: MetadataRef,
    pub(super) inodes: u64,
    pub(super) directories: u64,
    pub(super) fragments: u64,
    pub(super) export: u64,
    pub(super) ids: u64,
    pub(super) xattrs: u64,
}

type BoxedCompressor = Option<Box<dyn Compressor>>;

fn borrow(compressor: &mut BoxedCompressor) -> Option<&mut dyn Compressor> {
    compressor.as_mut().map(|boxed| &mut **boxed as &mut dyn Compressor)
}

pub(super) fn write_tables<W: Write>(
    tree: &Tree,
    plan: &Plan,
    files: &[NodeId],
    data: &DataArea,
    options: &Options,
    out: &mut Output<W>,
) -> Result<Tables, WriteError> {
    let sets = XattrSets::collect(tree)?;
    let (mut first, mut second) = (
        metadata_compressor(options, options.store.inodes)?,
        metadata_compressor(options, options.store.inodes)?,
    );
    let mut writer =
        InodeWriter::new(tree, plan, files, data, &sets, borrow(&mut first), borrow(&mut second));
    let root = writer.write_all()?;
    let (inode_table, directory_table, positions) = writer.finish()?;
    let inodes = out.position;
    out.write(&inode_table)?;
    let directories = out.position;
    out.write(&directory_table)?;

    let fragments = if data.fragments.is_empty() {
        NONE64
    } else {
        indexed_table(&fragment_entries(data), &mut first, out)?
    };
    let export = if options.export_table {
        let packed: Vec<u64> = positions.iter().map(|position| position.pack().to_le()).collect();
        indexed_table(packed.as_bytes(), &mut first, out)?
    } else {
        NONE64
    };
    let mut id_compressor = metadata_compressor(options, options.store.ids)?;
    let ids: Vec<u32> = plan.ids.iter().map(|id| id.to_le()).collect();
    let ids = indexed_table(ids.as_bytes(), &mut id_compressor, out)?;
    let xattrs = write_xattrs(&sets, options, out)?;
    Ok(Tables { root, inodes, directories, fragments, export, ids, xattrs })
}

fn fragment_entries(data: &DataArea) -> Vec<u8> {
    let entry = |&sequence: &u32| {
        let placed = data.blocks[sequence as usize];
        FragmentEntry { start_block: placed.offset.into(), size: placed.word.into(), unused: 0.into() }
    };
    data.fragments.iter().flat_map(|sequence| entry(sequence).as_bytes().to_vec()).collect()
}

/// Writes metadata blocks with `bytes`, then the position of each block. Returns the position of those positions.
fn indexed_table<W: Write>(
    bytes: &[u8],
    compressor: &mut BoxedCompressor,
    out: &mut Output<W>,
) -> Result<u64, WriteError> {
    let start = out.position;
    let (packed, starts) = pack_table(bytes, compressor)?;
    out.write(&packed)?;
    let index = out.position;
    for block in starts {
        out.write(&(start + block).to_le_bytes())?;
    }
    Ok(index)
}

fn pack_table(bytes: &[u8], compressor: &mut BoxedCompressor) -> Result<(Vec<u8>, Vec<u64>), CodecError> {
    let mut table = MetadataTable::new(borrow(compressor));
    table.write(bytes)?;
    table.finish()
}

fn write_xattrs<W: Write>(
    sets: &XattrSets,
    options: &Options,
    out: &mut Output<W>,
) -> Result<u64, WriteError> {
    if sets.is_empty() {
        return Ok(NONE64);
    }
    let mut compressor = metadata_compressor(options, options.store.xattrs)?;
    let mut table = MetadataTable::new(borrow(&mut compressor));
    let ids = sets.write(&mut table)?;
    let (packed, _) = table.finish()?;
    let xattr_start = out.position;
    out.write(&packed)?;
    let start = out.position;
    let (packed, starts) = pack_table(ids.as_bytes(), &mut compressor)?;
    out.write(&packed)?;
    let header =
        XattrTableHeader { xattr_start: xattr_start.into(), ids: sets.len().into(), unused: 0.into() };
    let position = out.position;
    out.write(header.as_bytes())?;
    for block in starts {
        out.write(&(start + block).to_le_bytes())?;
    }
    Ok(position)
}
