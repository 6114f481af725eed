//! The bytes of SquashFS 4.0, once for writer and reader. Everything is little-endian.
//!
//! ```text
//! 0x00  SuperBlock, 96 bytes
//!       compressor options, one metadata block      (only when they differ from the defaults)
//!       data blocks and fragment blocks
//!       inode table, directory table                 (chains of metadata blocks)
//!       fragment table, export table, id table       (metadata blocks, then an index of their positions)
//!       xattr table
//!       padding, not counted in bytes_used
//! ```
//!
//! A *metadata block* is a 2-byte header and up to 8192 bytes before compression. A position inside a
//! metadata table is a [`MetadataRef`]: where the block starts, and a byte within the unpacked block.
//!
//! Source of all facts: the Linux kernel's `fs/squashfs/squashfs_fs.h` and its readers.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_tree::Kind;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First 4 bytes of an image, "hsqs".
#[doc(alias = "SQUASHFS_MAGIC")]
pub const MAGIC: u32 = 0x7371_7368;
/// Version 4.0, the only one current kernels read.
pub const VERSION: (u16, u16) = (4, 0);
/// Unpacked bytes of a full metadata block.
#[doc(alias = "SQUASHFS_METADATA_SIZE")]
pub const METADATA_SIZE: usize = 8192;
/// Smallest and largest data block, bytes; powers of two between them are allowed.
pub const BLOCK_SIZE_RANGE: (u32, u32) = (4096, 1 << 20);
/// Longest name in a directory, bytes. (Linux itself stops at 255.)
pub const MAX_NAME: usize = 256;
/// Longest symlink target the kernel reads, bytes.
pub const MAX_SYMLINK: usize = 65_535;
/// Different uids and gids together, at most: [`SuperBlock::ids`] has 16 bits and the kernel refuses 0.
pub const MAX_IDS: usize = 65_535;
/// Entries below one directory header, at most.
pub const MAX_DIR_ENTRIES_PER_HEADER: usize = 256;
/// "None" where a 32-bit index is expected: no fragment, no xattrs.
pub const NONE32: u32 = u32::MAX;
/// "None" where a 64-bit position is expected: the table is absent.
pub const NONE64: u64 = u64::MAX;
/// Bytes the file size of a directory inode counts beyond its listing: `.` and `..`, which are not stored.
pub const DIR_SIZE_EXTRA: u32 = 3;
/// Bit 24 of a data block's size word: the block is stored as it is.
#[doc(alias = "SQUASHFS_COMPRESSED_BIT_BLOCK")]
pub const DATA_UNCOMPRESSED: u32 = 1 << 24;
/// Bit 15 of a metadata block's header: the block is stored as it is.
#[doc(alias = "SQUASHFS_COMPRESSED_BIT")]
pub const METADATA_UNCOMPRESSED: u16 = 1 << 15;

/// Bits of [`SuperBlock::flags`].
pub mod flags {
    /// Inode and directory tables are stored uncompressed.
    pub const UNCOMPRESSED_INODES: u16 = 0x0001;
    /// Data blocks are stored uncompressed.
    pub const UNCOMPRESSED_DATA: u16 = 0x0002;
    /// Fragment blocks are stored uncompressed.
    pub const UNCOMPRESSED_FRAGMENTS: u16 = 0x0008;
    /// There are no fragments.
    pub const NO_FRAGMENTS: u16 = 0x0010;
    /// The last part of every file is in a fragment, also of files longer than a block.
    pub const ALWAYS_FRAGMENTS: u16 = 0x0020;
    /// Duplicates were looked for.
    pub const DUPLICATES: u16 = 0x0040;
    /// There is an export table.
    pub const EXPORTABLE: u16 = 0x0080;
    /// The xattr table is stored uncompressed.
    pub const UNCOMPRESSED_XATTRS: u16 = 0x0100;
    /// There are no xattrs.
    pub const NO_XATTRS: u16 = 0x0200;
    /// A compressor options record follows the superblock.
    pub const COMPRESSOR_OPTIONS: u16 = 0x0400;
    /// The id table is stored uncompressed.
    pub const UNCOMPRESSED_IDS: u16 = 0x0800;
}

