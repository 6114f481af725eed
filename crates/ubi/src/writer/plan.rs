//! All sizes and positions, before a byte is written.

use std::collections::HashSet;

use flashwright_media::UbiGeometry;

use super::WriteError;
use crate::contents::{Contents, HEAD_LEN, Ubifs};
use crate::fit::Fit;
use crate::format::{LAYOUT_LEBS, MAX_ERASE_COUNT, MAX_NAME, VolumeType, VtblRecord, vtbl_flags};
use crate::options::{Content, Options, Volume};

/// UBIFS's smallest unit of writing. Kernel: `UBIFS_MIN_IO_SIZE`… of flash that has a smaller one.
const UBIFS_MIN_IO: u32 = 8;

/// A volume as it will be.
#[derive(Debug, Clone)]
pub struct PlannedVolume {
    /// Name.
    pub name: String,
    /// Id.
    pub id: u32,
    /// Type.
    pub volume_type: VolumeType,
    /// PEBs that are reserved.
    pub reserved_pebs: u32,
    /// LEBs that its content takes.
    pub used_lebs: u32,
    /// Bytes of its content.
    pub content_len: u64,
    /// Bytes of a LEB that are used.
    pub usable_leb_size: u32,
    /// Bytes at its end that are not, for the alignment.
    pub data_pad: u32,
    /// What the content seems to be.
    pub contents: Contents,
    pub(super) alignment: u32,
    pub(super) flags: u8,
    pub(super) content: Option<Content>,
}

/// An image that is going to be written.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) options: Options,
    pub(super) volumes: Vec<PlannedVolume>,
    pub(super) fit: Option<Fit>,
}

/// Lays volumes out, in the order given, after the volume table.
///
/// # Errors
/// [`WriteError::Volume`], [`WriteError::Image`], [`WriteError::DoesNotFit`]; [`WriteError::Read`] when the beginning of a
/// content cannot be read.
pub fn plan(volumes: &[Volume], options: &Options) -> Result<Plan, WriteError> {
    check_options(options)?;
    check_names(volumes)?;
    let ids = ids(volumes, options.geometry.vtbl_slots())?;
    let planned = volumes.iter().zip(ids).map(|(volume, id)| plan_volume(volume, id, &options.geometry));
    let planned: Vec<_> = planned.collect::<Result<_, _>>()?;
    let reserved = planned.iter().map(|volume| u64::from(volume.reserved_pebs)).sum();
    let fit = options.device.map(|device| Fit::new(reserved, &device, options.geometry.min_io_size()));
    let plan = Plan { options: options.clone(), volumes: planned, fit };
    match plan.fit {
        Some(fit) if fit.free().is_none() => Err(WriteError::DoesNotFit { fit }),
        // The kernel counts PEBs in an int.
        _ if reserved + u64::from(LAYOUT_LEBS) > i32::MAX as u64 => {
            Err(image(format!("{reserved} PEBs are reserved, above 2147483645"), "give smaller sizes"))
        }
        _ => Ok(plan),
    }
}

fn image(what: impl Into<String>, remedy: impl Into<String>) -> WriteError {
    WriteError::Image { what: what.into(), remedy: remedy.into() }
}

fn check_options(options: &Options) -> Result<(), WriteError> {
    let (count, max) = (options.erase_count, MAX_ERASE_COUNT);
    if count > max {
        return Err(image(format!("erase counter {count}: UBI counts to {max}"), "give a smaller one"));
    }
    match options.device {
        Some(device) if device.bad_pebs > device.peb_count => Err(image(
            format!("{} bad PEBs on a device of {}", device.bad_pebs, device.peb_count),
            "count the bad PEBs of this partition only",
        )),
        _ => Ok(()),
    }
}

