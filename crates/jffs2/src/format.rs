//! The bytes of JFFS2, once for writer and reader. Integers are in the byte order of the target's CPU.
//!
//! ```text
//! eraseblock:  [Cleanmarker] node node node … [Summary … SummaryMarker]
//! node:        NodeHeader (12 bytes), the rest of its fixed part, then name, value or data; 4-byte aligned
//! ```
//!
//! A file system is a log: a heap of nodes in any order, where the highest version counts. Nothing of it has a fixed
//! place. Inodes are numbered from 1, the root. Erased flash reads 0xFF, also between the end of a node that is not a
//! multiple of 4 bytes and the next node.
//!
//! All CRCs are [`flashwright_media::crc32_from_zero`]. Source of all facts: the Linux kernel's
//! `include/uapi/linux/jffs2.h`, `fs/jffs2/summary.h`, `fs/jffs2/acl.h`, and its mount code.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Field, Fields, crc32_from_zero};
use flashwright_tree::Kind;

/// First two bytes of every node.
#[doc(alias = "JFFS2_MAGIC_BITMASK")]
pub const MAGIC: u16 = 0x1985;
/// Nodes start at multiples of this many bytes from the start of the device.
pub const ALIGNMENT: u32 = 4;
/// Inode number of the root directory.
pub const ROOT_INO: u32 = 1;
/// Longest name of a directory entry, and longest symlink target, that the kernel takes, bytes.
#[doc(alias = "JFFS2_MAX_NAME_LEN")]
pub const MAX_NAME: usize = 254;
/// Smallest eraseblock that the kernel and `mkfs.jffs2` take, bytes.
pub const MIN_ERASEBLOCK: u32 = 8192;
/// Fewest eraseblocks of a device that the kernel mounts.
pub const MIN_ERASEBLOCKS: u64 = 5;
/// Bytes of a page of every CPU that is common on such devices: the kernel writes data nodes of at most one page.
pub const PAGE_SIZE: u32 = 4096;
/// An eraseblock in which at most this many bytes are neither used nor lost already counts as clean: nothing of it is
/// worth collecting. Kernel: `ISDIRTY`, `sizeof(struct jffs2_raw_inode) + JFFS2_MIN_DATA_LEN`.
#[doc(alias = "ISDIRTY")]
pub const CLEAN_SLACK: u32 = 196;
/// OpenWrt's end of a file system, as bytes in this order whatever the CPU: the eraseblocks from here on are free.
pub const END_MARK: [u8; 4] = [0xde, 0xad, 0xc0, 0xde];

/// `len` rounded up to [`ALIGNMENT`]; saturates instead of overflowing.
#[must_use]
pub const fn padded(len: u32) -> u32 {
    len.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// What a node is: [`NodeHeader::node_type`] and the first field of each summary entry.
///
/// Bits 0xC000 say what a kernel does that does not know the type: `C000` refuses the mount, `8000` mounts read-only,
/// `4000` keeps the node when it collects garbage, `0000` drops it. Bit 0x2000 is set; in a node that the kernel has
/// marked as obsolete it is cleared.
pub mod node_type {
    /// Set in every node that is still valid; [`super::NodeHeader::crc`] is computed as if it were set.
    #[doc(alias = "JFFS2_NODE_ACCURATE")]
    pub const ACCURATE: u16 = 0x2000;
    /// The two bits that tell an unknowing kernel what to do.
    #[doc(alias = "JFFS2_COMPAT_MASK")]
    pub const COMPAT_MASK: u16 = 0xc000;
    /// A name in a directory, [`super::Dirent`].
    #[doc(alias = "JFFS2_NODETYPE_DIRENT")]
    pub const DIRENT: u16 = 0xe001;
    /// Metadata and a range of data of an inode, [`super::RawInode`].
    #[doc(alias = "JFFS2_NODETYPE_INODE")]
    pub const INODE: u16 = 0xe002;
    /// Start of an eraseblock that was erased completely; nothing but a [`super::NodeHeader`].
    #[doc(alias = "JFFS2_NODETYPE_CLEANMARKER")]
    pub const CLEANMARKER: u16 = 0x2003;
    /// Bytes that say nothing; the kernel counts them as dirty.
    #[doc(alias = "JFFS2_NODETYPE_PADDING")]
    pub const PADDING: u16 = 0x2004;
    /// The end of an eraseblock that lists its nodes, [`super::Summary`].
    #[doc(alias = "JFFS2_NODETYPE_SUMMARY")]
    pub const SUMMARY: u16 = 0x2006;
    /// Name and value of an xattr, [`super::RawXattr`].
    #[doc(alias = "JFFS2_NODETYPE_XATTR")]
    pub const XATTR: u16 = 0xe008;
    /// That an inode has an xattr, [`super::RawXref`].
    #[doc(alias = "JFFS2_NODETYPE_XREF")]
    pub const XREF: u16 = 0xe009;

    /// The word for messages.
    #[must_use]
    pub const fn name(node_type: u16) -> &'static str {
        match node_type | ACCURATE {
            DIRENT => "directory entry",
            INODE => "inode node",
            CLEANMARKER => "cleanmarker",
            PADDING => "padding node",
            SUMMARY => "summary node",
            XATTR => "xattr node",
            XREF => "xattr reference",
            _ => "node of unknown type",
        }
    }
}