/// Superblock: 96 bytes at byte 0 of the image. Kernel: `squashfs_super_block`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[doc(alias = "squashfs_super_block")]
pub struct SuperBlock {
    /// [`MAGIC`].
    pub magic: U32,
    /// Number of inodes; they are numbered from 1.
    pub inodes: U32,
    /// Creation time, seconds since 1970.
    pub mkfs_time: U32,
    /// Bytes of a data block.
    pub block_size: U32,
    /// Number of fragment blocks.
    pub fragments: U32,
    /// A [`Compression`] number.
    pub compression: U16,
    /// log2 of `block_size`.
    pub block_log: U16,
    /// Bits of [`flags`].
    pub flags: U16,
    /// Number of different uids and gids.
    pub ids: U16,
    /// 4.
    pub major: U16,
    /// 0.
    pub minor: U16,
    /// [`MetadataRef`] of the root directory's inode, from `inode_table`.
    pub root_inode: U64,
    /// Bytes of the image without padding at its end.
    pub bytes_used: U64,
    /// Position of the id table's index.
    pub id_table: U64,
    /// Position of the [`XattrTableHeader`]; [`NONE64`] without xattrs.
    pub xattr_table: U64,
    /// Position of the inode table's first metadata block.
    pub inode_table: U64,
    /// Position of the directory table's first metadata block.
    pub directory_table: U64,
    /// Position of the fragment table's index.
    pub fragment_table: U64,
    /// Position of the export table's index; [`NONE64`] without one.
    pub export_table: U64,
}

/// Compressor of an image: [`SuperBlock::compression`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Compression {
    /// zlib streams, called gzip.
    Gzip = 1,
    /// LZMA-alone of old vendor kernels; current kernels refuse it.
    Lzma = 2,
    /// LZO1X.
    Lzo = 3,
    /// .xz streams.
    Xz = 4,
    /// Raw LZ4 blocks.
    Lz4 = 5,
    /// Zstandard frames.
    Zstd = 6,
}

impl Compression {
    /// All that current kernels read, by name order.
    pub const ALL: [Compression; 5] =
        [Compression::Gzip, Compression::Lz4, Compression::Lzo, Compression::Xz, Compression::Zstd];

    /// The compressor of that number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Compression::Gzip,
            2 => Compression::Lzma,
            3 => Compression::Lzo,
            4 => Compression::Xz,
            5 => Compression::Lz4,
            6 => Compression::Zstd,
            _ => return None,
        })
    }

    /// The number in the superblock.
    #[must_use]
    pub const fn number(self) -> u16 {
        // A fieldless `repr(u16)` enum: the cast is its definition.
        self as u16
    }

    /// The name users know it by: "gzip", "xz", …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Lzma => "lzma",
            Compression::Lzo => "lzo",
            Compression::Xz => "xz",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// gzip options record: 8 bytes. Kernel: not read. Defaults: level 9, window 15, no strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GzipOptions {
    /// 1 to 9.
    pub level: U32,
    /// 8 to 15: log2 of the window.
    pub window: U16,
    /// zlib strategies as a bit set; 0 is "default only".
    pub strategies: U16,
}

/// xz options record: 8 bytes. Kernel: `disk_comp_opts` of its xz wrapper; the dictionary decides how much memory
/// the kernel sets aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XzOptions {
    /// Bytes; 2^n or 2^n + 2^(n+1), at least 8192. Default: the block size.
    pub dictionary: U32,
    /// Branch filters that were tried, as a bit set; the kernel does not look.
    pub filters: U32,
}

/// lzo options record: 8 bytes. Kernel: not read. Defaults: lzo1x_999, level 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LzoOptions {
    /// 0 lzo1x_1, 1 lzo1x_1_11, 2 lzo1x_1_12, 3 lzo1x_1_15, 4 lzo1x_999.
    pub algorithm: U32,
    /// 1 to 9 for lzo1x_999, else 0.
    pub level: U32,
}

