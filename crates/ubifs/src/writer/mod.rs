//! The writer: a tree becomes an image in one pass over its data.
//!
//! ```text
//! plan     every node checked, inodes numbered            (nothing written yet)
//! steps    the tree as a sequence of nodes, data still to be read
//! data     read and compressed through the pipeline       → nodes in the order of the tree
//! leb      nodes into the LEBs of the main area           → output
//! index    bottom up behind them, an empty LEB between for the kernel's garbage collection
//! lpt      how full each LEB is
//! finish   superblock, log, LPT, orphans, master
//! ```

mod compress;
mod data;
mod finish;
mod index;
mod leb;
mod lpt;
mod nodes;
mod plan;
mod steps;

use std::io::{Seek, Write};
use std::num::NonZeroUsize;

use flashwright_tree::Tree;

use crate::error::WriteError;
use crate::format::{ComprType, LOG_LNUM};
use crate::options::Options;

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// File data done, bytes.
    pub bytes_done: u64,
    /// File data in the tree, bytes; hard links once.
    pub bytes_total: u64,
    /// Regular files done that have data.
    pub files_done: u64,
    /// Regular files in the tree; hard links once.
    pub files_total: u64,
}

/// What became of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Inodes: nodes of the tree with hard links counted once; xattrs not counted.
    pub inodes: u32,
    /// Nodes on flash: inodes, entries, data; index not counted.
    pub nodes: u64,
    /// File data of the tree, bytes, holes included; hard links once.
    pub bytes_in: u64,
    /// Of those, in holes.
    pub hole_bytes: u64,
    /// Blocks of file data by how they are stored.
    pub stored: Stored,
    /// Length of the image, bytes.
    pub bytes_out: u64,
    /// LEBs of the image.
    pub leb_cnt: u32,
    /// LEBs of the smallest volume that it mounts in: the image, and at least room for the journal.
    pub min_volume_lebs: u32,
    /// LEBs that hold nodes of the tree or of the index.
    pub used_lebs: u32,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// UUID of the file system.
    pub uuid: [u8; 16],
}

/// Numbers of blocks by compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// As they are.
    pub none: u64,
    /// LZO.
    pub lzo: u64,
    /// Raw deflate.
    pub zlib: u64,
    /// Zstandard.
    pub zstd: u64,
}

impl Stored {
    const fn count(&mut self, compr_type: ComprType) {
        *match compr_type {
            ComprType::None => &mut self.none,
            ComprType::Lzo => &mut self.lzo,
            ComprType::Zlib => &mut self.zlib,
            ComprType::Zstd => &mut self.zstd,
        } += 1;
    }
}

/// What happened to file data.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    bytes: u64,
    hole_bytes: u64,
    stored: Stored,
}

/// Writes `tree` as a UBIFS image to `output`, which must be empty and at its start.
///
/// The image depends on the tree and the options alone, not on `threads` (reading and compressing threads; one more puts
/// nodes into LEBs). When this fails, what is in `output` is of no use.
///
/// # Errors
/// [`WriteError`]; limits and options are checked before a byte is written, except whether the image fits
/// ([`WriteError::TooLarge`]), which depends on how it compresses.
pub fn write<W: Write + Seek>(
    tree: &Tree,
    options: &Options,
    threads: NonZeroUsize,
    output: &mut W,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WriteError> {
    let areas = options.areas()?;
    let plan = plan::Plan::new(tree, options)?;
    let leb_size = options.geometry.leb_size;
    let lebs = (areas.main_first, options.max_leb_cnt);
    let mut main = leb::MainArea::new(output, (leb_size, options.min_io_size()), lebs);
    let maker = nodes::NodeMaker {
        tree,
        plan: &plan,
        key_hash: options.key_hash,
        compr_type: options.compression.compr_type(),
    };
    let (leaves, counts) = data::write_nodes(&maker, options, threads, &mut main, progress)?;
    let content = main.finish_nodes()?;
    let gc_lnum = main.take_empty();
    let index = index::write(leaves, options.fanout, &mut main)?;
    let index_bytes = index.size;
    let index_head = main.finish_index()?;
    let nodes = main.nodes();
    let written = finish::Written { index, index_head, gc_lnum, highest_inum: plan.highest, content };
    let finished = finish::write(options, &areas, &written, &mut main)?;

    let journal_lebs = areas.max_bud_bytes.div_ceil(leb_size.into());
    // The journal is within the main area, which has fewer than 2^32 LEBs.
    let journal_lebs = u32::try_from(journal_lebs).unwrap_or(u32::MAX - areas.main_first);
    debug_assert!(areas.main_first > LOG_LNUM);
    Ok(Summary {
        inodes: plan.inodes,
        nodes,
        bytes_in: counts.bytes,
        hole_bytes: counts.hole_bytes,
        stored: counts.stored,
        bytes_out: u64::from(finished.leb_cnt) * u64::from(leb_size),
        leb_cnt: finished.leb_cnt,
        min_volume_lebs: finished.leb_cnt.max(areas.main_first + journal_lebs),
        used_lebs: finished.leb_cnt - areas.main_first - finished.totals.empty_lebs,
        index_bytes,
        uuid: finished.uuid,
    })
}
