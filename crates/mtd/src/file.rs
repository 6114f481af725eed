//! Opening files.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;

/// Opens a file as `flags` say; one that is made may be read and written by all that the umask lets. The standard library's
/// own brings texts and tables for errors that cannot happen here, 6 KB on a device.
///
/// # Errors
/// What the kernel says.
pub fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let file = retry_on_intr(|| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o666)))?;
    Ok(file.into())
}

/// How a device is opened, to be read only or also written to.
pub(crate) fn access(write: bool) -> OFlags {
    if write { OFlags::RDWR } else { OFlags::RDONLY }
}
