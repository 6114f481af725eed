//! UBI devices and their volumes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::{file, ioctl, sysfs};

const CONTROL: &str = "/dev/ubi_ctrl";
const CLASS: &str = "/sys/class/ubi";
/// Longest name of a volume in bytes. Kernel: `UBI_MAX_VOLUME_NAME`.
const MAX_NAME: usize = 127;
/// What is tried, as errors have it.
const MAKE: &str = "make a volume on";
const RENAME: &str = "rename volumes of";

/// How an MTD is attached. `Default` is the kernel's choice of everything, and MTD 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attach {
    /// Number of the MTD.
    pub mtd: u32,
    /// Number of the UBI device to be; `None` for the first that is free.
    pub ubi: Option<u32>,
    /// Bytes from the start of a PEB to its VID header; `None` for the sub-page after the EC header.
    pub vid_hdr_offset: Option<u32>,
    /// Bad PEBs of 1024 that are provided for; `None` for the kernel's choice, 20.
    pub max_beb_per1024: Option<u16>,
}

/// How a volume is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// 1 to 127 bytes.
    pub name: Vec<u8>,
    /// `None` for the first that is free.
    pub id: Option<u32>,
    /// Rounded up to whole LEBs.
    pub bytes: u64,
    /// 1, or a multiple of the page.
    pub alignment: u32,
    /// Static: a checksum for each LEB, written once. Else dynamic.
    pub is_static: bool,
    /// A static volume that is not read as a whole when it is opened.
    pub skip_check: bool,
}

/// What sysfs says, by attribute: `reserved_ebs`, `data_bytes`, …
pub type Attributes = BTreeMap<String, String>;

fn open(path: &Path) -> Result<File> {
    file::open(path, file::access(true)).map_err(Error::new("open", path))
}

fn device(ubi: u32) -> PathBuf {
    PathBuf::from(format!("/dev/ubi{ubi}"))
}

fn volume(ubi: u32, id: u32) -> PathBuf {
    PathBuf::from(format!("/dev/ubi{ubi}_{id}"))
}

/// The kernel's `int` for a number that may be left to it.
fn number(number: Option<u32>) -> i32 {
    number.map_or(-1, |number| i32::try_from(number).unwrap_or(i32::MAX))
}

/// Numbers of all UBI devices, in order; none where the kernel has none.
///
/// # Errors
/// When sysfs cannot be read.
pub fn all() -> Result<Vec<u32>> {
    let class = Path::new(CLASS);
    match sysfs::numbers(class, "ubi") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        numbers => numbers.map_err(Error::new("read", class)),
    }
}

/// Number of the UBI device that is attached to an MTD.
///
/// # Errors
/// When sysfs cannot be read.
pub fn attached_to(mtd: u32) -> Result<Option<u32>> {
    let is_there = |&ubi: &u32| device_number(ubi, "mtd_num").is_ok_and(|number| number == mtd.into());
    Ok(all()?.into_iter().find(is_there))
}

/// Attaches an MTD; returns the number of the UBI device.
///
/// # Errors
/// When what is on the flash is no UBI, or damaged, or the device is in use; the kernel's log has the reason.
pub fn attach(attach: &Attach) -> Result<u32> {
    let path = Path::new(CONTROL);
    let mut request = ioctl::AttachRequest {
        ubi: number(attach.ubi),
        mtd: number(Some(attach.mtd)),
        vid_hdr_offset: number(Some(attach.vid_hdr_offset.unwrap_or(0))),
        max_beb_per1024: i16::try_from(attach.max_beb_per1024.unwrap_or(0)).unwrap_or(i16::MAX),
        zeros: [0; 10],
    };
    ioctl::ubi_attach(&open(path)?, &mut request).map_err(Error::new("attach with", path))?;
    let ubi = request.ubi;
    Ok(u32::try_from(ubi).unwrap_or_default())
}

