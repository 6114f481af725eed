//! The image's bytes, with every range checked before anything is allocated for it.

use std::sync::Arc;

use flashwright_tree::ReadAt;

use super::ReadError;

/// An image that ends at `len`.
#[derive(Debug, Clone)]
pub(super) struct Input {
    source: Arc<dyn ReadAt>,
    len: u64,
}

impl Input {
    pub(super) fn new(source: Arc<dyn ReadAt>, len: u64) -> Self {
        Input { source, len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The same image, ending earlier.
    pub(super) fn cut(&self, len: u64) -> Self {
        Input { source: Arc::clone(&self.source), len: len.min(self.len) }
    }

    /// Fills `buffer` from `offset`.
    pub(super) fn read_into(
        &self,
        offset: u64,
        buffer: &mut [u8],
        what: &'static str,
    ) -> Result<(), ReadError> {
        self.check(offset, buffer.len() as u64, what)?;
        self.source.read_exact_at(offset, buffer).map_err(|error| ReadError::io(what, error).at(offset))
    }

    /// `len` bytes from `offset`.
    pub(super) fn read(&self, offset: u64, len: usize, what: &'static str) -> Result<Vec<u8>, ReadError> {
        self.check(offset, len as u64, what)?;
        let mut buffer = vec![0; len];
        self.read_into(offset, &mut buffer, what)?;
        Ok(buffer)
    }

    /// Checks that `len` bytes from `offset` are in the image.
    pub(super) fn check(&self, offset: u64, len: u64, what: &'static str) -> Result<(), ReadError> {
        if offset.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        let expected = format!("{len} bytes before the end at {:#x}", self.len);
        let found = format!("{} bytes", self.len.saturating_sub(offset));
        Err(ReadError::corrupt(what, expected, found).at(offset))
    }
}
