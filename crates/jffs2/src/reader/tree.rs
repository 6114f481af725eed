//! Inodes and directory entries to a [`Tree`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use flashwright_tree::{Finding, Findings, Kind, Node, NodeId, Tree, TreeError, display_path};

use super::ReadError;
use super::data::Store;
use super::index::{DirentNode, Index};
use super::inode::{Builder, live};
use super::limits::Budget;
use crate::format::{ROOT_INO, kind_of_dirent_type};

/// Memory of one node and one name beyond what they point to, bytes, roughly.
const NODE_COST: u64 = 260;
const NAME_COST: u64 = 80;
/// Longest path that is followed, bytes: the kernel's PATH_MAX, which no program can pass.
const MAX_PATH: usize = 4096;

/// Makes the tree, and with `salvage` a `lost+found` in it; notes what is wrong.
pub(super) fn load(
    index: &Index,
    store: &Arc<Store>,
    budget: &mut Budget,
    salvage: bool,
) -> Result<(Tree, Findings), ReadError> {
    let mut loader = Loader {
        builder: Builder { index, store },
        budget,
        tree: Tree::new(),
        seen: HashMap::new(),
        names: vec![Name { parent: Tree::ROOT, entry: None, path_len: 0 }],
        pending: Vec::new(),
        findings: Findings::default(),
    };
    loader.root()?;
    loader.run()?;
    if salvage {
        loader.lost_and_found()?;
    }
    Ok((loader.tree, loader.findings))
}

/// How a node came into the tree.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    parent: NodeId,
    entry: Option<&'a DirentNode>,
    path_len: usize,
}

struct Loader<'a, 'b> {
    builder: Builder<'a>,
    budget: &'b mut Budget,
    tree: Tree,
    /// What inodes became.
    seen: HashMap<u32, NodeId>,
    /// By [`NodeId::index`].
    names: Vec<Name<'a>>,
    /// Directories whose entries are still to be read. No recursion: depth is the image's choice.
    pending: Vec<(NodeId, u32)>,
    findings: Findings,
}