/// lz4 options record: 8 bytes, always present with lz4. Kernel: `lz4_comp_opts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Lz4Options {
    /// 1: the current block format.
    pub version: U32,
    /// 1: HC was used.
    pub flags: U32,
}

/// zstd options record: 4 bytes. Kernel: not read. Default: level 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ZstdOptions {
    /// 1 to 22.
    pub level: U32,
}

/// Position inside a metadata table: 48 bits where the block starts (from the table's start), 16 bits of byte
/// within the unpacked block, which is below [`METADATA_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetadataRef {
    /// Bytes from the table's start to the metadata block's header.
    pub block: u64,
    /// Byte within the unpacked block.
    pub offset: u16,
}

impl MetadataRef {
    /// The on-disk form.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.block << 16 | self.offset as u64
    }

    /// The reverse of [`MetadataRef::pack`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the low 16 bits are what is wanted")]
    pub const fn unpack(packed: u64) -> Self {
        MetadataRef { block: packed >> 16, offset: packed as u16 }
    }
}

/// Inode type numbers: a basic and an extended one for each kind. Kernel: `SQUASHFS_DIR_TYPE` and following.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InodeType {
    /// What it is.
    pub kind: Kind,
    /// Whether it is the extended form.
    pub extended: bool,
}

impl InodeType {
    const KINDS: [Kind; 7] = [
        Kind::Directory,
        Kind::File,
        Kind::Symlink,
        Kind::BlockDevice,
        Kind::CharDevice,
        Kind::Fifo,
        Kind::Socket,
    ];

    /// The number: 1 to 7 basic, 8 to 14 extended.
    #[must_use]
    pub const fn number(self) -> u16 {
        match (self.kind, self.extended) {
            (Kind::Directory, false) => 1,
            (Kind::File, false) => 2,
            (Kind::Symlink, false) => 3,
            (Kind::BlockDevice, false) => 4,
            (Kind::CharDevice, false) => 5,
            (Kind::Fifo, false) => 6,
            (Kind::Socket, false) => 7,
            (Kind::Directory, true) => 8,
            (Kind::File, true) => 9,
            (Kind::Symlink, true) => 10,
            (Kind::BlockDevice, true) => 11,
            (Kind::CharDevice, true) => 12,
            (Kind::Fifo, true) => 13,
            (Kind::Socket, true) => 14,
        }
    }

    /// The type of that number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        let index = usize::from(number.checked_sub(1)?);
        let (index, extended) = index.checked_sub(7).map_or((index, false), |index| (index, true));
        Some(InodeType { kind: *Self::KINDS.get(index)?, extended })
    }
}

/// What every inode starts with: 16 bytes. Kernel: `squashfs_base_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[doc(alias = "squashfs_base_inode")]
pub struct InodeHeader {
    /// An [`InodeType`] number.
    pub inode_type: U16,
    /// Permission bits, 0 to 0o7777, without the file type.
    pub permissions: U16,
    /// Index of the uid in the id table.
    pub uid: U16,
    /// Index of the gid in the id table.
    pub gid: U16,
    /// Modification time, seconds since 1970.
    pub mtime: U32,
    /// From 1 up to [`SuperBlock::inodes`].
    pub inode_number: U32,
}

/// Basic directory: 16 bytes after the header. Kernel: `squashfs_dir_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DirInode {
    /// Metadata block of the listing, from the directory table's start.
    pub start_block: U32,
    /// 2, plus the number of subdirectories.
    pub nlink: U32,
    /// Bytes of the listing plus [`DIR_SIZE_EXTRA`].
    pub file_size: U16,
    /// Byte of the listing within the unpacked metadata block.
    pub offset: U16,
    /// Inode number of the parent; the root's is one more than the number of inodes.
    pub parent_inode: U32,
}

