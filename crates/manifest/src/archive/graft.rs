//! Items of an archive into the tree, under the rules of the source.

use std::collections::{BTreeMap, HashMap};

use flashwright_tree::{Kind, Metadata, Node, NodeId, NodeKind, Tree, Xattrs, display_path, join_path};

use crate::builder::{Builder, Origin, Spot};
use crate::scan::wants_xattr;
use crate::{Error, Severity, XattrPolicy};

/// Memory that the nodes of one archive may take, in bytes, about: three million of them. An archive that asks for more
/// was made to do harm.
const MAX_MEMORY: u64 = 1 << 30;
/// What one node takes, in bytes, about.
const NODE: u64 = 300;
/// Longest path, in bytes: sixteen times what Linux takes at once.
const MAX_PATH: usize = 65_535;

/// One entry of an archive.
#[derive(Debug)]
pub(super) struct Item {
    /// Path in the archive, in normal form; the root is the empty path.
    pub(super) path: Vec<u8>,
    /// Of no meaning for a link.
    pub(super) metadata: Metadata,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Node(NodeKind),
    /// One more name of what the archive has at that path, in normal form.
    Link(Vec<u8>),
}

/// What became of an entry that links may lead to.
#[derive(Debug)]
enum Target {
    Here(NodeId),
    /// Excluded; a link that is not gets it.
    LeftOut(Node),
}

/// A source under way.
pub(super) struct Graft<'b, 'o> {
    builder: &'b mut Builder<'o>,
    origin: Origin,
    at: &'b [u8],
    targets: HashMap<Vec<u8>, Target>,
    nodes_before: usize,
    /// Bytes of paths and attributes.
    bytes: u64,
    /// Attributes left behind, with how many nodes have them and the first of these.
    foreign_xattrs: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
}

impl<'b, 'o> Graft<'b, 'o> {
    pub(super) fn new(builder: &'b mut Builder<'o>, origin: Origin, at: &'b [u8]) -> Self {
        let nodes_before = builder.tree.arena_len();
        let (targets, foreign_xattrs) = (HashMap::new(), BTreeMap::new());
        Graft { builder, origin, at, targets, nodes_before, bytes: 0, foreign_xattrs }
    }

    /// Brings in one item. An item of a path that the archive had before replaces that.
    pub(super) fn add(&mut self, item: Item) -> Result<(), Error> {
        let path = self.path(&item.path);
        let left_out = self.builder.chain.excludes(&path);
        let place = self.builder.place(self.origin);
        self.check_memory(&item).map_err(|error| error.at(place.clone()))?;
        let done = match item.what {
            What::Link(target) => self.link(&item.path, &path, &target, left_out),
            What::Node(kind) => self.node(&item.path, &path, Node::new(item.metadata, kind), left_out),
        };
        done.map_err(|error| error.at(place))
    }

    fn check_memory(&mut self, item: &Item) -> Result<(), Error> {
        if item.path.len() > MAX_PATH {
            let start = display_path(&item.path[..64]).to_string();
            let message = format!("{start}…: a path of {} bytes, the most is {MAX_PATH}", item.path.len());
            return Err(Error::invalid(message).with_help("is the archive damaged?"));
        }
        let xattrs = item.metadata.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.bytes += (item.path.len() + xattrs) as u64;
        let nodes = (self.builder.tree.arena_len() - self.nodes_before).max(self.targets.len());
        if nodes as u64 * NODE + self.bytes <= MAX_MEMORY {
            return Ok(());
        }
        let message = format!("more names and attributes than fit into {} MiB of memory", MAX_MEMORY >> 20);
        Err(Error::invalid(message).with_help("is it the right archive?"))
    }

    fn path(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() { self.at.to_vec() } else { join_path(self.at, path) }
    }

    fn node(&mut self, own: &[u8], path: &[u8], mut node: Node, left_out: bool) -> Result<(), Error> {
        let is_directory = node.kind() == Kind::Directory;
        node.metadata = self.metadata(&node, path)?;
        if left_out {
            if !is_directory {
                self.targets.insert(own.to_vec(), Target::LeftOut(node));
            }
            return Ok(());
        }
        let id = match self.builder.parent(path, self.origin)? {
            Some(spot) => self.builder.put(spot, node, self.origin)?,
            None if is_directory => {
                self.builder.replace_metadata(Tree::ROOT, node.metadata, self.origin)?;
                Tree::ROOT
            }
            None => return Err(Error::invalid("/: the root of the image can only be a directory")),
        };
        if !is_directory {
            self.targets.insert(own.to_vec(), Target::Here(id));
        }
        Ok(())
    }

