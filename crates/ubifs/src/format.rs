//! The bytes of UBIFS, once for writer and reader. Everything is little-endian.
//!
//! A UBIFS volume is a sequence of LEBs (logical eraseblocks), split into areas:
//!
//! ```text
//! LEB 0        superblock
//! LEB 1, 2     master node, two copies; each LEB is filled with newer and newer ones
//! LEB 3 …      log: commit start nodes and references to buds, the LEBs that hold the journal
//!              LPT: free and dirty space of each LEB of the main area, a bit-packed tree (module `lpt`)
//!              orphans: inodes that are open and have no name any more
//! … the end    main area: the nodes of the tree, the index that finds them, journal, empty LEBs
//! ```
//!
//! A *node* starts with a [`CommonHeader`] at a multiple of 8 bytes. What a node is about is its [`Key`]; the index is a
//! B+ tree of [`IdxNode`]s from keys to places.
//!
//! Source of all facts: the Linux kernel's `fs/ubifs/ubifs-media.h`, its checks, and what it says of images.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

pub mod key;
pub mod lpt;
pub mod node;

pub use key::{Key, KeyHash, KeyType};
pub use node::{
    Branch, CommonHeader, CsNode, DataNode, DentNode, IdxNode, InoNode, MstNode, OrphNode, PadNode, RefNode,
    SbNode, TrunNode,
};

use flashwright_tree::Kind;

/// First 4 bytes of every node.
#[doc(alias = "UBIFS_NODE_MAGIC")]
pub const NODE_MAGIC: u32 = 0x0610_1831;
/// Format that is written: 4 has everything but encryption, and every kernel since 2.6.27 reads it.
#[doc(alias = "UBIFS_FORMAT_VERSION")]
pub const FORMAT_VERSION: u32 = 4;
/// Newest format that is read: 5 adds encryption and hash cookies.
pub const MAX_FORMAT_VERSION: u32 = 5;
/// Smallest LEB, bytes.
#[doc(alias = "UBIFS_MIN_LEB_SZ")]
pub const MIN_LEB_SIZE: u32 = 15 * 1024;
/// Largest LEB, bytes. Kernel: `UBIFS_MAX_LEB_SZ`, 2 MiB.
#[doc(alias = "UBIFS_MAX_LEB_SZ")]
pub const MAX_LEB_SIZE: u32 = 2 * 1024 * 1024;
/// Smallest number of bytes that are written at once, whatever the flash can do.
pub const MIN_MIN_IO_SIZE: u32 = 8;
/// Nodes start at multiples of this.
pub const ALIGNMENT: u32 = 8;
/// Fills what is too small for a [`PadNode`].
#[doc(alias = "UBIFS_PADDING_BYTE")]
pub const PADDING_BYTE: u8 = 0xce;
/// Bytes of a file that one data node holds.
#[doc(alias = "UBIFS_BLOCK_SIZE")]
pub const BLOCK_SIZE: u32 = 4096;
/// Data below this is never compressed, bytes.
#[doc(alias = "UBIFS_MIN_COMPR_LEN")]
pub const MIN_COMPRESS_LEN: usize = 128;
/// Inode of the root directory.
#[doc(alias = "UBIFS_ROOT_INO")]
pub const ROOT_INO: u32 = 1;
/// Inodes other than the root have this number or higher.
#[doc(alias = "UBIFS_FIRST_INO")]
pub const FIRST_INO: u32 = 64;
/// Longest name of an entry or an xattr, bytes.
#[doc(alias = "UBIFS_MAX_NLEN")]
pub const MAX_NAME: usize = 255;
/// Most bytes within an inode node: symlink target, xattr value.
#[doc(alias = "UBIFS_MAX_INO_DATA")]
pub const MAX_INO_DATA: usize = 4096;
/// Longest symlink target, bytes: Linux itself takes paths of up to 4096 bytes with their NUL.
pub const MAX_SYMLINK: usize = 4095;
/// Names of all xattrs of an inode, with a NUL each, take at most this many bytes: `listxattr` gives no more.
#[doc(alias = "XATTR_LIST_MAX")]
pub const MAX_XATTR_NAMES: u64 = 65_536;
/// Longest file, bytes: 2^29 blocks.
pub const MAX_FILE_SIZE: u64 = 1 << 41;
/// LEB of the superblock.
#[doc(alias = "UBIFS_SB_LNUM")]
pub const SB_LNUM: u32 = 0;
/// First of the two LEBs of the master node.
#[doc(alias = "UBIFS_MST_LNUM")]
pub const MST_LNUM: u32 = 1;
/// LEBs of the master node.
#[doc(alias = "UBIFS_MST_LEBS")]
pub const MST_LEBS: u32 = 2;
/// First LEB of the log.
#[doc(alias = "UBIFS_LOG_LNUM")]
pub const LOG_LNUM: u32 = 3;
/// Fewest LEBs of the log.
#[doc(alias = "UBIFS_MIN_LOG_LEBS")]
pub const MIN_LOG_LEBS: u32 = 2;
/// Fewest LEBs of the LPT.
#[doc(alias = "UBIFS_MIN_LPT_LEBS")]
pub const MIN_LPT_LEBS: u32 = 2;
/// Fewest LEBs for orphans.
#[doc(alias = "UBIFS_MIN_ORPH_LEBS")]
pub const MIN_ORPH_LEBS: u32 = 1;
/// Fewest LEBs of the main area: 3 journal heads, and 6 more.
#[doc(alias = "UBIFS_MIN_MAIN_LEBS")]
pub const MIN_MAIN_LEBS: u32 = 9;
/// Fewest LEBs of the journal.
#[doc(alias = "UBIFS_MIN_BUD_LEBS")]
pub const MIN_BUD_LEBS: u32 = 3;
/// Fewest LEBs of a volume: 1 + 2 + 2 + 2 + 1 + 9.
#[doc(alias = "UBIFS_MIN_LEB_CNT")]
pub const MIN_LEB_CNT: u32 = 17;
/// Fewest branches of an index node.
#[doc(alias = "UBIFS_MIN_FANOUT")]
pub const MIN_FANOUT: u32 = 3;
/// Most levels of the index.
#[doc(alias = "UBIFS_MAX_LEVELS")]
pub const MAX_LEVELS: u32 = 512;
/// Journal heads for data that the superblock counts; garbage collection and directories have one more each.
pub const JHEAD_CNT: u32 = 1;
/// Journal heads that the superblock does not count: garbage collection and everything but data.
pub const NONDATA_JHEADS: u32 = 2;
/// LEB numbers in the LPT's save table (big model only). Kernel: `DEFAULT_LSAVE_CNT`.
pub const LSAVE_CNT: u32 = 256;
/// Granularity of times, nanoseconds.
pub const TIME_GRANULARITY: u32 = 1;
/// Largest node, bytes: an inode with [`MAX_INO_DATA`] bytes. Kernel: `UBIFS_MAX_NODE_SZ`.
pub const MAX_NODE_LEN: u32 = 160 + 4096;
/// The smallest data node that is worth writing, bytes. Kernel: `MIN_WRITE_SZ`.
pub const MIN_WRITE_LEN: u32 = 48 + 8;

