//! Inodes and what hangs on them: checked, and in the terms of the tree.

use flashwright_tree::{Device, Kind, Metadata, Timestamp, Xattrs, check_name};

use super::index::{Index, Leaf, name_of};
use super::input::{Input, fixed};
use super::limits::Budget;
use super::superblock::Facts;
use super::{Place, ReadError};
use crate::format::{
    DentNode, InoNode, Key, KeyType, MAX_INO_DATA, NodeType, ino_flags, kind_of_inode_type, sb_flags,
};

/// An inode node.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) inum: u32,
    pub(super) place: Place,
    pub(super) node: InoNode,
    pub(super) kind: Kind,
    pub(super) data: Vec<u8>,
}

/// An entry node.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) inum: u32,
    pub(super) kind: Kind,
    pub(super) place: Place,
}

impl Inode {
    /// The inode of that number.
    pub(super) fn read(index: &Index, input: &Input, inum: u32) -> Result<Self, ReadError> {
        let leaf = index.get(Key::ino(inum));
        let leaf =
            leaf.ok_or_else(|| ReadError::corrupt("index", format!("inode {inum}"), "none").in_inode(inum))?;
        Self::at(input, inum, leaf).map_err(|error| error.at(leaf.place).in_inode(inum))
    }

    pub(super) fn at(input: &Input, inum: u32, leaf: Leaf) -> Result<Self, ReadError> {
        let what = NodeType::Ino.name();
        let bytes = input.node(leaf.place, leaf.len, NodeType::Ino)?;
        let node = *fixed::<InoNode>(&bytes, what)?;
        let key = Key::from_node(node.key);
        if key != Key::ino(inum) {
            return Err(ReadError::corrupt(what, Key::ino(inum), key));
        }
        let data = bytes.get(InoNode::LEN as usize..).unwrap_or_default();
        if node.data_len.get() as usize != data.len() || data.len() > MAX_INO_DATA {
            let expected = format!("{} bytes of its own, at most {MAX_INO_DATA}", data.len());
            return Err(ReadError::corrupt(what, expected, node.data_len.get()));
        }
        let mode = node.mode.get();
        let kinds = (0..7).filter_map(kind_of_inode_type);
        let kind = kinds.into_iter().find(|kind| u32::from(kind.mode_bits()) == mode & 0o170_000);
        let kind = kind.ok_or_else(|| ReadError::corrupt("mode", "a type of file", format!("{mode:#o}")))?;
        Ok(Inode { inum, place: leaf.place, node, kind, data: data.to_vec() })
    }

    pub(super) fn is_xattr(&self) -> bool {
        self.node.flags.get() & ino_flags::XATTR != 0
    }

    /// Target of a symlink.
    pub(super) fn target(&self) -> Result<Vec<u8>, ReadError> {
        if self.data.is_empty() || self.data.contains(&0) {
            let found = format!("{} bytes", self.data.len());
            let error = ReadError::corrupt("symlink", "a target of 1 byte or more without NUL", found);
            return Err(error.at(self.place).in_inode(self.inum));
        }
        Ok(self.data.clone())
    }

    /// Number of a device: 4 bytes, or 8 as some writers have it.
    pub(super) fn device(&self) -> Result<Device, ReadError> {
        let number = match self.data.as_slice() {
            &[a, b, c, d] | &[a, b, c, d, _, _, _, _] => u32::from_le_bytes([a, b, c, d]),
            other => {
                let error = ReadError::corrupt("device", "4 or 8 bytes", other.len());
                return Err(error.at(self.place).in_inode(self.inum));
            }
        };
        Ok(Device::decode(number))
    }

    /// Mode, owner, time, xattrs.
    pub(super) fn metadata(
        &self,
        index: &Index,
        input: &Input,
        facts: &Facts,
        budget: &mut Budget,
    ) -> Result<Metadata, ReadError> {
        // 12 bits.
        let permissions = u16::try_from(self.node.mode.get() & 0o7777).unwrap_or(0);
        let mut metadata = Metadata::new(permissions);
        metadata.uid = self.node.uid.get();
        metadata.gid = self.node.gid.get();
        let nanoseconds = self.node.mtime_nsec.get();
        if nanoseconds > 999_999_999 {
            let error = ReadError::corrupt("modification time", "below 1000000000 ns", nanoseconds);
            return Err(error.at(self.place).in_inode(self.inum));
        }
        metadata.mtime = Timestamp { seconds: self.node.mtime_sec.get().cast_signed(), nanoseconds };
        metadata.xattrs = self.xattrs(index, input, facts, budget)?;
        Ok(metadata)
    }

    fn xattrs(
        &self,
        index: &Index,
        input: &Input,
        facts: &Facts,
        budget: &mut Budget,
    ) -> Result<Xattrs, ReadError> {
        let mut xattrs = Xattrs::new();
        for (key, leaf) in index.range(self.inum, KeyType::Xent) {
            let entry = Entry::read(facts, input, key, leaf)?;
            let value = Inode::read(index, input, entry.inum)?;
            if value.kind != Kind::File || !value.is_xattr() {
                let error = ReadError::corrupt("xattr", "an inode that is a value", value.kind.name());
                return Err(error.at(value.place).in_inode(value.inum));
            }
            budget.charge(
                (entry.name.len() as u64).saturating_add(value.data.len() as u64).saturating_add(96),
                "xattrs",
            )?;
            xattrs.insert(entry.name, value.data);
        }
        Ok(xattrs)
    }
}

impl Entry {
    pub(super) fn read(facts: &Facts, input: &Input, key: Key, leaf: Leaf) -> Result<Self, ReadError> {
        let xattr = key.key_type() == Some(KeyType::Xent);
        let node_type = if xattr { NodeType::Xent } else { NodeType::Dent };
        let bytes = input.node(leaf.place, leaf.len, node_type)?;
        Self::parse(facts, key, &bytes, leaf.place, node_type)
            .map_err(|e| e.at(leaf.place).in_inode(key.inum))
    }

    fn parse(
        facts: &Facts,
        key: Key,
        bytes: &[u8],
        place: Place,
        node_type: NodeType,
    ) -> Result<Self, ReadError> {
        let what = node_type.name();
        let node = fixed::<DentNode>(bytes, what)?;
        let found = Key::from_node(node.key);
        if found != key {
            return Err(ReadError::corrupt(what, key, found));
        }
        let name = name_of(bytes)?;
        let rule = check_name(name).err();
        // A name of an xattr is no path.
        if let Some(rule) =
            rule.filter(|_| node_type == NodeType::Dent || name.is_empty() || name.contains(&0))
        {
            return Err(ReadError::corrupt(what, "a name that a path can have", rule));
        }
        let hash = facts.key_hash.hash(name);
        let encoded = facts.sb.flags.get() & sb_flags::DOUBLE_HASH != 0;
        if hash != key.value() && !encoded {
            return Err(ReadError::corrupt(
                what,
                format!("a name with hash {:#x}", key.value()),
                format!("{hash:#x}"),
            ));
        }
        let kind = kind_of_inode_type(node.inode_type)
            .ok_or_else(|| ReadError::corrupt(what, "a type of 0 to 6", node.inode_type))?;
        let inum = u32::try_from(node.inum.get()).ok().filter(|&inum| inum > 0);
        let inum = inum.ok_or_else(|| ReadError::corrupt(what, "an inode of 32 bits", node.inum.get()))?;
        Ok(Entry { name: name.to_vec(), inum, kind, place })
    }
}