/// How [`RawInode`] data is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Compression {
    /// As it is.
    #[doc(alias = "JFFS2_COMPR_NONE")]
    None = 0,
    /// Zeros; nothing is stored. A hole.
    #[doc(alias = "JFFS2_COMPR_ZERO")]
    Zero = 1,
    /// Run lengths after bytes seen before; `flashwright_codec::rtime`.
    #[doc(alias = "JFFS2_COMPR_RTIME")]
    Rtime = 2,
    /// Arithmetic coding with the code of a MIPS; history, never written.
    #[doc(alias = "JFFS2_COMPR_RUBINMIPS")]
    RubinMips = 3,
    /// Reserved, never written.
    #[doc(alias = "JFFS2_COMPR_COPY")]
    Copy = 4,
    /// Arithmetic coding with a code of its own; history, never written.
    #[doc(alias = "JFFS2_COMPR_DYNRUBIN")]
    DynRubin = 5,
    /// A zlib stream, RFC 1950, with its header and checksum.
    #[doc(alias = "JFFS2_COMPR_ZLIB")]
    Zlib = 6,
    /// LZO1X. Kernels have its decoder only with `CONFIG_JFFS2_LZO`.
    #[doc(alias = "JFFS2_COMPR_LZO")]
    Lzo = 7,
    /// Raw LZMA of OpenWrt's kernels; not in Linux.
    Lzma = 8,
}

impl Compression {
    const ALL: [Compression; 9] = [
        Compression::None,
        Compression::Zero,
        Compression::Rtime,
        Compression::RubinMips,
        Compression::Copy,
        Compression::DynRubin,
        Compression::Zlib,
        Compression::Lzo,
        Compression::Lzma,
    ];

    /// The number on flash.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The compression of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word that options and messages use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zero => "zero",
            Compression::Rtime => "rtime",
            Compression::RubinMips => "rubinmips",
            Compression::Copy => "copy",
            Compression::DynRubin => "dynrubin",
            Compression::Zlib => "zlib",
            Compression::Lzo => "lzo",
            Compression::Lzma => "lzma",
        }
    }
}

/// The file type in a [`Dirent`]: `DT_*` of `dirent.h`, which are the type bits of `st_mode` without the zeros below.
#[must_use]
pub fn dirent_type(kind: Kind) -> u8 {
    // 0o140000 >> 12 is 12.
    u8::try_from(kind.mode_bits() >> 12).unwrap_or(0)
}

/// The kind that a [`Dirent::kind`] names; `None` for 0 (unlinked or unknown) and all others.
#[must_use]
pub fn kind_of_dirent_type(number: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|&kind| dirent_type(kind) == number)
}

/// The kind that the type bits of `mode` name.
#[must_use]
pub fn kind_of_mode(mode: u32) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| u32::from(kind.mode_bits()) == mode & 0o170_000)
}

/// A node's fixed part that follows the 12 bytes of its [`NodeHeader`], or one record inside a summary.
pub trait Record: Sized {
    /// Bytes of the record itself, without the node's header.
    const LEN: u32;

