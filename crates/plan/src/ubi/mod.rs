//! A UBI image onto an MTD device, so that every PEB keeps its erase count, and whatever is there already stays.
//!
//! [`plan()`] looks at image and device and decides; [`format()`] does so for an empty UBI; [`Plan::execute`] does it. The
//! order in which it does makes every moment safe:
//!
//! - As long as a copy of the old volume table is there, all that it tells of is, too: the kernel attaches the old content.
//! - Then there is no volume table, and the kernel refuses the device. A second run finds what is right already.
//! - The new volume table comes last: when the kernel finds it, all LEBs are there, and no others.
//!
//! Each PEB that is erased gets its header at once, alone or with the LEB that goes there, with its own count and one more, so a
//! power cut loses the count of one PEB at most. PEBs whose header cannot be read get the mean of the others, and the report
//! says how many.

mod execute;
mod health;
mod image;
mod plan;
mod survey;
mod table;

pub use execute::UbiReport;
pub use health::{Health, health};
pub use plan::{Fate, Mode, Plan, Step, Totals, format, plan};

use crate::report::Sha256;

/// Words of refusals: what `--force` takes, where it takes any.
pub mod word {
    /// The image was made for flash of other sizes. Nothing overrides that.
    pub const GEOMETRY: &str = "geometry";
    /// The device has too few good PEBs. Nothing overrides that.
    pub const SIZE: &str = "size";
    /// Fewer PEBs are left for those that go bad than the kernel wants.
    pub const RESERVE: &str = "reserve";
    /// The image is not the one that was asked for. Nothing overrides that.
    pub const SHA256: &str = "sha256";
    /// The kernel has to be told where VID headers are.
    pub const VID_OFFSET: &str = "vid-offset";
}

/// How a UBI image is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The erase count of PEBs that have no header which tells: how often each was erased before UBI came. `None`, the
    /// default: the mean of the others, 0 without others.
    pub assumed_count: Option<u32>,
    /// The SHA-256 that the image must have. Default none. That of a file is checked before anything is changed; that of a
    /// pipe before the new volume table is written, without which the kernel attaches nothing.
    pub sha256: Option<Sha256>,
    /// Whether all that is written is read back and compared. Default yes.
    pub verify: bool,
    /// Whether a LEB stays unread when its VID header has the CRC of what it is to be, and its last page is right. Default no:
    /// all that stays is read and compared. Much faster, but data that have rotted since they were written stay as they are.
    /// The CRC is in the headers of static volumes, of what this writer has written, and of LEBs that the kernel has moved or
    /// changed as a whole.
    pub trust_crc: bool,
    /// For [`format()`]: bytes from the start of a PEB to its VID header. `None`, the default: as the kernel has it.
    pub vid_hdr_offset: Option<u32>,
    /// PEBs of the whole chip, which the kernel's reserve for bad ones is made for. `None`, the default: those of the device.
    pub chip_peb_count: Option<u32>,
    /// Bad PEBs of 1024 that the kernel provides for. `None`, the default: 20 on NAND, none on other flash.
    pub max_beb_per1024: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            assumed_count: None,
            sha256: None,
            verify: true,
            trust_crc: false,
            vid_hdr_offset: None,
            chip_peb_count: None,
            max_beb_per1024: None,
        }
    }
}
