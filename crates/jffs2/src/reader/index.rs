//! The table of all sound nodes.

use crate::format::{Dirent, NodeHeader, RawInode, RawXattr, RawXref, Record, node_len, padded};

/// An inode node; positions from the first node of the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct InodeNode {
    pub(super) ino: u32,
    pub(super) version: u32,
    pub(super) at: u32,
    pub(super) offset: u32,
    pub(super) data_len: u32,
    pub(super) stored_len: u32,
    pub(super) size: u32,
    pub(super) compression: u8,
}

/// A directory entry. Its name is `name_len` bytes at `name` of [`Nodes::names`].
#[derive(Debug, Clone, Copy)]
pub(super) struct DirentNode {
    pub(super) parent: u32,
    pub(super) version: u32,
    pub(super) ino: u32,
    pub(super) mctime: u32,
    pub(super) at: u32,
    pub(super) name: u32,
    pub(super) name_len: u8,
    pub(super) kind: u8,
}

/// Name and value of an xattr.
#[derive(Debug, Clone, Copy)]
pub(super) struct XattrNode {
    pub(super) xid: u32,
    pub(super) version: u32,
    pub(super) at: u32,
    pub(super) value_len: u16,
    pub(super) name_len: u8,
    pub(super) prefix: u8,
}

/// That an inode has an xattr.
#[derive(Debug, Clone, Copy)]
pub(super) struct XrefNode {
    pub(super) ino: u32,
    pub(super) xid: u32,
    pub(super) sequence: u32,
    pub(super) at: u32,
}

/// A node's place: where it begins, and its bytes.
pub(super) trait Placed {
    fn at(&self) -> u32;
    fn len(&self) -> u32;
}

macro_rules! placed {
    ($($node:ident: |$this:ident| $len:expr;)*) => {$(
        impl Placed for $node {
            fn at(&self) -> u32 {
                self.at
            }

            fn len(&self) -> u32 {
                let $this = self;
                $len
            }
        }
    )*};
}

placed! {
    InodeNode: |node| node_len::<RawInode>(node.stored_len);
    DirentNode: |node| node_len::<Dirent>(node.name_len.into());
    XattrNode: |node| padded(RawXattr::total_len(node.name_len.into(), node.value_len.into()));
    XrefNode: |_node| NodeHeader::LEN.saturating_add(RawXref::LEN);
}

/// All sound nodes, as they were met.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) inodes: Vec<InodeNode>,
    pub(super) dirents: Vec<DirentNode>,
    pub(super) names: Vec<u8>,
    pub(super) xattrs: Vec<XattrNode>,
    pub(super) xrefs: Vec<XrefNode>,
}

impl Nodes {
    pub(super) fn add_dirent(&mut self, mut node: DirentNode, name: &[u8]) {
        // The names are shorter than the nodes that have them, which lie below 4 GiB.
        node.name = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.extend_from_slice(name);
        self.dirents.push(node);
    }

    pub(super) fn name(&self, node: &DirentNode) -> &[u8] {
        let name = self.names.get(node.name as usize..).unwrap_or_default();
        name.get(..node.name_len.into()).unwrap_or_default()
    }
}

/// The nodes by what they are about.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Nodes,
}

impl Index {
    pub(super) fn new(mut nodes: Nodes) -> Self {
        nodes.inodes.sort_unstable_by_key(|node| (node.ino, node.version, node.at));
        nodes.xattrs.sort_unstable_by_key(|node| (node.xid, node.version, node.at));
        nodes.xrefs.sort_unstable_by_key(|node| (node.ino, node.xid, node.sequence, node.at));
        let mut dirents = std::mem::take(&mut nodes.dirents);
        let key = |node: &DirentNode| (node.parent, node.version, node.at);
        dirents.sort_unstable_by(|a, b| {
            let names = || nodes.name(a).cmp(nodes.name(b));
            a.parent.cmp(&b.parent).then_with(names).then_with(|| key(a).cmp(&key(b)))
        });
        nodes.dirents = dirents;
        Index { nodes }
    }

    pub(super) fn inodes(&self) -> &[InodeNode] {
        &self.nodes.inodes
    }

    pub(super) fn dirents(&self) -> &[DirentNode] {
        &self.nodes.dirents
    }

    pub(super) fn xrefs(&self) -> &[XrefNode] {
        &self.nodes.xrefs
    }

    pub(super) fn name(&self, node: &DirentNode) -> &[u8] {
        self.nodes.name(node)
    }

    /// Nodes of an inode, oldest first, and the position of the first in [`Index::inodes`].
    pub(super) fn inode(&self, ino: u32) -> (usize, &[InodeNode]) {
        range(&self.nodes.inodes, ino, |node| node.ino)
    }

    /// Entries of a directory by name, of each name oldest first, removed ones too.
    pub(super) fn entries(&self, parent: u32) -> &[DirentNode] {
        range(&self.nodes.dirents, parent, |node| node.parent).1
    }

    /// References of an inode by xattr, of each oldest first.
    pub(super) fn xrefs_of(&self, ino: u32) -> &[XrefNode] {
        range(&self.nodes.xrefs, ino, |node| node.ino).1
    }

    /// The newest xattr of that number.
    pub(super) fn xattr(&self, xid: u32) -> Option<&XattrNode> {
        range(&self.nodes.xattrs, xid, |node| node.xid).1.last()
    }
}

/// The part of sorted `nodes` that has that key, and where it begins.
fn range<T>(nodes: &[T], key: u32, of: impl Fn(&T) -> u32) -> (usize, &[T]) {
    let start = nodes.partition_point(|node| of(node) < key);
    let rest = nodes.get(start..).unwrap_or_default();
    let len = rest.partition_point(|node| of(node) == key);
    (start, rest.get(..len).unwrap_or_default())
}
