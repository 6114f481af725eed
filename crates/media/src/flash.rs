//! Flash that can be read, erased and programmed: what a device, or a simulation of one, does for those who plan.

use std::fmt;
use std::io;

/// How the cells behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlashKind {
    /// Bits go from 1 to 0 at any time, back by an erase only; no bad eraseblocks.
    Nor,
    /// Pages that are programmed once after each erase; eraseblocks may be bad.
    Nand,
    /// Memory behind the same interface: takes any write, erased or not.
    Ram,
}

impl FlashKind {
    /// `NOR`, `NAND` or `RAM`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FlashKind::Nor => "NOR",
            FlashKind::Nand => "NAND",
            FlashKind::Ram => "RAM",
        }
    }
}

impl fmt::Display for FlashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sizes of a flash device, or of a partition of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlashGeometry {
    /// How the cells behave.
    pub kind: FlashKind,
    /// Bytes that are erased at once, not 0. Kernel: `erasesize`.
    pub eraseblock_size: u32,
    /// Eraseblocks, bad ones included.
    pub eraseblock_count: u32,
    /// Bytes that are programmed at least, of which `eraseblock_size` is a multiple: the page of NAND, 1 on most NOR.
    /// Kernel: `writesize`.
    pub page_size: u32,
    /// Bytes of a page that can be programmed alone; `page_size` where there is no such thing. Kernel: `subpagesize`.
    pub sub_page_size: u32,
}

impl FlashGeometry {
    /// Bytes in all.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.eraseblock_size as u64 * self.eraseblock_count as u64
    }

    /// Whether there is no eraseblock at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.eraseblock_count == 0
    }

    /// Byte offset of an eraseblock from the start of the device.
    #[must_use]
    pub const fn offset_of(&self, eraseblock: u32) -> u64 {
        self.eraseblock_size as u64 * eraseblock as u64
    }
}

/// What a device was asked for when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlashOp {
    /// Reading.
    Read,
    /// Erasing an eraseblock.
    Erase,
    /// Programming pages.
    Program,
    /// Asking whether an eraseblock is bad.
    AskBad,
    /// Marking an eraseblock bad.
    MarkBad,
    /// Asking for, setting or clearing the write protection of an eraseblock.
    Lock,
}

impl FlashOp {
    /// A word for messages: `read`, `erase`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FlashOp::Read => "read",
            FlashOp::Erase => "erase",
            FlashOp::Program => "program",
            FlashOp::AskBad => "ask for bad eraseblocks",
            FlashOp::MarkBad => "mark as bad",
            FlashOp::Lock => "lock or unlock",
        }
    }
}

/// Why a device failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum FlashFault {
    /// More bits are wrong than the error correction can put right. The bytes were read all the same. Kernel: `EBADMSG`.
    Uncorrectable,
    /// The flash did not take an erase or a program: the eraseblock may be worn out. Kernel: `EIO`.
    Failed,
    /// The eraseblock is write-protected. Kernel: `EROFS`, `EACCES`.
    Locked,
    /// The eraseblock is marked bad.
    Bad,
    /// The device does not do that at all. Kernel: `EOPNOTSUPP`.
    Unsupported,
    /// Anything else: the device is gone, may not be used, or is asked for bytes past its end. Nothing can be done with it.
    Device(io::Error),
}

impl fmt::Display for FlashFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlashFault::Uncorrectable => {
                f.write_str("more wrong bits than the error correction can put right")
            }
            FlashFault::Failed => f.write_str("the flash did not take it: the eraseblock may be worn out"),
            FlashFault::Locked => f.write_str("write-protected"),
            FlashFault::Bad => f.write_str("marked bad"),
            FlashFault::Unsupported => f.write_str("the device has no such operation"),
            FlashFault::Device(error) => error.fmt(f),
        }
    }
}

/// A device that failed. One word in size, as every call hands it up.
#[derive(Debug)]
pub struct FlashError(Box<FlashFailure>);

/// What is known of a device that failed: what it was asked for, where, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct FlashFailure {
    /// What it was asked for.
    pub op: FlashOp,
    /// Byte offset from the start of the device.
    pub offset: u64,
    /// Why.
    pub fault: FlashFault,
}

impl FlashError {
    /// It failed to do that, there, for that reason.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(op: FlashOp, offset: u64, fault: FlashFault) -> Self {
        FlashError(Box::new(FlashFailure { op, offset, fault }))
    }
}

impl std::ops::Deref for FlashError {
    type Target = FlashFailure;

