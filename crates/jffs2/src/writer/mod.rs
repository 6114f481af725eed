//! The writer: a tree becomes an image in one pass over its data.
//!
//! ```text
//! plan          every node checked, inodes numbered            (nothing written yet)
//! steps         the tree as a sequence of nodes, data still to be read
//! data          read and compressed through the pipeline       → nodes in the order of the tree
//! pack          nodes that together fill an eraseblock
//! eraseblock    cleanmarker, nodes, summary                    → output
//! ```

mod compress;
mod data;
mod eraseblock;
mod node;
mod pack;
mod plan;
mod steps;
mod xattr;

use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;

use flashwright_tree::Tree;

use crate::error::WriteError;
use crate::format::Compression;
use crate::options::Options;

pub use eraseblock::write_end_marks;

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
    /// Inodes: nodes of the tree with hard links counted once.
    pub inodes: u32,
    /// Nodes on flash; cleanmarkers and summaries not counted.
    pub nodes: u64,
    /// File data of the tree, bytes, holes included; hard links once.
    pub bytes_in: u64,
    /// Of those, in holes.
    pub hole_bytes: u64,
    /// Nodes of file data by how they are stored.
    pub stored: Stored,
    /// Length of the image with its padding, bytes.
    pub bytes_out: u64,
    /// Eraseblocks that have nodes, the last one included.
    pub eraseblocks: u64,
    /// Bytes that the last of these has left; the kernel goes on writing there.
    pub open_bytes: u32,
    /// Bytes lost at the ends of full eraseblocks, together.
    pub lost_bytes: u64,
    /// Bytes lost at the end of the full eraseblock that lost most. Up to
    /// [`CLEAN_SLACK`](crate::format::CLEAN_SLACK) the kernel takes it for clean.
    pub most_lost: u32,
    /// Nodes of the tree whose modification time has a fraction of a second, which JFFS2 drops.
    pub dropped_fractions: u64,
    /// Whether there are xattrs, so that the kernel needs `CONFIG_JFFS2_FS_XATTR` to mount it.
    pub xattrs: bool,
}

/// Numbers of data nodes by compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// As they are.
    pub none: u64,
    /// Holes.
    pub zero: u64,
    /// rtime.
    pub rtime: u64,
    /// zlib.
    pub zlib: u64,
    /// LZO.
    pub lzo: u64,
}

/// What happened to file data.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    bytes: u64,
    hole_bytes: u64,
    stored: Stored,
}

impl Counts {
    const fn count(&mut self, compression: Compression) {
        let stored = &mut self.stored;
        *match compression {
            Compression::Zero => &mut stored.zero,
            Compression::Rtime => &mut stored.rtime,
            Compression::Zlib => &mut stored.zlib,
            Compression::Lzo => &mut stored.lzo,
            _ => &mut stored.none,
        } += 1;
    }
}

/// Writes `tree` as a JFFS2 image to `output`.
///
/// The image depends on the tree and the options alone, not on `threads` (reading and compressing threads; one more
/// puts nodes into eraseblocks). When this fails, what is in `output` is of no use.
///
/// # Errors
/// [`WriteError`]; limits and options are checked before a byte is written, except whether the image fits into the size
/// it shall be padded to, or into 4 GiB.
pub fn write<W: Write>(
    tree: &Tree,
    options: &Options,
    threads: NonZeroUsize,
    output: &mut W,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WriteError> {
    options.validate()?;
    let plan = plan::Plan::new(tree, options)?;
    let mut eraseblocks = eraseblock::Eraseblocks::new(options, BufWriter::with_capacity(1 << 20, output));
    let counts = data::write_nodes(tree, &plan, options, threads, &mut eraseblocks, progress)?;
    let written = eraseblocks.finish()?;
    Ok(Summary {
        inodes: plan.inodes,
        nodes: written.nodes,
        bytes_in: counts.bytes,
        hole_bytes: counts.hole_bytes,
        stored: counts.stored,
        bytes_out: written.bytes,
        eraseblocks: written.eraseblocks,
        open_bytes: written.open_bytes,
        lost_bytes: written.lost_bytes,
        most_lost: written.most_lost,
        dropped_fractions: plan.fractions,
        xattrs: plan.xattrs,
    })
}
