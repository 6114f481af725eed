//! Writes small SquashFS 3 images with gzip, of either byte order: the programs that wrote such images are gone, and
//! only their readers are left. One of these, unsquashfs, says whether what this writes is right.
//!
//! ```text
//! superblock (119 bytes) │ blocks │ fragment │ inodes │ listings │ fragment table │ its index │ owners
//! ```
//!
//! For a tree whose inodes, whose listings and whose tails each fit into one metadata block, and without hard links.

use std::collections::HashMap;

use flashwright_codec::zlib;
use flashwright_tree::{Content, Device, Kind, Name, Node, NodeId, NodeKind, Tree};

const BLOCK: usize = 4096;
const SUPERBLOCK: usize = 119;
const NOT_STORED: u32 = u32::MAX;

/// The image of a tree.
pub(crate) fn image(tree: &Tree, big_endian: bool) -> Vec<u8> {
    let numbers = (1..).zip(tree.walk()).map(|(number, entry)| (entry.id, number)).collect();
    let new = || Bytes { big_endian, bytes: Vec::new() };
    let mut data = new();
    data.bytes = vec![0; SUPERBLOCK];
    let mut writer =
        Writer { tree, numbers, data, tails: Vec::new(), inodes: new(), listings: new(), owners: Vec::new() };
    let root = writer.node(Tree::ROOT, 0);
    writer.finish(root)
}

/// Numbers in the byte order of the image.
struct Bytes {
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Bytes {
    /// The lowest `len` bytes of a number.
    fn put(&mut self, number: u64, len: usize) {
        if self.big_endian {
            self.bytes.extend(&number.to_be_bytes()[8 - len..]);
        } else {
            self.bytes.extend(&number.to_le_bytes()[..len]);
        }
    }

    /// Fields of a C struct that share a word: the first is the lowest of a little-endian word, the highest of a
    /// big-endian one.
    fn put_bits(&mut self, fields: &[(u64, u32)]) {
        let width: u32 = fields.iter().map(|(_, bits)| bits).sum();
        let mut word = 0;
        let mut below = 0;
        for (value, bits) in fields {
            let shift = if self.big_endian { width - below - bits } else { below };
            word |= value << shift;
            below += bits;
        }
        self.put(word, width as usize / 8);
    }

    fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A metadata block; returns its position.
    fn put_metadata(&mut self, plain: &[u8]) -> u64 {
        let at = self.position();
        let packed = packed(plain).filter(|packed| packed.len() < plain.len());
        match packed {
            Some(packed) => {
                self.put(packed.len() as u64, 2);
                self.bytes.extend(packed);
            }
            None => {
                self.put(plain.len() as u64 | 0x8000, 2);
                self.bytes.extend(plain);
            }
        }
        at
    }

    /// A data block; returns its length with the mark of one that is not compressed.
    fn put_block(&mut self, plain: &[u8]) -> u64 {
        let packed = packed(plain);
        self.bytes.extend(packed.as_deref().unwrap_or(plain));
        packed.map_or(plain.len() as u64 | 1 << 24, |packed| packed.len() as u64)
    }
}

fn packed(plain: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::new();
    let mut compressor = zlib::compressor(zlib::Level::new(9).unwrap()).unwrap();
    compressor.compress(plain, plain.len() - 1, &mut packed).unwrap().then_some(packed)
}

struct Writer<'t> {
    tree: &'t Tree,
    numbers: HashMap<NodeId, u64>,
    data: Bytes,
    tails: Vec<u8>,
    inodes: Bytes,
    listings: Bytes,
    owners: Vec<u32>,
}