    fn deref(&self) -> &FlashFailure {
        &self.0
    }
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} at {:#010x}: {}", self.op.name(), self.offset, self.fault)
    }
}

impl std::error::Error for FlashError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            FlashFault::Device(error) => Some(error),
            _ => None,
        }
    }
}

/// What the error correction had to do for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EccStats {
    /// Bits that were put right.
    pub corrected: u32,
    /// Whether the kernel would move the data elsewhere: as many bits were put right in one page as the device calls a
    /// danger. Kernel: `EUCLEAN`, `bitflip_threshold`.
    pub worn: bool,
}

impl EccStats {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let corrected = self.corrected.saturating_add(other.corrected);
        EccStats { corrected, worn: self.worn || other.worn }
    }
}

/// A flash device. Offsets are in bytes from its start. One that has failed with [`FlashFault::Device`] stays failed.
pub trait Flash {
    /// Its sizes; always the same.
    fn geometry(&self) -> FlashGeometry;

    /// Reads all of `bytes` at any offset; says what the error correction had to do.
    ///
    /// # Errors
    /// [`FlashFault::Uncorrectable`], with `bytes` filled as they were read; [`FlashFault::Device`].
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<EccStats, FlashError>;

    /// Erases one eraseblock: all its bits become 1.
    ///
    /// # Errors
    /// [`FlashFault::Failed`], [`FlashFault::Locked`], [`FlashFault::Bad`], [`FlashFault::Device`].
    fn erase(&mut self, eraseblock: u32) -> Result<(), FlashError>;

    /// Programs whole pages, or sub-pages, of one eraseblock.
    ///
    /// # Errors
    /// [`FlashFault::Failed`], [`FlashFault::Locked`], [`FlashFault::Bad`], [`FlashFault::Device`].
    fn program(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FlashError>;

    /// Whether an eraseblock is marked bad; never on flash that has no such marks.
    ///
    /// # Errors
    /// [`FlashFault::Device`].
    fn is_bad(&mut self, eraseblock: u32) -> Result<bool, FlashError>;

    /// Marks an eraseblock bad, for ever.
    ///
    /// # Errors
    /// [`FlashFault::Unsupported`] on flash that has no such marks, [`FlashFault::Failed`], [`FlashFault::Device`].
    fn mark_bad(&mut self, eraseblock: u32) -> Result<(), FlashError>;

    /// Whether an eraseblock is write-protected; `None` where the device does not tell.
    ///
    /// # Errors
    /// [`FlashFault::Device`].
    fn is_locked(&mut self, eraseblock: u32) -> Result<Option<bool>, FlashError>;

    /// Sets or clears the write protection of an eraseblock. Some chips do so for a larger area around it.
    ///
    /// # Errors
    /// [`FlashFault::Unsupported`] where there is no such thing, [`FlashFault::Failed`], [`FlashFault::Device`].
    fn set_locked(&mut self, eraseblock: u32, locked: bool) -> Result<(), FlashError>;

    /// Sets or clears the write protection of `count` eraseblocks from `first` on, in one step where the device can: a chip
    /// that knows one protected range only, as SPI NOR, takes no eraseblock out of its middle. Here one by one, all of them;
    /// the first error is returned.
    ///
    /// # Errors
    /// As [`set_locked`](Self::set_locked).
    fn set_range_locked(&mut self, first: u32, count: u32, locked: bool) -> Result<(), FlashError> {
        let mut result = Ok(());
        for eraseblock in first..first.saturating_add(count) {
            result = result.and(self.set_locked(eraseblock, locked));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_device() {
        let geometry = FlashGeometry {
            kind: FlashKind::Nand,
            eraseblock_size: 0x2_0000,
            eraseblock_count: 0x1_0000,
            page_size: 2048,
            sub_page_size: 512,
        };
        assert_eq!((geometry.len(), geometry.offset_of(0x8001)), (0x2_0000_0000, 0x1_0002_0000));
        assert!(!geometry.is_empty());
    }

    #[test]
    fn errors_say_what_where_and_why() {
        let fault = FlashFault::Device(io::Error::other("gone"));
        let error = FlashError::new(FlashOp::Erase, 0x2_0000, fault);
        assert_eq!(error.to_string(), "cannot erase at 0x00020000: gone");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "gone");
        let both = EccStats { corrected: 1, worn: false }.and(EccStats { corrected: u32::MAX, worn: true });
        assert_eq!(both, EccStats { corrected: u32::MAX, worn: true });
    }
}
