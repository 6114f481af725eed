//! What the image is made of, in the order of the tree: nodes that need no reading, and beside them file data.

use std::collections::VecDeque;

use flashwright_media::{Endian, Field};
use flashwright_tree::{Content, Device, Node as TreeNode, NodeId, NodeKind, Tree, Walk, WalkEntry};

use super::node::{self, Data, Inode, Node};
use super::plan::Plan;
use super::xattr::XattrNodes;
use crate::format::Compression;
use crate::options::Options;

/// Bytes that one reading job covers, at most.
const READ_CHUNK: u64 = 128 << 10;
/// Version of the inode node of what has only one.
const FIRST_VERSION: u32 = 1;

/// Data of a file that has to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) id: NodeId,
    pub(super) inode: Inode,
    /// First byte, a multiple of the node size.
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Whether this is the end of the file.
    pub(super) last: bool,
}

/// What comes next of the data.
pub(super) enum Step {
    /// Bytes `offset..offset + len` are zeros and need not be read; `last`: the file ends there.
    Hole {
        inode: Inode,
        offset: u64,
        len: u64,
        last: bool,
    },
    Read(Range),
}

/// All nodes that can be made without reading: for each name its directory entry; for each inode, where it is met
/// first, its xattrs, and its only node when it has no data.
pub(super) struct MetadataNodes<'a> {
    walk: Walk<'a>,
    plan: &'a Plan,
    tree: &'a Tree,
    endian: Endian,
    xattrs: XattrNodes,
    /// Time of the directory whose entries come now.
    directory: (NodeId, u32),
    ready: VecDeque<Node>,
}

impl<'a> MetadataNodes<'a> {
    pub(super) fn new(tree: &'a Tree, plan: &'a Plan, options: &Options) -> Self {
        MetadataNodes {
            walk: tree.walk(),
            plan,
            tree,
            endian: options.endian,
            xattrs: XattrNodes::default(),
            directory: (Tree::ROOT, node::seconds(&tree.root())),
            ready: VecDeque::new(),
        }
    }

    fn enter(&mut self, entry: &WalkEntry) {
        let (endian, ino) = (self.endian, self.plan.numbers.get(entry.id.index()));
        if !entry.path.is_empty() {
            let dirent = self.dirent(entry, ino);
            self.ready.push_back(dirent);
        }
        if !entry.first {
            return;
        }
        let xattrs = self.xattrs.nodes(endian, ino, &entry.node.metadata.xattrs);
        self.ready.extend(xattrs);
        if entry.node.content().is_none_or(Content::is_empty) {
            let inode = |size| Inode::new(endian, ino, &entry.node, size);
            self.ready.push_back(without_content(&entry.node, inode, endian));
        }
    }

    fn dirent(&mut self, entry: &WalkEntry, ino: u32) -> Node {
        // A directory has fewer than 2^32 entries.
        let version = u32::try_from(entry.position).unwrap_or(u32::MAX).saturating_add(FIRST_VERSION + 1);
        // A directory shows the time of its newest entry, so all have the directory's own.
        if self.directory.0 != entry.parent {
            self.directory = (entry.parent, node::seconds(&self.tree.node(entry.parent)));
        }
        let parent = self.plan.numbers.get(entry.parent.index());
        let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        node::dirent(self.endian, parent, version, ino, self.directory.1, entry.node.kind(), name)
    }
}

impl Iterator for MetadataNodes<'_> {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        loop {
            if let Some(node) = self.ready.pop_front() {
                return Some(node);
            }
            let entry = self.walk.next()?;
            self.enter(&entry);
        }
    }
}

/// The data of all files, each from front to back.
pub(super) struct Steps<'a> {
    walk: Walk<'a>,
    plan: &'a Plan,
    tree: &'a Tree,
    endian: Endian,
    node_size: u64,
    /// The file whose data comes next, and how far it is.
    file: Option<(NodeId, Inode, u64)>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(tree: &'a Tree, plan: &'a Plan, options: &Options) -> Self {
        let node_size = options.node_size.into();
        Steps { walk: tree.walk(), plan, tree, endian: options.endian, node_size, file: None }
    }

    fn next_file(&mut self) -> Option<(NodeId, Inode, u64)> {
        loop {
            let entry = self.walk.next()?;
            if let (true, Some(content)) = (entry.first, entry.node.content())
                && !content.is_empty()
            {
                // The plan has checked the length.
                let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
                let ino = self.plan.numbers.get(entry.id.index());
                return Some((entry.id, Inode::new(self.endian, ino, &entry.node, size), 0));
            }
        }
    }

    /// The next piece of the file at byte `offset`, and its length.
    fn piece(&self, id: NodeId, inode: Inode, offset: u64) -> (Step, u64) {
        let content = content(self.tree, id);
        let left = content.len() - offset;
        let hole = content.hole_at(offset);
        let hole = if hole == left { left } else { hole - hole % self.node_size };
        if hole > 0 {
            return (Step::Hole { inode, offset, len: hole, last: hole == left }, hole);
        }
        let len = left.min(READ_CHUNK.max(self.node_size));
        // At most a chunk.
        let range = Range { id, inode, offset, len: usize::try_from(len).unwrap_or(0), last: len == left };
        (Step::Read(range), len)
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let (id, inode, offset) = match self.file.take() {
            Some(file) => file,
            None => self.next_file()?,
        };
        let (step, len) = self.piece(id, inode, offset);
        if offset + len < u64::from(inode.size()) {
            self.file = Some((id, inode, offset + len));
        }
        Some(step)
    }
}

/// The data of a regular file.
pub(super) fn content(tree: &Tree, id: NodeId) -> Content {
    tree.content(id).unwrap_or_else(|| unreachable!("only regular files are read"))
}

/// The only node of an inode that is no file with data.
fn without_content(node: &TreeNode, inode: impl Fn(u32) -> Inode, endian: Endian) -> Node {
    let mut number = Vec::new();
    let (size, stored) = match &node.kind {
        // At most 254 bytes, by the plan.
        NodeKind::Symlink(target) => (u32::try_from(target.len()).unwrap_or(u32::MAX), &target[..]),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            put_device(*device, endian, &mut number);
            (0, &number[..])
        }
        _ => (0, &[][..]),
    };
    let len = u32::try_from(stored.len()).unwrap_or(u32::MAX);
    let data = Data { len, compression: Compression::None, stored, ..Data::EMPTY };
    inode(size).node(FIRST_VERSION, data)
}

/// A device number: 2 bytes where that is enough, as every kernel reads it; else 4.
fn put_device(device: Device, endian: Endian, out: &mut Vec<u8>) {
    match (u8::try_from(device.major), u8::try_from(device.minor)) {
        (Ok(major), Ok(minor)) => u16::from_be_bytes([major, minor]).put(endian, out),
        // The plan has checked the range.
        _ => device.encode().unwrap_or_default().put(endian, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_as_short_as_they_can_be() {
        let bytes = |major, minor, endian| {
            let mut out = Vec::new();
            put_device(Device { major, minor }, endian, &mut out);
            out
        };
        assert_eq!(bytes(4, 255, Endian::Big), [4, 255]);
        assert_eq!(bytes(4, 255, Endian::Little), [255, 4]);
        assert_eq!(bytes(4, 256, Endian::Big), [0, 0x10, 4, 0]);
        assert_eq!(bytes(259, 1, Endian::Little), [1, 3, 1, 0]);
    }
}