/// Bits of [`SbNode::flags`].
pub mod sb_flags {
    /// The LPT is of the big model.
    pub const BIG_LPT: u32 = 0x02;
    /// The first mount erases what is free in each LEB once more: needed when the flasher wrote pages of 0xFF.
    pub const SPACE_FIXUP: u32 = 0x04;
    /// Entries carry a second hash (format 5).
    pub const DOUBLE_HASH: u32 = 0x08;
    /// Names and data may be encrypted (format 5).
    pub const ENCRYPTION: u32 = 0x10;
    /// Nodes carry hashes.
    pub const AUTHENTICATION: u32 = 0x20;
    /// All of them.
    pub const KNOWN: u32 = BIG_LPT | SPACE_FIXUP | DOUBLE_HASH | ENCRYPTION | AUTHENTICATION;
}

/// Bits of [`MstNode::flags`].
pub mod mst_flags {
    /// Written at every mount, cleared at every unmount: the journal may end in the middle of a write.
    pub const DIRTY: u32 = 0x01;
    /// There are no orphans.
    pub const NO_ORPHANS: u32 = 0x02;
    /// Written by recovery.
    pub const RECOVERY: u32 = 0x04;
}

/// Bits of [`InoNode::flags`].
pub mod ino_flags {
    /// What is written to the file is compressed.
    pub const COMPRESS: u32 = 0x01;
    /// Written at once (`chattr +S`).
    pub const SYNC: u32 = 0x02;
    /// Cannot be changed (`chattr +i`).
    pub const IMMUTABLE: u32 = 0x04;
    /// Can only grow (`chattr +a`).
    pub const APPEND: u32 = 0x08;
    /// Directory entries written at once (`chattr +D`).
    pub const DIRSYNC: u32 = 0x10;
    /// The inode is the value of an xattr.
    pub const XATTR: u32 = 0x20;
    /// Encrypted.
    pub const ENCRYPTED: u32 = 0x40;
}

/// Values of [`CommonHeader::node_type`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum NodeType {
    /// Inode.
    Ino = 0,
    /// Block of a file.
    Data = 1,
    /// Directory entry.
    Dent = 2,
    /// Xattr entry.
    Xent = 3,
    /// Truncation, in the journal only.
    Trun = 4,
    /// Padding.
    Pad = 5,
    /// Superblock.
    Sb = 6,
    /// Master.
    Mst = 7,
    /// Reference to a LEB of the journal.
    Ref = 8,
    /// Index.
    Idx = 9,
    /// Start of a commit.
    Cs = 10,
    /// Orphans.
    Orph = 11,
    /// Authentication of the journal.
    Auth = 12,
    /// Signature of the superblock.
    Sig = 13,
}

