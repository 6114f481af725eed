//! The volumes of an attached UBI device: what the kernel, or a simulation of it, does for those who plan.

use std::fmt;
use std::io;

/// What is known of an attached UBI device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UbiFacts {
    /// Bytes of a LEB, before a volume's alignment takes some. Kernel: `eraseblock_size` in sysfs.
    pub leb_size: u32,
    /// Bytes that are written at least. Kernel: `min_io_size`.
    pub min_io_size: u32,
    /// LEBs that no volume has reserved. Kernel: `avail_eraseblocks`.
    pub free_lebs: u32,
    /// Most volumes that it can have. Kernel: `max_vol_count`.
    pub max_volumes: u32,
}

/// A volume of an attached UBI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UbiVolume {
    /// Id: the 1 of `/dev/ubi0_1`.
    pub id: u32,
    /// Name: 1 to 127 bytes, of no other volume.
    pub name: Vec<u8>,
    /// Whether it is static: written as a whole, with a CRC for each LEB.
    pub is_static: bool,
    /// What the size of its LEBs is a multiple of; 1 or more.
    pub alignment: u32,
    /// LEBs that are reserved for it. Kernel: `reserved_ebs`.
    pub reserved_lebs: u32,
    /// Bytes of a LEB that it can use. Kernel: `usable_eb_size`.
    pub usable_leb_size: u32,
    /// Bytes of data: what a static volume was last written with, all that is reserved for a dynamic one.
    pub data_bytes: u64,
    /// Its data is damaged. Kernel: `corrupted`.
    pub corrupted: bool,
    /// An update of it was begun and not finished: what is in it is not whole. Kernel: `upd_marker`.
    pub update_marker: bool,
}

impl UbiVolume {
    /// Bytes that it has room for.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.reserved_lebs as u64 * self.usable_leb_size as u64
    }
}

/// A volume to be made. The kernel takes the first id that is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUbiVolume {
    /// Name: 1 to 127 bytes, of no other volume.
    pub name: Vec<u8>,
    /// Static, or else dynamic.
    pub is_static: bool,
    /// 1, or a multiple of the page.
    pub alignment: u32,
    /// Bytes, rounded up to whole LEBs by the kernel; not 0.
    pub bytes: u64,
}

/// Who has a volume open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeUse {
    /// Nobody, as far as can be told.
    Free,
    /// Somebody reads: a file system mounted read-only, a block device on it. It can get another name, but can neither be
    /// updated nor removed.
    Read,
    /// Somebody writes: a file system mounted for writing, an update. Nothing can be done with it.
    Written,
}

/// What a device was asked for when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UbiOp {
    /// Facts and lists.
    Look,
    /// Making a volume.
    Make,
    /// Removing one.
    Remove,
    /// Changing the size of one.
    Resize,
    /// Giving names.
    Rename,
    /// Reading.
    Read,
    /// Beginning or continuing an update of a whole volume.
    Update,
    /// Changing a LEB at once.
    ChangeLeb,
    /// Taking the content of a LEB away.
    UnmapLeb,
    /// Asking whether a LEB has content.
    AskMapped,
}

impl UbiOp {
    /// Words for messages: `make the volume`, `read`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            UbiOp::Look => "look at",
            UbiOp::Make => "make",
            UbiOp::Remove => "remove",
            UbiOp::Resize => "resize",
            UbiOp::Rename => "rename",
            UbiOp::Read => "read",
            UbiOp::Update => "update",
            UbiOp::ChangeLeb => "change a LEB of",
            UbiOp::UnmapLeb => "unmap a LEB of",
            UbiOp::AskMapped => "ask for a LEB of",
        }
    }
}

/// Why a device failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum UbiFault {
    /// Somebody else has the volume open. Kernel: `EBUSY`.
    Busy,
    /// Too few LEBs, or no id, are free. Kernel: `ENOSPC`, `ENFILE`.
    NoRoom,
    /// There is no such volume. Kernel: `ENODEV`, `ENOENT`.
    NoVolume,
    /// A volume has that name. Kernel: `EEXIST`.
    Exists,
    /// What is on the flash is damaged: uncorrectable, or its CRC is wrong. Kernel: `EBADMSG`, `EIO` while reading.
    Damaged,
    /// The kernel, or this kind of volume, has no such operation. Kernel: `EOPNOTSUPP`, `ENOTTY`, `EROFS`, `EINVAL`.
    Unsupported,
    /// Anything else. Nothing can be done with the device.
    Device(io::Error),
}

impl fmt::Display for UbiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UbiFault::Busy => "it is in use",
            UbiFault::NoRoom => "no room for it",
            UbiFault::NoVolume => "there is no such volume",
            UbiFault::Exists => "a volume has that name",
            UbiFault::Damaged => "what is on the flash is damaged",
            UbiFault::Unsupported => "the kernel has no such operation for it",
            UbiFault::Device(error) => return error.fmt(f),
        })
    }
}

/// A device that failed. One word in size, as every call hands it up.
#[derive(Debug)]
pub struct UbiError(Box<UbiFailure>);

/// What is known of a device that failed: what it was asked for, with which volume, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct UbiFailure {
    /// What it was asked for.
    pub op: UbiOp,
    /// Id of the volume; `None` for the device as a whole.
    pub volume: Option<u32>,
    /// Why.
    pub fault: UbiFault,
}

impl UbiError {
    /// It failed to do that, with that volume, for that reason.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(op: UbiOp, volume: Option<u32>, fault: UbiFault) -> Self {
        UbiError(Box::new(UbiFailure { op, volume, fault }))
    }
}

impl std::ops::Deref for UbiError {
    type Target = UbiFailure;

    fn deref(&self) -> &UbiFailure {
        &self.0
    }
}

