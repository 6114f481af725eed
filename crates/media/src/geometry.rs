//! Sizes of flash.

use std::num::NonZeroU32;

/// Bytes that are erased at once; `erasesize` of an MTD device. Any number but 0: formats that want a power of two, or
/// a smallest size, say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EraseblockSize(NonZeroU32);

/// A size that no flash has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// An eraseblock of 0 bytes, or of 4 GiB and more.
    #[error("an eraseblock of {0} bytes: flash has eraseblocks of 1 to 4294967295 bytes")]
    EraseblockSize(u64),
}

impl EraseblockSize {
    /// That many bytes.
    ///
    /// # Errors
    /// [`GeometryError::EraseblockSize`] for 0 and above 4,294,967,295.
    pub fn new(bytes: u64) -> Result<Self, GeometryError> {
        let size = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        size.map(EraseblockSize).ok_or(GeometryError::EraseblockSize(bytes))
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Number of eraseblocks that `len` bytes take, the last one perhaps in part.
    #[must_use]
    pub const fn count(self, len: u64) -> u64 {
        len.div_ceil(self.0.get() as u64)
    }

    /// Which eraseblock the byte at `offset` (from the start of the device or image) is in.
    #[must_use]
    pub const fn index(self, offset: u64) -> u64 {
        offset / self.0.get() as u64
    }

    /// Position of the byte at `offset` within its eraseblock.
    #[must_use]
    pub const fn within(self, offset: u64) -> u32 {
        // Below the size, which is a u32.
        #[allow(clippy::cast_possible_truncation, reason = "a remainder is below its divisor")]
        {
            (offset % self.0.get() as u64) as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_in_eraseblocks() {
        let size = EraseblockSize::new(0x1_0000).unwrap();
        assert_eq!((size.count(0), size.count(1), size.count(0x1_0000), size.count(0x1_0001)), (0, 1, 1, 2));
        assert_eq!((size.index(0x2_fffc), size.within(0x2_fffc)), (2, 0xfffc));
        for bad in [0, 1 << 32] {
            assert_eq!(EraseblockSize::new(bad), Err(GeometryError::EraseblockSize(bad)));
        }
    }
}