/// Detaches a UBI device.
///
/// # Errors
/// When it is in use, or there is none.
pub fn detach(ubi: u32) -> Result<()> {
    let path = Path::new(CONTROL);
    ioctl::ubi_detach(&open(path)?, &mut number(Some(ubi)))
        .map(drop)
        .map_err(Error::new("detach", &device(ubi)))
}

/// A name as requests have it: its bytes, zeros, and how many bytes it has.
fn name_field(name: &[u8]) -> std::result::Result<([u8; 128], i16), String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes: a volume has one of 1 to {MAX_NAME}", name.len()));
    }
    let mut field = [0; 128];
    field.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    // At most 127.
    Ok((field, i16::try_from(name.len()).unwrap_or_default()))
}

/// Makes a volume; returns its id.
///
/// # Errors
/// When there is no room, or a volume has that name or id.
pub fn make_volume(ubi: u32, new: &NewVolume) -> Result<u32> {
    let path = device(ubi);
    let (name, name_len) = name_field(&new.name).map_err(|words| Error::invalid(MAKE, &path, words))?;
    let mut request = ioctl::MakeVolumeRequest {
        id: number(new.id),
        alignment: number(Some(new.alignment)),
        bytes: i64::try_from(new.bytes).unwrap_or(i64::MAX),
        kind: if new.is_static { 4 } else { 3 },
        flags: u8::from(new.skip_check),
        name_len,
        zeros: [0; 4],
        name,
    };
    ioctl::ubi_make_volume(&open(&path)?, &mut request).map_err(Error::new(MAKE, &path))?;
    let id = request.id;
    Ok(u32::try_from(id).unwrap_or_default())
}

/// Removes a volume.
///
/// # Errors
/// When it is in use, or there is none.
pub fn remove_volume(ubi: u32, id: u32) -> Result<()> {
    let path = device(ubi);
    ioctl::ubi_remove_volume(&open(&path)?, &mut number(Some(id)))
        .map(drop)
        .map_err(Error::new("remove a volume of", &path))
}

/// Makes a volume larger or smaller, rounded up to whole LEBs.
///
/// # Errors
/// When there is no room, or LEBs that hold data would be cut off, or there is no such volume.
pub fn resize_volume(ubi: u32, id: u32, bytes: u64) -> Result<()> {
    let path = device(ubi);
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut request = ioctl::ResizeVolumeRequest { bytes, id: number(Some(id)) };
    ioctl::ubi_resize_volume(&open(&path)?, &mut request)
        .map(drop)
        .map_err(Error::new("resize a volume of", &path))
}

/// Gives volumes other names, all at once: after a loss of power either all have them or none. A volume that has one of the
/// new names, and gets no other here, is removed at the same moment.
///
/// # Errors
/// When there is no such volume, one is in use that would be removed, or there are more than 32.
pub fn rename_volumes(ubi: u32, names: &[(u32, &[u8])]) -> Result<()> {
    let path = device(ubi);
    let mut entries = [ioctl::NewName::NONE; ioctl::MAX_RENAMES];
    if names.len() > entries.len() {
        let words = format!("{} volumes, more than {} at once", names.len(), ioctl::MAX_RENAMES);
        return Err(Error::invalid(RENAME, &path, words));
    }
    for (entry, (id, name)) in entries.iter_mut().zip(names) {
        let (name, name_len) = name_field(name).map_err(|words| Error::invalid(RENAME, &path, words))?;
        *entry = ioctl::NewName { id: number(Some(*id)), name_len, zeros: [0; 2], name };
    }
    // At most 32.
    let count = i32::try_from(names.len()).unwrap_or_default();
    let mut request = ioctl::RenameRequest { count, zeros: [0; 12], entries };
    ioctl::ubi_rename(&open(&path)?, &mut request).map(drop).map_err(Error::new(RENAME, &path))
}

/// An open volume, read and changed LEB by LEB.
#[derive(Debug)]
pub struct Volume {
    file: File,
    path: PathBuf,
}

