//! What the kernel tells in files: attributes of `/sys`, tables of `/proc`.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::{OFlags, RawDir};

use crate::error::{Error, Result};
use crate::file;

/// All of a file of the kernel's, which has no length before it is read, without the end of its last line.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    let mut file = file::open(path, OFlags::RDONLY)?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(bytes.trim_ascii_end().len());
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The same, or an error that names the file.
pub(crate) fn read(path: &Path) -> Result<String> {
    text(path).map_err(Error::new("read", path))
}

/// A number in a file.
pub(crate) fn number(path: &Path) -> Result<u64> {
    let text = read(path)?;
    text.parse().map_err(|_| Error::invalid("understand", path, format!("{text} is no number")))
}

/// The same, below 2^32.
pub(crate) fn short_number(path: &Path) -> Result<u32> {
    number(path).and_then(|number| {
        let error = |_| Error::invalid("understand", path, format!("{number} is too large"));
        u32::try_from(number).map_err(error)
    })
}

/// Numbers after `prefix` of what a folder has, in order.
pub(crate) fn numbers(folder: &Path, prefix: &str) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    let folder = file::open(folder, OFlags::RDONLY)?;
    let mut room = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(folder, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        numbers.extend(name.and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_length() {
        assert!(!text(Path::new("/proc/self/mountinfo")).unwrap().is_empty());
        assert_eq!(text(Path::new("/dev/null")).unwrap(), "");
        let error = number(Path::new("/proc/version")).unwrap_err();
        assert!(error.to_string().starts_with("cannot understand /proc/version: Linux"), "{error}");
    }

    #[test]
    fn numbers_of_a_folder() {
        let found = numbers(Path::new("/proc"), "").unwrap();
        assert!(found.contains(&std::process::id()) && found.is_sorted());
        numbers(Path::new("/no/such"), "").unwrap_err();
    }
}