fn check_names(volumes: &[Volume]) -> Result<(), WriteError> {
    if volumes.is_empty() {
        return Err(image("no volume", "an image needs one at least"));
    }
    let mut names = HashSet::new();
    for volume in volumes {
        let len = volume.name.len();
        if len == 0 || len > MAX_NAME || volume.name.contains('\0') {
            let what = format!("a name of {len} bytes: UBI takes 1 to {MAX_NAME}, and no NUL");
            return Err(wrong(volume, what, "give it another name"));
        }
        if !names.insert(&volume.name) {
            return Err(wrong(volume, "two volumes have this name", "give one of them another name"));
        }
    }
    let mut growing = volumes.iter().filter(|volume| volume.autoresize);
    if let (Some(first), Some(second)) = (growing.next(), growing.next()) {
        let what = format!("it grows to all that is free (autoresize), and so does volume {}", first.name);
        return Err(wrong(second, what, "leave autoresize to one volume"));
    }
    Ok(())
}

fn wrong(volume: &Volume, what: impl Into<String>, remedy: impl Into<String>) -> WriteError {
    WriteError::Volume { volume: volume.name.clone(), what: what.into(), remedy: remedy.into() }
}

/// The ids that are given, and for the others the first ones that are free.
fn ids(volumes: &[Volume], slots: u32) -> Result<Vec<u32>, WriteError> {
    let mut taken = HashSet::new();
    for volume in volumes {
        let Some(id) = volume.id else { continue };
        if id >= slots {
            let what = format!("id {id}: the volume table has room for ids 0 to {}", slots - 1);
            return Err(wrong(volume, what, "give a smaller id"));
        }
        if !taken.insert(id) {
            return Err(wrong(volume, format!("two volumes have id {id}"), "give one of them another id"));
        }
    }
    let mut free = (0..slots).filter(|id| !taken.contains(id));
    let too_many = || {
        let what = format!("{} volumes: the volume table has room for {slots}", volumes.len());
        image(what, "leave some out, or take flash with a larger PEB")
    };
    volumes.iter().map(|volume| volume.id.or_else(|| free.next()).ok_or_else(too_many)).collect()
}

fn plan_volume(volume: &Volume, id: u32, geometry: &UbiGeometry) -> Result<PlannedVolume, WriteError> {
    let data_pad = data_pad(volume, geometry)?;
    let usable = geometry.leb_size() - data_pad;
    check_type(volume)?;
    let content_len = volume.content.as_ref().map_or(0, |content| content.len);
    let lebs = |bytes: u64| {
        let count =
            u32::try_from(bytes.div_ceil(usable.into())).ok().filter(|&count| i32::try_from(count).is_ok());
        count.ok_or_else(|| wrong(volume, format!("{bytes} bytes are too many LEBs"), "give a smaller size"))
    };
    let used_lebs = lebs(content_len)?;
    let reserved_pebs = match volume.size {
        Some(size) => lebs(size)?,
        None => used_lebs,
    };
    if reserved_pebs == 0 {
        let what =
            if volume.content.is_some() { "its image is empty" } else { "it has neither size nor image" };
        return Err(wrong(volume, what, "give a size"));
    }
    if used_lebs > reserved_pebs {
        let what = format!(
            "its image of {content_len} bytes takes {used_lebs} LEBs of {usable} bytes, its size only {reserved_pebs}"
        );
        return Err(wrong(volume, what, "give a larger size, or none"));
    }
    let planned = PlannedVolume {
        name: volume.name.clone(),
        id,
        volume_type: volume.volume_type,
        reserved_pebs,
        used_lebs,
        content_len,
        usable_leb_size: usable,
        data_pad,
        contents: contents(volume)?,
        alignment: volume.alignment,
        flags: if volume.autoresize { vtbl_flags::AUTORESIZE } else { 0 }
            | if volume.skip_check { vtbl_flags::SKIP_CRC_CHECK } else { 0 },
        content: volume.content.clone(),
    };
    if let Contents::Ubifs(ubifs) = planned.contents {
        check_ubifs(volume, &planned, ubifs, geometry)?;
    }
    Ok(planned)
}