impl<'a> Loader<'a, '_> {
    fn root(&mut self) -> Result<(), ReadError> {
        let mut wrong = Vec::new();
        let root = self.builder.build(ROOT_INO, self.budget, &mut wrong)?;
        self.note(Tree::ROOT, wrong);
        match root {
            Some(root) if root.kind() == Kind::Directory => *self.tree.node_mut(Tree::ROOT) = root,
            Some(other) => {
                let finding = Finding::error("root inode", "a directory", other.kind().name());
                self.findings.add(finding.in_inode(ROOT_INO));
            }
            None => {}
        }
        self.seen.insert(ROOT_INO, Tree::ROOT);
        self.pending.push((Tree::ROOT, ROOT_INO));
        Ok(())
    }

    fn run(&mut self) -> Result<(), ReadError> {
        while let Some((id, ino)) = self.pending.pop() {
            for entry in live(self.builder.index, ino) {
                self.entry(id, entry)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: NodeId, entry: &'a DirentNode) -> Result<(), ReadError> {
        let name = self.builder.index.name(entry);
        self.budget.charge(NAME_COST.saturating_add(name.len() as u64), "directory entries")?;
        if let Some(&target) = self.seen.get(&entry.ino) {
            if let Err(error) = self.tree.link(directory, name, target) {
                self.refused(directory, entry, error);
            }
            return Ok(());
        }
        let path_len = self.path_len(directory).saturating_add(name.len()).saturating_add(1);
        if path_len > MAX_PATH {
            let found = format!("{path_len} bytes");
            self.about(directory, entry, Finding::error("path", format!("at most {MAX_PATH} bytes"), found));
            return Ok(());
        }
        let mut wrong = Vec::new();
        let node = self.node(entry.ino, &mut wrong)?;
        let Some(node) = node else {
            if wrong.is_empty() {
                let finding = Finding::error("directory entry", "a node of its inode", "none").damage();
                wrong.push(finding.in_inode(entry.ino));
            }
            wrong.into_iter().for_each(|finding| self.about(directory, entry, finding));
            return Ok(());
        };
        let kind = node.kind();
        match self.tree.insert(directory, name, node) {
            Err(error) => self.refused(directory, entry, error),
            Ok(id) => {
                self.names.push(Name { parent: directory, entry: Some(entry), path_len });
                self.entered(id, entry.ino, kind);
                self.note(id, wrong);
                self.check_kind(id, entry, kind);
            }
        }
        Ok(())
    }

    fn node(&mut self, ino: u32, wrong: &mut Vec<Finding>) -> Result<Option<Node>, ReadError> {
        self.budget.charge(NODE_COST, "inodes")?;
        self.builder.build(ino, self.budget, wrong)
    }

    fn entered(&mut self, id: NodeId, ino: u32, kind: Kind) {
        self.seen.insert(ino, id);
        if kind == Kind::Directory {
            self.pending.push((id, ino));
        }
    }

    fn check_kind(&mut self, id: NodeId, entry: &DirentNode, kind: Kind) {
        let said = kind_of_dirent_type(entry.kind);
        if said == Some(kind) {
            return;
        }
        let found = said.map_or_else(|| format!("type {}", entry.kind), |said| said.name().to_owned());
        let finding = Finding::error("type in the directory entry", kind.name(), found);
        let finding = finding.at(self.builder.store.absolute(entry.at)).in_inode(entry.ino);
        self.note(id, vec![finding]);
    }

    fn refused(&mut self, directory: NodeId, entry: &DirentNode, error: TreeError) {
        let found = match error {
            TreeError::LinkToDirectory => "a directory under a second name, or within itself".to_owned(),
            error => error.to_string(),
        };
        let finding = Finding::error("directory entry", "a name and node that a tree can have", found);
        self.about(directory, entry, finding.in_inode(entry.ino));
    }

    /// A finding about an entry that did not come into the tree.
    fn about(&mut self, directory: NodeId, entry: &DirentNode, finding: Finding) {
        let mut path = self.path(directory);
        path.extend_from_slice(if path.is_empty() { b"" } else { b"/" });
        path.extend_from_slice(self.builder.index.name(entry));
        self.findings.add(finding.named(path).at(self.builder.store.absolute(entry.at)));
    }

    fn note(&mut self, id: NodeId, wrong: Vec<Finding>) {
        for finding in wrong {
            let path = self.path(id);
            self.findings.add(finding.named(path));
        }
    }

    fn path_len(&self, id: NodeId) -> usize {
        self.names.get(id.index()).map_or(0, |name| name.path_len)
    }

    /// Path of a node; paths have at most [`MAX_PATH`] bytes.
    fn path(&self, mut id: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        while let Some(&Name { parent, entry: Some(entry), .. }) = self.names.get(id.index()) {
            names.push(self.builder.index.name(entry));
            id = parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Puts inodes that no entry names, not even a removed one, into `lost+found`.
    fn lost_and_found(&mut self) -> Result<(), ReadError> {
        let index = self.builder.index;
        let named: HashSet<u32> = index.dirents().iter().map(|entry| entry.ino).collect();
        self.budget.charge((named.len() as u64).saturating_mul(16), "the list of named inodes")?;
        let with_nodes = index.inodes().chunk_by(|a, b| a.ino == b.ino).filter_map(|nodes| nodes.first());
        let with_entries =
            index.dirents().chunk_by(|a, b| a.parent == b.parent).filter_map(|nodes| nodes.first());
        let inos = with_nodes.map(|node| node.ino).chain(with_entries.map(|entry| entry.parent));
        let mut place = None;
        for ino in inos.filter(|ino| !named.contains(ino)) {
            if self.seen.contains_key(&ino) {
                continue;
            }
            let mut wrong = Vec::new();
            let node = self.node(ino, &mut wrong)?;
            wrong.into_iter().for_each(|finding| self.findings.add(finding));
            let Some(node) = node else { continue };
            let directory = match place {
                Some(directory) => directory,
                None => *place.insert(self.lost_and_found_directory()),
            };
            self.put_lost(directory, ino, node)?;
        }
        Ok(())
    }

    fn put_lost(&mut self, directory: NodeId, ino: u32, node: Node) -> Result<(), ReadError> {
        let (name, kind) = (format!("#{ino}"), node.kind());
        self.budget.charge(NAME_COST, "directory entries")?;
        // The name may be taken when the image has a `lost+found` of its own.
        let Ok(id) = self.tree.insert(directory, name.as_bytes(), node) else { return Ok(()) };
        self.names.push(Name { parent: directory, entry: None, path_len: name.len().saturating_add(11) });
        self.entered(id, ino, kind);
        let path = [b"lost+found/".as_slice(), name.as_bytes()].concat();
        let found = format!("it is at {} now", display_path(&path));
        let finding = Finding::warning("inode", "a directory that names it", found);
        self.findings.add(finding.damage().in_inode(ino));
        self.run()
    }

    fn lost_and_found_directory(&mut self) -> NodeId {
        let name = b"lost+found";
        if let Some(id) = self.tree.lookup(Tree::ROOT, name)
            && self.tree.kind(id) == Kind::Directory
        {
            return id;
        }
        self.tree.unlink(Tree::ROOT, name);
        match self.tree.insert(Tree::ROOT, name, Node::directory(0o700)) {
            Ok(id) => {
                self.names.push(Name { parent: Tree::ROOT, entry: None, path_len: name.len() });
                id
            }
            Err(_) => Tree::ROOT,
        }
    }
}
