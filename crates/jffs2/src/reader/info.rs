//! What an image is, and what its bytes are used for.

use flashwright_media::Endian;

use super::index::InodeNode;
use super::{Geometry, Image};
use crate::format::Compression;

/// What an image is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Info {
    /// Byte order.
    pub endian: Endian,
    /// Eraseblocks and pages.
    pub geometry: Geometry,
    /// Where the first node is, bytes from the start of the image.
    pub start: u64,
    /// Where OpenWrt's end mark is, bytes from the start of the image; nothing behind it is looked at.
    pub end_mark: Option<u64>,
    /// Length of the image in bytes.
    pub len: u64,
    /// Inode nodes, those of older versions too.
    pub inode_nodes: u64,
    /// Directory entries, those of older versions too.
    pub dirents: u64,
    /// Xattr references.
    pub xattr_references: u64,
    /// Summaries, one for each full eraseblock.
    pub summaries: u64,
    /// Cleanmarkers.
    pub cleanmarkers: u64,
    /// Nodes that Linux has marked as obsolete.
    pub obsolete_nodes: u64,
    /// Bytes of erased flash.
    pub free_bytes: u64,
    /// Bytes of summaries.
    pub summary_bytes: u64,
    /// Bytes of padding nodes, and bytes that are no nodes.
    pub lost_bytes: u64,
    /// Most bytes of data that one node has, holes apart.
    pub node_size: u32,
    /// Data by compression: how many nodes, bytes stored, bytes unpacked.
    pub compressions: Vec<(Compression, u64, u64, u64)>,
}

/// Bytes of the longest data that is no hole.
fn largest(inodes: &[InodeNode]) -> u32 {
    let stored = inodes.iter().filter(|node| node.compression != Compression::Zero.number());
    stored.map(|node| node.data_len).max().unwrap_or_default()
}

impl Image {
    /// What the image is.
    #[must_use]
    pub fn info(&self) -> Info {
        let Image { scan, index, .. } = self;
        let inodes = index.inodes();
        Info {
            endian: scan.endian,
            geometry: self.geometry,
            start: scan.start,
            end_mark: scan.end_mark.map(|at| scan.start.saturating_add(at.into())),
            len: self.len,
            inode_nodes: inodes.len() as u64,
            dirents: index.dirents().len() as u64,
            xattr_references: index.xrefs().len() as u64,
            summaries: scan.summaries.into(),
            cleanmarkers: scan.cleanmarkers.count.into(),
            obsolete_nodes: scan.usage.obsolete_nodes,
            free_bytes: scan.usage.free,
            summary_bytes: scan.usage.summary,
            lost_bytes: scan
                .usage
                .padding
                .saturating_add(scan.usage.dirty)
                .saturating_add(scan.usage.obsolete),
            node_size: largest(inodes),
            compressions: self.compressions(),
        }
    }

    fn compressions(&self) -> Vec<(Compression, u64, u64, u64)> {
        let all = (0..).map_while(Compression::from_number);
        let of = |compression: Compression| {
            let nodes =
                self.index.inodes().iter().filter(move |node| node.compression == compression.number());
            let nodes = nodes.filter(|node| node.data_len > 0);
            nodes.fold((compression, 0u64, 0u64, 0u64), |(compression, count, stored, data), node| {
                let stored = stored.saturating_add(node.stored_len.into());
                (compression, count.saturating_add(1), stored, data.saturating_add(node.data_len.into()))
            })
        };
        all.map(of).filter(|&(_, count, ..)| count > 0).collect()
    }
}