    /// Takes the record from the front of `fields`; `None` when too few bytes are left.
    fn get(fields: &mut Fields<'_>) -> Option<Self>;

    /// Appends the record to `out`.
    fn put(self, endian: Endian, out: &mut Vec<u8>);
}

macro_rules! record {
    (
        $(#[$doc:meta])*
        pub struct $name:ident, $len:literal bytes {
            $($(#[$field_doc:meta])* pub $field:ident: $ty:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Record for $name {
            const LEN: u32 = $len;

            fn get(fields: &mut Fields<'_>) -> Option<Self> {
                Some($name { $($field: fields.take()?,)* })
            }

            fn put(self, endian: Endian, out: &mut Vec<u8>) {
                $(self.$field.put(endian, out);)*
            }
        }

        const _: () = assert!($len == 0 $(+ <$ty as Field>::LEN)*);
    };
}

record! {
    /// Start of every node: 12 bytes. Kernel: `jffs2_unknown_node`.
    #[doc(alias = "jffs2_unknown_node")]
    pub struct NodeHeader, 12 bytes {
        /// [`MAGIC`].
        pub magic: u16,
        /// One of [`node_type`].
        pub node_type: u16,
        /// Bytes of the whole node, this header included, without the padding after it.
        pub total_len: u32,
        /// CRC of the 8 bytes before, [`node_type::ACCURATE`] set.
        pub crc: u32,
    }
}

impl NodeHeader {
    /// The header of a valid node of `total_len` bytes.
    #[must_use]
    pub fn new(node_type: u16, total_len: u32, endian: Endian) -> Self {
        let mut header = NodeHeader { magic: MAGIC, node_type, total_len, crc: 0 };
        header.crc = header.expected_crc(endian);
        header
    }

    /// What `crc` must be.
    #[must_use]
    pub fn expected_crc(&self, endian: Endian) -> u32 {
        let mut bytes = Vec::with_capacity(NodeHeader::LEN as usize);
        NodeHeader { node_type: self.node_type | node_type::ACCURATE, ..*self }.put(endian, &mut bytes);
        crc32_from_zero(bytes.get(..Self::CRC_LEN).unwrap_or_default())
    }

    /// Bytes, from the node's start, that `crc` covers.
    pub const CRC_LEN: usize = 8;
}

record! {
    /// Directory entry: header and 28 bytes, then the name without NUL. Kernel: `jffs2_raw_dirent`.
    ///
    /// The name that has the highest version among those of one parent and one name counts.
    #[doc(alias = "jffs2_raw_dirent")]
    pub struct Dirent, 28 bytes {
        /// Inode number of the directory.
        pub parent: u32,
        /// Counts up per directory.
        pub version: u32,
        /// Inode number of the node so named; 0 removes the name.
        pub ino: u32,
        /// When the entry was made, seconds since 1970. Becomes the directory's mtime and ctime when `version` is
        /// above that of the directory's inode nodes.
        pub mctime: u32,
        /// Bytes of the name.
        pub name_len: u8,
        /// [`dirent_type`] of the node.
        pub kind: u8,
        /// 0.
        pub unused: [u8; 2],
        /// CRC of the first [`Dirent::CRC_LEN`] bytes of the node.
        pub node_crc: u32,
        /// CRC of the name.
        pub name_crc: u32,
    }
}

impl Dirent {
    /// Bytes, from the node's start, that `node_crc` covers.
    pub const CRC_LEN: usize = 32;
}

record! {
    /// Inode node: header and 56 bytes, then `stored_len` bytes of data. Kernel: `jffs2_raw_inode`.
    ///
    /// The node of the highest version gives the metadata. Data of a later version replaces what it overlaps; a
    /// `size` below the end of the data cuts it off. Directories, fifos and sockets have nodes without data; symlinks
    /// and devices exactly one node, uncompressed, whose data is the target, or the number (2 bytes: major, minor of
    /// 8 bits each; or 4 bytes: `flashwright_tree::Device::encode`).
    #[doc(alias = "jffs2_raw_inode")]
    pub struct RawInode, 56 bytes {
        /// Inode number.
        pub ino: u32,
        /// Counts up per inode.
        pub version: u32,
        /// `st_mode`.
        pub mode: u32,
        /// Owner.
        pub uid: u16,
        /// Group.
        pub gid: u16,
        /// Length of the file in bytes as of this version.
        #[doc(alias = "isize")]
        pub size: u32,
        /// Time of last access, seconds since 1970.
        pub atime: u32,
        /// Time of last modification, seconds since 1970.
        pub mtime: u32,
        /// Time of last change, seconds since 1970.
        pub ctime: u32,
        /// Where in the file the data begins.
        pub offset: u32,
        /// Bytes of data stored in this node.
        #[doc(alias = "csize")]
        pub stored_len: u32,
        /// Bytes of data unpacked.
        #[doc(alias = "dsize")]
        pub data_len: u32,
        /// [`Compression`] of the data.
        #[doc(alias = "compr")]
        pub compression: u8,
        /// Compression asked for by the user; 0, nothing reads it.
        pub usercompr: u8,
        /// Flags; 0.
        pub flags: u16,
        /// CRC of the stored data.
        pub data_crc: u32,
        /// CRC of the first [`RawInode::CRC_LEN`] bytes of the node.
        pub node_crc: u32,
    }
}

impl RawInode {
    /// Bytes, from the node's start, that `node_crc` covers.
    pub const CRC_LEN: usize = 60;
}

record! {
    /// Xattr: header and 20 bytes, then the name without its prefix, a NUL, and the value. Kernel: `jffs2_raw_xattr`.
    ///
    /// Unlike in other nodes, `total_len` is a multiple of 4. Kernels without `CONFIG_JFFS2_FS_XATTR` refuse to mount
    /// a file system that has one.
    #[doc(alias = "jffs2_raw_xattr")]
    pub struct RawXattr, 20 bytes {
        /// Number of this name and value, which [`RawXref`] gives to inodes; from 1.
        pub xid: u32,
        /// Counts up per `xid`.
        pub version: u32,
        /// [`XattrPrefix`].
        pub prefix: u8,
        /// Bytes of the name after its prefix; 0 for an ACL.
        pub name_len: u8,
        /// Bytes of the value.
        pub value_len: u16,
        /// CRC of name, NUL and value.
        pub data_crc: u32,
        /// CRC of the first [`RawXattr::CRC_LEN`] bytes of the node.
        pub node_crc: u32,
    }
}

impl RawXattr {
    /// Bytes, from the node's start, that `node_crc` covers: unlike in an inode node, `data_crc` too.
    pub const CRC_LEN: usize = 28;

    /// [`NodeHeader::total_len`] for that name and value; saturates.
    #[must_use]
    pub fn total_len(name_len: usize, value_len: usize) -> u32 {
        let data = u32::try_from(name_len.saturating_add(value_len)).unwrap_or(u32::MAX);
        padded(node_len::<RawXattr>(data.saturating_add(1)))
    }
}

record! {
    /// That an inode has an xattr: header and 16 bytes. Kernel: `jffs2_raw_xref`.
    #[doc(alias = "jffs2_raw_xref")]
    pub struct RawXref, 16 bytes {
        /// The inode.
        pub ino: u32,
        /// [`RawXattr::xid`].
        pub xid: u32,
        /// Counts up by 2 for each reference written; odd means removed.
        #[doc(alias = "xseqno")]
        pub sequence: u32,
        /// CRC of the first [`RawXref::CRC_LEN`] bytes of the node.
        pub node_crc: u32,
    }
}

impl RawXref {
    /// Bytes, from the node's start, that `node_crc` covers.
    pub const CRC_LEN: usize = 24;
    /// Bit of `sequence`: the inode has lost the xattr.
    #[doc(alias = "XREF_DELETE_MARKER")]
    pub const DELETED: u32 = 1;
}

record! {
    /// Summary: header and 20 bytes, then `entries` records ([`SummaryEntry`]) in ascending order of their offset,
    /// 0xFF, and a [`SummaryMarker`]. Ends where its eraseblock ends. Kernel: `jffs2_raw_summary`.
    #[doc(alias = "jffs2_raw_summary")]
    pub struct Summary, 20 bytes {
        /// Number of entries.
        pub entries: u32,
        /// Bytes of the cleanmarker at the start of the eraseblock; 0 when there is none.
        pub cleanmarker_len: u32,
        /// Bytes of padding nodes in the eraseblock.
        pub padded: u32,
        /// CRC of everything after these 32 bytes, marker included.
        pub entries_crc: u32,
        /// CRC of the first [`Summary::CRC_LEN`] bytes of the node.
        pub node_crc: u32,
    }
}

impl Summary {
    /// Bytes, from the node's start, that `node_crc` covers.
    pub const CRC_LEN: usize = 24;
    /// Bytes of an eraseblock that its summary takes before the first entry is counted.
    pub const FIXED_LEN: u32 = node_len::<Summary>(SummaryMarker::LEN);
}

record! {
    /// Last 8 bytes of an eraseblock that has a summary. Kernel: `jffs2_sum_marker`.
    #[doc(alias = "jffs2_sum_marker")]
    pub struct SummaryMarker, 8 bytes {
        /// Where the [`Summary`] node begins, from the start of the eraseblock.
        pub offset: u32,
        /// [`SummaryMarker::MAGIC`].
        pub magic: u32,
    }
}

impl SummaryMarker {
    /// Last 4 bytes of an eraseblock that has a summary.
    #[doc(alias = "JFFS2_SUM_MAGIC")]
    pub const MAGIC: u32 = 0x0285_1885;
}

record! {
    /// An inode node in a summary, after its node type: 16 bytes. Kernel: `jffs2_sum_inode_flash`.
    #[doc(alias = "jffs2_sum_inode_flash")]
    pub struct SummaryInode, 16 bytes {
        /// [`RawInode::ino`].
        pub ino: u32,
        /// [`RawInode::version`].
        pub version: u32,
        /// Where the node begins, from the start of the eraseblock.
        pub offset: u32,
        /// [`NodeHeader::total_len`].
        pub total_len: u32,
    }
}

record! {
    /// A directory entry in a summary, after its node type: 22 bytes, then the name. Kernel: `jffs2_sum_dirent_flash`.
    #[doc(alias = "jffs2_sum_dirent_flash")]
    pub struct SummaryDirent, 22 bytes {
        /// [`NodeHeader::total_len`].
        pub total_len: u32,
        /// Where the node begins, from the start of the eraseblock.
        pub offset: u32,
        /// [`Dirent::parent`].
        pub parent: u32,
        /// [`Dirent::version`].
        pub version: u32,
        /// [`Dirent::ino`].
        pub ino: u32,
        /// [`Dirent::name_len`].
        pub name_len: u8,
        /// [`Dirent::kind`].
        pub kind: u8,
    }
}

record! {
    /// An xattr in a summary, after its node type: 16 bytes. Kernel: `jffs2_sum_xattr_flash`.
    #[doc(alias = "jffs2_sum_xattr_flash")]
    pub struct SummaryXattr, 16 bytes {
        /// [`RawXattr::xid`].
        pub xid: u32,
        /// [`RawXattr::version`].
        pub version: u32,
        /// Where the node begins, from the start of the eraseblock.
        pub offset: u32,
        /// [`NodeHeader::total_len`].
        pub total_len: u32,
    }
}

record! {
    /// An xattr reference in a summary, after its node type: 4 bytes. Kernel: `jffs2_sum_xref_flash`.
    #[doc(alias = "jffs2_sum_xref_flash")]
    pub struct SummaryXref, 4 bytes {
        /// Where the node begins, from the start of the eraseblock.
        pub offset: u32,
    }
}

/// Bytes of the node type with which each [`SummaryEntry`] begins.
pub const ENTRY_TYPE_LEN: u32 = 2;

/// One entry of a summary: 2 bytes of [`node_type`], then a record of that type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SummaryEntry<'a> {
    /// [`node_type::INODE`].
    Inode(SummaryInode),
    /// [`node_type::DIRENT`], with its name.
    Dirent(SummaryDirent, &'a [u8]),
    /// [`node_type::XATTR`].
    Xattr(SummaryXattr),
    /// [`node_type::XREF`].
    Xref(SummaryXref),
}

impl<'a> SummaryEntry<'a> {
    /// Takes the next entry. `None` when it is of unknown type, or cut off.
    pub fn get(fields: &mut Fields<'a>) -> Option<Self> {
        Some(match fields.take::<u16>()? {
            node_type::INODE => SummaryEntry::Inode(Record::get(fields)?),
            node_type::XATTR => SummaryEntry::Xattr(Record::get(fields)?),
            node_type::XREF => SummaryEntry::Xref(Record::get(fields)?),
            node_type::DIRENT => {
                let dirent = SummaryDirent::get(fields)?;
                SummaryEntry::Dirent(dirent, fields.bytes(dirent.name_len.into())?)
            }
            _ => return None,
        })
    }

    /// Appends the entry to `out`.
    pub fn put(&self, endian: Endian, out: &mut Vec<u8>) {
        self.node_type().put(endian, out);
        match *self {
            SummaryEntry::Inode(record) => record.put(endian, out),
            SummaryEntry::Xattr(record) => record.put(endian, out),
            SummaryEntry::Xref(record) => record.put(endian, out),
            SummaryEntry::Dirent(record, name) => {
                record.put(endian, out);
                out.extend_from_slice(name);
            }
        }
    }

    /// Type of the node that the entry stands for.
    #[must_use]
    pub const fn node_type(&self) -> u16 {
        match self {
            SummaryEntry::Inode(_) => node_type::INODE,
            SummaryEntry::Dirent(..) => node_type::DIRENT,
            SummaryEntry::Xattr(_) => node_type::XATTR,
            SummaryEntry::Xref(_) => node_type::XREF,
        }
    }

    /// Where the node begins, from the start of the eraseblock.
    #[must_use]
    pub const fn offset(&self) -> u32 {
        match self {
            SummaryEntry::Inode(record) => record.offset,
            SummaryEntry::Dirent(record, _) => record.offset,
            SummaryEntry::Xattr(record) => record.offset,
            SummaryEntry::Xref(record) => record.offset,
        }
    }
}

/// Bytes of a node whose fixed part is that record and which has `data_len` bytes after it; saturates.
#[must_use]
pub const fn node_len<R: Record>(data_len: u32) -> u32 {
    NodeHeader::LEN.saturating_add(R::LEN).saturating_add(data_len)
}

/// Namespace of an xattr, kept as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum XattrPrefix {
    /// `user.`
    #[doc(alias = "JFFS2_XPREFIX_USER")]
    User = 1,
    /// `security.`
    #[doc(alias = "JFFS2_XPREFIX_SECURITY")]
    Security = 2,
    /// `system.posix_acl_access`, the whole name; the value as in [`crate::acl`].
    #[doc(alias = "JFFS2_XPREFIX_ACL_ACCESS")]
    AclAccess = 3,
    /// `system.posix_acl_default`, the whole name; the value as in [`crate::acl`].
    #[doc(alias = "JFFS2_XPREFIX_ACL_DEFAULT")]
    AclDefault = 4,
    /// `trusted.`
    #[doc(alias = "JFFS2_XPREFIX_TRUSTED")]
    Trusted = 5,
}

impl XattrPrefix {
    const ALL: [XattrPrefix; 5] = [
        XattrPrefix::User,
        XattrPrefix::Security,
        XattrPrefix::AclAccess,
        XattrPrefix::AclDefault,
        XattrPrefix::Trusted,
    ];

    /// The number on flash.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The prefix of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|prefix| prefix.number() == number)
    }

    /// What a full name begins with; for an ACL, the full name.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            XattrPrefix::User => "user.",
            XattrPrefix::Security => "security.",
            XattrPrefix::AclAccess => "system.posix_acl_access",
            XattrPrefix::AclDefault => "system.posix_acl_default",
            XattrPrefix::Trusted => "trusted.",
        }
    }