impl Volume {
    /// Opens volume `id` of a UBI device, for changing when asked to.
    ///
    /// # Errors
    /// When there is no such volume, or it is in use: only one may have it open for changing.
    pub fn open(ubi: u32, id: u32, write: bool) -> Result<Self> {
        let path = volume(ubi, id);
        let file = file::open(&path, file::access(write));
        Ok(Volume { file: file.map_err(Error::new("open", &path))?, path })
    }

    /// Reads at `offset`, in bytes of the volume's data; returns how many bytes there were.
    ///
    /// # Errors
    /// When the flash cannot be read, or a LEB of a static volume is damaged.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        self.file.read_at(bytes, offset).map_err(Error::new("read", &self.path))
    }

    /// Replaces the content of a LEB of a dynamic volume: after a loss of power it has the old content or the new.
    ///
    /// # Errors
    /// When `bytes` has more than a LEB, or the flash does not take it.
    pub fn change_leb(&mut self, leb: u32, bytes: &[u8]) -> Result<()> {
        let error = |error| Error::new("change a LEB of", &self.path)(error);
        let len = i32::try_from(bytes.len()).map_err(|_| error(io::ErrorKind::InvalidInput.into()))?;
        let mut request =
            ioctl::ChangeLebRequest { leb: number(Some(leb)), bytes: len, kind: ANY_TYPE, zeros: [0; 7] };
        ioctl::volume_change_leb(&self.file, &mut request).map_err(error)?;
        if bytes.is_empty() { Ok(()) } else { self.file.write_all(bytes).map_err(error) }
    }

    /// Takes the content of a LEB away and erases its PEB at once.
    ///
    /// # Errors
    /// When there is no such LEB, or the volume is static or open for reading only.
    pub fn erase_leb(&mut self, leb: u32) -> Result<()> {
        let mut leb = number(Some(leb));
        ioctl::volume_erase_leb(&self.file, &mut leb)
            .map(drop)
            .map_err(Error::new("erase a LEB of", &self.path))
    }

    /// Takes the content of a LEB away; its PEB is erased some time later.
    ///
    /// # Errors
    /// As [`Volume::erase_leb`].
    pub fn unmap_leb(&mut self, leb: u32) -> Result<()> {
        let mut leb = number(Some(leb));
        ioctl::volume_unmap_leb(&self.file, &mut leb)
            .map(drop)
            .map_err(Error::new("unmap a LEB of", &self.path))
    }

    /// Whether a LEB has a PEB: one that has none reads as 0xFF.
    ///
    /// # Errors
    /// When there is no such LEB.
    pub fn is_mapped(&self, leb: u32) -> Result<bool> {
        let mut leb = number(Some(leb));
        let mapped = ioctl::volume_is_mapped(&self.file, &mut leb);
        mapped.map(|mapped| mapped == 1).map_err(Error::new("ask for a LEB of", &self.path))
    }
}

/// What is expected of a LEB's data: nothing. Kernel: `UBI_UNKNOWN`, the only one that all kernels take.
const ANY_TYPE: u8 = 3;

/// A volume whose content is being replaced: takes just as many bytes as were announced. The old content is gone at once,
/// and until the last byte is written the kernel takes the volume for broken.
#[derive(Debug)]
pub struct Update {
    file: File,
}

impl Update {
    /// Starts an update of `len` bytes; 0 leaves the volume empty.
    ///
    /// # Errors
    /// When the volume is in use, or smaller than that.
    pub fn start(ubi: u32, id: u32, len: u64) -> Result<Self> {
        let path = volume(ubi, id);
        let file = open(&path)?;
        let mut len = i64::try_from(len).unwrap_or(i64::MAX);
        ioctl::volume_update(&file, &mut len).map_err(Error::new("update", &path))?;
        Ok(Update { file })
    }
}

