//! What an image was made for, against where it is to go.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, FlashGeometry, FlashKind};

use super::{Image, word};
use crate::error::Refusal;

/// A UBI volume, as far as an image cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of a LEB that it can use.
    pub usable_leb_size: u32,
    /// LEBs that are reserved.
    pub reserved_lebs: u32,
    /// Bytes that are written at least.
    pub min_io_size: u32,
    /// Whether it is static.
    pub is_static: bool,
}

/// Why an image does not belong on an MTD device as it is, byte by byte. `host` is the byte order of the CPU that will
/// mount it: that of the program, on the device. UBI has its own rules, see [`crate::ubi`].
#[must_use]
pub fn fits_mtd(image: &Image, geometry: &FlashGeometry, host: Endian) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |what, reason| refusals.push(Refusal::forcible(what, reason));
    match image {
        Image::Ubifs(_) => {
            let reason = "UBIFS lives in a UBI volume: on the flash itself nothing can mount it; write it to ubi:VOLUME";
            refuse(word::KIND, reason.to_owned());
        }
        Image::Jffs2(jffs2) => {
            if jffs2.endian != host {
                let found = jffs2.endian;
                let reason =
                    format!("a {found}-endian JFFS2: this device's kernel, {host}-endian, cannot mount it");
                refuse(word::ENDIAN, reason);
            }
            if let Some(size) = jffs2.eraseblock.filter(|&size| size != geometry.eraseblock_size) {
                let has = geometry.eraseblock_size;
                let reason = format!("a JFFS2 for eraseblocks of {size} bytes: this flash has {has}");
                refuse(word::GEOMETRY, reason);
            }
            if jffs2.cleanmarker && geometry.kind == FlashKind::Nand {
                let reason = "a JFFS2 with cleanmarkers among its nodes, as for NOR: on NAND the kernel has them in spare \
                              bytes and erases these eraseblocks";
                refuse(word::KIND, reason.to_owned());
            }
        }
        _ => {}
    }
    refusals
}

/// Why an image is no content for that UBI volume.
#[must_use]
pub fn fits_volume(image: &Image, volume: &Volume) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |what, reason| refusals.push(Refusal::forcible(what, reason));
    match image {
        Image::Ubi(_) => {
            let reason = "an image of a whole UBI device: a volume has no room for another; write it to the MTD device";
            refuse(word::KIND, reason.to_owned());
        }
        Image::Ubifs(ubifs) => {
            let Volume { usable_leb_size, reserved_lebs, min_io_size, is_static } = *volume;
            if is_static {
                refuse(
                    word::KIND,
                    "UBIFS is written to: it needs a dynamic volume, this one is static".to_owned(),
                );
            }
            if ubifs.leb_size != usable_leb_size {
                let reason = format!(
                    "a UBIFS for LEBs of {} bytes: this volume has {usable_leb_size}",
                    ubifs.leb_size
                );
                refuse(word::GEOMETRY, reason);
            }
            // UBIFS has 8 for whatever is below.
            let min_io_size = min_io_size.max(8);
            if ubifs.min_io_size != min_io_size {
                let found = ubifs.min_io_size;
                let reason = format!("a UBIFS for min I/O of {found} bytes: this device has {min_io_size}");
                refuse(word::GEOMETRY, reason);
            }
            if ubifs.leb_count > reserved_lebs {
                let reason = format!("a UBIFS of {} LEBs: this volume has {reserved_lebs}", ubifs.leb_count);
                refuse(word::GEOMETRY, reason);
            }
        }
        Image::Jffs2(_) => {
            let reason = "a JFFS2 for the flash itself: in a UBI volume UBIFS or SquashFS belongs";
            refuse(word::KIND, reason.to_owned());
        }
        _ => {}
    }
    refusals
}
