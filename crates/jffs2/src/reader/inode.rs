//! One inode: its newest metadata, and what all its nodes make of its data.

use std::sync::Arc;

use flashwright_media::Field;
use flashwright_media::Fields;
use flashwright_tree::{Device, Finding, Kind, Metadata, Node, NodeKind, Timestamp};

use super::ReadError;
use super::data::{Parts, Store};
use super::index::{DirentNode, Index, InodeNode};
use super::limits::Budget;
use super::xattr;
use crate::format::{RawInode, kind_of_mode};

/// Longest symlink target that is read, bytes: the kernel's PATH_MAX.
const MAX_TARGET: u32 = 4095;

/// Makes nodes of the tree from inodes.
pub(super) struct Builder<'a> {
    pub(super) index: &'a Index,
    pub(super) store: &'a Arc<Store>,
}

impl Builder<'_> {
    /// Inode `ino`, with what is wrong with it. `None` when nothing of it is left that can be used.
    pub(super) fn build(
        &self,
        ino: u32,
        budget: &mut Budget,
        wrong: &mut Vec<Finding>,
    ) -> Result<Option<Node>, ReadError> {
        let (first, nodes) = self.index.inode(ino);
        let Some(newest) = nodes.last() else { return Ok(self.without_nodes(ino)) };
        let raw = self.store.raw_inode(newest)?;
        let Some(kind) = kind_of_mode(raw.mode) else {
            let finding = Finding::error("mode of the inode node", "a file type", format!("{:#o}", raw.mode));
            wrong.push(finding.at(self.store.absolute(newest.at)).in_inode(ino));
            return Ok(None);
        };
        let mut metadata = metadata(&raw);
        metadata.xattrs = xattr::of(self.index, self.store, ino, budget, wrong)?;
        if kind == Kind::Directory {
            metadata.mtime = self.directory_time(&raw);
        }
        let node = self.kind(kind, first, nodes, budget, wrong)?;
        Ok(node.map(|kind| Node::new(metadata, kind)))
    }

    /// The root may have no node, since `mkfs.jffs2` writes none; Linux shows other directories that have entries, too.
    fn without_nodes(&self, ino: u32) -> Option<Node> {
        let is_directory = ino == crate::format::ROOT_INO || !self.index.entries(ino).is_empty();
        is_directory.then(|| Node::directory(0o755))
    }

    /// Entries that were made or removed after the directory's newest node give it their time.
    fn directory_time(&self, raw: &RawInode) -> Timestamp {
        let newest = self.index.entries(raw.ino).iter().max_by_key(|entry| entry.version);
        let newest = newest.filter(|entry| entry.version > raw.version && entry.mctime != 0);
        Timestamp::from_seconds(newest.map_or(raw.mtime, |entry| entry.mctime).into())
    }

    fn kind(
        &self,
        kind: Kind,
        first: usize,
        nodes: &[InodeNode],
        budget: &mut Budget,
        wrong: &mut Vec<Finding>,
    ) -> Result<Option<NodeKind>, ReadError> {
        let Some(newest) = nodes.last() else { return Ok(None) };
        let about = |finding: Finding| finding.at(self.store.absolute(newest.at)).in_inode(newest.ino);
        Ok(Some(match kind {
            Kind::Directory => NodeKind::Directory,
            Kind::Fifo => NodeKind::Fifo,
            Kind::Socket => NodeKind::Socket,
            Kind::File => {
                let parts = Parts::of(first, nodes, budget)?;
                let (size, end) = (newest.size, parts.end());
                if end < size {
                    let found = format!("data of {end} bytes");
                    wrong.push(about(Finding::error("file", format!("{size} bytes"), found).damage()));
                }
                NodeKind::File(parts.content(self.store, size.min(end), budget)?)
            }
            Kind::Symlink => match self.only_data(nodes, MAX_TARGET)? {
                Ok(target) if !target.is_empty() && !target.contains(&0) => NodeKind::Symlink(target),
                Ok(_) => {
                    wrong.push(about(Finding::error("symlink target", "a path", "nothing, or a NUL")));
                    return Ok(None);
                }
                Err(finding) => {
                    wrong.push(finding);
                    return Ok(None);
                }
            },
            Kind::CharDevice | Kind::BlockDevice => match self.device(nodes)? {
                Ok(device) if kind == Kind::CharDevice => NodeKind::CharDevice(device),
                Ok(device) => NodeKind::BlockDevice(device),
                Err(finding) => {
                    wrong.push(finding);
                    return Ok(None);
                }
            },
        }))
    }

    /// The data of an inode that has all of it in one node.
    fn only_data(&self, nodes: &[InodeNode], max: u32) -> Result<Result<Vec<u8>, Finding>, ReadError> {
        let Some(node) = nodes.iter().rev().find(|node| node.data_len > 0) else { return Ok(Ok(Vec::new())) };
        if node.data_len <= max {
            return self.store.unpack(node);
        }
        let finding = Finding::error("data of the inode node", format!("at most {max} bytes"), node.data_len);
        Ok(Err(finding.at(self.store.absolute(node.at)).in_inode(node.ino)))
    }

    fn device(&self, nodes: &[InodeNode]) -> Result<Result<Device, Finding>, ReadError> {
        let data = match self.only_data(nodes, u32::BITS)? {
            Ok(data) => data,
            Err(finding) => return Ok(Err(finding)),
        };
        let mut fields = Fields::new(&data, self.store.endian());
        // 2 bytes: what kernels before 2.6 and mkfs.jffs2 write.
        Ok(match data.len() {
            2 => Ok(u16::get(&mut fields).map_or(Device::decode(0), |old| {
                let [minor, major] = old.to_le_bytes();
                Device { major: major.into(), minor: minor.into() }
            })),
            4 => Ok(Device::decode(u32::get(&mut fields).unwrap_or_default())),
            len => {
                let at =
                    nodes.last().map(|node| (self.store.absolute(node.at), node.ino)).unwrap_or_default();
                let finding = Finding::error("device number", "2 or 4 bytes", format!("{len} bytes"));
                Err(finding.at(at.0).in_inode(at.1))
            }
        })
    }
}

fn metadata(raw: &RawInode) -> Metadata {
    // The permission bits, which are the lowest 12.
    let mut metadata = Metadata::new(u16::try_from(raw.mode & 0o7777).unwrap_or_default());
    (metadata.uid, metadata.gid) = (raw.uid.into(), raw.gid.into());
    metadata.mtime = Timestamp::from_seconds(raw.mtime.into());
    metadata
}

/// The name that counts of each in a directory: the newest entry, unless that removes it.
pub(super) fn live(index: &Index, parent: u32) -> impl Iterator<Item = &DirentNode> {
    let names = index.entries(parent).chunk_by(|a, b| index.name(a) == index.name(b));
    names.filter_map(|entries| entries.last()).filter(|entry| entry.ino != 0)
}
