//! The index in memory: every key with the place of its node.

use std::collections::{BTreeMap, HashSet};

use zerocopy::FromBytes;

use super::input::{Input, fixed};
use super::limits::Budget;
use super::superblock::{Facts, Master};
use super::{Place, ReadError};
use crate::format::{Branch, DentNode, IdxNode, Key, KeyType, MAX_LEVELS, MAX_NAME, NodeType, aligned};

/// Memory of one key, bytes, roughly.
const LEAF_COST: u64 = 72;
/// Memory of one index node that is remembered, bytes, roughly.
const NODE_COST: u64 = 32;

/// Where a node of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) place: Place,
    pub(super) len: u32,
}

/// What the index has under one key.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    One(Leaf),
    /// Entries whose names have the same hash, by name.
    Many(BTreeMap<Vec<u8>, Leaf>),
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) slots: BTreeMap<Key, Slot>,
    /// Bytes of index nodes, each rounded up to 8.
    pub(super) size: u64,
    /// Index nodes, by place.
    nodes: HashSet<Place>,
}

/// Gets every node that is met: place, length, whether it is one of the index.
pub(super) type Visitor<'a> = &'a mut dyn FnMut(Place, u32, bool);

/// A node that is to be read: its place and length, what its level must be, and its key as the branch has it.
struct Pending {
    place: Place,
    len: u32,
    level: Option<u32>,
    key: Option<Key>,
}

impl Index {
    /// Reads the index of the last commit.
    pub(super) fn read(
        facts: &Facts,
        master: &Master,
        input: &Input,
        budget: &mut Budget,
        visit: Visitor<'_>,
    ) -> Result<Self, ReadError> {
        let node = &master.node;
        let place = Place { lnum: node.root_lnum.get(), offs: node.root_offs.get() };
        let mut pending = vec![Pending { place, len: node.root_len.get(), level: None, key: None }];
        let mut reader = IndexReader { facts, input, budget, index: Index::default(), last: None };
        while let Some(next) = pending.pop() {
            reader.node(&next, &mut pending, visit).map_err(|error| error.at(next.place))?;
        }
        Ok(reader.index)
    }

    /// The node of that key; for keys that only one node can have.
    pub(super) fn get(&self, key: Key) -> Option<Leaf> {
        match self.slots.get(&key)? {
            Slot::One(leaf) => Some(*leaf),
            Slot::Many(leaves) => leaves.values().next().copied(),
        }
    }

    /// All nodes of that inode and kind, in order.
    pub(super) fn range(&self, inum: u32, key_type: KeyType) -> impl Iterator<Item = (Key, Leaf)> + '_ {
        let (low, high) = Key::range(inum, key_type);
        self.slots.range(low..=high).flat_map(|(&key, slot)| {
            let leaves: Vec<Leaf> = match slot {
                Slot::One(leaf) => vec![*leaf],
                Slot::Many(leaves) => leaves.values().copied().collect(),
            };
            leaves.into_iter().map(move |leaf| (key, leaf))
        })
    }
}

struct IndexReader<'a> {
    facts: &'a Facts,
    input: &'a Input,
    budget: &'a mut Budget,
    index: Index,
    /// The last leaf.
    last: Option<Key>,
}