fn data_pad(volume: &Volume, geometry: &UbiGeometry) -> Result<u32, WriteError> {
    let (alignment, min_io, leb) = (volume.alignment, geometry.min_io_size(), geometry.leb_size());
    if alignment == 0 || (alignment != 1 && !alignment.is_multiple_of(min_io)) {
        let what = format!("alignment {alignment}: it must be 1 or a multiple of min I/O, {min_io} bytes");
        return Err(wrong(volume, what, "give another alignment, or none"));
    }
    if alignment > leb {
        let what = format!("alignment {alignment}: a LEB has only {leb} bytes");
        return Err(wrong(volume, what, "give a smaller alignment, or none"));
    }
    // Less than half a LEB, or the kernel would refuse it: alignments up to half a LEB leave less than themselves.
    Ok(leb % alignment)
}

fn check_type(volume: &Volume) -> Result<(), WriteError> {
    let is_static = volume.volume_type == VolumeType::Static;
    if is_static && volume.content.is_none() {
        let what = "a static volume without an image: what is in it is written once, here";
        return Err(wrong(volume, what, "give it an image, or make it dynamic"));
    }
    if volume.skip_check && !is_static {
        let what = "skip-check on a dynamic volume, which the kernel never checks";
        return Err(wrong(volume, what, "leave it out, or make the volume static"));
    }
    Ok(())
}

/// What the beginning of the content says it is.
fn contents(volume: &Volume) -> Result<Contents, WriteError> {
    let Some(content) = &volume.content else { return Ok(Contents::Other) };
    let mut head = [0; HEAD_LEN];
    let len = usize::try_from(content.len).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    let failed = |error| WriteError::Read { volume: volume.name.clone(), offset: 0, error };
    content.source.read_exact_at(0, &mut head[..len]).map_err(failed)?;
    Ok(Contents::of(&head[..len]))
}

/// UBIFS does not mount on LEBs of another size, nor on fewer than it was made for.
fn check_ubifs(
    volume: &Volume,
    planned: &PlannedVolume,
    ubifs: Ubifs,
    geometry: &UbiGeometry,
) -> Result<(), WriteError> {
    let (usable, min_io) = (planned.usable_leb_size, geometry.min_io_size().max(UBIFS_MIN_IO));
    let made_for = |what: &str, found: u32, here: u32| {
        let what = format!("its UBIFS was made for {what} of {found} bytes, here it is {here} bytes");
        wrong(volume, what, "make the UBIFS again for this flash")
    };
    if ubifs.leb_size != usable {
        return Err(made_for("a LEB", ubifs.leb_size, usable));
    }
    if ubifs.min_io_size != min_io {
        return Err(made_for("min I/O", ubifs.min_io_size, min_io));
    }
    if ubifs.leb_count > planned.reserved_pebs {
        let (wants, has) = (ubifs.leb_count, planned.reserved_pebs);
        let what = format!("its UBIFS has {wants} LEBs, the volume {has}");
        return Err(wrong(
            volume,
            what,
            format!("give a size of {} bytes", u64::from(wants) * u64::from(usable)),
        ));
    }
    Ok(())
}

impl PlannedVolume {
    /// Its record in the volume table.
    pub(super) fn record(&self) -> VtblRecord {
        let mut name = [0; 128];
        name.iter_mut().zip(self.name.bytes()).for_each(|(to, from)| *to = from);
        VtblRecord {
            reserved_pebs: self.reserved_pebs,
            alignment: self.alignment,
            data_pad: self.data_pad,
            volume_type: self.volume_type.to_flash(),
            update_marker: 0,
            // Checked to be at most 127.
            name_len: u16::try_from(self.name.len()).unwrap_or_default(),
            name,
            flags: self.flags,
        }
    }

    /// Bytes of content in one of its LEBs.
    pub(super) fn data_len(&self, lnum: u32) -> u32 {
        let start = u64::from(lnum) * u64::from(self.usable_leb_size);
        let left = self.content_len.saturating_sub(start);
        u32::try_from(left).unwrap_or(u32::MAX).min(self.usable_leb_size)
    }

    /// True when it grows to all that is free.
    #[must_use]
    pub const fn autoresize(&self) -> bool {
        self.flags & vtbl_flags::AUTORESIZE != 0
    }
}
