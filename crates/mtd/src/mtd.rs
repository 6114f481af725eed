//! MTD devices: flash as it is, by eraseblock.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ioctl;

/// What sysfs says of an MTD device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Number in `/dev/mtdN`.
    pub number: u32,
    /// Name of the partition.
    pub name: String,
    /// `nor`, `nand`, `ram`, …
    pub kind: String,
    /// Length in bytes.
    pub len: u64,
    /// Bytes that are erased at once.
    pub erase_size: u32,
    /// Bytes that are written at least; 1 on NOR.
    pub write_size: u32,
    /// Bytes of a page that can be written one after the other; `write_size` where there is no such thing.
    pub sub_page_size: u32,
    /// Spare bytes of each page.
    pub oob_size: u32,
}

fn folder(number: u32) -> PathBuf {
    Path::new("/sys/class/mtd").join(format!("mtd{number}"))
}

/// The facts of `/dev/mtdN`.
///
/// # Errors
/// When there is no such device.
pub fn facts(number: u32) -> Result<Facts> {
    let folder = folder(number);
    let text = |attribute: &str| {
        let path = folder.join(attribute);
        fs::read_to_string(&path).map(|text| text.trim_end().to_owned()).map_err(Error::new("read", &path))
    };
    let size = |attribute: &str| parse(&folder.join(attribute), &text(attribute)?);
    Ok(Facts {
        number,
        name: text("name")?,
        kind: text("type")?,
        len: parse(&folder.join("size"), &text("size")?)?,
        erase_size: size("erasesize")?,
        write_size: size("writesize")?,
        sub_page_size: size("subpagesize")?,
        oob_size: size("oobsize")?,
    })
}

pub(crate) fn parse<T: std::str::FromStr>(path: &Path, text: &str) -> Result<T> {
    let error = || std::io::Error::other(format!("{text:?} is no number"));
    text.parse().map_err(|_| Error::new("understand", path)(error()))
}

/// Number of the MTD of that name, the lowest when several have it; `None` when none has.
#[must_use]
pub fn find(name: &str) -> Option<u32> {
    let entries = fs::read_dir("/sys/class/mtd").ok()?.flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("mtd")?.parse::<u32>().ok();
    let has_name = |&number: &u32| {
        fs::read_to_string(folder(number).join("name")).is_ok_and(|text| text.trim_end() == name)
    };
    entries.filter_map(number).filter(has_name).min()
}

/// An open MTD device.
#[derive(Debug)]
pub struct Mtd {
    file: File,
    path: PathBuf,
    facts: Facts,
}

impl Mtd {
    /// Opens `/dev/mtdN`, for writing when asked to.
    ///
    /// # Errors
    /// When there is no such device, or it may not be written.
    pub fn open(number: u32, write: bool) -> Result<Self> {
        let path = PathBuf::from(format!("/dev/mtd{number}"));
        let file = OpenOptions::new().read(true).write(write).open(&path);
        Ok(Mtd { file: file.map_err(Error::new("open", &path))?, path, facts: facts(number)? })
    }

    /// What sysfs says of it.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the eraseblock that starts at `offset`, in bytes, is marked bad. Flash that knows no bad blocks has none.
    ///
    /// # Errors
    /// When `offset` is past the end, or the device does not answer.
    pub fn is_bad(&self, offset: u64) -> Result<bool> {
        let mut position = i64::try_from(offset).unwrap_or(i64::MAX);
        match ioctl::mtd_is_bad(&self.file, &mut position) {
            Ok(answer) => Ok(answer != 0),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(Error::new("ask for bad blocks", &self.path)(error)),
        }
    }

    /// Erases `len` bytes from `offset`, whole eraseblocks.
    ///
    /// # Errors
    /// When a block is bad or will not be erased.
    pub fn erase(&self, offset: u64, len: u64) -> Result<()> {
        let mut request = ioctl::EraseRequest { start: offset, len };
        ioctl::mtd_erase(&self.file, &mut request).map(drop).map_err(Error::new("erase", &self.path))
    }

    /// Writes at `offset`, whole pages.
    ///
    /// # Errors
    /// When the flash takes not all of it.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Error::new("write", &self.path))
    }

    /// Reads all of `bytes` at `offset`.
    ///
    /// # Errors
    /// When that is past the end, or the error correction gives up.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(Error::new("read", &self.path))
    }
}
