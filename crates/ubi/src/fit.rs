//! Whether volumes fit on a device: the sums that the kernel makes when it attaches.

use std::fmt;

use crate::format::LAYOUT_LEBS;

/// PEBs that the kernel keeps for wear-levelling. Kernel: `WL_RESERVED_PEBS`.
const WEAR_LEVELLING: u64 = 1;
/// PEBs that it keeps for an atomic change of a LEB. Kernel: `EBA_RESERVED_PEBS`.
const ATOMIC_CHANGE: u64 = 1;
/// Bad PEBs of 1024 that the kernel provides for on NAND. Kernel: `CONFIG_MTD_UBI_BEB_LIMIT`.
pub(crate) const DEFAULT_BEB: u32 = 20;
/// Flash with a larger unit of writing is NAND, which has bad blocks; NOR has 1 to 64 bytes.
pub(crate) const SMALLEST_NAND_PAGE: u32 = 256;

/// The flash that an image is for. `new` gives one that is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// PEBs of the partition, bad ones included.
    pub peb_count: u32,
    /// How many of them are bad. Default 0.
    pub bad_pebs: u32,
    /// PEBs of the whole chip, which the kernel's reserve for bad ones is made for. Default: as `peb_count`.
    pub chip_peb_count: Option<u32>,
    /// Bad PEBs of 1024 that are provided for. Default: 20 on NAND, 0 on NOR, as Linux has it.
    pub max_beb_per1024: Option<u32>,
}

impl Device {
    /// A sound device of that many PEBs.
    #[must_use]
    pub const fn new(peb_count: u32) -> Self {
        Device { peb_count, bad_pebs: 0, chip_peb_count: None, max_beb_per1024: None }
    }

    /// PEBs that the kernel wants to have left for those that go bad. Kernel: `get_bad_peb_limit`.
    fn reserve(&self, min_io_size: u32) -> u64 {
        let default = if min_io_size < SMALLEST_NAND_PAGE { 0 } else { DEFAULT_BEB };
        let per_1024 = u64::from(self.max_beb_per1024.unwrap_or(default));
        let chip = u64::from(self.chip_peb_count.unwrap_or(self.peb_count));
        (chip * per_1024).div_ceil(1024).saturating_sub(self.bad_pebs.into())
    }
}

/// What a device has to hold. All in PEBs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Reserved for volumes.
    pub volumes: u64,
    /// Both copies of the volume table.
    pub layout: u64,
    /// Kept for wear-levelling.
    pub wear_levelling: u64,
    /// Kept for changing a LEB at once.
    pub atomic_change: u64,
    /// Kept for PEBs that go bad.
    pub bad_reserve: u64,
    /// What the device has, bad ones included.
    pub peb_count: u64,
    /// How many of those are bad.
    pub bad_pebs: u64,
}

impl Fit {
    /// For volumes that reserve so many PEBs, on flash with that smallest unit of writing in bytes.
    #[must_use]
    pub fn new(volumes: u64, device: &Device, min_io_size: u32) -> Self {
        Fit {
            volumes,
            layout: LAYOUT_LEBS.into(),
            wear_levelling: WEAR_LEVELLING,
            atomic_change: ATOMIC_CHANGE,
            bad_reserve: device.reserve(min_io_size),
            peb_count: device.peb_count.into(),
            bad_pebs: device.bad_pebs.into(),
        }
    }

    /// All that the device must have.
    #[must_use]
    pub const fn needed(&self) -> u64 {
        self.volumes + self.layout + self.wear_levelling + self.atomic_change + self.bad_reserve
    }

    /// What the device has that is not bad.
    #[must_use]
    pub const fn good(&self) -> u64 {
        self.peb_count.saturating_sub(self.bad_pebs)
    }

    /// PEBs that are left, for a volume that grows; `None` when there are too few.
    #[must_use]
    pub const fn free(&self) -> Option<u64> {
        self.good().checked_sub(self.needed())
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fit { volumes, layout, wear_levelling, atomic_change, bad_reserve, .. } = self;
        write!(f, "volumes {volumes} + volume table {layout} + wear-levelling {wear_levelling} ")?;
        write!(
            f,
            "+ atomic change {atomic_change} + reserve for bad PEBs {bad_reserve} = {} PEBs",
            self.needed()
        )?;
        let (peb_count, bad) = (self.peb_count, self.bad_pebs);
        match bad {
            0 => write!(f, ", of {peb_count}"),
            _ => write!(f, ", of {} that are good ({peb_count} less {bad})", self.good()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_the_kernels() {
        // PEBs, bad ones, chip, limit, page: reserve.
        let cases = [
            (1024, 0, None, None, 2048, 20),
            (1025, 0, None, None, 2048, 21),
            (256, 0, None, None, 512, 5),
            (256, 3, None, None, 512, 2),
            (256, 9, None, None, 512, 0),
            (256, 0, Some(2048), None, 2048, 40),
            (256, 0, None, Some(0), 2048, 0),
            (1024, 0, None, None, 1, 0),
            (1024, 0, None, Some(768), 1, 768),
        ];
        for (peb_count, bad_pebs, chip_peb_count, max_beb_per1024, min_io, reserve) in cases {
            let device = Device { peb_count, bad_pebs, chip_peb_count, max_beb_per1024 };
            assert_eq!(device.reserve(min_io), reserve, "{device:?}");
        }
    }

    #[test]
    fn sums() {
        let fit = Fit::new(100, &Device { bad_pebs: 3, ..Device::new(112) }, 2048);
        assert_eq!((fit.needed(), fit.good(), fit.free()), (104, 109, Some(5)));
        assert_eq!(
            fit.to_string(),
            "volumes 100 + volume table 2 + wear-levelling 1 + atomic change 1 + reserve for bad PEBs 0 = 104 PEBs, \
             of 109 that are good (112 less 3)"
        );
        assert_eq!(Fit::new(100, &Device::new(103), 1).free(), None);
    }
}
