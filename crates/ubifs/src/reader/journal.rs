//! The journal: what was written since the last commit, applied to the index in memory.
//!
//! The log names the buds, LEBs of the main area that hold nodes the index does not know yet. A bud may end in the middle
//! of a write when power was cut; what was not whole then never happened.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Index, Leaf, Slot, add_entry, name_of, remove_entry};
use super::input::{Input, Scan, ScannedNode, fixed};
use super::limits::Budget;
use super::superblock::{Facts, Master};
use super::{Place, ReadError};
use crate::format::{
    BLOCK_SIZE, CsNode, DataNode, DentNode, InoNode, Key, KeyType, LOG_LNUM, NodeType, OrphNode, RefNode,
    TrunNode, group,
};

/// Memory of one node of the journal, bytes, roughly.
const ENTRY_COST: u64 = 96;

/// A LEB of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bud {
    pub(super) lnum: u32,
    /// First byte of the journal there.
    pub(super) offs: u32,
    /// Which of the places that Linux writes to at the same time.
    head: u32,
}

/// What the journal said.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) buds: Vec<Bud>,
    /// Nodes that were applied.
    pub(super) nodes: u64,
    /// Where writing was cut off: what is wrong there.
    pub(super) torn: Vec<ReadError>,
    /// What is wrong and is not what a cut of power leaves: Linux refuses to mount this.
    pub(super) damaged: Vec<ReadError>,
    /// Sizes of files whose last data came before their inode.
    pub(super) sizes: BTreeMap<u32, u64>,
}

/// A node of the journal.
struct Entry {
    sqnum: u64,
    leaf: Leaf,
    change: Change,
}

enum Change {
    Inode {
        inum: u32,
        size: u64,
    },
    /// The inode is gone.
    Gone {
        inum: u32,
    },
    Data {
        key: Key,
        end: u64,
    },
    Truncate {
        inum: u32,
        old: u64,
        new: u64,
    },
    Name {
        key: Key,
        name: Vec<u8>,
    },
    NoName {
        key: Key,
        name: Vec<u8>,
    },
}

/// Reads the log and the buds, and applies what they say.
pub(super) fn replay(
    facts: &Facts,
    master: &Master,
    input: &Input,
    budget: &mut Budget,
    index: &mut Index,
) -> Result<Journal, ReadError> {
    let mut journal = Journal::default();
    read_log(facts, master, input, &mut journal)?;
    let mut entries = Vec::new();
    let buds = journal.buds.clone();
    for (index, &bud) in buds.iter().enumerate() {
        let bytes = input.leb(bud.lnum, "journal")?;
        let scan = super::input::scan(&bytes, bud.lnum, bud.offs);
        if scan.stop.is_some() {
            let later = buds.get(index.saturating_add(1)..).unwrap_or_default();
            let is_last = is_last_of_its_head(bud, later, input)?;
            let cut = is_last && master.is_dirty() && scan.is_cut(&bytes, facts.sb.min_io_size.get());
            journal.stopped(scan.stop.clone(), cut);
        }
        read_bud(bud, &bytes, scan, budget, &mut entries)?;
    }
    // Stable: what has equal numbers, which no kernel writes, stays as it was found.
    entries.sort_by_key(|entry| entry.sqnum);
    journal.nodes = entries.len() as u64;
    let mut replay = Replay { input, budget, index, sizes: BTreeMap::new() };
    let last_words = last_words(&entries);
    for entry in entries {
        let place = entry.leaf.place;
        replay.apply(entry, &last_words).map_err(|error| error.at(place))?;
    }
    if master.is_dirty() {
        journal.sizes = replay.found_sizes();
    }
    Ok(journal)
}

impl Journal {
    fn stopped(&mut self, stop: Option<ReadError>, by_cut: bool) {
        if by_cut { self.torn.extend(stop) } else { self.damaged.extend(stop) }
    }
}

