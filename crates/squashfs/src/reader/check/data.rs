//! Data and fragment blocks: each is unpacked once, and none may reach into another.

use std::collections::BTreeMap;
use std::sync::Arc;

use flashwright_tree::Finding;

use super::Checker;
use crate::reader::data::{DataStore, skip_blocks};
use crate::reader::inode::FileBody;
use crate::reader::unpack::Stored;
use crate::reader::{ErrorClass, ReadError};

/// Memory of one block that is remembered, bytes, roughly.
const BLOCK_COST: u64 = 64;

pub(super) struct DataChecks {
    pub(super) store: Arc<DataStore>,
    /// Where data may be.
    range: (u64, u64),
    /// Blocks that were unpacked, by position: how they are stored, and their unpacked length.
    blocks: BTreeMap<u64, (Stored, u32)>,
    /// Unpacked length of each fragment block; `None` when it does not unpack.
    fragments: Vec<Option<u32>>,
    fragment_used: Vec<bool>,
    buffer: Vec<u8>,
}

impl DataChecks {
    pub(super) fn new(store: Arc<DataStore>, start: u64, end: u64) -> Self {
        let buffer = vec![0; store.block_size as usize];
        DataChecks {
            store,
            range: (start, end),
            blocks: BTreeMap::new(),
            fragments: Vec::new(),
            fragment_used: Vec::new(),
            buffer,
        }
    }

    fn in_range(&self, stored: Stored, what: &'static str) -> Result<(), ReadError> {
        let (start, end) = self.range;
        if stored.offset >= start && stored.end() <= end {
            return Ok(());
        }
        let expected = format!("a block within the data, {start:#x} to {end:#x}");
        let found = format!("{:#x} to {:#x}", stored.offset, stored.end());
        Err(ReadError::corrupt(what, expected, found).at(stored.offset))
    }

    fn fragment(&mut self, index: u32) -> Result<(Stored, u32), ReadError> {
        let stored = self.store.fragment_at(index)?;
        self.in_range(stored, "fragment block")?;
        self.no_overlap(stored, 0, "fragment block")?;
        let DataStore { unpacker, input, .. } = &*self.store;
        let len = unpacker.unpack(input, stored, &mut self.buffer, "fragment block")?;
        // At most a data block, which has 21 bits.
        Ok((stored, u32::try_from(len).unwrap_or(u32::MAX)))
    }

    /// Unpacks a data block that nobody used yet. True when it was new.
    fn block(&mut self, stored: Stored, len: u32) -> Result<bool, ReadError> {
        if self.blocks.get(&stored.offset) == Some(&(stored, len)) {
            return Ok(false);
        }
        self.in_range(stored, "data block")?;
        self.no_overlap(stored, len, "data block")?;
        let output = self.buffer.get_mut(..len as usize).unwrap_or_default();
        self.store.block_into(stored, output)?;
        Ok(true)
    }

    /// Blocks are shared as a whole or not at all. (This also bounds the work: no byte is unpacked twice.)
    fn no_overlap(&self, stored: Stored, len: u32, what: &'static str) -> Result<(), ReadError> {
        let before = self.blocks.range(..stored.end().max(stored.offset.saturating_add(1))).next_back();
        let Some((_, &(other, other_len))) =
            before.filter(|(_, (other, _))| other.end() > stored.offset || other.offset == stored.offset)
        else {
            return Ok(());
        };
        let show = |stored: Stored, len| {
            format!("{:#x} to {:#x}, {len} bytes unpacked", stored.offset, stored.end())
        };
        let expected = format!("a block apart from, or the same as, the one at {}", show(other, other_len));
        Err(ReadError::corrupt(what, expected, show(stored, len)).at(stored.offset))
    }
}

