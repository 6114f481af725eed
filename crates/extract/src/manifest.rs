//! What the host does not have, written beside the target so that all together are the tree.
//!
//! An image.toml of a few lines names the target and a pseudo file of mksquashfs, which has a line for each node that
//! the host does not have as it should be. Pseudo files hold any name, and other tools read them, too.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flashwright_tree::{Device, Metadata, Node, NodeKind, Timestamp};

use crate::ExtractError;

/// What of a node's metadata the host does not have.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// Owner and group.
    pub(crate) owner: bool,
    /// Permission bits.
    pub(crate) mode: bool,
    /// Time.
    pub(crate) time: bool,
    /// Xattrs, by full name.
    pub(crate) xattrs: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Manifest {
    /// The target, whose name the files get.
    target: PathBuf,
    name: String,
    /// Whether the host has owners; otherwise the image.toml says that all is root's, and the lines whose the rest is.
    privileged: bool,
    lines: Vec<u8>,
    /// A name with a newline needs a pseudo file that is marked as written by a machine.
    newline: bool,
    deferred: u64,
}

/// What makes a pseudo file one that a machine wrote, see the guide to image.toml.
const MARKER: &[u8] = b"#\n# START OF DATA - DO NOT MODIFY\n#\n";

impl Manifest {
    pub(crate) fn new(target: &Path, privileged: bool) -> Result<Self, ExtractError> {
        let bad = |why| ExtractError::BadTarget { path: target.to_owned(), why };
        let name =
            target.file_name().ok_or_else(|| bad("it has no name of its own: name a new directory"))?;
        let name =
            name.to_str().ok_or_else(|| bad("its name is not UTF-8: name another directory"))?.to_owned();
        let target = target.to_owned();
        let manifest = Manifest { target, name, privileged, lines: Vec::new(), newline: false, deferred: 0 };
        // Found out now rather than after everything was extracted.
        for path in ["toml", "pseudo"].map(|extension| manifest.beside(extension)) {
            if path.symlink_metadata().is_ok() {
                let error = io::ErrorKind::AlreadyExists.into();
                return Err(ExtractError::Host { what: "write", path, error });
            }
        }
        Ok(manifest)
    }

    /// Path of a file beside the target.
    fn beside(&self, extension: &str) -> PathBuf {
        self.target.with_file_name(format!("{}.{extension}", self.name))
    }

    /// Nodes noted.
    pub(crate) const fn deferred(&self) -> u64 {
        self.deferred
    }

    /// Notes what the host does not have of a node that it has.
    pub(crate) fn node(&mut self, path: &[u8], node: &Node, deferred: &Deferred) {
        let metadata = &node.metadata;
        let all_root = !self.privileged && metadata.uid == 0 && metadata.gid == 0;
        let owner = deferred.owner && !all_root;
        if !owner && !deferred.mode && !deferred.time && deferred.xattrs.is_empty() {
            return;
        }
        self.deferred += 1;
        if owner || deferred.mode || deferred.time {
            self.line(path, "M", metadata, "");
        }
        self.xattrs(path, metadata, &deferred.xattrs);
    }

    /// Notes a device that the host does not have at all.
    pub(crate) fn device(&mut self, path: &[u8], node: &Node, device: Device) {
        self.deferred += 1;
        let letter = if matches!(node.kind, NodeKind::BlockDevice(_)) { "B" } else { "C" };
        self.line(path, letter, &node.metadata, &format!(" {} {}", device.major, device.minor));
        let names: Vec<_> = node.metadata.xattrs.keys().cloned().collect();
        self.xattrs(path, &node.metadata, &names);
    }

    /// Notes a further name of a device that the host does not have.
    pub(crate) fn link(&mut self, path: &[u8], first: &[u8]) {
        self.deferred += 1;
        self.name(path);
        self.lines.extend_from_slice(b" L ");
        self.name(first);
        self.lines.push(b'\n');
    }