impl NodeType {
    /// All, by number.
    pub const ALL: [NodeType; 14] = [
        NodeType::Ino,
        NodeType::Data,
        NodeType::Dent,
        NodeType::Xent,
        NodeType::Trun,
        NodeType::Pad,
        NodeType::Sb,
        NodeType::Mst,
        NodeType::Ref,
        NodeType::Idx,
        NodeType::Cs,
        NodeType::Orph,
        NodeType::Auth,
        NodeType::Sig,
    ];

    /// The type of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The number on flash.
    #[must_use]
    pub const fn number(self) -> u8 {
        // A fieldless `repr(u8)` enum: the cast is its definition.
        self as u8
    }

    /// The word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NodeType::Ino => "inode node",
            NodeType::Data => "data node",
            NodeType::Dent => "directory entry node",
            NodeType::Xent => "xattr entry node",
            NodeType::Trun => "truncation node",
            NodeType::Pad => "padding node",
            NodeType::Sb => "superblock node",
            NodeType::Mst => "master node",
            NodeType::Ref => "reference node",
            NodeType::Idx => "index node",
            NodeType::Cs => "commit start node",
            NodeType::Orph => "orphan node",
            NodeType::Auth => "authentication node",
            NodeType::Sig => "signature node",
        }
    }
}

/// Values of [`CommonHeader::group_type`].
pub mod group {
    /// Part of no group.
    pub const NONE: u8 = 0;
    /// Not the last of a group of journal nodes that count together or not at all.
    pub const IN: u8 = 1;
    /// The last of a group.
    pub const LAST: u8 = 2;
}

/// How data is compressed: [`DataNode::compr_type`], [`InoNode::compr_type`], [`SbNode::default_compr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum ComprType {
    /// As it is.
    None = 0,
    /// LZO1X.
    Lzo = 1,
    /// Raw deflate.
    Zlib = 2,
    /// A Zstandard frame; kernel 5.3 or newer.
    Zstd = 3,
}

impl ComprType {
    /// The type of that number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => ComprType::None,
            1 => ComprType::Lzo,
            2 => ComprType::Zlib,
            3 => ComprType::Zstd,
            _ => return None,
        })
    }

    /// The number on flash.
    #[must_use]
    pub const fn number(self) -> u16 {
        // A fieldless `repr(u16)` enum: the cast is its definition.
        self as u16
    }

    /// The word that options use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ComprType::None => "none",
            ComprType::Lzo => "lzo",
            ComprType::Zlib => "zlib",
            ComprType::Zstd => "zstd",
        }
    }
}

/// The number in [`DentNode::inode_type`] of what an entry names. Kernel: `UBIFS_ITYPE_REG` and so on.
#[must_use]
pub const fn inode_type(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::BlockDevice => 3,
        Kind::CharDevice => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
    }
}

/// The reverse of [`inode_type`].
#[must_use]
pub const fn kind_of_inode_type(number: u8) -> Option<Kind> {
    Some(match number {
        0 => Kind::File,
        1 => Kind::Directory,
        2 => Kind::Symlink,
        3 => Kind::BlockDevice,
        4 => Kind::CharDevice,
        5 => Kind::Fifo,
        6 => Kind::Socket,
        _ => return None,
    })
}

/// `len` rounded up to where the next node may start.
#[must_use]
pub const fn aligned(len: u32) -> u32 {
    len.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// Bytes that an entry with a name of that length counts in the size of its directory.
#[doc(alias = "CALC_DENT_SIZE")]
#[must_use]
pub const fn dent_size(name_len: u32) -> u32 {
    aligned(DentNode::LEN.saturating_add(name_len).saturating_add(1))
}

/// Bytes that an xattr's value of that length counts in [`InoNode::xattr_size`], its entry not included.
#[doc(alias = "CALC_XATTR_BYTES")]
#[must_use]
pub const fn xattr_value_size(value_len: u32) -> u32 {
    aligned(InoNode::LEN.saturating_add(value_len).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers() {
        assert_eq!((aligned(0), aligned(1), aligned(8), aligned(57)), (0, 8, 8, 64));
        assert_eq!((dent_size(1), dent_size(255)), (64, 312));
        assert_eq!(xattr_value_size(0), 168);
        assert_eq!(MAX_NODE_LEN, InoNode::LEN + 4096);
        for (number, node_type) in (0..).zip(NodeType::ALL) {
            assert_eq!(node_type.number(), number);
            assert_eq!(NodeType::from_number(number), Some(node_type));
        }
        assert_eq!(NodeType::from_number(14), None);
        for number in 0..7 {
            assert_eq!(inode_type(kind_of_inode_type(number).unwrap()), number);
        }
        assert_eq!(kind_of_inode_type(7), None);
    }
}
