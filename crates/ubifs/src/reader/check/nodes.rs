//! Inodes, names, xattrs and data, as the journal has left them.

use std::collections::{BTreeMap, BTreeSet};

use flashwright_tree::Kind;

use super::{Finding, Report, charge};
use crate::format::{BLOCK_SIZE, InoNode, Key, KeyType, ROOT_INO, dent_size, xattr_value_size};
use crate::reader::data::DataStore;
use crate::reader::index::{Index, Leaf};
use crate::reader::inode::{Entry, Inode};
use crate::reader::journal::{self, Journal};
use crate::reader::limits::Budget;
use crate::reader::{Image, ReadError, tree};

/// Bytes of a path that a finding shows, at most.
const MAX_PATH_SHOWN: usize = 4096;
/// Memory of one inode that is named, bytes, roughly.
const INODE_COST: u64 = 160;

/// What the entries of all directories say of an inode, or the xattr entries of their owner.
#[derive(Debug, Default)]
struct Seen {
    names: u32,
    /// First directory that names it, and the name.
    parent: u32,
    name: Vec<u8>,
    kind: Option<Kind>,
    is_xattr: bool,
    /// Of a directory: what its entries come to.
    directories: u32,
    size: u64,
    /// Of any: what its xattrs come to.
    xattrs: (u32, u32, u32),
}

struct Nodes<'a> {
    image: &'a Image,
    index: &'a Index,
    journal: &'a Journal,
    orphans: BTreeSet<u32>,
    seen: BTreeMap<u32, Seen>,
    report: &'a mut Report,
}

impl Image {
    pub(super) fn nodes(
        &self,
        index: &Index,
        journal: &Journal,
        budget: &mut Budget,
        report: &mut Report,
    ) -> Result<(), ReadError> {
        let orphans = match journal::orphans(&self.facts, &self.master, &self.input) {
            Ok(orphans) => orphans,
            Err(error) => {
                report.note(error)?;
                BTreeSet::new()
            }
        };
        let mut nodes = Nodes { image: self, index, journal, orphans, seen: BTreeMap::new(), report };
        nodes.entries(budget)?;
        nodes.inodes()?;
        nodes.data()?;
        // Directories that name each other and nothing else, and trees that are no trees.
        let before = report.findings.list.len();
        let loaded =
            tree::load(&self.facts, index, &self.input, &journal.sizes, self.limits.budget(self.input.len()));
        match loaded {
            Err(error) if before == 0 || !error.is_in_image() => report.note(error),
            _ => Ok(()),
        }
    }
}

