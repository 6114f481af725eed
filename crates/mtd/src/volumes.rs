//! An attached UBI device as [`UbiVolumes`], for those who plan.

use std::io::{self, Write};

use flashwright_media::{
    NewUbiVolume, UbiError, UbiFacts, UbiFault, UbiOp, UbiVolume, UbiVolumes, VolumeUse,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::ubi::{self, NewVolume, Update, Volume};
use crate::usage;

/// An attached UBI device whose volumes are read and changed.
#[derive(Debug)]
pub struct AttachedUbi {
    number: u32,
    /// The volume that was used last, and whether it is open for changing: opening one for each LEB would tell the whole
    /// system each time.
    open: Option<(u32, bool, Volume)>,
    /// The update that was begun, of which volume, and how many bytes it still wants.
    update: Option<(u32, u64, Update)>,
}

/// What a refusal of the kernel means for UBI.
fn fault(op: UbiOp, error: Error) -> UbiFault {
    let reads = matches!(op, UbiOp::Read);
    match Errno::from_io_error(error.cause()) {
        Some(Errno::BUSY) => UbiFault::Busy,
        Some(Errno::NOSPC | Errno::NFILE) => UbiFault::NoRoom,
        Some(Errno::NODEV | Errno::NOENT) => UbiFault::NoVolume,
        Some(Errno::EXIST) => UbiFault::Exists,
        Some(Errno::BADMSG) => UbiFault::Damaged,
        Some(Errno::IO) if reads => UbiFault::Damaged,
        Some(Errno::OPNOTSUPP | Errno::NOTTY | Errno::ROFS | Errno::INVAL) => UbiFault::Unsupported,
        _ => UbiFault::Device(error.into()),
    }
}

fn failed(op: UbiOp, volume: Option<u32>) -> impl FnOnce(Error) -> UbiError {
    move |error| UbiError::new(op, volume, fault(op, error))
}

impl AttachedUbi {
    /// The UBI device of that number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        AttachedUbi { number, open: None, update: None }
    }

    /// The volume, opened if it is not open yet.
    fn open(&mut self, op: UbiOp, id: u32, write: bool) -> Result<&mut Volume, UbiError> {
        let fits = self.open.as_ref().is_some_and(|(open, writes, _)| *open == id && (*writes || !write));
        let volume = match self.open.take() {
            Some((_, writes, volume)) if fits => (id, writes, volume),
            // Closed before it is opened in another way: the kernel lets a volume be open for changing once.
            other => {
                drop(other);
                (id, write, Volume::open(self.number, id, write).map_err(failed(op, Some(id)))?)
            }
        };
        Ok(&mut self.open.insert(volume).2)
    }

    fn volume(&self, id: u32) -> Result<UbiVolume, Error> {
        let text = |name| ubi::volume_attribute(self.number, id, name);
        let number = |name| ubi::volume_number(self.number, id, name);
        // The kernel has all of these as `int`.
        let small = |name| number(name).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        Ok(UbiVolume {
            id,
            name: text("name")?.into_bytes(),
            is_static: text("type")? == "static",
            alignment: small("alignment")?,
            reserved_lebs: small("reserved_ebs")?,
            usable_leb_size: small("usable_eb_size")?,
            data_bytes: number("data_bytes")?,
            corrupted: number("corrupted")? != 0,
            update_marker: number("upd_marker")? != 0,
        })
    }
}

impl UbiVolumes for AttachedUbi {
    fn facts(&mut self) -> Result<UbiFacts, UbiError> {
        // The kernel has all of these as `int`.
        let number = |name| {
            let value = ubi::device_number(self.number, name).map_err(failed(UbiOp::Look, None))?;
            Ok(u32::try_from(value).unwrap_or(u32::MAX))
        };
        Ok(UbiFacts {
            leb_size: number("eraseblock_size")?,
            min_io_size: number("min_io_size")?,
            free_lebs: number("avail_eraseblocks")?,
            max_volumes: number("max_vol_count")?,
        })
    }

    fn volumes(&mut self) -> Result<Vec<UbiVolume>, UbiError> {
        let ids = ubi::volume_ids(self.number).map_err(failed(UbiOp::Look, None))?;
        ids.into_iter().map(|id| self.volume(id).map_err(failed(UbiOp::Look, Some(id)))).collect()
    }

    fn usage(&mut self, id: u32) -> Result<VolumeUse, UbiError> {
        match self.open(UbiOp::Look, id, true) {
            Err(error) if matches!(error.fault, UbiFault::Busy) => return Ok(VolumeUse::Written),
            Err(error) => return Err(error),
            Ok(_) => self.open = None,
        }
        let look = |error| failed(UbiOp::Look, Some(id))(error);
        let name = ubi::volume_attribute(self.number, id, "name").map_err(look)?;
        let users = usage::of_volume(self.number, id, &name).map_err(look)?;
        Ok(if users.is_empty() { VolumeUse::Free } else { VolumeUse::Read })
    }

