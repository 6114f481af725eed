//! What an image is to be.

use std::sync::Arc;

use flashwright_media::UbiGeometry;

use crate::fit::Device;
use crate::format::VolumeType;
use crate::input::ReadAt;

/// How an image is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Sizes of the flash.
    pub geometry: UbiGeometry,
    /// Erase counter of every PEB, 0 to 2,147,483,647. Default 0. Flashing tools that know UBI keep the device's own.
    /// Changing this changes images.
    pub erase_count: u64,
    /// Number that tells this image from others; the kernel refuses flash that has PEBs of two. `None`, the default: derived
    /// from all that is in the image, and never 0.
    pub image_seq: Option<u32>,
    /// The device that the image must fit on. `None`, the default: not checked.
    pub device: Option<Device>,
}

impl Options {
    /// The best choice for flash of that geometry.
    #[must_use]
    pub const fn new(geometry: UbiGeometry) -> Self {
        Options { geometry, erase_count: 0, image_seq: None, device: None }
    }
}

/// What goes into a volume.
#[derive(Debug, Clone)]
pub struct Content {
    /// Bytes.
    pub len: u64,
    /// Where they are.
    pub source: Arc<dyn ReadAt>,
}

impl Content {
    /// Bytes of memory.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Content { len: bytes.len() as u64, source: Arc::new(bytes) }
    }
}

/// A volume.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Volume {
    /// 1 to 127 bytes, no NUL, of no other volume.
    pub name: String,
    /// Below 128, or below the number of records that a LEB has room for. `None`, the default: the first that is free.
    pub id: Option<u32>,
    /// Default dynamic.
    pub volume_type: VolumeType,
    /// Bytes that the usable size of a LEB is a multiple of: 1, the default, or a multiple of the page. Costs the rest of
    /// every LEB.
    pub alignment: u32,
    /// Bytes that are reserved, rounded up to whole LEBs. `None`, the default: as many as the content takes.
    pub size: Option<u64>,
    /// Grows to all that is free when the device is attached for the first time. One volume only. Default no.
    pub autoresize: bool,
    /// The kernel does not read a static volume as a whole before it is used. Default no.
    pub skip_check: bool,
    /// `None`, the default: empty. A static volume must have some.
    pub content: Option<Content>,
}

impl Volume {
    /// A dynamic volume of that name, without size or content: one of the two must be set.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Volume {
            name: name.into(),
            id: None,
            volume_type: VolumeType::Dynamic,
            alignment: 1,
            size: None,
            autoresize: false,
            skip_check: false,
            content: None,
        }
    }
}