    /// True for the two that are POSIX ACLs, which have no name of their own and a special value.
    #[must_use]
    pub const fn is_acl(self) -> bool {
        matches!(self, XattrPrefix::AclAccess | XattrPrefix::AclDefault)
    }

    /// A full name as prefix and the rest, which is empty for an ACL. `None` for a namespace that JFFS2 does not have.
    #[must_use]
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        let split = |prefix: XattrPrefix| Some((prefix, name.strip_prefix(prefix.text().as_bytes())?));
        Self::ALL.into_iter().filter_map(split).find(|(prefix, rest)| !prefix.is_acl() || rest.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_long_as_the_kernels() {
        let lengths = [
            (node_len::<Dirent>(0), 40),
            (node_len::<RawInode>(0), 68),
            (node_len::<RawXattr>(0), 32),
            (node_len::<RawXref>(0), 28),
            (node_len::<Summary>(0), 32),
            (2 + SummaryInode::LEN, 18),
            (2 + SummaryDirent::LEN, 24),
            (2 + SummaryXattr::LEN, 18),
            (2 + SummaryXref::LEN, 6),
        ];
        for (ours, kernels) in lengths {
            assert_eq!(ours, kernels);
        }
        assert_eq!(RawXattr::total_len(3, 2), 40);
        assert_eq!((padded(0), padded(1), padded(4), padded(u32::MAX)), (0, 4, 4, u32::MAX - 3));
    }

    #[test]
    fn a_header_is_valid_also_when_obsolete() {
        for (endian, bytes) in [
            (Endian::Little, [0x85, 0x19, 0x03, 0x20, 12, 0, 0, 0, 0xb1, 0xb0, 0x1e, 0xe4]),
            (Endian::Big, [0x19, 0x85, 0x20, 0x03, 0, 0, 0, 12, 0xf0, 0x60, 0xdc, 0x98]),
        ] {
            let header = NodeHeader::new(node_type::CLEANMARKER, 12, endian);
            let mut out = Vec::new();
            header.put(endian, &mut out);
            assert_eq!(out, bytes);
            let read = NodeHeader::get(&mut Fields::new(&out, endian)).unwrap();
            assert_eq!(read, header);
            let obsolete = NodeHeader { node_type: header.node_type & !node_type::ACCURATE, ..header };
            assert_eq!(obsolete.expected_crc(endian), header.crc);
        }
    }

    #[test]
    fn summary_entries_read_back() {
        let entries = [
            SummaryEntry::Inode(SummaryInode { ino: 1, version: 2, offset: 12, total_len: 68 }),
            SummaryEntry::Dirent(
                SummaryDirent { name_len: 3, kind: 8, offset: 80, ..SummaryDirent::default() },
                b"abc",
            ),
            SummaryEntry::Xattr(SummaryXattr { xid: 1, version: 1, offset: 124, total_len: 40 }),
            SummaryEntry::Xref(SummaryXref { offset: 164 }),
        ];
        let mut out = Vec::new();
        entries.iter().for_each(|entry| entry.put(Endian::Big, &mut out));
        assert_eq!(out.len(), 18 + 27 + 18 + 6);
        let mut fields = Fields::new(&out, Endian::Big);
        for (entry, offset) in entries.iter().zip([12, 80, 124, 164]) {
            assert_eq!(SummaryEntry::get(&mut fields).as_ref(), Some(entry));
            assert_eq!(entry.offset(), offset);
        }
        assert_eq!(SummaryEntry::get(&mut fields), None);
    }

    #[test]
    fn kinds_and_prefixes() {
        for kind in Kind::ALL {
            assert_eq!(kind_of_dirent_type(dirent_type(kind)), Some(kind));
            assert_eq!(kind_of_mode(u32::from(kind.mode_bits()) | 0o7777), Some(kind));
        }
        assert_eq!((kind_of_dirent_type(0), kind_of_mode(0o644)), (None, None));
        let split = |name: &'static str| XattrPrefix::split(name.as_bytes());
        assert_eq!(split("user.a"), Some((XattrPrefix::User, &b"a"[..])));
        assert_eq!(split("system.posix_acl_access"), Some((XattrPrefix::AclAccess, &b""[..])));
        assert_eq!(split("system.posix_acl_accessory"), None);
        assert_eq!(split("system.nfs4_acl"), None);
        for prefix in XattrPrefix::ALL {
            assert_eq!(XattrPrefix::from_number(prefix.number()), Some(prefix));
        }
        for compression in Compression::ALL {
            assert_eq!(Compression::from_number(compression.number()), Some(compression));
        }
    }
}
