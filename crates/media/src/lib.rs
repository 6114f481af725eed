//! What every flash format needs to know of flash and of the CPU behind it: sizes of eraseblocks, integers in the
//! target's byte order, the kernel's two CRC conventions, and what any flash device does: [`Flash`];
//! what any attached UBI device does: [`UbiVolumes`].

mod crc;
mod endian;
mod flash;
mod geometry;
mod ubi;
mod volumes;

pub use crc::{Crc32, crc32, crc32_from_ones, crc32_from_zero};
pub use endian::{Endian, Field, Fields};
pub use flash::{EccStats, Flash, FlashError, FlashFailure, FlashFault, FlashGeometry, FlashKind, FlashOp};
pub use geometry::{EraseblockSize, GeometryError};
pub use ubi::{Leb, MAX_PEB_SIZE, Peb, UBI_HEADER_LEN, UbiGeometry, UbiGeometryError};
pub use volumes::{
    NewUbiVolume, UbiError, UbiFacts, UbiFailure, UbiFault, UbiOp, UbiVolume, UbiVolumes, VolumeUse,
};
