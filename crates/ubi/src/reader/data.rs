//! The data of LEBs and volumes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io::Write;

use crc32fast::Hasher;

use super::finding::{DAMAGED, Finding};
use super::scan::Entry;
use super::volume::VolumeInfo;
use super::{Image, ReadError};
use crate::format::VolumeType;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;
/// No device has more PEBs than that, and so no volume more LEBs.
const MAX_LEBS: u32 = 1 << 20;

impl Image {
    /// Gives the first `len` bytes of data in a PEB to `sink`, a piece at a time.
    pub(super) fn read_data(
        &self,
        peb: u32,
        len: u32,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut buffer = vec![0; CHUNK];
        let (mut done, len) = (0u32, len.min(self.geometry.leb_size()));
        while done < len {
            let now = usize::try_from(len.saturating_sub(done)).unwrap_or(CHUNK).min(CHUNK);
            let bytes = buffer.get_mut(..now).unwrap_or_default();
            let within = self.geometry.data_offset.saturating_add(done);
            self.geometry.read(self.input.as_ref(), peb, within, bytes)?;
            sink(bytes)?;
            // At most CHUNK.
            done = done.saturating_add(u32::try_from(now).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// CRC of the data that the VID header covers.
    pub(super) fn data_crc(&self, entry: &Entry) -> Result<u32, ReadError> {
        let mut hasher = Hasher::new();
        self.read_data(entry.peb, entry.header.data_size, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(!hasher.finalize())
    }

    /// What is wrong with the data of that PEB by its own CRC; `None` when nothing is, or nothing is known.
    pub(super) fn data_fault(&self, entry: &Entry) -> Result<Option<Finding>, ReadError> {
        let header = &entry.header;
        let is_static = header.volume_type == VolumeType::Static.to_flash();
        if !is_static && header.copy_flag == 0 {
            return Ok(None);
        }
        let crc = self.data_crc(entry)?;
        if crc == header.data_crc {
            return Ok(None);
        }
        let (expected, found) = (format!("{:#010x}", header.data_crc), format!("{crc:#010x}"));
        let offset = self.geometry.position(entry.peb, self.geometry.data_offset);
        let finding = Finding::error("data CRC", expected, found, DAMAGED);
        Ok(Some(finding.at(entry.peb, offset).of(header.volume_id, header.lnum)))
    }

    /// The volume of that name, or of that id given in digits.
    ///
    /// # Errors
    /// [`ReadError::NoVolume`].
    pub fn volume(&self, name: &str) -> Result<&VolumeInfo, ReadError> {
        let id = name.parse().ok();
        let by_name = self.volumes.iter().find(|volume| volume.name == name.as_bytes());
        let found = by_name.or_else(|| self.volumes.iter().find(|volume| Some(volume.id) == id));
        found.ok_or_else(|| ReadError::NoVolume(name.to_owned()))
    }

    /// Writes the content of a volume; returns its bytes. LEBs of a dynamic volume that are not there read as 0xFF, as the
    /// kernel has it. `progress` is told bytes done.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when a LEB of a static volume is missing, or data has another CRC than its header says;
    /// [`ReadError::Io`], [`ReadError::Output`].
    pub fn extract(
        &self,
        volume: &VolumeInfo,
        output: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, ReadError> {
        if volume.leb_count() > MAX_LEBS {
            let (id, count) = (volume.id, volume.leb_count());
            let finding = Finding::error("highest LEB", format!("below {MAX_LEBS}"), count, DAMAGED);
            return Err(ReadError::Damaged(Box::new(finding.of_volume(id))));
        }
        let mut done = 0u64;
        for lnum in 0..volume.leb_count() {
            let left = volume.len.saturating_sub(done).min(volume.usable_leb_size.into());
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            match self.resolve(volume.id, lnum)? {
                Some(entry) => self.extract_leb(&entry, left, output)?,
                None if volume.volume_type == VolumeType::Static => {
                    return Err(ReadError::Damaged(Box::new(missing(volume.id, lnum))));
                }
                None => erased(left, output)?,
            }
            done = done.saturating_add(left.into());
            progress(done);
        }
        Ok(done)
    }

    fn extract_leb(&self, entry: &Entry, len: u32, output: &mut dyn Write) -> Result<(), ReadError> {
        // Of a dynamic volume the kernel gives out what is there: what is in it protects itself.
        let is_static = entry.header.volume_type == VolumeType::Static.to_flash();
        if is_static && let Some(finding) = self.data_fault(entry)? {
            return Err(ReadError::Damaged(Box::new(finding)));
        }
        self.read_data(entry.peb, len, &mut |bytes| output.write_all(bytes).map_err(ReadError::Output))
    }
}

pub(super) fn missing(volume: u32, lnum: u32) -> Finding {
    Finding::error("LEB of a static volume", "in a PEB", "none that holds it", DAMAGED).of(volume, lnum)
}

fn erased(len: u32, output: &mut dyn Write) -> Result<(), ReadError> {
    let bytes = [0xff; 4096];
    let mut left = usize::try_from(len).unwrap_or(0);
    while left > 0 {
        let now = left.min(bytes.len());
        output.write_all(bytes.get(..now).unwrap_or_default()).map_err(ReadError::Output)?;
        left = left.saturating_sub(now);
    }
    Ok(())
}
