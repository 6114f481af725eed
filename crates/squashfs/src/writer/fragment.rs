//! Tails into fragment blocks: full ones, each of one kind of data.
//!
//! One fragment block of each kind is open at a time and takes tails in the order of the data; the next is opened when
//! a tail does not fit. (Keeping several open and choosing the fullest makes fewer blocks, but larger images: it takes
//! apart what is alike.) What is left open at the end is joined, so that a small image has one fragment block and not
//! one for each kind. A tail's place is therefore known by its open block first, and by its fragment only in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::DataKind;

/// Code starts at a multiple of this many bytes, which branch filters and xz's position bits rely on.
const CODE_ALIGNMENT: usize = 4;

/// Where a tail is, before fragments have numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the open block.
    pub(super) open: u32,
    /// Byte within it.
    pub(super) offset: u32,
}

/// A fragment block that is ready to be compressed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) data: Vec<u8>,
    pub(super) kinds: BTreeSet<DataKind>,
    /// The open blocks that are in it, and where each starts.
    pub(super) members: Vec<(u32, u32)>,
}

/// All open fragment blocks.
#[derive(Debug)]
pub(super) struct FragmentPacker {
    block_size: usize,
    opened: u32,
    open: BTreeMap<DataKind, Open>,
}

#[derive(Debug)]
struct Open {
    number: u32,
    data: Vec<u8>,
}

impl FragmentPacker {
    pub(super) fn new(block_size: usize) -> Self {
        FragmentPacker { block_size, opened: 0, open: BTreeMap::new() }
    }

    /// Finds room for a tail, which is shorter than a block. A block that has to make way is returned. `None` when
    /// there are too many blocks for the format.
    pub(super) fn place(&mut self, kind: DataKind, tail: &[u8]) -> Option<(Place, Option<Full>)> {
        let alignment = if matches!(kind, DataKind::Code(_)) { CODE_ALIGNMENT } else { 1 };
        let mut full = None;
        if let Some(block) = self.open.get_mut(&kind) {
            let start = block.data.len().next_multiple_of(alignment);
            if start + tail.len() <= self.block_size {
                block.data.resize(start, 0);
                return Some((block.append(tail), None));
            }
            full = self.open.remove(&kind).map(|block| Full::of(kind, block));
        }
        let mut block = Open { number: self.opened, data: Vec::with_capacity(self.block_size) };
        self.opened = self.opened.checked_add(1)?;
        let place = block.append(tail);
        self.open.insert(kind, block);
        Some((place, full))
    }

    /// The blocks that are still open, joined into as few as possible; the longest first.
    pub(super) fn finish(self) -> Vec<Full> {
        let mut blocks: Vec<Full> =
            self.open.into_iter().map(|(kind, block)| Full::of(kind, block)).collect();
        blocks.sort_by_key(|block| (std::cmp::Reverse(block.data.len()), block.members.first().copied()));
        let mut joined: Vec<Full> = Vec::new();
        for block in blocks {
            let room = |full: &&mut Full| full.end() + block.data.len() <= self.block_size;
            match joined.iter_mut().find(room) {
                Some(full) => full.join(block),
                None => joined.push(block),
            }
        }
        joined
    }
}

impl Open {
    fn append(&mut self, tail: &[u8]) -> Place {
        let place = Place { open: self.number, offset: offset(self.data.len()) };
        self.data.extend_from_slice(tail);
        place
    }
}

impl Full {
    fn of(kind: DataKind, block: Open) -> Self {
        Full { data: block.data, kinds: BTreeSet::from([kind]), members: vec![(block.number, 0)] }
    }

    fn end(&self) -> usize {
        self.data.len().next_multiple_of(CODE_ALIGNMENT)
    }

    fn join(&mut self, other: Full) {
        self.data.resize(self.end(), 0);
        let start = offset(self.data.len());
        self.members.extend(other.members.into_iter().map(|(number, at)| (number, start + at)));
        self.kinds.extend(other.kinds);
        self.data.extend_from_slice(&other.data);
    }
}

fn offset(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_| unreachable!("a fragment block has at most 1 MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::kind::Machine;

    const CODE: DataKind = DataKind::Code(Machine::Arm);

    #[test]
    fn kinds_stay_apart_until_the_end_and_code_is_aligned() {
        let mut packer = FragmentPacker::new(100);
        let mut place = |kind, len: usize| packer.place(kind, &vec![1; len]).unwrap();
        assert_eq!(place(DataKind::Text, 5), (Place { open: 0, offset: 0 }, None));
        assert_eq!(place(CODE, 5), (Place { open: 1, offset: 0 }, None));
        assert_eq!(place(DataKind::Text, 5), (Place { open: 0, offset: 5 }, None));
        assert_eq!(place(CODE, 6), (Place { open: 1, offset: 8 }, None));
        let [full] = &packer.finish()[..] else { panic!("two small blocks fit into one") };
        assert_eq!(full.members, [(1, 0), (0, 16)]);
        assert_eq!(full.data.len(), 26);
        assert_eq!(full.kinds, BTreeSet::from([DataKind::Text, CODE]));
    }

    #[test]
    fn a_block_makes_way_when_a_tail_does_not_fit() {
        let mut packer = FragmentPacker::new(100);
        assert_eq!(packer.place(DataKind::Other, &[0; 60]), Some((Place { open: 0, offset: 0 }, None)));
        assert_eq!(packer.place(DataKind::Other, &[0; 40]), Some((Place { open: 0, offset: 60 }, None)));
        let (place, full) = packer.place(DataKind::Other, &[0; 1]).unwrap();
        assert_eq!((place, full.map(|full| full.data.len())), (Place { open: 1, offset: 0 }, Some(100)));
        assert_eq!(packer.finish().len(), 1);
    }
}
