//! Content ordering: tails that have much in common become neighbours, so that they share a fragment block.
//!
//! Every tail is sampled: of the hashes of all its 6-byte windows, those below a threshold are kept, so that equal data
//! gives equal samples wherever it stands. Fragment blocks are then filled one after another, always with the tail
//! that has the largest part of its samples in the block already. Time and memory are bounded by the number of samples,
//! which does not grow with the tree.

use std::collections::HashSet;

use flashwright_tree::NodeId;

use super::kind::DataKind;

/// Samples of all tails together, at most about this many.
const MAX_SAMPLES: u64 = 4 << 20;
/// At least this many windows for one sample.
const MIN_RATE: u64 = 16;
/// Samples that more tails have say nothing.
const MAX_SHARING: usize = 64;
/// Tails that are compared for one place.
const MAX_CANDIDATES: usize = 4096;
/// Shared samples below this are chance.
const MIN_SHARED: u32 = 2;

/// The last part of a file, as far as its place is concerned.
pub(super) struct Tail {
    pub(super) file: NodeId,
    pub(super) kind: DataKind,
    pub(super) len: usize,
    /// Hashes of some windows; later the groups of equal ones.
    pub(super) samples: Vec<u32>,
}

/// How densely to sample tails of `total` bytes together.
pub(super) const fn sampling_rate(total: u64) -> u64 {
    let rate = total / MAX_SAMPLES;
    if rate > MIN_RATE { rate } else { MIN_RATE }
}

/// Hashes of about one in `rate` windows of `data`, sorted, each once.
pub(super) fn sample(data: &[u8], rate: u64) -> Vec<u32> {
    let threshold = u64::MAX / rate;
    let mut samples: Vec<u32> = data
        .windows(8)
        .filter_map(|window| {
            let bytes: [u8; 8] = window.try_into().ok()?;
            // Six of the eight bytes; the multiplier is 2^64 divided by the golden ratio.
            let hash = (u64::from_le_bytes(bytes) << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (hash < threshold).then(|| u32::try_from(hash % 0xffff_fffb).unwrap_or(0))
        })
        .collect();
    samples.sort_unstable();
    samples.dedup();
    samples
}

/// The files in an order in which tails of one kind that have much in common are neighbours. Tails without anything in
/// common stay in the order in which they come.
pub(super) fn order_by_content(mut tails: Vec<Tail>, block_size: usize) -> Vec<NodeId> {
    tails.sort_by_key(|tail| tail.kind);
    let groups = group_samples(&mut tails);
    let mut filler = Filler {
        tails: &tails,
        groups: &groups,
        used: vec![false; tails.len()],
        next_unused: (0..=tails.len()).collect(),
        shared: vec![0; tails.len()],
        touched: Vec::new(),
        seen: HashSet::new(),
        order: Vec::with_capacity(tails.len()),
    };
    for first in 0..tails.len() {
        if !filler.used[first] {
            filler.fill_block(first, block_size);
        }
    }
    filler.order.into_iter().map(|index| tails[index].file).collect()
}

/// Replaces each tail's hashes by numbers of groups, and returns the tails of each group. Hashes that one tail alone has,
/// or too many have, are dropped.
fn group_samples(tails: &mut [Tail]) -> Vec<Vec<u32>> {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for (index, tail) in (0u32..).zip(tails.iter_mut()) {
        all.extend(tail.samples.drain(..).map(|hash| (hash, index)));
    }
    all.sort_unstable();
    let useful = |run: &&[(u32, u32)]| (2..=MAX_SHARING).contains(&run.len());
    let mut groups = Vec::new();
    for (group, run) in (0u32..).zip(all.chunk_by(|a, b| a.0 == b.0).filter(useful)) {
        let members: Vec<u32> = run.iter().map(|&(_, index)| index).collect();
        members.iter().for_each(|&index| tails[index as usize].samples.push(group));
        groups.push(members);
    }
    groups
}

struct Filler<'a> {
    tails: &'a [Tail],
    groups: &'a [Vec<u32>],
    used: Vec<bool>,
    /// A tail from each on that may be unused; all between are used. Shortened whenever it is followed.
    next_unused: Vec<usize>,
    /// Samples that each tail shares with the block being filled.
    shared: Vec<u32>,
    /// Tails with any.
    touched: Vec<usize>,
    /// Groups in the block being filled.
    seen: HashSet<u32>,
    order: Vec<usize>,
}

