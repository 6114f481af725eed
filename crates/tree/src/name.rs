//! Names and paths: bytes with three rules (not empty, no `/`, no NUL) and a safe way to print them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt::{self, Debug, Display, Write};
use std::ops::Deref;

use crate::TreeError;

/// A name in a directory, as bytes. Short ones, as most are, need no memory of their own, so that trees of a million
/// nodes stay small.
#[derive(Clone)]
pub struct Name(Bytes);

/// Longest name that stands in its [`Name`], bytes: what makes it as large as a `Vec`.
const SHORT: usize = 22;

#[derive(Clone)]
enum Bytes {
    /// Length, and that many bytes.
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(name);
                Name(Bytes::Short(len, bytes))
            }
            _ => Name(Bytes::Long(name.into())),
        }
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(len, bytes) => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// Checks that `name` can name a directory entry: not empty, no `/`, no NUL byte, neither `.` nor `..`.
///
/// Length is a matter of the format (SquashFS 256 bytes, JFFS2 254, Linux itself 255) and is not checked here.
///
/// # Errors
/// [`TreeError::BadName`] with the rule that is broken.
pub fn check_name(name: &[u8]) -> Result<(), TreeError> {
    let rule = if name.is_empty() {
        "a name cannot be empty"
    } else if name.contains(&b'/') {
        "a name cannot contain '/'"
    } else if name.contains(&0) {
        "a name cannot contain a NUL byte"
    } else if name == b"." || name == b".." {
        "'.' and '..' are not names"
    } else {
        return Ok(());
    };
    Err(TreeError::BadName { name: name.to_vec(), rule })
}

/// `directory` and `name` joined by one `/`. The root directory is the empty path, so paths never start with `/`.
#[must_use]
pub fn join_path(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path made fit for a terminal; see [`display_path`].
#[derive(Debug, Clone, Copy)]
pub struct PathDisplay<'a>(&'a [u8]);

/// Shows a path of the image with its leading `/`; control characters and bytes that are not UTF-8 appear as
/// `\n`, `\t` or `\xNN`, and a backslash as `\\`, so that no name can forge terminal output and every name is
/// unambiguous.
#[must_use]
pub fn display_path(path: &[u8]) -> PathDisplay<'_> {
    PathDisplay(path)
}

impl Display for PathDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.first() != Some(&b'/') {
            f.write_char('/')?;
        }
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    c if c.is_control() => write_hex(f, c.encode_utf8(&mut [0; 4]).as_bytes())?,
                    c => f.write_char(c)?,
                }
            }
            write_hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_file_system_takes_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b".a", b"\xff", b"a\nb", b" "] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn names_of_any_length_are_what_they_were_made_of() {
        assert_eq!(size_of::<Name>(), size_of::<Vec<u8>>());
        let longest = [b'x'; 300];
        for len in 0..longest.len() {
            assert_eq!(&*Name::from(&longest[..len]), &longest[..len]);
        }
        let mut names = [&longest[..40], b"a", b"", b"xx", b"x\0"].map(Name::from);
        names.sort();
        assert_eq!(names.each_ref().map(|name| name.len()), [0, 1, 2, 2, 40]);
    }

    #[test]
    fn paths_print_unambiguously() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "/"),
            (b"bin/sh", "/bin/sh"),
            (b"a\nb\tc", "/a\\nb\\tc"),
            (b"caf\xc3\xa9\xff", "/caf\u{e9}\\xff"),
            (b"back\\slash", "/back\\\\slash"),
            (b"\x1b[31m", "/\\x1b[31m"),
        ];
        for (path, shown) in cases {
            assert_eq!(display_path(path).to_string(), shown);
        }
    }

    #[test]
    fn joining_onto_the_root_adds_no_slash() {
        assert_eq!(join_path(b"", b"a"), b"a");
        assert_eq!(join_path(b"a", b"b"), b"a/b");
    }
}
