//! The nodes. Every struct starts with the common header and is followed by what its documentation says.

#![allow(missing_debug_implementations, reason = "of types that zerocopy's derive makes for itself")]

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{NODE_MAGIC, NodeType};
use flashwright_media::crc32_from_ones;

macro_rules! node {
    ($(#[$meta:meta])* $name:ident, $len:literal, $alias:literal, { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        #[doc(alias = $alias)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $name {
            /// Bytes of the fixed part.
            pub const LEN: u32 = $len;
        }

        const _: () = assert!(size_of::<$name>() == $len);
    };
}

node! {
    /// Common header: 24 bytes at the start of every node. Kernel: `ubifs_ch`.
    CommonHeader, 24, "ubifs_ch", {
        /// [`NODE_MAGIC`].
        magic: U32,
        /// CRC-32 from all ones over the node from byte 8 on.
        crc: U32,
        /// Sequence number: higher is newer. 0 in padding.
        sqnum: U64,
        /// Bytes of the node with this header; what follows starts at the next multiple of 8.
        len: U32,
        /// A [`NodeType`].
        node_type: u8,
        /// One of [`group`](super::group).
        group_type: u8,
        /// Zero.
        padding: [u8; 2],
    }
}

node! {
    /// Inode: 160 bytes, then `data_len` bytes: the target of a symlink, the number of a device, the value of an xattr.
    /// Kernel: `ubifs_ino_node`.
    InoNode, 160, "ubifs_ino_node", {
        /// Common header.
        ch: CommonHeader,
        /// [`Key::ino`](super::Key::ino).
        key: [u8; 16],
        /// Sequence number when the inode was made.
        creat_sqnum: U64,
        /// Bytes of the file; of a directory [`InoNode::LEN`] and [`dent_size`](super::dent_size) of each entry.
        size: U64,
        /// Last access, seconds since 1970, signed.
        atime_sec: U64,
        /// Last change of the inode.
        ctime_sec: U64,
        /// Last change of the content.
        mtime_sec: U64,
        /// Nanoseconds of `atime_sec`.
        atime_nsec: U32,
        /// Nanoseconds of `ctime_sec`.
        ctime_nsec: U32,
        /// Nanoseconds of `mtime_sec`.
        mtime_nsec: U32,
        /// Names; of a directory 2 and one for each directory in it.
        nlink: U32,
        /// Owner.
        uid: U32,
        /// Group.
        gid: U32,
        /// Type and permissions, as in `st_mode`.
        mode: U32,
        /// Bits of [`ino_flags`](super::ino_flags).
        flags: U32,
        /// Bytes that follow.
        data_len: U32,
        /// Number of xattrs.
        xattr_cnt: U32,
        /// Bytes of the xattrs: [`dent_size`](super::dent_size) and [`xattr_value_size`](super::xattr_value_size) of each.
        xattr_size: U32,
        /// Zero.
        padding1: [u8; 4],
        /// Bytes of the xattrs' names, without NULs.
        xattr_names: U32,
        /// [`ComprType`](super::ComprType) for what is written later.
        compr_type: U16,
        /// Zero.
        padding2: [u8; 26],
    }
}

node! {
    /// Directory or xattr entry: 56 bytes, then the name and a NUL. Kernel: `ubifs_dent_node`.
    DentNode, 56, "ubifs_dent_node", {
        /// Common header; the type says which of both.
        ch: CommonHeader,
        /// [`Key::dent`](super::Key::dent) or [`Key::xent`](super::Key::xent).
        key: [u8; 16],
        /// Inode that is named; 0 in the journal: the entry is removed.
        inum: U64,
        /// Zero.
        padding1: u8,
        /// Kind of that inode: [`inode_type`](super::inode_type).
        inode_type: u8,
        /// Bytes of the name.
        nlen: U16,
        /// Second hash, with [`sb_flags::DOUBLE_HASH`](super::sb_flags::DOUBLE_HASH); else zero.
        cookie: U32,
    }
}

node! {
    /// Block of a file: 48 bytes, then the data. A block without a node is a hole. Kernel: `ubifs_data_node`.
    DataNode, 48, "ubifs_data_node", {
        /// Common header.
        ch: CommonHeader,
        /// [`Key::data`](super::Key::data).
        key: [u8; 16],
        /// Bytes unpacked, 1 to 4096; what the block has beyond them reads as zeros.
        size: U32,
        /// A [`ComprType`](super::ComprType).
        compr_type: U16,
        /// Bytes before encryption; zero without.
        compr_size: U16,
    }
}

node! {
    /// Truncation of a file, in the journal only: 56 bytes. Kernel: `ubifs_trun_node`.
    TrunNode, 56, "ubifs_trun_node", {
        /// Common header.
        ch: CommonHeader,
        /// Inode.
        inum: U32,
        /// Zero.
        padding: [u8; 12],
        /// Bytes before.
        old_size: U64,
        /// Bytes after.
        new_size: U64,
    }
}

