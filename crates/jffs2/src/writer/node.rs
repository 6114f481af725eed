//! Whole nodes, ready for any place in any eraseblock.

use flashwright_media::{Endian, crc32_from_zero};
use flashwright_tree::{Kind, Node as TreeNode};

use crate::format::{
    Compression, Dirent, ENTRY_TYPE_LEN, NodeHeader, RawInode, RawXattr, RawXref, Record, SummaryDirent,
    SummaryEntry, SummaryInode, SummaryXattr, SummaryXref, XattrPrefix, dirent_type, node_len, node_type,
    padded,
};

/// What fills the bytes between the end of a node and the next multiple of 4: nothing, as erased flash reads.
pub(super) const ERASED: u8 = 0xff;

/// A node as it stands on flash.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// All of it, padded to a multiple of 4 bytes.
    pub(super) bytes: Vec<u8>,
    /// Bytes without the padding.
    total_len: u32,
    listed: Listed,
}

/// What a summary says of a node, besides its place and length.
#[derive(Debug, Clone, Copy)]
enum Listed {
    Inode { ino: u32, version: u32 },
    Dirent { parent: u32, version: u32, ino: u32, name_len: u8, kind: u8 },
    Xattr { xid: u32, version: u32 },
    Xref,
}

impl Node {
    /// Bytes on flash.
    pub(super) fn len(&self) -> u32 {
        padded(self.total_len)
    }

    /// Bytes of its entry in a summary.
    pub(super) const fn entry_len(&self) -> u32 {
        ENTRY_TYPE_LEN
            + match self.listed {
                Listed::Inode { .. } => SummaryInode::LEN,
                Listed::Dirent { name_len, .. } => SummaryDirent::LEN + name_len as u32,
                Listed::Xattr { .. } => SummaryXattr::LEN,
                Listed::Xref => SummaryXref::LEN,
            }
    }

    /// Its entry in the summary of the eraseblock in which it begins at byte `offset`.
    pub(super) fn entry(&self, offset: u32) -> SummaryEntry<'_> {
        let total_len = self.total_len;
        match self.listed {
            Listed::Inode { ino, version } => {
                SummaryEntry::Inode(SummaryInode { ino, version, offset, total_len })
            }
            Listed::Dirent { parent, version, ino, name_len, kind } => {
                let start = node_len::<Dirent>(0) as usize;
                let name = &self.bytes[start..start + usize::from(name_len)];
                let record = SummaryDirent { total_len, offset, parent, version, ino, name_len, kind };
                SummaryEntry::Dirent(record, name)
            }
            Listed::Xattr { xid, version } => {
                SummaryEntry::Xattr(SummaryXattr { xid, version, offset, total_len })
            }
            Listed::Xref => SummaryEntry::Xref(SummaryXref { offset }),
        }
    }
}

/// The bytes of a node: `data` is what follows the record, `crc` the range of the node that its CRC covers and where
/// that CRC stands.
pub(super) fn encode<R: Record>(
    node_type: u16,
    record: R,
    data: &[&[u8]],
    crc: (usize, usize),
    endian: Endian,
) -> (Vec<u8>, u32) {
    let data_len: usize = data.iter().map(|part| part.len()).sum();
    // The plan has checked every length.
    let mut total_len = node_len::<R>(u32::try_from(data_len).unwrap_or(u32::MAX));
    if node_type == node_type::XATTR {
        total_len = padded(total_len);
    }
    let mut bytes = Vec::with_capacity(padded(total_len) as usize);
    NodeHeader::new(node_type, total_len, endian).put(endian, &mut bytes);
    record.put(endian, &mut bytes);
    let (covered, position) = crc;
    let crc = crc32_from_zero(&bytes[..covered]);
    let crc = if endian == Endian::Big { crc.to_be_bytes() } else { crc.to_le_bytes() };
    bytes[position..position + crc.len()].copy_from_slice(&crc);
    data.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.resize(padded(total_len) as usize, ERASED);
    (bytes, total_len)
}