impl Filler<'_> {
    fn fill_block(&mut self, first: usize, block_size: usize) {
        for index in self.touched.drain(..) {
            self.shared[index] = 0;
        }
        self.seen.clear();
        let mut room = block_size;
        let mut next = Some(first);
        while let Some(index) = next {
            room -= self.tails[index].len;
            self.take(index);
            next = self.most_similar(first, room);
            if next.is_none() {
                next = self.following(index, first, room);
            }
        }
    }

    fn take(&mut self, index: usize) {
        self.used[index] = true;
        self.next_unused[index] = index + 1;
        self.order.push(index);
        for &group in &self.tails[index].samples {
            if !self.seen.insert(group) {
                continue;
            }
            for &other in &self.groups[group as usize] {
                let other = other as usize;
                if self.shared[other] == 0 {
                    self.touched.push(other);
                }
                self.shared[other] += 1;
            }
        }
    }

    fn fits(&self, index: usize, first: usize, room: usize) -> bool {
        !self.used[index] && self.tails[index].kind == self.tails[first].kind && self.tails[index].len <= room
    }

    /// The tail with the largest part of its samples in the block.
    fn most_similar(&mut self, first: usize, room: usize) -> Option<usize> {
        let used = &self.used;
        self.touched.retain(|&index| !used[index]);
        let candidates = self.touched.iter().copied().take(MAX_CANDIDATES);
        let similar = candidates.filter(|&i| self.shared[i] >= MIN_SHARED && self.fits(i, first, room));
        similar.max_by_key(|&index| {
            let part = u64::from(self.shared[index]) * 1000 / self.tails[index].samples.len().max(1) as u64;
            (part, self.shared[index], std::cmp::Reverse(index))
        })
    }

    /// The next tail in the given order, if it fits: one that does not ends the block.
    fn following(&mut self, index: usize, first: usize, room: usize) -> Option<usize> {
        let mut next = index;
        while self.next_unused[next] != next {
            let beyond = self.next_unused[self.next_unused[next]];
            self.next_unused[next] = beyond;
            next = beyond;
        }
        (next < self.tails.len() && self.fits(next, first, room)).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashwright_tree::{Content, Node, Tree};

    /// Bytes that look random and are the same for the same seed.
    fn noise(mut seed: u64, len: usize) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn what_has_much_in_common_becomes_neighbours() {
        let mut tree = Tree::new();
        let mut tails = Vec::new();
        let mut ids = Vec::new();
        for number in 0..8u64 {
            let data = [noise(number % 2 * 7919, 3000), noise(31 + number * 104_729, 500)].concat();
            let node = Node::file(0o644, Content::empty());
            let file = tree.insert(Tree::ROOT, format!("{number}").as_bytes(), node).unwrap();
            ids.push(file);
            let samples = sample(&data, 16);
            assert!(samples.len() > 100);
            tails.push(Tail { file, kind: DataKind::Other, len: data.len(), samples });
        }
        let order = order_by_content(tails, 15_000);
        let places: Vec<usize> =
            order.iter().map(|id| ids.iter().position(|other| other == id).unwrap()).collect();
        assert_eq!(places.iter().map(|place| place % 2).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn samples_do_not_depend_on_where_data_stands() {
        let data = noise(5, 4000);
        let moved = sample(&[&noise(6, 777)[..], &data].concat(), 16);
        assert!(sample(&data, 16).iter().all(|hash| moved.contains(hash)));
        assert_eq!(sample(b"short", 16), [0u32; 0]);
        assert_eq!(sampling_rate(1 << 40), 1 << 18);
        assert_eq!(sampling_rate(0), 16);
    }
}
