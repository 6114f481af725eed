//! Inodes and directories to a [`Tree`].

use std::collections::HashMap;
use std::sync::Arc;

use flashwright_tree::{Kind, Metadata, Node, NodeId, NodeKind, Timestamp, Tree};
use zerocopy::little_endian::U32;

use super::ReadError;
use super::data::{self, DataStore};
use super::directory::{Entry, Listing};
use super::inode::{Body, DirectoryBody, Inode};
use super::limits::Budget;
use super::tables::Tables;
use crate::format::{MetadataRef, SuperBlock};

/// Memory of one node and one name beyond what they point to, bytes, roughly.
const NODE_COST: u64 = 400;
const NAME_COST: u64 = 96;

/// Makes the tree of an image.
pub(super) fn load(
    superblock: &SuperBlock,
    tables: &Tables,
    store: Arc<DataStore>,
    budget: Budget,
) -> Result<Tree, ReadError> {
    let root = MetadataRef::unpack(superblock.root_inode.get());
    let mut loader = Loader {
        tables,
        store,
        budget,
        max_nodes: superblock.inodes.get(),
        tree: Tree::new(),
        seen: HashMap::new(),
        pending: Vec::new(),
    };
    loader.root(root)?;
    while let Some((id, number, directory)) = loader.pending.pop() {
        loader.directory(id, &directory).map_err(|error| error.in_inode(number))?;
    }
    Ok(loader.tree)
}

struct Loader<'a> {
    tables: &'a Tables,
    store: Arc<DataStore>,
    budget: Budget,
    max_nodes: u32,
    tree: Tree,
    /// Inodes by number: where they are and what they became.
    seen: HashMap<u32, (MetadataRef, NodeId)>,
    /// Directories whose listing is not read yet. No recursion: depth is the image's choice.
    pending: Vec<(NodeId, u32, DirectoryBody)>,
}

impl Loader<'_> {
    fn root(&mut self, reference: MetadataRef) -> Result<(), ReadError> {
        let inode = self.inode(reference)?;
        let number = inode.number;
        let Body::Directory(directory) = inode.body else {
            let found = inode.inode_type.kind.name();
            return Err(ReadError::corrupt("root inode", "a directory", found).in_inode(number));
        };
        *self.tree.node_mut(Tree::ROOT) = self.node(inode)?;
        self.seen.insert(number, (reference, Tree::ROOT));
        self.pending.push((Tree::ROOT, number, directory));
        Ok(())
    }

    fn inode(&mut self, reference: MetadataRef) -> Result<Inode, ReadError> {
        self.budget.charge(NODE_COST, "inodes")?;
        Inode::at(&self.tables.inodes, reference, self.store.block_size, &mut self.budget)
    }

    fn directory(&mut self, id: NodeId, directory: &DirectoryBody) -> Result<(), ReadError> {
        let mut listing = Listing::new(&self.tables.directories, directory)?;
        while let Some(entry) = listing.next()? {
            let place = self.tables.directories.place(entry.position);
            self.entry(id, &entry).map_err(|error| error.at(place))?;
        }
        Ok(())
    }

    fn entry(&mut self, directory: NodeId, entry: &Entry<'_>) -> Result<(), ReadError> {
        self.budget.charge(NAME_COST.saturating_add(entry.name.len() as u64), "directory entries")?;
        if let Some(&(reference, target)) = self.seen.get(&entry.number) {
            same_inode(entry, reference)?;
            return self.tree.link(directory, entry.name, target).map_err(|error| bad_entry(entry, error));
        }
        if self.seen.len() >= self.max_nodes as usize {
            let expected = format!("at most {} inodes, as the superblock says", self.max_nodes);
            return Err(ReadError::corrupt("directory entry", expected, "one more"));
        }
        let inode = self.inode(entry.inode)?;
        let number = inode.number;
        if number != entry.number {
            let expected = format!("inode {} as its directory entry says", entry.number);
            return Err(ReadError::corrupt("inode", expected, number));
        }
        let listing = if let Body::Directory(directory) = inode.body { Some(directory) } else { None };
        let node = self.node(inode)?;
        let id = self.tree.insert(directory, entry.name, node).map_err(|error| bad_entry(entry, error))?;
        self.seen.insert(number, (entry.inode, id));
        self.pending.extend(listing.map(|listing| (id, number, listing)));
        Ok(())
    }

    fn node(&mut self, inode: Inode) -> Result<Node, ReadError> {
        let number = inode.number;
        let metadata = self.metadata(&inode).map_err(|error| error.in_inode(number))?;
        let kind = match inode.body {
            Body::Directory(_) => NodeKind::Directory,
            Body::File(body) => {
                let content = data::content(&self.store, number, body, &mut self.budget);
                NodeKind::File(content.map_err(|error| error.in_inode(number))?)
            }
            Body::Symlink(target) => NodeKind::Symlink(target),
            Body::Device(device) if inode.inode_type.kind == Kind::CharDevice => NodeKind::CharDevice(device),
            Body::Device(device) => NodeKind::BlockDevice(device),
            Body::Ipc if inode.inode_type.kind == Kind::Fifo => NodeKind::Fifo,
            Body::Ipc => NodeKind::Socket,
        };
        Ok(Node::new(metadata, kind))
    }

    fn metadata(&mut self, inode: &Inode) -> Result<Metadata, ReadError> {
        let mut metadata = Metadata::new(inode.permissions);
        metadata.uid = self.id(inode.owner.0)?;
        metadata.gid = self.id(inode.owner.1)?;
        metadata.mtime = Timestamp::from_seconds(i64::from(inode.mtime));
        metadata.xattrs = self.tables.xattrs.get(inode.xattr, &mut self.budget)?;
        Ok(metadata)
    }

    fn id(&self, index: u16) -> Result<u32, ReadError> {
        let ids = self.tables.ids.entries::<U32>();
        let id = ids.get(usize::from(index)).map(|id| id.get());
        id.ok_or_else(|| {
            let expected = format!("an owner index below {}", ids.len());
            ReadError::corrupt("inode", expected, index)
        })
    }
}

/// Two inodes of one number: Linux would show one of them under both names.
fn same_inode(entry: &Entry<'_>, seen: MetadataRef) -> Result<(), ReadError> {
    if entry.inode == seen {
        return Ok(());
    }
    let show = |at: MetadataRef| format!("{:#x}:{}", at.block, at.offset);
    let expected = format!("inode {} at {} of the inode table, as before", entry.number, show(seen));
    Err(ReadError::corrupt("directory entry", expected, show(entry.inode)))
}

fn bad_entry(entry: &Entry<'_>, error: flashwright_tree::TreeError) -> ReadError {
    let found = match error {
        flashwright_tree::TreeError::LinkToDirectory => {
            format!("directory {} under a second name or within itself", entry.number)
        }
        error => error.to_string(),
    };
    ReadError::corrupt("directory entry", "a name and node that a tree can have", found)
}