/// A name: `parent` and `ino` are inode numbers, `mctime` the directory's modification time.
pub(super) fn dirent(
    endian: Endian,
    parent: u32,
    version: u32,
    ino: u32,
    mctime: u32,
    kind: Kind,
    name: &[u8],
) -> Node {
    // At most 254, by the plan.
    let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let kind = dirent_type(kind);
    let record = Dirent {
        parent,
        version,
        ino,
        mctime,
        name_len,
        kind,
        unused: [0; 2],
        node_crc: 0,
        name_crc: crc32_from_zero(name),
    };
    let (bytes, total_len) =
        encode(node_type::DIRENT, record, &[name], (Dirent::CRC_LEN, Dirent::CRC_LEN), endian);
    Node { bytes, total_len, listed: Listed::Dirent { parent, version, ino, name_len, kind } }
}

/// Metadata that all nodes of one inode share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) endian: Endian,
    pub(super) ino: u32,
    mode: u32,
    uid: u16,
    gid: u16,
    size: u32,
    time: u32,
}

/// A range of an inode's data, as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) offset: u32,
    /// Bytes before compression.
    pub(super) len: u32,
    pub(super) compression: Compression,
    pub(super) stored: &'a [u8],
}

impl Data<'_> {
    /// Nothing: for inodes that have no data.
    pub(super) const EMPTY: Data<'static> =
        Data { offset: 0, len: 0, compression: Compression::None, stored: &[] };
}

impl Inode {
    /// `size` is what programs shall see as the length.
    pub(super) fn new(endian: Endian, ino: u32, node: &TreeNode, size: u32) -> Self {
        // The plan has checked owner, group and time.
        Inode {
            endian,
            ino,
            mode: node.mode().into(),
            uid: u16::try_from(node.metadata.uid).unwrap_or(u16::MAX),
            gid: u16::try_from(node.metadata.gid).unwrap_or(u16::MAX),
            size,
            time: seconds(node),
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn node(&self, version: u32, data: Data<'_>) -> Node {
        let record = RawInode {
            ino: self.ino,
            version,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            atime: self.time,
            mtime: self.time,
            ctime: self.time,
            offset: data.offset,
            // At most a node's size.
            stored_len: u32::try_from(data.stored.len()).unwrap_or(u32::MAX),
            data_len: data.len,
            compression: data.compression.number(),
            data_crc: crc32_from_zero(data.stored),
            ..RawInode::default()
        };
        let crc = (RawInode::CRC_LEN, RawInode::CRC_LEN + size_of::<u32>());
        let (bytes, total_len) = encode(node_type::INODE, record, &[data.stored], crc, self.endian);
        Node { bytes, total_len, listed: Listed::Inode { ino: self.ino, version } }
    }
}

/// Modification time as JFFS2 has it.
pub(super) fn seconds(node: &TreeNode) -> u32 {
    // The plan has checked it.
    u32::try_from(node.metadata.mtime.seconds).unwrap_or(u32::MAX)
}

/// An xattr, `value` as it stands on flash.
pub(super) fn xattr(endian: Endian, xid: u32, prefix: XattrPrefix, name: &[u8], value: &[u8]) -> Node {
    let version = 1;
    let data = [name, b"\0", value];
    let record = RawXattr {
        xid,
        version,
        prefix: prefix.number(),
        // The plan has checked both.
        name_len: u8::try_from(name.len()).unwrap_or(u8::MAX),
        value_len: u16::try_from(value.len()).unwrap_or(u16::MAX),
        data_crc: crc32_from_zero(&data.concat()),
        node_crc: 0,
    };
    let (bytes, total_len) =
        encode(node_type::XATTR, record, &data, (RawXattr::CRC_LEN, RawXattr::CRC_LEN), endian);
    Node { bytes, total_len, listed: Listed::Xattr { xid, version } }
}

/// That inode `ino` has xattr `xid`.
pub(super) fn xref(endian: Endian, ino: u32, xid: u32, sequence: u32) -> Node {
    let record = RawXref { ino, xid, sequence, node_crc: 0 };
    let (bytes, total_len) =
        encode(node_type::XREF, record, &[], (RawXref::CRC_LEN, RawXref::CRC_LEN), endian);
    Node { bytes, total_len, listed: Listed::Xref }
}