node! {
    /// Padding: 28 bytes, then `pad_len` bytes of no meaning. Kernel: `ubifs_pad_node`.
    PadNode, 28, "ubifs_pad_node", {
        /// Common header.
        ch: CommonHeader,
        /// Bytes that follow.
        pad_len: U32,
    }
}

node! {
    /// Superblock: 4096 bytes at the start of LEB 0. Kernel: `ubifs_sb_node`.
    SbNode, 4096, "ubifs_sb_node", {
        /// Common header.
        ch: CommonHeader,
        /// Zero.
        padding: [u8; 2],
        /// A [`KeyHash`](super::KeyHash).
        key_hash: u8,
        /// 0: keys as in [`Key`](super::Key).
        key_fmt: u8,
        /// Bits of [`sb_flags`](super::sb_flags).
        flags: U32,
        /// Bytes of the smallest write, 8 or more.
        min_io_size: U32,
        /// Bytes of a LEB.
        leb_size: U32,
        /// LEBs of the file system now. The kernel raises it to the size of the volume, up to `max_leb_cnt`.
        leb_cnt: U32,
        /// LEBs that the file system may ever have; the LPT is laid out for them.
        max_leb_cnt: U32,
        /// Bytes of the journal.
        max_bud_bytes: U64,
        /// LEBs of the log.
        log_lebs: U32,
        /// LEBs of the LPT.
        lpt_lebs: U32,
        /// LEBs for orphans.
        orph_lebs: U32,
        /// Journal heads for data: 1.
        jhead_cnt: U32,
        /// Most branches of an index node.
        fanout: U32,
        /// LEB numbers in the LPT's save table.
        lsave_cnt: U32,
        /// Format, 4 or 5.
        fmt_version: U32,
        /// [`ComprType`](super::ComprType) of new files.
        default_compr: U16,
        /// Zero.
        padding1: [u8; 2],
        /// Who may use the reserved space.
        rp_uid: U32,
        /// Group that may use the reserved space.
        rp_gid: U32,
        /// Bytes reserved.
        rp_size: U64,
        /// Granularity of times, nanoseconds.
        time_gran: U32,
        /// UUID.
        uuid: [u8; 16],
        /// Version that a reader must know to mount read-only: 0.
        ro_compat_version: U32,
        /// Authentication.
        hmac: [u8; 64],
        /// Authentication.
        hmac_wkm: [u8; 64],
        /// Authentication.
        hash_algo: U16,
        /// Authentication.
        hash_mst: [u8; 64],
        /// Zero.
        padding2: [u8; 3774],
    }
}

node! {
    /// Master: 512 bytes, where everything is that moves. Kernel: `ubifs_mst_node`.
    MstNode, 512, "ubifs_mst_node", {
        /// Common header.
        ch: CommonHeader,
        /// Highest inode number that was ever used.
        highest_inum: U64,
        /// Number of the commit.
        cmt_no: U64,
        /// Bits of [`mst_flags`](super::mst_flags).
        flags: U32,
        /// First LEB of the log in use.
        log_lnum: U32,
        /// Root of the index: LEB.
        root_lnum: U32,
        /// Root of the index: byte in the LEB.
        root_offs: U32,
        /// Root of the index: bytes.
        root_len: U32,
        /// LEB set aside for garbage collection; -1 for none.
        gc_lnum: U32,
        /// Where the index goes on: LEB.
        ihead_lnum: U32,
        /// Where the index goes on: byte in the LEB.
        ihead_offs: U32,
        /// Bytes of all index nodes, each rounded up to 8.
        index_size: U64,
        /// Free bytes of the main area.
        total_free: U64,
        /// Dirty bytes of the main area.
        total_dirty: U64,
        /// Used bytes of LEBs that hold no index.
        total_used: U64,
        /// Bytes too few in their LEB to be used at all.
        total_dead: U64,
        /// Bytes that may be too few in their LEB for a node.
        total_dark: U64,
        /// Root of the LPT: LEB.
        lpt_lnum: U32,
        /// Root of the LPT: byte in the LEB.
        lpt_offs: U32,
        /// Where the LPT goes on: LEB.
        nhead_lnum: U32,
        /// Where the LPT goes on: byte in the LEB.
        nhead_offs: U32,
        /// LEB of the LPT's own table.
        ltab_lnum: U32,
        /// Byte of that table in its LEB.
        ltab_offs: U32,
        /// LEB of the save table, big model only.
        lsave_lnum: U32,
        /// Byte of the save table in its LEB.
        lsave_offs: U32,
        /// LEB at which the kernel looked last for space.
        lscan_lnum: U32,
        /// LEBs of the main area that are wholly free.
        empty_lebs: U32,
        /// LEBs that hold index nodes.
        idx_lebs: U32,
        /// LEBs of the file system.
        leb_cnt: U32,
        /// Authentication.
        hash_root_idx: [u8; 64],
        /// Authentication.
        hash_lpt: [u8; 64],
        /// Authentication.
        hmac: [u8; 64],
        /// Zero.
        padding: [u8; 152],
    }
}

