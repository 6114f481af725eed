//! What is in a directory, read once so that both sides find it in memory.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

/// What there is to pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// Regular files, each name counted.
    pub(super) files: u64,
    /// Bytes in them.
    pub(super) bytes: u64,
}

/// Reads every file below `folder`, symlinks not followed.
pub(super) fn warm(folder: &Path) -> Result<Input> {
    let mut input = Input::default();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                input.files += 1;
                let path = entry.path();
                let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
                input.bytes += copied.with_context(|| format!("cannot read {}", path.display()))?;
            }
        }
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/f"), "12345").unwrap();
        fs::write(folder.path().join("g"), "1").unwrap();
        assert_eq!(warm(folder.path()).unwrap(), Input { files: 2, bytes: 6 });
    }
}
