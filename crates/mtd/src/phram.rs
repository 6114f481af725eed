//! Memory as an MTD: the kernel's `phram`.

use std::io::Write;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::file;

/// Where the kernel takes new ones, when the module is there and lets its parameter be written.
const PARAMETER: &str = "/sys/module/phram/parameters/phram";

/// Makes an MTD of `len` bytes of memory at the physical address `start`, with eraseblocks of `erase_size` bytes, or the
/// kernel's choice (a page of memory). The memory must be none that the kernel uses itself.
///
/// # Errors
/// When the kernel has no phram, or refuses.
pub fn add(name: &str, start: u64, len: u64, erase_size: Option<u32>) -> Result<()> {
    let mut request = format!("{name},{start:#x},{len:#x}");
    if let Some(erase_size) = erase_size {
        request.push_str(&format!(",{erase_size:#x}"));
    }
    let path = Path::new(PARAMETER);
    let mut file = file::open(path, OFlags::WRONLY).map_err(Error::new("add memory with", path))?;
    file.write_all(request.as_bytes()).map_err(Error::new("add memory with", path))
}
