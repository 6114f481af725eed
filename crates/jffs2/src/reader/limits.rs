//! How much memory an image may make the reader take.

use super::ReadError;

/// Memory for an image of up to [`SMALL`] bytes: with what the program takes itself, less than 64 MiB.
const BASE: u64 = 44 << 20;
/// Bytes of a small image.
const SMALL: u64 = 16 << 20;
/// Bytes of memory for each byte of an image beyond [`SMALL`].
const PER_BYTE: u64 = 4;
/// Upper bound whatever the length, bytes.
const CEILING: u64 = 2 << 30;

/// Bounds that a hostile image cannot pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of memory that the table of nodes and the tree made from them may take, roughly. `None`, the default: 44
    /// MiB, and 4 bytes for each byte of the image beyond 16 MiB, at most 2 GiB. An image that wants more is refused with
    /// [`ErrorClass::Limit`](super::ErrorClass::Limit).
    pub memory: Option<u64>,
}

impl Limits {
    pub(super) fn budget(self, image_len: u64) -> Budget {
        let beyond = image_len.saturating_sub(SMALL).saturating_mul(PER_BYTE);
        let limit = self.memory.unwrap_or_else(|| BASE.saturating_add(beyond).min(CEILING));
        Budget { limit, left: limit }
    }
}

/// Memory that is left.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limit: u64,
    left: u64,
}

impl Budget {
    /// Sets aside `bytes` for `what`, before they are allocated.
    pub(super) fn charge(&mut self, bytes: u64, what: &'static str) -> Result<(), ReadError> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| ReadError::limit(what, self.limit))?;
        Ok(())
    }
}