/// Extended directory: 24 bytes after the header, then `index_count` [`DirIndex`]es. Kernel: `squashfs_ldir_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtDirInode {
    /// As in [`DirInode`].
    pub nlink: U32,
    /// Bytes of the listing plus [`DIR_SIZE_EXTRA`].
    pub file_size: U32,
    /// As in [`DirInode`].
    pub start_block: U32,
    /// As in [`DirInode`].
    pub parent_inode: U32,
    /// Number of index entries that follow.
    pub index_count: U16,
    /// As in [`DirInode`].
    pub offset: U16,
    /// Index into the xattr id table, or [`NONE32`].
    pub xattr: U32,
}

/// One entry of a directory index: 12 bytes and the name, which starts the metadata block that the entry points to.
/// Kernel: `squashfs_dir_index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DirIndex {
    /// Byte within the listing at which a [`DirHeader`] starts.
    pub index: U32,
    /// Metadata block with that byte, from the directory table's start.
    pub start_block: U32,
    /// Length of the name less 1.
    pub name_size: U32,
}

/// Basic file: 16 bytes after the header, then the data blocks' size words. Kernel: `squashfs_reg_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FileInode {
    /// Position of the first data block in the image; 0 without data blocks.
    pub start_block: U32,
    /// Index of the fragment block with the tail, or [`NONE32`].
    pub fragment: U32,
    /// Byte of the tail within the unpacked fragment block.
    pub fragment_offset: U32,
    /// Bytes of the file.
    pub file_size: U32,
}

/// Extended file: 40 bytes after the header, then the data blocks' size words. Kernel: `squashfs_lreg_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtFileInode {
    /// As in [`FileInode`].
    pub start_block: U64,
    /// Bytes of the file.
    pub file_size: U64,
    /// Bytes of the file that are holes: the kernel takes them off `st_blocks`.
    pub sparse: U64,
    /// Number of names.
    pub nlink: U32,
    /// As in [`FileInode`].
    pub fragment: U32,
    /// As in [`FileInode`].
    pub fragment_offset: U32,
    /// Index into the xattr id table, or [`NONE32`].
    pub xattr: U32,
}

/// Symlink: 8 bytes after the header, then the target; the extended form has a U32 xattr index after the target.
/// Kernel: `squashfs_symlink_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SymlinkInode {
    /// Number of names.
    pub nlink: U32,
    /// Bytes of the target.
    pub target_size: U32,
}

/// Device: 8 bytes after the header; the extended form has a U32 xattr index after it. Kernel: `squashfs_dev_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceInode {
    /// Number of names.
    pub nlink: U32,
    /// Device number in the kernel's 32-bit encoding.
    pub rdev: U32,
}

/// Fifo and socket: 4 bytes after the header; the extended form has a U32 xattr index after it.
/// Kernel: `squashfs_ipc_inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IpcInode {
    /// Number of names.
    pub nlink: U32,
}

/// Header of a run of directory entries whose inodes are in one metadata block: 12 bytes.
/// Kernel: `squashfs_dir_header`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DirHeader {
    /// Entries that follow, less 1: at most 255.
    pub count: U32,
    /// Metadata block of the inodes, from the inode table's start.
    pub start_block: U32,
    /// Inode number that the entries' deltas are relative to.
    pub inode_number: U32,
}

/// Directory entry: 8 bytes and the name. Kernel: `squashfs_dir_entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DirEntry {
    /// Byte of the inode within its unpacked metadata block.
    pub offset: U16,
    /// Inode number less the header's, as a signed number.
    pub inode_delta: U16,
    /// The basic [`InodeType`] number, also of extended inodes.
    pub inode_type: U16,
    /// Length of the name less 1.
    pub name_size: U16,
}

/// Entry of the fragment table: 16 bytes. Kernel: `squashfs_fragment_entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FragmentEntry {
    /// Position of the fragment block in the image.
    pub start_block: U64,
    /// Its size word, as of a data block.
    pub size: U32,
    /// 0.
    pub unused: U32,
}