    fn line(&mut self, path: &[u8], letter: &str, metadata: &Metadata, rest: &str) {
        let Metadata { permissions, uid, gid, mtime, .. } = metadata;
        self.name(path);
        let line = format!(" {letter} {} {permissions:04o} {uid} {gid}{rest}\n", show_time(*mtime));
        self.lines.extend_from_slice(line.as_bytes());
    }

    fn xattrs(&mut self, path: &[u8], metadata: &Metadata, names: &[Vec<u8>]) {
        for (name, value) in metadata.xattrs.iter().filter(|(name, _)| names.contains(name)) {
            self.name(path);
            self.lines.extend_from_slice(b" x ");
            self.lines.extend_from_slice(name);
            self.lines.extend_from_slice(b"=0x");
            let hex = value.iter().fold(String::new(), |mut hex, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            self.lines.extend_from_slice(hex.as_bytes());
            self.lines.push(b'\n');
        }
    }

    /// A path in quotes.
    fn name(&mut self, path: &[u8]) {
        self.lines.extend_from_slice(b"\"/");
        for &byte in path {
            if matches!(byte, b'"' | b'\\') {
                self.lines.push(b'\\');
            }
            self.newline |= byte == b'\n';
            self.lines.push(byte);
        }
        self.lines.push(b'"');
    }

    /// Writes the files, if there is anything to say. Returns the path of the image.toml.
    pub(crate) fn write(self) -> Result<Option<PathBuf>, ExtractError> {
        // Without owners on the host even a tree that is all root's needs to be said so.
        if self.lines.is_empty() && self.privileged {
            return Ok(None);
        }
        let (toml, pseudo) = (self.beside("toml"), self.beside("pseudo"));
        if !self.lines.is_empty() {
            let marker = if self.newline { MARKER } else { b"" };
            write_new(&pseudo, &[&self.lines, marker])?;
        }
        write_new(&toml, &[self.image_toml().as_bytes()])?;
        Ok(Some(toml))
    }

    fn image_toml(&self) -> String {
        let mut text = format!(
            "# Together with the directory this is what was extracted. `flashwright build` makes an image of it when an\n\
             # [[output]] is added.\n\n[[source]]\ndir = {}\n",
            quoted(&self.name)
        );
        if !self.privileged {
            text.push_str("owner = { all-root = true }\n");
        }
        if !self.lines.is_empty() {
            text.push_str("\n# What the host does not have.\n[[source]]\npseudo = ");
            text.push_str(&quoted(&format!("{}.pseudo", self.name)));
            text.push('\n');
        }
        text
    }
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, parts: &[&[u8]]) -> Result<(), ExtractError> {
    let written: io::Result<()> = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        parts.iter().try_for_each(|part| file.write_all(part))
    })();
    written.map_err(|error| ExtractError::Host { what: "write", path: path.to_owned(), error })
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Seconds since 1970, or a quoted time of day where there is a fraction. Fractions of years that four digits do not
/// hold are dropped: no such time can be written.
fn show_time(time: Timestamp) -> String {
    const DAY: i64 = 86_400;
    let (year, month, day) = civil(time.seconds.div_euclid(DAY));
    if time.nanoseconds == 0 || !(0..=9999).contains(&year) {
        return time.seconds.to_string();
    }
    let second = time.seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = time.nanoseconds;
    format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z\"")
}

/// Year, month and day of a number of days since 1970-01-01. (Howard Hinnant, "chrono-compatible low-level date
/// algorithms".)
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_days_with_a_fraction() {
        let show = |seconds, nanoseconds| show_time(Timestamp { seconds, nanoseconds });
        assert_eq!(show(-5, 0), "-5");
        assert_eq!(show(1_706_702_400, 5), "\"2024-01-31T12:00:00.000000005Z\"");
        assert_eq!(show(-1, 999_999_999), "\"1969-12-31T23:59:59.999999999Z\"");
        assert_eq!(show(951_782_400, 100), "\"2000-02-29T00:00:00.000000100Z\"");
        assert_eq!(show(i64::MAX, 1), i64::MAX.to_string());
    }

    #[test]
    fn strings_of_toml_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
