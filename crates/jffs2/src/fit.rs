//! Whether an image fits its device, and what the device has left.
//!
//! JFFS2 cannot be filled to the last eraseblock: garbage collection moves what is still valid before it erases, and
//! the kernel keeps free eraseblocks for that. Source of fact: `jffs2_calc_trigger_levels` in the kernel's
//! `fs/jffs2/build.c`, and `jffs2_statfs`.

use std::fmt;

use crate::format::MIN_ERASEBLOCKS;
use crate::options::Options;
use crate::writer::Summary;

/// Eraseblocks that the kernel keeps so that files can still be deleted. Kernel: `resv_blocks_deletion`.
const FOR_DELETION: u64 = 2;
/// Bytes per eraseblock of the device that go into the reserve. Kernel: `jffs2_calc_trigger_levels`.
const PER_ERASEBLOCK: u64 = 100;
/// Part of the device that goes into the reserve: 1/50.
const PART: u64 = 50;

/// How an image and its device go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fit {
    /// Eraseblocks of the device.
    pub device_eraseblocks: u64,
    /// Eraseblocks that the image takes, the last one in part.
    pub used_eraseblocks: u64,
    /// Eraseblocks that the kernel keeps free before it writes anything. Kernel: `resv_blocks_write`.
    pub reserved_eraseblocks: u64,
    /// Bytes that can be written after the first mount, nodes and all, as `statfs` says: free space less the reserve.
    pub free_bytes: u64,
}

/// Whether a device is of use with that image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is room to write.
    Fits,
    /// It mounts and can be read, but garbage collection has no room, so nothing can be written.
    NoRoom,
    /// The image is larger than the device.
    TooLarge,
    /// The device has fewer eraseblocks than the kernel mounts.
    TooSmall,
}

/// How the image that `summary` tells of, made with `options`, goes with a device of `device_size` bytes. What the
/// device has beyond its last whole eraseblock is not used.
#[must_use]
pub fn fit(summary: &Summary, options: &Options, device_size: u64) -> Fit {
    let eraseblock = u64::from(options.eraseblock);
    let device_eraseblocks = device_size / eraseblock;
    let reserve = device_eraseblocks * eraseblock / PART + device_eraseblocks * PER_ERASEBLOCK;
    let reserved_eraseblocks = FOR_DELETION + reserve.div_ceil(eraseblock);
    let used_eraseblocks = summary.eraseblocks;
    let empty = device_eraseblocks.saturating_sub(used_eraseblocks);
    let free = empty * (eraseblock - u64::from(options.cleanmarker_len())) + u64::from(summary.open_bytes);
    let free_bytes = free.saturating_sub(reserved_eraseblocks * eraseblock);
    Fit { device_eraseblocks, used_eraseblocks, reserved_eraseblocks, free_bytes }
}

impl Fit {
    /// What to make of it.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.used_eraseblocks > self.device_eraseblocks {
            Verdict::TooLarge
        } else if self.device_eraseblocks < MIN_ERASEBLOCKS {
            Verdict::TooSmall
        } else if self.device_eraseblocks - self.used_eraseblocks < self.reserved_eraseblocks {
            Verdict::NoRoom
        } else {
            Verdict::Fits
        }
    }
}

impl fmt::Display for Fit {
    /// One line with the numbers, for reports, warnings and errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fit {
            device_eraseblocks: device, used_eraseblocks: used, reserved_eraseblocks: reserved, ..
        } = self;
        let free = device.saturating_sub(*used);
        match self.verdict() {
            Verdict::TooLarge => {
                write!(f, "the image takes {used} eraseblocks, the device has {device}: leave files out")
            }
            Verdict::TooSmall => write!(
                f,
                "the device has {device} eraseblocks, Linux mounts JFFS2 from {MIN_ERASEBLOCKS} on: use a larger partition"
            ),
            Verdict::NoRoom => write!(
                f,
                "{free} of {device} eraseblocks are free, garbage collection needs {reserved}: the device can be \
                 read but not written; leave files out or use a larger partition"
            ),
            Verdict::Fits => write!(
                f,
                "{used} of {device} eraseblocks used, {reserved} kept for garbage collection, {} bytes free to write",
                self.free_bytes
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashwright_media::Endian;

    fn of(used: u64, device: u64) -> Fit {
        let summary = Summary { eraseblocks: used, open_bytes: 1000, ..Summary::default() };
        fit(&summary, &Options::new(0x1_0000, Endian::Big), device << 16)
    }

    #[test]
    fn the_reserve_is_the_kernels() {
        // 16 MiB in 256 eraseblocks: 335544 + 25600 bytes are 5.51 eraseblocks.
        let fit = of(100, 256);
        assert_eq!(fit.reserved_eraseblocks, 2 + 6);
        assert_eq!(fit.free_bytes, 156 * (65536 - 12) + 1000 - 8 * 65536);
        assert_eq!(fit.verdict(), Verdict::Fits);
        assert_eq!(
            fit.to_string(),
            "100 of 256 eraseblocks used, 8 kept for garbage collection, 9698456 bytes free to write"
        );
    }

    #[test]
    fn verdicts() {
        let cases = [
            (248, 256, Verdict::Fits),
            (249, 256, Verdict::NoRoom),
            (256, 256, Verdict::NoRoom),
            (257, 256, Verdict::TooLarge),
            (1, 4, Verdict::TooSmall),
            (5, 4, Verdict::TooLarge),
        ];
        for (used, device, verdict) in cases {
            assert_eq!(of(used, device).verdict(), verdict, "{used} {device}");
        }
        assert_eq!(of(256, 256).free_bytes, 0);
        assert!(
            of(249, 256).to_string().starts_with("7 of 256 eraseblocks are free, garbage collection needs 8")
        );
    }
}