/// Head of the xattr id table, before the positions of its metadata blocks: 16 bytes. Kernel: `squashfs_xattr_id_table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrTableHeader {
    /// Position of the first metadata block with names and values.
    pub xattr_start: U64,
    /// Number of [`XattrId`]s.
    pub ids: U32,
    /// 0.
    pub unused: U32,
}

/// One set of xattrs: 16 bytes. Kernel: `squashfs_xattr_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrId {
    /// [`MetadataRef`] of the first name, from `xattr_start`.
    pub xattr: U64,
    /// Number of xattrs in the set.
    pub count: U32,
    /// Bytes of the set: names in full, each with a NUL, and values. The kernel does not use it.
    pub size: U32,
}

/// Head of one xattr name, then the name without its prefix: 4 bytes. Kernel: `squashfs_xattr_entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrEntry {
    /// An [`XattrPrefix`] number, plus [`XATTR_VALUE_OOL`] when the value is elsewhere.
    pub prefix: U16,
    /// Bytes of the name that follows.
    pub size: U16,
}

/// Bit of [`XattrEntry::prefix`]: in place of the value stand 8 bytes, the [`MetadataRef`] of the value.
pub const XATTR_VALUE_OOL: u16 = 0x100;

/// Namespaces of xattrs and the numbers they are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum XattrPrefix {
    /// `user.`
    User = 0,
    /// `trusted.`
    Trusted = 1,
    /// `security.`
    Security = 2,
}

impl XattrPrefix {
    /// All of them, by number.
    pub const ALL: [XattrPrefix; 3] = [XattrPrefix::User, XattrPrefix::Trusted, XattrPrefix::Security];

    /// The text, dot included.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            XattrPrefix::User => "user.",
            XattrPrefix::Trusted => "trusted.",
            XattrPrefix::Security => "security.",
        }
    }

    /// The number in [`XattrEntry::prefix`].
    #[must_use]
    pub const fn number(self) -> u16 {
        // A fieldless `repr(u16)` enum: the cast is its definition.
        self as u16
    }

    /// The namespace of that number, out-of-line bit excluded.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The namespace of a full name, and what follows the dot.
    #[must_use]
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL.into_iter().find_map(|prefix| Some((prefix, name.strip_prefix(prefix.text().as_bytes())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_have_the_kernels_sizes() {
        let sizes = [
            (size_of::<SuperBlock>(), 96),
            (size_of::<InodeHeader>(), 16),
            (size_of::<DirInode>(), 16),
            (size_of::<ExtDirInode>(), 24),
            (size_of::<DirIndex>(), 12),
            (size_of::<FileInode>(), 16),
            (size_of::<ExtFileInode>(), 40),
            (size_of::<SymlinkInode>(), 8),
            (size_of::<DeviceInode>(), 8),
            (size_of::<IpcInode>(), 4),
            (size_of::<DirHeader>(), 12),
            (size_of::<DirEntry>(), 8),
            (size_of::<FragmentEntry>(), 16),
            (size_of::<XattrTableHeader>(), 16),
            (size_of::<XattrId>(), 16),
            (size_of::<XattrEntry>(), 4),
        ];
        assert!(sizes.iter().all(|(actual, kernel)| actual == kernel), "{sizes:?}");
    }

    #[test]
    fn inode_types_are_numbered_as_the_kernel_does() {
        for number in 1..=14 {
            let inode_type = InodeType::from_number(number).unwrap();
            assert_eq!(inode_type.number(), number);
            assert_eq!(inode_type.extended, number > 7);
        }
        assert_eq!(InodeType::from_number(4).unwrap().kind, Kind::BlockDevice);
        assert_eq!(InodeType::from_number(0), None);
        assert_eq!(InodeType::from_number(15), None);
    }

    #[test]
    fn xattr_names_split_at_the_namespace() {
        assert_eq!(XattrPrefix::split(b"security.selinux"), Some((XattrPrefix::Security, &b"selinux"[..])));
        assert_eq!(XattrPrefix::split(b"system.posix_acl_access"), None);
    }
}