node! {
    /// Reference to a LEB of the journal, in the log: 64 bytes. Kernel: `ubifs_ref_node`.
    RefNode, 64, "ubifs_ref_node", {
        /// Common header.
        ch: CommonHeader,
        /// LEB.
        lnum: U32,
        /// First byte of the journal there.
        offs: U32,
        /// Journal head: 0 garbage collection, 1 everything but data, 2 data.
        jhead: U32,
        /// Zero.
        padding: [u8; 28],
    }
}

node! {
    /// Index: 28 bytes, then the branches. Kernel: `ubifs_idx_node`.
    IdxNode, 28, "ubifs_idx_node", {
        /// Common header.
        ch: CommonHeader,
        /// Number of branches, 1 to the fanout.
        child_cnt: U16,
        /// 0: the branches are nodes of the tree; else index nodes one level below.
        level: U16,
    }
}

node! {
    /// Branch of an index node: 20 bytes. Kernel: `ubifs_branch`.
    Branch, 20, "ubifs_branch", {
        /// LEB.
        lnum: U32,
        /// Byte in the LEB.
        offs: U32,
        /// Bytes of the node.
        len: U32,
        /// Key of the node; of an index node that of its first branch.
        key: [u8; 8],
    }
}

node! {
    /// Start of a commit, in the log: 32 bytes. Kernel: `ubifs_cs_node`.
    CsNode, 32, "ubifs_cs_node", {
        /// Common header.
        ch: CommonHeader,
        /// Number of the commit.
        cmt_no: U64,
    }
}

node! {
    /// Orphans: 32 bytes, then 8 for each inode number. Kernel: `ubifs_orph_node`.
    OrphNode, 32, "ubifs_orph_node", {
        /// Common header.
        ch: CommonHeader,
        /// Number of the commit; its highest bit marks the last node of that commit.
        cmt_no: U64,
    }
}

impl CommonHeader {
    /// Offset from which the CRC counts.
    pub const CRC_FROM: usize = 8;

    /// A header without length, CRC and sequence number: [`seal`] fills them in.
    #[must_use]
    pub fn new(node_type: NodeType) -> Self {
        CommonHeader { magic: NODE_MAGIC.into(), node_type: node_type.number(), ..CommonHeader::new_zeroed() }
    }
}

/// Completes a node that starts at byte 0 of `node` and takes all of it: length, sequence number, CRC.
///
/// # Panics
/// When `node` is shorter than a header or of 4 GiB and more: a caller's bug.
pub fn seal(node: &mut [u8], sqnum: u64) {
    let len = u32::try_from(node.len()).unwrap_or_else(|_| unreachable!("a node fits into a LEB"));
    let (header, _) =
        CommonHeader::mut_from_prefix(&mut *node).unwrap_or_else(|_| unreachable!("a node has a header"));
    header.sqnum = sqnum.into();
    header.len = len.into();
    let crc = node_crc(node);
    let (header, _) =
        CommonHeader::mut_from_prefix(node).unwrap_or_else(|_| unreachable!("a node has a header"));
    header.crc = crc.into();
}

/// The CRC that a node should have.
#[must_use]
pub fn node_crc(node: &[u8]) -> u32 {
    crc32_from_ones(node.get(CommonHeader::CRC_FROM..).unwrap_or_default())
}

/// Fills `room` as padding: a [`PadNode`] where one fits, else [`PADDING_BYTE`](super::PADDING_BYTE)s.
pub fn pad(room: &mut [u8]) {
    let Some(rest) = room.len().checked_sub(PadNode::LEN as usize) else {
        room.fill(super::PADDING_BYTE);
        return;
    };
    let (front, back) = room.split_at_mut(PadNode::LEN as usize);
    let pad_len = u32::try_from(rest).unwrap_or_else(|_| unreachable!("padding is within a LEB"));
    let node = PadNode { ch: CommonHeader::new(NodeType::Pad), pad_len: pad_len.into() };
    front.copy_from_slice(node.as_bytes());
    seal(front, 0);
    back.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_sealed_over_their_length() {
        let mut node = RefNode { lnum: 7.into(), ..RefNode::new_zeroed() };
        node.ch = CommonHeader::new(NodeType::Ref);
        let mut bytes = node.as_bytes().to_vec();
        seal(&mut bytes, 5);
        assert_eq!(bytes[..4], [0x31, 0x18, 0x10, 0x06]);
        assert_eq!(bytes[4..8], node_crc(&bytes).to_le_bytes());
        assert_eq!(bytes[8..24], [5, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 8, 0, 0, 0]);
    }

    #[test]
    fn padding_is_a_node_where_one_fits() {
        let mut short = [0; 27];
        pad(&mut short);
        assert_eq!(short, [0xce; 27]);
        let mut long = [0xff; 40];
        pad(&mut long);
        let (node, rest) = PadNode::read_from_prefix(&long).unwrap();
        assert_eq!((node.ch.len.get(), node.pad_len.get(), rest), (28, 12, &[0; 12][..]));
        assert_eq!(node.ch.crc.get(), node_crc(&long[..28]));
    }
}
