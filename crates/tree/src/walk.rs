//! Iteration over every name of a tree, without recursion.

use std::collections::btree_map;

use crate::name::join_path;
use crate::{Name, Node, NodeId, Tree};

/// One name of the tree.
#[derive(Debug, Clone)]
pub struct WalkEntry<'a> {
    /// Path from the root, no leading `/`; the root itself is the empty path.
    pub path: Vec<u8>,
    /// Node that this name names.
    pub id: NodeId,
    /// Directory that holds the name; the root for the root itself.
    pub parent: NodeId,
    /// The node.
    pub node: &'a Node,
    /// False when the walk has met this node under another name before: a further hard link.
    pub first: bool,
}

/// Iterator of [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    root_pending: bool,
    seen: Vec<bool>,
    stack: Vec<Level<'a>>,
}

#[derive(Debug)]
struct Level<'a> {
    path: Vec<u8>,
    directory: NodeId,
    entries: btree_map::Iter<'a, Name, NodeId>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Self {
        Walk { tree, root_pending: true, seen: vec![false; tree.arena_len()], stack: Vec::new() }
    }

    fn visit(&mut self, path: Vec<u8>, parent: NodeId, id: NodeId) -> WalkEntry<'a> {
        let node = self.tree.node(id);
        if let Some(entries) = node.entries() {
            self.stack.push(Level { path: path.clone(), directory: id, entries: entries.iter() });
        }
        let first = !std::mem::replace(&mut self.seen[id.index()], true);
        WalkEntry { path, id, parent, node, first }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = WalkEntry<'a>;

    fn next(&mut self) -> Option<WalkEntry<'a>> {
        if std::mem::take(&mut self.root_pending) {
            return Some(self.visit(Vec::new(), Tree::ROOT, Tree::ROOT));
        }
        loop {
            let level = self.stack.last_mut()?;
            if let Some((name, &id)) = level.entries.next() {
                let (path, parent) = (join_path(&level.path, name), level.directory);
                return Some(self.visit(path, parent, id));
            }
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
