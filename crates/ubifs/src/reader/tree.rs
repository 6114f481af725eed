//! From index and inodes to the tree.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flashwright_tree::{Kind, Node, NodeId, NodeKind, Tree, TreeError};

use super::ReadError;
use super::data::{self, DataStore};
use super::index::Index;
use super::inode::{Entry, Inode};
use super::input::Input;
use super::limits::Budget;
use super::superblock::Facts;
use crate::format::{KeyType, ROOT_INO};

/// Memory of one node of the tree, bytes, roughly.
const NODE_COST: u64 = 320;
/// Memory of one name, bytes, roughly, its own length not counted.
const NAME_COST: u64 = 64;

/// Reads every name and inode. `sizes` are of files that are longer than their inodes say.
pub(super) fn load(
    facts: &Facts,
    index: &Index,
    input: &Input,
    sizes: &BTreeMap<u32, u64>,
    budget: Budget,
) -> Result<Tree, ReadError> {
    let store = Arc::new(DataStore::new(input.clone()));
    let mut loader = Loader {
        facts,
        index,
        input,
        sizes,
        store,
        budget,
        tree: Tree::new(),
        seen: HashMap::new(),
        pending: Vec::new(),
    };
    loader.root()?;
    while let Some((id, inum)) = loader.pending.pop() {
        loader.directory(id, inum)?;
    }
    Ok(loader.tree)
}

struct Loader<'a> {
    facts: &'a Facts,
    index: &'a Index,
    input: &'a Input,
    sizes: &'a BTreeMap<u32, u64>,
    store: Arc<DataStore>,
    budget: Budget,
    tree: Tree,
    seen: HashMap<u32, NodeId>,
    /// Directories whose entries are still to be read.
    pending: Vec<(NodeId, u32)>,
}

impl Loader<'_> {
    fn root(&mut self) -> Result<(), ReadError> {
        let inode = Inode::read(self.index, self.input, ROOT_INO)?;
        if inode.kind != Kind::Directory {
            let error = ReadError::corrupt("root inode", "a directory", inode.kind.name());
            return Err(error.at(inode.place).in_inode(ROOT_INO));
        }
        *self.tree.node_mut(Tree::ROOT) = self.node(&inode)?;
        self.seen.insert(ROOT_INO, Tree::ROOT);
        self.pending.push((Tree::ROOT, ROOT_INO));
        Ok(())
    }

    fn directory(&mut self, id: NodeId, inum: u32) -> Result<(), ReadError> {
        let index = self.index;
        for (key, leaf) in index.range(inum, KeyType::Dent) {
            let entry = Entry::read(self.facts, self.input, key, leaf)?;
            self.entry(id, &entry).map_err(|error| error.at(entry.place).in_inode(inum))?;
        }
        Ok(())
    }

    fn entry(&mut self, directory: NodeId, entry: &Entry) -> Result<(), ReadError> {
        self.budget.charge(NAME_COST.saturating_add(entry.name.len() as u64), "directory entries")?;
        if let Some(&target) = self.seen.get(&entry.inum) {
            return self.tree.link(directory, &entry.name, target).map_err(|error| bad_entry(entry, error));
        }
        let inode = Inode::read(self.index, self.input, entry.inum)?;
        if inode.kind != entry.kind || inode.is_xattr() {
            let expected = format!("a {}, as its entry says", entry.kind.name());
            let found = if inode.is_xattr() { "the value of an xattr" } else { inode.kind.name() };
            return Err(ReadError::corrupt("inode", expected, found).at(inode.place).in_inode(inode.inum));
        }
        let node = self.node(&inode)?;
        let id = self.tree.insert(directory, &entry.name, node).map_err(|error| bad_entry(entry, error))?;
        self.seen.insert(entry.inum, id);
        if inode.kind == Kind::Directory {
            self.pending.push((id, entry.inum));
        }
        Ok(())
    }

    fn node(&mut self, inode: &Inode) -> Result<Node, ReadError> {
        self.budget.charge(NODE_COST.saturating_add(inode.data.len() as u64), "inodes")?;
        let metadata = inode.metadata(self.index, self.input, self.facts, &mut self.budget)?;
        let kind = match inode.kind {
            Kind::Directory => NodeKind::Directory,
            Kind::File => {
                let known = self.sizes.get(&inode.inum).copied().unwrap_or(0);
                let size = inode.node.size.get().max(known);
                let content = data::content(&self.store, self.index, inode.inum, size, &mut self.budget);
                NodeKind::File(content.map_err(|error| error.at(inode.place))?)
            }
            Kind::Symlink => NodeKind::Symlink(inode.target()?),
            Kind::CharDevice => NodeKind::CharDevice(inode.device()?),
            Kind::BlockDevice => NodeKind::BlockDevice(inode.device()?),
            Kind::Fifo => NodeKind::Fifo,
            Kind::Socket => NodeKind::Socket,
        };
        Ok(Node::new(metadata, kind))
    }
}

fn bad_entry(entry: &Entry, error: TreeError) -> ReadError {
    let found = match error {
        TreeError::LinkToDirectory => {
            format!("directory {} under a second name or within itself", entry.inum)
        }
        error => error.to_string(),
    };
    ReadError::corrupt("directory entry", "a name and node that a tree can have", found)
}
