//! How much memory an image may make the reader take.

use super::ReadError;

/// Memory that never depends on the image's length, bytes: enough for small images of many small nodes.
const BASE: u64 = 64 << 20;
/// Bytes of memory for each byte of the image. Metadata of many equal nodes packs about this well at most.
const PER_BYTE: u64 = 256;
/// Upper bound whatever the length, bytes.
const CEILING: u64 = 4 << 30;

/// Bounds that a hostile image cannot pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of memory that the tables of the image and the tree made from them may take, roughly. `None`, the
    /// default: 64 MiB plus 256 times the length of the image, at most 4 GiB. An image that wants more is refused
    /// with [`ErrorClass::Limit`](super::ErrorClass::Limit).
    pub memory: Option<u64>,
}

impl Limits {
    pub(super) fn budget(self, image_len: u64) -> Budget {
        let limit = self
            .memory
            .unwrap_or_else(|| image_len.saturating_mul(PER_BYTE).saturating_add(BASE).min(CEILING));
        Budget { limit, left: limit }
    }
}

/// Memory that is left.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    left: u64,
}

impl Budget {
    /// Sets aside `bytes` for `what`, before they are allocated.
    pub(super) fn charge(&mut self, bytes: u64, what: &'static str) -> Result<(), ReadError> {
        let left = self.left.checked_sub(bytes).ok_or_else(|| ReadError::limit(what, self.limit))?;
        self.left = left;
        Ok(())
    }
}