impl Write for Update {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes the read-only block device `/dev/ubiblockX_Y` of a volume.
///
/// # Errors
/// When there is one, or the kernel makes none.
pub fn make_block(ubi: u32, id: u32) -> Result<()> {
    let path = volume(ubi, id);
    let mut request = ioctl::MakeBlockRequest { zeros: [0; 128] };
    ioctl::volume_make_block(&open(&path)?, &mut request)
        .map(drop)
        .map_err(Error::new("make a block device of", &path))
}

/// Removes the block device of a volume.
///
/// # Errors
/// When it is in use, or there is none.
pub fn remove_block(ubi: u32, id: u32) -> Result<()> {
    let path = volume(ubi, id);
    ioctl::volume_remove_block(&open(&path)?, &mut 0)
        .map(drop)
        .map_err(Error::new("remove the block device of", &path))
}

/// What sysfs says of a UBI device.
///
/// # Errors
/// When there is none.
pub fn device_attributes(ubi: u32) -> Result<Attributes> {
    attributes(&Path::new(CLASS).join(format!("ubi{ubi}")))
}

/// What sysfs says of the volumes of a UBI device, by id.
///
/// # Errors
/// When there is no such device.
pub fn volumes(ubi: u32) -> Result<BTreeMap<u32, Attributes>> {
    let with_attributes = |id| Ok((id, attributes(&Path::new(CLASS).join(format!("ubi{ubi}_{id}")))?));
    volume_ids(ubi)?.into_iter().map(with_attributes).collect()
}

fn attribute(device: &str, name: &str) -> PathBuf {
    [CLASS, device, name].iter().collect()
}

/// One attribute of a UBI device, as text: `eraseblock_size`, `avail_eraseblocks`, …
///
/// # Errors
/// When there is no such device, or the kernel does not tell that.
pub fn device_attribute(ubi: u32, name: &str) -> Result<String> {
    sysfs::read(&attribute(&format!("ubi{ubi}"), name))
}

/// One attribute of a volume, as text: `name`, `type`, `reserved_ebs`, …
///
/// # Errors
/// When there is no such volume, or the kernel does not tell that.
pub fn volume_attribute(ubi: u32, id: u32, name: &str) -> Result<String> {
    sysfs::read(&attribute(&format!("ubi{ubi}_{id}"), name))
}

/// The same of a device, as a number.
///
/// # Errors
/// As [`device_attribute`], and when it is no number.
pub fn device_number(ubi: u32, name: &str) -> Result<u64> {
    sysfs::number(&attribute(&format!("ubi{ubi}"), name))
}

/// The same of a volume, as a number.
///
/// # Errors
/// As [`volume_attribute`], and when it is no number.
pub fn volume_number(ubi: u32, id: u32, name: &str) -> Result<u64> {
    sysfs::number(&attribute(&format!("ubi{ubi}_{id}"), name))
}

/// Ids of the volumes of a UBI device, in order.
///
/// # Errors
/// When sysfs cannot be read.
pub fn volume_ids(ubi: u32) -> Result<Vec<u32>> {
    let class = Path::new(CLASS);
    sysfs::numbers(class, &format!("ubi{ubi}_")).map_err(Error::new("read", class))
}

/// Id of the volume of that name; `None` when there is none.
///
/// # Errors
/// When there is no such device.
pub fn find_volume(ubi: u32, name: &str) -> Result<Option<u32>> {
    let has_name = |&id: &u32| volume_attribute(ubi, id, "name").is_ok_and(|found| found == name);
    Ok(volume_ids(ubi)?.into_iter().find(has_name))
}

/// Every attribute of a folder of sysfs that can be read.
fn attributes(folder: &Path) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for entry in fs::read_dir(folder).map_err(Error::new("read", folder))?.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if let (Ok(name), Ok(text)) = (entry.file_name().into_string(), fs::read_to_string(entry.path())) {
            attributes.insert(name, text.trim_end().to_owned());
        }
    }
    Ok(attributes)
}
