//! A reader of the plainest kind, from the format's description and not from the crate: it looks at every byte of an
//! image, and panics at the first that is not what it must be.
#![allow(dead_code, unreachable_pub, reason = "shared by tests, of which not every one uses all of it")]

mod tree;

use std::collections::{BTreeMap, BTreeSet};

use flashwright_codec::{lzo, rtime, zlib};
use flashwright_jffs2::{Flash, Options};
use flashwright_media::Endian;

pub use tree::assert_found;

const ERASED: u8 = 0xff;

/// What is in an image.
#[derive(Debug, Default)]
pub struct Found {
    /// By inode number, in the order of their versions.
    pub inodes: BTreeMap<u32, BTreeMap<u32, InodeNode>>,
    /// By directory and name: inode number and type. One node each.
    pub dirents: BTreeMap<(u32, Vec<u8>), (u32, u8)>,
    /// By number: prefix, name and value.
    pub xattrs: BTreeMap<u32, (u8, Vec<u8>, Vec<u8>)>,
    /// Inode and xattr.
    pub xrefs: BTreeSet<(u32, u32)>,
    /// Nodes, cleanmarkers and summaries not counted.
    pub nodes: u64,
    /// Eraseblocks with nodes.
    pub used: usize,
    /// Eraseblocks that have a summary.
    pub summaries: usize,
    /// Eraseblocks after them that have a cleanmarker at most.
    pub free: usize,
    /// Bytes lost in each eraseblock but the last that has nodes.
    pub lost: Vec<u32>,
    /// Bytes after the last node.
    pub open: u32,
    /// Versions of names, by directory.
    versions: BTreeMap<u32, BTreeSet<u32>>,
}

/// A node of an inode.
#[derive(Debug)]
pub struct InodeNode {
    pub mode: u32,
    pub uid: u16,
    pub gid: u16,
    pub size: u32,
    pub times: [u32; 3],
    pub offset: u32,
    pub compression: u8,
    /// Unpacked; of a hole, its length.
    pub data: Result<Vec<u8>, u32>,
}

impl Found {
    /// The data of a file, as its nodes make it.
    pub fn data(&self, ino: u32) -> Vec<u8> {
        let nodes = &self.inodes[&ino];
        let size = nodes.last_key_value().unwrap().1.size as usize;
        let mut out = vec![0xaa; size];
        let mut covered = 0;
        for node in nodes.values() {
            let offset = node.offset as usize;
            assert_eq!(offset, covered, "inode {ino}: data is in order and without gaps");
            match &node.data {
                Ok(data) => out[offset..offset + data.len()].copy_from_slice(data),
                Err(hole) => out[offset..offset + *hole as usize].fill(0),
            }
            covered += node.data.as_ref().map_or_else(|hole| *hole as usize, Vec::len);
        }
        assert_eq!(covered, size, "inode {ino}: data is as long as the file");
        out
    }
}

/// An entry that a summary must have.
struct Entry {
    bytes: Vec<u8>,
}

struct Walk<'a> {
    options: &'a Options,
    found: Found,
}

/// Looks at the whole image.
pub fn walk(image: &[u8], options: &Options) -> Found {
    let mut walk = Walk { options, found: Found::default() };
    let blocks: Vec<&[u8]> = image.chunks(options.eraseblock as usize).collect();
    let cleanmarker = walk.cleanmarker();
    let has_nodes = |block: &[u8]| {
        block.get(cleanmarker.len()..).is_some_and(|rest| rest.iter().any(|&byte| byte != ERASED))
    };
    let is_mark = |block: &[u8]| block.starts_with(&[0xde, 0xad, 0xc0, 0xde]);
    let used = blocks.iter().take_while(|block| has_nodes(block) && !is_mark(block)).count();
    for (index, block) in blocks.iter().enumerate() {
        if index < used {
            walk.eraseblock(block, &cleanmarker, index + 1 == used);
        } else if !is_mark(block) {
            assert_eq!(block.len(), options.eraseblock as usize, "a free eraseblock is whole");
            assert!(block.starts_with(&cleanmarker), "eraseblock {index} has its cleanmarker");
            assert!(!has_nodes(block));
            walk.found.free += 1;
        } else {
            assert!(options.end_mark && index == used, "the end mark follows the file system");
            assert!(block[4..].iter().all(|&byte| byte == ERASED));
        }
    }
    walk.found.used = used;
    walk.found
}

