//! Where on the device an image goes.

use flashwright_media::FlashGeometry;

use crate::device::Device;
use crate::error::{Error, Refusal};
use crate::report::{Costs, Sha256};

/// Where, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Bytes from the start of the device, at the border of an eraseblock; default 0.
    pub offset: u64,
    /// Bytes from there that may be used, bad eraseblocks included, whole eraseblocks; default all.
    pub len: Option<u64>,
    /// Whether each eraseblock is read back; default `true`.
    pub verify: bool,
    /// What the image must be. That of a file is checked before anything is changed, that of a pipe before its first
    /// eraseblock is written.
    pub sha256: Option<Sha256>,
    /// How long the device takes; for [`WritePlan::estimate`](super::WritePlan::estimate).
    pub costs: Costs,
}

impl Default for Options {
    fn default() -> Self {
        Options { offset: 0, len: None, verify: true, sha256: None, costs: Costs::default() }
    }
}

/// The eraseblocks of an area.
#[derive(Debug, Default)]
pub(super) struct Area {
    /// Good ones, in order.
    pub(super) good: Vec<u32>,
    /// How many are bad.
    pub(super) bad: u32,
    /// First byte, and the one behind the last.
    pub(super) range: (u64, u64),
}

fn misaligned(word: &'static str, what: &str, at: u64, geometry: &FlashGeometry) -> Refusal {
    let size = u64::from(geometry.eraseblock_size);
    let (before, after) = (at - at % size, at - at % size + size);
    let reason = format!(
        "{what} {at:#010x} is inside the eraseblock from {before:#010x} to {after:#010x}, which can be erased as a whole only: \
         the other bytes there would be lost; give one of these two"
    );
    Refusal::new(word, reason)
}

/// First and last byte of the area, or what is wrong with it.
fn range(geometry: &FlashGeometry, options: &Options) -> Result<(u64, u64), Refusal> {
    let (start, device) = (options.offset, geometry.len());
    let size = u64::from(geometry.eraseblock_size);
    if geometry.eraseblock_size == 0 || geometry.is_empty() {
        return Err(Refusal::new("device", "the device has no eraseblocks".to_owned()));
    }
    if !start.is_multiple_of(size) {
        return Err(misaligned("offset", "offset", start, geometry));
    }
    let end = options.len.map_or(Some(device), |len| start.checked_add(len));
    let Some(end) = end.filter(|&end| end <= device && start < end) else {
        let end = end.unwrap_or(u64::MAX);
        let reason = format!(
            "bytes {start:#010x} to {end:#010x} of a device of {device:#010x} ({} eraseblocks of {size} bytes): give an offset \
             and a length inside it",
            geometry.eraseblock_count,
        );
        return Err(Refusal::new("range", reason));
    };
    if !end.is_multiple_of(size) {
        return Err(misaligned("length", "offset + length", end, geometry));
    }
    Ok((start, end))
}

impl Area {
    /// Asks for the bad eraseblocks between the ends of the area.
    pub(super) fn look(
        device: &mut Device<'_>,
        options: &Options,
    ) -> Result<Result<Self, Refusal>, Box<Error>> {
        let (start, end) = match range(device.geometry(), options) {
            Ok(range) => range,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let size = u64::from(device.geometry().eraseblock_size);
        let inside = |at: u64| u32::try_from(at / size).unwrap_or(device.geometry().eraseblock_count);
        let (first, past) = (inside(start), inside(end));
        let mut area = Area { good: Vec::new(), bad: 0, range: (start, end) };
        for eraseblock in first..past {
            if device.is_bad(eraseblock)? {
                area.bad += 1;
            } else {
                area.good.push(eraseblock);
            }
        }
        Ok(Ok(area))
    }

    /// The area, and how many of its eraseblocks an image of that length takes.
    pub(super) fn look_for(
        device: &mut Device<'_>,
        options: &Options,
        len: u64,
    ) -> Result<Result<(Self, u32), Refusal>, Box<Error>> {
        let geometry = *device.geometry();
        Ok(Area::look(device, options)?.and_then(|area| area.fit(len, &geometry).map(|count| (area, count))))
    }

    /// Refuses an image that does not fit, or is empty. Returns the eraseblocks that it takes.
    fn fit(&self, len: u64, geometry: &FlashGeometry) -> Result<u32, Refusal> {
        let size = u64::from(geometry.eraseblock_size);
        let needed = len.div_ceil(size);
        if needed == 0 {
            return Err(Refusal::new("empty", "the image is empty".to_owned()));
        }
        match u32::try_from(needed) {
            Ok(needed) if self.good.get(needed as usize - 1).is_some() => Ok(needed),
            _ => Err(Refusal::new("size", self.too_large(len, needed, size))),
        }
    }

    fn too_large(&self, len: u64, needed: u64, size: u64) -> String {
        let (start, end) = self.range;
        let (good, bad) = (self.good.len(), self.bad);
        format!(
            "the image has {len} bytes, which take {needed} eraseblocks of {size} bytes; from {start:#010x} to {end:#010x} there \
             are {good} good ones and {bad} bad: {} bytes too few",
            len - good as u64 * size,
        )
    }
}
