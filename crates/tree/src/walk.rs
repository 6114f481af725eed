//! Iteration over every name of a tree, without recursion.

use crate::{Entries, Node, NodeId, Tree};

/// One name of the tree.
#[derive(Debug, Clone)]
pub struct WalkEntry {
    /// Path from the root, no leading `/`; the root itself is the empty path.
    pub path: Vec<u8>,
    /// Node that this name names.
    pub id: NodeId,
    /// Directory that holds the name; the root for the root itself.
    pub parent: NodeId,
    /// How many names of that directory came before.
    pub position: usize,
    /// The node.
    pub node: Node,
    /// False when the walk has met this node under another name before: a further hard link.
    pub first: bool,
}

/// Iterator of [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    root_pending: bool,
    /// Nodes of several names that were met, a bit each, by [`NodeId::index`]. Empty while there are none.
    seen: Vec<u64>,
    /// Path of the innermost directory.
    path: Vec<u8>,
    stack: Vec<Level<'a>>,
}

#[derive(Debug)]
struct Level<'a> {
    directory: NodeId,
    entries: Entries<'a>,
    position: usize,
    /// Bytes of the path of the directory that this one is in.
    parent_len: usize,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(tree: &'a Tree) -> Self {
        Walk { tree, root_pending: true, seen: Vec::new(), path: Vec::new(), stack: Vec::new() }
    }

    fn visit(&mut self, name: &[u8], parent: NodeId, position: usize, id: NodeId) -> WalkEntry {
        let (node, linked) = self.tree.walked(id);
        let parent_len = self.path.len();
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let path = self.path.clone();
        if node.is_directory() {
            let entries = self.tree.entries(id);
            self.stack.push(Level { directory: id, entries, position: 0, parent_len });
        } else {
            self.path.truncate(parent_len);
        }
        let first = !linked || self.is_first(id);
        WalkEntry { path, id, parent, position, node, first }
    }

    fn is_first(&mut self, id: NodeId) -> bool {
        let (word, bit) = (id.index() / 64, 1 << (id.index() % 64));
        if self.seen.is_empty() {
            self.seen.resize(self.tree.arena_len().div_ceil(64), 0);
        }
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }
}

impl Iterator for Walk<'_> {
    type Item = WalkEntry;

    fn next(&mut self) -> Option<WalkEntry> {
        if std::mem::take(&mut self.root_pending) {
            return Some(self.visit(b"", Tree::ROOT, 0, Tree::ROOT));
        }
        loop {
            let level = self.stack.last_mut()?;
            if let Some((name, id)) = level.entries.next() {
                let (parent, position) = (level.directory, level.position);
                level.position += 1;
                return Some(self.visit(&name, parent, position, id));
            }
            self.path.truncate(level.parent_len);
            self.stack.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Content;

    #[test]
    fn parents_come_first_and_names_in_byte_order() {
        let mut tree = Tree::new();
        let b = tree.insert(Tree::ROOT, b"b", Node::directory(0o755)).unwrap();
        let f = tree.insert(b, b"f", Node::file(0o644, Content::empty())).unwrap();
        tree.link(Tree::ROOT, b"a", f).unwrap();
        tree.insert(Tree::ROOT, b"b.d", Node::directory(0o755)).unwrap();
        let seen: Vec<_> = tree.walk().map(|e| (String::from_utf8(e.path).unwrap(), e.first)).collect();
        let expected = [("", true), ("a", true), ("b", true), ("b/f", false), ("b.d", true)];
        assert_eq!(seen, expected.map(|(path, first)| (path.to_owned(), first)));
    }
}