impl Checker<'_> {
    /// Unpacks all fragment blocks.
    pub(super) fn fragments(&mut self) -> Result<(), ReadError> {
        let count = self.facts.superblock.fragments.get();
        self.budget.charge(u64::from(count).saturating_mul(BLOCK_COST), "fragments")?;
        for index in 0..count {
            let len = match self.data.fragment(index) {
                Ok((stored, len)) => {
                    self.data.blocks.insert(stored.offset, (stored, len));
                    self.report.blocks = self.report.blocks.saturating_add(1);
                    Some(len)
                }
                Err(error) => {
                    self.report.note(error, |mut finding| {
                        finding.what = format!("fragment {index}: {}", finding.what);
                        finding
                    })?;
                    None
                }
            };
            self.data.fragments.push(len);
        }
        self.data.fragment_used = vec![false; self.data.fragments.len()];
        Ok(())
    }

    /// Unpacks the blocks of a file, and holds sizes and holes against what the inode says.
    pub(super) fn file_data(
        &mut self,
        node: usize,
        body: &FileBody,
        extended: bool,
    ) -> Result<(), ReadError> {
        let block_size = self.facts.block_size;
        let mut holes = 0u64;
        let mut offset = body.start;
        for (index, &word) in body.words.iter().enumerate() {
            let len = body.block_len(index, block_size);
            if word == 0 {
                holes = holes.saturating_add(u64::from(len));
                continue;
            }
            if let Err(error) = self.data_block((offset, word), len) {
                let what = format!("block {index} of the file");
                self.block_failed(node, error, &what)?;
            }
            offset = skip_blocks(offset, &[word]);
        }
        self.tail(node, body);
        // mksquashfs takes one byte off when a file is nothing but holes.
        if extended && body.sparse != holes && body.sparse.checked_add(1) != Some(holes) {
            self.about(node, Finding::warning("bytes in holes", holes, body.sparse));
        }
        Ok(())
    }

    fn data_block(&mut self, (offset, word): (u64, u32), len: u32) -> Result<(), ReadError> {
        let stored = Stored::from_word(offset, word, self.facts.block_size, "data block")?;
        if self.data.block(stored, len)? {
            self.budget.charge(BLOCK_COST, "data blocks")?;
            self.data.blocks.insert(offset, (stored, len));
            self.report.blocks = self.report.blocks.saturating_add(1);
        }
        Ok(())
    }

    fn block_failed(&mut self, node: usize, error: ReadError, what: &str) -> Result<(), ReadError> {
        if matches!(error.class(), ErrorClass::Io | ErrorClass::Limit) {
            return Err(error);
        }
        let mut finding = Finding::from(&error);
        finding.what = format!("{what}: {}", finding.what);
        self.about(node, finding);
        Ok(())
    }

    fn tail(&mut self, node: usize, body: &FileBody) {
        let Some((fragment, start)) = body.fragment else { return };
        let index = fragment as usize;
        if let Some(used) = self.data.fragment_used.get_mut(index) {
            *used = true;
        }
        let len = body.tail_len(self.facts.block_size);
        if len == 0 {
            let expected = "no fragment, as the file ends with a whole block";
            self.about(node, Finding::warning("fragment", expected, format!("fragment {fragment}")));
        }
        match self.data.fragments.get(index) {
            None => {
                let expected = format!("an index below {}", self.data.fragments.len());
                self.about(node, Finding::error("fragment", expected, fragment));
            }
            // Noted when the fragments were unpacked.
            Some(None) => {}
            Some(Some(whole)) if u64::from(start).saturating_add(u64::from(len)) > u64::from(*whole) => {
                let found = format!("a tail of {len} bytes from byte {start}");
                let expected = format!("a tail within the {whole} bytes of fragment {fragment}");
                self.about(node, Finding::error("fragment", expected, found));
            }
            Some(Some(_)) => {}
        }
    }

    /// Every fragment block must serve somebody.
    pub(super) fn unused_fragments(&mut self) {
        for (index, &used) in (0u32..).zip(&self.data.fragment_used) {
            if !used {
                let finding = Finding::warning("fragment table", "a file that uses every fragment", "none");
                let stored = self.data.store.fragment_at(index).ok();
                self.report.add(finding.at(stored.map_or(0, |stored| stored.offset)));
            }
        }
    }
}