    fn metadata(&mut self, node: &Node, path: &[u8]) -> Result<Metadata, Error> {
        let (kind, old) = (node.kind(), &node.metadata);
        let xattrs = self.xattrs(&old.xattrs, path);
        let chain = &self.builder.chain;
        Ok(Metadata {
            // Linux knows no mode of symlinks: they show as 0777.
            permissions: if kind == Kind::Symlink { 0o777 } else { chain.permissions(kind, old.permissions) },
            uid: chain.uid(old.uid, path)?,
            gid: chain.gid(old.gid, path)?,
            mtime: chain.mtime(old.mtime),
            xattrs,
        })
    }

    fn xattrs(&mut self, xattrs: &Xattrs, path: &[u8]) -> Xattrs {
        let policy = self.builder.chain.xattrs();
        let mut kept = Xattrs::new();
        for (name, value) in xattrs.iter().filter(|_| policy != XattrPolicy::None) {
            if wants_xattr(policy, name) {
                kept.insert(name.clone(), value.clone());
            } else {
                self.foreign_xattrs.entry(name.clone()).or_insert_with(|| (0, path.to_vec())).0 += 1;
            }
        }
        kept
    }

    fn link(&mut self, own: &[u8], path: &[u8], target: &[u8], left_out: bool) -> Result<(), Error> {
        if left_out {
            return Ok(());
        }
        let id = match self.targets.get(target) {
            Some(Target::Here(id)) => *id,
            Some(Target::LeftOut(node)) => {
                let node = node.clone();
                let id = self.put(path, node)?;
                self.targets.insert(target.to_vec(), Target::Here(id));
                self.targets.insert(own.to_vec(), Target::Here(id));
                return Ok(());
            }
            None => self.elsewhere(path, target)?,
        };
        let known = if self.builder.chain.hard_links() {
            let spot = self.spot(path)?;
            self.builder.put_link(spot, id, self.origin)?;
            id
        } else {
            let copy = self.builder.tree.node(id);
            self.put(path, copy)?
        };
        self.targets.insert(own.to_vec(), Target::Here(known));
        Ok(())
    }

    /// A target that the archive does not have may have come with an earlier source.
    fn elsewhere(&self, path: &[u8], target: &[u8]) -> Result<NodeId, Error> {
        let tree = &self.builder.tree;
        let target = self.path(target);
        let shown = (display_path(path), display_path(&target));
        match tree.resolve(&target) {
            Some(id) if !tree.is_directory(id) => Ok(id),
            Some(_) => {
                Err(Error::invalid(format!("{}: hard link to {}, which is a directory", shown.0, shown.1))
                    .with_help("no file system has hard links to directories: make the archive again"))
            }
            None => {
                Err(Error::invalid(format!("{}: hard link to {}, and there is nothing", shown.0, shown.1))
                    .with_help("the archive is not whole, or its entries are out of order: make it again"))
            }
        }
    }

    fn spot<'p>(&mut self, path: &'p [u8]) -> Result<Spot<'p>, Error> {
        let spot = self.builder.parent(path, self.origin)?;
        spot.ok_or_else(|| Error::invalid("/: the root of the image can only be a directory"))
    }

    fn put(&mut self, path: &[u8], node: Node) -> Result<NodeId, Error> {
        let spot = self.spot(path)?;
        self.builder.put(spot, node, self.origin)
    }

    /// Says which attributes were left behind.
    pub(super) fn finish(self) {
        for (name, (count, first)) in self.foreign_xattrs {
            let name = String::from_utf8_lossy(&name).into_owned();
            let hint =
                if name.starts_with("system.posix_acl_") { "; xattrs = \"acl\" keeps them" } else { "" };
            let first = display_path(&first);
            let message = format!("xattr {name} left behind on {count} nodes, first {first}{hint}");
            let place = Some(self.builder.place(self.origin));
            self.builder.note(Severity::Warning, message, place);
        }
    }
}
