//! The arena of nodes and what can be done to it.

use std::fmt;

use crate::name::check_name;
use crate::{Directory, Node, NodeKind, Timestamp, TreeError, Walk};

/// Name of a node within its [`Tree`]; meaningless in another tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Position in the arena: 0 is the root. Below [`Tree::arena_len`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A file tree. Always has a root directory. A node that no directory names any more stays in the arena, unseen
/// by [`Tree::walk`], until the tree is dropped.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// The root directory.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of one root directory: mode 0755, `root:root`, time 0.
    #[must_use]
    pub fn new() -> Self {
        Tree { nodes: vec![Node::directory(0o755)] }
    }

    /// The node of that id.
    ///
    /// # Panics
    /// When the id is of another, larger tree.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The node of that id, to be changed. A directory's entries are changed by [`Tree::insert`], [`Tree::link`]
    /// and [`Tree::unlink`].
    ///
    /// # Panics
    /// When the id is of another, larger tree.
    #[must_use]
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// The root directory's node.
    #[must_use]
    pub fn root(&self) -> &Node {
        self.node(Self::ROOT)
    }

    /// Nodes in the arena, unlinked ones included: an upper bound for tables indexed by [`NodeId::index`].
    #[must_use]
    pub fn arena_len(&self) -> usize {
        self.nodes.len()
    }

    /// Puts a new node into a directory under that name.
    ///
    /// # Errors
    /// [`TreeError::BadName`], [`TreeError::Exists`], [`TreeError::NotADirectory`] when `directory` is none,
    /// [`TreeError::TooManyNodes`].
    pub fn insert(&mut self, directory: NodeId, name: &[u8], node: Node) -> Result<NodeId, TreeError> {
        let id = NodeId(u32::try_from(self.nodes.len()).map_err(|_| TreeError::TooManyNodes)?);
        self.add_entry(directory, name, id)?;
        self.nodes.push(node);
        Ok(id)
    }

    /// Gives an existing node one more name: a hard link.
    ///
    /// # Errors
    /// As [`Tree::insert`], and [`TreeError::LinkToDirectory`].
    pub fn link(&mut self, directory: NodeId, name: &[u8], target: NodeId) -> Result<(), TreeError> {
        if self.node(target).entries().is_some() {
            return Err(TreeError::LinkToDirectory);
        }
        self.add_entry(directory, name, target)
    }

    fn add_entry(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> Result<(), TreeError> {
        check_name(name)?;
        let entries = self.entries_mut(directory)?;
        if entries.contains_key(name) {
            return Err(TreeError::Exists { name: name.to_vec() });
        }
        entries.insert(name.into(), id);
        Ok(())
    }

    fn entries_mut(&mut self, directory: NodeId) -> Result<&mut Directory, TreeError> {
        match &mut self.node_mut(directory).kind {
            NodeKind::Directory(entries) => Ok(entries),
            _ => Err(TreeError::NotADirectory { path: Vec::new() }),
        }
    }

    /// Removes an entry (with everything below it, when it is a directory) and returns the node it named.
    pub fn unlink(&mut self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.entries_mut(directory).ok()?.remove(name)
    }

    /// Lets the entries of `directory` take as little memory as they can. Worth it where all have come, in order.
    pub fn compact(&mut self, directory: NodeId) {
        if let Ok(entries) = self.entries_mut(directory) {
            // Made at once, the map's nodes are full; grown entry by entry they are half full.
            *entries = std::mem::take(entries).into_iter().collect();
        }
    }

    /// The node that `directory` has under `name`.
    #[must_use]
    pub fn lookup(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(directory).entries()?.get(name).copied()
    }

    /// The node at a path from the root. Empty components and `.` are skipped; `..` and symlinks are not followed.
    #[must_use]
    pub fn resolve(&self, path: &[u8]) -> Option<NodeId> {
        path.split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .try_fold(Self::ROOT, |directory, name| self.lookup(directory, name))
    }

    /// Every name in the tree, depth first, parents before children, entries in byte order: the order in which
    /// everything here works, so that images do not depend on the host's directory order.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self)
    }

    /// How many names each node has, by [`NodeId::index`]; 0 for one that is no longer in the tree, and 1 for the
    /// root. Directories' `.` and `..` are not counted: formats differ in that.
    #[must_use]
    pub fn name_counts(&self) -> Vec<u32> {
        let mut counts = vec![0u32; self.nodes.len()];
        self.walk().for_each(|entry| counts[entry.id.index()] += 1);
        counts
    }

    /// The newest modification time of all nodes in the tree.
    #[must_use]
    pub fn newest_mtime(&self) -> Timestamp {
        self.walk().map(|entry| entry.node.metadata.mtime).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Content;

    fn file() -> Node {
        Node::file(0o644, Content::empty())
    }

    #[test]
    fn a_hard_link_is_a_second_name() {
        let mut tree = Tree::new();
        let bin = tree.insert(Tree::ROOT, b"bin", Node::directory(0o755)).unwrap();
        let sh = tree.insert(bin, b"sh", file()).unwrap();
        tree.link(Tree::ROOT, b"shell", sh).unwrap();
        assert_eq!(tree.resolve(b"/shell"), Some(sh));
        assert_eq!(tree.resolve(b"bin//./sh"), Some(sh));
        assert_eq!(tree.name_counts(), [1, 1, 2]);
        assert_eq!(tree.unlink(Tree::ROOT, b"bin"), Some(bin));
        assert_eq!(tree.name_counts(), [1, 0, 1]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut tree = Tree::new();
        let dir = tree.insert(Tree::ROOT, b"d", Node::directory(0o755)).unwrap();
        let f = tree.insert(Tree::ROOT, b"f", file()).unwrap();
        assert!(matches!(tree.link(Tree::ROOT, b"x", dir), Err(TreeError::LinkToDirectory)));
        assert!(matches!(tree.insert(Tree::ROOT, b"f", file()), Err(TreeError::Exists { .. })));
        assert!(matches!(tree.insert(f, b"x", file()), Err(TreeError::NotADirectory { .. })));
        assert!(matches!(tree.insert(dir, b"..", file()), Err(TreeError::BadName { .. })));
        assert_eq!(tree.arena_len(), 3);
    }
}
