//! Why an image cannot be read: one opaque error that says what, where, expected, found and the next step.

use std::fmt;
use std::io;

use flashwright_codec::CodecError;

/// An image that cannot be read.
///
/// Shown as one line without the image's own name, which the caller puts in front:
///
/// ```text
/// root.ubifs: inode 70 at LEB 12:0x1f00: data node: expected CRC 0x9a3f01c2, found 0x1b00d4ee: make or copy the image again
/// ```
#[derive(Debug)]
pub struct ReadError(Box<Report>);

/// What sort of thing went wrong, for callers that act on it (exit codes, other readers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The source could not be read.
    Io,
    /// No UBIFS image at all.
    NotUbifs,
    /// A UBIFS image of a kind that this reader does not read, such as an encrypted one.
    Unsupported,
    /// The image contradicts itself or the format.
    Corrupt,
    /// The image wants more memory than [`Limits`](super::Limits) allow.
    Limit,
}

#[derive(Debug)]
struct Report {
    inode: Option<u32>,
    place: Option<Place>,
    problem: Problem,
}

/// A place in the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// LEB, from the start of the volume.
    pub lnum: u32,
    /// Byte in the LEB.
    pub offs: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LEB {}:{:#x}", self.lnum, self.offs)
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot read the {what}: {error}")]
    Io { what: &'static str, error: io::Error },
    #[error("expected a UBIFS image, found {found}: check that this is the right file")]
    NotUbifs { found: String },
    #[error("{what}: {remedy}")]
    Unsupported { what: String, remedy: &'static str },
    #[error("{what}: expected {expected}, found {found}: make or copy the image again")]
    Corrupt { what: String, expected: String, found: String },
    #[error("{what}: {error}: make or copy the image again")]
    Unpack { what: &'static str, error: CodecError },
    #[error("{what} would take more than {limit} bytes of memory: raise the limit if the image is trusted")]
    Limit { what: &'static str, limit: u64 },
}

impl ReadError {
    fn new(problem: Problem) -> Self {
        ReadError(Box::new(Report { inode: None, place: None, problem }))
    }

    pub(super) fn io(what: &'static str, error: io::Error) -> Self {
        Self::new(Problem::Io { what, error })
    }

    pub(super) fn not_ubifs(found: String) -> Self {
        Self::new(Problem::NotUbifs { found })
    }

    pub(super) fn unsupported(what: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(Problem::Unsupported { what: what.into(), remedy })
    }

    pub(super) fn corrupt(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::new(Problem::Corrupt {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }

    pub(super) fn unpack(what: &'static str, error: CodecError) -> Self {
        Self::new(Problem::Unpack { what, error })
    }

    pub(super) fn limit(what: &'static str, limit: u64) -> Self {
        Self::new(Problem::Limit { what, limit })
    }

    /// This error at that place, when it has none yet.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    /// This error in that inode, when it has none yet.
    pub(super) fn in_inode(mut self, number: u32) -> Self {
        self.0.inode.get_or_insert(number);
        self
    }

    /// What sort of thing went wrong.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self.0.problem {
            Problem::Io { .. } => ErrorClass::Io,
            Problem::NotUbifs { .. } => ErrorClass::NotUbifs,
            Problem::Unsupported { .. } => ErrorClass::Unsupported,
            Problem::Corrupt { .. } | Problem::Unpack { .. } => ErrorClass::Corrupt,
            Problem::Limit { .. } => ErrorClass::Limit,
        }
    }

    /// True when the image is to blame, and not the host.
    pub(super) fn is_in_image(&self) -> bool {
        !matches!(self.class(), ErrorClass::Io | ErrorClass::Limit)
    }

    /// Number of the inode that is concerned, where there is one.
    #[must_use]
    pub fn inode(&self) -> Option<u32> {
        self.0.inode
    }

    /// Where in the volume it is.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.0.place
    }

    /// The problem as a finding: what, expected, found.
    pub(super) fn parts(&self) -> (String, String, String) {
        match &self.0.problem {
            Problem::Corrupt { what, expected, found } => (what.clone(), expected.clone(), found.clone()),
            Problem::Unpack { what, error } => {
                ((*what).to_owned(), "data that unpacks".to_owned(), error.to_string())
            }
            other => ("image".to_owned(), "readable data".to_owned(), other.to_string()),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { inode, place, problem } = &*self.0;
        match (inode, place) {
            (Some(inode), Some(place)) => write!(f, "inode {inode} at {place}: ")?,
            (Some(inode), None) => write!(f, "inode {inode}: ")?,
            (None, Some(place)) => write!(f, "{place}: ")?,
            (None, None) => {}
        }
        problem.fmt(f)
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.problem {
            Problem::Io { error, .. } => Some(error),
            Problem::Unpack { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error.0.problem {
            Problem::Io { error, .. } => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_what_expected_found_and_the_next_step() {
        let place = Place { lnum: 12, offs: 0x1f00 };
        let error = ReadError::corrupt("data node", "4096 bytes", 17).at(place).in_inode(70);
        assert_eq!(
            error.to_string(),
            "inode 70 at LEB 12:0x1f00: data node: expected 4096 bytes, found 17: make or copy the image again"
        );
        // The innermost place wins.
        let error = error.at(Place { lnum: 1, offs: 0 }).in_inode(3);
        assert_eq!((error.inode(), error.place()), (Some(70), Some(place)));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    }
}
