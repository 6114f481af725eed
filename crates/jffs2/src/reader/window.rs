//! The image's bytes from front to back, in large reads.

use std::sync::Arc;

use flashwright_tree::ReadAt;

use super::ReadError;

/// Bytes that are read at once.
const READ: u64 = 256 << 10;

/// A part of the image in memory, moved along it.
#[derive(Debug)]
pub(super) struct Window<'a> {
    source: &'a Arc<dyn ReadAt>,
    len: u64,
    /// Position of the first byte of `bytes`.
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a Arc<dyn ReadAt>, len: u64) -> Self {
        Window { source, len, at: 0, bytes: Vec::new() }
    }

    /// Length of the image in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes at `offset`; `None` when the image ends before.
    pub(super) fn get(&mut self, offset: u64, len: u64) -> Result<Option<&[u8]>, ReadError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        Ok(self.up_to(offset, len)?.get(..usize::try_from(len).unwrap_or(usize::MAX)))
    }

    /// At least `len` bytes at `offset`, or what the image has from there on.
    pub(super) fn up_to(&mut self, offset: u64, len: u64) -> Result<&[u8], ReadError> {
        let left = self.len.saturating_sub(offset);
        let have = self.at.saturating_add(self.bytes.len() as u64);
        if offset < self.at || offset.saturating_add(len.min(left)) > have {
            self.fill(offset, len.max(READ).min(left))?;
        }
        let skip = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, len: u64) -> Result<(), ReadError> {
        // At most the longest node that is read, which is below 4 GiB.
        self.bytes.resize(usize::try_from(len).unwrap_or_default(), 0);
        self.at = offset;
        self.source.read_exact_at(offset, &mut self.bytes).map_err(|error| {
            self.bytes.clear();
            ReadError::io(offset, error)
        })
    }
}