/// Whether nothing was written to a later bud of the same head: only there a cut of power leaves something unfinished.
fn is_last_of_its_head(bud: Bud, later: &[Bud], input: &Input) -> Result<bool, ReadError> {
    for later in later.iter().filter(|later| later.head == bud.head) {
        let bytes = input.leb(later.lnum, "journal")?;
        let written = bytes.get(later.offs as usize..).unwrap_or_default();
        if written.iter().any(|&byte| byte != 0xff) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// For each inode the number of its last inode node, and whether that one says it is gone: an inode that was gone may
/// have got a name again.
fn last_words(entries: &[Entry]) -> BTreeMap<u32, bool> {
    let words = entries.iter().filter_map(|entry| match entry.change {
        Change::Inode { inum, .. } => Some((inum, false)),
        Change::Gone { inum } => Some((inum, true)),
        _ => None,
    });
    words.collect()
}

fn read_log(facts: &Facts, master: &Master, input: &Input, journal: &mut Journal) -> Result<(), ReadError> {
    let mut lnum = master.node.log_lnum.get();
    let mut commit = None;
    let mut starts: BTreeMap<u32, u32> = BTreeMap::new();
    let mut stop: Option<(ReadError, bool)> = None;
    for _ in 0..facts.sb.log_lebs.get() {
        let bytes = input.leb(lnum, "log")?;
        let scan = super::input::scan(&bytes, lnum, 0);
        let by_cut = master.is_dirty() && scan.is_cut(&bytes, facts.sb.min_io_size.get());
        let first = scan.nodes.first().copied();
        let place = Place { lnum, offs: 0 };
        match (commit, first) {
            (None, first) => commit = Some(commit_start(master, &bytes, first).map_err(|e| e.at(place))?),
            // Free, or what an older commit has left.
            (Some(_), None) => {
                stop = stop.or(scan.stop.map(|stop| (stop, by_cut)));
                break;
            }
            (Some(commit), Some(first)) if first.sqnum < commit => break,
            _ => {}
        }
        if let Some((stop, _)) = stop.take() {
            // The log goes on behind it.
            journal.stopped(Some(stop), false);
        }
        for node in &scan.nodes {
            let rest = bytes.get(node.offs as usize..).unwrap_or_default();
            let place = Place { lnum, offs: node.offs };
            match node.node_type {
                NodeType::Ref => add_bud(facts, rest, &mut starts, journal).map_err(|e| e.at(place))?,
                NodeType::Cs if node.offs == 0 => {}
                other => {
                    let expected = "commit start and reference nodes";
                    return Err(ReadError::corrupt("log", expected, other.name()).at(place));
                }
            }
        }
        stop = scan.stop.map(|stop| (stop, by_cut));
        lnum = lnum.saturating_add(1);
        if lnum >= facts.lpt_first {
            lnum = LOG_LNUM;
        }
    }
    if let Some((stop, by_cut)) = stop {
        journal.stopped(Some(stop), by_cut);
    }
    Ok(())
}

/// Checks the node that starts the log; returns its sequence number.
fn commit_start(master: &Master, leb: &[u8], first: Option<ScannedNode>) -> Result<u64, ReadError> {
    let expected = master.node.cmt_no.get();
    let start = first.filter(|node| node.node_type == NodeType::Cs && node.offs == 0);
    let Some(start) = start else {
        return Err(ReadError::corrupt("log", format!("the start of commit {expected}"), "none"));
    };
    let found = fixed::<CsNode>(leb, NodeType::Cs.name())?.cmt_no.get();
    if found != expected {
        return Err(ReadError::corrupt("log", format!("commit {expected}"), found));
    }
    Ok(start.sqnum)
}

fn add_bud(
    facts: &Facts,
    node: &[u8],
    starts: &mut BTreeMap<u32, u32>,
    journal: &mut Journal,
) -> Result<(), ReadError> {
    let node = fixed::<RefNode>(node, NodeType::Ref.name())?;
    let bud = Bud { lnum: node.lnum.get(), offs: node.offs.get(), head: node.jhead.get() };
    if !facts.is_main(bud.lnum) || bud.offs > facts.sb.leb_size.get() || !bud.offs.is_multiple_of(8) {
        let place = Place { lnum: bud.lnum, offs: bud.offs };
        return Err(ReadError::corrupt("reference node", "a place in the main area", place));
    }
    // A commit that was not finished refers to the buds in use once more, further on.
    if let std::collections::btree_map::Entry::Vacant(vacant) = starts.entry(bud.lnum) {
        vacant.insert(bud.offs);
        journal.buds.push(bud);
    }
    Ok(())
}

fn read_bud(
    bud: Bud,
    bytes: &[u8],
    mut scan: Scan,
    budget: &mut Budget,
    entries: &mut Vec<Entry>,
) -> Result<(), ReadError> {
    // Nodes that belong together count together or not at all.
    while scan.nodes.last().is_some_and(|node| node.group == group::IN) {
        scan.nodes.pop();
    }
    for node in scan.nodes {
        budget.charge(ENTRY_COST, "the journal")?;
        let place = Place { lnum: bud.lnum, offs: node.offs };
        let start = node.offs as usize;
        let rest = bytes.get(start..start.saturating_add(node.len as usize)).unwrap_or_default();
        if let Some(change) = change(node.node_type, rest).map_err(|error| error.at(place))? {
            entries.push(Entry { sqnum: node.sqnum, leaf: Leaf { place, len: node.len }, change });
        }
    }
    Ok(())
}

fn change(node_type: NodeType, node: &[u8]) -> Result<Option<Change>, ReadError> {
    let what = node_type.name();
    Ok(Some(match node_type {
        NodeType::Ino => {
            let ino = fixed::<InoNode>(node, what)?;
            let inum = Key::from_node(ino.key).inum;
            match ino.nlink.get() {
                0 => Change::Gone { inum },
                _ => Change::Inode { inum, size: ino.size.get() },
            }
        }
        NodeType::Data => {
            let data = fixed::<DataNode>(node, what)?;
            let key = Key::from_node(data.key);
            if key.key_type() != Some(KeyType::Data) {
                return Err(ReadError::corrupt(what, "the key of a block", key));
            }
            Change::Data { key, end: key.block_offset().saturating_add(data.size.get().into()) }
        }
        NodeType::Dent | NodeType::Xent => {
            let dent = fixed::<DentNode>(node, what)?;
            let key = Key::from_node(dent.key);
            if !matches!(key.key_type(), Some(KeyType::Dent | KeyType::Xent)) {
                return Err(ReadError::corrupt(what, "the key of an entry", key));
            }
            let name = name_of(node)?.to_vec();
            if dent.inum.get() == 0 { Change::NoName { key, name } } else { Change::Name { key, name } }
        }
        NodeType::Trun => {
            let trun = fixed::<TrunNode>(node, what)?;
            Change::Truncate { inum: trun.inum.get(), old: trun.old_size.get(), new: trun.new_size.get() }
        }
        NodeType::Auth => return Ok(None),
        _ => return Err(ReadError::corrupt("journal", "nodes of the tree", what)),
    }))
}

struct Replay<'a> {
    input: &'a Input,
    budget: &'a mut Budget,
    index: &'a mut Index,
    /// Of inodes that the journal speaks of: size by the inode node, if there was one, and end of the data.
    sizes: BTreeMap<u32, (Option<u64>, u64)>,
}

impl Replay<'_> {
    fn apply(&mut self, entry: Entry, last_words: &BTreeMap<u32, bool>) -> Result<(), ReadError> {
        let leaf = entry.leaf;
        match entry.change {
            Change::Inode { inum, size } => {
                self.index.slots.insert(Key::ino(inum), Slot::One(leaf));
                self.sizes.entry(inum).or_default().0 = Some(size);
            }
            Change::Gone { inum } => {
                if last_words.get(&inum) == Some(&true) {
                    self.remove_inode(inum)?;
                }
                self.sizes.remove(&inum);
            }
            Change::Data { key, end } => {
                self.index.slots.insert(key, Slot::One(leaf));
                let size = self.sizes.entry(key.inum).or_default();
                size.1 = size.1.max(end);
            }
            Change::Truncate { inum, old, new } => {
                self.remove_blocks(inum, old, new);
                if let Some(size) = self.sizes.get_mut(&inum) {
                    size.1 = new;
                }
            }
            Change::Name { key, name } => {
                add_entry(self.index, self.input, self.budget, key, leaf, name, true)?;
                self.replace_single(key, leaf);
            }
            Change::NoName { key, name } => remove_entry(self.index, self.input, key, &name)?,
        }
        Ok(())
    }

    /// Nothing to do where a name was added to others: it has its place. (A slot of one was just made.)
    fn replace_single(&mut self, key: Key, leaf: Leaf) {
        if let Some(Slot::One(old)) = self.index.slots.get_mut(&key) {
            *old = leaf;
        }
    }

    fn remove_blocks(&mut self, inum: u32, old: u64, new: u64) {
        let block = u64::from(BLOCK_SIZE);
        let (first, end) = (new.div_ceil(block), old.div_ceil(block));
        let narrow =
            |block: u64| u32::try_from(block).unwrap_or(u32::MAX).min(crate::format::key::VALUE_MASK);
        if first < end {
            let (low, high) =
                (Key::data(inum, narrow(first)), Key::data(inum, narrow(end.saturating_sub(1))));
            self.remove_range(low, high);
        }
    }

    fn remove_range(&mut self, low: Key, high: Key) {
        let keys: Vec<Key> = self.index.slots.range(low..=high).map(|(&key, _)| key).collect();
        for key in keys {
            self.index.slots.remove(&key);
        }
    }

    /// Removes an inode with everything that is its own, its xattrs too.
    fn remove_inode(&mut self, inum: u32) -> Result<(), ReadError> {
        let xattrs: Vec<Leaf> = self.index.range(inum, KeyType::Xent).map(|(_, leaf)| leaf).collect();
        for leaf in xattrs {
            let node = self.input.node(leaf.place, leaf.len, NodeType::Xent)?;
            let value = fixed::<DentNode>(&node, NodeType::Xent.name())?.inum.get();
            if let Ok(value) = u32::try_from(value) {
                self.remove_range(Key::ino(value), Key { inum: value, word: u32::MAX });
            }
        }
        self.remove_range(Key::ino(inum), Key { inum, word: u32::MAX });
        Ok(())
    }

    /// Files whose data goes beyond what their inode says: the inode was to be written later.
    fn found_sizes(&self) -> BTreeMap<u32, u64> {
        let ends = self.sizes.iter().filter(|(_, (_, end))| *end > 0);
        ends.map(|(&inum, &(_, end))| (inum, end)).collect()
    }
}

