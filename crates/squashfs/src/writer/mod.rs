//! The writer: a tree becomes an image in one pass over its data.
//!
//! ```text
//! plan     every node checked, inodes numbered           (nothing written yet)
//! data     blocks and fragments through the pipeline     → where each file's data is
//! inodes   inode and directory tables, deepest first
//! tables   fragments, export, ids, xattrs
//! last     padding, then the superblock at byte 0
//! ```

mod data;
mod dedup;
mod directory;
mod fragment;
mod inode;
mod kind;
mod metadata;
mod order;
mod pack;
mod plan;
mod similar;
mod table;
mod xattr;

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;

use flashwright_codec::lz4;
use flashwright_tree::Tree;
use zerocopy::IntoBytes;

use crate::error::WriteError;
use crate::format::{
    GzipOptions, Lz4Options, MAGIC, METADATA_UNCOMPRESSED, SuperBlock, VERSION, XzOptions, ZstdOptions, flags,
};
use crate::options::{BCJ_NAMES, Bcj, Fragments, Method, Options};

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// File data read, bytes.
    pub bytes_done: u64,
    /// File data in the tree, bytes; hard links once.
    pub bytes_total: u64,
    /// Regular files done.
    pub files_done: u64,
    /// Regular files in the tree; hard links once.
    pub files_total: u64,
}

/// What became of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Inodes: nodes with hard links counted once.
    pub inodes: u32,
    /// File data of the tree, bytes, holes included; hard links once.
    pub bytes_in: u64,
    /// Of those, in holes.
    pub hole_bytes: u64,
    /// Length of the image with its padding, bytes.
    pub bytes_out: u64,
    /// Length of the file system without padding, bytes.
    pub bytes_used: u64,
    /// Files whose data was in the image already, all of it.
    pub duplicate_files: u64,
    /// File data that was in the image already, bytes.
    pub duplicate_bytes: u64,
    /// Data blocks and fragment blocks.
    pub blocks: u64,
    /// Fragment blocks.
    pub fragments: u64,
    /// Branch filters in use. The device's kernel must have their decoders.
    pub filters: BTreeSet<Bcj>,
}

/// The image as it is written, from its start.
struct Output<W> {
    inner: W,
    position: u64,
}

