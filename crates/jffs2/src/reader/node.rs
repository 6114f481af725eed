//! One node: its bytes held against its own lengths and CRCs.

use flashwright_media::{Endian, Fields, crc32_from_zero};
use flashwright_tree::Finding;

use super::index::{DirentNode, InodeNode, XattrNode, XrefNode};
use crate::format::{
    Compression, Dirent, NodeHeader, RawInode, RawXattr, RawXref, Record, node_len, node_type,
};

/// Most bytes of a file that one node may hold: four times what any writer makes, so that no node takes much memory.
pub(super) const MAX_DATA: u32 = 256 << 10;
/// Longest node that is read, bytes: more than the summary of the largest eraseblock.
pub(super) const MAX_NODE: u32 = 4 << 20;

/// The bytes of a whole node whose header is sound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) node_type: u16,
    /// Where it begins, from the first node of the image.
    pub(super) at: u32,
    pub(super) endian: Endian,
}

impl<'a> Raw<'a> {
    fn name(&self) -> &'static str {
        node_type::name(self.node_type)
    }

    /// The record after the header, and what follows it.
    pub(super) fn record<R: Record>(&self) -> Result<(R, &'a [u8]), Finding> {
        let mut fields = Fields::new(self.bytes, self.endian);
        let record = NodeHeader::get(&mut fields).and_then(|_| R::get(&mut fields));
        let record = record.ok_or_else(|| self.wrong_len(format!("at least {} bytes", node_len::<R>(0))))?;
        Ok((record, fields.rest()))
    }

    fn wrong_len(&self, expected: impl std::fmt::Display) -> Finding {
        let found = format!("{} bytes", self.bytes.len());
        Finding::error(format!("length of the {}", self.name()), expected, found).damage()
    }

    /// Fails unless the node has `len` bytes after its record, of `rest.len()`.
    fn exact(&self, rest: &[u8], len: usize) -> Result<(), Finding> {
        let fixed = self.bytes.len().saturating_sub(rest.len());
        if rest.len() == len {
            return Ok(());
        }
        Err(self.wrong_len(format!("{} bytes", fixed.saturating_add(len))))
    }

    /// Fails unless the first `len` bytes have that CRC.
    pub(super) fn check_crc(&self, len: usize, found: u32) -> Result<(), Finding> {
        self.crc("CRC", self.bytes.get(..len).unwrap_or_default(), found)
    }

    pub(super) fn crc(&self, which: &str, bytes: &[u8], found: u32) -> Result<(), Finding> {
        let expected = crc32_from_zero(bytes);
        if found == expected {
            return Ok(());
        }
        let what = format!("{which} of the {}", self.name());
        // The stored one may be what is damaged as well as the bytes.
        Err(Finding::error(what, format!("{found:#010x}, as stored"), format!("{expected:#010x}")).damage())
    }

    /// A node that was written so.
    fn wrong(&self, what: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Finding {
        Finding::error(format!("{what} of the {}", self.name()), expected, found)
    }

    pub(super) fn inode(&self) -> Result<InodeNode, Finding> {
        let (inode, rest) = self.record::<RawInode>()?;
        self.check_crc(RawInode::CRC_LEN, inode.node_crc)?;
        let of_inode = |finding: Finding| finding.in_inode(inode.ino);
        self.inode_data(&inode, rest).map_err(of_inode)?;
        Ok(InodeNode {
            ino: inode.ino,
            version: inode.version,
            at: self.at,
            offset: inode.offset,
            data_len: inode.data_len,
            stored_len: inode.stored_len,
            size: inode.size,
            compression: inode.compression,
        })
    }

    fn inode_data(&self, inode: &RawInode, rest: &[u8]) -> Result<(), Finding> {
        if inode.ino == 0 {
            return Err(self.wrong("inode number", "1 or more", 0));
        }
        // At most `u32::MAX`, and so a `usize` on every host that has the memory for such an image.
        self.exact(rest, inode.stored_len as usize)?;
        self.crc("data CRC", rest, inode.data_crc)?;
        let Some(compression) = Compression::from_number(inode.compression) else {
            return Err(self.wrong("compression", "0 to 8", inode.compression));
        };
        let (stored, data) = (inode.stored_len, inode.data_len);
        match compression {
            Compression::Zero => {}
            _ if data > MAX_DATA => {
                return Err(self.wrong("data", format!("at most {MAX_DATA} bytes"), data));
            }
            Compression::None if stored != data => {
                return Err(self.wrong("data", format!("{data} bytes stored"), stored));
            }
            _ => {}
        }
        if inode.offset.checked_add(data).is_none() {
            let found = format!("{data} bytes at {:#x}", inode.offset);
            return Err(self.wrong("data", "a range below 4 GiB", found));
        }
        Ok(())
    }

    /// The entry, and its name.
    pub(super) fn dirent(&self) -> Result<(DirentNode, &'a [u8]), Finding> {
        let (dirent, name) = self.record::<Dirent>()?;
        self.check_crc(Dirent::CRC_LEN, dirent.node_crc)?;
        self.exact(name, dirent.name_len.into()).map_err(|finding| finding.in_inode(dirent.ino))?;
        self.crc("name CRC", name, dirent.name_crc).map_err(|finding| finding.in_inode(dirent.ino))?;
        if dirent.parent == 0 || name.is_empty() {
            let found = format!("directory {} and {} bytes", dirent.parent, name.len());
            return Err(self.wrong("content", "a directory's number and a name", found));
        }
        let node = DirentNode {
            parent: dirent.parent,
            version: dirent.version,
            ino: dirent.ino,
            mctime: dirent.mctime,
            at: self.at,
            name: 0,
            name_len: dirent.name_len,
            kind: dirent.kind,
        };
        Ok((node, name))
    }

    pub(super) fn xattr(&self) -> Result<XattrNode, Finding> {
        let (xattr, rest) = self.record::<RawXattr>()?;
        self.check_crc(RawXattr::CRC_LEN, xattr.node_crc)?;
        let len = usize::from(xattr.name_len).saturating_add(1).saturating_add(xattr.value_len.into());
        let data = rest.get(..len).ok_or_else(|| self.wrong_len(format!("{len} bytes after its record")))?;
        self.crc("data CRC", data, xattr.data_crc)?;
        Ok(XattrNode {
            xid: xattr.xid,
            version: xattr.version,
            at: self.at,
            value_len: xattr.value_len,
            name_len: xattr.name_len,
            prefix: xattr.prefix,
        })
    }

    pub(super) fn xref(&self) -> Result<XrefNode, Finding> {
        let (xref, rest) = self.record::<RawXref>()?;
        self.check_crc(RawXref::CRC_LEN, xref.node_crc)?;
        self.exact(rest, 0)?;
        Ok(XrefNode { ino: xref.ino, xid: xref.xid, sequence: xref.sequence, at: self.at })
    }
}