impl IndexReader<'_> {
    fn node(
        &mut self,
        at: &Pending,
        pending: &mut Vec<Pending>,
        visit: Visitor<'_>,
    ) -> Result<(), ReadError> {
        self.budget.charge(NODE_COST, "the index")?;
        if !self.facts.is_main(at.place.lnum) {
            return Err(ReadError::corrupt("index node", "a LEB of the main area", at.place.lnum));
        }
        // A node that two branches share could make the index larger than any image.
        if !self.index.nodes.insert(at.place) {
            return Err(ReadError::corrupt("index node", "one branch to each", "a second one"));
        }
        let bytes = self.input.node(at.place, at.len, NodeType::Idx)?;
        visit(at.place, at.len, true);
        self.index.size = self.index.size.saturating_add(aligned(at.len).into());
        let head = fixed::<IdxNode>(&bytes, "index node")?;
        let (count, level) = (u32::from(head.child_cnt.get()), u32::from(head.level.get()));
        self.check_head(at, count, level)?;
        let branches = bytes.get(IdxNode::LEN as usize..).unwrap_or_default();
        let mut children = Vec::new();
        for branch in branches.chunks_exact(Branch::LEN as usize) {
            let Ok((branch, _)) = Branch::ref_from_prefix(branch) else { break };
            let (key, place) =
                (Key::from_bytes(branch.key), Place { lnum: branch.lnum.get(), offs: branch.offs.get() });
            let leaf = Leaf { place, len: branch.len.get() };
            if let (Some(of_parent), true) = (at.key, children.is_empty())
                && key < of_parent
            {
                let expected = format!("keys from {of_parent} on, as the branch says");
                return Err(ReadError::corrupt("index node", expected, key));
            }
            if level == 0 {
                self.leaf(key, leaf, visit)?;
            }
            children.push(Pending { place, len: leaf.len, level: level.checked_sub(1), key: Some(key) });
        }
        if level > 0 {
            pending.extend(children.into_iter().rev());
        }
        Ok(())
    }

    fn check_head(&self, at: &Pending, count: u32, level: u32) -> Result<(), ReadError> {
        let fanout = self.facts.sb.fanout.get();
        let len = IdxNode::LEN.saturating_add(count.saturating_mul(Branch::LEN));
        if count == 0 || count > fanout || len != at.len {
            let expected = format!("1 to {fanout} branches, of {} bytes each", Branch::LEN);
            return Err(ReadError::corrupt("index node", expected, format!("{count} in {} bytes", at.len)));
        }
        if at.level.is_some_and(|expected| expected != level) || level >= MAX_LEVELS {
            let expected = at.level.map_or_else(|| format!("below {MAX_LEVELS}"), |level| level.to_string());
            return Err(ReadError::corrupt("level of the index node", expected, level));
        }
        Ok(())
    }

    fn leaf(&mut self, key: Key, leaf: Leaf, visit: Visitor<'_>) -> Result<(), ReadError> {
        self.budget.charge(LEAF_COST, "the index")?;
        let Some(key_type) = key.key_type() else {
            return Err(ReadError::corrupt("index node", "a key of a known kind", key));
        };
        if !self.facts.is_main(leaf.place.lnum) {
            let expected = "a node in the main area";
            return Err(ReadError::corrupt(key.to_string(), expected, leaf.place));
        }
        let hashed = matches!(key_type, KeyType::Dent | KeyType::Xent);
        if self.last.is_some_and(|last| key < last || key == last && !hashed) {
            return Err(ReadError::corrupt("index node", "keys in rising order", key));
        }
        self.last = Some(key);
        visit(leaf.place, leaf.len, false);
        if hashed && self.index.slots.contains_key(&key) {
            let name = entry_name(self.input, key, leaf)?;
            return add_entry(&mut self.index, self.input, self.budget, key, leaf, name, false);
        }
        self.index.slots.insert(key, Slot::One(leaf));
        Ok(())
    }
}

/// Adds an entry under its name; `replace` says whether the name may be there already.
pub(super) fn add_entry(
    index: &mut Index,
    input: &Input,
    budget: &mut Budget,
    key: Key,
    leaf: Leaf,
    name: Vec<u8>,
    replace: bool,
) -> Result<(), ReadError> {
    budget.charge(LEAF_COST.saturating_add(name.len() as u64), "the index")?;
    let Some(slot) = index.slots.get_mut(&key) else {
        index.slots.insert(key, Slot::One(leaf));
        return Ok(());
    };
    let names = by_name(slot, input, key)?;
    if names.insert(name, leaf).is_some() && !replace {
        return Err(
            ReadError::corrupt(key.to_string(), "different names", "the same name twice").at(leaf.place)
        );
    }
    Ok(())
}

/// Removes an entry by its name.
pub(super) fn remove_entry(index: &mut Index, input: &Input, key: Key, name: &[u8]) -> Result<(), ReadError> {
    let Some(slot) = index.slots.get_mut(&key) else { return Ok(()) };
    let names = by_name(slot, input, key)?;
    names.remove(name);
    if names.is_empty() {
        index.slots.remove(&key);
    }
    Ok(())
}

fn by_name<'a>(
    slot: &'a mut Slot,
    input: &Input,
    key: Key,
) -> Result<&'a mut BTreeMap<Vec<u8>, Leaf>, ReadError> {
    if let Slot::One(leaf) = *slot {
        let name = entry_name(input, key, leaf)?;
        *slot = Slot::Many(BTreeMap::from([(name, leaf)]));
    }
    match slot {
        Slot::Many(names) => Ok(names),
        Slot::One(_) => unreachable!("it was replaced above"),
    }
}

fn entry_name(input: &Input, key: Key, leaf: Leaf) -> Result<Vec<u8>, ReadError> {
    let node_type = if key.key_type() == Some(KeyType::Xent) { NodeType::Xent } else { NodeType::Dent };
    let bytes = input.node(leaf.place, leaf.len, node_type)?;
    name_of(&bytes).map(<[u8]>::to_vec).map_err(|error| error.at(leaf.place))
}

/// The name in an entry node.
pub(super) fn name_of(bytes: &[u8]) -> Result<&[u8], ReadError> {
    let what = NodeType::Dent.name();
    let nlen = usize::from(fixed::<DentNode>(bytes, what)?.nlen.get());
    let rest = bytes.get(DentNode::LEN as usize..).unwrap_or_default();
    match rest.split_at_checked(nlen) {
        Some((name, [0])) if nlen <= MAX_NAME => Ok(name),
        _ => {
            let expected = format!("a name of 1 to {MAX_NAME} bytes and a NUL in {} bytes", rest.len());
            Err(ReadError::corrupt(what, expected, format!("{nlen} bytes")))
        }
    }
}
