//! MTD devices: flash as it is, by eraseblock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
pub use crate::ioctl::OobMode;
use crate::{file, ioctl, sysfs};

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
    /// Whether the kernel lets it be written.
    pub writable: bool,
    /// Bits put right in one step of the error correction from which on the kernel would move the data; 0 where there is no
    /// such thing.
    pub bitflip_threshold: u32,
}

/// Kernel: `MTD_WRITEABLE`.
const FLAG_WRITABLE: u32 = 0x400;

fn folder(number: u32) -> PathBuf {
    Path::new("/sys/class/mtd").join(format!("mtd{number}"))
}

/// The name of `/dev/mtdN`.
///
/// # Errors
/// When there is no such device.
pub fn name(number: u32) -> Result<String> {
    sysfs::read(&folder(number).join("name"))
}

/// The facts of `/dev/mtdN`.
///
/// # Errors
/// When there is no such device.
pub fn facts(number: u32) -> Result<Facts> {
    let folder = folder(number);
    let flags = sysfs::text(&folder.join("flags")).ok();
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok());
    let size = |attribute: &str| sysfs::short_number(&folder.join(attribute));
    Ok(Facts {
        number,
        name: name(number)?,
        kind: sysfs::read(&folder.join("type"))?,
        len: sysfs::number(&folder.join("size"))?,
        erase_size: size("erasesize")?,
        write_size: size("writesize")?,
        sub_page_size: size("subpagesize")?,
        oob_size: size("oobsize")?,
        writable: flags.is_none_or(|flags| flags & FLAG_WRITABLE != 0),
        // Older than Linux 3.4 has none.
        bitflip_threshold: size("bitflip_threshold").unwrap_or(0),
    })
}

/// The numbers of all MTDs, in order; none where the kernel has none.
///
/// # Errors
/// When sysfs cannot be read.
pub fn all() -> Result<Vec<u32>> {
    let class = Path::new("/sys/class/mtd");
    match sysfs::numbers(class, "mtd") {
        Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new("/sys/class").exists() => {
            Ok(Vec::new())
        }
        numbers => numbers.map_err(Error::new("read", class)),
    }
}

/// Number of the MTD of that name, the lowest when several have it; `None` when none has.
#[must_use]
pub fn find(name: &str) -> Option<u32> {
    find_all(name).first().copied()
}

/// Numbers of all MTDs of that name, in order.
#[must_use]
pub fn find_all(name: &str) -> Vec<u32> {
    let has_name = |&number: &u32| sysfs::text(&folder(number).join("name")).is_ok_and(|text| text == name);
    all().unwrap_or_default().into_iter().filter(has_name).collect()
}

/// Whether one of two MTDs is a part of the other, or both are the same.
#[must_use]
pub fn overlap(one: u32, other: u32) -> bool {
    // Links to where each of them is in the tree of devices; a part is below its whole.
    match (fs::read_link(folder(one)), fs::read_link(folder(other))) {
        (Ok(one), Ok(other)) => is_below(&one, &other) || is_below(&other, &one),
        _ => one == other,
    }
}

/// Whether `part` is `whole` or below it.
fn is_below(part: &Path, whole: &Path) -> bool {
    let rest = part.as_os_str().as_encoded_bytes().strip_prefix(whole.as_os_str().as_encoded_bytes());
    rest.is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
}

/// What the error correction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ecc {
    /// Pages that could not be put right.
    pub uncorrectable: u32,
    /// Bits that were put right.
    pub corrected: u32,
    /// Most bits that were put right in one step of the correction.
    pub max_bitflips: u32,
}

/// Whether the kernel does not know the call at all.
fn is_unknown(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::NOTTY)
}

/// The same error, as [`io::ErrorKind::Unsupported`] when the kernel does not know the call.
fn known(error: io::Error) -> io::Error {
    if is_unknown(&error) { io::ErrorKind::Unsupported.into() } else { error }
}

/// A request of the old form, which ends at 4 GiB.
fn short_request(offset: u64, len: u64) -> io::Result<ioctl::OldEraseRequest> {
    let short = |value| u32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::Unsupported));
    Ok(ioctl::OldEraseRequest { start: short(offset)?, len: short(len)? })
}

/// An open MTD device.
#[derive(Debug)]
pub struct Mtd {
    file: File,
    path: PathBuf,
    facts: Facts,
}

