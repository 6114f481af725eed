//! Finding data that is in the image already.
//!
//! A file's data blocks must follow each other in the image, so a file can use blocks that are there when all its
//! blocks, in order, equal some run of them: the blocks of an equal file, or of a longer one. Blocks are compared by
//! BLAKE3; before a run is used, the data itself is compared too (see `data`).

use std::collections::HashMap;

/// BLAKE3 of a piece of file data.
pub(super) type Hash = [u8; 32];

/// Runs that are followed at the same time. More only occur in data that repeats one block over and over.
const MAX_CANDIDATES: usize = 32;

/// Number of a block in the order of the image: data and fragment blocks count together.
pub(super) type Sequence = u32;

/// All blocks of the image by hash.
#[derive(Default)]
pub(super) struct BlockIndex {
    /// Hash of each block; `None` for fragment blocks, which no file can use as data blocks.
    hashes: Vec<Option<Hash>>,
    by_hash: HashMap<Hash, Vec<Sequence>>,
}

impl BlockIndex {
    /// Notes the next block, and says its number.
    pub(super) fn push(&mut self, hash: Option<Hash>) -> Option<Sequence> {
        let sequence = Sequence::try_from(self.hashes.len()).ok().filter(|&s| s < Sequence::MAX)?;
        self.hashes.push(hash);
        if let Some(hash) = hash {
            let places = self.by_hash.entry(hash).or_default();
            if places.len() < MAX_CANDIDATES {
                places.push(sequence);
            }
        }
        Some(sequence)
    }

    fn holds(&self, sequence: Sequence, hash: &Hash) -> bool {
        self.hashes.get(sequence as usize).is_some_and(|known| known.as_ref() == Some(hash))
    }
}

/// Runs of blocks in the image that a file's blocks have equalled so far.
#[derive(Default)]
pub(super) struct Match {
    starts: Vec<Sequence>,
    len: u32,
}

impl Match {
    /// Goes on with the file's next block. False when no run goes on with it: then the file needs blocks of its own.
    pub(super) fn extend(&mut self, index: &BlockIndex, hash: &Hash) -> bool {
        if self.len == 0 {
            self.starts = index.by_hash.get(hash).cloned().unwrap_or_default();
        } else {
            let len = self.len;
            self.starts.retain(|start| start.checked_add(len).is_some_and(|next| index.holds(next, hash)));
        }
        self.len += 1;
        !self.starts.is_empty()
    }

    /// First block of the run, when there is one.
    pub(super) fn start(&self) -> Option<Sequence> {
        self.starts.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> Hash {
        [n; 32]
    }

    fn run(index: &BlockIndex, blocks: &[u8]) -> Option<Sequence> {
        let mut found = Match::default();
        blocks.iter().all(|&n| found.extend(index, &hash(n))).then(|| found.start())?
    }

    #[test]
    fn any_run_of_blocks_is_found_but_none_across_a_fragment_block() {
        let mut index = BlockIndex::default();
        for n in [1, 2, 1, 2, 3] {
            index.push(Some(hash(n)));
        }
        index.push(None);
        index.push(Some(hash(4)));
        assert_eq!(run(&index, &[1, 2]), Some(0));
        assert_eq!(run(&index, &[1, 2, 3]), Some(2));
        assert_eq!(run(&index, &[2, 1]), Some(1));
        assert_eq!(run(&index, &[3, 4]), None);
        assert_eq!(run(&index, &[3, 2]), None);
        assert_eq!(run(&index, &[5]), None);
        assert_eq!(run(&index, &[4]), Some(6));
        assert_eq!(run(&index, &[4, 1]), None);
    }
}