impl Walk<'_> {
    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let bytes = bytes[at..at + 2].try_into().unwrap();
        if self.options.endian == Endian::Big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes[at..at + 4].try_into().unwrap();
        if self.options.endian == Endian::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn put(&self, value: u64, len: usize, out: &mut Vec<u8>) {
        let big = self.options.endian == Endian::Big;
        let bytes =
            if big { value.to_be_bytes()[8 - len..].to_vec() } else { value.to_le_bytes()[..len].to_vec() };
        out.extend(bytes);
    }

    /// The cleanmarker with the erased bytes after it, as long as the kernel expects it to be.
    fn cleanmarker(&self) -> Vec<u8> {
        let options = self.options;
        let len = options.cleanmarker_size.unwrap_or(match (options.flash, options.page_size) {
            (Flash::Nor, 1) => 12,
            (Flash::Nor, page) => page.max(16),
            _ => 0,
        });
        let mut bytes = Vec::new();
        if len > 0 {
            self.put(0x1985, 2, &mut bytes);
            self.put(0x2003, 2, &mut bytes);
            self.put(len.into(), 4, &mut bytes);
            self.put(crc(&bytes).into(), 4, &mut bytes);
            bytes.resize(len as usize, ERASED);
        }
        bytes
    }

    fn eraseblock(&mut self, block: &[u8], cleanmarker: &[u8], last: bool) {
        assert!(block.starts_with(cleanmarker));
        assert!(last || block.len() == self.options.eraseblock as usize);
        let mut entries: Vec<Entry> = Vec::new();
        let mut at = cleanmarker.len();
        while at + 12 <= block.len() && self.u16(block, at) == 0x1985 {
            let (kind, len) = (self.u16(block, at + 2), self.u32(block, at + 4));
            assert_eq!(self.u32(block, at + 8), crc(&block[at..at + 8]), "CRC of the header");
            let node = &block[at..at + len as usize];
            if kind == 0x2006 {
                self.summary(block, at, cleanmarker.len(), &entries);
                assert!(!last, "the last eraseblock is open");
                return;
            }
            let end = (at + len as usize).next_multiple_of(4);
            if kind == 0x2004 {
                // Fills the last page.
                assert!(last && node[12..].iter().all(|&byte| byte == ERASED));
                assert_eq!(end % self.options.page_size as usize, 0);
                assert!(node.len() < self.options.page_size as usize);
            } else {
                entries.push(self.node(node, kind, u32::try_from(at).unwrap()));
                assert!(block[at + node.len()..end].iter().all(|&byte| byte == ERASED));
                self.found.nodes += 1;
            }
            at = end;
        }
        let rest = &block[at..];
        let zeros = rest.iter().take_while(|&&byte| byte == 0).count();
        assert!(
            zeros == 0 || last && zeros < 12 && (at + zeros).is_multiple_of(self.options.page_size as usize)
        );
        assert!(rest[zeros..].iter().all(|&byte| byte == ERASED));
        let left = self.options.eraseblock - u32::try_from(at + zeros).unwrap();
        if last {
            self.found.open = left;
        } else {
            assert!(!self.options.summary, "a full eraseblock has its summary");
            self.found.lost.push(left);
        }
    }

    /// The summary is compared as a whole, and so is what it lists.
    fn summary(&mut self, block: &[u8], at: usize, cleanmarker: usize, entries: &[Entry]) {
        assert!(self.options.summary);
        let node = &block[at..];
        assert_eq!(self.u32(node, 4) as usize, node.len(), "a summary ends with its eraseblock");
        let listed: Vec<u8> = entries.iter().flat_map(|entry| entry.bytes.clone()).collect();
        let mut body = listed.clone();
        body.resize(node.len() - 32 - 8, ERASED);
        self.put(at as u64, 4, &mut body);
        self.put(0x0285_1885, 4, &mut body);
        let mut expected = node[..12].to_vec();
        for field in [entries.len(), cleanmarker, 0, crc(&body) as usize] {
            self.put(field as u64, 4, &mut expected);
        }
        let head = crc(&expected[..24]);
        // Its own CRC covers all before that of the entries.
        self.put(head.into(), 4, &mut expected);
        expected.extend(&body);
        assert!(node == expected, "summary at {at:#x}");
        self.found.summaries += 1;
        self.found.lost.push(u32::try_from(node.len() - 40 - listed.len()).unwrap());
    }

    fn node(&mut self, node: &[u8], kind: u16, at: u32) -> Entry {
        let mut bytes = Vec::new();
        self.put(kind.into(), 2, &mut bytes);
        match kind {
            0xe001 => self.dirent(node, at, &mut bytes),
            0xe002 => self.inode(node, at, &mut bytes),
            0xe008 => self.xattr(node, at, &mut bytes),
            0xe009 => {
                assert_eq!(node.len(), 28);
                assert_eq!(self.u32(node, 24), crc(&node[..24]), "CRC of an xattr reference");
                assert!(self.u32(node, 20).is_multiple_of(2), "the reference is no deletion");
                assert!(self.found.xrefs.insert((self.u32(node, 12), self.u32(node, 16))));
                self.put(at.into(), 4, &mut bytes);
            }
            _ => panic!("node of type {kind:#x} at {at:#x}"),
        }
        Entry { bytes }
    }

    fn dirent(&mut self, node: &[u8], at: u32, entry: &mut Vec<u8>) {
        let name = node[40..].to_vec();
        assert_eq!(usize::from(node[28]), name.len());
        assert_eq!(node[30..32], [0, 0]);
        assert_eq!(self.u32(node, 32), crc(&node[..32]), "CRC of a directory entry");
        assert_eq!(self.u32(node, 36), crc(&name), "CRC of a name");
        let (parent, version, ino) = (self.u32(node, 12), self.u32(node, 16), self.u32(node, 20));
        assert!(self.found.versions.entry(parent).or_default().insert(version), "versions are used once");
        for field in [node.len() as u64, at.into(), parent.into(), version.into(), ino.into()] {
            self.put(field, 4, entry);
        }
        entry.extend([node[28], node[29]]);
        entry.extend(&name);
        assert!(self.found.dirents.insert((parent, name), (ino, node[29])).is_none());
    }

    fn inode(&mut self, node: &[u8], at: u32, entry: &mut Vec<u8>) {
        let u32_at = |at| self.u32(node, at);
        let (ino, version) = (u32_at(12), u32_at(16));
        let (stored_len, len) = (u32_at(48), u32_at(52));
        let (compression, stored) = (node[56], &node[68..]);
        assert_eq!(stored_len as usize, stored.len());
        assert_eq!(node[57..60], [0, 0, 0]);
        assert_eq!(u32_at(60), crc(stored), "CRC of data");
        assert_eq!(u32_at(64), crc(&node[..60]), "CRC of an inode node");
        if compression != 1 {
            assert!(len <= self.options.node_size);
            let offset = u32_at(44);
            assert!(offset.is_multiple_of(self.options.node_size), "no page is split");
        }
        let times = [u32_at(32), u32_at(36), u32_at(40)];
        let data = unpack(compression, stored, len);
        let (uid, gid) = (self.u16(node, 24), self.u16(node, 26));
        let inode = InodeNode {
            mode: u32_at(20),
            uid,
            gid,
            size: u32_at(28),
            times,
            offset: u32_at(44),
            compression,
            data,
        };
        for field in [ino, version, at, u32::try_from(node.len()).unwrap()] {
            self.put(field.into(), 4, entry);
        }
        assert!(self.found.inodes.entry(ino).or_default().insert(version, inode).is_none());
    }

    fn xattr(&mut self, node: &[u8], at: u32, entry: &mut Vec<u8>) {
        let (xid, version) = (self.u32(node, 12), self.u32(node, 16));
        let (prefix, name_len, value_len) =
            (node[20], usize::from(node[21]), usize::from(self.u16(node, 22)));
        let data = &node[32..32 + name_len + 1 + value_len];
        assert_eq!(self.u32(node, 24), crc(data), "CRC of an xattr");
        assert_eq!(self.u32(node, 28), crc(&node[..28]), "CRC of an xattr node");
        assert_eq!(node.len(), (32 + data.len()).next_multiple_of(4));
        assert_eq!(data[name_len], 0);
        for field in [xid.into(), version.into(), at.into(), node.len() as u64] {
            self.put(field, 4, entry);
        }
        let xattr = (prefix, data[..name_len].to_vec(), data[name_len + 1..].to_vec());
        assert!(self.found.xattrs.insert(xid, xattr).is_none());
    }
}

fn unpack(compression: u8, stored: &[u8], len: u32) -> Result<Vec<u8>, u32> {
    let mut decompressor = match compression {
        0 => {
            assert_eq!(stored.len(), len as usize);
            return Ok(stored.to_vec());
        }
        1 => {
            assert!(stored.is_empty());
            return Err(len);
        }
        2 => rtime::decompressor(),
        6 => zlib::decompressor(),
        7 => lzo::decompressor(),
        _ => panic!("compression {compression}"),
    };
    let mut out = vec![0; len as usize];
    assert_eq!(decompressor.decompress(stored, &mut out), Ok(len as usize));
    assert!(stored.len() < out.len());
    Ok(out)
}

/// The kernel's CRC for JFFS2, bit by bit: polynomial 0xEDB88320, from 0, not inverted.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