    fn make(&mut self, volume: &NewUbiVolume) -> Result<u32, UbiError> {
        let failed = failed(UbiOp::Make, None);
        let new = NewVolume {
            name: volume.name.clone(),
            id: None,
            bytes: volume.bytes,
            alignment: volume.alignment,
            is_static: volume.is_static,
            skip_check: false,
        };
        ubi::make_volume(self.number, &new).map_err(failed)
    }

    fn remove(&mut self, id: u32) -> Result<(), UbiError> {
        self.open = None;
        ubi::remove_volume(self.number, id).map_err(failed(UbiOp::Remove, Some(id)))
    }

    fn resize(&mut self, id: u32, bytes: u64) -> Result<(), UbiError> {
        self.open = None;
        ubi::resize_volume(self.number, id, bytes).map_err(failed(UbiOp::Resize, Some(id)))
    }

    fn rename(&mut self, names: &[(u32, &[u8])]) -> Result<(), UbiError> {
        self.open = None;
        ubi::rename_volumes(self.number, names).map_err(failed(UbiOp::Rename, None))
    }

    fn read(&mut self, id: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, UbiError> {
        let volume = self.open(UbiOp::Read, id, false)?;
        let mut count = 0;
        while let Some(rest) = bytes.get_mut(count..).filter(|rest| !rest.is_empty()) {
            // A usize has at most 64 bits.
            let read = volume.read(offset.saturating_add(count as u64), rest);
            match read.map_err(failed(UbiOp::Read, Some(id)))? {
                0 => break,
                more => count += more,
            }
        }
        Ok(count)
    }

    fn update(&mut self, id: u32, len: u64) -> Result<(), UbiError> {
        self.open = None;
        let update = Update::start(self.number, id, len).map_err(failed(UbiOp::Update, Some(id)))?;
        self.update = (len > 0).then_some((id, len, update));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), UbiError> {
        let Some((id, left, update)) = &mut self.update else {
            let error = io::ErrorKind::InvalidInput.into();
            return Err(UbiError::new(UbiOp::Update, None, UbiFault::Device(error)));
        };
        let volume = Some(*id);
        update
            .write_all(bytes)
            .map_err(|error| UbiError::new(UbiOp::Update, volume, UbiFault::Device(error)))?;
        *left = left.saturating_sub(bytes.len() as u64);
        if *left == 0 {
            // Closed: as long as it is open, nothing else can be done with the volume.
            self.update = None;
        }
        Ok(())
    }

    fn change_leb(&mut self, id: u32, leb: u32, bytes: &[u8]) -> Result<(), UbiError> {
        let volume = self.open(UbiOp::ChangeLeb, id, true)?;
        volume.change_leb(leb, bytes).map_err(failed(UbiOp::ChangeLeb, Some(id)))
    }

    fn erase_leb(&mut self, id: u32, leb: u32) -> Result<(), UbiError> {
        let volume = self.open(UbiOp::UnmapLeb, id, true)?;
        volume.erase_leb(leb).map_err(failed(UbiOp::UnmapLeb, Some(id)))
    }

    fn unmap_leb(&mut self, id: u32, leb: u32) -> Result<(), UbiError> {
        let volume = self.open(UbiOp::UnmapLeb, id, true)?;
        volume.unmap_leb(leb).map_err(failed(UbiOp::UnmapLeb, Some(id)))
    }

    fn is_mapped(&mut self, id: u32, leb: u32) -> Result<bool, UbiError> {
        let volume = self.open(UbiOp::AskMapped, id, false)?;
        volume.is_mapped(leb).map_err(failed(UbiOp::AskMapped, Some(id)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let cases = [
            (UbiOp::Update, Errno::BUSY, "it is in use"),
            (UbiOp::Make, Errno::NOSPC, "no room for it"),
            (UbiOp::Look, Errno::NOENT, "there is no such volume"),
            (UbiOp::Make, Errno::EXIST, "a volume has that name"),
            (UbiOp::Read, Errno::IO, "what is on the flash is damaged"),
            (UbiOp::ChangeLeb, Errno::ROFS, "the kernel has no such operation for it"),
        ];
        for (op, errno, words) in cases {
            let error = Error::new("use", Path::new("/dev/ubi0_0"))(errno.into());
            assert_eq!(fault(op, error).to_string(), words);
        }
        let error = Error::new("change a LEB of", Path::new("/dev/ubi0_0"))(Errno::IO.into());
        assert!(matches!(fault(UbiOp::ChangeLeb, error), UbiFault::Device(_)));
    }

    #[test]
    fn a_device_that_is_not_there() {
        let mut ubi = AttachedUbi::new(31);
        assert!(matches!(ubi.facts().unwrap_err().fault, UbiFault::NoVolume));
        let error = ubi.usage(1).unwrap_err();
        assert!(matches!(error.fault, UbiFault::NoVolume) && error.volume == Some(1), "{error}");
        assert!(ubi.write(&[1]).is_err());
    }
}
