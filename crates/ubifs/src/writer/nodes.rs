//! The nodes of one inode: itself, its xattrs, its directory entries.

use flashwright_tree::{Kind, Metadata, Node, NodeId, NodeKind, Tree};
use zerocopy::{FromZeros, IntoBytes};

use super::plan::Plan;
use crate::format::{
    CommonHeader, ComprType, DentNode, InoNode, Key, KeyHash, NodeType, dent_size, ino_flags, inode_type,
    xattr_value_size,
};

/// A node without sequence number and CRC, and its key.
pub(super) struct RawNode {
    pub(super) key: Key,
    pub(super) bytes: Vec<u8>,
}

/// Makes the nodes of inodes.
pub(super) struct NodeMaker<'a> {
    pub(super) tree: &'a Tree,
    pub(super) plan: &'a Plan,
    pub(super) key_hash: KeyHash,
    pub(super) compr_type: ComprType,
}

/// Sums over the xattrs of an inode, as it carries them.
#[derive(Default)]
struct XattrSums {
    count: u32,
    size: u32,
    names: u32,
}

impl NodeMaker<'_> {
    /// All nodes of that inode but its data: itself, xattrs, entries.
    pub(super) fn inode(&self, id: NodeId, inum: u32, names: u32, node: &Node) -> Vec<RawNode> {
        let mut number = Vec::new();
        let (size, nlink, data) = match &node.kind {
            NodeKind::Directory => {
                let (size, directories) = self.directory_sums(id);
                (size, directories + 2, &[][..])
            }
            NodeKind::File(content) => (content.len(), names, &[][..]),
            NodeKind::Symlink(target) => (target.len() as u64, names, &target[..]),
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                // The plan has checked the range.
                number.extend_from_slice(&device.encode().unwrap_or_default().to_le_bytes());
                (0, names, &number[..])
            }
            NodeKind::Fifo | NodeKind::Socket => (0, names, &[][..]),
        };
        let mut nodes = vec![self.ino_node(inum, node, (size, nlink), data)];
        self.xattrs(inum, &node.metadata, &mut nodes);
        nodes.extend(self.tree.entries(id).map(|(name, id)| {
            let target = (self.plan.numbers[id.index()], self.tree.kind(id));
            self.entry(NodeType::Dent, inum, &name, target)
        }));
        nodes
    }

    fn directory_sums(&self, directory: NodeId) -> (u64, u32) {
        let (mut size, mut directories) = (u64::from(InoNode::LEN), 0);
        for (name, id) in self.tree.entries(directory) {
            size += u64::from(dent_size(narrow(name.len())));
            directories += u32::from(self.tree.is_directory(id));
        }
        (size, directories)
    }

    fn ino_node(&self, inum: u32, node: &Node, (size, nlink): (u64, u32), data: &[u8]) -> RawNode {
        let mut sums = XattrSums::default();
        for (name, value) in &node.metadata.xattrs {
            sums.count += 1;
            sums.size += dent_size(narrow(name.len())) + xattr_value_size(narrow(value.len()));
            sums.names += narrow(name.len());
        }
        let mtime = node.metadata.mtime;
        let (seconds, nanoseconds) = (mtime.seconds.cast_unsigned(), mtime.nanoseconds);
        let ino = InoNode {
            size: size.into(),
            atime_sec: seconds.into(),
            ctime_sec: seconds.into(),
            mtime_sec: seconds.into(),
            atime_nsec: nanoseconds.into(),
            ctime_nsec: nanoseconds.into(),
            mtime_nsec: nanoseconds.into(),
            nlink: nlink.into(),
            uid: node.metadata.uid.into(),
            gid: node.metadata.gid.into(),
            mode: u32::from(node.mode()).into(),
            flags: self.flags().into(),
            xattr_cnt: sums.count.into(),
            xattr_size: sums.size.into(),
            xattr_names: sums.names.into(),
            ..self.empty_inode(inum, data)
        };
        RawNode { key: Key::ino(inum), bytes: [ino.as_bytes(), data].concat() }
    }

    /// What every inode node has. The header's `creat_sqnum` is the caller's.
    fn empty_inode(&self, inum: u32, data: &[u8]) -> InoNode {
        InoNode {
            ch: CommonHeader::new(NodeType::Ino),
            key: Key::ino(inum).to_node(),
            data_len: narrow(data.len()).into(),
            compr_type: self.compr_type.number().into(),
            ..InoNode::new_zeroed()
        }
    }

    fn flags(&self) -> u32 {
        if self.compr_type == ComprType::None { 0 } else { ino_flags::COMPRESS }
    }

    /// An xattr is an entry, and an inode of its own that has the value.
    fn xattrs(&self, owner: u32, metadata: &Metadata, nodes: &mut Vec<RawNode>) {
        let first = if owner == crate::format::ROOT_INO { crate::format::FIRST_INO } else { owner + 1 };
        for (inum, (name, value)) in (first..).zip(&metadata.xattrs) {
            nodes.push(self.entry(NodeType::Xent, owner, name, (inum, Kind::File)));
            let ino = InoNode {
                size: (value.len() as u64).into(),
                atime_sec: metadata.mtime.seconds.cast_unsigned().into(),
                ctime_sec: metadata.mtime.seconds.cast_unsigned().into(),
                mtime_sec: metadata.mtime.seconds.cast_unsigned().into(),
                nlink: 1.into(),
                uid: metadata.uid.into(),
                gid: metadata.gid.into(),
                mode: u32::from(Kind::File.mode_bits() | 0o777).into(),
                flags: (self.flags() | ino_flags::XATTR).into(),
                ..self.empty_inode(inum, value)
            };
            nodes.push(RawNode { key: Key::ino(inum), bytes: [ino.as_bytes(), value].concat() });
        }
    }

    fn entry(&self, node_type: NodeType, owner: u32, name: &[u8], (inum, kind): (u32, Kind)) -> RawNode {
        let hash = self.key_hash.hash(name);
        let key = if node_type == NodeType::Xent { Key::xent(owner, hash) } else { Key::dent(owner, hash) };
        let dent = DentNode {
            ch: CommonHeader::new(node_type),
            key: key.to_node(),
            inum: u64::from(inum).into(),
            inode_type: inode_type(kind),
            // At most 255, by the plan.
            nlen: u16::try_from(name.len()).unwrap_or(u16::MAX).into(),
            ..DentNode::new_zeroed()
        };
        RawNode { key, bytes: [dent.as_bytes(), name, &[0]].concat() }
    }
}

/// Lengths and counts that the plan has bounded.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