/// Inodes without a name that the orphan area tells of, for the commit that counts.
pub(super) fn orphans(facts: &Facts, master: &Master, input: &Input) -> Result<BTreeSet<u32>, ReadError> {
    let mut orphans = BTreeSet::new();
    let newest = master.node.cmt_no.get();
    for lnum in facts.orph_first..facts.main_first {
        let bytes = input.leb(lnum, "orphans")?;
        let scan = super::input::scan(&bytes, lnum, 0);
        for node in scan.nodes.iter().filter(|node| node.node_type == NodeType::Orph) {
            let start = node.offs as usize;
            let node = bytes.get(start..start.saturating_add(node.len as usize)).unwrap_or_default();
            let commit = fixed::<OrphNode>(node, NodeType::Orph.name())?.cmt_no.get() & (u64::MAX >> 1);
            if commit > newest {
                break;
            }
            let inums = node.get(OrphNode::LEN as usize..).unwrap_or_default().chunks_exact(8);
            let inums = inums.filter_map(|chunk| chunk.first_chunk().copied().map(u32::from_le_bytes));
            orphans.extend(inums);
        }
        if let Some(stop) = &scan.stop
            && !(master.is_dirty() && scan.is_cut(&bytes, facts.sb.min_io_size.get()))
        {
            return Err(stop.clone());
        }
    }
    Ok(orphans)
}