impl Writer<'_> {
    /// Writes a node after all that is in it; returns the position of its inode.
    fn node(&mut self, id: NodeId, parent: u64) -> u64 {
        let node = &self.tree.node(id);
        let number = self.numbers[&id];
        let entries = self.tree.entries(id);
        let names = entries.len() as u64;
        let children: Vec<_> = entries.map(|(name, id)| (name, id, self.node(id, number))).collect();
        let listing = node.is_directory().then(|| self.listing(&children));
        let file = node.content().map(|content| self.file(content));
        let at = self.inodes.position();
        self.head(node, number);
        let links = 1 + if node.is_directory() { names + 1 } else { 0 };
        if !matches!(node.kind, NodeKind::File(_)) {
            self.inodes.put(links, 4);
        }
        match &node.kind {
            NodeKind::Directory => {
                let (start, len) = listing.unwrap();
                self.inodes.put_bits(&[(len + 3, 19), (start, 13)]);
                self.inodes.put(0, 4);
                self.inodes.put(parent, 4);
            }
            NodeKind::File(_) => self.inodes.bytes.extend(file.unwrap()),
            NodeKind::Symlink(target) => {
                self.inodes.put(target.len() as u64, 2);
                self.inodes.bytes.extend(target.iter());
            }
            NodeKind::CharDevice(Device { major, minor })
            | NodeKind::BlockDevice(Device { major, minor }) => {
                self.inodes.put(u64::from(major << 8 | minor), 2);
            }
            NodeKind::Fifo | NodeKind::Socket => {}
        }
        at
    }

    fn head(&mut self, node: &Node, number: u64) {
        let metadata = &node.metadata;
        let (uid, gid) = (self.owner(metadata.uid), self.owner(metadata.gid));
        let kind = inode_type(node.kind());
        self.inodes.put_bits(&[(kind, 4), (metadata.permissions.into(), 12), (uid, 8), (gid, 8)]);
        self.inodes.put(metadata.mtime.seconds.cast_unsigned(), 4);
        self.inodes.put(number, 4);
    }

    /// Index of an owner. Users and groups have tables of their own, here with the same numbers.
    fn owner(&mut self, owner: u32) -> u64 {
        let known = self.owners.iter().position(|known| *known == owner);
        known.unwrap_or_else(|| {
            self.owners.push(owner);
            self.owners.len() - 1
        }) as u64
    }

    /// What follows the head of a file's inode.
    fn file(&mut self, content: &Content) -> Vec<u8> {
        let data = content.to_vec().unwrap();
        let start = self.data.position();
        let (blocks, tail) = data.split_at(data.len() / BLOCK * BLOCK);
        let sizes: Vec<u64> = blocks.chunks(BLOCK).map(|block| self.data.put_block(block)).collect();
        let offset = self.tails.len() as u64;
        self.tails.extend(tail);
        let mut inode = Bytes { big_endian: self.data.big_endian, bytes: Vec::new() };
        inode.put(start, 8);
        inode.put(if tail.is_empty() { NOT_STORED.into() } else { 0 }, 4);
        inode.put(if tail.is_empty() { 0 } else { offset }, 4);
        inode.put(data.len() as u64, 4);
        sizes.iter().for_each(|size| inode.put(*size, 4));
        inode.bytes
    }

    /// A listing; returns its position and length.
    fn listing(&mut self, children: &[(Name, NodeId, u64)]) -> (u64, u64) {
        let start = self.listings.position();
        let Some((_, first, _)) = children.first() else { return (start, 0) };
        let base = self.numbers[first];
        self.listings.put(children.len() as u64 - 1, 1);
        self.listings.put(0, 4);
        self.listings.put(base, 4);
        for (name, id, at) in children {
            let kind = inode_type(self.tree.kind(*id));
            self.listings.put_bits(&[(*at, 13), (kind, 3)]);
            self.listings.put(name.len() as u64 - 1, 1);
            self.listings.put(self.numbers[id] - base, 2);
            self.listings.bytes.extend(name.iter());
        }
        (start, self.listings.position() - start)
    }

    fn finish(mut self, root: u64) -> Vec<u8> {
        let big_endian = self.data.big_endian;
        let fragments = u64::from(!self.tails.is_empty());
        let mut fragment = Bytes { big_endian, bytes: Vec::new() };
        fragment.put(self.data.position(), 8);
        let size = if fragments > 0 { self.data.put_block(&self.tails) } else { 0 };
        fragment.put(size, 4);
        fragment.put(0, 4);
        let inode_table = self.data.put_metadata(&self.inodes.bytes);
        let directory_table = self.data.put_metadata(&self.listings.bytes);
        let fragment_entries = self.data.put_metadata(&fragment.bytes);
        let fragment_table = self.data.position();
        self.data.put(fragment_entries, 8);
        let uids = self.data.position();
        self.owners.iter().for_each(|owner| self.data.put((*owner).into(), 4));
        let gids = self.data.position();
        self.owners.iter().for_each(|owner| self.data.put((*owner).into(), 4));
        let end = self.data.position();

        let mut superblock = Bytes { big_endian, bytes: Vec::new() };
        let mut put = |number: u64, len| superblock.put(number, len);
        put(0x7371_7368, 4);
        put(self.numbers.len() as u64, 4);
        (0..5).for_each(|_| put(0, 4));
        [3, 0, BLOCK as u64, BLOCK.ilog2().into()].iter().for_each(|number| put(*number, 2));
        [0, self.owners.len() as u64, self.owners.len() as u64].iter().for_each(|number| put(*number, 1));
        put(1_700_000_000, 4);
        put(root, 8);
        [BLOCK as u64, fragments, 0].iter().for_each(|number| put(*number, 4));
        let tables = [end, uids, gids, inode_table, directory_table, fragment_table, u64::MAX];
        tables.iter().for_each(|position| put(*position, 8));
        self.data.bytes[..SUPERBLOCK].copy_from_slice(&superblock.bytes);
        self.data.bytes
    }
}

fn inode_type(kind: Kind) -> u64 {
    match kind {
        Kind::Directory => 1,
        Kind::File => 2,
        Kind::Symlink => 3,
        Kind::BlockDevice => 4,
        Kind::CharDevice => 5,
        Kind::Fifo => 6,
        Kind::Socket => 7,
    }
}