impl fmt::Display for UbiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.op.name())?;
        match self.volume {
            Some(id) => write!(f, "volume {id}: {}", self.fault),
            None if self.op == UbiOp::Look => write!(f, "the UBI device: {}", self.fault),
            None => write!(f, "volumes: {}", self.fault),
        }
    }
}

impl std::error::Error for UbiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            UbiFault::Device(error) => Some(error),
            _ => None,
        }
    }
}

/// An attached UBI device. Ids are those of [`UbiVolume::id`]; a device that has failed with [`UbiFault::Device`] stays
/// failed. What is done is done for good when the call returns, and after a loss of power in the middle of it each call
/// but [`update`](UbiVolumes::update) was made or was not.
pub trait UbiVolumes {
    /// What is known of it now.
    ///
    /// # Errors
    /// [`UbiFault::Device`].
    fn facts(&mut self) -> Result<UbiFacts, UbiError>;

    /// Its volumes, by id.
    ///
    /// # Errors
    /// [`UbiFault::Device`].
    fn volumes(&mut self) -> Result<Vec<UbiVolume>, UbiError>;

    /// Who has a volume open.
    ///
    /// # Errors
    /// [`UbiFault::NoVolume`], [`UbiFault::Device`].
    fn usage(&mut self, id: u32) -> Result<VolumeUse, UbiError>;

    /// Makes an empty volume; returns its id.
    ///
    /// # Errors
    /// [`UbiFault::NoRoom`], [`UbiFault::Exists`], [`UbiFault::Device`].
    fn make(&mut self, volume: &NewUbiVolume) -> Result<u32, UbiError>;

    /// Removes a volume and what is in it.
    ///
    /// # Errors
    /// [`UbiFault::Busy`], [`UbiFault::NoVolume`], [`UbiFault::Device`].
    fn remove(&mut self, id: u32) -> Result<(), UbiError>;

    /// Gives a volume another size in bytes, rounded up to whole LEBs.
    ///
    /// # Errors
    /// [`UbiFault::NoRoom`], [`UbiFault::Busy`], [`UbiFault::NoVolume`], [`UbiFault::Device`].
    fn resize(&mut self, id: u32, bytes: u64) -> Result<(), UbiError>;

    /// Gives volumes other names, all at once. A volume that has one of the new names, and gets no other here, is removed at
    /// the same moment. At most 32.
    ///
    /// # Errors
    /// [`UbiFault::Busy`], [`UbiFault::NoVolume`], [`UbiFault::Device`].
    fn rename(&mut self, names: &[(u32, &[u8])]) -> Result<(), UbiError>;

    /// Reads `bytes` from a volume's byte `offset` on, counted without what alignment leaves over; returns how many there
    /// were, fewer at the end of the volume. LEBs without content read as 0xFF.
    ///
    /// # Errors
    /// [`UbiFault::Damaged`], [`UbiFault::Device`].
    fn read(&mut self, id: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, UbiError>;

    /// Begins to replace a volume's content with `len` bytes, at most its capacity. The old content is gone, and the update
    /// marker set, until [`write`](UbiVolumes::write) has had all of them; with `len` 0 it is done at once.
    ///
    /// # Errors
    /// [`UbiFault::Busy`], [`UbiFault::NoVolume`], [`UbiFault::Device`].
    fn update(&mut self, id: u32, len: u64) -> Result<(), UbiError>;

    /// The next bytes of the update that was begun; the volume is whole when the last of them are there.
    ///
    /// # Errors
    /// [`UbiFault::Device`].
    fn write(&mut self, bytes: &[u8]) -> Result<(), UbiError>;

    /// Replaces the content of one LEB of a dynamic volume: what `bytes`, at most a usable LEB, does not fill reads as 0xFF.
    ///
    /// # Errors
    /// [`UbiFault::Busy`], [`UbiFault::Unsupported`] for a static volume, [`UbiFault::Device`].
    fn change_leb(&mut self, id: u32, leb: u32, bytes: &[u8]) -> Result<(), UbiError>;

    /// Takes the content of one LEB of a dynamic volume away, at once and for good: it reads as 0xFF.
    ///
    /// # Errors
    /// As [`change_leb`](UbiVolumes::change_leb).
    fn erase_leb(&mut self, id: u32, leb: u32) -> Result<(), UbiError>;

    /// The same, but the old content may be there again after a loss of power. Quicker.
    ///
    /// # Errors
    /// As [`change_leb`](UbiVolumes::change_leb).
    fn unmap_leb(&mut self, id: u32, leb: u32) -> Result<(), UbiError>;

    /// Whether a LEB has content.
    ///
    /// # Errors
    /// [`UbiFault::NoVolume`], [`UbiFault::Device`].
    fn is_mapped(&mut self, id: u32, leb: u32) -> Result<bool, UbiError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_which_and_why() {
        let error = |op, volume, fault| UbiError::new(op, volume, fault).to_string();
        assert_eq!(error(UbiOp::Update, Some(3), UbiFault::Busy), "cannot update volume 3: it is in use");
        let gone = UbiFault::Device(io::Error::other("gone"));
        assert_eq!(error(UbiOp::Look, None, gone), "cannot look at the UBI device: gone");
        assert_eq!(
            error(UbiOp::Rename, None, UbiFault::NoVolume),
            "cannot rename volumes: there is no such volume"
        );
    }

    #[test]
    fn room() {
        let volume = UbiVolume {
            id: 0,
            name: b"a".to_vec(),
            is_static: false,
            alignment: 1,
            reserved_lebs: 1 << 17,
            usable_leb_size: 126_976,
            data_bytes: 0,
            corrupted: false,
            update_marker: false,
        };
        assert_eq!(volume.capacity(), 126_976 << 17);
    }
}