impl Nodes<'_> {
    fn path(&self, inum: u32) -> Option<Vec<u8>> {
        let (mut parts, mut len, mut at): (Vec<&[u8]>, usize, u32) = (Vec::new(), 0, inum);
        while at != ROOT_INO {
            let seen = self.seen.get(&at).filter(|seen| seen.names > 0)?;
            len = len.saturating_add(seen.name.len()).saturating_add(1);
            if len > MAX_PATH_SHOWN {
                parts.push(b"...");
                break;
            }
            parts.push(&seen.name);
            at = seen.parent;
        }
        parts.reverse();
        Some(parts.join(&b'/'))
    }

    fn about(&mut self, inum: u32, finding: Finding) {
        let path = self.path(inum);
        self.report.add(finding.named(path).in_inode(inum));
    }

    fn failed(&mut self, inum: u32, error: &ReadError) -> Result<(), ReadError> {
        if !error.is_in_image() {
            return Err(error.clone());
        }
        self.about(inum, Finding::from(error));
        Ok(())
    }

    /// Every entry of every directory, and every xattr.
    fn entries(&mut self, budget: &mut Budget) -> Result<(), ReadError> {
        let index = self.index;
        let hashed = |key: &Key| matches!(key.key_type(), Some(KeyType::Dent | KeyType::Xent));
        for (key, leaf) in leaves(index).filter(|(key, _)| hashed(key)) {
            let image = self.image;
            let entry = match Entry::read(&image.facts, &image.input, key, leaf) {
                Ok(entry) => entry,
                Err(error) => {
                    self.failed(key.inum, &error)?;
                    continue;
                }
            };
            charge(budget, 1, INODE_COST.saturating_add(entry.name.len() as u64), "names")?;
            self.report.names = self.report.names.saturating_add(1);
            self.entry(key, entry);
        }
        Ok(())
    }

    fn entry(&mut self, key: Key, entry: Entry) {
        let is_xattr = key.key_type() == Some(KeyType::Xent);
        let name_len = u32::try_from(entry.name.len()).unwrap_or(0);
        let owner = self.seen.entry(key.inum).or_default();
        let size = dent_size(name_len);
        if is_xattr {
            let (count, bytes, names) = &mut owner.xattrs;
            *count = count.saturating_add(1);
            *bytes = bytes.saturating_add(size);
            *names = names.saturating_add(name_len);
        } else {
            owner.size = owner.size.saturating_add(size.into());
            if entry.kind == Kind::Directory {
                owner.directories = owner.directories.saturating_add(1);
            }
        }
        let seen = self.seen.entry(entry.inum).or_default();
        seen.names = seen.names.saturating_add(1);
        if seen.names == 1 {
            seen.parent = key.inum;
            seen.name = entry.name;
            seen.kind = Some(entry.kind);
            seen.is_xattr = is_xattr;
        }
        if self.index.get(Key::ino(entry.inum)).is_none() {
            let finding = Finding::error("entry", format!("inode {}", entry.inum), "none").at(entry.place);
            self.about(key.inum, finding);
        }
    }

    /// Every inode, against what the entries say.
    fn inodes(&mut self) -> Result<(), ReadError> {
        let index = self.index;
        let mut values: Vec<(u32, u32)> = Vec::new();
        let inodes = leaves(index).filter(|(key, _)| key.key_type() == Some(KeyType::Ino));
        for (key, leaf) in inodes {
            self.report.inodes = self.report.inodes.saturating_add(1);
            match Inode::at(&self.image.input, key.inum, leaf) {
                Ok(inode) => {
                    if inode.is_xattr() {
                        let owner = self.seen.get(&key.inum).map_or(0, |seen| seen.parent);
                        values.push((owner, inode.node.data_len.get()));
                    }
                    self.inode(&inode);
                }
                Err(error) => self.failed(key.inum, &error.at(leaf.place))?,
            }
        }
        self.xattr_sums(&values)
    }

    fn inode(&mut self, inode: &Inode) {
        let inum = inode.inum;
        let none = Seen::default();
        let seen = self.seen.get(&inum).unwrap_or(&none);
        let (names, kind, xattr) = (seen.names, seen.kind, seen.is_xattr);
        let (size, links) =
            (seen.size.saturating_add(InoNode::LEN.into()), seen.directories.saturating_add(2));
        let nlink = inode.node.nlink.get();
        if names == 0 && inum != ROOT_INO {
            if nlink == 0 || self.orphans.contains(&inum) {
                self.report.orphans = self.report.orphans.saturating_add(1);
                return;
            }
            self.about(inum, Finding::error("inode", "an entry that names it", "none").at(inode.place));
            return;
        }
        let mut differ = |what: &str, expected: u64, found: u64| {
            if expected != found {
                self.about(inum, Finding::error(what, expected, found).at(inode.place));
            }
        };
        if inode.kind == Kind::Directory {
            differ("link count", links.into(), nlink.into());
            differ("size of the directory", size, inode.node.size.get());
            differ("names of the directory", u64::from(inum != ROOT_INO), names.into());
        } else {
            differ("link count", names.into(), nlink.into());
        }
        if kind.is_some_and(|kind| kind != inode.kind) || xattr != inode.is_xattr() {
            let expected = if xattr { "the value of an xattr" } else { kind.map_or("any", Kind::name) };
            self.about(inum, Finding::error("inode", expected, inode.kind.name()).at(inode.place));
        }
    }

    /// Sums that each inode carries over its xattrs.
    fn xattr_sums(&mut self, values: &[(u32, u32)]) -> Result<(), ReadError> {
        for &(owner, len) in values {
            let bytes = &mut self.seen.entry(owner).or_default().xattrs.1;
            *bytes = bytes.saturating_add(xattr_value_size(len));
        }
        let index = self.index;
        let inodes = leaves(index).filter(|(key, _)| key.key_type() == Some(KeyType::Ino));
        for (key, leaf) in inodes {
            // What cannot be read was noted before.
            let Ok(inode) = Inode::at(&self.image.input, key.inum, leaf) else { continue };
            let node = &inode.node;
            let found = (node.xattr_cnt.get(), node.xattr_size.get(), node.xattr_names.get());
            let expected = self.seen.get(&key.inum).map_or((0, 0, 0), |seen| seen.xattrs);
            if expected != found {
                let show = |(count, bytes, names)| format!("{count} of {bytes} bytes, {names} in names");
                let finding = Finding::error("xattrs", show(expected), show(found)).at(leaf.place);
                self.about(key.inum, finding);
            }
        }
        Ok(())
    }

    /// Every block of every file, unpacked.
    fn data(&mut self) -> Result<(), ReadError> {
        let (index, image) = (self.index, self.image);
        let store = DataStore::new(image.input.clone());
        let mut buffer = vec![0; BLOCK_SIZE as usize];
        let mut file: Option<(u32, u64)> = None;
        for (key, leaf) in leaves(index).filter(|(key, _)| key.key_type() == Some(KeyType::Data)) {
            self.report.blocks = self.report.blocks.saturating_add(1);
            let size = match file {
                Some((inum, size)) if inum == key.inum => size,
                _ => self.file_size(key.inum),
            };
            file = Some((key.inum, size));
            match store.block(key, leaf, &mut buffer) {
                Ok(len) if key.block_offset().saturating_add(len as u64) > size => {
                    let found = format!("block {} of {len} bytes", key.value());
                    let finding =
                        Finding::error("data", format!("a file of {size} bytes"), found).at(leaf.place);
                    self.about(key.inum, finding);
                }
                Ok(_) => {}
                Err(error) => self.failed(key.inum, &error)?,
            }
        }
        Ok(())
    }

    /// Size of a file; 0 when there is no inode, so that each of its blocks is too many.
    fn file_size(&self, inum: u32) -> u64 {
        let leaf = self.index.get(Key::ino(inum));
        let inode = leaf.and_then(|leaf| Inode::at(&self.image.input, inum, leaf).ok());
        let size = inode.filter(|inode| inode.kind == Kind::File).map_or(0, |inode| inode.node.size.get());
        size.max(self.journal.sizes.get(&inum).copied().unwrap_or(0))
    }
}

/// Every node of the index, in order.
pub(super) fn leaves(index: &Index) -> impl Iterator<Item = (Key, Leaf)> + '_ {
    index.slots.iter().flat_map(|(&key, slot)| {
        let leaves: Vec<Leaf> = match slot {
            crate::reader::index::Slot::One(leaf) => vec![*leaf],
            crate::reader::index::Slot::Many(leaves) => leaves.values().copied().collect(),
        };
        leaves.into_iter().map(move |leaf| (key, leaf))
    })
}