impl<W: Write> Output<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.inner.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// Writes `tree` as a SquashFS image to `output`, which must be empty and at its start.
///
/// The image depends on the tree and the options alone, not on `threads` (compressing threads; one more reads the
/// results). When this fails, what is in `output` is of no use.
///
/// # Errors
/// [`WriteError`]; limits and options are checked before a byte is written.
pub fn write<W: Write + Seek>(
    tree: &Tree,
    options: &Options,
    threads: NonZeroUsize,
    output: &mut W,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WriteError> {
    options.validate()?;
    let plan = plan::Plan::new(tree, options.block_size)?;
    let mkfs_time = mkfs_time(tree, options);
    let mut out = Output { inner: std::io::BufWriter::with_capacity(1 << 20, &mut *output), position: 0 };
    out.write(&[0; size_of::<SuperBlock>()])?;
    let record = compressor_options(options)?;
    if let Some(record) = &record {
        out.write(record)?;
    }
    let files = order::data_order(tree, options)?;
    let data = data::write_data(tree, &files, options, threads, &mut out, progress)?;
    let tables = table::write_tables(tree, &plan, &files, &data, options, &mut out)?;
    let bytes_used = out.position;
    pad(options, &mut out)?;
    let bytes_out = out.position;
    out.inner.flush()?;
    drop(out);

    let superblock = SuperBlock {
        magic: MAGIC.into(),
        inodes: plan.inodes.into(),
        mkfs_time: mkfs_time.into(),
        block_size: options.block_size.into(),
        // At most one fragment for each of 2^32 - 2 blocks.
        fragments: u32::try_from(data.fragments.len()).unwrap_or(u32::MAX).into(),
        compression: options.method.compression().number().into(),
        block_log: u16::try_from(options.block_size.ilog2()).unwrap_or(0).into(),
        flags: superblock_flags(options, &tables, record.is_some()).into(),
        ids: u16::try_from(plan.ids.len()).unwrap_or(u16::MAX).into(),
        major: VERSION.0.into(),
        minor: VERSION.1.into(),
        root_inode: tables.root.pack().into(),
        bytes_used: bytes_used.into(),
        id_table: tables.ids.into(),
        xattr_table: tables.xattrs.into(),
        inode_table: tables.inodes.into(),
        directory_table: tables.directories.into(),
        fragment_table: tables.fragments.into(),
        export_table: tables.export.into(),
    };
    output.seek(SeekFrom::Start(0))?;
    output.write_all(superblock.as_bytes())?;
    output.flush()?;
    Ok(Summary {
        inodes: plan.inodes,
        bytes_in: data.counts.bytes,
        hole_bytes: data.counts.hole_bytes,
        bytes_out,
        bytes_used,
        duplicate_files: data.counts.duplicate_files,
        duplicate_bytes: data.counts.duplicate_bytes,
        blocks: data.blocks.len() as u64,
        fragments: data.fragments.len() as u64,
        filters: data.filters,
    })
}

fn mkfs_time(tree: &Tree, options: &Options) -> u32 {
    // The plan has checked that every time fits.
    let newest = u32::try_from(tree.newest_mtime().seconds).unwrap_or(u32::MAX);
    options.mkfs_time.unwrap_or(newest)
}

/// The record after the superblock, in its uncompressed metadata block; `None` where the format's defaults apply.
fn compressor_options(options: &Options) -> Result<Option<Vec<u8>>, WriteError> {
    let record = match &options.method {
        Method::Gzip { level } => {
            // The record is for people and knows levels to 9 only.
            let level = options.zlib_level(*level)?.get().min(9);
            let record =
                GzipOptions { level: u32::from(level).into(), window: 15.into(), strategies: 0.into() };
            (level != 9).then(|| record.as_bytes().to_vec())
        }
        Method::Xz { .. } => {
            let bits = options.bcj().into_iter().map(filter_bit).sum::<u32>();
            let record = XzOptions { dictionary: options.block_size.max(8192).into(), filters: bits.into() };
            (bits != 0).then(|| record.as_bytes().to_vec())
        }
        Method::Zstd { level } => {
            let level = options.zstd_level(*level)?.get();
            (level != 15).then(|| ZstdOptions { level: u32::from(level).into() }.as_bytes().to_vec())
        }
        Method::Lz4 { hc } => {
            let hc = options.lz4_mode(*hc) != lz4::Mode::Fast;
            Some(Lz4Options { version: 1.into(), flags: u32::from(hc).into() }.as_bytes().to_vec())
        }
        Method::Lzo => None,
    };
    let Some(record) = record else { return Ok(None) };
    // 4 or 8 bytes.
    let header = u16::try_from(record.len()).unwrap_or(0) | METADATA_UNCOMPRESSED;
    Ok(Some([&header.to_le_bytes()[..], &record].concat()))
}

/// Bits of [`XzOptions::filters`], as other readers print them.
const fn filter_bit(bcj: Bcj) -> u32 {
    match bcj {
        Bcj::X86 => 0x01,
        Bcj::PowerPc => 0x02,
        Bcj::Arm => 0x08,
        Bcj::ArmThumb => 0x10,
        Bcj::Sparc => 0x20,
        Bcj::Arm64 => 0x40,
        Bcj::RiscV => 0x80,
    }
}

fn superblock_flags(options: &Options, tables: &table::Tables, record: bool) -> u16 {
    let store = &options.store;
    let bits = [
        (store.inodes, flags::UNCOMPRESSED_INODES),
        (store.data, flags::UNCOMPRESSED_DATA),
        (store.fragments, flags::UNCOMPRESSED_FRAGMENTS),
        (store.xattrs, flags::UNCOMPRESSED_XATTRS),
        (store.ids, flags::UNCOMPRESSED_IDS),
        (options.fragments == Fragments::Never, flags::NO_FRAGMENTS),
        (options.fragments == Fragments::Tails, flags::ALWAYS_FRAGMENTS),
        (options.duplicates, flags::DUPLICATES),
        (options.export_table, flags::EXPORTABLE),
        (tables.xattrs == crate::format::NONE64, flags::NO_XATTRS),
        (record, flags::COMPRESSOR_OPTIONS),
    ];
    bits.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit)
}

fn pad<W: Write>(options: &Options, out: &mut Output<W>) -> Result<(), WriteError> {
    let mut missing = out.position.next_multiple_of(options.padding.alignment) - out.position;
    let chunk = [options.padding.byte; 4096];
    while missing > 0 {
        let len = usize::try_from(missing).unwrap_or(chunk.len()).min(chunk.len());
        out.write(&chunk[..len])?;
        missing -= len as u64;
    }
    Ok(())
}

/// The kernel options that decode these filters, for messages.
#[must_use]
pub fn needed_by(filters: &BTreeSet<Bcj>) -> Vec<&'static str> {
    BCJ_NAMES.into_iter().filter(|(bcj, ..)| filters.contains(bcj)).map(|(_, _, config)| config).collect()
}