impl Mtd {
    /// Opens `/dev/mtdN`, for writing when asked to: then nobody else can open it so at the same time, as far as they use this
    /// function (the kernel would let them).
    ///
    /// # Errors
    /// When there is no such device, it may not be written, or somebody else writes to it ([`io::ErrorKind::WouldBlock`]).
    pub fn open(number: u32, write: bool) -> Result<Self> {
        let path = PathBuf::from(format!("/dev/mtd{number}"));
        let file = file::open(&path, file::access(write)).map_err(Error::new("open", &path))?;
        if write {
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
            locked.map_err(|error| Error::new("be the only one who writes to", &path)(error.into()))?;
        }
        Ok(Mtd { file, path, facts: facts(number)? })
    }

    pub(crate) fn invalid(&self, action: &'static str, words: String) -> Error {
        Error::invalid(action, &self.path, words)
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
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(Error::new("ask for bad blocks", &self.path)(error)),
        }
    }

    /// Marks the eraseblock that starts at `offset`, in bytes, bad.
    ///
    /// # Errors
    /// When the flash has no bad blocks, or does not take the mark.
    pub fn mark_bad(&self, offset: u64) -> Result<()> {
        let mut position = i64::try_from(offset).unwrap_or(i64::MAX);
        ioctl::mtd_mark_bad(&self.file, &mut position).map(drop).map_err(Error::new("mark bad", &self.path))
    }

    /// Erases `len` bytes from `offset`, whole eraseblocks.
    ///
    /// # Errors
    /// When a block is bad or will not be erased.
    pub fn erase(&self, offset: u64, len: u64) -> Result<()> {
        let mut request = ioctl::EraseRequest { start: offset, len };
        let erased = match ioctl::mtd_erase(&self.file, &mut request) {
            // Before Linux 2.6.31 there is only the call with 32 bits.
            Err(error) if is_unknown(&error) => short_request(offset, len)
                .and_then(|mut request| ioctl::mtd_old_erase(&self.file, &mut request)),
            erased => erased,
        };
        erased.map(drop).map_err(Error::new("erase", &self.path))
    }

    /// Whether `len` bytes from `offset`, whole eraseblocks, are write-protected; `None` where the device does not tell.
    ///
    /// # Errors
    /// When `offset` is past the end, or the device does not answer.
    pub fn is_locked(&self, offset: u64, len: u64) -> Result<Option<bool>> {
        let answer =
            short_request(offset, len).and_then(|mut request| ioctl::mtd_is_locked(&self.file, &mut request));
        match answer {
            Ok(answer) => Ok(Some(answer == 1)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported || is_unknown(&error) => Ok(None),
            Err(error) => Err(Error::new("ask for write protection", &self.path)(error)),
        }
    }

    /// Write-protects `len` bytes from `offset`, whole eraseblocks, or takes the protection away.
    ///
    /// # Errors
    /// When the device has no such thing, or refuses.
    pub fn set_locked(&self, offset: u64, len: u64, locked: bool) -> Result<()> {
        let call = if locked { ioctl::mtd_lock } else { ioctl::mtd_unlock };
        let done = short_request(offset, len).and_then(|mut request| call(&self.file, &mut request));
        done.map(drop).map_err(Error::new(if locked { "lock" } else { "unlock" }, &self.path))
    }

    /// Reads `data` from byte `offset`, and `oob` of as many pages as it has room for; says what the error correction had to do.
    ///
    /// # Errors
    /// When the kernel has no such call (before Linux 6.1; [`io::ErrorKind::Unsupported`]), or the device does not answer.
    pub fn read_pages(&self, offset: u64, data: &mut [u8], oob: &mut [u8], mode: OobMode) -> Result<Ecc> {
        let pages = ioctl::read_pages(&self.file, offset, data, oob, mode);
        let ioctl::PagesRead { uncorrectable, corrected, max_bitflips } =
            pages.map_err(known).map_err(Error::new("read", &self.path))?;
        Ok(Ecc { uncorrectable, corrected, max_bitflips })
    }

    /// Programs `data` from byte `offset`, whole pages, and their spare bytes; either may be empty.
    ///
    /// # Errors
    /// When the kernel has no such call (before Linux 3.1; [`io::ErrorKind::Unsupported`]), or the flash does not take it.
    pub fn write_pages(&self, offset: u64, data: &[u8], oob: &[u8], mode: OobMode) -> Result<()> {
        let written = ioctl::write_pages(&self.file, offset, data, oob, mode);
        written.map_err(known).map_err(Error::new("write", &self.path))
    }

    /// What the error correction has done since the kernel found the device. `max_bitflips` is 0: it is not counted.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn ecc_counts(&self) -> Result<Ecc> {
        let mut counts = ioctl::EccCounts::default();
        ioctl::mtd_ecc_counts(&self.file, &mut counts)
            .map_err(Error::new("ask for the error correction of", &self.path))?;
        Ok(Ecc { uncorrectable: counts.failed, corrected: counts.corrected, max_bitflips: 0 })
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
