//! All nodes and what can be done to them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::entries::{self, Entries, Pieces, Run};
use crate::heap::{Cursor, Position, put_bytes};
use crate::name::check_name;
use crate::record::{Record, Records};
use crate::spill::Column;
use crate::{Content, Kind, Name, Node, Timestamp, TreeError, Walk};

/// Name of a node within its [`Tree`]; meaningless in another tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Position in the order in which nodes came: 0 is the root. Below [`Tree::arena_len`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The number that [`NodeId::from_number`] makes an id of.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The reverse of [`NodeId::number`], for tables of ids.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        NodeId(number)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// In the number of an entry: it is a further name of a node. The rest is its index among those.
const FURTHER: u32 = 1 << 31;
/// Nodes that are kept unpacked at the same time because they have been changed.
const CHANGED: usize = 1024;
/// Directories that may grow at the same time; of more than these the small ones are made compact.
const GROWING: usize = 4096;
/// Entries of what is a small directory.
const SMALL: usize = 64;

/// A file tree. Always has a root directory. A node that no directory names any more stays, unseen by [`Tree::walk`],
/// until the tree is dropped.
///
/// A node takes about 35 bytes and those of its name; those in host files as much again as in [`Content`] if their names
/// or times differ. A tree made by [`Tree::spilling`] keeps what is too much for some 80 MiB in a temporary file.
#[derive(Debug, Clone)]
pub struct Tree {
    records: Records,
    /// Where the record of each node is.
    nodes: Column,
    /// Where the record of each further name is: the node, and the name.
    further: Column,
    /// Nodes that have been changed, and are not as their records say.
    changed: HashMap<u32, Node>,
    /// Entries of directories that are not as the records say.
    growing: HashMap<u32, Pieces>,
    /// How many of these there may be before the small ones are made compact.
    growing_limit: usize,
    /// Where the temporary file goes, if there is to be one.
    folder: Option<PathBuf>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// The root directory.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of one root directory: mode 0755, `root:root`, time 0. It is in memory, however large it gets.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Records::default(), Column::default(), Column::default(), None)
    }

    /// As [`Tree::new`], but a tree that gets large uses files without a name in `folder`. They are gone with the tree,
    /// also when the program is killed.
    #[must_use]
    pub fn spilling(folder: &Path) -> Self {
        let column = || Column::spilling(folder);
        Self::with(Records::spilling(folder), column(), column(), Some(folder.to_owned()))
    }

    fn with(mut records: Records, mut nodes: Column, further: Column, folder: Option<PathBuf>) -> Self {
        let root = records.add(b"", &Node::directory(0o755));
        let first = root.and_then(|root| nodes.push(root.0));
        first.unwrap_or_else(|_| unreachable!("the first bytes stay in memory"));
        let (changed, growing) = (HashMap::new(), HashMap::new());
        Tree { records, nodes, further, changed, growing, growing_limit: GROWING, folder }
    }

    fn position(&self, id: NodeId) -> Position {
        assert!(id.index() < self.nodes.len(), "{id:?} is of another, larger tree");
        Position(self.nodes.get(id.index()))
    }

    fn record(&self, id: NodeId) -> Record<'_> {
        self.records.get(self.position(id))
    }

    /// The node of that id, unpacked.
    ///
    /// # Panics
    /// When the id is of another, larger tree, or a temporary file cannot be read.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Node {
        match self.changed.get(&id.0) {
            Some(node) => node.clone(),
            None => self.records.node(&self.record(id)),
        }
    }

    /// What the node of that id is: cheaper than all of [`Tree::node`].
    ///
    /// # Panics
    /// As [`Tree::node`].
    #[must_use]
    pub fn kind(&self, id: NodeId) -> Kind {
        self.changed.get(&id.0).map_or_else(|| self.record(id).kind(), Node::kind)
    }

    /// The data of the node of that id, when it is a regular file.
    ///
    /// # Panics
    /// As [`Tree::node`].
    #[must_use]
    pub fn content(&self, id: NodeId) -> Option<Content> {
        self.node(id).into_content()
    }

    /// Whether the node of that id is a directory.
    ///
    /// # Panics
    /// As [`Tree::node`].
    #[must_use]
    pub fn is_directory(&self, id: NodeId) -> bool {
        self.kind(id) == Kind::Directory
    }

    /// The node of that id, and whether it has, or had, more than one name.
    pub(crate) fn walked(&self, id: NodeId) -> (Node, bool) {
        let record = self.record(id);
        let node = self.changed.get(&id.0).cloned().unwrap_or_else(|| self.records.node(&record));
        (node, record.linked())
    }

    /// The node of that id, to be changed. A directory's entries are changed by [`Tree::insert`], [`Tree::link`]
    /// and [`Tree::unlink`].
    ///
    /// # Panics
    /// As [`Tree::node`].
    #[must_use]
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        let Tree { records, nodes, changed, .. } = self;
        assert!(id.index() < nodes.len(), "{id:?} is of another, larger tree");
        let packed = || records.node(&records.get(Position(nodes.get(id.index()))));
        changed.entry(id.0).or_insert_with(packed)
    }

    /// The root directory's node.
    #[must_use]
    pub fn root(&self) -> Node {
        self.node(Self::ROOT)
    }

    /// The name that the node was put under: of a directory its only one, of the root none.
    ///
    /// # Panics
    /// As [`Tree::node`].
    #[must_use]
    pub fn first_name(&self, id: NodeId) -> Name {
        self.record(id).name().into()
    }

    /// Nodes in the arena, unlinked ones included: an upper bound for tables indexed by [`NodeId::index`].
    #[must_use]
    pub fn arena_len(&self) -> usize {
        self.nodes.len()
    }

    /// A table that keeps a number for each node, and uses a file where this tree would.
    #[must_use]
    pub fn column(&self) -> Column {
        self.folder.as_deref().map_or_else(Column::default, Column::spilling)
    }

    /// Puts a new node into a directory under that name.
    ///
    /// # Errors
    /// [`TreeError::BadName`], [`TreeError::Exists`], [`TreeError::NotADirectory`] when `directory` is none,
    /// [`TreeError::TooManyNodes`], [`TreeError::Spill`].
    pub fn insert(&mut self, directory: NodeId, name: &[u8], node: Node) -> Result<NodeId, TreeError> {
        self.pack(directory)?;
        let place = self.free_place(directory, name)?;
        let number = number_below_further(self.nodes.len())?;
        let position = self.records.add(name, &node)?;
        self.nodes.push(position.0)?;
        self.put(directory, place, number);
        Ok(NodeId(number))
    }

    /// Gives an existing node one more name: a hard link.
    ///
    /// # Errors
    /// As [`Tree::insert`], and [`TreeError::LinkToDirectory`].
    pub fn link(&mut self, directory: NodeId, name: &[u8], target: NodeId) -> Result<(), TreeError> {
        if self.is_directory(target) {
            return Err(TreeError::LinkToDirectory);
        }
        let place = self.free_place(directory, name)?;
        let number = FURTHER | number_below_further(self.further.len())?;
        let mut record = target.0.to_le_bytes().to_vec();
        put_bytes(name, &mut record);
        let position = self.records.heap_mut().add(&record)?;
        self.further.push(position.0)?;
        self.records.set_linked(self.position(target))?;
        self.put(directory, place, number);
        Ok(())
    }

    /// Where a new entry of that name goes. The directory is one that grows from then on.
    fn free_place(&mut self, directory: NodeId, name: &[u8]) -> Result<entries::Place, TreeError> {
        check_name(name)?;
        if !self.is_directory(directory) {
            return Err(TreeError::NotADirectory { path: Vec::new() });
        }
        self.grow(directory);
        let found = self.growing[&directory.0].find(|number| self.order(number, name));
        found.err().ok_or_else(|| TreeError::Exists { name: name.to_vec() })
    }

    fn put(&mut self, directory: NodeId, place: entries::Place, number: u32) {
        self.growing.entry(directory.0).or_default().insert(place, number);
    }

    fn grow(&mut self, directory: NodeId) {
        if !self.growing.contains_key(&directory.0) {
            let pieces = Pieces::new(&self.packed_runs(directory));
            self.growing.insert(directory.0, pieces);
        }
    }

    /// How the name of an entry stands to `name`.
    fn order(&self, number: u32, name: &[u8]) -> Ordering {
        if number & FURTHER == 0 {
            return self.record(NodeId(number)).name().cmp(name);
        }
        let record = self.records.heap().get(Position(self.further.get((number & !FURTHER) as usize)));
        Cursor(&record[4..]).bytes().cmp(name)
    }

    /// Name and node of an entry.
    pub(crate) fn entry(&self, number: u32) -> (Name, NodeId) {
        if number & FURTHER == 0 {
            let id = NodeId(number);
            return (self.first_name(id), id);
        }
        let record = self.records.heap().get(Position(self.further.get((number & !FURTHER) as usize)));
        let mut cursor = Cursor(&record);
        let id = NodeId(cursor.fixed());
        (cursor.bytes().into(), id)
    }

    fn packed_runs(&self, directory: NodeId) -> Vec<Run> {
        let record = self.record(directory);
        // What is a directory since it was changed has no entries that were packed.
        if record.kind() != Kind::Directory || record.entries() == Position::NONE {
            return Vec::new();
        }
        entries::decode(&self.records.heap().get(record.entries()))
    }

    /// Names of a directory in byte order, each with its node; none of what is no directory.
    ///
    /// # Panics
    /// As [`Tree::node`].
    #[must_use]
    pub fn entries(&self, directory: NodeId) -> Entries<'_> {
        let runs = match self.growing.get(&directory.0) {
            _ if !self.is_directory(directory) => Vec::new(),
            Some(pieces) => pieces.runs(),
            None => self.packed_runs(directory),
        };
        Entries::new(self, runs)
    }

    /// Removes an entry (with everything below it, when it is a directory) and returns the node it named.
    pub fn unlink(&mut self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        if !self.is_directory(directory) {
            return None;
        }
        self.grow(directory);
        let pieces = &self.growing[&directory.0];
        let place = pieces.find(|number| self.order(number, name)).ok()?;
        let (_, id) = self.entry(pieces.get(place));
        self.growing.entry(directory.0).or_default().remove(place);
        Some(id)
    }

    /// Lets the entries of `directory` take as little memory as they can. Worth it where all have come.
    ///
    /// # Errors
    /// [`TreeError::Spill`], [`TreeError::TooManyNodes`].
    pub fn compact(&mut self, directory: NodeId) -> Result<(), TreeError> {
        // What was a directory when it grew may be none any more.
        if let Some(pieces) = self.growing.get(&directory.0)
            && self.record(directory).kind() == Kind::Directory
        {
            let runs = entries::encode(&pieces.runs());
            let entries =
                if runs.is_empty() { Position::NONE } else { self.records.heap_mut().add(&runs)? };
            self.records.set_entries(self.position(directory), entries)?;
            self.growing.remove(&directory.0);
        }
        Ok(())
    }

    /// Packs what was changed, and directories, when there are many of them; but not `busy`.
    fn pack(&mut self, busy: NodeId) -> Result<(), TreeError> {
        if self.changed.len() > CHANGED {
            for (number, node) in std::mem::take(&mut self.changed) {
                let id = NodeId(number);
                let position = self.records.replace(self.position(id), &node)?;
                self.nodes.set(id.index(), position.0)?;
            }
        }
        if self.growing.len() > self.growing_limit {
            let small = self.growing.iter().filter(|(_, pieces)| pieces.len() <= SMALL);
            let small: Vec<_> = small.map(|(&number, _)| NodeId(number)).filter(|&id| id != busy).collect();
            small.into_iter().try_for_each(|directory| self.compact(directory))?;
            self.growing_limit = GROWING.max(2 * self.growing.len());
        }
        Ok(())
    }

    /// The node that `directory` has under `name`.
    #[must_use]
    pub fn lookup(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        if !self.is_directory(directory) {
            return None;
        }
        let order = |number| self.order(number, name);
        let number = match self.growing.get(&directory.0) {
            Some(pieces) => pieces.get(pieces.find(order).ok()?),
            None => entries::find(&self.packed_runs(directory), order)?,
        };
        Some(self.entry(number).1)
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
        let mut counts = vec![0u32; self.arena_len()];
        self.walk().for_each(|entry| counts[entry.id.index()] += 1);
        counts
    }

    /// The newest modification time of all nodes in the tree.
    #[must_use]
    pub fn newest_mtime(&self) -> Timestamp {
        self.walk().map(|entry| entry.node.metadata.mtime).max().unwrap_or_default()
    }
}

/// The number of an entry, which leaves the highest bit to [`FURTHER`].
fn number_below_further(index: usize) -> Result<u32, TreeError> {
    u32::try_from(index).ok().filter(|number| number & FURTHER == 0).ok_or(TreeError::TooManyNodes)
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
